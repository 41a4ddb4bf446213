#!/usr/bin/python
"""A DynamoDB table that is paid by use: found, or made. Never emptied, never deleted."""

from __future__ import annotations

DOCUMENTATION = """
module: dynamodb_private_table
short_description: A DynamoDB table, on demand
description:
  - Without O(create) says whether the table is there. With it, makes the table - paid by use, encrypted as all of them are - with one key
    of text. A table that is there already is only accepted when it bears the Project tag and has this key.
  - Never deletes anything.
options:
  name: {description: Name of the table, type: str, required: true}
  create: {description: Make it where it is not there, type: bool, default: false}
  key: {description: "The attribute that tells items apart, a text", type: str, default: id}
  point_in_time_recovery: {description: Let it be brought back to any second of 35 days. False leaves it, type: bool, default: false}
  project: {description: Value of the Project tag, type: str, required: true}
  tags: {description: Tags that the table gets, type: dict, default: {}}
author: [The project's authors]
"""

EXAMPLES = """
- name: Have the table
  dynamodb_private_table:
    name: notebooks-runs
    create: true
    project: notebooks
"""

RETURN = """
plan: {description: "What was done, or in check mode would be, in words", type: list, returned: always}
"""

from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import tag_list, tags_of
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


class Refused(Exception):
    """The table cannot be used so."""


def find(dynamodb: Any, options: dict[str, Any], region: str) -> dict[str, Any]:
    """The table as it is; nothing when there is none."""
    name = options["name"]
    try:
        table = dynamodb.describe_table(TableName=name)["Table"]
    except aws.ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        if options["create"]:
            return {}
        raise Refused(
            f"There is no table {name} in {region}: correct its name in instance_profile_tables, or add `create: true`."
        ) from error
    if not options["create"]:
        return {"there": True}
    tags = tags_of(dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"]))
    if tags.get("Project") != options["project"]:
        raise Refused(
            f"The table {name} is there already and this project did not make it: leave out `create: true` to use it as it is, or "
            "choose another name."
        )
    keys = [one["AttributeName"] for one in table["KeySchema"] if one["KeyType"] == "HASH"]
    if keys != [options["key"]]:
        raise Refused(
            f"The table {name} has the key {keys[0]}, and the settings say {options['key']}: a table's key cannot change; set "
            f"`key: {keys[0]}`, or choose another name."
        )
    backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    recovery = backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
    return {"there": True, "arn": table["TableArn"], "tags": tags, "recovery": recovery == "ENABLED"}


def plan(found: dict[str, Any], options: dict[str, Any]) -> list[tuple[str, str]]:
    """What has to be done, as (step, words), in this order."""
    if not options["create"]:
        return []
    name = options["name"]
    steps = [] if found else [("create", f"make the table {name} with the key {options['key']}")]
    if found and options["tags"].items() - found["tags"].items():
        steps.append(("tags", f"tag {name}"))
    if options["point_in_time_recovery"] and not found.get("recovery"):
        steps.append(("recovery", f"let {name} be brought back to any second"))
    return steps


def apply(dynamodb: Any, steps: list[tuple[str, str]], found: dict[str, Any], options: dict[str, Any]) -> None:
    """Do it."""
    name = options["name"]
    for step, _ in steps:
        if step == "create":
            dynamodb.create_table(
                TableName=name,
                AttributeDefinitions=[{"AttributeName": options["key"], "AttributeType": "S"}],
                KeySchema=[{"AttributeName": options["key"], "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
                Tags=tag_list(options["tags"]),
            )
            dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 3, "MaxAttempts": 40})
        elif step == "tags":
            dynamodb.tag_resource(ResourceArn=found["arn"], Tags=tag_list(options["tags"]))
        elif step == "recovery":
            wish = {"PointInTimeRecoveryEnabled": True}
            dynamodb.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=wish)


def ensure(dynamodb: Any, options: dict[str, Any], region: str, check_mode: bool) -> dict[str, Any]:
    """Find, plan and do."""
    found = find(dynamodb, options, region)
    steps = plan(found, options)
    if not check_mode:
        apply(dynamodb, steps, found, options)
    return {"changed": bool(steps), "plan": [words for _, words in steps]}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "create": {"type": "bool", "default": False},
            "key": {"type": "str", "default": "id", "no_log": False},
            "point_in_time_recovery": {"type": "bool", "default": False},
            "project": {"type": "str", "required": True},
            "tags": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    options = module.params
    options["tags"] = {key: str(value) for key, value in options["tags"].items()}
    try:
        result = ensure(module.client("dynamodb"), options, module.region, module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error))
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"The table {options['name']} is not yet as it should be; what was done stays")
    module.exit_json(**result)


if __name__ == "__main__":
    main()

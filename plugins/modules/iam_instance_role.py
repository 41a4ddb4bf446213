#!/usr/bin/python
"""What a server may do in AWS: a role for these buckets and tables and nothing else, and the instance profile that hands it over."""

from __future__ import annotations

DOCUMENTATION = """
module: iam_instance_role
short_description: A role for the buckets and tables of one server, and its instance profile
description:
  - Makes an IAM role that only EC2 may take, with one inline policy for exactly these buckets and tables, and an instance profile of
    the same name. Run again it corrects what differs. One that does not bear the tags Project and Name of the server is refused.
  - With O(state=absent) removes role and profile. Buckets and tables are never touched.
options:
  resource_name: {description: Name of the role and of the instance profile, type: str, required: true}
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: Value of the Name tag, type: str, required: true}
  tags: {description: Tags that the role and the profile get, type: dict, default: {}}
  buckets: {description: "Buckets: name, and access, which is read or write", type: list, elements: dict, default: []}
  tables: {description: "Tables of this region: name, and access, which is read or write", type: list, elements: dict, default: []}
  settle_seconds:
    description: How long to wait after a profile was made, because EC2 hears of it some seconds later than IAM
    type: int
    default: 10
  state: {description: Whether it shall be there, type: str, choices: [present, absent], default: present}
author: [The project's authors]
"""

EXAMPLES = """
- name: Let the server use its bucket
  iam_instance_role:
    resource_name: notebooks-demo
    project: notebooks
    name: demo
    buckets: [{name: notebooks-data, access: write}]
"""

RETURN = """
plan: {description: "What was done, or in check mode would be, in words", type: list, returned: always}
name: {description: Name of the instance profile, type: str, returned: always}
policy: {description: What the role may do, type: dict, returned: when present}
"""

import json
import time
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import tag_list, tags_of
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

POLICY = "buckets-and-tables"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}
OBJECTS = {"read": ["s3:GetObject"]}
OBJECTS["write"] = ["s3:AbortMultipartUpload", "s3:DeleteObject", *OBJECTS["read"], "s3:PutObject"]
ITEMS = {"read": [f"dynamodb:{a}" for a in ("BatchGetItem", "DescribeTable", "GetItem", "Query", "Scan")]}
ITEMS["write"] = sorted(
    [*ITEMS["read"], *(f"dynamodb:{a}" for a in ("BatchWriteItem", "DeleteItem", "PutItem", "UpdateItem"))]
)


class Refused(Exception):
    """What is there is not this server's."""


def policy(options: dict[str, Any], partition: str, account: str, region: str) -> dict[str, Any]:
    """The role's policy: for each bucket and table what its access needs, nothing with a star over names."""
    statements = []
    for bucket in options["buckets"]:
        arn = f"arn:{partition}:s3:::{bucket['name']}"
        statements += [
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn},
            {"Effect": "Allow", "Action": OBJECTS[bucket.get("access", "read")], "Resource": f"{arn}/*"},
        ]
    for table in options["tables"]:
        arn = f"arn:{partition}:dynamodb:{region}:{account}:table/{table['name']}"
        statements.append(
            {"Effect": "Allow", "Action": ITEMS[table.get("access", "read")], "Resource": [arn, f"{arn}/index/*"]}
        )
    return {"Version": "2012-10-17", "Statement": statements} if statements else {}


def ask(call: Any, **request: Any) -> Any:
    """What IAM says, or nothing if it has none of that name."""
    try:
        return call(**request)
    except aws.ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchEntity":
            return None
        raise


def find(iam: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Role, policy and profile as they are."""
    name = options["resource_name"]
    answer = ask(iam.get_role, RoleName=name)
    role = answer["Role"] if answer else {}
    document = ask(iam.get_role_policy, RoleName=name, PolicyName=POLICY) if role else None
    answer = ask(iam.get_instance_profile, InstanceProfileName=name)
    profile = answer["InstanceProfile"] if answer else {}
    mine = {"Project": options["project"], "Name": options["name"]}
    for kind, thing in (("role", role), ("instance profile", profile)):
        if thing and not mine.items() <= tags_of(thing).items():
            raise Refused(
                f"IAM has a {kind} {name} that this project did not make for {options['name']}: remove it, choose another "
                "server name, or use it as it is with ec2_provision_instance_profile."
            )
    return {
        "role": role,
        "policy": document["PolicyDocument"] if document else {},
        "profile": profile,
        "holds": [r["RoleName"] for r in profile.get("Roles", [])],
    }


def plan(found: dict[str, Any], options: dict[str, Any], wanted: dict[str, Any]) -> list[tuple[str, str]]:
    """What has to be done, as (step, words), in this order."""
    name, steps = options["resource_name"], []
    if options["state"] == "absent":
        if found["holds"]:
            steps.append(("release", f"take the role out of the instance profile {name}"))
        if found["profile"]:
            steps.append(("drop_profile", f"remove the instance profile {name}"))
        if found["role"]:
            steps.append(("drop_role", f"remove the role {name} with its policies"))
        return steps
    if not found["role"]:
        steps.append(("role", f"make the role {name}"))
    else:
        if found["role"]["AssumeRolePolicyDocument"] != TRUST:
            steps.append(("trust", f"let EC2 alone take the role {name}"))
        if options["tags"].items() - tags_of(found["role"]).items():
            steps.append(("tags", f"tag the role {name}"))
    if wanted != found["policy"]:
        if wanted:
            names = ", ".join(
                f"{one['name']} ({one.get('access', 'read')})" for one in options["buckets"] + options["tables"]
            )
            steps.append(("policy", f"allow it: {names}"))
        else:
            steps.append(("no_policy", f"allow the role {name} nothing any more"))
    if not found["profile"]:
        steps.append(("profile", f"make the instance profile {name}"))
    if options["resource_name"] not in found["holds"]:
        steps.append(("join", f"put the role into the instance profile {name}"))
    return steps


def drop_role(iam: Any, name: str) -> None:
    """Remove the role with what IAM wants removed first."""
    for one in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=one)
    for one in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=name, PolicyArn=one["PolicyArn"])
    iam.delete_role(RoleName=name)


def apply(iam: Any, steps: list[tuple[str, str]], options: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Do it."""
    name, tags = options["resource_name"], tag_list(options["tags"])
    document, trust = json.dumps(wanted), json.dumps(TRUST)
    for step, _ in steps:
        if step == "role":
            about = f"What {options['name']} may do in AWS"
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust, Description=about, Tags=tags)
        elif step == "trust":
            iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)
        elif step == "tags":
            iam.tag_role(RoleName=name, Tags=tags)
        elif step == "policy":
            iam.put_role_policy(RoleName=name, PolicyName=POLICY, PolicyDocument=document)
        elif step == "no_policy":
            iam.delete_role_policy(RoleName=name, PolicyName=POLICY)
        elif step == "profile":
            iam.create_instance_profile(InstanceProfileName=name, Tags=tags)
        elif step == "join":
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        elif step == "release":
            iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
        elif step == "drop_profile":
            iam.delete_instance_profile(InstanceProfileName=name)
        elif step == "drop_role":
            drop_role(iam, name)


def ensure(iam: Any, sts: Any, options: dict[str, Any], region: str, check_mode: bool) -> dict[str, Any]:
    """Find, plan and do."""
    caller = sts.get_caller_identity()
    wanted = policy(options, caller["Arn"].split(":")[1], caller["Account"], region)
    steps = plan(find(iam, options), options, wanted)
    if not check_mode:
        apply(iam, steps, options, wanted)
        if any(step == "join" for step, _ in steps):
            time.sleep(options["settle_seconds"])
    result = {"changed": bool(steps), "plan": [words for _, words in steps], "name": options["resource_name"]}
    return result if options["state"] == "absent" else {**result, "policy": wanted}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "resource_name": {"type": "str", "required": True},
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "tags": {"type": "dict", "default": {}},
            "buckets": {"type": "list", "elements": "dict", "default": []},
            "tables": {"type": "list", "elements": "dict", "default": []},
            "settle_seconds": {"type": "int", "default": 10},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    options = module.params
    options["tags"] = {key: str(value) for key, value in options["tags"].items()}
    try:
        result = ensure(module.client("iam"), module.client("sts"), options, module.region, module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error))
    except (aws.ClientError, aws.BotoCoreError) as error:
        about = f"The IAM role and instance profile {options['resource_name']}"
        module.fail_json_aws(error, msg=f"{about} are not yet as they should be; what was done stays")
    module.exit_json(**result)


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""The one Elastic IP of a server: found or made by its tags, connected to its instance, or given back."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_elastic_ip
short_description: A server's fixed public address
description:
  - Finds the address by the tags Project and Name, or asks AWS for one with these tags in the same call, so that a run that is cut off
    never leaves one that nobody finds again. amazon.aws.ec2_eip tags after the fact.
  - C(state=absent) disconnects and gives back every address with these tags. An address without them is never touched.
options:
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: Value of the Name tag, type: str, required: true}
  instance_id: {description: "The instance to connect it to, which must run or be stopped. Empty: none", type: str, default: ''}
  tags: {description: Further tags, type: dict, default: {}}
  state: {description: Whether the server has one, type: str, choices: [present, absent], default: present}
author: [The project's authors]
"""

EXAMPLES = """
- name: Have a fixed address
  ec2_elastic_ip:
    project: notebooks
    name: demo
    instance_id: i-0123456789abcdef0
"""

RETURN = """
public_ip: {description: The address; empty when there is none, type: str, returned: always}
allocation_id: {description: Its id, type: str, returned: always}
steps: {description: "What was done, or would be: allocate, disconnect, connect, release", type: list, returned: always}
"""

from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import by_tags, tag_list
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

# Somebody, or an earlier run, did it already.
GONE = {"InvalidAllocationID.NotFound", "InvalidAssociationID.NotFound"}


class Refusal(Exception):
    """A sentence for the person: what is wrong and what to do."""


def find(ec2: Any, options: dict[str, Any]) -> list[dict[str, str]]:
    """The addresses that bear the server's tags."""
    found = ec2.describe_addresses(Filters=by_tags(options["project"], options["name"]))["Addresses"]
    return [
        {
            "allocation_id": one["AllocationId"],
            "public_ip": one["PublicIp"],
            "instance_id": one.get("InstanceId", ""),
            "association_id": one.get("AssociationId", ""),
        }
        for one in sorted(found, key=lambda one: str(one["AllocationId"]))
    ]


def plan(found: list[dict[str, str]], options: dict[str, Any]) -> list[dict[str, str]]:
    """The steps to what is wanted."""
    if options["state"] == "absent":
        steps = []
        for one in found:
            if one["association_id"]:
                steps.append({"do": "disconnect", **one})
            steps.append({"do": "release", **one})
        return steps
    if len(found) > 1:
        listed = ", ".join(f"{one['public_ip']} ({one['allocation_id']})" for one in found)
        raise Refusal(
            f"{len(found)} Elastic IPs bear the tags of {options['name']}: {listed}. Each is billed: release those that are not its own "
            "in the AWS console (EC2, Elastic IPs), or remove their tag Project; then run the same command."
        )
    steps = [] if found else [{"do": "allocate"}]
    if options["instance_id"] and not (found and found[0]["instance_id"] == options["instance_id"]):
        steps.append({"do": "connect"})
    return steps


def apply(
    ec2: Any, steps: list[dict[str, str]], found: list[dict[str, str]], options: dict[str, Any]
) -> list[dict[str, str]]:
    """Do the steps; return the addresses that there are then."""
    now = list(found)
    for step in steps:
        if step["do"] == "allocate":
            tags = {**options["tags"], "Project": options["project"], "Name": options["name"], "ManagedBy": "ansible"}
            made = ec2.allocate_address(
                Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tag_list(tags)}]
            )
            now = [{"allocation_id": made["AllocationId"], "public_ip": made["PublicIp"]}]
        elif step["do"] == "connect":
            # One that is connected to a former instance of the server, by its tags, moves over.
            ec2.associate_address(
                AllocationId=now[0]["allocation_id"], InstanceId=options["instance_id"], AllowReassociation=True
            )
        else:
            try:
                if step["do"] == "disconnect":
                    ec2.disassociate_address(AssociationId=step["association_id"])
                else:
                    ec2.release_address(AllocationId=step["allocation_id"])
            except aws.ClientError as error:
                if error.response["Error"]["Code"] not in GONE:
                    raise
            if step["do"] == "release":
                now = [one for one in now if one["allocation_id"] != step["allocation_id"]]
    return now


def run(ec2: Any, options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """All of it."""
    found = find(ec2, options)
    steps = plan(found, options)
    now = found if check_mode else apply(ec2, steps, found, options)
    return {
        "changed": bool(steps),
        "steps": [step["do"] for step in steps],
        "public_ip": now[0]["public_ip"] if now else "",
        "allocation_id": now[0]["allocation_id"] if now else "",
    }


def left(options: dict[str, Any]) -> str:
    """What state things are in after a failure, and what to type next."""
    if options["state"] == "absent":
        return (
            f"The Elastic IP of {options['name']} was not given back and is billed until it is: run the same command again, or release it "
            "in the AWS console (EC2, Elastic IPs)"
        )
    return (
        f"{options['name']} has no Elastic IP yet, or is not connected to it; all else is as it was: run the same command again, "
        "or set ec2_provision_elastic_ip to false to do without"
    )


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "instance_id": {"type": "str", "default": ""},
            "tags": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    options = module.params
    if not options["project"] or not options["name"]:
        module.fail_json(msg="project and name must not be empty: they are what tells this address from all others.")
    try:
        result = run(module.client("ec2"), options, module.check_mode)
    except Refusal as sentence:
        module.fail_json(msg=str(sentence))
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg=left(options))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

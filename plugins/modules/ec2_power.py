#!/usr/bin/python
"""Stop or start a server's instance, and say what of it is billed while it is stopped."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_power
short_description: Stop or start the instance of a server
description:
  - Finds the one instance with the tags Project and Name, stops or starts it and waits. In a check run it only says how things are.
  - Tells the volumes and Elastic IPs, which are billed while it is stopped.
options:
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: Value of the Name tag, type: str, required: true}
  state: {description: What it shall be, type: str, choices: [running, stopped], required: true}
  wait_timeout: {description: Seconds to wait for it, type: int, default: 600}
author: [The project's authors]
"""

EXAMPLES = """
- name: Stop it
  ec2_power:
    project: notebooks
    name: demo
    state: stopped
"""

RETURN = """
instance: {description: "The instance as it was found: id, state, type, zone, address, tags", type: dict, returned: success}
volumes: {description: "Its volumes: id, gb, type", type: list, returned: success}
elastic_ips: {description: Its Elastic IPs, type: list, returned: success}
public_ip: {description: "Its address now, empty when stopped without an Elastic IP", type: str, returned: success}
now: {description: A sentence on how things are, type: str, returned: failure}
"""

from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import pages
from ansible.module_utils.server_power import MARK, Refusal, Trouble, facts, now, start, stop, the_instance
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def find(ec2: Any, project: str, name: str) -> dict[str, Any]:
    """The server, and what of it costs while it is stopped."""
    instance = facts(the_instance(ec2, project, name))
    attached = [{"Name": "attachment.instance-id", "Values": [instance["id"]]}]
    volumes = [
        {"id": v["VolumeId"], "gb": v["Size"], "type": v["VolumeType"]}
        for v in pages(ec2, "describe_volumes", "Volumes", Filters=attached)
    ]
    addresses = ec2.describe_addresses(Filters=[{"Name": "instance-id", "Values": [instance["id"]]}])["Addresses"]
    return {
        "instance": instance,
        "volumes": sorted(volumes, key=lambda v: str(v["id"])),
        "elastic_ips": sorted(a["PublicIp"] for a in addresses),
        "public_ip": instance["public_ip"],
    }


def apply(ec2: Any, found: dict[str, Any], name: str, state: str, seconds: float) -> dict[str, Any]:
    """Make it so, and tell the address afterwards."""
    instance = found["instance"]
    address = instance["public_ip"]
    try:
        if MARK in instance["tags"]:
            # Of a resize that was cut off: from now on this is how it shall be.
            ec2.delete_tags(Resources=[instance["id"]], Tags=[{"Key": MARK}])
        if state == "stopped":
            stop(ec2, instance["id"], instance["state"], seconds)
            address = "".join(found["elastic_ips"][:1])
        else:
            address = start(ec2, instance["id"], instance["state"], seconds).get("PublicIpAddress", "")
    except (aws.ClientError, aws.BotoCoreError) as error:
        raise Trouble(error, now(ec2, name, instance["id"])) from error
    return {**found, "public_ip": address}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["running", "stopped"], "required": True},
            "wait_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    options = module.params
    name, state = options["name"], options["state"]
    ec2 = module.client("ec2")
    try:
        found = find(ec2, options["project"], name)
        changed = found["instance"]["state"] != state or MARK in found["instance"]["tags"]
        if changed and not module.check_mode:
            found = apply(ec2, found, name, state, options["wait_timeout"])
    except Refusal as sentence:
        module.fail_json(msg=str(sentence))
    except Trouble as trouble:
        module.fail_json_aws(trouble.error, msg=f"{name} is not {state}", now=trouble.now)
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"AWS would not say what it has of {name}", now="Nothing was changed.")
    module.exit_json(changed=changed, **found)


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Everything in AWS that belongs to one server of this project, found by its tags."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_server_info
short_description: What AWS has of one server
description:
  - Finds instance, volumes, network interfaces, key pair, security group and VPC by the tags Project and Name, never
    by image, type or address, so that changing those never makes a second server. Reads only.
options:
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: Value of the Name tag, type: str, required: true}
  resource_name: {description: Name of its key pair and its security group, type: str, required: true}
  tags: {description: Tags that everything should bear; see mistagged, type: dict, default: {}}
author: [The project's authors]
"""

EXAMPLES = """
- name: Look for the server
  ec2_server_info:
    project: notebooks
    name: demo
    resource_name: notebooks-demo
"""

RETURN = """
instances: {description: Instances that are not terminated or on their way to it, type: list, returned: always}
leaving: {description: Ids of instances that are shutting down, type: list, returned: always}
ended: {description: "Instances that are terminated or on their way to it: id, and reason in AWS's words", type: list, returned: always}
key_pairs: {description: Key pairs with their public key, type: list, returned: always}
security_groups: {description: Security groups, type: list, returned: always}
vpcs: {description: VPCs made for this server, type: list, returned: always}
data_volumes: {description: "Disks that outlive the instance and disks of data sets: id, role", type: list, returned: always}
elastic_ips: {description: "Elastic IPs: id, public_ip, instance_id", type: list, returned: always}
strangers: {description: Key pairs and groups that have the name but not the tags, type: list, returned: always}
mistagged: {description: "Volumes, network interfaces, key pairs whose tags differ", type: list, returned: always}
"""

import re
import time
from collections.abc import Callable
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

BURSTABLE = re.compile(r"t\d")  # not trn1, of which this question is an error
ENDED = ["shutting-down", "terminated"]
STATES = ["pending", "running", "stopping", "stopped", *ENDED]
# For some seconds after a launch AWS may not know the parts of an instance that it names itself.
PATIENCE = 60
PACE = 3


def patiently(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Ask for parts by their ids, and again while AWS says that there are none of these."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except aws.ClientError as error:
            if not error.response["Error"]["Code"].endswith(".NotFound") or time.monotonic() > until:
                raise
        time.sleep(PACE)


def by_tags(project: str, name: str) -> list[dict[str, Any]]:
    """The filters that make a server's identity."""
    return [{"Name": "tag:Project", "Values": [project]}, {"Name": "tag:Name", "Values": [name]}]


def tags_of(thing: dict[str, Any], field: str = "Tags") -> dict[str, str]:
    """Tags as a plain dictionary."""
    return {tag["Key"]: tag["Value"] for tag in thing.get(field) or []}


def describe_instance(ec2: Any, instance: dict[str, Any]) -> dict[str, Any]:
    """The facts of an instance that the role decides by."""
    root = instance.get("RootDeviceName")
    devices = {m["DeviceName"]: m["Ebs"]["VolumeId"] for m in instance.get("BlockDeviceMappings", []) if "Ebs" in m}
    volumes = []
    if devices:
        volumes = patiently(lambda: ec2.describe_volumes(VolumeIds=sorted(devices.values())))["Volumes"]
    sizes = {v["VolumeId"]: v["Size"] for v in volumes}
    # Never a disk for data, which may be larger.
    plain = {v["VolumeId"] for v in volumes if "Role" not in tags_of(v)}
    root_id = devices.get(str(root)) or next((one for one in devices.values() if one in plain), "")
    credit = ""
    if BURSTABLE.match(instance["InstanceType"]):
        answer = patiently(lambda: ec2.describe_instance_credit_specifications(InstanceIds=[instance["InstanceId"]]))
        credit = next((c.get("CpuCredits", "") for c in answer["InstanceCreditSpecifications"]), "")
    return {
        "id": instance["InstanceId"],
        "state": instance["State"]["Name"],
        "type": instance["InstanceType"],
        "zone": instance["Placement"]["AvailabilityZone"],
        "image_id": instance["ImageId"],
        "key_name": instance.get("KeyName", ""),
        "vpc_id": instance.get("VpcId", ""),
        "subnet_id": instance.get("SubnetId", ""),
        "public_ip": instance.get("PublicIpAddress", ""),
        "public_dns": instance.get("PublicDnsName", ""),
        "private_ip": instance.get("PrivateIpAddress", ""),
        "market": "spot" if instance.get("InstanceLifecycle") == "spot" else "on_demand",
        "cpu_credits": credit,
        "instance_profile": instance.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2],
        "root_volume_id": root_id,
        "disk_gb": sizes.get(root_id, 0),
        "security_group_ids": sorted(
            {g["GroupId"] for n in instance.get("NetworkInterfaces", []) for g in n.get("Groups", [])}
        ),
        "tags": tags_of(instance),
        "parts": {v["VolumeId"]: tags_of(v) for v in volumes}
        | {n["NetworkInterfaceId"]: {} for n in instance.get("NetworkInterfaces", [])},
    }


def survey(ec2: Any, options: dict[str, Any], tags: dict[str, str]) -> dict[str, Any]:
    """All of it, in few calls."""
    project, name, resource = options["project"], options["name"], options["resource_name"]
    mine = by_tags(project, name)
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[*mine, {"Name": "instance-state-name", "Values": STATES}]
    )
    found = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
    leaving = [i["InstanceId"] for i in found if i["State"]["Name"] == "shutting-down"]
    instances = [describe_instance(ec2, i) for i in found if i["State"]["Name"] not in ENDED]
    ended = [
        {"id": i["InstanceId"], "reason": i.get("StateReason", {}).get("Message", "")}
        for i in found
        if i["State"]["Name"] in ENDED
    ]
    interfaces = [part for i in instances for part in i["parts"] if part.startswith("eni-")]
    if interfaces:
        answer = patiently(lambda: ec2.describe_network_interfaces(NetworkInterfaceIds=interfaces))
        for one in answer["NetworkInterfaces"]:
            next(i for i in instances if one["NetworkInterfaceId"] in i["parts"])["parts"][
                one["NetworkInterfaceId"]
            ] = tags_of(one, "TagSet")
    keys = ec2.describe_key_pairs(Filters=[{"Name": "key-name", "Values": [resource]}], IncludePublicKey=True)[
        "KeyPairs"
    ]
    groups = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [resource]}])["SecurityGroups"]
    vpcs = ec2.describe_vpcs(Filters=mine)["Vpcs"]
    addresses = ec2.describe_addresses(Filters=mine)["Addresses"]
    disks = ec2.describe_volumes(Filters=[*mine, {"Name": "tag:Role", "Values": ["data", "dataset"]}])["Volumes"]

    def is_mine(thing: dict[str, Any]) -> bool:
        return {"Project": project, "Name": name}.items() <= tags_of(thing).items()

    parts = {part: has for i in instances for part, has in i["parts"].items()} | {
        k["KeyPairId"]: tags_of(k) for k in keys if is_mine(k)
    }
    parts |= {a["AllocationId"]: tags_of(a) for a in addresses}
    return {
        "instances": instances,
        "leaving": leaving,
        "ended": ended,
        "key_pairs": [
            {"name": k["KeyName"], "id": k["KeyPairId"], "public_key": " ".join(k.get("PublicKey", "").split()[:2])}
            for k in keys
            if is_mine(k)
        ],
        "security_groups": [{"id": g["GroupId"], "vpc_id": g.get("VpcId", "")} for g in groups if is_mine(g)],
        "vpcs": [v["VpcId"] for v in vpcs],
        "data_volumes": [{"id": d["VolumeId"], "role": tags_of(d)["Role"]} for d in disks],
        "elastic_ips": [
            {"id": a["AllocationId"], "public_ip": a["PublicIp"], "instance_id": a.get("InstanceId", "")}
            for a in addresses
        ],
        "strangers": [f"key pair {k['KeyName']}" for k in keys if not is_mine(k)]
        + [f"security group {g['GroupId']} ({g['GroupName']})" for g in groups if not is_mine(g)],
        "mistagged": [part for part, has in parts.items() if tags.items() - has.items()],
    }


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "resource_name": {"type": "str", "required": True},
            "tags": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    options = module.params
    if not options["project"] or not options["name"]:
        module.fail_json(
            msg="project and name must not be empty: they are what tells this server's things from all others."
        )
    wanted = {key: str(value) for key, value in options["tags"].items()}
    try:
        result = survey(module.client("ec2"), options, wanted)
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"AWS would not say what it has of {options['name']}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()

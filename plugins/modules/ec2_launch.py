#!/usr/bin/python
"""Launch one instance in the first zone that has room for it."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_launch
short_description: Launch one instance, next zone at once on lack of capacity
description:
  - Makes one RunInstances call for each subnet, in order, until AWS takes one. amazon.aws.ec2_instance instead
    repeats the same call for more than three minutes when a zone has no capacity.
  - Always launches. Look for an existing instance first.
  - A call whose answer is lost is repeated under the same client token, so that there is one instance and no more. When no answer
    comes at all, RV(maybe_launched) says that there may be an instance.
  - An instance profile that was made just now is not known everywhere; until it is, for two minutes, the call is repeated.
options:
  image_id: {description: The image, type: str, required: true}
  instance_type: {description: The type, type: str, required: true}
  subnets: {description: "Where to try, in order: id and zone", type: list, elements: dict, required: true}
  security_group_id: {description: The security group, type: str, required: true}
  key_name: {description: The key pair, type: str, required: true}
  root_device_name: {description: "The image's own root device", type: str, required: true}
  disk_gb: {description: Size of the root volume in GB, type: int, required: true}
  standard_credits: {description: "A burstable type shall slow down rather than bill extra", type: bool, default: false}
  unlimited_credits: {description: "A burstable type shall bill extra rather than slow down", type: bool, default: false}
  instance_profile: {description: "Name of the IAM instance profile. Empty means none", type: str, default: ''}
  metadata_hop_limit: {description: Network hops that answers of the metadata service survive, type: int, default: 1}
  termination_protection: {description: Refuse termination until this is off, type: bool, default: false}
  market: {description: Whether it is a spot instance, type: str, choices: [on_demand, spot], default: on_demand}
  spot_max_usd: {description: "Most that an hour of a spot instance may cost. Empty means the price on demand", type: str, default: ''}
  tags: {description: "Tags of the instance, its volume and its network interface", type: dict, required: true}
author: [The project's authors]
"""

EXAMPLES = """
- name: Launch
  ec2_launch:
    image_id: ami-0123456789abcdef0
    instance_type: t3.large
    subnets: [{id: subnet-1, zone: us-west-2a}, {id: subnet-2, zone: us-west-2b}]
    security_group_id: sg-1
    key_name: demo
    root_device_name: /dev/xvda
    disk_gb: 30
    tags: {Name: demo}
"""

RETURN = """
instance_id: {description: The new instance, type: str, returned: when launched}
zone: {description: The zone that took it, type: str, returned: when launched}
full_zones: {description: Zones that had no room, type: list, returned: always}
maybe_launched: {description: "Whether AWS may have launched one without saying so", type: bool, returned: on failure}
"""

import time
import uuid
from typing import Any

try:
    import botocore.exceptions as aws
    from botocore.config import Config
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

# What another zone may still grant.
FULL = {
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientFreeAddressesInSubnet",
    "SpotMaxPriceTooLow",
    "Unsupported",
}
# What leaves open whether it was done.
OPEN = {
    "InternalError",
    "InternalFailure",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "Throttling",
    "Unavailable",
}
ASK_AGAIN_AFTER = (1, 2, 4, 8, 15)  # seconds
FRESH_PROFILE = 120  # seconds for which AWS may not know a new instance profile everywhere
PACE = 5


class Lost(Exception):
    """No answer: there may be an instance."""


def code_of(error: Exception) -> str:
    """The code that AWS gave an error, or nothing."""
    return str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))


def unanswered(error: Exception) -> bool:
    """Whether AWS may have done what was asked although an error came: no answer at all, or one of its own troubles."""
    if isinstance(error, aws.ClientError):
        return code_of(error) in OPEN
    return isinstance(error, aws.HTTPClientError)


def fresh_profile(error: Exception) -> bool:
    """Whether AWS does not know the instance profile, or the role in it, yet."""
    words = str(error).lower().replace(" ", "")
    return code_of(error) == "InvalidParameterValue" and "iaminstanceprofile" in words


def run(ec2: Any, wanted: dict[str, Any]) -> str:
    """Ask for one instance until there is an answer; give its id. The client token makes the repeated question the same one."""
    delays = list(ASK_AGAIN_AFTER)
    until = time.monotonic() + FRESH_PROFILE
    while True:
        try:
            return str(ec2.run_instances(**wanted)["Instances"][0]["InstanceId"])
        except (aws.ClientError, aws.HTTPClientError) as error:
            if fresh_profile(error) and time.monotonic() < until:
                time.sleep(PACE)
            elif unanswered(error) and delays:
                time.sleep(delays.pop(0))
            elif unanswered(error):
                raise Lost from error
            else:
                raise


def request(options: dict[str, Any], subnet: str) -> dict[str, Any]:
    """The RunInstances request for one subnet."""
    tags = [{"Key": key, "Value": str(value)} for key, value in sorted(options["tags"].items())]
    wanted: dict[str, Any] = {
        "ImageId": options["image_id"],
        "InstanceType": options["instance_type"],
        "MinCount": 1,
        "MaxCount": 1,
        # New for each launch: one worked out from the settings would bring back an instance that was terminated since.
        "ClientToken": uuid.uuid4().hex,
        "KeyName": options["key_name"],
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": subnet,
                "Groups": [options["security_group_id"]],
                "AssociatePublicIpAddress": True,
                "DeleteOnTermination": True,
            }
        ],
        "BlockDeviceMappings": [
            {
                "DeviceName": options["root_device_name"],
                "Ebs": {
                    "VolumeSize": options["disk_gb"],
                    "VolumeType": "gp3",
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                },
            }
        ],
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": options["metadata_hop_limit"],
            "HttpEndpoint": "enabled",
        },
        "InstanceInitiatedShutdownBehavior": "stop",
        "DisableApiTermination": options["termination_protection"],
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume", "network-interface")
        ],
    }
    if options["instance_profile"]:
        wanted["IamInstanceProfile"] = {"Name": options["instance_profile"]}
    if options.get("market") == "spot":
        # A persistent request that stops: the disk stays, AWS starts the server again by itself, and its owner may stop and start it.
        spot = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}
        if options.get("spot_max_usd"):
            spot["MaxPrice"] = options["spot_max_usd"]
        wanted["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": spot}
        wanted["TagSpecifications"].append({"ResourceType": "spot-instances-request", "Tags": tags})
    if options["standard_credits"]:
        wanted["CreditSpecification"] = {"CpuCredits": "standard"}
    elif options.get("unlimited_credits"):
        wanted["CreditSpecification"] = {"CpuCredits": "unlimited"}
    return wanted


def launch(ec2: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Try zone after zone; the last refusal counts when all are full."""
    full: dict[str, Exception] = {}
    for subnet in options["subnets"]:
        try:
            instance = run(ec2, request(options, subnet["id"]))
        except aws.ClientError as error:
            if code_of(error) not in FULL:
                raise
            full[subnet["zone"]] = error
            continue
        return {"instance_id": instance, "zone": subnet["zone"], "full_zones": sorted(full)}
    return {"full_zones": sorted(full), "error": list(full.values())[-1]}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "image_id": {"type": "str", "required": True},
            "instance_type": {"type": "str", "required": True},
            "subnets": {"type": "list", "elements": "dict", "required": True},
            "security_group_id": {"type": "str", "required": True},
            "key_name": {"type": "str", "required": True, "no_log": False},
            "root_device_name": {"type": "str", "required": True},
            "disk_gb": {"type": "int", "required": True},
            "standard_credits": {"type": "bool", "default": False},
            "unlimited_credits": {"type": "bool", "default": False},
            "instance_profile": {"type": "str", "default": ""},
            "metadata_hop_limit": {"type": "int", "default": 1},
            "termination_protection": {"type": "bool", "default": False},
            "market": {"type": "str", "choices": ["on_demand", "spot"], "default": "on_demand"},
            "spot_max_usd": {"type": "str", "default": ""},
            "tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    options = module.params
    zones = ", ".join(subnet["zone"] for subnet in options["subnets"])
    if module.check_mode:
        module.exit_json(
            changed=True,
            full_zones=[],
            msg=f"Would launch {options['instance_type']} in the first of {zones} with room.",
        )
    # botocore would silently repeat the call: AWS answers a full zone with HTTP 500.
    ec2 = module.client("ec2", config=Config(retries={"total_max_attempts": 1}))
    try:
        result = launch(ec2, options)
    except Lost as lost:
        module.fail_json(
            msg=f"AWS did not answer whether it launched {options['instance_type']} ({lost.__cause__})",
            maybe_launched=True,
        )
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"AWS did not launch {options['instance_type']}", maybe_launched=False)
    if "error" in result:
        module.fail_json_aws(
            result.pop("error"), msg=f"No room for {options['instance_type']} in any of {zones}", **result
        )
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ask AWS, before anything is created, whether a wished server can be had."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_offer_info
short_description: What AWS offers for a wished server
description:
  - Asks for the account behind the credentials, the region, the instance type, the zones that offer it, the image and
    the network, and refuses in one sentence what cannot be had. Reads only; creates nothing.
options:
  instance_type: {description: The wished type, type: str, required: true}
  image_id: {description: Take this image. Empty means find one, type: str, default: ''}
  image_parameters: {description: "SSM parameter that names the newest image, by architecture", type: dict, default: {}}
  image_owner: {description: "Who publishes the image, for when the parameter cannot be read", type: str, default: ''}
  image_names: {description: "Name pattern of the image by architecture, for the same case", type: dict, default: {}}
  vpc_id: {description: Use this VPC. Empty means the server's own or the default one, type: str, default: ''}
  subnet_id: {description: Use this subnet, type: str, default: ''}
  vpc_create: {description: Whether no VPC at all is fine because one can be made, type: bool, default: true}
  zone: {description: "Only this zone. reserved means that of an active reserved instance of the type", type: str, default: ''}
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: Value of the Name tag, type: str, required: true}
author: [The project's authors]
"""

EXAMPLES = """
- name: Ask for a small server
  ec2_offer_info:
    region: us-west-2
    instance_type: t3.large
    image_parameters: {x86_64: /aws/service/debian/release/13/latest/amd64}
    project: notebooks
    name: demo
"""

RETURN = """
account_id: {description: The account behind the credentials, type: str, returned: always}
arn: {description: Who the credentials belong to, type: str, returned: always}
endpoint: {description: The API endpoint when it is not AWS's own, type: str, returned: always}
type: {description: "name, architecture, vcpus, memory_gib, burstable", type: dict, returned: always}
zones: {description: Zones of the region that offer the type, type: list, returned: always}
placement: {description: Those of them that are wanted, type: list, returned: always}
image: {description: "id, name, architecture, root_device_name, disk_gb, os; or empty", type: dict, returned: always}
network: {description: "vpc_id and subnets (id, zone) of the zones that offer the type; empty when a VPC must be made",
  type: dict, returned: always}
"""

import datetime
import difflib
import re
from typing import Any, NoReturn

try:
    import boto3
    import botocore.exceptions as aws
    import botocore.session
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

WAYS_OUT = (
    "run `aws configure` (or `aws login`, `aws sso login`, or set ec2_provision_profile) to use your AWS account, "
    "or `make demo` to try everything on this machine without one."
)
WRONG_CREDENTIALS = {
    "AuthFailure",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "InvalidAccessKeyId",
}
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
# A clock that is wrong looks like wrong credentials: the time of the request, what it may be at the least or most, and AWS's own time.
SKEWED = re.compile(r"Signature (?:expired|not yet current): (\d{8}T\d{6}Z) is .*?\((\d{8}T\d{6}Z) ")
FORBIDDEN = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
HOME_REGION = "us-east-1"


class Refusal(Exception):
    """A sentence for the person: what is wrong and what to do."""


def code_of(error: Exception) -> str:
    """The code that AWS gave an error, or nothing."""
    return str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))


def text_of(error: Exception) -> str:
    """AWS's own words, without botocore's frame around them."""
    return str((getattr(error, "response", None) or {}).get("Error", {}).get("Message", "") or error).rstrip(".")


def nearest(word: str, words: list[str]) -> str:
    """A hint at the known words most like the given one, or nothing."""
    alike = difflib.get_close_matches(word, words, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(alike)}?" if alike else ""


def clock(text: str) -> str:
    """A sentence on a clock that is wrong, if that is why AWS refuses the signature, or nothing."""
    found = SKEWED.search(text)
    if not found:
        return ""
    here, there = (datetime.datetime.strptime(one, "%Y%m%dT%H%M%SZ") for one in found.groups())  # noqa: DTZ007 - both are UTC
    minutes = round(abs((here - there).total_seconds()) / 60)
    return (
        f"This machine's clock is {minutes} minutes {'behind' if here < there else 'ahead'} of AWS's, which takes no requests from "
        "it: set it right (such as with `timedatectl set-ntp true`), then run the same command."
    )


def explain(error: Exception, doing: str) -> str:
    """One sentence for an error of any call."""
    code, text = code_of(error), text_of(error)
    if clock(text):
        return clock(text)
    if isinstance(error, aws.MissingDependencyException):
        return (
            "The AWS profile signs in with `aws login`, and for that a package is missing here (botocore[crt]): run `make setup` "
            "again, then the same command."
        )
    if isinstance(error, (aws.NoCredentialsError, aws.CredentialRetrievalError)):
        return f"No AWS credentials were found ({text}): {WAYS_OUT}"
    if isinstance(error, aws.PartialCredentialsError):
        return f"The AWS credentials are incomplete ({text}): {WAYS_OUT}"
    if code in EXPIRED or isinstance(
        error, (aws.TokenRetrievalError, aws.SSOTokenLoadError, aws.UnauthorizedSSOTokenError, aws.LoginError)
    ):
        return (
            f"The AWS credentials have expired ({text}): sign in again (`aws login`, `aws sso login`, or new keys), then run "
            "the same command."
        )
    if code in WRONG_CREDENTIALS:
        return f"AWS does not accept these credentials ({code}: {text}): {WAYS_OUT}"
    if code in FORBIDDEN:
        return (
            f"These credentials may not {doing} ({code}: {text}): ask whoever runs the AWS account for that permission."
        )
    if isinstance(
        error, (aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.ReadTimeoutError, aws.ConnectionError)
    ):
        return f"AWS cannot be reached ({text}): check your network, and AWS_ENDPOINT_URL if you set it."
    return f"AWS would not {doing} ({code + ': ' if code else ''}{text})."


def check_region(region: str, known: list[str], ask: Any) -> None:
    """Refuse a region that does not exist, or that this account has not switched on."""
    if region in known:
        return
    status = {r["RegionName"]: r.get("OptInStatus", "") for r in ask(AllRegions=True)["Regions"]}
    if region not in status:
        raise Refusal(
            f"There is no AWS region '{region}': correct "
            f"ec2_provision_region.{nearest(region, sorted({*known, *status}))}"
        )


def check_enabled(region: str, ask: Any) -> None:
    """Refuse a region that exists but is switched off for this account: AWS calls that wrong credentials."""
    status = {r["RegionName"]: r.get("OptInStatus", "") for r in ask(AllRegions=True)["Regions"]}
    if status.get(region) == "not-opted-in":
        raise Refusal(
            f"The region {region} is not switched on in this account: enable it in the AWS console, or choose another "
            "ec2_provision_region."
        )


def find_type(ec2: Any, wanted: str, region: str) -> dict[str, Any]:
    """What the type has, or a refusal that tells a misspelt type from one that this region does not offer."""
    try:
        found = ec2.describe_instance_types(InstanceTypes=[wanted])["InstanceTypes"][0]
    except aws.ClientError as error:
        if not code_of(error).startswith(("InvalidInstanceType", "InvalidParameterValue")):
            raise
        types = list(ec2.meta.service_model.shape_for("InstanceType").enum)
        if wanted in types:
            raise not_offered(wanted, region) from error
        raise Refusal(
            f"There is no instance type '{wanted}': correct ec2_provision_instance_type.{nearest(wanted, types)}"
        ) from error
    return {
        "name": wanted,
        "architecture": "arm64" if "arm64" in found["ProcessorInfo"]["SupportedArchitectures"] else "x86_64",
        "vcpus": found["VCpuInfo"]["DefaultVCpus"],
        "memory_gib": round(found["MemoryInfo"]["SizeInMiB"] / 1024, 1),
        "burstable": bool(found.get("BurstablePerformanceSupported")),
    }


def not_offered(wanted: str, region: str) -> Refusal:
    """The sentence for a type that exists elsewhere."""
    return Refusal(
        f"The instance type {wanted} is not offered in {region}: choose another ec2_provision_instance_type or "
        "ec2_provision_region."
    )


def find_zones(ec2: Any, wanted: str, region: str) -> list[str]:
    """The zones of the region that offer the type, in order."""
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [wanted]}]
    )
    zones = sorted(offer["Location"] for page in pages for offer in page["InstanceTypeOfferings"])
    if not zones:
        raise not_offered(wanted, region)
    return zones


def find_placement(ec2: Any, options: dict[str, Any], zones: list[str], region: str) -> list[str]:
    """The zones that may take it: all, the one that is named, or those where a reservation waits for it."""
    wanted, kind = options["zone"], options["instance_type"]
    if not wanted:
        return zones
    if wanted != "reserved":
        if wanted not in zones:
            raise Refusal(
                f"{kind} is offered in {', '.join(zones)}, and ec2_provision_zone is '{wanted}': name one of these, or leave it empty."
            )
        return [wanted]
    active = {"state": "active", "instance-type": kind}
    found = ec2.describe_reserved_instances(Filters=[{"Name": k, "Values": [v]} for k, v in active.items()])[
        "ReservedInstances"
    ]
    if not found:
        raise Refusal(
            f"This account has no active reserved instance of {kind} in {region}, and ec2_provision_zone is reserved: leave it empty, "
            "or choose the ec2_provision_instance_type or ec2_provision_region that is reserved."
        )
    # A reservation for the whole region counts in each of its zones.
    if any(one.get("Scope") == "Region" or not one.get("AvailabilityZone") for one in found):
        return zones
    return sorted({str(one["AvailabilityZone"]) for one in found} & set(zones))


def find_baked(ec2: Any, options: dict[str, Any], architecture: str) -> str:
    """The newest image that bake.yml made: of the server that is named, or with "latest" of any server of the project."""
    wanted = {
        "tag:Project": options["project"],
        "tag:Role": "image",
        "state": "available",
        "architecture": architecture,
    }
    if options["image_id"] != "latest":
        wanted["tag:Name"] = options["image_id"]
    found = ec2.describe_images(Owners=["self"], Filters=[{"Name": k, "Values": [v]} for k, v in wanted.items()])
    images = sorted(found["Images"], key=lambda one: (str(one["CreationDate"]), str(one.get("Name", ""))))
    return str(images[-1]["ImageId"]) if images else ""


def find_image(ec2: Any, ssm: Any, options: dict[str, Any], architecture: str) -> dict[str, Any]:
    """The image: the given one, else the one the public parameter names, else the publisher's newest."""
    images: list[dict[str, Any]] = []
    wanted = options["image_id"]
    if wanted and not wanted.startswith("ami-"):
        wanted = find_baked(ec2, options, architecture)
        if not wanted:
            return {}
    parameter = options["image_parameters"].get(architecture)
    if not wanted and parameter:
        try:
            wanted = ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
        except aws.ClientError as error:
            if code_of(error) not in {"ParameterNotFound", *FORBIDDEN}:
                raise
    if wanted:
        try:
            images = ec2.describe_images(ImageIds=[wanted])["Images"]
        except aws.ClientError as error:
            if not code_of(error).startswith("InvalidAMIID"):
                raise
    if not images and not options["image_id"] and architecture in options["image_names"]:
        filters = {"name": options["image_names"][architecture], "architecture": architecture, "state": "available"}
        images = ec2.describe_images(
            Owners=[options["image_owner"]], Filters=[{"Name": k, "Values": [v]} for k, v in filters.items()]
        )["Images"]
    if not images:
        return {}
    image = max(images, key=lambda one: one["CreationDate"])
    root = image.get("RootDeviceName", "/dev/xvda")
    sizes = [
        b["Ebs"].get("VolumeSize", 0)
        for b in image.get("BlockDeviceMappings", [])
        if b.get("DeviceName") == root and "Ebs" in b
    ]
    return {
        "id": image["ImageId"],
        "name": image.get("Name", ""),
        "architecture": image.get("Architecture", ""),
        "root_device_name": root,
        "disk_gb": max(sizes, default=0),
        # What bake.yml noted: which system is in an image that it made.
        "os": next((tag["Value"] for tag in image.get("Tags", []) if tag["Key"] == "Os"), ""),
    }


def find_network(ec2: Any, options: dict[str, Any], zones: list[str]) -> dict[str, Any]:
    """The subnets that may take it: the given one, or those of the given VPC, the server's own, or the default one."""

    def subnets(**filters: str) -> list[dict[str, Any]]:
        return list(
            ec2.describe_subnets(Filters=[{"Name": k.replace("_", "-"), "Values": [v]} for k, v in filters.items()])[
                "Subnets"
            ]
        )

    def vpc(**filters: str) -> str:
        found = ec2.describe_vpcs(Filters=[{"Name": k.replace("__", ":"), "Values": [v]} for k, v in filters.items()])[
            "Vpcs"
        ]
        return found[0]["VpcId"] if found else ""

    given, own = options["vpc_id"], ""
    if options["subnet_id"]:
        found = subnets(subnet_id=options["subnet_id"])
        if not found:
            raise Refusal(f"There is no subnet {options['subnet_id']} in this region: correct ec2_provision_subnet_id.")
        if given and found[0]["VpcId"] != given:
            raise Refusal(
                f"The subnet {options['subnet_id']} is in {found[0]['VpcId']}, not in {given}: correct "
                "ec2_provision_vpc_id or ec2_provision_subnet_id."
            )
        chosen, where = found[0]["VpcId"], f"the subnet {options['subnet_id']}"
    elif given:
        found = subnets(vpc_id=given)
        if not found:
            raise Refusal(f"There is no VPC {given} with a subnet in this region: correct ec2_provision_vpc_id.")
        chosen, where = given, f"the VPC {given}"
    else:
        own = vpc(tag__Project=options["project"], tag__Name=options["name"])
        chosen = own or vpc(isDefault="true")
        if not chosen:
            if options["vpc_create"]:
                return {}
            raise Refusal(
                "This region has no default VPC and ec2_provision_vpc_create is false: allow it to make one, "
                "or name yours in ec2_provision_vpc_id or ec2_provision_subnet_id."
            )
        found, where = subnets(vpc_id=chosen), "the default VPC"
        if own:  # an earlier run may have been interrupted between the VPC and its subnets
            where = "the server's VPC"
            if not found:
                return {}
    usable = sorted((s for s in found if s["AvailabilityZone"] in zones), key=lambda s: str(s["AvailabilityZone"]))
    if not usable:
        raise Refusal(
            f"The instance type {options['instance_type']} is offered in {', '.join(zones)}, but {where} has no "
            "subnet there: "
            "choose another ec2_provision_subnet_id, ec2_provision_vpc_id or ec2_provision_instance_type."
        )
    return {
        "vpc_id": chosen,
        "made": bool(own),
        "subnets": [{"id": s["SubnetId"], "zone": s["AvailabilityZone"]} for s in usable],
    }


def check_login(profile: str | None) -> None:
    """Refuse a profile of `aws login` that cannot be used here; amazon.aws would say so in botocore's words."""
    session = botocore.session.Session(profile=profile or None)
    try:
        if "login_session" in session.get_scoped_config():
            session.get_credentials()
    except aws.BotoCoreError as error:
        raise Refusal(explain(error, "say whose they are")) from None


def survey(module: Any) -> dict[str, Any]:
    """Ask in the order in which a person would want to know."""
    region, options = module.region or HOME_REGION, module.params
    if bool(options.get("access_key")) != bool(options.get("secret_key")):
        raise Refusal(
            "The AWS credentials are incomplete (one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is not set): "
            f"{WAYS_OUT}"
        )
    profiles = boto3.session.Session().available_profiles
    if options.get("profile") and options["profile"] not in profiles:
        raise Refusal(
            f"There is no AWS profile '{options['profile']}': correct "
            f"ec2_provision_profile.{nearest(options['profile'], profiles)}"
        )
    check_login(options.get("profile"))
    known = boto3.session.Session().get_available_regions("ec2", partition_name=partition(region))
    first = region if region in known else HOME_REGION
    doing = "say whose they are"
    try:
        try:
            caller = module.client("sts", region=first).get_caller_identity()
        except aws.ClientError as error:
            if code_of(error) in WRONG_CREDENTIALS and first != HOME_REGION and partition(region) == "aws":
                check_enabled(region, module.client("ec2", region=HOME_REGION).describe_regions)
            raise
        doing = "look at what this region offers"
        check_region(region, known, module.client("ec2", region=first).describe_regions)
        ec2, ssm = module.client("ec2"), module.client("ssm")
        kind = find_type(ec2, options["instance_type"], region)
        zones = find_zones(ec2, options["instance_type"], region)
        image = find_image(ec2, ssm, options, kind["architecture"])
        placement = find_placement(ec2, options, zones, region)
        network = find_network(ec2, options, placement)
    except (aws.ClientError, aws.BotoCoreError) as error:
        raise Refusal(explain(error, doing)) from None
    endpoint = ec2.meta.endpoint_url
    return {
        "account_id": caller["Account"],
        "arn": caller["Arn"],
        "endpoint": None if ".amazonaws.com" in endpoint else endpoint,
        "region": region,
        "type": kind,
        "zones": zones,
        "placement": placement,
        "image": image,
        "network": network,
    }


def partition(region: str) -> str:
    """The part of AWS that a region belongs to."""
    return {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(
        "us-gov" if region.startswith("us-gov") else region.split("-")[0], "aws"
    )


def refuse(module: Any, sentence: str) -> NoReturn:
    """End with one sentence."""
    module.fail_json(msg=sentence)
    raise SystemExit(1)


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "instance_type": {"type": "str", "required": True},
            "image_id": {"type": "str", "default": ""},
            "image_parameters": {"type": "dict", "default": {}},
            "image_owner": {"type": "str", "default": ""},
            "image_names": {"type": "dict", "default": {}},
            "vpc_id": {"type": "str", "default": ""},
            "subnet_id": {"type": "str", "default": ""},
            "vpc_create": {"type": "bool", "default": True},
            "zone": {"type": "str", "default": ""},
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **survey(module))
    except Refusal as sentence:
        refuse(module, str(sentence))


if __name__ == "__main__":
    main()

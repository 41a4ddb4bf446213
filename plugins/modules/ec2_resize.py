#!/usr/bin/python
"""Give a server's instance another type. Whatever goes wrong, it ends on one of the two types and runs if it ran."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_resize
short_description: Another instance type for a server
description:
  - Refuses, before anything is touched, a type that there is not, that is not offered in the instance's zone, that has another
    architecture or cannot start this instance's system, and one that is more than the account's quota of vCPUs.
  - Stops the instance, changes the type and starts it again. A stopped one stays stopped. When AWS has no room for the new type
    (or anything else fails) the old type is put back and started, and the module fails.
  - While a running instance is stopped for it, a tag says what it was, so that a run that was cut off is finished by the next one.
options:
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: Value of the Name tag, type: str, required: true}
  instance_type: {description: The wanted type, type: str, required: true}
  wait_timeout: {description: Seconds to wait for a stop or a start, type: int, default: 600}
author: [The project's authors]
"""

EXAMPLES = """
- name: More power
  ec2_resize:
    project: notebooks
    name: demo
    instance_type: m7i.xlarge
"""

RETURN = """
instance: {description: "The instance as it was found: id, state, type, zone, address, tags", type: dict, returned: success}
before: {description: "The type it has, or had before a resize that was cut off", type: str, returned: success}
type: {description: "The wanted type: name, vcpus, memory_gib, burstable, architectures", type: dict, returned: success}
runs: {description: Whether it runs when all is done, type: bool, returned: success}
notes: {description: What could not be looked at, type: list, returned: success}
now: {description: A sentence on how things are, type: str, returned: failure}
"""

import difflib
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import instances, pages
from ansible.module_utils.server_power import (
    MARK,
    Refusal,
    Trouble,
    code_of,
    facts,
    look,
    now,
    start,
    stop,
    the_instance,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

# Quotas of running on-demand vCPUs, by the letters that a type starts with; longer ones first.
QUOTAS = (
    (("inf",), "L-1945791B", "Inf"),
    (("trn",), "L-2C3B7624", "Trn"),
    (("dl",), "L-6E869C2A", "DL"),
    (("hpc",), "L-F7808C92", "HPC"),
    (("u-", "u7"), "L-43DA4232", "High Memory"),
    (("g", "vt"), "L-DB2E81BA", "G and VT"),
    (("f",), "L-74FC7D96", "F"),
    (("p",), "L-417A185B", "P"),
    (("x",), "L-7295265B", "X"),
    (("a", "c", "d", "h", "i", "m", "r", "t", "z"), "L-1216C47A", "Standard (A, C, D, H, I, M, R, T, Z)"),
)


def quota_of(kind: str) -> tuple[str, str]:
    """Code and name of the quota that a type counts against."""
    return next(((code, name) for heads, code, name in QUOTAS if kind.startswith(heads)), ("", ""))


def find_type(ec2: Any, wanted: str) -> dict[str, Any]:
    """What AWS says of the type, or a refusal with those that are spelt alike."""
    try:
        return dict(ec2.describe_instance_types(InstanceTypes=[wanted])["InstanceTypes"][0])
    except aws.ClientError as error:
        if not code_of(error).startswith(("InvalidInstanceType", "InvalidParameterValue")):
            raise
        types = list(ec2.meta.service_model.shape_for("InstanceType").enum)
        if wanted in types:
            raise Refusal(
                f"The instance type {wanted} is not offered in {ec2.meta.region_name}: choose another."
            ) from error
        alike = difflib.get_close_matches(wanted, types, n=3, cutoff=0.6)
        hint = f" Did you mean {' or '.join(alike)}?" if alike else ""
        raise Refusal(f"There is no instance type '{wanted}': correct it.{hint}") from error


def zones_of(ec2: Any, wanted: str) -> list[str]:
    """The zones of the region that offer the type."""
    only = [{"Name": "instance-type", "Values": [wanted]}]
    offers = pages(
        ec2, "describe_instance_type_offerings", "InstanceTypeOfferings", LocationType="availability-zone", Filters=only
    )
    return sorted(offer["Location"] for offer in offers)


def problems(
    name: str, instance: dict[str, Any], before: dict[str, Any], kind: dict[str, Any], zones: list[str]
) -> list[str]:
    """Why this instance cannot become that type; instance and types are as AWS describes them."""
    wanted, own = kind["InstanceType"], instance.get("Architecture", "x86_64")
    supported = kind["ProcessorInfo"]["SupportedArchitectures"]
    if own not in supported:
        return [
            f"{wanted} is {' or '.join(supported)} and the system of {name} is {own}: choose a type of that architecture; "
            "the other needs a new server."
        ]
    zone = instance["Placement"]["AvailabilityZone"]
    if zone not in zones:
        return [
            f"{wanted} is not offered in {zone}, where {name} is"
            + (f" (but in {', '.join(zones)})" if zones else "")
            + ": choose another type; to move to another zone, restore a backup to a new server."
        ]
    found = []
    if instance.get("InstanceLifecycle") == "spot":
        found.append(
            f"{name} is a spot server, and AWS changes no spot server's type: launch another one, or use on-demand."
        )
    if instance.get("RootDeviceType", "ebs") != "ebs":
        found.append(
            f"The system of {name} is on an instance store, which is lost when it stops: it cannot be resized."
        )
    if instance.get("VirtualizationType", "hvm") not in kind.get("SupportedVirtualizationTypes", ["hvm"]):
        found.append(
            f"{wanted} cannot start a system of the kind {instance['VirtualizationType']}: launch a new server."
        )
    # A type that needs them already shows that the system has the drivers.
    needs_ena = kind.get("NetworkInfo", {}).get("EnaSupport") == "required"
    has_ena = instance.get("EnaSupport") or before.get("NetworkInfo", {}).get("EnaSupport") == "required"
    if needs_ena and not has_ena:
        found.append(
            f"{wanted} needs the network driver ENA, and {name} is not marked as having it: see ena-support in AWS's "
            "documentation on changing the instance type, or launch a new server."
        )
    boot = instance.get("CurrentInstanceBootMode") or instance.get("BootMode")
    if boot in ("uefi", "legacy-bios") and boot not in kind.get("SupportedBootModes", [boot]):
        found.append(f"{wanted} cannot start by {boot}, as {name} does: choose another type.")
    return found


def quota_problem(ec2: Any, quotas: Any, instance: dict[str, Any], kind: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Why the account's quota of vCPUs does not allow the type; and a note when that cannot be found out."""
    wanted, vcpus = kind["InstanceType"], int(kind["VCpuInfo"]["DefaultVCpus"])
    code, family = quota_of(wanted)
    if not code or instance.get("InstanceLifecycle") == "spot":
        return [], [f"The quota of vCPUs for {wanted} was not looked at: it is not known which one counts."]
    try:
        limit = quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
        others = instances(ec2, [], ("pending", "running"))
    except (aws.ClientError, aws.BotoCoreError) as error:
        return [], [f"The account's quota of vCPUs was not looked at ({code_of(error) or type(error).__name__})."]
    used = sum(
        i.get("CpuOptions", {}).get("CoreCount", 0) * i.get("CpuOptions", {}).get("ThreadsPerCore", 1)
        for i in others
        if quota_of(i["InstanceType"])[0] == code
        and i.get("InstanceLifecycle") != "spot"
        and i["InstanceId"] != instance["InstanceId"]
    )
    if used + vcpus <= limit:
        return [], []
    return [
        f"{wanted} has {vcpus} vCPUs, {used} are in use by others, and the account's quota for {family} is {limit:g}: choose a "
        "smaller type, stop something, or ask for more under Service Quotas, Amazon EC2, in the AWS console."
    ], []


def find(ec2: Any, quotas: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The server and the type, or a refusal."""
    name, wanted = options["name"], options["instance_type"]
    instance = the_instance(ec2, options["project"], name)
    found = facts(instance)
    # Stopped by a resize that did not come to its end: it is to run, and its former type is the one in the tag.
    cut_off = found["state"] in ("stopping", "stopped") and MARK in found["tags"]
    before = found["tags"][MARK] if cut_off else found["type"]
    kind = find_type(ec2, wanted)
    notes: list[str] = []
    if wanted != found["type"]:
        own = find_type(ec2, found["type"])
        wrong = problems(name, instance, own, kind, zones_of(ec2, wanted))
        if not wrong:
            wrong, notes = quota_problem(ec2, quotas, instance, kind)
        if wrong:
            raise Refusal(" ".join([*wrong, f"{name} is as it was."]))
    return {
        "instance": found,
        "before": before,
        "runs": found["state"] in ("pending", "running") or cut_off,
        "cut_off": cut_off,
        "marked": MARK in found["tags"],
        "notes": notes,
        "type": {
            "name": wanted,
            "vcpus": kind["VCpuInfo"]["DefaultVCpus"],
            "memory_gib": round(kind["MemoryInfo"]["SizeInMiB"] / 1024, 1),
            "burstable": bool(kind.get("BurstablePerformanceSupported")),
        },
    }


def changes(found: dict[str, Any]) -> bool:
    """Whether there is something to do."""
    return bool(found["instance"]["type"] != found["type"]["name"] or found["marked"])


def retype(ec2: Any, instance_id: str, wanted: str) -> None:
    """Change the type of a stopped instance."""
    ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": wanted})


def apply(ec2: Any, found: dict[str, Any], name: str, seconds: float) -> str:
    """Stop, change, start; back to the former type on any error. Gives the address."""
    instance, before, wanted = found["instance"], found["before"], found["type"]["name"]
    one = instance["id"]
    if instance["type"] == wanted and not found["cut_off"]:
        unmark(ec2, one, name)
        return str(instance["public_ip"])
    address = ""
    try:
        if found["runs"] and not found["cut_off"]:
            ec2.create_tags(Resources=[one], Tags=[{"Key": MARK, "Value": before}])
        stop(ec2, one, instance["state"], seconds)
        if instance["type"] != wanted:
            retype(ec2, one, wanted)
        if found["runs"]:
            address = str(start(ec2, one, "stopped", seconds).get("PublicIpAddress", ""))
    except (aws.ClientError, aws.BotoCoreError) as error:
        raise Trouble(error, back(ec2, found, name, seconds)) from error
    if found["runs"]:
        unmark(ec2, one, name)
    return address


def unmark(ec2: Any, instance_id: str, name: str) -> None:
    """Take the tag away."""
    try:
        ec2.delete_tags(Resources=[instance_id], Tags=[{"Key": MARK}])
    except (aws.ClientError, aws.BotoCoreError) as error:
        raise Trouble(error, f"{now(ec2, name, instance_id)} Only its tag {MARK} is left.") from error


def back(ec2: Any, found: dict[str, Any], name: str, seconds: float) -> str:
    """Put the former type back, and start it if it ran; say how things are now, whatever comes of it."""
    one, before = found["instance"]["id"], found["before"]
    try:
        instance = look(ec2, one)
        state = instance["State"]["Name"]
        if state in ("stopping", "stopped"):
            stop(ec2, one, state, seconds)
            if instance["InstanceType"] != before:
                retype(ec2, one, before)
            if found["runs"]:
                start(ec2, one, "stopped", seconds)
        if MARK in facts(instance)["tags"]:
            ec2.delete_tags(Resources=[one], Tags=[{"Key": MARK}])
    except (aws.ClientError, aws.BotoCoreError) as error:
        again = f" Start it with: ansible-playbook playbooks/start.yml -l {name}" if found["runs"] else ""
        return f"The way back failed too ({code_of(error) or error}). {now(ec2, name, one)}{again}"
    return now(ec2, name, one)


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "instance_type": {"type": "str", "required": True},
            "wait_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    options = module.params
    name = options["name"]
    ec2 = module.client("ec2")
    address = ""
    try:
        found = find(ec2, module.client("service-quotas"), options)
        changed = changes(found)
        if changed and not module.check_mode:
            address = apply(ec2, found, name, options["wait_timeout"])
    except Refusal as sentence:
        module.fail_json(msg=str(sentence))
    except Trouble as trouble:
        module.fail_json_aws(trouble.error, msg=f"{name} did not become {options['instance_type']}", now=trouble.now)
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"AWS would not say what it has for {name}", now="Nothing was changed.")
    module.exit_json(changed=changed, public_ip=address, **found)


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Remove a server and what was made for it, except what is to stay."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_destroy
short_description: Remove everything of one server from AWS, except what is to stay
description:
  - Decides for each thing that ec2_project_info found whether it goes, goes along with the instance, or stays, and removes those that go.
    What costs the most goes first.
  - Data volumes, backups and images stay unless it is said. Buckets, tables and what bears no tag of the server always stay.
  - A run that was cut off is run again. What is gone already is no error. In check mode nothing is done; the answer is the plan.
options:
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: Value of the Name tag, type: str, required: true}
  found: {description: What ec2_project_info found, type: dict, required: true}
  record: {description: What was known of the server on this machine, type: dict, default: {}}
  data_volume: {description: What becomes of the data volume, type: str, choices: [keep, delete], default: keep}
  backups: {description: What becomes of its backups, type: str, choices: [keep, delete], default: keep}
  images: {description: What becomes of its images, type: str, choices: [keep, delete], default: keep}
  final_backup: {description: Whether a last backup is wanted before anything goes. It stays, type: bool, default: true}
  wait_timeout: {description: Seconds to wait for the instance's end, type: int, default: 600}
  delay: {description: Seconds between two looks, type: int, default: 5}
author: [The project's authors]
"""

EXAMPLES = """
- name: Destroy
  ec2_destroy:
    project: notebooks
    name: demo
    found: "{{ survey.found }}"
"""

RETURN = """
go: {description: "What goes, each with how: by itself, or with the instance", type: list, returned: always}
stay: {description: What stays, each with why, type: list, returned: always}
problems: {description: Sentences on why nothing can be removed now, type: list, returned: always}
final: {description: "The last backup: volume, gb, role, and the snapshot if it was made already", type: dict, returned: always}
account_id: {description: The account, type: str, returned: always}
removed: {description: What was removed, type: list, returned: success}
"""

import time
from collections.abc import Callable
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import instances
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

# In this order: what may launch something again, what costs, then what the others hold on to.
ORDER = (
    "spot_requests",
    "schedules",
    "instances",
    "volumes",
    "addresses",
    "images",
    "snapshots",
    "network_interfaces",
    "security_groups",
    "key_pairs",
    "launch_templates",
    "internet_gateways",
    "subnets",
    "route_tables",
    "vpcs",
    "instance_profiles",
    "roles",
    "alarms",
    "budgets",
    "schedule_groups",
)
# How long the rest may take when something could not be removed.
AFTER_FAILURE_S = 30
# What AWS answers while another thing is still on its way out.
HELD = {
    "DependencyViolation",
    "VolumeInUse",
    "InvalidNetworkInterface.InUse",
    "InvalidIPAddress.InUse",
    "InvalidSnapshot.InUse",
    "DeleteConflict",
    "IncorrectState",
}
GONE = {
    "NoSuchEntity",
    "ResourceNotFoundException",
    "NotFoundException",
    "InvalidAMIID.Unavailable",
    "Gateway.NotAttached",
}


class Trouble(Exception):
    """What could not be removed, and why."""

    def __init__(self, doing: str, error: Any, removed: list[str], left: list[str]) -> None:
        super().__init__(doing)
        self.doing, self.error, self.removed, self.left = doing, error, removed, left


def code_of(error: Any) -> str:
    """AWS's code of an error, or nothing."""
    return str(error.response["Error"]["Code"]) if isinstance(error, aws.ClientError) else ""


def words(thing: dict[str, Any]) -> str:
    """A thing as people call it."""
    kind = thing["kind"].replace("_", " ").removesuffix("s")
    return f"{kind} {thing['id']}" if thing["id"] == thing["name"] else f"{kind} {thing['name']} ({thing['id']})"


def volume_fate(thing: dict[str, Any], options: dict[str, Any], going: set[str]) -> tuple[str, str]:
    """What becomes of a volume. Only what cannot be a person's data goes unasked."""
    role, here = thing["tags"].get("Role", ""), thing["attached_to"] in going
    if role == "dataset" and thing["by"] == "tags":
        return "go", "a copy of public data"
    if here and thing["deleted_with_instance"] and not role.startswith("data"):
        return "with", "goes with the instance"
    if thing["by"] != "tags":
        return "stay", "was attached by hand"
    if options["data_volume"] == "delete":
        return "go", "its data are lost"
    return "stay", "its data; the next server of this name gets it" if role == "data" else "may hold data"


def snapshot_fate(
    thing: dict[str, Any], options: dict[str, Any], of_images: set[str], gone: set[str]
) -> tuple[str, str]:
    """What becomes of a snapshot."""
    if thing["id"] in of_images:
        return ("go", "part of an image") if thing["id"] in gone else ("stay", "part of an image")
    if thing["by"] != "tags":
        return "stay", "was made by hand"
    if thing["tags"].get("Role") == "image":
        return ("go" if options["images"] == "delete" else "stay"), "part of an image"
    last = thing["tags"].get("Final") == "yes"
    if options["backups"] == "delete" and not (last and options["final_backup"]):
        return "go", "a backup"
    return "stay", "the last backup" if last else "a backup"


def fate(thing: dict[str, Any], options: dict[str, Any], about: dict[str, set[str]]) -> tuple[str, str]:
    """Whether a thing goes, goes with the instance, or stays; and why."""
    kind = thing["kind"]
    if kind == "volumes":
        return volume_fate(thing, options, about["instances"])
    if kind == "snapshots":
        return snapshot_fate(thing, options, about["image_snapshots"], about["image_snapshots_gone"])
    if kind == "images":
        return ("go" if options["images"] == "delete" else "stay"), "an image"
    if kind == "network_interfaces" and thing["attached_to"] in about["instances"]:
        return "with", "goes with the instance"
    if kind in ("buckets", "tables"):
        return "stay", "its data; this project never removes it"
    if kind not in ORDER:
        return "stay", "bears the server's tags, but this project did not make it"
    if thing["by"] == "attached" or (kind in ("roles", "instance_profiles") and thing["by"] != "tags"):
        return "stay", "does not bear the server's tags"
    return "go", ""


def mine(options: dict[str, Any]) -> list[dict[str, Any]]:
    """The things of this server."""
    every = [thing for some in options["found"].values() for thing in some]
    return [thing for thing in every if thing["server"] == options["name"]]


def plan(options: dict[str, Any]) -> dict[str, Any]:
    """What goes and what stays."""
    things = mine(options)
    images = [thing for thing in things if thing["kind"] == "images"]
    about = {
        "instances": {thing["id"] for thing in things if thing["kind"] == "instances" and thing["by"] == "tags"},
        "image_snapshots": {snapshot for image in images for snapshot in image["snapshots"]},
        "image_snapshots_gone": {s for i in images if options["images"] == "delete" for s in i["snapshots"]},
    }
    go: list[dict[str, Any]] = []
    stay: list[dict[str, Any]] = []
    for thing in things:
        what, why = fate(thing, options, about)
        (stay if what == "stay" else go).append({**thing, "how": what, "why": why})
    # The group of the schedules is the project's: it goes with the last server that has one.
    others = {one["group"] for one in options["found"].get("schedules", []) if one["server"] != options["name"]}
    mine_too = {one["group"] for one in go if one["kind"] == "schedules"}
    for group in options["found"].get("schedule_groups", []):
        last = not any(one["server"] not in ("", options["name"]) for one in options["found"].get("instances", []))
        if group["id"] not in others and (group["id"] in mine_too or last) and group["server"] != options["name"]:
            go.append({**group, "how": "go", "why": "empty"})
    go.sort(key=lambda thing: ORDER.index(thing["kind"]))
    return {"go": go, "stay": stay, "final": final(things, go, options)}


def final(things: list[dict[str, Any]], go: list[dict[str, Any]], options: dict[str, Any]) -> dict[str, Any]:
    """Which volume is to be copied a last time, and the copy if an earlier run made it. Empty: there is nothing to lose."""
    alive = [one for one in go if one["kind"] == "instances" and one["state"] != "shutting-down"]
    volumes = [one for one in things if one["kind"] == "volumes" and one["by"] == "tags"]
    data = [one for one in volumes if one["tags"].get("Role") == "data"]
    going = {one["id"] for one in go}
    if data and not alive and not any(one["id"] in going for one in data):
        return {}
    roots = [one for one in things if one["kind"] == "volumes" and one["root"] and alive]
    target = next(iter(data or roots), None)
    if not target or not options["final_backup"]:
        return {}
    made = ""
    for one in things:
        last = one["kind"] == "snapshots" and one["tags"].get("Final") == "yes" and one["state"] == "completed"
        # Nothing can have changed on the volume of an instance that has not run since.
        if (
            last
            and one["volume_id"] == target["id"]
            and alive
            and all(i["state"] == "stopped" and i["launched"] < one["created"] for i in alive)
        ):
            made = one["id"]
    role = "data" if target["tags"].get("Role") == "data" else "root"
    running = [one["id"] for one in alive if one["state"] in ("running", "pending", "stopping")]
    return {"volume": target["id"], "gb": target["gb"], "role": role, "snapshot": made, "running": running}


def problems(
    clients: Callable[[str], Any], planned: dict[str, Any], options: dict[str, Any], account: str
) -> list[str]:
    """Why nothing can be removed now."""
    name, record, ec2 = options["name"], options["record"], clients("ec2")
    if record.get("account_id") and str(record["account_id"]) != account:
        return [
            f"{name} was launched in AWS account {record['account_id']}, and these credentials are of account {account}: use the "
            "credentials (or ec2_provision_profile) of the first."
        ]
    going = [one for one in planned["go"] if one["kind"] == "instances"]
    known = [one["id"] for one in options["found"].get("instances", [])]
    if record.get("instance_id") and record["instance_id"] not in known:
        wanted = [{"Name": "instance-id", "Values": [record["instance_id"]]}]
        if instances(ec2, wanted):
            return [
                f"The instance of {name}, {record['instance_id']}, is there, but does not bear the tags Project={options['project']} and "
                f"Name={name} any more: give it these tags again, or terminate it in the AWS console."
            ]
    said = []
    for one in going:
        if one["state"] == "shutting-down":
            continue
        try:
            answer = ec2.describe_instance_attribute(InstanceId=one["id"], Attribute="disableApiTermination")
        except aws.ClientError as error:
            if code_of(error) == "InvalidInstanceID.NotFound":
                continue
            raise
        if answer["DisableApiTermination"]["Value"]:
            said.append(
                f"{name} ({one['id']}) is protected against termination: set ec2_provision_termination_protection to false, apply it "
                "with site.yml, and run the same command again. Nothing was removed."
            )
    ids = {one["id"] for one in going}
    for one in planned["go"]:
        if one["kind"] == "volumes" and one["how"] == "go" and one["attached_to"] and one["attached_to"] not in ids:
            said.append(
                f"The volume {one['id']} is attached to {one['attached_to']}, which is not {name}: detach it first."
            )
    return said


class Removal:
    """The removal of one thing after another."""

    def __init__(self, clients: Callable[[str], Any], options: dict[str, Any], account: str) -> None:
        self.clients, self.options, self.account = clients, options, account
        self.ec2 = clients("ec2")
        self.end = time.monotonic() + options["wait_timeout"]

    def pause(self) -> bool:
        """Wait a little. False: there is no time left."""
        if time.monotonic() >= self.end:
            return False
        time.sleep(self.options["delay"])
        return True

    def patiently(self, call: Callable[..., Any], **request: Any) -> None:
        """Remove something; it may be gone already, or be held by something that is on its way out."""
        while True:
            try:
                call(**request)
            except aws.ClientError as error:
                code = code_of(error)
                if code in GONE or code.endswith((".NotFound", "NotFoundException")):
                    return
                if code not in HELD or not self.pause():
                    raise
                continue
            return

    def instances(self, things: list[dict[str, Any]], stay: list[dict[str, Any]]) -> None:
        """Terminate, and wait until the instances let go of what they hold. Volumes that stay are made safe first."""
        ids = [one["id"] for one in things]
        for volume in stay:
            if volume["kind"] == "volumes" and volume["attached_to"] in ids and volume["deleted_with_instance"]:
                device = {"DeviceName": volume["device"], "Ebs": {"DeleteOnTermination": False}}
                self.ec2.modify_instance_attribute(InstanceId=volume["attached_to"], BlockDeviceMappings=[device])
        try:
            self.ec2.terminate_instances(InstanceIds=ids)
        except aws.ClientError as error:
            if code_of(error) != "InvalidInstanceID.NotFound":
                raise
        wanted = [{"Name": "instance-id", "Values": ids}]
        while instances(self.ec2, wanted):
            if not self.pause():
                raise RuntimeError(f"it was not terminated within {self.options['wait_timeout']} seconds")

    def addresses(self, thing: dict[str, Any]) -> None:
        """Give an address back. The instance took its association with it: only one that is still there is undone."""
        wanted = [{"Name": "allocation-id", "Values": [thing["id"]]}]
        for address in self.ec2.describe_addresses(Filters=wanted)["Addresses"]:
            if address.get("AssociationId"):
                self.patiently(self.ec2.disassociate_address, AssociationId=address["AssociationId"])
        self.patiently(self.ec2.release_address, AllocationId=thing["id"])

    def internet_gateways(self, thing: dict[str, Any]) -> None:
        """Detach a gateway and remove it."""
        if thing["vpc_id"]:
            self.patiently(self.ec2.detach_internet_gateway, InternetGatewayId=thing["id"], VpcId=thing["vpc_id"])
        self.patiently(self.ec2.delete_internet_gateway, InternetGatewayId=thing["id"])

    def route_tables(self, thing: dict[str, Any]) -> None:
        """Remove a route table and its associations."""
        found = self.ec2.describe_route_tables(Filters=[{"Name": "route-table-id", "Values": [thing["id"]]}])[
            "RouteTables"
        ]
        for one in [a for table in found for a in table.get("Associations", []) if not a.get("Main")]:
            self.patiently(self.ec2.disassociate_route_table, AssociationId=one["RouteTableAssociationId"])
        self.patiently(self.ec2.delete_route_table, RouteTableId=thing["id"])

    def instance_profiles(self, thing: dict[str, Any]) -> None:
        """Remove an instance profile."""
        iam = self.clients("iam")
        try:
            roles = iam.get_instance_profile(InstanceProfileName=thing["id"])["InstanceProfile"]["Roles"]
        except aws.ClientError as error:
            if code_of(error) not in GONE:
                raise
            return
        for role in roles:
            self.patiently(
                iam.remove_role_from_instance_profile, InstanceProfileName=thing["id"], RoleName=role["RoleName"]
            )
        self.patiently(iam.delete_instance_profile, InstanceProfileName=thing["id"])

    def roles(self, thing: dict[str, Any]) -> None:
        """Remove a role with its policies. One that a server of this name in another region uses stays."""
        iam, role = self.clients("iam"), {"RoleName": thing["id"]}
        own = f"return-{self.ec2.meta.region_name}"
        try:
            inline = iam.list_role_policies(**role)["PolicyNames"]
            attached = iam.list_attached_role_policies(**role)["AttachedPolicies"]
        except aws.ClientError as error:
            if code_of(error) not in GONE:
                raise
            return
        elsewhere = [policy for policy in inline if policy.startswith("return-") and policy != own]
        for policy in inline:
            if policy not in elsewhere:
                self.patiently(iam.delete_role_policy, PolicyName=policy, **role)
        if elsewhere:
            return
        for policy in attached:
            self.patiently(iam.detach_role_policy, PolicyArn=policy["PolicyArn"], **role)
        self.patiently(iam.delete_role, **role)

    def schedule_groups(self, thing: dict[str, Any]) -> None:
        """Remove the group of the schedules when it is empty; else it would take others' schedules with it."""
        scheduler = self.clients("scheduler")
        try:
            if scheduler.list_schedules(GroupName=thing["id"])["Schedules"]:
                return
        except aws.ClientError as error:
            if code_of(error) not in GONE:
                raise
        self.patiently(scheduler.delete_schedule_group, Name=thing["id"])

    def remove(self, thing: dict[str, Any]) -> None:
        """Remove one thing."""
        kind, ec2, one = thing["kind"], self.ec2, thing["id"]
        special = getattr(self, kind, None)
        if special:
            special(thing)
            return
        calls: dict[str, Callable[[], tuple[Callable[..., Any], dict[str, Any]]]] = {
            "spot_requests": lambda: (ec2.cancel_spot_instance_requests, {"SpotInstanceRequestIds": [one]}),
            "schedules": lambda: (
                self.clients("scheduler").delete_schedule,
                {"Name": one, "GroupName": thing["group"]},
            ),
            "volumes": lambda: (ec2.delete_volume, {"VolumeId": one}),
            "images": lambda: (ec2.deregister_image, {"ImageId": one}),
            "snapshots": lambda: (ec2.delete_snapshot, {"SnapshotId": one}),
            "network_interfaces": lambda: (ec2.delete_network_interface, {"NetworkInterfaceId": one}),
            "security_groups": lambda: (ec2.delete_security_group, {"GroupId": one}),
            "key_pairs": lambda: (ec2.delete_key_pair, {"KeyName": thing["name"]}),
            "launch_templates": lambda: (ec2.delete_launch_template, {"LaunchTemplateId": one}),
            "subnets": lambda: (ec2.delete_subnet, {"SubnetId": one}),
            "vpcs": lambda: (ec2.delete_vpc, {"VpcId": one}),
            "alarms": lambda: (self.clients("cloudwatch").delete_alarms, {"AlarmNames": [one]}),
            "budgets": lambda: (
                self.clients("budgets").delete_budget,
                {"AccountId": self.account, "BudgetName": one},
            ),
        }
        call, request = calls[kind]()
        self.patiently(call, **request)


def apply(clients: Callable[[str], Any], planned: dict[str, Any], options: dict[str, Any], account: str) -> list[str]:
    """Remove what goes. One thing that cannot be removed does not keep the others, which may cost; but all that hang on the instance."""
    removal = Removal(clients, options, account)
    todo = [one for one in planned["go"] if one["how"] == "go"]
    removed: list[str] = []
    failed: list[tuple[dict[str, Any], Any]] = []
    for kind in ORDER:
        some = [one for one in todo if one["kind"] == kind]
        if kind == "instances" and some:
            try:
                removal.instances(some, planned["stay"])
            except (aws.ClientError, aws.BotoCoreError, RuntimeError) as error:
                left = [words(one) for one in todo if words(one) not in removed]
                raise Trouble(f"{words(some[0])} could not be terminated", error, removed, left) from error
            removed += [words(one) for one in some]
            continue
        for one in some:
            try:
                removal.remove(one)
                removed.append(words(one))
            except (aws.ClientError, aws.BotoCoreError) as error:
                if kind == "spot_requests":  # AWS would launch another instance
                    left = [words(one) for one in todo if words(one) not in removed]
                    raise Trouble(f"{words(one)} could not be cancelled", error, removed, left) from error
                failed.append((one, error))
                # What holds on to it will not let go by itself, so there is no point in waiting long for the rest.
                removal.end = min(removal.end, time.monotonic() + AFTER_FAILURE_S)
    if failed:
        left = [words(one) for one, _ in failed]
        raise Trouble(f"{left[0]} could not be removed", failed[0][1], removed, left)
    return removed


def now(trouble: Trouble) -> str:
    """What things are like after a failure."""
    gone = f"Gone: {', '.join(trouble.removed)}." if trouble.removed else "Nothing was removed."
    return f"{gone} Still there: {', '.join(trouble.left)}."


def main() -> None:
    """Run as an Ansible module."""
    choice = {"type": "str", "choices": ["keep", "delete"], "default": "keep"}
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "found": {"type": "dict", "required": True},
            "record": {"type": "dict", "default": {}},
            "data_volume": choice,
            "backups": choice,
            "images": choice,
            "final_backup": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 600},
            "delay": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    options, made = module.params, {}
    if not options["project"] or not options["name"]:
        module.fail_json(
            msg="project and name must not be empty: they are what tells this server's things from all others."
        )

    def clients(service: str) -> Any:
        if service not in made:
            made[service] = module.client(service)
        return made[service]

    removed: list[str] = []
    try:
        planned = plan(options)
        account = str(clients("sts").get_caller_identity()["Account"])
        planned["problems"] = problems(clients, planned, options, account)
        if not module.check_mode:
            if planned["problems"]:
                module.fail_json(msg=" ".join(planned["problems"]), now="Nothing was removed.")
            removed = apply(clients, planned, options, account)
    except Trouble as trouble:
        if isinstance(trouble.error, RuntimeError):
            module.fail_json(msg=f"{trouble.doing}: {trouble.error}", now=now(trouble))
        module.fail_json_aws(trouble.error, msg=trouble.doing, now=now(trouble))
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(
            error, msg=f"AWS would not say what it has of {options['name']}", now="Nothing was removed."
        )
    module.exit_json(changed=bool(planned["go"]), account_id=account, removed=removed, **planned)


if __name__ == "__main__":
    main()

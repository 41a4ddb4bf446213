#!/usr/bin/python
"""Everything that this project, or one server of it, has in a region of AWS."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_project_info
short_description: Everything that the project has in a region of AWS, by tags
description:
  - Asks every service that this project uses for what bears the tag Project, and the tagging API for whatever else bears it.
    What cannot have tags (schedules) or whose list has none (alarms, budgets, roles) is found by its name <project>-<server>.
  - What belongs to a server only because it is attached to it is listed too, with C(by) attached. That is for people to see;
    nobody may delete it for it.
  - Reads only. What the user may not list is in C(denied), so that an empty list always means that there is nothing.
options:
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: "Only this server, which is the Name tag. Empty: all, and what belongs to none", type: str, default: ''}
  known:
    description: Servers that things may be named after though nothing bears their tags any more
    type: list
    elements: str
    default: []
author: [The project's authors]
"""

EXAMPLES = """
- name: See all
  ec2_project_info:
    project: notebooks

- name: See one server
  ec2_project_info:
    project: notebooks
    name: demo
"""

RETURN = """
found:
  description:
    - "A list for each kind: instances, volumes, snapshots, images, addresses, network_interfaces, security_groups, key_pairs, vpcs,
      subnets, internet_gateways, route_tables, launch_templates, spot_requests, schedules, schedule_groups, roles,
      instance_profiles, alarms, budgets, buckets, tables, others. All kinds are there, empty or not, unless denied."
    - "Every entry has kind, id (what AWS's calls take), name, server (or empty), state, zone, gb, created (UTC), tags and by (tags,
      name or attached)."
    - "Further: instances type, public_ip, private_ip, launched, stopped, spot, key_name, profile, root_device, volumes; volumes type,
      attached_to, device, root, iops, throughput, deleted_with_instance, snapshot_id, encrypted; snapshots volume_id; images
      snapshots; addresses ip, attached_to; network_interfaces attached_to, vpc_id; security_groups, subnets,
      internet_gateways and route_tables vpc_id; schedules group, arn; spot_requests attached_to; roles and instance_profiles path,
      arn; buckets, tables and others arn, type."
  type: dict
  returned: always
denied:
  description: "What could not be listed: kinds, action (the permission that lacks) and AWS's words"
  type: list
  returned: always
region: {description: The region, type: str, returned: always}
at: {description: "When that was, in seconds since 1970", type: int, returned: always}
count: {description: How many things were found, type: int, returned: always}
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import by_tags, instances, pages, tags_of
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DENIED = {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "AuthorizationError"}
GONE = {"NoSuchEntity", "NoSuchEntityException", "ResourceNotFoundException", "NotFoundException"}
STOPPED = re.compile(r"\((\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) (?:GMT|UTC)\)")
LONGEST, HASH = 64, 9
# The permission's name where it is not the call's.
ACTIONS = {"budgets:DescribeBudgets": "budgets:ViewBudget"}

# kind: call, list in its answer, id, name, further request
EC2: dict[str, tuple[str, str, str, str, dict[str, Any]]] = {
    "volumes": ("describe_volumes", "Volumes", "VolumeId", "", {}),
    "images": ("describe_images", "Images", "ImageId", "Name", {"Owners": ["self"]}),
    "snapshots": ("describe_snapshots", "Snapshots", "SnapshotId", "", {"OwnerIds": ["self"]}),
    "addresses": ("describe_addresses", "Addresses", "AllocationId", "PublicIp", {}),
    "network_interfaces": ("describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId", "", {}),
    "security_groups": ("describe_security_groups", "SecurityGroups", "GroupId", "GroupName", {}),
    "key_pairs": ("describe_key_pairs", "KeyPairs", "KeyPairId", "KeyName", {}),
    "vpcs": ("describe_vpcs", "Vpcs", "VpcId", "", {}),
    "subnets": ("describe_subnets", "Subnets", "SubnetId", "", {}),
    "internet_gateways": ("describe_internet_gateways", "InternetGateways", "InternetGatewayId", "", {}),
    "route_tables": ("describe_route_tables", "RouteTables", "RouteTableId", "", {}),
    "launch_templates": ("describe_launch_templates", "LaunchTemplates", "LaunchTemplateId", "LaunchTemplateName", {}),
    "spot_requests": ("describe_spot_instance_requests", "SpotInstanceRequests", "SpotInstanceRequestId", "", {}),
}
# What belongs to a server without a tag of its own: the filter that finds it, and by the ids of which kind (and field).
ATTACHED: dict[str, list[tuple[str, str, str]]] = {
    "volumes": [("attachment.instance-id", "instances", "id")],
    "snapshots": [("volume-id", "volumes", "id"), ("snapshot-id", "images", "snapshots")],
    "addresses": [("instance-id", "instances", "id")],
    "network_interfaces": [("attachment.instance-id", "instances", "id")],
}
# AWS keeps these for a while after their end; they cost nothing and cannot come back.
OVER = {
    "volumes": {"deleted"},
    "images": {"deregistered"},
    "spot_requests": {"closed", "cancelled", "failed"},
}
# How the tagging API calls what is listed by its own service, which knows better: the tagging API shows deleted things for a while.
LISTED = {
    "ec2:instance": "instances",
    "ec2:volume": "volumes",
    "ec2:snapshot": "snapshots",
    "ec2:image": "images",
    "ec2:elastic-ip": "addresses",
    "ec2:network-interface": "network_interfaces",
    "ec2:security-group": "security_groups",
    "ec2:key-pair": "key_pairs",
    "ec2:vpc": "vpcs",
    "ec2:subnet": "subnets",
    "ec2:internet-gateway": "internet_gateways",
    "ec2:route-table": "route_tables",
    "ec2:launch-template": "launch_templates",
    "ec2:spot-instances-request": "spot_requests",
    "scheduler:schedule-group": "schedule_groups",
    "iam:role": "roles",
    "iam:instance-profile": "instance_profiles",
    "cloudwatch:alarm": "alarms",
    "budgets:budget": "budgets",
}
TAGGED = {"s3": "buckets", "dynamodb:table": "tables"}


def entry(kind: str, **known: Any) -> dict[str, Any]:
    """One thing, with all that every entry has."""
    plain: dict[str, Any] = {"server": "", "state": "", "zone": "", "gb": 0, "created": "", "tags": {}, "by": "tags"}
    return {"kind": kind, "name": known["id"], **plain, **known}


def when(thing: dict[str, Any], *fields: str) -> str:
    """The first of these times that it has, as text."""
    found = next((thing[field] for field in fields if thing.get(field)), "")
    if not found or isinstance(found, str):
        return found.replace(".000Z", "Z")  # images alone have text
    return found.strftime("%Y-%m-%dT%H:%M:%SZ")


def instance_entry(instance: dict[str, Any]) -> dict[str, Any]:
    """What there is to know of an instance without a further call."""
    has = tags_of(instance)
    # "User initiated (2026-01-31 17:00:00 GMT)"; there is no time when the system shut itself down.
    stopped = STOPPED.search(instance.get("StateTransitionReason") or "")
    return entry(
        "instances",
        id=instance["InstanceId"],
        name=has.get("Name", ""),
        state=instance["State"]["Name"],
        zone=instance["Placement"]["AvailabilityZone"],
        created=when(instance, "LaunchTime"),
        launched=when(instance, "LaunchTime"),
        stopped=f"{stopped[1]}T{stopped[2]}Z" if stopped else "",
        tags=has,
        type=instance["InstanceType"],
        public_ip=instance.get("PublicIpAddress", ""),
        private_ip=instance.get("PrivateIpAddress", ""),
        spot=instance.get("InstanceLifecycle") == "spot",
        key_name=instance.get("KeyName", ""),
        profile=instance.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2],
        root_device=instance.get("RootDeviceName", ""),
        volumes=[m["Ebs"]["VolumeId"] for m in instance.get("BlockDeviceMappings", []) if "Ebs" in m],
    )


def further(kind: str, thing: dict[str, Any]) -> dict[str, Any]:
    """What only some kinds have."""
    if kind == "volumes":
        attached: dict[str, Any] = next(iter(thing.get("Attachments") or []), {})
        return {
            "type": thing.get("VolumeType", ""),
            "attached_to": attached.get("InstanceId", ""),
            "device": attached.get("Device", ""),
            "deleted_with_instance": bool(attached.get("DeleteOnTermination")),
            "iops": thing.get("Iops") or 0,
            "throughput": thing.get("Throughput") or 0,
            "snapshot_id": thing.get("SnapshotId") or "",
            "encrypted": bool(thing.get("Encrypted")),
        }
    if kind == "snapshots":
        return {"volume_id": thing.get("VolumeId", "")}
    if kind == "images":
        disks = [m["Ebs"] for m in thing.get("BlockDeviceMappings", []) if "Ebs" in m]
        return {
            "gb": sum(disk.get("VolumeSize", 0) for disk in disks),
            "snapshots": [disk["SnapshotId"] for disk in disks if disk.get("SnapshotId")],
        }
    if kind == "addresses":
        return {
            "ip": thing.get("PublicIp", ""),
            "attached_to": thing.get("InstanceId", "") or thing.get("NetworkInterfaceId", "") or "",
        }
    if kind == "network_interfaces":
        return {"attached_to": thing.get("Attachment", {}).get("InstanceId", ""), "vpc_id": thing.get("VpcId", "")}
    if kind == "spot_requests":
        return {"attached_to": thing.get("InstanceId", "")}
    if kind == "internet_gateways":
        return {"vpc_id": next((one.get("VpcId", "") for one in thing.get("Attachments") or []), "")}
    if kind in ("security_groups", "subnets", "route_tables"):
        return {"vpc_id": thing.get("VpcId", "")}
    return {}


def ec2_entry(kind: str, thing: dict[str, Any]) -> dict[str, Any]:
    """One thing of EC2, whatever its kind calls its fields."""
    _, _, id_field, name_field, _ = EC2[kind]
    has = tags_of(thing) or tags_of(thing, "TagSet")
    state = thing.get("State") or thing.get("Status") or ""
    known = {
        "id": thing[id_field],
        "name": thing.get(name_field) or thing[id_field],
        "state": state if isinstance(state, str) else "",
        "zone": thing.get("AvailabilityZone") or thing.get("LaunchedAvailabilityZone") or "",
        "gb": thing.get("Size") or thing.get("VolumeSize") or 0,
        "created": when(thing, "CreateTime", "StartTime", "CreationDate"),
        "tags": has,
    }
    return entry(kind, **{**known, **further(kind, thing)})


def parts_of(thing: dict[str, Any], field: str) -> list[str]:
    """The ids in a field that has one or several."""
    return list(thing[field]) if isinstance(thing[field], list) else [thing[field]]


def listed(client: Any, call: str, key: str, **request: Any) -> list[dict[str, Any]]:
    """A list of AWS, in pages where AWS has them."""
    if client.can_paginate(call):
        return list(pages(client, call, key, **request))
    return list(getattr(client, call)(**request)[key])


def one(call: Callable[..., Any], **request: Any) -> dict[str, Any]:
    """The answer about one thing of a list, empty when it has gone since."""
    try:
        return dict(call(**request))
    except aws.ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return {}
        raise


def belongs(name: str, begins: str) -> bool:
    """Whether a name is made of this beginning. One that was too long (module ec2_return) is cut, and ends in a hash."""
    cut = len(name) == LONGEST and begins.startswith(name[: LONGEST - HASH])
    return f"{name}-".startswith(begins) or cut


class Survey:
    """What is found, kind by kind; each look_* is one question and yields entries."""

    def __init__(self, client: Callable[[str], Any], project: str, name: str, known: Sequence[str] = ()) -> None:
        self.client, self.project, self.name = client, project, name
        self.known = {*known, name} - {""}
        self.found: dict[str, list[dict[str, Any]]] = {}
        self.denied: list[dict[str, Any]] = []

    def mine(self, tags: dict[str, str], name: str, path: str = "") -> bool:
        """Whether a thing found by its name is the project's: its tags say, or, where it has none, the name alone."""
        if "Project" in tags:
            return tags["Project"] == self.project
        return name == self.project or name.startswith(f"{self.project}-") or path.startswith(f"/{self.project}/")

    def look_ec2(self, kind: str) -> Iterator[dict[str, Any]]:
        """Things of EC2 by their tag, then those that are attached to them and have none."""
        ec2 = self.client("ec2")
        call, key, _, _, request = EC2[kind]
        yield from (ec2_entry(kind, t) for t in listed(ec2, call, key, Filters=by_tags(self.project), **request))
        for attached, to, field in ATTACHED.get(kind, []):
            ids = [part for thing in self.found.get(to, []) for part in parts_of(thing, field)]
            # AWS takes at most 200 values in a filter.
            for some in (ids[start : start + 200] for start in range(0, len(ids), 200)):
                found = listed(ec2, call, key, Filters=[{"Name": attached, "Values": some}], **request)
                yield from ({**ec2_entry(kind, thing), "by": "attached"} for thing in found)

    def look_instances(self) -> Iterator[dict[str, Any]]:
        """Instances, whatever they do, but those that are no more."""
        yield from (instance_entry(i) for i in instances(self.client("ec2"), by_tags(self.project)))

    def look_schedule_groups(self) -> Iterator[dict[str, Any]]:
        """Groups of schedules, whose tags are a question each."""
        scheduler = self.client("scheduler")
        for group in listed(scheduler, "list_schedule_groups", "ScheduleGroups", NamePrefix=self.project):
            tags = tags_of(one(scheduler.list_tags_for_resource, ResourceArn=group["Arn"]))
            if self.mine(tags, group["Name"]):
                yield entry(
                    "schedule_groups",
                    id=group["Name"],
                    state=group.get("State", ""),
                    created=when(group, "CreationDate"),
                    tags=tags,
                    by="tags" if tags else "name",
                    arn=group["Arn"],
                )

    def look_schedules(self) -> Iterator[dict[str, Any]]:
        """Schedules cannot have tags: the project's are those of its groups, and of the default group those with its name."""
        groups = {group["id"] for group in self.found.get("schedule_groups", [])} | {"default"}
        begins = f"{self.project}-"[: LONGEST - HASH]
        for schedule in listed(self.client("scheduler"), "list_schedules", "Schedules", NamePrefix=begins):
            if schedule["GroupName"] in groups:
                yield entry(
                    "schedules",
                    id=schedule["Name"],
                    state=schedule.get("State", ""),
                    created=when(schedule, "CreationDate"),
                    by="name",
                    group=schedule["GroupName"],
                    arn=schedule["Arn"],
                )

    def look_iam(self, kind: str) -> Iterator[dict[str, Any]]:
        """Roles and instance profiles; IAM's lists are without tags."""
        iam = self.client("iam")
        what = {"roles": "Role", "instance_profiles": "InstanceProfile"}[kind]
        get = {"roles": iam.get_role, "instance_profiles": iam.get_instance_profile}[kind]
        call = {"roles": "list_roles", "instance_profiles": "list_instance_profiles"}[kind]
        for thing in listed(iam, call, f"{what}s"):
            name, path = thing[f"{what}Name"], thing.get("Path", "/")
            if not self.mine({}, name, path):
                continue
            whole = one(get, **{f"{what}Name": name}).get(what)
            tags = tags_of(whole or {})
            if whole and self.mine(tags, name, path):
                created = when(thing, "CreateDate")
                by = "tags" if "Project" in tags else "name"
                yield entry(kind, id=name, created=created, tags=tags, by=by, path=path, arn=thing["Arn"])

    def look_alarms(self) -> Iterator[dict[str, Any]]:
        """Alarms of both sorts, whose tags are a question each."""
        watch = self.client("cloudwatch")
        wanted = {"AlarmNamePrefix": f"{self.project}-", "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}
        for page in watch.get_paginator("describe_alarms").paginate(**wanted):
            for alarm in [*page.get("MetricAlarms", []), *page.get("CompositeAlarms", [])]:
                tags = tags_of(one(watch.list_tags_for_resource, ResourceARN=alarm["AlarmArn"]))
                if self.mine(tags, alarm["AlarmName"]):
                    by = "tags" if "Project" in tags else "name"
                    state = alarm.get("StateValue", "")
                    yield entry("alarms", id=alarm["AlarmName"], state=state, tags=tags, by=by, arn=alarm["AlarmArn"])

    def look_budgets(self) -> Iterator[dict[str, Any]]:
        """Budgets, which are the whole account's: by name."""
        account = self.client("sts").get_caller_identity()["Account"]
        for budget in listed(self.client("budgets"), "describe_budgets", "Budgets", AccountId=account):
            if self.mine({}, budget["BudgetName"]):
                yield entry("budgets", id=budget["BudgetName"], by="name")

    def look_tagged(self) -> Iterator[dict[str, Any]]:
        """Whatever bears the tag and was not listed by its own service: buckets, tables, and what nobody thought of."""
        wanted = [{"Key": "Project", "Values": [self.project]}]
        tagging = self.client("resourcegroupstaggingapi")
        for thing in listed(tagging, "get_resources", "ResourceTagMappingList", TagFilters=wanted):
            arn = thing["ResourceARN"]
            service, rest = arn.split(":", 5)[2], arn.split(":", 5)[5].replace(":", "/")
            what, _, last = rest.partition("/")
            label = f"{service}:{what}" if last else service
            if LISTED.get(label) not in self.found:
                kind = TAGGED.get(label, "others")
                yield entry(kind, id=last or what, tags=tags_of(thing), arn=arn, type=label)

    def ask(self, kinds: tuple[str, ...], look: Iterator[dict[str, Any]]) -> None:
        """Ask one question; whoever may not ask it has that said."""
        try:
            things = list(look)
        except aws.ClientError as error:
            if error.response["Error"]["Code"] not in DENIED:
                raise
            service = self.service_of(kinds[0], error.operation_name)
            action = f"{service}:{error.operation_name}"
            self.denied.append(
                {"kinds": list(kinds), "action": ACTIONS.get(action, action), "why": error.response["Error"]["Message"]}
            )
            return
        for kind in kinds:
            fresh = [thing for thing in things if thing["kind"] == kind and thing["state"] not in OVER.get(kind, ())]
            # What is found by its tags and by what it is attached to is one thing.
            self.found[kind] = list({thing["id"]: thing for thing in reversed(fresh)}.values())[::-1]

    @staticmethod
    def service_of(kind: str, operation: str) -> str:
        """The service as permissions call it."""
        if operation == "GetCallerIdentity":
            return "sts"
        return {
            "schedules": "scheduler",
            "schedule_groups": "scheduler",
            "roles": "iam",
            "instance_profiles": "iam",
            "alarms": "cloudwatch",
            "budgets": "budgets",
            "buckets": "tag",
        }.get(kind, "ec2")

    def run(self) -> dict[str, Any]:
        """All questions, then whose each thing is."""
        self.ask(("instances",), self.look_instances())
        for kind in EC2:
            self.ask((kind,), self.look_ec2(kind))
        self.ask(("schedule_groups",), self.look_schedule_groups())
        self.ask(("schedules",), self.look_schedules())
        self.ask(("roles",), self.look_iam("roles"))
        self.ask(("instance_profiles",), self.look_iam("instance_profiles"))
        self.ask(("alarms",), self.look_alarms())
        self.ask(("budgets",), self.look_budgets())
        self.ask(("buckets", "tables", "others"), self.look_tagged())
        self.assign()
        if self.name:
            self.found = {kind: [t for t in some if t["server"] == self.name] for kind, some in self.found.items()}
        return {
            "found": self.found,
            "denied": self.denied,
            "count": sum(len(some) for some in self.found.values()),
        }

    def assign(self) -> None:
        """Say for each thing which server's it is: by its tag, by what it is attached to, or by its name."""
        every = [thing for some in self.found.values() for thing in some]
        for thing in every:
            if thing["by"] == "tags":
                thing["server"] = thing["tags"].get("Name", "")
        owners = {thing["id"]: thing["server"] for thing in every if thing["by"] == "tags"}
        roots = {instance["id"]: instance["root_device"] for instance in self.found.get("instances", [])}
        for thing in self.found.get("volumes", []):
            thing["root"] = bool(thing["device"]) and thing["device"] == roots.get(thing["attached_to"])
        known = {server for server in owners.values() if server} | self.known
        for image in self.found.get("images", []):
            owners.update({snapshot: image["server"] for snapshot in image["snapshots"] if snapshot not in owners})
        for thing in every:
            if thing["by"] == "attached":
                sources = (thing["id"], thing.get("attached_to", ""), thing.get("volume_id", ""))
                thing["server"] = next((owners[source] for source in sources if owners.get(source)), "")
                owners[thing["id"]] = thing["server"]
            elif thing["by"] == "name":
                # The longest name counts: what is called project-a-b-x is not a's when there is a server a-b.
                fits = [s for s in known if belongs(thing["name"], f"{self.project}-{s}-")]
                thing["server"] = max(fits, key=len, default="")


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "default": ""},
            "known": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    project, name = module.params["project"], module.params["name"]
    if not project:
        module.fail_json(msg="project must not be empty: it is what tells this project's things from all others.")
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in clients:
            clients[service] = module.client(service)
        return clients[service]

    try:
        result = Survey(client, project, name, module.params["known"]).run()
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"AWS would not say what it has of {name or project}")
    module.exit_json(changed=False, region=module.region, at=int(time.time()), **result)


if __name__ == "__main__":
    main()

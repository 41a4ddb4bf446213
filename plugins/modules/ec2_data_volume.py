#!/usr/bin/python
"""The disk for data of one server, which outlives its instance, and read-only disks of public data."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_data_volume
short_description: A server's data volume and its data sets
description:
  - Finds the data volume by the tags Project, Name and Role=data, also one that an instance before this one left; makes it when
    there is none, attaches it to the instance and grows it in place. It never shrinks, formats or deletes one that holds data,
    except for state=absent with remove, and it stays when the instance is terminated.
  - Data sets are volumes made of snapshots, with the tags Role=dataset and DataSet. They go with the instance.
  - In check mode says what it would do.
options:
  state: {description: present or absent, type: str, default: present, choices: [present, absent]}
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: Value of the Name tag, type: str, required: true}
  instance_id: {description: "The instance, which must run or be stopped. Empty only in check mode", type: str, default: ''}
  gb: {description: Size of the data volume in GB. 0 for none, type: int, default: 0}
  snapshot_id: {description: Make a new data volume from this snapshot, type: str, default: ''}
  data_sets: {description: "Data sets: name and snapshot_id", type: list, elements: dict, default: []}
  tags: {description: Further tags, type: dict, default: {}}
  remove: {description: With state=absent delete the data volume too, type: bool, default: false}
  wait_timeout: {description: Seconds to wait for each change of a volume, type: int, default: 300}
author: [The project's authors]
"""

EXAMPLES = """
- name: Have a disk for data
  ec2_data_volume:
    project: notebooks
    name: demo
    instance_id: i-0123456789abcdef0
    gb: 50
    data_sets: [{name: genomes, snapshot_id: snap-0123456789abcdef0}]
"""

RETURN = """
volume: {description: "The data volume: id, gb, zone, device. Empty when there is none", type: dict, returned: always}
data_sets: {description: "Data sets: name, id, gb, zone, device", type: list, returned: always}
steps: {description: What was done (or would be), in words, type: list, returned: always}
"""

import hashlib
import time
from collections.abc import Callable
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import by_tags, pages, tag_list, tags_of
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DATA, DATASET = "data", "dataset"
# AWS recommends these names; the kernel shows others, which is why the host looks by the volume's id.
DEVICES = [f"/dev/sd{letter}" for letter in "fghijklmnop"]
GONE = ("shutting-down", "terminated")
SETTLED = ("optimizing", "completed", "failed")


class Refused(Exception):
    """It cannot be done; the text says why and what to do."""


def volumes(ec2: Any, project: str, name: str, role: str) -> list[dict[str, Any]]:
    """The volumes of a server in one role."""
    wanted = [*by_tags(project, name), {"Name": "tag:Role", "Values": [role]}]
    found = pages(ec2, "describe_volumes", "Volumes", Filters=wanted)
    return [one for one in found if one["State"] not in ("deleting", "deleted")]


def describe(volume: dict[str, Any]) -> dict[str, Any]:
    """What others need to know of a volume."""
    attached = [one for one in volume.get("Attachments", []) if one.get("State") not in ("detached", "detaching")]
    return {
        "id": volume["VolumeId"],
        "gb": int(volume["Size"]),
        "zone": volume["AvailabilityZone"],
        "device": attached[0].get("Device", "") if attached else "",
    }


def short(text: str) -> str:
    """A token of a length that AWS takes."""
    return hashlib.sha256(text.encode()).hexdigest()[:40]


class Job:
    """One run for one server."""

    def __init__(self, ec2: Any, options: dict[str, Any], check: bool = False, pause: float = 2) -> None:
        self.ec2, self.options, self.check, self.pause = ec2, options, check, pause
        self.steps: list[str] = []
        self.server = str(options["name"])
        self.instance: dict[str, Any] = {}

    # Looking.

    def look(self) -> None:
        """Read the instance."""
        if self.options["instance_id"]:
            answer = self.ec2.describe_instances(InstanceIds=[self.options["instance_id"]])
            found = [one for entry in answer["Reservations"] for one in entry["Instances"]]
            if not found or found[0]["State"]["Name"] in GONE:
                raise Refused(
                    f"The instance {self.options['instance_id']} of {self.server} is gone: run site.yml to launch it again."
                )
            self.instance = found[0]

    @property
    def zone(self) -> str:
        """Where the instance is."""
        return str(self.instance["Placement"]["AvailabilityZone"]) if self.instance else ""

    def read(self, volume: str) -> dict[str, Any]:
        """One volume."""
        found: dict[str, Any] = self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]
        return found

    def wait(self, what: str, done: Callable[[], Any]) -> Any:
        """Ask until the answer is not empty."""
        until = time.monotonic() + float(self.options["wait_timeout"])
        while True:
            answer = done()
            if answer:
                return answer
            if time.monotonic() > until:
                raise Refused(
                    f"{what} within {self.options['wait_timeout']} seconds: nothing is lost; run the same command again."
                )
            time.sleep(self.pause)

    # Doing.

    def step(self, text: str) -> bool:
        """Note what is done; whether to do it."""
        self.steps.append(text)
        return not self.check

    def snapshot_gb(self, snapshot: str) -> int:
        """The size of a snapshot that is complete."""
        found = self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
        if found.get("State", "completed") != "completed":
            raise Refused(
                f"The snapshot {snapshot} is {found['State']}: wait until it is completed, then run the same command."
            )
        return int(found["VolumeSize"])

    def make(self, gb: int, snapshot: str, tags: dict[str, str], what: str) -> dict[str, Any]:
        """Make a volume where the instance is; the same request twice makes one."""
        least = self.snapshot_gb(snapshot) if snapshot else 0
        if gb and gb < least:
            raise Refused(
                f"The snapshot {snapshot} is of a disk of {least} GB and ec2_provision_data_volume_gb is {gb}: give at least {least}."
            )
        source = f" from {snapshot}" if snapshot else ""
        if not self.step(f"make {what} of {gb or least} GB{source}{' in ' + self.zone if self.zone else ''}"):
            return {"VolumeId": "", "Size": gb or least, "AvailabilityZone": self.zone}
        request: dict[str, Any] = {"SnapshotId": snapshot} if snapshot else {}
        made = self.ec2.create_volume(
            **request,
            AvailabilityZone=self.zone,
            Size=gb or least,
            VolumeType="gp3",
            Encrypted=True,
            ClientToken=short(f"{self.instance['InstanceId']} {sorted(tags.items())} {gb} {snapshot}"),
            TagSpecifications=[{"ResourceType": "volume", "Tags": tag_list(tags)}],
        )
        volume: dict[str, Any] = self.wait(
            f"The new volume {made['VolumeId']} of {self.server} was not ready", lambda: self.born(made["VolumeId"])
        )
        return volume

    def born(self, volume: str) -> dict[str, Any] | None:
        """A new volume when it is free; for some seconds AWS may not know it."""
        try:
            return self.settled(volume)
        except aws.ClientError as error:
            if error.response["Error"]["Code"] != "InvalidVolume.NotFound":
                raise
            return None

    def settled(self, volume: str) -> dict[str, Any] | None:
        """The volume, when it is free or attached."""
        found = self.read(volume)
        if found["State"] == "error":
            raise Refused(
                f"AWS failed to make the volume {volume} ({found.get('StatusMessage', 'no reason given')}): delete it in the AWS console, "
                "then run the same command."
            )
        moving = [one for one in found.get("Attachments", []) if one.get("State") in ("attaching", "detaching", "busy")]
        return found if found["State"] in ("available", "in-use") and not moving else None

    def attach(self, volume: dict[str, Any], what: str, goes: bool) -> dict[str, Any]:
        """Attach a volume to the instance, and say whether it goes when the instance is terminated."""
        if volume["VolumeId"] and volume["State"] not in ("available", "in-use"):
            volume = self.wait(f"{volume['VolumeId']} was not ready", lambda: self.settled(volume["VolumeId"]))
        holders = [one for one in volume.get("Attachments", []) if one.get("State") != "detached"]
        if any(one["InstanceId"] != self.instance.get("InstanceId") for one in holders):
            volume = self.free(volume, holders[0]["InstanceId"], what)
            holders = []
        if not holders:
            if not self.step(f"attach {what}{' ' + volume['VolumeId'] if volume['VolumeId'] else ''}"):
                return volume
            taken = {one["DeviceName"] for one in self.instance.get("BlockDeviceMappings", [])}
            free = [one for one in DEVICES if one not in taken]
            if not free:
                raise Refused(f"{self.server} has no device name left ({', '.join(DEVICES)}): detach a volume first.")
            # An instance that was launched a moment ago cannot take volumes yet.
            self.wait(f"{self.server} did not come to run", self.takes_volumes)
            self.ec2.attach_volume(VolumeId=volume["VolumeId"], InstanceId=self.instance["InstanceId"], Device=free[0])
        if self.check:
            return volume
        if not holders or holders[0].get("State") != "attached":
            volume = self.wait(
                f"{volume['VolumeId']} was not attached to {self.server}", lambda: self.settled(volume["VolumeId"])
            )
            self.look()
        self.keep(volume, goes)
        return volume

    def takes_volumes(self) -> bool:
        """Whether the instance runs or is stopped."""
        self.look()
        return self.instance["State"]["Name"] in ("running", "stopped")

    def free(self, volume: dict[str, Any], holder: str, what: str) -> dict[str, Any]:
        """Wait for an instance that is on its way out to let go of the volume."""
        answer = self.ec2.describe_instances(InstanceIds=[holder])
        states = [one["State"]["Name"] for entry in answer["Reservations"] for one in entry["Instances"]]
        leaving = not states or states[0] in GONE or volume["Attachments"][0].get("State") == "detaching"
        if not leaving:
            raise Refused(
                f"{what[0].upper()}{what[1:]} {volume['VolumeId']} of {self.server} is attached to another instance, "
                f"{holder} ({states[0]}): terminate that one, or detach the volume from it when nobody uses it, then run the same command."
            )
        if self.check:
            return volume

        def freed() -> dict[str, Any] | None:
            found = self.read(volume["VolumeId"])
            return found if found["State"] == "available" else None

        let_go: dict[str, Any] = self.wait(f"{holder} did not let go of {volume['VolumeId']}", freed)
        return let_go

    def keep(self, volume: dict[str, Any], goes: bool) -> None:
        """Say whether the volume goes with the instance."""
        for one in self.instance.get("BlockDeviceMappings", []):
            differs = (
                one["Ebs"]["VolumeId"] == volume["VolumeId"] and bool(one["Ebs"].get("DeleteOnTermination")) != goes
            )
            if differs and self.step(
                f"{volume['VolumeId']} {'goes' if goes else 'stays'} when {self.server} is terminated"
            ):
                change = {"DeviceName": one["DeviceName"], "Ebs": {"DeleteOnTermination": goes}}
                self.ec2.modify_instance_attribute(InstanceId=self.instance["InstanceId"], BlockDeviceMappings=[change])

    def grow(self, volume: dict[str, Any], gb: int) -> None:
        """Grow a volume while it is in use."""
        if int(volume["Size"]) >= gb:
            return
        if not self.step(f"grow {volume['VolumeId']} from {volume['Size']} to {gb} GB"):
            return

        def state() -> str:
            found = self.ec2.describe_volumes_modifications(
                Filters=[{"Name": "volume-id", "Values": [volume["VolumeId"]]}]
            )["VolumesModifications"]
            mine = [one for one in found if one.get("TargetSize") == gb]
            return str(mine[-1]["ModificationState"]) if mine else ""

        # A run that was cut off may have asked already.
        if state() != "modifying":
            self.ec2.modify_volume(VolumeId=volume["VolumeId"], Size=gb)
        ended = self.wait(
            f"{volume['VolumeId']} of {self.server} did not grow", lambda: (now := state()) in SETTLED and now
        )
        if ended == "failed":
            raise Refused(
                f"AWS could not grow {volume['VolumeId']}: it has {volume['Size']} GB as before; run the same command again."
            )

    # All of it.

    def present(self) -> dict[str, Any]:
        """Have what is declared."""
        wanted = int(self.options["gb"])
        self.look()
        found = volumes(self.ec2, self.options["project"], self.server, DATA)
        problems = data_problems(self.server, found, wanted, self.zone)
        if problems:
            raise Refused(" ".join(problems))
        result: dict[str, Any] = {"volume": {}, "data_sets": []}
        tags = {**{key: str(value) for key, value in self.options["tags"].items()}}
        tags |= {"Project": self.options["project"], "Name": self.server, "ManagedBy": "ansible"}
        if wanted:
            volume = (
                found[0]
                if found
                else self.make(wanted, self.options["snapshot_id"], tags | {"Role": DATA}, "a data volume")
            )
            volume = self.attach(volume, "the data volume", goes=False)
            self.grow(volume, wanted)
            result["volume"] = describe(self.after(volume))
        for one in self.options["data_sets"]:
            result["data_sets"].append({"name": one["name"], **self.data_set(one, tags)})
        return {"changed": bool(self.steps), "steps": self.steps, **result}

    def after(self, volume: dict[str, Any]) -> dict[str, Any]:
        """The volume as it is when all is done."""
        return volume if self.check or not self.steps else self.read(volume["VolumeId"])

    def data_set(self, wanted: dict[str, Any], tags: dict[str, str]) -> dict[str, Any]:
        """Have one data set; a volume of it in another zone is of no use and holds nothing of anyone."""
        what = f"the data set {wanted['name']}"
        mine = [
            one
            for one in volumes(self.ec2, self.options["project"], self.server, DATASET)
            if tags_of(one).get("DataSet") == wanted["name"]
        ]
        here = [one for one in mine if not self.zone or one["AvailabilityZone"] == self.zone]
        stale = [one for one in here if one.get("SnapshotId", "") != wanted["snapshot_id"]]
        if stale:
            raise Refused(
                f"The data set {wanted['name']} of {self.server} was made from {stale[0].get('SnapshotId')}, and "
                f"ec2_provision_data_sets says {wanted['snapshot_id']}: give the other snapshot another name."
            )
        for one in mine:
            if (
                one not in here[:1]
                and one["State"] == "available"
                and self.step(f"delete {one['VolumeId']}, {what} in {one['AvailabilityZone']}")
            ):
                self.ec2.delete_volume(VolumeId=one["VolumeId"])
        own = tags | {"Role": DATASET, "DataSet": wanted["name"]}
        volume = here[0] if here else self.make(0, wanted["snapshot_id"], own, what)
        return describe(self.after(self.attach(volume, what, goes=True)))

    def absent(self) -> dict[str, Any]:
        """Delete the data sets, and the data volume only if that is said."""
        kept = volumes(self.ec2, self.options["project"], self.server, DATA)
        gone = volumes(self.ec2, self.options["project"], self.server, DATASET)
        if self.options["remove"]:
            gone, kept = gone + kept, []
        for one in gone:
            if not self.step(
                f"delete {one['VolumeId']} ({tags_of(one).get('DataSet', 'the data volume')}, {one['Size']} GB)"
            ):
                continue
            try:
                if one.get("Attachments"):
                    self.free(one, one["Attachments"][0]["InstanceId"], "the volume")
                self.ec2.delete_volume(VolumeId=one["VolumeId"])
            except aws.ClientError as error:
                # It may go by itself with the instance that had it.
                if error.response["Error"]["Code"] != "InvalidVolume.NotFound":
                    raise
        return {
            "changed": bool(self.steps),
            "steps": self.steps,
            "volume": describe(kept[0]) if kept else {},
            "data_sets": [],
        }


def data_problems(name: str, found: list[dict[str, Any]], gb: int, zone: str) -> list[str]:
    """Why the data volume that is there cannot be used as declared; before a launch the zone is empty."""
    if len(found) > 1:
        ids = ", ".join(sorted(one["VolumeId"] for one in found))
        return [
            f"{len(found)} volumes bear the tags of the data volume of {name} ({ids}): remove the tag Role from those that are not it."
        ]
    if not found:
        return []
    volume = found[0]
    if not gb:
        return [
            f"{name} has a data volume ({volume['VolumeId']}, {volume['Size']} GB), and without it its data would be missing: set "
            f"ec2_provision_data_volume_gb to {volume['Size']}, or remove the tag Role from the volume if it is not to be used any more."
        ]
    if gb < int(volume["Size"]):
        return [
            f"The data volume of {name} ({volume['VolumeId']}) has {volume['Size']} GB, and a disk cannot shrink: set "
            f"ec2_provision_data_volume_gb to {volume['Size']} or more."
        ]
    if zone and volume["AvailabilityZone"] != zone:
        return [
            f"The data volume of {name} ({volume['VolumeId']}) lies in {volume['AvailabilityZone']} and its instance in {zone}, "
            "and no volume moves: make a snapshot of it, remove its tag Role, and set ec2_provision_data_volume_snapshot_id to the "
            "snapshot; or terminate the instance, and the next one is launched where the volume is."
        ]
    return []


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "instance_id": {"type": "str", "default": ""},
            "gb": {"type": "int", "default": 0},
            "snapshot_id": {"type": "str", "default": ""},
            "data_sets": {"type": "list", "elements": "dict", "default": []},
            "tags": {"type": "dict", "default": {}},
            "remove": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    options = module.params
    if not options["project"] or not options["name"]:
        module.fail_json(
            msg="project and name must not be empty: they are what tells this server's disks from all others."
        )
    if not options["instance_id"] and not module.check_mode and options["state"] == "present":
        module.fail_json(msg="instance_id is empty: launch the server first.")
    try:
        job = Job(module.client("ec2"), options, module.check_mode)
        result = job.present() if options["state"] == "present" else job.absent()
    except Refused as error:
        module.fail_json(msg=str(error), refused=True)
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"The disks of {options['name']} are not as declared")
    module.exit_json(**result)


if __name__ == "__main__":
    main()

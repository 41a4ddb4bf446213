#!/usr/bin/python
"""A server's data volume becomes what a snapshot holds, and the one before is kept."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_restore
short_description: Swap a server's data volume for one that is made of a snapshot
description:
  - Does the part of a restore that is AWS's, one step at a time, so that the server can let go of the old volume and take the new
    one in between. Each step may be repeated, and each finds what a run that was cut off has left.
  - No volume is ever deleted. The one before becomes Role=data-old. A new one is Role=data-new until it is in its place.
  - In check mode, and with step=plan, nothing is done.
options:
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: Value of the Name tag, type: str, required: true}
  snapshot: {description: "Id of a snapshot, or latest for the newest complete backup", type: str, default: latest}
  source: {description: "Whose newest backup; empty for the server's own", type: str, default: ''}
  step:
    description: "make the volume, swap it for the present one, go back to that one, or note that all is done (finish)"
    type: str
    default: plan
    choices: [plan, make, swap, back, finish]
  tags: {description: Further tags of the new volume, type: dict, default: {}}
  wait_timeout: {description: Seconds to wait for each change of a volume, type: int, default: 300}
  delay: {description: Seconds between two looks at it, type: float, default: 3}
author: [The project's authors]
"""

EXAMPLES = """
- name: Make the volume
  ec2_restore:
    project: notebooks
    name: demo
    snapshot: latest
    step: make
"""

RETURN = """
snapshot: {description: "What is restored: id, size_gb, started, name (of the server it is of)", type: dict, returned: always}
instance: {description: The server's instance, type: dict, returned: always}
old: {description: "The volume that is there now (or was): id, size_gb, device. Empty when there is none", type: dict, returned: always}
new: {description: "The volume that is made of the snapshot. Empty before it is made", type: dict, returned: always}
kept: {description: Volumes of earlier restores, type: list, returned: always}
size_gb: {description: Size of the new volume, type: int, returned: always}
stage: {description: "restore, or verify when the new volume is in its place already", type: str, returned: always}
"""

import time
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import by_tags, pages, tag_list, tags_of
from ansible.module_utils.server_backup import Trouble, code_of, instance_of, tell
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DEVICES = [f"/dev/sd{letter}" for letter in "fghijklmnop"]
UNCHANGED = "Nothing was changed."


def snapshot_words(snapshot: dict[str, Any]) -> dict[str, Any]:
    """What matters of a snapshot."""
    tags = tags_of(snapshot)
    return {
        "id": snapshot["SnapshotId"],
        "state": snapshot["State"],
        "size_gb": snapshot["VolumeSize"],
        "started": snapshot["StartTime"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        "name": tags.get("Name", ""),
        "of": tags.get("Of", ""),
        "project": tags.get("Project", ""),
    }


def find_snapshot(ec2: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The snapshot that a person means, if it can be used."""
    wanted, source = options["snapshot"], options["source"] or options["name"]
    if wanted == "latest":
        filters = [*by_tags(options["project"], source), {"Name": "tag:Role", "Values": ["backup"]}]
        found = [
            snapshot_words(one)
            for one in pages(ec2, "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters)
        ]
        good = sorted(
            (one for one in found if one["state"] == "completed" and one["of"] == "data"),
            key=lambda one: (one["started"], one["id"]),
        )
        if not good:
            others = f" ({len(found)} of its system, or not complete)" if found else ""
            raise Trouble(
                f"There is no complete backup of the data volume of {source}{others}",
                f"{UNCHANGED} `playbooks/backup.yml -l {source} -e list=true` says what there is; docs/backup.md says how a backup of a "
                "whole system is brought back.",
            )
        return good[-1]
    try:
        one = snapshot_words(ec2.describe_snapshots(SnapshotIds=[wanted])["Snapshots"][0])
    except (aws.ClientError, IndexError) as error:
        if code_of(error) and not code_of(error).startswith("InvalidSnapshot"):
            raise
        raise Trouble(
            f"There is no snapshot {wanted} in this region and account",
            f"{UNCHANGED} `playbooks/backup.yml -e list=true` says which there are.",
        ) from error
    if one["project"] != options["project"]:
        raise Trouble(
            f"The snapshot {wanted} does not have the tag Project={options['project']}",
            f"{UNCHANGED} If it is the right one, give it that tag: aws ec2 create-tags --resources {wanted} "
            f"--tags Key=Project,Value={options['project']}",
        )
    if one["of"] == "root":
        raise Trouble(
            f"The snapshot {wanted} is of the system of {one['name']}, not of a data volume",
            f"{UNCHANGED} docs/backup.md says how a backup of a whole system is brought back.",
        )
    if one["state"] != "completed":
        raise Trouble(
            f"The snapshot {wanted} is not complete ({one['state']})",
            f"{UNCHANGED} `playbooks/backup.yml -e list=true` says when it is; an older one can be named meanwhile.",
        )
    return one


def volume_words(volume: dict[str, Any]) -> dict[str, Any]:
    """What matters of a volume."""
    tags = tags_of(volume)
    attached = [one for one in volume.get("Attachments", []) if one.get("State") != "detached"]
    return {
        "id": volume["VolumeId"],
        "state": volume["State"],
        "size_gb": volume["Size"],
        "zone": volume["AvailabilityZone"],
        "role": tags.get("Role", ""),
        "source": tags.get("RestoredFrom", ""),
        "replaces": tags.get("Replaces", ""),
        "unfinished": tags.get("Finished") == "no",
        "instance": attached[0]["InstanceId"] if attached else "",
        "device": attached[0].get("Device", "") if attached else "",
        "attachment": attached[0].get("State", "") if attached else "",
    }


def find(ec2: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What there is, and how far a run that was cut off came."""
    name = options["name"]
    instance = instance_of(ec2, options["project"], name)
    if not instance:
        raise Trouble(
            f"There is no server {name}", f"{UNCHANGED} Launch it first: ansible-playbook site.yml -l {name}."
        )
    snapshot = find_snapshot(ec2, options)
    roles = {"Name": "tag:Role", "Values": ["data", "data-new", "data-old"]}
    found = [
        volume_words(one)
        for one in pages(ec2, "describe_volumes", "Volumes", Filters=[*by_tags(options["project"], name), roles])
        if one["State"] not in ("deleting", "deleted", "error")
    ]
    data = [one for one in found if one["role"] == "data"]
    kept = [one for one in found if one["role"] == "data-old"]
    made = [
        one
        for one in found
        if one["source"] == snapshot["id"] and one["unfinished"] and one["zone"] == instance["zone"] and one not in kept
    ]
    # Of a run that was cut off between its two tags, the new one is the one that says whom it replaces.
    successors = [one for one in made if one["role"] == "data"]
    old = next((one for one in data if one not in successors), {})
    if len(data) - len(successors) > 1 or len(successors) > 1:
        names = ", ".join(one["id"] for one in data)
        raise Trouble(
            f"{len(data)} volumes have the tag Role=data of {name} ({names})",
            f"{UNCHANGED} Give all but the right one the tag Role=data-old, then run the same command.",
        )
    new = (successors or [one for one in made if one["replaces"] == (old.get("id") or "none")] or [{}])[0]
    if successors and not old:
        old = next((one for one in kept if one["id"] == new["replaces"]), {})
    if old and old["instance"] not in ("", instance["id"]):
        raise Trouble(
            f"The data volume {old['id']} of {name} is attached to another instance, {old['instance']}",
            f"{UNCHANGED} Detach it there, or terminate that instance, then run the same command.",
        )
    in_place = bool(successors) and new["instance"] == instance["id"] and new["attachment"] == "attached"
    return {
        "instance": instance,
        "snapshot": snapshot,
        "old": old,
        "new": new,
        # Also those that were made and never taken.
        "kept": [one for one in found if one["role"] in ("data-old", "data-new") and one not in (old, new)],
        "size_gb": new.get("size_gb") or max(snapshot["size_gb"], old.get("size_gb", 0)),
        "stage": "verify" if in_place and old.get("role") != "data" else "restore",
    }


class Job:
    """The steps of one restore."""

    def __init__(self, ec2: Any, found: dict[str, Any], options: dict[str, Any]) -> None:
        self.ec2, self.found, self.options = ec2, found, options

    def look(self, volume: str) -> dict[str, Any]:
        """A volume now."""
        return volume_words(self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0])

    def wait(self, volume: str, state: str, attachment: str = "") -> dict[str, Any]:
        """Look until it is so."""
        end = time.monotonic() + self.options["wait_timeout"]
        while True:
            one = self.look(volume)
            if one["state"] == state and one["attachment"] == attachment:
                return one
            if one["state"] == "error" or time.monotonic() >= end:
                raise Trouble(
                    f"The volume {volume} is still {one['state']} {one['attachment']}".strip(),
                    "Run the same command again.",
                )
            time.sleep(self.options["delay"])

    def tag(self, volume: str, **tags: str) -> None:
        """Give a volume tags."""
        self.ec2.create_tags(Resources=[volume], Tags=tag_list(tags))

    def make(self) -> None:
        """Have the new volume; one that an earlier run made of the same snapshot for the same purpose is taken."""
        if not self.found["new"]:
            snapshot = self.found["snapshot"]
            tags = {
                **self.options["tags"],
                "Name": self.options["name"],
                "Project": self.options["project"],
                "ManagedBy": "ansible",
                "Role": "data-new",
                "RestoredFrom": snapshot["id"],
                "Replaces": self.found["old"].get("id") or "none",
                "Finished": "no",
            }
            made = self.ec2.create_volume(
                SnapshotId=snapshot["id"],
                AvailabilityZone=self.found["instance"]["zone"],
                Size=self.found["size_gb"],
                VolumeType="gp3",
                Encrypted=True,
                TagSpecifications=[{"ResourceType": "volume", "Tags": tag_list(tags)}],
            )
            self.found["new"] = volume_words(made)
        if not self.found["new"]["instance"]:
            self.found["new"] = self.wait(self.found["new"]["id"], "available")

    def detach(self, volume: dict[str, Any]) -> None:
        """Have it free."""
        if volume["instance"] and volume["attachment"] != "detaching":
            self.ec2.detach_volume(VolumeId=volume["id"], InstanceId=volume["instance"])
        self.wait(volume["id"], "available")

    def attach(self, volume: dict[str, Any], device: str) -> dict[str, Any]:
        """Have it on the instance."""
        instance = self.found["instance"]["id"]
        if not volume["instance"]:
            self.ec2.attach_volume(VolumeId=volume["id"], InstanceId=instance, Device=device)
        return self.wait(volume["id"], "in-use", "attached")

    def device(self) -> str:
        """The name that a data volume is attached by: that of the one before, or the first that is free."""
        used = {
            name for name, volume in self.found["instance"]["devices"].items()
            if volume not in (self.found["old"].get("id"), self.found["new"].get("id"))
        }  # fmt: skip
        known = [self.found["old"].get("device"), self.found["new"].get("device"), *DEVICES]
        return next(str(one) for one in known if one and one not in used)

    def swap(self) -> None:
        """The new one in the place of the old one. At each moment at least one of them is tagged as the data volume."""
        device, old, new = self.device(), self.found["old"], self.found["new"]
        if not new:
            raise Trouble("The volume to restore is not there", "Run the same command again.")
        # Whatever its tag: a run that was cut off while it went back may have attached it again.
        if old and old["instance"]:
            self.detach(old)
        self.found["new"] = self.attach(new, device)
        self.tag(new["id"], Role="data")
        if old and old["role"] == "data":
            self.tag(old["id"], Role="data-old", ReplacedBy=new["id"])

    def back(self) -> None:
        """The old one in its place again; the new one stays, for another try."""
        device, old, new = self.device(), self.found["old"], self.found["new"]
        if new and new["instance"]:
            self.detach(new)
        if old:
            self.found["old"] = self.attach(old, device)
            if old["role"] != "data":
                self.tag(old["id"], Role="data")
        if new and new["role"] == "data":
            self.tag(new["id"], Role="data-new")

    def finish(self) -> None:
        """Note that the new one does its work."""
        self.tag(self.found["new"]["id"], Finished="yes")


def state_of(ec2: Any, found: dict[str, Any]) -> str:
    """A sentence on where the volumes are, after something failed."""
    said = []
    for which, title in (("old", "The volume from before"), ("new", "The volume to restore")):
        volume = found[which].get("id")
        if not volume:
            continue
        try:
            now = volume_words(ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0])
            said.append(f"{title}, {volume}, is {'attached' if now['instance'] else now['state']}.")
        except (aws.ClientError, aws.BotoCoreError, IndexError) as error:
            gone = code_of(error).startswith("InvalidVolume")
            said.append(f"{title}, {volume}, is {'gone' if gone else 'where AWS would not say'}.")
    return " ".join([*said, "No volume was deleted. Run the same command again."])


def run(ec2: Any, options: dict[str, Any]) -> dict[str, Any]:
    """One step."""
    found = find(ec2, options)
    try:
        if options["step"] != "plan":
            getattr(Job(ec2, found, options), options["step"])()
    except (aws.ClientError, aws.BotoCoreError) as error:
        raise Trouble(
            f"The data volume of {options['name']} ({options['step']})", state_of(ec2, found), error
        ) from error
    return found


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "snapshot": {"type": "str", "default": "latest"},
            "source": {"type": "str", "default": ""},
            "step": {"type": "str", "default": "plan", "choices": ["plan", "make", "swap", "back", "finish"]},
            "tags": {"type": "dict", "default": {}},
            "wait_timeout": {"type": "int", "default": 300},
            "delay": {"type": "float", "default": 3},
        },
        supports_check_mode=True,
    )
    options = dict(module.params)
    if not options["project"] or not options["name"]:
        module.fail_json(
            msg="project and name must not be empty: they are what tells this server's volumes from others."
        )
    if options["snapshot"] != "latest" and not options["snapshot"].startswith("snap-"):
        module.fail_json(
            msg=f"snapshot is '{options['snapshot']}': give latest, or an id such as snap-0123456789abcdef0."
        )
    if module.check_mode:
        options["step"] = "plan"
    try:
        result = run(module.client("ec2"), options)
    except Trouble as trouble:
        tell(module, trouble)
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(
            error,
            msg=f"AWS would not say what {options['name']} has",
            now="Nothing was changed in this step. Run the same command again.",
        )
    module.exit_json(changed=options["step"] != "plan", **result)


if __name__ == "__main__":
    main()

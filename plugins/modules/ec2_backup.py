#!/usr/bin/python
"""Snapshots of a server's data: make one, keep the newest, say what there is."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_backup
short_description: A snapshot of a server's data, and the newest N kept
description:
  - Copies the volume with the tag Role=data of a server or, where it has none, the volume of its system. Older snapshots
    that this made (tag Role=backup) beyond the number to keep are removed once the new one is complete, and only then.
  - A run that was cut off is finished by the next one within half an hour, instead of making a second snapshot.
  - In check mode nothing is done; the answer is the plan.
options:
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: Value of the Name tag, type: str, required: true}
  keep: {description: How many complete snapshots to keep, type: int, default: 7}
  tags: {description: Further tags of the snapshot, type: dict, default: {}}
  wait_timeout: {description: Seconds to wait until the snapshot is complete, type: int, default: 3600}
  delay: {description: Seconds between two looks at it, type: int, default: 5}
  remove: {description: "Snapshots that may go, as a plan named them. Without it: those of the plan of this run", type: list, elements: str}
author: [The project's authors]
"""

EXAMPLES = """
- name: Back up
  ec2_backup:
    project: notebooks
    name: demo
    keep: 7
"""

RETURN = """
volume: {description: "What is copied: id, size_gb, role (data or root), zone", type: dict, returned: always}
instance: {description: "Id and state of the server's instance; empty when there is none", type: dict, returned: always}
snapshots: {description: Snapshots of this server, newest first, type: list, returned: always}
finishes: {description: Snapshot of a run that was cut off and is finished now, type: str, returned: always}
remove: {description: Ids of the snapshots that go, type: list, returned: always}
broken: {description: Ids of snapshots that AWS could not make, type: list, returned: always}
snapshot: {description: The snapshot that was made, type: dict, returned: when one was made}
"""

import datetime
import time
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import by_tags, pages, tag_list, tags_of
from ansible.module_utils.server_backup import Trouble, code_of, instance_of, recent, tell
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

ROLE = "backup"


def words_of(snapshot: dict[str, Any]) -> dict[str, Any]:
    """What matters of a snapshot."""
    tags = tags_of(snapshot)
    return {
        "id": snapshot["SnapshotId"],
        "name": tags.get("Name", ""),
        "state": snapshot["State"],
        "progress": snapshot.get("Progress", ""),
        "started": snapshot["StartTime"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        "size_gb": snapshot["VolumeSize"],
        "volume": snapshot.get("VolumeId", ""),
        "of": tags.get("Of", ""),
        "unfinished": tags.get("Finished") == "no",
    }


def snapshots_of(ec2: Any, project: str, name: str) -> list[dict[str, Any]]:
    """The backups of a server, newest first."""
    wanted = [*by_tags(project, name), {"Name": "tag:Role", "Values": [ROLE]}]
    found = pages(ec2, "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=wanted)
    return sorted((words_of(one) for one in found), key=lambda one: (one["started"], one["id"]), reverse=True)


def volume_of(ec2: Any, project: str, name: str, instance: dict[str, Any]) -> dict[str, Any]:
    """The volume to copy: that of the data, else that of the system; empty when there is neither."""
    wanted = [*by_tags(project, name), {"Name": "tag:Role", "Values": ["data"]}]
    data = [one for one in pages(ec2, "describe_volumes", "Volumes", Filters=wanted) if one["State"] != "deleting"]
    mine = [one for one in data if any(a["InstanceId"] == instance.get("id") for a in one.get("Attachments", []))]
    role, found = "data", mine or data
    if len(found) > 1:
        names = ", ".join(one["VolumeId"] for one in found)
        raise Trouble(
            f"{len(found)} volumes have the tag Role=data of {name} ({names})",
            "Nothing was changed. Give all but the right one the tag Role=data-old, then run the same command.",
        )
    if not found and instance.get("root_volume"):
        role, found = "root", ec2.describe_volumes(VolumeIds=[instance["root_volume"]])["Volumes"]
    return next(
        ({"id": v["VolumeId"], "size_gb": v["Size"], "role": role, "zone": v["AvailabilityZone"]} for v in found), {}
    )


def find(ec2: Any, project: str, name: str) -> dict[str, Any]:
    """What there is to copy, and what was copied."""
    instance = instance_of(ec2, project, name)
    return {
        "instance": instance,
        "volume": volume_of(ec2, project, name, instance),
        "snapshots": snapshots_of(ec2, project, name),
    }


def plan(found: dict[str, Any], keep: int, now: datetime.datetime) -> dict[str, Any]:
    """What a run would do."""
    shots = found["snapshots"]
    cut = [
        one["id"]
        for one in shots
        if one["unfinished"]
        and one["state"] != "error"
        and one["volume"] == found["volume"].get("id")
        and recent(one["started"], now)
    ][:1]
    good = [one["id"] for one in shots if one["state"] == "completed" and one["id"] not in cut]
    return {
        "finishes": "".join(cut),
        "remove": good[keep - 1 :],
        "pending": [one["id"] for one in shots if one["state"] == "pending" and one["id"] not in cut],
        "broken": [one["id"] for one in shots if one["state"] == "error"],
    }


def create(ec2: Any, found: dict[str, Any], options: dict[str, Any]) -> str:
    """Begin the snapshot; what is on the volume at this moment is what it will hold."""
    volume, name = found["volume"], options["name"]
    tags = {
        **options["tags"],
        "Name": name,
        "Project": options["project"],
        "ManagedBy": "ansible",
        "Role": ROLE,
        "Of": volume["role"],
        "SizeGb": str(volume["size_gb"]),
        "Zone": volume["zone"],
        "Finished": "no",
    }
    try:
        made = ec2.create_snapshot(
            VolumeId=volume["id"],
            Description=f"{name}: its {'data' if volume['role'] == 'data' else 'system and data'}",
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": tag_list(tags)}],
        )
    except (aws.ClientError, aws.BotoCoreError) as error:
        raise Trouble(
            f"AWS did not begin a snapshot of {volume['id']}",
            f"No backup was made; {name} runs as before and its {len(found['snapshots'])} older backups are untouched. "
            "Run the same command again.",
            error,
        ) from error
    return str(made["SnapshotId"])


def wait(ec2: Any, snapshot: str, options: dict[str, Any]) -> dict[str, Any]:
    """Wait until it is complete, or for as long as a person wants to wait."""
    end = time.monotonic() + options["wait_timeout"]
    while True:
        try:
            one = words_of(ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0])
        except (aws.ClientError, aws.BotoCoreError, IndexError) as error:
            raise Trouble(
                f"AWS did not say how far the snapshot {snapshot} is",
                f"{snapshot} was begun and AWS goes on with it; no older one was removed. "
                "Run the same command again within half an hour to finish it.",
                error,
            ) from error
        if one["state"] == "error":
            raise Trouble(
                f"AWS could not complete the snapshot {snapshot}",
                f"It holds nothing and is not counted; no older one was removed. Delete it (aws ec2 delete-snapshot "
                f"--snapshot-id {snapshot}) and run the same command again.",
            )
        if one["state"] == "completed" or time.monotonic() >= end:
            return one
        time.sleep(options["delay"])


def delete(ec2: Any, snapshot: str) -> str:
    """Remove one; say so if an image still needs it."""
    try:
        ec2.delete_snapshot(SnapshotId=snapshot)
    except aws.ClientError as error:
        if code_of(error) == "InvalidSnapshot.NotFound":
            return ""
        if code_of(error) == "InvalidSnapshot.InUse":
            return snapshot
        raise
    return ""


def apply(ec2: Any, found: dict[str, Any], planned: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Make it, wait for it, and only then remove what is too old."""
    snapshot = planned["finishes"] or create(ec2, found, options)
    made = wait(ec2, snapshot, options)
    in_use: list[str] = []
    removed: list[str] = []
    if made["state"] == "completed":
        try:
            for old in planned["remove"]:
                (in_use if delete(ec2, old) else removed).append(old)
            ec2.create_tags(Resources=[snapshot], Tags=tag_list({"Finished": "yes"}))
        except (aws.ClientError, aws.BotoCoreError) as error:
            raise Trouble(
                f"The backup of {options['name']} is made, but its last step failed",
                f"{snapshot} is complete; older ones that should go: {', '.join(planned['remove']) or 'none'}, "
                f"of which {len(removed)} went. Run the same command again within half an hour to finish, or leave it.",
                error,
            ) from error
    return {"snapshot": made, "removed": removed, "in_use": in_use}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "keep": {"type": "int", "default": 7},
            "tags": {"type": "dict", "default": {}},
            "wait_timeout": {"type": "int", "default": 3600},
            "delay": {"type": "int", "default": 5},
            "remove": {"type": "list", "elements": "str"},
        },
        supports_check_mode=True,
    )
    options = module.params
    if not options["project"] or not options["name"]:
        module.fail_json(
            msg="project and name must not be empty: they are what tells this server's backups from others."
        )
    if options["keep"] < 1:
        module.fail_json(msg=f"keep is {options['keep']}: at least the newest backup is kept; give 1 or more.")
    ec2 = module.client("ec2")
    try:
        found = find(ec2, options["project"], options["name"])
        planned = plan(found, options["keep"], datetime.datetime.now(datetime.timezone.utc))
        if options["remove"] is not None:
            planned["remove"] = [one for one in planned["remove"] if one in options["remove"]]
        result = {**found, **planned}
        if module.check_mode:
            module.exit_json(changed=bool(found["volume"]), **result)
        if not found["volume"]:
            module.fail_json(
                msg=f"AWS has no volume of {options['name']}, so there is nothing to back up: launch it with site.yml, or "
                "correct the name or ec2_provision_region."
            )
        result.update(apply(ec2, found, planned, options))
    except Trouble as trouble:
        tell(module, trouble)
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(
            error,
            msg=f"AWS would not say what {options['name']} has",
            now="Nothing was changed. Run the same command again.",
        )
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Images of a server: make one, keep the newest, say what there is."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_image
short_description: An image of a server, and the newest N kept
description:
  - Makes an image of a server's system, without its data volume. Older images that this made (tag Role=image) beyond the
    number to keep are deregistered and their snapshots removed once the new one can be used, and only then.
  - A run that was cut off is finished by the next one within half an hour, instead of making a second image.
  - In check mode nothing is done; the answer is the plan.
options:
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: Value of the Name tag, type: str, required: true}
  os: {description: Which system is in it. Becomes a tag that a launch reads, type: str, default: ''}
  reboot: {description: Let AWS restart a running server for it so that nothing is half written, type: bool, default: true}
  keep: {description: How many images to keep, type: int, default: 3}
  tags: {description: Further tags of the image and its snapshots, type: dict, default: {}}
  wait_timeout: {description: Seconds to wait until the image can be used, type: int, default: 3600}
  delay: {description: Seconds between two looks at it, type: int, default: 5}
  remove: {description: "Images that may go, as a plan named them. Without it: those of the plan of this run", type: list, elements: str}
author: [The project's authors]
"""

EXAMPLES = """
- name: Bake
  ec2_image:
    project: notebooks
    name: demo
    os: debian13
"""

RETURN = """
instance: {description: "The server's instance, its disks and their size; empty when there is none", type: dict, returned: always}
images: {description: Images of this server, newest first, type: list, returned: always}
finishes: {description: Image of a run that was cut off and is finished now, type: str, returned: always}
remove: {description: Ids of the images that go, type: list, returned: always}
orphans: {description: Snapshots of images that are gone already, type: list, returned: always}
broken: {description: Ids of images that AWS could not make, type: list, returned: always}
image: {description: The image that was made, type: dict, returned: when one was made}
"""

import datetime
import re
import time
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import by_tags, pages, tag_list, tags_of
from ansible.module_utils.server_backup import Trouble, code_of, instance_of, recent, tell
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

ROLE = "image"


def words_of(image: dict[str, Any]) -> dict[str, Any]:
    """What matters of an image."""
    tags = tags_of(image)
    disks = [m["Ebs"] for m in image.get("BlockDeviceMappings", []) if m.get("Ebs")]
    return {
        "id": image["ImageId"],
        "name": image.get("Name", ""),
        "server": tags.get("Name", ""),
        "os": tags.get("Os", ""),
        "state": image["State"],
        "made": image["CreationDate"],
        "size_gb": sum(disk.get("VolumeSize", 0) for disk in disks),
        "snapshots": [disk["SnapshotId"] for disk in disks if disk.get("SnapshotId")],
        "from": tags.get("From", ""),
        "unfinished": tags.get("Finished") == "no",
    }


def images_of(ec2: Any, project: str, name: str) -> list[dict[str, Any]]:
    """The images of a server, newest first."""
    wanted = [*by_tags(project, name), {"Name": "tag:Role", "Values": [ROLE]}]
    found = pages(ec2, "describe_images", "Images", Owners=["self"], Filters=wanted)
    return sorted((words_of(one) for one in found), key=lambda one: (one["made"], one["name"]), reverse=True)


def orphans_of(ec2: Any, project: str, name: str, images: list[dict[str, Any]]) -> list[str]:
    """Snapshots of images that a run which was cut off deregistered; none while an image is not complete."""
    if any(one["state"] == "pending" for one in images):
        return []
    wanted = [*by_tags(project, name), {"Name": "tag:Role", "Values": [ROLE]}]
    used = {snapshot for one in images for snapshot in one["snapshots"]}
    alive = {one["id"] for one in images}
    found = []
    for one in pages(ec2, "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=wanted):
        made_for = re.search(r"ami-[0-9a-f]+", one.get("Description", ""))
        if one["SnapshotId"] not in used and made_for and made_for[0] not in alive:
            found.append(one["SnapshotId"])
    return sorted(found)


def find(ec2: Any, project: str, name: str) -> dict[str, Any]:
    """The server, its images, and what is left of former ones."""
    instance = instance_of(ec2, project, name)
    if instance.get("root_volume"):
        instance["size_gb"] = ec2.describe_volumes(VolumeIds=[instance["root_volume"]])["Volumes"][0]["Size"]
    images = images_of(ec2, project, name)
    return {"instance": instance, "images": images, "orphans": orphans_of(ec2, project, name, images)}


def plan(found: dict[str, Any], keep: int, now: datetime.datetime) -> dict[str, Any]:
    """What a run would do."""
    images = found["images"]
    cut = [
        one["id"]
        for one in images
        if one["unfinished"]
        and one["state"] in ("pending", "available")
        and one["from"] == found["instance"].get("id")
        and recent(one["made"], now)
    ][:1]
    good = [one["id"] for one in images if one["state"] == "available" and one["id"] not in cut]
    return {
        "finishes": "".join(cut),
        "remove": good[keep - 1 :],
        "pending": [one["id"] for one in images if one["state"] == "pending" and one["id"] not in cut],
        "broken": [one["id"] for one in images if one["state"] in ("failed", "error", "invalid")],
        "image_name": f"{found['name']}-{now:%Y%m%d-%H%M%S}" if found.get("name") else "",
    }


def create(ec2: Any, found: dict[str, Any], planned: dict[str, Any], options: dict[str, Any]) -> str:
    """Begin the image. AWS shuts a running server down for it, and starts it again, unless told otherwise."""
    instance, name = found["instance"], options["name"]
    tags = {
        **options["tags"],
        "Name": name,
        "Project": options["project"],
        "ManagedBy": "ansible",
        "Role": ROLE,
        "Os": options["os"],
        "From": instance["id"],
        "Finished": "no",
    }
    try:
        made = ec2.create_image(
            InstanceId=instance["id"],
            Name=planned["image_name"],
            Description=f"{name} of {options['project']}",
            NoReboot=not options["reboot"],
            # The data volume has backups of its own; a copy of it in each image would be paid for and forgotten.
            BlockDeviceMappings=[
                {"DeviceName": device, "NoDevice": ""}
                for device in sorted(instance["devices"])
                if device != instance["root_device"]
            ],
            TagSpecifications=[{"ResourceType": kind, "Tags": tag_list(tags)} for kind in ("image", "snapshot")],
        )
    except (aws.ClientError, aws.BotoCoreError) as error:
        raise Trouble(
            f"AWS did not begin an image of {name}",
            f"No image was made; {name} ({instance['id']}) is as it was and its {len(found['images'])} older images are "
            "untouched. Run the same command again.",
            error,
        ) from error
    return str(made["ImageId"])


def wait(ec2: Any, image: str, options: dict[str, Any]) -> dict[str, Any]:
    """Wait until it can be used, or for as long as a person wants to wait."""
    end = time.monotonic() + options["wait_timeout"]
    while True:
        try:
            one = words_of(ec2.describe_images(ImageIds=[image])["Images"][0])
        except (aws.ClientError, aws.BotoCoreError, IndexError) as error:
            raise Trouble(
                f"AWS did not say how far the image {image} is",
                f"{image} was begun and AWS goes on with it; no older one was removed. "
                "Run the same command again within half an hour to finish it.",
                error,
            ) from error
        if one["state"] not in ("pending", "available"):
            raise Trouble(
                f"AWS could not complete the image {image}",
                "It cannot be used and is not counted; no older one was removed. "
                f"Deregister it (aws ec2 deregister-image --image-id {image}) and run the same command again.",
            )
        if one["state"] == "available" or time.monotonic() >= end:
            return one
        time.sleep(options["delay"])


def gone(call: Any, missing: str, **what: str) -> bool:
    """Remove something; what is not there any more is removed. False: something else still needs it."""
    try:
        call(**what)
    except aws.ClientError as error:
        if code_of(error) == "InvalidSnapshot.InUse":
            return False
        if not code_of(error).startswith(missing):
            raise
    return True


def apply(ec2: Any, found: dict[str, Any], planned: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Make it, wait for it, and only then remove what is too old."""
    image = planned["finishes"] or create(ec2, found, planned, options)
    made = wait(ec2, image, options)
    removed: list[str] = []
    in_use: list[str] = []
    if made["state"] == "available":
        try:
            for old in (one for one in found["images"] if one["id"] in planned["remove"]):
                gone(ec2.deregister_image, "InvalidAMIID", ImageId=old["id"])
                for snapshot in old["snapshots"]:
                    if not gone(ec2.delete_snapshot, "InvalidSnapshot.NotFound", SnapshotId=snapshot):
                        in_use.append(snapshot)
                removed.append(old["id"])
            for snapshot in found["orphans"]:
                if not gone(ec2.delete_snapshot, "InvalidSnapshot.NotFound", SnapshotId=snapshot):
                    in_use.append(snapshot)
            ec2.create_tags(Resources=[image, *made["snapshots"]], Tags=tag_list({"Finished": "yes"}))
        except (aws.ClientError, aws.BotoCoreError) as error:
            raise Trouble(
                f"The image of {options['name']} is made, but its last step failed",
                f"{image} can be used; older ones that should go: {', '.join(planned['remove']) or 'none'}, of which "
                f"{len(removed)} went. Run the same command again within half an hour to finish, or leave it.",
                error,
            ) from error
    return {"image": made, "removed": removed, "in_use": in_use}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "os": {"type": "str", "default": ""},
            "reboot": {"type": "bool", "default": True},
            "keep": {"type": "int", "default": 3},
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
            msg="project and name must not be empty: they are what tells this server's images from others."
        )
    if options["keep"] < 1:
        module.fail_json(msg=f"keep is {options['keep']}: at least the newest image is kept; give 1 or more.")
    ec2 = module.client("ec2")
    try:
        found = {**find(ec2, options["project"], options["name"]), "name": f"{options['project']}-{options['name']}"}
        planned = plan(found, options["keep"], datetime.datetime.now(datetime.timezone.utc))
        if options["remove"] is not None:
            planned["remove"] = [one for one in planned["remove"] if one in options["remove"]]
        result = {**found, **planned}
        if module.check_mode:
            module.exit_json(changed=bool(found["instance"]), **result)
        if not found["instance"]:
            module.fail_json(
                msg=f"AWS has no instance of {options['name']}, so there is nothing to make an image of: launch it with "
                "site.yml, or correct the name or ec2_provision_region."
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

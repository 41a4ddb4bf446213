"""Copies of disks, as AWS makes them: a snapshot is what a volume held at that moment, an image what an instance's system was."""

from __future__ import annotations

import copy
import dataclasses
import logging
import time
from typing import Any

from lab import catalog
from lab.engine import EngineError, docker, labelled
from lab.settings import Settings

LOG = logging.getLogger("lab")


class Engine:
    """What copies disks and systems; nothing where only the API runs."""

    fleet: Any = None


def use(fleet: Any) -> None:
    """From now on copies are real."""
    Engine.fleet = fleet


def apply(wrap: Any) -> None:
    """Change moto: CreateImage and CreateSnapshot take what is there, CreateVolume brings it back."""
    from moto.core.responses import ActionResult
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.models import amis
    from moto.ec2.models import elastic_block_store as ebs
    from moto.ec2.responses.amis import AmisResponse

    @wrap(ebs.EBSBackend, "create_snapshot")
    def _snapshot(original: Any, self: Any, volume_id: str, *args: Any, **kwargs: Any) -> Any:
        made = original(self, volume_id, *args, **kwargs)
        # The volume may grow later, or go.
        made.volume = copy.copy(made.volume)
        if Engine.fleet:
            attachment = made.volume.attachment
            keep(Engine.fleet, volume_id, made.id, attachment.instance.id if attachment else "")
        return made

    @wrap(ebs.EBSBackend, "create_volume")
    def _volume(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        snapshot = kwargs.get("snapshot_id")
        least = self.get_snapshot(snapshot).volume.size if snapshot else 0
        if kwargs.get("size") and int(kwargs["size"]) < int(least):
            raise EC2ClientError(
                "InvalidParameterValue", f"The specified size is smaller than the snapshot {snapshot} ({least} GiB)."
            )
        volume = original(self, *args, **kwargs)
        if snapshot and Engine.fleet:
            Engine.fleet.disks.copy(snapshot, volume.id)
        return volume

    @wrap(AmisResponse, "create_image")
    def _image(original: Any, self: Any) -> ActionResult:
        answer: ActionResult = original(self)
        backend = self.ec2_backend
        image = backend.amis[answer.result["ImageId"]]  # type: ignore[index]
        instance = backend.get_instance(self._get_param("InstanceId"))
        left_out = {m["DeviceName"] for m in self._get_param("BlockDeviceMappings", []) if "NoDevice" in m}
        tags = {
            tag["Key"]: tag["Value"]
            for one in self._get_param("TagSpecifications", [])
            if one["ResourceType"] == "snapshot"
            for tag in one["Tags"]
        }
        del backend.snapshots[image.ebs_snapshot.id]
        image.disks = {}
        for device, block in instance.get_block_device_mapping:
            if device not in left_out:
                text = f"Created by CreateImage({instance.id}) for {image.id}"
                image.disks[device] = backend.create_snapshot(block.volume_id, text, from_ami=image.id)
                image.disks[device].add_tags(tags)
        image.ebs_snapshot = image.disks[instance.root_device_name]
        image.root_device_name, image.root_device_type = instance.root_device_name, "ebs"
        catalog.adopt(image.id, instance.image_id)
        if Engine.fleet:
            image.state = "pending"
            reboot = str(self._get_param("NoReboot") or "false").lower() != "true"
            Engine.fleet.asked[instance.id] = (image, reboot)
        return answer

    @wrap(amis.AmiBackend, "deregister_image")
    def _deregister(original: Any, self: Any, ami_id: str) -> None:
        original(self, ami_id)
        if Engine.fleet:
            forget(Engine.fleet.settings, ami_id)


def pause(name: str, tries: int = 10) -> None:
    """Let nothing run in a container. On a busy machine it does not always come to rest at once."""
    for left in range(tries - 1, -1, -1):
        try:
            docker("pause", name)
            return
        except EngineError as error:
            if "freeze" not in str(error) or not left:
                raise
            LOG.info("%s", error)
            time.sleep(0.5)


def keep(fleet: Any, volume: str, snapshot: str, instance: str) -> None:
    """Copy a volume at one moment: nothing runs on the instance meanwhile."""
    name = fleet.container(instance) if instance else ""
    paused = bool(name) and volume in fleet.disks.files and fleet.state(name) == "running"
    if paused:
        pause(name)
    try:
        fleet.disks.copy(volume, snapshot)
    finally:
        if paused:
            docker("unpause", name)


def reference(settings: Settings, ami: str) -> str:
    """Return the name of the container image that an instance's system was copied to."""
    return f"localhost/{settings.name}-copy:{ami}"


def commit(fleet: Any, known: Any, image: Any, reboot: bool) -> None:
    """Copy an instance's system; with a reboot it is shut down for it, and started again at the next look."""
    name = fleet.container(known.id)
    LOG.info("%s is copied to %s", known.id, image.id)
    try:
        if reboot and fleet.state(name) == "running":
            fleet.done[known.id] = dataclasses.replace(known, state="copied")
            docker("stop", "--time=30", name, timeout=60)
        docker(
            "commit", f"--change=LABEL {fleet.settings.label}", name, reference(fleet.settings, image.id), timeout=900
        )
        image.state = "available"
    except EngineError:
        image.state = "failed"
        raise


def forget(settings: Settings, ami: str) -> None:
    """Throw a system's copy away; one that an instance runs from goes with the lab."""
    try:
        docker("image", "rm", reference(settings, ami))
    except EngineError as error:
        LOG.info("%s stays for now: %s", ami, error)


def clear(settings: Settings) -> None:
    """Throw all copies of a lab away."""
    for name in labelled("image", settings.label):
        docker("image", "rm", "--force", name)

"""Snapshots and images as AWS makes them, on the lab's API; that contents are copied is shown by tests/life."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.test_lab_api import Lab

IMAGE_TAGS = [{"Key": "Role", "Value": "image"}]


@pytest.fixture(scope="module")
def ec2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a lab without containers."""
    lab = Lab(tmp_path_factory.mktemp("lab") / "lab")
    try:
        yield lab.client("ec2")
    finally:
        lab.run("down")


@pytest.fixture
def instance(ec2: Any) -> Iterator[dict[str, Any]]:
    """An instance with a second volume."""
    image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["debian-13-amd64-*"]}])["Images"][0]
    disk = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30, "VolumeType": "gp3", "Encrypted": True}}
    made = ec2.run_instances(
        ImageId=image["ImageId"], InstanceType="t3.small", MinCount=1, MaxCount=1, BlockDeviceMappings=[disk]
    )["Instances"][0]
    zone = made["Placement"]["AvailabilityZone"]
    volume = ec2.create_volume(Size=2, AvailabilityZone=zone, VolumeType="gp3")["VolumeId"]
    ec2.attach_volume(VolumeId=volume, InstanceId=made["InstanceId"], Device="/dev/sdf")
    yield {**made, "volume": volume}
    ec2.terminate_instances(InstanceIds=[made["InstanceId"]])


def bake(ec2: Any, instance: dict[str, Any], name: str, **more: Any) -> dict[str, Any]:
    made = ec2.create_image(
        InstanceId=instance["InstanceId"],
        Name=name,
        TagSpecifications=[{"ResourceType": kind, "Tags": IMAGE_TAGS} for kind in ("image", "snapshot")],
        **more,
    )
    return dict(ec2.describe_images(ImageIds=[made["ImageId"]])["Images"][0])


def test_an_image_holds_the_disks_of_its_instance(ec2: Any, instance: dict[str, Any]) -> None:
    """Each disk that is not left out gets a snapshot, with the tags that were asked for."""
    image = bake(ec2, instance, "whole")
    sizes = {one["DeviceName"]: one["Ebs"]["VolumeSize"] for one in image["BlockDeviceMappings"]}
    assert sizes == {"/dev/xvda": 30, "/dev/sdf": 2}
    assert image["Tags"] == IMAGE_TAGS
    assert image["RootDeviceName"] == "/dev/xvda"
    left = bake(ec2, instance, "root", BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "NoDevice": ""}])
    (disk,) = left["BlockDeviceMappings"]
    snapshot = ec2.describe_snapshots(SnapshotIds=[disk["Ebs"]["SnapshotId"]])["Snapshots"][0]
    assert snapshot["Tags"] == IMAGE_TAGS
    assert left["ImageId"] in snapshot["Description"]
    with pytest.raises(ClientError, match=r"InvalidSnapshot\.InUse"):
        ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])
    ec2.deregister_image(ImageId=left["ImageId"])
    ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])


def test_a_name_is_given_once(ec2: Any, instance: dict[str, Any]) -> None:
    bake(ec2, instance, "twice")
    with pytest.raises(ClientError, match=r"InvalidAMIName\.Duplicate"):
        bake(ec2, instance, "twice")


def test_a_snapshot_keeps_its_size_and_gives_it_to_volumes(ec2: Any, instance: dict[str, Any]) -> None:
    """Also when the volume grew later, or is gone; a volume in another zone may be made of it, a smaller one not."""
    snapshot = ec2.create_snapshot(VolumeId=instance["volume"])["SnapshotId"]
    ec2.modify_volume(VolumeId=instance["volume"], Size=5)
    assert ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["VolumeSize"] == 2
    made = ec2.create_volume(SnapshotId=snapshot, AvailabilityZone="us-west-2c", VolumeType="gp3")
    assert made["Size"] == 2
    with pytest.raises(ClientError, match="smaller than the snapshot"):
        ec2.create_volume(SnapshotId=snapshot, AvailabilityZone="us-west-2c", Size=1)

"""What happens to a server in the world: full zones, lost files, stops, failures. The tests build on each other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

NOTHING = {"instances": 0, "volumes": 0, "key pairs": 0, "security groups": 0, "VPCs": 0}
FULL = ("RunInstances", "InsufficientInstanceCapacity", "We currently do not have sufficient capacity.")


@pytest.fixture(autouse=True)
def _no_fault_stays(cloud: Any) -> Iterator[None]:
    """A fault is one test's own."""
    yield
    cloud.fault("--clear")


def sentence(run: Any) -> str:
    """The output on one line, as a person reads it."""
    return " ".join(run.output.split())


def record(cloud: Any) -> dict[str, Any]:
    """The server's record."""
    return dict(yaml.safe_load((cloud.state / "record.yml").read_text()))


def test_somebody_elses_security_group_is_left_alone(cloud: Any) -> None:
    cloud.ec2.create_security_group(GroupName="notebook-server-steps", Description="not ours")
    run = cloud.run("converge.yml", good=False)
    assert "that this project did not make" in sentence(run)
    cloud.ec2.delete_security_group(GroupName="notebook-server-steps")
    assert cloud.things() == NOTHING


def test_next_zone_at_once_when_one_is_full(cloud: Any) -> None:
    cloud.fault(*FULL, "--zone", "us-west-2a")
    cloud.run("converge.yml")
    assert [i["Placement"]["AvailabilityZone"] for i in cloud.instances()] == ["us-west-2b"]


def test_lost_record_is_written_again_and_no_second_server_made(cloud: Any) -> None:
    before = record(cloud)
    (cloud.state / "record.yml").unlink()
    cloud.run("converge.yml")
    assert record(cloud) == before
    assert cloud.things()["instances"] == 1


def test_stopped_server_is_started_and_its_new_address_recorded(cloud: Any) -> None:
    before = record(cloud)
    cloud.ec2.stop_instances(InstanceIds=[before["instance_id"]])
    cloud.run("converge.yml")
    (instance,) = cloud.instances()
    assert instance["State"]["Name"] == "running"
    assert instance["PublicIpAddress"] == record(cloud)["public_ip"] != before["public_ip"]


def test_failed_resize_leaves_the_server_running(cloud: Any) -> None:
    cloud.fault("StartInstances", "Unsupported", "That size cannot start here.", "--times", "1")
    run = cloud.run("converge.yml", instance_type="r7i.large", good=False)
    assert "Resize in place, start when stopped, keep what is declared failed: " in sentence(run)
    assert "That size cannot start here" in sentence(run)
    (instance,) = cloud.instances()
    assert (instance["State"]["Name"], instance["InstanceType"]) == ("running", "m7i-flex.large")


def test_another_machine_does_not_take_over_without_the_key(cloud: Any) -> None:
    shutil.rmtree(cloud.state)
    run = cloud.run("converge.yml", good=False)
    assert "its private key is not on this machine" in sentence(run)
    assert cloud.things()["instances"] == 1
    cloud.run("absent.yml")
    assert cloud.things() == NOTHING


def test_instance_profile_from_the_start_and_another_in_its_place(cloud: Any) -> None:
    run = cloud.run("converge.yml", instance_profile="nobodys", good=False)
    assert "Value (nobodys) for parameter iamInstanceProfile.name is invalid" in sentence(run)
    assert cloud.things() == NOTHING
    cloud.client("iam").create_instance_profile(InstanceProfileName="other")
    for name in ("notebooks", "other"):
        cloud.run("converge.yml", instance_profile=name, metadata_hop_limit=2)
        (instance,) = cloud.instances()
        assert instance["IamInstanceProfile"]["Arn"].endswith(f"/{name}")
        assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert cloud.run("converge.yml", check=True, instance_profile="notebooks", metadata_hop_limit=2).changed == 1
    assert cloud.instances() == [instance]
    cloud.run("absent.yml")
    cloud.state.rmdir()


def test_own_network_where_there_is_none(cloud: Any) -> None:
    (default,) = cloud.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    for subnet in cloud.ec2.describe_subnets()["Subnets"]:
        cloud.ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    cloud.ec2.delete_vpc(VpcId=default["VpcId"])
    assert cloud.run("converge.yml", check=True).changed > 0
    assert cloud.things() == NOTHING
    cloud.fault(*FULL)
    run = cloud.run("converge.yml", good=False)
    assert (
        "AWS has no free m7i-flex.large in us-west-2a, us-west-2b, us-west-2c, us-west-2d now: try again later"
        in sentence(run)
    )
    assert cloud.things() == NOTHING
    assert not cloud.state.exists()
    cloud.fault("--clear")
    cloud.run("converge.yml")
    assert cloud.things()["VPCs"] == cloud.things()["instances"] == 1
    assert cloud.run("converge.yml").changed == 0
    cloud.run("absent.yml")
    assert cloud.things() == NOTHING

"""What happens to a server in the world: full zones, lost files, failures, where there is no network. The tests build on each other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.account import NOTHING

pytestmark = pytest.mark.extended
FULL = ("RunInstances", "InsufficientInstanceCapacity", "We currently do not have sufficient capacity.")


@pytest.fixture(autouse=True)
def _no_fault_stays(cloud: Any) -> Iterator[None]:
    """A fault is one test's own."""
    yield
    cloud.calm()


def test_somebody_elses_security_group_is_left_alone(cloud: Any) -> None:
    cloud.ec2.create_security_group(GroupName="notebook-server-steps", Description="not ours")
    cloud.run("converge.yml", good=False)
    assert "that this project did not make" in cloud.output
    cloud.ec2.delete_security_group(GroupName="notebook-server-steps")
    assert cloud.things() == NOTHING


def test_where_there_is_no_network_a_dry_run_makes_none(cloud: Any) -> None:
    (default,) = cloud.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    for subnet in cloud.ec2.describe_subnets()["Subnets"]:
        cloud.ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    cloud.ec2.delete_vpc(VpcId=default["VpcId"])
    assert cloud.run("converge.yml", check=True).changed > 0
    assert cloud.things() == NOTHING


def test_nothing_is_left_when_all_zones_are_full(cloud: Any) -> None:
    cloud.fault(*FULL)
    cloud.run("converge.yml", good=False)
    assert (
        "AWS has no free m7i-flex.large in us-west-2a, us-west-2b, us-west-2c, us-west-2d now: try again later"
        in cloud.output
    )
    assert cloud.things() == NOTHING
    assert not cloud.state.exists()


def test_next_zone_at_once_when_one_is_full_in_a_network_of_its_own(cloud: Any) -> None:
    cloud.fault(*FULL, zone="us-west-2a")
    cloud.run("converge.yml")
    assert [i["Placement"]["AvailabilityZone"] for i in cloud.instances()] == ["us-west-2b"]
    assert cloud.things()["VPCs"] == 1


def test_lost_record_is_written_again_and_no_second_server_made(cloud: Any) -> None:
    before = cloud.record()
    (cloud.state / "record.yml").unlink()
    cloud.run("converge.yml")
    assert cloud.record() == before
    assert cloud.things()["instances"] == 1


def test_failed_resize_leaves_the_server_running(cloud: Any) -> None:
    cloud.fault("StartInstances", "Unsupported", "That size cannot start here.", times=1)
    cloud.run("converge.yml", instance_type="r7i.large", good=False)
    assert "Resize in place, start when stopped, keep what is declared failed: " in cloud.output
    assert "That size cannot start here" in cloud.output
    (instance,) = cloud.instances()
    assert (instance["State"]["Name"], instance["InstanceType"]) == ("running", "m7i-flex.large")


def test_all_is_as_it_was_and_a_run_changes_nothing(cloud: Any) -> None:
    assert cloud.run("converge.yml").changed == 0
    assert cloud.things()["VPCs"] == cloud.things()["instances"] == 1


def test_another_machine_does_not_take_over_without_the_key(cloud: Any) -> None:
    shutil.rmtree(cloud.state)
    cloud.run("converge.yml", good=False)
    assert "its private key is not on this machine" in cloud.output
    assert cloud.things()["instances"] == 1
    cloud.run("absent.yml")
    assert cloud.things() == NOTHING

"""What happens to a server in the world: interruptions, full zones, a missing network, a machine that lost its files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

NOTHING = {"instances": 0, "volumes": 0, "key pairs": 0, "security groups": 0, "VPCs": 0}
FULL = ("RunInstances", "InsufficientInstanceCapacity", "We currently do not have sufficient capacity.")


@pytest.fixture(autouse=True)
def _clean(cloud: Any) -> Iterator[None]:
    """Leave the account as it was."""
    yield
    cloud.fault("--clear")
    cloud.run("absent.yml")
    shutil.rmtree(cloud.state, ignore_errors=True)
    assert cloud.things() == NOTHING


def sentence(run: Any) -> str:
    """The output on one line, as a person reads it."""
    return " ".join(run.output.split())


def test_next_zone_when_one_is_full(cloud: Any) -> None:
    cloud.fault(*FULL, "--zone", "us-west-2a")
    cloud.run("converge.yml")
    assert [i["Placement"]["AvailabilityZone"] for i in cloud.instances()] == ["us-west-2b"]


def test_no_zone_has_room(cloud: Any) -> None:
    cloud.fault(*FULL)
    run = cloud.run("converge.yml", good=False)
    assert "AWS has no free m7i-flex.large in us-west-2a, us-west-2b, us-west-2c, us-west-2d now: try again later" in sentence(run)
    assert cloud.things() == NOTHING
    assert not cloud.state.exists()


def test_goes_on_after_a_failure_before_the_launch(cloud: Any) -> None:
    cloud.fault("CreateSecurityGroup", "RequestLimitExceeded", "Slow down.")
    cloud.run("converge.yml", good=False)
    assert cloud.things() == NOTHING
    cloud.fault("--clear")
    cloud.run("converge.yml")
    assert cloud.things()["instances"] == 1


def test_lost_record_is_written_again_and_no_second_server_made(cloud: Any) -> None:
    cloud.run("converge.yml")
    before = yaml.safe_load((cloud.state / "record.yml").read_text())
    (cloud.state / "record.yml").unlink()
    cloud.run("converge.yml", os="debian13", image_id="")
    assert yaml.safe_load((cloud.state / "record.yml").read_text()) == before
    assert cloud.things()["instances"] == 1


def test_stopped_server_is_started_and_its_new_address_recorded(cloud: Any) -> None:
    cloud.run("converge.yml")
    kept = yaml.safe_load((cloud.state / "record.yml").read_text())
    cloud.ec2.stop_instances(InstanceIds=[kept["instance_id"]])
    cloud.run("converge.yml")
    (instance,) = cloud.instances()
    assert instance["State"]["Name"] == "running"
    assert instance["PublicIpAddress"] == yaml.safe_load((cloud.state / "record.yml").read_text())["public_ip"] != kept["public_ip"]


def test_failed_resize_leaves_the_server_running(cloud: Any) -> None:
    cloud.run("converge.yml")
    cloud.fault("ModifyInstanceAttribute", "InsufficientInstanceCapacity", "No room for that size.")
    run = cloud.run("converge.yml", instance_type="r7i.large", good=False)
    assert "Resize in place, start when stopped, keep what is declared failed" in sentence(run)
    (instance,) = cloud.instances()
    assert (instance["State"]["Name"], instance["InstanceType"]) == ("running", "m7i-flex.large")


def test_own_network_where_there_is_none(cloud: Any) -> None:
    (default,) = cloud.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    for subnet in cloud.ec2.describe_subnets()["Subnets"]:
        cloud.ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    cloud.ec2.delete_vpc(VpcId=default["VpcId"])
    try:
        assert cloud.run("converge.yml", check=True).changed > 0
        assert cloud.things() == NOTHING
        run = cloud.run("converge.yml", vpc_create=False, good=False)
        assert "no default VPC and ec2_provision_vpc_create is false" in sentence(run)
        cloud.run("converge.yml")
        assert cloud.things()["VPCs"] == 1
        assert cloud.run("converge.yml").changed == 0
        cloud.run("absent.yml")
        assert cloud.things() == NOTHING
        cloud.fault(*FULL)
        cloud.run("converge.yml", good=False)
        assert cloud.things() == NOTHING
    finally:
        cloud.ec2.create_default_vpc()


def test_another_machine_does_not_take_over_without_the_key(cloud: Any) -> None:
    cloud.run("converge.yml")
    shutil.rmtree(cloud.state)
    run = cloud.run("converge.yml", good=False)
    assert "its private key is not on this machine" in sentence(run)
    assert cloud.things()["instances"] == 1


def test_somebody_elses_security_group_is_left_alone(cloud: Any) -> None:
    cloud.ec2.create_security_group(GroupName="notebook-server-steps", Description="not ours")
    run = cloud.run("converge.yml", good=False)
    assert "that this project did not make" in sentence(run)
    cloud.ec2.delete_security_group(GroupName="notebook-server-steps")

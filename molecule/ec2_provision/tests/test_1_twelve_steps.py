"""Create, again, modify, again, delete, delete what is gone: first in check mode, compared with what the API has."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

NOTHING = {"instances": 0, "volumes": 0, "key pairs": 0, "security groups": 0, "VPCs": 0}
SERVER = {"instances": 1, "volumes": 1, "key pairs": 1, "security groups": 1, "VPCs": 0}
MODIFIED: dict[str, Any] = {
    "instance_type": "t3.large",
    "disk_gb": 40,
    "tags": {"Owner": "ann"},
    "allowed_cidrs": ["203.0.113.7", "2001:db8::/48"],
    "extra_ingress": [{"port": 8050, "cidr": "198.51.100.0/24", "reason": "dashboard"}],
    "jupyter_ports": [443, 8443],
    "instance_profile": "notebooks",
    "metadata_hop_limit": 2,
    "termination_protection": True,
}


def record(cloud: Any) -> dict[str, Any]:
    """The server's record."""
    return dict(yaml.safe_load((cloud.state / "record.yml").read_text()))


def rules(cloud: Any) -> set[tuple[int, str]]:
    """Port and range of every rule."""
    group = cloud.ec2.describe_security_groups(GroupIds=[record(cloud)["security_group_id"]])["SecurityGroups"][0]
    return {
        (rule["FromPort"], one.get("CidrIp") or one.get("CidrIpv6"))
        for rule in group["IpPermissions"]
        for one in [*rule["IpRanges"], *rule["Ipv6Ranges"]]
    }


def test_01_create_in_check_mode(cloud: Any) -> None:
    run = cloud.run("converge.yml", check=True)
    assert run.changed > 0
    assert cloud.things() == NOTHING
    assert not cloud.state.exists()


def test_02_create(cloud: Any) -> None:
    assert cloud.run("converge.yml").changed > 0
    assert cloud.things() == SERVER
    (instance,) = cloud.instances()
    kept = record(cloud)
    volume = cloud.ec2.describe_volumes()["Volumes"][0]
    image = cloud.ec2.describe_images(ImageIds=[instance["ImageId"]])["Images"][0]
    key = cloud.ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"][0]
    assert kept["instance_id"] == instance["InstanceId"]
    assert kept["public_ip"] == instance["PublicIpAddress"]
    assert image["Name"].startswith("debian-13-amd64-20261015")
    assert instance["InstanceType"] == "m7i-flex.large"
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert "IamInstanceProfile" not in instance
    assert instance["BlockDeviceMappings"][0]["DeviceName"] == image["RootDeviceName"]
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (30, "gp3", True)
    behaviour = cloud.ec2.describe_instance_attribute(
        InstanceId=kept["instance_id"], Attribute="instanceInitiatedShutdownBehavior"
    )
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "stop"
    assert rules(cloud) == {(22, "198.18.0.1/32"), (443, "198.18.0.1/32")}
    assert (cloud.state / "id_ed25519.pub").read_text().split()[1] == key["PublicKey"].split()[1]
    assert oct(cloud.state.stat().st_mode)[-3:] == "700"
    assert oct((cloud.state / "id_ed25519").stat().st_mode)[-3:] == "600"
    for tagged in (instance, volume, key, cloud.ec2.describe_network_interfaces()["NetworkInterfaces"][0]):
        tags = {tag["Key"]: tag["Value"] for tag in tagged.get("Tags") or tagged.get("TagSet") or []}
        assert tags == {"Name": "steps", "Project": "notebook-server", "ManagedBy": "ansible"}


@pytest.mark.parametrize("check", [True, False], ids=["03_check", "04_apply"])
def test_create_again(cloud: Any, check: bool) -> None:
    before = record(cloud)
    assert cloud.run("converge.yml", check=check).changed == 0
    assert (cloud.things(), record(cloud)) == (SERVER, before)


def test_05_modify_in_check_mode(cloud: Any) -> None:
    before = cloud.instances()
    assert cloud.run("converge.yml", check=True, **MODIFIED).changed > 0
    assert cloud.instances() == before
    assert rules(cloud) == {(22, "198.18.0.1/32"), (443, "198.18.0.1/32")}


def test_06_modify(cloud: Any) -> None:
    before = record(cloud)
    assert cloud.run("converge.yml", **MODIFIED).changed > 0
    assert cloud.things() == SERVER
    (instance,) = cloud.instances()
    after = record(cloud)
    assert after["instance_id"] == before["instance_id"] == instance["InstanceId"]
    assert after["image_id"] == before["image_id"]
    assert (instance["InstanceType"], instance["State"]["Name"]) == ("t3.large", "running")
    assert after["public_ip"] == instance["PublicIpAddress"]
    assert f"HostName {instance['PublicIpAddress']}\n" in (cloud.state / "ssh_config").read_text()
    assert cloud.ec2.describe_volumes()["Volumes"][0]["Size"] == after["disk_gb"] == 40
    credit = cloud.ec2.describe_instance_credit_specifications(InstanceIds=[instance["InstanceId"]])
    assert credit["InstanceCreditSpecifications"][0]["CpuCredits"] == "standard"
    assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert instance["IamInstanceProfile"]["Arn"].endswith(":instance-profile/notebooks")
    everybody = {(port, cidr) for port in (22, 443, 8443) for cidr in ("203.0.113.7/32", "2001:db8::/48")}
    assert rules(cloud) == everybody | {(8050, "198.51.100.0/24")}
    assert after["open_ports"] == [22, 443, 8050, 8443]
    volume, key = cloud.ec2.describe_volumes()["Volumes"][0], cloud.ec2.describe_key_pairs()["KeyPairs"][0]
    for tagged in (instance, volume, key, cloud.ec2.describe_network_interfaces()["NetworkInterfaces"][0]):
        assert {"Key": "Owner", "Value": "ann"} in (tagged.get("Tags") or tagged.get("TagSet"))


@pytest.mark.parametrize("check", [True, False], ids=["07_check", "08_apply"])
def test_modify_again(cloud: Any, check: bool) -> None:
    before = record(cloud)
    assert cloud.run("converge.yml", check=check, **MODIFIED).changed == 0
    assert (cloud.things(), record(cloud)) == (SERVER, before)


def test_delete_is_refused_while_protected(cloud: Any) -> None:
    run = cloud.run("absent.yml", good=False)
    assert "Set ec2_provision_termination_protection to false and apply it first." in " ".join(run.output.split())
    assert cloud.things() == SERVER
    cloud.run("converge.yml", **{**MODIFIED, "termination_protection": False})


def test_09_delete_in_check_mode(cloud: Any) -> None:
    assert cloud.run("absent.yml", check=True).changed > 0
    assert cloud.things() == SERVER
    assert (cloud.state / "record.yml").exists()


def test_10_delete(cloud: Any) -> None:
    assert cloud.run("absent.yml").changed > 0
    assert cloud.things() == NOTHING
    assert not list(cloud.state.iterdir())


@pytest.mark.parametrize("check", [True, False], ids=["11_check", "12_apply"])
def test_delete_what_is_gone(cloud: Any, check: bool) -> None:
    assert cloud.run("absent.yml", check=check).changed == 0
    assert cloud.things() == NOTHING

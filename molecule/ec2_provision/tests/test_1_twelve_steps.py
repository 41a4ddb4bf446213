"""Create, again, modify, again, delete, delete what is gone: first in check mode, compared with what the API has.

A step that shall change nothing says so, and has called nothing of AWS that changes anything; so does each dry run. Dry runs of the same
server share a run, and so does each step with its repetition.
"""

from __future__ import annotations

from typing import Any

from tests.account import NOTHING

SERVER = NOTHING | {"instances": 1, "volumes": 1, "key pairs": 1, "security groups": 1}
HERE = {(22, "198.18.0.1/32"), (443, "198.18.0.1/32")}


def rules(cloud: Any) -> set[tuple[int, str]]:
    """Port and range of every rule."""
    group = cloud.ec2.describe_security_groups(GroupIds=[cloud.record()["security_group_id"]])["SecurityGroups"][0]
    return {
        (rule["FromPort"], one.get("CidrIp") or one.get("CidrIpv6"))
        for rule in group["IpPermissions"]
        for one in [*rule["IpRanges"], *rule["Ipv6Ranges"]]
    }


def seen(cloud: Any) -> tuple[Any, ...]:
    """All that a dry run must leave as it is."""
    files = {file.name: file.read_bytes() for file in cloud.state.iterdir()}
    return cloud.things(), cloud.instances(), cloud.ec2.describe_volumes()["Volumes"], rules(cloud), files


def tags(cloud: Any) -> list[dict[str, str]]:
    """The tags of the instance and of what belongs to it."""
    there = [
        *cloud.instances(),
        *cloud.ec2.describe_volumes()["Volumes"],
        *cloud.ec2.describe_key_pairs()["KeyPairs"],
        *cloud.ec2.describe_network_interfaces()["NetworkInterfaces"],
    ]
    return [{tag["Key"]: tag["Value"] for tag in one.get("Tags") or one.get("TagSet") or []} for one in there]


def test_create_and_delete_what_is_gone_in_check_mode(cloud: Any) -> None:
    create, delete_again = cloud.steps("create", "delete_again", check=True)
    assert create.changed > 0 == delete_again.changed
    assert (create.changes, delete_again.changes) == (set(), set())
    assert cloud.things() == NOTHING
    assert not cloud.state.exists()


def test_create_and_again_and_delete_while_it_is_protected(cloud: Any) -> None:
    create, create_again, delete = cloud.steps("create", "create_again", "delete", good=False)
    assert create.changed > 0 == create_again.changed
    assert "ec2:RunInstances" in create.changes
    assert create_again.changes == set()
    assert (create.failed, create_again.failed, delete.failed) == (0, 0, 1)
    assert "Set ec2_provision_termination_protection to false and apply it first." in cloud.output
    assert cloud.things() == SERVER
    (instance,) = cloud.instances()
    kept = cloud.record()
    volume = cloud.ec2.describe_volumes()["Volumes"][0]
    image = cloud.ec2.describe_images(ImageIds=[instance["ImageId"]])["Images"][0]
    key = cloud.ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"][0]
    assert kept["instance_id"] == instance["InstanceId"]
    assert kept["public_ip"] == instance["PublicIpAddress"]
    assert image["Name"].startswith("debian-13-amd64-20261015")
    assert (instance["InstanceType"], instance["State"]["Name"]) == ("m7i-flex.large", "running")
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert "IamInstanceProfile" not in instance
    assert instance["BlockDeviceMappings"][0]["DeviceName"] == image["RootDeviceName"]
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (30, "gp3", True)
    behaviour = cloud.ec2.describe_instance_attribute(
        InstanceId=kept["instance_id"], Attribute="instanceInitiatedShutdownBehavior"
    )
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "stop"
    assert rules(cloud) == HERE
    assert (cloud.state / "id_ed25519.pub").read_text().split()[1] == key["PublicKey"].split()[1]
    assert oct(cloud.state.stat().st_mode)[-3:] == "700"
    assert oct((cloud.state / "id_ed25519").stat().st_mode)[-3:] == "600"
    assert tags(cloud) == [{"Name": "steps", "Project": "notebook-server", "ManagedBy": "ansible"}] * 4


def test_create_again_and_modify_in_check_mode(cloud: Any) -> None:
    before = seen(cloud)
    create_again, modify = cloud.steps("create_again", "modify", check=True)
    assert modify.changed > 0 == create_again.changed
    assert (create_again.changes, modify.changes) == (set(), set())
    assert seen(cloud) == before


def test_modify_and_again(cloud: Any) -> None:
    before = cloud.record()
    modify, modify_again = cloud.steps("modify", "modify_again")
    assert modify.changed > 0 == modify_again.changed
    assert modify_again.changes == set()
    assert cloud.things() == SERVER
    (instance,) = cloud.instances()
    after = cloud.record()
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
    assert [one["Owner"] for one in tags(cloud)] == ["ann"] * 4


def test_modify_again_and_delete_in_check_mode(cloud: Any) -> None:
    before = seen(cloud)
    modify_again, delete = cloud.steps("modify_again", "delete", check=True)
    assert delete.changed > 0 == modify_again.changed
    assert (modify_again.changes, delete.changes) == (set(), set())
    assert seen(cloud) == before


def test_delete_and_delete_what_is_gone(cloud: Any) -> None:
    delete, delete_again = cloud.steps("delete", "delete_again")
    assert delete.changed > 0 == delete_again.changed
    assert "ec2:TerminateInstances" in delete.changes
    assert delete_again.changes == set()
    assert cloud.things() == NOTHING
    assert not list(cloud.state.iterdir())

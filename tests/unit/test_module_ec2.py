"""The modules against botocore's Stubber, or a client that answers as told: no network."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.exceptions as aws
import pytest
from botocore.stub import ANY, Stubber

from plugins.modules import (
    ec2_console_host_keys,
    ec2_cpu_credits,
    ec2_instance_profile,
    ec2_launch,
    ec2_offer_info,
    ec2_server_info,
)

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBzVbzV9rE2pQBmRhN4eO1nWT4sT1y0Ap2mXl3i1p9uM"
BLOCK = (
    f"[ 9.1] x\r\n[ 9.2] -----BEGIN SSH HOST KEY KEYS-----\r\n[ 9.3] {KEY} root@ip\r\n"
    "-----END SSH HOST KEY KEYS-----\r\n"
)


@pytest.fixture
def ec2() -> Any:
    """A client that answers what a test stubs, and refuses all else."""
    client = boto3.client("ec2", region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x")
    stub = Stubber(client)
    stub.activate()
    return SimpleNamespace(client=client, stub=stub)


def failure(code: str, text: str = "text.") -> aws.ClientError:
    return aws.ClientError({"Error": {"Code": code, "Message": text}}, "Anything")


def test_host_keys_are_those_of_the_last_whole_block() -> None:
    other = BLOCK.replace("AAAAC3NzaC1lZDI1NTE5AAAAIBzV", "AAAAC3NzaC1lZDI1NTE5AAAAIXXX")
    assert ec2_console_host_keys.parse(BLOCK) == [KEY]
    assert ec2_console_host_keys.parse(other + BLOCK) == [KEY]
    assert ec2_console_host_keys.parse("") == []
    assert ec2_console_host_keys.parse(BLOCK[:90]) == []


def test_console_of_a_type_without_a_live_console(ec2: Any) -> None:
    ec2.stub.add_client_error(
        "get_console_output", "UnsupportedOperation", expected_params={"InstanceId": "i-1", "Latest": True}
    )
    coded = base64.b64encode(BLOCK.encode()).decode()
    ec2.stub.add_response("get_console_output", {"Output": coded}, {"InstanceId": "i-1"})
    assert ec2_console_host_keys.parse(ec2_console_host_keys.read(ec2.client, "i-1")) == [KEY]


def test_console_that_is_still_empty(ec2: Any) -> None:
    ec2.stub.add_response("get_console_output", {"InstanceId": "i-1"}, {"InstanceId": "i-1", "Latest": True})
    assert ec2_console_host_keys.read(ec2.client, "i-1") == ""


@pytest.mark.parametrize(
    ("before", "check", "asks"), [("unlimited", False, True), ("unlimited", True, False), ("standard", False, False)]
)
def test_cpu_credits(ec2: Any, before: str, check: bool, asks: bool) -> None:
    answer = {"InstanceCreditSpecifications": [{"InstanceId": "i-1", "CpuCredits": before}]}
    ec2.stub.add_response("describe_instance_credit_specifications", answer, {"InstanceIds": ["i-1"]})
    if asks:
        wanted = {"InstanceCreditSpecifications": [{"InstanceId": "i-1", "CpuCredits": "standard"}]}
        ec2.stub.add_response("modify_instance_credit_specification", {}, wanted)
    assert ec2_cpu_credits.standardise(ec2.client, "i-1", check) == before
    ec2.stub.assert_no_pending_responses()


PROFILE = "arn:aws:iam::123456789012:instance-profile/team/"


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(("before", "asks"), [("", "associate"), ("old", "replace"), ("notebooks", "")])
def test_instance_profile(ec2: Any, before: str, asks: str, check: bool) -> None:
    there = [{"AssociationId": "iip-1", "IamInstanceProfile": {"Arn": f"{PROFILE}{before}"}}] if before else []
    ec2.stub.add_response("describe_iam_instance_profile_associations", {"IamInstanceProfileAssociations": there})
    wanted = {"IamInstanceProfile": {"Name": "notebooks"}}
    if asks == "associate" and not check:
        ec2.stub.add_response("associate_iam_instance_profile", {}, {"InstanceId": "i-1", **wanted})
    if asks == "replace" and not check:
        ec2.stub.add_response("replace_iam_instance_profile_association", {}, {"AssociationId": "iip-1", **wanted})
    assert ec2_instance_profile.give(ec2.client, "i-1", "notebooks", check) == before
    ec2.stub.assert_no_pending_responses()


WISH: dict[str, Any] = {
    "image_id": "ami-1",
    "instance_type": "t3.large",
    "subnets": [{"id": "s-a", "zone": "a"}, {"id": "s-b", "zone": "b"}],
    "security_group_id": "sg-1",
    "key_name": "k",
    "root_device_name": "/dev/sda1",
    "disk_gb": 30,
    "standard_credits": True,
    "instance_profile": "",
    "metadata_hop_limit": 1,
    "termination_protection": False,
    "tags": {"Name": "demo"},
}


def test_launch_asks_for_what_is_promised() -> None:
    wanted = ec2_launch.request(WISH, "s-a")
    assert wanted["MetadataOptions"] == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "HttpEndpoint": "enabled",
    }
    assert wanted["BlockDeviceMappings"][0]["DeviceName"] == "/dev/sda1"
    assert wanted["BlockDeviceMappings"][0]["Ebs"] == {
        "VolumeSize": 30, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True,
    }  # fmt: skip
    assert wanted["InstanceInitiatedShutdownBehavior"] == "stop"
    assert "IamInstanceProfile" not in wanted
    with_role = ec2_launch.request({**WISH, "instance_profile": "notebooks", "metadata_hop_limit": 2}, "s-a")
    assert with_role["IamInstanceProfile"] == {"Name": "notebooks"}
    assert with_role["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert wanted["CreditSpecification"] == {"CpuCredits": "standard"}
    assert "CreditSpecification" not in ec2_launch.request({**WISH, "standard_credits": False}, "s-a")
    assert {one["ResourceType"] for one in wanted["TagSpecifications"]} == {"instance", "volume", "network-interface"}


def test_launch_takes_the_next_zone_once(ec2: Any) -> None:
    ec2.stub.add_client_error("run_instances", "InsufficientInstanceCapacity", http_status_code=500)
    ec2.stub.add_response("run_instances", {"Instances": [{"InstanceId": "i-1"}]})
    assert ec2_launch.launch(ec2.client, WISH) == {"instance_id": "i-1", "zone": "b", "full_zones": ["a"]}
    ec2.stub.assert_no_pending_responses()


def test_launch_gives_up_when_all_zones_are_full(ec2: Any) -> None:
    for _ in WISH["subnets"]:
        ec2.stub.add_client_error("run_instances", "InsufficientInstanceCapacity")
    result = ec2_launch.launch(ec2.client, WISH)
    assert result["full_zones"] == ["a", "b"]
    assert "InsufficientInstanceCapacity" in str(result["error"])


def test_launch_does_not_try_another_zone_for_a_quota(ec2: Any) -> None:
    ec2.stub.add_client_error("run_instances", "VcpuLimitExceeded")
    with pytest.raises(aws.ClientError, match="VcpuLimitExceeded"):
        ec2_launch.launch(ec2.client, WISH)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (aws.NoCredentialsError(), "No AWS credentials were found"),
        (aws.PartialCredentialsError(provider="env", cred_var="x"), "The AWS credentials are incomplete"),
        (failure("ExpiredToken"), "The AWS credentials have expired (text)"),
        (failure("InvalidClientTokenId"), "AWS does not accept these credentials (InvalidClientTokenId: text)"),
        (failure("UnauthorizedOperation"), "These credentials may not look (UnauthorizedOperation: text)"),
        (aws.EndpointConnectionError(endpoint_url="http://x"), "AWS cannot be reached"),
        (failure("InternalError"), "AWS would not look (InternalError: text)."),
    ],
)
def test_explain(error: Exception, words: str) -> None:
    assert ec2_offer_info.explain(error, "look").startswith(words)


def regions(**status: str) -> Any:
    return lambda **_: {
        "Regions": [{"RegionName": name.replace("_", "-"), "OptInStatus": value} for name, value in status.items()]
    }


def test_regions() -> None:
    ec2_offer_info.check_region("us-west-2", ["us-west-2"], None)
    ec2_offer_info.check_region("xx-new-1", [], regions(xx_new_1="opted-in"))
    with pytest.raises(ec2_offer_info.Refusal, match="Did you mean us-west-2"):
        ec2_offer_info.check_region("us-wst-2", ["us-west-2"], regions())
    with pytest.raises(ec2_offer_info.Refusal, match="not switched on"):
        ec2_offer_info.check_enabled("af-south-1", regions(af_south_1="not-opted-in"))
    ec2_offer_info.check_enabled("us-west-2", regions(us_west_2="opt-in-not-required"))


@pytest.mark.parametrize(
    ("region", "part"),
    [("us-west-2", "aws"), ("eu-central-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_partition(region: str, part: str) -> None:
    assert ec2_offer_info.partition(region) == part


def test_type_misspelt_and_type_not_offered(ec2: Any) -> None:
    for wanted, words in (("t3.lagre", "Did you mean t3.large"), ("t3.large", "is not offered in us-west-2")):
        ec2.stub.add_client_error("describe_instance_types", "InvalidInstanceType")
        with pytest.raises(ec2_offer_info.Refusal, match=words):
            ec2_offer_info.find_type(ec2.client, wanted, "us-west-2")
    ec2.stub.add_response("describe_instance_type_offerings", {"InstanceTypeOfferings": []})
    with pytest.raises(ec2_offer_info.Refusal, match="is not offered"):
        ec2_offer_info.find_zones(ec2.client, "t3.large", "us-west-2")


IMAGE = {
    "ImageId": "ami-1",
    "Name": "n",
    "Architecture": "x86_64",
    "RootDeviceName": "/dev/xvda",
    "CreationDate": "2026-01-01",
}
OPTIONS: dict[str, Any] = {
    "image_id": "",
    "image_parameters": {"x86_64": "/p"},
    "image_owner": "1",
    "image_names": {"x86_64": "n*"},
    "vpc_id": "",
    "subnet_id": "",
    "vpc_create": False,
    "instance_type": "t3.large",
    "project": "p",
    "name": "demo",
}


def parameter(value: str | Exception) -> Any:
    def get(**_: str) -> dict[str, Any]:
        if isinstance(value, Exception):
            raise value
        return {"Parameter": {"Value": value}}

    return SimpleNamespace(get_parameter=get)


def test_image_by_parameter(ec2: Any) -> None:
    disks = [
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}},
        {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 99}},
    ]
    ec2.stub.add_response(
        "describe_images", {"Images": [{**IMAGE, "BlockDeviceMappings": disks}]}, {"ImageIds": ["ami-1"]}
    )
    image = ec2_offer_info.find_image(ec2.client, parameter("ami-1"), OPTIONS, "x86_64")
    assert image == {
        "id": "ami-1",
        "name": "n",
        "architecture": "x86_64",
        "root_device_name": "/dev/xvda",
        "disk_gb": 8,
        "os": "",
    }


@pytest.mark.parametrize(("wanted", "names"), [("latest", []), ("other", [{"Name": "tag:Name", "Values": ["other"]}])])
def test_the_newest_image_that_bake_made(ec2: Any, wanted: str, names: list[Any]) -> None:
    """Of the project, or of the server that is named; it says which system is in it."""
    newer = {**IMAGE, "ImageId": "ami-2", "CreationDate": "2026-02-01", "Tags": [{"Key": "Os", "Value": "debian12"}]}
    filters = {"tag:Project": "p", "tag:Role": "image", "state": "available", "architecture": "x86_64"}
    expected = {"Owners": ["self"], "Filters": [{"Name": k, "Values": [v]} for k, v in filters.items()] + names}
    ec2.stub.add_response("describe_images", {"Images": [newer, IMAGE]}, expected)
    ec2.stub.add_response("describe_images", {"Images": [newer]}, {"ImageIds": ["ami-2"]})
    image = ec2_offer_info.find_image(ec2.client, parameter("ami-1"), {**OPTIONS, "image_id": wanted}, "x86_64")
    assert (image["id"], image["os"]) == ("ami-2", "debian12")
    ec2.stub.add_response("describe_images", {"Images": []}, expected)
    assert ec2_offer_info.find_image(ec2.client, parameter("ami-1"), {**OPTIONS, "image_id": wanted}, "x86_64") == {}


@pytest.mark.parametrize("code", ["ParameterNotFound", "AccessDeniedException"])
def test_image_by_owner_when_the_parameter_cannot_be_read(ec2: Any, code: str) -> None:
    newer = {**IMAGE, "ImageId": "ami-2", "CreationDate": "2026-02-01"}
    ec2.stub.add_response("describe_images", {"Images": [newer, IMAGE]}, {"Owners": ["1"], "Filters": ANY})
    assert ec2_offer_info.find_image(ec2.client, parameter(failure(code)), OPTIONS, "x86_64")["id"] == "ami-2"


def test_given_image_that_is_gone_is_not_replaced(ec2: Any) -> None:
    ec2.stub.add_client_error("describe_images", "InvalidAMIID.NotFound")
    assert ec2_offer_info.find_image(ec2.client, parameter("ami-1"), {**OPTIONS, "image_id": "ami-9"}, "x86_64") == {}


SUBNET = {"SubnetId": "s-a", "VpcId": "vpc-1", "AvailabilityZone": "a"}


def test_network_of_a_subnet_outside_the_given_vpc(ec2: Any) -> None:
    ec2.stub.add_response("describe_subnets", {"Subnets": [SUBNET]})
    with pytest.raises(ec2_offer_info.Refusal, match="is in vpc-1, not in vpc-2"):
        ec2_offer_info.find_network(ec2.client, {**OPTIONS, "subnet_id": "s-a", "vpc_id": "vpc-2"}, ["a"])


def test_network_without_a_subnet_where_the_type_is(ec2: Any) -> None:
    ec2.stub.add_response("describe_subnets", {"Subnets": [SUBNET]})
    with pytest.raises(ec2_offer_info.Refusal, match="is offered in b, but the VPC vpc-1 has no subnet there"):
        ec2_offer_info.find_network(ec2.client, {**OPTIONS, "vpc_id": "vpc-1"}, ["b"])


def test_network_default_own_and_none(ec2: Any) -> None:
    ec2.stub.add_response("describe_vpcs", {"Vpcs": []})
    ec2.stub.add_response("describe_vpcs", {"Vpcs": [{"VpcId": "vpc-1"}]})
    ec2.stub.add_response("describe_subnets", {"Subnets": [SUBNET]})
    usable = [{"id": "s-a", "zone": "a"}]
    assert ec2_offer_info.find_network(ec2.client, OPTIONS, ["a"]) == {
        "vpc_id": "vpc-1",
        "made": False,
        "subnets": usable,
    }
    ec2.stub.add_response("describe_vpcs", {"Vpcs": [{"VpcId": "vpc-1"}]})
    ec2.stub.add_response("describe_subnets", {"Subnets": []})
    assert ec2_offer_info.find_network(ec2.client, OPTIONS, ["a"]) == {}  # made, but interrupted before its subnets
    for _ in range(2):
        ec2.stub.add_response("describe_vpcs", {"Vpcs": []})
        ec2.stub.add_response("describe_vpcs", {"Vpcs": []})
    assert ec2_offer_info.find_network(ec2.client, {**OPTIONS, "vpc_create": True}, ["a"]) == {}
    with pytest.raises(ec2_offer_info.Refusal, match="no default VPC"):
        ec2_offer_info.find_network(ec2.client, OPTIONS, ["a"])


def tags(**named: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in named.items()]


def test_server_is_what_bears_its_tags(ec2: Any) -> None:
    mine = tags(Project="p", Name="demo")
    instance = {
        "InstanceId": "i-1",
        "InstanceType": "t3.large",
        "State": {"Name": "running"},
        "Placement": {"AvailabilityZone": "a"},
        "ImageId": "ami-1",
        "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": "vol-1"}}],
        "NetworkInterfaces": [{"NetworkInterfaceId": "eni-1", "Groups": [{"GroupId": "sg-1"}]}],
        "Tags": mine,
    }
    gone = {**instance, "InstanceId": "i-2", "State": {"Name": "shutting-down"}}
    ec2.stub.add_response("describe_instances", {"Reservations": [{"Instances": [instance, gone]}]})
    ec2.stub.add_response("describe_volumes", {"Volumes": [{"VolumeId": "vol-1", "Size": 30, "Tags": mine}]})
    credit = {"InstanceCreditSpecifications": [{"InstanceId": "i-1", "CpuCredits": "standard"}]}
    ec2.stub.add_response("describe_instance_credit_specifications", credit)
    ec2.stub.add_response(
        "describe_network_interfaces", {"NetworkInterfaces": [{"NetworkInterfaceId": "eni-1", "TagSet": []}]}
    )
    key = {"KeyName": "p-demo", "KeyPairId": "key-1", "PublicKey": f"{KEY} comment", "Tags": mine}
    ec2.stub.add_response("describe_key_pairs", {"KeyPairs": [key]})
    groups = [{"GroupId": "sg-1", "GroupName": "p-demo", "Tags": mine}, {"GroupId": "sg-2", "GroupName": "p-demo"}]
    ec2.stub.add_response("describe_security_groups", {"SecurityGroups": groups})
    ec2.stub.add_response("describe_vpcs", {"Vpcs": []})
    address = {"AllocationId": "eipalloc-1", "PublicIp": "203.0.113.9", "InstanceId": "i-1", "Tags": mine}
    ec2.stub.add_response("describe_addresses", {"Addresses": [address]})
    data = [{"VolumeId": "vol-2", "Tags": [*mine, *tags(Role="data")]}]
    ec2.stub.add_response("describe_volumes", {"Volumes": data})
    options = {"project": "p", "name": "demo", "resource_name": "p-demo"}
    found = ec2_server_info.survey(ec2.client, options, {"Project": "p", "Name": "demo"})
    assert [i["id"] for i in found["instances"]] == ["i-1"]
    assert found["leaving"] == ["i-2"]
    assert found["instances"][0]["disk_gb"] == 30
    assert found["key_pairs"] == [{"name": "p-demo", "id": "key-1", "public_key": KEY}]
    assert [g["id"] for g in found["security_groups"]] == ["sg-1"]
    assert found["strangers"] == ["security group sg-2 (p-demo)"]
    assert found["mistagged"] == ["eni-1"]
    assert found["elastic_ips"] == [{"id": "eipalloc-1", "public_ip": "203.0.113.9", "instance_id": "i-1"}]
    assert found["instances"][0]["market"] == "on_demand"
    assert found["data_volumes"] == [{"id": "vol-2", "role": "data"}]

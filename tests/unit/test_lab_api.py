"""The lab's API answers as AWS would, where moto alone does not: one process, no containers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from lab import catalog, open_data, server
from lab.settings import ROOT

pytestmark = pytest.mark.slow

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKz1ZA+n94Fw1Ya3R2BOCCLPnNeW1yodTNfaXN7C01X1 someone"


class Lab:
    """A running API and how to call it."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.variables = {
            **os.environ,
            "LAB_DIR": str(folder),
            "LAB_NAME": f"unit{self.port}",
            "LAB_PORT": str(self.port),
            "LAB_SUBNET": "198.19.250.0/24",
        }
        self.run("up", "--api-only")
        self.keys = server.read_environment(folder / "env")

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "lab", *command],
            cwd=ROOT,
            env=self.variables,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout + done.stderr

    def client(self, service: str, **changes: Any) -> Any:
        values = {
            "endpoint_url": self.keys["AWS_ENDPOINT_URL"],
            "region_name": "us-west-2",
            "aws_access_key_id": self.keys["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": self.keys["AWS_SECRET_ACCESS_KEY"],
        }
        once = Config(retries={"max_attempts": 0})
        return boto3.client(service, **{**values, **changes, "config": once.merge(changes.get("config", once))})  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    running = Lab(folder)
    yield running
    running.run("down")
    assert not folder.exists()


@pytest.fixture(scope="module")
def launch(lab: Lab) -> dict[str, Any]:
    ec2 = lab.client("ec2")
    ec2.import_key_pair(KeyName="k", PublicKeyMaterial=KEY.encode())
    ami = catalog.parameters()["/aws/service/debian/release/13/latest/amd64"]
    return {"ImageId": ami, "InstanceType": "t3.small", "KeyName": "k", "MinCount": 1, "MaxCount": 1}


def code(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    return str(caught.value.response["Error"]["Code"])


def test_a_second_up_changes_nothing(lab: Lab) -> None:
    assert "is up" in lab.run("up", "--api-only")
    assert "API only" in lab.run("status")


def test_only_the_labs_key_opens_it(lab: Lab) -> None:
    wrong = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE"}
    assert lab.client("sts").get_caller_identity()["Arn"].endswith(":user/lab")
    assert code(lab.client("sts", **wrong).get_caller_identity) == "InvalidClientTokenId"
    assert code(lab.client("ec2", **wrong).describe_instances) == "AuthFailure"
    assert code(lab.client("ec2", aws_secret_access_key="wrong").describe_instances) == "AuthFailure"


@pytest.mark.parametrize(("service", "action"), [("ec2", "describe_instances"), ("sts", "get_caller_identity")])
def test_an_unknown_region_is_refused(lab: Lab, service: str, action: str) -> None:
    assert code(getattr(lab.client(service, region_name="us-wets-2"), action)) in {
        "AuthFailure",
        "SignatureDoesNotMatch",
    }


def test_a_user_without_rights_reads_so_in_each_services_words(lab: Lab) -> None:
    iam = lab.client("iam")
    iam.create_user(UserName="poor")
    key = iam.create_access_key(UserName="poor")["AccessKey"]
    poor = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    assert code(lab.client("ec2", **poor).describe_instances) == "UnauthorizedOperation"
    assert code(lab.client("ssm", **poor).describe_parameters) == "AccessDeniedException"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"InstanceType": "nope.small"}, "InvalidParameterValue"),
        ({"InstanceType": "t4g.small"}, "InvalidParameterValue"),
        ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
        ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 4}}]}, "InvalidBlockDeviceMapping"),
    ],
)
def test_launches_that_aws_refuses(lab: Lab, launch: dict[str, Any], changes: dict[str, Any], expected: str) -> None:
    assert code(lab.client("ec2").run_instances, **{**launch, **changes}) == expected


def test_an_instance_keeps_what_it_was_told(lab: Lab, launch: dict[str, Any]) -> None:
    ec2 = lab.client("ec2")
    disk = {"VolumeSize": 30, "VolumeType": "gp3", "Iops": 4000, "Throughput": 200, "Encrypted": True}
    more = {
        "ClientToken": "once",
        "DisableApiTermination": True,
        "CreditSpecification": {"CpuCredits": "standard"},
        "MetadataOptions": {"HttpTokens": "required"},
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": disk}],
    }
    made = ec2.run_instances(**launch, **more)["Instances"][0]
    name = made["InstanceId"]
    assert ec2.run_instances(**launch, **more)["Instances"][0]["InstanceId"] == name
    assert made["PublicIpAddress"].startswith("198.19.250.")
    assert made["PrivateIpAddress"].startswith("172.31.")
    assert made["RootDeviceName"] == made["BlockDeviceMappings"][0]["DeviceName"] == "/dev/xvda"
    volume = ec2.describe_volumes(VolumeIds=[made["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]])["Volumes"][0]
    assert (volume["Size"], volume["Iops"], volume["Throughput"], volume["Encrypted"]) == (30, 4000, 200, True)
    assert "Output" not in ec2.get_console_output(InstanceId=name)

    def credit() -> str:
        found = ec2.describe_instance_credit_specifications(InstanceIds=[name])["InstanceCreditSpecifications"]
        return str(found[0]["CpuCredits"])

    assert credit() == "standard"
    ec2.modify_instance_credit_specification(
        InstanceCreditSpecifications=[{"InstanceId": name, "CpuCredits": "unlimited"}]
    )
    assert credit() == "unlimited"

    groups = ec2.describe_instances(InstanceIds=[name])["Reservations"][0]["Instances"][0]["SecurityGroups"]
    ec2.modify_instance_attribute(InstanceId=name, InstanceInitiatedShutdownBehavior={"Value": "terminate"})
    ec2.modify_instance_metadata_options(InstanceId=name, HttpPutResponseHopLimit=2)
    after = ec2.describe_instances(InstanceIds=[name])["Reservations"][0]["Instances"][0]
    assert after["SecurityGroups"] == groups
    assert (after["MetadataOptions"]["HttpTokens"], after["MetadataOptions"]["HttpPutResponseHopLimit"]) == (
        "required",
        2,
    )
    behaviour = ec2.describe_instance_attribute(InstanceId=name, Attribute="instanceInitiatedShutdownBehavior")
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"

    assert (
        code(ec2.modify_instance_attribute, InstanceId=name, InstanceType={"Value": "t3.large"})
        == "IncorrectInstanceState"
    )
    assert code(ec2.terminate_instances, InstanceIds=[name]) == "OperationNotPermitted"


def test_types_are_offered_by_zone(lab: Lab) -> None:
    ec2 = lab.client("ec2")

    def zones(kind: str) -> set[str]:
        wanted = [{"Name": "instance-type", "Values": [kind]}]
        found = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=wanted)
        return {offer["Location"] for offer in found["InstanceTypeOfferings"]}

    assert "us-west-2a" in zones("t3.small")
    assert zones("nope.small") == set()


def test_a_fault_in_one_zone_lets_the_next_zone_work(lab: Lab, launch: dict[str, Any]) -> None:
    ec2 = lab.client("ec2")
    subnets = {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]}
    lab.run("fault", "RunInstances", "InsufficientInstanceCapacity", "none left", "--zone", "us-west-2a")
    assert code(ec2.run_instances, **launch, SubnetId=subnets["us-west-2a"]) == "InsufficientInstanceCapacity"
    assert ec2.run_instances(**launch, SubnetId=subnets["us-west-2b"])["Instances"]
    lab.run("fault", "--clear")
    assert ec2.run_instances(**launch, SubnetId=subnets["us-west-2a"])["Instances"]


def test_public_parameters_and_owners(lab: Lab) -> None:
    ec2, ssm = lab.client("ec2"), lab.client("ssm")
    for name, ami in catalog.parameters().items():
        assert ssm.get_parameter(Name=name)["Parameter"]["Value"] == ami
        assert ec2.describe_images(ImageIds=[ami])["Images"]
    assert {image["OwnerId"] for image in ec2.describe_images(Owners=["amazon"])["Images"]} == {catalog.AMAZON}


def test_the_caller_is_seen_as_the_gateway(lab: Lab) -> None:
    assert requests.get(f"{lab.keys['AWS_ENDPOINT_URL']}/checkip", timeout=5).text == "198.19.250.1\n"


def test_the_public_data_set_is_read_by_anybody_and_changed_by_nobody(lab: Lab) -> None:
    s3 = lab.client("s3", config=Config(signature_version=UNSIGNED))
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=open_data.PUBLIC)["Contents"]]
    assert keys == [f"csv/by_station/{open_data.STATION}.csv", open_data.PARQUET_KEY]
    lines = s3.get_object(Bucket=open_data.PUBLIC, Key=keys[0])["Body"].read().decode().splitlines()
    assert lines[0] == open_data.HEADER
    assert len(lines) == 1 + 3 * (4 * 365 + 1)
    assert s3.get_object(Bucket=open_data.PUBLIC, Key=keys[1])["Body"].read()[:4] == b"PAR1"
    assert code(s3.put_object, Bucket=open_data.PUBLIC, Key="mine", Body=b"") == "AccessDenied"
    assert code(s3.delete_object, Bucket=open_data.PUBLIC, Key=keys[0]) == "AccessDenied"
    assert code(s3.delete_bucket, Bucket=open_data.PUBLIC) == "AccessDenied"


def test_the_servers_bucket_is_closed_to_who_does_not_sign(lab: Lab) -> None:
    name = f"notebooks-{lab.variables['LAB_NAME']}"
    stranger = lab.client("s3", config=Config(signature_version=UNSIGNED))
    mine = lab.client("s3")
    assert [one["Name"] for one in mine.list_buckets()["Buckets"]] == [name]
    mine.put_object(Bucket=name, Key="a b/c+d.txt", Body=b"hello")
    assert mine.get_object(Bucket=name, Key="a b/c+d.txt")["Body"].read() == b"hello"
    assert code(stranger.get_object, Bucket=name, Key="a b/c+d.txt") in {"AccessDenied", "403"}
    assert code(stranger.list_objects_v2, Bucket=name) == "AccessDenied"
    assert code(stranger.list_buckets) == "AccessDenied"
    (profile,) = lab.client("iam").list_instance_profiles()["InstanceProfiles"]
    assert [role["RoleName"] for role in profile["Roles"]] == [open_data.PROFILE]


def test_calls_whose_parameters_are_in_the_address_are_signed_too(lab: Lab) -> None:
    scheduler = lab.client("scheduler")
    assert scheduler.list_schedule_groups(NamePrefix="def")["ScheduleGroups"][0]["Name"] == "default"
    assert code(lab.client("scheduler", aws_secret_access_key="wrong").list_schedule_groups) == "403"

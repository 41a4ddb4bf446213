"""The survey of all that the project has, in an account in this process: whose things are whose, and every call failing once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import botocore.exceptions as aws
import pytest

from plugins.modules import ec2_return
from plugins.modules.ec2_project_info import EC2, Survey, belongs
from tests.unit.cloud import IMAGE, Cloud, cloud

pytestmark = pytest.mark.slow

KINDS = {
    "instances",
    *EC2,
    "schedules",
    "schedule_groups",
    "roles",
    "instance_profiles",
    "alarms",
    "budgets",
    "buckets",
    "tables",
    "others",
}
TRUST = '{"Version": "2012-10-17", "Statement": []}'


def tags(server: str, project: str = "nb") -> list[dict[str, str]]:
    return [{"Key": "Name", "Value": server}, {"Key": "Project", "Value": project}]


def spec(kind: str, server: str, project: str = "nb") -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": tags(server, project)}]


def furnish(account: Cloud, server: str, project: str = "nb") -> dict[str, Any]:
    """One of each kind for a server."""
    ec2 = account.client()
    resource = f"{project}-{server}"
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16", TagSpecifications=spec("vpc", server, project))["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.1.0/24", TagSpecifications=spec("subnet", server, project))[
        "Subnet"
    ]["SubnetId"]
    gateway = ec2.create_internet_gateway(TagSpecifications=spec("internet-gateway", server, project))
    ec2.attach_internet_gateway(InternetGatewayId=gateway["InternetGateway"]["InternetGatewayId"], VpcId=vpc)
    ec2.create_route_table(VpcId=vpc, TagSpecifications=spec("route-table", server, project))
    ec2.create_key_pair(KeyName=resource, TagSpecifications=spec("key-pair", server, project))
    group = ec2.create_security_group(
        GroupName=resource, Description="x", VpcId=vpc, TagSpecifications=spec("security-group", server, project)
    )["GroupId"]
    kinds = ("instance", "volume", "network-interface")
    instance = ec2.run_instances(
        ImageId=IMAGE,
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        SubnetId=subnet,
        SecurityGroupIds=[group],
        TagSpecifications=[one for kind in kinds for one in spec(kind, server, project)],
    )["Instances"][0]["InstanceId"]
    data = ec2.create_volume(
        AvailabilityZone="us-west-2a", Size=20, VolumeType="gp3", TagSpecifications=spec("volume", server, project)
    )["VolumeId"]
    ec2.create_snapshot(VolumeId=data, TagSpecifications=spec("snapshot", server, project))
    baked = ec2.create_image(InstanceId=instance, Name=f"{resource}-1")["ImageId"]
    ec2.create_tags(Resources=[baked], Tags=tags(server, project))
    ec2.allocate_address(Domain="vpc", TagSpecifications=spec("elastic-ip", server, project))
    ec2.create_launch_template(
        LaunchTemplateName=resource,
        LaunchTemplateData={"InstanceType": "t3.micro"},
        TagSpecifications=spec("launch-template", server, project),
    )
    scheduler = account.client("scheduler")
    if not [g for g in scheduler.list_schedule_groups()["ScheduleGroups"] if g["Name"] == project]:
        scheduler.create_schedule_group(Name=project, Tags=[{"Key": "Project", "Value": project}])
    scheduler.create_schedule(
        Name=f"{resource}-return",
        GroupName=project,
        ScheduleExpression="at(2030-01-01T00:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": "arn:aws:scheduler:::aws-sdk:ec2:stopInstances", "RoleArn": f"arn:aws:iam::1:role/{resource}"},
    )
    iam = account.client("iam")
    iam.create_role(RoleName=resource, AssumeRolePolicyDocument=TRUST, Tags=tags(server, project))
    iam.create_instance_profile(InstanceProfileName=resource)
    account.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{resource}-idle",
        EvaluationPeriods=1,
        ComparisonOperator="LessThanThreshold",
        Threshold=1.0,
        MetricName="CPUUtilization",
        Namespace="AWS/EC2",
        Period=300,
        Statistic="Average",
    )
    account.client("budgets").create_budget(
        AccountId="123456789012",
        Budget={
            "BudgetName": resource,
            "TimeUnit": "MONTHLY",
            "BudgetType": "COST",
            "BudgetLimit": {"Amount": "9", "Unit": "USD"},
        },
    )
    s3 = account.client("s3")
    s3.create_bucket(Bucket=f"{resource}-files", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_bucket_tagging(Bucket=f"{resource}-files", Tagging={"TagSet": tags(server, project)})
    account.client("dynamodb").create_table(
        TableName=f"{resource}-rows",
        BillingMode="PAY_PER_REQUEST",
        Tags=tags(server, project),
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
    )
    account.client("sns").create_topic(Name=f"{resource}-bell", Tags=tags(server, project))
    return {"instance": instance, "data": data, "vpc": vpc}


@pytest.fixture
def account() -> Iterator[Cloud]:
    with cloud(image=True) as fresh:
        yield fresh


def survey(account: Cloud, name: str = "", project: str = "nb") -> dict[str, Any]:
    return Survey(account.client, project, name).run()


def counts(result: dict[str, Any]) -> dict[str, int]:
    return {kind: len(things) for kind, things in result["found"].items()}


ONE_SERVER = {
    **dict.fromkeys(KINDS, 1),
    "volumes": 2,
    # One of the data volume, and that of the image, which bears no tags.
    "snapshots": 2,
    "spot_requests": 0,
    # The group of schedules is the project's, no server's.
    "schedule_groups": 0,
}


def test_an_empty_account_has_every_kind_empty(account: Cloud) -> None:
    result = survey(account)
    assert result["found"] == {kind: [] for kind in KINDS}
    assert (result["denied"], result["count"]) == ([], 0)


def test_one_of_each(account: Cloud) -> None:
    made = furnish(account, "demo")
    result = survey(account, "demo")
    assert counts(result) == ONE_SERVER
    assert result["count"] == sum(ONE_SERVER.values())
    found = result["found"]
    assert {thing["server"] for things in found.values() for thing in things} == {"demo"}
    plain = {"kind", "id", "name", "server", "state", "zone", "gb", "created", "tags", "by"}
    assert all(plain <= set(thing) for things in found.values() for thing in things)
    instance = found["instances"][0]
    assert (instance["id"], instance["state"], instance["type"]) == (made["instance"], "running", "t3.micro")
    data, root = sorted(found["volumes"], key=lambda volume: volume["root"])
    assert (data["id"], data["gb"], data["type"], data["attached_to"]) == (made["data"], 20, "gp3", "")
    assert (root["root"], root["attached_to"]) == (True, made["instance"])
    assert [found[kind][0]["id"] for kind in ("roles", "alarms", "schedules", "buckets", "tables")] == [
        "nb-demo",
        "nb-demo-idle",
        "nb-demo-return",
        "nb-demo-files",
        "nb-demo-rows",
    ]
    assert found["others"][0]["type"] == "sns"
    everything = counts(survey(account))
    assert everything == {**ONE_SERVER, "schedule_groups": 1}


def test_servers_and_projects_whose_names_begin_alike(account: Cloud) -> None:
    furnish(account, "demo")
    furnish(account, "demo-2")
    # A project whose name and server together begin like this project's.
    furnish(account, "x", project="nb-demo")
    for name in ("demo", "demo-2"):
        result = survey(account, name)
        ids = {thing["id"] for thing in result["found"]["schedules"] + result["found"]["roles"]}
        assert ids == {f"nb-{name}", f"nb-{name}-return"}, name
    assert counts(survey(account, "nobody")) == dict.fromkeys(KINDS, 0)
    assert counts(survey(account, "x", project="nb-demo")) == ONE_SERVER


def test_what_is_over_is_not_listed(account: Cloud) -> None:
    made = furnish(account, "demo")
    account.client().terminate_instances(InstanceIds=[made["instance"]])
    result = survey(account)
    assert result["found"]["instances"] == []
    # The tagging API has it still, but EC2 knows better.
    assert [thing["type"] for thing in result["found"]["others"]] == ["sns"]


def test_a_disk_without_tags_is_found_by_its_instance(account: Cloud) -> None:
    made = furnish(account, "demo")
    ec2 = account.client()
    zone = survey(account)["found"]["instances"][0]["zone"]
    by_hand = ec2.create_volume(AvailabilityZone=zone, Size=5)["VolumeId"]
    ec2.attach_volume(VolumeId=by_hand, InstanceId=made["instance"], Device="/dev/sdx")
    copy = ec2.create_snapshot(VolumeId=by_hand)["SnapshotId"]
    found = survey(account, "demo")["found"]
    assert [(v["by"], v["server"]) for v in found["volumes"] if v["id"] == by_hand] == [("attached", "demo")]
    assert [(v["by"], v["server"]) for v in found["snapshots"] if v["id"] == copy] == [("attached", "demo")]


def test_what_belongs_to_no_server_any_more(account: Cloud) -> None:
    account.client("scheduler").create_schedule(
        Name="nb-gone-return",
        ScheduleExpression="at(2030-01-01T00:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": "arn:aws:scheduler:::aws-sdk:ec2:stopInstances", "RoleArn": "arn:aws:iam::123456789012:role/x"},
    )
    assert [(s["id"], s["server"]) for s in survey(account)["found"]["schedules"]] == [("nb-gone-return", "")]
    assert [s["id"] for s in survey(account, "gone")["found"]["schedules"]] == ["nb-gone-return"]


@pytest.fixture(scope="module")
def furnished() -> Iterator[tuple[Cloud, list[str]]]:
    """An account with one server, and the calls that its survey makes. Nothing changes it, so that one is enough."""
    with cloud(image=True) as account:
        furnish(account, "demo")
        account.calm()
        account.freeze()
        survey(account)
        yield account, list(account.calls)


def with_fault(furnished: Any, number: int, code: str) -> dict[str, Any]:
    account, _ = furnished
    account.calm()
    account.fail_at, account.code = number, code
    return survey(account)


def test_every_call_denied(furnished: Any) -> None:
    whole = with_fault(furnished, 0, "")
    for number, call in enumerate(furnished[1], 1):
        result = with_fault(furnished, number, "UnauthorizedOperation")
        [denied] = result["denied"]
        service, _, action = denied["action"].partition(":")
        assert service in {"ec2", "iam", "scheduler", "cloudwatch", "sts", "budgets", "tag"}
        assert action == {"DescribeBudgets": "ViewBudget"}.get(call, call)
        # What could not be listed is not there at all, not even as an empty list.
        assert set(result["found"]) == KINDS - set(denied["kinds"])
        # What was found by what was denied is missing too; the rest is there.
        for kind in set(result["found"]) - {"others", "snapshots", "network_interfaces", "schedules"}:
            assert len(result["found"][kind]) == len(whole["found"][kind]), (call, kind)


def test_every_call_throttled(furnished: Any) -> None:
    for number, call in enumerate(furnished[1], 1):
        with pytest.raises(aws.ClientError, match=f"RequestLimitExceeded.*{call}"):
            with_fault(furnished, number, "RequestLimitExceeded")
    assert with_fault(furnished, 0, "")["denied"] == []


def test_what_vanishes_between_two_questions(furnished: Any) -> None:
    about_one = {"GetRole", "GetInstanceProfile", "ListTagsForResource"}
    numbers = [number for number, call in enumerate(furnished[1], 1) if call in about_one]
    assert len(numbers) == 4
    for number in numbers:
        assert with_fault(furnished, number, "NoSuchEntity")["denied"] == []


def test_what_is_not_listed_by_its_service_is_seen_by_its_tag(furnished: Any) -> None:
    result = with_fault(furnished, furnished[1].index("DescribeVpcs") + 1, "UnauthorizedOperation")
    assert result["denied"][0]["kinds"] == ["vpcs"]
    assert sorted(thing["type"] for thing in result["found"]["others"]) == ["ec2:vpc", "sns"]


def test_wrong_credentials_are_an_error(account: Cloud) -> None:
    account.fail_at, account.code = 1, "AuthFailure"
    with pytest.raises(aws.ClientError, match="AuthFailure"):
        survey(account)


def test_names_that_were_too_long() -> None:
    long = "a-server-with-a-very-long-name-indeed-for-a-course-of-statistics"
    cut = ec2_return.short(f"notebook-server-{long}-return-type")
    assert len(cut) == 64
    assert belongs(cut, f"notebook-server-{long}-")
    assert not belongs(cut, "notebook-server-another-")
    assert belongs("nb-demo-return-type", "nb-demo-") and belongs("nb-demo", "nb-demo-")
    assert not belongs("nb-demo2-return-type", "nb-demo-")

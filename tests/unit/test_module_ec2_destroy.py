"""Destroying a server: what goes and what stays, every call failing once, and cut off after every call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import botocore.exceptions as aws
import pytest

from plugins.modules import ec2_destroy as destroy
from plugins.modules import ec2_project_info
from tests.unit.cloud import FIRST_CHANGE, Cloud, Cut, changing, cloud, quiet

pytestmark = pytest.mark.slow

PROJECT = "notebooks"
ACCOUNT = "123456789012"


@pytest.fixture
def account() -> Iterator[Cloud]:
    """A fresh account."""
    with cloud() as fresh:
        yield fresh


def tags(name: str, **more: str) -> list[dict[str, str]]:
    """The tags of a thing."""
    every = {"Project": PROJECT, "Name": name, "ManagedBy": "ansible", **more}
    return [{"Key": key, "Value": value} for key, value in every.items()]


def spec(kind: str, name: str, **more: str) -> list[dict[str, Any]]:
    """The same, as most calls take them."""
    return [{"ResourceType": kind, "Tags": tags(name, **more)}]


def make(name: str = "demo") -> dict[str, str]:
    """A server with everything that one can have."""
    ec2 = quiet()
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16", TagSpecifications=spec("vpc", name))["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway(TagSpecifications=spec("internet-gateway", name))["InternetGateway"][
        "InternetGatewayId"
    ]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    subnet = ec2.create_subnet(
        VpcId=vpc, CidrBlock="10.20.0.0/20", AvailabilityZone="us-west-2a", TagSpecifications=spec("subnet", name)
    )["Subnet"]["SubnetId"]
    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=spec("route-table", name))["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    group = ec2.create_security_group(
        GroupName=f"{PROJECT}-{name}", Description="x", VpcId=vpc, TagSpecifications=spec("security-group", name)
    )["GroupId"]
    ec2.create_key_pair(KeyName=f"{PROJECT}-{name}", KeyType="ed25519", TagSpecifications=spec("key-pair", name))
    instance = ec2.run_instances(
        ImageId="ami-12345678",
        MinCount=1,
        MaxCount=1,
        InstanceType="m5.large",
        SubnetId=subnet,
        SecurityGroupIds=[group],
        TagSpecifications=spec("instance", name) + spec("volume", name),
    )["Instances"][0]["InstanceId"]
    made = {"vpc": vpc, "instance": instance}
    for role, device in (("data", "/dev/sdf"), ("dataset", "/dev/sdg")):
        volume = ec2.create_volume(
            AvailabilityZone="us-west-2a", Size=40, VolumeType="gp3", TagSpecifications=spec("volume", name, Role=role)
        )["VolumeId"]
        ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device=device)
        made[role] = volume
    made["backup"] = ec2.create_snapshot(
        VolumeId=made["data"], TagSpecifications=spec("snapshot", name, Role="backup")
    )["SnapshotId"]
    made["image"] = ec2.create_image(
        InstanceId=instance, Name=f"{name}-1", TagSpecifications=spec("image", name, Role="image")
    )["ImageId"]
    # As AWS tags it, and moto does not.
    image = ec2.describe_images(ImageIds=[made["image"]])["Images"][0]
    copies = [mapping["Ebs"]["SnapshotId"] for mapping in image["BlockDeviceMappings"]]
    ec2.create_tags(Resources=copies, Tags=tags(name, Role="image"))
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=spec("elastic-ip", name))
    made["address"] = address["AllocationId"]
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    scheduler = quiet("scheduler")
    try:
        scheduler.create_schedule_group(Name=PROJECT, Tags=[{"Key": "Project", "Value": PROJECT}])
    except aws.ClientError:
        pass
    scheduler.create_schedule(
        GroupName=PROJECT,
        Name=f"{PROJECT}-{name}-return-stop",
        ScheduleExpression="at(2030-01-01T00:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:scheduler:::aws-sdk:ec2:stopInstances",
            "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/x",
            "Input": "{}",
        },
    )
    iam = quiet("iam")
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    rights = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:StopInstances", "Resource": "*"}]}
    )
    for role in (f"{PROJECT}-{name}", f"{PROJECT}-{name}-burst"):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust, Tags=tags(name))
        iam.put_role_policy(
            RoleName=role, PolicyName="return-us-west-2" if role.endswith("burst") else "data", PolicyDocument=rights
        )
    iam.create_instance_profile(InstanceProfileName=f"{PROJECT}-{name}", Tags=tags(name))
    iam.add_role_to_instance_profile(InstanceProfileName=f"{PROJECT}-{name}", RoleName=f"{PROJECT}-{name}")
    quiet("cloudwatch").put_metric_alarm(
        AlarmName=f"{PROJECT}-{name}-idle",
        Namespace="AWS/EC2",
        MetricName="CPUUtilization",
        Period=300,
        EvaluationPeriods=1,
        Statistic="Average",
        Threshold=1.0,
        ComparisonOperator="LessThanThreshold",
        Tags=tags(name),
    )
    quiet("budgets").create_budget(
        AccountId=ACCOUNT,
        Budget={
            "BudgetName": f"{PROJECT}-{name}",
            "BudgetType": "COST",
            "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": "5", "Unit": "USD"},
        },
    )
    return made


def survey() -> dict[str, Any]:
    """What the survey finds."""
    return ec2_project_info.Survey(quiet, PROJECT, "", ["demo"]).run()


def options(**more: Any) -> dict[str, Any]:
    """What the playbook asks for."""
    plain = {
        "project": PROJECT,
        "name": "demo",
        "found": survey()["found"],
        "record": {},
        "data_volume": "keep",
        "backups": "keep",
        "images": "keep",
        "final_backup": True,
        "wait_timeout": 0,
        "delay": 0,
    }
    return {**plain, **more}


ALL = {"data_volume": "delete", "backups": "delete", "images": "delete", "final_backup": False}


def run(account: Cloud, asked: dict[str, Any] | None = None) -> list[str]:
    """One run of the playbook's work."""
    asked = asked or options()
    planned = destroy.plan(asked)
    assert destroy.problems(account.client, planned, asked, ACCOUNT) == []
    return destroy.apply(account.client, planned, asked, ACCOUNT)


def left(name: str = "demo", found: dict[str, Any] | None = None) -> dict[str, int]:
    """How many things of a server there are."""
    found = found or survey()["found"]
    counts = {kind: sum(one["server"] == name for one in some) for kind, some in found.items()}
    return {kind: count for kind, count in counts.items() if count}


def test_data_backups_and_images_stay(account: Cloud) -> None:
    made = make()
    make("other")
    before = left("other")
    run(account)
    now = left()
    assert {kind: now[kind] for kind in ("volumes", "images")} == {"volumes": 1, "images": 1}
    assert set(now) == {"volumes", "snapshots", "images"}
    assert quiet().describe_volumes(VolumeIds=[made["data"]])["Volumes"][0]["State"] == "available"
    assert left("other") == before
    assert [group["id"] for group in survey()["found"]["schedule_groups"]] == [PROJECT]


def test_nothing_is_left_when_all_of_it_is_named(account: Cloud) -> None:
    make()
    run(account, options(**ALL))
    assert left() == {}
    assert survey()["found"]["schedule_groups"] == []
    assert run(account, options(**ALL)) == []


def test_what_was_made_by_hand_stays(account: Cloud) -> None:
    made, ec2 = make(), quiet()
    volume = ec2.create_volume(AvailabilityZone="us-west-2a", Size=5)["VolumeId"]
    ec2.attach_volume(VolumeId=volume, InstanceId=made["instance"], Device="/dev/sdk")
    snapshot = ec2.create_snapshot(VolumeId=made["data"])["SnapshotId"]
    run(account, options(**ALL))
    assert ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
    assert ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]


def test_a_data_volume_that_would_go_with_the_instance_is_made_safe(account: Cloud) -> None:
    made, ec2 = make(), quiet()
    device = {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": True}}
    ec2.modify_instance_attribute(InstanceId=made["instance"], BlockDeviceMappings=[device])
    asked = options()
    for volume in asked["found"]["volumes"]:
        volume["deleted_with_instance"] |= volume["id"] == made["data"]
    account.calm()
    destroy.apply(account.client, destroy.plan(asked), asked, ACCOUNT)
    assert account.calls.index("ModifyInstanceAttribute") < account.calls.index("TerminateInstances")
    assert ec2.describe_volumes(VolumeIds=[made["data"]])["Volumes"]


@pytest.mark.parametrize("state", ["stopped", "terminated"])
def test_it_does_not_matter_how_the_server_is(account: Cloud, state: str) -> None:
    made, ec2 = make(), quiet()
    call = {"stopped": ec2.stop_instances, "terminated": ec2.terminate_instances}[state]
    call(InstanceIds=[made["instance"]])
    run(account, options(**ALL))
    assert left() == {}


def test_a_half_made_server_goes(account: Cloud) -> None:
    ec2 = quiet()
    ec2.create_key_pair(KeyName=f"{PROJECT}-demo", KeyType="ed25519", TagSpecifications=spec("key-pair", "demo"))
    group = ec2.create_security_group(GroupName="x", Description="x", TagSpecifications=spec("security-group", "demo"))[
        "GroupId"
    ]
    assert [words.split()[0] for words in run(account)] == ["security", "key"] and group
    assert left() == {}


def test_the_last_backup(account: Cloud) -> None:
    made, ec2 = make(), quiet()
    wanted = {"volume": made["data"], "gb": 40, "role": "data", "snapshot": "", "running": [made["instance"]]}
    assert destroy.plan(options())["final"] == wanted
    assert destroy.plan(options(final_backup=False))["final"] == {}
    # Made by a run that was cut off: not made again while the server has not run since.
    last = ec2.create_snapshot(
        VolumeId=made["data"], TagSpecifications=spec("snapshot", "demo", Role="backup", Final="yes")
    )["SnapshotId"]
    assert destroy.plan(options())["final"]["snapshot"] == ""
    ec2.stop_instances(InstanceIds=[made["instance"]])
    asked = options()
    for one in asked["found"]["instances"]:
        one["launched"] = "2020-01-01T00:00:00Z"
    assert destroy.plan(asked)["final"]["snapshot"] == last
    # It outlives "backups=delete", unless none is wanted.
    asked["backups"] = "delete"
    assert last in [one["id"] for one in destroy.plan(asked)["stay"]]
    assert last in [one["id"] for one in destroy.plan({**asked, "final_backup": False})["go"]]
    # Where the server is gone and its data volume stays, there is nothing to lose; where that goes too, there is.
    ec2.terminate_instances(InstanceIds=[made["instance"]])
    assert destroy.plan(options())["final"] == {}
    assert destroy.plan(options(data_volume="delete"))["final"]["volume"] == made["data"]


def test_without_a_data_volume_the_system_s_disk_is_copied(account: Cloud) -> None:
    made, ec2 = make(), quiet()
    ec2.detach_volume(VolumeId=made["data"], InstanceId=made["instance"])
    ec2.delete_volume(VolumeId=made["data"])
    last = destroy.plan(options())["final"]
    assert last["role"] == "root" and last["volume"] not in made.values()


def test_a_protected_server_is_refused_before_anything_goes(account: Cloud) -> None:
    made, ec2 = make(), quiet()
    ec2.modify_instance_attribute(InstanceId=made["instance"], DisableApiTermination={"Value": True})
    asked = options()
    said = destroy.problems(account.client, destroy.plan(asked), asked, ACCOUNT)
    assert len(said) == 1 and "set ec2_provision_termination_protection to false" in said[0]


def test_another_account_or_lost_tags_are_refused(account: Cloud) -> None:
    made, ec2 = make(), quiet()
    asked = options(record={"account_id": "999999999999"})
    assert (
        "launched in AWS account 999999999999"
        in destroy.problems(account.client, destroy.plan(asked), asked, ACCOUNT)[0]
    )
    ec2.delete_tags(Resources=[made["instance"]], Tags=[{"Key": "Project"}])
    asked = options(record={"account_id": ACCOUNT, "instance_id": made["instance"]})
    assert "does not bear the tags" in destroy.problems(account.client, destroy.plan(asked), asked, ACCOUNT)[0]


def test_a_data_volume_that_another_server_uses_is_not_deleted(account: Cloud) -> None:
    made = make()
    asked = options(data_volume="delete")
    for volume in asked["found"]["volumes"]:
        if volume["id"] == made["data"]:
            volume["attached_to"] = "i-other"
    said = destroy.problems(account.client, destroy.plan(asked), asked, ACCOUNT)
    assert said == [f"The volume {made['data']} is attached to i-other, which is not demo: detach it first."]


FAULTS = ["UnauthorizedOperation", "RequestLimitExceeded", "InternalError"]
# What AWS says when somebody else was faster.
GONE = {
    "DeleteBudget": "NotFoundException",
    "DeleteAlarms": "ResourceNotFoundException",
    "DeleteSchedule": "ResourceNotFoundException",
    "DeleteScheduleGroup": "ResourceNotFoundException",
    "TerminateInstances": "InvalidInstanceID.NotFound",
    "DisassociateAddress": "InvalidAssociationID.NotFound",
}


@pytest.fixture
def calls(account: Cloud) -> list[str]:
    """The calls of a run that nothing disturbs."""
    make()
    account.calm()
    run(account, options(**ALL))
    return list(account.calls)


def servers(account: Cloud, numbers: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """For each number a whole server, and what is asked for; before the next one, and in the end, nothing may be left."""
    make()
    asked = options(**ALL)
    whole = left(found=asked["found"])
    for number in numbers:
        assert left(found=asked["found"]) == whole, "something of the one before was left"
        account.calm()
        yield number, asked
        account.calm()
        run(account, options(**ALL))
        if number != numbers[-1]:
            make()
            asked = options(**ALL)
    assert left() == {}


def test_every_call_fails_once_and_the_next_run_finishes(account: Cloud, calls: list[str]) -> None:
    for number, asked in servers(account, [*range(1, len(calls) + 1)]):
        account.fail_at, account.code = number, FAULTS[number % len(FAULTS)]
        with pytest.raises((destroy.Trouble, aws.ClientError)) as caught:
            run(account, asked)
        if isinstance(caught.value, destroy.Trouble):
            assert caught.value.left and "Still there:" in destroy.now(caught.value)
            # What only keeps a name does not keep what costs.
            if calls[number - 1] not in ("TerminateInstances", "DescribeInstances"):
                assert "TerminateInstances" in account.calls
        else:
            assert not changing(account.calls)


def test_cut_off_after_the_next_change_until_nothing_is_left(account: Cloud, calls: list[str]) -> None:
    """Each run takes one step and is killed; the one after it goes on from there."""
    make()
    steps: list[str] = []
    while len(steps) <= len(calls):
        account.calm()
        account.cut_at = FIRST_CHANGE
        try:
            assert run(account, options(**ALL)) == []
        except Cut:
            steps.append(account.calls[-1])
        else:
            break
    assert set(steps) == {calls[number - 1] for number in changing(calls)}
    assert left() == {}


@pytest.mark.extended
def test_cut_off_after_every_change_and_run_again(account: Cloud, calls: list[str]) -> None:
    for number, asked in servers(account, changing(calls)):
        account.cut_at = number
        with pytest.raises(Cut):
            run(account, asked)


@pytest.mark.extended
def test_what_vanished_meanwhile_is_no_failure(account: Cloud, calls: list[str]) -> None:
    """Somebody else removes the same things at the same time: the call says that there is no such thing."""
    for number, asked in servers(account, changing(calls)):
        name = calls[number - 1]
        account.fail_at = number
        account.code = GONE.get(
            name, "NoSuchEntity" if "Role" in name or "Profile" in name else f"Invalid{name}.NotFound"
        )
        try:
            run(account, asked)
        except destroy.Trouble as trouble:  # it did not vanish in truth, so what hangs on it may say so
            assert destroy.code_of(trouble.error) in destroy.HELD or isinstance(trouble.error, RuntimeError)


@pytest.mark.parametrize(("denied", "waited"), [("", 600), ("DeleteVolume", destroy.AFTER_FAILURE_S)])
def test_what_is_held_is_waited_for_but_not_long_after_a_failure(
    account: Cloud, monkeypatch: pytest.MonkeyPatch, denied: str, waited: int
) -> None:
    make()
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", lambda seconds: clock.append(clock.pop() + seconds))
    codes = {"DeleteSecurityGroup": "DependencyViolation", denied: "UnauthorizedOperation"}

    def refuse(model: Any, **_: Any) -> None:
        account.calls.append(model.name)
        if model.name in codes:
            raise aws.ClientError({"Error": {"Code": codes[model.name], "Message": "no"}}, model.name)

    monkeypatch.setattr(account, "_before", refuse)
    with pytest.raises(destroy.Trouble):
        run(account, options(**ALL, wait_timeout=600, delay=5))
    assert waited <= clock[0] < waited + 10

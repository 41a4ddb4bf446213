"""Stop, start, resize and return against an account in this process: every call failing, every run cut off at every change."""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import botocore.exceptions as aws
import pytest

from plugins.module_utils import server_power
from plugins.modules import ec2_power, ec2_resize, ec2_return
from tests.unit.cloud import IMAGE, Cloud, Cut, changing, cloud, codes

pytestmark = pytest.mark.slow

PROJECT, NAME = "books", "demo"
OLD, NEW = "m5.large", "m5.xlarge"
ERRORS = ("UnauthorizedOperation", "RequestLimitExceeded", "InvalidInstanceID.NotFound")
NOW = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture
def account() -> Iterator[Cloud]:
    """A fresh account."""
    with cloud(image=True) as fresh:
        yield fresh


def launch(ec2: Any, state: str = "running", kind: str = OLD, name: str = NAME) -> str:
    """A server."""
    tags = [{"Key": "Project", "Value": PROJECT}, {"Key": "Name", "Value": name}]
    made = ec2.run_instances(
        ImageId=IMAGE,
        InstanceType=kind,
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    one = str(made["Instances"][0]["InstanceId"])
    if state == "stopped":
        ec2.stop_instances(InstanceIds=[one])
    return one


def looks(ec2: Any, one: str) -> tuple[str, str, bool]:
    """State, type, and whether the mark of a resize is on it."""
    found = server_power.facts(server_power.look(ec2, one))
    return found["state"], found["type"], server_power.MARK in found["tags"]


class Quotas:
    """Service Quotas, which moto has none of for EC2."""

    def __init__(self, limit: float | None = 64) -> None:
        self.limit = limit

    def get_service_quota(self, **_: str) -> dict[str, Any]:
        if self.limit is None:
            raise aws.ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetServiceQuota")
        return {"Quota": {"Value": self.limit}}


def set_power(ec2: Any, state: str, name: str = NAME) -> dict[str, Any]:
    """What the module ec2_power does."""
    found = ec2_power.find(ec2, PROJECT, name)
    if found["instance"]["state"] == state and server_power.MARK not in found["instance"]["tags"]:
        return found
    return ec2_power.apply(ec2, found, name, state, 5)


def resize(ec2: Any, name: str = NAME, kind: str = NEW, limit: float | None = 6400) -> dict[str, Any]:
    """What the module ec2_resize does."""
    found = ec2_resize.find(ec2, Quotas(limit), {"project": PROJECT, "name": name, "instance_type": kind})
    if ec2_resize.changes(found):
        ec2_resize.apply(ec2, found, name, 5)
    return found


# Power.


def test_stop_and_start(account: Cloud) -> None:
    ec2 = account.client()
    one = launch(ec2)
    found = set_power(ec2, "stopped")
    assert found["volumes"][0]["gb"] > 0 and found["elastic_ips"] == [] and found["public_ip"] == ""
    account.calm()
    set_power(ec2, "stopped")
    assert changing(account.calls) == []
    assert looks(ec2, one) == ("stopped", OLD, False)
    assert set_power(ec2, "running")["public_ip"]
    assert looks(ec2, one) == ("running", OLD, False)


def test_an_elastic_ip_is_told(account: Cloud) -> None:
    ec2 = account.client()
    one = launch(ec2)
    address = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(InstanceId=one, AllocationId=address["AllocationId"])
    assert set_power(ec2, "stopped")["elastic_ips"] == [address["PublicIp"]]


def test_no_server_and_two(account: Cloud) -> None:
    ec2 = account.client()
    with pytest.raises(server_power.Refusal, match=r"There is no server demo .* site.yml"):
        set_power(ec2, "stopped")
    launch(ec2), launch(ec2), launch(ec2, name="other")
    with pytest.raises(server_power.Refusal, match="2 instances bear the tags of demo"):
        set_power(ec2, "stopped")
    with pytest.raises(server_power.Refusal, match="must not be empty"):
        ec2_power.find(ec2, PROJECT, "")


@pytest.mark.parametrize("code", codes(*ERRORS, "InsufficientInstanceCapacity"))
@pytest.mark.parametrize("state", ["stopped", "running"])
def test_power_at_every_fault_fails_with_words_and_converges(account: Cloud, state: str, code: str) -> None:
    other = "running" if state == "stopped" else "stopped"
    ec2 = account.client()
    launch(ec2, other)
    account.calm()
    set_power(ec2, state)
    for number in range(1, len(account.calls) + 1):
        name = f"{NAME}-{number}"
        one = launch(ec2, other, name=name)
        account.calm()
        account.fail_at, account.code = number, code
        with pytest.raises((server_power.Trouble, aws.ClientError)) as caught:
            set_power(ec2, state, name)
        if isinstance(caught.value, server_power.Trouble):
            assert name in caught.value.now and code in str(caught.value.error)
        else:
            assert code in str(caught.value) and not changing(account.calls)
        account.calm()
        set_power(ec2, state, name)
        assert looks(ec2, one) == (state, OLD, False)


def test_a_start_that_aws_takes_back(monkeypatch: pytest.MonkeyPatch, account: Cloud) -> None:
    ec2 = account.client()
    one = launch(ec2, "stopped")
    reason = {"Code": "Server.InsufficientInstanceCapacity", "Message": "no room"}
    told = {**server_power.look(ec2, one), "StateReason": reason}
    monkeypatch.setattr(server_power, "look", lambda *_: told)
    with pytest.raises(aws.ClientError, match="InsufficientInstanceCapacity"):
        server_power.wait(ec2, one, "running", 5)
    monkeypatch.setattr(server_power, "look", lambda *_: {**told, "State": {"Name": "terminated"}})
    with pytest.raises(aws.ClientError, match="was terminated"):
        server_power.wait(ec2, one, "running", 5)
    monkeypatch.setattr(server_power, "look", lambda *_: {**told, "State": {"Name": "stopping"}})
    with pytest.raises(aws.ClientError, match="WaitedTooLong"):
        server_power.wait(ec2, one, "stopped", 0)


# Resize.


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_resize(account: Cloud, state: str) -> None:
    ec2 = account.client()
    one = launch(ec2, state)
    found = resize(ec2)
    assert (found["before"], found["runs"], found["type"]["vcpus"]) == (OLD, state == "running", 4)
    assert looks(ec2, one) == (state, NEW, False)
    account.calm()
    resize(ec2)
    assert changing(account.calls) == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("m5.xlrage", "Did you mean m5.xlarge"),
        ("t4g.large", "is arm64 and the system of demo is x86_64"),
        ("m5", "There is no instance type 'm5'"),
    ],
)
def test_resize_refuses(account: Cloud, kind: str, words: str) -> None:
    ec2 = account.client()
    launch(ec2)
    account.calm()
    with pytest.raises(server_power.Refusal, match=words):
        resize(ec2, kind=kind)
    assert changing(account.calls) == []


def test_quota(account: Cloud) -> None:
    ec2 = account.client()
    launch(ec2)
    with pytest.raises(
        server_power.Refusal, match=r"has 4 vCPUs, 0 are in use by others, and the account's quota .* is 2"
    ):
        resize(ec2, limit=2)
    found = ec2_resize.find(ec2, Quotas(None), {"project": PROJECT, "name": NAME, "instance_type": NEW})
    assert found["notes"] == ["The account's quota of vCPUs was not looked at (AccessDeniedException)."]
    families = {
        "g5.xlarge": "G and VT",
        "p5.48xlarge": "P",
        "inf2.xlarge": "Inf",
        "x2idn.16xlarge": "X",
        "hpc7a.12xlarge": "HPC",
    }
    assert {kind: ec2_resize.quota_of(kind)[1] for kind in families} == families
    assert ec2_resize.quota_of("r7i.large")[0] == ec2_resize.quota_of("t3.micro")[0] == "L-1216C47A"


def type_of(**changes: Any) -> dict[str, Any]:
    """An instance type as AWS describes it."""
    plain = {
        "InstanceType": NEW,
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
        "SupportedVirtualizationTypes": ["hvm"],
        "SupportedBootModes": ["legacy-bios", "uefi"],
        "NetworkInfo": {"EnaSupport": "required"},
    }
    return {**plain, **changes}


OF_NOW: dict[str, Any] = {
    "Architecture": "x86_64",
    "Placement": {"AvailabilityZone": "a"},
    "RootDeviceType": "ebs",
    "EnaSupport": True,
}
XEN = type_of(NetworkInfo={"EnaSupport": "unsupported"})


@pytest.mark.parametrize(
    ("instance", "before", "kind", "zones", "words"),
    [
        ({}, XEN, type_of(), ["a"], None),
        ({"EnaSupport": False}, type_of(), type_of(), ["a"], None),
        ({"EnaSupport": False}, XEN, type_of(), ["a"], "needs the network driver ENA"),
        ({}, XEN, type_of(), ["b", "c"], r"is not offered in a, where demo is \(but in b, c\)"),
        ({}, XEN, type_of(), [], "is not offered in a"),
        ({"RootDeviceType": "instance-store"}, XEN, type_of(), ["a"], "on an instance store"),
        ({"VirtualizationType": "paravirtual"}, XEN, type_of(), ["a"], "paravirtual"),
        (
            {"CurrentInstanceBootMode": "uefi"},
            XEN,
            type_of(SupportedBootModes=["legacy-bios"]),
            ["a"],
            "cannot start by uefi",
        ),
        ({"InstanceLifecycle": "spot"}, XEN, type_of(), ["a"], "is a spot server"),
    ],
)
def test_what_cannot_become_what(
    instance: dict[str, Any], before: dict[str, Any], kind: dict[str, Any], zones: list[str], words: str | None
) -> None:
    found = ec2_resize.problems(NAME, {**OF_NOW, **instance}, before, kind, zones)
    assert (not found) if words is None else re.search(words, found[0])


def turns(account: Cloud, ec2: Any, state: str) -> Iterator[tuple[int, str, str, str]]:
    """A server of its own for each call that a resize makes: the call's number and name, the server's name and id."""
    launch(ec2, state)
    account.calm()
    resize(ec2)
    for number, call in enumerate(list(account.calls), 1):
        name = f"{NAME}-{number}"
        one = launch(ec2, state, name=name)
        account.calm()
        yield number, call, name, one


@pytest.mark.parametrize("code", codes("InsufficientInstanceCapacity", ERRORS[0], ERRORS[2]))
@pytest.mark.parametrize("state", ["running", "stopped"])
def test_resize_at_every_fault_ends_on_a_type_and_as_it_was(account: Cloud, state: str, code: str) -> None:
    ec2 = account.client()
    for number, call, name, one in turns(account, ec2, state):
        account.fail_at, account.code = number, code
        try:
            found = resize(ec2, name)
        except server_power.Trouble as trouble:
            assert trouble.now.startswith(f"{name} ({one}) is {state} as"), (call, trouble.now)
            assert code in str(trouble.error)
        except aws.ClientError as error:
            assert code in str(error) and not changing(account.calls), (call, error)
        else:
            # Only what is in use is not worth a failure, and it is said.
            assert call == "DescribeInstances"
            assert found["notes"] == [f"The account's quota of vCPUs was not looked at ({code})."]
            assert looks(ec2, one) == (state, NEW, False)
        assert looks(ec2, one)[0] == state, call
        account.calm()
        resize(ec2, name)
        assert looks(ec2, one) == (state, NEW, False), call


def test_resize_when_the_way_back_has_no_room_either(account: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    ec2 = account.client()
    one = launch(ec2)

    def full(*_: Any, **__: Any) -> None:
        raise server_power.made_up("InsufficientInstanceCapacity", "no room", "StartInstances")

    real = ec2.start_instances
    monkeypatch.setattr(ec2, "start_instances", full)
    with pytest.raises(server_power.Trouble) as caught:
        resize(ec2)
    assert "The way back failed too (InsufficientInstanceCapacity)" in caught.value.now
    assert f"stopped as {OLD}" in caught.value.now and "playbooks/start.yml" in caught.value.now
    monkeypatch.setattr(ec2, "start_instances", real)
    resize(ec2)
    assert looks(ec2, one) == ("running", NEW, False)


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_resize_cut_off_anywhere_is_finished_by_the_next(account: Cloud, state: str) -> None:
    ec2 = account.client()
    for number, call, name, one in turns(account, ec2, state):
        account.cut_at = number
        with pytest.raises(Cut):
            resize(ec2, name)
        account.calm()
        resize(ec2, name)
        assert looks(ec2, one) == (state, NEW, False), call


@pytest.mark.parametrize("state", ["stopped", "running"])
def test_a_resize_cut_off_and_then_stopped_or_started_by_a_person(account: Cloud, state: str) -> None:
    ec2 = account.client()
    [(number, _, name, one)] = [turn for turn in turns(account, ec2, "running") if turn[1] == "StopInstances"]
    account.cut_at = number
    with pytest.raises(Cut):
        resize(ec2, name)
    account.calm()
    assert looks(ec2, one) == ("stopped", OLD, True)
    set_power(ec2, state, name)
    assert looks(ec2, one) == (state, OLD, False)


# Return.

OPTIONS: dict[str, Any] = {
    "project": PROJECT,
    "name": NAME,
    "instance_id": "i-1",
    "instance_type": OLD,
    "pause": 180,
    "role_arn": "",
    "tags": {"Owner": "ann"},
    "forget": False,
}


def clients(account: Cloud) -> dict[str, Any]:
    """The clients of ec2_return, all counted."""
    return {service: account.client(service) for service in ("scheduler", "iam", "sts")}


def plan(account: Cloud, begin: datetime.datetime = NOW, **changes: Any) -> dict[str, Any]:
    """What the module does for `present`."""
    options = {**OPTIONS, **changes}
    used = clients(account)
    return ec2_return.present(
        used, ec2_return.find(used["scheduler"], options["project"], options["name"]), options, begin
    )


def forget(account: Cloud, **changes: Any) -> bool:
    """What the module does for `absent`."""
    options = {**OPTIONS, **changes}
    used = clients(account)
    return ec2_return.absent(used, ec2_return.find(used["scheduler"], options["project"], options["name"]), options)


def schedules(account: Cloud, project: str = PROJECT) -> dict[str, dict[str, Any]]:
    """The schedules of a project, by the last part of their names."""
    scheduler = clients(account)["scheduler"]
    names = [one["Name"] for one in scheduler.list_schedules(GroupName=project)["Schedules"]]
    return {name.rpartition("-")[2]: scheduler.get_schedule(GroupName=project, Name=name) for name in sorted(names)}


def test_return_is_three_schedules_with_a_role_for_one_instance(account: Cloud) -> None:
    assert plan(account) == {"type": OLD, "at": "2030-01-02T03:04:05Z"}
    made = schedules(account)
    assert {step: one["ScheduleExpression"] for step, one in made.items()} == {
        "stop": "at(2030-01-02T03:04:05)", "type": "at(2030-01-02T03:07:05)", "start": "at(2030-01-02T03:10:05)",
    }  # fmt: skip
    assert {one["Target"]["Arn"].rpartition(":")[2] for one in made.values()} == set(ec2_return.ACTIONS.values())
    assert json.loads(made["type"]["Target"]["Input"]) == {"InstanceId": "i-1", "InstanceType": {"Value": OLD}}
    assert all(one["ActionAfterCompletion"] == "DELETE" and one["GroupName"] == PROJECT for one in made.values())
    iam = account.client("iam")
    policy = iam.get_role_policy(RoleName="books-demo-burst", PolicyName="return-us-west-2")["PolicyDocument"]
    assert policy["Statement"][0]["Resource"] == "arn:aws:ec2:us-west-2:123456789012:instance/i-1"
    assert len(policy["Statement"]) == 1 and "*" not in json.dumps(policy)
    trust = iam.get_role(RoleName="books-demo-burst")["Role"]["AssumeRolePolicyDocument"]["Statement"][0]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trust["Condition"]["ArnLike"]["aws:SourceArn"] == "arn:aws:scheduler:*:123456789012:schedule-group/books"


def test_return_moves_and_keeps_its_type(account: Cloud) -> None:
    plan(account)
    later = NOW + datetime.timedelta(hours=2)
    assert plan(account, later, instance_type="r5.4xlarge")["type"] == OLD
    assert {one["ScheduleExpression"][3:-1] for one in schedules(account).values()} == {
        "2030-01-02T05:04:05", "2030-01-02T05:07:05", "2030-01-02T05:10:05",
    }  # fmt: skip
    found = ec2_return.find(account.client("scheduler"), PROJECT, NAME)
    assert found["planned"] == {"type": OLD, "at": "2030-01-02T05:04:05Z", "whole": True}
    assert forget(account) and not schedules(account) and not forget(account)


def test_return_with_a_given_role_makes_none(account: Cloud) -> None:
    plan(account, role_arn="arn:aws-cn:iam::123456789012:role/mine")
    assert account.client("iam").list_roles()["Roles"] == []
    assert {one["Target"]["Arn"].split(":")[1] for one in schedules(account).values()} == {"aws-cn"}


def test_forget_leaves_nothing(account: Cloud) -> None:
    plan(account)
    assert forget(account, forget=True)
    assert account.client("iam").list_roles()["Roles"] == [] and not schedules(account)
    groups = account.client("scheduler").list_schedule_groups()["ScheduleGroups"]
    assert [group["Name"] for group in groups] == ["default"]
    assert not forget(account, forget=True)


def test_forget_leaves_the_group_to_other_servers(account: Cloud) -> None:
    plan(account)
    plan(account, name="other")
    forget(account, forget=True)
    assert [one["Name"] for one in account.client("scheduler").list_schedules()["Schedules"]]


def test_a_role_that_is_not_known_yet_is_waited_for(account: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    class Slow:
        def create_schedule(self, **_: Any) -> None:
            tries.append(1)
            if len(tries) < 4:
                raise server_power.made_up(
                    "ValidationException", "The execution role you provide must allow ...", "CreateSchedule"
                )

    ec2_return.put(Slow(), {}, there=False)
    assert len(tries) == 4
    tries[:] = [1] * -100 or []
    monkeypatch.setattr(ec2_return, "ROLE_TRIES", 2)
    with pytest.raises(aws.ClientError, match="ValidationException"):
        ec2_return.put(Slow(), {}, there=False)


def test_long_names_fit() -> None:
    names = ec2_return.names("p" * 63, "n" * 63)
    assert all(len(name) <= 64 for name in names.values()) and len(set(names.values())) == len(names)


def working(what: str, project: str) -> Callable[[Cloud], object]:
    """One of the things that the module does, for a project of its own."""
    if what in ("absent", "forget"):
        return lambda account: forget(account, project=project, forget=what == "forget")
    begin = NOW + datetime.timedelta(hours={"moved": 1, "sooner": -1}.get(what, 0))
    return lambda account: plan(account, begin, project=project)


def rounds(account: Cloud, what: str) -> Iterator[tuple[int, str, Callable[[Cloud], object]]]:
    """A project of its own for each call that the work makes: the call's number, the project, the work."""
    if what != "first":
        plan(account)
    account.calm()
    working(what, PROJECT)(account)
    for number in range(1, len(account.calls) + 1):
        project = f"{PROJECT}{number}"
        if what != "first":
            plan(account, project=project)
        account.calm()
        yield number, project, working(what, project)


@pytest.mark.parametrize(
    "code",
    codes("AccessDeniedException", "ThrottlingException", "ResourceNotFoundException", "InternalServerException"),
)
@pytest.mark.parametrize("what", ["first", "moved", "absent", "forget"])
def test_return_at_every_fault_fails_with_words_and_converges(account: Cloud, what: str, code: str) -> None:
    for number, project, work in rounds(account, what):
        account.fail_at, account.code = number, code
        try:
            work(account)
        except server_power.Trouble as trouble:
            assert code in str(trouble.error)
            assert trouble.now == "The type was not changed." if what == "first" else "planned" in trouble.now
        except aws.ClientError as error:
            assert code in str(error) and not changing(account.calls)
        else:
            # What AWS says is not there is made, or is taken for gone.
            assert code == "ResourceNotFoundException"
            assert what in ("absent", "forget") or len(schedules(account, project)) == 3
        account.calm()
        work(account)
        account.calm()
        assert len(schedules(account, project)) == (3 if what in ("first", "moved") else 0)


@pytest.mark.parametrize("what", ["first", "moved", "sooner", "absent", "forget"])
def test_return_cut_off_anywhere_converges(account: Cloud, what: str) -> None:
    for number, project, work in rounds(account, what):
        account.cut_at = number
        with pytest.raises(Cut):
            work(account)
        account.calm()
        # The stop is what begins a return: there is never a stop without the change and the start.
        there = schedules(account, project)
        assert "stop" not in there or {"type", "start"} <= set(there)
        work(account)
        there = schedules(account, project)
        assert len(there) == (0 if what in ("absent", "forget") else 3)
        if there:
            wanted = NOW + datetime.timedelta(hours={"moved": 1, "sooner": -1}.get(what, 0))
            assert there["stop"]["ScheduleExpression"] == f"at({wanted:%Y-%m-%dT%H:%M:%S})"
    roles = [role["RoleName"] for role in account.client("iam").list_roles()["Roles"]]
    assert len(roles) == len(set(roles)) and bool(roles) == (what != "forget")

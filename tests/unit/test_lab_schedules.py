"""The lab carries out one-time schedules as EventBridge Scheduler does: when due, as a role, again after a failure, then gone."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from lab.schedules import Scheduler, due_at, operation
from plugins.modules import ec2_return

BEGIN = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
OPTIONS: dict[str, Any] = {
    "project": "books", "name": "demo", "instance_id": "i-1", "instance_type": "m5.large", "pause": 60, "role_arn": "", "tags": {},
}  # fmt: skip
Calls = list[tuple[str, dict[str, Any]]]


class World:
    """A lab's scheduler with a clock to turn, whose calls are kept, and fail as often as told."""

    def __init__(self) -> None:
        self.now, self.calls, self.failures = BEGIN.timestamp(), Calls(), 0
        self.scheduler = Scheduler(self.call, lambda: self.now)
        self.clients = {name: boto3.client(name, region_name="us-west-2") for name in ("scheduler", "iam", "sts")}  # type: ignore[call-overload]

    def call(self, region: str, service: str, name: str, request: dict[str, Any]) -> None:
        assert (region, service) == ("us-west-2", "ec2")
        if self.failures:
            self.failures -= 1
            raise ClientError({"Error": {"Code": "IncorrectInstanceState", "Message": "not stopped"}}, name)
        self.calls.append((name, request))

    def after(self, seconds: float) -> list[str]:
        """Turn the clock, and give the calls made since."""
        self.now += seconds
        self.calls.clear()
        self.scheduler.pass_once()
        return [name for name, _ in self.calls]

    def left(self) -> list[str]:
        """The schedules there are."""
        return sorted(one["Name"] for one in self.clients["scheduler"].list_schedules()["Schedules"])


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A planned return, due now."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        made = World()
        ec2_return.present(made.clients, ec2_return.find(made.clients["scheduler"], "books", "demo"), OPTIONS, BEGIN)
        yield made


def test_a_return_happens_step_by_step_and_is_gone(world: World) -> None:
    assert world.after(-1) == []
    assert world.after(1) == ["StopInstances"]
    assert world.left() == ["books-demo-return-start", "books-demo-return-type"]
    assert world.after(0) == []
    assert world.after(60) == ["ModifyInstanceAttribute"]
    assert world.calls[0][1] == {"InstanceId": "i-1", "InstanceType": {"Value": "m5.large"}}
    assert world.after(60) == ["StartInstances"]
    assert world.left() == []


def test_a_failure_is_tried_again_later_each_time(world: World) -> None:
    world.failures = 2
    assert world.after(0) == [] and len(world.left()) == 3
    assert world.after(0.5) == [] and world.failures == 1
    assert world.after(0.5) == [] and world.failures == 0
    assert world.after(1) == [] and world.after(1) == ["StopInstances"]


def test_it_gives_up_when_it_is_too_late(world: World) -> None:
    world.failures = 1000
    for _ in range(200):
        world.after(30)
    assert world.left() == []


def test_a_schedule_that_is_moved_waits_for_its_new_time(world: World) -> None:
    found = ec2_return.find(world.clients["scheduler"], "books", "demo")
    ec2_return.present(world.clients, found, OPTIONS, BEGIN + datetime.timedelta(hours=1))
    assert world.after(180) == [] and len(world.left()) == 3
    assert sorted(world.after(3600)) == ["ModifyInstanceAttribute", "StartInstances", "StopInstances"]


def test_a_role_that_may_not_does_nothing(world: World) -> None:
    iam = world.clients["iam"]
    elsewhere = ec2_return.rights("arn:aws:ec2:us-west-2:123456789012:instance/i-2")
    iam.put_role_policy(
        RoleName="books-demo-burst", PolicyName="return-us-west-2", PolicyDocument=json.dumps(elsewhere)
    )
    assert world.after(0) == [] and len(world.left()) == 3


@pytest.mark.parametrize(
    "condition",
    [{"aws:SourceAccount": "1"}, {"aws:SourceArn": "arn:aws:scheduler:us-west-2:123456789012:schedule-group/x"}],
)
def test_a_role_that_does_not_trust_does_nothing(world: World, condition: dict[str, str]) -> None:
    trust = ec2_return.trust("aws", "123456789012", "books")
    trust["Statement"][0]["Condition"] = {"StringEquals": condition}
    world.clients["iam"].update_assume_role_policy(RoleName="books-demo-burst", PolicyDocument=json.dumps(trust))
    assert world.after(0) == [] and len(world.left()) == 3


def test_times_and_targets() -> None:
    assert due_at("at(2030-01-01T00:00:00)", "UTC") == BEGIN.timestamp()
    assert due_at("at(2030-01-01T01:00:00)", "Europe/Berlin") == BEGIN.timestamp()
    assert due_at("rate(1 hour)", "UTC") is None
    assert operation("arn:aws:scheduler:::aws-sdk:ec2:stopInstances") == ("ec2", "StopInstances")
    with pytest.raises(ValueError, match="universal"):
        operation("arn:aws:lambda:us-west-2:123456789012:function:x")

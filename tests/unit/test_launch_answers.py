"""What a launch makes of answers that are lost, late or wrong for a while."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import botocore.exceptions as aws
import pytest

from plugins.modules import ec2_launch, ec2_server_info
from tests.unit.test_module_ec2 import WISH, failure

LOST = aws.ReadTimeoutError(endpoint_url="https://ec2")
CLOSED = aws.ConnectionClosedError(endpoint_url="https://ec2")
FRESH = failure(
    "InvalidParameterValue",
    "Value (team) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
)
ROLELESS = failure(
    "InvalidParameterValue", "IAM Instance Profile 'arn:aws:iam::1:instance-profile/team' has no associated IAM Roles"
)


class Ec2:
    """Answers in turn; what was asked is kept."""

    def __init__(self, *answers: Any) -> None:
        self.answers: Iterator[Any] = iter(answers)
        self.asked: list[dict[str, Any]] = []

    def run_instances(self, **wanted: Any) -> dict[str, Any]:
        self.asked.append(wanted)
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return {"Instances": [{"InstanceId": answer}]}


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited."""
    clock: list[float] = []
    monkeypatch.setattr("time.sleep", clock.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(clock))
    return clock


@pytest.mark.parametrize("lost", [LOST, CLOSED, failure("InternalError"), failure("RequestLimitExceeded")])
def test_a_lost_answer_is_asked_for_again_as_the_same_question(lost: Exception) -> None:
    ec2 = Ec2(lost, lost, "i-1")
    assert ec2_launch.launch(ec2, WISH)["instance_id"] == "i-1"
    assert len(ec2.asked) == 3
    assert ec2.asked[0] == ec2.asked[1] == ec2.asked[2]


def test_another_zone_and_another_launch_are_other_questions() -> None:
    ec2 = Ec2(failure("InsufficientInstanceCapacity"), "i-1", "i-2")
    ec2_launch.launch(ec2, WISH)
    ec2_launch.launch(ec2, WISH)
    tokens = {one["ClientToken"] for one in ec2.asked}
    assert len(tokens) == 3
    assert all(1 <= len(token) <= 64 for token in tokens)


def test_no_answer_at_all_is_not_a_refusal(waited: list[float]) -> None:
    ec2 = Ec2(*[LOST] * 20)
    with pytest.raises(ec2_launch.Lost):
        ec2_launch.launch(ec2, WISH)
    assert 20 <= sum(waited) <= 60
    # The other zone is not tried: there may be an instance in this one.
    assert {one["NetworkInterfaces"][0]["SubnetId"] for one in ec2.asked} == {"s-a"}


@pytest.mark.parametrize("early", [FRESH, ROLELESS])
def test_a_fresh_instance_profile_is_waited_for(early: Exception, waited: list[float]) -> None:
    ec2 = Ec2(*[early] * 10, "i-1")
    assert ec2_launch.launch(ec2, {**WISH, "instance_profile": "team"})["instance_id"] == "i-1"
    with pytest.raises(aws.ClientError):
        ec2_launch.launch(Ec2(*[early] * 99), WISH)
    assert sum(waited) < 240


def test_what_is_wrong_stays_wrong(waited: list[float]) -> None:
    for error in (failure("InvalidParameterValue", "Invalid value for imageId"), failure("UnauthorizedOperation")):
        with pytest.raises(aws.ClientError):
            ec2_launch.launch(Ec2(error), WISH)
    assert waited == []


def test_parts_that_aws_does_not_know_yet_are_asked_for_again(waited: list[float]) -> None:
    answers = iter([failure("InvalidVolume.NotFound"), failure("InvalidVolume.NotFound"), {"Volumes": []}])

    def ask() -> dict[str, Any]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert ec2_server_info.patiently(ask) == {"Volumes": []}
    assert len(waited) == 2

    def never() -> dict[str, Any]:
        raise failure("InvalidVolume.NotFound")

    with pytest.raises(aws.ClientError):
        ec2_server_info.patiently(never)
    assert 60 <= sum(waited) < 80

    def refused() -> dict[str, Any]:
        raise failure("UnauthorizedOperation")

    before = len(waited)
    with pytest.raises(aws.ClientError):
        ec2_server_info.patiently(refused)
    assert len(waited) == before

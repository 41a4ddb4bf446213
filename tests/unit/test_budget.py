"""Budget and alarm: made once, whatever fails or is cut off, and removed."""

from __future__ import annotations

from typing import Any

import botocore.exceptions as aws
import pytest

from lab import budgets
from plugins.filter.budget import alarm_problems, budget_problems
from plugins.modules import ec2_idle_alarm, project_budget
from tests.unit.cloud import REGION, Cloud, Cut, changing, cloud

ACCOUNT = "123456789012"
BUDGET: dict[str, Any] = {"project": "notebooks", "monthly_usd": 100.0, "email": "ann@example.org"}
ALARM: dict[str, Any] = {
    "alarm_name": "notebooks-demo-idle",
    "instance_id": "i-0123456789abcdef0",
    "cpu_percent": 3.0,
    "hours": 12,
    "tags": {"Name": "demo", "Project": "notebooks"},
    "state": "present",
}


@pytest.fixture(autouse=True)
def _mail() -> None:
    budgets.apply()


def budget(account: Cloud, check: bool = False, **more: Any) -> dict[str, Any]:
    return project_budget.ensure(account.client("budgets"), account.client("sts"), {**BUDGET, **more}, check)


def no_budget(account: Cloud, check: bool = False) -> dict[str, Any]:
    return budget(account, check, monthly_usd=0.0)


def other_budget(account: Cloud, check: bool = False) -> dict[str, Any]:
    return budget(account, check, email="ben@example.org")


def alarm(account: Cloud, check: bool = False, **more: Any) -> dict[str, Any]:
    return ec2_idle_alarm.ensure(account.client("cloudwatch"), {**ALARM, **more}, REGION, check)


def no_alarm(account: Cloud, check: bool = False) -> dict[str, Any]:
    return alarm(account, check, state="absent")


WORKS = [budget, no_budget, other_budget, alarm, no_alarm]


def prepare(account: Cloud, work: Any) -> None:
    if work in (no_budget, other_budget):
        budget(account)
    if work is no_alarm:
        alarm(account)
    account.calm()


@pytest.mark.parametrize("work", WORKS, ids=[work.__name__ for work in WORKS])
def test_check_once_again_and_every_trouble(work: Any) -> None:
    with cloud() as account:
        prepare(account, work)
        planned = work(account, True)
        assert planned["changed"]
        assert not changing(account.calls)
        account.calm()
        assert work(account)["plan"] == planned["plan"]
        calls = list(account.calls)
        assert not work(account)["changed"]
    for number in range(1, len(calls) + 1):
        for code in ("AccessDenied", "ThrottlingException"):
            with cloud() as account:
                prepare(account, work)
                account.fail_at, account.code = number, code
                with pytest.raises(aws.ClientError, match=code):
                    work(account)
                account.calm()
                work(account)
                assert not work(account)["changed"]
    for number in changing(calls):
        with cloud() as account:
            prepare(account, work)
            account.cut_at = number
            with pytest.raises(Cut):
                work(account)
            account.calm()
            work(account)
            assert not work(account)["changed"]
            assert len(account.client("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"]) <= 1


def test_budget_counts_the_tag_and_mails_twice() -> None:
    with cloud() as account:
        budget(account)
        (made,) = account.client("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"]
        assert (made["BudgetName"], made["TimeUnit"], float(made["BudgetLimit"]["Amount"])) == (
            "notebooks",
            "MONTHLY",
            100.0,
        )
        assert made["CostFilters"] == {"TagKeyValue": ["user:Project$notebooks"]}
        mails = account.client("budgets").describe_notifications_for_budget(AccountId=ACCOUNT, BudgetName="notebooks")
        assert {(m["NotificationType"], m["Threshold"]) for m in mails["Notifications"]} == {
            ("ACTUAL", 80.0),
            ("FORECASTED", 100.0),
        }


def test_budget_of_somebody_else_is_refused() -> None:
    with cloud() as account:
        other = {**project_budget.wanted(BUDGET), "CostFilters": {}}
        account.client("budgets").create_budget(AccountId=ACCOUNT, Budget=other)
        for work in (budget, no_budget):
            with pytest.raises(project_budget.Refused, match="this project did not make it"):
                work(account)


def test_alarm_stops_and_takes_hours_without_data_as_busy() -> None:
    with cloud() as account:
        alarm(account)
        (made,) = account.client("cloudwatch").describe_alarms()["MetricAlarms"]
        assert made["AlarmActions"] == [f"arn:aws:automate:{REGION}:ec2:stop"]
        assert (made["Period"] * made["EvaluationPeriods"], made["TreatMissingData"]) == (12 * 3600, "notBreaching")
        assert made["Dimensions"] == [{"Name": "InstanceId", "Value": ALARM["instance_id"]}]
        assert alarm(account, instance_id="i-0fedcba9876543210")["changed"]
        assert len(account.client("cloudwatch").describe_alarms()["MetricAlarms"]) == 1
    assert ec2_idle_alarm.wanted(ALARM, "cn-north-1", "aws-cn")["AlarmActions"] == [
        "arn:aws-cn:automate:cn-north-1:ec2:stop"
    ]


@pytest.mark.parametrize(
    ("usd", "email", "says"),
    [
        (100, "ann@example.org", ""),
        (0, "", ""),
        ("12.5", "ann@example.org", ""),
        (-1, "ann@example.org", "give US dollars"),
        ("much", "ann@example.org", "give US dollars"),
        (True, "ann@example.org", "give US dollars"),
        (0.001, "ann@example.org", "at least 0.01"),
        (100, "", "say who gets the mail"),
        (100, "ann", "say who gets the mail"),
    ],
)
def test_budget_settings(usd: Any, email: str, says: str) -> None:
    problems = " ".join(budget_problems(usd, email))
    assert (says in problems) if says else not problems


@pytest.mark.parametrize(
    ("hours", "percent", "minutes", "says"),
    [
        (12, 3, 60, ""),
        (12, 3, 0, ""),
        (0, 3, 0, "whole hours"),
        (25, 3, 0, "whole hours"),
        (2.5, 3, 0, "whole hours"),
        (1, 3, 60, "at least twice"),
        (12, 0, 60, "at most 50"),
        (12, 90, 60, "at most 50"),
    ],
)
def test_alarm_settings(hours: Any, percent: Any, minutes: int, says: str) -> None:
    problems = " ".join(alarm_problems(hours, percent, minutes))
    assert (says in problems) if says else not problems

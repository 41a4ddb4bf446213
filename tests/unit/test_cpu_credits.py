"""CPU credits at the launch, and whether a server that was not verified is shown."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.filter import cost, status
from plugins.modules import ec2_cpu_credits, ec2_launch
from tests.unit.test_module_ec2 import WISH


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"standard_credits": True}, "standard"),
        ({"standard_credits": False, "unlimited_credits": True}, "unlimited"),
        ({"standard_credits": False}, None),
    ],
)
def test_a_launch_says_its_credits(given: dict[str, Any], asked: str | None) -> None:
    wanted = ec2_launch.request({**WISH, **given}, "s-a")
    assert wanted.get("CreditSpecification", {}).get("CpuCredits") == asked


class Ec2:
    """An instance with some credits."""

    def __init__(self, has: str) -> None:
        self.has = has

    def describe_instance_credit_specifications(self, **_: Any) -> dict[str, Any]:
        return {"InstanceCreditSpecifications": [{"CpuCredits": self.has}] if self.has else []}

    def modify_instance_credit_specification(self, **wanted: Any) -> None:
        self.has = wanted["InstanceCreditSpecifications"][0]["CpuCredits"]


@pytest.mark.parametrize("wanted", ["standard", "unlimited"])
@pytest.mark.parametrize("has", ["standard", "unlimited", ""])
def test_credits_are_set_to_either(has: str, wanted: str) -> None:
    ec2 = Ec2(has)
    assert ec2_cpu_credits.standardise(ec2, "i-1", check_mode=True, wanted=wanted) == (has or "none")
    assert ec2.has == has
    ec2_cpu_credits.standardise(ec2, "i-1", check_mode=False, wanted=wanted)
    assert ec2.has == (wanted if has else "")


def test_status_shows_a_server_that_was_not_verified() -> None:
    row = {
        "name": "demo",
        "state": "stopped",
        "overdue": False,
        "usd_month": 0,
        "certificate_days": None,
        "this_month_usd": {"unknown": []},
    }

    def notes(record: dict[str, Any]) -> str:
        return " ".join(status.server_notes(row, [{"id": "i-1"}], {}, {"instance_id": "i-1", **record}, {}))

    assert "unlimited CPU credits until it was verified" in notes({"credits_until_verified": True})
    assert notes({"credits_until_verified": False}) == notes({"other": 1}) == ""


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("t3.nano", 5),
        ("t3.micro", 5),
        ("t4g.small", 3),
        ("t3.medium", 3),
        ("t3a.large", 2),
        ("t2.xlarge", 2),
        ("m7i-flex.large", 1),
        ("trn1.2xlarge", 1),
        ("", 1),
    ],
)
def test_waits_are_longer_on_types_that_slow_down(name: str, times: int) -> None:
    assert cost.pace(name) == times

"""The cost line: golden figures worked out by hand and those of the walkthrough that started this project."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("cost", ROOT / "plugins/filter/cost.py")
assert spec and spec.loader
cost = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cost)

PRICES = yaml.safe_load((ROOT / "roles/summary/vars/main.yml").read_text())["__summary_prices"]


@pytest.mark.parametrize(
    ("instance_type", "month", "quarter_of_workdays"),
    [("t3.medium", 36.42, 31.80), ("m7i-flex.large", 75.95, 60.40), ("p5.48xlarge", 40185.25, 29070.96)],
)
def test_all_in_price_with_30_gb_and_an_address(instance_type: str, month: float, quarter_of_workdays: float) -> None:
    assert cost.monthly_usd(PRICES, instance_type, 30) == pytest.approx(month, abs=0.01)
    assert cost.monthly_usd(PRICES, instance_type, 30, hours=176, months=3) == pytest.approx(
        quarter_of_workdays, abs=0.01
    )


@pytest.mark.parametrize(("instance_type", "usd"), [("t2.micro", 40.66), ("m4.large", 231.60), ("c5.large", 199.20)])
def test_three_months_of_the_first_walkthrough(instance_type: str, usd: float) -> None:
    assert cost.monthly_usd(PRICES, instance_type, 20, hours=720, months=3) == pytest.approx(usd, abs=0.01)


def test_a_type_without_a_price_is_said_plainly() -> None:
    assert cost.monthly_usd(PRICES, "x9.nano", 30) is None
    assert "no price for x9.nano" in cost.monthly_cost(PRICES, "x9.nano", 30)


def test_no_instance_no_line() -> None:
    assert cost.monthly_cost(PRICES, "", 30) == ""


def test_line_names_its_assumptions() -> None:
    line = cost.monthly_cost(PRICES, "t3.medium", 30)
    assert "$36.42 a month" in line and "t3.medium" in line and "2026-07-20" in line

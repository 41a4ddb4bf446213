"""What a server costs: golden figures worked out by hand and those of the walkthrough that started this project."""

from __future__ import annotations

import copy
import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.filter import cost

PRICES = yaml.safe_load((Path(__file__).parents[2] / "prices.yml").read_text())
EAST = "us-east-1"


@pytest.mark.parametrize(
    ("instance_type", "month", "quarter_of_workdays"),
    [("t3.medium", 36.42, 31.80), ("m7i-flex.large", 75.95, 60.40), ("p5.48xlarge", 40185.25, 29070.96)],
)
def test_all_in_price_with_30_gb_and_an_address(instance_type: str, month: float, quarter_of_workdays: float) -> None:
    for region in (EAST, "us-west-2"):
        assert cost.monthly_usd(PRICES, region, instance_type, 30) == pytest.approx(month, abs=0.01)
        workdays = cost.monthly_usd(PRICES, region, instance_type, 30, hours=176)
        assert workdays is not None and workdays * 3 == pytest.approx(quarter_of_workdays, abs=0.01)


def test_another_region_has_its_own_prices() -> None:
    assert cost.monthly_usd(PRICES, "eu-west-1", "m7i-flex.large", 30) == pytest.approx(
        730 * 0.10673 + 30 * 0.088 + 3.65
    )


def test_what_has_no_price_is_unknown_and_never_guessed() -> None:
    assert cost.monthly_usd(PRICES, EAST, "x9.nano", 30) is None
    assert cost.monthly_usd(PRICES, "ap-south-2", "t3.medium", 30) is None
    assert cost.monthly_usd({}, EAST, "t3.medium", 30) is None
    assert cost.monthly_cost(PRICES, EAST, "x9.nano", 30).startswith("no price of x9.nano in us-east-1 is known here")


def test_no_instance_no_line() -> None:
    assert cost.monthly_cost(PRICES, EAST, "", 30) == ""


def test_line_names_its_assumptions() -> None:
    line = cost.monthly_cost(PRICES, "us-west-2", "t3.medium", 30)
    for part in ("$36.42 a month", "$10.60 on 22 days", "$2.40 stopped", "t3.medium in us-west-2", "2026-07-20"):
        assert part in line


def test_an_elastic_ip_is_billed_while_stopped_and_a_spot_server_by_its_own_price() -> None:
    line = cost.monthly_cost(PRICES, "us-west-2", "t3.medium", 30, elastic_ip=True)
    for part in (
        "$36.42 a month",
        "$13.37 on 22 days",
        "$6.05 stopped",
        "an Elastic IP for $3.65 of it, also while stopped",
    ):
        assert part in line
    month = cost.monthly_usd(PRICES, "us-west-2", "t3.medium", 30, market="spot")
    assert month and month < 36
    assert f"${month:.2f} a month" in cost.monthly_cost(PRICES, "us-west-2", "t3.medium", 30, "spot")
    assert "(spot t3.medium in us-west-2" in cost.monthly_cost(PRICES, "us-west-2", "t3.medium", 30, "spot")
    assert cost.ceiling_problems(PRICES, "us-west-2", "t3.medium", 30, month + 1, "m", "spot") == []
    (problem,) = cost.ceiling_problems(PRICES, "us-west-2", "t3.medium", 30, 1, "m", "spot")
    assert problem.startswith("spot t3.medium in us-west-2 with 30 GB costs about")
    assert "no price of spot x9.nano" in cost.monthly_cost(PRICES, "us-west-2", "x9.nano", 30, "spot")


def test_ceiling() -> None:
    def problems(name: str, ceiling: float) -> list[str]:
        return cost.ceiling_problems(PRICES, EAST, name, 30, ceiling, "max_monthly_usd")

    assert problems("p5.48xlarge", 0) == []
    assert problems("x9.nano", 0) == []
    assert problems("t3.medium", 36.43) == []
    assert problems("t3.medium", 36.41) == [
        "t3.medium in us-east-1 with 30 GB costs about $36.42 a month running all the time, more than max_monthly_usd (36.41): "
        "choose a smaller ec2_provision_instance_type or raise max_monthly_usd."
    ]
    (unknown,) = problems("x9.nano", 200)
    assert "cannot be kept" in unknown and "set max_monthly_usd to 0" in unknown


def test_price_file_is_whole() -> None:
    """Every price is a number above 0 with a dated source, of a type whose make is known, and none is dearer reserved or spot."""
    assert set(PRICES["regions"]) >= {EAST, "us-west-2", "eu-west-1"}
    assert len(PRICES["regions"][EAST]["on_demand"]) >= 20
    used = set()
    for local in PRICES["regions"].values():
        used |= set(local["from"].values())
        for kind in ("on_demand", "spot", "reserved"):
            assert (kind in local) == (kind in local["from"])
            for name, price in local.get(kind, {}).items():
                assert name in PRICES["types"]
                assert 0 < price <= local["on_demand"][name]
    assert used == set(PRICES["sources"])
    for source in PRICES["sources"].values():
        assert datetime.date.fromisoformat(source["date"])
        assert len(source["says"]) > 20


def usage(**changes: Any) -> dict[str, Any]:
    return cost.usage_of(**{"disk_gb": 20, "months": 3, **changes})


def row(instance_type: str, key: str, region: str = EAST, **changes: Any) -> dict[str, Any]:
    estimate = cost.cost_estimate(PRICES, [instance_type], region, usage(**changes))
    return next(one for one in estimate["servers"][0]["patterns"] if one["key"] == key)


def test_parts_and_their_sum() -> None:
    found = row("c5.large", "work", snapshot_gb=40, egress_gb=150)
    expected = {"compute": 44.88, "disk": 4.80, "snapshots": 6.00, "ipv4": 2.64, "egress": 13.50}
    for part, usd in expected.items():
        assert found[part] == pytest.approx(usd), part
    assert found["total"] == pytest.approx(71.82)
    assert found["a_month"] == pytest.approx(23.94)


def test_addresses() -> None:
    assert row("c5.large", "work", public_ipv4=False)["ipv4"] == 0
    assert row("c5.large", "work", elastic_ip=True)["ipv4"] == pytest.approx(3 * 3.65)


def test_the_first_100_gb_of_traffic_are_free() -> None:
    assert row("c5.large", "always", egress_gb=100)["egress"] == 0
    assert row("c5.large", "always", egress_gb=101)["egress"] == pytest.approx(0.27)


def test_unknown_parts_make_the_sum_unknown_only_when_they_are_used() -> None:
    assert row("c5.large", "always", "eu-west-1", egress_gb=101)["egress"] is None
    assert row("c5.large", "always", "eu-west-1", egress_gb=101)["total"] is None
    assert row("c5.large", "always", "eu-west-1", egress_gb=100)["total"] is not None
    assert row("c5.large", "reserved", "eu-west-1")["total"] is None
    assert row("c5.large", "always", "ap-south-1")["total"] is None


def test_credits() -> None:
    assert row("c5.large", "work", credits_usd=100)["credits_left"] == pytest.approx(100 - 44.88 - 4.8 - 2.64)
    assert row("c5.large", "always", credits_usd=100)["credits_left"] == 0
    assert row("c5.large", "reserved", "eu-west-1", credits_usd=100)["credits_left"] is None


def test_break_even() -> None:
    # 730 h reserved with an address, against h hours on demand with one
    assert row("c5.large", "reserved")["break_even_hours"] == pytest.approx(730 * 0.059 / 0.090)
    # without one, or with one that is kept: the prices of the hours alone
    assert row("c5.large", "reserved", public_ipv4=False)["break_even_hours"] == pytest.approx(730 * 0.054 / 0.085)
    assert row("c5.large", "reserved", elastic_ip=True)["break_even_hours"] == pytest.approx(730 * 0.054 / 0.085)
    assert row("c5.large", "reserved", "eu-west-1")["break_even_hours"] is None
    assert row("c5.large", "always")["break_even_hours"] is None


def test_at_the_break_even_both_ways_cost_the_same() -> None:
    hours = row("m4.large", "reserved")["break_even_hours"]
    assert row("m4.large", "work", work_hours=hours)["total"] == pytest.approx(row("m4.large", "reserved")["total"])


def said(region: str, today: str, types: list[str]) -> list[str]:
    return cost.notes(PRICES, cost.cost_estimate(PRICES, types, region, usage()), today)


def test_old_prices_are_never_used_silently() -> None:
    young = copy.deepcopy(PRICES)
    for source in young["sources"].values():
        source["date"] = "2026-07-20"
    estimate = cost.cost_estimate(young, ["c5.large"], EAST, usage())
    assert not [note for note in cost.notes(young, estimate, "2027-01-16") if "WARNING" in note]
    (warning,) = [note for note in cost.notes(young, estimate, "2027-01-17") if "WARNING" in note]
    assert "on demand 181" in warning and "refresh=true" in warning


def test_gaps_and_regions_without_prices_are_said() -> None:
    notes = said("eu-west-1", "2026-08-01", ["c5.large", "g5.xlarge"])
    assert (
        "Unknown in eu-west-1, on demand, always; spot, always; reserved for a year: g5.xlarge. "
        "No price is known here; -e refresh=true asks AWS."
    ) in notes
    assert (
        "Unknown in eu-west-1, reserved for a year: c5.large. No price is known here; -e refresh=true asks AWS."
        in notes
    )
    assert any("in us-east-1 a reservation costs 62% to 64% of on demand" in note for note in notes)
    assert said("ap-south-2", "2026-08-01", ["c5.large"])[0].startswith("WARNING: no prices of ap-south-2 are known")


def test_sources_are_named_once() -> None:
    found = cost.sources(PRICES, EAST)
    assert [one["kinds"] for one in found][:2] == ["on demand", "spot"]
    assert found[0]["date"] == "2026-07-20"


@pytest.mark.parametrize(
    ("types", "changes", "sentence"),
    [
        ([], {}, "names no instance type"),
        ("t3.medium", {}, "names no instance type"),
        (["t3"], {}, "'t3' is not an instance type"),
        (["t3."], {}, "'t3.' is not an instance type"),
        (["t3.medium"], {"months": 0}, "estimate_months is 0"),
        (["t3.medium"], {"months": "x"}, "estimate_months is 'x'"),
        (["t3.medium"], {"disk_gb": -1}, "estimate_disk_gb is '-1'"),
        (["t3.medium"], {"hours": 800}, "672 to 744"),
        (["t3.medium"], {"work_hours": 731}, "estimate_work_hours is 731"),
    ],
)
def test_bad_settings(types: Any, changes: dict[str, Any], sentence: str) -> None:
    (problem,) = cost.usage_problems(types, usage(**changes))
    assert sentence in problem


def test_good_settings() -> None:
    assert cost.usage_problems(["t3.medium"], usage()) == []


ANSWER = {
    "region": "us-west-2",
    "date": "2026-11-21",
    "on_demand": {"c5.large": 0.09, "t2.micro": None},
    "spot": {"c5.large": 0.03},
    "reserved": {"c5.large": 0.05, "t2.micro": None},
    "types": {"c5.large": {"vcpus": 2, "memory_gib": 4}},
    "gp3_gb_month": 0.081,
    "snapshot_gb_month": None,
    "public_ipv4_hour": 0.005,
}


def test_refreshed_prices_replace_those_of_their_region_only() -> None:
    before = copy.deepcopy(PRICES)
    new = cost.refreshed(PRICES, ANSWER)
    assert before == PRICES
    west = new["regions"]["us-west-2"]
    assert west["on_demand"] == {"c5.large": 0.09}  # what AWS named no price for is unknown now
    assert west["reserved"] == {"c5.large": 0.05}
    assert (west["gp3_gb_month"], west["snapshot_gb_month"], west["egress_gb"]) == (0.081, 0.05, 0.09)
    assert west["from"]["on_demand"] == west["from"]["reserved"] == west["from"]["disk"] == "aws_2026-11-21"
    assert west["from"]["snapshot"] == west["from"]["egress"] == "guides"
    assert new["regions"][EAST] == PRICES["regions"][EAST]
    assert "karpenter_west" not in new["sources"] and new["sources"]["aws_2026-11-21"]["date"] == "2026-11-21"


def test_refreshed_prices_of_a_new_region() -> None:
    new = cost.refreshed({}, ANSWER)
    assert cost.monthly_usd(new, "us-west-2", "c5.large", 10) == pytest.approx(730 * 0.095 + 0.81)
    assert new["regions"]["us-west-2"].get("snapshot_gb_month") is None


# AWS's commercial regions; those without a price of their own have what is said of a region that nobody knows.
PRICED = """af-south-1 ap-east-1 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-southeast-1 ap-southeast-2 ap-southeast-3
ap-southeast-4 ca-central-1 eu-central-1 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3 me-central-1 me-south-1
us-east-1 us-east-2 us-west-1 us-west-2""".split()
UNPRICED = """ap-east-2 ap-south-2 ap-southeast-5 ap-southeast-6 ap-southeast-7 ca-west-1 eu-central-2 il-central-1 mx-central-1
sa-east-1""".split()


@pytest.mark.parametrize("region", PRICED + UNPRICED)
@pytest.mark.parametrize("name", ["m7i-flex.large", "t3.micro", "t3.medium", "t3.large"])
def test_the_default_ceiling_lets_small_servers_go_in_every_region(region: str, name: str) -> None:
    assert cost.ceiling_problems(PRICES, region, name, 30, 200, "max_monthly_usd") == []
    assert cost.ceiling_problems(PRICES, region, name, 30, 200, "max_monthly_usd", "spot") == []
    assert cost.ceiling_problems(PRICES, region, "p5.48xlarge", 30, 200, "max_monthly_usd")
    assert cost.ceiling_problems(PRICES, region, "p5.48xlarge", 30, 200, "max_monthly_usd", "spot")


@pytest.mark.parametrize("region", PRICED)
def test_regions_that_have_a_price_have_one_of_the_common_types(region: str) -> None:
    assert cost.hourly_usd(PRICES, region, "t3.large")
    assert cost.hourly_usd(PRICES, region, "t4g.medium") or region in ("us-east-1", "us-west-2")


def test_what_is_not_known_counts_as_in_the_dearest_region_and_half_as_much_again() -> None:
    prices = {
        "regions": {
            "cheap": {"on_demand": {"t3.large": 0.1}, "gp3_gb_month": 0.1, "public_ipv4_hour": 0.005},
            "dear": {"on_demand": {"t3.large": 0.2}, "gp3_gb_month": 0.2},
            "half": {"on_demand": {"t3.large": 0.1}},
        }
    }
    assert cost.most_usd(prices, "cheap", "t3.large", 10) == cost.monthly_usd(prices, "cheap", "t3.large", 10)
    half = 730 * 0.1 + 1.5 * 0.2 * 10 + 1.5 * 0.005 * 730
    assert cost.most_usd(prices, "half", "t3.large", 10) == pytest.approx(half)
    nowhere = 1.5 * 0.2 * 730 + 1.5 * 0.2 * 10 + 1.5 * 0.005 * 730
    assert cost.most_usd(prices, "nowhere", "t3.large", 10) == pytest.approx(nowhere)
    assert cost.most_usd(prices, "nowhere", "t3.large", 10, "spot") == pytest.approx(nowhere)
    assert cost.most_usd(prices, "cheap", "x9.nano", 10) is None
    assert cost.unknown(prices, "cheap", "t3.large", 10) == []
    assert cost.unknown(prices, "half", "t3.large", 10) == ["disk", "ipv4"]
    assert cost.unknown(prices, "nowhere", "t3.large", 10) == ["compute", "disk", "ipv4"]
    at = ("t3.large", 10)
    assert cost.ceiling_problems(prices, "half", *at, half + 1, "max") == []
    assert cost.ceiling_note(prices, "half", *at, half + 1, "max") == (
        "What is not known is counted as in the dearest region that is, and half as much again: at most $81.47 a month, "
        "so max (82.475) is kept"
    )
    assert cost.ceiling_note(prices, "cheap", *at, 200, "max") == ""
    assert cost.ceiling_note(prices, "half", *at, 0, "max") == ""
    assert cost.ceiling_note(prices, "half", *at, half - 1, "max") == ""
    (refused,) = cost.ceiling_problems(
        prices, "half", *at, half - 1, "max", asked="AWS did not say its prices (AccessDenied)"
    )
    assert refused == (
        "No price of t3.large in half is known here, so max (80.475) cannot be kept: AWS did not say its prices (AccessDenied). Mend that "
        "(policies/launch.json has the permissions), or set max to 0 to go without a ceiling."
    )


def test_a_part_that_is_not_known_is_named() -> None:
    line = cost.monthly_cost(PRICES, "me-central-1", "t3.large", 30)
    assert line == (
        "on AWS about $73.22 a month running all the time for t3.large in me-central-1 alone (prices of 2025-09-01); the price of its disk "
        "there is not known here: `ansible-playbook playbooks/estimate.yml -e refresh=true` asks AWS for it"
    )


@pytest.mark.parametrize(
    ("name", "usd"),
    [
        ("t3.micro", 0.09),
        ("t3.large", 0.07),
        ("t3a.medium", 0.08),
        ("t4g.small", 0.064),
        ("t3.2xlarge", 0.24),
        ("m7i.large", None),
    ],
)
def test_what_an_hour_of_full_load_costs_with_unlimited_credits(name: str, usd: float | None) -> None:
    found = cost.surplus_usd(PRICES, name)
    assert found is None if usd is None else found == pytest.approx(usd)


def test_the_credits_of_a_new_server_are_said() -> None:
    assert cost.credits_note(PRICES, "t3.large", "standard") == (
        "t3.large gets no CPU credits to begin with, so it has unlimited ones until verify has passed: at most $0.07 for each hour "
        "of full load"
    )
    assert cost.credits_note(PRICES, "t3.large", "unlimited").endswith("for good (ec2_provision_cpu_credits)")
    assert cost.credits_note(PRICES, "t2.micro", "standard") == ""
    assert cost.credits_note(PRICES, "m7i-flex.large", "standard") == ""
    assert "not known" in cost.credits_note({"surplus_vcpu_hour": {"t3": 0.05}}, "t3.large", "standard")
    assert any(
        "t3.large: CPU credits beyond its share cost at most $0.07" in note
        for note in said(EAST, "2026-08-01", ["t3.large"])
    )
    assert cost.refreshed(PRICES, ANSWER)["surplus_vcpu_hour"] == PRICES["surplus_vcpu_hour"]

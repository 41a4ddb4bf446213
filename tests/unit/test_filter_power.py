"""What stop, start, resize and burst decide and say."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.filter import cost, power

NOW, SOON, PAST = "2030-01-01T12:00:00Z", "2030-01-01T15:00:00Z", "2030-01-01T11:00:00Z"
PRICES = {
    "regions": {"r": {"gp3_gb_month": 0.1, "public_ipv4_hour": 0.005, "on_demand": {"small": 0.1, "big": 1.0}}},
}
ONE = {"id": "i-1", "state": "running", "type": "small", "zone": "r-a", "public_ip": "192.0.2.1"}


def found(state: str = "running", **more: Any) -> dict[str, Any]:
    """What ec2_power finds."""
    volumes = [{"id": "vol-1", "gb": 30, "type": "gp3"}, {"id": "vol-2", "gb": 100, "type": "gp3"}]
    return {"instance": {**ONE, "state": state}, "volumes": volumes, "elastic_ips": [], **more}


@pytest.mark.parametrize(
    ("record", "setting", "kind"),
    [
        ({}, "a", "a"),
        ({"resized_to": "b", "resized_setting": "a"}, "a", "b"),
        ({"resized_to": "b", "resized_setting": "a"}, "c", "c"),
        ({"burst_type": "z", "burst_until": SOON}, "a", "z"),
        ({"burst_type": "z", "burst_until": PAST}, "a", "a"),
        ({"burst_type": "z", "burst_until": PAST, "resized_to": "b", "resized_setting": "a"}, "a", "b"),
        ({"burst_type": "z", "burst_until": SOON}, "c", "z"),
        ({"burst_type": "", "burst_until": ""}, "a", "a"),
    ],
)
def test_the_newest_word_counts(record: dict[str, Any], setting: str, kind: str) -> None:
    assert power.held_type(setting, record, NOW) == kind


def test_a_changed_setting_ends_what_resize_said_for_good() -> None:
    record = {"resized_to": "b", "resized_setting": "a"}
    assert power.carried(record, "a", NOW)["resized_to"] == "b"
    changed = power.carried(record, "c", NOW)
    assert changed == {"resized_to": "", "resized_setting": "", "burst_type": "", "burst_until": ""}
    assert power.held_type("a", changed, NOW) == "a"
    assert power.carried({"resized_to": "a", "resized_setting": "a"}, "a", NOW)["resized_to"] == ""
    assert power.carried({"burst_type": "z", "burst_until": SOON}, "a", NOW)["burst_type"] == "z"
    assert power.carried({"burst_type": "z", "burst_until": PAST}, "a", NOW)["burst_until"] == ""


def test_notes_on_the_type() -> None:
    assert power.type_note("a", {}, "demo", NOW) == ""
    resized = power.type_note("a", {"resized_to": "b", "resized_setting": "a"}, "demo", NOW)
    assert resized.startswith("demo stays b") and "`ec2_provision_instance_type: b`" in resized
    burst = power.type_note("a", {"burst_type": "z", "burst_until": SOON}, "demo", NOW)
    assert SOON in burst and "-e hours=0" in burst
    assert power.resize_keep("demo", "a", "a") == ""
    assert "inventory/host_vars/demo.yml" in power.resize_keep("demo", "b", "a")
    assert (
        power.usual_type("a", {"burst_type": "z", "burst_until": SOON, "resized_to": "b", "resized_setting": "a"})
        == "b"
    )


def test_what_a_stop_says() -> None:
    plain = power.stop_lines(found(), "demo", cost.stopped_cost(PRICES, "r", found()["volumes"], []))
    assert "its disks (vol-1 30 GB, vol-2 100 GB) $13.00; together $13.00." in plain and "brings another" in plain
    fixed = found("stopped", elastic_ips=["192.0.2.9"])
    said = power.stop_lines(fixed, "demo", cost.stopped_cost(PRICES, "r", fixed["volumes"], fixed["elastic_ips"]))
    assert "is stopped already" in said and "its fixed address 192.0.2.9 $3.65; together $16.65." in said
    unknown = power.stop_lines(found(), "demo", cost.stopped_cost({}, "r", found()["volumes"], []))
    assert "together an unknown price" in unknown
    assert cost.stopped_cost(PRICES, "r", [{"gb": 1, "type": "io2"}], [])["total"] is None


def test_what_a_start_says() -> None:
    assert "runs already, at 192.0.2.1" in power.start_lines(found(), "demo")
    assert "is stopped and starts" in power.start_lines(found("stopped"), "demo")


def resized(**more: Any) -> dict[str, Any]:
    """What ec2_resize plans."""
    kind = {"name": "big", "vcpus": 8, "memory_gib": 32.0}
    return {"instance": ONE, "before": "small", "type": kind, "runs": True, "cut_off": False, "notes": [], **more}


def test_what_a_resize_says() -> None:
    said = power.resize_lines(resized(), "demo", 73.0, 730.0)
    assert (
        "becomes big (8 vCPU, 32 GiB) instead of small" in said and "$73.00 before, $730.00 after, $657.00 more" in said
    )
    assert "stays so" in power.resize_lines(resized(runs=False), "demo", 730.0, 73.0)
    assert "$657.00 less" in power.resize_lines(resized(), "demo", 730.0, 73.0)
    assert "the difference is not known" in power.resize_lines(resized(), "demo", None, 73.0)
    same = resized(before="big", instance={**ONE, "type": "big"})
    assert "is big (8 vCPU, 32 GiB) already" in power.resize_lines(same, "demo", 730.0, 730.0)


@pytest.mark.parametrize(
    ("kind", "hours", "words"),
    [
        ("big", "3", ""),
        ("big", 0.005, ""),
        ("", "0", ""),
        ("", "3", "Which type"),
        ("big", "", "give the hours"),
        ("big", "three", "give the hours"),
        ("big", "-1", "give 0 to 720"),
        ("big", "721", "give 0 to 720"),
        ("big", "nan", "give 0 to 720"),
    ],
)
def test_a_burst_that_cannot_be(kind: str, hours: Any, words: str) -> None:
    problems = power.burst_problems(kind, hours, "demo")
    assert words in problems[0] if words else not problems


def test_a_server_that_cannot_begin_a_burst() -> None:
    assert "start it first" in power.burst_refused({**ONE, "state": "stopped"}, {}, "big", "demo")[0]
    assert "has without a burst" in power.burst_refused(ONE, {}, "small", "demo")[0]
    assert "has without a burst" in power.burst_refused({**ONE, "type": "big"}, {"type": "small"}, "small", "demo")[0]
    assert power.burst_refused(ONE, {}, "big", "demo") == []
    assert power.burst_refused({**ONE, "type": "big"}, {"type": "small"}, "big", "demo") == []


def test_the_price_of_a_burst() -> None:
    burst, plain = cost.hourly_usd(PRICES, "r", "big", 3), cost.hourly_usd(PRICES, "r", "small", 3)
    said = power.burst_lines(resized(), "demo", "small", 3, burst, plain)
    assert "These hours cost $3.00 instead of $0.30, $2.70 more." in said and "small again after that" in said
    moved = power.burst_lines(resized(instance={**ONE, "type": "big"}), "demo", "small", 3, burst, plain)
    assert "is big already; its return to small is in 3 hours" in moved
    assert power.burst_dear("big", "demo", 73.0, burst, plain, 80) == []
    assert "about $75.70" in power.burst_dear("big", "demo", 73.0, burst, plain, 75)[0]
    assert "is not known here" in power.burst_dear("big", "demo", 73.0, None, plain, 75)[0]
    assert power.burst_dear("big", "demo", None, None, None, 0) == []


def test_words_for_a_failure() -> None:
    error = {"code": "InsufficientInstanceCapacity", "message": "No room."}
    result = {"msg": "demo did not become big: ...", "error": error, "now": "demo (i-1) is running as small."}
    said = power.explain(result, "demo", "resize | Stop it, change the type and start it", "r")
    assert said.startswith(
        "demo in r: 'Stop it, change the type and start it' failed: No room (InsufficientInstanceCapacity)."
    )
    assert "demo (i-1) is running as small." in said and "try again later" in said
    assert power.explain({"msg": "There is no server demo."}, "demo", "x", "r") == "There is no server demo."
    assert "Run the same command again" in power.explain({"msg": "m", "error": {"code": "X"}}, "demo", "x", "r")

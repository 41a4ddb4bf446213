"""Stop, start, another type, and more power for some hours: what a person does with a server, and what AWS does when nobody is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab_site import Run, Site, lab
from tests.life.conftest import LAB, in_use, row, settings, status

BIGGER, BIGGEST, KEPT = "m7i.large", "m7i.xlarge", "kept_over_a_stop"


def instance(site: Site) -> dict[str, Any]:
    """The instance as AWS has it."""
    found = site.client().describe_instances(InstanceIds=[site.record["instance_id"]])
    return dict(found["Reservations"][0]["Instances"][0])


def is_at(site: Site, state: str, kind: str) -> None:
    """The instance is so, and runs or not."""
    one = instance(site)
    assert (one["State"]["Name"], one["InstanceType"]) == (state, kind)


def power(site: Site, name: str, playbook: str, *more: str, **others: object) -> Run:
    """Run one of the playbooks as a person does."""
    return site.apply(f"power-{name}", *settings(**others), *more, playbook=f"playbooks/{playbook}.yml")


def well(run: Run) -> Run:
    """A run that went well."""
    assert run.code == 0, run.tail(120)
    return run


def said(run: Run) -> str:
    """What a run said, without its lines' ends."""
    return " ".join(run.output.split())


def fault(*arguments: str) -> None:
    """Set or clear a fault of the lab."""
    lab(LAB, "fault", *arguments)


@pytest.fixture(scope="module")
def usual(server: Site) -> Iterator[str]:
    """The type that the server has when the tests begin, and again when they are done."""
    before = str(server.record["instance_type"])
    yield before
    fault("--clear")
    if instance(server)["InstanceType"] != before or instance(server)["State"]["Name"] != "running":
        power(server, "put-back", "burst", "-e", "hours=0")
        power(server, "put-back", "resize", "-e", f"type={before}")
        power(server, "put-back", "start")


@pytest.fixture(scope="module")
def had(server: Site) -> dict[str, str]:
    """What is on the server before it is stopped."""
    server.give(KEPT)
    return server.possessions(KEPT)


def test_stop_says_what_is_billed_on_and_twice_is_nothing(server: Site, usual: str, had: dict[str, str]) -> None:
    run = well(power(server, "stop-check", "stop", "--check"))
    assert "Billed a month while it is stopped" in said(run)
    is_at(server, "running", usual)
    run = well(power(server, "stop", "stop"))
    assert run.recap["demo"]["changed"] == 1
    is_at(server, "stopped", usual)
    assert well(power(server, "stop-again", "stop")).changes_nothing()


def test_status_of_a_stopped_server(server: Site, usual: str) -> None:
    off = row(status(server), server.server)
    assert (off["state"], off["address"], off["idle_seconds"], off["certificate_days"]) == ("stopped", "", None, None)
    # The disk is all that it costs.
    assert 0 < off["usd_month"] < 10


def test_resize_of_a_stopped_server_leaves_it_stopped(server: Site, usual: str) -> None:
    well(power(server, "resize-stopped", "resize", "-e", f"type={BIGGER}"))
    is_at(server, "stopped", BIGGER)


def test_start_puts_the_new_address_right(server: Site, had: dict[str, str]) -> None:
    before = server.record["public_ip"]
    well(power(server, "start", "start"))
    is_at(server, "running", BIGGER)
    assert server.record["public_ip"] == instance(server)["PublicIpAddress"] != before
    assert server.logs_in(server.password)
    in_use(server)
    assert server.possessions(KEPT) == had


def test_site_leaves_the_type_that_resize_gave(server: Site, usual: str) -> None:
    run = well(server.apply("power-provision", *settings(), playbook="playbooks/provision.yml"))
    assert run.changes_nothing(), run.tail(120)
    is_at(server, "running", BIGGER)
    assert f"stays {BIGGER}" in said(run)


def test_a_type_without_room_ends_on_the_former_one(server: Site, usual: str) -> None:
    refused = power(server, "refused", "resize", "-e", "type=m7i.48xlarge")
    assert refused.code != 0 and "max_monthly_usd" in said(refused), refused.tail()
    fault("StartInstances", "InsufficientInstanceCapacity", f"There is no {BIGGEST} here.", "--times", "1")
    run = power(server, "no-room", "resize", "-e", f"type={BIGGEST}")
    assert run.code != 0
    assert f"is running as {BIGGER}" in said(run) and "InsufficientInstanceCapacity" in said(run)
    is_at(server, "running", BIGGER)
    assert server.record["resized_to"] == BIGGER
    assert server.logs_in(server.password)


def test_burst_returns_by_itself(server: Site, usual: str) -> None:
    quick = ["-e", "ec2_burst_pause_seconds=10"]
    run = well(power(server, "burst", "burst", "-e", f"type={BIGGEST}", "-e", "hours=1", *quick))
    assert "These hours cost" in said(run)
    is_at(server, "running", BIGGEST)
    scheduler = server.client("scheduler")
    assert len(scheduler.list_schedules(GroupName="notebook-server")["Schedules"]) == 3
    assert power(server, "resize-in-burst", "resize", "-e", f"type={usual}").code != 0
    is_at(server, "running", BIGGEST)
    # Its end comes closer; from now on nobody does anything.
    well(power(server, "burst-shorter", "burst", "-e", f"type={BIGGEST}", "-e", "hours=0.005", *quick))
    end = time.monotonic() + 300
    while scheduler.list_schedules(GroupName="notebook-server")["Schedules"]:
        assert time.monotonic() < end, "the schedules are still there"
        time.sleep(1)
    is_at(server, "running", BIGGER)


def test_nobody_told_this_machine_of_the_new_address(server: Site) -> None:
    """Which is said and is no error: what cannot be asked is left open."""
    moved = status(server)
    assert row(moved, server.server)["state"] == "running"
    notes = " ".join(moved["notes"])
    assert "could not be asked over SSH" in notes and "its record says" in notes, notes


def test_resize_back(server: Site, usual: str) -> None:
    run = well(power(server, "resize-check", "resize", "-e", f"type={usual}", "--check"))
    assert f"becomes {usual}" in said(run) and "less" in said(run)
    is_at(server, "running", BIGGER)
    well(power(server, "resize-back", "resize", "-e", f"type={usual}"))
    is_at(server, "running", usual)
    assert not server.record["resized_to"] and not server.record["burst_type"]
    assert row(status(server), server.server)["certificate_days"] > 300
    assert server.logs_in(server.password)

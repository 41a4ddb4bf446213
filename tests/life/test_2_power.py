"""Stop, start, another type, and more power for some hours: what a person does with a server, and what AWS does when nobody is there."""

from __future__ import annotations

import json
import ssl
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.lab_site import Run, Site, lab
from tests.life.conftest import LAB, settings

BIGGER = "m7i.large"


def instance(site: Site) -> dict[str, Any]:
    """The instance as AWS has it."""
    found = site.client().describe_instances(InstanceIds=[site.record["instance_id"]])
    return dict(found["Reservations"][0]["Instances"][0])


def is_at(site: Site, state: str, kind: str) -> None:
    """The instance is so, and runs or not."""
    one = instance(site)
    assert (one["State"]["Name"], one["InstanceType"]) == (state, kind)


def answers(site: Site) -> bool:
    """Whether JupyterLab answers at the server's address, with a certificate for it by the private CA."""
    context = ssl.create_default_context(cafile=str(site.ca_file))
    with urllib.request.urlopen(f"{site.url}api", context=context, timeout=10) as answer:  # noqa: S310  (https it is)
        return bool(json.load(answer)["version"])


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


def test_stop_says_what_is_billed_on_and_twice_is_nothing(server: Site, usual: str) -> None:
    run = well(power(server, "stop-check", "stop", "--check"))
    assert "Billed a month while it is stopped" in said(run)
    is_at(server, "running", usual)
    run = well(power(server, "stop", "stop"))
    assert run.recap["demo"]["changed"] == 1
    is_at(server, "stopped", usual)
    assert well(power(server, "stop-again", "stop")).changes_nothing()


def test_resize_of_a_stopped_server_leaves_it_stopped(server: Site, usual: str) -> None:
    well(power(server, "resize-stopped", "resize", "-e", f"type={BIGGER}"))
    is_at(server, "stopped", BIGGER)


def test_start_puts_the_new_address_right(server: Site) -> None:
    before = server.record["public_ip"]
    run = well(power(server, "start", "start"))
    is_at(server, "running", BIGGER)
    assert server.record["public_ip"] == instance(server)["PublicIpAddress"] != before
    assert server.ssh("true").returncode == 0
    assert answers(server)
    print(f"start with a new address: {run.seconds:.0f} s")
    again = well(power(server, "start-again", "start"))
    assert again.changes_nothing(), again.tail(120)


def test_site_leaves_the_type_that_resize_gave(server: Site, usual: str) -> None:
    run = well(server.apply("power-provision", *settings(), playbook="playbooks/provision.yml"))
    is_at(server, "running", BIGGER)
    assert f"stays {BIGGER}" in said(run)


def test_a_type_without_room_ends_on_the_former_one(server: Site, usual: str) -> None:
    fault("StartInstances", "InsufficientInstanceCapacity", "There is no m7i.xlarge here.", "--times", "1")
    run = power(server, "no-room", "resize", "-e", "type=m7i.xlarge")
    assert run.code != 0
    assert f"is running as {BIGGER}" in said(run) and "InsufficientInstanceCapacity" in said(run)
    is_at(server, "running", BIGGER)
    assert answers(server)
    assert server.record["resized_to"] == BIGGER


def test_resize_back(server: Site, usual: str) -> None:
    run = power(server, "refused", "resize", "-e", "type=m7i.48xlarge")
    assert run.code != 0 and "max_monthly_usd" in said(run), run.tail()
    run = well(power(server, "resize-check", "resize", "-e", f"type={usual}", "--check"))
    assert f"becomes {usual}" in said(run) and "less" in said(run)
    is_at(server, "running", BIGGER)
    well(power(server, "resize-back", "resize", "-e", f"type={usual}"))
    is_at(server, "running", usual)
    assert answers(server) and not server.record["resized_to"]


def test_burst_returns_by_itself(server: Site, usual: str) -> None:
    quick = ["-e", "ec2_burst_pause_seconds=10"]
    run = well(power(server, "burst", "burst", "-e", f"type={BIGGER}", "-e", "hours=1", *quick))
    assert "These hours cost" in said(run)
    is_at(server, "running", BIGGER)
    assert answers(server)
    scheduler = server.client("scheduler")
    assert len(scheduler.list_schedules(GroupName="notebook-server")["Schedules"]) == 3
    assert power(server, "resize-in-burst", "resize", "-e", "type=m7i.xlarge").code != 0
    # Its end comes closer; from now on nobody does anything.
    well(power(server, "burst-shorter", "burst", "-e", f"type={BIGGER}", "-e", "hours=0.005", *quick))
    asked = datetime.now(UTC)
    while scheduler.list_schedules(GroupName="notebook-server")["Schedules"]:
        assert (datetime.now(UTC) - asked).total_seconds() < 120
        time.sleep(1)
    is_at(server, "running", usual)
    well(power(server, "burst-after", "start"))
    assert answers(server) and server.record["instance_type"] == usual and not server.record["burst_type"]

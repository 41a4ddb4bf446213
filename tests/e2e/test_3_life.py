"""What happens to a server in its life: a stop and a start with a new address, and a run that is cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from tests.e2e.conftest import FIRST_RUN, REPORTS, SERVER, STATE, Site

NOTEBOOKS = "/srv/notebooks"


def test_a_new_address_after_a_stop_and_a_start(server: Site) -> None:
    """The record, the certificate and the known hosts follow; the notebooks are still there."""
    before = server.record
    marker = f"{NOTEBOOKS}/kept.txt"
    assert server.ssh("sudo", "-u", "jupyter", "touch", marker).returncode == 0
    ec2 = server.client()
    for action, state in ((ec2.stop_instances, "stopped"), (ec2.start_instances, "running")):
        action(InstanceIds=[before["instance_id"]])
        ec2.get_waiter(f"instance_{state}").wait(InstanceIds=[before["instance_id"]], WaiterConfig={"Delay": 2})
    run = server.apply("new-address")
    assert run.code == 0, run.tail(120)
    assert server.record["instance_id"] == before["instance_id"]
    assert server.record["public_ip"] != before["public_ip"]
    assert server.ssh("sudo", "test", "-f", marker).returncode == 0
    again = server.apply("new-address-again")
    assert again.changes_nothing(), again.tail(120)


def test_a_run_that_is_cut_off_can_be_repeated(server: Site) -> None:
    """Ctrl-C in the middle of a second server's first run, in or just after conda's work; the same command completes it."""
    inventory = STATE.parent / "second.yml"
    inventory.write_text("servers: {children: {launched: {children: {lab: {hosts: {second: }}}}}}\n")
    arguments = ("-i", str(inventory), "--limit", "second")
    log = REPORTS / "e2e-cut-off.log"
    process = server.start(log, *arguments)
    end = time.monotonic() + FIRST_RUN
    while "Make every environment and its kernel" not in log.read_text(errors="replace"):
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        assert time.monotonic() < end
        time.sleep(0.5)
    time.sleep(4)
    assert process.poll() is None, "the run was done before it could be cut off"
    os.killpg(process.pid, signal.SIGINT)
    try:
        assert process.wait(60) != 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    run = server.apply("cut-off-again", *arguments, seconds=FIRST_RUN)
    assert run.code == 0, run.tail(120)
    assert set(run.recap) == {"second"}
    again = server.apply("cut-off-third", *arguments)
    assert again.changes_nothing(), again.tail(120)


def test_the_first_server_was_left_alone(server: Site) -> None:
    assert server.ssh("systemctl", "is-active", "jupyter").stdout.strip() == "active"
    assert server.record["name"] == SERVER

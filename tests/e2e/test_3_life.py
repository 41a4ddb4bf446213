"""What happens to a server in its life: a stop and a start with a new address, and a run that is cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

from tests.e2e.conftest import SERVER, STATE
from tests.lab_site import FIRST_RUN, REPORTS, Site

NOTEBOOKS = "/srv/notebooks"
CLIENTS = {"mysql": "mysql -BN notebooks -e", "postgres": "psql -At notebooks -c"}


def ask(server: Site, database: str, statement: str) -> str:
    """Ask a database as the account that notebooks run as."""
    command = f'sudo runuser -u jupyter -- {CLIENTS[database]} "{statement}"'
    said = server.ssh(command)
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


def kept(server: Site) -> dict[str, str]:
    """Count what must never be lost: rows in both databases, and files of people."""
    counts = {database: ask(server, database, "SELECT COUNT(*), SUM(n) FROM kept") for database in CLIENTS}
    # Not what is hidden: kernels write their history there.
    find = "find /srv/notebooks /srv/notebooks-container/work -type f ! -path '*/.*' -exec sha256sum {} +"
    files = server.ssh(f"sudo {find} | sort")
    assert files.returncode == 0, files.stderr
    return counts | {"files": files.stdout}


def test_a_new_address_after_a_stop_and_a_start(server: Site) -> None:
    """The record, the certificate and the known hosts follow; rows, notebooks and settings are still there."""
    before = server.record
    for folder in (NOTEBOOKS, f"{NOTEBOOKS}-container/work"):
        assert server.ssh("sudo", "-u", "jupyter", "touch", f"{folder}/kept.txt").returncode == 0
    for database in CLIENTS:
        ask(server, database, "CREATE TABLE IF NOT EXISTS kept (n INT)")
        ask(server, database, "INSERT INTO kept VALUES (40), (2)")
    possessions = kept(server)
    assert possessions["files"].count("kept.txt") == 2
    ec2 = server.client()
    for action, state in ((ec2.stop_instances, "stopped"), (ec2.start_instances, "running")):
        action(InstanceIds=[before["instance_id"]])
        ec2.get_waiter(f"instance_{state}").wait(InstanceIds=[before["instance_id"]], WaiterConfig={"Delay": 2})
    run = server.apply("new-address")
    assert run.code == 0, run.tail(120)
    assert server.record["instance_id"] == before["instance_id"]
    assert server.record["public_ip"] != before["public_ip"]
    assert kept(server) == possessions
    again = server.apply("new-address-again")
    assert again.changes_nothing(), again.tail(120)


def test_a_run_that_is_cut_off_can_be_repeated(server: Site) -> None:
    """Ctrl-C in the middle of a second server's first run, in or just after conda's work; the same command completes it."""
    inventory = STATE.parent / "second.yml"
    inventory.write_text("servers: {children: {launched: {children: {lab: {hosts: {second: }}}}}}\n")
    # The three other components are cut off between and within their tasks by their own scenarios.
    components = {"server_components": ["base", "anaconda_kernels", "jupyter_tls"]}
    arguments = ("-i", str(inventory), "--limit", "second", "-e", json.dumps(components))
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

"""A server that stops when nobody uses it, and only then. "Stopped" is a file that the harmless action makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e import notebooks
from tests.notebook_server import Server

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
CA = EPHEMERAL / "ca/ca.crt"
CONFIG = "/etc/autostop/autostop.json"
STOPPED = "/run/autostop/stopped"
DROP_INS = ["/etc/systemd/system/autostop.timer.d", "/etc/systemd/system/autostop.service.d"]
# Minutes become seconds, and the tests' own SSH is not to count.
QUICK = {"idle_s": 12, "notice_s": 5, "ignore": ["ssh"]}
# A notice that is long enough to answer it, on a slow machine too.
UNHURRIED = {"idle_s": 50, "notice_s": 40}
# What it takes to be stopped, with patience for a slow machine; and how long one must not be.
PATIENCE_S, WHILE_S = 150, 22
STATUS = "/run/autostop/status.json"


def status(host: Any) -> dict[str, Any]:
    """What was found last; waits for the first look."""
    assert wait_for(lambda: host.file(STATUS).exists), host.check_output("journalctl -u autostop --no-pager -n 20")
    return dict(json.loads(host.file(STATUS).content_string))


def finding(host: Any, probe: str) -> tuple[str, str]:
    """Verdict and reason of a probe."""
    return next((verdict, reason) for name, verdict, reason, _ in status(host)["findings"] if name == probe)


def wait_for(what: Callable[[], Any], seconds: float = PATIENCE_S) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(1)
    return False


def begin(host: Any, **settings: Any) -> None:
    """Forget what was before, and look every two seconds."""
    text = json.dumps({**json.loads(host.check_output("cat /root/autostop.json")), **QUICK, **settings})
    host.check_output("systemctl stop autostop.timer && printf %%s %s >%s", text, CONFIG)
    # A look that is under way would write what it saw before.
    state = "systemctl show --property=ActiveState --value autostop.service"
    host.check_output(f"until {state} | grep -qE 'inactive|failed'; do sleep 0.1; done")
    host.check_output("rm -f %s %s /var/lib/autostop/*.json && systemctl start autostop.timer", STOPPED, STATUS)


def was_stopped(host: Any) -> bool:
    return bool(host.file(STOPPED).exists)


@pytest.fixture
def quick(host: Any) -> Iterator[Any]:
    """A host where minutes are seconds."""
    host.check_output("cp --no-clobber %s /root/autostop.json && mkdir -p %s %s", CONFIG, *DROP_INS)
    # systemd refuses what is started more than five times in ten seconds, which is what these tests do.
    unit = "[Unit]\nStartLimitIntervalSec=0\n"
    timer = unit + "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2\nAccuracySec=1ms\n"
    for text, folder in zip((timer, unit), DROP_INS, strict=True):
        host.check_output("printf %%s %s >%s/quick.conf", text, folder)
    host.check_output("systemctl daemon-reload && systemctl reset-failed 'autostop*'")
    begin(host)
    yield host
    host.check_output("rm -f %s /var/lib/autostop/*.json && systemctl stop autostop.timer", STOPPED)
    host.check_output("mv /root/autostop.json %s && rm -r %s %s && systemctl daemon-reload", CONFIG, *DROP_INS)
    # Nor does it forget by itself how often that was.
    host.check_output("systemctl reset-failed 'autostop*' && systemctl start autostop.timer")


@contextmanager
def at_work(host: Any, unit: str, *command: str) -> Iterator[None]:
    """A command that runs meanwhile."""
    host.check_output("systemd-run --quiet --collect --unit=%s" + " %s" * len(command), unit, *command)
    try:
        yield
    finally:
        host.check_output("systemctl stop %s", unit)


def stays_on(host: Any, probe: str, reason: str) -> None:
    """It must not stop for longer than it takes to stop, and for this reason."""
    # A kernel is unknown until its server has reported it, which counts as busy too.
    assert wait_for(lambda: reason in finding(host, probe)[1]), json.dumps(status(host))
    assert finding(host, probe)[0] == "busy"
    time.sleep(WHILE_S)
    assert not was_stopped(host), host.check_output("journalctl -u 'autostop*' --no-pager -n 20")


# ---- as it is installed -------------------------------------------------------------------------------------------------


def test_looks_every_minute_and_at_every_boot(host: Any) -> None:
    for unit in ("autostop.timer", "autostop-ask.socket"):
        assert host.service(unit).is_enabled
        assert host.service(unit).is_running
    assert wait_for(lambda: host.file(STATUS).exists)
    assert wait_for(lambda: time.time() - status(host)["at"] < 65, 90)


def test_every_probe_knows(host: Any) -> None:
    assert wait_for(lambda: host.file(STATUS).exists)
    found = {name: (verdict, reason) for name, verdict, reason, _ in status(host)["findings"]}
    assert [name for name, (verdict, _) in found.items() if verdict == "unknown"] == [], found
    assert found["postgres"][1] == "PostgreSQL: no query, no open transaction"
    assert found["mysql"][1] == "MySQL: no query, no open transaction"
    # These tests themselves come by SSH.
    assert "SSH" in found["ssh"][1]


def test_is_confined(host: Any) -> None:
    for unit, most in (("autostop.service", 4.0), ("autostop-ask@x.service", 2.0)):
        shown = host.run("systemd-analyze security --no-pager %s", unit).stdout
        exposure = float(shown.rpartition("Overall exposure level for ")[2].split(":")[1].split()[0])
        assert exposure <= most, shown


def test_every_account_sees_the_status_and_no_other_may_write(host: Any) -> None:
    assert "kernels" in host.check_output("runuser -u nobody -- stay-awake")
    for path in ("/run/autostop/status.json", "/var/lib/autostop/state.json", CONFIG, "/etc/autostop/before-stop.d"):
        assert (host.file(path).user, host.file(path).mode & 0o022) == ("root", 0)


def test_rubbish_on_the_socket_does_nothing(host: Any) -> None:
    script = """
import socket
client = socket.socket(socket.AF_UNIX)
client.connect("/run/autostop/ask.sock")
try:
    client.sendall(%r)
    print(client.recv(999))
except OSError as error:
    print(error)
"""
    for line in (b"\n", b"[]\n", b'{"do": "awake"}\n', b"x" * 70000, b'{"do": "awake", "seconds": -5}\n'):
        said = host.run("runuser -u nobody -- python3 -c %s", script % line).stdout
        assert "error" in said or "findings" in said or "reset" in said or "pipe" in said, (line[:40], said)
    assert status(host)["awake"] == 0
    assert "autostop" not in host.check_output("systemctl --failed --plain --no-legend")


# ---- idle -----------------------------------------------------------------------------------------------------------------


def test_idle_server_gives_notice_and_stops(quick: Any) -> None:
    with at_work(quick, "watcher", "script", "-qfc", "sleep 1; exec bash --norc", "/root/seen"):
        assert wait_for(lambda: was_stopped(quick)), json.dumps(status(quick))
        seen = quick.file("/root/seen").content_string
    assert "This server stops in 1 min" in seen
    assert "stay-awake 2h" in seen
    journal = quick.check_output("journalctl -u autostop.service --no-pager -n 40 -o cat")
    assert "terminals were told" in journal
    assert "Stopping (idle)" in journal
    # It was told, and is still on: its time begins anew, with a notice of its own.
    quick.check_output("rm %s", STOPPED)
    time.sleep(5)
    assert not was_stopped(quick)


def test_hooks_run_first_and_one_that_fails_keeps_it_on(quick: Any) -> None:
    hook = "/etc/autostop/before-stop.d/10-test"
    quick.check_output("printf '#!/bin/sh\\ndate >>/run/hook\\nexit 1\\n' >%s && chmod 755 %s", hook, hook)
    try:
        assert wait_for(lambda: quick.file("/run/hook").exists)
        assert wait_for(lambda: "autostop-stop.service" in quick.check_output("systemctl --failed --plain"))
        assert not was_stopped(quick)
        quick.check_output("printf '#!/bin/sh\\ntest ! -e %s && touch /run/hook-worked\\n' >%s", STOPPED, hook)
        assert wait_for(lambda: was_stopped(quick)), json.dumps(status(quick))
        assert quick.file("/run/hook-worked").exists
    finally:
        quick.check_output("rm -f %s /run/hook /run/hook-worked", hook)


def test_one_command_puts_it_off(quick: Any) -> None:
    begin(quick, **UNHURRIED)
    assert wait_for(lambda: status(quick)["notice"])
    due = status(quick)["stop_at"]
    said = quick.check_output("runuser -u jupyter -- stay-awake 2h")
    assert "This server stays on until" in said
    assert wait_for(lambda: not status(quick)["notice"])
    time.sleep(max(0, due - time.time()) + 5)
    assert not was_stopped(quick)
    quick.check_output("runuser -u jupyter -- stay-awake off")
    assert wait_for(lambda: was_stopped(quick)), json.dumps(status(quick))


# ---- at work --------------------------------------------------------------------------------------------------------------


class Jupyter:
    """JupyterLab, as a browser uses it."""

    def __init__(self, server: Server) -> None:
        self.server, self.url, self.session = server, server.url, server.entered()

    def connect(self, path: str) -> Any:
        return self.server.connect(self.session, path)

    @contextmanager
    def kernel(self, code: str) -> Iterator[str]:
        """A kernel that executes this."""
        with self.server.kernel(self.session, "probe") as (identity, channel):
            notebooks.begin(channel, code)
            yield identity


@pytest.fixture(scope="module")
def jupyter(host: Any) -> Jupyter:
    variables = host.ansible.get_variables()
    return Jupyter(Server(variables["inventory_hostname"], variables["ansible_host"], EPHEMERAL))


def test_cell_that_runs_long_and_computes_nothing_keeps_it_on(quick: Any, jupyter: Jupyter) -> None:
    with jupyter.kernel("import time; time.sleep(600)") as identity:
        # Starting, or busy: reports come once a minute, and at once only when the first kernel begins.
        stays_on(quick, "kernels", f"kernel {identity[:8]} is ")


def test_open_notebook_whose_kernel_is_idle_does_not(quick: Any, jupyter: Jupyter) -> None:
    with jupyter.kernel("1 + 1"):
        begin(quick, idle_s=20)
        assert wait_for(lambda: was_stopped(quick), 240), json.dumps(status(quick))
        assert finding(quick, "kernels") == ("idle", "1 kernels, none executes")


def test_kernel_that_no_server_reports_keeps_it_on(quick: Any) -> None:
    file = f"/run/kernel-{uuid.uuid4()}.json"
    with at_work(
        quick,
        "stray",
        "runuser",
        "-u",
        "jupyter",
        "--",
        "/opt/jupyter/bin/python",
        "-c",
        "import time; time.sleep(600)",
        file,
    ):
        assert wait_for(lambda: finding(quick, "kernels")[0] == "unknown"), json.dumps(status(quick))
        time.sleep(WHILE_S)
        assert not was_stopped(quick)


def test_program_in_a_terminal_keeps_it_on(quick: Any) -> None:
    with at_work(quick, "terminal", "script", "-qc", "sleep 600", "/dev/null"):
        stays_on(quick, "terminals", "sleep runs in a terminal")


def test_input_in_a_terminal_of_jupyterlab_keeps_it_on(quick: Any, jupyter: Jupyter) -> None:
    answer = jupyter.session.post(f"{jupyter.url}/api/terminals", timeout=30)
    terminal = jupyter.connect(f"/terminals/websocket/{answer.json()['name']}")
    try:
        end = time.monotonic() + WHILE_S
        while time.monotonic() < end:
            terminal.send(json.dumps(["stdin", "#"]))
            time.sleep(2)
        assert not was_stopped(quick)
        assert "last input in pts/" in finding(quick, "terminals")[1]
        begin(quick, idle_s=20)
        assert wait_for(lambda: was_stopped(quick)), json.dumps(status(quick))
        told = ""
        while "This server stops" not in told:
            told += str(json.loads(terminal.recv())[1])
    finally:
        terminal.close()
        jupyter.session.delete(f"{jupyter.url}/api/terminals/{answer.json()['name']}", timeout=30)


def test_open_transaction_in_postgresql_keeps_it_on(quick: Any) -> None:
    command = "(echo 'begin; select 1;'; sleep 600) | runuser -u postgres -- psql -q postgres"
    with at_work(quick, "transaction", "sh", "-c", command):
        stays_on(quick, "postgres", "PostgreSQL: 1 queries or open transactions")


def test_open_transaction_in_mysql_keeps_it_on(quick: Any) -> None:
    quick.check_output(
        "mariadb -e 'create database if not exists kept; create table if not exists kept.t (n int) engine=innodb'"
    )
    command = "(echo 'start transaction; insert into kept.t values (1);'; sleep 600) | mariadb --unbuffered"
    with at_work(quick, "transaction", "sh", "-c", command):
        stays_on(quick, "mysql", "MySQL: 1 open transactions")


def test_dump_keeps_it_on(quick: Any) -> None:
    with at_work(quick, "dump", "bash", "-c", "exec -a /usr/bin/pg_dump sleep 600"):
        stays_on(quick, "programs", "pg_dump runs")


def test_hard_cap_stops_it_whatever_runs(quick: Any, jupyter: Jupyter) -> None:
    with jupyter.kernel("import time; time.sleep(600)"):
        begin(quick, cap_s=1, idle_s=9999)
        assert wait_for(lambda: was_stopped(quick)), json.dumps(status(quick))
    assert "Stopping (cap)" in quick.check_output("journalctl -u autostop.service --no-pager -n 40 -o cat")


# ---- in the browser -------------------------------------------------------------------------------------------------------


def test_jupyterlab_knows_of_the_notice_and_puts_it_off(quick: Any, jupyter: Jupyter) -> None:
    assert (
        requests.get(f"{jupyter.url}/api/autostop", verify=str(CA), timeout=20, allow_redirects=False).status_code
        == 403
    )
    begin(quick, **UNHURRIED)
    assert wait_for(lambda: status(quick)["notice"])
    due = status(quick)["stop_at"]
    shown = jupyter.session.get(f"{jupyter.url}/api/autostop", timeout=20).json()
    assert "This server stops in 1 min" in shown["notice"]
    done = jupyter.session.post(f"{jupyter.url}/api/autostop", json={"hours": 2}, timeout=20)
    assert done.status_code == 200, done.text
    assert wait_for(lambda: not status(quick)["notice"])
    time.sleep(max(0, due - time.time()) + 5)
    assert not was_stopped(quick)


def test_jupyterlab_loads_the_notice(jupyter: Jupyter) -> None:
    page = jupyter.session.get(f"{jupyter.url}/lab", timeout=30).text
    assert "extensions/autostop/static/remoteEntry.js" in page or '"name": "autostop"' in page
    script = jupyter.session.get(f"{jupyter.url}/lab/extensions/autostop/static/remoteEntry.js", timeout=30)
    assert (script.status_code, "autostop:stay-awake" in script.text) == (200, True)


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
def test_button_of_the_notice(quick: Any, jupyter: Jupyter) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    arguments = ["--no-sandbox", "--disable-gpu", "--no-proxy-server"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        context = browser.new_context(ignore_https_errors=True)
        context.add_cookies([{"name": n, "value": v, "url": jupyter.url} for n, v in jupyter.session.cookies.items()])
        page = context.new_page()
        page.goto(f"{jupyter.url}/lab")
        page.wait_for_selector(".jp-Launcher", timeout=90000)
        # JupyterLab asks once a minute.
        begin(quick, idle_s=250, notice_s=240)
        page.get_by_role("button", name="Keep it on for 2 hours").click(timeout=200000)
        assert wait_for(lambda: "somebody wants it on" in quick.check_output("stay-awake").lower())
        sync_api.expect(page.get_by_text("This server stops in")).to_have_count(0, timeout=60000)
        browser.close()
    assert not was_stopped(quick)


def test_kernels_do_not_inherit_the_way_the_extension_is_found(quick: Any, jupyter: Jupyter) -> None:
    with jupyter.kernel("import time; time.sleep(600)") as identity:
        find = f"for p in /proc/[0-9]*; do grep -qa kernel-{identity} $p/cmdline && cat $p/environ; done; true"
        assert "JUPYTER_CONFIG_PATH" not in quick.check_output(find)


# ---- the role again, and another start --------------------------------------------------------------------------------


def apply(host: Any, **settings: Any) -> str:
    """Apply the role alone, with other settings, and return what it said."""
    name = host.ansible.get_variables()["inventory_hostname"]
    command = ["ansible", name, "-b", "-m", "include_role", "-a", "name=autostop", "-e", json.dumps(settings)]
    plain = {**os.environ, "ANSIBLE_FORCE_COLOR": "false"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=plain)
    # Long lines are folded.
    return " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"autostop_idle_minutes": 5}, "autostop_idle_minutes is 5; give 15 to 10080 minutes."),
        ({"autostop_action": ["poweroff"]}, "the full path of a command"),
        ({"autostop_ignore": ["kernel"]}, "which is no probe"),
    ],
)
def test_bad_settings_are_refused(host: Any, settings: dict[str, Any], sentence: str) -> None:
    before = host.check_output("sha256sum %s", CONFIG)
    assert sentence in apply(host, autostop_enabled=True, **settings)
    assert host.check_output("sha256sum %s", CONFIG) == before


def test_jupyterlab_at_work_is_not_restarted(host: Any, jupyter: Jupyter) -> None:
    pid = host.check_output("systemctl show --property=MainPID --value jupyter")
    settings = json.loads(host.check_output("cat %s", CONFIG))
    same = {
        "autostop_enabled": True,
        "autostop_action": settings["action"],
        "autostop_load": 1000,
        "autostop_usd_per_hour": 0.1,
    }
    with jupyter.kernel("import time; time.sleep(600)"):
        host.check_output("touch /usr/local/lib/autostop/jupyter/autostop_jupyter.py")
        assert "is not restarted for autostop" in apply(host, **same)
        assert host.check_output("systemctl show --property=MainPID --value jupyter") == pid
    assert wait_for(lambda: not host.run("cat /proc/%s/task/*/children" % pid).stdout.strip())  # noqa: UP031
    assert (
        "Wait for its first report" in apply(host, **same)
        or host.check_output("systemctl show --property=MainPID --value jupyter") != pid
    )


def test_can_be_turned_off_and_on_again(host: Any) -> None:
    assert "CHANGED" in apply(host, autostop_enabled=False)
    for unit in ("autostop.timer", "autostop-ask.socket"):
        assert not host.service(unit).is_enabled
        assert not host.service(unit).is_running
    assert "CHANGED" not in apply(host, autostop_enabled=False)
    host.check_output("systemctl enable --now autostop.timer autostop-ask.socket")


def test_after_a_start_it_does_not_stop_again_at_once(quick: Any) -> None:
    # JupyterLab reports again within a minute of the socket being there again.
    assert wait_for(lambda: was_stopped(quick), 300), json.dumps(status(quick))
    text = json.dumps({**json.loads(quick.check_output("cat %s", CONFIG)), "idle_s": 300})
    quick.check_output("systemctl stop autostop.timer && printf %%s %s >%s", text, CONFIG)
    name = quick.ansible.get_variables()["inventory_hostname"]
    subprocess.run(["docker", "restart", f"molecule-autostop-{name}"], check=True, stdout=subprocess.DEVNULL)

    def booted() -> bool:
        try:
            return quick.run("systemctl is-system-running").stdout.strip() in ("running", "degraded")
        except RuntimeError:  # SSH does not answer yet
            return False

    assert wait_for(booted, 90)
    assert wait_for(lambda: quick.file(STATUS).exists)
    time.sleep(WHILE_S)
    assert not was_stopped(quick)
    row = quick.check_output("tail -n 1 /var/lib/autostop/saved.csv").split(",")
    assert (row[4].strip(), float(row[2]) < 0.1, float(row[3]) < 0.01) == ("idle", True, True)
    assert "1 times off" in quick.check_output("autostop saved")

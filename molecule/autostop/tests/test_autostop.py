"""A server that stops when nobody uses it, and only then. "Stopped" is a file that the harmless action makes."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e import browser, notebooks
from tests.notebook_server import Server

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
CONFIG, STATUS = "/etc/autostop/autostop.json", "/run/autostop/status.json"
STOPPED = "/run/autostop/stopped"
TIMER = "/etc/systemd/system/autostop.timer.d"
EXTENSION = "/usr/local/lib/autostop/jupyter/autostop_jupyter.py"
# A second without anybody is enough, and the tests' own SSH is not to count. How long a notice lasts has a test of its own.
IDLE_S = 1
QUICK = {"idle_s": IDLE_S, "notice_s": 0, "ignore": ["ssh"]}
# A notice at the first look, and all the time that it takes to answer it.
UNHURRIED = {"idle_s": 600, "notice_s": 600}
# Looks that stop a server that nobody uses: one that finds it so, one that gives notice a second later, and one that stops it.
LOOKS = 3
PATIENCE_S = 150  # for a slow machine


def status(host: Any) -> dict[str, Any]:
    """What was found last."""
    return dict(json.loads(host.file(STATUS).content_string))


def look(host: Any) -> dict[str, Any]:
    """Look once, as the timer does, and do what follows; return what was found."""
    host.check_output("systemctl start autostop.service")
    return status(host)


def finding(found: dict[str, Any], probe: str) -> tuple[str, str]:
    """Verdict and reason of a probe."""
    return next((verdict, reason) for name, verdict, reason, _ in found["findings"] if name == probe)


def wait_for(what: Callable[[], Any], seconds: float = PATIENCE_S) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(1)
    return False


def was_stopped(host: Any) -> bool:
    """Whether the harmless action was run."""
    return bool(host.file(STOPPED).exists)


def settings(host: Any, **changes: Any) -> None:
    """Change the program's settings; it reads them at every look."""
    text = json.dumps({**json.loads(host.check_output("cat /root/autostop.json")), **QUICK, **changes})
    host.check_output("printf %%s %s >%s", text, CONFIG)


def begin(host: Any, **changes: Any) -> None:
    """Forget what was before."""
    settings(host, **changes)
    host.check_output("rm -f %s %s /var/lib/autostop/*.json", STOPPED, STATUS)


@pytest.fixture
def quick(host: Any) -> Iterator[Any]:
    """A host where minutes are seconds, and nobody looks but the test."""
    host.check_output("systemctl stop autostop.timer && cp --no-clobber %s /root/autostop.json", CONFIG)
    # A look that is under way would write what it saw before.
    assert wait_for(lambda: host.run("systemctl is-active autostop.service").stdout.strip() != "activating")
    begin(host)
    yield host
    host.check_output("mv /root/autostop.json %s && rm -f %s /var/lib/autostop/*.json", CONFIG, STOPPED)
    host.check_output("systemctl reset-failed 'autostop*' && systemctl start autostop.timer")


@contextmanager
def timer(host: Any) -> Iterator[None]:
    """The timer itself, which looks every five seconds instead of every minute."""
    drop_in = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/5\nAccuracySec=1ms\n"
    host.check_output("mkdir -p %s && printf %%s %s >%s/quick.conf && systemctl daemon-reload", TIMER, drop_in, TIMER)
    host.check_output("systemctl start autostop.timer")
    try:
        yield
    finally:
        host.check_output("systemctl stop autostop.timer && rm -rf %s && systemctl daemon-reload", TIMER)


@contextmanager
def at_work(host: Any, unit: str, *command: str) -> Iterator[None]:
    """A command that runs meanwhile."""
    host.check_output("systemd-run --quiet --collect --unit=%s" + " %s" * len(command), unit, *command)
    try:
        yield
    finally:
        host.check_output("systemctl stop %s", unit)


def stops(host: Any) -> None:
    """Nobody is there any more: it stops."""
    wait_for(lambda: look(host) and was_stopped(host))
    assert was_stopped(host), json.dumps(status(host))


def stays_on(host: Any, probe: str, reason: str, verdict: str = "busy") -> None:
    """It is not stopped, nor gives notice, in more looks than it takes, and for this reason."""
    # A kernel is unknown until its server has reported it, which counts as busy too.
    wait_for(lambda: reason in finding(look(host), probe)[1])
    for _ in range(LOOKS + 1):
        time.sleep(IDLE_S)
        found = look(host)
        assert finding(found, probe)[0] == verdict, json.dumps(found)
        assert reason in finding(found, probe)[1]
        assert (found["notice"], found["activity"]) == ("", found["at"])
        assert not was_stopped(host)


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
    for path in (STATUS, "/var/lib/autostop/state.json", CONFIG, "/etc/autostop/before-stop.d"):
        assert (host.file(path).user, host.file(path).mode & 0o022) == ("root", 0)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"\n", "JSONDecodeError: Expecting value: line 2 column 1 (char 1)"),
        (b"[1]\n", "TypeError: "),
        (b'{"do": "awake"}\n', "KeyError: 'seconds'"),
        (b'{"do": "awake", "seconds": "long"}\n', "ValueError: could not convert string to float: 'long'"),
        (b'{"do": "awake", "seconds": -5}\n', "ValueError: seconds is no time"),
        (b"x" * 70000, "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
    ],
    ids=["nothing", "a list", "no time", "a word", "a time before", "70 kB"],
)
def test_rubbish_on_the_socket_does_nothing(host: Any, line: bytes, error: str) -> None:
    script = """
import socket
client = socket.socket(socket.AF_UNIX)
client.connect("/run/autostop/ask.sock")
client.sendall(%r)
print(client.recv(9999).decode())
"""
    said = host.check_output("runuser -u nobody -- python3 -c %s", script % line)
    assert json.loads(said)["error"].startswith(error)
    assert not host.file("/var/lib/autostop/awake.json").exists
    assert "autostop" not in host.check_output("systemctl --failed --plain --no-legend")


# ---- idle -----------------------------------------------------------------------------------------------------------------


def test_idle_server_gives_notice_and_stops(quick: Any) -> None:
    settings(quick, idle_s=11, notice_s=10)
    with at_work(quick, "watcher", "script", "-qfc", "sleep 1; exec bash --norc", "/root/seen"), timer(quick):
        assert wait_for(lambda: was_stopped(quick)), json.dumps(status(quick))
        seen = quick.file("/root/seen").content_string
    assert "This server stops in 1 min" in seen
    assert "stay-awake 2h" in seen
    lines = quick.check_output("journalctl -u autostop.service --no-pager -n 40 -o short-unix").splitlines()
    told = next(line for line in lines if "(1 terminals were told)" in line)
    stopping = next(line for line in lines if "Stopping (idle)" in line)
    # Nobody is cut off without having had the whole notice. It is noted a little later than it is decided.
    assert float(stopping.split()[0]) - float(told.split()[0]) > 9


def test_when_it_is_still_on_its_time_begins_anew(quick: Any) -> None:
    stops(quick)
    quick.check_output("rm %s", STOPPED)
    found = look(quick)
    assert (found["notice"], found["activity"]) == ("", found["at"])
    assert not was_stopped(quick)
    stops(quick)


def test_hooks_run_first_and_one_that_fails_keeps_it_on(quick: Any) -> None:
    hook = "/etc/autostop/before-stop.d/10-test"
    quick.check_output("printf '#!/bin/sh\\ndate >>/run/hook\\nexit 1\\n' >%s && chmod 755 %s", hook, hook)
    try:
        assert wait_for(lambda: look(quick) and quick.file("/run/hook").exists)
        assert "autostop-stop.service" in quick.check_output("systemctl --failed --plain")
        assert not was_stopped(quick)
        quick.check_output("printf '#!/bin/sh\\ntest ! -e %s && touch /run/hook-worked\\n' >%s", STOPPED, hook)
        stops(quick)
        assert quick.file("/run/hook-worked").exists
    finally:
        quick.check_output("rm -f %s /run/hook /run/hook-worked", hook)


def test_one_command_puts_it_off(quick: Any) -> None:
    begin(quick, **UNHURRIED)
    assert "This server stops in 10 min" in look(quick)["notice"]
    said = quick.check_output("runuser -u jupyter -- stay-awake 2h")
    assert "This server stays on until" in said
    assert look(quick)["notice"] == ""
    stays_on_for_somebody(quick)
    quick.check_output("runuser -u jupyter -- stay-awake off")
    stops(quick)


def stays_on_for_somebody(host: Any) -> None:
    """Nobody has used it for long enough, and yet it is not stopped."""
    settings(host)
    for _ in range(LOOKS + 1):
        time.sleep(IDLE_S)
        found = look(host)
        assert found["activity"] + IDLE_S <= found["at"] < found["awake"] <= found["stop_at"]
        assert found["notice"] == ""
    assert not was_stopped(host)


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
    """JupyterLab, which says what its kernels do every four seconds instead of every minute."""
    host.check_output("sed -i 's/^EVERY_S, SOON_S = .*/EVERY_S, SOON_S = 4, 1/' %s", EXTENSION)
    host.check_output("grep -q '^EVERY_S, SOON_S = 4, 1$' %s && systemctl restart jupyter", EXTENSION)
    variables = host.ansible.get_variables()
    server = Server(variables["inventory_hostname"], variables["ansible_host"], EPHEMERAL)
    assert wait_for(lambda: host.run("curl -ks --output /dev/null %s/login", server.url).succeeded)
    return Jupyter(server)


def test_cell_that_runs_long_and_computes_nothing_keeps_it_on(quick: Any, jupyter: Jupyter) -> None:
    with jupyter.kernel("import time; time.sleep(600)") as identity:
        stays_on(quick, "kernels", f"kernel {identity[:8]} is busy")
    stops(quick)


def test_open_notebook_whose_kernel_is_idle_does_not(quick: Any, jupyter: Jupyter) -> None:
    with jupyter.kernel("1 + 1"):
        stops(quick)
        assert finding(status(quick), "kernels") == ("idle", "1 kernels, none executes")


def test_kernel_that_no_server_reports_keeps_it_on(quick: Any) -> None:
    file = f"/run/kernel-{uuid.uuid4()}.json"
    stray = ["runuser", "-u", "jupyter", "--", "/opt/jupyter/bin/python", "-c", "import time; time.sleep(600)", file]
    with at_work(quick, "stray", *stray):
        stays_on(quick, "kernels", "is not one of a JupyterLab that reports", "unknown")
    stops(quick)


def test_program_in_a_terminal_keeps_it_on(quick: Any) -> None:
    with at_work(quick, "terminal", "script", "-qc", "sleep 600", "/dev/null"):
        stays_on(quick, "terminals", "sleep runs in a terminal")
    stops(quick)


def test_input_in_a_terminal_of_jupyterlab_counts(quick: Any, jupyter: Jupyter) -> None:
    answer = jupyter.session.post(f"{jupyter.url}/api/terminals", timeout=30)
    terminal = jupyter.connect(f"/terminals/websocket/{answer.json()['name']}")
    try:
        begin(quick, idle_s=600)
        # The shell has started, and nobody was seen for longer than the 8 seconds to which Linux keeps the time of an input.
        assert wait_for(lambda: (found := look(quick))["activity"] < found["at"] - 8)
        typed = time.time()
        terminal.send(json.dumps(["stdin", "#"]))
        assert wait_for(lambda: look(quick)["activity"] >= typed - 8)
        assert "last input in pts/" in finding(status(quick), "terminals")[1]
        assert not was_stopped(quick)
        begin(quick)
        stops(quick)
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
    stops(quick)


def test_open_transaction_in_mysql_keeps_it_on(quick: Any) -> None:
    quick.check_output(
        "mariadb -e 'create database if not exists kept; create table if not exists kept.t (n int) engine=innodb'"
    )
    command = "(echo 'start transaction; insert into kept.t values (1);'; sleep 600) | mariadb --unbuffered"
    with at_work(quick, "transaction", "sh", "-c", command):
        stays_on(quick, "mysql", "MySQL: 1 open transactions")
    stops(quick)


def test_dump_keeps_it_on(quick: Any) -> None:
    with at_work(quick, "dump", "bash", "-c", "exec -a /usr/bin/pg_dump sleep 600"):
        stays_on(quick, "programs", "pg_dump runs")
    stops(quick)


def test_hard_cap_stops_it_whatever_runs(quick: Any, jupyter: Jupyter) -> None:
    with jupyter.kernel("import time; time.sleep(600)") as identity:
        stays_on(quick, "kernels", f"kernel {identity[:8]} is busy")
        settings(quick, cap_s=1)
        stops(quick)
        assert finding(status(quick), "kernels")[0] == "busy"
    assert "Stopping (cap)" in quick.check_output("journalctl -u autostop.service --no-pager -n 40 -o cat")


# ---- in the browser -------------------------------------------------------------------------------------------------------


def test_jupyterlab_knows_of_the_notice_and_puts_it_off(quick: Any, jupyter: Jupyter) -> None:
    stranger = jupyter.server.browser().get(f"{jupyter.url}/api/autostop", timeout=20, allow_redirects=False)
    assert stranger.status_code == 403
    begin(quick, **UNHURRIED)
    assert look(quick)["notice"]
    shown = jupyter.session.get(f"{jupyter.url}/api/autostop", timeout=20).json()
    assert "This server stops in 10 min" in shown["notice"]
    done = jupyter.session.post(f"{jupyter.url}/api/autostop", json={"hours": 2}, timeout=20)
    assert done.status_code == 200, done.text
    assert look(quick)["notice"] == ""
    stays_on_for_somebody(quick)


def test_jupyterlab_loads_the_notice(jupyter: Jupyter) -> None:
    page = jupyter.session.get(f"{jupyter.url}/lab", timeout=30).text
    assert "extensions/autostop/static/remoteEntry.js" in page or '"name": "autostop"' in page
    script = jupyter.session.get(f"{jupyter.url}/lab/extensions/autostop/static/remoteEntry.js", timeout=30)
    assert (script.status_code, "autostop:stay-awake" in script.text) == (200, True)


def test_button_of_the_notice(quick: Any, jupyter: Jupyter, tmp_path: Path) -> None:
    with browser.browser(tmp_path / "home", jupyter.server.ca) as context:
        context.add_cookies([{"name": n, "value": v, "url": jupyter.url} for n, v in jupyter.session.cookies.items()])
        page = context.pages[0]
        page.goto(f"{jupyter.url}/lab")
        page.wait_for_selector(".jp-Launcher")
        # The page is open when the notice comes; it asks twice a minute.
        begin(quick, **UNHURRIED)
        assert look(quick)["notice"]
        page.get_by_role("button", name="Keep it on for 2 hours").click()
        assert wait_for(lambda: "Somebody wants it on" in quick.check_output("stay-awake"))
        expect(page.get_by_text("This server stops in")).to_have_count(0)


def test_kernels_do_not_inherit_the_way_the_extension_is_found(quick: Any, jupyter: Jupyter) -> None:
    with jupyter.kernel("import time; time.sleep(600)") as identity:
        find = f"for p in /proc/[0-9]*; do grep -qa kernel-{identity} $p/cmdline && cat $p/environ; done; true"
        environment = quick.check_output(find)
        assert "JPY_PARENT_PID" in environment
        assert "JUPYTER_CONFIG_PATH" not in environment


# ---- another start, and the role again --------------------------------------------------------------------------------


def test_after_a_start_it_does_not_stop_again_at_once(quick: Any) -> None:
    stops(quick)
    settings(quick, idle_s=300)
    name = quick.ansible.get_variables()["inventory_hostname"]
    before = time.time()

    def looked() -> bool:
        try:
            return quick.file(STATUS).exists and status(quick)["activity"] > before
        except RuntimeError:  # SSH does not answer yet
            return False

    with timer(quick):
        subprocess.run(["docker", "restart", f"molecule-autostop-{name}"], check=True, stdout=subprocess.DEVNULL)
        assert wait_for(looked)
    found = status(quick)
    assert (found["notice"], found["stop_at"]) == ("", found["activity"] + 300)
    assert not was_stopped(quick)
    row = quick.check_output("tail -n 1 /var/lib/autostop/saved.csv").split(",")
    assert (row[4].strip(), float(row[2]) < 0.1, float(row[3]) < 0.01) == ("idle", True, True)
    assert "1 times off" in quick.check_output("autostop saved")


def apply(host: Any, **settings: Any) -> str:
    """Apply the role alone, with other settings, and return what it said."""
    name = host.ansible.get_variables()["inventory_hostname"]
    command = ["ansible", name, "-b", "-m", "include_role", "-a", "name=autostop", "-e", json.dumps(settings)]
    plain = {**os.environ, "ANSIBLE_FORCE_COLOR": "false"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=plain)
    # Long lines are folded.
    return " ".join(done.stdout.split())


def test_bad_settings_are_refused(host: Any) -> None:
    before = host.check_output("sha256sum %s", CONFIG)
    bad = {"autostop_idle_minutes": 5, "autostop_action": ["poweroff"], "autostop_ignore": ["kernel"]}
    said = apply(host, autostop_enabled=True, **bad)
    assert "autostop_idle_minutes is 5; give 15 to 10080 minutes." in said
    assert "the full path of a command" in said
    assert "which is no probe" in said
    assert host.check_output("sha256sum %s", CONFIG) == before


def main_process(host: Any) -> str:
    """The process of JupyterLab."""
    return str(host.check_output("systemctl show --property=MainPID --value jupyter"))


def test_jupyterlab_at_work_is_not_restarted(host: Any, jupyter: Jupyter) -> None:
    pid = main_process(host)
    settings = json.loads(host.check_output("cat %s", CONFIG))
    same = {
        "autostop_enabled": True,
        "autostop_action": settings["action"],
        "autostop_load": 1000,
        "autostop_usd_per_hour": 0.1,
    }
    # The extension differs, as the tests have changed it.
    with jupyter.kernel("import time; time.sleep(600)"):
        assert "is not restarted for autostop" in apply(host, **same)
        assert main_process(host) == pid
    assert wait_for(lambda: not host.run("cat /proc/%s/task/*/children" % pid).stdout.strip())  # noqa: UP031
    apply(host, **same)
    assert main_process(host) != pid
    assert "EVERY_S, SOON_S = 60, 10" in host.file(EXTENSION).content_string


def test_can_be_turned_off_and_on_again(host: Any) -> None:
    assert "CHANGED" in apply(host, autostop_enabled=False)
    for unit in ("autostop.timer", "autostop-ask.socket"):
        assert not host.service(unit).is_enabled
        assert not host.service(unit).is_running
    assert "CHANGED" not in apply(host, autostop_enabled=False)
    host.check_output("systemctl enable --now autostop.timer autostop-ask.socket")

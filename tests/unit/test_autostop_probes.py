"""What each probe says of a host: a made-up /proc, and made-up answers of the programs it asks."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from roles.autostop.files import autostop
from roles.autostop.files.autostop import BUSY, IDLE, UNKNOWN, Finding

NOW = 1_700_000_000.0
SETTINGS: dict[str, Any] = {"load": 0.5, "ssh_port": 22, "programs": [], "waiting_programs": [], "ignore": []}
PTS3 = 136 << 8 | 3
KERNEL = "0a1b2c3d-1111-2222-3333-444455556666"


class FakeHost(autostop.Host):
    """A host below a folder, with answers instead of programs."""

    def __init__(self, root: Path) -> None:
        super().__init__(now=NOW, root=root, run=self.answer)
        self.answers: dict[str, str | Exception] = {}
        self.asked: list[tuple[list[str], str | None]] = []
        self.file("/proc/self/mounts", "proc /proc proc rw,nosuid 0 0\n")
        self.file("/proc/loadavg", "0.90 0.10 0.05 1/100 1234\n")

    def answer(self, command: list[str], user: str | None = None) -> str:
        self.asked.append((command, user))
        said = self.answers[command[0]]
        if isinstance(said, Exception):
            raise said
        return said

    def file(self, name: str, text: str = "", at: float | None = None) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if at is not None:
            os.utime(path, (at, at))

    def starts(
        self, pid: int, *arguments: str, name: str = "", tty: int = 0, front: bool = False, state: str = "S"
    ) -> None:
        name = name or Path(arguments[0]).name
        numbers = f"1 {pid} {pid} {tty} {pid if front else 1} " + "0 " * 13 + f"{1000 + pid} 0 0"
        self.file(f"/proc/{pid}/stat", f"{pid} ({name}) {state} {numbers}\n")
        self.file(f"/proc/{pid}/cmdline", "\0".join(arguments) + "\0")

    def reports(self, pid: int, kernels: list[dict[str, Any]], age: float = 30, since: float = 0, **other: Any) -> None:
        report = {
            "pid": pid,
            "uid": os.getuid(),
            "start": 1000 + pid,
            "at": NOW - age,
            "since": since,
            "kernels": kernels,
        }
        self.file(f"/run/autostop/reports/{pid}.json", json.dumps({**report, **other}))


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def kernel(state: str, age: float = 100) -> dict[str, Any]:
    return {"id": KERNEL, "state": state, "since": NOW - age}


def serve(host: FakeHost) -> None:
    host.starts(50, "/opt/jupyter/bin/python", "/opt/jupyter/bin/jupyter-lab")


def run_kernel(host: FakeHost) -> None:
    host.starts(60, "/opt/conda/bin/python", "-m", "ipykernel_launcher", "-f", f"/run/jupyter/kernel-{KERNEL}.json")


# ---- kernels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "age", "verdict"),
    [
        ("busy", 5, BUSY), ("busy", 90000, BUSY), ("idle", 5, IDLE), ("dead", 5, IDLE), ("starting", 5, BUSY),
        ("starting", 900, IDLE), ("restarting", 5, BUSY), ("autorestarting", 900, BUSY), ("something new", 900, BUSY),
    ],
)  # fmt: skip
def test_kernel_that_is_reported(host: FakeHost, state: str, age: float, verdict: str) -> None:
    serve(host)
    run_kernel(host)
    host.reports(50, [kernel(state, age)], since=NOW - 7000)
    found = autostop.kernels(host, SETTINGS)
    assert found.verdict == verdict
    if verdict == IDLE:
        assert found.since == NOW - age


def test_no_kernel_at_all(host: FakeHost) -> None:
    assert autostop.kernels(host, SETTINGS) == Finding("kernels", IDLE, "no kernel runs", 0.0)


def test_changes_of_files_in_the_browser_count(host: FakeHost) -> None:
    serve(host)
    host.reports(50, [], since=NOW - 77)
    assert autostop.kernels(host, SETTINGS).since == NOW - 77


@pytest.mark.parametrize(
    ("age", "verdict"), [(30, IDLE), (149, IDLE), (151, UNKNOWN), (90000, UNKNOWN), (-60, UNKNOWN)]
)
def test_report_that_is_old_or_of_the_future_is_unknown(host: FakeHost, age: float, verdict: str) -> None:
    serve(host)
    host.reports(50, [kernel("idle")], age=age)
    assert autostop.kernels(host, SETTINGS).verdict == verdict


def test_kernel_that_nobody_reports_is_unknown(host: FakeHost) -> None:
    run_kernel(host)
    assert autostop.kernels(host, SETTINGS).verdict == UNKNOWN


def test_nobody_speaks_for_the_kernel_of_another_account(host: FakeHost) -> None:
    serve(host)
    run_kernel(host)
    host.reports(50, [kernel("idle")], uid=os.getuid() + 1)
    assert autostop.kernels(host, SETTINGS).verdict == UNKNOWN


@pytest.mark.parametrize("gone", [True, False])
def test_report_of_a_server_that_is_gone_does_not_count(host: FakeHost, gone: bool) -> None:
    if not gone:
        serve(host)  # another process has its number now
    host.reports(50, [kernel("busy")], start=5)
    assert autostop.kernels(host, SETTINGS).verdict == IDLE


# ---- terminals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("bash", IDLE),
        ("tmux: client", IDLE),
        ("vim", IDLE),
        ("top", IDLE),
        ("sleep", BUSY),
        ("python3", BUSY),
        ("R", BUSY),
    ],
)
def test_program_in_a_terminal(host: FakeHost, name: str, verdict: str) -> None:
    host.starts(70, name, name=name, tty=PTS3, front=True)
    found = autostop.terminals(host, SETTINGS)
    assert found.verdict == verdict
    assert (found.reason == f"{name} runs in a terminal (pts/3)") == (verdict == BUSY)


def test_program_in_the_background_or_without_a_terminal_is_no_terminal_s(host: FakeHost) -> None:
    host.starts(70, "sleep", tty=PTS3, front=False)
    host.starts(71, "sleep")
    host.starts(72, "agetty", tty=4 << 8 | 1, front=True)
    assert autostop.terminals(host, SETTINGS).verdict == IDLE


def test_program_that_only_waits_by_the_settings(host: FakeHost) -> None:
    host.starts(70, "euporie", tty=PTS3, front=True)
    assert autostop.terminals(host, SETTINGS).verdict == BUSY
    assert autostop.terminals(host, {**SETTINGS, "waiting_programs": ["euporie"]}).verdict == IDLE


def test_last_input_of_all_terminals_counts(host: FakeHost) -> None:
    for number, age in (("0", 900), ("1", 120), ("12", 5000), ("ptmx", 1)):
        host.file(f"/dev/pts/{number}", at=NOW - age)
    found = autostop.terminals(host, SETTINGS)
    assert (found.verdict, found.since, found.reason) == (IDLE, NOW - 120, "last input in pts/1 2 min ago")


# ---- SSH ----------------------------------------------------------------------------------------------------------------


def connections(**peers: int) -> str:
    lines = [
        f"0 0 10.0.0.1:22 {peer}:50000 cubic bytes_sent:{n} bytes_acked:{n} bytes_received:10"
        for peer, n in peers.items()
    ]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ({}, {}, IDLE), ({}, {"a": 1}, BUSY), ({"a": 1}, {"a": 1}, IDLE), ({"a": 1}, {"a": 60 * 4000}, IDLE),
        ({"a": 1}, {"a": 60 * 5000}, BUSY), ({"a": 1, "b": 1}, {"a": 1}, IDLE), ({"a": 500}, {"a": 1}, BUSY),
        ({"a": 1}, {"a": 1, "b": 1}, BUSY),
    ],
)  # fmt: skip
def test_ssh(host: FakeHost, before: dict[str, int], after: dict[str, int], verdict: str) -> None:
    host.answers["ss"] = connections(**before)
    autostop.ssh(host, SETTINGS)
    host.memory = json.loads(json.dumps(host.memory))
    host.now += 60
    host.answers["ss"] = connections(**after)
    assert autostop.ssh(host, SETTINGS).verdict == verdict


# ---- load, GPU, programs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("load", "verdict"), [("0.00", IDLE), ("0.50", IDLE), ("0.51", BUSY), ("12.00", BUSY)])
def test_load(host: FakeHost, load: str, verdict: str) -> None:
    host.file("/proc/loadavg", f"9.99 {load} 9.99 1/100 1234\n")
    assert autostop.load(host, SETTINGS).verdict == verdict


@pytest.mark.parametrize(("shown", "verdict"), [("0\n", IDLE), ("3\n", IDLE), ("0\n97\n", BUSY), ("[N/A]\n", UNKNOWN)])
def test_gpu(host: FakeHost, shown: str, verdict: str) -> None:
    host.file("/proc/driver/nvidia/version")
    host.answers["nvidia-smi"] = shown
    (found,) = autostop.look(host, {**SETTINGS, "ignore": [p.__name__ for p in autostop.PROBES if p.__name__ != "gpu"]})
    assert found.verdict == verdict


@pytest.mark.parametrize(("percent", "verdict"), [("0", IDLE), ("80", BUSY)])
def test_gpu_of_another_maker(host: FakeHost, percent: str, verdict: str) -> None:
    host.file("/sys/class/drm/card0/device/gpu_busy_percent", percent)
    assert autostop.gpu(host, SETTINGS).verdict == verdict


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        (["/usr/bin/apt-get", "install", "x"], BUSY), (["/usr/bin/python3", "/usr/bin/unattended-upgrade"], BUSY),
        (["/usr/bin/python3", "-m", "pip", "install"], BUSY), (["pg_dump", "notebooks"], BUSY),
        (["/usr/bin/mariadb-dump"], BUSY), (["/opt/conda/bin/python", "/opt/conda/bin/conda", "create"], BUSY),
        (["/usr/bin/python3", "/usr/share/unattended-upgrades/unattended-upgrade-shutdown", "--wait-for-signal"], IDLE),
        (["vim", "apt"], IDLE), (["/usr/sbin/mariadbd"], IDLE), (["restic", "backup"], IDLE), ([""], IDLE),
    ],
)  # fmt: skip
def test_programs(host: FakeHost, arguments: list[str], verdict: str) -> None:
    host.starts(80, *arguments, name=Path(arguments[0]).name[:15] or "kworker/0:1")
    assert autostop.programs(host, SETTINGS).verdict == verdict


def test_programs_of_the_settings(host: FakeHost) -> None:
    host.starts(80, "/bin/bash", "/usr/local/bin/nightly.sh")
    assert autostop.programs(host, {**SETTINGS, "programs": ["nightly.sh"]}).verdict == BUSY


def test_zombies_do_nothing(host: FakeHost) -> None:
    host.starts(80, "apt-get", state="Z")
    assert autostop.programs(host, SETTINGS).verdict == IDLE


# ---- databases ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def listen(host: FakeHost) -> Iterator[Callable[[str], None]]:
    """Somebody who listens on a socket of the host."""
    opened = []

    def begin(name: str) -> None:
        host.path(name).parent.mkdir(parents=True, exist_ok=True)
        server = socket.socket(socket.AF_UNIX)
        # Paths of sockets are short, those of tests are long.
        here = os.open(host.path(name).parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/{Path(name).name}")
        os.close(here)
        server.listen(5)
        opened.append(server)

    yield begin
    for server in opened:
        server.close()


@pytest.mark.parametrize(
    ("said", "verdict", "since"),
    [
        ("0|0\n", IDLE, 0.0),
        (f"0|{NOW - 50}\n", IDLE, NOW - 50),
        ("2|0\n", BUSY, 0.0),
        (RuntimeError("psql: no"), UNKNOWN, 0.0),
    ],
)
def test_postgres(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, said: str | Exception, verdict: str, since: float
) -> None:
    host.file("/run/postgresql/.s.PGSQL.5432")
    host.file("/run/postgresql/.s.PGSQL.5432.lock")
    monkeypatch.setattr(host, "listening", lambda name: True)
    host.answers["psql"] = said
    (found,) = autostop.look(
        host, {**SETTINGS, "ignore": [p.__name__ for p in autostop.PROBES if p.__name__ != "postgres"]}
    )
    assert (found.verdict, found.since) == (verdict, since)
    assert [user for _, user in host.asked] == ["postgres"]


@pytest.mark.parametrize(
    ("said", "verdict", "since"),
    [("0\t0\t-1\n", IDLE, 0.0), ("0\t0\t40\n", IDLE, NOW - 40), ("1\t0\t40\n", BUSY, 0.0), ("0\t1\t-1\n", BUSY, 0.0)],
)
def test_mysql(host: FakeHost, monkeypatch: pytest.MonkeyPatch, said: str, verdict: str, since: float) -> None:
    host.file("/run/mysqld/mysqld.sock")
    host.file("/usr/bin/mariadb")
    monkeypatch.setattr(host, "listening", lambda name: True)
    host.answers["mariadb"] = said
    found = autostop.mysql(host, SETTINGS)
    assert (found.verdict, found.since) == (verdict, since)


def test_databases_that_are_not_there_or_do_not_run(host: FakeHost) -> None:
    host.file("/run/mysqld/unrelated")
    assert autostop.mysql(host, SETTINGS).reason == "no MySQL runs"
    assert autostop.postgres(host, SETTINGS).reason == "no PostgreSQL runs"


def test_who_listens(
    host: FakeHost, listen: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    host.root = Path()
    listen("s")
    left = socket.socket(socket.AF_UNIX)
    left.bind("left")
    left.close()
    assert host.listening("/s") is True
    assert host.listening("/left") is False
    assert host.listening("/never") is False


# ---- all of them --------------------------------------------------------------------------------------------------------


def test_probe_that_fails_is_unknown_and_says_why(host: FakeHost) -> None:
    host.answers["ss"] = FileNotFoundError("ss")
    found = {finding.probe: finding for finding in autostop.look(host, SETTINGS)}
    assert found["ssh"].verdict == UNKNOWN
    assert "FileNotFoundError" in found["ssh"].reason
    assert [probe for probe, finding in found.items() if finding.verdict != IDLE] == ["ssh"]


def test_probes_can_be_left_out(host: FakeHost) -> None:
    assert "ssh" not in [finding.probe for finding in autostop.look(host, {**SETTINGS, "ignore": ["ssh"]})]


@pytest.mark.parametrize(
    ("options", "verdict"), [("rw,hidepid=2", UNKNOWN), ("rw,hidepid=invisible", UNKNOWN), ("rw,hidepid=0", IDLE)]
)
def test_processes_that_are_hidden_are_unknown(host: FakeHost, options: str, verdict: str) -> None:
    host.file("/proc/self/mounts", f"proc /proc proc {options} 0 0\n")
    found = {finding.probe: finding.verdict for finding in autostop.look(host, {**SETTINGS, "ignore": ["ssh"]})}
    assert {found[probe] for probe in ("kernels", "terminals", "programs")} == {verdict}


def test_report_over_the_socket(host: FakeHost) -> None:
    serve(host)
    store = autostop.Store(host.root)
    host.file("/run/autostop/status.json", json.dumps({"notice": "soon", "stop_at": NOW + 60}))
    reply = autostop.answer(
        store, host, {"do": "report", "since": 5, "kernels": [{**kernel("busy"), "more": 1}]}, (50, os.getuid())
    )
    assert (reply["notice"], reply["now"], reply["awake"]) == ("soon", NOW, 0.0)
    assert autostop.kernels(host, SETTINGS).verdict == BUSY


@pytest.mark.parametrize("request_", [{"do": "report"}, {"do": "report", "since": 1, "kernels": [{"id": "x"}]}])
def test_report_that_is_none_is_refused(host: FakeHost, request_: dict[str, Any]) -> None:
    serve(host)
    with pytest.raises(KeyError):
        autostop.answer(autostop.Store(host.root), host, request_, (50, os.getuid()))
    assert not host.path("/run/autostop/reports").exists()

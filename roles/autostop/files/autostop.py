#!/usr/bin/python3 -I
"""Stops a server that nobody uses.

Every minute ``autostop tick`` asks the probes below. Each answers busy, idle or unknown, and why; unknown counts as busy.
When all have been idle for long enough, people get a notice, and after that the hooks run and the server is stopped.
It uses nothing but the host's own Python (3.9 or newer) and its standard library.

  autostop tick     look once, and do what follows (autostop.timer)
  autostop ask      answer one question on standard input (autostop.socket)
  autostop stop     run the hooks, then stop the server (autostop-stop.service)
  autostop status   what was found last, and when the server would stop
  autostop saved    the times it was off, in hours and dollars
  stay-awake 2h     keep the server on; `stay-awake` says until when, `stay-awake off` takes it back
"""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

BUSY, IDLE, UNKNOWN = "busy", "idle", "unknown"
Settings = dict[str, Any]
State = dict[str, Any]

# A look that comes later than this after the one before says nothing about the time between them.
GAP_S = 300
# JupyterLab reports every minute.
REPORT_S = 150
# SSH that moves more than this is at work; what keeps connections alive, and an editor that waits, is far below.
SSH_BYTES_S = 4096
# What stands in a terminal and waits for a person.
WAITING = frozenset(
    """
    bash dash fish sh zsh login sudo su ssh tmux screen tmux:client less more man nano vi vim nvim emacs mc
    top htop btop nvtop watch tail journalctl psql mysql mariadb ipython
    """.split()
)
# Dumps and package work, which neither idleness nor the hard cap interrupts.
PROGRAMS = frozenset(
    """
    pg_dump pg_dumpall pg_restore pg_basebackup mysqldump mariadb-dump mariabackup mariadb-backup xtrabackup
    apt apt-get dpkg aptitude unattended-upgrade unattended-upgrades dnf dnf-3 yum rpm snap
    conda mamba micromamba pip pip3 uv
    """.split()
)
INTERPRETER = re.compile(r"(python[\d.]*|perl|bash|dash|sh)$")
KERNEL_FILE = re.compile(r"kernel-([\w-]+)\.json")
DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?")


class Finding(NamedTuple):
    """What a probe says. ``since``: when it last saw somebody, in seconds since the epoch; 0 when it cannot tell."""

    probe: str
    verdict: str
    reason: str
    since: float = 0.0


class Process(NamedTuple):
    """What /proc says of a process."""

    pid: int
    uid: int
    name: str
    arguments: list[str]
    group: int
    terminal: int
    foreground: int
    start: int


def run(command: list[str], user: str | None = None) -> str:
    """Return what a command prints; whatever goes wrong is an exception, which makes a probe answer unknown."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root", "PGCONNECT_TIMEOUT": "5"}
    # A superuser asks: nobody else's functions are found by the names of the server's own.
    environment["PGOPTIONS"] = "-c search_path=pg_catalog"
    switch: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=15, cwd="/", env=environment, check=False, **switch
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout


@dataclass
class Host:
    """The host as the probes see it. Tests have one of their own."""

    now: float = field(default_factory=time.time)
    root: Path = Path("/")
    run: Callable[..., str] = run
    # What a probe wants to know at the next look.
    memory: dict[str, Any] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """A path of the host."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str:
        """The text of a file of the host."""
        return self.path(name).read_text(errors="replace")

    def boot(self) -> float:
        """When the system came up: process 1, because a container is younger than its machine."""
        ticks = int(self.read("/proc/1/stat").rpartition(")")[2].split()[19])
        return self.now - float(self.read("/proc/uptime").split()[0]) + ticks / os.sysconf("SC_CLK_TCK")

    def boot_id(self) -> str:
        """A name for this time up that no other has."""
        ticks = self.read("/proc/1/stat").rpartition(")")[2].split()[19]
        return self.read("/proc/sys/kernel/random/boot_id").strip() + "/" + ticks

    def process(self, pid: int) -> Process | None:
        """One process; None when it has ended."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            head, _, tail = self.read(f"/proc/{pid}/stat").rpartition(")")
            values = tail.split()
            arguments = self.read(f"/proc/{pid}/cmdline").rstrip("\0").split("\0")
            uid = self.path(f"/proc/{pid}").stat().st_uid
            numbers = [int(values[n]) for n in (2, 4, 5, 19)]
            if values[0] not in "ZX":
                return Process(pid, uid, head.partition("(")[2], arguments, *numbers)
        return None

    def processes(self) -> Iterator[Process]:
        """All that run, in containers too."""
        if re.search(r" proc \S*hidepid=(?!0|off)", self.read("/proc/self/mounts")):
            raise RuntimeError("/proc hides processes (hidepid)")
        for entry in self.path("/proc").iterdir():
            process = self.process(int(entry.name)) if entry.name.isdigit() else None
            if process:
                yield process

    def listening(self, name: str) -> bool:
        """Whether somebody listens on a socket; a file that a crash left does not count."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            code = client.connect_ex(str(self.path(name)))
        if code not in (0, errno.ECONNREFUSED, errno.ENOENT):
            raise OSError(code, f"{name}: {os.strerror(code)}")
        return code == 0


# ---- the probes --------------------------------------------------------------------------------------------------------


def kernels(host: Host, settings: Settings) -> Finding:
    """Kernels, as each JupyterLab reports them itself. One that nobody reports is unknown."""
    known: set[tuple[int, str]] = set()
    since = 0.0
    for file in sorted(host.path("/run/autostop/reports").glob("*.json")):
        report = json.loads(file.read_text())
        process = host.process(int(report["pid"]))
        if process is None or process.start != report["start"]:
            continue
        age = host.now - report["at"]
        if not -5 <= age <= REPORT_S:
            return Finding("kernels", UNKNOWN, f"JupyterLab (process {process.pid}) has not reported for {age:.0f} s")
        since = max(since, float(report["since"]))
        for kernel in report["kernels"]:
            known.add((int(report["uid"]), str(kernel["id"])))
            since = max(since, float(kernel["since"]))
            # A kernel that nobody ever connected to says "starting" for good.
            fresh = host.now - float(kernel["since"]) < 600
            if kernel["state"] not in ("idle", "dead") and (kernel["state"] != "starting" or fresh):
                return Finding("kernels", BUSY, f"kernel {str(kernel['id'])[:8]} is {kernel['state']}")
    running = set()
    for process in host.processes():
        for name in KERNEL_FILE.findall(" ".join(process.arguments)):
            running.add(name)
            if (process.uid, name) not in known:
                reason = f"kernel {name[:8]} (process {process.pid}) is not one of a JupyterLab that reports"
                return Finding("kernels", UNKNOWN, reason)
    return Finding("kernels", IDLE, f"{len(running)} kernels, none executes" if running else "no kernel runs", since)


def terminals(host: Host, settings: Settings) -> Finding:
    """Input in any terminal (SSH, tmux, JupyterLab), and programs that run in one and do not just wait for input."""
    waiting = WAITING | set(settings["waiting_programs"])
    for process in host.processes():
        major = process.terminal >> 8 & 0xFFF
        in_front = 136 <= major <= 143 and process.group == process.foreground
        if in_front and process.name.replace(" ", "") not in waiting:
            number = (process.terminal >> 12 & 0xFFF00 | process.terminal & 0xFF) + (major - 136) * 256
            return Finding("terminals", BUSY, f"{process.name} runs in a terminal (pts/{number})")
    inputs = {}
    for file in host.path("/dev/pts").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError):
            inputs[file.name] = file.stat().st_atime
    if not inputs:
        return Finding("terminals", IDLE, "no terminal is open")
    name, since = max(inputs.items(), key=lambda entry: entry[1])
    return Finding("terminals", IDLE, f"last input in pts/{name} {ago(host.now, since)}", since)


def ssh(host: Host, settings: Settings) -> Finding:
    """SSH connections that move data: copies, an editor at work, a tunnel in use."""
    shown = host.run(["ss", "-tinHO", "state", "established", "sport", "=", f":{settings['ssh_port']}"])
    before, at = host.memory.get("ssh", {}), host.memory.get("ssh_at", 0.0)
    moved = {}
    for line in shown.splitlines():
        peer = line.split()[3]
        moved[peer] = sum(map(int, re.findall(r"\bbytes_(?:sent|received):(\d+)", line)))
    host.memory.update(ssh=moved, ssh_at=host.now)
    for peer, total in moved.items():
        if peer not in before:
            return Finding("ssh", BUSY, f"SSH from {peer} is new")
        rate = (total - before[peer]) / max(host.now - at, 1)
        if not 0 <= rate <= SSH_BYTES_S:
            return Finding("ssh", BUSY, f"SSH from {peer} moves {rate / 1000:.0f} kB a second")
    return Finding("ssh", IDLE, f"{len(moved)} SSH connections, none moves data")


def load(host: Host, settings: Settings) -> Finding:
    """The load over five minutes."""
    value, limit = float(host.read("/proc/loadavg").split()[1]), float(settings["load"])
    return Finding("load", BUSY if value > limit else IDLE, f"load {value:.2f}, the limit is {limit:g}")


def gpu(host: Host, settings: Settings) -> Finding:
    """Graphics processors, where there are any."""
    busy = [int(file.read_text()) for file in host.path("/sys/class/drm").glob("card*/device/gpu_busy_percent")]
    if host.path("/proc/driver/nvidia/version").exists():
        shown = host.run(["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"])
        busy += [int(line) for line in shown.split()]
    if not busy:
        return Finding("gpu", IDLE, "no GPU")
    return Finding("gpu", BUSY if max(busy) > 5 else IDLE, f"GPU at {max(busy)} %")


def postgres(host: Host, settings: Settings) -> Finding:
    """Queries and open transactions in PostgreSQL, of whatever client."""
    question = """
        select count(*) filter (where state is distinct from 'idle'), coalesce(extract(epoch from max(state_change)), 0)
        from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"""
    since, servers = 0.0, 0
    for file in sorted(host.path("/run/postgresql").glob(".s.PGSQL.*")):
        port = file.name.rpartition(".")[2]
        if not port.isdigit() or not host.listening(f"/run/postgresql/{file.name}"):
            continue
        servers += 1
        command = ["psql", "-XAtqw", "-h", "/run/postgresql", "-p", port, "-d", "postgres", "-c", question]
        busy, last = host.run(command, user="postgres").strip().split("|")
        if int(busy):
            return Finding("postgres", BUSY, f"PostgreSQL: {busy} queries or open transactions")
        since = max(since, float(last))
    reason = "PostgreSQL: no query, no open transaction" if servers else "no PostgreSQL runs"
    return Finding("postgres", IDLE, reason, since)


def mysql(host: Host, settings: Settings) -> Finding:
    """Queries and open transactions in MySQL or MariaDB, of whatever client."""
    others = "from information_schema.processlist where id <> connection_id() and user not in ('system user', 'event_scheduler')"
    question = f"""
        select (select count(*) from information_schema.innodb_trx where trx_mysql_thread_id not in (0, connection_id())),
        (select count(*) {others} and command not in ('Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID')),
        (select coalesce(min(time), -1) {others} and command = 'Sleep')"""  # noqa: S608 (no input of anybody's)
    for name in ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock"):
        if not host.path(name).exists() or not host.listening(name):
            continue
        client = next(
            c for c in ("mariadb", "mysql") if any(host.path(d + c).exists() for d in ("/usr/bin/", "/usr/local/bin/"))
        )
        shown = host.run([client, "--batch", "--skip-column-names", f"--socket={name}", "--execute", question])
        transactions, queries, slept = map(int, shown.split())
        if transactions or queries:
            return Finding("mysql", BUSY, f"MySQL: {transactions} open transactions, {queries} queries")
        since = host.now - slept if slept >= 0 else 0.0
        return Finding("mysql", IDLE, "MySQL: no query, no open transaction", since)
    return Finding("mysql", IDLE, "no MySQL runs")


def programs(host: Host, settings: Settings) -> Finding:
    """Dumps, package updates, and programs that the settings name."""
    wanted = PROGRAMS | set(settings["programs"])
    for process in host.processes():
        names = [process.name] + [Path(argument).name for argument in process.arguments[:1]]
        # What a script is called is the argument of its interpreter: python3 -m pip, bash /usr/local/bin/backup.
        if len(names) > 1 and INTERPRETER.match(names[1]):
            words = [argument for argument in process.arguments[1:4] if not argument.startswith("-")]
            names += [Path(word).name for word in words[:1]]
        for name in names:
            if name in wanted:
                return Finding("programs", BUSY, f"{name} runs (process {process.pid})")
    return Finding("programs", IDLE, "no dump and no package update runs")


PROBES: list[Callable[[Host, Settings], Finding]] = [kernels, terminals, ssh, load, gpu, postgres, mysql, programs]


def look(host: Host, settings: Settings) -> list[Finding]:
    """Ask all probes. One that fails is unknown."""
    findings = []
    for probe in PROBES:
        if probe.__name__ in settings["ignore"]:
            continue
        try:
            findings.append(probe(host, settings))
        except Exception as error:
            findings.append(Finding(probe.__name__, UNKNOWN, f"{type(error).__name__}: {error}"))
    return findings


# ---- the decision: no clock, no files, no host ----------------------------------------------------------------------------


class Decision(NamedTuple):
    """What follows from a look. ``step`` is "", notice, withdraw or stop."""

    state: State
    stop_at: float
    step: str
    why: str
    cap: bool


def decide(
    now: float, boot: float, boot_id: str, before: State, findings: list[Finding], awake: float, settings: Settings
) -> Decision:
    """Return what to do, from what was found now and what was known before."""
    idle_s, notice_s, cap_s = (float(settings[name]) for name in ("idle_s", "notice_s", "cap_s"))
    activity, reason = float(before.get("activity", 0)), str(before.get("reason", ""))
    looked = float(before.get("looked", 0))
    noticed = float(before.get("noticed", 0))
    if before.get("boot_id") != boot_id or not 0 <= now - looked <= GAP_S:
        # The first look after a start, or after a time in which nobody looked: what happened before is not known.
        activity, noticed = now, 0.0
        reason = "the server was started" if now - boot <= GAP_S else "nobody looked before"
    for finding in findings:
        seen = now if finding.verdict != IDLE else min(finding.since, now)
        if seen >= activity:
            activity, reason = seen, finding.reason
    stop_at, why, cap = max(activity + idle_s, awake), "idle", False
    if cap_s and boot + cap_s < stop_at:
        stop_at, why, cap = boot + cap_s, "cap", True
        if any(f.probe == "programs" and f.verdict == BUSY for f in findings):
            stop_at = max(stop_at, now + 60)
    step = ""
    if now < stop_at - notice_s:
        step, noticed = ("withdraw" if noticed else ""), 0.0
    elif not noticed:
        step, noticed = "notice", now
    # Nobody is cut off without having had the whole notice.
    if noticed:
        stop_at = max(stop_at, noticed + notice_s)
        if not step and now >= stop_at:
            step = "stop"
    state = {"boot_id": boot_id, "looked": now, "activity": activity, "reason": reason, "noticed": noticed}
    return Decision(state, stop_at, step, why, cap)


def duration(text: str) -> int:
    """Seconds from 2h, 90m, 1h30m or 1d; ValueError for anything else."""
    found = DURATION.fullmatch(text.strip().lower())
    days, hours, minutes = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    seconds = days * 86400 + hours * 3600 + minutes * 60
    if seconds <= 0:
        raise ValueError(f"'{text}' is no time; write 2h, 90m or 1h30m.")
    return seconds


def clock(at: float) -> str:
    """A time as people read it."""
    return time.strftime("%a %H:%M %Z", time.localtime(at))


def ago(now: float, at: float) -> str:
    """How long ago."""
    minutes = max(0, int(now - at) // 60)
    return f"{minutes // 60} h {minutes % 60} min ago" if minutes >= 60 else f"{minutes} min ago"


def notice(decision: Decision, now: float) -> str:
    """What people are told."""
    minutes = max(1, round((decision.stop_at - now) / 60))
    if decision.cap:
        return (
            f"This server stops in {minutes} min ({clock(decision.stop_at)}), whatever runs: it has been on for as long as it"
            " may (autostop_max_hours). Save your work."
        )
    return (
        f"This server stops in {minutes} min ({clock(decision.stop_at)}): nobody has used it since"
        f" {clock(decision.state['activity'])}. To keep it on: stay-awake 2h"
    )


# ---- what is kept -----------------------------------------------------------------------------------------------------


class Store:
    """The files. All belong to root; people ask through the socket."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.settings_file = root / "etc/autostop/autostop.json"
        self.lib = root / "var/lib/autostop"
        self.run = root / "run/autostop"

    def settings(self) -> Settings:
        """The settings, as the role writes them."""
        loaded: Settings = json.loads(self.settings_file.read_text())
        return loaded

    def load(self, name: str) -> dict[str, Any]:
        """A file that is missing or broken (a full disk) is as if nothing were known, which keeps the server on."""
        with contextlib.suppress(OSError, ValueError):
            loaded = json.loads((self.lib / name).read_text())
            if isinstance(loaded, dict):
                return loaded
        return {}

    def save(self, path: Path, content: dict[str, Any]) -> None:
        """Write a file at once or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.write_text(json.dumps(content))
        new.chmod(0o644)
        new.replace(path)

    def awake(self) -> float:
        """Until when somebody wants the server on; 0 when nobody does."""
        return float(self.load("awake.json").get("until", 0))

    def settle(self, host: Host, settings: Settings) -> str:
        """After a stop: note how long the server was off. Returns what was noted."""
        mark = self.load("stopped.json")
        if not mark:
            return ""
        if mark["boot_id"] == host.boot_id():
            # It was told to stop and is still on.
            if host.now - mark["at"] < 900:
                return ""
            (self.lib / "stopped.json").unlink()
            return "The server was told to stop and is still on."
        hours = max(0.0, host.boot() - mark["at"]) / 3600
        price = float(settings["usd_per_hour"])
        usd = f"{hours * price:.4f}" if price else ""
        stamps = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) for at in (mark["at"], host.boot())]
        with (self.lib / "saved.csv").open("a", newline="") as file:
            if not file.tell():
                csv.writer(file).writerow(["stopped", "started", "hours", "usd", "why"])
            csv.writer(file).writerow([*stamps, f"{hours:.2f}", usd, mark["why"]])
        (self.lib / "stopped.json").unlink()
        return f"The server was off for {hours:.2f} hours" + (f" and saved {usd} USD." if usd else ".")


def say(text: str) -> None:
    """To the journal."""
    print(text, flush=True)


def tell_terminals(text: str, root: Path = Path("/")) -> int:
    """Write to every terminal that takes messages; returns how many did."""
    told = 0
    for file in (root / "dev/pts").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            number = os.open(file, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                os.write(number, f"\r\n\a*** {text} ***\r\n".encode())
                told += 1
            finally:
                os.close(number)
    return told


# ---- the commands -----------------------------------------------------------------------------------------------------


def tick(store: Store, host: Host, stop: Callable[[], bool]) -> Decision:
    """Look once, and do what follows."""
    settings, before = store.settings(), store.load("state.json")
    host.memory = dict(before.get("memory", {}))
    noted = store.settle(host, settings)
    if noted:
        say(noted)
    findings = look(host, settings)
    decision = decide(host.now, host.boot(), host.boot_id(), before, findings, store.awake(), settings)
    text = notice(decision, host.now) if decision.state["noticed"] else ""
    status = {
        "at": host.now,
        "stop_at": decision.stop_at,
        "notice": text,
        "can_wait": not decision.cap,
        "activity": decision.state["activity"],
        "reason": decision.state["reason"],
        "awake": store.awake(),
        "findings": findings,
    }
    store.save(store.lib / "state.json", {**decision.state, "memory": host.memory})
    store.save(store.run / "status.json", status)
    if decision.step == "notice":
        say(f"{text} ({tell_terminals(text, host.root)} terminals were told)")
    elif decision.step == "withdraw":
        say("Somebody is there, or wants the server on: it stays on.")
        tell_terminals("This server stays on.", host.root)
    elif decision.step == "stop":
        say(f"Stopping ({decision.why}): {decision.state['reason']}, {ago(host.now, decision.state['activity'])}.")
        mark = {"at": host.now, "boot_id": host.boot_id(), "why": decision.why}
        store.save(store.lib / "stopped.json", mark)
        if not stop():
            (store.lib / "stopped.json").unlink()
            say(
                "It could not be stopped (systemctl status autostop-stop.service); tried again when it has been idle anew."
            )
        # Whatever came of it: if the server is still on at the next look, its time begins anew.
        store.save(store.lib / "state.json", {"memory": host.memory})
    return decision


def start_stop_unit() -> bool:
    """Stop by a unit of its own: hooks may do anything, the look may not."""
    return subprocess.run(["/usr/bin/systemctl", "start", "autostop-stop.service"], check=False).returncode == 0


def hooks(directory: Path) -> list[Path]:
    """The hooks in order. Only what belongs to root alone is run, because it runs as root."""
    found = sorted(file for file in directory.glob("*") if file.is_file() and os.access(file, os.X_OK))
    for file in found:
        mode = file.stat()
        if mode.st_uid != os.getuid() or mode.st_mode & 0o022:
            raise RuntimeError(f"{file} can be changed by others than root and is not run")
    return found


def stop_now(store: Store, look_again: Callable[[], list[Finding]]) -> int:
    """Run the hooks, see that nobody came meanwhile, then stop. Any failure keeps the server on."""
    settings, mark, began = store.settings(), store.load("stopped.json"), time.time()
    try:
        for file in hooks(Path(settings["hook_dir"])):
            say(f"Hook {file.name}")
            subprocess.run([str(file)], timeout=settings["hook_timeout_s"], check=True)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        say(f"The server stays on: {error}.")
        return 1
    if mark.get("why") != "cap":
        # The hooks themselves make load; kernels and terminals are people.
        people = [finding for finding in look_again() if finding.probe in ("kernels", "terminals")]
        came = [finding.reason for finding in people if finding.verdict != IDLE or finding.since > began]
        if store.awake() > time.time():
            came.append("stay-awake")
        if came:
            say(f"The server stays on, somebody came while the hooks ran: {came[0]}.")
            return 1
    store.save(store.lib / "stopped.json", {**mark, "at": time.time()})
    return subprocess.run(list(settings["action"]), check=False).returncode


def answer(store: Store, host: Host, request: dict[str, Any], peer: tuple[int, int]) -> dict[str, Any]:
    """Answer one request of a process (pid, uid) of this host."""
    pid, uid = peer
    if request.get("do") == "awake":
        longest = float(store.settings()["stay_awake_max_s"])
        seconds = min(float(request["seconds"]), longest)
        if not seconds >= 0:
            raise ValueError("seconds is no time")
        until = host.now + seconds if seconds else 0.0
        store.save(store.lib / "awake.json", {"until": until, "uid": uid, "at": host.now})
        say(
            f"Account {uid} wants the server on until {clock(until)}."
            if until
            else f"Account {uid}: no stay-awake any more."
        )
        return {"awake": until, "shortened": seconds < float(request["seconds"])}
    if request.get("do") == "report":
        process = host.process(pid)
        if process:
            listed = [
                {"id": str(kernel["id"]), "state": str(kernel["state"]), "since": float(kernel["since"])}
                for kernel in request["kernels"]
            ]
            report = {
                "pid": pid,
                "uid": uid,
                "start": process.start,
                "at": host.now,
                "since": float(request["since"]),
                "kernels": listed,
            }
            store.save(store.run / "reports" / f"{pid}.json", report)
    status = json.loads((store.run / "status.json").read_text()) if (store.run / "status.json").exists() else {}
    # What AWS says about a spot server (role spot_notice) comes before all else, and nobody can put it off.
    with contextlib.suppress(OSError, ValueError):
        text = json.loads(host.read("/run/spot-notice/notice.json"))["text"]
        return {**status, "notice": text, "can_wait": False, "awake": 0.0, "now": host.now}
    return {**status, "awake": store.awake(), "now": host.now}


def ask_on_stdin(store: Store, host: Host) -> int:
    """The socket's side of `stay-awake` and of JupyterLab."""
    for file in store.run.glob("reports/*.json"):
        if not host.path(f"/proc/{file.stem}").exists():
            file.unlink(missing_ok=True)
    with socket.socket(fileno=0) as connection:
        connection.settimeout(5)
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        # Who asks may be gone before the answer.
        with contextlib.suppress(ConnectionError, TimeoutError, socket.timeout):
            line = connection.makefile("rb").readline(65536)
            try:
                reply = answer(store, host, dict(json.loads(line)), (pid, uid))
            except (ValueError, KeyError, TypeError) as error:
                reply = {"error": f"{type(error).__name__}: {error}"}
            connection.sendall(json.dumps(reply).encode() + b"\n")
    return 0


def ask(request: dict[str, Any], path: str = "/run/autostop/ask.sock") -> dict[str, Any]:
    """Ask from a terminal."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(15)
        connection.connect(path)
        connection.sendall(json.dumps(request).encode() + b"\n")
        reply: dict[str, Any] = json.loads(connection.makefile("rb").readline())
    if "error" in reply:
        raise RuntimeError(reply["error"])
    return reply


def plain(text: str) -> str:
    """A text without what a terminal would obey: names of processes and kernels are chosen by whoever runs them."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def describe(status: dict[str, Any], now: float) -> str:
    """The status for people."""
    if "findings" not in status:
        return "Nobody has looked yet; see systemctl status autostop.timer."
    lines = [f"{verdict:8}{probe:10}{plain(reason)}" for probe, verdict, reason, _ in status["findings"]]
    lines.append(f"Last activity {ago(now, status['activity'])}: {plain(status['reason'])}.")
    kept = status["awake"] > now
    if kept:
        lines.append(f"Somebody wants it on until {clock(status['awake'])}.")
    if now - status["at"] > GAP_S:
        lines.append(f"But nobody has looked since {clock(status['at'])}; see systemctl status autostop.timer.")
    elif not (kept and status["can_wait"] and status["awake"] >= status["stop_at"]):
        lines.append(status["notice"] or f"It stops {clock(status['stop_at'])} at the earliest.")
    return "\n".join(lines)


def stay_awake(arguments: list[str]) -> int:
    """The command of people."""
    now = time.time()
    if not arguments:
        print(describe(ask({"do": "status"}), now))
        return 0
    try:
        seconds = 0 if arguments == ["off"] else duration("".join(arguments))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    reply = ask({"do": "awake", "seconds": seconds})
    if not reply["awake"]:
        print("Nobody keeps this server on any more; it stops when it is idle.")
        return 0
    print(
        f"This server stays on until {clock(reply['awake'])}" + (", the longest it may." if reply["shortened"] else ".")
    )
    status = ask({"do": "status"})
    if not status.get("can_wait", True):
        print(f"Except that it stops {clock(status['stop_at'])}, after the hours it may be on (autostop_max_hours).")
    return 0


def saved(store: Store) -> int:
    """The times off, and what they saved."""
    path = store.lib / "saved.csv"
    rows = list(csv.DictReader(path.open(newline=""))) if path.exists() else []
    for row in rows:
        print(f"{row['stopped']}  {row['started']}  {float(row['hours']):8.2f} h  {row['usd'] or '-':>9}  {row['why']}")
    hours, usd = sum(float(row["hours"]) for row in rows), sum(float(row["usd"] or 0) for row in rows)
    print(
        f"{len(rows)} times off, {hours:.2f} hours, {usd:.2f} USD at the hourly price of then; disks and addresses cost on."
    )
    return 0


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    store = Store()
    if arguments[1:2] == ["stay-awake"]:
        return stay_awake(arguments[2:])
    command = arguments[1] if len(arguments) == 2 else ""
    if command == "tick":
        tick(store, Host(), start_stop_unit)
        return 0
    if command == "ask":
        return ask_on_stdin(store, Host())
    if command == "stop":
        return stop_now(store, lambda: look(Host(), store.settings()))
    if command == "status":
        return stay_awake([])
    if command == "saved":
        return saved(store)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))

"""When a server is stopped: situations on a clock of their own, a look every minute."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roles.autostop.files import autostop
from roles.autostop.files.autostop import BUSY, IDLE, UNKNOWN, Finding

START = 1_700_000_000.0
SETTINGS: dict[str, Any] = {"idle_s": 3600, "notice_s": 600, "cap_s": 0, "stay_awake_max_s": 86400, "usd_per_hour": 0.1}
Found = Callable[[int], list[Finding]]


def at(minute: float) -> float:
    """A minute after the start, on the clock."""
    return START + minute * 60


def idle(minute: int) -> list[Finding]:
    """Nobody was ever there."""
    return [Finding("kernels", IDLE, "no kernel runs"), Finding("programs", IDLE, "nothing")]


def during(first: int, last: int, verdict: str = BUSY, probe: str = "kernels") -> Found:
    """A probe that says so from one minute to another, and idle else."""

    def found(minute: int) -> list[Finding]:
        return [Finding(probe, verdict if first <= minute <= last else IDLE, "work")]

    return found


def seen(*minutes: float, from_: int = 0) -> Found:
    """Input in a terminal at these minutes, found by the looks after it."""

    def found(minute: int) -> list[Finding]:
        return [Finding("terminals", IDLE, "input", max((at(m) for m in minutes if m <= minute), default=0.0))]

    return found


def both(*parts: Found) -> Found:
    """Several probes."""
    return lambda minute: [finding for part in parts for finding in part(minute)]


def play(
    found: Found = idle,
    minutes: int = 400,
    awake: dict[int, int] | None = None,
    boot: float = 0,
    looks: Callable[[int], bool] = lambda minute: True,
    clock: Callable[[int], float] = at,
    before: dict[str, Any] | None = None,
    **settings: Any,
) -> list[tuple[int, str]]:
    """The steps that are taken, by minute, up to the first stop. ``awake``: at a minute, until which."""
    state, steps, until = dict(before or {}), [], 0.0
    for minute in range(minutes):
        until = at((awake or {}).get(minute, 0)) if minute in (awake or {}) else until
        if looks(minute):
            decision = autostop.decide(
                clock(minute), at(boot), "this", state, found(minute), until, {**SETTINGS, **settings}
            )
            state = decision.state
            if decision.step:
                steps.append((minute, decision.step))
            if decision.step == "stop":
                break
    return steps


OTHER_BOOT = {"boot_id": "other", "looked": at(-1)}
THIS_BOOT = {"boot_id": "this", "looked": at(-1)}
STOPPED_AT_60 = [(50, "notice"), (60, "stop")]

SITUATIONS: dict[str, tuple[dict[str, Any], list[tuple[int, str]]]] = {
    # Plain idleness.
    "idle from the start": ({}, STOPPED_AT_60),
    "half an hour of patience": ({"idle_s": 1800}, [(20, "notice"), (30, "stop")]),
    "a short notice": ({"notice_s": 60}, [(59, "notice"), (60, "stop")]),
    "not a minute too early": ({"minutes": 60}, [(50, "notice")]),
    "no notice before its time": ({"minutes": 50}, []),
    # What is busy.
    "a kernel executes all the time": ({"found": during(0, 999)}, []),
    "a kernel executes for a while": ({"found": during(0, 100)}, [(150, "notice"), (160, "stop")]),
    "a kernel begins late": ({"found": during(40, 45)}, [(95, "notice"), (105, "stop")]),
    "a kernel begins after the notice": ({"found": during(55, 70)}, [(50, "notice"), (55, "withdraw"), (120, "notice"), (130, "stop")]),
    "a kernel begins in the last minute": ({"found": during(60, 60)}, [(50, "notice"), (60, "withdraw"), (110, "notice"), (120, "stop")]),
    "one busy probe among idle ones": ({"found": both(idle, during(0, 999, BUSY, "mysql"), idle)}, []),
    "busy for one look an hour": ({"found": lambda minute: during(0, 0)(minute % 59), "notice_s": 60}, []),
    "two that take turns": ({"found": both(during(0, 50), during(40, 90, BUSY, "ssh"))}, [(140, "notice"), (150, "stop")]),
    # What is unknown is busy.
    "unknown all the time": ({"found": during(0, 999, UNKNOWN)}, []),
    "unknown for one look": ({"found": during(30, 30, UNKNOWN)}, [(80, "notice"), (90, "stop")]),
    "unknown after the notice": ({"found": during(58, 58, UNKNOWN)}, [(50, "notice"), (58, "withdraw"), (108, "notice"), (118, "stop")]),
    "an unknown one beside idle ones": ({"found": both(idle, during(0, 999, UNKNOWN, "gpu"))}, []),
    # Somebody was seen at a time that the look only learns of.
    "input at the tenth minute": ({"found": seen(10)}, [(60, "notice"), (70, "stop")]),
    "input between two looks": ({"found": seen(10.5)}, [(61, "notice"), (71, "stop")]),
    "input now and then": ({"found": seen(*range(0, 400, 45))}, []),
    "input after the notice": ({"found": seen(55)}, [(50, "notice"), (55, "withdraw"), (105, "notice"), (115, "stop")]),
    "input long before the start": ({"found": seen(-5000)}, STOPPED_AT_60),
    "a time in the future is now": ({"found": lambda minute: [Finding("terminals", IDLE, "", at(99999))]}, []),
    "input that a busy probe outlasts": ({"found": both(seen(10), during(0, 30))}, [(80, "notice"), (90, "stop")]),
    # Starts.
    "just started": ({"boot": 0}, STOPPED_AT_60),
    "idle files of before the start": ({"before": {**OTHER_BOOT, "activity": at(-999), "noticed": at(-9)}}, STOPPED_AT_60),
    "notice of before the start": ({"before": {**OTHER_BOOT, "activity": at(-60), "noticed": at(-10)}}, STOPPED_AT_60),
    "an old server that gets this today": ({"boot": -50000}, STOPPED_AT_60),
    "a state that is broken": ({"before": {}, "boot": -50000}, STOPPED_AT_60),
    "activity goes on counting": ({"before": {**THIS_BOOT, "activity": at(-30)}, "boot": -99}, [(20, "notice"), (30, "stop")]),
    # Looks that did not happen, and clocks.
    "nobody looked for two hours": ({"looks": lambda minute: not 20 < minute < 140}, [(190, "notice"), (200, "stop")]),
    "nobody looked during the notice": ({"looks": lambda minute: not 52 < minute < 70}, [(50, "notice"), (120, "notice"), (130, "stop")]),
    "a look is missed": ({"looks": lambda minute: minute % 3 == 0}, [(51, "notice"), (63, "stop")]),
    "the clock jumps on by a day": ({"clock": lambda minute: at(minute + 1440 * (minute > 20))}, [(71, "notice"), (81, "stop")]),
    "the clock is set back": ({"clock": lambda minute: at(minute - 30 * (minute > 20))}, [(71, "notice"), (81, "stop")]),
    # A person wants it on.
    "stay-awake at once": ({"awake": {5: 125}}, [(115, "notice"), (125, "stop")]),
    "stay-awake after the notice": ({"awake": {55: 175}}, [(50, "notice"), (55, "withdraw"), (165, "notice"), (175, "stop")]),
    "stay-awake in the last minute": ({"awake": {60: 180}}, [(50, "notice"), (60, "withdraw"), (170, "notice"), (180, "stop")]),
    "stay-awake that is shorter than idleness": ({"awake": {5: 20}}, STOPPED_AT_60),
    "stay-awake that ends within work": ({"awake": {5: 90}, "found": during(0, 80)}, [(130, "notice"), (140, "stop")]),
    "stay-awake twice": ({"awake": {5: 125, 100: 220}}, [(210, "notice"), (220, "stop")]),
    "stay-awake taken back": ({"awake": {5: 305, 100: 0}}, [(100, "notice"), (110, "stop")]),
    "stay-awake of before a start": ({"awake": {0: 90}, "boot": 0}, [(80, "notice"), (90, "stop")]),
    # The hard cap.
    "the cap beats work": ({"cap_s": 7200, "found": during(0, 999)}, [(110, "notice"), (120, "stop")]),
    "the cap beats the unknown": ({"cap_s": 7200, "found": during(0, 999, UNKNOWN)}, [(110, "notice"), (120, "stop")]),
    "the cap beats stay-awake": ({"cap_s": 7200, "awake": {5: 300}}, [(110, "notice"), (120, "stop")]),
    "idleness comes before the cap": ({"cap_s": 7200}, STOPPED_AT_60),
    "the cap counts from the start": ({"cap_s": 7200, "boot": -30, "found": during(0, 999)}, [(80, "notice"), (90, "stop")]),
    "a cap that was passed long ago gives notice": ({"cap_s": 7200, "boot": -5000, "found": during(0, 999)}, [(0, "notice"), (10, "stop")]),
    "the cap waits for a dump":
        ({"cap_s": 7200, "found": both(during(0, 999), during(100, 150, BUSY, "programs"))}, [(110, "notice"), (151, "stop")]),
    "the cap waits for no probe that fails":
        ({"cap_s": 7200, "found": during(0, 999, UNKNOWN, "programs")}, [(110, "notice"), (120, "stop")]),
    "no cap": ({"cap_s": 0, "found": during(0, 9999), "minutes": 2000}, []),
}  # fmt: skip


@pytest.mark.parametrize("situation", SITUATIONS)
def test_situation(situation: str) -> None:
    given, steps = SITUATIONS[situation]
    assert play(**given) == steps


def test_nobody_is_stopped_without_the_whole_notice() -> None:
    for given, steps in SITUATIONS.values():
        if steps and steps[-1][1] == "stop":
            assert steps[-2][1] == "notice"
            assert (steps[-1][0] - steps[-2][0]) * 60 >= {**SETTINGS, **given}["notice_s"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("1d", 86400), (" 2H ", 7200)]
)
def test_durations(text: str, seconds: int) -> None:
    assert autostop.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "0h", "-2h", "2 h", "h", "2h2h", "tomorrow"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 2h, 90m or 1h30m"):
        autostop.duration(text)


# ---- with files ---------------------------------------------------------------------------------------------------------


class Machine:
    """A host with a clock, whose probes say what the test wants."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.store, self.boots, self.up, self.minute = root, autostop.Store(root), 1, 0, 0
        self.findings: list[Finding] = []
        self.stops: list[int] = []
        self.stop_works = True
        for name, text in {
            "etc/autostop/autostop.json": json.dumps({**SETTINGS, "hook_dir": str(root / "hooks"), "action": ["true"]}),
            "proc/sys/kernel/random/boot_id": "one",
            "dev/pts/0": "",
        }.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        (root / "hooks").mkdir()
        (root / "proc/1").mkdir()
        (root / "proc/1/stat").write_text("1 (systemd) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n")
        monkeypatch.setattr(autostop, "look", lambda host, settings: self.findings)

    def host(self) -> autostop.Host:
        (self.root / "proc/uptime").write_text(f"{(self.minute - self.up) * 60}.00 0.00\n")
        return autostop.Host(now=at(self.minute), root=self.root)

    def stop(self) -> bool:
        self.stops.append(self.minute)
        return self.stop_works

    def pass_minutes(self, minutes: int) -> None:
        for _ in range(minutes):
            self.minute += 1
            autostop.tick(self.store, self.host(), self.stop)

    def start_again(self, after: int) -> None:
        self.boots += 1
        self.minute += after
        self.up = self.minute
        (self.root / "proc/sys/kernel/random/boot_id").write_text(f"boot {self.boots}")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_terminals_are_told_once_and_the_status_says_so(machine: Machine) -> None:
    machine.pass_minutes(55)
    told = (machine.root / "dev/pts/0").read_text()
    assert told.count("This server stops in 10 min") == 1
    assert "stay-awake 2h" in told
    status = json.loads((machine.root / "run/autostop/status.json").read_text())
    assert "This server stops in 6 min" in status["notice"]
    assert status["can_wait"] is True


def test_stops_and_does_not_stop_again_at_once(machine: Machine) -> None:
    machine.pass_minutes(61)
    assert machine.stops == [61]
    machine.start_again(after=600)
    machine.pass_minutes(59)
    assert machine.stops == [61]
    machine.pass_minutes(2)
    assert len(machine.stops) == 2


def test_hours_and_dollars_are_written_down(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.pass_minutes(61)
    machine.start_again(after=600)
    machine.pass_minutes(1)
    lines = (machine.root / "var/lib/autostop/saved.csv").read_text().split("\n")
    assert lines[0].strip() == "stopped,started,hours,usd,why"
    assert lines[1].strip().endswith(",10.00,1.0000,idle")
    machine.pass_minutes(300)
    assert (machine.root / "var/lib/autostop/saved.csv").read_text().count("idle") == 1
    autostop.saved(machine.store)
    assert "1 times off, 10.00 hours, 1.00 USD" in capsys.readouterr().out


def test_a_start_that_follows_no_stop_saves_nothing(machine: Machine) -> None:
    machine.pass_minutes(20)
    machine.start_again(after=600)
    machine.pass_minutes(20)
    assert not (machine.root / "var/lib/autostop/saved.csv").exists()


def test_a_stop_that_fails_leaves_the_server_on_for_as_long_again(machine: Machine) -> None:
    machine.stop_works = False
    machine.pass_minutes(121)
    assert machine.stops == [61]
    machine.pass_minutes(2)
    assert machine.stops == [61, 122]
    assert not (machine.root / "var/lib/autostop/stopped.json").exists()


def test_a_server_that_does_not_go_down_is_not_stopped_every_minute(machine: Machine) -> None:
    machine.pass_minutes(100)
    assert machine.stops == [61]
    assert not (machine.root / "var/lib/autostop/stopped.json").exists()
    assert not (machine.root / "var/lib/autostop/saved.csv").exists()


def test_one_command_puts_it_off(machine: Machine) -> None:
    machine.pass_minutes(55)
    reply = autostop.answer(machine.store, machine.host(), {"do": "awake", "seconds": 7200}, (10, 1000))
    assert reply == {"awake": at(55 + 120), "shortened": False}
    machine.pass_minutes(1)
    assert (machine.root / "dev/pts/0").read_text().count("This server stays on.") == 1
    machine.pass_minutes(118)
    assert machine.stops == []
    machine.pass_minutes(3)
    assert machine.stops == [175]


def test_what_aws_says_of_a_spot_server_comes_before_all_else(machine: Machine) -> None:
    machine.pass_minutes(55)
    autostop.answer(machine.store, machine.host(), {"do": "awake", "seconds": 7200}, (10, 1000))
    (machine.root / "run/spot-notice").mkdir(parents=True)
    (machine.root / "run/spot-notice/notice.json").write_text(json.dumps({"text": "AWS takes this spot server back"}))
    status = autostop.answer(machine.store, machine.host(), {"do": "status"}, (10, 1000))
    assert (status["notice"], status["can_wait"], status["awake"]) == ("AWS takes this spot server back", False, 0)
    (machine.root / "run/spot-notice/notice.json").unlink()
    assert autostop.answer(machine.store, machine.host(), {"do": "status"}, (10, 1000))["awake"] == at(55 + 120)


def test_nobody_keeps_it_on_for_longer_than_the_settings_allow(machine: Machine) -> None:
    reply = autostop.answer(machine.store, machine.host(), {"do": "awake", "seconds": 10**9}, (10, 1000))
    assert reply == {"awake": at(24 * 60), "shortened": True}
    assert autostop.answer(machine.store, machine.host(), {"do": "awake", "seconds": 0}, (10, 1000))["awake"] == 0


@pytest.mark.parametrize("seconds", [-1, "soon", None, float("nan")])
def test_nonsense_is_refused(machine: Machine, seconds: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        autostop.answer(machine.store, machine.host(), {"do": "awake", "seconds": seconds}, (10, 1000))
    assert machine.store.awake() == 0


def test_full_disk_or_broken_state_keeps_it_on(machine: Machine) -> None:
    machine.pass_minutes(59)
    (machine.root / "var/lib/autostop/state.json").write_text('{"boot')
    machine.pass_minutes(30)
    assert machine.stops == []


# ---- hooks and the action -----------------------------------------------------------------------------------------------


def hook(machine: Machine, name: str, text: str, mode: int = 0o755) -> None:
    file = machine.root / "hooks" / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(mode)


@pytest.fixture
def stopping(machine: Machine) -> Machine:
    settings = {
        **SETTINGS, "hook_dir": str(machine.root / "hooks"), "hook_timeout_s": 1,
        "action": ["touch", str(machine.root / "stopped")],
    }  # fmt: skip
    machine.store.settings_file.write_text(json.dumps(settings))
    return machine


def stopped(machine: Machine, *people: Finding) -> bool:
    code = autostop.stop_now(machine.store, lambda: list(people))
    assert (code == 0) == (machine.root / "stopped").exists()
    return code == 0


def test_hooks_run_in_order_before_the_action(stopping: Machine) -> None:
    log = stopping.root / "log"
    hook(stopping, "20-second", f"echo second >>{log}; test ! -e {stopping.root}/stopped")
    hook(stopping, "10-first", f"echo first >>{log}")
    hook(stopping, "not-executable", f"echo never >>{log}", mode=0o644)
    assert stopped(stopping)
    assert log.read_text() == "first\nsecond\n"


@pytest.mark.parametrize(("text", "mode"), [("exit 3", 0o755), ("sleep 5", 0o755), ("true", 0o777), ("true", 0o775)])
def test_hook_that_fails_hangs_or_is_open_to_others_keeps_it_on(stopping: Machine, text: str, mode: int) -> None:
    hook(stopping, "10-hook", text, mode)
    assert not stopped(stopping)


@pytest.mark.parametrize(
    ("finding", "goes"),
    [
        (Finding("kernels", BUSY, "kernel"), False),
        (Finding("kernels", UNKNOWN, "kernel"), False),
        (Finding("terminals", IDLE, "input", 9e9), False),
        (Finding("terminals", IDLE, "input", 5.0), True),
        (Finding("load", BUSY, "the hook's own"), True),
    ],
)
def test_somebody_who_comes_while_hooks_run_is_seen(stopping: Machine, finding: Finding, goes: bool) -> None:
    assert stopped(stopping, finding) is goes


def test_stay_awake_while_hooks_run_is_seen(stopping: Machine) -> None:
    stopping.store.save(stopping.store.lib / "awake.json", {"until": 9e9})
    assert not stopped(stopping)


def test_the_cap_asks_nobody(stopping: Machine) -> None:
    stopping.store.save(stopping.store.lib / "stopped.json", {"at": 1.0, "boot_id": "one", "why": "cap"})
    assert stopped(stopping, Finding("kernels", BUSY, "kernel"))


def test_a_name_that_a_notebook_chose_does_nothing_to_a_terminal() -> None:
    reason = "kernel \x1b]0;owned\x07 is \x9b31m busy\r\n"
    status = {
        "findings": [["kernels", BUSY, reason, 0.0]],
        "activity": START,
        "reason": reason,
        "awake": 0.0,
        "at": START,
    }
    said = autostop.describe({**status, "notice": "", "stop_at": START, "can_wait": True}, START)
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    assert len(said.splitlines()) == 3

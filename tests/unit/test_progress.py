"""Signs of life and the account of time, with a clock of the test's own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("progress", ROOT / "plugins/callback/progress.py")
assert spec and spec.loader
progress = importlib.util.module_from_spec(spec)
spec.loader.exec_module(progress)


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_long_task_is_named_once_every_interval() -> None:
    clock = Clock()
    seen = progress.Progress(clock)
    seen.start("base", "install | Install packages")
    clock.now += 9
    assert seen.sign(10) == ""
    clock.now += 1
    assert seen.sign(10) == "  ... install | Install packages: 10 s\n"
    assert seen.sign(10) == ""
    clock.now += 10
    assert "20 s" in seen.sign(10)


def test_a_result_is_a_sign_of_life() -> None:
    clock = Clock()
    seen = progress.Progress(clock)
    seen.start("base", "task")
    clock.now += 9
    seen.result("base", "1", False)
    clock.now += 9
    assert seen.sign(10) == ""


def test_nothing_is_said_between_tasks() -> None:
    clock = Clock()
    seen = progress.Progress(clock)
    seen.start("base", "task")
    seen.finish()
    clock.now += 100
    assert seen.sign(10) == ""


def test_time_and_changes_are_counted_by_role() -> None:
    clock = Clock()
    seen = progress.Progress(clock)
    for role, task, seconds, changed in (("a", "1", 2, True), ("b", "2", 5, False), ("a", "3", 1, True)):
        seen.start(role, task)
        clock.now += seconds
        seen.result(role, task, changed)
    seen.finish()
    assert seen.rows() == [
        {"role": "b", "tasks": 1, "changed": 0, "seconds": 5.0},
        {"role": "a", "tasks": 2, "changed": 2, "seconds": 3.0},
    ]
    first = progress.table(seen.rows()).splitlines()[1]
    assert first.split() == ["b", "1", "0", "5.0"]

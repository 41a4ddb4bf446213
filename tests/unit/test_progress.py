"""Signs of life and the account of time, with a clock of the test's own."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_a_real_run_shows_signs_of_life_through_a_pipe_and_writes_the_report(tmp_path: Path) -> None:
    (tmp_path / "roles/slow/tasks").mkdir(parents=True)
    (tmp_path / "roles/slow/tasks/main.yml").write_text("- {name: Sleep, ansible.builtin.command: sleep 2.5}\n")
    play = "- {name: Try, hosts: localhost, connection: local, gather_facts: false, roles: [slow]}\n"
    (tmp_path / "play.yml").write_text(play)
    (tmp_path / "ansible.cfg").write_text(
        f"[defaults]\ncallback_plugins = {ROOT / 'plugins/callback'}\ncallbacks_enabled = progress\n"
    )
    report = tmp_path / "report.json"
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "play.yml"],
        cwd=tmp_path,
        env=os.environ
        | {
            "PROGRESS_INTERVAL": "1",
            "PROGRESS_REPORT": str(report),
            "ANSIBLE_CONFIG": "ansible.cfg",
            "ANSIBLE_NOCOLOR": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"^  \.\.\. slow : Sleep: \d+ s$", done.stdout, re.MULTILINE)
    assert "where the time went" in done.stdout
    assert "progress" not in done.stderr
    (row,) = json.loads(report.read_text())
    assert (row["role"], row["tasks"], row["changed"]) == ("slow", 1, 1)
    assert row["seconds"] >= 2.5

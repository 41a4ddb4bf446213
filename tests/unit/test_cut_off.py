"""The callback that kills runs, and what repeats them."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), ROOT / f"{path}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


callback = load("tests/plugins/callback/cut_off")
harness = load("molecule/shared/cut_off")

PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: First
      ansible.builtin.copy: {{content: "1", dest: {folder}/first, mode: "0600"}}
      notify: Late
    - name: Skipped
      ansible.builtin.command: "false"
      when: false
    - name: Long
      ansible.builtin.command:
        cmd: "sh -c 'if test ! -e {folder}/begun; then touch {folder}/begun; sleep 60; fi; touch {folder}/long'"
        creates: {folder}/long
    - name: Second
      ansible.builtin.copy: {{content: "2", dest: {folder}/second, mode: "0600"}}
  handlers:
    - name: Late
      ansible.builtin.copy: {{content: "late", dest: {folder}/late, mode: "0600"}}
"""


def run(places: Any, tasks: list[tuple[str, bool]]) -> str:
    """Play tasks; return why the run was cut, or nothing."""
    for task, changed in tasks:
        reason = places.start(task)
        if reason:
            return reason
        places.result(task, changed)
    return ""


def test_a_change_is_cut_once_and_the_next_run_gets_further() -> None:
    places = callback.Places({}, step=9)
    assert run(places, [("look", False), ("write", True), ("serve", False)]) == "after a change by write"
    again = callback.Places(places.notes(), step=9)
    assert run(again, [("look", False), ("write", True), ("serve", False)]) == ""


def test_without_a_change_every_step_of_new_tasks_is_cut() -> None:
    tasks = [(name, False) for name in "abcdef"]
    reasons: list[str] = []
    notes: dict[str, list[str]] = {}
    while True:
        places = callback.Places(notes, step=2)
        reason = run(places, tasks)
        if not reason:
            break
        reasons.append(reason)
        notes = places.notes()
    assert reasons == ["after b", "after d"]


def test_without_a_step_only_changes_are_cut() -> None:
    tasks = [("look", False), ("look again", False), ("write", True), ("serve", False), ("answer", False)]
    places = callback.Places({}, step=0)
    assert run(places, tasks) == "after a change by write"
    assert run(callback.Places(places.notes(), step=0), tasks) == ""


def test_a_task_that_is_skipped_does_not_count_and_hides_no_change() -> None:
    places = callback.Places({}, step=9)
    assert not places.start("write")
    places.result("write", True)
    assert places.start("skipped") == "after a change by write"


def test_the_first_task_is_never_cut() -> None:
    assert callback.Places({}, step=1).start("first") == ""


def test_a_long_task_is_cut_in_its_middle_once() -> None:
    places = callback.Places({}, step=9)
    assert places.halve() == ""
    places.start("install")
    assert places.halve()
    again = callback.Places(places.notes(), step=9)
    again.start("install")
    assert again.halve() == ""


def test_children_of_children_are_found() -> None:
    inner = "import subprocess, time; subprocess.Popen(['sleep', '60']); print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", inner], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert child.stdout
        child.stdout.readline()
        assert (
            len(
                [
                    pid
                    for pid in callback.descendants(os.getpid())
                    if pid in {child.pid, *callback.descendants(child.pid)}
                ]
            )
            == 2
        )
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(PLAYBOOK.format(folder=tmp_path))
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))
    monkeypatch.setenv("ANSIBLE_LOCALHOST_WARNING", "false")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "argv", ["cut_off.py", str(playbook), *arguments])
    return int(harness.main())


@pytest.mark.slow
def test_a_real_run_is_killed_until_it_comes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cut_off(tmp_path, monkeypatch, "--points=3", "--long=8") == 1
    said = capfd.readouterr().out
    assert "Skipped (playbook.yml:9): cut after a change by First" in said
    assert "Long (playbook.yml:12): cut in its middle" in said
    assert "2 runs cut between two tasks" in said
    assert "There have to be 3 cuts" in said
    # The handler was called by the run that was killed, and no later one called it again.
    assert not (tmp_path / "late").exists()

"""Kills the run that it belongs to, as a power cut would, at a place where no earlier run was killed. Only for tests."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: cut_off
type: aggregate
short_description: Kills the run at a new place, for tests of what an interrupted run leaves
description:
  - Kills this very C(ansible-playbook) with everything that it started, by C(SIGKILL), right before a task starts.
  - A good place is where the task before changed something, because that is where the state is a new one and where a
    handler that was called gets lost; if it is asked for, every few tasks where nothing changed, too. Each place is used
    once, so a run that is repeated gets further and further until it comes through. Tasks that are skipped do not count.
  - A task that takes long is also killed once in its middle.
  - molecule/shared/cut_off.py repeats it.
options:
  notes:
    description: File in which the runs keep where they were cut. Without it nothing is killed.
    type: path
    env:
      - name: CUT_OFF_NOTES
  step:
    description: After how many tasks that no earlier run got to is the next cut although nothing changes. 0 cuts after changes only.
    default: 0
    type: int
    env:
      - name: CUT_OFF_STEP
  long:
    description: Seconds after which a task counts as long. 0 never cuts in the middle.
    default: 5
    type: float
    env:
      - name: CUT_OFF_LONG
"""


class Places:
    """Where runs were cut, and whether to cut here. Knows nothing of Ansible."""

    def __init__(self, notes: dict[str, list[str]], step: int) -> None:
        self.seen = set(notes.get("seen", []))
        self.used = set(notes.get("used", []))
        self.halved = set(notes.get("halved", []))
        self.step = step
        self.new = 0
        self.task = ""  # that has started last
        self.last = ""  # that has done something last
        self.changed = False

    def start(self, task: str) -> str:
        """Note that a task starts, unless the run shall be cut before: then return why."""
        if self.last and self.last not in self.used and (self.changed or 0 < self.step <= self.new):
            self.used.add(self.last)
            return f"after {'a change by ' if self.changed else ''}{self.last}"
        self.task = task
        return ""

    def result(self, task: str, changed: bool) -> None:
        """Note that a task was done and not skipped."""
        self.new += task not in self.seen
        self.seen.add(task)
        self.changed = changed or (self.changed and task == self.last)
        self.last = task

    def halve(self) -> str:
        """Return why the run shall be cut in the middle of the task that runs, or nothing."""
        if not self.task or self.task in self.halved:
            return ""
        self.halved.add(self.task)
        return "in its middle"

    def notes(self) -> dict[str, list[str]]:
        """Return what the next run has to know."""
        return {"seen": sorted(self.seen), "used": sorted(self.used), "halved": sorted(self.halved)}


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and theirs. Ansible's workers have sessions of their own."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # it has just ended
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, new = [], [pid]
    while new:
        new = [child for parent in new for child in parents.get(parent, [])]
        found += new
    return found


class CallbackModule(CallbackBase):
    """Connects Places to a run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "cut_off"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.file: Path | None = None
        self.places = Places({}, 0)
        self.started = time.monotonic()
        # The watch must not kill while a result comes in: what is noted would then be half of it.
        self.lock = threading.Lock()

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Read where earlier runs were cut."""
        name = self.get_option("notes")
        if not name:
            return
        if os.getpgrp() != os.getpid():
            raise SystemExit("cut_off: start ansible-playbook in a process group of its own, which is then killed.")
        self.file = Path(name)
        notes = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}
        self.places = Places(notes, self.get_option("step"))
        long = self.get_option("long")
        if long > 0:
            threading.Thread(target=self._watch, args=(long,), daemon=True, name="cut_off").start()

    def _watch(self, long: float) -> None:
        """Cut a task that takes long."""
        while True:
            time.sleep(0.1)
            with self.lock:
                if time.monotonic() - self.started < long:
                    continue
                reason = self.places.halve()
                if reason:
                    self._kill(self.places.task, reason)

    def _kill(self, task: str, reason: str) -> None:
        """Leave a note, then end everything that belongs to this run in no orderly way."""
        if self.file is None:
            return
        cut = {"task": task, "reason": reason}
        self.file.write_text(json.dumps({**self.places.notes(), "cut": cut}), encoding="utf-8")
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        os.killpg(0, signal.SIGKILL)

    @staticmethod
    def _name(task: Any) -> str:
        path, _, line = str(task.get_path()).rpartition(":")
        return f"{task.get_name()} ({Path(path).name}:{line})"

    def _start(self, task: Any) -> None:
        with self.lock:
            self.started = time.monotonic()
            name = self._name(task)
            reason = self.places.start(name)
            if reason:
                self._kill(name, reason)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Cut here, or go on."""
        self._start(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Cut here, or go on."""
        self._start(task)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Note whether the task changed something on any host."""
        task = result.task
        with self.lock:
            self.places.result(self._name(task), result.is_changed())

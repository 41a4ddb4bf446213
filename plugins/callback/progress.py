"""Signs of life during long tasks, and at the end where the time went."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

from ansible import constants as C  # noqa: N812
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: progress
type: aggregate
short_description: Signs of life during long tasks, and at the end where the time went
description:
  - While a task is silent, prints its name and for how long it has been running.
  - At the end, with C(-v) or a report file, prints for each role the tasks that ran, the results that changed
    something, and the seconds.
requirements:
  - Enabled in ansible.cfg.
options:
  interval:
    description: Seconds of silence after which a sign of life is due. With 0 there are none.
    default: 10
    type: int
    env:
      - name: PROGRESS_INTERVAL
    ini:
      - section: progress
        key: interval
  report:
    description: File that also receives the table, as JSON. It is replaced at the end of each run.
    type: path
    env:
      - name: PROGRESS_REPORT
"""


class Tally:
    """What has been seen of one role (or of the tasks of a play that are in none)."""

    def __init__(self) -> None:
        self.tasks: set[str] = set()
        self.changed = 0
        self.seconds = 0.0

    def as_dict(self, name: str) -> dict[str, Any]:
        """Return the row for the report."""
        return {"role": name, "tasks": len(self.tasks), "changed": self.changed, "seconds": round(self.seconds, 1)}


class Progress:
    """Keeps the time. Knows nothing of Ansible, so that it can be tested with a clock of the test's own."""

    def __init__(self, clock: Any = time.monotonic) -> None:
        self.clock = clock
        self.tallies: dict[str, Tally] = {}
        self.task: tuple[str, str] | None = None
        self.started = self.heard = clock()

    def start(self, role: str, task: str) -> None:
        """Note that a task of a role starts, which ends the one before."""
        self.finish()
        self.tallies.setdefault(role, Tally())
        self.task = (role, task)
        self.started = self.heard = self.clock()

    def result(self, role: str, identity: str, changed: bool) -> None:
        """Note that a host did something in a task."""
        self.heard = self.clock()
        tally = self.tallies.setdefault(role, Tally())
        tally.tasks.add(identity)
        tally.changed += changed

    def finish(self) -> None:
        """Give the seconds since the task started to its role."""
        if self.task:
            self.tallies[self.task[0]].seconds += self.clock() - self.started
        self.task = None

    def sign(self, interval: float) -> str:
        """Return the line that is due after so much silence, or nothing."""
        task = self.task
        now = self.clock()
        if task is None or now - self.heard < interval:
            return ""
        self.heard = now
        return f"  ... {task[1]}: {now - self.started:.0f} s\n"

    def rows(self) -> list[dict[str, Any]]:
        """Return what each role took, the longest first."""
        rows = [tally.as_dict(name) for name, tally in self.tallies.items()]
        return sorted(rows, key=lambda row: -float(row["seconds"]))


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows for people to read."""
    width = max(len(row["role"]) for row in rows)
    lines = [f"{'where the time went':{width}}  tasks  changed  seconds"]
    lines += [f"{row['role']:{width}}  {row['tasks']:5}  {row['changed']:7}  {row['seconds']:7.1f}" for row in rows]
    return "\n".join(lines)


class CallbackModule(CallbackBase):
    """Connects Progress to a run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "progress"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.progress = Progress()
        self.play = ""
        self.over = threading.Event()

    def _role(self, task: Any) -> str:
        role = getattr(task, "_role", None)
        return str(role.get_name()) if role else f"({self.play})"

    def _watch(self, interval: int) -> None:
        """Print the signs of life.

        Workers are forked beside this thread: it must hold no lock that they need, such as the one of sys.stdout, so
        it writes to the file descriptor itself.
        """
        while not self.over.wait(1):
            line = self.progress.sign(interval)
            if line:
                os.write(1, line.encode())

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Begin to watch."""
        interval = self.get_option("interval")
        # What is piped must hold nothing but the answer.
        if interval > 0 and C.DEFAULT_STDOUT_CALLBACK != "plain":
            threading.Thread(target=self._watch, args=(interval,), daemon=True, name="progress").start()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Remember the play for the tasks that are in no role."""
        self.progress.finish()
        self.play = play.get_name()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Note the task."""
        self.progress.start(self._role(task), task.get_name())

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Note the handler."""
        self.progress.start(self._role(task), task.get_name())

    def _heard(self, result: Any) -> None:
        task = result.task
        self.progress.result(self._role(task), str(task._uuid), result.is_changed())

    def v2_runner_on_ok(self, result: Any) -> None:
        """Count the task as run."""
        self._heard(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Count the task as run."""
        self._heard(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Take the item of a loop as a sign of life."""
        self.progress.heard = self.progress.clock()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print and save where the time went."""
        self.over.set()
        self.progress.finish()
        rows = self.progress.rows()
        if not rows:
            return
        report = self.get_option("report")
        # The last thing that people see is the summary; the account of time is for those who ask.
        if report or self._display.verbosity:
            self._display.display("\n" + table(rows))
        if report:
            with open(report, "w", encoding="utf-8") as file:
                json.dump(rows, file, indent=1)

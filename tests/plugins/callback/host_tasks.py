"""Writes which tasks touched a host, for how long, and what they changed. Only for measurements."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: host_tasks
type: aggregate
short_description: Writes which tasks touched a host, for how long, and what they changed
description:
  - A task touches a host if a module ran there, or a file was sent to it. One that was skipped, that only decides or
    computes on the controller, or that is delegated to the controller, does not.
options:
  report:
    description: File for the table, as JSON. Without it nothing is counted.
    type: path
    env:
      - name: HOST_TASKS_REPORT
"""

# Actions that never leave the controller.
CONTROLLER = {
    "add_host",
    "assert",
    "debug",
    "fail",
    "group_by",
    "import_playbook",
    "import_role",
    "import_tasks",
    "include_role",
    "include_tasks",
    "include_vars",
    "meta",
    "pause",
    "set_fact",
    "set_stats",
    "validate_argument_spec",
}


def touches_host(action: str, delegate_to: str | None) -> bool:
    """Tell whether a task of this action leaves the controller."""
    return action.rpartition(".")[2] not in CONTROLLER and delegate_to not in ("localhost", "127.0.0.1")


class CallbackModule(CallbackBase):
    """Keeps a row for each task."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "host_tasks"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows: dict[str, dict[str, Any]] = {}
        self.started: dict[str, float] = {}
        self.current = ""
        self.first = time.monotonic()

    def _start(self, task: Any) -> None:
        self._stop()
        self.current = str(task._uuid)
        self.started[self.current] = time.monotonic()

    def _stop(self) -> None:
        if self.current in self.rows and self.current in self.started:
            self.rows[self.current]["seconds"] += time.monotonic() - self.started.pop(self.current)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Note when it starts, which is when the one before was done."""
        self._start(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """The same for a handler."""
        self._start(task)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Note what it did."""
        task = result.task
        self._result(result, "host" if touches_host(task.action, task.delegate_to) else "controller")

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Note that it did nothing, which takes time too."""
        self._result(result, "skipped")

    def _result(self, result: Any, where: str) -> None:
        task = result.task
        values = result.result
        row = {
            "task": task.get_name(),
            "where": where,
            "items": len([item for item in values.get("results", [1]) if item == 1 or not item.get("skipped")]),
            "changed": result.is_changed(),
            "seconds": 0.0,
        }
        self.rows.setdefault(str(task._uuid), row)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write the table."""
        self._stop()
        report = self.get_option("report")
        if report:
            rows = [{**row, "seconds": round(row["seconds"], 2)} for row in self.rows.values()]
            Path(report).write_text(json.dumps(rows, indent=1), encoding="utf-8")

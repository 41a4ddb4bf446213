"""Only what a playbook has to say, so that it can be piped: ANSIBLE_STDOUT_CALLBACK=plain ansible-playbook playbooks/status.yml."""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: plain
type: stdout
short_description: Only the messages of debug tasks
description:
  - Prints what debug tasks say, and nothing else, on standard output.
  - Why a task failed goes to standard error; the exit code is the usual one.
"""


class CallbackModule(CallbackBase):
    """Prints messages."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "plain"

    def v2_runner_on_ok(self, result: Any) -> None:
        """Print what a debug task says."""
        task = result.task
        said = result.result.get("msg")
        if task.action in ("debug", "ansible.builtin.debug", "ansible.legacy.debug") and said is not None:
            print(said if isinstance(said, str) else json.dumps(said, indent=2), flush=True)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Say why a task failed."""
        self._fault(result, "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Say which host cannot be reached."""
        self._fault(result, "unreachable")

    def _fault(self, result: Any, otherwise: str) -> None:
        said = result.result
        host = result.host.get_name()
        print(f"{host}: {said.get('msg', otherwise)}", file=sys.stderr, flush=True)

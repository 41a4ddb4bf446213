"""Ansible's usual output, in which waiting is not called a failure."""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback.default import CallbackModule as Default

DOCUMENTATION = """
name: patient
type: stdout
short_description: The default output, in which waiting is not called a failure
description:
  - A task that asks until something is there (a server that boots, say) prints C(FAILED - RETRYING) in the default output, at every
    run and though nothing has failed. Here it says that it waits.
  - Everything else is as in the default output.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
"""


class CallbackModule(Default):  # type: ignore[misc]
    """Differs from the default in one line."""

    CALLBACK_NAME = "patient"

    def v2_runner_retry(self, result: Any) -> None:
        """Say that it is not there yet."""
        said = result.result
        task = result.task
        again = said["retries"] - said["attempts"]
        text = f"  ... not yet: [{self.host_label(result)}] {task.get_name()} (asks again, at most {again} times)"
        if self._run_is_verbose(result, verbosity=2):
            text += f"\n{self._dump_results(said)}"
        self._display.display(text)

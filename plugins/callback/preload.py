"""Loads filters and tests before the first task, so that no task has to."""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import filter_loader, test_loader

DOCUMENTATION = """
name: preload
type: aggregate
short_description: Loads filters and tests once a run instead of once a task
description:
  - Ansible does each task on each host in a process of its own, forked from the one that reads the playbook. What that one has not
    loaded each of them loads again, all filters for the first filter that it uses. With this project's filters that is a tenth of a
    second and more for each task, on an idle machine.
  - Says nothing and changes nothing else.
requirements:
  - Enabled in ansible.cfg.
"""


class CallbackModule(CallbackBase):
    """Loads them in the process that all others are forked from."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "preload"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Load all of both; the loaders keep them."""
        for loader in (filter_loader, test_loader):
            list(loader.all())

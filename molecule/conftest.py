"""What the tests of all scenarios share.

A file that is for some hosts only says for which: HOSTS = "vendor|old", a pattern for their names. A test that takes long and is
the same on every system is marked one_host. What is left out so is not skipped: it is not among the tests.
"""

from __future__ import annotations

import re

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "one_host: takes long and is the same on every system, so one host is enough")


def host_of(item: pytest.Item) -> str:
    """Return the name of the host that a test is to run on; nothing for one that asks no host."""
    callspec = getattr(item, "callspec", None)
    host = callspec.params.get("_testinfra_host") if callspec else None
    return host.backend.get_pytest_id().rpartition("/")[2] if host else ""


def is_for(item: pytest.Item) -> bool:
    """Whether the file is for the host."""
    wanted = getattr(getattr(item, "module", None), "HOSTS", ".*")
    return not host_of(item) or re.fullmatch(wanted, host_of(item)) is not None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that are for their host."""
    kept = [item for item in items if is_for(item)]
    # The newest of Debian's, as their names are sorted.
    one = max(map(host_of, kept), default="")
    kept = [item for item in kept if not item.get_closest_marker("one_host") or host_of(item) in ("", one)]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept

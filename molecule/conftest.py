"""What the tests of all scenarios share.

A test that is for some hosts only says for which: @pytest.mark.on("vendor|old"), a pattern for their names. On the others it is not
skipped: it is not among the tests. One that fits no host at all would never run, so it is refused. What takes long and is the same on
every system is marked one_system: the scenarios of other systems than the newest Debian leave it out.
"""

from __future__ import annotations

import re

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    config.addinivalue_line("markers", "on(pattern): only on the hosts whose names match")
    config.addinivalue_line("markers", "one_system: takes long and is the same on every system, so one is enough")


def host_of(item: pytest.Item) -> str:
    """Return the name of the host that a test is to run on; nothing for one that asks no host."""
    callspec = getattr(item, "callspec", None)
    host = callspec.params.get("_testinfra_host") if callspec else None
    return host.backend.get_pytest_id().rpartition("/")[2] if host else ""


def is_for(item: pytest.Item) -> bool:
    """Whether the test is for its host."""
    marker = item.get_closest_marker("on")
    return marker is None or not host_of(item) or re.fullmatch(marker.args[0], host_of(item)) is not None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that are for their host."""
    kept = [item for item in items if is_for(item)]
    lost = {function(item) for item in items} - {function(item) for item in kept}
    if lost:
        raise pytest.UsageError(f"No host is the one that they are marked for: {', '.join(sorted(lost))}.")
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def function(item: pytest.Item) -> str:
    """Return what a test is called whatever its host and parameters are."""
    return item.nodeid.partition("[")[0]

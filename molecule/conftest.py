"""What the tests of all scenarios share."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "one_host: takes long and is the same on every system, so one host is enough")


def host_of(item: pytest.Item) -> str:
    """Return the host that a test is to run on; nothing for one that asks no host."""
    callspec = getattr(item, "callspec", None)
    host = callspec.params.get("_testinfra_host") if callspec else None
    return host.backend.get_pytest_id() if host else ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take tests that are marked one_host on the first host only."""
    first = min(filter(None, map(host_of, items)), default="")
    left = [item for item in items if item.get_closest_marker("one_host") and host_of(item) not in ("", first)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]

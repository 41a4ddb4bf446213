"""Which tests of a scenario are for which of its hosts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / "molecule/conftest.py"


@pytest.fixture(scope="module")
def conftest() -> Any:
    spec = importlib.util.spec_from_file_location("molecule_conftest", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def item(name: str, host: str, pattern: str = "") -> Any:
    """A collected test, as far as the conftest asks for it."""
    backend = SimpleNamespace(get_pytest_id=lambda: f"ansible://{host}")
    return SimpleNamespace(
        nodeid=f"tests/test_x.py::{name}[{host}]",
        callspec=SimpleNamespace(params={"_testinfra_host": SimpleNamespace(backend=backend)}),
        get_closest_marker=lambda _: SimpleNamespace(args=(pattern,)) if pattern else None,
    )


def test_a_test_runs_on_the_hosts_that_it_is_marked_for(conftest: Any) -> None:
    gone: list[Any] = []
    config = SimpleNamespace(hook=SimpleNamespace(pytest_deselected=lambda items: gone.extend(items)))
    both = [item("test_a", "old"), item("test_a", "older")]
    marked = [item("test_b", "old", "old|empty"), item("test_b", "older", "old|empty")]
    items = both + marked
    conftest.pytest_collection_modifyitems(config, items)
    assert items == [*both, marked[0]]
    assert gone == [marked[1]]


def test_one_that_fits_no_host_is_refused(conftest: Any) -> None:
    with pytest.raises(pytest.UsageError, match=r"marked for: tests/test_x\.py::test_b"):
        conftest.pytest_collection_modifyitems(None, [item("test_a", "old"), item("test_b", "old", "ol")])

"""One server for all end-to-end tests: a lab of its own, and the very command that people type. LIFE_KEEP=1 leaves it there afterwards."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab_site import FIRST_RUN, ROOT, Run, Site, account, lab_site

FOLDER = ROOT / ".cache" / "e2e"
STATE = FOLDER / "state"
SERVER = "demo"
# A folder, name, subnet and port of its own: a demo can run beside it, and be taken down.
LAB = {
    "LAB_NAME": "e2e",
    "LAB_SUBNET": "198.18.128.0/17",
    "LAB_PORT": "5056",
    "LAB_DIR": ".cache/e2e",
}


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """Start a lab, and take it away with all that is in it when the tests are done."""
    with lab_site("e2e", LAB, keep=bool(os.environ.get("LIFE_KEEP"))) as site:
        yield site


@pytest.fixture(scope="session")
def before(site: Site) -> dict[str, set[str]]:
    """What was in the account before anything was launched."""
    return account(site)


@pytest.fixture(scope="session")
def first_run(site: Site, before: dict[str, set[str]]) -> Run:
    """What people see the first time. The server has a disk for data, which backup and restore are about."""
    site.settings = ("-e", json.dumps({"ec2_provision_data_volume_gb": 2}))
    return site.apply("first", seconds=FIRST_RUN)


@pytest.fixture(scope="session")
def server(site: Site, first_run: Run) -> Site:
    """A server on which everything was applied once."""
    assert first_run.code == 0, first_run.tail()
    return site


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """When a test fails, add what JupyterLab's unit wrote to its journal."""
    report: Any = yield
    site = getattr(item, "funcargs", {}).get("server") or getattr(item, "funcargs", {}).get("site")
    if report.failed and isinstance(site, Site) and site.ssh_config.exists():
        try:
            journal = site.ssh("sudo", "journalctl", "--no-pager", "--lines=60", "--unit=jupyter").stdout
        except subprocess.TimeoutExpired:
            journal = "the server does not answer"
        report.sections.append(("journal of jupyter.service", journal))
    return report

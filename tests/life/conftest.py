"""A server's life: one small server in a lab of its own, and every playbook that a person may run in the months after `site.yml`.

The files run in the order of their numbers, on the same server, as a life does. LIFE_LAB=NAME:PORT:SUBNET gives them another lab, and
LIFE_KEEP=1 leaves it there afterwards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.lab_site import FIRST_RUN, Run, Site, lab_site

NAME, PORT, SUBNET = os.environ.get("LIFE_LAB", "life:5057:198.19.64.0/20").split(":")
LAB = {"LAB_NAME": NAME, "LAB_PORT": PORT, "LAB_SUBNET": SUBNET, "LAB_DIR": f".cache/{NAME}"}
# What is needed to see that data survive, and to log in; the kernels and the notebook image have tests of their own.
COMPONENTS = ["data_volume", "base", "mysql", "postgres", "jupyter_tls"]
# Where the tests run, the kernel may not grow a file system in use, as in any container.
SETTINGS: dict[str, object] = {
    "server_components": COMPONENTS,
    "verify_only_kernels": False,
    "ec2_provision_data_volume_gb": 2,
    "data_volume_may_stop": True,
}


def settings(**more: object) -> tuple[str, str]:
    """The settings of this server, with others for one run, as a person gives them."""
    return "-e", json.dumps(SETTINGS | more)


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The lab."""
    with lab_site(NAME, LAB, keep=bool(os.environ.get("LIFE_KEEP"))) as site:
        if (
            site.state / site.server / "record.yml"
        ).exists():  # in a lab that was left there the disk is as large as it is
            SETTINGS["ec2_provision_data_volume_gb"] = site.record.get("data_volume_gb", 0)
        yield site


@pytest.fixture(scope="session")
def first_run(site: Site) -> Run:
    """What `site.yml` does the first time (or again, in a lab that was left there)."""
    return site.apply("first", *settings(), seconds=FIRST_RUN)


@pytest.fixture(scope="session")
def server(site: Site, first_run: Run) -> Site:
    """A server on which everything was applied once."""
    assert first_run.code == 0, first_run.tail(120)
    return site

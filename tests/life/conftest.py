"""A server's life: one small server in a lab of its own, and every playbook that a person may run in the months after `site.yml`.

The files run in the order of their numbers, on the same server, as a life does. LIFE_LAB=NAME:PORT:SUBNET gives them another lab, and
LIFE_KEEP=1 leaves it there afterwards, and takes what was left there as it is. With LAB_IMAGE naming an image that has the packages
already, the server is made sooner.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab_site import FIRST_RUN, ROOT, Site, lab_site

NAME, PORT, SUBNET = os.environ.get("LIFE_LAB", "life:5057:198.19.64.0/20").split(":")
# Neither conda nor images are needed, so nothing stands in for them.
LAB = {
    "LAB_NAME": NAME,
    "LAB_PORT": PORT,
    "LAB_SUBNET": SUBNET,
    "LAB_DIR": f".cache/{NAME}",
    "LAB_STAND_INS": "no",
}
# What is needed to see that data survive, and to log in; the kernels and the notebook image have tests of their own.
COMPONENTS = ["data_volume", "base", "mysql", "postgres", "jupyter_tls"]
UNITS = ("data.mount", "mariadb", "postgresql@17-main", "jupyter")
# Where the tests run, the kernel may not grow a file system in use, as in any container.
SETTINGS: dict[str, object] = {
    "server_components": COMPONENTS,
    "verify_only_kernels": False,
    "ec2_provision_data_volume_gb": 2,
    "data_volume_may_stop": True,
}
# What site.yml does for a server, less its checks before and after.
MAKE = "playbooks/provision.yml playbooks/configure.yml"


def settings(**more: object) -> tuple[str, str]:
    """The settings of this server, with others for one run, as a person gives them."""
    return "-e", json.dumps(SETTINGS | more)


def run(site: Site, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of daily life as a person types it, with what it says and what it warns of kept apart."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=site.environment | site.user("daily") | environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def status(site: Site, *arguments: str) -> dict[str, Any]:
    """The status as a program reads it: nothing but JSON on standard output."""
    command = site.command(*settings(json=True), *arguments, playbook="playbooks/status.yml")
    done = run(site, *command, ANSIBLE_STDOUT_CALLBACK="plain")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (site.state / "status.json").read_text() == done.stdout
    return dict(json.loads(done.stdout))


def row(result: dict[str, Any], name: str) -> dict[str, Any]:
    """What a status says of one server."""
    return dict(next(one for one in result["servers"] if one["name"] == name))


def in_use(server: Site) -> None:
    """The disk for data is mounted by its UUID, and what has data on it runs."""
    uuid = server.root("blkid --match-tag UUID --output value $(findmnt -no SOURCE /data)")
    assert f"UUID={uuid} /data ext4 defaults,nofail,x-systemd.device-timeout=90s 0 2" in server.root("cat /etc/fstab")
    # A program that is starting again counts, too.
    end = time.monotonic() + 60
    while server.ssh(f"systemctl is-active {' '.join(UNITS)}").stdout.split() != ["active"] * len(UNITS):
        assert time.monotonic() < end, server.ssh(f"systemctl status {' '.join(UNITS)}").stdout
        time.sleep(1)


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The lab."""
    with lab_site(NAME, LAB, keep=bool(os.environ.get("LIFE_KEEP"))) as site:
        yield site


@pytest.fixture(scope="session")
def server(site: Site) -> Site:
    """A server on which everything was applied once; one that an earlier session left here is taken as it is."""
    if (site.state / site.server / "record.yml").exists():
        SETTINGS["ec2_provision_data_volume_gb"] = site.record.get("data_volume_gb", 0)
    else:
        first_run = site.apply("first", *settings(), seconds=FIRST_RUN)
        assert first_run.code == 0, first_run.tail(120)
    return site

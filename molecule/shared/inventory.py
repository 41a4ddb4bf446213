#!/usr/bin/env python3
"""The hosts of a scenario, as an Ansible inventory: one host for each image in NOTEBOOK_IMAGES.

NOTEBOOK_IMAGES is a list of what `python -m lab image` takes, separated by spaces: Debian releases that are made here
(the default is "13"), or references of images such as "ubuntu:24.04" where a registry can be reached.
The scenario's own inventory.yml says in which subnet they live, and may add hosts of its own. One that names its servers itself,
because it is about certain systems or versions, has those and no others.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Any

import yaml

# The first addresses of the subnet are left to the engine and to hosts that a scenario adds by itself.
FIRST_ADDRESS = 101


def host_name(image: str) -> str:
    """Return a host name for an image: 13 -> debian13, 13-prepared -> debian13-prepared, ubuntu:24.04 -> ubuntu-24-04."""
    if image.removesuffix("-prepared").isdigit():
        return f"debian{image}"
    return re.sub(r"[^a-z0-9]+", "-", image.rpartition("/")[2].lower()).strip("-")


def inventory(images: list[str], subnet: str) -> dict[str, Any]:
    """Return the inventory in the form that Ansible wants from a script."""
    first = ipaddress.ip_network(subnet).network_address + FIRST_ADDRESS
    hosts = {host_name(image): {"image": image, "ansible_host": str(first + n)} for n, image in enumerate(images)}
    if len(hosts) != len(images):
        raise SystemExit(f"NOTEBOOK_IMAGES names two hosts alike: {' '.join(images)}.")
    return {
        "_meta": {"hostvars": hosts},
        "instances": {"children": ["servers"], "vars": {"ansible_user": "admin"}},
        "servers": {"hosts": list(hosts)},
    }


def main() -> None:
    """Print the inventory of the scenario that Molecule runs."""
    scenario = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"], "inventory.yml")
    data = yaml.safe_load(scenario.read_text())
    if "instances" not in data:  # a scenario that needs no host
        print("{}")
        return
    named = (data.get("servers") or {}).get("hosts")
    images = [] if named else os.environ.get("NOTEBOOK_IMAGES", "").split() or ["13"]
    print(json.dumps(inventory(images, data["instances"]["vars"]["subnet"]), indent=2))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Removes what a scenario has in the container engine, and says how many seconds of CPU its containers took since their last start.

Containers and networks are found by their label, whatever the inventory says now, so that what an interrupted run left goes, too.
What Molecule itself took is for whoever started it to know: `make molecule SCENARIO=...` says both.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lab.engine import docker, labelled
from tests.cpu import group_of, used


def cpu(container: str) -> float:
    """Return the CPU seconds of everything in a container that runs."""
    pid = docker("inspect", "--format", "{{.State.Pid}}", container).strip()
    group = group_of(container, Path(f"/proc/{pid}/cgroup").read_text()) if pid != "0" else None
    return used(group) if group else 0.0


def main() -> None:
    """Count and remove everything that carries a scenario's label."""
    label = f"molecule=molecule-{sys.argv[1]}"
    containers = docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}").split()
    if containers:
        seconds = sum(map(cpu, containers))
        docker("rm", "--force", "--volumes", *containers)
        print(f"Removed {len(containers)} containers, which took {seconds:.0f} s of CPU.")
    for network in labelled("network", label):
        docker("network", "rm", network)


if __name__ == "__main__":
    main()

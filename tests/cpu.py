"""CPU seconds of what a part of the tests runs: its processes, and the containers that carry its labels."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def reap(process: subprocess.Popen[bytes]) -> tuple[int | None, float]:
    """Return the exit code of a process, or None while it runs, and the CPU seconds of it and all it waited for."""
    if process.returncode is not None:
        return process.returncode, 0.0
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    if not pid:
        return None, 0.0
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def group_of(container: str, memberships: str) -> Path | None:
    """Return the folder of a container's CPU figures from /proc/PID/cgroup, in either version of cgroups."""
    for line in memberships.splitlines():
        _, controllers, path = line.split(":", 2)
        # systemd in a container moves its first process further down.
        found = re.match(rf".*{container}[^/]*", path)
        if found and "cpuacct" in controllers.split(","):
            return CGROUPS / "cpuacct" / found[0].lstrip("/")
        if found and not controllers and (CGROUPS / "cgroup.controllers").exists():
            return CGROUPS / found[0].lstrip("/")
    return None


def used(group: Path) -> float:
    """Return the CPU seconds of everything in a group; 0 when it is gone."""
    try:
        if (group / "cpuacct.usage").exists():
            return int((group / "cpuacct.usage").read_text()) / 1e9
        return int((group / "cpu.stat").read_text().split()[1]) / 1e6
    except (OSError, IndexError, ValueError):
        return 0.0


class Containers:
    """The CPU seconds of labelled containers, looked at now and then, because they are gone when their part ends."""

    def __init__(self, environment: dict[str, str]) -> None:
        """Remember how the engine is found."""
        self.environment = environment
        self.groups: dict[str, tuple[str, Path]] = {}
        self.seconds: dict[str, float] = {}

    def docker(self, *arguments: str) -> list[str]:
        """Return what the engine prints, nothing if there is none."""
        if "DOCKER_HOST" not in self.environment:
            return []
        command = ["docker", *arguments]
        return subprocess.run(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
        ).stdout.splitlines()

    def look(self) -> None:
        """Read the figures of all containers that have one of the labels that the project gives."""
        form = '{{.ID}} {{.Label "molecule"}}{{.Label "lab"}}'
        for line in self.docker("ps", "--no-trunc", "--format", form):
            container, _, label = line.partition(" ")
            if label and container not in self.groups:
                pid = "".join(self.docker("inspect", "--format", "{{.State.Pid}}", container)) or "0"
                try:
                    group = group_of(container, Path(f"/proc/{pid}/cgroup").read_text())
                except OSError:
                    group = None
                if group:
                    self.groups[container] = (label, group)
        for container, (_, group) in self.groups.items():
            self.seconds[container] = max(self.seconds.get(container, 0.0), used(group))

    def of(self, labels: Iterable[str]) -> float:
        """Return the CPU seconds of the containers with these labels, as far as they were looked at."""
        wanted = set(labels)
        return sum(self.seconds.get(name, 0.0) for name, (label, _) in self.groups.items() if label in wanted)

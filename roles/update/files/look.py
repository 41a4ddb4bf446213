"""Says what an update would change on this host, what runs with files that were replaced, and whether a reboot is due. Changes nothing but
the package lists, and these only with the word `refresh`.

look.py [refresh] prints JSON: {"packages": [{"name", "old", "new"}], "held": [...], "unfinished": false, "stale": [...], "left": [...],
"reboot": "why"}
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WAIT = 300  # seconds for another package manager
APT = re.compile(r"^Inst (\S+)(?: \[(\S+)\])? \((\S+)")
DNF = re.compile(r"^(\S+)\.(\w+)\s+(\S+)\s+\S+$")
# They carry everybody's session or cannot be restarted at all; a reboot renews them.
NEVER = re.compile(
    r"dbus(-broker)?\.service|systemd-logind\.service|user@\d+\.service|.*getty@.*|docker\.service|containerd\.service"
)


def run(*command: str, good: tuple[int, ...] = (0,)) -> str:
    """What a command prints; another package manager at work is waited for."""
    end = time.monotonic() + WAIT
    while True:
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False)
        if done.returncode in good:
            return done.stdout
        if "lock" not in done.stderr or time.monotonic() > end:
            sys.exit(f"{' '.join(command[:3])} failed: {' '.join(done.stderr.split())[-600:]}")
        time.sleep(5)


def apt_packages(text: str) -> list[dict[str, str]]:
    """The packages of a simulated apt-get."""
    found = [match for line in text.splitlines() if (match := APT.match(line))]
    return [{"name": match[1], "old": match[2] or "", "new": match[3]} for match in found]


def apt_held(text: str) -> list[str]:
    """What apt-get keeps back, because something else would have to go."""
    match = re.search(r"^The following packages have been kept back:\n((?:  .*\n)+)", text, re.MULTILINE)
    return match[1].split() if match else []


def dnf_packages(text: str, installed: dict[str, str]) -> list[dict[str, str]]:
    """The packages of dnf check-update, which lists after them what is obsolete."""
    lines = text.partition("Obsoleting Packages")[0].splitlines()
    found = [match for line in lines if (match := DNF.match(line.strip()))]
    return [{"name": match[1], "old": installed.get(match[1], ""), "new": match[3]} for match in found]


def packages(refresh: bool) -> dict[str, Any]:
    """What the system's package manager would change."""
    if shutil.which("apt-get"):
        if refresh:
            run("apt-get", "--quiet", "update")
        text = run("apt-get", "--simulate", "--with-new-pkgs", "-o", "Debug::NoLocking=1", "upgrade")
        unfinished = bool(run("dpkg", "--audit").strip())
        return {"packages": apt_packages(text), "held": apt_held(text), "unfinished": unfinished}
    text = run("dnf", "--quiet", *(["--refresh"] if refresh else []), "check-update", good=(0, 100))
    asked = run("rpm", "-qa", "--queryformat", "%{NAME} %{EVR}\\n").splitlines()
    return {"packages": dnf_packages(text, dict(line.split(" ", 1) for line in asked)), "held": [], "unfinished": False}


def unit_of(cgroup: str) -> str:
    """The service that a process belongs to, from its cgroup; empty for sessions and the like."""
    parts = cgroup.strip().rpartition(":")[2].split("/")
    return next((part for part in parts if part.endswith(".service")), "")


def replaced(maps: str) -> bool:
    """Whether a process runs code from a file that is not there any more."""
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if (
            len(fields) == 6
            and "x" in fields[1]
            and re.match(r"/(usr|lib|lib64|bin|sbin|opt)/.* \(deleted\)$", fields[5])
        ):
            return True
    return False


def stays(unit: str, pids: list[str]) -> bool:
    """Whether a restart would leave all these processes as they are: those of a service that lets its sessions live, such as SSH."""
    said = run("systemctl", "show", "--property=KillMode,MainPID", unit)
    about = dict(line.split("=", 1) for line in said.splitlines())
    return about.get("KillMode") in ("process", "none") and about.get("MainPID") not in pids


def stale() -> list[str]:
    """Services of this host, not of containers on it, with a process that runs replaced code."""
    found: dict[str, list[str]] = {}
    here = Path("/").stat()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or folder.name == "1":
            continue
        try:
            root = (folder / "root").stat()
            if (root.st_dev, root.st_ino) == (here.st_dev, here.st_ino) and replaced((folder / "maps").read_text()):
                unit = unit_of((folder / "cgroup").read_text().splitlines()[-1])
                found.setdefault(unit, []).append(folder.name)
        except (OSError, IndexError):
            continue  # it has just ended
    return sorted(unit for unit, pids in found.items() if unit and not stays(unit, pids))


def natural(version: str) -> list[tuple[int, str]]:
    """Sorts 6.12.9 before 6.12.10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.findall(r"\d+|\D+", version)]


def reboot() -> str:
    """Why the system wants a reboot; empty when it does not."""
    if Path("/run/reboot-required").exists():
        about = Path("/run/reboot-required.pkgs")
        names = sorted(set(about.read_text().split())) if about.exists() else []
        return f"new {', '.join(names)}" if names else "the system says so"
    kernels = sorted((path.name.removeprefix("vmlinuz-") for path in Path("/boot").glob("vmlinuz-*")), key=natural)
    running = os.uname().release
    if running in kernels and kernels[-1] != running:
        return f"kernel {running} runs and {kernels[-1]} is installed"
    return ""


def main() -> None:
    """Print all of it."""
    units = stale()
    left = [unit for unit in units if NEVER.fullmatch(unit)]
    found = {"stale": [unit for unit in units if unit not in left], "left": left, "reboot": reboot()}
    print(json.dumps({**packages("refresh" in sys.argv[1:]), **found}))


if __name__ == "__main__":
    main()

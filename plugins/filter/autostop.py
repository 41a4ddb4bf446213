"""What the role autostop decides on the controller: are settings sound, and what is to be done on the host."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

PROBES = ("kernels", "terminals", "ssh", "load", "gpu", "postgres", "mysql", "programs")
RANGES = {
    "idle_minutes": (15, 10080, "minutes"),
    "notice_minutes": (1, 60, "minutes"),
    "stay_awake_max_hours": (1, 720, "hours"),
    "hook_timeout_minutes": (1, 240, "minutes"),
    "load": (0.05, 1000, "processors at work"),
    "ssh_port": (1, 65535, ""),
    "usd_per_hour": (0, 1000, "US dollars"),
}
UNIT = re.compile(r"[A-Za-z0-9:_.@-]+\.service")


def autostop_problems(settings: dict[str, Any]) -> list[str]:
    """Sentences about settings that cannot work; none when all is well."""
    problems = [
        f"autostop_{name} is {settings[name]}; give {low} to {high}{' ' if unit else ''}{unit}."
        for name, (low, high, unit) in RANGES.items()
        if not low <= float(settings[name]) <= high
    ]
    if int(settings["max_hours"]) and not 1 <= int(settings["max_hours"]) <= 720:
        problems.append(f"autostop_max_hours is {settings['max_hours']}; give 1 to 720 hours, or 0 for no limit.")
    if int(settings["idle_minutes"]) < int(settings["notice_minutes"]) + 5:
        problems.append(
            "autostop_idle_minutes has to be at least 5 more than autostop_notice_minutes, which are part of them;"
            f" they are {settings['idle_minutes']} and {settings['notice_minutes']}."
        )
    action = settings["action"]
    if not action or not str(action[0]).startswith("/"):
        problems.append(
            "autostop_action has to be a list whose first element is the full path of a command,"
            " such as [/usr/bin/systemctl, poweroff]."
        )
    problems += [
        f"autostop_ignore names '{name}', which is no probe; the probes are {', '.join(PROBES)}."
        for name in settings["ignore"]
        if name not in PROBES
    ]
    if set(PROBES) <= set(settings["ignore"]):
        problems.append(
            "autostop_ignore names every probe, so that the server would stop whatever it does; leave some."
        )
    unit = str(settings["jupyter_unit"])
    if unit and not UNIT.fullmatch(unit):
        problems.append(f"autostop_jupyter_unit is '{unit}'; give the name of a unit, such as jupyter.service.")
    return problems


def autostop_plan(said: str, files: dict[str, str], directories: list[str]) -> dict[str, Any]:
    """What is to be done on the host that said this (files/look.sh)."""
    lines = [line.split(maxsplit=1) for line in said.splitlines() if " " in line]
    found = [rest.split() for kind, rest in lines if kind == "found"]
    there = {words[-1]: words[:-1] for words in found}
    differing = []
    for path, content in sorted(files.items()):
        mode = "755" if content.startswith("#!") else "644"
        if there.get(path) != [mode, "root", hashlib.sha256(content.encode()).hexdigest()]:
            differing.append({"path": path, "content": content, "mode": f"0{mode}"})
    wanted = {str(PurePosixPath(file["path"]).parent) for file in differing} | set(directories)
    return {
        "files": differing,
        "directories": sorted(path for path in wanted if there.get(path) != ["755", "root", "directory"]),
        "restart": [rest for kind, rest in lines if kind == "restart"],
        "installed": [rest for kind, rest in lines if kind == "installed"],
        "running": [rest for kind, rest in lines if kind == "running"],
        "jupyter": next((rest for kind, rest in lines if kind == "jupyter"), ""),
        "problems": [rest for kind, rest in lines if kind == "problem"],
    }


class FilterModule:
    """Filters of the role autostop."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {f.__name__: f for f in (autostop_problems, autostop_plan)}

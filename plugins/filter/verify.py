"""Checks of the settings of the role verify that need no host."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

# The settings that are one number, with the smallest and largest that make sense.
RANGES: dict[str, tuple[float, float]] = {
    "verify_port": (1, 65535),
    "verify_scan_timeout": (0.1, 30),
    "verify_scan_concurrency": (1, 4000),
    "verify_days_left": (0, 365),
    "verify_wait": (0, 600),
    "verify_kernel_timeout": (5, 3600),
}


def _is_port_range(entry: str) -> bool:
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", entry.strip())
    return match is not None and 1 <= int(match[1]) <= int(match[2] or match[1]) <= 65535


def verify_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each setting that cannot work; none means all are fine."""
    problems = [
        f"{name} is {settings[name]}; choose a number from {low} to {high}."
        for name, (low, high) in RANGES.items()
        if not low <= float(settings[name]) <= high
    ]
    for name in ("verify_open_ports", "verify_allowed_ports"):
        problems += [
            f"{name} holds {port}, which is no port; ports go from 1 to 65535."
            for port in settings[name]
            if not 1 <= int(port) <= 65535
        ]
    problems += [
        f"verify_scan_ports holds '{entry}'; write a port such as 8888 or a range such as 1-1024."
        for entry in map(str, settings["verify_scan_ports"])
        if not _is_port_range(entry)
    ]
    names = [kernel["name"] for kernel in settings["verify_kernels"]]
    problems += [
        f"verify_kernels names '{name}' twice; give each kernel a name of its own."
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    return problems


def verify_expected_kernels(kernels: list[Mapping[str, Any]], prefix: str) -> list[dict[str, str]]:
    """Return what the role must find for a list of kernels that have their environments below ``prefix``/envs."""
    return [
        {
            "name": kernel["name"],
            "language": kernel.get("language", "python"),
            "prefix": f"{prefix}/envs/{kernel['name']}",
        }
        for kernel in kernels
        if kernel.get("state", "present") != "absent"
    ]


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name the filters."""
        return {"verify_problems": verify_problems, "verify_expected_kernels": verify_expected_kernels}

"""What preflight checks before any role does: names, components and ports that roles share."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def roles(folder: str) -> list[str]:
    """The roles in a folder that can be asked whether they would work."""
    return sorted(path.parent.parent.name for path in Path(folder).glob("*/tasks/preflight.yml"))


def server_problems(name: str, components: Any, known: list[str]) -> list[str]:
    """Why a server's name or its list of components cannot be."""
    problems = []
    if not NAME.fullmatch(name):
        problems.append(
            f"The server name '{name}' cannot be a host name and a tag: use 1 to 63 of a-z, 0-9 and -, with a letter "
            "or digit at both ends."
        )
    if not isinstance(components, list):
        return [*problems, "server_components must be a list of role names."]
    for number, component in enumerate(components):
        if component not in known:
            alike = difflib.get_close_matches(str(component), known, n=1)
            hint = f" Did you mean {alike[0]}?" if alike else ""
            problems.append(f"server_components names '{component}', and there is no such role: correct it.{hint}")
        elif component in components[:number]:
            problems.append(f"server_components names {component} twice: name it once.")
    return problems


def port_clashes(ports: dict[str, Any]) -> list[str]:
    """Ports that two services want, or that are none; the keys are the settings' names."""
    problems: list[str] = []
    owners: dict[int, str] = {}
    for setting, port in ports.items():
        if isinstance(port, bool) or not str(port).isdigit() or not 1 <= int(port) <= 65535:
            problems.append(f"{setting} is '{port}', which is not a port: give a number from 1 to 65535.")
        elif int(port) in owners:
            problems.append(f"{setting} and {owners[int(port)]} both want port {port}: change one of them.")
        else:
            owners[int(port)] = setting
    return problems


def sources(installer_url: str, channels: list[str]) -> list[dict[str, str]]:
    """What to ask before a server needs it: the installer, and the small part of each channel's index."""
    wanted = [{"url": installer_url, "setting": "anaconda_kernels_installer_url"}] if installer_url else []
    for channel in channels:
        base = channel if "://" in channel else f"https://conda.anaconda.org/{channel}"
        wanted.append({"url": f"{base.rstrip('/')}/noarch/repodata.json", "setting": "anaconda_kernels_channels"})
    return [one for one in wanted if not one["url"].startswith("file:")]


class FilterModule:
    """Ansible's entrance."""

    def filters(self) -> dict[str, Any]:
        """The filters by name."""
        return {
            "preflight_port_clashes": port_clashes,
            "preflight_roles": roles,
            "preflight_server_problems": server_problems,
            "preflight_sources": sources,
        }

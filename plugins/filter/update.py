"""What the role update says and decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def words(packages: list[dict[str, str]]) -> list[str]:
    """Each package as people read it."""
    return [f"{one['name']} {one['old'] or '(new)'} -> {one['new']}" for one in packages]


def update_says(look: dict[str, Any], reboot: bool, restart: bool) -> list[str]:
    """What becomes of the system, before it is done."""
    packages = look["packages"]
    says = [f"System packages: {len(packages)} change." if packages else "System packages: all are up to date."]
    says += [f"  {line}" for line in words(packages)]
    if look["held"]:
        says.append(
            f"  Kept back, because something else would have to go: {', '.join(look['held'])}. That is yours to decide."
        )
    if packages or look["stale"]:
        how = (
            "are restarted, which ends what runs in them (of jupyter.service: kernels and terminals)"
            if restart
            else "are named"
        )
        says.append(
            f"Services that run with replaced files {how}{': ' + ', '.join(look['stale']) if look['stale'] else ''}."
        )
    if look["reboot"]:
        do = "it comes at the end" if reboot else "give -e reboot=true to have it"
        says.append(f"A reboot is due ({look['reboot']}): {do}.")
    return says


def update_way_back(packages: list[dict[str, str]], manager: str) -> str:
    """The command that brings the former versions back, and takes away what is new."""
    former = [one for one in packages if one["old"]]
    new = [one["name"] for one in packages if not one["old"]]
    if manager == "apt":
        wanted = [f"{one['name']}={one['old']}" for one in former] + [f"{name}-" for name in new]
        return " ".join(["apt-get install --allow-downgrades", *wanted])
    return " ".join(["dnf downgrade", *(f"{one['name']}-{one['old']}" for one in former)])


def update_latest(kernels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The list of kernels, brought up to date but for those that a lock file holds."""
    return [
        {**kernel, "state": "latest"} if not kernel.get("lock_file") and kernel.get("state") != "absent" else kernel
        for kernel in kernels
    ]


def update_back(kernels: list[dict[str, Any]], folder: str, names: list[str]) -> list[dict[str, Any]]:
    """These kernels exactly as the lists in a folder have them; the others as they are asked for."""
    found = []
    for kernel in kernels:
        if kernel["name"] in names:
            kept = {key: value for key, value in kernel.items() if key not in ("packages", "environment_file", "state")}
            found.append({**kept, "lock_file": f"{folder}/{kernel['name']}.txt"})
        else:
            found.append(kernel)
    return found


class FilterModule:
    """Filters of the role update."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {f.__name__: f for f in (update_says, update_way_back, update_latest, update_back)}

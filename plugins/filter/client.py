"""What the role client decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def current(made: str, sources: list[str]) -> bool:
    """Whether a file is there and no older than those that it is made from, which are there too."""
    files = [Path(name).expanduser() for name in (made, *sources)]
    if not all(file.is_file() for file in files):
        return False
    times = [file.stat().st_mtime for file in files]
    return times[0] >= max(times[1:])


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def some(names: list[str], most: int = 20) -> str:
    """The first of many names."""
    shown = ", ".join(name.encode(errors="replace").decode() for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def files_said(result: dict[str, Any], server: str, way: str, check: bool) -> str:
    """What was brought to a server or from it, in words."""
    count = len(result["files"])
    went = "would go" if check else "went"
    said = [
        f"{count} files ({size(result['bytes'])}) {went} {way} {server} by {result['how']}: {some(result['files'])}."
        if count
        else f"Nothing to bring {way} {server}.",
        f"{result['same']} are the same on both sides.",
    ]
    if result["newer"]:
        said.append(
            f"{len(result['newer'])} stay because they are newer where they would go (-e overwrite=true replaces them): "
            f"{some(result['newer'])}."
        )
    if result["links"]:
        said.append(f"{result['links']} links were left out.")
    return " ".join(said)


class FilterModule:
    """Ansible's entrance."""

    def filters(self) -> dict[str, Any]:
        """The filters by name."""
        return {"client_current": current, "notebook_files_said": files_said}

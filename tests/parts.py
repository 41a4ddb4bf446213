"""The parts of the tests: what each runs, what it needs, and how much it may take.

A part belongs to the gate, or to one of the slices that CI takes in turn. The CPU seconds are what it may take on a quiet
machine; a part that takes more is named at the end of a run, and whoever makes one longer raises the figure on purpose.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "reports"
PYTHON = sys.executable


@dataclass
class Part:
    """Something to run, and how to count what it found."""

    name: str
    commands: list[list[str]]
    junit: list[str] = field(default_factory=list)  # results in reports/ to count
    counts: bool = True  # itself counts as one, beside its junit results
    needs: tuple[str, ...] = ()  # parts that have to be done before
    quick: bool = False  # runs first; nothing else starts when it fails
    slice: int = 0  # 0 is the gate, the others are the rest
    cores: int = 1  # how many it keeps busy; 0: it mostly waits, and runs beside as many others as there may be
    budget: int = 0  # CPU seconds
    labels: tuple[str, ...] = ()  # of the containers that work for it
    programs: tuple[str, ...] = ()  # of the system, beside a container engine
    cleanup: list[str] = field(default_factory=list)  # removes what an interrupted run leaves
    environment: dict[str, str] = field(default_factory=dict)

    passed: int = 0
    failed: int = 0
    reasons: list[str] = field(default_factory=list)  # why, for each test that did not pass
    started: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    done: bool = False

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return REPORTS / f"{self.name.replace(':', '-')}.log"


def pytest(name: str, *arguments: str, marked: str, **more: Any) -> Part:
    """Return a part that runs the tests of a folder that are marked like this."""
    junit = f"{name.replace(':', '-')}.xml"
    command = [PYTHON, "-m", "pytest", *arguments, "--color=no", f"--junit-xml=reports/{junit}"]
    if marked:
        command += ["-m", marked]
    return Part(name, [command], junit=[junit], counts=False, **more)


def molecule(name: str, budget: int, *images: str, **more: Any) -> Part:
    """Return a part that runs a scenario from nothing to nothing."""
    return Part(
        f"molecule:{name}",
        [["molecule", "test", "-s", name]],
        junit=[f"molecule-{name}.xml"],
        needs=tuple(f"image:{image}" for image in images or ("13",)),
        budget=budget,
        labels=(f"molecule-{name}",),
        cleanup=["molecule", "destroy", "-s", name],
        **more,
    )


def troubles(**more: Any) -> Part:
    """Return a part that runs the other tests of the scenario ec2_provision, after those of the gate: its lab is the same."""
    part = molecule("ec2_provision", more.pop("budget"), "13", **more)
    part.name, part.needs, part.junit = f"{part.name}:rest", ("molecule:ec2_provision",), ["ec2_provision-rest.xml"]
    part.environment = {"EC2_PROVISION_TESTS": "extended", "EC2_PROVISION_JUNIT": "ec2_provision-rest"}
    return part


def life(number: int, files: list[str], lab: str, **more: Any) -> Part:
    """Return a part that runs one half of a server's life, in a lab of its own."""
    return pytest(
        f"life:{number}",
        *files,
        marked="",
        needs=("image:13-prepared",),
        labels=(lab.split(":")[0],),
        programs=("rsync", "puttygen"),
        environment={"LIFE_LAB": lab, "LAB_IMAGE": "13-prepared"},
        **more,
    )


def shell_scripts() -> list[str]:
    """Return the project's shell scripts, found by their first line."""
    candidates = [*ROOT.glob("scripts/*"), *ROOT.glob(".ci/*"), *ROOT.glob("bin/*")]
    marks = (b"#!/bin/sh", b"#!/usr/bin/env bash", b"# shellcheck")
    return sorted(str(path.relative_to(ROOT)) for path in candidates if path.is_file() and is_marked(path, marks))


def is_marked(path: Path, marks: tuple[bytes, ...]) -> bool:
    """Tell whether a file begins with one of the marks."""
    with path.open("rb") as file:
        return file.read(40).startswith(marks)


def lint(ansible: list[str] | None = None) -> list[Part]:
    """Return the linters, ansible-lint on these files (None: all, an empty list: not at all)."""
    commands = {
        "yaml": ["yamllint", "--strict", "."],
        "ruff": ["ruff", "check", "."],
        "format": ["ruff", "format", "--check", "."],
        "types": ["mypy", "."],
        "shell": ["shellcheck", *shell_scripts()],
        "roles": [PYTHON, "scripts/check_roles.py"],
    }
    budgets = {"types": 60, "yaml": 20}
    parts = [
        Part(f"lint:{name}", [command], quick=True, budget=budgets.get(name, 10)) for name, command in commands.items()
    ]
    if ansible is None or ansible:
        parts.append(Part("lint:ansible", [["ansible-lint", "--nocolor", "--offline", *(ansible or [])]], budget=330))
    return parts


def images() -> list[Part]:
    """Return what builds the images that other parts need."""
    bare = [image("13"), image("12")]
    return [*bare, image("13-prepared", budget=90, needs=("image:13",))]


def image(name: str, budget: int = 60, **more: Any) -> Part:
    """Return a part that builds the image of a host."""
    return Part(f"image:{name}", [[PYTHON, "-m", "lab", "image", name]], counts=False, budget=budget, **more)


def all_parts() -> list[Part]:
    """Return everything: the gate first, then the slices."""
    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/life/test_*.py"))
    half = len(files) // 2
    side_by_side = ("-nauto", "--dist=worksteal")
    site: dict[str, Any] = {"needs": ("image:13",), "labels": ("e2e",), "programs": ("chromium", "certutil")}
    gate, rest = {"marked": "not extended"}, {"marked": "extended"}
    return [
        *images(),
        *lint(),
        pytest("unit", "tests/unit", *side_by_side, **gate, quick=True, cores=2, budget=330),
        pytest("e2e", "tests/e2e", **gate, budget=1100, **site),
        molecule("base", 220),
        molecule("docker", 350),
        molecule("mysql", 250),
        molecule("postgres", 350),
        molecule("anaconda_kernels", 450),
        molecule("jupyter_tls", 280),
        molecule("ec2_provision", 200),
        pytest("refusals", "tests/refusals", *side_by_side, **gate, cores=2, budget=220),
        # CI takes one of these slices in turn.
        life(1, files[:half], "life:5057:198.19.64.0/24", slice=1, budget=800),
        life(2, files[half:], "later:5058:198.19.65.0/24", slice=2, budget=800),
        molecule("cut_off", 350, slice=3),
        molecule("autostop", 200, "13-prepared", slice=4, programs=("chromium", "certutil")),
        molecule("somebody_here", 300, slice=6),
        molecule("debian12", 600, "12", "13", slice=5),
        molecule("notebook_container", 300, "13-prepared", slice=4),
        molecule("docker_vendor", 220, slice=6),
        molecule("anaconda_former", 250, slice=7),
        troubles(slice=8, budget=150),
        molecule("mysql_upgrade", 320, slice=7),
        molecule("postgres_upgrade", 350, "12", "13", slice=7),
        pytest("unit:rest", "tests/unit", *side_by_side, **rest, slice=8, cores=2, budget=100),
        pytest("refusals:rest", "tests/refusals", *side_by_side, **rest, slice=9, cores=2, budget=150),
        Part("pythons", [["scripts/pythons"]], slice=8, cores=2, budget=90),
        pytest("policies", "tests/policies", **gate, slice=10, budget=250),
        pytest("policies:rest", "tests/policies", **rest, slice=9, budget=80),
    ]


def daily() -> list[Part]:
    """Return what `make check` runs: the linters, ansible-lint on what changed, and the unit tests that are quick."""
    unit = pytest("unit:quick", "tests/unit", "-nauto", marked="not slow and not extended", cores=2, budget=40)
    return [*lint(changed()), unit]


def git(*arguments: str) -> list[str]:
    """Return the lines that git prints; none if it fails, as where there is no branch main."""
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    ).stdout.splitlines()


def changed() -> list[str]:
    """Return what ansible-lint looks at: changed roles and YAML files, since main, not committed or new."""
    base = (git("merge-base", "HEAD", "main") or git("merge-base", "HEAD", "origin/main") or ["HEAD"])[0]
    files = {*git("diff", "--name-only", base), *git("ls-files", "--others", "--exclude-standard")}
    found = set()
    for name in files:
        path = Path(name)
        if path.parts[0] == "roles" and len(path.parts) > 2:
            found.add(f"roles/{path.parts[1]}")
        elif path.suffix in (".yml", ".yaml") and path.parts[0] in ("playbooks", "molecule", "site.yml"):
            found.add(name)
    return sorted(name for name in found if (ROOT / name).exists())

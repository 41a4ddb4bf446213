#!/usr/bin/env python3
"""Everything that `make test` runs, side by side where it can be, and where the time went.

  tests/run.py                              everything
  tests/run.py --only lint,unit             some of it
  tests/run.py --only molecule:base         one of a group

The log of each part is reports/<part>.log. The last line is `N passed, N failed`: tests, plus one for each scenario and
each step of lint. A test that was skipped has shown nothing and counts as failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "reports"
BIN = Path(sys.executable).parent
PYTHON = sys.executable
HEARTBEAT = 20  # seconds between two lines that say what is running
LIMIT = 50 * 60  # seconds after which a part is taken for hanging
# Scenarios that take twice as long as others start first.
LONG = {"cut_off", "docker", "ec2_provision", "jupyter_tls", "postgres"}
# Scenarios that mostly wait for time to pass: they take no place from others.
WAITING = {"autostop"}
TAIL = 40  # lines of the log of a part that failed
REASON = 700  # characters of the reason why a test failed


@dataclass
class Part:
    """Something to run, and how to count what it found."""

    name: str
    commands: list[list[str]]
    junit: list[str] = field(default_factory=list)  # results in reports/ to count
    counts: bool = True  # itself counts as one, beside its junit results
    needs: str = ""  # a part that has to be done before
    waits: bool = False  # mostly, so that it runs beside as many others as there may be
    cleanup: list[str] = field(default_factory=list)  # removes what an interrupted run leaves
    environment: dict[str, str] = field(default_factory=dict)

    passed: int = 0
    failed: int = 0
    reasons: list[str] = field(default_factory=list)  # why, for each test that did not pass
    started: float = 0.0
    seconds: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    done: bool = False

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return REPORTS / f"{self.name.replace(':', '-')}.log"


def pytest(name: str, folder: str, *arguments: str, **more: Any) -> Part:
    """Return a part that runs the tests in a folder."""
    junit = f"{name.replace(':', '-')}.xml"
    command = [PYTHON, "-m", "pytest", folder, "--color=no", f"--junit-xml=reports/{junit}", *arguments]
    return Part(name, [command], junit=[junit], counts=False, **more)


def lives() -> list[Part]:
    """Return the tests of a server's life in two halves, each with a server in a lab of its own."""
    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/life/test_*.py"))
    halves = {"life:1": files[: len(files) // 2], "life:2": files[len(files) // 2 :]}
    labs = {"life:1": "life:5057:198.19.64.0/24", "life:2": "later:5058:198.19.65.0/24"}
    return [
        pytest(name, half[0], *half[1:], needs="images", environment={"LIFE_LAB": labs[name]})
        for name, half in halves.items()
    ]


def shell_scripts() -> list[str]:
    """Return the project's shell scripts, found by their first line."""
    candidates = [*ROOT.glob("scripts/*"), *ROOT.glob(".ci/*"), *ROOT.glob("bin/*")]
    marks = (b"#!/bin/sh", b"#!/usr/bin/env bash", b"# shellcheck")
    return sorted(str(path.relative_to(ROOT)) for path in candidates if path.is_file() and is_marked(path, marks))


def is_marked(path: Path, marks: tuple[bytes, ...]) -> bool:
    """Tell whether a file begins with one of the marks."""
    with path.open("rb") as file:
        return file.read(40).startswith(marks)


def scenarios() -> list[str]:
    """Return the names of all Molecule scenarios."""
    return sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))


def all_parts() -> list[Part]:
    """Return everything, what takes longest first so that it does not end last."""
    lint = {
        "ansible": ["ansible-lint", "--nocolor", "--offline"],
        "yaml": ["yamllint", "--strict", "."],
        "ruff": ["ruff", "check", "."],
        "format": ["ruff", "format", "--check", "."],
        "types": ["mypy", "."],
        "shell": ["shellcheck", *shell_scripts()],
        "roles": [PYTHON, "scripts/check_roles.py"],
    }
    molecule = [
        Part(
            f"molecule:{name}",
            [["molecule", "test", "-s", name]],
            junit=[f"molecule-{name}.xml"],
            needs="images",
            waits=name in WAITING,
            cleanup=["molecule", "destroy", "-s", name],
        )
        for name in sorted(scenarios(), key=lambda name: name not in LONG)
    ]
    return [
        Part("images", [[PYTHON, "-m", "lab", "image", release] for release in ("13", "12")], counts=False),
        *[Part(f"lint:{name}", [command]) for name, command in lint.items()],
        pytest("unit", "tests/unit", "-nauto", "--dist=worksteal"),
        pytest("e2e", "tests/e2e", needs="images"),
        *lives(),
        *molecule,
        Part("other-python", [["scripts/other-python"]], junit=["other-python.xml"], needs="images"),
        pytest("refusals", "tests/refusals", "-n2", "--dist=worksteal", needs="images"),
        pytest("policies", "tests/policies", needs="images"),
    ]


def chosen(parts: list[Part], only: str) -> list[Part]:
    """Return the parts that were asked for, and what they need."""
    if not only:
        return parts
    wanted = [name.rstrip(":") for name in only.split(",")]
    found = [part for part in parts if part.name in wanted or part.name.split(":")[0] in wanted]
    known = {part.name for part in parts} | {part.name.split(":")[0] for part in parts}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"There is no part {', '.join(unknown)}; there are: {', '.join(sorted(known))}.")
    needed = {part.needs for part in found}
    return [part for part in parts if part in found or part.name in needed]


def prepare(parts: list[Part]) -> dict[str, str]:
    """Find the container engine and install system packages, if a part needs them. Return new environment variables."""
    environment = {}
    if any(part.needs == "images" for part in parts):
        engine = subprocess.run(["scripts/engine"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if engine.returncode:
            sys.exit(engine.returncode)
        environment["DOCKER_HOST"] = engine.stdout.strip().partition("=")[2]
    if any(part.name == "e2e" for part in parts):
        packages = subprocess.run(["scripts/system-packages", "install"], cwd=ROOT, check=False)
        if packages.returncode:
            sys.exit(packages.returncode)
    return environment


def start(part: Part, environment: dict[str, str]) -> None:
    """Start a part in a process group of its own, so that it can be stopped with all that it started."""
    for name in part.junit:
        (REPORTS / name).unlink(missing_ok=True)
    part.started = time.monotonic()
    output = part.log.open("wb")
    start_next(part, environment, output)


def start_next(part: Part, environment: dict[str, str], output: IO[bytes]) -> None:
    """Start the next of its commands."""
    command = part.commands.pop(0)
    output.write(f"$ {' '.join(command)}\n".encode())
    output.flush()
    part.process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment | part.environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    output.close()


def results(path: Path) -> tuple[int, int]:
    """Return how many tests of a junit file passed, and how many did not."""
    passed = failed = 0
    for suite in ElementTree.parse(path).iter("testsuite"):  # noqa: S314 - written by pytest, just now
        total = int(suite.get("tests", 0))
        bad = sum(int(suite.get(kind, 0)) for kind in ("failures", "errors", "skipped"))
        passed, failed = passed + total - bad, failed + bad
    return passed, failed


def reasons(path: Path) -> list[str]:
    """Return the name of each test of a junit file that did not pass, and why."""
    found = []
    for case in ElementTree.parse(path).iter("testcase"):  # noqa: S314 - written by pytest, just now
        for kind in ("failure", "error", "skipped"):
            for entry in case.findall(kind):
                why = " ".join((entry.get("message") or entry.text or "").split())
                found.append(f"{case.get('classname')}::{case.get('name')}: {kind}: {why[:REASON]}")
    return found


def finish(part: Part, code: int) -> None:
    """Count what a part found, and say why if that is not good: what its tests say, or else the end of its log."""
    part.done = True
    part.seconds = time.monotonic() - part.started if part.started else 0.0
    written = [REPORTS / name for name in part.junit if (REPORTS / name).exists()]
    shown = [results(path) for path in written]
    part.reasons = [reason for path in written for reason in reasons(path)]
    part.passed = sum(passed for passed, _ in shown)
    part.failed = sum(failed for _, failed in shown)
    # Results that are missing have shown nothing.
    good = code == 0 and len(shown) == len(part.junit)
    if good and part.counts:
        part.passed += 1
    elif not good and (part.counts or not part.failed):
        part.failed += 1
    if part.failed:
        print(f"FAILED {part.name} after {part.seconds:.0f} s; {part.log.relative_to(ROOT)}:", flush=True)
        lines = part.log.read_text(encoding="utf-8", errors="replace").splitlines() if part.log.exists() else []
        print("\n".join(f"  | {line}" for line in part.reasons or lines[-TAIL:]), flush=True)
    else:
        print(f"ok     {part.name} in {part.seconds:.0f} s", flush=True)


def stop(part: Part, number: signal.Signals) -> None:
    """Send a signal to everything that a part started."""
    if part.process and part.process.poll() is None:
        os.killpg(part.process.pid, number)


def clean_up(part: Part, environment: dict[str, str]) -> None:
    """Remove what a part that was stopped leaves behind."""
    if part.cleanup:
        with part.log.open("ab") as output:
            subprocess.run(
                part.cleanup, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
            )


def check_on(part: Part, environment: dict[str, str]) -> None:
    """Look whether a running part has ended, or hangs."""
    if part.process is None:
        return
    code = part.process.poll()
    if code is None and time.monotonic() - part.started > LIMIT:
        stop(part, signal.SIGKILL)
        with part.log.open("ab") as output:
            output.write(f"\nStopped: it was not done after {LIMIT} s.\n".encode())
        code = part.process.wait() or 1
        clean_up(part, environment)
    if code == 0 and part.commands:
        start_next(part, environment, part.log.open("ab"))
    elif code is not None:
        finish(part, code)


def run(parts: list[Part], environment: dict[str, str], slots: int) -> None:
    """Run all parts, some side by side, and say now and then which are running."""
    by_name = {part.name: part for part in parts}
    spoke = time.monotonic()
    while waiting := [part for part in parts if not part.done]:
        running = [part for part in waiting if part.process]
        for part in running:
            check_on(part, environment)
        for part in waiting:
            before = by_name.get(part.needs)
            taken = sum(p.process is not None and not p.done and not p.waits for p in parts)
            if part.process or (before and not before.done) or (taken >= slots and not part.waits):
                continue
            if before and before.failed:
                part.log.write_text(f"Not run, because {before.name} failed.\n", encoding="utf-8")
                finish(part, 1)
            else:
                start(part, environment)
        if time.monotonic() - spoke > HEARTBEAT:
            spoke = time.monotonic()
            busy = [f"{part.name} {spoke - part.started:.0f} s" for part in parts if part.process and not part.done]
            print(f"...    {', '.join(busy)}", flush=True)
        time.sleep(0.2)


def interrupted(parts: list[Part], environment: dict[str, str]) -> None:
    """Stop what runs and remove what it would leave behind."""
    running = [part for part in parts if part.process and not part.done]
    print(f"\nStopping {', '.join(part.name for part in running)} and removing what they started ...", flush=True)
    for part in running:
        stop(part, signal.SIGINT)
    patience = time.monotonic() + 60
    while time.monotonic() < patience and any(part.process and part.process.poll() is None for part in running):
        time.sleep(0.2)
    for part in running:
        stop(part, signal.SIGKILL)
    for part in running:
        if part.cleanup:
            with part.log.open("ab") as output:
                subprocess.run(
                    part.cleanup, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
                )


def report(parts: list[Part], seconds: float) -> int:
    """Print the table and the closing line; return the exit code."""
    width = max(len(part.name) for part in parts)
    print(f"\n{'part':{width}}  seconds  passed  failed")
    for part in sorted(parts, key=lambda part: -part.seconds):
        print(f"{part.name:{width}}  {part.seconds:7.0f}  {part.passed:6}  {part.failed:6}")
    print(f"{'all, side by side':{width}}  {seconds:7.0f}\n")
    for part in parts:
        for reason in part.reasons:
            print(f"{part.name}: {reason}\n")
    passed, failed = sum(part.passed for part in parts), sum(part.failed for part in parts)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """Stop, whether by Ctrl-C or by whoever runs this."""
    raise KeyboardInterrupt


def main() -> int:
    """Run what was asked for and return the exit code."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PART,...", help="some parts, by name or by group")
    parser.add_argument(
        "--jobs", type=int, default=max(2, cores - 1), help="parts side by side (cores - 1, at least 2)"
    )
    options = parser.parse_args()
    # Also SIGINT: a shell starts what runs in the background with that one ignored, and so would be all parts.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, raise_interrupt)
    started = time.monotonic()
    parts = chosen(all_parts(), options.only)
    REPORTS.mkdir(exist_ok=True)
    # ansible, molecule and the linters find each other on PATH.
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    environment |= {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "VIRTUAL_ENV": str(BIN.parent)}
    try:
        environment |= prepare(parts)
        run(parts, environment, options.jobs)
    except KeyboardInterrupt:
        interrupted(parts, environment)
        return 130
    return report(parts, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())

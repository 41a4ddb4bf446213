#!/usr/bin/env python3
"""Everything that `make test` runs, side by side where it can be, and where the time went.

  python -m tests.run                       the gate
  python -m tests.run --slice 3             the gate, and one slice of the rest (any number: what is left over counts)
  python -m tests.run --all                 the gate and all slices
  python -m tests.run --check               the linters and the quick unit tests
  python -m tests.run --only lint,unit      some parts
  python -m tests.run --only molecule:base  one of a group

What is quick runs first, and nothing else starts when it fails. The log of each part is reports/<part>.log. The last line
is `N passed, N failed`: tests, plus one for each scenario and each step of lint. A test that was skipped has shown nothing
and counts as failed; so does a part that was not done at the deadline.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import FrameType
from typing import IO

from tests import cpu
from tests.parts import PYTHON, REPORTS, ROOT, Part, all_parts, daily

BIN = Path(PYTHON).parent
LAST = ROOT / ".cache" / "test-seconds.json"  # how long each part took the last time
HEARTBEAT = 30  # seconds between two lines that say what is running
LOOK = 5  # seconds between two looks at the CPU seconds of containers
DEADLINE = 85 * 60  # seconds after which what still runs is ended
TAIL = 40  # lines of the log of a part that failed
REASON = 700  # characters of the reason why a test failed
PATIENCE = 60  # seconds that a part has to end by itself
OVER = 1.25  # times the budget that is named at the end: machines differ


def chosen(parts: list[Part], only: str) -> list[Part]:
    """Return the parts that were asked for by name or group, and what they need."""
    wanted = [name.rstrip(":") for name in only.split(",")]
    known = {part.name for part in parts} | {part.name.split(":")[0] for part in parts}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"There is no part {', '.join(unknown)}; there are: {', '.join(sorted(known))}.")
    return with_needs(parts, [part for part in parts if part.name in wanted or part.name.split(":")[0] in wanted])


def with_needs(parts: list[Part], found: list[Part]) -> list[Part]:
    """Return these parts and what they need."""
    needed = {name for part in found for name in part.needs}
    more = [part for part in parts if part.name in needed and part not in found]
    return [part for part in parts if part in with_needs(parts, found + more)] if more else found


def of_slices(parts: list[Part], number: int | None) -> list[Part]:
    """Return the gate, with one slice of the rest if there is a number: slices are taken in turn."""
    last = max((part.slice for part in parts), default=0)
    taken = {0} if number is None or not last else {0, number % last + 1}
    found = [part for part in parts if part.slice in taken and not part.name.startswith("image:")]
    return with_needs(parts, found)


def prepare(parts: list[Part]) -> dict[str, str]:
    """Find the container engine and install system packages, if a part needs them. Return new environment variables."""
    environment = {}
    if any(part.needs for part in parts):
        engine = subprocess.run(["scripts/engine"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if engine.returncode:
            sys.exit(engine.returncode)
        environment["DOCKER_HOST"] = engine.stdout.strip().partition("=")[2]
    if programs := sorted({program for part in parts for program in part.programs}):
        packages = subprocess.run(["scripts/system-packages", "install", *programs], cwd=ROOT, check=False)
        if packages.returncode:
            sys.exit(packages.returncode)
    return environment


def start(part: Part, environment: dict[str, str]) -> None:
    """Start a part in a process group of its own, so that it can be stopped with all that it started."""
    for name in part.junit:
        (REPORTS / name).unlink(missing_ok=True)
    part.started = time.monotonic()
    start_next(part, environment, part.log.open("wb"))


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
        print(f"FAILED {part.name} after {part.seconds:.0f} s; {part.log}:", flush=True)
        lines = part.log.read_text(encoding="utf-8", errors="replace").splitlines() if part.log.exists() else []
        print("\n".join(f"  | {line}" for line in part.reasons or lines[-TAIL:]), flush=True)
    else:
        print(f"ok     {part.name} in {part.seconds:.0f} s", flush=True)


def give_up(part: Part, why: str) -> None:
    """Count a part as failed that was not run, or not to its end."""
    with part.log.open("ab" if part.started else "wb") as output:
        output.write(f"\n{why}\n".encode())
    finish(part, 1)
    part.reasons.append(why)


def stop(part: Part, number: signal.Signals) -> None:
    """Send a signal to everything that a part started."""
    if part.process and part.process.returncode is None:
        os.killpg(part.process.pid, number)


def clean_up(part: Part, environment: dict[str, str]) -> None:
    """Remove what a part that was stopped leaves behind."""
    if part.cleanup:
        with part.log.open("ab") as output:
            subprocess.run(
                part.cleanup, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
            )


def end(running: list[Part], environment: dict[str, str]) -> None:
    """End parts, first kindly, and remove what they would leave behind."""
    for part in running:
        stop(part, signal.SIGINT)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and any(part.process and cpu.reap(part.process)[0] is None for part in running):
        time.sleep(0.2)
    for part in running:
        stop(part, signal.SIGKILL)
        clean_up(part, environment)


def check_on(part: Part, environment: dict[str, str]) -> None:
    """Look whether a running part has ended."""
    if part.process is None:
        return
    code, seconds = cpu.reap(part.process)
    part.cpu += seconds
    if code == 0 and part.commands:
        start_next(part, environment, part.log.open("ab"))
    elif code is not None:
        finish(part, code)


def last_figures() -> dict[str, float]:
    """Return how long each part took the last time on this machine."""
    return dict(json.loads(LAST.read_text())) if LAST.exists() else {}


def in_order(parts: list[Part]) -> list[Part]:
    """Return parts in the order in which they start: what is quick, what others need, then what takes longest."""
    figures = last_figures()
    needed = {name for part in parts for name in part.needs}

    def rank(part: Part) -> tuple[bool, bool, float]:
        return not part.quick, part.name not in needed, -figures.get(part.name, part.budget)

    return sorted(parts, key=rank)


def start_what_can(parts: list[Part], environment: dict[str, str], slots: int) -> None:
    """Start, in this order, each part that has what it needs and for which there is a core."""
    by_name = {part.name: part for part in parts}
    hurry = [part for part in parts if part.quick and not part.done]
    broken = [part.name for part in parts if part.quick and part.failed]
    needed = {name for part in parts for name in part.needs}
    for part in parts:
        before = [by_name[name] for name in part.needs if name in by_name]
        if part.started or part.done or (hurry and not part.quick and part.name not in needed):
            continue
        if broken and not part.quick:
            give_up(part, f"Not run, because {', '.join(broken)} failed.")
        elif failed := [other.name for other in before if other.failed]:
            give_up(part, f"Not run, because {', '.join(failed)} failed.")
        elif all(other.done for other in before):
            taken = sum(min(other.cores, slots) for other in parts if other.started and not other.done)
            if not part.cores or taken + min(part.cores, slots) <= slots:
                start(part, environment)


def run(parts: list[Part], environment: dict[str, str], slots: int, deadline: float = DEADLINE) -> None:
    """Run all parts, some side by side, and say now and then which are running."""
    parts = in_order(parts)
    containers = cpu.Containers(environment)
    started = spoke = looked = time.monotonic()
    while waiting := [part for part in parts if not part.done]:
        now = time.monotonic()
        for part in waiting:
            check_on(part, environment)
        if now - started > deadline:
            late = [part for part in waiting if not part.done]
            end([part for part in late if part.started], environment)
            for part in late:
                give_up(part, f"Not done when the {deadline / 60:.0f} minutes of the run were over.")
            break
        start_what_can(parts, environment, slots)
        if now - looked > LOOK:
            looked = now
            containers.look()
        if now - spoke > HEARTBEAT:
            spoke = now
            busy = [f"{part.name} {spoke - part.started:.0f} s" for part in parts if part.started and not part.done]
            print(f"...    {', '.join(busy)}", flush=True)
        time.sleep(0.2)
    for part in parts:
        part.cpu += containers.of(part.labels)


def remember(parts: list[Part]) -> None:
    """Keep how long each part took, for the order of the next run."""
    LAST.parent.mkdir(exist_ok=True)
    figures = last_figures() | {part.name: round(part.seconds) for part in parts if part.passed and not part.failed}
    LAST.write_text(json.dumps(figures, indent=1) + "\n")


def report(parts: list[Part], seconds: float) -> int:
    """Print the table and the closing line; return the exit code."""
    width = max(len(part.name) for part in parts + [Part("all, side by side", [])])
    print(f"\n{'part':{width}}  seconds  CPU s  budget  passed  failed")
    for part in sorted(parts, key=lambda part: -part.seconds):
        figures = f"{part.seconds:7.0f}  {part.cpu:5.0f}  {part.budget or '':6}  {part.passed:6}  {part.failed:6}"
        print(f"{part.name:{width}}  {figures}{'  over its budget' if is_over(part) else ''}")
    print(f"{'all, side by side':{width}}  {seconds:7.0f}  {sum(part.cpu for part in parts):5.0f}\n")
    for part in parts:
        for reason in part.reasons:
            print(f"{part.name}: {reason}\n")
    passed, failed = sum(part.passed for part in parts), sum(part.failed for part in parts)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


def is_over(part: Part) -> bool:
    """Tell whether a part took so much more than its budget that somebody should look."""
    return bool(part.budget) and part.cpu > OVER * part.budget


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """Stop, whether by Ctrl-C or by whoever runs this."""
    raise KeyboardInterrupt


def main() -> int:
    """Run what was asked for and return the exit code."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--only", default="", metavar="PART,...", help="some parts, by name or by group")
    what.add_argument("--slice", type=int, metavar="NUMBER", help="the gate and one slice of the rest")
    what.add_argument("--all", action="store_true", help="the gate and all slices")
    what.add_argument("--check", action="store_true", help="linters, on what changed, and the quick unit tests")
    parser.add_argument("--jobs", type=int, default=max(2, cores), help="cores to keep busy (all, at least 2)")
    parser.add_argument("--minutes", type=float, default=DEADLINE / 60, help="after which what still runs is ended")
    options = parser.parse_args()
    # Also SIGINT: a shell starts what runs in the background with that one ignored, and so would be all parts.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, raise_interrupt)
    started = time.monotonic()
    parts = daily() if options.check else all_parts()
    if options.only:
        parts = chosen(parts, options.only)
    elif not (options.check or options.all):
        parts = of_slices(parts, options.slice)
    REPORTS.mkdir(exist_ok=True)
    # ansible, molecule and the linters find each other on PATH.
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    environment |= {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "VIRTUAL_ENV": str(BIN.parent)}
    try:
        environment |= prepare(parts)
        run(parts, environment, options.jobs, options.minutes * 60)
    except KeyboardInterrupt:
        running = [part for part in parts if part.started and not part.done]
        print(f"\nStopping {', '.join(part.name for part in running)} and removing what they started ...", flush=True)
        end(running, environment)
        return 130
    remember(parts)
    return report(parts, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Applies a playbook again and again and kills each run at another place, until one comes through; then once more.

  molecule/shared/cut_off.py playbook.yml [--limit HOST]

Each run starts on what the one before left, and none waits for it: not for a connection that stays, nor for a package
manager that goes on by itself. Where a run is killed, tests/plugins/callback/cut_off.py says: after each task that
changed something, and once in the middle of each that takes long. The last run must change nothing. The inventory and
all else is as Ansible finds it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 80  # runs after which something does not get on
PATIENCE = 600  # seconds for one run


def apply(playbook: str, limit: str, cut: dict[str, str]) -> tuple[int, str]:
    """Run the playbook once in a process group of its own; return its exit code and what it said."""
    environment = os.environ | cut
    if cut:
        own = [str(ROOT / folder) for folder in ("plugins/callback", "tests/plugins/callback")]
        folders = [*own, os.environ.get("ANSIBLE_CALLBACK_PLUGINS", "")]
        environment["ANSIBLE_CALLBACK_PLUGINS"] = ":".join(filter(None, folders))
        environment["ANSIBLE_CALLBACKS_ENABLED"] = "preload,cut_off"
    program = shutil.which("ansible-playbook") or str(Path(sys.executable).parent / "ansible-playbook")
    command = [program, playbook, *(["--limit", limit] if limit else [])]
    # A file and not a pipe: what a killed run leaves running would hold a pipe open.
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = process.wait(PATIENCE)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        output.seek(0)
        return code, output.read()


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def fail(text: str, output: str) -> int:
    """Say what went wrong and show the end of the run."""
    say("\n".join([text, *(f"  | {line}" for line in output.splitlines()[-80:])]))
    return 1


def main() -> int:
    """Cut until it comes through."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("playbook")
    parser.add_argument("--limit", default="", help="the hosts, else all that the playbook names")
    parser.add_argument("--points", type=int, default=10, help="cuts between two tasks that there have to be (10)")
    parser.add_argument("--step", type=int, default=0, help="tasks without a change between two cuts (0: none there)")
    parser.add_argument(
        "--long", type=float, default=5, help="seconds after which a task is cut in its middle, once (5)"
    )
    options = parser.parse_args()
    between = within = 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder, "notes.json")
        cut = {"CUT_OFF_NOTES": str(notes), "CUT_OFF_STEP": str(options.step), "CUT_OFF_LONG": str(options.long)}
        for number in range(1, LIMIT + 1):
            code, output = apply(options.playbook, options.limit, cut)
            if code == -signal.SIGKILL and notes.exists():
                place = json.loads(notes.read_text(encoding="utf-8"))["cut"]
                between, within = (
                    between + place["reason"].startswith("after"),
                    within + place["reason"].startswith("in"),
                )
                say(f"{time.monotonic() - started:4.0f} s  {place['task']}: cut {place['reason']}")
            elif code:
                return fail(f"Run {number}, after {between + within} that were cut off, failed:", output)
            else:
                break
        else:
            return fail(f"{LIMIT} runs did not come through:", output)
    code, output = apply(options.playbook, options.limit, {})
    if code or re.search(r"changed=[1-9]", output):
        return fail("It came through, but once more was not without change:", output)
    say(
        f"{between} runs cut between two tasks and {within} in the middle of one, in {time.monotonic() - started:.0f} s."
    )
    if between < options.points:
        return fail(f"There have to be {options.points} cuts between two tasks: give a --step.", "")
    return 0


if __name__ == "__main__":
    sys.exit(main())

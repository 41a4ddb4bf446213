#!/usr/bin/env python3
"""Measures what has a goal: a second `make demo` if there is one, and the data services beside a bare shell script.

The last lines are one figure each, `NAME: VALUE (goal GOAL)`; all that they come from is in reports/bench.json.
BENCH_ROUNDS (3) and BENCH_IMAGE (13) are for tests/bench/desk.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "reports" / "bench.json"


def again() -> dict[str, Any]:
    """Apply the running demo again; return how long that took, by role, and whether anything changed."""
    report = REPORT.with_name("bench-demo.json")
    report.unlink(missing_ok=True)
    started = time.monotonic()
    done = subprocess.run(["scripts/demo"], cwd=ROOT, env=os.environ | {"PROGRESS_REPORT": str(report)}, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(done.returncode)
    rows = json.loads(report.read_text(encoding="utf-8"))
    changed = sum(row["changed"] for row in rows)
    playbook = sum(row["seconds"] for row in rows)
    print(
        f"\nA second `make demo`: {seconds:.1f} s, of which the tasks {playbook:.1f} s; {changed} changed.", flush=True
    )
    figure = {
        "name": "demo_again_changed",
        "value": changed,
        "goal": 0,
        "relation": "<=",
        "unit": "",
        "met": not changed,
    }
    return {"figures": [figure], "seconds": round(seconds, 1), "roles": rows}


def desk() -> dict[str, Any]:
    """Measure docker, mysql and postgres on new hosts."""
    report = REPORT.with_name("bench-desk.json")
    report.unlink(missing_ok=True)
    command = [sys.executable, "tests/bench/desk.py", f"--json={report}"]
    command += [f"--rounds={os.environ.get('BENCH_ROUNDS', '3')}", f"--image={os.environ.get('BENCH_IMAGE', '13')}"]
    print("\ndocker, mysql and postgres on new hosts, beside a shell script that does the same:", flush=True)
    done = subprocess.run(command, cwd=ROOT, check=False)
    if not report.exists():
        sys.exit(done.returncode or 1)
    return dict(json.loads(report.read_text(encoding="utf-8")))


def line(figure: dict[str, Any]) -> str:
    """Return the line that says a figure."""
    value, goal = f"{figure['value']:g}{figure['unit']}", f"{figure['relation']} {figure['goal']:g}{figure['unit']}"
    return f"{figure['name']}: {value} (goal {goal})"


def main() -> int:
    """Measure, print and write; fail if a goal is not met."""
    REPORT.parent.mkdir(exist_ok=True)
    parts: dict[str, Any] = {}
    if (ROOT / ".lab" / "env").exists():
        parts["demo"] = again()
    else:
        print("There is no demo whose re-apply could be measured: make demo first.")
    parts["desk"] = desk()
    figures = [figure for part in parts.values() for figure in part["figures"]]
    REPORT.write_text(json.dumps({"figures": figures, **parts}, indent=1), encoding="utf-8")
    print("\n" + "\n".join(line(figure) for figure in figures))
    return 0 if all(figure["met"] for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Measures a second `make demo`: how long all of it takes, and the re-apply in it by role."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "reports" / "bench.json"


def main() -> int:
    """Apply again and print the table; fail if anything changed."""
    if not (ROOT / ".lab" / "env").exists():
        sys.exit("There is no demo to measure: make demo first.")
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.unlink(missing_ok=True)
    started = time.monotonic()
    done = subprocess.run(["scripts/demo"], cwd=ROOT, env=os.environ | {"PROGRESS_REPORT": str(REPORT)}, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        return done.returncode
    rows = json.loads(REPORT.read_text(encoding="utf-8"))
    changed = sum(row["changed"] for row in rows)
    playbook = sum(row["seconds"] for row in rows)
    REPORT.write_text(json.dumps({"seconds": round(seconds, 1), "roles": rows}, indent=1), encoding="utf-8")
    print(f"\nA second `make demo`: {seconds:.1f} s, of which the tasks {playbook:.1f} s; {changed} changed.")
    if changed:
        print("Nothing should have changed.")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())

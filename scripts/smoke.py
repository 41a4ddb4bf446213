#!/usr/bin/env python3
"""What only a real account can show: a whole life of one server in it, from launch to the proof that nothing is left.

It says what that costs and asks before it begins; the answer can be given beforehand: SMOKE_YES=1. Other settings: SMOKE_REGION
(us-west-2), SMOKE_TYPE (m7i-flex.large), SMOKE_BIGGER (m7i-flex.xlarge), SMOKE_BURST_HOURS (0.2; a change of type takes minutes, so
not much less). The server is called `smoke`. What fails is said, the rest is still tried, and the server is destroyed at the end in
any case. The report is reports/smoke.json.

SMOKE_ARGUMENTS="-i inventory/lab.yml", after `python -m lab up` and `. .lab/env`, rehearses it in the lab.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "reports" / "smoke.json"
INVENTORY = ROOT / ".state" / "smoke.yml"
SERVER = "smoke"
REGION = os.environ.get("SMOKE_REGION", "us-west-2")
TYPE = os.environ.get("SMOKE_TYPE", "m7i-flex.large")
BIGGER = os.environ.get("SMOKE_BIGGER", "m7i-flex.xlarge")
BURST_HOURS = os.environ.get("SMOKE_BURST_HOURS", "0.2")
DISK_GB, DATA_GB = 30, 4
# What a run is expected to take, and what it takes at most when AWS is slow: the price is that of the latter.
HOURS, BIGGER_HOURS = 3, 1


def steps() -> list[tuple[str, list[str]]]:
    """Return what a person would type in the months of a server's life: name, playbook and arguments."""
    return [
        ("launch", ["site.yml"]),
        ("again, nothing to do", ["site.yml"]),
        ("status", ["playbooks/status.yml"]),
        ("back up", ["playbooks/backup.yml"]),
        ("restore", ["playbooks/restore.yml", "-e", "snapshot=latest", "-e", f"confirm={SERVER}"]),
        ("stop", ["playbooks/stop.yml"]),
        ("start", ["playbooks/start.yml"]),
        ("resize", ["playbooks/resize.yml", "-e", f"type={BIGGER}"]),
        ("resize back", ["playbooks/resize.yml", "-e", f"type={TYPE}"]),
        ("burst", ["playbooks/burst.yml", "-e", f"type={BIGGER}", "-e", f"hours={BURST_HOURS}"]),
        ("status after the burst", ["playbooks/status.yml", "-e", "json=true"]),
        ("as declared again", ["site.yml"]),
        ("rotate", ["playbooks/rotate.yml", "-e", "rotate=all"]),
        ("update", ["playbooks/update.yml"]),
        ("bake", ["playbooks/bake.yml", "-e", f"confirm={SERVER}"]),
    ]


DESTROY = ["-e", f"confirm={SERVER}", "-e", "final_backup=false"]
DESTROY += ["-e", "data_volume=delete", "-e", "backups=delete", "-e", "images=delete"]


def price() -> float | None:
    """Return US dollars for all of it, by the table; None if a price is not known."""
    table = yaml.safe_load((ROOT / "prices.yml").read_text(encoding="utf-8"))
    local = table["regions"].get(REGION, {})
    hourly = local.get("on_demand", {})
    known = [hourly.get(TYPE), hourly.get(BIGGER), local.get("gp3_gb_month"), local.get("public_ipv4_hour")]
    known.append(local.get("snapshot_gb_month"))
    if None in known:
        return None
    small, big, disk, address, snapshot = map(float, known)
    month = 730
    # The volumes, the old data volume that a restore keeps, and snapshots of them, for as long as all takes.
    gigabytes = (DISK_GB + 2 * DATA_GB) * disk + 2 * (DISK_GB + DATA_GB) * snapshot
    return (HOURS - BIGGER_HOURS) * small + BIGGER_HOURS * big + HOURS * address + gigabytes * HOURS / month


def ask() -> None:
    """Say what it costs and who pays, and go on only if a person wants that."""
    usd = price()
    cost = f"about ${usd:.2f} if it takes {HOURS} hours" if usd is not None else f"an amount not known for {REGION}"
    print(
        f"This launches a {TYPE} in {REGION} in the account that your credentials name, makes it a {BIGGER} for a while, takes "
        f"snapshots and an image of it, and removes all of it again: {cost} (prices in prices.yml, without tax).",
        flush=True,
    )
    if os.environ.get("SMOKE_YES") == "1":
        return
    if not sys.stdin.isatty() or input("Type yes to begin: ").strip().lower() != "yes":
        sys.exit("Nothing was done. SMOKE_YES=1 answers beforehand.")


def run(name: str, arguments: list[str]) -> dict[str, Any]:
    """Run a playbook; return how it went."""
    settings = {
        "ec2_provision_region": REGION,
        "ec2_provision_instance_type": TYPE,
        "ec2_provision_disk_gb": DISK_GB,
        "ec2_provision_data_volume_gb": DATA_GB,
    }
    extra = shlex.split(os.environ.get("SMOKE_ARGUMENTS", ""))
    playbook = str(Path(sys.executable).parent / "ansible-playbook")
    command = [playbook, *extra, "-i", str(INVENTORY), "-l", SERVER, "-e", json.dumps(settings), *arguments]
    print(f"\n==> {name}: ansible-playbook {' '.join(arguments)}", flush=True)
    started = time.monotonic()
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    return {"step": name, "seconds": round(time.monotonic() - started, 1), "code": code}


def returned() -> bool:
    """Tell whether AWS brought the former type back, by what status.yml has just written."""
    found = json.loads((INVENTORY.parent / "status.json").read_text(encoding="utf-8"))["servers"]
    types = [server["type"] for server in found if server["name"] == SERVER]
    print(f"After the burst {SERVER} is {' and '.join(types) or 'gone'}.", flush=True)
    return types == [TYPE]


def report(rows: list[dict[str, Any]]) -> int:
    """Print and write what was seen; return the exit code."""
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"region": REGION, "type": TYPE, "steps": rows}, indent=1) + "\n", encoding="utf-8")
    print()
    for row in rows:
        print(f"{row['step']:22} {row['seconds']:7.1f} s  {'ok' if row['code'] == 0 else 'FAILED'}")
    failed = [row["step"] for row in rows if row["code"]]
    print(f"\n{len(rows) - len(failed)} passed, {len(failed)} failed")
    if rows[-1]["code"]:
        print(
            f"Something may be left that costs money: run\n  ansible-playbook -i {INVENTORY} playbooks/destroy.yml {' '.join(DESTROY)}"
        )
    return 1 if failed else 0


def main() -> int:
    """Do all of it, and take it away."""
    ask()
    INVENTORY.parent.mkdir(mode=0o700, exist_ok=True)
    group = "lab" if "lab.yml" in os.environ.get("SMOKE_ARGUMENTS", "") else "launched"
    tree: dict[str, Any] = {group: {"hosts": {SERVER: None}}}
    if group == "lab":
        tree = {"launched": {"children": tree}}
    INVENTORY.write_text(yaml.safe_dump({"servers": {"children": tree}}), encoding="utf-8")
    rows: list[dict[str, Any]] = []
    try:
        for name, arguments in steps():
            rows.append(run(name, arguments))
            if name == "burst":
                # Nobody does anything: AWS itself has to bring the former type back.
                time.sleep(float(BURST_HOURS) * 3600 + 600)
            if name == "status after the burst" and not rows[-1]["code"]:
                rows[-1]["code"] = 0 if returned() else 1
            if name == "launch" and rows[-1]["code"]:
                break
    finally:
        rows.append(run("destroy", ["playbooks/destroy.yml", *DESTROY]))
        code = report(rows)
    return code


if __name__ == "__main__":
    sys.exit(main())

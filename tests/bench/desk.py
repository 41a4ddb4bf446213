#!/usr/bin/env python3
"""How long docker, mysql and postgres take on a new host, beside a shell script that does the same, and once more.

  tests/bench/desk.py [--rounds 3] [--image 13]

Each round takes two new containers, one for the roles (desk.yml) and one for the script (bare.sh), one after the other;
which is first alternates. The script gets the settings files that the roles have written, and what both leave is
compared: packages, settings, accounts, databases, units. The ratio is the one of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
SUBNET = "198.19.8.128/25"
ADDRESSES = {"roles": "198.19.8.201", "script": "198.19.8.202"}
NAME = "notebook-bench"
# With these shares, other work on the machine disturbs the figures less.
FLAGS = """--cpu-shares 8192 --cap-add ALL --cap-drop SYS_RESOURCE --security-opt seccomp=unconfined --security-opt apparmor=unconfined
  --cgroupns host --volume /sys/fs/cgroup:/sys/fs/cgroup:rw --volume /var/lib/docker --tmpfs /run --tmpfs /run/lock""".split()

Figure = dict[str, Any]


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def run(*command: str, **more: Any) -> str:
    """Run a command that has to succeed; return what it prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more)
    if done.returncode:
        raise SystemExit(f"`{' '.join(command[:6])}` failed:\n{done.stdout[-6000:]}")
    return done.stdout


class Bench:
    """Containers, a key, and what to do with them."""

    def __init__(self, folder: Path, image: str) -> None:
        self.folder = folder
        self.image = run(sys.executable, "-m", "lab", "image", image, cwd=ROOT).split()[-1]
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", NAME, "-f", str(folder / "key"))
        seed = folder / "seed"
        seed.mkdir()
        (seed / "meta-data").write_text(f"instance-id: {NAME}\n")
        key = (folder / "key.pub").read_text().strip()
        (seed / "user-data").write_text(f"#cloud-config\nssh_authorized_keys: ['{key}']\n")
        self.remove()
        run("docker", "network", "create", "--subnet", SUBNET, "--label", NAME, NAME)

    def remove(self) -> None:
        """Remove all that a bench made, also one that was cut off."""
        found = run("docker", "ps", "--all", "--quiet", "--filter", f"label={NAME}").split()
        if found:
            run("docker", "rm", "--force", "--volumes", *found)
        if run("docker", "network", "ls", "--quiet", "--filter", f"label={NAME}").split():
            run("docker", "network", "rm", NAME)

    def host(self, who: str) -> None:
        """Make a new host, without counting the seconds."""
        name = f"{NAME}-{who}"
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)
        seed = f"{self.folder}/seed:/var/lib/cloud/seed/nocloud:ro"
        place = ["--network", NAME, "--ip", ADDRESSES[who], "--hostname", "bench", "--label", NAME, "--volume", seed]
        run("docker", "run", "--detach", "--name", name, *FLAGS, *place, self.image)
        for _ in range(90):
            done = subprocess.run([*self.ssh(who), "true"], capture_output=True, check=False)
            if done.returncode == 0:
                break
            time.sleep(1)
        # An engine in it sets up the network of its containers by /proc/sys.
        self.on(who, "systemctl is-system-running --wait; mount -o remount,bind,rw /proc/sys")

    def ssh(self, who: str) -> list[str]:
        """Return the command that runs another on a host; without a connection that stays."""
        # A host that is made anew has a new host key each time.
        options = (
            "-F none -o BatchMode=yes -o ConnectTimeout=5 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        )
        return [
            "ssh",
            *options.split(),
            "-o",
            "LogLevel=ERROR",
            "-i",
            str(self.folder / "key"),
            f"admin@{ADDRESSES[who]}",
        ]

    def on(self, who: str, script: str) -> str:
        """Run a script as root."""
        return run(*self.ssh(who), "sudo sh -s", input=script)

    def script(self, settings: bytes) -> float:
        """Apply the bare script; return the seconds."""
        # What a person has in one folder: copied first, then run. Both is counted.
        started = time.monotonic()
        copy = [*self.ssh("script"), "sudo tar --extract --file=- --directory=/root"]
        subprocess.run(copy, input=settings, check=True, capture_output=True)
        self.on("script", (HERE / "bare.sh").read_text())
        return time.monotonic() - started

    def roles(self, number: str) -> tuple[float, list[Figure], int]:
        """Apply the roles; return the seconds, the tasks and how many changed something."""
        report = self.folder / f"tasks-{number}.json"
        inventory = {
            "servers": {
                "hosts": {"bench": {"ansible_host": ADDRESSES["roles"]}},
                "vars": {
                    "ansible_user": "admin",
                    "ansible_ssh_private_key_file": str(self.folder / "key"),
                    "ansible_ssh_common_args": "-F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
                    "bench_dir": str(self.folder),
                },
            }
        }
        (self.folder / "inventory.json").write_text(json.dumps(inventory))
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": f"{ROOT}/plugins/callback:{ROOT}/tests/plugins/callback",
            "ANSIBLE_CALLBACKS_ENABLED": "preload,progress,host_tasks",
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "ANSIBLE_NOCOLOR": "1",
            # No connection of a run before.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{self.folder}/c{number}",
            "HOST_TASKS_REPORT": str(report),
            "PROGRESS_INTERVAL": "0",
            "PROGRESS_REPORT": str(self.folder / f"roles-{number}.json"),
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        command = [str(BIN / "ansible-playbook"), "-i", str(self.folder / "inventory.json"), str(HERE / "desk.yml")]
        started = time.monotonic()
        said = run(*command, cwd=ROOT, env=environment)
        seconds = time.monotonic() - started
        changed = sum(int(count) for count in re.findall(r"\bchanged=(\d+)", said))
        return seconds, json.loads(report.read_text()), changed

    def settings(self) -> bytes:
        """Return the settings files that the roles wrote, as an archive for the script."""
        files = [line for line in (HERE / "files.txt").read_text().split("\n") if line and not line.startswith("#")]
        pack = f"cd / && tar --create --file=- --transform=s,^,settings/, {' '.join(files)}"
        command = [*self.ssh("roles"), f"sudo sh -c {shlex.quote(pack)}"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            raise SystemExit(f"The settings files cannot be read: {done.stderr.decode()}")
        return done.stdout

    def state(self, who: str) -> set[str]:
        """Return what a host has, line by line, to be compared."""
        return {line for line in self.on(who, (HERE / "state.sh").read_text()).split("\n") if line}


def measure(rounds: int, image: str) -> dict[str, Any]:
    """Measure; return the figures and what they come from."""
    seconds: dict[str, list[float]] = {"roles": [], "script": [], "again": []}
    changed = 0
    tasks: list[Figure] = []
    first_tasks: list[Figure] = []
    differences: dict[str, list[str]] = {}
    settings = b""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        bench = Bench(Path(folder), image)
        try:
            for number in range(rounds):
                # The script needs the settings files, so the roles are first in the first round.
                for who in ("roles", "script") if number % 2 == 0 else ("script", "roles"):
                    bench.host(who)
                    if who == "script":
                        seconds["script"].append(bench.script(settings))
                        say(f"  round {number + 1}: the script took {seconds['script'][-1]:.1f} s")
                        continue
                    took, first_tasks, _ = bench.roles(f"{number}first")
                    seconds["roles"].append(took)
                    took, tasks, count = bench.roles(f"{number}again")
                    seconds["again"].append(took)
                    changed = max(changed, count)
                    settings = bench.settings()
                    say(f"  round {number + 1}: the roles took {seconds['roles'][-1]:.1f} s, again {took:.1f} s")
            left, right = bench.state("roles"), bench.state("script")
            differences = {"only after the roles": sorted(left - right), "only after the script": sorted(right - left)}
            by_role = json.loads(Path(folder, f"roles-{rounds - 1}first.json").read_text())
            by_role_again = json.loads(Path(folder, f"roles-{rounds - 1}again.json").read_text())
        finally:
            bench.remove()
    median = {name: statistics.median(values) for name, values in seconds.items()}
    on_host = [row for row in tasks if row["where"] == "host"]
    return {
        "figures": [
            figure("desk_first_apply_ratio", median["roles"] / median["script"], 1.15, "x", "<="),
            figure("desk_again_seconds", median["again"], 10, " s", "<="),
            figure("desk_again_changed", changed, 0, "", "<="),
            figure("desk_again_host_tasks", len(on_host), 25, "", "<"),
        ],
        "seconds": {name: [round(value, 1) for value in values] for name, values in seconds.items()},
        "differences": differences,
        "by_role": {"first": by_role, "again": by_role_again},
        "tasks": {"first": first_tasks, "again": tasks},
    }


def figure(name: str, value: float, goal: float, unit: str, relation: str) -> Figure:
    """Return a figure with its goal."""
    met = value <= goal if relation == "<=" else value < goal
    return {"name": name, "value": round(value, 2), "goal": goal, "relation": relation, "unit": unit, "met": met}


def slowest(tasks: list[Figure]) -> list[Figure]:
    """Return the tasks, the longest first; those that were skipped as one."""
    done = [row for row in tasks if row["where"] != "skipped"]
    left = [row["seconds"] for row in tasks if row["where"] == "skipped"]
    skipped = {
        "task": f"{len(left)} tasks that were skipped",
        "where": "skipped",
        "changed": False,
        "seconds": sum(left),
    }
    return sorted([*done, skipped], key=lambda row: -float(row["seconds"]))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image", default="13")
    parser.add_argument("--json", type=Path, help="also write all of it there")
    options = parser.parse_args()
    if os.geteuid() == 0:
        os.nice(-10)
    found = measure(options.rounds, options.image)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    report(found)
    for row in [] if options.json else found["figures"]:
        say(f"{row['name']}: {row['value']:g}{row['unit']} (goal {row['relation']} {row['goal']:g}{row['unit']})")
    return 0 if all(row["met"] for row in found["figures"]) else 1


def report(found: dict[str, Any]) -> None:
    """Say what the figures come from."""
    for when in ("first", "again"):
        say(f"\nWhere the time went, {when}:")
        for row in slowest(found["tasks"][when])[:15]:
            say(f"  {row['seconds']:6.1f} s  {row['where']:10}  {row['task']}{' (changed)' if row['changed'] else ''}")
    count = sum(len(lines) for lines in found["differences"].values())
    say(f"\nDifferences between what the roles and the script leave: {count}")
    for title, lines in found["differences"].items():
        for text in lines:
            say(f"  {title}: {text}")
    say("")


if __name__ == "__main__":
    sys.exit(main())

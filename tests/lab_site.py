"""A lab with a server in it, and what a person does there: what the end-to-end tests and those of a server's life share."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "reports"
# Seconds that a run may take on two busy cores.
FIRST_RUN, LATER_RUN = 1500, 600
Recap = dict[str, dict[str, int]]


@dataclass
class Run:
    """A finished run of ansible-playbook."""

    code: int
    output: str
    seconds: float

    @property
    def recap(self) -> Recap:
        """Its last lines: {"demo": {"ok": 3, "changed": 0, ...}}."""
        lines = self.output.rpartition("PLAY RECAP")[2].splitlines()[1:]
        hosts = [re.match(r"(\S+)\s+: (ok=.*)", line) for line in lines]
        return {host[1]: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", host[2])} for host in hosts if host}

    def changes_nothing(self) -> bool:
        """Whether it succeeded, on at least one host, and changed none."""
        return self.code == 0 and bool(self.recap) and all(host["changed"] == 0 for host in self.recap.values())

    def tail(self, lines: int = 60) -> str:
        """Return the end of what it said, for the message of a failed test."""
        return "\n".join(self.output.splitlines()[-lines:])


class Site:
    """The lab, and what a person does with it."""

    def __init__(self, name: str, state: Path, environment: dict[str, str], server: str = "demo") -> None:
        self.name, self.state, self.server, self.environment = name, state, server, environment
        self.ssh_config = state / server / "ssh_config"
        self.password_file = state / server / "credentials" / "jupyter_password"
        self.ca_file = state / "ca" / "ca.crt"

    @property
    def record(self) -> dict[str, Any]:
        """What is known of the server."""
        return dict(yaml.safe_load((self.state / self.server / "record.yml").read_text()))

    @property
    def url(self) -> str:
        """Where people go."""
        return f"https://{self.record['public_ip']}/"

    @property
    def password(self) -> str:
        """What people type there."""
        return self.password_file.read_text().strip()

    @property
    def kernels(self) -> list[dict[str, Any]]:
        """The kernels that the settings ask for, as Ansible itself reads them."""
        ask = ["-m", "ansible.builtin.debug", "-a", "msg={{ anaconda_kernels_kernels | to_json }}"]
        result = subprocess.run(
            ["ansible", self.server, "-i", "inventory/lab.yml", "-e", f"state_dir={self.state}", "--one-line", *ask],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        said = json.loads(result.stdout.partition("=>")[2])["msg"]
        return list(json.loads(said) if isinstance(said, str) else said)

    def command(self, *arguments: str, playbook: str = "site.yml") -> list[str]:
        """Return what people type, with the state in a place of its own."""
        return ["ansible-playbook", "-i", "inventory/lab.yml", playbook, "-e", f"state_dir={self.state}", *arguments]

    def start(self, log: Path, *arguments: str, playbook: str = "site.yml") -> subprocess.Popen[bytes]:
        """Start ansible-playbook as a terminal would: in a process group of its own, which Ctrl-C reaches."""
        log.parent.mkdir(exist_ok=True)
        with log.open("wb") as output:
            return subprocess.Popen(
                self.command(*arguments, playbook=playbook),
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def apply(self, name: str, *arguments: str, seconds: int = LATER_RUN, playbook: str = "site.yml") -> Run:
        """Run ansible-playbook; its output goes to reports/<name of the tests>-<name>.log."""
        log = REPORTS / f"{self.name}-{name}.log"
        started = time.monotonic()
        code = self.start(log, *arguments, playbook=playbook).wait(seconds)
        run = Run(code, log.read_text(errors="replace"), time.monotonic() - started)
        print(f"ansible-playbook {playbook} {' '.join(arguments)}: exit code {code} after {run.seconds:.0f} s")
        return run

    def ssh(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Log in to the server by its alias and run a command there."""
        return subprocess.run(
            ["ssh", "-F", str(self.ssh_config), "-o", "BatchMode=yes", self.server, *command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def client(self, service: str = "ec2") -> Any:
        """Return a client of the lab's AWS API."""
        import boto3

        return boto3.client(  # type: ignore[call-overload]
            service,
            region_name="us-west-2",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )


def lab(variables: dict[str, str], *arguments: str) -> None:
    """Run a command of the lab."""
    subprocess.run(
        [sys.executable, "-m", "lab", *arguments], cwd=ROOT, env=os.environ | variables, timeout=900, check=True
    )


def read_exports(file: Path) -> dict[str, str]:
    """Read the lines `export NAME=value` of the lab's env file as a shell would."""
    result = subprocess.run(
        ["sh", "-c", '. "$0" && env -0', str(file)], env={}, capture_output=True, text=True, check=True
    )
    pairs = (line.split("=", 1) for line in result.stdout.split("\0") if line)
    return {name: value for name, value in pairs if name.startswith("AWS_")}


@contextmanager
def lab_site(name: str, variables: dict[str, str], keep: bool = False) -> Iterator[Site]:
    """Start a lab, and take it away with all that is in it when the tests are done, unless it is to be kept for the next time."""
    folder = ROOT / variables["LAB_DIR"]

    def remove() -> None:
        if not keep:
            lab(variables, "down")
            shutil.rmtree(folder, ignore_errors=True)

    remove()
    try:
        lab(variables, "up")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= variables | read_exports(folder / "env")
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        # As on a person's terminal, less the colours.
        environment |= {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "PYTHONUNBUFFERED": "1"}
        yield Site(name, folder / "state", environment)
    finally:
        remove()

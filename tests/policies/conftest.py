"""An AWS account of the lab whose users may do what policies/*.json say, and playbooks that run as one of them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "reports"
PROJECT, ACCOUNT, REGION = "notebook-server", "123456789012", "us-west-2"


@dataclass
class Run:
    """A finished run of a playbook, and the actions that it called."""

    code: int
    output: str
    allowed: set[str]
    refused: set[str]

    def names(self, action: str) -> bool:
        """Whether the output names an action, maybe broken over lines."""
        return action in re.sub(r"\s+", "", self.output)


class Lab:
    """The lab's API without hosts."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.lab = {"LAB_DIR": str(folder / "lab"), "LAB_NAME": "policies", "LAB_PORT": str(self.port)}
        self.command("up", "--api-only")
        lines = (folder / "lab/env").read_text().splitlines()
        self.keys = dict(line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)
        self.iam = self.client("iam")

    def command(self, *arguments: str) -> str:
        """Run `python -m lab`."""
        done = subprocess.run(
            [sys.executable, "-m", "lab", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.lab},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def client(self, service: str, keys: dict[str, str] | None = None) -> Any:
        """A client with a user's keys, or with those that may do everything."""
        have = {**self.keys, **(keys or {})}
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=have["AWS_ENDPOINT_URL"],
            region_name=REGION,
            aws_access_key_id=have["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=have["AWS_SECRET_ACCESS_KEY"],
        )

    def user(self, *policies: str, without: str = "") -> dict[str, str]:
        """The keys of a new user who has these policies, less one action."""
        name = f"{'-'.join(policies)}-{without.replace(':', '-')}-{time.monotonic_ns()}"
        self.iam.create_user(UserName=name)
        for policy in policies:
            text = (ROOT / f"policies/{policy}.json").read_text()
            for word, value in {"<project>": PROJECT, "<region>": REGION, "<account>": ACCOUNT}.items():
                text = text.replace(word, value)
            document = json.loads(text)
            for statement in document["Statement"]:
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                statement["Action"] = [action for action in actions if action != without]
            document["Statement"] = [statement for statement in document["Statement"] if statement["Action"]]
            arn = self.iam.create_policy(PolicyName=f"{policy}-{name}"[:128], PolicyDocument=json.dumps(document))[
                "Policy"
            ]["Arn"]
            self.iam.attach_user_policy(UserName=name, PolicyArn=arn)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def run(self, playbook: str, user: dict[str, str], *arguments: str, once: bool = False, **settings: Any) -> Run:
        """Run a playbook as a user. With `once` every action is refused at its first call, and each task that fails is done again."""
        given: dict[str, Any] = {
            "state_dir": str(self.folder / "state"),
            "ec2_provision_caller_ip_url": f"http://127.0.0.1:{self.port}/checkip",
            "ec2_provision_wait": False,
            "instance_profile_settle_seconds": 0,
            **settings,
        }
        self.command("actions", "--forget")
        if once:
            self.command("actions", "--refuse-once")
        done = subprocess.run(
            [
                "ansible-playbook",
                "-i",
                "inventory/aws.yml",
                f"playbooks/{playbook}.yml",
                "-e",
                json.dumps(given),
                *arguments,
            ],
            cwd=ROOT,
            env={
                **os.environ,
                **self.keys,
                **user,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "ANSIBLE_NOCOLOR": "1",
                # Nobody answers at the servers' addresses.
                "ANSIBLE_TIMEOUT": "2",
                "ANSIBLE_SSH_RETRIES": "0",
                "ANSIBLE_ENABLE_TASK_DEBUGGER": str(once),
            },
            # What the debugger is told at each failure: again.
            input="r\n" * 120,
            capture_output=True,
            text=True,
            timeout=600,
        )
        REPORTS.mkdir(exist_ok=True)
        (REPORTS / f"policies-{playbook}.log").write_text(done.stdout + done.stderr)
        lines = self.command("actions").splitlines()
        self.command("actions", "--forget")
        refused = {line.split()[1] for line in lines if line.startswith("denied: ")}
        return Run(
            done.returncode, done.stdout + done.stderr, {line for line in lines if ":" in line} - refused, refused
        )


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A fresh account."""
    lab = Lab(tmp_path_factory.mktemp("policies"))
    yield lab
    lab.command("down")

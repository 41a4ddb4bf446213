"""An AWS account of the lab whose users may do what policies/*.json say, and playbooks that run as one of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.account import REGION, Account, new_account

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "reports"
PROJECT, ACCOUNT = "notebook-server", "123456789012"


@dataclass
class Run:
    """A finished run of playbooks, and the actions that it called."""

    code: int
    output: str
    allowed: set[str]
    refused: set[str]

    def names(self, action: str) -> bool:
        """Whether the output names an action, maybe broken over lines."""
        return action in re.sub(r"\s+", "", self.output)

    def changed(self) -> int:
        """How many tasks changed something, on all hosts."""
        return sum(map(int, re.findall(r"changed=(\d+)", self.output)))


class Lab:
    """The account, its users and what they run."""

    def __init__(self, account: Account, folder: Path) -> None:
        self.account, self.folder = account, folder
        self.ec2, self.iam = account.client(), account.client("iam")

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

    def run(self, playbooks: str, user: dict[str, str], *arguments: str, once: bool = False, **settings: Any) -> Run:
        """Run a playbook, or several, as a user. With `once` each action is refused at its first call, and a task that fails done again."""
        given: dict[str, Any] = {
            "state_dir": str(self.folder / "state"),
            "ec2_provision_caller_ip_url": f"{self.account.endpoint}/checkip",
            "ec2_provision_wait": False,
            "instance_profile_settle_seconds": 0,
            # There are no hosts: nothing is applied to one, and none is asked.
            "server_components": [],
            **settings,
        }
        files = [f"playbooks/{name}.yml" for name in playbooks.split()]
        self.account.forget(refuse_once=once)
        done = subprocess.run(
            ["ansible-playbook", "-i", "inventory/aws.yml", *files, "-e", json.dumps(given), *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                **self.account.keys,
                **user,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_ENABLE_TASK_DEBUGGER": str(once),
            },
            # What the debugger is told at each failure: again.
            input="r\n" * 120,
            capture_output=True,
            text=True,
            timeout=600,
        )
        REPORTS.mkdir(exist_ok=True)
        (REPORTS / f"policies-{'-'.join(playbooks.split())}.log").write_text(done.stdout + done.stderr)
        allowed, refused = self.account.called()
        self.account.forget()
        return Run(done.returncode, done.stdout + done.stderr, allowed - refused, refused)

    def server(self) -> dict[str, Any]:
        """The one instance that there is, unless it is terminated."""
        (instance,) = self.account.instances()
        return instance

    def has(self, state: str) -> None:
        """Have the server run, or stopped, whatever the tests before have left."""
        one = [self.server()["InstanceId"]]
        if self.server()["State"]["Name"] != state:
            (self.ec2.start_instances if state == "running" else self.ec2.stop_instances)(InstanceIds=one)
        assert self.server()["State"]["Name"] == state


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A fresh account."""
    folder = tmp_path_factory.mktemp("policies")
    with new_account(folder / "lab", "policies") as account:
        yield Lab(account, folder)

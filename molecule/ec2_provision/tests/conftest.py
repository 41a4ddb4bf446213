"""What the steps share: the lab's API, and a way to run a playbook as a person does."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.account import NOTHING, Account, changing
from tests.played import Run, play

SCENARIO = Path(__file__).resolve().parents[1]
PROJECT = SCENARIO.parents[1]
RECAP = re.compile(r"^(\w+) +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=(\d+)", re.MULTILINE)


@dataclass
class Step:
    """How a step has ended, and what it changed by AWS's own account."""

    changed: int
    failed: int
    changes: set[str]


class Cloud(Account):
    """What the API says there is, and the playbooks that change it."""

    def __init__(self, lab: Path, folder: Path) -> None:
        super().__init__(lab)
        self.folder, self.state = folder, folder / "state"
        self.ec2 = self.client()
        self.output = ""

    def play(self, playbook: str, *options: str, **settings: Any) -> Run:
        """Run a playbook of this scenario with settings of the role, given without their prefix."""
        given = {f"ec2_provision_{name}": value for name, value in {"state_dir": str(self.state), **settings}.items()}
        run = play(
            PROJECT,
            "-i",
            str(SCENARIO / "inventory.yml"),
            str(SCENARIO / playbook),
            "-e",
            json.dumps({"calls": str(self.folder), **given}),
            *options,
            environment={**self.keys, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
        )
        self.output = run.words
        return run

    def run(self, playbook: str, check: bool = False, good: bool = True, **settings: Any) -> Run:
        """Run converge.yml or absent.yml."""
        options = ["--limit", "steps", *(["--check", "--diff"] if check else [])]
        run = self.play(playbook, *options, **settings)
        assert (run.code == 0) == good, run.output
        return run

    def steps(self, *names: str, check: bool = False, good: bool = True) -> list[Step]:
        """Do some of the steps in one run, in their order in the inventory."""
        for file in self.folder.glob("*.json"):
            file.unlink()
        self.forget()
        run = self.play("steps.yml", "--limit", ",".join(names), *(["--check", "--diff"] if check else []))
        assert (run.code == 0) == good, run.output
        ends = {name: (int(changed), int(failed)) for name, changed, failed in RECAP.findall(run.output)}
        assert ends.keys() == set(names), run.output
        return [Step(*ends[name], self.changes(name)) for name in names]

    def changes(self, step: str) -> set[str]:
        """The calls of a step that change something. What one that failed called was not forgotten by it."""
        file = self.folder / f"{step}.json"
        if not file.exists():
            return changing(self.called()[0])
        return changing({action for _, action, allowed in json.loads(file.read_text()) if allowed})

    def record(self) -> dict[str, Any]:
        """The server's record."""
        return dict(yaml.safe_load((self.state / "record.yml").read_text()))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    """An account with nothing of ours in it."""
    lab = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "lab"
    cloud = Cloud(lab, tmp_path_factory.mktemp("server"))
    assert cloud.things() == NOTHING
    return cloud

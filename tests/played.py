"""How a playbook that a test ran has ended."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Run:
    """A finished run of ansible-playbook."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        """How many tasks changed something, or in check mode would have; of several hosts, on the last."""
        return int(re.findall(r"changed=(\d+)", self.output)[-1])

    @property
    def words(self) -> str:
        """All that it said, in one line, however wide its lines were."""
        return " ".join(self.output.split())


def play(folder: Path, *arguments: str, program: str = "ansible-playbook", environment: Mapping[str, str] = {}) -> Run:
    """Run ansible-playbook, or ansible, in a folder; nobody answers its questions."""
    done = subprocess.run(
        [program, *arguments],
        cwd=folder,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "false", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Run(done.returncode, done.stdout)

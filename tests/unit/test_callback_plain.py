"""The callback for pipes: messages on standard output, faults on standard error, nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PLAY = """
- hosts: localhost
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {msg: '{"a": 1}'}
    - ansible.builtin.command: sleep 2
      changed_when: true
    - ansible.builtin.debug: {msg: {b: [2]}}
    - ansible.builtin.fail: {msg: no luck}
      when: lucky is not defined
"""


def play(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    file = folder / "play.yml"
    file.write_text(PLAY)
    environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "plain", "PROGRESS_INTERVAL": "1", "ANSIBLE_NOCOLOR": "1"}
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", str(file)]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_messages_and_nothing_else(tmp_path: Path) -> None:
    done = play(tmp_path, "-e", "lucky=true")
    assert (done.returncode, done.stdout) == (0, '{"a": 1}\n{\n  "b": [\n    2\n  ]\n}\n')


def test_faults_go_elsewhere(tmp_path: Path) -> None:
    done = play(tmp_path)
    assert done.returncode == 2
    assert "no luck" not in done.stdout
    assert "localhost: no luck\n" in done.stderr

"""The callback that loads filters once a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
# Notes each time that it is loaded.
FILTER = """
import os
with open(os.environ["LOADED"], "a") as file:
    file.write("loaded\\n")
class FilterModule:
    def filters(self):
        return {"twice": lambda number: 2 * number}
"""
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.assert: {that: 2 | twice == 4}
    - ansible.builtin.assert: {that: 3 | twice == 6}
    - ansible.builtin.assert: {that: 4 | twice == 8}
"""


@pytest.mark.parametrize(("callbacks", "times"), [("preload", 1), ("minimal", 3)])
def test_filters_are_loaded_once_a_run_and_not_once_a_task(tmp_path: Path, callbacks: str, times: int) -> None:
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters/twice.py").write_text(FILTER)
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "ansible.cfg").write_text(
        f"[defaults]\ncallback_plugins = {ROOT / 'plugins/callback'}\ncallbacks_enabled = {callbacks}\nfilter_plugins = filters\n"
    )
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", "play.yml"],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"), "LOADED": str(tmp_path / "loaded")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "loaded").read_text().count("loaded") == times

"""The output that people see: as Ansible's own, but a wait is not called a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLAY = """
- hosts: localhost
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  gather_facts: false
  tasks:
    - name: Ask
      ansible.builtin.command: sh -c 'test -e asked || { touch asked; exit 1; }'
      args: {chdir: "{{ playbook_dir }}"}
      register: answer
      until: answer.rc == 0
      retries: 3
      delay: 0
      changed_when: true
"""


def test_a_wait_is_not_called_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "play.yml"
    file.write_text(PLAY)
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    environment = {key: value for key, value in os.environ.items() if key != "ANSIBLE_STDOUT_CALLBACK"}
    done = subprocess.run(
        [program, "-i", "localhost,", "-c", "local", str(file)],
        cwd=ROOT, env={**environment, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "  ... not yet: [localhost] Ask (asks again, at most 2 times)\n" in done.stdout
    assert "FAILED" not in done.stdout
    # The rest is as ever.
    assert "TASK [Ask] ***" in done.stdout
    assert "changed: [localhost]\n" in done.stdout
    assert "failed=0" in done.stdout.rpartition("PLAY RECAP")[2]

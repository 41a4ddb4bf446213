"""The steps of a new SSH key on this machine (roles/ec2_provision/files/key.sh and authorize.sh), killed at each command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[2] / "roles/ec2_provision/files"
COMMANDS = ("ssh-keygen", "awk", "cmp", "mv", "rm", "ln")
# Counts, and kills the shell that called it right after the command with the chosen number.
SHIM = """#!/bin/sh
number=1
set -C
until true 2>/dev/null >"$COUNT.$number"; do number=$((number + 1)); done
set +C
PATH=$REAL_PATH "${0##*/}" "$@"
code=$?
[ "$CUT" != $number ] || kill -9 $PPID
exit $code
"""


class Machine:
    """The folder on the controller, and the keys that the server lets in."""

    def __init__(self, folder: Path) -> None:
        self.state, self.count, shims = folder / "state", folder / "count", folder / "shims"
        self.state.mkdir()
        shims.mkdir()
        for name in COMMANDS:
            (shims / name).write_text(SHIM)
            (shims / name).chmod(0o755)
        self.environment = {
            "COUNT": str(self.count),
            "REAL_PATH": os.environ["PATH"],
            "PATH": f"{shims}:{os.environ['PATH']}",
        }
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "x", "-f", self.state / "id_ed25519"], check=True
        )
        self.server = {self.public("id_ed25519")}

    def public(self, name: str) -> str:
        """The public half of a private key."""
        command = ["ssh-keygen", "-y", "-P", "", "-f", str(self.state / name)]
        return " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[:2])

    def step(self, name: str, cut: str) -> str:
        """One step; KeyboardInterrupt when it was killed."""
        done = subprocess.run(
            ["sh", "-euc", (FILES / "key.sh").read_text(), "key.sh", name, str(self.state), "demo"],
            env={**self.environment, "CUT": cut},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode < 0:
            raise KeyboardInterrupt
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def rotate(self, cut: str = "") -> None:
        """All of it, as rotate_key.yml does, with the server asked before each change there."""
        if self.step("make", cut) != "switched":
            self.server.add(self.public("id_ed25519.new"))
            self.step("switch", cut)
        self.server &= {self.public("id_ed25519")}
        self.step("forget", cut)


def test_a_new_key(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (old,) = machine.server
    machine.rotate()
    assert machine.server == {machine.public("id_ed25519")} != {old}
    assert sorted(path.name for path in machine.state.iterdir()) == ["id_ed25519", "id_ed25519.pub"]
    assert (machine.state / "id_ed25519").stat().st_mode & 0o777 == 0o600
    assert (machine.state / "id_ed25519.pub").read_text() == f"{machine.public('id_ed25519')} demo\n"


@pytest.mark.slow
def test_killed_after_each_command(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    machine = Machine(whole)
    machine.rotate()
    total = len(list(whole.glob("count.*")))
    assert total > 20
    for number in range(1, total + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        machine = Machine(folder)
        (old,) = machine.server
        with pytest.raises(KeyboardInterrupt):
            machine.rotate(str(number))
            assert number == total  # after the last command of all there is nothing to kill
            raise KeyboardInterrupt
        assert machine.public("id_ed25519") in machine.server, f"locked out after command {number}"
        machine.rotate()
        assert machine.server == {machine.public("id_ed25519")}
        left = sorted(path.name for path in machine.state.iterdir())
        assert [name for name in left if name not in ("id_ed25519", "id_ed25519.pub")] == [], number
        assert (machine.state / "id_ed25519.pub").read_text().startswith(machine.public("id_ed25519"))
        # A run that was cut off is finished; only one that was all but done is followed by another.
        assert machine.server != {old}


def authorize(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the server's side for a user whose home is a folder of the test."""
    script = (FILES / "authorize.sh").read_text().replace('$(getent passwd "$user" | cut -d : -f 6)', str(home))
    line = "set -- " + " ".join(f"'{word}'" for word in ("admin", *words))
    script = script.replace("/root/.ssh", str(home / "root"))
    return subprocess.run(["sh", "-s"], input=f"{line}\n{script}", capture_output=True, text=True, check=False)


def test_what_the_server_does(tmp_path: Path) -> None:
    own, roots = tmp_path / ".ssh/authorized_keys", tmp_path / "root/authorized_keys"
    for file in (own, roots):
        file.parent.mkdir()
    own.write_text("ssh-ed25519 AAAAother friend\nssh-ed25519 AAAAold demo")  # no end of line
    roots.write_text('command="echo no" ssh-ed25519 AAAAold demo\n')
    assert authorize(tmp_path, "ssh-ed25519 AAAAnew demo", "ssh-ed25519 AAAAold demo").returncode == 3
    assert "AAAAold" in own.read_text()
    assert authorize(tmp_path, "ssh-ed25519 AAAAnew demo").stdout
    assert not authorize(tmp_path, "ssh-ed25519 AAAAnew demo").stdout
    assert own.read_text().splitlines()[-1] == "ssh-ed25519 AAAAnew demo"
    assert authorize(tmp_path, "ssh-ed25519 AAAAnew demo", "ssh-ed25519 AAAAold demo").stdout
    assert own.read_text() == "ssh-ed25519 AAAAother friend\nssh-ed25519 AAAAnew demo\n"
    assert roots.read_text() == ""
    assert not authorize(tmp_path, "ssh-ed25519 AAAAnew demo", "ssh-ed25519 AAAAold demo").stdout

"""The command that people type, from nothing to a server, and again."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import SERVER, STATE
from tests.lab_site import Run, Site


def test_the_first_run_makes_a_server(first_run: Run) -> None:
    assert first_run.code == 0, first_run.tail()
    assert first_run.recap[SERVER]["changed"] > 0


def test_the_end_says_what_a_person_needs(server: Site, first_run: Run) -> None:
    summary = first_run.output.rpartition("PLAY RECAP")[0][-4000:]
    assert server.url in summary
    assert "credentials/jupyter_password" in summary
    assert "ca/ca.crt" in summary


def test_verify_wrote_its_report(server: Site) -> None:
    report = json.loads((STATE / SERVER / "reports" / "verify.json").read_text())
    assert report["kept"] is True
    checks = {check["check"] for check in report["checks"]}
    assert checks >= {"certificate", "plain HTTP", "wrong password", "password", "ports"}
    assert checks >= {f"kernel {kernel['name']}" for kernel in server.kernels}


def test_the_second_run_changes_nothing(server: Site) -> None:
    again = server.apply("second")
    assert again.changes_nothing(), again.tail(120)


@pytest.fixture(scope="module")
def rehearsal(server: Site) -> Run:
    """A dry run, as talkative as can be."""
    return server.apply("check", "-vvv", "--check", "--diff")


def test_a_check_run_changes_nothing(rehearsal: Run) -> None:
    assert rehearsal.changes_nothing(), rehearsal.tail(120)


def test_the_ssh_alias_works(server: Site) -> None:
    result = server.ssh("true")
    assert result.returncode == 0, result.stderr


def test_what_is_kept_here_is_private(server: Site) -> None:
    """Directories are 0700, files 0600; the CA's certificate and public keys may be read."""
    wrong = []
    for path in [STATE, *STATE.rglob("*")]:
        allowed = 0o700 if path.is_dir() else 0o644 if path.suffix in (".crt", ".pub") else 0o600
        mode = stat.S_IMODE(path.lstat().st_mode)
        if mode & ~allowed:
            wrong.append(f"{path.relative_to(STATE.parent)} {mode:o}")
    assert wrong == []
    assert stat.S_IMODE(server.password_file.stat().st_mode) == 0o600
    assert stat.S_IMODE((STATE / "ca" / "ca.key").stat().st_mode) == 0o600


def test_no_secret_is_ever_said(server: Site, first_run: Run, rehearsal: Run) -> None:
    """The first run's summary shows the password, once; else no run does, however talkative, nor any other secret."""
    assert "EXEC" in rehearsal.output, "it was not talkative"
    hashed = server.ssh("sudo", "grep", "-rhow", "'argon2.*'", "/etc/jupyter-server").stdout.split()
    assert hashed, "the server has no password hash where it was expected"
    key = (STATE / "ca" / "ca.key").read_text().splitlines()[1]
    assert first_run.output.count(server.password) == 1
    assert server.password not in rehearsal.output
    for secret in (*hashed, key):
        assert secret not in first_run.output + rehearsal.output


def test_nothing_of_a_run_is_left_in_the_process_list(server: Site) -> None:
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert server.password not in listing
    there = server.ssh("ps", "-eo", "args")
    assert "jupyter" in there.stdout, there.stderr
    assert server.password not in there.stdout


def test_the_folder_of_the_state_is_not_in_the_repository() -> None:
    root = Path(__file__).resolve().parents[2]
    ignored = subprocess.run(["git", "check-ignore", "-q", str(STATE)], cwd=root, check=False)
    assert ignored.returncode == 0

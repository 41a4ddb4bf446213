"""The side of the laptop: ssh by name, the key for PuTTY, files brought there and back, and notebooks behind a tunnel alone."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.lab_site import Site
from tests.life.conftest import MAKE, settings

NOTEBOOKS = "/data/notebooks"
ONLY_JUPYTER = {"server_components": ["jupyter_tls"]}
OWN = "# mine\nHost elsewhere\n  User ann\n"


def sums(folder: Path) -> dict[str, str]:
    """Every file of a folder, by what is in it."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and not file.is_symlink()
    }


def reaches(address: str, port: int) -> bool:
    """Whether a port accepts a connection."""
    try:
        socket.create_connection((address, port), timeout=3).close()
    except OSError:
        return False
    return True


def test_ssh_by_name_and_the_key_for_putty(server: Site, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(OWN)
    config.chmod(0o640)
    asked = settings(client_ssh_include=True, client_ppk=True, client_ssh_config=str(config))
    run = server.apply("client", *asked, playbook="playbooks/client.yml")
    assert run.code == 0, run.tail()
    assert server.apply("client-again", *asked, playbook="playbooks/client.yml").changes_nothing()
    assert config.read_text().endswith(OWN) and config.stat().st_mode & 0o777 == 0o640
    said = subprocess.run(
        ["ssh", "-F", config, "demo", "hostname"], capture_output=True, text=True, timeout=30, check=False
    )
    assert said.returncode == 0, said.stderr

    key, secret = server.state / "demo/demo.ppk", server.state / "demo/credentials/ppk_passphrase"
    assert key.read_text().startswith("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: aes256-cbc")
    assert {file.stat().st_mode & 0o777 for file in (key, secret)} == {0o600}
    assert secret.read_text().strip() not in run.output
    # Only with the passphrase does it give its public half, which is the server's.
    into: list[str | Path] = ["-O", "private-openssh", "--new-passphrase", "/dev/null", "-o", tmp_path / "key"]
    wrong = tmp_path / "wrong"
    wrong.write_text("not the passphrase\n")
    for passphrase, good in ((wrong, False), (secret, True)):
        words: list[str | Path] = ["puttygen", key, "--old-passphrase", passphrase, *into]
        public = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        assert (public.returncode == 0) == good, public.stdout + public.stderr
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-f", tmp_path / "key"], capture_output=True, text=True, timeout=30, check=True
    )
    assert derived.stdout.split()[1] == (server.state / "demo/id_ed25519.pub").read_text().split()[1]

    back = server.apply("client-off", *settings(client_ssh_config=str(config)), playbook="playbooks/client.yml")
    assert back.code == 0, back.tail()
    assert config.read_text() == OWN and not key.exists() and not secret.exists()


@pytest.mark.parametrize("how", ["rsync", "tar"])
def test_files_go_there_and_back(server: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    course, copy, folder = tmp_path / "course", tmp_path / "copy", f"pushed-{how}"
    (course / "wide name" / "deep").mkdir(parents=True)
    for number in range(50):
        (course / "wide name" / f"ü {number}.txt").write_text(f"{number}\n" * number)
    (course / "wide name/deep/large.bin").write_bytes(bytes(range(256)) * 20000)
    (course / "link").symlink_to("/etc/passwd")
    if how == "tar":
        # A machine that has everything but rsync.
        bin_dir = tmp_path / "bin"
        bin_dir.mkdir()
        for program in Path("/usr/bin").iterdir():
            if program.name != "rsync":
                (bin_dir / program.name).symlink_to(program)
        monkeypatch.setitem(server.environment, "PATH", f"{Path(sys.executable).parent}:{bin_dir}")
    there = settings(**{"from": str(course), "to": folder})
    run = server.apply(f"push-{how}", *there, playbook="playbooks/push.yml")
    assert run.code == 0 and f"51 files (5.1 MB) went to demo by {how}" in " ".join(run.output.split()), run.tail()
    owners = server.ssh("sudo", "find", f"{NOTEBOOKS}/{folder}", "-printf", "'%u\\n'").stdout.split()
    assert set(owners) == {"jupyter"} and len(owners) == 54

    # What somebody changed on the server stays there, and comes back.
    server.ssh("sudo", "-u", "jupyter", "sh", "-c", f"'echo more >>\"{NOTEBOOKS}/{folder}/wide name/ü 7.txt\"'")
    kept = server.apply(f"push-kept-{how}", *there, playbook="playbooks/push.yml")
    assert kept.changes_nothing() and "1 stay because they are newer" in " ".join(kept.output.split()), kept.tail()
    came = server.apply(f"pull-{how}", *settings(**{"from": folder, "to": str(copy)}), playbook="playbooks/pull.yml")
    assert came.code == 0, came.tail()
    there_now, here = sums(copy), sums(course)
    assert len(there_now) == 51 and {n for n in here if here[n] != there_now[n]} == {"wide name/ü 7.txt"}
    server.ssh("sudo", "rm", "-r", f"{NOTEBOOKS}/{folder}")


def test_notebooks_behind_a_tunnel_alone(server: Site) -> None:
    address = server.record["public_ip"]
    hidden = settings(**ONLY_JUPYTER, notebook_tunnel=True)
    run = server.apply("tunnel", *hidden, playbook=f"{MAKE} playbooks/verify.yml playbooks/summary.yml")
    assert run.code == 0, run.tail(120)
    assert not reaches(address, 443)
    rules = server.client().describe_security_groups(Filters=[{"Name": "tag:Name", "Values": ["demo"]}])
    assert {rule["FromPort"] for rule in rules["SecurityGroups"][0]["IpPermissions"]} == {22}
    listens = server.ssh("sudo", "ss", "-Hltn", "sport", "=", ":443").stdout.split()
    assert listens[3] == "127.0.0.1:443", listens
    report = json.loads((server.state / "demo/reports/verify.json").read_text())
    assert report["kept"] and report["checks"][0]["detail"] == f"a tunnel to port 443 of {address}"

    # The line as the summary prints it, with another port of this machine, as 8443 may be somebody's.
    line = str(re.search(r"(ssh -N -L 8443:127\.0\.0\.1:443 .*)", run.output)[1])  # type: ignore[index]
    assert "https://localhost:8443/" in run.output
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with subprocess.Popen(shlex.split(line.replace("8443:", f"{port}:")), stdin=subprocess.DEVNULL) as tunnel:
        try:
            end = time.monotonic() + 20
            while not reaches("127.0.0.1", port) and time.monotonic() < end:
                time.sleep(0.2)
            trust = ssl.create_default_context(cafile=str(server.ca_file))
            with urllib.request.urlopen(f"https://localhost:{port}/api", context=trust, timeout=20) as answer:
                assert "version" in json.load(answer)
        finally:
            tunnel.terminate()

    run = server.apply("tunnel-off", *settings(**ONLY_JUPYTER), playbook=f"{MAKE} playbooks/summary.yml")
    assert run.code == 0, run.tail(120)
    assert reaches(address, 443) and "ssh -N" not in run.output

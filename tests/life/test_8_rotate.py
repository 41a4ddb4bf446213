"""New secrets and newer packages: nobody is locked out on the way, what is old opens nothing, and a second time changes nothing."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from plugins.modules.notebook_probe import Server, log_in, trust, wait_for
from tests.lab_site import ROOT, Site
from tests.life.conftest import settings

ROTATE, UPDATE = "playbooks/rotate.yml", "playbooks/update.yml"
# Accounts with a password that the project makes, beside those of the settings, which have none.
ACCOUNTS: dict[str, Any] = {
    "mysql_users": [
        {"name": "jupyter", "plugin": "socket", "privileges": {"notebooks": ["ALL"]}},
        {"name": "ann", "privileges": {"notebooks": ["SELECT"]}},
    ],
    "postgres_users": [{"name": "jupyter", "plugin": "peer"}, {"name": "ann", "privileges": {"notebooks": ["SELECT"]}}],
}
CUTS = 80


def ssh_with(site: Site, key: Path) -> int:
    """Log in with one key and no other."""
    lines = [line for line in site.ssh_config.read_text().splitlines() if "IdentityFile" not in line]
    config = key.with_suffix(".config")
    config.write_text("\n".join([*lines, f'  IdentityFile "{key}"', ""]))
    words = ["ssh", "-F", str(config), "-o", "BatchMode=yes", "-o", "ControlPath=none", "-o", "IdentityAgent=none"]
    return subprocess.run([*words, site.server, "true"], capture_output=True, timeout=60, check=False).returncode


def logs_in(site: Site, password: str) -> bool:
    """Whether JupyterLab takes a password, asked over a connection that the CA's certificate proves."""
    address = site.record["public_ip"]
    wait_for(address, 443, 120)
    server = Server(address, 443, trust(str(site.ca_file)))
    server.ask("GET", "/login")
    return log_in(server, password)[0].ok


def certificate(site: Site) -> x509.Certificate:
    """What JupyterLab shows."""
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((site.record["public_ip"], 443)).encode())


def database_login(site: Site, database: str, password: str) -> int:
    """Log in as ann through the socket, with a password."""
    command = {
        "mysql": f"MYSQL_PWD={password} mysql --no-defaults --user=ann --execute 'SELECT 1' notebooks",
        "postgres": f"PGPASSWORD={password} psql -h /run/postgresql -U ann -Atc 'SELECT 1' notebooks",
    }[database]
    return site.ssh(command).returncode


def kept(site: Site) -> dict[str, str]:
    """The secrets on this machine."""
    folder = site.state / site.server
    return {
        path.name: path.read_text().strip() for path in [*folder.glob("credentials/*"), *folder.glob("id_ed25519*")]
    }


@pytest.fixture(scope="module")
def accounts(server: Site) -> Iterator[Site]:
    """The server, with ann in both databases for a while."""
    run = server.apply("rotate-accounts", *settings(**ACCOUNTS), playbook="playbooks/configure.yml")
    assert run.code == 0, run.tail()
    yield server
    server.ssh(
        "sudo mysql -e \"DROP USER ann@localhost\"; sudo -u postgres psql notebooks -c 'DROP OWNED BY ann' -c 'DROP ROLE ann'"
    )
    for path in (server.state / server.server / "credentials").glob("*_ann*"):
        path.unlink()


def test_all_secrets_at_once(accounts: Site, tmp_path: Path) -> None:
    """What was plays no role any more, what is new does, and site.yml finds all as it should be."""
    site = accounts
    said = site.apply("rotate-check", *settings(**ACCOUNTS), "-e", "rotate=all", "--check", playbook=ROTATE)
    assert said.changes_nothing(), said.tail()
    assert "MySQL: ann; PostgreSQL: ann" in said.output
    before, serial = kept(site), certificate(site).serial_number
    old_key = tmp_path / "old"
    old_key.touch(mode=0o600)
    old_key.write_text(before["id_ed25519"] + "\n")
    assert ssh_with(site, old_key) == 0
    run = site.apply("rotate", *settings(**ACCOUNTS), "-e", "rotate=all", playbook=ROTATE)
    assert run.code == 0, run.tail(120)
    after = kept(site)
    assert set(after) == set(before), "something unfinished was left"
    assert all(after[name] != before[name] for name in before if not name.endswith(".shown"))
    assert run.output.count(after["jupyter_password"]) == 1, "the new password is shown once"
    for name in ("mysql_ann", "postgres_ann"):
        assert after[name] not in run.output
    # The key: the new one everywhere, the old one nowhere.
    assert ssh_with(site, old_key) == 255
    assert site.ssh("true").returncode == 0
    pairs = site.client().describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    assert [pair["PublicKey"].split()[1] for pair in pairs] == [after["id_ed25519.pub"].split()[1]]
    # The password, over a certificate that is another one, by the same CA.
    assert certificate(site).serial_number != serial
    assert logs_in(site, after["jupyter_password"])
    assert not logs_in(site, before["jupyter_password"])
    for database in ("mysql", "postgres"):
        assert database_login(site, database, after[f"{database}_ann"]) == 0
        assert database_login(site, database, before[f"{database}_ann"]) != 0
    again = site.apply("rotate-site", *settings(**ACCOUNTS))
    assert again.changes_nothing(), again.tail(120)


# What could lock somebody out for good; the others on request, as each takes minutes: LIFE_CUTS=jupyter_password,database_passwords.
@pytest.mark.parametrize("part", os.environ.get("LIFE_CUTS", "ssh_key").split(","))
def test_a_rotation_that_is_killed_anywhere_goes_on(accounts: Site, tmp_path: Path, part: str) -> None:
    """After each cut somebody can log in everywhere by what is on this machine, and the last run leaves nothing unfinished."""
    site, notes = accounts, tmp_path / "notes.json"
    calm, first, cuts = dict(site.environment), kept(site), 0
    site.environment.update(
        ANSIBLE_CALLBACK_PLUGINS=f"{ROOT}/plugins/callback:{ROOT}/tests/plugins/callback",
        ANSIBLE_CALLBACKS_ENABLED="preload,cut_off",
        CUT_OFF_NOTES=str(notes),
        CUT_OFF_STEP="8",
        CUT_OFF_LONG="0",
    )
    try:
        for number in range(CUTS):
            run = site.apply(f"rotate-cut-{part}", *settings(**ACCOUNTS), "-e", f"rotate={part}", playbook=ROTATE)
            if run.code != -signal.SIGKILL:
                break
            cuts = number + 1
            print(json.loads(notes.read_text())["cut"])
            now = kept(site)
            assert site.ssh("-o", "ControlPath=none", "true").returncode == 0
            assert any(logs_in(site, now[name]) for name in ("jupyter_password", "jupyter_password.new") if name in now)
            for database in ("mysql", "postgres"):
                names = [name for name in (f"{database}_ann", f"{database}_ann.new") if name in now]
                assert any(database_login(site, database, now[name]) == 0 for name in names)
    finally:
        site.environment.clear()
        site.environment.update(calm)
    assert run.code == 0, run.tail(120)
    assert cuts > 3
    last = kept(site)
    assert not [name for name in last if name.endswith((".new", ".old", ".part"))]
    print(f"{part}: {cuts} cuts; {[name for name in last if last[name] != first.get(name)]} are new")
    again = site.apply("rotate-cut-site", *settings(**ACCOUNTS))
    assert again.changes_nothing(), again.tail(120)


def test_an_update_and_its_way_back(server: Site) -> None:
    """An older library that services run with: said first, brought up to date, services renewed; then nothing more to do."""
    name = "libexpat1"
    versions = server.ssh(
        f"sudo apt-get update -q >/dev/null; apt-cache madison {name} | awk '{{ print $3 }}' | uniq"
    ).stdout.split()
    if len(versions) > 1:
        old = f"sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -q --allow-downgrades {name}={versions[-1]}"
        assert server.ssh(f"{old} && sudo systemctl restart jupyter").returncode == 0
        line = f"{name} {versions[-1]} -> {versions[0]}"
        said = server.apply("update-check", *settings(), "--check", playbook=UPDATE)
        assert said.code == 0 and line in said.output, said.tail()
        assert server.ssh(f"dpkg-query -Wf '${{Version}}' {name}").stdout == versions[-1]
        run = server.apply("update", *settings(), playbook=UPDATE)
        assert run.code == 0, run.tail(120)
        assert server.ssh(f"dpkg-query -Wf '${{Version}}' {name}").stdout == versions[0]
        assert f"apt-get install --allow-downgrades {name}={versions[-1]}" in " ".join(run.output.split())
        assert server.ssh("grep -l expat /proc/$(systemctl show -p MainPID --value jupyter)/maps").stdout == ""
    else:
        run = server.apply("update", *settings(), playbook=UPDATE)
        assert run.code == 0, run.tail(120)
    again = server.apply("update-again", *settings(), playbook=UPDATE)
    # The report of the check may be written anew; nothing on the server is.
    assert again.changes_nothing(), again.tail(120)

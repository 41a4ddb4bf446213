"""New secrets and newer packages: nobody is locked out on the way, what is old opens nothing, and a second time changes nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.lab_site import LATER_RUN, ROOT, Site
from tests.life.conftest import MAKE, settings

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
# Two versions of a package of ours, of which the first is installed, and a service that runs with the library in it.
REPOSITORY = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
library=$(ldconfig -p | awk '/libz\.so\.1 / { print $NF; exit }')
mkdir -p /srv/lab-ours && cd /srv/lab-ours
for version in 1.0 2.0; do
  mkdir -p $version/DEBIAN $version/usr/lib/lab-ours
  cp -L "$library" $version/usr/lib/lab-ours/libours.so
  printf 'Package: lab-ours\nVersion: %s\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: for a test\n' \
    $version >$version/DEBIAN/control
  dpkg-deb --build --root-owner-group $version lab-ours_$version.deb >/dev/null
  { dpkg-deb --field lab-ours_$version.deb
    printf 'Filename: ./lab-ours_%s.deb\nSize: %s\nSHA256: %s\n\n' $version "$(stat -c %s lab-ours_$version.deb)" \
      "$(sha256sum lab-ours_$version.deb | cut -d ' ' -f 1)"; } >>Packages
  rm -r $version
done
chmod -R a+rX /srv/lab-ours
echo 'deb [trusted=yes] file:/srv/lab-ours ./' >/etc/apt/sources.list.d/lab-ours.list
cat >/etc/systemd/system/lab-ours.service <<'END'
[Service]
ExecStart=/usr/bin/python3 -c "import ctypes, time; ctypes.CDLL('/usr/lib/lab-ours/libours.so'); time.sleep(1e9)"
[Install]
WantedBy=multi-user.target
END
apt-get update -q
apt-get install -y -q --allow-downgrades lab-ours=1.0
systemctl daemon-reload
systemctl enable --now lab-ours
end=$(($(date +%s) + 30))
until grep -q lab-ours "/proc/$(systemctl show -p MainPID --value lab-ours)/maps"; do [ "$(date +%s)" -lt $end ]; sleep 0.2; done
"""


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
    databases = settings(server_components=["mysql", "postgres"], **ACCOUNTS)
    run = server.apply("rotate-accounts", *databases, playbook="playbooks/configure.yml")
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
    assert site.lets_in(old_key)
    run = site.apply("rotate", *settings(**ACCOUNTS), "-e", "rotate=all", playbook=ROTATE)
    assert run.code == 0, run.tail(120)
    after = kept(site)
    assert set(after) == set(before), "something unfinished was left"
    assert all(after[name] != before[name] for name in before if not name.endswith(".shown"))
    assert run.output.count(after["jupyter_password"]) == 1, "the new password is shown once"
    for name in ("mysql_ann", "postgres_ann"):
        assert after[name] not in run.output
    # The key: the new one everywhere, the old one nowhere.
    assert not site.lets_in(old_key)
    assert site.ssh("true").returncode == 0
    pairs = site.client().describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    assert [pair["PublicKey"].split()[1] for pair in pairs] == [after["id_ed25519.pub"].split()[1]]
    # The password, over a certificate that is another one, by the same CA.
    assert certificate(site).serial_number != serial
    assert site.logs_in(after["jupyter_password"])
    assert not site.logs_in(before["jupyter_password"])
    for database in ("mysql", "postgres"):
        assert database_login(site, database, after[f"{database}_ann"]) == 0
        assert database_login(site, database, before[f"{database}_ann"]) != 0
    wanted = settings(server_components=["mysql", "postgres", "jupyter_tls"], **ACCOUNTS)
    again = site.apply("rotate-again", *wanted, playbook=MAKE)
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
        CUT_OFF_STEP="1000",  # so only after changes
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
            assert any(site.logs_in(now[name]) for name in ("jupyter_password", "jupyter_password.new") if name in now)
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
    again = site.apply("rotate-cut-again", *settings(), playbook="playbooks/provision.yml")
    assert again.changes_nothing(), again.tail(120)


@pytest.fixture
def ours(server: Site) -> Iterator[str]:
    """A package with a library that a service runs with, in a repository on the server that has its first version and then its second."""
    server.root(REPOSITORY, seconds=LATER_RUN)
    yield "lab-ours"
    undo = "systemctl disable --now lab-ours; rm -rf /etc/systemd/system/lab-ours.service /srv/lab-ours"
    undo += " /etc/apt/sources.list.d/lab-ours.list; DEBIAN_FRONTEND=noninteractive apt-get purge -y -q lab-ours; apt-get update -q"
    server.root(undo, seconds=LATER_RUN)


def test_an_update_and_its_way_back(server: Site, ours: str) -> None:
    """A library that a service runs with: said first, brought up to date, the service renewed; then back; then nothing more to do."""

    def version() -> str:
        return server.root(f"dpkg-query -Wf '${{Version}}' {ours}")

    def process() -> str:
        return server.root(f"systemctl show -p MainPID --value {ours}")

    first, line = process(), f"{ours} 1.0 -> 2.0"
    assert "/usr/lib/lab-ours/" in server.root(f"cat /proc/{first}/maps")
    said = server.apply("update-check", *settings(), "--check", playbook=UPDATE)
    assert said.code == 0 and line in said.output, said.tail()
    assert (version(), process()) == ("1.0", first)
    run = server.apply("update", *settings(), playbook=UPDATE)
    assert run.code == 0 and line in run.output, run.tail(120)
    assert version() == "2.0"
    # Renewed, as what it ran with was replaced.
    assert process() not in ("0", first)
    words = " ".join(run.output.split())
    assert re.search(rf'restarted: [^"]*{ours}\.service', words), run.tail(120)
    assert "(deleted)" not in server.root(f"grep lab-ours /proc/{process()}/maps")
    # The way back, as it was said.
    way = re.search(r"apt-get install --allow-downgrades(?: [a-z0-9.+-]+(?:=[\w.+:~-]*\w|-))+", words)
    assert way and f"{ours}=1.0" in way[0], run.tail(120)
    server.root(f"DEBIAN_FRONTEND=noninteractive {way[0]} -y -q", seconds=LATER_RUN)
    assert version() == "1.0"
    again = server.apply("update-once-more", *settings(), playbook=UPDATE)
    assert again.code == 0 and version() == "2.0", again.tail(120)
    nothing = server.apply("update-nothing", *settings(), playbook=UPDATE)
    # The report of the check may be written anew; nothing on the server is.
    assert nothing.changes_nothing(), nothing.tail(120)

"""PostgreSQL as notebooks and people find it, and as it behaves when something of it changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import played
from tests.postgres_server import BACKUPS, EPHEMERAL, Server

CONVERGE = Path(__file__).parents[1] / "converge.yml"


@pytest.fixture(scope="module")
def server(host: Any) -> Server:
    """The server under test, with a few rows in it."""
    variables = host.ansible.get_variables()
    found = Server(variables["inventory_hostname"], variables["ansible_host"], variables["subnet"])
    found.sql("CREATE TABLE IF NOT EXISTS rows AS SELECT g AS n FROM generate_series(1, 1000) g", "jupyter")
    return found


@pytest.fixture(scope="module")
def apply(server: Server) -> Callable[..., played.Run]:
    """Apply the role again, with other settings."""

    def run(*arguments: str, **settings: Any) -> played.Run:
        return server.play(CONVERGE, "-e", json.dumps(settings), *arguments)

    return run


def test_there_is_a_socket_and_no_port(server: Server) -> None:
    assert ":5432" not in server.sh("ss --listening --tcp --numeric")
    assert server.sql("SHOW listen_addresses") == ""
    assert server.sh("stat -c %a /run/postgresql/.s.PGSQL.5432") == "777"


def test_it_is_sound(server: Server) -> None:
    assert server.sql("SHOW data_checksums") == "on"
    assert server.sql("SHOW server_encoding") == "UTF8"
    assert server.sql("SHOW password_encryption") == "scram-sha-256"
    assert server.sql("SHOW log_statement") == "none"
    memory = int(server.sh("awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo"))
    buffers = int(server.sql("SELECT setting::int / 128 FROM pg_settings WHERE name = 'shared_buffers'"))
    assert buffers == pytest.approx(memory * 0.1 * 0.4, abs=2)


def test_only_these_rules_let_in(server: Server) -> None:
    rules = server.sql(
        "SELECT type, database, user_name, address, auth_method FROM pg_hba_file_rules ORDER BY line_number"
    ).splitlines()
    assert rules == [
        "local|{all}|{postgres}||peer",
        "local|{all}|{jupyter}||peer",
        "local|{all}|{all}||scram-sha-256",
    ]


def test_notebooks_get_in_without_a_password(server: Server) -> None:
    assert server.sql("SELECT current_user || ' ' || count(*) FROM rows", "jupyter") == "jupyter 1000"
    as_another = server.run("runuser -u nobody -- psql -XqAt -h /run/postgresql -U jupyter notebooks -c 'SELECT 1'")
    assert "Peer authentication failed" in as_another.stderr


def test_passwords_with_special_characters_open_and_others_do_not(server: Server) -> None:
    password = server.password("writer")
    assert all(letter in password for letter in "\"'$\\;{é€%")
    assert server.login("writer", password).stdout == "1\n"
    assert server.login("reader.one", server.password("reader.one")).stdout == "1\n"
    for wrong in ("", "wrong", password + " "):
        assert server.login("writer", wrong).returncode != 0


def test_passwords_are_kept_for_their_owner_alone(server: Server) -> None:
    folder = EPHEMERAL / server.name
    assert folder.stat().st_mode & 0o777 == 0o700
    files = sorted(folder.glob("postgres_*"))
    assert [file.name for file in files] == ["postgres_reader.one", "postgres_writer"]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert len(server.password("reader.one")) == 28


def test_privileges_hold_for_tables_of_later(server: Server) -> None:
    writer, reader = server.password("writer"), server.password("reader.one")
    server.sql("DROP TABLE IF EXISTS later", "jupyter")
    server.sql("CREATE TABLE later (n serial PRIMARY KEY, t text)", "jupyter")
    assert server.login("writer", writer, "INSERT INTO later (t) VALUES ('x') RETURNING n").stdout == "1\n"
    assert server.login("writer", writer, "CREATE TABLE IF NOT EXISTS mine (n int)").returncode == 0
    assert server.login("reader.one", reader, "SELECT t FROM later").stdout == "x\n"
    assert server.login("reader.one", reader, "SELECT count(*) FROM mine").stdout == "0\n"
    assert "permission denied" in server.login("reader.one", reader, "DELETE FROM later").stderr
    assert "permission denied for schema" in server.login("reader.one", reader, "CREATE TABLE hers (n int)").stderr
    assert "permission denied for database" in server.login("writer", writer, dbname="lab-1").stderr
    assert server.login("reader.one", reader, "CREATE TABLE IF NOT EXISTS hers (n int)", dbname="lab-1").returncode == 0


def test_extensions_are_there(server: Server) -> None:
    assert server.sql("SELECT similarity('word', 'world') > 0.3", "jupyter") == "t"


def test_dumps_are_made_and_rotated(host: Any, server: Server) -> None:
    server.sh(
        f"rm -f {BACKUPS}/*; for day in 01 02 03 04 05 06 07; do touch {BACKUPS}/notebooks-202601${{day}}T031500Z.dump; done"
    )
    server.sh(f"touch {BACKUPS}/.notebooks-20260101T031500Z.part")
    timer = host.service("notebook-postgres-dump.timer")
    assert timer.is_enabled and timer.is_running
    server.sh("systemctl start notebook-postgres-dump")
    names = server.sh(f"ls -A {BACKUPS}").splitlines()
    assert len([name for name in names if name.startswith("notebooks-")]) == 7
    assert "notebooks-20260101T031500Z.dump" not in names
    assert not [name for name in names if name.startswith(".")]
    kinds = {re.sub(r"-\d{8}T\d{6}Z", "", name) for name in names}
    assert kinds == {"accounts.sql", "lab-1.dump", "notebooks.dump", "postgres.dump"}
    newest = f"{BACKUPS}/{[name for name in names if name.startswith('notebooks-')][-1]}"
    assert server.sh(f"stat -c '%a %U' {newest} {BACKUPS}").splitlines() == ["600 root", "700 root"]
    assert "TABLE DATA public rows jupyter" in server.sh(f"pg_restore --list <{newest}")


def test_a_full_disk_leaves_the_old_dump(server: Server) -> None:
    server.sh(f"mount -t tmpfs -o size=300k,mode=0700 tmpfs {BACKUPS}")
    try:
        server.sh("systemctl start notebook-postgres-dump")
        before = server.sh(f"cd {BACKUPS} && sha256sum *")
        # Names go by the second: one more dump in the same one would take the place of the other.
        server.sh("sleep 1.1")
        server.sql("CREATE TABLE big AS SELECT md5(g::text) FROM generate_series(1, 50000) g")
        assert server.run("systemctl start notebook-postgres-dump").returncode != 0
        assert server.sh("systemctl is-failed notebook-postgres-dump") == "failed"
        said = server.sh("journalctl --unit=notebook-postgres-dump --lines=30 --output=cat")
        assert "No space left on device" in said
        assert f"The dump of notebooks failed; the older dumps in {BACKUPS} are untouched." in said
        after = server.sh(f"cd {BACKUPS} && sha256sum *")
        assert set(before.splitlines()) <= set(after.splitlines())
        assert not server.sh(f"find {BACKUPS} -name '.*.part'")
    finally:
        server.sh(f"umount {BACKUPS}; systemctl reset-failed notebook-postgres-dump")
        server.sql("DROP TABLE IF EXISTS big")


@pytest.mark.one_system
def test_what_a_person_edited_is_kept_and_named(server: Server, apply: Callable[..., played.Run]) -> None:
    server.sh(f"echo 'host all all 0.0.0.0/0 trust  # for a moment' >>{server.etc}/pg_hba.conf")
    dry = apply("--check")
    assert "These lines go: host all all 0.0.0.0/0 trust." in dry.words
    before = server.started()
    run = apply(postgres_settings={"work_mem": "7MB", "cluster_name": "it's"})
    assert run.code == 0, run.output
    assert f"{server.etc}/pg_hba.conf of {server.name} was edited by a person." in run.words
    copies = server.sh(f"ls {server.etc}/pg_hba.conf.*").splitlines()
    assert len(copies) == 1
    assert "for a moment" in server.sh(f"cat {copies[0]}")
    assert "trust" not in server.sql("SELECT auth_method FROM pg_hba_file_rules")
    # The same run set what a server takes only when it starts.
    assert server.sql("SHOW work_mem") == "7MB"
    assert server.sql("SHOW cluster_name") == "it's"
    assert server.started() != before


@pytest.mark.one_system
def test_a_setting_restarts_only_if_it_must(server: Server, apply: Callable[..., played.Run]) -> None:
    before = server.started()
    assert apply(postgres_settings={"work_mem": "9MB", "cluster_name": "it's"}).code == 0
    assert server.sql("SHOW work_mem") == "9MB"
    assert server.started() == before


@pytest.mark.one_system
def test_a_run_that_was_cut_off_is_finished_by_the_next(
    host: Any, server: Server, apply: Callable[..., played.Run]
) -> None:
    # Written, and never read by the server; disabled; its timer stopped. A database without what closes it, an account
    # without its password.
    server.sh(
        f"touch {server.etc}/conf.d/zz-notebook.conf && systemctl disable postgresql && systemctl stop notebook-postgres-dump.timer"
    )
    loaded = server.sql("SELECT pg_conf_load_time()")
    server.sql('DROP DATABASE "lab-1"', database="postgres")
    server.sql('CREATE DATABASE "lab-1"', database="postgres")
    server.sql('ALTER ROLE "reader.one" NOLOGIN PASSWORD NULL', database="postgres")
    assert apply().code == 0
    assert server.sql("SELECT pg_conf_load_time()") != loaded
    assert host.service("postgresql").is_enabled
    assert host.service("notebook-postgres-dump.timer").is_running
    reader = server.password("reader.one")
    assert server.login("reader.one", reader, "CREATE TABLE hers (n int)", dbname="lab-1").returncode == 0
    assert server.login("writer", server.password("writer"), dbname="lab-1").returncode != 0
    server.sh("systemctl stop postgresql")
    assert apply().changed == 1
    assert server.sql("SELECT count(*) FROM rows") == "1000"


NEW = "another 'pass\"word\\ of $HOME %s"
USERS = [
    {"name": "jupyter", "plugin": "peer"},
    {"name": "writer", "password": NEW, "privileges": {"notebooks": ["SELECT"]}},
    {"name": "reader.one", "state": "absent"},
]
VERIFIER = "SCRAM-SHA-256$"


@dataclass
class Changed:
    """A run that changed accounts and opened a port."""

    run: played.Run
    old: str  # the password of before


@pytest.fixture(scope="module")
def changed(server: Server, apply: Callable[..., played.Run]) -> Changed:
    """Other accounts, and remote access, by a run that says all that it can while the server notes every statement."""
    old = server.password("writer")
    server.sql("ALTER SYSTEM SET log_statement = 'all'", database="postgres")
    server.sql("SELECT pg_reload_conf()", database="postgres")
    remote = {"bind": "0.0.0.0", "cidrs": [server.subnet]}
    run = apply("-vvv", postgres_users=USERS, postgres_remote_access=remote)
    server.sql("ALTER SYSTEM RESET log_statement", database="postgres")
    server.sql("SELECT pg_reload_conf()", database="postgres")
    assert run.code == 0, run.output
    return Changed(run, old)


@pytest.mark.one_system
def test_no_log_has_a_secret(server: Server, changed: Changed) -> None:
    for secret in (NEW, json.dumps(NEW)[1:-1], changed.old, VERIFIER, "PRIVATE KEY"):
        assert secret not in changed.run.output.replace(json.dumps(USERS), "")
    log = server.sh("cat /var/log/postgresql/*.log")
    assert "statement: " in log
    assert VERIFIER not in log
    assert NEW not in log


@pytest.mark.one_system
def test_accounts_change(server: Server, changed: Changed) -> None:
    assert server.login("writer", changed.old).returncode != 0
    assert server.login("writer", NEW, "SELECT count(*) FROM rows").stdout == "1000\n"
    assert "permission denied" in server.login("writer", NEW, "CREATE TABLE more (n int)").stderr
    # What the account that is gone had made stays, and is the owner's of the database.
    assert server.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'reader.one'") == "0"
    assert server.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'hers'", database="lab-1") == "postgres"


@pytest.mark.one_system
def test_remote_access_is_by_tls_alone(server: Server, changed: Changed) -> None:
    # The host itself is the client: to the server it comes by an address like any other.
    server.sh('echo "$CA" >/tmp/ca.crt', CA=(EPHEMERAL / "ca/ca.crt").read_text())
    trusting = {"host": server.address, "sslmode": "verify-full", "sslrootcert": "/tmp/ca.crt"}
    query = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert server.login("writer", NEW, query, **trusting).stdout == "TLSv1.3\n"
    assert "no encryption" in server.login("writer", NEW, host=server.address, sslmode="disable").stderr
    assert "pg_hba.conf rejects connection" in server.login("postgres", NEW, **trusting).stderr


@pytest.mark.one_system
def test_all_of_that_goes_back(server: Server, changed: Changed, apply: Callable[..., played.Run]) -> None:
    assert apply().code == 0
    assert ":5432" not in server.sh("ss --listening --tcp --numeric")
    assert server.login("writer", changed.old, "CREATE TABLE more (n int)").returncode == 0
    assert server.login("writer", NEW).returncode != 0
    assert server.login("reader.one", server.password("reader.one")).stdout == "1\n"

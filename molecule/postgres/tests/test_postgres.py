"""PostgreSQL as notebooks and people find it, and as it behaves when something of it changes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import played

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
PROJECT = SCENARIO.parents[1]
BACKUPS = "/srv/backups/postgres"


@dataclass
class Server:
    """One host of the scenario, seen from the controller."""

    name: str
    address: str

    def sh(self, command: str, **environment: str) -> str:
        """Run a command as root, and return what it prints."""
        done = self.run(command, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def run(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as root, however it ends."""
        settings = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
        inside = ["docker", "exec", *settings, f"molecule-postgres-{self.name}", "bash", "-c", command]
        return subprocess.run(inside, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def sql(self, statement: str, account: str = "postgres", database: str = "notebooks") -> str:
        """What a statement gives to an account that the system vouches for."""
        return self.sh(f'cd / && runuser -u {account} -- psql -XqAt {database} -c "$SQL"', SQL=statement)

    def login(
        self, account: str, password: str, query: str = "SELECT 1", **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Log in by a password, through the socket unless there is more to say."""
        where = {"host": "/run/postgresql", "dbname": "notebooks", **more}
        line = " ".join(f"{name}={value}" for name, value in where.items())
        return self.run(f'psql -XqAt "user={account} {line}" -c "$SQL"', SQL=query, PGPASSWORD=password)

    def started(self) -> str:
        """When the server was started."""
        return self.sql("SELECT pg_postmaster_start_time()")

    @property
    def etc(self) -> str:
        """Where the server's settings are."""
        return self.sh("dirname $(ls -t /etc/postgresql/*/main/postgresql.conf | head -n 1)")

    def password(self, account: str) -> str:
        """The password that the role keeps on the controller."""
        return (EPHEMERAL / self.name / f"postgres_{account}").read_text()


def play(playbook: Path, server: str, *arguments: str) -> played.Run:
    """Run a playbook for one host; hosts that Molecule knows as no servers are servers here."""
    more = EPHEMERAL / "servers.ini"
    more.write_text("[servers]\nold\nempty\n")
    inventory = f"{os.environ['ANSIBLE_INVENTORY']},{more}"
    environment = {"ANSIBLE_INVENTORY": inventory}
    return played.play(SCENARIO, "--limit", server, *arguments, str(playbook), environment=environment)


@pytest.fixture(scope="module")
def server(host: Any) -> Server:
    """The server under test, with a few rows in it."""
    variables = host.ansible.get_variables()
    found = Server(variables["inventory_hostname"], variables["ansible_host"])
    found.sql("CREATE TABLE IF NOT EXISTS rows AS SELECT g AS n FROM generate_series(1, 1000) g", "jupyter")
    return found


@pytest.fixture(scope="module")
def apply(server: Server) -> Callable[..., played.Run]:
    """Apply the role again, with other settings."""

    def run(*arguments: str, **settings: Any) -> played.Run:
        return play(SCENARIO / "converge.yml", server.name, "-e", json.dumps(settings), *arguments)

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


@pytest.mark.one_host
def test_what_a_person_edited_is_kept_and_named(server: Server, apply: Callable[..., played.Run]) -> None:
    server.sh(f"echo 'host all all 0.0.0.0/0 trust  # for a moment' >>{server.etc}/pg_hba.conf")
    dry = apply("--check")
    assert "These lines go: host all all 0.0.0.0/0 trust." in dry.words
    run = apply()
    assert run.code == 0, run.output
    assert f"{server.etc}/pg_hba.conf of {server.name} was edited by a person." in run.words
    copies = server.sh(f"ls {server.etc}/pg_hba.conf.*").splitlines()
    assert len(copies) == 1
    assert "for a moment" in server.sh(f"cat {copies[0]}")
    assert "trust" not in server.sql("SELECT auth_method FROM pg_hba_file_rules")


@pytest.mark.one_host
def test_a_setting_reloads_and_restarts_only_if_it_must(server: Server, apply: Callable[..., played.Run]) -> None:
    before = server.started()
    assert apply(postgres_settings={"work_mem": "7MB", "cluster_name": "it's"}).code == 0
    assert server.sql("SHOW work_mem") == "7MB"
    assert server.sql("SHOW cluster_name") == "it's"
    middle = server.started()
    assert middle != before
    assert apply(postgres_settings={"work_mem": "9MB", "cluster_name": "it's"}).code == 0
    assert server.sql("SHOW work_mem") == "9MB"
    assert server.started() == middle


@pytest.mark.one_host
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


@pytest.mark.one_host
def test_accounts_change_and_no_log_has_a_secret(server: Server, apply: Callable[..., played.Run]) -> None:
    old, new = server.password("writer"), "another 'pass\"word\\ of $HOME %s"
    server.sql("ALTER SYSTEM SET log_statement = 'all'", database="postgres")
    server.sql("SELECT pg_reload_conf()", database="postgres")
    users = [
        {"name": "jupyter", "plugin": "peer"},
        {"name": "writer", "password": new, "privileges": {"notebooks": ["SELECT"]}},
        {"name": "reader.one", "state": "absent"},
    ]
    verifier = "SCRAM-SHA-256$"
    run = apply("-vvv", postgres_users=users)
    assert run.code == 0, run.output
    for secret in (new, json.dumps(new)[1:-1], old, verifier):
        assert secret not in run.output.replace(json.dumps(users), "")
    server.sql("ALTER SYSTEM RESET log_statement", database="postgres")
    server.sql("SELECT pg_reload_conf()", database="postgres")
    log = server.sh("cat /var/log/postgresql/*.log")
    assert "statement: " in log
    assert verifier not in log
    assert new not in log
    assert server.login("writer", old).returncode != 0
    assert server.login("writer", new, "SELECT count(*) FROM rows").stdout == "1000\n"
    assert "permission denied" in server.login("writer", new, "CREATE TABLE more (n int)").stderr
    # What the account that is gone had made stays, and is the owner's of the database.
    assert server.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'reader.one'") == "0"
    assert server.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'hers'", database="lab-1") == "postgres"
    assert apply().code == 0
    assert server.login("writer", old, "CREATE TABLE more (n int)").returncode == 0


@pytest.mark.one_host
def test_remote_access_is_by_tls_alone(server: Server, apply: Callable[..., played.Run]) -> None:
    password = server.password("writer")
    remote = {"bind": "0.0.0.0", "cidrs": ["198.19.6.0/24"]}
    assert apply(postgres_remote_access=remote).code == 0
    client = Server("empty", "198.19.6.13")
    client.sh('echo "$CA" >/tmp/ca.crt', CA=(EPHEMERAL / "ca/ca.crt").read_text())
    trusting = {"host": server.address, "sslmode": "verify-full", "sslrootcert": "/tmp/ca.crt"}
    query = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert client.login("writer", password, query, **trusting).stdout == "TLSv1.3\n"
    assert "no encryption" in client.login("writer", password, host=server.address, sslmode="disable").stderr
    assert "pg_hba.conf rejects connection" in client.login("postgres", password, **trusting).stderr
    assert apply().code == 0
    assert ":5432" not in server.sh("ss --listening --tcp --numeric")


@pytest.mark.one_host
def test_a_dump_is_restored_on_an_empty_host(server: Server) -> None:
    empty = Server("empty", "198.19.6.13")
    restore = PROJECT / "playbooks/restore_postgres.yml"
    server.sh("systemctl start notebook-postgres-dump")
    newest = server.sh(f"ls {BACKUPS}/notebooks-*.dump | tail -n 1")
    dump = EPHEMERAL / "notebooks.dump"
    inside = ["docker", "exec", f"molecule-postgres-{server.name}", "cat", newest]
    dump.write_bytes(subprocess.run(inside, check=True, stdout=subprocess.PIPE).stdout)
    count = "SELECT count(*) FROM rows"
    tables = "SELECT string_agg(tablename || ' ' || tableowner, ',' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'"

    kept = play(restore, "empty", "-e", f"postgres_restore_database=notebooks postgres_restore_upload={dump}")
    assert kept.code != 0
    assert "Nothing was done on empty: its name was not given (confirm=empty)." in kept.words
    run = play(
        restore, "empty", "-e", f"postgres_restore_database=notebooks postgres_restore_upload={dump} confirm=empty"
    )
    assert run.code == 0, run.output
    assert re.search(r"notebooks on empty has \d+ tables with 1\d\d\d rows\.", run.words)
    assert empty.sql(count, "jupyter") == server.sql(count) == "1000"
    assert empty.sql(tables) == server.sql(tables)

    # Half a dump changes nothing; what was there before a restore can be had again.
    half = EPHEMERAL / "half.dump"
    half.write_bytes(dump.read_bytes()[:-2000])
    refused = play(
        restore, "empty", "-e", f"postgres_restore_database=notebooks postgres_restore_upload={half} confirm=empty"
    )
    assert "is not a whole dump; nothing was changed." in refused.words
    empty.sql("DELETE FROM rows WHERE n > 10", "jupyter")
    assert (
        play(
            restore, "empty", "-e", f"postgres_restore_database=notebooks postgres_restore_upload={dump} confirm=empty"
        ).code
        == 0
    )
    assert empty.sql(count) == "1000"
    assert play(restore, "empty", "-e", "postgres_restore_database=notebooks confirm=empty").code == 0
    assert empty.sql(count) == "10"


@pytest.mark.one_host
def test_data_on_a_volume_are_taken_over(server: Server) -> None:
    # As on a new machine: no settings, and the account has another number.
    empty = Server("empty", "198.19.6.13")
    before = empty.sql("SELECT count(*) FROM rows")
    empty.sh("systemctl stop postgresql && rm -r /etc/postgresql/17 && chown -R 4711:4711 /data/postgres/17")
    run = play(SCENARIO / "converge.yml", "empty")
    assert run.code == 0, run.output
    assert empty.sql("SHOW data_directory") == "/data/postgres/17/main"
    assert empty.sql("SELECT count(*) FROM rows") == before
    assert play(SCENARIO / "converge.yml", "empty").changed == 0


@pytest.mark.one_host
def test_a_major_version_goes_up_and_back() -> None:
    old = Server("old", "198.19.6.12")
    upgrade = PROJECT / "playbooks/upgrade_postgres.yml"
    distribution = ["-e", "postgres_source=distribution", "-e", "postgres_version=17"]
    assert old.sql("SHOW server_version").startswith("15.")
    old.sql("CREATE TABLE rows AS SELECT g AS n FROM generate_series(1, 4711) g", "jupyter")
    refused = play(SCENARIO / "converge.yml", "old", *distribution)
    assert (
        "PostgreSQL 15 runs on old, and postgres_version asks for 17: an apply never changes the major" in refused.words
    )

    run = play(upgrade, "old", *distribution, "-e", "confirm=old")
    assert run.code == 0, run.output
    assert re.search(r"PostgreSQL 17 runs on old with \d+ tables and \d+ rows, as before\.", run.words)
    assert old.sql("SHOW server_version").startswith("17.")
    assert old.sql("SELECT count(*) FROM rows", "jupyter") == "4711"
    assert old.login("writer", old.password("writer")).stdout == "1\n"
    assert old.sql("SHOW data_checksums") == "on"

    back = play(upgrade, "old", "-e", "rollback=true confirm=old")
    assert back.code == 0, back.output
    assert old.sql("SHOW server_version").startswith("15.")
    assert old.sql("SELECT count(*) FROM rows", "jupyter") == "4711"


def test_comes_back_after_a_reboot(server: Server) -> None:
    subprocess.run(["docker", "restart", f"molecule-postgres-{server.name}"], check=True, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while server.run("runuser -u jupyter -- psql -XqAt -h /run/postgresql notebooks -c 'SELECT 1'").returncode:
        assert time.monotonic() < end, "no answer a minute after the restart"
        time.sleep(1)
    assert server.sql("SELECT count(*) FROM rows", "jupyter") == "1000"

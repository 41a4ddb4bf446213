"""A dump of another host, data on a volume, and another major version: nothing of the data is lost."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests import postgres_traps as traps
from tests.postgres_server import BACKUPS, EPHEMERAL, SCENARIO, Server

CONVERGE = SCENARIO.parent / "postgres/converge.yml"
PLAYBOOKS = SCENARIO.parents[1] / "playbooks"
COUNT = "SELECT count(*) FROM rows"


@pytest.fixture(scope="module")
def old() -> Server:
    """The server that begins with version 15, with rows in it."""
    found = Server("old")
    found.sql("CREATE TABLE IF NOT EXISTS rows AS SELECT g AS n FROM generate_series(1, 4711) g", "jupyter")
    return found


@pytest.fixture(scope="module")
def empty() -> Server:
    """The server that has nothing in it at first, and version 17."""
    return Server("empty")


def test_a_dump_is_restored_on_an_empty_host(old: Server, empty: Server) -> None:
    old.sh("systemctl start notebook-postgres-dump")
    newest = old.sh(f"ls {BACKUPS}/notebooks-*.dump | tail -n 1")
    dump = EPHEMERAL / "notebooks.dump"
    inside = ["docker", "exec", old.container, "cat", newest]
    dump.write_bytes(subprocess.run(inside, check=True, stdout=subprocess.PIPE).stdout)
    playbook, database = PLAYBOOKS / "restore_postgres.yml", "postgres_restore_database=notebooks"
    upload = f"{database} postgres_restore_upload={dump}"
    tables = "SELECT string_agg(tablename || ' ' || tableowner, ',' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'"

    kept = empty.play(playbook, "-e", upload)
    assert kept.code != 0
    assert "Nothing was done on empty: its name was not given (confirm=empty)." in kept.words
    run = empty.play(playbook, "-e", f"{upload} confirm=empty")
    assert run.code == 0, run.output
    assert re.search(r"notebooks on empty has \d+ tables with 4711 rows\.", run.words)
    assert empty.sql(COUNT, "jupyter") == old.sql(COUNT) == "4711"
    assert empty.sql(tables) == old.sql(tables) == "rows jupyter"

    # Half a dump changes nothing; what was there before a restore can be had again.
    half = EPHEMERAL / "half.dump"
    half.write_bytes(dump.read_bytes()[:-2000])
    refused = empty.play(playbook, "-e", f"{database} postgres_restore_upload={half} confirm=empty")
    assert refused.code != 0
    assert "is not a whole dump; nothing was changed." in refused.words
    assert empty.sql(COUNT) == "4711"
    empty.sql("DELETE FROM rows WHERE n > 10", "jupyter")
    assert empty.play(playbook, "-e", f"{upload} confirm=empty").code == 0
    assert empty.sql(COUNT) == "4711"
    assert empty.play(playbook, "-e", f"{database} confirm=empty").code == 0
    assert empty.sql(COUNT) == "10"


def test_data_on_a_volume_are_taken_over(empty: Server) -> None:
    # As on a new machine: no settings, and the account has another number.
    before = empty.sql(COUNT)
    empty.sh("systemctl stop postgresql && rm -r /etc/postgresql/17 && chown -R 4711:4711 /data/postgres/17")
    run = empty.play(CONVERGE)
    assert run.code == 0, run.output
    assert empty.sql("SHOW data_directory") == "/data/postgres/17/main"
    assert empty.sql(COUNT) == before
    assert empty.play(CONVERGE).changed == 0


def test_a_major_version_goes_up_and_back(old: Server) -> None:
    upgrade = PLAYBOOKS / "upgrade_postgres.yml"
    distribution = ["-e", "postgres_source=distribution", "-e", "postgres_version=17"]
    assert old.sql("SHOW server_version").startswith("15.")
    # What a notebook plants in its database is restored, too, and not by a superuser.
    old.sh('cd / && runuser -u jupyter -- psql -Xq --set=ON_ERROR_STOP=1 notebooks <<<"$SQL"', SQL=traps.planting())
    old.sql("ALTER DATABASE notebooks RESET ALL", database="postgres")
    old.sql("ALTER DATABASE notebooks SET search_path = public, pg_catalog", database="postgres")
    refused = old.play(CONVERGE, *distribution)
    assert refused.code != 0
    assert (
        "PostgreSQL 15 runs on old, and postgres_version asks for 17: an apply never changes the major" in refused.words
    )

    run = old.play(upgrade, *distribution, "-e", "confirm=old")
    assert run.code == 0, run.output
    assert re.search(r"PostgreSQL 17 runs on old with \d+ tables and \d+ rows, as before\.", run.words)
    assert old.sh(f"ls {traps.CAUGHT}-* 2>/dev/null; true") == ""
    assert old.sql("SHOW server_version").startswith("17.")
    assert old.sql(COUNT, "jupyter") == "4711"
    assert old.login("writer", old.password("writer")).stdout == "1\n"
    assert old.sql("SHOW data_checksums") == "on"

    back = old.play(upgrade, "-e", "rollback=true confirm=old")
    assert back.code == 0, back.output
    assert old.sql("SHOW server_version").startswith("15.")
    assert old.sql(COUNT, "jupyter") == "4711"

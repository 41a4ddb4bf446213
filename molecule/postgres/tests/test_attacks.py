"""A notebook owns its database. What it plants there must not run when a superuser looks, dumps, restores or gives privileges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import postgres_traps as traps
from tests.postgres_server import BACKUPS, Server

MOLECULE = Path(__file__).parents[2]
CONVERGE = MOLECULE / "postgres/converge.yml"
RESTORE = MOLECULE.parent / "playbooks/restore_postgres.yml"
pytestmark = pytest.mark.one_system


@pytest.fixture(scope="module")
def server(host: Any) -> Iterator[Server]:
    """A server whose notebook has planted all that it can."""
    variables = host.ansible.get_variables()
    found = Server(variables["inventory_hostname"], variables["ansible_host"])
    found.sh('cd / && runuser -u jupyter -- psql -Xq --set=ON_ERROR_STOP=1 notebooks <<<"$SQL"', SQL=traps.planting())
    yield found
    # What notebooks find in the tests that come after this.
    for name in (
        "search_path",
        "role",
        "statement_timeout",
        "default_transaction_read_only",
        "local_preload_libraries",
    ):
        found.sql(f"ALTER DATABASE notebooks RESET {name}", database="postgres")
    names = ", ".join(f"public.{name.replace('variadic ', '')}" for name in traps.SHADOWED)
    found.sql(f"DROP FUNCTION IF EXISTS {names}; {traps.REMOVED}", "jupyter")


def caught(server: Server) -> list[str]:
    """Which of the traps ran as the superuser."""
    return server.sh(f"ls {traps.CAUGHT}-* 2>/dev/null; rm -f {traps.CAUGHT}-*; true").split()


def test_the_traps_work(server: Server) -> None:
    # A superuser who knows no better: this is what the role does not do.
    reset = "ALTER DATABASE notebooks RESET ALL; ALTER DATABASE notebooks SET search_path = public, pg_catalog"
    server.sql(reset, database="postgres")
    server.sql("SELECT json_agg(datname) FROM pg_database")
    server.sql("SELECT * FROM seen")
    assert caught(server) == [f"{traps.CAUGHT}-json_agg", f"{traps.CAUGHT}-view"]
    server.sh(
        'cd / && runuser -u jupyter -- psql -Xq notebooks <<<"$SQL"',
        SQL=traps.AFTER[traps.AFTER.index("ALTER DATABASE") :],
    )


def test_an_apply_runs_nothing_of_the_notebooks(server: Server) -> None:
    # With privileges to give and an extension to add, so that there is something to do in the database.
    settings = {
        "postgres_databases": [
            {"name": "notebooks", "owner": "jupyter", "extensions": ["pg_trgm", "hstore"]},
            {"name": "lab-1"},
        ]
    }
    server.sql("ALTER DATABASE notebooks CONNECTION LIMIT 7", database="postgres")
    for arguments in (["--check"], [], []):
        run = server.play(CONVERGE, "-e", json.dumps(settings), *arguments)
        assert run.code == 0, run.output
        assert caught(server) == []
    assert run.changed == 0


def test_a_dump_runs_nothing_of_the_notebooks(server: Server) -> None:
    server.sh("systemctl start notebook-postgres-dump")
    assert caught(server) == []


def test_a_restore_runs_it_with_the_notebooks_rights_at_most(server: Server) -> None:
    # A superuser has a table there, too, and it comes back as his.
    server.sql("SET search_path TO public; CREATE TABLE hers AS SELECT 1 AS n", database="lab-1")
    options = "-c role=none -c local_preload_libraries= -c statement_timeout=0 -c default_transaction_read_only=off"
    table = "CREATE TABLE public.superusers AS SELECT 1 AS n"
    server.sh(
        f"cd / && runuser -u postgres -- env PGOPTIONS='{options} -c search_path=pg_catalog' psql -Xq notebooks -c '{table}'"
    )
    caught(server)
    server.sh("sleep 1.1; systemctl start notebook-postgres-dump")
    for database in ("notebooks", "lab-1"):
        newest = server.sh(f"ls {BACKUPS}/{database}-*.dump | tail -n 1")
        about = f"postgres_restore_database={database} postgres_restore_file={newest} confirm={server.name}"
        run = server.play(RESTORE, "-e", about)
        assert run.code == 0, run.output
        assert caught(server) == []
    owners = server.sql(
        "SELECT tablename, tableowner FROM pg_tables WHERE tablename IN ('superusers', 'bait') ORDER BY 1"
    )
    assert owners.splitlines() == ["bait|jupyter", "superusers|postgres"]
    assert server.sql("SELECT count(*) FROM bait", "jupyter") == "1"
    assert server.sql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'notebook.%'") == "0"
    assert server.sql("SELECT count(*) FROM pg_roles WHERE rolsuper") == "1"
    server.sql("DROP TABLE superusers")
    server.sql("DROP TABLE hers", database="lab-1")

"""A host that people and programs used before: all of theirs is as it was, and what the roles promise is there, too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests import played

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])


def name_of(host: Any) -> str:
    name: str = host.check_output("hostname")
    return name


def counted(host: Any) -> list[str]:
    """What somebody has, and sees of it, now."""
    script = (SCENARIO / "somebody.sh").read_text()
    return list(host.check_output("bash -c %s somebody count", script).splitlines())


def play(host: Any, *arguments: str) -> played.Run:
    return played.play(SCENARIO, "--limit", name_of(host), *arguments, "converge.yml")


def test_all_of_theirs_is_as_it_was(host: Any) -> None:
    before = (EPHEMERAL / f"{name_of(host)}.before").read_text().splitlines()
    assert len(before) > 30
    assert counted(host) == before


def test_notebooks_have_their_account_and_databases(host: Any) -> None:
    assert host.user("jupyter").gecos == "Notebooks"
    said = host.check_output(
        "runuser -u jupyter -- mariadb --batch --skip-column-names -e 'SELECT CURRENT_USER()' notebooks"
    )
    assert said == "jupyter@localhost"
    said = host.check_output("cd / && runuser -u jupyter -- psql -XqAt -p 5433 notebooks -c 'SELECT current_user'")
    assert said == "jupyter"


def test_accounts_with_a_password_get_in(host: Any) -> None:
    secret = (EPHEMERAL / name_of(host) / "mysql_reader").read_text()
    host.check_output("mariadb --user=reader --password=%s -e 'SELECT 1' notebooks", secret)
    secret = (EPHEMERAL / name_of(host) / "postgres_reader").read_text()
    host.check_output(
        "PGPASSWORD=%s psql -XqAt 'host=/run/postgresql port=5433 user=reader dbname=notebooks' -c 'SELECT 1'", secret
    )


def test_jupyterlab_runs_from_an_environment_that_its_account_reads(host: Any) -> None:
    # Root's umask is strict, as planted.
    assert host.check_output("su - root -c umask") == "0027"
    assert host.service("jupyter").is_running
    host.check_output("runuser -u jupyter -- /opt/jupyter/bin/python -c 'import jupyterlab'")


def test_dumps_have_the_shops_too(host: Any) -> None:
    for server in ("mysql", "postgres"):
        host.check_output(f"systemctl start notebook-{server}-dump.service")
    dumps = host.check_output("ls /srv/backups/mysql /srv/backups/postgres")
    assert dumps.count("shop-") >= 2
    newest = "$(ls /srv/backups/mysql/shop-* | tail -n 1)"
    assert "orders" in host.check_output(f"zcat {newest} | grep 'CREATE TABLE'")


def test_each_run_says_what_stays(host: Any) -> None:
    run = play(host, "--check", "--diff")
    assert run.changed == 0
    assert f"The mariadb of {name_of(host)} was here before this role." in run.words
    assert "mysql_take_over: true would make it like a new one. Not done because of that: drop root@%" in run.words
    assert "postgres_take_over: true would make it like a new one." in run.words


@pytest.mark.parametrize("value", ["8443", "70000"])
def test_a_number_may_come_as_a_text(host: Any, value: str) -> None:
    run = play(
        host, "--check", "-e", f"jupyter_tls_port={value}", "-e", "base_min_memory_mb=500", "-e", "base_swap_mb=0"
    )
    assert "Traceback" not in run.output
    assert "not supported between" not in run.output
    assert (run.code == 0) == (value == "8443")


def test_an_environment_that_only_root_reads_is_mended(host: Any) -> None:
    host.check_output(
        "systemctl stop jupyter && chmod -R o-rwx $(readlink -f /opt/jupyter)/bin $(readlink -f /opt/jupyter)/lib"
    )
    assert host.run("runuser -u jupyter -- /opt/jupyter/bin/python -c 1").failed
    run = play(host)
    assert run.code == 0, run.output
    host.check_output("runuser -u jupyter -- /opt/jupyter/bin/python -c 'import jupyterlab'")
    assert host.check_output("stat -L -c %a /opt/jupyter/pip.conf") == "600"
    assert play(host).changed == 0


def test_a_server_that_cannot_start_says_why(host: Any) -> None:
    dropin = "/etc/systemd/system/jupyter.service.d"
    host.check_output(
        f"mkdir {dropin} && printf '[Service]\\nExecStart=\\nExecStart=/opt/nowhere/jupyter-lab\\n' >{dropin}/planted.conf"
        " && systemctl daemon-reload && systemctl stop jupyter"
    )
    try:
        run = play(host)
        assert run.code != 0
        assert f"JupyterLab does not start on {name_of(host)}." in run.words
        assert "Failed at step EXEC spawning /opt/nowhere/jupyter-lab: No such file or directory" in run.words
    finally:
        host.check_output(f"rm -r {dropin} && systemctl daemon-reload && systemctl reset-failed jupyter")
    assert play(host).code == 0


def test_a_take_over_says_what_changes_and_does_it(host: Any) -> None:
    name = name_of(host)
    over = ["-e", json.dumps({"mysql_take_over": True, "postgres_take_over": True, "postgres_port": 5432})]
    dry = play(host, "--check", "--diff", *over)
    assert dry.code == 0, dry.output
    for change in (
        f"On {name} the settings change: ",
        "port: 3307 -> 3306",
        "skip_networking: OFF -> ON",
        "max_connections: 222 -> ",
        "drop root@%",
        "let root in through the socket only",
        "listen_addresses: localhost -> nothing",
        "port: 5433 -> 5432",
        "max_connections: 200 -> 50",
        "These lines go: ",
        "host all all 127.0.0.1/32 scram-sha-256",
    ):
        assert change in dry.words, change
    assert counted(host) == (EPHEMERAL / f"{name}.before").read_text().splitlines()
    run = play(host, *over)
    assert run.code == 0, run.output
    assert (
        host.check_output(
            "mariadb --batch --skip-column-names -e 'SELECT @@skip_networking, COUNT(*) FROM shop.orders'"
        )
        == "1\t1234"
    )
    assert (
        host.check_output("cd / && runuser -u postgres -- psql -XqAt shop -c 'SELECT count(*) FROM orders'") == "4321"
    )
    listening = host.check_output("ss -ltn")
    assert not any(f":{port} " in listening for port in (3306, 3307, 5432, 5433))
    # Once is for good: the setting may go again.
    again = play(host, "-e", "postgres_port=5432")
    assert again.code == 0, again.output
    assert again.changed == 0

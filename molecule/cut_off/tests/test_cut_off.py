"""What three roles made in many interrupted runs is whole, and is still there after a reboot."""

import os
from pathlib import Path

import pytest

ROWS = "1000"  # molecule/shared/kept.sh


@pytest.mark.parametrize("unit", ["docker.service", "mariadb.service", "postgresql@*-main.service"])
def test_servers_run_and_start_at_boot(host, unit):
    assert host.run(f"systemctl is-active '{unit}'").stdout.split() == ["active"]


@pytest.mark.parametrize("timer", ["notebook-mysql-dump.timer", "notebook-postgres-dump.timer"])
def test_dumps_are_due(host, timer):
    assert host.service(timer).is_enabled
    assert host.service(timer).is_running
    assert host.run(f"systemctl start {timer.replace('timer', 'service')}").rc == 0


def test_the_notebook_account_reaches_its_rows_without_a_password(host):
    query = "select count(*) from kept"
    assert host.check_output(f"runuser -u jupyter -- mariadb -N notebooks -e '{query}'") == ROWS
    assert (
        host.check_output(f"cd / && runuser -u jupyter -- psql -h /run/postgresql -At notebooks -c '{query}'") == ROWS
    )


def test_the_password_on_the_controller_is_the_one_that_the_server_has(host):
    folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], host.backend.get_hostname())
    mysql, postgres = ((folder / f"{name}_reader").read_text().strip() for name in ("mysql", "postgres"))
    assert host.check_output(f"MYSQL_PWD={mysql} mariadb -N -u reader notebooks -e 'select 1'") == "1"
    reader = f"PGPASSWORD={postgres} psql -h /run/postgresql -U reader -At notebooks"
    assert host.check_output(f"cd / && {reader} -c 'select 1'") == "1"


def test_the_engine_has_its_settings(host):
    assert host.check_output("docker info --format '{{.LiveRestoreEnabled}}'") == "true"


def test_the_container_runs_once(host):
    assert host.check_output("docker ps --all --format '{{.Names}} {{.State}}'") == "demo running"
    assert host.check_output("systemctl is-active container-demo.service") == "active"


def test_nothing_half_written_is_left(host):
    left = host.check_output(
        "find /etc /srv /usr/local/sbin -name '*.part' -o -name '*.new' -o -name '*.ansible_tmp*' -o -name '.ansible_*'"
    )
    assert left == ""
    assert host.check_output("dpkg --audit") == ""

"""A server as the role mysql leaves it, after the refusals, with what they planted gone."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SCENARIO = Path(__file__).parents[1]
SPECIAL = "a'b\"c\\d `$HOME` ;#-- %s \\G /*é*/"
DUMPS = "/srv/backups/mysql"


def sql(host, statement, user="root"):
    """What the server answers a user of the system, through the socket."""
    return host.check_output("runuser -u %s -- mariadb --batch --raw --skip-column-names --execute=%s", user, statement)


def as_account(host, name, password):
    """Whether an account logs in with a password."""
    quoted = password.replace("\\", "\\\\").replace('"', '\\"')
    options = f'[client]\nuser={name}\npassword="{quoted}"\nsocket=/run/mysqld/mysqld.sock\n'
    return host.run("printf %%s %s | mariadb --defaults-file=/dev/stdin --execute='SELECT CURRENT_USER()'", options)


def grants(host, account):
    lines = sql(host, f"SHOW GRANTS FOR {account}").splitlines()
    return sorted(re.sub(r" IDENTIFIED .*", "", line).replace("\\", "") for line in lines)


def test_service(host):
    service = host.service("mariadb")
    assert service.is_running
    assert service.is_enabled


def test_nobody_reaches_it_over_the_network(host):
    assert "3306" not in host.check_output("ss -ltn")
    assert sql(host, "SELECT @@skip_networking, @@local_infile") == "1\t0"


def test_what_a_person_set_stays(host):
    assert "wait_timeout = 4321" in host.file("/etc/mysql/conf.d/person.cnf").content_string
    assert sql(host, "SELECT @@global.wait_timeout") == "4321"


def test_memory_is_a_share_of_the_hosts(host):
    memory = int(host.check_output("awk '/^MemTotal/ { print $2 * 1024 }' /proc/meminfo"))
    assert memory * 0.02 < int(sql(host, "SELECT @@innodb_buffer_pool_size")) < memory * 0.10


def test_notebook_user_needs_no_password(host):
    assert sql(host, "SELECT CURRENT_USER()", user="jupyter") == "jupyter@localhost"
    assert grants(host, "jupyter@localhost") == [
        "GRANT ALL PRIVILEGES ON `notebooks`.* TO `jupyter`@`localhost`",
        "GRANT USAGE ON *.* TO `jupyter`@`localhost`",
    ]
    assert host.run("runuser -u nobody -- mariadb --user=jupyter --execute='SELECT 1'").failed


def test_root_by_socket_only(host):
    assert sql(host, "SELECT CURRENT_USER()") == "root@localhost"
    assert host.run("runuser -u nobody -- mariadb --user=root --execute='SELECT 1'").failed
    assert sql(host, "SELECT host FROM mysql.user WHERE user = 'root'") == "localhost"


def test_secure_installation(host):
    assert sql(host, "SELECT COUNT(*) FROM mysql.user WHERE user = ''") == "0"
    assert "test" not in sql(host, "SHOW DATABASES").splitlines()
    assert sql(host, "SELECT COUNT(*) FROM mysql.db WHERE user IN ('', 'PUBLIC')") == "0"


def test_passwords(host):
    for name in ("special", "generated"):
        file = EPHEMERAL / hostname(host) / f"mysql_{name}"
        assert file.stat().st_mode & 0o777 == 0o600
        assert f"{name}@localhost" in as_account(host, name, file.read_text()).stdout
    assert (EPHEMERAL / hostname(host) / "mysql_special").read_text() == SPECIAL
    assert len((EPHEMERAL / hostname(host) / "mysql_generated").read_text()) == 28
    assert as_account(host, "special", "changed by hand").failed


def hostname(host):
    return host.check_output("hostname")


def test_privileges_are_exactly_those_asked(host):
    assert grants(host, "special@localhost") == [
        "GRANT PROCESS ON *.* TO `special`@`localhost`",
        "GRANT SELECT ON `notebooks`.* TO `special`@`localhost`",
    ]
    assert grants(host, "generated@localhost") == [
        "GRANT SELECT, INSERT ON `other_data`.* TO `generated`@`localhost`",
        "GRANT USAGE ON *.* TO `generated`@`localhost`",
    ]


def test_character_sets(host):
    found = sql(host, "SELECT schema_name, default_character_set_name FROM information_schema.schemata ORDER BY 1")
    assert "notebooks\tutf8mb4\nother_data\tlatin1" in found


def test_what_was_lost_is_back(host):
    assert sql(host, "SELECT COUNT(*), COUNT(picture) FROM notebooks.people") == "30\t2"
    assert (
        sql(host, "SELECT name, HEX(picture) FROM notebooks.people WHERE id <= 3 ORDER BY id")
        == "Ada\t00FF27\nÇelik\t5C27\n日本\tNULL"
    )
    assert sql(host, "SELECT COUNT(*) FROM notebooks.adas") == "1"


def test_what_the_restore_replaced_can_be_had_back(host):
    dumps = sorted(file for file in host.file(DUMPS).listdir() if file.startswith("notebooks-"))
    before, replaced = (host.check_output(f"zcat {DUMPS}/{name}") for name in dumps[:2])
    assert "n111" in before
    assert "n111" not in replaced
    assert "Ada" in replaced


@pytest.mark.parametrize(
    ("path", "mode"),
    [(DUMPS, 0o700), ("/etc/mysql/notebook/accounts", 0o600)],
)
def test_only_root_reads(host, path, mode):
    assert host.file(path).user == "root"
    assert host.file(path).mode == mode
    assert host.run(f"runuser -u jupyter -- head -c 1 {path}").failed


@pytest.mark.one_system
def test_secrets_are_nowhere_else(host):
    log = subprocess.run(
        ["ansible-playbook", "-vvv", "--diff", "--limit", hostname(host), "converge.yml"],
        cwd=SCENARIO, capture_output=True, text=True, check=True,
    )  # fmt: skip
    generated = (EPHEMERAL / hostname(host) / "mysql_generated").read_text()
    for secret in (generated, SPECIAL, "$HOME` ;#"):
        assert secret not in log.stdout + log.stderr
        # These very commands are in sudo's journal.
        assert (
            host.run(
                "journalctl --no-pager | grep --invert-match COMMAND= | grep --fixed-strings --quiet -e %s", secret
            ).rc
            == 1
        )
        assert (
            host.run(
                "grep --recursive --fixed-strings --quiet -e %s --exclude-dir=journal /etc /var/log /root", secret
            ).rc
            == 1
        )


def dump(host):
    return host.run("systemctl start notebook-mysql-dump.service")


def test_dumps_every_night(host):
    timer = host.service("notebook-mysql-dump.timer")
    assert timer.is_enabled
    assert timer.is_running
    assert "03:15:00" in host.check_output("systemctl show --property=TimersCalendar --value notebook-mysql-dump.timer")


def test_dumps_of_each_database_and_the_accounts(host):
    assert dump(host).succeeded
    files = host.file(DUMPS).listdir()
    for name in ("notebooks", "other_data", "@accounts"):
        found = [file for file in files if re.fullmatch(rf"{name}-\d{{8}}T\d{{6}}Z\.sql\.gz", file)]
        assert found, name
        assert host.file(f"{DUMPS}/{found[0]}").mode == 0o600
        assert host.run(f"zcat {DUMPS}/{found[0]} | tail -n 1 | grep -q '^-- Dump completed'").succeeded
    assert not [file for file in files if file.endswith(".part")]


def test_seven_dumps_are_kept_of_each(host):
    host.check_output(
        f"cd {DUMPS} && touch $(seq -f 'other_data-20200101T0000%02gZ.sql.gz' 9) other_data-x-20200101T000000Z.sql.gz"
    )
    assert dump(host).succeeded
    files = host.file(DUMPS).listdir()
    kept = sorted(file for file in files if re.fullmatch(r"other_data-\d{8}T\d{6}Z\.sql\.gz", file))
    assert len(kept) == 7
    assert not kept[-1].startswith("other_data-2020")
    assert "other_data-x-20200101T000000Z.sql.gz" in files
    host.check_output(f"rm {DUMPS}/other_data-*2020*")


def test_a_full_disk_leaves_the_old_dump_and_fails_the_unit(host):
    assert dump(host).succeeded
    old = host.check_output(f"ls {DUMPS} | grep ^other_data | tail -n 1")
    host.check_output(
        f"mkdir /run/kept && cp {DUMPS}/{old} /run/kept && mount -t tmpfs -o size=64k none {DUMPS} && cp -p /run/kept/* {DUMPS}"
    )
    try:
        sql(host, "CREATE TABLE other_data.big SELECT RANDOM_BYTES(1000) AS x FROM other_data.seq_1_to_300")
        time.sleep(1)
        assert dump(host).failed
        assert host.check_output("systemctl show --property=Result --value notebook-mysql-dump") == "exit-code"
        assert "The dump of other_data failed; the older dumps" in host.check_output(
            "journalctl -u notebook-mysql-dump -n 20 --no-pager"
        )
        files = host.file(DUMPS).listdir()
        assert old in files
        assert not [file for file in files if file.endswith(".part")]
        assert [file for file in files if file.startswith("other_data")] == [old]
        host.check_output(f"cmp /run/kept/{old} {DUMPS}/{old}")
    finally:
        host.check_output(f"umount {DUMPS}; rm -r /run/kept; systemctl reset-failed notebook-mysql-dump")
        sql(host, "DROP TABLE IF EXISTS other_data.big")
    assert dump(host).succeeded

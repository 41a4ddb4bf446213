"""MySQL itself, an upgraded server, and one that was restored to and then had everything changed."""

import pytest

HOSTS = "vendor|old|empty"


@pytest.fixture(autouse=True)
def name(host):
    return host.check_output("hostname")


def sql(host, statement, user="root"):
    command = "runuser -u %s -- mysql --user=%s --batch --raw --skip-column-names --execute=%s"
    return host.check_output(command, user, user, statement)


def test_versions(host, name):
    version = sql(host, "SELECT VERSION()")
    assert version.startswith({"vendor": "9.", "old": "11.8", "empty": "11.8"}[name])
    assert ("MariaDB" in version) == (name != "vendor")


def test_every_row_is_there(host):
    assert sql(host, "SELECT COUNT(*), COUNT(picture) FROM notebooks.people") == "30\t2"
    assert (
        sql(host, "SELECT name, HEX(picture) FROM notebooks.people WHERE id <= 3 ORDER BY id")
        == "Ada\t00FF27\nÇelik\t5C27\n日本\tNULL"
    )
    assert sql(host, "SELECT COUNT(*) FROM notebooks.adas") == "1"


def test_nobody_reaches_them_over_the_network_any_more(host):
    listening = host.check_output("ss -ltn")
    assert not any(f":{port} " in listening for port in (3306, 3307, 3308, 33060))


def test_notebook_user(host, name):
    if name == "empty":
        assert host.run("runuser -u jupyter -- mysql --execute='SELECT 1'").failed
    else:
        assert sql(host, "SELECT CURRENT_USER()", user="jupyter") == "jupyter@localhost"


def test_what_the_restore_replaced_can_be_had_back(host, name):
    if name == "vendor":
        assert len([file for file in host.file("/srv/backups/mysql").listdir() if file.startswith("notebooks-")]) >= 2


def test_the_upgrade_kept_what_no_list_names_and_the_former_data(host, name):
    if name == "old":
        assert "latin1" in sql(host, "SHOW CREATE DATABASE `hand made`")
        assert "GRANT SELECT ON `hand made`.* TO `hand`@`localhost`" in sql(host, "SHOW GRANTS FOR hand@localhost")
        assert host.run(
            "printf '[client]\\nuser=hand\\npassword=made\\n' | mysql --defaults-file=/dev/stdin --execute='SELECT 1'"
        ).succeeded
        assert host.run("test -d /var/lib/mysql.10.11-*/notebooks").succeeded
        assert not host.file("/etc/mysql/notebook/upgrade").exists
        assert not host.file("/etc/apt/sources.list.d/notebook-mysql.sources").exists


def test_everything_was_changed(host, name):
    if name == "empty":
        assert sql(host, "SELECT @@datadir") == "/data/mysql/"
        assert sql(host, "SELECT @@skip_networking, @@slow_query_log, @@require_secure_transport") == "1\t0\t0"
        assert sql(host, "SELECT user FROM mysql.user WHERE user IN ('remote', 'local')") == ""
        assert "latin1" in sql(host, "SHOW CREATE DATABASE notebooks")
        assert not host.service("notebook-mysql-dump.timer").is_running
        assert "/data/mysql" in host.check_output("systemctl show --property=RequiresMountsFor mariadb")

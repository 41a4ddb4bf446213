"""MySQL itself, an upgraded server, and one that was restored to and then had everything changed."""

import pytest


def sql(host, statement, user="root"):
    command = "runuser -u %s -- mysql --user=%s --batch --raw --skip-column-names --execute=%s"
    return host.check_output(command, user, user, statement)


def test_versions(host):
    name = host.check_output("hostname")
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


@pytest.mark.on("vendor|old")
def test_notebook_user_needs_no_password(host):
    assert sql(host, "SELECT CURRENT_USER()", user="jupyter") == "jupyter@localhost"


@pytest.mark.on("empty")
def test_notebook_user_needs_the_password_that_it_was_given(host):
    login = (
        "printf '[client]\\nuser=jupyter\\npassword=%%s\\n' %s | mysql --defaults-file=/dev/stdin --execute='SELECT 1'"
    )
    assert host.run("runuser -u jupyter -- mysql --execute='SELECT 1'").failed
    assert host.run(login, "another password").succeeded
    assert host.run(login, "a wrong one").failed


@pytest.mark.on("vendor")
def test_what_the_restore_replaced_can_be_had_back(host):
    assert len([file for file in host.file("/srv/backups/mysql").listdir() if file.startswith("notebooks-")]) >= 2


@pytest.mark.on("old")
def test_the_upgrade_kept_what_no_list_names_and_the_former_data(host):
    assert "latin1" in sql(host, "SHOW CREATE DATABASE `hand made`")
    assert "GRANT SELECT ON `hand made`.* TO `hand`@`localhost`" in sql(host, "SHOW GRANTS FOR hand@localhost")
    assert host.run(
        "printf '[client]\\nuser=hand\\npassword=made\\n' | mysql --defaults-file=/dev/stdin --execute='SELECT 1'"
    ).succeeded
    assert host.run("test -d /var/lib/mysql.10.11-*/notebooks").succeeded
    assert not host.file("/etc/mysql/notebook/upgrade").exists
    assert not host.file("/etc/apt/sources.list.d/notebook-mysql.sources").exists


@pytest.mark.on("empty")
def test_everything_was_changed(host):
    assert sql(host, "SELECT @@datadir") == "/data/mysql/"
    assert sql(host, "SELECT @@skip_networking, @@slow_query_log, @@require_secure_transport") == "1\t0\t0"
    assert sql(host, "SELECT user FROM mysql.user WHERE user IN ('remote', 'local')") == ""
    assert "latin1" in sql(host, "SHOW CREATE DATABASE notebooks")
    assert not host.service("notebook-mysql-dump.timer").is_running
    assert "/data/mysql" in host.check_output("systemctl show --property=RequiresMountsFor mariadb")

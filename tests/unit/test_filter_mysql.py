"""Settings that cannot work, hosts that must not be changed, and the SQL that a server lacks."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("mysql", ROOT / "plugins/filter/mysql.py")
assert spec and spec.loader
mysql = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mysql)

GOOD: dict[str, Any] = {
    "flavor": "auto",
    "wanted_flavor": "mariadb",
    "source": "distribution",
    "repository": {},
    "version": "",
    "data_dir": "",
    "default_data_dir": "/var/lib/mysql",
    "databases": [{"name": "notebooks"}],
    "users": [{"name": "jupyter", "plugin": "socket", "privileges": {"notebooks": ["ALL"]}}],
    "remote_access": {},
    "open_to_the_world": False,
    "loopback": False,
    "port": 3306,
    "addresses": ["192.0.2.7"],
    "settings": {},
    "memory_percent": 10,
    "backup_dir": "/srv/backups/mysql",
    "backup_time": "03:15",
    "backup_keep": 7,
    "credentials_dir": "/nowhere",
    "upgrading": False,
    "found": False,
}
NAMES = (
    "flavor version unit candidate lacking arguments data_dir data_default data_new data_used data_occupied data_parent data_mount"
    " backup_parent memory_mb calendar files directories dropin spellings certificate public_key edited active enabled stale timer"
    " reload port upgrade record way root_open databases accounts fingerprints open_grants plugins policy grants"
    " found stranger variables"
).split()
OURS = "755 root 0 /usr/local/sbin/notebook-mysql-dump"
SOCKET_WAY = "mariadb\n--no-defaults\n--user=root"


def asked(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


def user(**changes: Any) -> dict[str, Any]:
    return asked(users=[{"name": "ann", **changes}])


def state(**changes: str) -> dict[str, str]:
    return {**dict.fromkeys(NAMES, ""), "way": SOCKET_WAY, "unit": "mariadb.service", **changes}


def installed(**changes: str) -> dict[str, str]:
    running = {
        "flavor": "mariadb",
        "version": "11.8.6",
        "active": "active",
        "data_default": "11.8.6-MariaDB",
        "files": OURS,
    }
    return state(**{**running, **changes})


def words(statements: list[dict[str, str]]) -> list[str]:
    return [statement["what"] for statement in statements]


def test_good_settings_are_no_problem() -> None:
    assert mysql.mysql_problems(GOOD) == []
    access = {"bind": "0.0.0.0", "cidrs": ["10.0.0.0/8"]}
    users = [
        {"name": "ann", "host": "remote"},
        {"name": "bob", "host": "10.1.0.0/16", "privileges": {"*": ["process"]}},
    ]
    assert mysql.mysql_problems(asked(remote_access=access, users=users)) == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (asked(port=0), "mysql_port is 0; give 1 to 65535."),
        (asked(memory_percent=90), "mysql_memory_percent is 90; give 1 to 80."),
        (asked(databases=[{"name": "note books"}], users=[]), "'note books'; a database has 1 to 64 letters"),
        (asked(databases=[{"name": "MySQL"}], users=[]), "MySQL, which is the server's own"),
        (asked(databases=[{"name": "notebooks"}, {"name": "notebooks"}]), "names notebooks twice"),
        (asked(databases=[{"name": "notebooks", "character_set": "utf8; DROP"}]), "the character_set 'utf8; DROP', which is none"),
        (user(name="a'b"), "an account has 1 to 32 letters"),
        (user(name="x" * 33), "an account has 1 to 32 letters"),
        (user(name="root"), "root, which is the server's own account"),
        (asked(users=[{"name": "ann"}, {"name": "ann"}]), "names ann from localhost twice"),
        (user(plugin="kerberos"), "the plugin 'kerberos', which is unknown; give socket, password, or one of"),
        ({**user(plugin="caching_sha2_password"), "flavor": "mariadb"}, "the plugin 'caching_sha2_password', which is unknown"),
        (user(plugin="socket", password="x"), "a password and the plugin socket, which knows none"),
        (user(password="a\nb"), "a control character"),
        (user(privileges={"elsewhere": ["ALL"]}), "privileges on elsewhere, which mysql_databases does not name; add it there."),
        (user(privileges={"notebooks": ["EVERYTHING"]}), "EVERYTHING, which is no privilege on a database"),
        (user(privileges={"notebooks": "ALL"}), "write notebooks: [ALL], for instance"),
        (user(privileges={"*": ["ALL"]}), "on the whole server (*), which only root has"),
        (user(host="10.0.0.1"), "but mysql_remote_access is empty"),
        (user(host="10.0.0.1", plugin="socket"), "a socket is on this host"),
        (asked(remote_access={"bind": "", "cidrs": ["10.0.0.0/8"]}), "mysql_remote_access.bind is ''"),
        (asked(remote_access={"bind": "127.0.0.1", "cidrs": ["10.0.0.0/8"]}), "set mysql_loopback instead"),
        (asked(remote_access={"bind": "10.0.0.1"}), "cidrs is empty"),
        (asked(remote_access={"bind": "10.0.0.1", "cidrs": ["ten"]}), "'ten', which is no network"),
        (asked(remote_access={"bind": "10.0.0.1", "cidrs": ["fd00::/8"]}), "of IPv6 the server knows single addresses only"),
        (asked(remote_access={"bind": "0.0.0.0", "cidrs": ["0.0.0.0/0"]}), "or set mysql_open_to_the_world: true"),
        (asked(remote_access={"bind": "0.0.0.0", "cidrs": ["10.0.0.0/8"]}, addresses=[]), "mysql_addresses is empty"),
        (asked(version="eleven"), "mysql_version is 'eleven'; give a major version"),
        (asked(repository={"url": "http://a"}), "mysql_repository is for mysql_source: vendor"),
        (asked(source="vendor", flavor="mariadb"), "say the other one whole in mysql_repository"),
        (asked(source="vendor", repository={"fingerprint": "abc"}), "is not 40 hexadecimal digits"),
        (asked(source="vendor", repository={"key_file": "/nowhere"}), "/nowhere, which cannot be found on this machine"),
        (asked(settings={"bind-address": "0.0.0.0"}), "bind-address, which the role sets itself; use mysql_remote_access"),
        (asked(settings={"skip-grant-tables": True}), "has to stay as it is; take it out"),
        (asked(settings={"sql_mode": "a\nb"}), "cannot stand in a line of its own"),
        (asked(data_dir="data"), "give an absolute path"),
        (asked(data_dir="/home/mysql"), "where the server may not keep data"),
        (asked(backup_time=" "), "mysql_backup_time is empty"),
    ],
)  # fmt: skip
def test_bad_settings_are_said_in_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    problems = mysql.mysql_problems(settings)
    assert len(problems) == 1
    assert sentence in problems[0]


def test_an_account_outside_of_the_networks() -> None:
    settings = user(host="192.168.0.0/24") | {"remote_access": {"bind": "0.0.0.0", "cidrs": ["10.0.0.0/8"]}}
    assert "outside of mysql_remote_access.cidrs" in mysql.mysql_problems(settings)[0]


def test_two_passwords_for_one_name() -> None:
    users = [{"name": "ann", "password": "a"}, {"name": "ann", "host": "10.0.0.1", "password": "b"}]
    problems = mysql.mysql_problems(asked(users=users, remote_access={"bind": "0.0.0.0", "cidrs": ["10.0.0.0/8"]}))
    assert problems == ["mysql_users gives ann more than one password; one name has one."]


def test_state_keeps_its_parts_apart() -> None:
    assert mysql.mysql_state("== a\n\troot\t\n== b\n\n== c\nx\ny\n") == {"a": "\troot\t", "b": "", "c": "x\ny"}


@pytest.mark.parametrize(
    ("settings", "found", "sentence"),
    [
        (asked(version="10.11"), installed(), "version 11.8 and mysql_version is 10.11; playbooks/upgrade_mysql.yml"),
        (asked(flavor="mysql"), installed(), "has mariadb 11.8 and mysql_flavor is mysql"),
        (asked(version="10.11"), state(candidate="11.8"), "can install version 11.8 and mysql_version is 10.11"),
        (GOOD, state(candidate="11.8", data_default="10.11.6-MariaDB"), "/var/lib/mysql on h holds data of version 10.11,"),
        (GOOD, state(candidate="11.8", data_default="unknown"), "holds data of version unknown"),
        (asked(data_dir="/d/m"), state(candidate="11.8", data_new="10.11.6"), "/d/m on h holds data of version 10.11"),
        (asked(data_dir="/d/m"), installed(data_new="10.11.6"), "/d/m on h holds data of version 10.11"),
        (asked(data_dir="/d/m"), state(data_parent="/d"), "has no directory /d, where mysql_data_dir is to be; is its disk mounted?"),
        (asked(data_dir="/d"), state(data_mount="yes"), "give a directory below it, /d/mysql"),
        (asked(data_dir="/d/m"), state(data_occupied="photos\nx"), "holds something else (photos)"),
        (asked(data_dir="/d/m"), installed(data_used="/var/lib/mysql/a"), "mysql_data_dir says /d/m; to move them, stop mariadb.service"),
        (asked(data_dir="/d/m"), installed(data_dir="/d/m"), "has no data in /d/m, where its mariadb keeps them; is its disk mounted?"),
        (GOOD, installed(calendar="Failed to parse"), "mysql_backup_time is '03:15', which systemd does not understand"),
        (asked(loopback=True), installed(port="nc"), "Port 3306 of h is taken by nc"),
        (GOOD, installed(way=""), "root cannot log in to the mariadb of h"),
        (GOOD, installed(upgrade="10.11 x"), "An upgrade of h was cut off"),
    ],
)  # fmt: skip
def test_a_host_that_must_not_be_changed(settings: dict[str, Any], found: dict[str, str], sentence: str) -> None:
    problems = mysql.mysql_host_problems(settings, found, {}, "h")
    assert len(problems) == 1
    assert sentence in problems[0]


def test_a_host_that_may_be_changed() -> None:
    assert mysql.mysql_host_problems(GOOD, installed(), {}, "h") == []
    assert mysql.mysql_host_problems(GOOD, state(candidate="11.8"), {}, "h") == []
    assert (
        mysql.mysql_host_problems(asked(version="11.8", data_dir="/d/m"), installed(data_new="11.8.6"), {}, "h") == []
    )
    assert mysql.mysql_host_problems(GOOD, installed(port="nc"), {}, "h") == []
    assert (
        mysql.mysql_host_problems(
            asked(version="11.8", upgrading=True), installed(version="10.11.6", upgrade="x"), {}, "h"
        )
        == []
    )


@pytest.mark.parametrize(
    "policy",
    [
        "simple_password_check_minimal_length\t12\nsimple_password_check_digits\t1\nsimple_password_check_letters_same_case\t1",
        "validate_password.length\t12\nvalidate_password.number_count\t1\nvalidate_password.mixed_case_count\t1",
        "validate_password_length\t12\nvalidate_password_number_count\t1\nvalidate_password_mixed_case_count\t1",
    ],
)
def test_a_password_that_the_server_refuses(policy: str) -> None:
    found = mysql.mysql_host_problems(GOOD, installed(policy=policy), {"ann": "secret"}, "h")
    assert [re.sub(r"The password of ann has (\d+) (.*), and.*wants (\d+);.*", r"\1 \2 \3", one) for one in found] == [
        "6 characters 12",
        "0 digits 1",
        "0 letters of each case 1",
    ]
    assert mysql.mysql_host_problems(GOOD, installed(policy=policy), {"ann": "Secret with 1 digit"}, "h") == []


@pytest.mark.parametrize(
    ("settings", "found", "sentence"),
    [
        (GOOD, state(way=""), "apply the role first"),
        (GOOD, installed(candidate="11.8"), "offer no other"),
        (GOOD, installed(candidate="10.11"), "which is older"),
        (asked(version="13.0"), installed(candidate="12.1"), "would get version 12.1 and mysql_version is 13.0"),
        (asked(flavor="mysql"), installed(candidate="12.1"), "stays with one of the two"),
    ],
)
def test_an_upgrade_that_is_none(settings: dict[str, Any], found: dict[str, str], sentence: str) -> None:
    assert sentence in mysql.mysql_upgrade_problems(settings, found, "h")[0]
    assert mysql.mysql_upgrade_problems(settings, {**found, "upgrade": "10.11 now"}, "h") == []


def test_an_upgrade() -> None:
    assert (
        mysql.mysql_upgrade_problems(asked(version="11.8"), installed(version="10.11.6", candidate="11.8"), "h") == []
    )


def settings_of(flavor: str = "mariadb", memory: str = "8000", **changes: Any) -> dict[str, str]:
    found: dict[str, str] = mysql.mysql_server_settings(asked(**changes), flavor, memory, "/var/lib/mysql", "/etc/c")
    return found


def test_no_port_unless_asked() -> None:
    assert settings_of()["skip_networking"] == "ON"
    assert settings_of("mysql")["mysqlx"] == "OFF"
    assert "mysqlx" not in settings_of()
    loopback = settings_of(loopback=True)
    assert (loopback["skip_networking"], loopback["bind_address"]) == ("OFF", "127.0.0.1")
    assert "require_secure_transport" not in loopback


def test_remote_access_is_over_tls() -> None:
    remote = settings_of(remote_access={"bind": "10.0.0.5", "cidrs": ["10.0.0.0/8"]}, loopback=True)
    assert remote["bind_address"] == "10.0.0.5,127.0.0.1"
    assert remote["require_secure_transport"] == "ON"
    assert remote["ssl_key"] == "/etc/c/tls.key"
    assert remote["skip_name_resolve"] == "OFF"


def test_sizes_follow_the_memory_in_steps() -> None:
    assert settings_of(memory="8000") == settings_of(memory="7990")
    assert settings_of(memory="900")["innodb_buffer_pool_size"] == "64M"
    assert settings_of(memory="900")["max_connections"] == "30"
    assert settings_of(memory="64000", memory_percent=50)["innodb_buffer_pool_size"] == "21328M"
    assert settings_of(memory="64000")["max_connections"] == "150"


def test_own_settings_win() -> None:
    assert settings_of(settings={"max-connections": 7, "slow_query_log": True})["max_connections"] == "7"
    assert settings_of(settings={"slow_query_log": True})["slow_query_log"] == "ON"


def test_another_file_that_has_the_last_word() -> None:
    found = state(arguments="--port=3306 --max-connections=30 --max_connections=3 --wait_timeout=5")
    assert mysql.mysql_overridden(found, {"port": "3306", "max_connections": "30"}) == [
        "max_connections (3 instead of 30)"
    ]
    assert mysql.mysql_new_values(found, {"max_connections": "30"}) == ["max_connections: 3 -> 30"]


def test_accounts_one_by_one() -> None:
    access = {"bind": "0.0.0.0", "cidrs": ["10.0.0.0/8", "192.0.2.1/32", "0.0.0.0/0"]}
    accounts = mysql.mysql_accounts(asked(users=[{"name": "ann", "host": "remote"}], remote_access=access), "mysql")
    assert [account["host"] for account in accounts] == ["10.0.0.0/255.0.0.0", "192.0.2.1", "%"]
    assert {account["plugin"] for account in accounts} == {"caching_sha2_password"}
    assert all(account["tls"] and account["secret"] for account in accounts)
    (socket,) = mysql.mysql_accounts(GOOD, "mysql")
    assert (socket["plugin"], socket["secret"], socket["tls"]) == ("auth_socket", False, False)


def test_secrets_given_kept_and_to_be_made(tmp_path: Path) -> None:
    Path(tmp_path, "mysql_kept").write_text("from file\n")
    Path(tmp_path, "mysql_changed").write_text("old")
    users = [{"name": name} for name in ("kept", "new")] + [
        {"name": "changed", "password": "new"},
        {"name": "gone", "state": "absent"},
    ]
    settings = asked(users=users, credentials_dir=str(tmp_path))
    assert mysql.mysql_secrets(settings, "mariadb") == {"kept": "from file", "new": "", "changed": "new"}
    assert mysql.mysql_secrets_to_keep(settings, "mariadb") == ["new", "changed"]


def test_files_that_differ() -> None:
    files = mysql.mysql_with_content([{"path": "/a", "mode": "0644", "template": "a.j2"}], {"a.j2": "text\n"})
    digest = hashlib.sha256(b"text\n").hexdigest()
    assert mysql.mysql_differing(files, state(files=f"644 root {digest}  /a")) == []
    for line in (f"600 root {digest}  /a", f"644 ann {digest}  /a", "644 root 00  /a", ""):
        assert mysql.mysql_differing(files, state(files=line)) == files


GRANTS = r"""-- ann@localhost
GRANT PROCESS ON *.* TO `ann`@`localhost` IDENTIFIED VIA ed25519 USING 'x'
GRANT ALL PRIVILEGES ON `note\_books`.* TO `ann`@`localhost` WITH GRANT OPTION
GRANT SELECT, INSERT ON `other`.* TO `ann`@`localhost`
GRANT SELECT ON `other`.`table` TO `ann`@`localhost`
-- bob@localhost
GRANT USAGE ON *.* TO `bob`@`localhost`"""


def test_grants_are_read() -> None:
    assert mysql.grants_of(state(grants=GRANTS)) == {
        "ann@localhost": {"*": {"PROCESS"}, "note_books": {"ALL", "GRANT OPTION"}, "other": {"SELECT", "INSERT"}},
        "bob@localhost": {},
    }


def test_grants_become_exactly_those_asked() -> None:
    now = mysql.grants_of(state(grants=GRANTS))["ann@localhost"]
    account = {
        "name": "ann",
        "host": "localhost",
        "privileges": {"note_books": ["ALL"], "other": ["select", "INSERT", "delete"]},
    }
    assert mysql.grant_statements(account, now) == [
        "REVOKE ALL PRIVILEGES ON *.* FROM 'ann'@'localhost';",
        "REVOKE ALL PRIVILEGES ON `note\\_books`.* FROM 'ann'@'localhost';",
        "REVOKE GRANT OPTION ON `note\\_books`.* FROM 'ann'@'localhost';",
        "GRANT ALL ON `note\\_books`.* TO 'ann'@'localhost';",
        "GRANT DELETE, INSERT, SELECT ON `other`.* TO 'ann'@'localhost';",
    ]


def test_a_new_server() -> None:
    settings = asked(users=[*GOOD["users"], {"name": "ann", "password": "a'b\\c"}])
    statements = mysql.mysql_statements(settings, installed(plugins="unix_socket"), {"ann": "a'b\\c"}, "mariadb")
    assert [statement["sql"] for statement in statements] == [
        "CREATE DATABASE `notebooks`;",
        "CREATE USER 'jupyter'@'localhost' IDENTIFIED VIA unix_socket REQUIRE NONE;",
        "GRANT ALL ON `notebooks`.* TO 'jupyter'@'localhost';",
        "INSTALL PLUGIN IF NOT EXISTS ed25519 SONAME 'auth_ed25519'; "
        "CREATE USER 'ann'@'localhost' IDENTIFIED VIA ed25519 USING PASSWORD('a''b\\\\c') REQUIRE NONE;",
    ]


def test_mysql_says_it_otherwise() -> None:
    settings = asked(users=[*GOOD["users"], {"name": "ann", "password": "x"}])
    statements = mysql.mysql_statements(settings, installed(plugins="auth_socket"), {"ann": "x"}, "mysql")
    assert "CREATE USER 'ann'@'localhost' IDENTIFIED WITH caching_sha2_password BY 'x' REQUIRE NONE;" in [
        one["sql"] for one in statements
    ]


FINISHED = {
    "databases": "notebooks\tutf8mb4\tutf8mb4_uca1400_ai_ci\t3",
    "accounts": "root\tlocalhost\tunix_socket\t\nann\tlocalhost\ted25519\t",
    "fingerprints": "root@localhost\tf0\nann@localhost\tf1",
    "plugins": "unix_socket\ned25519",
    "grants": "-- ann@localhost\nGRANT SELECT ON `notebooks`.* TO `ann`@`localhost`",
    "record": f"ann@localhost\tf1\t{mysql.scrambled('ann@localhost', 'x')}",
}


@pytest.mark.parametrize(
    ("secret", "changes", "says"),
    [
        ("x", {}, []),
        ("y", {}, ["change how ann@localhost logs in"]),
        ("x", {"fingerprints": "ann@localhost\tf2"}, ["change how ann@localhost logs in"]),
        ("x", {"record": ""}, ["change how ann@localhost logs in"]),
        ("x", {"grants": ""}, ["change what ann@localhost may do"]),
        ("x", {"accounts": "\tlocalhost\tx\tempty\nroot\t%\tx\t\nroot\t127.0.0.1\tx\tempty\nroot\t::1\tx\t"},
         ["drop the anonymous account@localhost", "drop root@%", "drop root@127.0.0.1"]),
        ("x", {"databases": FINISHED["databases"] + "\ntest\tlatin1\tx\t0"}, ["drop the empty database test"]),
        ("x", {"databases": FINISHED["databases"] + "\ntest\tlatin1\tx\t2"}, []),
        ("x", {"open_grants": "\ttest"}, ["take the database test from everybody"]),
        ("x", {"root_open": "yes"}, ["let root in through the socket only"]),
        ("x", {"way": "mariadb\n--defaults-file=/root/.my.cnf"}, ["let root in through the socket only"]),
    ],
)  # fmt: skip
def test_only_what_differs_is_changed(secret: str, changes: dict[str, str], says: list[str]) -> None:
    settings = user(privileges={"notebooks": ["SELECT"]})
    found = mysql.mysql_statements(settings, installed(**{**FINISHED, **changes}), {"ann": secret}, "mariadb")
    assert words(found) == says


def test_accounts_go() -> None:
    settings = user(state="absent")
    assert words(mysql.mysql_statements(settings, installed(**FINISHED), {}, "mariadb")) == ["drop ann@localhost"]
    access = {"bind": "0.0.0.0", "cidrs": ["10.0.0.0/8"]}
    left = FINISHED | {"accounts": FINISHED["accounts"] + "\nann\t192.0.2.0/255.255.255.0\ted25519\t"}
    found = mysql.mysql_statements(
        user(host="remote", state="absent") | {"remote_access": access}, installed(**left), {}, "mariadb"
    )
    assert words(found) == ["drop ann@192.0.2.0/255.255.255.0"]


def test_a_database_sorts_otherwise() -> None:
    settings = asked(databases=[{"name": "notebooks", "character_set": "latin1"}], users=[])
    (statement,) = mysql.mysql_statements(settings, installed(**FINISHED), {}, "mariadb")
    assert statement["sql"] == "ALTER DATABASE `notebooks` CHARACTER SET latin1;"


def test_the_script_has_a_line_for_each_statement_and_a_record() -> None:
    statements = [{"what": "a", "sql": "A;"}, {"what": "b", "sql": "B;"}]
    script = mysql.mysql_script(statements, user(), {"ann": "x"}, "mariadb").splitlines()
    assert script[1:3] == ["A;", "B;"]
    assert mysql.scrambled("ann@localhost", "x") in script[3]
    assert "'x'" not in script[3]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "x\nERROR 1819 (HY000) at line 3: Your password does not satisfy it",
            "b: Your password does not satisfy it (error 1819)",
        ),
        ("ERROR 1064 (42000) at line 2: near 'secret'", "a: it could not read the statement"),
        ("ERROR 1 (42000) at line 9: x", "keep the record: x (error 1)"),
        ("Can't connect", "Can't connect"),
        ("", "it said nothing"),
    ],
)
def test_what_the_server_refused(said: str, sentence: str) -> None:
    assert mysql.mysql_refusal(said, [{"what": "a", "sql": "A;"}, {"what": "b", "sql": "B;"}]) == sentence


# A server that was here before the role: with a shop, root's password and root from everywhere, and programs on 127.0.0.1.
BEFORE = {
    "files": "",
    "way": "runuser\n--user=mysql\n--\nmariadb\n--no-defaults\n--user=mysql",
    "databases": "shop\tlatin1\tlatin1_swedish_ci\t3",
    "accounts": "root\tlocalhost\tmysql_native_password\t\nroot\t%\tmysql_native_password\t\nshopper\t127.0.0.1\ted25519\t"
    "\n\tlocalhost\tx\tempty",
    "fingerprints": "root@localhost\tf0\nroot@%\tf1\nshopper@127.0.0.1\tf2",
    "variables": "port\t3307\nskip_networking\tOFF\nbind_address\t127.0.0.1\ninnodb_buffer_pool_size\t2147483648\nmax_connections\t200",
}
KEEPS: dict[str, Any] = asked(found=True)


def test_a_server_that_was_here_before_is_known() -> None:
    assert not mysql.mysql_found({}, False)
    assert not mysql.mysql_found(state(), False), "a new host"
    assert not mysql.mysql_found(state(files=OURS), False), "a run that was cut off before the server was there"
    assert not mysql.mysql_found(installed(), False), "a server that the role made, in whichever version of it"
    assert mysql.mysql_found(installed(files=""), False)
    assert mysql.mysql_found(installed(found="# This server"), False), "in later runs too"
    assert not mysql.mysql_found(installed(found="# This server"), True)
    assert mysql.mysql_found(installed(files="", active="inactive", enabled="enabled"), False), "stopped for a while"
    assert mysql.mysql_found(installed(files="", active="inactive", data_used="/var/lib/mysql/shop"), False)
    # As an image brings it: nobody uses it, and its data directory may be another.
    nobodys = installed(files="", active="inactive", enabled="disabled")
    assert not mysql.mysql_found(nobodys, False)
    assert mysql.mysql_host_problems(asked(data_dir="/data/mysql"), nobodys, {}, "h") == []
    # Its timer alone says nothing.
    assert mysql.mysql_found(installed(files="644 root 0 /etc/systemd/system/notebook-mysql-dump.timer"), False)


def test_the_note_says_what_was_there_and_stays() -> None:
    note = mysql.mysql_note(installed(**BEFORE))
    lines = ["account\troot@%", "account\tshopper@127.0.0.1", "account\t@localhost", "database\tshop"]
    assert set(lines) <= set(note.splitlines())
    later = installed(**BEFORE, found=note.rstrip("\n")) | {"accounts": "new\tlocalhost\ted25519\t"}
    assert mysql.mysql_note(later) == note


def test_a_server_that_was_here_before_stays_as_it_is() -> None:
    found = installed(**BEFORE)
    assert mysql.mysql_host_problems(KEEPS, found, {}, "h") == []
    assert mysql.mysql_server_settings(KEEPS, "mariadb", "8000", "/var/lib/mysql", "/etc/c") == {}
    own = mysql.mysql_server_settings(KEEPS | {"settings": {"slow-query-log": True}}, "mariadb", "8000", "/d", "/etc/c")
    assert own == {"slow_query_log": "ON"}
    assert words(mysql.mysql_statements(KEEPS, found, {}, "mariadb")) == [
        "make the database notebooks",
        "make jupyter@localhost",
        "change what jupyter@localhost may do",
    ]
    said = mysql.mysql_kept(KEEPS, found, "mariadb", "h")
    assert "mysql_take_over: true" in said
    assert (
        "Not done because of that: drop root@%, drop the anonymous account@localhost, let root in through the socket only."
        in said
    )


@pytest.mark.parametrize(
    ("settings", "changes", "sentence"),
    [
        ({"remote_access": {"bind": "0.0.0.0", "cidrs": ["10.0.0.0/8"]}, "port": 3307}, {}, "mysql_remote_access would put"),
        ({"port": 3308}, {}, "was here before this role with the port 3307, and mysql_port is 3308; set mysql_port: 3307"),
        ({"loopback": True}, {}, "with the port 3307, and mysql_port is 3306"),
        ({"loopback": True, "port": 3307}, {"variables": "port\t3307\nskip_networking\tON"}, "does not listen on 127.0.0.1"),
        ({"loopback": True, "port": 3307}, {"variables": "port\t3307\nbind_address\t10.0.0.5"}, "does not listen on 127.0.0.1"),
        ({"data_dir": "/data/mysql"}, {}, "its data in /var/lib/mysql, and mysql_data_dir is '/data/mysql'; set mysql_data_dir: \"\"."),
        ({"data_dir": "/data/mysql"}, {"data_used": "/var/lib/mysql/shop"}, "its data in /var/lib/mysql"),
        ({}, {"active": "inactive"}, "does not run; start it there (systemctl start mariadb.service), or set mysql_take_over: true."),
        ({"users": [{"name": "shopper", "host": "127.0.0.1"}]}, {}, "asks to change how shopper@127.0.0.1 logs in, an account that was"),
        ({"users": [{"name": "shopper", "host": "127.0.0.1", "state": "absent"}]}, {}, "asks to drop shopper@127.0.0.1"),
        ({"databases": [{"name": "shop", "character_set": "utf8mb4"}]}, {}, "mysql_databases asks to change how shop sorts"),
        ({"backup_dir": "/srv/b"}, {"directories": "/srv/b 750 backup"}, "/srv/b on h belongs to backup; give another mysql_backup_dir."),
        ({"upgrading": True}, {}, "which does not upgrade it"),
        ({"found": False}, {"version": "", "stranger": "mysql 8.4.1"}, "h has mysql 8.4.1 from packages that this role does not know"),
        # Even when it may be taken over, its accounts are not left behind.
        ({"found": False, "data_dir": "/data/mysql"}, {}, "h has its data in /var/lib/mysql (/var/lib/mysql/mysql, for instance)"),
    ],
)  # fmt: skip
def test_what_would_change_a_server_of_somebody_is_refused(
    settings: dict[str, Any], changes: dict[str, str], sentence: str
) -> None:
    problems = mysql.mysql_host_problems(KEEPS | settings, installed(**(BEFORE | changes)), {}, "h")
    assert len(problems) == 1
    assert sentence in problems[0]


def test_an_account_of_somebody_may_be_named_as_it_is() -> None:
    there = BEFORE | {
        "accounts": "jupyter\tlocalhost\tunix_socket\t",
        "fingerprints": "jupyter@localhost\tf0",
        "grants": "-- jupyter@localhost\nGRANT ALL PRIVILEGES ON `notebooks`.* TO `jupyter`@`localhost`",
    }
    assert mysql.mysql_host_problems(KEEPS, installed(**there), {}, "h") == []
    # What came after the first run is the role's.
    later = installed(**(there | {"grants": "", "found": "# This server\naccount\troot@localhost"}))
    assert mysql.mysql_host_problems(KEEPS, later, {}, "h") == []
    assert words(mysql.mysql_statements(KEEPS, later, {}, "mariadb"))[-1] == "change what jupyter@localhost may do"


def test_what_a_take_over_changes_is_said_beforehand() -> None:
    found = installed(**BEFORE)
    settings = mysql.mysql_server_settings(GOOD, "mariadb", "8000", "/var/lib/mysql", "/etc/c")
    changes = mysql.mysql_new_values(found, settings)
    assert {"port: 3307 -> 3306", "skip_networking: OFF -> ON", "max_connections: 200 -> 99"} <= set(changes)
    assert not [change for change in changes if change.startswith("bind_address")]
    # The same size in other words is no change.
    same = {"innodb_buffer_pool_size": "2048M", "datadir": "/var/lib/mysql", "local_infile": "OFF"}
    running = state(variables="innodb_buffer_pool_size\t2147483648\ndatadir\t/var/lib/mysql/\nlocal_infile\t0")
    assert mysql.mysql_new_values(running, same) == []
    assert words(mysql.mysql_statements(GOOD, found, {}, "mariadb"))[:3] == [
        "drop root@%",
        "drop the anonymous account@localhost",
        "let root in through the socket only",
    ]

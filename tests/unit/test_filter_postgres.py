"""Settings good and bad, what the host said of itself, and the SQL that makes up the difference."""

from __future__ import annotations

import base64
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("postgres", ROOT / "plugins/filter/postgres.py")
assert spec and spec.loader
postgres = importlib.util.module_from_spec(spec)
spec.loader.exec_module(postgres)


def asked(**more: Any) -> dict[str, Any]:
    """Sound settings, and what differs from them."""
    return {
        "host": "demo",
        "pkg_mgr": "apt",
        "source": "distribution",
        "repository": {},
        "version": "",
        "default_version": "17",
        "target": "17",
        "data_dir": "",
        "default_base": "/var/lib/postgresql",
        "databases": [{"name": "notebooks", "owner": "jupyter"}],
        "users": [
            {"name": "jupyter", "plugin": "peer"},
            {"name": "ada", "password": "long enough to be one", "privileges": {"notebooks": ["ALL"]}},
        ],
        "hba": [],
        "remote_access": {},
        "open_to_the_world": False,
        "loopback": False,
        "port": 5432,
        "addresses": ["192.0.2.7"],
        "ca_dir": "/nowhere",
        "certificate_file": "",
        "key_file": "",
        "settings": {},
        "memory_percent": 10,
        "backup_dir": "/srv/backups/postgres",
        "backup_time": "03:15",
        "backup_keep": 7,
        "credentials_dir": "/nowhere",
        "found": False,
    } | more


def look(**more: str) -> dict[str, Any]:
    """What a bare host says, and what differs from it."""
    said = {
        **dict.fromkeys(["version", "former", "made", "others", "data_directory", "data", "occupied", "parent"], ""),
        **dict.fromkeys(["port", "calendar", "certificate", "public_key", "files", "directories"], ""),
        **dict.fromkeys(["zz_notebook_conf", "pg_hba_conf"], ""),
        "memory_mb": "8000",
        "active": "inactive",
    } | more
    found: dict[str, Any] = postgres.postgres_state("".join(f"== {name}\n{text}\n" for name, text in said.items()))
    return found


WORLD = {"bind": "0.0.0.0", "cidrs": ["0.0.0.0/0"]}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "port": ({"port": 70000}, "postgres_port is 70000; give 1 to 65535."),
    "memory": ({"memory_percent": 0}, "postgres_memory_percent is 0; give 1 to 80 percent of the host's memory."),
    "version": (
        {"version": "17.2"},
        "postgres_version is '17.2'; give a major version, such as 17, or leave it empty.",
    ),
    "database name": (
        {"databases": [{"name": "my db"}]},
        "postgres_databases names 'my db'; a database has up to 50 letters",
    ),
    "database of the server's": (
        {"databases": [{"name": "postgres"}]},
        "postgres_databases names postgres, which is the server's",
    ),
    "database twice": ({"databases": [{"name": "x"}, {"name": "x"}]}, "postgres_databases names x twice; keep one."),
    "owner nowhere": (
        {"databases": [{"name": "x", "owner": "eve"}]},
        "The database x shall belong to eve, who is not in postgres_users; name the account there too.",
    ),
    "account name": ({"users": [{"name": "1st"}]}, "postgres_users names '1st'; an account has up to 63 letters"),
    "account of the server's": (
        {"users": [{"name": "pg_eve"}]},
        "postgres_users names pg_eve, which is the server's own",
    ),
    "account twice": ({"users": [{"name": "x"}, {"name": "x"}]}, "postgres_users names x twice; keep one."),
    "plugin": (
        {"users": [{"name": "x", "plugin": "md5"}]},
        "x shall log in by 'md5', which the role does not know; give peer or",
    ),
    "peer with a password": (
        {"users": [{"name": "x", "plugin": "peer", "password": "y"}]},
        "x logs in by peer, without a password; take the password out, or the plugin.",
    ),
    "short password": (
        {"users": [{"name": "x", "password": "short"}]},
        "The password of x in postgres_users has 5 characters; give at least 12, or leave it out and one is generated.",
    ),
    "password of two lines": (
        {"users": [{"name": "x", "password": "long enough\nto be one"}]},
        "has more than one line; give one",
    ),
    "grant on a missing database": (
        {"users": [{"name": "x", "plugin": "peer", "privileges": {"nowhere": ["ALL"]}}]},
        "x shall have privileges on nowhere, which is not in postgres_databases; name it there too.",
    ),
    "unknown privilege": (
        {"databases": [{"name": "d"}], "users": [{"name": "x", "privileges": {"d": ["SELECT", "FLY"]}}]},
        "x shall have FLY on d; there are ALL, SELECT,",
    ),
    "privileges that are no list": (
        {"databases": [{"name": "d"}], "users": [{"name": "x", "privileges": {"d": "ALL"}}]},
        "The privileges of x on d are no list; write [ALL].",
    ),
    "open to the world": (
        {"remote_access": WORLD},
        "has 0.0.0.0/0, which opens the server to the world; name your own networks",
    ),
    "half of the world": (
        {"remote_access": {"bind": "::", "cidrs": ["8000::/1"]}},
        "8000::/1, which opens the server to the world",
    ),
    "no network": ({"remote_access": {"bind": "0.0.0.0"}}, "postgres_remote_access.cidrs is empty; list the networks"),
    "host bits": (
        {"remote_access": {"bind": "0.0.0.0", "cidrs": ["10.0.0.1/8"]}},
        "has '10.0.0.1/8' (10.0.0.1/8 has host bits set)",
    ),
    "bind": (
        {"remote_access": {"bind": "eth0", "cidrs": ["10.0.0.0/8"]}},
        "postgres_remote_access.bind is 'eth0'; give an address",
    ),
    "half a certificate": (
        {"remote_access": {"bind": "0.0.0.0", "cidrs": ["10.0.0.0/8"]}, "key_file": "/nowhere.key"},
        "postgres_certificate_file and postgres_key_file belong together; give both, or none.",
    ),
    "rule": (
        {"hba": ["let everybody in"]},
        "postgres_hba has 'let everybody in'; a rule is TYPE DATABASE USER [ADDRESS] METHOD",
    ),
    "setting": (
        {"settings": {"Work Mem": 1}},
        "postgres_settings names 'Work Mem'; a setting has small letters, digits and _.",
    ),
    "setting with a variable": (
        {"settings": {"port": 1}},
        "postgres_settings names port, which is not set there; use postgres_port.",
    ),
    "setting of two lines": (
        {"settings": {"work_mem": "1\nport = 1"}},
        "gives work_mem more than one line; a setting has one.",
    ),
    "fingerprint": (
        {"repository": {"fingerprint": "B97B 0AFC"}},
        "postgres_repository.fingerprint is B97B0AFC; give 40 hexadecimal",
    ),
    "key without a fingerprint": (
        {"repository": {"key_url": "https://example.org/key"}},
        "names a key without a fingerprint",
    ),
    "directory": (
        {"data_dir": "data"},
        "postgres_data_dir is 'data'; give a path that begins with / and has no spaces or quotes.",
    ),
}


@pytest.mark.parametrize(("more", "sentence"), BAD.values(), ids=BAD)
def test_bad_settings_are_told_in_a_sentence(more: dict[str, Any], sentence: str) -> None:
    settings = asked(**({"users": []} if "databases" in more and "users" not in more else {}) | more)
    problems = postgres.postgres_problems(settings)
    assert any(sentence in problem for problem in problems), problems


def test_good_settings_are_told_nothing() -> None:
    assert postgres.postgres_problems(asked()) == []
    assert postgres.postgres_problems(asked(remote_access=WORLD, open_to_the_world=True)) == []
    rules = ["hostssl all ada 192.0.2.7/32 scram-sha-256", "local all all cert clientcert=verify-full"]
    assert postgres.postgres_problems(asked(hba=rules, settings={"auto_explain.log_analyze": True})) == []


def test_a_short_password_in_the_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "postgres_bob").write_text("short\n")
    problems = postgres.postgres_problems(asked(users=[{"name": "bob"}], databases=[], credentials_dir=str(tmp_path)))
    assert problems == [
        f"The password in {tmp_path}/postgres_bob has 5 characters; give at least 12, or leave it out and one is generated."
    ]


HOST: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "another family": ({"pkg_mgr": "dnf"}, {}, "built on postgresql-common of Debian and Ubuntu, which demo has not;"),
    "upgrade in passing": (
        {"version": "17"},
        {"version": "15"},
        "PostgreSQL 15 runs on demo, and postgres_version asks for 17:",
    ),
    "downgrade": ({"version": "15"}, {"version": "17"}, 'or set postgres_version: "17".'),
    "data of another version": (
        {},
        {"data": "/var/lib/postgresql 15"},
        "Data of PostgreSQL 15 lie in /var/lib/postgresql on demo",
    ),
    "unknown system": ({"default_version": ""}, {}, "The role does not know which PostgreSQL the system of demo has;"),
    "data elsewhere": (
        {"data_dir": "/data/postgres"},
        {"version": "17", "data_directory": "/var/lib/postgresql/17/main"},
        "are in /var/lib/postgresql/17/main, and postgres_data_dir says /data/postgres: an apply never moves them.",
    ),
    "occupied": (
        {},
        {"occupied": "thesis.doc"},
        "/var/lib/postgresql/17/main on demo is not empty (thesis.doc) and holds no data",
    ),
    "no disk": (
        {"data_dir": "/data/postgres"},
        {"parent": "/data"},
        "There is no directory /data on demo; is its disk mounted?",
    ),
    "port": (
        {"loopback": True},
        {"port": "nginx"},
        "Port 5432 of demo is taken by nginx; stop that, or set postgres_port",
    ),
    "other cluster": ({}, {"others": "16/lab 5432"}, "The cluster 16/lab on demo has port 5432 already;"),
    "calendar": (
        {"backup_time": "25:00"},
        {"calendar": "Failed"},
        "postgres_backup_time is '25:00', which systemd does not",
    ),
    "no answer": (
        {},
        {"server": "psql: error: no"},
        "PostgreSQL on demo runs, but does not answer root: psql: error: no",
    ),
}


@pytest.mark.parametrize(("more", "said", "sentence"), HOST.values(), ids=HOST)
def test_hosts_that_cannot_be_are_told_in_a_sentence(more: dict[str, Any], said: dict[str, str], sentence: str) -> None:
    problems = postgres.postgres_host_problems(asked(**more), look(**said))
    assert len(problems) == 1
    assert sentence in problems[0]


def test_hosts_that_can_be_are_told_nothing() -> None:
    assert postgres.postgres_host_problems(asked(), look()) == []
    assert postgres.postgres_host_problems(asked(version="15"), look(data="/var/lib/postgresql 15")) == []
    assert postgres.postgres_host_problems(asked(), look(version="15")) == []
    assert postgres.postgres_host_problems(asked(), look(port="nginx", others="16/lab 5433")) == []
    assert postgres.postgres_host_problems(asked(data_dir="/data/postgres"), look(parent="/data"), dry=True) == []


@pytest.mark.parametrize(
    ("said", "target", "sentence"),
    [
        ({}, "17", "There is no PostgreSQL on demo to upgrade"),
        ({"version": "17"}, "17", "there is nothing to upgrade"),
        ({"version": "15"}, "17", "does not run on demo; apply the role first"),
        ({"version": "15", "active": "active", "made": "15\n17"}, "17", "There is a cluster 17/main on demo already"),
        (
            {"version": "15", "active": "active", "space_mb": "100 149 500"},
            "17",
            "needs 150 MB where the data are and 100 MB",
        ),
    ],
)
def test_upgrades_that_cannot_be(said: dict[str, str], target: str, sentence: str) -> None:
    problems = postgres.postgres_upgrade_problems(asked(target=target), look(**said))
    assert len(problems) == 1
    assert sentence in problems[0]


def test_an_upgrade_that_can_be() -> None:
    state = look(version="15", active="active", made="15", space_mb="100 150 100")
    assert postgres.postgres_upgrade_problems(asked(), state) == []


def test_an_extension_that_the_server_has_not() -> None:
    settings = asked(databases=[{"name": "notebooks", "extensions": ["pg_trgm", "postgis"]}])
    state = look(version="17", server=json.dumps({"available": ["pg_trgm"]}))
    assert postgres.postgres_object_problems(settings, state) == [
        "There is no extension postgis for PostgreSQL 17 on demo; name the package that has it in postgres_packages, or correct its name."
    ]
    assert postgres.postgres_object_problems(settings, look()) == []


# --- files


def hba(content: str) -> list[dict[str, Any]]:
    """The file of rules alone, as the role wants it."""
    path = "/etc/postgresql/17/main/pg_hba.conf"
    return [
        {
            "path": path,
            "content": postgres.postgres_signed(content),
            "mode": "0640",
            "owner": "postgres",
            "guarded": True,
        }
    ]


def test_what_the_role_wrote_is_nobody_s_edit() -> None:
    files = hba("local all all peer\n")
    assert postgres.postgres_edits(files, look(pg_hba_conf=postgres.postgres_signed("local all eve trust\n"))) == []
    assert postgres.postgres_edits(files, look(pg_hba_conf="# of the package\nlocal   all   postgres   peer\n")) == []
    assert postgres.postgres_edits(files, look()) == []


def test_what_a_person_edited_is_named_and_copied() -> None:
    files = hba("local all postgres peer\nlocal all all scram-sha-256\n")
    state = look(pg_hba_conf=files[0]["content"] + "host all all 0.0.0.0/0 trust  # eve\n")
    assert postgres.postgres_edits(files, state) == [
        {"path": files[0]["path"], "gone": ["host all all 0.0.0.0/0 trust"], "new": []}
    ]
    assert (
        postgres.postgres_files(files, state, "20260102T030405Z")[0]["copy"] == f"{files[0]['path']}.20260102T030405Z"
    )


def test_files_are_written_where_anything_of_them_differs() -> None:
    files = hba("local all all peer\n")
    right = f"640 postgres postgres {postgres.digest(files[0]['content'])} {files[0]['path']}"
    assert postgres.postgres_files(files, look(files=right)) == []
    for wrong in (
        "",
        right.replace("640", "644"),
        right.replace("postgres postgres", "root root"),
        right.replace("5", "6"),
    ):
        assert postgres.postgres_files(files, look(files=wrong)) == files
    directory = {"path": "/srv/backups", "mode": "0700", "owner": "root"}
    assert postgres.postgres_directories([directory], look(directories="700 root /srv/backups")) == []
    assert postgres.postgres_directories([directory], look(directories="755 root /srv/backups")) == [directory]


# --- settings


def test_rules_keep_their_order() -> None:
    remote = {"bind": "0.0.0.0", "cidrs": ["10.0.0.0/8"]}
    assert postgres.postgres_rules(asked(hba=["local all eve reject"], loopback=True, remote_access=remote)) == [
        "local all postgres peer",
        'local all "jupyter" peer',
        "local all eve reject",
        "local all all scram-sha-256",
        "host all postgres all reject",
        "host all all 127.0.0.1/32 scram-sha-256",
        "hostssl all all 10.0.0.0/8 scram-sha-256",
    ]


@pytest.mark.parametrize(
    ("more", "listen"),
    [
        ({}, ""),
        ({"loopback": True}, "127.0.0.1"),
        ({"remote_access": {"bind": "0.0.0.0", "cidrs": []}, "loopback": True}, "0.0.0.0"),
        ({"remote_access": {"bind": "192.0.2.7", "cidrs": []}, "loopback": True}, "127.0.0.1,192.0.2.7"),
    ],
)
def test_addresses_to_listen_on(more: dict[str, Any], listen: str) -> None:
    settings = postgres.postgres_server_settings(asked(**more), look(), "/run/postgresql", "/etc/tls")
    assert settings["listen_addresses"] == listen
    assert settings["ssl"] == bool(more.get("remote_access"))


@pytest.mark.parametrize(
    ("memory", "percent", "buffers", "work"),
    [
        ("8000", 10, "320MB", "16MB"),
        ("900", 10, "36MB", "4MB"),
        ("200000", 50, "16384MB", "256MB"),
        ("400", 1, "16MB", "4MB"),
    ],
)
def test_memory_is_planned_with(memory: str, percent: int, buffers: str, work: str) -> None:
    state, settings = look(memory_mb=memory), asked(memory_percent=percent, settings={"jit": False})
    found = postgres.postgres_server_settings(settings, state, "/run/postgresql", "/etc/tls")
    assert (found["shared_buffers"], found["work_mem"]) == (buffers, work)
    assert list(found)[-1] == "jit"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "on"),
        (False, "off"),
        (5432, "5432"),
        ("0.5", "0.5"),
        ("it's", "'it''s'"),
        ("C:\\", "'C:\\\\'"),
        ("", "''"),
    ],
)
def test_values_as_the_file_has_them(value: Any, text: str) -> None:
    assert postgres.postgres_value(value) == text


# --- passwords

# Made by PostgreSQL 17 itself (rolpassword in pg_authid): salt, stored key, server key.
MADE_BY_THE_SERVER = {
    "pencil and paper": "Q1qaRFWkX8Ndq7tVKHGKAQ==$IX2YChFbyU7ojYXzMsUKD1cA50SKHGPsMEwmcWZzXDc="
    ":ZaywyzDv8PGH+zY4uNiJP2RejPb9SBYrMqZ45cnsMH4=",
    "soft\u00adhyphen \u2168 \u00e9\u20ac": "+EEMdzBvz/XCXj/EsCYYUw==$zMlcHttHy/bO57CKqK0WhX33PxkITM9jH7IjFVWaG2Y="
    ":VIkwe52HVxCkmivdm3RBHZjfs7i+5vpGZy9+F9SpjmM=",
}


@pytest.mark.parametrize("password", MADE_BY_THE_SERVER)
def test_the_server_s_own_verifiers_are_known(password: str) -> None:
    assert postgres.right_password(password, f"SCRAM-SHA-256$4096:{MADE_BY_THE_SERVER[password]}")


def test_a_verifier_is_known_again() -> None:
    kept = postgres.verifier("pencil and paper", b"0123456789abcdef", 4096)
    assert kept.startswith("SCRAM-SHA-256$4096:" + base64.b64encode(b"0123456789abcdef").decode() + "$")
    assert postgres.right_password("pencil and paper", kept)
    for other in ("pencil", "pencil and paper ", ""):
        assert not postgres.right_password(other, kept)
    for broken in (None, "", "md5abc", "SCRAM-SHA-256$4096:%%%$a:b"):
        assert not postgres.right_password("pencil and paper", broken)


@pytest.mark.parametrize(
    ("password", "as_hashed"),
    [
        ("plain", "plain"),
        ("soft\u00adhyphen", "softhyphen"),
        ("no\u00a0break", "no break"),
        ("\u2168", "IX"),
        ("bell\u0007", "bell\u0007"),
        ("\u0627\u0031", "\u0627\u0031"),
    ],
)
def test_passwords_are_prepared_as_the_server_does(password: str, as_hashed: str) -> None:
    assert postgres.prepared(password) == as_hashed.encode()


def test_passwords_come_from_settings_and_files(tmp_path: Path) -> None:
    (tmp_path / "postgres_ada").write_text("the one in the file\n")
    (tmp_path / "postgres_eve").write_text("the former one of hers")
    users = [
        {"name": "ada"},
        {"name": "bob"},
        {"name": "eve", "password": "her new password"},
        {"name": "jupyter", "plugin": "peer"},
        {"name": "gone", "state": "absent"},
    ]
    found = postgres.postgres_passwords(users, str(tmp_path))
    assert [(entry["name"], entry["password"], entry["kept"]) for entry in found] == [
        ("ada", "the one in the file", True),
        ("bob", "", False),
        ("eve", "her new password", False),
    ]


# --- SQL


def steps(settings: dict[str, Any], state: dict[str, Any]) -> list[dict[str, str]]:
    """What would be done, with the passwords of the settings."""
    passwords = postgres.postgres_passwords(settings["users"], settings["credentials_dir"])
    found: list[dict[str, str]] = postgres.postgres_steps(settings, state, passwords)
    return found


def finished(settings: dict[str, Any]) -> dict[str, Any]:
    """A server as the default settings of these tests want it."""
    both = [(kind, grantee) for kind in "rS" for grantee in ("jupyter", "postgres")]
    rights = {"r": postgres.TABLE, "S": ("USAGE", "SELECT", "UPDATE")}
    kept = postgres.verifier("long enough to be one", b"salt", 4096)
    server = {
        "roles": {
            "postgres": {"login": True, "password": None},
            "jupyter": {"login": True, "password": None},
            "ada": {"login": True, "password": kept},
        },
        "databases": {
            "notebooks": {
                "owner": "jupyter",
                "open": True,
                "acl": [["jupyter", "CONNECT"], *([["ada", p] for p in ("CONNECT", "CREATE", "TEMPORARY")])],
            }
        },
        "available": [],
    }
    details = {
        "extensions": ["plpgsql"],
        "schema_owner": "pg_database_owner",
        "schema": [["", "USAGE"], ["ada", "USAGE"], ["ada", "CREATE"]],
        "relations": [["r", "jupyter", [["ada", right] for right in (*postgres.TABLE, "MAINTAIN")]], ["r", "ada", []]],
        "defaults": [[creator, kind, "ada", right] for kind, creator in both for right in rights[kind]],
    }
    state = look(version="17", server=json.dumps(server), **{"database notebooks": json.dumps(details)})
    assert steps(settings, state) == []
    return state


def test_a_new_server_gets_all_and_a_finished_one_nothing() -> None:
    found = steps(asked(), look())
    assert [step["say"] for step in found] == [
        "make the account jupyter",
        "make the account ada",
        "make the database notebooks",
        "close the database notebooks to other accounts",
        "give ada ALL on notebooks, and no more",
    ]
    assert 'CREATE ROLE "jupyter" LOGIN PASSWORD NULL;' in found[0]["sql"]
    assert "PASSWORD 'SCRAM-SHA-256$4096:" in found[1]["sql"]
    assert "long enough" not in json.dumps(found)
    finished(asked())


def test_an_old_server_s_public_schema_is_closed_too() -> None:
    said = [step["say"] for step in steps(asked(default_version="14"), look())]
    assert "give the schema public of notebooks to its owner" in said
    assert "close the schema public of notebooks" in said


def test_what_differs_is_all_that_is_done() -> None:
    state = finished(asked())
    users = asked()["users"]
    less = [users[0], users[1] | {"privileges": {"notebooks": ["SELECT"]}}]
    assert [step["say"] for step in steps(asked(users=less), state)] == ["give ada SELECT on notebooks, and no more"]
    state["server"]["databases"]["notebooks"]["acl"].append(["", "CONNECT"])
    assert [step["say"] for step in steps(asked(), state)] == ["close the database notebooks to other accounts"]
    extended = asked(databases=[{"name": "notebooks", "owner": "jupyter", "extensions": ["pg_trgm"]}])
    added = steps(extended, state)[1]["sql"]
    assert (
        'CREATE EXTENSION "pg_trgm" SCHEMA "notebook.extension"; ALTER EXTENSION "pg_trgm" SET SCHEMA public;' in added
    )
    state["server"]["roles"]["ada"] = {"login": False, "password": None}
    assert [step["say"] for step in steps(asked(), state)][:2] == [
        "let the account ada log in",
        "give the account ada its password",
    ]
    state["server"]["roles"]["jupyter"]["password"] = "md5something"
    assert steps(asked(), state)[0]["sql"] == 'ALTER ROLE "jupyter" PASSWORD NULL;'


def test_a_table_that_came_by_the_side_is_granted_too() -> None:
    state = finished(asked())
    state["details"]["notebooks"]["relations"].append(["r", "postgres", []])
    (found,) = steps(asked(), state)
    assert found["say"] == "give ada ALL on notebooks, and no more"
    assert "pg_get_userbyid(relowner) <> 'ada'" in found["sql"]
    assert 'ALTER DEFAULT PRIVILEGES FOR ROLE "postgres" IN SCHEMA public GRANT' in found["sql"]


def test_an_account_goes_and_its_tables_stay() -> None:
    state = finished(asked())
    gone = asked(users=[asked()["users"][0], {"name": "ada", "state": "absent"}])
    (found,) = steps(gone, state)
    assert found["sql"].splitlines() == [
        '\\connect "notebooks"',
        'REASSIGN OWNED BY "ada" TO "jupyter";',
        'DROP OWNED BY "ada";',
        'DROP ROLE "ada";',
    ]
    del state["server"]["roles"]["ada"]
    assert steps(gone, state) == []


def test_names_and_texts_are_quoted() -> None:
    assert postgres.quoted('a"b') == '"a""b"'
    assert postgres.literal("a'b") == "'a''b'"


# --- a server that was here before the role


PACKAGED = "local all postgres peer\nlocal all all peer\nhost all all 127.0.0.1/32 scram-sha-256\n"
HERE: dict[str, Any] = {
    "settings": {"port": "5433", "listen_addresses": "localhost", "max_connections": "200", "shared_buffers": "1GB"},
    "roles": {
        "postgres": {"login": True, "password": None},
        "app": {"login": True, "password": "SCRAM-SHA-256$of somebody"},
    },
    "databases": {"shop": {"owner": "app", "open": True, "acl": [["", "CONNECT"], ["app", "CONNECT"]]}},
}


def here(**more: str) -> dict[str, Any]:
    """A server of somebody, and what differs from it."""
    said = {
        "version": "17",
        "active": "active",
        "running_port": "5433",
        "server": json.dumps(HERE),
        "pg_hba_conf": PACKAGED,
    }
    return look(**(said | more))


def keeps(**more: Any) -> dict[str, Any]:
    return asked(**({"found": True, "port": 5433} | more))


def test_a_server_that_was_here_before_is_known() -> None:
    assert not postgres.postgres_found({}, False)
    assert not postgres.postgres_found(look(), False), "a new host"
    assert not postgres.postgres_found(look(drop_in="f0"), False), "a run that was cut off before there was a cluster"
    assert not postgres.postgres_found(look(version="17", drop_in="f0"), False), "a server that the role made"
    assert postgres.postgres_found(here(), False)
    assert postgres.postgres_found(here(found="# This server"), False)
    assert not postgres.postgres_found(here(), True)


def test_a_server_that_was_here_before_stays_as_it_is() -> None:
    state = here()
    assert postgres.postgres_host_problems(keeps(), state) == []
    assert postgres.postgres_server_settings(keeps(), state, "/run/postgresql", "/etc/tls") == {}
    own = postgres.postgres_server_settings(keeps(settings={"work_mem": "9MB"}), state, "/run/postgresql", "/etc/tls")
    assert own == {"work_mem": "9MB"}
    note = postgres.postgres_note(state)
    assert {"account\tapp", "account\tpostgres", "database\tshop"} <= set(note.splitlines())
    assert postgres.postgres_note(look(found=note.strip(), server=json.dumps(HERE | {"roles": {}}))) == note


def test_its_rules_get_some_in_front_and_stay() -> None:
    path = "/etc/postgresql/17/main/pg_hba.conf"
    state = here(files=f"600 postgres adm f0  {path}")
    file = postgres.postgres_more_rules(keeps(hba=["host all eve 192.0.2.7/32 reject"], loopback=True), state, path)
    assert (file["mode"], file["owner"], file["group"]) == ("0600", "postgres", "adm")
    assert file["content"].splitlines()[1:-1] == [
        'local all "jupyter" peer',
        "host all eve 192.0.2.7/32 reject",
        'host all "jupyter" 127.0.0.1/32 reject',
        'local all "ada" scram-sha-256',
        'host all "ada" 127.0.0.1/32 scram-sha-256',
        "# END of the role postgres",
        *PACKAGED.splitlines()[:-1],
    ]
    # Once in front, they are not there twice; without accounts, the file is what it was.
    again = here(pg_hba_conf=file["content"])
    assert postgres.postgres_more_rules(keeps(users=[]), again, path)["content"] == PACKAGED
    assert postgres.postgres_more_rules(keeps(), again, path)["content"].count("BEGIN of the role") == 1


def test_its_databases_keep_their_owner_and_who_may_connect() -> None:
    databases = [{"name": "shop", "extensions": ["pg_trgm"]}]
    users = [{"name": "ada", "password": "long enough to be one", "privileges": {"shop": ["SELECT"]}}]
    settings = keeps(databases=databases, users=users)
    assert postgres.postgres_host_problems(settings, here()) == []
    done = steps(settings, here())
    assert [one["say"] for one in done] == [
        "make the account ada",
        "add the extension pg_trgm to shop",
        "give ada SELECT on shop, and no more",
    ]
    assert 'FOR ROLE "app" IN SCHEMA public' in done[2]["sql"]
    assert "FROM PUBLIC" not in json.dumps(done)


SOMEBODYS: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "port": (
        {"port": 5432},
        {},
        "PostgreSQL 17 of demo was here before this role with the port 5433, and postgres_port is 5432; set postgres_port: 5433, or set"
        " postgres_take_over: true.",
    ),
    "stopped": ({}, {"active": "inactive"}, "does not run; start it there (systemctl start postgresql@17-main), or"),
    "network": (
        {"remote_access": {"bind": "10.0.0.5", "cidrs": ["10.0.0.0/8"]}},
        {},
        "postgres_remote_access would put",
    ),
    "loopback": (
        {"loopback": True},
        {"server": json.dumps(HERE | {"settings": {"port": "5433", "listen_addresses": "10.0.0.5"}})},
        "does not listen on 127.0.0.1, as postgres_loopback asks",
    ),
    "rules": (
        {},
        {"server": json.dumps(HERE | {"settings": {"port": "5433", "hba_file": "/data/hba"}})},
        "has its rules in /data/hba; bring them to /etc/postgresql/17/main/pg_hba.conf",
    ),
    "owner": (
        {"databases": [{"name": "shop", "owner": "jupyter"}], "users": [{"name": "jupyter", "plugin": "peer"}]},
        {},
        "postgres_databases asks to give the database shop of app to jupyter",
    ),
    "password": (
        {"users": [{"name": "app"}], "databases": []},
        {},
        "postgres_users names app, an account that was on demo",
    ),
    "peer": ({"users": [{"name": "app", "plugin": "peer"}], "databases": []}, {}, "postgres_users names app"),
    "absent": ({"users": [{"name": "app", "state": "absent"}], "databases": []}, {}, "postgres_users names app"),
    "dumps": ({"backup_dir": "/srv/b"}, {"directories": "750 backup /srv/b"}, "/srv/b on demo belongs to backup"),
}


@pytest.mark.parametrize(("more", "said", "sentence"), SOMEBODYS.values(), ids=SOMEBODYS)
def test_what_would_change_a_server_of_somebody_is_refused(
    more: dict[str, Any], said: dict[str, str], sentence: str
) -> None:
    problems = postgres.postgres_host_problems(keeps(**more), here(**said))
    assert len(problems) == 1
    assert sentence in problems[0]


def test_a_server_of_somebody_is_not_upgraded() -> None:
    problems = postgres.postgres_upgrade_problems(keeps(target="18"), here(made="17", space_mb="1 9 9"))
    assert len(problems) == 1
    assert "which does not upgrade it" in problems[0]


def test_what_a_take_over_changes_is_said_beforehand() -> None:
    settings = postgres.postgres_server_settings(asked(), here(), "/run/postgresql", "/etc/tls")
    changes = postgres.postgres_new_values(settings, here())
    assert changes == [
        "listen_addresses: localhost -> nothing",
        "port: 5433 -> 5432",
        "max_connections: 200 -> 50",
        "shared_buffers: 1GB -> 320MB",
    ]
    assert postgres.postgres_new_values({"shared_buffers": "1024MB", "port": 5433}, here()) == []
    # Also the rule of the package by which its programs come in.
    (edit,) = postgres.postgres_edits(hba("local all postgres peer\n"), here())
    assert "host all all 127.0.0.1/32 scram-sha-256" in edit["gone"]

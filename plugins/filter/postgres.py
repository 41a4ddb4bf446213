"""What the role postgres decides on the controller: are settings sound, what the host lacks, which SQL makes up for it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import os
import re
import stringprep
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SECTION = re.compile(r"^== (.+)$", re.MULTILINE)
DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,49}")
ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
SETTING = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?")
FINGERPRINT = re.compile(r"[0-9A-F]{40}")
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
SIGNATURE = re.compile(r"^# signed ([0-9a-f]{64})\n", re.MULTILINE)
VERIFIER = re.compile(r"SCRAM-SHA-256\$([0-9]+):([^$]+)\$([^:]+):(.+)")

PASSWORD_MINIMUM = 12
SCRAM_ROUNDS = 4096
PLUGINS = ("peer", "password")
TABLE = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
PRIVILEGES = ("ALL", *TABLE, "CREATE", "TEMPORARY", "CONNECT")
# Settings that have a variable of their own, or that decide where the role finds its things.
OWN_SETTINGS = {
    "listen_addresses": "postgres_remote_access or postgres_loopback",
    "port": "postgres_port",
    "data_directory": "postgres_data_dir",
    "hba_file": "postgres_hba",
    "ident_file": "postgres_hba",
    "config_file": "another setting",
    "unix_socket_directories": "another setting",
    "external_pid_file": "another setting",
    "ssl": "postgres_remote_access",
    "ssl_cert_file": "postgres_certificate_file",
    "ssl_key_file": "postgres_key_file",
    "password_encryption": "scram-sha-256, which it is already",
}
# A network of more addresses than this is most of the internet: /8 of IPv4, /16 of IPv6 are the largest that are not.
LARGEST = {4: 8, 6: 16}
METHODS = (
    *("trust", "reject", "scram-sha-256", "md5", "password", "gss", "sspi", "ident", "peer", "pam", "ldap"),
    *("radius", "cert", "oauth"),
)


# --- is what is asked for sound?


def number_problems(asked: dict[str, Any]) -> list[str]:
    """Numbers out of their range."""
    ranges = {
        "port": (1, 65535, "1 to 65535"),
        "memory_percent": (1, 80, "1 to 80 percent of the host's memory"),
        "backup_keep": (1, 1000, "1 to 1000 dumps"),
    }
    return [
        f"postgres_{name} is {asked[name]}; give {words}."
        for name, (least, most, words) in ranges.items()
        if not least <= int(asked[name]) <= most
    ]


def twice(names: Iterable[str]) -> list[str]:
    """Names that are there more than once."""
    names = list(names)
    return sorted({name for name in names if names.count(name) > 1})


def database_problems(asked: dict[str, Any]) -> list[str]:
    """Databases that cannot be."""
    problems = []
    present = {user["name"] for user in asked["users"] if user.get("state", "present") == "present"}
    for database in asked["databases"]:
        name, owner = database["name"], database.get("owner") or "postgres"
        if not DATABASE.fullmatch(name):
            problems.append(
                f"postgres_databases names {name!r}; a database has up to 50 letters, digits, _ and -, no digit or - first."
            )
        elif name in ("postgres", "template0", "template1"):
            problems.append(f"postgres_databases names {name}, which is the server's own; choose another name.")
        if owner != "postgres" and owner not in present:
            problems.append(
                f"The database {name} shall belong to {owner}, who is not in postgres_users; name the account there too."
            )
    problems += [
        f"postgres_databases names {name} twice; keep one." for name in twice(d["name"] for d in asked["databases"])
    ]
    return problems


def password_problems(user: dict[str, Any], credentials_dir: str) -> list[str]:
    """A password that nobody should have, or that no client can send."""
    name, given = user["name"], str(user.get("password") or "")
    where = f"The password of {name} in postgres_users"
    if not given:
        file = Path(credentials_dir, f"postgres_{name}")
        given, where = file.read_text().rstrip("\n") if file.is_file() else "", f"The password in {file}"
    if not given:
        return []
    if len(given) < PASSWORD_MINIMUM:
        return [
            f"{where} has {len(given)} characters; give at least {PASSWORD_MINIMUM}, or leave it out and one is generated."
        ]
    if "\0" in given or "\n" in given:
        return [f"{where} has more than one line; give one line."]
    return []


def privilege_problems(user: dict[str, Any], databases: set[str]) -> list[str]:
    """Privileges that there are not, or on what there is not."""
    problems = []
    for database, privileges in (user.get("privileges") or {}).items():
        if database not in databases:
            problems.append(
                f"{user['name']} shall have privileges on {database}, which is not in postgres_databases; name it there too."
            )
        if not isinstance(privileges, list):
            problems.append(f"The privileges of {user['name']} on {database} are no list; write [{privileges}].")
            continue
        unknown = [str(privilege) for privilege in privileges if str(privilege).upper() not in PRIVILEGES]
        if unknown:
            problems.append(
                f"{user['name']} shall have {', '.join(unknown)} on {database}; there are {', '.join(PRIVILEGES)}."
            )
    return problems


def user_problems(asked: dict[str, Any]) -> list[str]:
    """Accounts that cannot be."""
    problems = []
    databases = {database["name"] for database in asked["databases"]}
    for user in asked["users"]:
        name, plugin = user["name"], user.get("plugin", "password")
        if not ACCOUNT.fullmatch(name):
            problems.append(
                f"postgres_users names {name!r}; an account has up to 63 letters, digits, _, - and ., none of the last three or"
                " a digit first."
            )
            continue
        if name in ("postgres", "public", "none") or name.startswith("pg_"):
            problems.append(f"postgres_users names {name}, which is the server's own; choose another name.")
        if plugin not in PLUGINS:
            problems.append(
                f"{name} shall log in by {plugin!r}, which the role does not know; give {' or '.join(PLUGINS)}."
            )
        if plugin == "peer" and user.get("password"):
            problems.append(f"{name} logs in by peer, without a password; take the password out, or the plugin.")
        if plugin == "password" and user.get("state", "present") == "present":
            problems += password_problems(user, asked["credentials_dir"])
        problems += privilege_problems(user, databases)
    problems += [f"postgres_users names {name} twice; keep one." for name in twice(u["name"] for u in asked["users"])]
    return problems


def is_open(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    """Whether a network is the internet, or most of it."""
    return network.prefixlen < LARGEST[network.version]


def remote_problems(asked: dict[str, Any]) -> list[str]:
    """Remote access that would not work, or that would let in everybody."""
    remote = asked["remote_access"]
    if not remote:
        return []
    problems = []
    bind, cidrs = remote.get("bind") or "", remote.get("cidrs") or []
    try:
        ipaddress.ip_address(bind)
    except ValueError:
        problems.append(
            f"postgres_remote_access.bind is {bind!r}; give an address of the host, or 0.0.0.0 for all, or leave"
            " postgres_remote_access empty for the socket alone."
        )
    if not cidrs:
        problems.append(
            "postgres_remote_access.cidrs is empty; list the networks that may connect, such as 10.0.0.0/8."
        )
    for cidr in cidrs:
        try:
            network = ipaddress.ip_network(cidr)
        except ValueError as error:
            problems.append(f"postgres_remote_access.cidrs has {cidr!r} ({error}); write a network as 10.0.0.0/8.")
            continue
        if is_open(network) and not asked["open_to_the_world"]:
            problems.append(
                f"postgres_remote_access.cidrs has {cidr}, which opens the server to the world; name your own networks,"
                " or say postgres_open_to_the_world: true."
            )
    if not asked["addresses"]:
        problems.append(
            "postgres_addresses is empty; list the names and addresses that people type, for the certificate."
        )
    if bool(asked["certificate_file"]) != bool(asked["key_file"]):
        problems.append("postgres_certificate_file and postgres_key_file belong together; give both, or none.")
    problems += [
        f"postgres_{name} names {asked[name]}, which cannot be found on this machine; correct it, or leave it empty."
        for name in ("certificate_file", "key_file")
        if asked[name] and not Path(asked[name]).is_file()
    ]
    return problems


def rule_problems(rules: list[str]) -> list[str]:
    """Lines of pg_hba.conf that the server would not read; it judges the rest itself before they are used."""
    kinds = {"local": 4, "host": 5, "hostssl": 5, "hostnossl": 5, "hostgssenc": 5, "hostnogssenc": 5}
    problems = []
    for rule in rules:
        words = rule.split()
        if not words or words[0] not in kinds or len(words) < kinds[words[0]] or not set(words) & set(METHODS):
            problems.append(
                f"postgres_hba has {rule!r}; a rule is TYPE DATABASE USER [ADDRESS] METHOD, such as"
                " hostssl notebooks ada 192.0.2.7/32 scram-sha-256."
            )
    return problems


def setting_problems(settings: dict[str, Any]) -> list[str]:
    """Settings that are none, or that have a variable of their own."""
    problems = []
    for name, value in settings.items():
        if not SETTING.fullmatch(str(name)):
            problems.append(f"postgres_settings names {name!r}; a setting has small letters, digits and _.")
        elif name in OWN_SETTINGS:
            problems.append(f"postgres_settings names {name}, which is not set there; use {OWN_SETTINGS[name]}.")
        elif "\n" in str(value):
            problems.append(f"postgres_settings gives {name} more than one line; a setting has one.")
    return problems


def source_problems(asked: dict[str, Any]) -> list[str]:
    """A version that is none, a repository whose key cannot be checked, a directory that is not absolute."""
    problems = []
    version, repository = str(asked["version"]), asked["repository"]
    if version and not re.fullmatch(r"[1-9][0-9]", version):
        problems.append(f"postgres_version is {version!r}; give a major version, such as 17, or leave it empty.")
    fingerprint = str(repository.get("fingerprint") or "").replace(" ", "").upper()
    if fingerprint and not FINGERPRINT.fullmatch(fingerprint):
        problems.append(f"postgres_repository.fingerprint is {fingerprint}; give 40 hexadecimal digits.")
    if (repository.get("key_url") or repository.get("key_file")) and not fingerprint:
        problems.append(
            "postgres_repository names a key without a fingerprint; give the one that you were told it has."
        )
    key_file = repository.get("key_file")
    if key_file and not Path(key_file).is_file():
        problems.append(f"postgres_repository.key_file names {key_file}, which cannot be found on this machine.")
    problems += [
        f"postgres_{name} is {asked[name]!r}; give a path that begins with / and has no spaces or quotes."
        for name in ("data_dir", "backup_dir")
        if asked[name] and not re.fullmatch(r"/[A-Za-z0-9_./+-]+", asked[name])
    ]
    return problems


def postgres_problems(asked: dict[str, Any]) -> list[str]:
    """Sentences about settings that cannot work; none when all is well."""
    return [
        *number_problems(asked),
        *source_problems(asked),
        *database_problems(asked),
        *user_problems(asked),
        *remote_problems(asked),
        *rule_problems(asked["hba"]),
        *setting_problems(asked["settings"]),
    ]


# --- what the host has


def postgres_state(text: str) -> dict[str, Any]:
    """What templates/look.sh.j2 found on the host: each "== name" begins a part; those of the server are JSON."""
    parts = SECTION.split(text)
    state: dict[str, Any] = {"details": {}, "server": {}, "stale": "", "running_port": "", "found": "", "drop_in": ""}
    for name, value in zip(parts[1::2], parts[2::2], strict=True):
        kind, _, database = name.partition(" ")
        if kind == "database":
            state["details"][database] = json.loads(value.strip() or "{}")
        elif kind == "server":
            state["server"] = json.loads(value) if value.lstrip().startswith("{") else {}
            state["trouble"] = "" if state["server"] else value.strip()
        elif kind in ("zz_notebook_conf", "pg_hba_conf"):
            state[kind] = value[1:-1]
        else:
            state[kind] = value.strip()
    return state


def postgres_found(state: dict[str, Any], take_over: bool) -> bool:
    """Whether a cluster was here before this role, which says how clusters are made before it makes one."""
    return bool(not take_over and state and state["version"] and not state["drop_in"])


def postgres_note(state: dict[str, Any]) -> str:
    """The note that a server was here before this role, with what was in it; the first one stays."""
    if state["found"]:
        return str(state["found"]) + "\n"
    lines = [
        "# This server was here before the role postgres. It stays as it is, and so do these:",
        *(f"account\t{name}" for name in sorted(state["server"].get("roles", {}))),
        *(f"database\t{name}" for name in sorted(state["server"].get("databases", {}))),
    ]
    return "\n".join(lines) + "\n"


def before(asked: dict[str, Any], state: dict[str, Any], kind: str) -> set[str]:
    """Accounts or databases that were here before this role and are to stay as they are."""
    cells = [line.split("\t", 1) for line in postgres_note(state).splitlines() if "\t" in line]
    return {name for what, name in cells if what == kind} if asked["found"] else set()


def found_problems(asked: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """What cannot be had without changing a server that was here before this role."""
    was = f"PostgreSQL {state['version']} of {asked['host']} was here before this role"
    instead = "or set postgres_take_over: true"
    if state["active"] != "active":
        return [
            f"{was} and does not run; start it there (systemctl start postgresql@{state['version']}-main), {instead}."
        ]
    problems, running = [], state["server"].get("settings") or {}
    port = str(state["running_port"] or running.get("port", ""))
    if port and port != str(asked["port"]):
        problems.append(
            f"{was} with the port {port}, and postgres_port is {asked['port']}; set postgres_port: {port}, {instead}."
        )
    if asked["remote_access"]:
        problems.append(
            f"{was}, and postgres_remote_access would put its own addresses and TLS before everybody who connects to it now; leave it"
            f" empty, {instead}."
        )
    everywhere = {"*", "localhost", "127.0.0.1", str(ipaddress.IPv4Address(0))}
    listens = everywhere & {one.strip() for one in running.get("listen_addresses", "").split(",")}
    if asked["loopback"] and running and not listens:
        problems.append(
            f"{was} and does not listen on 127.0.0.1, as postgres_loopback asks; change that in its own files, {instead}."
        )
    rules = f"/etc/postgresql/{state['version']}/main/pg_hba.conf"
    if running.get("hba_file", rules) != rules:
        problems.append(f"{was} and has its rules in {running['hba_file']}; bring them to {rules}, {instead}.")
    databases = state["server"].get("databases", {})
    problems += [
        f"postgres_databases asks to give the database {one['name']} of {databases[one['name']]['owner']} to {one['owner']}, which"
        f" was on {asked['host']} before this role; take the owner out, {instead}."
        for one in asked["databases"]
        if one["name"] in before(asked, state, "database")
        and one.get("owner")
        and one["name"] in databases
        and databases[one["name"]]["owner"] != one["owner"]
    ]
    roles = state["server"].get("roles", {})
    passwords = {one["name"]: one["password"] for one in postgres_passwords(asked["users"], asked["credentials_dir"])}
    for user in asked["users"]:
        name = user["name"]
        if name not in before(asked, state, "account") or name not in roles:
            continue
        gone = user.get("state", "present") == "absent"
        secret = passwords.get(name, "")
        lacks = user.get("plugin", "password") == "password" and not right_password(secret, roles[name]["password"])
        if gone or lacks or user_steps(user, roles, secret):
            problems.append(
                f"postgres_users names {name}, an account that was on {asked['host']} before this role and is not as asked; choose another"
                f" name, {instead}."
            )
    return problems


def backup_problems(asked: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """A directory for dumps that is somebody's; the role would shut everybody but root out of it."""
    owners = {line.split(maxsplit=2)[2]: line.split()[1] for line in state["directories"].splitlines()}
    owner = owners.get(asked["backup_dir"], "root")
    if owner == "root" or "/sbin/notebook-postgres-dump" in state["files"]:
        return []
    return [f"{asked['backup_dir']} on {asked['host']} belongs to {owner}; give another postgres_backup_dir."]


def version_problems(asked: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """A major version that would be a silent upgrade or downgrade, or that is not known."""
    host, installed, wanted = asked["host"], state["version"], str(asked["version"])
    if asked["pkg_mgr"] != "apt":
        return [
            f"The role postgres is built on postgresql-common of Debian and Ubuntu, which {host} has not; take postgres out of"
            " server_components, or give the server one of these systems."
        ]
    if installed:
        if wanted and wanted != installed:
            return [
                f"PostgreSQL {installed} runs on {host}, and postgres_version asks for {wanted}: an apply never changes the"
                f' major version. Run playbooks/upgrade_postgres.yml for a later one, or set postgres_version: "{installed}".'
            ]
        return []
    wanted = wanted or asked["default_version"]
    if not wanted:
        return [
            f"The role does not know which PostgreSQL the system of {host} has; name its major in postgres_version."
        ]
    base = asked["data_dir"] or asked["default_base"]
    there = [line.split()[-1] for line in state["data"].splitlines() if line.split()[0] == base]
    if there and wanted not in there:
        return [
            f"Data of PostgreSQL {' and '.join(there)} lie in {base} on {host}, and {wanted} would be installed beside them:"
            f' set postgres_version: "{there[-1]}" to use them, or move them away.'
        ]
    return []


def directory_problems(asked: dict[str, Any], state: dict[str, Any], dry: bool) -> list[str]:
    """Data that would be left behind, or a place for them that is none."""
    host, base = asked["host"], asked["data_dir"] or asked["default_base"]
    version = state["version"] or str(asked["version"]) or asked["default_version"]
    wanted = f"{base}/{version}/main"
    if state["data_directory"] and state["data_directory"] != wanted:
        etc = f"/etc/postgresql/{version}/main"
        return [
            f"The data of PostgreSQL on {host} are in {state['data_directory']}, and postgres_data_dir says {base}: an apply"
            f" never moves them. To move: systemctl stop postgresql@{version}-main; install -d -o postgres -g postgres"
            f" {base}/{version}; cp -a {state['data_directory']} {base}/{version}/; set data_directory = '{wanted}' in"
            f" {etc}/postgresql.conf; apply again."
        ]
    if state["version"]:
        return []
    if state["occupied"]:
        return [
            f"{wanted} on {host} is not empty ({', '.join(state['occupied'].splitlines())}) and holds no data of PostgreSQL;"
            " move that away, or set postgres_data_dir."
        ]
    if state["parent"] and not dry:
        return [
            f"There is no directory {state['parent']} on {host}; is its disk mounted? Make it, or correct postgres_data_dir."
        ]
    return []


def port_problems(asked: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """A port that something else has."""
    port = str(asked["port"])
    problems = [
        f"The cluster {words[0]} on {asked['host']} has port {port} already; set postgres_port to a free one."
        for words in (line.split() for line in state["others"].splitlines())
        if words[-1] == port and len(words) > 1 and words[0] not in asked.get("former", [])
    ]
    if state["port"] and (asked["loopback"] or asked["remote_access"]):
        problems.append(
            f"Port {port} of {asked['host']} is taken by {', '.join(state['port'].splitlines())}; stop that, or set"
            " postgres_port to another."
        )
    return problems


def postgres_host_problems(asked: dict[str, Any], state: dict[str, Any], dry: bool = False) -> list[str]:
    """Sentences about a host that cannot be made as it is asked for; none when all is well."""
    problems = version_problems(asked, state) + directory_problems(asked, state, dry) + port_problems(asked, state)
    problems += (found_problems(asked, state) if asked["found"] else []) + backup_problems(asked, state)
    if state["calendar"]:
        problems.append(
            f"postgres_backup_time is {asked['backup_time']!r}, which systemd does not understand; write it as 03:15 or"
            " Sun 04:00 (man systemd.time)."
        )
    if state.get("trouble"):
        problems.append(f"PostgreSQL on {asked['host']} runs, but does not answer root: {state['trouble']}")
    return problems


def postgres_upgrade_problems(asked: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """Sentences about an upgrade that is none, or that has no room."""
    host, installed, target = asked["host"], state["version"], str(asked["target"])
    if not installed:
        return [f"There is no PostgreSQL on {host} to upgrade; apply the role first."]
    if asked["found"]:
        return [
            f"PostgreSQL {installed} of {host} was here before the role postgres, which does not upgrade it; whoever made it does, or apply"
            " the role with postgres_take_over: true first."
        ]
    if not target or int(target) <= int(installed):
        return [
            f"PostgreSQL {installed} runs on {host}, and {target or 'no other'} is asked for: there is nothing to upgrade. Name a later"
            " major in postgres_version (-e postgres_version=18), or go back to the version before (-e rollback=true)."
        ]
    if state["active"] != "active":
        return [f"PostgreSQL {installed} does not run on {host}; apply the role first, so that it can be dumped."]
    if target in state["made"].split():
        return [
            f"There is a cluster {target}/main on {host} already, which an upgrade made that was taken back; when nobody needs what"
            f" is in it, remove it there: pg_dropcluster {target} main."
        ]
    used, free, dumps = (int(number) for number in state["space_mb"].split())
    if free < 1.5 * used or dumps < used:
        return [
            f"An upgrade on {host} needs {used * 3 // 2} MB where the data are and {used} MB where the dumps are, and there are {free}"
            f" and {dumps}; make room first."
        ]
    return []


def postgres_object_problems(asked: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """Sentences about what the running server cannot have."""
    available = state["server"].get("available", [])
    return [
        f"There is no extension {extension} for PostgreSQL {state['version']} on {asked['host']}; name the package that has it"
        " in postgres_packages, or correct its name."
        for extension in sorted({e for database in asked["databases"] for e in database.get("extensions") or []})
        if available and extension not in available
    ]


# --- files


def unsigned(text: str) -> str:
    """A file without the line that says what was in it when the role wrote it."""
    return SIGNATURE.sub("", text, count=1)


def digest(text: str) -> str:
    """What stands for the content of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def postgres_signed(text: str) -> str:
    """A file with a line that says what is in it, by which a later run knows that nobody edited it."""
    return f"# signed {digest(text)}\n{text}"


def edited(text: str) -> bool:
    """Whether a person wrote the file, or changed it since the role did."""
    found = SIGNATURE.match(text)
    return bool(text) and (not found or found[1] != digest(unsigned(text)))


def meaning(text: str) -> list[str]:
    """The lines of a file that the server reads."""
    lines = (" ".join(line.split("#")[0].split()) for line in text.splitlines())
    return [line for line in lines if line]


# What a new cluster has; a file like that was edited by nobody.
PRISTINE = {
    *("local all postgres peer", "local all all peer"),
    *("host all all 127.0.0.1/32 scram-sha-256", "host all all ::1/128 scram-sha-256"),
    *("local replication all peer",),
    *("host replication all 127.0.0.1/32 scram-sha-256", "host replication all ::1/128 scram-sha-256"),
}


def postgres_edits(files: list[dict[str, Any]], state: dict[str, Any]) -> list[dict[str, Any]]:
    """The files that a person edited and the role replaces: which lines go, which come."""
    found = []
    for file in files:
        now = state.get(os.path.basename(file["path"]).replace(".", "_").replace("-", "_"), "")
        if not file.get("guarded") or not edited(now):
            continue
        old, new = meaning(now), meaning(file["content"])
        # A server that was here before the role may need even those.
        taken = bool(state["version"] and not state["drop_in"])
        if (set(old) <= PRISTINE and not taken) or old == new:
            continue
        gone, more = [line for line in old if line not in new], [line for line in new if line not in old]
        found.append({"path": file["path"], "gone": gone, "new": more})
    return found


def postgres_files(files: list[dict[str, Any]], state: dict[str, Any], stamp: str = "") -> list[dict[str, Any]]:
    """The files that are not on the host as they shall be; with a stamp, where a copy of an edited one goes."""
    there = {}
    for line in state["files"].splitlines():
        mode, owner, group, checksum, path = line.split(maxsplit=4)
        there[path] = (int(mode, 8), owner, group, checksum)
    keep = {edit["path"] for edit in postgres_edits(files, state)}
    wrong = []
    for file in files:
        owner = file.get("owner", "root")
        wanted = (int(file["mode"], 8), owner, file.get("group", owner), digest(file["content"]))
        if there.get(file["path"]) != wanted:
            wrong.append(file | ({"copy": f"{file['path']}.{stamp}"} if stamp and file["path"] in keep else {}))
    return wrong


def postgres_directories(directories: list[dict[str, Any]], state: dict[str, Any]) -> list[dict[str, Any]]:
    """The directories that are not there, or not as they shall be."""
    there = {line.split(maxsplit=2)[2]: line.split()[:2] for line in state["directories"].splitlines()}
    return [
        directory
        for directory in directories
        if there.get(directory["path"]) != [directory["mode"].lstrip("0"), directory["owner"]]
    ]


# --- settings


def postgres_rules(asked: dict[str, Any]) -> list[str]:
    """The lines of pg_hba.conf, in their order."""
    present = [user for user in asked["users"] if user.get("state", "present") == "present"]
    peers = [user["name"] for user in present if user.get("plugin", "password") == "peer"]
    rules = ["local all postgres peer", *(f"local all {quoted(name)} peer" for name in peers), *asked["hba"]]
    rules.append("local all all scram-sha-256")
    if asked["loopback"] or asked["remote_access"]:
        rules.append("host all postgres all reject")
    if asked["loopback"]:
        rules.append("host all all 127.0.0.1/32 scram-sha-256")
    return rules + [f"hostssl all all {cidr} scram-sha-256" for cidr in asked["remote_access"].get("cidrs") or []]


OWN_RULES = re.compile(r"^# BEGIN of the role postgres.*?^# END of the role postgres\n", re.MULTILINE | re.DOTALL)


def postgres_more_rules(asked: dict[str, Any], state: dict[str, Any], path: str) -> dict[str, Any]:
    """The pg_hba.conf of a server that was here before this role: as it is, with rules for the role's own accounts in front."""
    there = before(asked, state, "account")
    rules: list[str] = []
    last: list[str] = []
    for user in asked["users"]:
        if user.get("state", "present") == "present" and user["name"] not in there:
            peer = user.get("plugin", "password") == "peer"
            (rules if peer else last).append(f"local all {quoted(user['name'])} {'peer' if peer else 'scram-sha-256'}")
            if asked["loopback"]:
                last.append(f"host all {quoted(user['name'])} 127.0.0.1/32 {'reject' if peer else 'scram-sha-256'}")
    rules = [*rules, *asked["hba"], *last]
    block = ["# BEGIN of the role postgres (Ansible managed)", *rules, "# END of the role postgres"] if rules else []
    about = {line.split(maxsplit=4)[4]: line.split() for line in state["files"].splitlines()}
    mode, owner, group, *_ = about.get(path, ["640", "postgres", "postgres"])
    content = "".join(f"{line}\n" for line in block) + OWN_RULES.sub("", state["pg_hba_conf"])
    return {"path": path, "content": content, "mode": mode.zfill(4), "owner": owner, "group": group}


def between(least: int, value: float, most: int) -> int:
    """A whole number within bounds."""
    return int(min(max(value, least), most))


def postgres_server_settings(
    asked: dict[str, Any], state: dict[str, Any], socket_dir: str, tls_dir: str
) -> dict[str, Any]:
    """The settings of the drop-in, in their order; those of the person come last."""
    if asked["found"]:
        return {str(name): value for name, value in asked["settings"].items()}
    plan = int(state["memory_mb"]) * int(asked["memory_percent"]) / 100
    listen = ["127.0.0.1"] if asked["loopback"] else []
    if asked["remote_access"]:
        bind = asked["remote_access"]["bind"]
        everything = ipaddress.ip_address(bind).is_unspecified and bind != "::"
        listen = [bind] if everything or bind in listen else [*listen, bind]
    settings: dict[str, Any] = {
        "listen_addresses": ",".join(listen),
        "port": int(asked["port"]),
        "unix_socket_directories": socket_dir,
        "password_encryption": "scram-sha-256",
        "max_connections": 50,
        "shared_buffers": f"{between(16, plan * 0.4, 16384)}MB",
        "effective_cache_size": f"{between(64, plan, 65536)}MB",
        "work_mem": f"{between(4, plan / 50, 256)}MB",
        "maintenance_work_mem": f"{between(16, plan / 8, 1024)}MB",
        "ssl": bool(asked["remote_access"]),
    }
    if asked["remote_access"]:
        settings |= {
            "ssl_cert_file": f"{tls_dir}/tls.crt",
            "ssl_key_file": f"{tls_dir}/tls.key",
            "ssl_min_protocol_version": "TLSv1.2",
            "ssl_ciphers": "ECDHE+AESGCM:ECDHE+CHACHA20",
        }
    return settings | {str(name): value for name, value in asked["settings"].items()}


def plain(value: Any) -> str:
    """One spelling for each value, so that two can be compared."""
    text = {"True": "on", "False": "off"}.get(str(value), str(value)).replace(" ", "")
    size = re.fullmatch(r"([0-9]+)(kB|MB|GB|TB)", text)
    return str(int(size[1]) << {"kB": 0, "MB": 10, "GB": 20, "TB": 30}[size[2]]) if size else text


def postgres_new_values(settings: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """What the running server has otherwise."""
    now = state["server"].get("settings") or {}
    return [
        f"{name}: {now[name] or 'nothing'} -> {'on' if value is True else 'off' if value is False else value or 'nothing'}"
        for name, value in settings.items()
        if name in now and plain(now[name]) != plain(value)
    ]


def postgres_value(value: Any) -> str:
    """A value as postgresql.conf has it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if NUMBER.fullmatch(str(value)):
        return str(value)
    return "'" + str(value).replace("\\", "\\\\").replace("'", "''") + "'"


# --- passwords


def prepared(password: str) -> bytes:
    """The password as both sides hash it: SASLprep (RFC 4013), or as it is where that does not allow it."""
    mapped = "".join(
        " " if stringprep.in_table_c12(letter) else letter for letter in password if not stringprep.in_table_b1(letter)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    refused = (
        *(stringprep.in_table_a1, stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3),
        *(stringprep.in_table_c4, stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7),
        *(stringprep.in_table_c8, stringprep.in_table_c9),
    )
    right = [stringprep.in_table_d1(letter) for letter in normal]
    mixed = any(right) and (any(map(stringprep.in_table_d2, normal)) or not (right[0] and right[-1]))
    if not normal or mixed or any(wrong(letter) for letter in normal for wrong in refused):
        return password.encode()
    return normal.encode()


def verifier(password: str, salt: bytes, rounds: int) -> str:
    """What the server keeps of a password (RFC 5803)."""
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${rounds}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def right_password(password: str, kept: str | None) -> bool:
    """Whether the server's verifier is the password's."""
    found = VERIFIER.fullmatch(kept or "")
    if not found:
        return False
    try:
        salt = base64.b64decode(found[2], validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(verifier(password, salt, int(found[1])), kept or "")


def postgres_passwords(users: list[dict[str, Any]], credentials_dir: str, beside: str = "") -> list[dict[str, Any]]:
    """Each account with a password: its file on the controller, what shall be in it, and whether that is so.

    An empty password is one that is still to be made. A rotation has the new ones of those that nobody gave in files beside the others.
    """
    found = []
    for user in users:
        if user.get("plugin", "password") == "password" and user.get("state", "present") == "present":
            file = Path(credentials_dir, f"postgres_{user['name']}" + ("" if user.get("password") else beside))
            kept = file.read_text().rstrip("\n") if file.is_file() else ""
            password = str(user.get("password") or kept)
            right = bool(kept) and kept == password
            found.append({"name": user["name"], "file": str(file), "password": password, "kept": right})
    return found


# --- SQL


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def connect(database: str) -> str:
    """What makes psql go on in another database."""
    return f"\\connect {quoted(database)}"


def step(say: str, *sql: str) -> dict[str, str]:
    """Something to do, in words and in SQL."""
    return {"say": say, "sql": "\n".join(sql)}


def user_steps(user: dict[str, Any], roles: dict[str, Any], password: str) -> list[dict[str, str]]:
    """What makes an account what it shall be."""
    name, role = user["name"], roles.get(user["name"])
    secret = literal(verifier(password, os.urandom(16), SCRAM_ROUNDS)) if password else "NULL"
    if role is None:
        return [step(f"make the account {name}", f"CREATE ROLE {quoted(name)} LOGIN PASSWORD {secret};")]
    steps = []
    if not role["login"]:
        steps.append(step(f"let the account {name} log in", f"ALTER ROLE {quoted(name)} LOGIN;"))
    if password and not right_password(password, role["password"]):
        steps.append(step(f"give the account {name} its password", f"ALTER ROLE {quoted(name)} PASSWORD {secret};"))
    if not password and role["password"]:
        steps.append(step(f"take the password of the account {name} away", f"ALTER ROLE {quoted(name)} PASSWORD NULL;"))
    return steps


def database_steps(
    database: dict[str, Any], state: dict[str, Any], version: int, keeps: bool = False
) -> list[dict[str, str]]:
    """What makes a database what it shall be: there, its owner's, closed to others, with its extensions.

    One that keeps its own, because it was here before this role, only gets extensions.
    """
    name, owner = database["name"], database.get("owner") or "postgres"
    there = state["server"].get("databases", {}).get(name)
    details = state["details"].get(name, {})
    steps = []
    if there is None:
        keeps = False
        steps.append(step(f"make the database {name}", f"CREATE DATABASE {quoted(name)} OWNER {quoted(owner)};"))
    elif there["owner"] != owner and not keeps:
        say = f"give the database {name} of {there['owner']} to {owner}"
        steps.append(step(say, f"ALTER DATABASE {quoted(name)} OWNER TO {quoted(owner)};"))
    if there is None or (not keeps and any(grantee == "" for grantee, _ in there["acl"])):
        steps.append(
            step(f"close the database {name} to other accounts", f"REVOKE ALL ON DATABASE {quoted(name)} FROM PUBLIC;")
        )
    if not keeps and details.get("schema_owner", "postgres" if version < 15 else "") == "postgres" != owner:
        steps.append(
            step(
                f"give the schema public of {name} to its owner",
                connect(name),
                "ALTER SCHEMA public OWNER TO pg_database_owner;",
            )
        )
    if not keeps and ["", "CREATE"] in details.get("schema", [["", "CREATE"]] if version < 15 else []):
        steps.append(
            step(f"close the schema public of {name}", connect(name), "REVOKE CREATE ON SCHEMA public FROM PUBLIC;")
        )
    for extension in database.get("extensions") or []:
        if extension not in details.get("extensions", []):
            steps.append(step(f"add the extension {extension} to {name}", connect(name), extension_sql(extension)))
    return steps


def extension_sql(extension: str) -> str:
    """The statement that adds an extension, in whose script a superuser calls functions by their names.

    The owner of the database may have others of these names in public. So it is made in a schema where nobody but the superuser
    could put any, and moves to public when it is there. One that cannot move, or needs another, is made in public: PostgreSQL's own
    are written to be safe there.
    """
    beside, name = quoted("notebook.extension"), quoted(extension)
    return (
        "DO $do$ BEGIN IF EXISTS (SELECT FROM pg_available_extensions a JOIN pg_available_extension_versions v"
        f" ON v.name = a.name AND v.version = a.default_version WHERE v.name = {literal(extension)}"
        " AND v.relocatable AND v.schema IS NULL AND v.requires IS NULL)"
        f" THEN CREATE SCHEMA {beside}; CREATE EXTENSION {name} SCHEMA {beside};"
        f" ALTER EXTENSION {name} SET SCHEMA public; DROP SCHEMA {beside};"
        f" ELSE SET LOCAL search_path = public; CREATE EXTENSION {name} CASCADE; END IF; END $do$;"
    )


def wished(privileges: list[str]) -> dict[str, set[str]]:
    """What a list of privileges means for a database, its schema, its tables and its sequences."""
    names = {str(privilege).upper() for privilege in privileges}
    everything = "ALL" in names
    tables = set(TABLE) if everything else names & set(TABLE)
    sequences = {"USAGE", "SELECT", "UPDATE"} if everything else {"SELECT"} & names
    if names & {"INSERT", "UPDATE"}:
        sequences |= {"USAGE", "SELECT"}
    return {
        "d": {"CONNECT"} | ({"CREATE", "TEMPORARY"} if everything else {"TEMPORARY"} & names),
        "n": ({"USAGE"} if names - {"CONNECT", "TEMPORARY"} else set())
        | ({"CREATE"} if everything or "CREATE" in names else set()),
        "r": tables,
        "S": sequences,
    }


def held(acl: Iterable[Iterable[str]], name: str) -> set[str]:
    """What an account holds by an access list. MAINTAIN, which came with 17, is nothing that the role gives."""
    return {privilege for grantee, privilege in acl if grantee == name} - {"MAINTAIN"}


def privileges_right(
    name: str, wish: dict[str, set[str]], creators: list[str], there: dict[str, Any], details: dict[str, Any]
) -> bool:
    """Whether an account holds exactly what it shall, on what is there and on what will be."""
    if held(there["acl"], name) != wish["d"] or held(details["schema"], name) != wish["n"]:
        return False
    if any(held(acl, name) != wish[kind] for kind, owner, acl in details["relations"] if owner != name):
        return False
    for creator in creators:
        for kind in ("r", "S"):
            acl = [
                (grantee, privilege)
                for role, k, grantee, privilege in details["defaults"]
                if (role, k) == (creator, kind)
            ]
            if held(acl, name) != wish[kind]:
                return False
    return True


def change(privileges: set[str], what: str, name: str, before: str = "") -> list[str]:
    """Statements after which an account holds exactly these privileges on something."""
    statements = [f"{before}REVOKE ALL ON {what} FROM {quoted(name)};"]
    if privileges:
        statements.append(f"{before}GRANT {', '.join(sorted(privileges))} ON {what} TO {quoted(name)};")
    return statements


def privilege_sql(name: str, database: str, wish: dict[str, set[str]], creators: list[str]) -> list[str]:
    """Statements that give an account exactly what it shall hold in a database."""
    sql = [connect(database), "BEGIN;", *change(wish["d"], f"DATABASE {quoted(database)}", name)]
    sql += change(wish["n"], "SCHEMA public", name)
    for kind, word, kinds in (("r", "TABLE", "rpvmf"), ("S", "SEQUENCE", "S")):
        # What the account made itself is its own, and stays so.
        letters = ", ".join(literal(letter) for letter in kinds)
        each = "".join(
            f"EXECUTE format({literal(s)}, one); " for s in change(wish[kind], f"{word} %s", name.replace("%", "%%"))
        )
        sql.append(
            "DO $do$ DECLARE one regclass; BEGIN FOR one IN SELECT oid FROM pg_class"  # noqa: S608  (quoted all)
            f" WHERE relnamespace = 'public'::regnamespace AND relkind IN ({letters})"
            f" AND pg_get_userbyid(relowner) <> {literal(name)} LOOP {each}END LOOP; END $do$;"
        )
        for creator in creators:
            before = f"ALTER DEFAULT PRIVILEGES FOR ROLE {quoted(creator)} IN SCHEMA public "
            sql += change(wish[kind], f"{word}S", name, before)
    return [*sql, "COMMIT;"]


def privilege_steps(asked: dict[str, Any], state: dict[str, Any]) -> list[dict[str, str]]:
    """What gives the accounts their privileges, where they do not hold just these."""
    owners = {database["name"]: database.get("owner") or "postgres" for database in asked["databases"]}
    there = state["server"].get("databases", {})
    owners |= {
        name: there[name]["owner"] for name in before(asked, state, "database") if name in owners and name in there
    }
    present = [user for user in asked["users"] if user.get("state", "present") == "present"]
    steps = []
    for user in present:
        for database, privileges in (user.get("privileges") or {}).items():
            name = user["name"]
            if name == owners[database]:
                continue
            makers = {
                u["name"] for u in present if wished((u.get("privileges") or {}).get(database, []))["n"] >= {"CREATE"}
            }
            creators = sorted((makers | {owners[database], "postgres"}) - {name})
            wish = wished(privileges)
            there = state["server"].get("databases", {}).get(database)
            details = state["details"].get(database)
            if not there or not details or not privileges_right(name, wish, creators, there, details):
                say = f"give {name} {', '.join(map(str, privileges)) or 'nothing'} on {database}, and no more"
                steps.append(step(say, *privilege_sql(name, database, wish, creators)))
    return steps


def absent_steps(user: dict[str, Any], databases: dict[str, Any]) -> list[dict[str, str]]:
    """What removes an account; what it owns goes to the owner of the database that it is in, and that to postgres."""
    name = user["name"]
    sql = []
    for database, about in sorted(databases.items()):
        if about["open"]:
            heir = "postgres" if about["owner"] == name else about["owner"]
            sql += [
                connect(database),
                f"REASSIGN OWNED BY {quoted(name)} TO {quoted(heir)};",
                f"DROP OWNED BY {quoted(name)};",
            ]
    return [step(f"remove the account {name}", *sql, f"DROP ROLE {quoted(name)};")]


def postgres_steps(
    asked: dict[str, Any], state: dict[str, Any], passwords: list[dict[str, Any]]
) -> list[dict[str, str]]:
    """All that is to be done in the server, in its order; nothing when all is there."""
    roles, databases = state["server"].get("roles", {}), state["server"].get("databases", {})
    version = int(state["version"] or asked["version"] or asked["default_version"] or 0)
    by_name = {entry["name"]: entry["password"] for entry in passwords}
    steps = []
    for user in asked["users"]:
        if user.get("state", "present") == "present":
            steps += user_steps(user, roles, by_name.get(user["name"], ""))
    for database in asked["databases"]:
        steps += database_steps(database, state, version, database["name"] in before(asked, state, "database"))
    steps += privilege_steps(asked, state)
    for user in asked["users"]:
        if user.get("state", "present") == "absent" and user["name"] in roles:
            steps += absent_steps(user, databases)
    return steps


class FilterModule:
    """Filters of the role postgres."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            f.__name__: f
            for f in (
                postgres_problems,
                postgres_state,
                postgres_found,
                postgres_note,
                postgres_more_rules,
                postgres_new_values,
                postgres_host_problems,
                postgres_upgrade_problems,
                postgres_object_problems,
                postgres_signed,
                postgres_edits,
                postgres_files,
                postgres_directories,
                postgres_rules,
                postgres_server_settings,
                postgres_value,
                postgres_passwords,
                postgres_steps,
            )
        }

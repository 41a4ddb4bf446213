"""What the role mysql decides on the controller: are settings sound, may this host be changed, which SQL is missing."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECTION = re.compile(r"^== (\w+)$", re.MULTILINE)
DATABASE = re.compile(r"[A-Za-z0-9_-]{1,64}")
USER = re.compile(r"[A-Za-z0-9_.-]{1,32}")
WORD = re.compile(r"[a-z0-9_]{1,64}")
MAJOR = re.compile(r"[0-9]+\.[0-9]+")
FINGERPRINT = re.compile(r"[0-9A-F]{40}")
SETTING = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
GRANT = re.compile(r"GRANT (?P<privileges>.+?) ON (?P<place>\*\.\*|`(?:[^`]|``)+`\.\*) TO ")
ERROR = re.compile(r"ERROR (\d+) \(\w+\) at line (\d+): (.*)")

SYSTEM_DATABASES = {"information_schema", "mysql", "performance_schema", "sys"}
OWN_ACCOUNTS = {
    "root",
    "mysql",
    "mariadb.sys",
    "mysql.sys",
    "mysql.session",
    "mysql.infoschema",
    "debian-sys-maint",
    "PUBLIC",
}
PLUGINS = {
    "mariadb": {"socket": "unix_socket", "password": "ed25519"},
    "mysql": {"socket": "auth_socket", "password": "caching_sha2_password"},
}
KNOWN_PLUGINS = {
    "mariadb": {"unix_socket", "ed25519", "mysql_native_password"},
    "mysql": {"auth_socket", "caching_sha2_password", "sha256_password", "mysql_native_password"},
}
SOCKET_PLUGINS = {"unix_socket", "auth_socket"}
# The libraries of plugins that a new server has not loaded.
LIBRARIES = {"ed25519": "auth_ed25519", "auth_socket": "auth_socket.so"}
DATABASE_PRIVILEGES = {
    "ALL", "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "REFERENCES", "INDEX", "ALTER", "CREATE TEMPORARY TABLES",
    "LOCK TABLES", "EXECUTE", "CREATE VIEW", "SHOW VIEW", "CREATE ROUTINE", "ALTER ROUTINE", "EVENT", "TRIGGER", "GRANT OPTION",
    "DELETE HISTORY", "SHOW CREATE ROUTINE",
}  # fmt: skip
SERVER_PRIVILEGES = {
    "PROCESS", "RELOAD", "SHOW DATABASES", "REPLICATION CLIENT", "REPLICATION SLAVE", "BINLOG MONITOR", "SLAVE MONITOR", "SELECT",
    "SHOW VIEW", "EVENT", "TRIGGER", "LOCK TABLES", "EXECUTE",
}  # fmt: skip
# A network with more addresses than this is "the world", or so much of it that it makes no difference.
WORLD_PREFIX = 3
# Whatever a file gives these, the role's other settings decide.
OWN_SETTINGS = {
    "datadir": "mysql_data_dir",
    "port": "mysql_port",
    "bind_address": "mysql_remote_access",
    "skip_networking": "mysql_remote_access",
    "require_secure_transport": "mysql_remote_access",
    "ssl_cert": "mysql_remote_access",
    "ssl_key": "mysql_remote_access",
    "skip_grant_tables": "",
    "socket": "",
}
# The server's unit hides these.
HIDDEN = ("/home", "/root", "/run", "/tmp", "/var/tmp", "/dev", "/proc", "/sys", "/etc", "/usr", "/boot")  # noqa: S108


def literal(text: str) -> str:
    """A text as SQL says it; the script sets sql_mode so that a backslash is special."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def name(text: str) -> str:
    """A name as SQL says it."""
    return "`" + text.replace("`", "``") + "`"


def place(database: str) -> str:
    """A database as GRANT says it, where _ would stand for any character."""
    return "*.*" if database == "*" else name(database.replace("_", "\\_")) + ".*"


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network (or the single address) that a text spells, or None."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def host_of(net: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """A network as the host of an account."""
    if net.prefixlen == net.max_prefixlen:
        return str(net.network_address)
    return "%" if net.prefixlen == 0 else f"{net.network_address}/{net.netmask}"


def mysql_accounts(asked: dict[str, Any], flavor: str) -> list[dict[str, Any]]:
    """The accounts one by one: `remote` is as many as there are networks, plugins are called as the server calls them."""
    accounts = []
    for user in asked["users"]:
        host = user.get("host") or "localhost"
        nets = asked["remote_access"].get("cidrs", []) if host == "remote" else [host]
        plugin = user.get("plugin") or "password"
        plugin = PLUGINS[flavor].get(plugin, plugin)
        for net in nets:
            known = network(net)
            accounts.append(
                {
                    "name": user["name"],
                    "host": host_of(known) if known else net,
                    "plugin": plugin,
                    "secret": plugin not in SOCKET_PLUGINS,
                    "tls": net != "localhost",
                    "privileges": user.get("privileges") or {},
                    "state": user.get("state") or "present",
                }
            )
    return accounts


def mysql_secrets(asked: dict[str, Any], flavor: str, beside: str = "") -> dict[str, str]:
    """Passwords by account: the one that is given, or else the one that the controller keeps; empty where one is to be made.

    A rotation has the new ones of those that nobody gave in files beside the others.
    """
    given = {user["name"]: user["password"] for user in asked["users"] if user.get("password")}
    secrets = {}
    for account in mysql_accounts(asked, flavor):
        if account["secret"] and account["state"] == "present":
            who = account["name"]
            secrets[who] = given.get(who, "") or kept(asked["credentials_dir"], who + beside)
    return secrets


def mysql_found(state: dict[str, str], take_over: bool) -> bool:
    """Whether a server was here before this role: it is there and nothing of the role's is, or a note says so."""
    if take_over or not state:
        return False
    return bool(state["found"] or somebodys(state))


def somebodys(state: dict[str, str]) -> bool:
    """Whether a server is there that somebody uses, and nothing of the role's.

    One that comes with an image, stopped, not started at boot and without a database, is nobody's.
    """
    used = state["active"] == "active" or state["enabled"] == "enabled" or state["data_used"]
    return bool(state["version"] and used and "/sbin/notebook-mysql-dump" not in state["files"])


def mysql_note(state: dict[str, str]) -> str:
    """The note that a server was here before this role, with what was in it; the first one stays."""
    if state["found"]:
        return state["found"] + "\n"
    lines = [
        "# This server was here before the role mysql. It stays as it is, and so do these:",
        *(f"account\t{row[0]}@{row[1]}" for row in rows(state, "accounts") if len(row) == 4),
        *(f"database\t{row[0]}" for row in rows(state, "databases") if len(row) == 4),
    ]
    return "\n".join(lines) + "\n"


def before(state: dict[str, str], kind: str) -> set[str]:
    """Accounts or databases that were here before this role."""
    cells = (line.split("\t", 1) for line in mysql_note(state).splitlines() if "\t" in line)
    return {name for what, name in cells if what == kind}


def kept(folder: str, who: str) -> str:
    """The password that the controller keeps, or nothing."""
    file = Path(folder, f"mysql_{who}")
    return file.read_text(encoding="utf-8").rstrip("\n") if file.is_file() else ""


def mysql_secrets_to_keep(asked: dict[str, Any], flavor: str) -> list[str]:
    """Accounts whose password is to be made, or to be kept as it is given."""
    return [
        who
        for who, secret in mysql_secrets(asked, flavor).items()
        if not secret or secret != kept(asked["credentials_dir"], who)
    ]


def mysql_rotated(asked: dict[str, Any], flavor: str) -> list[str]:
    """Accounts whose password was made here, and not given."""
    given = {user["name"] for user in asked["users"] if user.get("password")}
    return [who for who in mysql_secrets(asked, flavor) if who not in given]


def mysql_logins(accounts: list[dict[str, Any]], secrets: dict[str, str]) -> list[dict[str, str]]:
    """What it takes to log in with each account that has a password."""
    return [
        {"name": account["name"], "host": account["host"], "password": secrets[account["name"]]}
        for account in accounts
        if account["secret"] and account["state"] == "present"
    ]


def mysql_with_content(files: list[dict[str, str]], contents: dict[str, str]) -> list[dict[str, str]]:
    """The files that templates make, with what is in them."""
    return [{**file, "content": contents[file["template"]]} for file in files]


def mysql_differing(files: list[dict[str, str]], state: dict[str, str]) -> list[dict[str, str]]:
    """Files that the host lacks, or has with another content, owner or mode."""
    now = {}
    for line in state["files"].splitlines():
        mode, owner, digest, path = line.split(maxsplit=3)
        now[path] = (mode.zfill(4), owner, digest)
    return [
        file
        for file in files
        if now.get(file["path"]) != (file["mode"], "root", hashlib.sha256(file["content"].encode()).hexdigest())
    ]


def alike(values: list[Any]) -> list[Any]:
    """What a list has twice, each once."""
    return sorted({value for value in values if values.count(value) > 1})


def number_problems(asked: dict[str, Any]) -> list[str]:
    """Numbers out of their range."""
    ranges = {"port": (1, 65535), "memory_percent": (1, 80), "backup_keep": (1, 1000)}
    return [
        f"mysql_{key} is {asked[key]}; give {least} to {most}."
        for key, (least, most) in ranges.items()
        if not least <= int(asked[key]) <= most
    ]


def database_problems(asked: dict[str, Any]) -> list[str]:
    """Databases that cannot be."""
    problems = []
    for database in asked["databases"]:
        called = database["name"]
        if not DATABASE.fullmatch(called):
            problems.append(f"mysql_databases names {called!r}; a database has 1 to 64 letters, digits, _ and -.")
        elif called.lower() in SYSTEM_DATABASES:
            problems.append(f"mysql_databases names {called}, which is the server's own; choose another name.")
        for key in ("character_set", "collation"):
            if database.get(key) and not WORD.fullmatch(database[key]):
                problems.append(f"mysql_databases gives {called} the {key} {database[key]!r}, which is none.")
    problems += [
        f"mysql_databases names {called} twice; once is enough."
        for called in alike([d["name"] for d in asked["databases"]])
    ]
    return problems


def privilege_problems(user: dict[str, Any], databases: list[str]) -> list[str]:
    """Grants that cannot be given, or that only root has."""
    problems = []
    for database, privileges in (user.get("privileges") or {}).items():
        if not isinstance(privileges, list) or not all(isinstance(one, str) for one in privileges):
            problems.append(
                f"mysql_users gives {user['name']} no list of privileges on {database}; write {database}: [ALL], for instance."
            )
            continue
        known = SERVER_PRIVILEGES if database == "*" else DATABASE_PRIVILEGES
        unknown = [one for one in privileges if one.upper() not in known]
        if database == "*" and unknown:
            problems.append(
                f"mysql_users gives {user['name']} {', '.join(unknown)} on the whole server (*), which only root has;"
                " name databases, or a privilege that watches and reads."
            )
        elif unknown:
            problems.append(
                f"mysql_users gives {user['name']} {', '.join(unknown)}, which is no privilege on a database."
            )
        if database != "*" and database not in databases:
            problems.append(
                f"mysql_users gives {user['name']} privileges on {database}, which mysql_databases does not name; add it there."
            )
    return problems


def host_problems(user: dict[str, Any], asked: dict[str, Any], plugin: str) -> list[str]:
    """Accounts that could never log in, or from where nobody may."""
    who, host = user["name"], user.get("host") or "localhost"
    if host == "localhost" or user.get("state") == "absent":
        return []
    if plugin in SOCKET_PLUGINS:
        return [
            f"mysql_users lets {who} log in through the socket and from {host}; a socket is on this host: take host out."
        ]
    if not asked["remote_access"]:
        return [f"mysql_users lets {who} connect from {host}, but mysql_remote_access is empty; say there who may."]
    if host == "remote":
        return []
    net = network(host)
    if not net:
        return [
            f"mysql_users lets {who} connect from {host!r}; give localhost, remote, an address, or a network such as 10.0.0.0/8."
        ]
    allowed = [one for one in map(network, asked["remote_access"].get("cidrs") or []) if one]
    if not any(net.version == one.version and net.subnet_of(one) for one in allowed):  # type: ignore[arg-type]
        return [f"mysql_users lets {who} connect from {host}, which is outside of mysql_remote_access.cidrs."]
    return []


def user_problems(asked: dict[str, Any]) -> list[str]:
    """Accounts that cannot be."""
    flavor, problems = asked["wanted_flavor"], []
    databases = [database["name"] for database in asked["databases"]]
    for user in asked["users"]:
        who, given = user["name"], user.get("plugin") or "password"
        if not USER.fullmatch(who):
            problems.append(f"mysql_users names {who!r}; an account has 1 to 32 letters, digits, _, - and .")
            continue
        if who in OWN_ACCOUNTS:
            problems.append(f"mysql_users names {who}, which is the server's own account; choose another name.")
            continue
        # What is installed may be the other of the two: then its plugins are as good.
        known = set().union(*KNOWN_PLUGINS.values()) if asked["flavor"] == "auto" else KNOWN_PLUGINS[flavor]
        if given not in PLUGINS[flavor] and given not in known:
            problems.append(
                f"mysql_users gives {who} the plugin {given!r}, which is unknown; give socket, password, or one of"
                f" {', '.join(sorted(known))}."
            )
            continue
        plugin = PLUGINS[flavor].get(given, given)
        password = user.get("password") or ""
        if plugin in SOCKET_PLUGINS and password:
            problems.append(
                f"mysql_users gives {who} a password and the plugin {given}, which knows none; take one of them out."
            )
        if not password.isprintable():
            problems.append(
                f"mysql_users gives {who} a password with a control character, such as a line break; take it out."
            )
        problems += host_problems(user, asked, plugin) + privilege_problems(user, databases)
    twice = alike([(user["name"], user.get("host") or "localhost") for user in asked["users"]])
    problems += [f"mysql_users names {who} from {host} twice; make one of the two." for who, host in twice]
    for who in sorted({user["name"] for user in asked["users"]}):
        passwords = {user.get("password") for user in asked["users"] if user["name"] == who and user.get("password")}
        if len(passwords) > 1:
            problems.append(f"mysql_users gives {who} more than one password; one name has one.")
    return problems


def access_problems(asked: dict[str, Any]) -> list[str]:
    """Remote access that is incomplete, or wider than was said."""
    access = asked["remote_access"]
    if not access:
        return []
    problems = []
    try:
        bind = ipaddress.ip_address(access.get("bind") or "")
    except ValueError:
        problems.append(
            f"mysql_remote_access.bind is {access.get('bind') or ''!r}; give the address to listen on, 0.0.0.0 for all."
        )
    else:
        if bind.is_loopback:
            problems.append(
                f"mysql_remote_access.bind is {bind}, where nobody else comes in; set mysql_loopback instead."
            )
    cidrs = access.get("cidrs") or []
    if not cidrs:
        problems.append(
            "mysql_remote_access.cidrs is empty; list the networks that may connect, 10.0.0.0/8 for instance."
        )
    for cidr in cidrs:
        net = network(cidr)
        if not net:
            problems.append(f"mysql_remote_access.cidrs names {cidr!r}, which is no network; write it as 10.0.0.0/8.")
        elif net.version == 6 and net.prefixlen < net.max_prefixlen:
            problems.append(f"mysql_remote_access.cidrs names {cidr}; of IPv6 the server knows single addresses only.")
        elif net.prefixlen <= WORLD_PREFIX and not asked["open_to_the_world"]:
            problems.append(
                f"mysql_remote_access.cidrs names {cidr}, which is the whole internet or most of it; name your networks,"
                " or set mysql_open_to_the_world: true."
            )
    if not asked["addresses"]:
        problems.append("mysql_addresses is empty; list the names and addresses that people type, for the certificate.")
    return problems


def source_problems(asked: dict[str, Any]) -> list[str]:
    """A source of packages that cannot be used."""
    problems, repository = [], asked["repository"]
    if asked["version"] and not MAJOR.fullmatch(asked["version"]):
        problems.append(
            f"mysql_version is {asked['version']!r}; give a major version such as 11.8 or 8.4, or leave it empty."
        )
    if asked["source"] == "distribution":
        if repository:
            problems.append("mysql_repository is for mysql_source: vendor; set that, or take mysql_repository out.")
        return problems
    if asked["flavor"] == "mariadb" and not {"url", "suite", "components", "fingerprint"} <= set(repository):
        problems.append(
            "mysql_flavor is mariadb and mysql_source is vendor, which knows MySQL's repository only;"
            " say the other one whole in mysql_repository."
        )
    fingerprint = str(repository.get("fingerprint", "")).replace(" ", "")
    if fingerprint and not FINGERPRINT.fullmatch(fingerprint):
        problems.append(
            "mysql_repository.fingerprint is not 40 hexadecimal digits in capitals; copy it from the vendor's page."
        )
    key_file = repository.get("key_file")
    if key_file and not Path(key_file).is_file():
        problems.append(
            f"mysql_repository.key_file names {key_file}, which cannot be found on this machine; correct it."
        )
    return problems


def setting_problems(asked: dict[str, Any]) -> list[str]:
    """Settings that are no settings, or that others of the role decide; and paths."""
    problems = []
    for key, value in asked["settings"].items():
        own = str(key).replace("-", "_").lower()
        if not SETTING.fullmatch(str(key)) or not str(value).isprintable():
            problems.append(
                f"mysql_settings has {key!r}: {value!r}, which cannot stand in a line of its own in a settings file."
            )
        elif own in OWN_SETTINGS:
            instead = f"; use {OWN_SETTINGS[own]}" if OWN_SETTINGS[own] else " and has to stay as it is; take it out"
            problems.append(f"mysql_settings names {key}, which the role sets itself{instead}.")
    for key in ("data_dir", "backup_dir"):
        path = asked[key]
        if path and (
            not path.startswith("/") or path == "/" or not re.fullmatch(r"[A-Za-z0-9/_.-]+", path) or ".." in path
        ):
            problems.append(
                f"mysql_{key} is {path!r}; give an absolute path of letters, digits, _, - and . on the host."
            )
    if asked["data_dir"] and any(f"{asked['data_dir']}/".startswith(f"{hidden}/") for hidden in HIDDEN):
        problems.append(
            f"mysql_data_dir is {asked['data_dir']}, where the server may not keep data; give another, /data/mysql for instance."
        )
    if not str(asked["backup_time"]).isprintable() or not str(asked["backup_time"]).strip():
        problems.append('mysql_backup_time is empty; give a time as systemd takes it, such as "03:15".')
    return problems


def mysql_problems(asked: dict[str, Any]) -> list[str]:
    """Sentences about settings that cannot work; none when all is well."""
    return (
        number_problems(asked)
        + source_problems(asked)
        + database_problems(asked)
        + access_problems(asked)
        + user_problems(asked)
        + setting_problems(asked)
    )


def mysql_state(text: str) -> dict[str, str]:
    """What templates/look.sh.j2 found on the host: each "== name" begins a part."""
    parts = SECTION.split(text)
    return {key: value.strip("\n") for key, value in zip(parts[1::2], parts[2::2], strict=True)}


def major(version: str) -> str:
    """11.8 of 11.8.6-MariaDB; nothing of what says no version."""
    found = MAJOR.match(version)
    return found[0] if found else ""


def rows(state: dict[str, str], key: str) -> list[list[str]]:
    """A part of the state, as rows of cells."""
    return [line.split("\t") for line in state.get(key, "").splitlines()]


def version_problems(asked: dict[str, Any], state: dict[str, str], on: str) -> list[str]:
    """A version that would change in passing."""
    installed, candidate = major(state["version"]), major(state["candidate"])
    upgrade = "playbooks/upgrade_mysql.yml does that, with a way back"
    if installed:
        if asked["flavor"] not in ("auto", state["flavor"]):
            return [
                f"{on} has {state['flavor']} {installed} and mysql_flavor is {asked['flavor']}; nothing turns one into the other:"
                " dump, and restore on a new host, or set mysql_flavor: auto."
            ]
        if asked["version"] and asked["version"] != installed:
            return [f"{on} has version {installed} and mysql_version is {asked['version']}; {upgrade}."]
        now = state["data_dir"] or asked["default_data_dir"]
        return data_problems(asked, state, installed, on) if asked["data_dir"] not in ("", now) else []
    if asked["version"] and candidate and candidate != asked["version"]:
        return [
            f"{on} can install version {candidate} and mysql_version is {asked['version']}; correct it, or the source of packages."
        ]
    return data_problems(asked, state, candidate, on)


def data_problems(asked: dict[str, Any], state: dict[str, str], version: str, on: str) -> list[str]:
    """Data that another version wrote than the one that would open them."""
    wanted = asked["data_dir"] or asked["default_data_dir"]
    # Packages open what is in their own directory, wherever the server is to have its data.
    places = {asked["default_data_dir"]: state["data_default"]} if not state["version"] else {}
    if asked["data_dir"]:
        places[wanted] = state["data_new"]
    return [
        f"{place} on {on} holds data of version {major(data) or 'unknown'}, and version {version} would open them;"
        " start with the version that wrote them, and let playbooks/upgrade_mysql.yml take the step; or move the directory away."
        for place, data in places.items()
        if data and version and major(data) != version
    ]


def mysql_upgrade_problems(asked: dict[str, Any], state: dict[str, str], on: str) -> list[str]:
    """Why a host cannot go to another major version; none when it can, or when it is on its way."""
    if state["upgrade"]:
        return []
    installed, candidate = major(state["version"]), major(state["candidate"])
    if not installed or "--user=root" not in state["way"].splitlines():
        return [f"{on} has no server that the role mysql made and that answers; apply the role first."]
    if asked["flavor"] not in ("auto", state["flavor"]):
        return [
            f"{on} has {state['flavor']} and mysql_flavor is {asked['flavor']}; an upgrade stays with one of the two."
        ]
    if not candidate or candidate == installed:
        return [
            f"{on} has version {installed}, and its packages offer no other; change mysql_source or mysql_repository first."
        ]
    if [int(part) for part in candidate.split(".")] < [int(part) for part in installed.split(".")]:
        return [
            f"{on} has version {installed} and its packages offer {candidate}, which is older; dumps do not go that way."
        ]
    if asked["version"] not in ("", candidate):
        return [
            f"{on} would get version {candidate} and mysql_version is {asked['version']}; correct it, or the source of packages."
        ]
    return []


def place_problems(asked: dict[str, Any], state: dict[str, str], on: str) -> list[str]:
    """A data directory that cannot be used, or that would leave data behind."""
    wanted, now = asked["data_dir"] or asked["default_data_dir"], state["data_dir"] or asked["default_data_dir"]
    if state["data_parent"]:
        return [f"{on} has no directory {state['data_parent']}, where mysql_data_dir is to be; is its disk mounted?"]
    if state["data_mount"]:
        return [f"{wanted} on {on} is the mount point itself; give a directory below it, {wanted}/mysql for instance."]
    if state["data_occupied"]:
        first = state["data_occupied"].splitlines()[0]
        return [f"{wanted} on {on} holds something else ({first}); empty it, or give another mysql_data_dir."]
    if state["version"] and wanted == now and not state["data_new" if asked["data_dir"] else "data_default"]:
        return [
            f"{on} has no data in {wanted}, where its {state['flavor']} keeps them; is its disk mounted? Or bring them back."
        ]
    # Of a server that was here before, accounts without databases are worth as much.
    if wanted != now and (state["data_used"] or somebodys(state)) and not asked["found"]:
        return [
            f"{on} has its data in {now} ({(state['data_used'] or now + '/mysql').splitlines()[0]}, for instance)"
            f" and mysql_data_dir says {wanted};"
            f" to move them, stop {state['unit']}, mv {now} {wanted}, and run this again."
        ]
    return []


def found_problems(asked: dict[str, Any], state: dict[str, str], secrets: dict[str, str], on: str) -> list[str]:
    """What cannot be had without changing a server that was here before this role."""
    was, instead = f"The {state['flavor']} of {on} was here before this role", "or set mysql_take_over: true"
    if state["active"] != "active":
        return [f"{was} and does not run; start it there (systemctl start {state['unit']}), {instead}."]
    problems = []
    running = dict(row for row in rows(state, "variables") if len(row) == 2)
    off = running.get("skip_networking") == "ON"
    loopback = {"", "*", "127.0.0.1", "localhost", str(ipaddress.IPv4Address(0)), "::"}
    addresses = loopback & set(running.get("bind_address", "").split(","))
    port = running.get("port", "")
    if asked["remote_access"]:
        problems.append(
            f"{was}, and mysql_remote_access would put its own addresses and TLS before everybody who connects to it now;"
            f" leave it empty, {instead}."
        )
    if asked["loopback"] and (off or not addresses):
        problems.append(
            f"{was} and does not listen on 127.0.0.1, as mysql_loopback asks; change that in its own files, {instead}."
        )
    if port and str(asked["port"]) not in (port, *([] if asked["loopback"] or asked["remote_access"] else ["3306"])):
        problems.append(
            f"{was} with the port {port}, and mysql_port is {asked['port']}; set mysql_port: {port}, {instead}."
        )
    now = state["data_dir"] or asked["default_data_dir"]
    if (asked["data_dir"] or asked["default_data_dir"]) != now:
        as_it_is = '""' if now == asked["default_data_dir"] else now
        problems.append(
            f"{was} with its data in {now}, and mysql_data_dir is {asked['data_dir']!r}; set mysql_data_dir: {as_it_is}."
        )
    there = [database for database in asked["databases"] if database["name"] in before(state, "database")]
    problems += [
        f"mysql_databases asks to {change['what']}, which was on {on} before this role; take that out, {instead}."
        for change in database_statements({"databases": there}, state)
    ]
    names = before(state, "account")
    for account in mysql_accounts(asked, state["flavor"]):
        key = f"{account['name']}@{account['host']}"
        changes = account_statements(account, state, secrets, state["flavor"]) if key in names else []
        if changes:
            what = ", ".join(change["what"] for change in changes)
            problems.append(
                f"mysql_users asks to {what}, an account that was on {on} before this role; choose another name, {instead}."
            )
    return problems


def mysql_kept(asked: dict[str, Any], state: dict[str, str], flavor: str, on: str) -> str:
    """What a server that was here before this role has, and what would become of it."""
    undone = [one["what"] for one in hardening_statements(state, flavor)]
    would = f" Not done because of that: {', '.join(undone)}." if undone else ""
    return (
        f"The {flavor} of {on} was here before this role. Its listener, port, memory, logins of root, accounts and databases stay as they"
        f" are; mysql_take_over: true would make it like a new one.{would}"
    )


def policy_problems(asked: dict[str, Any], state: dict[str, str], secrets: dict[str, str]) -> list[str]:
    """Passwords that the server's own policy would refuse."""
    policy = dict(row for row in rows(state, "policy") if len(row) == 2)
    prefix = "simple_password_check_" if any(key.startswith("simple") for key in policy) else "validate_password"
    wants = {
        "characters": (("minimal_length", ".length", "_length"), r"(?s)."),
        "digits": (("digits", ".number_count", "_number_count"), r"[0-9]"),
        "letters of each case": (("letters_same_case", ".mixed_case_count", "_mixed_case_count"), r"[a-z]"),
        "other characters": (("other_characters", ".special_char_count", "_special_char_count"), r"[^A-Za-z0-9]"),
    }
    problems = []
    for who, password in secrets.items():
        for what, (keys, pattern) in wants.items():
            least = max((int(policy.get(prefix + key, "0")) for key in keys), default=0)
            found = len(re.findall(pattern, password))
            if pattern == r"[a-z]":
                found = min(found, len(re.findall(r"[A-Z]", password)))
            if found < least:
                problems.append(
                    f"The password of {who} has {found} {what}, and the server's policy wants {least}; give another one."
                )
    return problems


def backup_problems(asked: dict[str, Any], state: dict[str, str], on: str) -> list[str]:
    """A directory for dumps that is somebody's; the role would shut everybody but root out of it."""
    owners = {line.rsplit(" ", 2)[0]: line.rsplit(" ", 2)[2] for line in state["directories"].splitlines()}
    owner = owners.get(asked["backup_dir"], "root")
    if owner == "root" or "/sbin/notebook-mysql-dump" in state["files"]:
        return []
    return [f"{asked['backup_dir']} on {on} belongs to {owner}; give another mysql_backup_dir."]


def mysql_host_problems(asked: dict[str, Any], state: dict[str, str], secrets: dict[str, str], on: str) -> list[str]:
    """Sentences about a host that must not be changed as asked; none when all is well."""
    if state["upgrade"] and not asked["upgrading"]:
        return [f"An upgrade of {on} was cut off; run playbooks/upgrade_mysql.yml again, which goes on from there."]
    if state["stranger"] and "/sbin/notebook-mysql-dump" not in state["files"]:
        return [
            f"{on} has {state['stranger']} from packages that this role does not know, and another server would take its place;"
            " take mysql out of server_components for this host, or move its data to another one first."
        ]
    if asked["upgrading"] and asked["found"]:
        return [
            f"The {state['flavor']} of {on} was here before the role mysql, which does not upgrade it; whoever made it does,"
            " or apply the role with mysql_take_over: true first."
        ]
    problems = [] if asked["upgrading"] else version_problems(asked, state, on) + place_problems(asked, state, on)
    if asked["found"]:
        problems += found_problems(asked, state, secrets, on)
    problems += backup_problems(asked, state, on)
    if state["calendar"]:
        problems.append(
            f"mysql_backup_time is {asked['backup_time']!r}, which systemd does not understand; give one such as 03:15."
        )
    if state["port"] and (asked["remote_access"] or asked["loopback"]):
        problems.append(
            f"Port {asked['port']} of {on} is taken by {', '.join(state['port'].splitlines())}; give another mysql_port, or stop that."
        )
    if state["active"] == "active" and not state["way"]:
        problems.append(
            f"root cannot log in to the {state['flavor']} of {on}, neither through the socket nor by /root/.my.cnf;"
            " write user and password into /root/.my.cnf ([client], mode 0600) once, and run this again."
        )
    return problems + policy_problems(asked, state, secrets)


def mysql_server_settings(
    asked: dict[str, Any], flavor: str, memory_mb: str | int, data_dir: str, config_dir: str
) -> dict[str, str]:
    """The lines of the drop-in. Sizes follow the memory in steps, so that a kernel update does not change them."""
    own = {str(key).replace("-", "_").lower(): value for key, value in asked["settings"].items()}
    if asked["found"]:
        return {key: spelled(value) for key, value in own.items()}
    budget = round(int(memory_mb or 0) / 256) * 256 * int(asked["memory_percent"]) // 100
    pool = max(32, budget * 2 // 3 // 16 * 16)
    access, loopback = asked["remote_access"], asked["loopback"]
    settings: dict[str, Any] = {"datadir": data_dir, "port": asked["port"]}
    if access:
        # The server takes a list of addresses; the one that stands for all includes the loopback.
        both = loopback and not ipaddress.ip_address(access["bind"]).is_unspecified
        addresses = [access["bind"], *(["127.0.0.1"] if both else [])]
        settings |= {
            "skip_networking": "OFF",
            "bind_address": ",".join(addresses),
            "require_secure_transport": "ON",
            "ssl_cert": f"{config_dir}/tls.crt",
            "ssl_key": f"{config_dir}/tls.key",
            "tls_version": "TLSv1.2,TLSv1.3",
            # Accounts name networks, so that nobody's name server has a say. The loopback is called localhost by name only.
            "skip_name_resolve": "OFF" if loopback else "ON",
        }
    else:
        settings |= {"skip_networking": "OFF" if loopback else "ON", "bind_address": "127.0.0.1"}
    if flavor == "mysql":
        # Its second protocol would listen on all addresses.
        settings["mysqlx"] = "OFF"
    settings |= {
        # A file of the client's is not read because a server says so.
        "local_infile": "OFF",
        "character_set_server": "utf8mb4",
        "innodb_buffer_pool_size": f"{pool}M",
        "max_connections": max(30, min(150, budget // 8)),
    }
    return {key: spelled(value) for key, value in (settings | own).items()}


def spelled(value: Any) -> str:
    """A value as the server's files have it."""
    return "ON" if value is True else "OFF" if value is False else str(value)


def plain(value: str) -> str:
    """One spelling for each value, so that two can be compared."""
    text = value.strip("'\"").rstrip("/").upper()
    size = re.fullmatch(r"([0-9]+)([KMG])", text)
    if size:
        return str(int(size[1]) << {"K": 10, "M": 20, "G": 30}[size[2]])
    return {"ON": "1", "TRUE": "1", "OFF": "0", "FALSE": "0"}.get(text, text)


def arguments(state: dict[str, str]) -> dict[str, str]:
    """What the server's files say now, all read in its order: the last one counts."""
    words = {}
    for word in state.get("arguments", "").split():
        key, _, value = word.removeprefix("--").partition("=")
        words[key.replace("-", "_")] = value
    return words


def mysql_overridden(state: dict[str, str], settings: dict[str, str]) -> list[str]:
    """Settings of the drop-in that a file which is read later gives another value."""
    now = arguments(state)
    return [
        f"{key} ({now[key]} instead of {value})" for key, value in settings.items() if key in now and now[key] != value
    ]


def mysql_new_values(state: dict[str, str], settings: dict[str, str]) -> list[str]:
    """What the files say, or else the running server does, and the drop-in is about to change."""
    now = {row[0]: row[1] for row in rows(state, "variables") if len(row) == 2} | arguments(state)
    return [
        f"{key}: {now[key]} -> {value}"
        for key, value in settings.items()
        if key in now and plain(now[key]) != plain(value)
    ]


def scrambled(who: str, password: str) -> str:
    """A slow hash of a password, to know it again. It stays on the host, where only root reads it."""
    return hashlib.scrypt(password.encode(), salt=who.encode(), n=2**14, r=8, p=1, dklen=24).hex()


def granted(text: str) -> dict[str, set[str]]:
    """Privileges by database, from the lines of SHOW GRANTS."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        match = GRANT.match(line)
        if match:
            raw = match["place"]
            database = "*" if raw == "*.*" else raw[1:-3].replace("``", "`").replace("\\", "")
            words = {word.strip() for word in match["privileges"].split(",")}
            words = {"ALL" if word == "ALL PRIVILEGES" else word for word in words} - {"USAGE"}
            if line.endswith("WITH GRANT OPTION"):
                words.add("GRANT OPTION")
            found.setdefault(database, set()).update(words)
    return {database: words for database, words in found.items() if words}


def grants_of(state: dict[str, str]) -> dict[str, dict[str, set[str]]]:
    """What each account may do now, by user@host."""
    found: dict[str, list[str]] = {}
    who = ""
    for line in state.get("grants", "").splitlines():
        if line.startswith("-- "):
            who = line.removeprefix("-- ")
        else:
            found.setdefault(who, []).append(line)
    return {who: granted("\n".join(lines)) for who, lines in found.items()}


def grant_statements(account: dict[str, Any], now: dict[str, set[str]]) -> list[str]:
    """What makes the privileges of an account exactly what is asked."""
    who = f"{literal(account['name'])}@{literal(account['host'])}"
    asked = {database: {one.upper() for one in given} for database, given in account["privileges"].items() if given}
    wanted = {
        database: ({"ALL"} | (given & {"GRANT OPTION"}) if "ALL" in given else given)
        for database, given in asked.items()
    }
    statements = []
    for database in sorted({*wanted, *now}):
        want, have = wanted.get(database, set()), now.get(database, set())
        if have - want:
            statements += [f"REVOKE ALL PRIVILEGES ON {place(database)} FROM {who};"] if have - {"GRANT OPTION"} else []
            statements += [f"REVOKE GRANT OPTION ON {place(database)} FROM {who};"] if "GRANT OPTION" in have else []
        if want and want != have:
            option = " WITH GRANT OPTION" if "GRANT OPTION" in want else ""
            words = ", ".join(sorted(want - {"GRANT OPTION"})) or "USAGE"
            statements.append(f"GRANT {words} ON {place(database)} TO {who}{option};")
    return statements


def hardening_statements(state: dict[str, str], flavor: str) -> list[dict[str, str]]:
    """What mysql_secure_installation does, where it is not done."""
    found = []
    for user, host, _plugin, empty in (row for row in rows(state, "accounts") if len(row) == 4):
        who = f"{literal(user)}@{literal(host)}"
        if not user or (
            user == "root" and (host not in ("localhost", "127.0.0.1", "::1") or (host != "localhost" and empty))
        ):
            words = f"drop {user or 'the anonymous account'}@{host}"
            found.append({"what": words, "sql": f"DROP USER {who};"})
    tests = {row[0]: row[3] for row in rows(state, "databases") if len(row) == 4 and row[0] == "test"}
    if tests.get("test") == "0":
        found.append({"what": "drop the empty database test", "sql": "DROP DATABASE test;"})
    if state["open_grants"]:
        found.append(
            {
                "what": "take the database test from everybody",
                "sql": "DELETE FROM mysql.db WHERE user IN ('', 'PUBLIC') AND db LIKE 'test%'; FLUSH PRIVILEGES;",
            }
        )
    if "--user=root" not in state["way"].splitlines() or state["root_open"]:
        says = f"{plugin_sql('socket', state, flavor)}ALTER USER 'root'@'localhost' "
        says += identified(PLUGINS[flavor]["socket"], "", flavor) + ";"
        found.append({"what": "let root in through the socket only", "sql": says})
    return found


def plugin_sql(plugin: str, state: dict[str, str], flavor: str) -> str:
    """What loads a plugin that the server has not loaded, or nothing."""
    plugin = PLUGINS[flavor].get(plugin, plugin)
    if plugin not in LIBRARIES or plugin in state["plugins"].split():
        return ""
    once = "IF NOT EXISTS " if flavor == "mariadb" else ""
    return f"INSTALL PLUGIN {once}{plugin} SONAME {literal(LIBRARIES[plugin])}; "


def identified(plugin: str, password: str, flavor: str) -> str:
    """How an account logs in, as each server says it."""
    if flavor == "mariadb":
        return f"IDENTIFIED VIA {plugin}" + (
            f" USING PASSWORD({literal(password)})" if plugin not in SOCKET_PLUGINS else ""
        )
    return f"IDENTIFIED WITH {plugin}" + (f" BY {literal(password)}" if plugin not in SOCKET_PLUGINS else "")


def fingerprint_sql(account: dict[str, Any]) -> str:
    """A condition for one account."""
    return f"user = {literal(account['name'])} AND host = {literal(account['host'])}"


def database_statements(asked: dict[str, Any], state: dict[str, str]) -> list[dict[str, str]]:
    """Databases that are missing or sort otherwise."""
    present = {row[0]: row for row in rows(state, "databases") if len(row) == 4}
    found = []
    for database in asked["databases"]:
        called, (_, charset, collation, _) = database["name"], present.get(database["name"], ["", "", "", ""])
        words = [f"CHARACTER SET {database['character_set']}"] if database.get("character_set") else []
        words += [f"COLLATE {database['collation']}"] if database.get("collation") else []
        if called not in present:
            found.append(
                {
                    "what": f"make the database {called}",
                    "sql": " ".join(["CREATE DATABASE", name(called), *words]) + ";",
                }
            )
        elif (database.get("character_set") or charset, database.get("collation") or collation) != (charset, collation):
            found.append(
                {"what": f"change how {called} sorts", "sql": " ".join(["ALTER DATABASE", name(called), *words]) + ";"}
            )
    return found


def account_statements(
    account: dict[str, Any], state: dict[str, str], secrets: dict[str, str], flavor: str
) -> list[dict[str, str]]:
    """What makes one account as asked."""
    key = f"{account['name']}@{account['host']}"
    who = f"{literal(account['name'])}@{literal(account['host'])}"
    prints = dict(row for row in rows(state, "fingerprints") if len(row) == 2)
    records = {row[0]: row[1:] for row in rows(state, "record") if len(row) == 3}
    if account["state"] == "absent":
        return [{"what": f"drop {key}", "sql": f"DROP USER {who};"}] if key in prints else []
    secret = secrets.get(account["name"], "") if account["secret"] else ""
    tls = " REQUIRE SSL" if account["tls"] else " REQUIRE NONE"
    says = identified(account["plugin"], secret, flavor)
    load = plugin_sql(account["plugin"], state, flavor)
    plugins = {f"{row[0]}@{row[1]}": row[2] for row in rows(state, "accounts") if len(row) == 4}
    found = []
    if key not in prints:
        found.append({"what": f"make {key}", "sql": f"{load}CREATE USER {who} {says}{tls};"})
    else:
        recorded = records.get(key) == [prints[key], scrambled(key, secret)]
        if not recorded if account["secret"] else plugins.get(key) != account["plugin"]:
            found.append({"what": f"change how {key} logs in", "sql": f"{load}ALTER USER {who} {says}{tls};"})
    grants = grant_statements(account, grants_of(state).get(key, {}))
    return found + ([{"what": f"change what {key} may do", "sql": " ".join(grants)}] if grants else [])


def mysql_statements(
    asked: dict[str, Any], state: dict[str, str], secrets: dict[str, str], flavor: str
) -> list[dict[str, str]]:
    """What the server lacks, each as words for people and one line of SQL."""
    statements = ([] if asked["found"] else hardening_statements(state, flavor)) + database_statements(asked, state)
    accounts = mysql_accounts(asked, flavor)
    for account in accounts:
        statements += account_statements(account, state, secrets, flavor)
    # A network that left the list takes its accounts along.
    wanted = {(account["name"], account["host"]) for account in accounts}
    remote = {user["name"] for user in asked["users"] if user.get("host") == "remote"}
    for user, host, *_ in rows(state, "accounts"):
        if user in remote and host != "localhost" and (user, host) not in wanted:
            statements.append({"what": f"drop {user}@{host}", "sql": f"DROP USER {literal(user)}@{literal(host)};"})
    return statements


def mysql_script(statements: list[dict[str, str]], asked: dict[str, Any], secrets: dict[str, str], flavor: str) -> str:
    """The statements as the client reads them, one a line; what it prints is the record of all passwords that are set."""
    lines = ["SET SESSION sql_mode = '';", *(statement["sql"] for statement in statements)]
    for account in mysql_accounts(asked, flavor):
        if account["secret"] and account["state"] == "present":
            key = f"{account['name']}@{account['host']}"
            secret = literal(scrambled(key, secrets[account["name"]]))
            where = fingerprint_sql(account)
            lines.append(f"SELECT {literal(key)}, {FINGERPRINT_SQL}, {secret} FROM mysql.user WHERE {where};")  # noqa: S608
    return "\n".join(lines) + "\n"


# What an account logs in with, so that a change by somebody else is seen. The same words are in templates/look.sql.j2.
FINGERPRINT_SQL = "SHA2(CONCAT_WS('|', plugin, HEX(authentication_string), ssl_type), 256)"


def mysql_refusal(said: str, statements: list[dict[str, str]]) -> str:
    """What the server said about which statement. Its answer to what it cannot parse is left out, as it repeats it."""
    match = ERROR.search(said)
    if not match:
        return said.splitlines()[-1] if said else "it said nothing"
    code, line = match[1], int(match[2])
    what = statements[line - 2]["what"] if 2 <= line < len(statements) + 2 else "keep the record"
    return f"{what}: " + ("it could not read the statement" if code == "1064" else f"{match[3]} (error {code})")


class FilterModule:
    """Filters of the role mysql."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            f.__name__: f
            for f in (
                mysql_problems,
                mysql_state,
                mysql_found,
                mysql_note,
                mysql_kept,
                mysql_secrets,
                mysql_secrets_to_keep,
                mysql_rotated,
                mysql_logins,
                mysql_with_content,
                mysql_differing,
                mysql_accounts,
                mysql_host_problems,
                mysql_upgrade_problems,
                mysql_server_settings,
                mysql_overridden,
                mysql_new_values,
                mysql_statements,
                mysql_script,
                mysql_refusal,
            )
        }

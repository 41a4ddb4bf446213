"""What the role docker decides on the controller: are settings sound, what differs on the host, how a container is made."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import json
import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

# One file in a container that says what the role made it from.
LABEL = "notebook-server.settings"
SECRETS_DIR = "/etc/docker-containers"
FORMER = "-former"

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,40}[a-z0-9])?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOGIN_NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
USER = re.compile(r"\d+:\d+")
SIZE = re.compile(r"\d+(?:\.\d+)?[bkmg]?", re.IGNORECASE)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
FINGERPRINT = re.compile(r"[0-9A-F]{40}")
REGISTRY = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?", re.IGNORECASE)
# registry/path:tag@digest, as Docker reads it.
IMAGE = re.compile(
    r"(?P<name>[a-z0-9\[](?:[A-Za-z0-9._:\[\]-]*[A-Za-z0-9\]]/)?[a-z0-9._/-]*?[a-z0-9])"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
SECTION = re.compile(r"^== (\S+)$", re.MULTILINE)
CAPABILITY = re.compile(r"[A-Z][A-Z_]+")
LOG_SIZE = re.compile(r"[1-9]\d*[kmg]")
PUBLIC_KEY = 6

# Whoever has one of these has the host.
FORBIDDEN_SOURCES = (
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/var/lib/docker",
    SECRETS_DIR,
)

CONTAINER: dict[str, Any] = {
    "name": "",
    "image": "",
    "state": "present",
    "command": [],
    "entrypoint": [],
    "user": "",
    "groups": [],
    "ports": [],
    "volumes": [],
    "tmpfs": [],
    "environment": {},
    "secrets": {},
    "memory": "",
    "pids": 0,
    "cpus": "",
    "capabilities": [],
    "read_only": False,
    "healthcheck": {},
    "stop_timeout_s": 10,
    "labels": {},
    "restart_on": "",
    "network": "",
    "wait_s": 120,
}
HEALTHCHECK: dict[str, Any] = {"command": [], "interval_s": 30, "timeout_s": 10, "retries": 3, "start_s": 0}


def docker_state(text: str) -> dict[str, str]:
    """What the look found on the host: each "== name" begins a part."""
    parts = SECTION.split(text)
    return {name: value.strip() for name, value in zip(parts[1::2], parts[2::2], strict=True)}


def whole(container: dict[str, Any]) -> dict[str, Any]:
    """A container with every key there is, and ports and volumes too."""
    full = {**CONTAINER, **{key: value for key, value in container.items() if value is not None}}
    full["ports"] = [{"address": "127.0.0.1", "protocol": "tcp", **port} for port in full["ports"]]
    full["volumes"] = [{"read_only": False, **volume} for volume in full["volumes"]]
    if full["healthcheck"]:
        full["healthcheck"] = {**HEALTHCHECK, **full["healthcheck"]}
    return full


def is_address(text: str) -> bool:
    """Whether a text spells an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def inside(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it."""
    return PurePosixPath(path).is_relative_to(folder)


def docker_image(reference: str) -> dict[str, Any]:
    """A reference in its parts: registry, what to hand to docker, whether it names a digest, whether it was made here."""
    match = IMAGE.fullmatch(reference)
    if not match:
        return {}
    name, tag, digest = match["name"], match["tag"], match["digest"]
    first, slash, _ = name.partition("/")
    registry = first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"
    return {
        "registry": registry,
        # Docker ignores a tag beside a digest, but does not find the image by both.
        "reference": f"{name}@{digest}" if digest else f"{name}:{tag or 'latest'}",
        "digest": digest or "",
        "local": registry == "localhost",
    }


# The engine


def is_network(text: str) -> bool:
    """Whether a text spells an IPv4 network."""
    try:
        return "/" in text and bool(ipaddress.IPv4Network(text))
    except ValueError:
        return False


def address_problems(bridge: str, pool: str) -> list[str]:
    """Networks of the engine that are none, too small, or in each other's way."""
    problems = []
    try:
        own = ipaddress.IPv4Interface(bridge)
    except ValueError:
        own = None
    if own is None or "/" not in bridge or own.network.prefixlen > 28 or own.ip == own.network.network_address:
        problems.append(
            f"docker_bridge_address is {bridge!r}; give an address of the bridge and the length of its network, 28 or less,"
            " such as 172.29.0.1/24."
        )
        own = None
    if not is_network(pool) or ipaddress.IPv4Network(pool).prefixlen > 24:
        problems.append(
            f"docker_address_pool is {pool!r}; give a network of length 24 or less, such as 172.29.128.0/17."
        )
    elif own and own.network.overlaps(ipaddress.IPv4Network(pool)):
        problems.append(f"docker_address_pool {pool} holds the bridge {bridge}; give networks that do not overlap.")
    return problems


def daemon_option_problems(options: dict[str, Any]) -> list[str]:
    """Options of the daemon that hand the host to the network."""
    hosts = options.get("hosts", [])
    if any(str(host).startswith("tcp") for host in hosts) and not options.get("tlsverify"):
        return [
            "docker_daemon_options has a host with tcp:// but not tlsverify; whoever reaches that port would be root on the"
            " host. Take it out (ssh can forward the engine's socket), or set tlsverify with certificates."
        ]
    return []


def registry_problems(registries: list[dict[str, Any]]) -> list[str]:
    """Registries that cannot be, CAs that are none, halves of a login."""
    problems = []
    for registry in registries:
        host = str(registry.get("host", ""))
        if not REGISTRY.fullmatch(host):
            problems.append(
                f"docker_registries has the host {host!r}; give a name or an address as it stands in the names of images, with"
                " :port when it is not 443, and without https://."
            )
            continue
        file = registry.get("ca_file") or ""
        text = Path(file).read_text(errors="replace") if file and Path(file).is_file() else ""
        if file and "-----BEGIN CERTIFICATE-----" not in text:
            problems.append(f"Registry {host}: {file} is not there or holds no certificate in PEM; correct ca_file.")
        if bool(registry.get("username")) != bool(registry.get("password")):
            problems.append(f"Registry {host}: there is only one of username and password; give both or neither.")
        if ":" in str(registry.get("username") or ""):
            problems.append(f"Registry {host}: a username cannot hold a colon; correct it.")
    hosts = [str(registry.get("host", "")) for registry in registries]
    problems += [
        f"docker_registries names {host} twice; name it once." for host in sorted(set(hosts)) if hosts.count(host) > 1
    ]
    return problems


def docker_problems(settings: dict[str, Any]) -> list[str]:
    """Sentences about settings of the engine that cannot work."""
    problems = []
    if settings["source"] == "vendor" and not FINGERPRINT.fullmatch(settings["repository_key_fingerprint"]):
        problems.append(
            f"docker_repository_key_fingerprint is {settings['repository_key_fingerprint']!r}; give 40 hexadecimal digits in"
            " capitals, without blanks."
        )
    problems += [
        f"docker_users has {user!r}, which is no name of an account; correct it."
        for user in settings["users"]
        if not LOGIN_NAME.fullmatch(user)
    ]
    problems += address_problems(settings["bridge_address"], settings["address_pool"])
    if not LOG_SIZE.fullmatch(settings["log_max_size"]):
        problems.append(
            f"docker_log_max_size is {settings['log_max_size']!r}; give a number with k, m or g, such as 10m."
        )
    if not 1 <= settings["log_max_files"] <= 100:
        problems.append(f"docker_log_max_files is {settings['log_max_files']}; give 1 to 100.")
    return problems + daemon_option_problems(settings["daemon_options"]) + registry_problems(settings["registries"])


def unpacked(state: dict[str, str], section: str) -> str:
    """A file that the look brought."""
    return base64.b64decode(state.get(section, "")).decode(errors="replace")


def parsed(text: str) -> tuple[dict[str, Any], str]:
    """A text as a JSON object, and why it is none."""
    try:
        value = json.loads(text or "{}")
    except ValueError as error:
        return {}, str(error)
    return (value, "") if isinstance(value, dict) else ({}, "it holds no object")


def pretty(value: dict[str, Any]) -> str:
    """JSON as people read it, the same for the same settings."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def daemon_changes(host: str, former: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What becomes of the settings in a daemon.json that somebody else wrote."""
    going = [key for key in sorted(former) if key not in wanted]
    changing = [
        f"{key} ({json.dumps(former[key])} to {json.dumps(wanted[key])})"
        for key in sorted(former)
        if key in wanted and former[key] != wanted[key]
    ]
    parts = [f"{what}: {', '.join(keys)}." for what, keys in (("Going", going), ("Changing", changing)) if keys]
    return " ".join(
        [
            f"/etc/docker/daemon.json of {host} was written by somebody else.",
            *(parts or ["Nothing in it changes or goes."]),
            "A dated copy stays beside it; what shall stay belongs into docker_daemon_options.",
        ]
    )


def login_file(text: str, registries: list[dict[str, Any]]) -> tuple[str, bool]:
    """The client's file with the logins to registries, and whether it differs. All else in it stays."""
    former, _ = parsed(text)
    logins = {
        registry["host"]: base64.b64encode(f"{registry['username']}:{registry['password']}".encode()).decode()
        for registry in registries
        if registry.get("username")
    }
    auths = former.get("auths") or {}
    differs = any((auths.get(host) or {}).get("auth") != login for host, login in logins.items())
    wanted = {**former, "auths": {**auths, **{host: {"auth": login} for host, login in logins.items()}}}
    return pretty(wanted), differs


def docker_fingerprints(text: str) -> list[str]:
    """The fingerprints of the primary keys in an OpenPGP key file, armoured or not (RFC 4880, version 4)."""
    body = re.search(r"-----BEGIN PGP PUBLIC KEY BLOCK-----(.*?)-----END", text, re.DOTALL)
    if not body:
        return []
    armour = re.split(r"\r?\n\s*\r?\n", body[1], maxsplit=1)[-1]
    try:
        data = base64.b64decode("".join(line for line in armour.split() if not line.startswith("=")), validate=True)
        return [
            hashlib.sha1(b"\x99" + len(key).to_bytes(2, "big") + key).hexdigest().upper()  # noqa: S324 - a name, by the RFC
            for tag, key in packets(data)
            if tag == PUBLIC_KEY and key[:1] == b"\x04"
        ]
    except (binascii.Error, IndexError):
        return []


def packets(data: bytes) -> Iterable[tuple[int, bytes]]:
    """The packets of an OpenPGP message, by tag."""
    at = 0
    while at < len(data):
        head, at = data[at], at + 1
        if head & 0x40:  # a length in one, two or five octets
            tag, first = head & 0x3F, data[at]
            if first < 192:
                length, at = first, at + 1
            elif first < 224:
                length, at = ((first - 192) << 8) + data[at + 1] + 192, at + 2
            else:
                length, at = int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
        else:
            tag, octets = (head >> 2) & 0x0F, 1 << (head & 3)
            length, at = int.from_bytes(data[at : at + octets], "big"), at + octets
        yield tag, data[at : at + length]
        at += length


def without_repository(text: str, address: str, deb822: bool) -> str:
    """A list of package sources without those of an address. Comments stay."""
    if deb822:
        return "\n\n".join(stanza for stanza in re.split(r"\n\s*\n", text) if address not in stanza)
    return "\n".join(line for line in text.splitlines() if address not in line or line.lstrip().startswith("#"))


def other_sources(state: dict[str, str], url: str) -> list[dict[str, str]]:
    """Files beside ours that name the vendor's repository too, and what is to become of them; empty: they go."""
    address = re.sub(r"^\w+://", "", url).rstrip("/")
    found = []
    for path, packed in lines(state, "sources_files"):
        text = base64.b64decode(packed).decode(errors="replace")
        kept = without_repository(text, address, path.endswith(".sources"))
        if kept.strip() != text.strip():
            named = any(line.strip() and not line.lstrip().startswith("#") for line in kept.splitlines())
            # sources.list itself may be empty, but not missing.
            found.append(
                {"path": path, "content": kept.rstrip() + "\n" if named or path.endswith("/sources.list") else ""}
            )
    return found


def engine_problems(state: dict[str, str], wanted: dict[str, Any], trouble: str) -> list[str]:
    """Why the engine cannot be made so on this host."""
    host, problems = wanted["host"], []
    if not state["sysctl"]:
        problems.append(
            f"{host} is itself a container that cannot set its network up (/proc/sys is read-only), so containers cannot start"
            " in it; make that writable (mount -o remount,bind,rw /proc/sys), or use a machine of its own."
        )
    if trouble:
        problems.append(
            f"/etc/docker/daemon.json of {host} is not JSON ({trouble}), so what it is to say cannot be kept; correct it"
            " or move it away."
        )
    _, login_trouble = parsed(unpacked(state, "login"))
    if login_trouble and any(registry.get("username") for registry in wanted["registries"]):
        problems.append(
            f"/root/.docker/config.json of {host} is not JSON ({login_trouble}); correct it or move it away."
        )
    if wanted["source"] == "distribution" and "docker-ce" in state["packages"].split():
        problems.append(
            f"{host} has the vendor's engine (docker-ce), and the distribution's would be a downgrade; set docker_source to"
            " vendor, or remove the packages docker-ce, docker-ce-cli and containerd.io first."
        )
    problems += [
        f"docker_users has {user}, but {host} has no such account; make it first, or take it out of the list."
        for user in state["strangers"].split()
    ]
    for name in ("bridge_address", "address_pool"):
        network = ipaddress.IPv4Interface(wanted[name]).network
        problems += [
            f"docker_{name} {wanted[name]} overlaps with {route}, which {host} reaches by {way[0] if way else 'another way'};"
            " the host would lose it. Give a network that is free."
            for route, *way in lines(state, "routes")
            if network.overlaps(ipaddress.IPv4Network(route, strict=False))
        ]
    return problems


def docker_engine(state: dict[str, str], wanted: dict[str, Any]) -> dict[str, Any]:
    """What is to be done for the engine on the host that was looked at."""
    text = unpacked(state, "daemon")
    former, trouble = parsed(text)
    daemon = pretty(wanted["settings"])
    noted = unpacked(state, "daemon_note").split()[:1] == [hashlib.sha256(text.encode()).hexdigest()]
    installed = state["packages"].split()
    login, login_differs = login_file(unpacked(state, "login"), wanted["registries"])
    cas = {words[1].split("/")[-2]: words[0] for words in lines(state, "cas")}
    members = [user for user in state["members"].split(",") if user]
    joining = [user for user in wanted["users"] if user not in members]
    leaving = [user for user in members if user not in wanted["users"]]
    key_trusted = docker_fingerprints(unpacked(state, "key")) == [wanted["fingerprint"]]
    others = other_sources(state, wanted["repository_url"])
    logs_in = any(registry.get("username") for registry in wanted["registries"])
    running = state["engine"] == "active" and state["enabled"] == "enabled"
    plan = {
        "missing_packages": [package for package in wanted["packages"] if package not in installed],
        "missing_directories": [path for path in wanted["directories"] if path not in state["directories"].split()],
        # Noted too: a run may have been cut off between the two.
        "daemon_differs": text != daemon or not noted,
        "other_cas": [
            registry
            for registry in wanted["registries"]
            if registry.get("ca_file")
            and cas.get(registry["host"]) != hashlib.sha256(Path(registry["ca_file"]).read_bytes()).hexdigest()
        ],
        "login_differs": login_differs or (logs_in and state["login_mode"] != "600 0 0"),
        "users_change": " ".join(
            [f"{user} becomes a member of the group docker, and so root." for user in joining]
            + [f"{user} leaves the group docker." for user in leaving]
        ),
        "restart": running and (bool(state["stale"]) or text != daemon),
        "repository_differs": wanted["source"] == "vendor"
        and (not key_trusted or bool(others) or unpacked(state, "repository") != wanted["sources"]),
    }
    return plan | {
        "differs": any(plan.values()) or not running,
        "problems": engine_problems(state, wanted, trouble),
        "installed": bool(set(installed) & {"docker.io", "docker-ce", "docker"}),
        # An engine of another package may not run, either.
        "start": not running or bool(plan["missing_packages"]),
        "daemon_wanted": daemon,
        "daemon_former": text,
        "note_former": unpacked(state, "daemon_note"),
        "daemon_other": text != daemon,
        "daemon_foreign": bool(text.strip()) and text != daemon and not noted,
        "daemon_changes": daemon_changes(wanted["host"], former, wanted["settings"]),
        "validates": bool(state["validates"]),
        "login_wanted": login,
        "key_trusted": key_trusted,
        "other_sources": others,
    }


# Settings of containers


def image_problems(where: str, reference: str, require_digest: bool) -> list[str]:
    """A reference that names no image, or none that stays the same."""
    image = docker_image(reference)
    if not image:
        return [
            f"{where}: image {reference!r} is no reference of an image; give registry/name:tag or registry/name@sha256:..."
        ]
    if require_digest and not image["digest"] and not image["local"]:
        return [
            f"{where}: image {reference} names no digest, and docker_require_digest is true; append @sha256:... as the"
            " registry shows it, or set docker_require_digest to false."
        ]
    return []


def port_problems(where: str, ports: list[dict[str, Any]]) -> list[str]:
    """Ports that are none, and addresses that are none."""
    problems = []
    for port in ports:
        for side in ("container", "host"):
            number = str(port.get(side, ""))
            if not (number.isdigit() and 1 <= int(number) <= 65535):
                problems.append(f"{where}: a port has {side} {number or 'missing'}; give a number from 1 to 65535.")
        if not is_address(port["address"]):
            problems.append(
                f"{where}: a port has the address {port['address']!r}; give an IP address of the host"
                " (127.0.0.1 for the host alone, 0.0.0.0 for everybody)."
            )
        if port["protocol"] not in ("tcp", "udp"):
            problems.append(f"{where}: a port has the protocol {port['protocol']!r}; give tcp or udp.")
    return problems


def volume_problems(where: str, volumes: list[dict[str, Any]]) -> list[str]:
    """Volumes that cannot be, or that would hand over the host."""
    problems = []
    for volume in volumes:
        source, target = str(volume.get("source", "")), str(volume.get("target", ""))
        bad = [path for path in (source, target) if not path or re.search(r"[,:\"\s]|(^|/)\.\.(/|$)", path)]
        if bad or not target.startswith("/") or ("/" in source and not source.startswith("/")):
            problems.append(
                f"{where}: the volume {source or '?'} on {target or '?'} cannot be mounted; give a full path or the name of a"
                " volume as source and a full path as target, without comma, colon, space and '..'."
            )
            continue
        problems += source_problems(where, source)
    return problems


def source_problems(where: str, source: str) -> list[str]:
    """A folder that no container may have."""
    if not source.startswith("/"):
        return []
    if any(inside(source, path) or inside(path, source) for path in FORBIDDEN_SOURCES):
        return [
            f"{where}: the volume {source} is, holds or belongs to the container engine; whoever has that is root on the"
            " host, so it is never mounted. Take it out of the list."
        ]
    return []


def shape_problems(where: str, container: dict[str, Any]) -> list[str]:
    """Users, names of variables, sizes, capabilities."""
    problems = []
    if container["user"] and not USER.fullmatch(str(container["user"])):
        problems.append(f"{where}: user is {container['user']!r}; give numbers as uid:gid, such as '999:999'.")
    if container["secrets"] and not container["user"]:
        problems.append(
            f"{where}: it has secrets but no user; give user as uid:gid, who is to read them ('0:0' for root)."
        )
    problems += [
        f"{where}: {name!r} is no name of an environment variable; give letters, digits and _."
        for name in (*container["environment"], *container["secrets"])
        if not VARIABLE.fullmatch(str(name))
    ]
    problems += [
        f"{where}: the secret {name} has more than one line or is no text; give one line of text, or '' for a made one."
        for name, value in container["secrets"].items()
        if not isinstance(value, str) or "\n" in value
    ]
    problems += [
        f"{where}: environment has {name}, which secrets gives too; name it once."
        for name in container["environment"]
        if name in container["secrets"] or name in {f"{secret}_FILE" for secret in container["secrets"]}
    ]
    if container["memory"] and not SIZE.fullmatch(str(container["memory"])):
        problems.append(f"{where}: memory is {container['memory']!r}; give a number with k, m or g, such as 512m.")
    problems += [
        f"{where}: the capability {name!r} is none; give its name in capitals without CAP_, such as NET_BIND_SERVICE."
        for name in container["capabilities"]
        if not CAPABILITY.fullmatch(str(name)) or str(name).startswith("CAP_")
    ]
    if {"ALL", "SYS_ADMIN"} & set(container["capabilities"]):
        problems.append(f"{where}: the capabilities ALL and SYS_ADMIN open the host; name the few that it needs.")
    if container["network"] in ("host", "bridge") or str(container["network"]).startswith("container:"):
        problems.append(
            f"{where}: network is {container['network']}; leave it empty for the engine's own, give none, or a name of your"
            " own: containers of one name see each other."
        )
    if container["healthcheck"] and not container["healthcheck"]["command"]:
        problems.append(f"{where}: healthcheck has no command; give one, or leave healthcheck out for the image's own.")
    return problems + number_problems(where, container)


def number_problems(where: str, container: dict[str, Any]) -> list[str]:
    """Numbers out of their range."""
    ranges = {"pids": (0, 4194304), "stop_timeout_s": (1, 3600), "wait_s": (5, 3600)}
    problems = [
        f"{where}: {key} is {container[key]}; give {least} to {most}."
        for key, (least, most) in ranges.items()
        if not least <= int(container[key]) <= most
    ]
    check = container["healthcheck"]
    problems += [
        f"{where}: healthcheck has {key} {check[key]}; give {least} to 3600."
        for key, least in {"interval_s": 1, "timeout_s": 1, "retries": 1, "start_s": 0}.items()
        if check and not least <= int(check[key]) <= 3600
    ]
    return problems


def docker_container_problems(container: dict[str, Any], require_digest: bool = False) -> list[str]:
    """Sentences about a container that cannot be; none when all is well."""
    name = str(container.get("name", ""))
    if not NAME.fullmatch(name) or name.endswith(FORMER):
        return [
            f"A container is called {name!r}; give small letters, digits and hyphens, at most 42, and not {FORMER} at the end."
        ]
    where = f"Container {name}"
    unknown = sorted(set(container) - set(CONTAINER))
    if unknown:
        return [f"{where} has {', '.join(unknown)}, which means nothing; the keys are {', '.join(CONTAINER)}."]
    full = whole(container)
    if full["state"] not in ("present", "absent"):
        return [f"{where}: state is {full['state']!r}; give present or absent."]
    if full["state"] == "absent":
        return []
    if not full["image"]:
        return [f"{where} has no image; give one."]
    return [
        *image_problems(where, full["image"], require_digest),
        *port_problems(where, full["ports"]),
        *volume_problems(where, full["volumes"]),
        *shape_problems(where, full),
    ]


def docker_containers_problems(containers: list[dict[str, Any]], require_digest: bool = False) -> list[str]:
    """Sentences about the containers of a list, each and together."""
    problems = [problem for container in containers for problem in docker_container_problems(container, require_digest)]
    if problems:
        return problems
    names = [container["name"] for container in containers]
    problems = [
        f"Two containers are called {name}; give each its own name."
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    taken: dict[tuple[int, str], list[tuple[str, str]]] = {}
    for container in map(whole, containers):
        for port in container["ports"] if container["state"] == "present" else []:
            key = (int(port["host"]), port["protocol"])
            for address, other in taken.get(key, []):
                if overlap(address, port["address"]):
                    problems.append(
                        f"The containers {other} and {container['name']} both want port {key[0]} of the host; give one of"
                        " them another."
                    )
            taken.setdefault(key, []).append((port["address"], container["name"]))
    return problems


def overlap(one: str, other: str) -> bool:
    """Whether two listeners on these addresses are in each other's way."""
    anywhere = {"0.0.0.0", "::", "*"}  # noqa: S104 - compared, not bound
    return one == other or one in anywhere or other in anywhere


# The host


def listed(state: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The containers that the look found, by name."""
    found = json.loads(state.get("containers") or "[]")
    return {container["Name"].removeprefix("/"): container for container in found}


def lines(state: dict[str, str], section: str) -> list[list[str]]:
    """A part of the look as lines of words."""
    return [line.split() for line in state.get(section, "").splitlines() if line.strip()]


def secret_path(name: str, secret: str) -> str:
    """Where a secret of a container lies on the host."""
    return f"{SECRETS_DIR}/{name}/{secret}"


def docker_secrets(container: dict[str, Any], credentials_dir: str) -> list[dict[str, Any]]:
    """The secrets of a container, with what is given or kept on the controller; an empty value is yet to be made."""
    full = whole(container)
    if full["state"] != "present":
        return []
    uid, _, gid = str(full["user"]).partition(":")
    secrets = []
    for name, given in full["secrets"].items():
        file = Path(credentials_dir, f"container_{full['name']}_{name}")
        kept = file.read_text() if file.is_file() else ""
        secrets.append(
            {
                "name": name,
                "file": str(file),
                "kept": kept,
                "value": given or kept,
                "path": secret_path(full["name"], name),
                "uid": uid,
                "gid": gid,
                "write": not (given or kept) or (given or kept) != kept,
            }
        )
    return secrets


def docker_looked(containers: list[dict[str, Any]]) -> dict[str, Any]:
    """What the host is to be asked about these containers."""
    full = [whole(container) for container in containers]
    present = [container for container in full if container["state"] == "present"]
    return {
        "names": [container["name"] for container in full],
        "images": sorted({docker_image(container["image"])["reference"] for container in present}),
        "sources": sorted(
            {volume["source"] for container in present for volume in container["volumes"] if volume["source"][0] == "/"}
        ),
        "ports": any(container["ports"] for container in present),
    }


def wrong_secrets(state: dict[str, str], secrets: list[dict[str, Any]]) -> list[str]:
    """The secrets whose file on the host is not as it should be."""
    there = {words[4]: words[:4] for words in lines(state, "secrets")}
    return [
        secret["name"]
        for secret in secrets
        if there.get(secret["path"])
        != ["400", secret["uid"], secret["gid"], hashlib.sha256(secret["value"].encode()).hexdigest()]
    ]


def create_arguments(container: dict[str, Any]) -> list[str]:
    """The arguments of `docker create`, without what names its settings. No secret is among them."""
    name = container["name"]
    made = [f"--name={name}", "--pull=never", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--restart=no"]
    made += [f"--cap-add={capability}" for capability in container["capabilities"]]
    if container["user"]:
        made.append(f"--user={container['user']}")
    made += [f"--group-add={group}" for group in container["groups"]]
    for port in container["ports"]:
        address = f"[{port['address']}]" if ":" in port["address"] else port["address"]
        made.append(f"--publish={address}:{port['host']}:{port['container']}/{port['protocol']}")
    for volume in container["volumes"]:
        kind = "bind" if volume["source"].startswith("/") else "volume"
        only = ",readonly" if volume["read_only"] else ""
        made.append(f"--mount=type={kind},source={volume['source']},target={volume['target']}{only}")
    made += [f"--tmpfs={path}" for path in container["tmpfs"]]
    made += [f"--env={key}={value}" for key, value in container["environment"].items()]
    for secret in container["secrets"]:
        made.append(f"--mount=type=bind,source={secret_path(name, secret)},target=/run/secrets/{secret},readonly")
        made.append(f"--env={secret}_FILE=/run/secrets/{secret}")
    limits = {"memory": "memory", "pids": "pids-limit", "cpus": "cpus", "network": "network"}
    made += [f"--{option}={container[key]}" for key, option in limits.items() if container[key]]
    if container["read_only"]:
        made.append("--read-only")
    made += health_arguments(container["healthcheck"])
    made.append(f"--stop-timeout={container['stop_timeout_s']}")
    made += [f"--label={key}={value}" for key, value in container["labels"].items()]
    if container["entrypoint"]:
        made.append(f"--entrypoint={container['entrypoint'][0]}")
    rest = [*container["entrypoint"][1:], *container["command"]]
    return [*made, docker_image(container["image"])["reference"], *map(str, rest)]


def health_arguments(check: dict[str, Any]) -> list[str]:
    """The arguments of `docker create` that say how to ask whether a container is well."""
    if not check:
        return []
    return [
        f"--health-cmd={shlex.join(map(str, check['command']))}",
        f"--health-interval={check['interval_s']}s",
        f"--health-timeout={check['timeout_s']}s",
        f"--health-retries={check['retries']}",
        f"--health-start-period={check['start_s']}s",
    ]


def host_problems(container: dict[str, Any], state: dict[str, str], passing: Iterable[str] = ()) -> list[str]:
    """Why this host cannot run the container. What the passing ones have is not in its way."""
    name, there = (
        container["name"],
        {n: c for n, c in listed(state).items() if n not in passing or n == container["name"]},
    )
    where = f"Container {name}"
    problems = []
    if name in there and LABEL not in (there[name]["Config"]["Labels"] or {}):
        problems.append(
            f"{where}: there is one of that name on this host that somebody else made; rename or remove it"
            f" (docker rename {name} {name}-old), or give this one another name."
        )
    image = docker_image(container["image"])
    if image["local"] and state.get("engine") == "active" and not image_id(state, image):
        problems.append(
            f"{where}: the image {container['image']} is not on this host, and no registry has it; make it first."
        )
    real = {words[0]: words[-1] for words in lines(state, "sources")}
    homes = [(words[0], words[1]) for words in lines(state, "homes")]
    for volume in container["volumes"]:
        source = real.get(volume["source"])
        if not source:
            continue
        wrong = source_problems(where, source)
        wrong += [
            f"{where}: the volume {volume['source']} is or holds the home of {user}, who logs in on this host: a container"
            " could leave a key or a command there. Give it a folder of its own, such as /srv."
            for user, home in homes
            if inside(source, home) or inside(home, source)
        ]
        problems += wrong[:1]
    for port in container["ports"]:
        problems += taken_problems(where, name, port, state, there)
    return problems


def taken_problems(
    where: str, name: str, port: dict[str, Any], state: dict[str, str], there: dict[str, Any]
) -> list[str]:
    """Who has the port, if somebody else has."""
    number = str(port["host"])
    for other, found in there.items():
        if other in (name, name + FORMER) or not found["State"]["Running"]:
            continue
        for key, bindings in (found["NetworkSettings"]["Ports"] or {}).items():
            for binding in bindings or []:
                same = binding["HostPort"] == number and key.endswith("/" + port["protocol"])
                if same and overlap(binding["HostIp"] or "*", port["address"]):
                    return [
                        f"{where}: port {number} of the host is taken by the container {other}; give another host port."
                    ]
    for words in lines(state, "listeners"):
        if len(words) < 5 or words[0] != port["protocol"]:
            continue
        address, _, used = words[4].rpartition(":")
        who = re.search(r'"([^"]+)",pid=(\d+)', " ".join(words[5:]))
        program = who[1] if who else "another program"
        # The engine's own listeners are those of containers, which were looked at above.
        if used != number or program in ("dockerd", "docker-proxy"):
            continue
        if overlap(address.partition("%")[0].strip("[]"), port["address"]):
            pid = f" (process {who[2]})" if who else ""
            return [
                f"{where}: port {number} of the host is taken by {program}{pid}; stop that, or give another host port."
            ]
    return []


def image_id(state: dict[str, str], image: dict[str, Any]) -> str:
    """The image that the host has by a reference, if it has one."""
    return {words[0]: words[1] for words in lines(state, "images") if len(words) == 2}.get(image["reference"], "")


def docker_host_problems(containers: list[dict[str, Any]], state: dict[str, str]) -> list[str]:
    """Why this host cannot run the containers of a list, which are not in each other's way."""
    names = [container["name"] for container in containers]
    present = [container for container in map(whole, containers) if container["state"] == "present"]
    return [problem for container in present for problem in host_problems(container, state, names)]


def docker_container_plan(
    container: dict[str, Any], state: dict[str, str], secrets: list[dict[str, Any]], unit: str = ""
) -> dict[str, Any]:
    """What is to be done for a container on the host that was looked at."""
    container, there = whole(container), listed(state)
    name = container["name"]
    present, former = there.get(name), there.get(name + FORMER)
    service = {words[0]: words[1:] for words in lines(state, "units")}.get(f"container-{name}.service", [])
    plan: dict[str, Any] = {
        "name": name,
        "unit_there": bool(service and service[0] == "loaded"),
        "there": bool(present),
        "former": bool(former),
        "running": bool(present and present["State"]["Running"]),
        "problems": [],
    }
    if container["state"] == "absent":
        left = name in state.get("secret_dirs", "").split()
        return plan | {"differs": bool(present or former or plan["unit_there"] or left)}
    image = docker_image(container["image"])
    arguments = create_arguments(container)
    print_of_settings = hashlib.sha256(json.dumps([arguments, container["restart_on"]]).encode()).hexdigest()
    has = image_id(state, image)
    wrong = wrong_secrets(state, secrets)
    reasons = []
    if not present:
        reasons.append("it is not there")
    else:
        if (present["Config"]["Labels"] or {}).get(LABEL) != print_of_settings:
            reasons.append("its settings are other ones")
        if has and present["Image"] != has:
            reasons.append("its image is another one")
        if wrong or name in state.get("newer_secrets", "").split():
            reasons.append("a secret of it is newer")
    health = ((present or {}).get("State", {}).get("Health") or {}).get("Status", "")
    units = {words[0]: base64.b64decode(words[1]).decode() for words in lines(state, "unit_files") if len(words) == 2}
    plan |= {
        "image": image["reference"],
        "image_local": image["local"],
        "image_there": bool(has),
        "pull": not has and not image["local"],
        "reasons": reasons,
        "arguments": [f"--label={LABEL}={print_of_settings}", *arguments],
        "wrong_secrets": wrong,
        "missing_folders": [
            volume["source"]
            for volume in container["volumes"]
            if {words[0]: words[1] for words in lines(state, "sources")}.get(volume["source"]) == "missing"
        ],
        "network_missing": bool(container["network"])
        and container["network"] != "none"
        and container["network"] not in state.get("networks", "").split(),
        "unit_differs": units.get(name, "").strip() != unit.strip(),
        "restart": health == "unhealthy",
        "start": not plan["running"] or service[1:4] != ["active", "enabled", "no"],
        "problems": host_problems(container, state),
        "wait_s": int(container["wait_s"]),
        "stop_timeout_s": int(container["stop_timeout_s"]),
    }
    plan["differs"] = bool(reasons or plan["unit_differs"] or plan["restart"] or plan["start"] or former)
    plan["differs"] = plan["differs"] or bool(plan["problems"])
    return plan


def docker_pull_trouble(said: str, reference: str) -> str:
    """Why an image could not be had, and what to do, from what docker said."""
    registry = docker_image(reference).get("registry", "the registry")
    last = ([line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"])[-1]
    causes = {
        r"wanted to match|not valid for|contain any IP SANs": f"The certificate of {registry} is not for that name; name the"
        " registry as its certificate does",
        r"x509|certificate|tls: ": f"The certificate of {registry} is not signed by a CA that the server knows; give its ca_file in"
        " docker_registries",
        r"unauthorized|no basic auth|denied|authentication required": f"{registry} wants a login or refuses the one given; give"
        " username and password in docker_registries, or correct the image's name",
        r"manifest unknown|not found|not exist|name unknown": f"{registry} does not have it; correct the image's name, tag or"
        " digest",
        r"no space left": "The disk of the server is full; make room",
        r"no such host|refused|timeout|timed out|unreachable|no route|EOF|deadline|reset": f"{registry} cannot be reached from"
        " the server; see whether it is up and whether a firewall or proxy is between",
    }
    cause = next(
        (words for pattern, words in causes.items() if re.search(pattern, said, re.IGNORECASE)), "Docker refused"
    )
    return f"{cause} ({last})"


class FilterModule:
    """Filters of the role docker."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            f.__name__: f
            for f in (
                docker_container_plan,
                docker_engine,
                docker_fingerprints,
                docker_host_problems,
                docker_problems,
                docker_container_problems,
                docker_containers_problems,
                docker_image,
                docker_looked,
                docker_pull_trouble,
                docker_secrets,
                docker_state,
            )
        }

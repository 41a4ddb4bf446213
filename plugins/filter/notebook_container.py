"""What the role notebook_container decides on the controller: are settings sound, what differs on the host."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

SECTION = re.compile(r"^== (\w+)$", re.MULTILINE)
# registry/path with an optional tag; the digest is a setting of its own.
IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:\[\]/-]*?(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
SIZE = re.compile(r"[1-9]\d*[kmg]", re.IGNORECASE)
PATH = re.compile(r"/[^,:\"'\s]*")
# What conda takes as a package: a name, with a channel before and a version after it if need be; no option.
PACKAGE = re.compile(r"[A-Za-z0-9_][^\s'\"]*")
CHANNEL = re.compile(r"[A-Za-z0-9_/][^\s'\"]*")
LOGIN = re.compile(r"//[^/]*@|/t/")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Variables of this kind decide how the server and the image themselves work.
OWN_VARIABLE = re.compile(
    r"JUPYTER.*|_?START_.*|DOCKER_STACKS_.*|NB_.*|CHOWN_.*|CONDA.*|LD_.*|OPENSSL_CONF|PATH|HOME|NOTEBOOK_ARGS|RESTARTABLE"
    r"|GEN_CERT|GRANT_SUDO"
)
# Whoever has one of these has the host.
ENGINE = ("/run/docker.sock", "/run/docker", "/run/containerd", "/var/lib/docker", "/var/lib/containerd")

LEAST_MEMORY_MB = 512


def notebook_container_state(text: str) -> dict[str, str]:
    """What a look found on the host: each "== name" begins a part."""
    parts = SECTION.split(text)
    return {name: value.strip() for name, value in zip(parts[1::2], parts[2::2], strict=True)}


def notebook_container_reference(image: str, digest: str) -> str:
    """The image as Docker is asked for it: by its digest where there is one, as Docker does not find it by tag and digest."""
    if not digest:
        return image
    path, slash, last = image.rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}@{digest}"


def inside(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it."""
    return PurePosixPath(path).is_relative_to(folder)


def is_path(text: str) -> bool:
    """Whether a text is a full path that can be mounted."""
    return bool(PATH.fullmatch(text)) and ".." not in PurePosixPath(text).parts


def image_problems(image: str, digest: str, required: bool) -> list[str]:
    """An image that is none, or that somebody could exchange."""
    if "@" in image:
        return [f"notebook_container_image is {image}; give what comes after @ as notebook_container_digest."]
    if not IMAGE.fullmatch(image):
        return [f"notebook_container_image is {image!r}, no reference of an image; give registry/name:tag."]
    if digest and not DIGEST.fullmatch(digest):
        return [
            f"notebook_container_digest is {digest!r}; give sha256: and 64 hexadecimal digits as the registry shows them,"
            " or leave it empty."
        ]
    if required and not digest and not image.startswith("localhost/"):
        return [
            f"notebook_container_digest is empty, and images without one are refused; give that of {image} as the registry"
            " shows it, or set docker_require_digest to false."
        ]
    return []


def number_problems(settings: dict[str, Any]) -> list[str]:
    """Numbers out of their range."""
    ranges = {
        "port": (1, 65535, "1 to 65535"),
        "pids": (64, 4194304, "64 to 4194304; JupyterLab and a few kernels need some hundred"),
        "cull_idle_timeout": (0, 31536000, "0 (never) to 31536000 seconds"),
        "wait_s": (5, 3600, "5 to 3600 seconds"),
    }
    problems = [
        f"notebook_container_{name} is {settings[name]}; give {words}."
        for name, (least, most, words) in ranges.items()
        if not least <= int(settings[name]) <= most
    ]
    uid = str(settings["uid"])
    if uid and not (uid.isdigit() and 1 <= int(uid) <= 65533):
        problems.append(
            f"notebook_container_uid is {uid}; give 1 to 65533, or leave it empty for the number of notebook_container_user."
        )
    memory = str(settings["memory"])
    if memory and not SIZE.fullmatch(memory):
        problems.append(f"notebook_container_memory is {memory!r}; give a number with k, m or g, such as 6g.")
    try:
        ipaddress.ip_address(settings["bind_address"])
    except ValueError:
        problems.append(
            f"notebook_container_bind_address is {settings['bind_address']!r}; give an IP address of the host"
            " (0.0.0.0 for all, 127.0.0.1 for the host alone)."
        )
    return problems


def folder_problems(data_dir: str, sockets: list[str], shared: list[str]) -> list[str]:
    """Folders that no container may have."""
    problems = []
    if not is_path(data_dir) or len(PurePosixPath(data_dir).parts) < 3:
        problems.append(
            f"notebook_container_data_dir is {data_dir!r}; give a full path of a folder of its own, such as"
            " /srv/notebooks-container, without comma, colon and space."
        )
    elif inside(data_dir, "/home") or inside(data_dir, "/root"):
        problems.append(
            f"notebook_container_data_dir is {data_dir}, in the home of a person who logs in: a container could leave a key"
            " there; give a folder of its own, such as /srv/notebooks-container."
        )
    for name, folder in [("sockets", folder) for folder in sockets] + [("shared_paths", folder) for folder in shared]:
        real = folder.removeprefix("/var") if folder.startswith("/var/run") else folder
        if not is_path(folder):
            problems.append(
                f"notebook_container_{name} names {folder!r}; give full paths, without comma, colon and space."
            )
        elif any(inside(real, path) or inside(path, real) for path in ENGINE):
            problems.append(
                f"notebook_container_{name} names {folder}, which is or holds a socket of the container engine; whoever has"
                " that is root on the host. Take it out."
            )
    return problems


def package_problems(packages: list[str], channels: list[str]) -> list[str]:
    """Packages and channels that conda would not take."""
    problems = [
        f"notebook_container_packages names {package!r}; give what `mamba install` takes, such as 'pandas=2.*', without spaces."
        for package in packages
        if not PACKAGE.fullmatch(str(package))
    ]
    problems += [
        f"notebook_container_channels names {channel!r}; give a name or an address."
        for channel in channels
        if not CHANNEL.fullmatch(str(channel))
    ]
    if any(LOGIN.search(str(channel)) for channel in channels):
        problems.append(
            "notebook_container_channels has a channel with a login in it, which everybody could read in the image; give it as"
            " channel_alias in notebook_container_condarc."
        )
    if packages and not channels:
        problems.append(
            "notebook_container_channels is empty, and there are packages to install; name a channel, such as conda-forge."
        )
    return problems


def environment_problems(environment: dict[str, Any]) -> list[str]:
    """Variables that cannot be, or that would change the server itself."""
    problems = []
    for name, value in environment.items():
        if not VARIABLE.fullmatch(str(name)):
            problems.append(
                f"notebook_container_environment names {str(name)!r}; a variable has letters, digits and _, no digit first."
            )
        elif OWN_VARIABLE.fullmatch(name):
            problems.append(
                f"notebook_container_environment names {name}, which the server itself depends on; take it out."
            )
        elif not str(value).isprintable():
            problems.append(f"notebook_container_environment gives {name} more than one line; give one.")
    return problems


def notebook_container_problems(settings: dict[str, Any]) -> list[str]:
    """Sentences about settings that cannot work; none when all is well."""
    return [
        *image_problems(settings["image"], settings["digest"], settings["require_digest"]),
        *number_problems(settings),
        *folder_problems(settings["data_dir"], settings["sockets"], settings["shared_paths"]),
        *package_problems(settings["packages"], settings["channels"]),
        *environment_problems(settings["environment"]),
    ]


def notebook_container_memory(total_kb: str) -> str:
    """Four fifths of the host's memory, in steps, so that another kernel of the system does not make another container."""
    megabytes = int(total_kb or 0) * 4 // 5 // 1024
    return f"{max(megabytes // 256 * 256, LEAST_MEMORY_MB)}m"


def notebook_container_read_only_volumes(folders: list[str]) -> list[dict[str, Any]]:
    """Folders as volumes in the same place; a socket can be used where nothing can be written."""
    return [{"source": folder, "target": folder, "read_only": True} for folder in folders]


def notebook_container_directories(state: dict[str, str], wanted: dict[str, Any]) -> list[dict[str, str]]:
    """The directories that are not there, or not as they should be."""
    gid, uid, data = state["gid"], wanted["uid"], wanted["data"]
    if not gid:
        # A dry run before the account was made.
        return []
    there = {
        words[3]: words[:3] for line in state["directories"].splitlines() if len(words := line.split(maxsplit=3)) == 4
    }
    owners = {wanted["config"]: "0", data: "0", f"{data}/home": uid, f"{data}/work": uid}
    own = [
        {"path": path, "owner": owner, "group": gid, "mode": "0750"}
        for path, owner in owners.items()
        if there.get(path) != [owner, gid, "750"]
    ]
    # Shared folders are somebody else's: only made, and never changed.
    shared = [
        {"path": path, "owner": "0", "group": "0", "mode": "0755"} for path in wanted["shared"] if path not in there
    ]
    return own + shared


def notebook_container_stale_files(state: dict[str, str], files: dict[str, str]) -> list[str]:
    """The names of the files that are not there, or not as they should be."""
    there = {words[0]: words[1:] for line in state["files"].splitlines() if (words := line.split())}
    return [
        name
        for name, text in files.items()
        if there.get(name) != ["0", state["gid"], "640", hashlib.sha256(text.encode()).hexdigest()]
    ]


def notebook_container_last_words(said: str) -> str:
    """The last lines that say something, as one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return " / ".join(lines[-4:]) or "it said nothing."


class FilterModule:
    """Filters of the role notebook_container."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            f.__name__: f
            for f in (
                notebook_container_directories,
                notebook_container_last_words,
                notebook_container_memory,
                notebook_container_problems,
                notebook_container_reference,
                notebook_container_read_only_volumes,
                notebook_container_stale_files,
                notebook_container_state,
            )
        }

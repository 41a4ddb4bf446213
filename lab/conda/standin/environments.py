"""Prefixes: what is installed, what was asked for, and who knows about them."""

from __future__ import annotations

import ast
import json
import os
import pwd
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import VERSION
from .config import Config, root
from .errors import CondaError, no_environment

Record = dict[str, Any]


def is_environment(prefix: Path) -> bool:
    """Conda's own test."""
    return (prefix / "conda-meta" / "history").is_file()


def check(prefix: Path) -> Path:
    """The prefix, if it is an environment."""
    if not is_environment(prefix):
        raise no_environment(str(prefix))
    return prefix


def check_writable(prefix: Path) -> None:
    """Refuse someone else's environment."""
    if not os.access(prefix / "conda-meta" / "history", os.W_OK):
        raise CondaError(
            "EnvironmentNotWritableError",
            "The current user does not have write permissions to the target environment.\n"
            f"  environment location: {prefix}\n  uid: {os.geteuid()}\n  gid: {os.getegid()}\n",
            environment_location=str(prefix),
        )


def installed(prefix: Path) -> list[Record]:
    """The records of what is installed, by name."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (prefix / "conda-meta").glob("*.json")]
    return sorted(records, key=lambda record: str(record["name"]))


def _base_url(record: Record) -> str:
    """The channel's address, without the subdirectory and the file."""
    return str(record["url"]).rsplit("/", 2)[0]


def _channel_name(record: Record) -> str:
    url = _base_url(record)
    return url.rsplit("/", 1)[-1] if url.startswith("http") else url


def listed(record: Record) -> Record:
    """A record in the words of `conda list --json` and of actions."""
    return {
        "base_url": _base_url(record),
        "build_number": record["build_number"],
        "build_string": record["build"],
        "channel": _channel_name(record),
        "dist_name": f"{record['name']}-{record['version']}-{record['build']}",
        "name": record["name"],
        "platform": record["subdir"],
        "version": record["version"],
    }


def requested(prefix: Path) -> dict[str, str]:
    """The specs that people asked for, by package name, as the history keeps them."""
    specs: dict[str, str] = {}
    history = prefix / "conda-meta" / "history"
    for line in history.read_text(encoding="utf-8").splitlines() if history.is_file() else []:
        match = re.match(r"# (update|install|remove|neutered) specs: (\[.*\])", line)
        if not match:
            continue
        for spec in ast.literal_eval(match[2]):
            if match[1] == "remove":
                specs.pop(spec_name(spec), None)
            else:
                specs[spec_name(spec)] = spec
    return specs


def spec_name(spec: str) -> str:
    """The package name in a spec."""
    return re.split(r"[\s=<>!~\[]", spec.strip().rsplit("::", 1)[-1], maxsplit=1)[0].lower()


def write_history(prefix: Path, command: str, old: Iterable[Record], new: Iterable[Record], **specs: list[str]) -> None:
    """Add a revision to the history."""
    before = {_line(record) for record in old}
    after = {_line(record) for record in new}
    lines = [f"==> {time.strftime('%Y-%m-%d %H:%M:%S')} <==", f"# cmd: {command}", f"# conda version: {VERSION}"]
    lines += [f"-{line}" for line in sorted(before - after)] + [f"+{line}" for line in sorted(after - before)]
    lines += [f"# {kind} specs: {names!r}" for kind, names in specs.items() if names]
    with (prefix / "conda-meta" / "history").open("a", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")


def _line(record: Record) -> str:
    return f"{_base_url(record)}/{record['subdir']}::{record['name']}-{record['version']}-{record['build']}"


def known_file(home: Path) -> Path:
    """Where a user's environments are remembered."""
    return home / ".conda" / "environments.txt"


def remember(prefix: Path) -> None:
    """Note the prefix among the user's environments."""
    path = known_file(Path.home())
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if str(prefix) not in lines and prefix != root():
        path.write_text("".join(f"{line}\n" for line in [*lines, prefix]), encoding="utf-8")


def forget(prefix: Path) -> None:
    """Take the prefix out of the user's environments."""
    path = known_file(Path.home())
    if path.exists():
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line != str(prefix)]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def everything(config: Config) -> list[Path]:
    """All environments in sight: base first. Root sees those of every user, like with conda."""
    homes = [Path.home()]
    if os.geteuid() == 0:
        homes += [Path(entry.pw_dir) for entry in pwd.getpwall()]
    found: set[Path] = set()
    for home in homes:
        path = known_file(home)
        if path.is_file() and os.access(path, os.R_OK):
            found.update(Path(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    for folder in config.envs_dirs():
        if folder.is_dir():
            found.update(folder.iterdir())
    return [root(), *sorted(prefix for prefix in found if prefix != root() and is_environment(prefix))]


def details(prefix: Path, config: Config) -> Record:
    """One entry of envs_details."""
    history = prefix / "conda-meta" / "history"
    stat = history.stat()
    name = "base" if prefix == root() else (prefix.name if prefix.parent in config.envs_dirs() else "")
    return {
        "name": name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(stat.st_ctime)),
        "last_modified": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(stat.st_mtime)),
        "active": os.environ.get("CONDA_PREFIX") == str(prefix),
        "base": prefix == root(),
        "frozen": (prefix / "conda-meta" / "frozen").exists(),
        "writable": os.access(history, os.W_OK),
    }

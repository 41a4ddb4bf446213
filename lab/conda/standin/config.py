"""Configuration files, in conda's order, and what they add up to."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from .errors import CondaError

LISTS: dict[str, list[str]] = {
    "channels": [],
    "default_channels": [],
    "create_default_packages": [],
    "pinned_packages": [],
    "envs_dirs": [],
    "pkgs_dirs": [],
    "allowlist_channels": [],
    "denylist_channels": [],
    "disallowed_packages": [],
}
MAPS = ("custom_channels", "custom_multichannels", "proxy_servers", "channel_settings", "mirrored_channels")
SCALARS: dict[str, Any] = {
    "channel_priority": "flexible",
    "channel_alias": "https://conda.anaconda.org",
    "ssl_verify": True,
    "auto_activate": True,
    "auto_activate_base": True,
    "default_activation_env": "base",
    "auto_update_conda": True,
    "notify_outdated_conda": True,
    "number_channel_notices": 5,
    "remote_max_retries": 3,
    "remote_backoff_factor": 1,
    "remote_connect_timeout_secs": 9.15,
    "remote_read_timeout_secs": 60.0,
    "offline": False,
    "always_yes": None,
    "always_copy": False,
    "always_softlink": False,
    "allow_softlinks": False,
    "override_channels_enabled": True,
    "add_pip_as_python_dependency": True,
    "show_channel_urls": None,
    "changeps1": True,
    "env_prompt": "({default_env}) ",
    "solver": "libmamba",
    "report_errors": None,
    "safety_checks": "warn",
    "extra_safety_checks": False,
    "use_only_tar_bz2": False,
    "unsatisfiable_hints": True,
    "local_repodata_ttl": 1,
    "pip_interop_enabled": False,
    "rollback_enabled": True,
    "subdir": None,
    "verbosity": 0,
    "json": False,
    "quiet": False,
}


def root() -> Path:
    """The prefix that this command is installed in; a test may name another."""
    return Path(os.environ.get("_CONDA_STAND_IN_ROOT") or sys.prefix)


def sources() -> list[Path]:
    """The files that are looked at, least important first."""
    home = Path.home()
    xdg = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "conda"
    folders = [Path("/etc/conda"), Path("/var/lib/conda"), root(), xdg, home / ".config/conda", home / ".conda"]
    found: list[Path] = []

    def add(folder: Path) -> None:
        found.extend((folder / ".condarc", folder / "condarc"))
        if (folder / "condarc.d").is_dir():
            found.extend(sorted((folder / "condarc.d").glob("*.y*ml")))

    for folder in folders:
        add(folder)
    found.append(home / ".condarc")
    if os.environ.get("CONDA_PREFIX"):
        add(Path(os.environ["CONDA_PREFIX"]))
    if os.environ.get("CONDARC"):
        found.append(Path(os.environ["CONDARC"]))
    unique = dict.fromkeys(path for path in found if path.is_file())
    return list(unique)


def read(path: Path) -> dict[str, Any]:
    """The settings of one file."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as problem:
        raise CondaError("ConfigurationLoadError", f"Unable to load configuration file.\n  path: {path}\n") from problem
    if not isinstance(data, dict):
        raise CondaError("ConfigurationLoadError", f"Unable to load configuration file.\n  path: {path}\n")
    return data


def is_final(path: Path, key: str) -> bool:
    """Whether the file marks the key with `#!final`: then later files are not heard."""
    return bool(re.search(rf"^{key}\s*:.*#!\s*final\s*$", path.read_text(encoding="utf-8"), re.MULTILINE))


class Config:
    """All settings together."""

    def __init__(self) -> None:
        """Read everything now."""
        self.values: dict[str, Any] = {key: list(value) for key, value in LISTS.items()} | dict(SCALARS)
        self.values |= {key: {} for key in MAPS}
        finals: set[str] = set()
        self.files = sources()
        layers: list[tuple[Path | None, dict[str, Any]]] = [(path, read(path)) for path in self.files]
        environment = {
            name[6:].lower(): value
            for name, value in os.environ.items()
            if name.startswith("CONDA_") and name[6:].lower() in self.values
        }
        layers.append((None, environment))
        for path, data in layers:
            for key, value in data.items():
                if key not in self.values or key in finals or value is None:
                    continue
                if key in LISTS:
                    new = [str(item) for item in (value.split(",") if isinstance(value, str) else value)]
                    # A later file's items come first: lists merge, nothing drops what another file says.
                    self.values[key] = list(dict.fromkeys([*new, *self.values[key]]))
                elif key in MAPS and isinstance(value, dict):
                    self.values[key] = self.values[key] | value
                else:
                    self.values[key] = yaml.safe_load(value) if path is None else value
                if path is not None and is_final(path, key):
                    finals.add(key)

    def __getitem__(self, key: str) -> Any:
        """The value of a setting."""
        return self.values[key]

    def envs_dirs(self) -> list[Path]:
        """Where named environments live; the first is for new ones."""
        own, home = root() / "envs", Path.home() / ".conda" / "envs"
        writable = os.access(own if own.exists() else root(), os.W_OK)
        usual = [own, home] if writable else [home, own]
        return list(dict.fromkeys([Path(item).expanduser() for item in self["envs_dirs"]] + usual))

    def pkgs_dirs(self) -> list[Path]:
        """Where packages are unpacked; the first is used."""
        own, home = root() / "pkgs", Path.home() / ".conda" / "pkgs"
        writable = os.access(own if own.exists() else root(), os.W_OK)
        usual = [own, home] if writable else [home, own]
        return list(dict.fromkeys([Path(item).expanduser() for item in self["pkgs_dirs"]] + usual))

    def channel_urls(self, names: list[str]) -> list[str]:
        """The base URLs of channels."""
        urls: list[str] = []
        for name in names:
            if name == "defaults":
                urls += [str(url) for url in self["default_channels"]]
            elif "://" in name:
                urls.append(name)
            elif name in self["custom_channels"]:
                urls.append(f"{str(self['custom_channels'][name]).rstrip('/')}/{name}")
            elif name.startswith(("/", "./", "../")):
                urls.append(Path(name).absolute().as_uri())
            else:
                urls.append(f"{str(self['channel_alias']).rstrip('/')}/{name}")
        return list(dict.fromkeys(url.rstrip("/") for url in urls))


def change(path: Path, action: str, key: str, value: str | None) -> None:
    """What `conda config --set/--add/--append/--remove/--remove-key` does to a file."""
    data = read(path) if path.exists() else {}
    known = key.split(".")[0]
    if known not in LISTS and known not in SCALARS and known not in MAPS:
        kind = "sequence" if action in ("prepend", "append", "remove") else "primitive"
        raise CondaError("CondaValueError", f"Key '{key}' is not a known {kind} parameter.")
    if action == "set":
        if known in LISTS:
            raise CondaError("CondaValueError", f"Key '{key}' is not a known primitive parameter.")
        if "." in key and known in MAPS:
            data.setdefault(known, {})[key.split(".", 1)[1]] = value
        else:
            data[key] = yaml.safe_load(value or "")
    elif action in ("prepend", "append"):
        if known not in LISTS:
            raise CondaError("CondaValueError", f"Key '{key}' is not a known sequence parameter.")
        rest = [item for item in data.get(key) or [] if item != value]
        data[key] = [value, *rest] if action == "prepend" else [*rest, value]
    elif action == "remove":
        if value not in (data.get(key) or []):
            raise CondaError("CondaKeyError", f"'{key}': value {value!r} is not in the '{key}' key of the config file")
        data[key] = [item for item in data[key] if item != value]
    else:
        if key not in data:
            raise CondaError("CondaKeyError", f"'{key}': undefined in config")
        del data[key]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data, default_flow_style=False, sort_keys=False), encoding="utf-8")

"""Where the lab lives: everything that its environment variables can change."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ACCOUNT = "123456789012"
REGION = "us-west-2"
# 198.18.0.0/15 is set aside for bench tests: such an address is never a real host's.
BENCH = ipaddress.ip_network("198.18.0.0/15")


class SettingsError(ValueError):
    """A setting is wrong; the text says which and what to do."""


@dataclass(frozen=True)
class Settings:
    """One lab; two labs on a machine differ in all of folder, name, subnet and port."""

    folder: Path
    name: str
    subnet: ipaddress.IPv4Network
    port: int
    image: str | None
    releases: tuple[str, ...]

    @property
    def gateway(self) -> str:
        """The machine's own address on the lab's network: where instances see their callers come from."""
        return str(self.subnet.network_address + 1)

    @property
    def label(self) -> str:
        """The label that everything the engine keeps for this lab carries."""
        return f"lab={self.name}"

    @property
    def endpoint(self) -> str:
        """Where the AWS API answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def gateway_url(self) -> str:
        """The same server, as the instances (and this machine) reach it."""
        return f"http://{self.gateway}:{self.port}"

    @property
    def network(self) -> str:
        """The engine's network."""
        return self.name

    @property
    def registry(self) -> str:
        """The container registry's container."""
        return f"{self.name}-registry"

    @property
    def registry_ip(self) -> str:
        """Its address: instances get theirs from the tenth on."""
        return str(self.subnet.network_address + 5)

    @property
    def disks(self) -> str:
        """The engine's volume with the EBS volumes' contents."""
        return f"{self.name}-ebs"


def stand_ins(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether what cannot be reached gets a stand-in. LAB_STAND_INS=no: servers that need neither conda nor images do without."""
    wanted = environ.get("LAB_STAND_INS") or "yes"
    if wanted not in ("yes", "no"):
        raise SettingsError(f"LAB_STAND_INS is `{wanted}`: write yes or no.")
    return wanted == "yes"


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings, or say in one sentence what is wrong with them."""
    name = environ.get("LAB_NAME") or "lab"
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
        raise SettingsError(f"LAB_NAME is `{name}`: use small letters, digits and hyphens, at most 31, a letter first.")
    try:
        subnet = ipaddress.IPv4Network(environ.get("LAB_SUBNET") or "198.18.0.0/17")
    except ValueError as error:
        raise SettingsError(f"LAB_SUBNET is no network ({error}): use e.g. 198.18.0.0/17.") from error
    if not 16 <= subnet.prefixlen <= 24:
        raise SettingsError(f"LAB_SUBNET is {subnet}: choose a size from /16 to /24.")
    if not (subnet.subnet_of(ipaddress.IPv4Network(str(BENCH))) or subnet.is_private):
        raise SettingsError(f"LAB_SUBNET is {subnet}: choose one inside {BENCH}, which never holds a real host.")
    port = environ.get("LAB_PORT") or "5055"
    if not port.isdigit() or not 1024 <= int(port) <= 65535:
        raise SettingsError(f"LAB_PORT is `{port}`: use a number from 1024 to 65535.")
    releases = tuple((environ.get("LAB_RELEASES") or "13").replace(",", " ").split())
    if not releases or not set(releases) <= {"12", "13"}:
        raise SettingsError(
            f"LAB_RELEASES is `{' '.join(releases)}`: name the Debian releases to prepare: 12, 13 or both."
        )
    folder = Path(environ.get("LAB_DIR") or ".lab")
    folder = folder if folder.is_absolute() else ROOT / folder
    return Settings(folder, name, subnet, int(port), environ.get("LAB_IMAGE") or None, releases)

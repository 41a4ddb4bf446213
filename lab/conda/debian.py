"""Debian packages of any suite, through the ordinary apt client with a configuration of its own."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class BuildError(Exception):
    """Something the person at the keyboard has to know, in one sentence."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command, return its output; a failure tells which command and what it said."""
    result = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode:
        said = (result.stderr or result.stdout).strip()
        raise BuildError(f"{command[0]} failed with exit code {result.returncode}: {said[-800:]}")
    return result.stdout


def architecture() -> str:
    """Debian's name of this machine's architecture, e.g. amd64."""
    return run("dpkg", "--print-architecture").strip()


def mirror(given: str | None = None) -> str:
    """The Debian mirror: as given, as this host uses it, or the one that mmdebstrap uses by default."""
    if given:
        return given
    for source in sorted(Path("/etc/apt").glob("sources.list*")) + sorted(Path("/etc/apt/sources.list.d").glob("*")):
        if source.suffix not in (".list", ".sources") or not source.is_file():
            continue
        for line in source.read_text(encoding="utf-8").splitlines():
            found = re.match(r"(?:URIs:|deb(?:\s+\[.*?\])?)\s.*?(\S+://\S+/debian)/?(?:\s|$)", line)
            if found:
                return found[1]
    mmdebstrap = shutil.which("mmdebstrap")
    if mmdebstrap:
        found = re.search(r"[\"'](\w+://[^\s\"']+/debian)/?[\"']", Path(mmdebstrap).read_text(encoding="utf-8"))
        if found:
            return found[1]
    raise BuildError("No Debian mirror is known on this host: name one with --mirror, or install mmdebstrap.")


@dataclass(frozen=True)
class Deb:
    """A package file of the archive: its name there, and the hash that apt vouches for."""

    file: str
    sha256: str

    @property
    def name(self) -> str:
        """The name of the package, without version."""
        return self.file.split("_", 1)[0]

    @property
    def version(self) -> str:
        """Its upstream version."""
        version = self.file.split("_")[1].replace("%3a", ":").split(":", 1)[-1]
        # Conda's versions know no "-": conda-forge writes "_" there too.
        return version.rsplit("-", 1)[0].split("+")[0].replace("-", "_")


class Suite:
    """One Debian suite, seen through apt without touching this host's package lists."""

    def __init__(self, name: str, cache: Path, uri: str) -> None:
        """Write the private configuration under cache; `uri` is the mirror."""
        if not Path(KEYRING).exists():
            raise BuildError(f"{KEYRING} is missing: install the package debian-archive-keyring.")
        self.name = name
        self.debs = cache / "debs"
        home = cache / "apt" / name
        for folder in (home / "lists" / "partial", home / "cache" / "archives" / "partial", self.debs):
            folder.mkdir(parents=True, exist_ok=True)
        (home / "status").touch()
        (home / "sources.list").write_text(f"deb [signed-by={KEYRING}] {uri} {name} main\n", encoding="utf-8")
        # Only the sources and state are ours; proxies, credentials and CA settings stay the host's.
        (home / "apt.conf").write_text(
            "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n"
            + "".join(
                f'{key} "{value}";\n'
                for key, value in {
                    "Dir::Etc::sourcelist": home / "sources.list",
                    "Dir::Etc::sourceparts": "/dev/null",
                    "Dir::Etc::preferences": "/dev/null",
                    "Dir::Etc::preferencesparts": "/dev/null",
                    "Dir::State": home,
                    "Dir::State::lists": home / "lists",
                    "Dir::State::status": home / "status",
                    "Dir::Cache": home / "cache",
                    "Acquire::Languages": "none",
                    "APT::Install-Recommends": "false",
                    # A directory of ours may be closed to apt's own user.
                    "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
                }.items()
            ),
            encoding="utf-8",
        )
        self.config = home / "apt.conf"

    def _apt(self, *words: str, cwd: Path | None = None) -> str:
        return run("apt-get", "-q", "-c", self.config, *words, cwd=cwd)

    def update(self) -> None:
        """Fetch the suite's package list."""
        self._apt("update", "--error-on=any")

    def closure(self, *names: str) -> list[str]:
        """The names of packages that installing `names` on an empty system would bring."""
        lines = self._apt("install", "--yes", "--print-uris", *names).splitlines()
        return [line.split()[1].split("_", 1)[0] for line in lines if line.startswith("'")]

    def find(self, names: list[str]) -> list[Deb]:
        """The files and hashes of packages."""
        debs = []
        for line in self._apt("download", "--print-uris", *names).splitlines():
            if line.startswith("'"):
                _, file, _, checksum = line.split()
                debs.append(Deb(file, checksum.removeprefix("SHA256:")))
        return debs

    def download(self, debs: list[Deb]) -> list[Path]:
        """Fetch packages into the cache; those there with the right hash are not fetched again."""
        missing = [deb for deb in debs if not self._good(deb)]
        if missing:
            self._apt("download", *(deb.name for deb in missing), cwd=self.debs)
        for deb in missing:
            if not self._good(deb):
                raise BuildError(f"{deb.file} of {self.name} came with another hash than the package list says.")
        return [self.debs / deb.file for deb in debs]

    def _good(self, deb: Deb) -> bool:
        path = self.debs / deb.file
        return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == deb.sha256

"""Conda packages and the index of a channel, written by the published format."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

# Text files hold this where the prefix belongs; the installing side puts the real one.
PLACEHOLDER = "/opt/conda_stand_in_placeholder" + "_placehold" * 8
STAMP = 1_750_000_000  # one fixed time: equal inputs give equal packages


@dataclass
class Package:
    """What a package says about itself."""

    name: str
    version: str
    depends: list[str]
    subdir: str
    build: str = "0"
    build_number: int = 0
    entry_points: list[str] = field(default_factory=list)
    license: str = ""
    source: str = ""

    @property
    def stem(self) -> str:
        """The file name without its ending."""
        return f"{self.name}-{self.version}-{self.build}"

    def index(self) -> dict[str, Any]:
        """The content of info/index.json."""
        index: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": self.build_number,
            "depends": self.depends,
            "license": self.license,
            "subdir": self.subdir,
            "timestamp": STAMP * 1000,
        }
        if self.subdir == "noarch":
            index["noarch"] = "python" if any(d.split()[0] == "python" for d in self.depends) else "generic"
        return index


def _member(name: str, content: bytes, mode: int = 0o644) -> tuple[tarfile.TarInfo, io.BytesIO]:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(content), mode, STAMP
    return info, io.BytesIO(content)


def _zst(members: Callable[[tarfile.TarFile], None], level: int) -> bytes:
    buffer = io.BytesIO()
    with zstandard.ZstdCompressor(level=level, threads=0).stream_writer(buffer, closefd=False) as stream:
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            members(archive)
    return buffer.getvalue()


def _is_text(content: bytes) -> bool:
    return b"\0" not in content[:8192]


def write(stage: Path, package: Package, out: Path, level: int = 3) -> dict[str, Any]:
    """Pack the files under `stage`; return the record that goes into the channel's index."""
    paths: list[dict[str, Any]] = []
    files = sorted(path for path in stage.rglob("*") if path.is_symlink() or path.is_file())

    def payload(archive: tarfile.TarFile) -> None:
        for path in files:
            name = path.relative_to(stage).as_posix()
            if path.is_symlink():
                info = tarfile.TarInfo(name)
                info.type, info.linkname, info.mtime = tarfile.SYMTYPE, str(path.readlink()), STAMP
                archive.addfile(info)
                target = path.read_bytes() if path.is_file() else b""
                paths.append(
                    {
                        "_path": name,
                        "path_type": "softlink",
                        "sha256": hashlib.sha256(target).hexdigest(),
                        "size_in_bytes": len(target),
                    }
                )
                continue
            content = path.read_bytes()
            entry: dict[str, Any] = {
                "_path": name,
                "path_type": "hardlink",
                "sha256": hashlib.sha256(content).hexdigest(),
                "size_in_bytes": len(content),
            }
            if PLACEHOLDER.encode() in content:
                if not _is_text(content):
                    raise ValueError(f"{name} of {package.stem} is binary and holds the placeholder")
                entry |= {"prefix_placeholder": PLACEHOLDER, "file_mode": "text"}
            paths.append(entry)
            archive.addfile(*_member(name, content, 0o755 if path.stat().st_mode & 0o100 else 0o644))

    body = _zst(payload, level)
    info: dict[str, Any] = {
        "index.json": package.index(),
        "paths.json": {"paths": paths, "paths_version": 1},
        "about.json": {
            "summary": f"Stand-in made from {package.source}: no package of conda-forge or Anaconda.",
            "license": package.license,
            "extra": {"stand_in": True},
        },
    }
    if package.index().get("noarch") == "python":
        info["link.json"] = {
            "noarch": {"type": "python", "entry_points": package.entry_points},
            "package_metadata_version": 1,
        }

    def metadata(archive: tarfile.TarFile) -> None:
        archive.addfile(*_member("info/files", "".join(f"{p['_path']}\n" for p in paths).encode()))
        for name, content in info.items():
            archive.addfile(*_member(f"info/{name}", json.dumps(content, indent=1).encode()))

    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{package.stem}.conda"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as bundle:
        for name, data in (
            ("metadata.json", b'{"conda_pkg_format_version": 2}'),
            (f"pkg-{package.stem}.tar.zst", body),
            (f"info-{package.stem}.tar.zst", _zst(metadata, level)),
        ):
            bundle.writestr(zipfile.ZipInfo(name, (2025, 1, 1, 0, 0, 0)), data)
    content = target.read_bytes()
    return package.index() | {
        "fn": target.name,
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }


def unpack(package: Path, target: Path) -> dict[str, Any]:
    """Unpack a package's files below `target`; return its info files by name."""
    info: dict[str, Any] = {}
    with zipfile.ZipFile(package) as bundle:
        for name in bundle.namelist():
            if not name.endswith(".tar.zst"):
                continue
            with bundle.open(name) as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
                with tarfile.open(fileobj=stream, mode="r|") as archive:
                    if name.startswith("pkg-"):
                        # Written by this very module; the attribute keeps Python 3.12 and later quiet.
                        archive.extraction_filter = lambda member, _path: member
                        archive.extractall(target)  # noqa: S202 - an archive of our own
                        continue
                    for member in archive:
                        content = archive.extractfile(member)
                        if content and member.name.endswith(".json"):
                            info[Path(member.name).stem] = json.load(content)
    return info


def write_index(channel: Path, records: list[dict[str, Any]], subdirs: tuple[str, ...]) -> None:
    """Write repodata.json for each subdirectory of a channel."""
    for subdir in subdirs:
        entries = {
            record["fn"]: {key: value for key, value in record.items() if key != "fn"}
            for record in sorted(records, key=lambda record: str(record["fn"]))
            if record["subdir"] == subdir
        }
        repodata = {
            "info": {"subdir": subdir, "stand_in": True},
            "packages": {},
            "packages.conda": entries,
            "removed": [],
            "repodata_version": 1,
        }
        folder = channel / subdir
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(repodata, indent=1).encode()
        (folder / "repodata.json").write_bytes(content)
        (folder / "repodata.json.zst").write_bytes(zstandard.ZstdCompressor(level=9).compress(content))

"""Solving and linking, with py-rattler."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rattler import (
    Channel,
    ChannelPriority,
    Gateway,
    MatchSpec,
    PackageRecord,
    Platform,
    PrefixRecord,
    RepoDataRecord,
    SourceConfig,
    VirtualPackage,
    install,
    solve,
)
from rattler.package_streaming import extract
from rattler.rattler import GatewayError, InstallerError, InvalidMatchSpecError, SolverError

from .config import Config
from .environments import Record, listed, spec_name
from .errors import CondaError


@dataclass
class Change:
    """What a transaction does to a prefix."""

    prefix: Path
    records: Sequence[RepoDataRecord] = field(default_factory=list)
    link: list[Record] = field(default_factory=list)
    unlink: list[Record] = field(default_factory=list)
    fetch: list[Record] = field(default_factory=list)
    reinstall: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        """Whether anything happens."""
        return bool(self.link or self.unlink)

    def actions(self) -> dict[str, Any]:
        """The "actions" of the JSON result."""
        actions: dict[str, Any] = {"PREFIX": str(self.prefix)}
        for key, records in (("FETCH", self.fetch), ("LINK", self.link), ("UNLINK", self.unlink)):
            if records:
                actions[key] = records
        return actions


def as_dict(record: PackageRecord) -> Record:
    """A record of py-rattler as plain data."""
    data: Record = json.loads(record.to_json())
    return data


def match(spec: str) -> MatchSpec:
    """A spec as people write it: `name=1.2` is fuzzy, `name==1.2` exact, `name=1.2=build` names a build."""
    try:
        return MatchSpec(spec)
    except InvalidMatchSpecError as problem:
        raise CondaError("InvalidMatchSpec", f"Invalid spec '{spec}': {problem}") from problem


def satisfied(specs: list[str], records: list[PrefixRecord]) -> bool:
    """Whether what is installed meets every spec."""
    return all(any(match(spec).matches(record) for record in records) for spec in specs)


def prefix_records(prefix: Path) -> list[PrefixRecord]:
    """What is installed, for py-rattler."""
    return [PrefixRecord.from_path(path) for path in sorted((prefix / "conda-meta").glob("*.json"))]


def work_out(
    prefix: Path, specs: list[str], keep: list[PrefixRecord], channels: list[str], config: Config, prune: bool = False
) -> Change:
    """Solve for `specs`; installed packages in `keep` stay as they are where that is possible."""
    if not channels:
        raise CondaError("NoChannelsConfiguredError", "No channels have been configured for this operation.")
    urls = config.channel_urls(channels)
    present = prefix_records(prefix)
    wanted = list(specs)
    if not prune:  # what is there stays there, in whatever version
        named = {spec_name(spec) for spec in specs}
        wanted += [record.name.normalized for record in present if record.name.normalized not in named]
    records = _solve(wanted, keep, urls, config)
    names = {record.name.normalized for record in records}
    if config["add_pip_as_python_dependency"] and "python" in names and "pip" not in names:
        try:
            records = _solve([*wanted, "pip"], keep, urls, config)
        except CondaError as problem:
            if problem.name != "PackagesNotFoundInChannelsError":
                raise
    return _difference(prefix, records, present, config)


def _solve(specs: list[str], keep: list[PrefixRecord], urls: list[str], config: Config) -> list[RepoDataRecord]:
    subdir = str(config["subdir"] or Platform.current())
    strict = config["channel_priority"] == "strict"

    async def ask() -> list[RepoDataRecord]:
        # A fresh cache each time: the index is always the channel's present one. No shards: see py-rattler's limits.
        with tempfile.TemporaryDirectory() as cache:
            gateway = Gateway(cache_dir=Path(cache), default_config=SourceConfig(sharded_enabled=False))
            channels = [Channel(url) for url in urls]
            specs_ = [match(spec) for spec in specs]
            names = sorted({spec_name(spec) for spec in specs})
            found = await gateway.query(channels, [Platform(subdir), Platform("noarch")], names, recursive=False)
            available = {record.name.normalized for records in found for record in records}
            missing = [spec for spec in specs if spec_name(spec) not in available | {r.name.normalized for r in keep}]
            if missing:
                raise not_found(missing, urls, subdir)
            return await solve(
                channels,
                specs_,
                gateway=gateway,
                platforms=[Platform(subdir), Platform("noarch")],
                locked_packages=keep,
                virtual_packages=VirtualPackage.detect(),
                channel_priority=ChannelPriority.Strict if strict else ChannelPriority.Disabled,
            )

    try:
        return asyncio.run(ask())
    except GatewayError as problem:
        raise _unreachable(str(problem)) from problem
    except SolverError as problem:
        text = str(problem).removeprefix("Cannot solve the request because of: ").strip()
        message = f"Encountered problems while solving:\n{text}\n"
        raise CondaError("LibMambaUnsatisfiableError", message) from problem


def not_found(specs: list[str], urls: list[str], subdir: str) -> CondaError:
    """What conda says about packages that no channel has."""
    subdirs = [f"{url}/{part}" for url in urls for part in (subdir, "noarch")]
    lines = "\n".join(f"  - {spec}" for spec in specs)
    where = "\n".join(f"  - {url}" for url in urls)
    return CondaError(
        "PackagesNotFoundInChannelsError",
        f"The following packages are not available from current channels:\n\n{lines}\n\nCurrent channels:\n\n{where}\n",
        packages=specs,
        channel_urls=subdirs,
    )


def _unreachable(text: str) -> CondaError:
    url = re.search(r"(\w+://[^\s'()]+)", text)
    address = url[1] if url else "?"
    status = re.search(r"\b([45]\d\d)\b", text)
    if status:
        return CondaError(
            "UnavailableInvalidChannel", f"HTTP {status[1]} for channel <{address}>", status_code=int(status[1])
        )
    if address.startswith("file:"):
        return CondaError("UnavailableInvalidChannel", f"HTTP 404 NOT FOUND for channel <{address}>", status_code=404)
    return CondaError(
        "CondaHTTPError", f"HTTP 000 CONNECTION FAILED for url <{address}>\nElapsed: -\n\n{text.splitlines()[-1]}\n"
    )


def _difference(prefix: Path, records: list[RepoDataRecord], present: list[PrefixRecord], config: Config) -> Change:
    def identity(record: PackageRecord) -> tuple[str, str, str, str]:
        return (record.name.normalized, str(record.version), record.build, str(record.subdir))

    before = {identity(record) for record in present}
    after = {identity(record) for record in records}
    # The library's types promise less than its function returns: the very records that it got.
    ordered: list[Any] = RepoDataRecord.sort_topologically(list[Any](records))
    new = [record for record in ordered if identity(record) not in before]
    return Change(
        prefix=prefix,
        records=records,
        link=[listed(as_dict(record)) for record in new],
        unlink=[listed(as_dict(record)) for record in present if identity(record) not in after],
        fetch=[_fetch(record) for record in new if not _unpacked(record, config)],
    )


def _unpacked(record: PackageRecord, config: Config) -> bool:
    stem = f"{record.name.normalized}-{record.version}-{record.build}"
    return any(folder.is_dir() and any(p.is_dir() for p in folder.glob(f"{stem}*")) for folder in config.pkgs_dirs())


@contextlib.contextmanager
def alone(cache: Path, archives: Sequence[str]) -> Iterator[None]:
    """Fetch like conda 26.3: each archive comes as FILE.partial, and a second conda that fetches the same meanwhile fails.

    py-rattler's own cache is safe for two. Conda's is not: the second waits for the lock on FILE.partial, finds it gone, and
    gives up (conda/conda#8870, #13037).
    """
    with contextlib.ExitStack() as held:
        for name in sorted(archives):
            partial = cache / f"{name}.partial"
            stream = held.enter_context(partial.open("w"))
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as problem:
                raise CondaError(
                    "FileNotFoundError",
                    f"[Errno 2] No such file or directory: '{partial}' -> '{cache / name}'",
                    exception_type="<class 'FileNotFoundError'>",
                ) from problem
            held.callback(partial.unlink, missing_ok=True)
        yield


def _fetch(record: RepoDataRecord) -> Record:
    data = as_dict(record)
    return {
        "arch": None,
        "build": data["build"],
        "build_number": data["build_number"],
        "channel": data["url"].rsplit("/", 1)[0],
        "depends": data.get("depends", []),
        "fn": data["url"].rsplit("/", 1)[1],
        "md5": data.get("md5"),
        "name": data["name"],
        "sha256": data.get("sha256"),
        "size": data.get("size"),
        "subdir": data["subdir"],
        "url": data["url"],
        "version": data["version"],
    }


def carry_out(change: Change, specs: list[str], config: Config) -> None:
    """Download, unpack, link and unlink."""
    cache = config.pkgs_dirs()[0]
    cache.mkdir(parents=True, exist_ok=True)
    change.prefix.mkdir(parents=True, exist_ok=True)
    linked = {(record["name"], record["version"], record["build_string"]) for record in change.link}
    fetched = [
        record.url.rsplit("/", 1)[1]
        for record in change.records
        if (record.name.normalized, str(record.version), record.build) in linked and not _unpacked(record, config)
    ]
    try:
        with alone(cache, fetched):
            asyncio.run(
                install(
                    list(change.records),
                    target_prefix=change.prefix,
                    cache_dir=cache,
                    reinstall_packages=change.reinstall or None,
                    show_progress=False,
                    requested_specs=[match(spec)._match_spec for spec in specs],
                )
            )
    except InstallerError as problem:
        text = str(problem)
        if "hash mismatch" in text.lower() or "sha256" in text.lower():
            raise CondaError(
                "ChecksumMismatchError", f"Conda detected a mismatch between the hashes: {text}"
            ) from problem
        if "permission denied" in text.lower():
            raise CondaError("EnvironmentNotWritableError", text, environment_location=str(change.prefix)) from problem
        if "error sending request" in text or "HTTP status" in text:
            raise _unreachable(text) from problem
        raise CondaError("CondaError", text) from problem
    (change.prefix / "conda-meta").mkdir(exist_ok=True)


def explicit(prefix: Path, lines: list[str], config: Config) -> Change:
    """The transaction of an explicit file: exactly these archives, checked by their hashes, nothing removed."""
    records = []
    cache = config.pkgs_dirs()[0]
    cache.mkdir(parents=True, exist_ok=True)
    for line in lines:
        url, _, digest = line.partition("#")
        records.append(_explicit_record(url.strip(), digest.strip().removeprefix("sha256:"), cache))
    names = {record.name.normalized for record in records}
    present = prefix_records(prefix)
    return Change(
        prefix=prefix,
        records=[*records, *(record for record in present if record.name.normalized not in names)],
        link=[listed(as_dict(record)) for record in records],
        unlink=[listed(as_dict(record)) for record in present if record.name.normalized in names],
        reinstall={record.name.normalized for record in present if record.name.normalized in names},
    )


def _explicit_record(url: str, digest: str, cache: Path) -> RepoDataRecord:
    if "://" not in url:
        url = Path(url).absolute().as_uri()
    name = url.rsplit("/", 1)[-1]
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        target = Path(folder) / name
        try:
            with urllib.request.urlopen(url, timeout=60) as answer, target.open("wb") as stream:  # noqa: S310 - files too
                shutil.copyfileobj(answer, stream)
        except urllib.error.HTTPError as problem:
            message = f"HTTP {problem.code} {problem.reason} for url <{url}>\nElapsed: -\n"
            raise CondaError("CondaHTTPError", message) from problem
        except OSError as problem:
            raise CondaError("CondaHTTPError", f"HTTP 000 CONNECTION FAILED for url <{url}>\n{problem}\n") from problem
        content = target.read_bytes()
        kind = "sha256" if len(digest) == 64 else "md5"
        actual = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
        if digest and actual != digest.lower():
            raise CondaError(
                "ChecksumMismatchError",
                f"Conda detected a mismatch between the expected content and downloaded content\nfor url '{url}'.\n"
                f"  download saved to: {cache / name}\n  expected {kind}: {digest}\n  actual {kind}: {actual}\n",
                url=url,
                checksum_type=kind,
                expected_checksum=digest,
                actual_checksum=actual,
            )
        extract(target, Path(folder) / "unpacked")
        index = json.loads((Path(folder) / "unpacked/info/index.json").read_text(encoding="utf-8"))
    record = PackageRecord(
        name=index["name"],
        version=index["version"],
        build=index["build"],
        build_number=index["build_number"],
        subdir=index["subdir"],
        noarch=index.get("noarch"),
        depends=index.get("depends", []),
        constrains=index.get("constrains", []),
        sha256=hashlib.sha256(content).digest(),
        md5=hashlib.md5(content, usedforsecurity=False).digest(),
        size=len(content),
        python_site_packages_path=index.get("python_site_packages_path"),
    )
    return RepoDataRecord(record, name, url, url.rsplit("/", 2)[0])

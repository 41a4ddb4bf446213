"""The stand-in installer: one shell script with a base prefix behind it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from lab.conda.package import PLACEHOLDER, STAMP, unpack

CONDA_VERSION = "26.3.2"  # the version whose behaviour is mimicked
NAME = "Standin-conda"
BASE = ("conda", "pip", "python", "py-rattler", "pyyaml")
HEADER = Path(__file__).parent / "header.sh"
LAUNCHER = """#!{python}
import sys
from {module} import {function}
if __name__ == "__main__":
    sys.exit({function}())
"""


def closure(records: list[dict[str, Any]], names: tuple[str, ...], python: str) -> list[dict[str, Any]]:
    """The packages of the base prefix; each name has one candidate that fits the base's Python."""
    chosen: dict[str, dict[str, Any]] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name in chosen or name.startswith("__"):
            continue
        fitting = [r for r in records if r["name"] == name and _fits(r, python)]
        chosen[name] = max(fitting, key=lambda r: [int(part) for part in r["version"].split(".") if part.isdigit()])
        todo += [depend.split()[0] for depend in chosen[name]["depends"]]
    return [chosen[name] for name in sorted(chosen)]


def _fits(record: dict[str, Any], python: str) -> bool:
    if record["name"] == "python":
        return str(record["version"]).startswith(f"{python}.")
    wanted = next((depend for depend in record["depends"] if depend.startswith("python ")), "")
    return ".*" not in wanted or wanted == f"python {python}.*"


def lay_out(package: Path, record: dict[str, Any], prefix: Path, python: str) -> list[str]:
    """Put a package into the base prefix; return the text files that hold the placeholder."""
    with tempfile.TemporaryDirectory(dir=prefix.parent) as folder:
        stage = Path(folder)
        info = unpack(package, stage)
        paths, texts = [], []
        for entry in info["paths"]["paths"]:
            name = entry["_path"]
            if record.get("noarch") == "python":
                name = name.replace("site-packages/", f"lib/python{python}/site-packages/", 1)
                name = name.replace("python-scripts/", "bin/", 1)
            target = prefix / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (stage / entry["_path"]).rename(target)
            if entry.get("prefix_placeholder"):
                texts.append(name)
            paths.append(entry | {"_path": name})
        for line in info.get("link", {}).get("noarch", {}).get("entry_points", []):
            command, target_name = (part.strip() for part in line.split("="))
            module, function = target_name.split(":")
            path = prefix / "bin" / command
            path.parent.mkdir(exist_ok=True)
            interpreter = f"{PLACEHOLDER}/bin/python{python}"
            path.write_text(LAUNCHER.format(python=interpreter, module=module, function=function), encoding="utf-8")
            path.chmod(0o755)
            texts.append(f"bin/{command}")
            paths.append({"_path": f"bin/{command}", "path_type": "unix_python_entry_point"})
    meta = prefix / "conda-meta" / f"{package.stem}.json"
    meta.parent.mkdir(exist_ok=True)
    url = f"https://conda.invalid/stand-in/{record['subdir']}/{package.name}"
    meta.write_text(
        json.dumps(
            record
            | {
                "channel": "https://conda.invalid/stand-in",
                "url": url,
                "files": [path["_path"] for path in paths],
                "paths_data": {"paths": paths, "paths_version": 1},
                "requested_spec": record["name"] if record["name"] in BASE else "None",
            },
            indent=1,
        ),
        encoding="utf-8",
    )
    return texts


def build(channel: Path, records: list[dict[str, Any]], out: Path, cache: Path, subdir: str) -> Path:
    """Write the installer; return its path."""
    python = "3.11"
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        prefix = Path(folder) / "prefix"
        prefix.mkdir()
        texts = []
        chosen = closure(records, BASE, python)
        for record in chosen:
            texts += lay_out(channel / record["subdir"] / record["fn"], record, prefix, python)
        (prefix / "conda-meta/history").write_text(
            "==> 2025-06-15 15:06:40 <==\n# cmd: constructor (stand-in)\n"
            + "".join(f"+stand-in/{r['subdir']}::{r['name']}-{r['version']}-{r['build']}\n" for r in chosen)
            + f"# update specs: {list(BASE)}\n",
            encoding="utf-8",
        )
        (prefix / "conda-meta/initial-state.explicit.txt").write_text(
            "@EXPLICIT\n"
            + "".join(f"https://conda.invalid/stand-in/{r['subdir']}/{r['fn']}#{r['md5']}\n" for r in chosen),
            encoding="utf-8",
        )
        platform = {"linux-64": "Linux-x86_64", "linux-aarch64": "Linux-aarch64"}[subdir]
        release = f"{CONDA_VERSION}-0"
        marker = {"name": NAME, "version": release, "platform": subdir, "type": "sh", "stand_in": True}
        (prefix / ".installer.info").write_text(json.dumps(marker) + "\n", encoding="utf-8")
        # The real installers bring the channel they come from; this one brings a name that resolves nowhere.
        (prefix / ".condarc").write_text("channels:\n  - https://conda.invalid/stand-in\n", encoding="utf-8")
        (prefix / ".stand_in_text_files").write_text("".join(f"{name}\n" for name in texts), encoding="utf-8")
        payload, size = _archive(prefix)
    glibc = max(
        (
            depend.split(">=")[1].split(",")[0]
            for r in chosen
            for depend in r["depends"]
            if depend.startswith("__glibc")
        ),
        key=lambda version: int(version.split(".")[1]),
    )
    header = HEADER.read_text(encoding="utf-8")
    values = {
        "NAME": NAME,
        "VERSION": release,
        "PLATFORM": subdir,
        "PLACEHOLDER": PLACEHOLDER,
        "GLIBC": glibc,
        "KILOBYTES": str(2 * size // 1024),
        "MD5": hashlib.md5(payload, usedforsecurity=False).hexdigest(),
        "LINES": str(header.count("\n") + 1),
    }
    for key, value in values.items():
        header = header.replace(f"@{key}@", value)
    for old in out.glob(f"{NAME}-*.sh"):
        old.unlink()
    script = out / f"{NAME}-{release}-{platform}.sh"
    with script.open("wb") as stream:
        stream.write(header.encode())
        stream.write(payload)
    script.chmod(0o755)
    return script


def _archive(prefix: Path) -> tuple[bytes, int]:
    """The prefix as a compressed archive, equal for equal content, and its size unpacked."""
    buffer, size = io.BytesIO(), 0
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=4, mtime=STAMP) as stream:
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive:
            for path in sorted(prefix.rglob("*")):
                info = archive.gettarinfo(str(path), arcname=path.relative_to(prefix).as_posix())
                info.uid = info.gid = 0
                info.uname = info.gname = ""
                info.mtime = STAMP
                size += info.size
                if info.isreg():
                    with path.open("rb") as content:
                        archive.addfile(info, content)
                else:
                    archive.addfile(info)
    shutil.rmtree(prefix)
    return buffer.getvalue(), size

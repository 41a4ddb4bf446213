"""A conda for unit tests: packages are names with versions in a file, environments are folders, traps are conda's own.

What it copies from the real one: create deletes an existing environment before it looks at anything else, a no-op has
no "actions", install without --satisfied-skip-solve updates, errors are JSON on standard output, two at once break the cache.
FAKE_CONDA (a folder) holds channel.json {name: [versions, newest last]}, calls.log, and "die" to be killed half-way.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent.parent
CHANNEL = json.loads((HOME / "channel.json").read_text())


def out(value: dict[str, Any], code: int = 0) -> None:
    print(json.dumps(value))
    raise SystemExit(code)


def fail(name: str, message: str) -> None:
    out({"exception_name": name, "message": message, "error": f"{name}: {message}"}, 1)


def installed(prefix: Path) -> dict[str, str]:
    records = [json.loads(path.read_text()) for path in (prefix / "conda-meta").glob("*.json")]
    return {record["name"]: record["version"] for record in records}


def record_of(name: str, version: str) -> dict[str, Any]:
    url = f"http://channel.test/noarch/{name}-{version}-0.conda"
    return {"name": name, "version": version, "url": url, "sha256": hashlib.sha256(url.encode()).hexdigest()}


def fetch(wanted: dict[str, str]) -> None:
    """Bring packages into the cache; with a file "slow" for a while. Like the real one, two that fetch the same at once break."""
    cache = HOME / "pkgs"
    cache.mkdir(exist_ok=True)
    for name, version in wanted.items():
        archive, partial = cache / f"{name}-{version}", cache / f"{name}-{version}.partial"
        if archive.exists():
            continue
        try:
            partial.touch(exist_ok=False)
        except FileExistsError:
            fail("FileNotFoundError", f"[Errno 2] No such file or directory: '{partial}' -> '{archive}'")
        if (HOME / "slow").exists():
            time.sleep(1)
        partial.rename(archive)


def write(prefix: Path, wanted: dict[str, str]) -> None:
    fetch(wanted)
    meta = prefix / "conda-meta"
    meta.mkdir(parents=True, exist_ok=True)
    (meta / "history").touch()
    if (HOME / "die").exists():
        os.kill(os.getppid(), signal.SIGKILL)
        raise SystemExit(9)
    for path in meta.glob("*.json"):
        path.unlink()
    for name, version in wanted.items():
        (meta / f"{name}-{version}-0.json").write_text(json.dumps(record_of(name, version)))
    (prefix / "bin").mkdir(exist_ok=True)
    program = prefix / "bin" / ("R" if "r-base" in wanted else "python")
    broken = "exit 3" if "broken" in wanted or "ipykernel" not in wanted else f'exec {sys.executable} "$@"'
    program.unlink(missing_ok=True)
    program.write_text(f"#!/bin/sh\n{broken}\n")
    program.chmod(0o755)


def choose(specs: list[str]) -> dict[str, str]:
    chosen = {}
    for spec in specs:
        name, _, version = spec.partition("=")
        if name not in CHANNEL:
            fail("PackagesNotFoundInChannelsError", f"The following packages are not available:\n  - {spec}")
        fitting = [one for one in CHANNEL[name] if one.startswith(version)]
        if not fitting:
            fail("LibMambaUnsatisfiableError", f"nothing provides {spec}")
        chosen[name] = fitting[-1]
    return chosen


def satisfied(spec: str, there: dict[str, str]) -> bool:
    name, _, version = spec.partition("=")
    return name in there and there[name].startswith(version)


def actions(before: dict[str, str], after: dict[str, str]) -> dict[str, Any]:
    def listed(some: dict[str, str], other: dict[str, str]) -> list[dict[str, Any]]:
        return [{"name": name, "version": version} for name, version in some.items() if other.get(name) != version]

    return {"LINK": listed(after, before), "UNLINK": listed(before, after)}


def finish(prefix: Path, before: dict[str, str], after: dict[str, str], dry: bool) -> None:
    if before == after and before:
        out({"success": True, "message": "All requested packages already installed."})
    if not dry:
        write(prefix, after)
    out({"success": True, "dry_run": dry, "actions": actions(before, after)})


def main(words: list[str]) -> None:
    if words == ["--version"]:
        print("conda 0.0.0 (fake)")
        return
    with (HOME / "calls.log").open("a") as log:
        log.write(" ".join(words) + "\n")
    command = words.pop(0)
    if command == "env":
        command = f"env {words.pop(0)}"
    options: dict[str, str] = {}
    names = []
    while words:
        word = words.pop(0)
        if word in ("-p", "-c", "-f", "--file"):
            options[word] = words.pop(0)
        elif word.startswith("-"):
            options[word] = ""
        else:
            names.append(word)
    assert "--json" in options
    assert "-q" in options
    prefix, dry = Path(options["-p"]), "--dry-run" in options
    there = installed(prefix)
    if command == "create":
        shutil.rmtree(prefix, ignore_errors=True)
        if "--file" in options:
            lines = [line for line in Path(options["--file"]).read_text().splitlines() if line.startswith("http")]
            wanted = {}
            for line in lines:
                name, version, _ = line.rpartition("/")[2].partition("#")[0].rsplit("-", 2)
                if version not in CHANNEL.get(name, []):
                    fail("CondaHTTPError", f"404 for {line}")
                wanted[name] = version
            write(prefix, wanted)
            return
        finish(prefix, {}, choose(names), dry)
    elif command == "install":
        if "--satisfied-skip-solve" in options and all(satisfied(spec, there) for spec in names):
            finish(prefix, there, there, dry)
        more = list(there) if "--update-all" in options else []
        finish(prefix, there, {**there, **choose(more), **choose(names)}, dry)
    elif command == "remove":
        # pandas needs numpy
        gone = {*names, "pandas"} if "numpy" in names else set(names)
        finish(prefix, there, {name: version for name, version in there.items() if name not in gone}, dry)
    elif command == "env update":
        lines = Path(options["-f"]).read_text().splitlines()
        specs = [line.strip()[2:] for line in lines if line.strip().startswith("- ")]
        kept = {} if "--prune" in options else there
        finish(prefix, there, {**kept, **choose(specs)}, dry)
    else:
        raise SystemExit(2)


main(sys.argv[1:])

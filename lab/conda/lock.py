"""Lock the wheels: resolve for each Python, keep the hashes of the files that the stand-in uses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

from lab.conda.debian import BuildError, run
from lab.conda.wheels import LOCKS, PLATFORMS

KERNEL = ["pip", "ipykernel", "numpy", "pandas", "matplotlib", "nbformat"]
# What notebooks reach databases and S3 with. Each newer pyarrow is bigger, and no notebook of ours asks for one.
DESK = ["jupysql", "sqlalchemy", "pymysql", "psycopg[binary]", "boto3", "s3fs>=2025.10", "pyarrow==21.0.0"]
WANTED = {
    "3.9": [*KERNEL, *DESK],
    "3.11": [*KERNEL, *DESK, "py-rattler==0.23.2", "PyYAML"],
    "3.13": [*KERNEL, *DESK],
}


def write_locks(say: Callable[[str], None]) -> None:
    """Write locks/python-X.Y.txt for every Python."""
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    if not Path(uv).exists():
        raise BuildError("uv is missing: install it from PyPI into this environment.")
    for python, names in WANTED.items():
        say(f"resolving for Python {python} ...")
        result = subprocess.run(
            [uv, "pip", "compile", "--quiet", "--no-config", "--native-tls", f"--python-version={python}"]
            + ["--python-platform=x86_64-manylinux_2_28", "--only-binary=:all:", "--no-header", "--no-annotate", "-"],
            input="\n".join(names),
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise BuildError(f"uv could not resolve the wheels: {result.stderr.strip()}")
        pins = result.stdout
        hashes: dict[str, set[str]] = {}
        for subdir, platforms in PLATFORMS.items():
            for name, digest in _hashes(python, pins, platforms):
                hashes.setdefault(name, set()).add(digest)
            say(f"hashed the wheels for {subdir}")
        lines = [f"# Wheels of the conda stand-in for Python {python}: `python -m lab.conda lock` writes this file."]
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", pins, re.MULTILINE):
            words = [f"{name}=={version}", *(f"--hash=sha256:{one}" for one in sorted(hashes[canonicalize_name(name)]))]
            lines.append(" \\\n    ".join(words))
        (LOCKS / f"python-{python}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _hashes(python: str, pins: str, platforms: tuple[str, ...]) -> list[tuple[str, str]]:
    """What pip would download for these platforms, and its hashes."""
    with tempfile.TemporaryDirectory() as folder:
        requirements, report = Path(folder) / "pins.txt", Path(folder) / "report.json"
        requirements.write_text(pins, encoding="utf-8")
        words = [word for platform in platforms for word in ("--platform", platform)]
        words += [word for abi in (f"cp{python.replace('.', '')}", "abi3", "none") for word in ("--abi", abi)]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
        command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *words]
        run(*command, f"--target={folder}/none", f"--report={report}", "-r", requirements)
        found = []
        for item in json.loads(report.read_text(encoding="utf-8"))["install"]:
            info = item["download_info"]
            name = parse_wheel_filename(info["url"].rsplit("/", 1)[-1])[0]
            found.append((str(name), info["archive_info"]["hashes"]["sha256"]))
        return found

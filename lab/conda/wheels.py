"""PyPI wheels as conda packages."""

from __future__ import annotations

import configparser
import email
import hashlib
import re
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from lab.conda.debian import BuildError, run
from lab.conda.package import PLACEHOLDER, Package, write

LOCKS = Path(__file__).parent / "locks"
# What people ask conda for by another name than PyPI's.
NAMES = {
    "fastjsonschema": "python-fastjsonschema",
    "importlib-metadata": "importlib-metadata",
    "importlib-resources": "importlib_resources",
    "ipython-genutils": "ipython_genutils",
    "ipython-pygments-lexers": "ipython_pygments_lexers",
    "jupyter-client": "jupyter_client",
    "jupyter-core": "jupyter_core",
    "pure-eval": "pure_eval",
    "stack-data": "stack_data",
    "typing-extensions": "typing_extensions",
    "tzdata": "python-tzdata",
}
# Conda's psycopg brings its libpq; on PyPI that is an extra.
EXTRAS = {"psycopg": "binary"}
# Big, and of no use in a notebook: the tests of pandas; of pyarrow the tests, the headers, all that speaks to Arrow Flight
# servers, and further names of its libraries, which a wheel can only hold as copies.
LEFT_OUT = re.compile(
    r"pandas/tests/"
    r"|pyarrow/(tests|include|includes|src)/"
    r"|pyarrow/(_flight|_pyarrow_cpp_tests|libarrow_flight|libarrow_python_flight)\."
    r"|pyarrow/lib\w+\.so(\.\d+\.\d+\.\d+)?$"
)
PLATFORMS = {
    "linux-64": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux2010_x86_64"),
    "linux-aarch64": ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
}
SCRIPT = """#!{shebang}
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.exit({function}())
"""


def conda_name(name: str) -> str:
    """The conda name of a PyPI project."""
    name = canonicalize_name(name)
    return NAMES.get(name, name)


def locked(python: str) -> list[tuple[str, str, set[str]]]:
    """The names, versions and hashes that are locked for a Python."""
    text = (LOCKS / f"python-{python}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^([\w.-]+)==(\S+)((?:\s+--hash=sha256:[0-9a-f]{64})+)", text, re.MULTILINE)
    return [(canonicalize_name(name), version, set(re.findall("[0-9a-f]{64}", rest))) for name, version, rest in found]


def download(python: str, cache: Path, subdir: str) -> list[Path]:
    """Fetch the locked wheels of a Python with pip; those in the cache with the right hash are not fetched again."""
    target = cache / "wheels" / python
    target.mkdir(parents=True, exist_ok=True)
    wanted = locked(python)
    hashes = {one for _, _, some in wanted for one in some}

    def have() -> dict[str, Path]:
        """The good files by project; what is no longer locked is removed."""
        found = {}
        for path in target.glob("*.whl"):
            if hashlib.sha256(path.read_bytes()).hexdigest() in hashes:
                found[str(parse_wheel_filename(path.name)[0])] = path
            else:
                path.unlink()
        return found

    if len(have()) < len(wanted):
        platforms = [word for platform in PLATFORMS[subdir] for word in ("--platform", platform)]
        abis = [word for abi in (f"cp{python.replace('.', '')}", "abi3", "none") for word in ("--abi", abi)]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--disable-pip-version-check", "--only-binary=:all:", "--implementation=cp"]
        command += [f"--python-version={python}", f"--dest={target}", *platforms, *abis]
        run(*command, "-r", LOCKS / f"python-{python}.txt")
    found = have()
    missing = sorted(name for name, _, _ in wanted if name not in found)
    if missing:
        raise BuildError(f"No wheel of {', '.join(missing)} came for Python {python}.")
    return sorted(found.values())


@dataclass
class Wheel:
    """A wheel, and the Pythons that it is packed for."""

    path: Path
    pythons: list[str]

    def __post_init__(self) -> None:
        """Read the metadata."""
        self.name, self.version, _, self.tags = parse_wheel_filename(self.path.name)
        with zipfile.ZipFile(self.path) as archive:
            folder = next(n.split("/")[0] for n in archive.namelist() if n.split("/")[0].endswith(".dist-info"))
            names = set(archive.namelist())
            self.metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
            self.entry_points = configparser.ConfigParser(delimiters=("=",), interpolation=None)
            self.entry_points.optionxform = str  # type: ignore[assignment,method-assign]
            if f"{folder}/entry_points.txt" in names:
                self.entry_points.read_string(archive.read(f"{folder}/entry_points.txt").decode())

    @property
    def pure(self) -> bool:
        """Whether it runs on any platform."""
        return all(tag.platform == "any" for tag in self.tags)

    def depends(self, present: set[str]) -> list[str]:
        """What it needs, in conda's words; only what was locked with it."""
        found: dict[str, str] = {}
        for python in self.pythons:
            environment = {str(key): str(value) for key, value in default_environment().items()}
            environment |= {"python_version": python, "python_full_version": f"{python}.0"}
            environment["extra"] = EXTRAS.get(self.name, "")
            for line in self.metadata.get_all("Requires-Dist", []):
                need = Requirement(line)
                if canonicalize_name(need.name) not in present:
                    continue
                if need.marker is None or need.marker.evaluate(environment):
                    found[conda_name(need.name)] = _spec(str(need.specifier))
        return [f"{name} {spec}".strip() for name, spec in sorted(found.items())]

    def scripts(self) -> list[str]:
        """Its commands, as conda's entry points."""
        if not self.entry_points.has_section("console_scripts"):
            return []
        return [
            f"{name} = {target.split('[')[0].strip()}" for name, target in self.entry_points["console_scripts"].items()
        ]


def _spec(specifier: str) -> str:
    """A version requirement in conda's words: the same but for the order, which PyPI does not keep."""
    return ",".join(sorted(part.replace("===", "==") for part in specifier.split(",") if part))


def build(wheel: Wheel, present: set[str], work: Path, out: Path, subdir: str) -> dict[str, Any]:
    """Repack one wheel; return the record of the package."""
    packages = "site-packages" if wheel.pure else f"lib/python{wheel.pythons[0]}/site-packages"
    scripts = "python-scripts" if wheel.pure else "bin"
    stage = work / "stage"
    with zipfile.ZipFile(wheel.path) as archive:
        for item in archive.infolist():
            if item.is_dir() or LEFT_OUT.match(item.filename):
                continue
            first, _, rest = item.filename.partition("/")
            name = f"{packages}/{item.filename}"
            content = archive.read(item)
            mode = 0o755 if (item.external_attr >> 16) & 0o100 else 0o644
            if first.endswith(".data"):
                kind, _, rest = rest.partition("/")
                base = {"purelib": f"{packages}/", "platlib": f"{packages}/", "scripts": f"{scripts}/"}
                name = base.get(kind, "") + rest
                if kind == "scripts":
                    mode = 0o755
                    if content.startswith(b"#!python"):
                        content = content.replace(b"#!python", f"#!{PLACEHOLDER}/bin/python".encode(), 1)
            path = stage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(mode)
    if not wheel.pure:
        for line in wheel.scripts():
            name, target = (part.strip() for part in line.split("="))
            module, function = target.split(":")
            path = stage / "bin" / name
            path.parent.mkdir(exist_ok=True)
            shebang = f"{PLACEHOLDER}/bin/python{wheel.pythons[0]}"
            first = function.split(".")[0]
            path.write_text(SCRIPT.format(shebang=shebang, module=module, first=first, function=function), "utf-8")
            path.chmod(0o755)
    depends = wheel.depends(present)
    if wheel.pure:
        python = "python" + (
            f" {_spec(wheel.metadata['Requires-Python'])}" if wheel.metadata["Requires-Python"] else ""
        )
        build_string = "pyhstandin_0"
    else:
        # A binary of one Python; abi3 wheels too are packed once for each, like conda's own.
        python = f"python {wheel.pythons[0]}.*"
        build_string = f"py{wheel.pythons[0].replace('.', '')}_standin_0"
    glibc = max((int(m[1]) for tag in wheel.tags if (m := re.match(r"manylinux_2_(\d+)_", tag.platform))), default=17)
    package = Package(
        name=conda_name(wheel.name),
        version=str(wheel.version),
        depends=[python, *depends, *([] if wheel.pure else [f"__glibc >=2.{glibc},<3.0.a0"])],
        subdir="noarch" if wheel.pure else subdir,
        build=build_string,
        entry_points=wheel.scripts() if wheel.pure else [],
        license=str(wheel.metadata["License-Expression"] or "").strip(),
        source="a wheel of PyPI",
    )
    record = write(stage, package, out)
    shutil.rmtree(stage)
    return record

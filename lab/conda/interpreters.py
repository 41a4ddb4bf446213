"""Debian's Pythons and R as conda packages."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.conda import elf
from lab.conda.debian import Deb, Suite, run
from lab.conda.package import PLACEHOLDER, Package, write

# Python's and R's own dependencies bring these; nothing of them is used inside a prefix.
UNWANTED = re.compile(
    r"^(libc6|libgcc-s1|libstdc\+\+6|gcc-\d+-base|dpkg|tar|debconf|perl.*|media-types|tzdata.*|python3|python3-minimal"
    r"|libpython3-stdlib|python3-lib2to3|netbase|readline-common|libacl1|libselinux1|libmd0|libpcre2-8-0"
    r"|lib(gssapi|k5crypto|krb5|keyutils|com-err|nsl|tirpc|db5|gdbm).*)$"
)
R_UNWANTED = re.compile(
    r"^(libc6|dpkg|tar|debconf|perl.*|ucf|unzip|zip|xdg-utils|sensible-utils|sysvinit-utils|lsb-base|openssl"
    r"|ca-certificates|readline-common|x11-common|libx11-data|libpaper-utils|media-types|mariadb-common|mysql-common"
    r"|r-cran-littler)$"
)

SITECUSTOMIZE = '''"""Debian looks for packages in dist-packages; a conda prefix keeps them in site-packages."""
import os
import site
import sys

if sys.prefix == sys.base_prefix:
    sys.path[:] = [path for path in sys.path if not path.endswith("dist-packages")]
    site.addsitedir(os.path.join(sys.prefix, "lib", "python%d.%d" % sys.version_info[:2], "site-packages"))
'''

FONTS = f"""<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
 <dir>{PLACEHOLDER}/fonts</dir>
 <dir>/usr/share/fonts</dir>
 <cachedir>~/.cache/fontconfig</cachedir>
</fontconfig>
"""

# The interpreters' own start scripts: what is compiled into Debian's binaries is /usr.
R_ENVIRONMENT = f'export FONTCONFIG_FILE="${{FONTCONFIG_FILE:-{PLACEHOLDER}/etc/fonts/r-fonts.conf}}"\n'
RSCRIPT = f"""#!/bin/sh
# Debian's Rscript has its own home compiled in; this variable is how it is told another.
{R_ENVIRONMENT}export RHOME={PLACEHOLDER}/lib/R
exec {PLACEHOLDER}/lib/R/bin/Rscript "$@"
"""


@dataclass(frozen=True)
class Interpreter:
    """Where an interpreter comes from."""

    version: str
    suite: str


PYTHONS = (Interpreter("3.9", "bullseye"), Interpreter("3.11", "bookworm"), Interpreter("3.13", "trixie"))
R = Interpreter("4.2", "bookworm")
# DBI's drivers for MySQL and PostgreSQL are the older two: of the newer ones Debian 12 has neither.
R_PACKAGES = ("r-cran-irkernel", "r-cran-dbi", "r-cran-rmysql", "r-cran-rpostgresql")


def python_debs(python: Interpreter, suite: Suite) -> list[Deb]:
    """The packages of Debian that make up a Python."""
    names = [f"python{python.version}"] + (["python3-distutils"] if python.version in ("3.9", "3.11") else [])
    return suite.find([name for name in suite.closure(*names) if not UNWANTED.match(name)])


def r_debs(suite: Suite) -> list[Deb]:
    """The packages of Debian that make up R and its packages."""
    closure = suite.closure("r-base-core", "fonts-dejavu-core", *R_PACKAGES)
    return suite.find([name for name in closure if not R_UNWANTED.match(name)])


def _extract(debs: list[Path], target: Path) -> Path:
    target.mkdir(parents=True)
    for deb in debs:
        run("dpkg-deb", "-x", deb, target)
    return target


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def build_python(python: Interpreter, debs: list[Deb], files: list[Path], work: Path, out: Path, subdir: str) -> Any:
    """Repack Debian's Python; return the record of the package."""
    root, stage, short = _extract(files, work / "root"), work / "stage", python.version
    home = stage / "lib" / f"python{short}"
    _move(root / f"usr/lib/python{short}", home)
    (stage / "bin").mkdir()
    shutil.copy(root / f"usr/bin/python{short}", stage / "bin" / f"python{short}")
    for link in ("python", "python3"):
        (stage / "bin" / link).symlink_to(f"python{short}")
    # Debian's own additions, which would send packages to /usr/local or forbid installing any.
    (home / "EXTERNALLY-MANAGED").unlink(missing_ok=True)
    (home / "sitecustomize.py").unlink(missing_ok=True)
    shutil.rmtree(home / "ensurepip", ignore_errors=True)
    for path in home.rglob("*"):
        if path.is_symlink() and not path.exists():
            path.unlink()
    (home / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
    for path in (home / "sysconfig.py", home / "sysconfig" / "__init__.py"):
        if path.exists():
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("prefix_scheme = 'posix_local'", "prefix_scheme = 'posix_prefix'"), "utf-8")
    for path in home.rglob("_distutils_system_mod.py"):
        path.unlink()
    if (home / "distutils/command/install.py").exists():  # 3.9 asks here where packages go
        path = home / "distutils/command/install.py"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("/local/lib/", "/lib/").replace("dist-packages", "site-packages"), "utf-8")
    (home / "site-packages").mkdir(exist_ok=True)
    (home / "site-packages" / "README.txt").write_text("Packages of this prefix live here.\n", encoding="utf-8")
    elf.bundle(stage, f"lib/python{short}/bundled", elf.pool([root]), droppable=f"lib/python{short}/lib-dynload")
    glibc = elf.glibc_needed(path for path in stage.rglob("*") if elf.is_elf(path))
    version = next(deb.version for deb in debs if deb.name == f"python{short}")
    package = Package(
        name="python",
        version=version,
        depends=[f"__glibc >={glibc},<3.0.a0"],
        subdir=subdir,
        build=f"standin_{python.suite}_0",
        license="PSF-2.0",
        source=f"Debian {python.suite}",
    )
    return write(stage, package, out)


def build_r(debs: list[Deb], files: list[Path], work: Path, out: Path, subdir: str) -> list[Any]:
    """Repack Debian's R and its packages; return their records."""
    cran = [file for file in files if file.name.startswith("r-cran-")]
    root = _extract([file for file in files if file not in cran], work / "root")
    stage = work / "r-base"
    _move(root / "usr/lib/R", stage / "lib/R")
    _move(root / "usr/share/R", stage / "share/R")
    _move(root / "usr/share/fonts/truetype/dejavu", stage / "fonts/dejavu")
    for path in (stage / "lib/R/etc").iterdir():
        if path.is_symlink():
            path.unlink()
    _move(root / "etc/R", stage / "lib/R/etc")
    (stage / "lib/R/etc/Renviron.ucf").rename(stage / "lib/R/etc/Renviron")
    for path in [*(stage / "lib/R").rglob("*"), *(stage / "share/R").rglob("*")]:
        if path.is_symlink() and not path.exists():
            path.unlink()
    _relocate_r(stage)

    # The R packages with binaries are staged below r-base for a moment, so that one set of libraries serves all.
    packages: dict[str, Path] = {}
    for file in cran:
        name = file.name.split("_", 1)[0].removeprefix("r-cran-")
        tree = _extract([file], work / "cran" / name)
        library = next((tree / "usr/lib/R/site-library").iterdir())
        packages[name] = stage / "lib/R/library" / library.name
        _move(library, packages[name])
    elf.bundle(stage, "lib/R/bundled", elf.pool([root]))

    records = []
    versions = {deb.name: deb.version for deb in debs}
    for file in cran:
        name = file.name.split("_", 1)[0].removeprefix("r-cran-")
        own = work / "packages" / name / "lib/R/library" / packages[name].name
        own.parent.mkdir(parents=True)
        packages[name].rename(own)
        wanted = re.findall(r"\br-cran-([a-z0-9.]+)", run("dpkg-deb", "-f", file, "Depends"))
        binaries = any(elf.is_elf(path) for path in own.rglob("*"))
        package = Package(
            name=f"r-{name}",
            version=versions[f"r-cran-{name}"],
            depends=["r-base 4.2.*", *sorted({f"r-{one}" for one in wanted if one in packages})],
            subdir=subdir if binaries else "noarch",
            build="r42_standin_0",
            source=f"Debian {R.suite}",
        )
        records.append(write(work / "packages" / name, package, out))
    glibc = elf.glibc_needed(path for path in stage.rglob("*") if elf.is_elf(path))
    base = Package(
        name="r-base",
        version=".".join(versions["r-base-core"].split(".")[:3]),
        depends=[f"__glibc >={glibc},<3.0.a0"],
        subdir=subdir,
        build="standin_bookworm_0",
        license="GPL-2.0-or-later",
        source=f"Debian {R.suite}",
    )
    records.append(write(stage, base, out))
    return records


def _relocate_r(stage: Path) -> None:
    """Put the placeholder where Debian's R has /usr written in text files."""
    home = stage / "lib/R"
    for path in home.rglob("*"):
        if path.is_symlink() or not path.is_file() or elf.is_elf(path):
            continue
        content = path.read_bytes()
        if b"\0" in content:
            continue
        new = (
            content.replace(b"/usr/lib/R", f"{PLACEHOLDER}/lib/R".encode())
            .replace(b"/usr/share/R", f"{PLACEHOLDER}/share/R".encode())
            .replace(b"/usr/${libnn", f"{PLACEHOLDER}/${{libnn".encode())
        )
        new = re.sub(rb"/usr/local/lib/R/site-library/?:", b"", new)
        if new != content:
            path.write_bytes(new)
    script = home / "bin/R"
    first, rest = script.read_text(encoding="utf-8").split("\n", 1)
    script.write_text(f"{first}\n{R_ENVIRONMENT}{rest}", encoding="utf-8")
    (stage / "bin").mkdir()
    (stage / "bin/R").symlink_to("../lib/R/bin/R")
    (stage / "bin/Rscript").write_text(RSCRIPT, encoding="utf-8")
    (stage / "bin/Rscript").chmod(0o755)
    (stage / "etc/fonts").mkdir(parents=True)
    (stage / "etc/fonts/r-fonts.conf").write_text(FONTS, encoding="utf-8")

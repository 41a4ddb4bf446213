"""The channel, the installer and the manifest, from what Debian and PyPI offer."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab.conda import debian, installer, interpreters, wheels
from lab.conda.package import Package, write, write_index

HERE = Path(__file__).parent
SUBDIRS = {"amd64": "linux-64", "arm64": "linux-aarch64"}
BASE_PYTHON = "3.11"
KEEP_S = 7 * 86400
SCIENCE = ["ipykernel", "numpy", "pandas", "matplotlib"]


def kernel(python: str) -> dict[str, Any]:
    """A Python kernel in the role's words."""
    return {
        "name": f"python{python.replace('.', '')}",
        "display_name": f"Python {python}",
        "language": "python",
        "packages": [f"python={python}", *SCIENCE],
    }


R_KERNEL = {"name": "r", "display_name": "R", "language": "r", "packages": ["r-base=4.2", "r-irkernel"]}


def kernels(release: str | None, pythons: Collection[str]) -> list[dict[str, Any]]:
    """R and the Pythons, two if both are among those that are made, that install on a release of Debian, or on every one."""
    newest = "3.13" if release == "13" else "3.9"  # Debian 13's Python asks for a newer C library than 12 has
    return [kernel(python) for python in (BASE_PYTHON, newest) if python in pythons] + [R_KERNEL]


class Builder:
    """One build: where things come from, where they go, and what was said about it."""

    def __init__(
        self, out: Path, cache: Path, mirror: str | None, pythons: Collection[str], say: Callable[[str], None]
    ) -> None:
        """Nothing happens here yet."""
        self.out, self.cache, self.say, self.mirror = out, cache, say, mirror
        self.pythons = [python for python in interpreters.PYTHONS if python.version in {BASE_PYTHON, *pythons}]
        self.versions = [python.version for python in self.pythons]
        self.debian_arch = debian.architecture()
        if self.debian_arch not in SUBDIRS:
            raise debian.BuildError(f"The conda stand-in is not made for {self.debian_arch}.")
        self.subdir = SUBDIRS[self.debian_arch]
        self.records: list[dict[str, Any]] = []

    def stamp(self) -> str:
        """A hash of everything of ours that goes into the result."""
        total = hashlib.sha256(f"{self.debian_arch} {self.mirror} {self.versions}".encode())
        for path in sorted(HERE.rglob("*")):
            if path.is_file() and path.suffix in (".py", ".sh", ".txt"):
                total.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes())
        return total.hexdigest()

    def cached(self, key: str, make: Callable[[Path, Path], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """The records and files of packages whose inputs hash to `key`, made only when they are not in the cache."""
        store = self.cache / "packages" / key
        if not (store / "records.json").exists():
            store.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.cache) as folder:
                work, fresh = Path(folder) / "work", Path(folder) / "fresh"
                work.mkdir()
                records = make(work, fresh)
                (fresh / "records.json").write_text(json.dumps(records), encoding="utf-8")
                fresh.rename(store)
        os.utime(store)
        records = json.loads((store / "records.json").read_text(encoding="utf-8"))
        for record in records:
            target = self.channel / record["subdir"] / record["fn"]
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(store / record["fn"], target)
        return list(records)

    def build(self) -> bool:
        """Make everything that is not there; return whether anything was made."""
        self.cache.mkdir(parents=True, exist_ok=True)
        # Two tests may want it at the same time: the second waits, and finds what the first made.
        with (self.cache / "lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            stamp_file, stamp = self.out / ".stamp", self.stamp()
            if stamp_file.exists() and stamp_file.read_text(encoding="utf-8") == stamp:
                return False
            self._build(stamp_file, stamp)
            return True

    def _build(self, stamp_file: Path, stamp: str) -> None:
        started = time.monotonic()
        self.out.mkdir(parents=True, exist_ok=True)
        self.channel = self.out / "channel.new"
        shutil.rmtree(self.channel, ignore_errors=True)
        stamp_file.unlink(missing_ok=True)
        self.code = hashlib.sha256(
            b"".join(
                (HERE / f"{name}.py").read_bytes() for name in ("debian", "package", "elf", "interpreters", "wheels")
            )
        ).hexdigest()
        uri = debian.mirror(self.mirror)
        with ThreadPoolExecutor(max_workers=8) as threads:
            # The big ones first: the last to finish decides how long all takes.
            jobs: list[Future[list[dict[str, Any]]]] = [threads.submit(self._r, uri)]
            jobs += [threads.submit(self._python, python, uri) for python in self.pythons]
            sets = {version: threads.submit(self._wheels, version) for version in self.versions}
            found: dict[str, wheels.Wheel] = {}
            for version, files in sets.items():
                for path in files.result():
                    wheel = wheels.Wheel(path, [version])
                    if wheel.pure and path.name in found:
                        found[path.name].pythons.append(version)
                    else:
                        found[path.name if wheel.pure else f"{version}/{path.name}"] = wheel
            self.say(f"repacking {len(found)} wheels ...")
            heavy = sorted(found.values(), key=lambda wheel: -wheel.path.stat().st_size)
            jobs += [threads.submit(self._wheel, wheel) for wheel in heavy]
            for job in jobs:
                self.records += job.result()
        self.records += [self._command()]
        write_index(self.channel, self.records, (self.subdir, "noarch"))
        self.say("putting the installer together ...")
        script = installer.build(self.channel, self.records, self.out, self.cache, self.subdir)
        shutil.rmtree(self.out / "channel", ignore_errors=True)
        self.channel.rename(self.out / "channel")
        manifest = {
            "stand_in": True,
            "installer_name": script.name,
            "installer_sha256": hashlib.sha256(script.read_bytes()).hexdigest(),
            "conda_version": installer.CONDA_VERSION,
            "subdir": self.subdir,
            "kernels": kernels(None, self.versions),
            "kernels_by_release": {release: kernels(release, self.versions) for release in ("12", "13")},
        }
        (self.out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        stamp_file.write_text(stamp, encoding="utf-8")
        self._prune()
        size = sum(int(record["size"]) for record in self.records) / 1e6
        self.say(f"{len(self.records)} packages, {size:.0f} MB, in {time.monotonic() - started:.0f} s")

    def _prune(self) -> None:
        """Forget packages that no build has used for a while: each change of a recipe leaves all it made before."""
        for store in (self.cache / "packages").iterdir():
            if time.time() - store.stat().st_mtime > KEEP_S:
                shutil.rmtree(store)

    def _key(self, *parts: object) -> str:
        return hashlib.sha256("\n".join([self.code, self.subdir, *map(str, parts)]).encode()).hexdigest()[:32]

    def _suite(self, name: str, uri: str, purpose: str) -> debian.Suite:
        suite = debian.Suite(name, self.cache / purpose, uri)
        suite.debs = self.cache / "debs"
        suite.debs.mkdir(exist_ok=True)
        suite.update()
        return suite

    def _python(self, python: interpreters.Interpreter, uri: str) -> list[dict[str, Any]]:
        self.say(f"fetching Python {python.version} from Debian {python.suite} ...")
        suite = self._suite(python.suite, uri, "python")
        debs = interpreters.python_debs(python, suite)
        files = suite.download(debs)
        self.say(f"repacking Python {python.version} ...")
        return self.cached(
            self._key("python", *sorted(deb.sha256 for deb in debs)),
            lambda work, out: [interpreters.build_python(python, debs, files, work, out, self.subdir)],
        )

    def _r(self, uri: str) -> list[dict[str, Any]]:
        self.say(f"fetching R from Debian {interpreters.R.suite} ...")
        suite = self._suite(interpreters.R.suite, uri, "r")
        debs = interpreters.r_debs(suite)
        files = suite.download(debs)
        self.say("repacking R ...")
        return self.cached(
            self._key("r", *sorted(deb.sha256 for deb in debs)),
            lambda work, out: interpreters.build_r(debs, files, work, out, self.subdir),
        )

    def _wheels(self, python: str) -> list[Path]:
        self.say(f"fetching wheels for Python {python} ...")
        return wheels.download(python, self.cache, self.subdir)

    def _wheel(self, wheel: wheels.Wheel) -> list[dict[str, Any]]:
        present = {name for python in wheel.pythons for name, _, _ in wheels.locked(python)}
        digest = hashlib.sha256(wheel.path.read_bytes()).hexdigest()
        return self.cached(
            self._key("wheel", digest, *wheel.pythons, *wheel.depends(present)),
            lambda work, out: [wheels.build(wheel, present, work, out, self.subdir)],
        )

    def _command(self) -> dict[str, Any]:
        """The package of the `conda` command itself."""
        with tempfile.TemporaryDirectory(dir=self.cache) as folder:
            stage = Path(folder) / "stage"
            shutil.copytree(
                HERE / "standin", stage / "site-packages/conda_stand_in", ignore=shutil.ignore_patterns("__pycache__")
            )
            package = Package(
                name="conda",
                version=installer.CONDA_VERSION,
                depends=[f"python {BASE_PYTHON}.*", "py-rattler 0.23.*", "pyyaml"],
                subdir="noarch",
                build="pyhstandin_0",
                entry_points=["conda = conda_stand_in.main:run"],
                license="BSD-3-Clause",
                source="the lab's own command that behaves like conda",
            )
            return write(stage, package, self.channel / "noarch")


def _link(source: Path, target: Path) -> None:
    """Show a file at another place, without a second copy where the file system can."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def build(
    out: Path, cache: Path | None, mirror: str | None, pythons: Collection[str], say: Callable[[str], None]
) -> Path:
    """Build into `out` with these Pythons and that of conda itself; return the path of the manifest."""
    mirror = mirror or os.environ.get("LAB_DEBIAN_MIRROR")
    if not Builder(out, cache or out / "cache", mirror, pythons, say).build():
        say("up to date")
    return out / "manifest.json"

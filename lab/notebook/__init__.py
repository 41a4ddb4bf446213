"""The stand-in for the Jupyter project's notebook image: localhost/notebook-standin:<hash of what it is made of>."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import platform
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lab import image
from lab.engine import docker, stream
from lab.progress import alone, follow, say
from lab.settings import ROOT

HERE = Path(__file__).parent
REPOSITORY = "localhost/notebook-standin"
LABEL = "lab.part=notebook-standin"
CACHE = ROOT / ".cache" / "notebook"
# The versions of JupyterLab and what it needs are those of the role: one list to keep current.
LOCK = ROOT / "roles" / "jupyter_tls" / "files" / "requirements.txt"
PYTHON = "3.11"
SUBDIRS = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}
# What the real image has beside JupyterLab, as far as the channel has it too.
SCIENCE = ("ipykernel", "numpy", "pandas", "matplotlib")


def files() -> dict[str, bytes]:
    """Return our files in the build, by their path in it."""
    paths = [HERE / "Dockerfile", *sorted((HERE / "files").rglob("*")), *sorted((HERE / "build").rglob("*"))]
    return {str(path.relative_to(HERE)): path.read_bytes() for path in paths if path.is_file()}


def fingerprint() -> str:
    """Return a hash of everything that goes into the image: ours, the lock and what the conda stand-in is made by."""
    digest = hashlib.sha256(platform.machine().encode() + LOCK.read_bytes())
    conda = [path for path in sorted((ROOT / "lab" / "conda").rglob("*")) if path.suffix in {".py", ".sh", ".txt"}]
    parts = {
        **files(),
        **image.host_authorities(),
        **{str(path.relative_to(ROOT)): path.read_bytes() for path in conda},
    }
    for name, text in {**parts, "__init__.py": Path(__file__).read_bytes()}.items():
        digest.update(f"\0{name}\0".encode() + text)
    return digest.hexdigest()[:16]


def tag() -> str:
    """Return the image's name."""
    return f"{REPOSITORY}:{fingerprint()}"


def there(name: str) -> bool:
    """Tell whether the engine has an image."""
    return bool(docker("image", "ls", "--quiet", name).strip())


def build(conda: Path | None = None) -> str:
    """Make sure that the image is there and made from the present inputs; return its name.

    `conda` is the folder of a conda stand-in that is there already; else one is made.
    """
    name = tag()
    if there(name):
        return name
    with alone(name):
        if not there(name):
            make(name, conda or conda_stand_in())
    return name


def conda_stand_in() -> Path:
    """Make the conda stand-in and return its folder."""
    folder = CACHE / "conda"
    command = [
        sys.executable,
        "-m",
        "lab.conda",
        "build",
        "--out",
        str(folder),
        "--cache",
        str(ROOT / ".cache" / "conda"),
    ]
    follow(image.lines(command), "conda stand-in")
    return folder


def make_system() -> None:
    """Build what comes before conda, which needs nothing of it; `make` finds it in the engine's cache."""
    if there(tag()):
        return
    with tempfile.TemporaryDirectory(prefix="lab-image-") as folder:
        run_build(Path(folder), {}, {}, "--target=system")


def make(name: str, conda: Path) -> None:
    """Build the image."""
    started = time.monotonic()
    say(f"Building {name} (about a minute, once) ...")
    manifest = json.loads((conda / "manifest.json").read_text())
    from_channel, by_pip = split(LOCK.read_text(), offered(conda / "channel"))
    lists = {"build/channel.txt": "\n".join(from_channel) + "\n", "build/pip.txt": by_pip}
    with tempfile.TemporaryDirectory(prefix="lab-image-") as folder, serve(conda) as url:
        values = {"CHANNEL": f"{url}/channel", "INSTALLER": f"{url}/{manifest['installer_name']}"}
        run_build(Path(folder), lists, values, f"--tag={name}")
    # Those of former inputs, unless something uses them.
    docker("image", "prune", "--all", "--force", f"--filter=label={LABEL}", "--filter=until=24h")
    say(f"Built {name} in {time.monotonic() - started:.0f} s.")


def run_build(folder: Path, texts: dict[str, str], values: dict[str, str], *more: str) -> None:
    """Run the engine's build in a folder with our files, others, and values for it."""
    parts = {**files(), **{file: text.encode() for file, text in texts.items()}}
    parts |= {f"ca/{file}": pem for file, pem in image.host_authorities().items()}
    parts |= {"ca/README": b"Certificate authorities of the machine that built this image.\n"}
    for file, content in parts.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
        (folder / file).chmod(0o755 if content.startswith(b"#!") else 0o644)
    values = {"BASE": image.debian("13"), **values}
    values |= {key: os.environ[key] for key in ("http_proxy", "https_proxy") if os.environ.get(key)}
    values["no_proxy"] = ",".join(filter(None, ["127.0.0.1", os.environ.get("no_proxy")]))
    arguments = [f"--build-arg={key}={value}" for key, value in values.items()]
    follow(stream("build", "--network=host", *arguments, f"--label={LABEL}", *more, str(folder)), "image")


def offered(channel: Path) -> set[str]:
    """Return the names of the packages that a channel has for the image's Python."""
    found = set()
    for subdir in ("noarch", SUBDIRS[platform.machine()]):
        index = json.loads((channel / subdir / "repodata.json").read_text())
        for record in index["packages.conda"].values():
            pins = [depend.split()[1] for depend in record["depends"] if re.match(r"python \d", depend)]
            if all(pin.startswith(PYTHON) for pin in pins):
                found.add(record["name"])
    return found


def split(requirements: str, channel: set[str]) -> tuple[list[str], str]:
    """Return what conda is to install and the rest, with its hashes, for pip: nothing is there twice."""
    from lab.conda.wheels import NAMES

    environment = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.2", "sys_platform": "linux"}
    from_channel, by_pip = set(SCIENCE), []
    for entry in re.split(r"^(?=\w)", requirements, flags=re.MULTILINE):
        if not re.match(r"\w", entry):
            continue
        requirement = Requirement(entry.split("\\", 1)[0].strip())
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        name = str(canonicalize_name(requirement.name))
        if NAMES.get(name, name) in channel:
            from_channel.add(NAMES.get(name, name))
        else:
            by_pip.append(entry.rstrip() + "\n")
    return sorted(from_channel), "".join(by_pip)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serve files without a line for each."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Offer a folder to the build for as long as it takes."""
    handler: Callable[..., Quiet] = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

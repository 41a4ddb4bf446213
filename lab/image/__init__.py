"""Build the image of a host: localhost/notebook-host:<12|13>, or the same on top of a base you name.

`13-prepared` is 13 with much of what the roles install there already, for tests that are about something else.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lab.engine import EngineError, docker, stream
from lab.progress import alone, follow, say
from lab.settings import ROOT

HERE = Path(__file__).parent
REPOSITORY = "localhost/notebook-host"
CODENAMES = {"12": "bookworm", "13": "trixie"}
# What is installed already in it, on top of which.
PREPARED = {"13-prepared": "13"}
# The wheels in it are those that the role installs.
LOCK = ROOT / "roles" / "jupyter_tls" / "files" / "requirements.txt"
# Where systems keep the certificate authorities that somebody added.
CA_FOLDERS = ("/usr/local/share/ca-certificates", "/etc/pki/ca-trust/source/anchors")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def host_authorities() -> dict[str, bytes]:
    """Return the certificate authorities added to this machine, as file name -> PEM text."""
    found = {}
    for folder in CA_FOLDERS:
        for path in sorted(Path(folder).glob("**/*")):
            if path.suffix in {".crt", ".pem"} and path.is_file():
                text = path.read_bytes()
                found[f"host-{hashlib.sha256(text).hexdigest()[:12]}.crt"] = text
    return found


def sources(wanted: str) -> dict[str, bytes]:
    """Return the files that make an image, by their path in the build."""
    if wanted in PREPARED:
        return {"Dockerfile": (HERE / "prepared" / "Dockerfile").read_bytes(), "requirements.txt": LOCK.read_bytes()}
    paths = [HERE / "Dockerfile", *sorted((HERE / "files").glob("**/*"))]
    authorities = {f"ca/{name}": pem for name, pem in host_authorities().items()}
    return {str(path.relative_to(HERE)): path.read_bytes() for path in paths if path.is_file()} | authorities


def fingerprint(wanted: str) -> str:
    """Return a hash of everything that goes into the image."""
    digest = hashlib.sha256((fingerprint(PREPARED[wanted]) if wanted in PREPARED else wanted).encode())
    for name, text in sources(wanted).items():
        digest.update(f"\0{name.removeprefix('ca/')}\0".encode() + text)
    return digest.hexdigest()[:20]


def tag(wanted: str) -> str:
    """Return the name of the image for `12`, `13`, `13-prepared` or a base image reference."""
    if wanted in {*CODENAMES, *PREPARED}:
        return f"{REPOSITORY}:{wanted}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*", wanted):
        raise EngineError(f"`{wanted}` is not 12, 13, 13-prepared or the name of an image.")
    return f"{REPOSITORY}:{re.sub(r'[^A-Za-z0-9_.-]', '-', wanted)}"


def label(image: str) -> str | None:
    """Return the fingerprint an image was built from, None if there is no such image."""
    try:
        return docker("image", "inspect", "--format", '{{index .Config.Labels "lab.inputs"}}', image).strip()
    except EngineError:
        return None


def build(wanted: str = "13") -> str:
    """Make sure the image is there and made from the present inputs; return its name."""
    image, inputs = tag(wanted), fingerprint(wanted)
    if label(image) == inputs:
        return image
    with alone(image):
        if label(image) != inputs:
            make(wanted, image, inputs)
    return image


def make(wanted: str, image: str, inputs: str) -> None:
    """Build the image."""
    base = build(PREPARED[wanted]) if wanted in PREPARED else debian(wanted) if wanted in CODENAMES else pulled(wanted)
    started = time.monotonic()
    say(f"Building {image} (about a minute, once) ...")
    with tempfile.TemporaryDirectory(prefix="lab-image-") as folder:
        context = Path(folder)
        (context / "ca").mkdir()
        (context / "ca" / "README").write_text("Certificate authorities of the machine that built this image.\n")
        for name, text in sources(wanted).items():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            (context / name).write_bytes(text)
        arguments = [f"--build-arg=BASE={base}", f"--label=lab.inputs={inputs}", *proxies(), f"--tag={image}", folder]
        follow(stream("build", "--network=host", *arguments), "packages")
    say(f"Built {image} in {time.monotonic() - started:.0f} s.")


def proxies() -> list[str]:
    """Return what tells a build about this machine's proxies."""
    names = ("http_proxy", "https_proxy", "no_proxy")
    return [f"--build-arg={name}={os.environ[name]}" for name in names if os.environ.get(name)]


def pulled(reference: str, timeout: float = 600) -> str:
    """Pull a base image, unless it is here already."""
    try:
        docker("image", "inspect", "--format", "{{.Id}}", reference)
    except EngineError:
        try:
            docker("pull", "--quiet", reference, timeout=timeout)
        except EngineError as error:
            raise EngineError(
                f"The base image {reference} cannot be pulled ({str(error).splitlines()[-1]}): "
                "check its name and that its registry can be reached, or leave LAB_IMAGE unset."
            ) from error
    return reference


def registry_answers(seconds: float = 4) -> bool:
    """Tell whether the public container registry can be reached from the engine."""
    try:
        docker("manifest", "inspect", "debian:stable-slim", timeout=seconds)
    except EngineError:
        return False
    return True


def debian(version: str) -> str:
    """Return a Debian base: the public one when the registry answers, else one made from the packages."""
    codename = CODENAMES[version]
    if registry_answers():
        try:
            return pulled(f"debian:{codename}-slim")
        except EngineError as error:
            say(f"  {error}")
    return bootstrap(codename)


def bootstrap(codename: str) -> str:
    """Make a Debian base from the distribution's packages, as the public image is made."""
    image = f"localhost/notebook-base:{codename}"
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    with alone(image):
        if label(image) != architecture:
            make_base(codename, image, architecture)
    return image


def make_base(codename: str, image: str, architecture: str) -> None:
    """Make the base from packages."""
    need_mmdebstrap()
    say(f"  No container registry answers: making the Debian {codename} base from its packages ...")
    with tempfile.TemporaryDirectory(prefix="lab-image-") as folder:
        archive = Path(folder) / "base.tar"
        command = ["mmdebstrap", "--variant=minbase", "--include=ca-certificates", "--components=main"]
        command += [f"--architectures={architecture}", codename, str(archive)]
        follow(lines(command), "base")
        say("  Handing the base to the engine ...")
        docker("import", "--change", f"LABEL lab.inputs={architecture}", str(archive), image, timeout=300)


def need_mmdebstrap() -> None:
    """Install mmdebstrap where that is possible; else say what to do."""
    if shutil.which("mmdebstrap"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise EngineError(
            "No container registry answers, and mmdebstrap is missing to make the base image without one: "
            "install mmdebstrap and debian-archive-keyring, or connect to a registry."
        )
    say("  Installing mmdebstrap ...")
    follow(lines(["apt-get", "update", "-q"]), "package lists")
    packages = ["mmdebstrap", "debian-archive-keyring"]
    follow(
        lines(
            ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "-q", "--no-install-recommends", *packages]
        ),
        "mmdebstrap",
    )


def lines(command: list[str]) -> Iterator[str]:
    """Run a program and yield its lines; its last words become the error if it fails."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        last = ""
        for line in process.stdout or ():
            last = line.strip() or last
            yield line.rstrip()
        if process.wait() != 0:
            raise EngineError(f"{command[0]} failed: {last}")

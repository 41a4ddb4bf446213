"""A container registry with the stand-in notebook image in it: TLS by an authority of its own, and a login if asked for."""

from __future__ import annotations

import argparse
import hashlib
import ipaddress
import json
import re
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from lab import image as host_image
from lab import notebook
from lab.engine import EngineError, docker, stream
from lab.progress import alone, follow, say
from lab.registry import certificate
from lab.registry.storage import Storage

HERE = Path(__file__).parent
REPOSITORY = "localhost/notebook-registry"
PART = "lab.part=registry"
# Where the real registry has the image, and the release that the project names; the second is there to upgrade to.
NOTEBOOK = "jupyter/datascience-notebook"
RELEASES = ["2026-07-28", "2026-08-25"]
CONFIG = """version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: /var/lib/registry}, delete: {enabled: true}}
http: {addr: ":443", tls: {certificate: /etc/registry/tls.crt, key: /etc/registry/tls.key}}
"""
LOGIN = "auth: {htpasswd: {realm: registry, path: /etc/registry/htpasswd}}\n"


def add_parser(commands: Any) -> None:
    """Add `registry` to the command line."""
    whole = commands.add_parser("registry", help="a container registry with the stand-in notebook image in it")
    verbs = whole.add_subparsers(dest="verb", required=True)
    verbs.add_parser("image", help="build the stand-in notebook image and print its name")
    stop_parser = verbs.add_parser("stop", help="remove a registry")
    start_parser = verbs.add_parser("start", help="start a registry and print what there is to know about it, as JSON")
    for one in (stop_parser, start_parser):
        one.add_argument("--name", required=True, help="the name of its container")
    start_parser.add_argument("--network", required=True, help="the engine's network that it is in")
    start_parser.add_argument("--ip", required=True, help="its address there")
    start_parser.add_argument("--folder", required=True, type=Path, help="where ca.crt and its own files go")
    start_parser.add_argument("--host-name", default="registry.lab", help="its name in that network (registry.lab)")
    start_parser.add_argument("--login", default="", metavar="USER", help="who may use it (nobody else then)")
    start_parser.add_argument("--password-file", type=Path, help="the file with that user's password")


def command(arguments: argparse.Namespace) -> str:
    """Run one of the commands; return what is to be printed."""
    if arguments.verb == "image":
        return notebook.build()
    if arguments.verb == "stop":
        stop(arguments.name)
        return f"The registry {arguments.name} is gone."
    if bool(arguments.login) != bool(arguments.password_file):
        raise EngineError("--login and --password-file go together: name both or none.")
    password = ""
    if arguments.password_file:
        try:
            password = arguments.password_file.read_text().rstrip("\n")
        except OSError as error:
            raise EngineError(
                f"--password-file cannot be read: {error.strerror} ({arguments.password_file})."
            ) from error
    login = (arguments.login, password)
    found = start(arguments.name, arguments.network, arguments.ip, arguments.folder, arguments.host_name, login)
    return json.dumps(found)


def build(conda: Path | None = None) -> tuple[str, dict[str, str]]:
    """Make sure that the registry's image is there, with the notebook image inside; return its name and the digests."""
    held = notebook.build(conda)
    name = tag(held)
    if not notebook.there(name):
        with alone(name):
            if not notebook.there(name):
                make(name, held)
    digests = docker("image", "inspect", "--format", '{{index .Config.Labels "lab.digests"}}', name)
    return name, dict(json.loads(digests))


def tag(held: str) -> str:
    """Return the name of the registry's image with a notebook image in it."""
    parts = [path.read_bytes() for path in sorted(HERE.glob("*")) if path.suffix == ".py" or path.name == "Dockerfile"]
    digest = hashlib.sha256(b"\0".join([held.encode(), *parts])).hexdigest()[:16]
    return f"{REPOSITORY}:{digest}"


def make_server() -> None:
    """Build what is in the image beside the images that it holds; `make` finds it in the engine's cache."""
    if notebook.there(tag(notebook.tag())):
        return
    with tempfile.TemporaryDirectory(prefix="lab-image-") as folder:
        run_build(Path(folder), "--target=server")


def make(name: str, held: str) -> None:
    """Build the registry's image."""
    started = time.monotonic()
    say(f"Putting {held} into a registry (about 20 seconds, once) ...")
    # Beside the cache and not in /tmp, which may be small: this takes the size of the image twice.
    notebook.CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=notebook.CACHE) as folder:
        context = Path(folder) / "context"
        context.mkdir()
        digests = Storage(context / "storage").add(held, NOTEBOOK, RELEASES, Path(folder))
        run_build(context, f"--label=lab.digests={json.dumps(digests)}", f"--tag={name}")
    say(f"Built {name} in {time.monotonic() - started:.0f} s.")


def run_build(folder: Path, *more: str) -> None:
    """Run the engine's build in a folder."""
    (folder / "Dockerfile").write_bytes((HERE / "Dockerfile").read_bytes())
    values = [f"--build-arg=BASE={host_image.debian('13')}", *host_image.proxies()]
    follow(stream("build", "--network=host", *values, f"--label={notebook.LABEL}", *more, str(folder)), "registry")


def start(
    name: str,
    network: str,
    ip: str,
    folder: Path,
    host_name: str = "registry.lab",
    login: tuple[str, str] = ("", ""),
    label: str = "",
    conda: Path | None = None,
) -> dict[str, Any]:
    """Start a registry, or find that it runs as wanted; return where it is, its authority and what it holds."""
    check(name, ip, host_name, login)
    image, digests = build(conda)
    folder = folder.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = hashlib.sha256(json.dumps([image, network, ip, str(folder), host_name, login, label]).encode()).hexdigest()
    if described(name) != f"{wanted} running" or not (folder / "ca.crt").exists():
        stop(name)
        certificate.write(folder, host_name, ip)
        (folder / "config.yml").write_text(CONFIG + (LOGIN if login[0] else ""))
        (folder / "htpasswd").unlink(missing_ok=True)
        if login[0]:
            crypt = [
                "run",
                "--rm",
                "--interactive",
                "--network=none",
                "--entrypoint=mkpasswd",
                image,
                "-m",
                "bcrypt",
                "-s",
            ]
            hashed = docker(*crypt, stdin=login[1].encode()).strip()
            certificate.secret(folder / "htpasswd", f"{login[0]}:{hashed}\n".encode())
        labels = [f"--label={text}" for text in (PART, f"lab.settings={wanted}", label) if text]
        docker(
            "run", "--detach", f"--name={name}", *labels, "--restart=unless-stopped", "--cap-drop=ALL",
            f"--network={network}", f"--ip={ip}", f"--network-alias={host_name}",
            f"--volume={folder}:/etc/registry:ro", image,
        )  # fmt: skip
    wait(name, ip, folder / "ca.crt")
    references = {release: f"{ip}/{NOTEBOOK}:{release}" for release in RELEASES}
    first, newer = RELEASES
    return {
        "host": ip,
        "host_name": host_name,
        "ca_file": str(folder / "ca.crt"),
        "image": references[first],
        "digest": digests[first],
        "newer": {"image": references[newer], "digest": digests[newer]},
    }


def check(name: str, ip: str, host_name: str, login: tuple[str, str]) -> None:
    """Say what is wrong before anything is made."""
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name):
        raise EngineError(f"`{name}` is no name for a container: use letters, digits, hyphens.")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host_name):
        raise EngineError(f"`{host_name}` is no host name: use small letters, digits, hyphens and dots.")
    try:
        ipaddress.IPv4Address(ip)
    except ValueError as error:
        raise EngineError(f"`{ip}` is no IPv4 address.") from error
    # bcrypt looks at no more than 72 bytes.
    if login[0] and not (re.fullmatch(r"[A-Za-z0-9._-]+", login[0]) and 1 <= len(login[1].encode()) <= 72):
        raise EngineError("The login needs a name of letters and digits and a password of 1 to 72 bytes.")


def described(name: str) -> str:
    """Return what a registry was made from and its state; nothing if there is none."""
    wanted = '{{index .Config.Labels "lab.part"}}|{{index .Config.Labels "lab.settings"}} {{.State.Status}}'
    try:
        part, _, rest = docker("container", "inspect", "--format", wanted, name).strip().partition("|")
    except EngineError:
        return ""
    if part != "registry":
        raise EngineError(f"There is a container {name} that is not a registry: choose another name.")
    return rest


def stop(name: str) -> None:
    """Remove a registry, if there is one; its folder stays with whoever named it."""
    if described(name):
        docker("container", "rm", "--force", "--volumes", name)


def wait(name: str, ip: str, ca: Path, seconds: float = 20) -> None:
    """Wait until it answers as its certificate says."""
    context = ssl.create_default_context(cafile=str(ca))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    until = time.monotonic() + seconds
    while True:
        try:
            opener.open(f"https://{ip}/v2/", timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            if error.code == 401:
                return
            problem = str(error)
        except OSError as error:
            problem = str(error)
        if time.monotonic() > until or not described(name).endswith("running"):
            said = docker("container", "logs", "--tail=3", name).strip()
            raise EngineError(f"The registry {name} does not answer at {ip}: {problem}. {said}".strip())
        time.sleep(0.1)

"""The container engine, through its command line: every call to `docker` goes through here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator


class EngineError(RuntimeError):
    """The engine refused; the text is what it said."""


def docker(*args: str, stdin: bytes | None = None, timeout: float = 120) -> str:
    """Run one docker command and return what it prints."""
    try:
        done = subprocess.run(
            ["docker", *args],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise EngineError(
            "There is no `docker` command here: install Docker (on Debian or Ubuntu: docker.io)."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"`docker {args[0]}` gave no answer for {timeout:.0f} seconds.") from error
    if done.returncode != 0:
        raise EngineError(done.stderr.decode(errors="replace").strip() or f"`docker {args[0]}` failed.")
    return done.stdout.decode(errors="replace")


def stream(*args: str) -> Iterator[str]:
    """Run one docker command and yield its lines as they come."""
    with subprocess.Popen(
        ["docker", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        if process.stdout is None:
            raise EngineError("The engine's output cannot be read.")
        tail: list[str] = []
        for line in process.stdout:
            tail = [*tail[-14:], line.rstrip()]
            yield line.rstrip()
        if process.wait() != 0:
            raise EngineError("\n".join(tail))


def require() -> str:
    """Return the engine's version, or say in one sentence why there is none."""
    try:
        version = docker("version", "--format", "{{.Server.Version}}", timeout=20).strip()
    except EngineError as error:
        if "permission denied" in str(error).lower():
            raise EngineError(
                "You may not use the container engine: join the `docker` group (and log in again) or run this as root."
            ) from error
        if "no `docker` command" in str(error):
            raise
        raise EngineError(
            f"No container engine answers ({str(error).splitlines()[-1]}): "
            "start Docker, or set DOCKER_HOST to where it is."
        ) from error
    if not version:
        raise EngineError("No container engine answers: start Docker, or set DOCKER_HOST to where it is.")
    return version


def labelled(kind: str, label: str) -> list[str]:
    """Names of the containers, networks or volumes that carry a label."""
    command = {
        "container": ["ps", "--all", "--format", "{{.Names}}"],
        "network": ["network", "ls", "--format", "{{.Name}}"],
        "volume": ["volume", "ls", "--format", "{{.Name}}"],
        "image": ["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"],
    }[kind]
    return docker(*command, "--filter", f"label={label}").split()

"""The lab's background process: the API and, unless only that is wanted, the containers behind it."""

from __future__ import annotations

import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from lab import schedules, server
from lab.engine import EngineError, docker, labelled
from lab.settings import ROOT, Settings

LOG = logging.getLogger("lab")


def status(settings: Settings) -> dict[str, Any] | None:
    """Return what the lab's process says of itself; None if nothing of ours answers."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", settings.port, timeout=5)
        connection.request("GET", "/lab/status")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return found if isinstance(found, dict) and "lab" in found else None


def calls(settings: Settings, method: str = "GET") -> list[tuple[str, str, bool]] | None:
    """Return the API actions that were called: who, what, whether it was allowed; None if nothing answers.

    DELETE forgets them; POST refuses each action once from now on.
    """
    try:
        connection = http.client.HTTPConnection("127.0.0.1", settings.port, timeout=5)
        connection.request(method, "/lab/actions")
        found = [(who, action, good) for who, action, good in json.loads(connection.getresponse().read())]
        connection.close()
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return found


def taken(settings: Settings) -> bool:
    """Tell whether any process holds the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", settings.port)) == 0


def start(settings: Settings, api_only: bool, seconds: float = 60) -> None:
    """Start the background process and wait until it answers."""
    log = settings.folder / "lab.log"
    command = [sys.executable, "-m", "lab", "serve", *(["--api-only"] if api_only else [])]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, "LAB_DIR": str(settings.folder), "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise EngineError(
                f"The lab's process ended at once: {lines[-1] if lines else 'it said nothing'} (see {log})"
            )
        if status(settings):
            return
        time.sleep(0.1)
    process.terminate()
    raise EngineError(f"The lab's process did not answer within {seconds:.0f} seconds (see {log}).")


def stop(settings: Settings, seconds: float = 45) -> None:
    """End the background process, if it is ours."""
    path = settings.folder / "lab.pid"
    pid = int(path.read_text()) if path.exists() else 0
    if not pid or not ours(pid):
        return
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + seconds
    while ours(pid):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def ours(pid: int) -> bool:
    """Tell whether a process is a lab's background process and not done."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"lab" in words and b"serve" in words


def network(settings: Settings) -> None:
    """Make the engine's network."""
    if settings.network in labelled("network", settings.label):
        return
    try:
        docker(
            "network", "create", "--label", settings.label,
            f"--subnet={settings.subnet}", f"--gateway={settings.gateway}",
            "--opt", f"com.docker.network.bridge.name=br-{settings.name[:12]}", settings.network,
        )  # fmt: skip
    except EngineError as error:
        text = str(error)
        if "overlap" in text.lower():
            text = (
                f"the range {settings.subnet} is taken by another network: see `docker network ls`, or set LAB_SUBNET"
            )
        elif "already exists" in text.lower():
            text = f"there is a network named {settings.network} that is not the lab's: set LAB_NAME"
        raise EngineError(f"The lab's network cannot be made: {text}.") from error


def run(settings: Settings, api_only: bool) -> None:
    """Be the background process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    box: dict[str, Any] = {}
    called = threading.Event()

    def console(instance: str) -> str:
        return str(box["instances"].console(instance)) if "instances" in box else ""

    def runnable(ami: str) -> str:
        return str(box["instances"].runnable(ami)) if "instances" in box else ""

    keys = server.start_api(settings, console, runnable)
    timer = schedules.Scheduler(schedules.caller(settings.endpoint, keys))
    threading.Thread(target=timer.follow, args=(done,), name="schedules", daemon=True).start()
    (settings.folder / "lab.pid").write_text(f"{os.getpid()}\n")
    if not api_only:
        from lab import copies
        from lab.instances import Instances
        from lab.patches import INSTANCE_TYPES

        box["instances"] = fleet = Instances(settings, INSTANCE_TYPES)
        fleet.wake = called
        copies.use(fleet)
        follower = threading.Thread(target=fleet.follow, name="fleet", daemon=True)
        follower.start()

    def tell() -> dict[str, Any]:
        fleet = box.get("instances")
        shown = {} if fleet is None else {name: [w.state, w.public_ip, w.kind] for name, w in list(fleet.done.items())}
        problems = {} if fleet is None else dict(fleet.problems)
        return {
            "lab": settings.name,
            "pid": os.getpid(),
            "api_only": api_only,
            "instances": shown,
            "problems": problems,
        }

    front = server.Front(settings, tell, called)
    servers = [server.serve("127.0.0.1", settings.port, front)]
    if not api_only:
        servers.append(server.serve(settings.gateway, settings.port, front))
    LOG.info("The lab `%s` answers at %s", settings.name, settings.endpoint)
    done.wait()
    for one in servers:
        one.shutdown()
    if "instances" in box:
        box["instances"].ending.set()
        follower.join(timeout=10)
        box["instances"].end()
    LOG.info("The lab `%s` ends", settings.name)

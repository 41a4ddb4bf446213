"""Tells the host what JupyterLab knows of its kernels, and people when the host is about to stop. An extension of Jupyter Server.

It asks the host through a socket, where the host sees which account asks: no password, no token and no port is needed, and
all that can be said there is "these are my kernels" and "keep the server on for a while".
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.serverapp import ServerApp
from tornado import web

SOCKET = "/run/autostop/ask.sock"
EVERY_S, SOON_S = 60, 10


async def ask(request: dict[str, Any]) -> dict[str, Any]:
    """Ask the host."""

    async def exchange() -> bytes:
        reader, writer = await asyncio.open_unix_connection(SOCKET)
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            return await reader.readline()
        finally:
            writer.close()

    reply: dict[str, Any] = json.loads(await asyncio.wait_for(exchange(), timeout=10))
    return reply


def last_input() -> float:
    """The last input in a terminal here; in a container the host cannot see it."""
    return max((file.stat().st_atime for file in Path("/dev/pts").glob("[0-9]*")), default=0.0)


class Activity:
    """What people do in this server."""

    def __init__(self, app: ServerApp) -> None:
        self.app, self.last_change, self.first_fault = app, 0.0, True
        # What a person does is a request that changes something; an open browser asks, but changes nothing.
        log = app.web_app.settings["log_function"]

        def noted(handler: Any) -> None:
            log(handler)
            if handler.request.method not in ("GET", "HEAD", "OPTIONS") and handler.get_status() < 400:
                self.last_change = time.time()

        app.web_app.settings["log_function"] = noted

    def report(self) -> dict[str, Any]:
        """What the host wants to know."""
        manager = self.app.kernel_manager
        kernels = []
        for identity in manager.list_kernel_ids():
            kernel = manager.get_kernel(identity)
            # Until it is watched it is starting.
            state = getattr(kernel, "execution_state", "starting")
            since = getattr(kernel, "last_activity", None)
            kernels.append({"id": identity, "state": state, "since": since.timestamp() if since else time.time()})
        return {"do": "report", "kernels": kernels, "since": max(self.last_change, last_input())}

    async def keep_reporting(self) -> None:
        """Every minute, and sooner when a kernel begins to execute. Without reports the host takes it for busy."""
        told, told_busy = 0.0, False
        while True:
            report = self.report()
            busy = any(kernel["state"] != "idle" for kernel in report["kernels"])
            age = time.monotonic() - told
            if age >= EVERY_S or not told or (busy and not told_busy and age >= SOON_S):
                told, told_busy = time.monotonic(), busy
                try:
                    await ask(report)
                    self.first_fault = True
                except Exception as error:
                    if self.first_fault:
                        self.app.log.warning("autostop does not hear from this server: %s", error)
                    self.first_fault = False
            await asyncio.sleep(2)


class AutostopHandler(APIHandler):
    """The notice, for the browser, and its button."""

    _track_activity = False

    @web.authenticated
    async def get(self) -> None:
        """When the host stops."""
        await self.finish(await ask({"do": "status"}))

    @web.authenticated
    async def post(self) -> None:
        """Keep it on."""
        body = self.get_json_body() or {}
        await self.finish(await ask({"do": "awake", "seconds": float(body["hours"]) * 3600}))


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "autostop_jupyter"}]


def _load_jupyter_server_extension(app: ServerApp) -> None:
    path = app.web_app.settings["base_url"].rstrip("/") + "/api/autostop"
    app.web_app.add_handlers(".*$", [(path, AutostopHandler)])  # type: ignore[no-untyped-call]
    activity = Activity(app)
    app.io_loop.add_callback(activity.keep_reporting)
    app.log.info("autostop is told what the kernels of process %d do", os.getpid())

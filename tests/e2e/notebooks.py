"""Runs notebooks on a server through its own API, as a browser would, and keeps what came out."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from plugins.modules import notebook_probe as probe

Notebook = dict[str, Any]
# Seconds; a first import on a machine with two busy cores is slow.
PATIENCE = 180


class NotebookFailed(AssertionError):
    """A cell ended in an error; the text is the kernel's traceback."""


class Client:
    """Someone who has logged in to a server of notebooks."""

    def __init__(self, address: str, port: int, ca_file: Path, password: str) -> None:
        self.server = probe.Server(address, port, probe.trust(str(ca_file)))
        self.server.ask("GET", "/login")
        checks = probe.log_in(self.server, password)
        assert checks[0].ok, checks[0].detail

    def get(self, path: str) -> Any:
        """Return what the API answers."""
        reply = self.server.ask("GET", path)
        assert reply.status == 200, f"GET {path}: status {reply.status}"
        return json.loads(reply.body)

    def folder(self, path: str) -> list[str]:
        """Return the names in a folder."""
        return sorted(entry["name"] for entry in self.get(f"/api/contents/{quote(path)}")["content"])

    def read(self, path: str) -> Notebook:
        """Return a notebook."""
        return dict(self.get(f"/api/contents/{quote(path)}")["content"])

    def write(self, path: str, notebook: Notebook) -> int:
        """Save a notebook; return the status of the answer."""
        data = {"type": "notebook", "format": "json", "content": notebook}
        return self.server.ask("PUT", f"/api/contents/{quote(path)}", data=data).status

    def render(self, path: str) -> str:
        """Return a notebook as a page, which the server makes."""
        reply = self.server.ask("GET", f"/nbconvert/html/{quote(path)}?download=false")
        assert reply.status == 200, f"{path} cannot be rendered: status {reply.status}"
        return reply.body.decode()

    def run(self, notebook: Notebook, folder: str) -> Notebook:
        """Run a notebook from top to bottom in the kernel that it names; return it with its outputs."""
        kernel = notebook["metadata"]["kernelspec"]["name"]
        reply = self.server.ask("POST", "/api/kernels", data={"name": kernel, "path": folder})
        assert reply.status == 201, f"kernel {kernel} does not start: status {reply.status}"
        kernel_id = json.loads(reply.body)["id"]
        try:
            with kernel_channel(self.server, kernel_id) as channel:
                for count, cell in enumerate((c for c in notebook["cells"] if c["cell_type"] == "code"), 1):
                    cell["outputs"] = execute(channel, "".join(cell["source"]))
                    cell["execution_count"] = count
        finally:
            self.server.ask("DELETE", f"/api/kernels/{kernel_id}")
        return notebook


@contextmanager
def kernel_channel(server: probe.Server, kernel_id: str) -> Iterator[Any]:
    """Open the websocket of a kernel."""
    with closing(probe.connect(server, kernel_id, uuid.uuid4().hex, time.monotonic() + PATIENCE)) as channel:
        channel.settimeout(PATIENCE)
        yield channel


def begin(channel: Any, code: str) -> str:
    """Have a kernel run a cell; return the id of the request."""
    message_id = uuid.uuid4().hex
    header = {"msg_id": message_id, "msg_type": "execute_request", "session": message_id, "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    message = {"header": header | {"username": "e2e", "date": ""}, "parent_header": {}, "metadata": {}}
    channel.send(json.dumps(message | {"content": content, "channel": "shell"}))
    return message_id


def execute(channel: Any, code: str) -> list[dict[str, Any]]:
    """Run a cell and return its outputs as a notebook keeps them."""
    message_id = begin(channel, code)
    outputs: list[dict[str, Any]] = []
    waiting_for = {"reply", "idle"}
    while waiting_for:
        answer = json.loads(channel.recv())
        if answer["parent_header"].get("msg_id") != message_id:
            continue
        kind, content = answer["msg_type"], answer["content"]
        if kind == "error":
            raise NotebookFailed("\n".join([code, *content["traceback"]]))
        if kind == "stream":
            outputs.append({"output_type": "stream", "name": content["name"], "text": content["text"]})
        elif kind in ("display_data", "execute_result"):
            output = {"output_type": kind, "data": content["data"], "metadata": content["metadata"]}
            outputs.append(output | ({"execution_count": 1} if kind == "execute_result" else {}))
        elif kind == "execute_reply":
            waiting_for.discard("reply")
        elif kind == "status" and content["execution_state"] == "idle":
            waiting_for.discard("idle")
    return outputs


def text_of(notebook: Notebook) -> str:
    """Return all that the cells said."""
    said = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            said.append(output.get("text") or output["data"].get("text/plain", ""))
    return "\n".join("".join(text) for text in said)


def pictures(notebook: Notebook) -> int:
    """Return how many pictures the cells drew."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)

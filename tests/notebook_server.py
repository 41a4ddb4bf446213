"""A server of notebooks as a browser sees it: what the scenarios of JupyterLab and of the notebook image share."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import websocket


@dataclass
class Server:
    """One server, seen from the controller."""

    name: str
    address: str
    folder: Path  # of the scenario, with the CA and the secrets of each server

    @property
    def url(self) -> str:
        """What a person would type."""
        return f"https://{self.address}"

    @property
    def ca(self) -> Path:
        """The certificate of the private CA."""
        return self.folder / "ca/ca.crt"

    @property
    def password(self) -> str:
        """The password that is kept on the controller."""
        return (self.folder / self.name / "jupyter_password").read_text()

    def browser(self) -> requests.Session:
        """A session that trusts the private CA and nothing else."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.ca)
        return session

    def login(self, password: str) -> tuple[requests.Session, requests.Response]:
        """Log in as the login page does, and return the session and the answer."""
        session = self.browser()
        session.get(f"{self.url}/login", timeout=20)
        xsrf = str(session.cookies["_xsrf"])
        session.headers["X-XSRFToken"] = xsrf
        form = {"password": password, "_xsrf": xsrf}
        return session, session.post(f"{self.url}/login", data=form, allow_redirects=False, timeout=20)

    def entered(self) -> requests.Session:
        """A session that is logged in."""
        session, answer = self.login(self.password)
        assert answer.status_code == 302, answer.text
        return session

    def compute(self, session: requests.Session, kernel: str, code: str) -> dict[str, Any]:
        """Run code in a new kernel over the websocket, as JupyterLab does, and return the JSON that it prints."""
        answer = session.post(f"{self.url}/api/kernels", json={"name": kernel}, timeout=30)
        assert answer.status_code == 201, answer.text
        path = f"{self.url}/api/kernels/{answer.json()['id']}"
        cookies = "; ".join(f"{name}={value}" for name, value in session.cookies.items())
        channel = websocket.create_connection(
            path.replace("https", "wss") + "/channels", cookie=cookies, sslopt={"ca_certs": str(self.ca)}, timeout=60
        )
        try:
            return execute(channel, code)
        finally:
            channel.close()
            session.delete(path, timeout=30)


def execute(channel: websocket.WebSocket, code: str) -> dict[str, Any]:
    """Run code in the kernel of a channel, and return the JSON that it prints."""
    identity = {"msg_id": uuid.uuid4().hex, "session": uuid.uuid4().hex, "username": "", "version": "5.3"}
    header = {**identity, "msg_type": "execute_request"}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    channel.send(
        json.dumps({"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content})
    )
    printed = ""
    while True:
        message = json.loads(channel.recv())
        if message["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        assert message["msg_type"] != "error", message["content"]
        printed += message["content"].get("text", "") if message["msg_type"] == "stream" else ""
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return dict(json.loads(printed))

"""A server of notebooks as a browser sees it: what the scenarios of JupyterLab and of the notebook image share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import websocket

from tests.e2e import notebooks


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

    def connect(self, session: requests.Session, path: str) -> websocket.WebSocket:
        """Open a websocket as the session's browser does."""
        cookies = "; ".join(f"{name}={value}" for name, value in session.cookies.items())
        return websocket.create_connection(
            self.url.replace("https", "wss") + path, cookie=cookies, sslopt={"ca_certs": str(self.ca)}, timeout=60
        )

    @contextmanager
    def kernel(self, session: requests.Session, name: str) -> Iterator[tuple[str, websocket.WebSocket]]:
        """A new kernel: its id, and a channel to it as JupyterLab has one."""
        answer = session.post(f"{self.url}/api/kernels", json={"name": name}, timeout=30)
        assert answer.status_code == 201, answer.text
        path = f"/api/kernels/{answer.json()['id']}"
        try:
            with closing(self.connect(session, f"{path}/channels")) as channel:
                yield answer.json()["id"], channel
        finally:
            session.delete(self.url + path, timeout=30)

    def compute(self, session: requests.Session, kernel: str, code: str) -> dict[str, Any]:
        """Run code in a new kernel, and return the JSON that it prints."""
        with self.kernel(session, kernel) as (_, channel):
            said = notebooks.execute(channel, code)
        return dict(json.loads("".join(output["text"] for output in said if output["output_type"] == "stream")))

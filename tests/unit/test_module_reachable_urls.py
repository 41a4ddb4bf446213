from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from plugins.modules import reachable_urls


class Handler(BaseHTTPRequestHandler):
    """Answers with the number in the path."""

    def do_GET(self) -> None:
        self.send_response(int(self.path[1:]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("status", [200, 206, 416])
def test_reached(server: str, status: int) -> None:
    assert reachable_urls.problem({"url": f"{server}/{status}", "setting": "s"}, 5) == ""


@pytest.mark.parametrize("url", ["{server}/404", "http://127.0.0.1:9/x", "http://name.invalid/", "nonsense"])
def test_not_reached(server: str, url: str) -> None:
    url = url.format(server=server)
    problem = reachable_urls.problem({"url": url, "setting": "the_setting"}, 5)
    assert problem.startswith(f"{url} cannot be reached (")
    assert problem.endswith("or set the_setting to a place that can be.")

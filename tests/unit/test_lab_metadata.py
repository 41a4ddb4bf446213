"""The metadata service: tokens, the tree, and who is too far away."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab import metadata

DATA: dict[str, Any] = {
    "options": {"enabled": True, "token_required": True, "hops": 1, "addresses": ["198.18.0.9"]},
    "tree": {"meta-data": {"instance-id": "i-1", "placement": {"region": "us-west-2"}}, "user-data": "#!/bin/sh"},
}
TTL = "X-aws-ec2-metadata-token-ttl-seconds"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Run the service on a loopback port."""
    (tmp_path / "data.json").write_text(json.dumps(DATA))
    handler = type("Handler", (metadata.Handler,), {"answers": metadata.Answers(tmp_path)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], tmp_path
    server.shutdown()
    server.server_close()


def ask(port: int, method: str, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body


def change(folder: Path, **options: Any) -> None:
    (folder / "data.json").write_text(json.dumps({**DATA, "options": {**DATA["options"], **options}}))


def test_no_token_no_answer(service: tuple[int, Path]) -> None:
    port, _ = service
    assert ask(port, "GET", "/latest/meta-data/instance-id")[0] == 401
    assert ask(port, "GET", "/latest/meta-data/instance-id", X_aws_ec2_metadata_token="wrong")[0] == 401


def test_token_opens_the_tree(service: tuple[int, Path]) -> None:
    port, _ = service
    status, token = ask(port, "PUT", "/latest/api/token", **{TTL: "60"})
    assert status == 200

    def get(path: str) -> tuple[int, str]:
        return ask(port, "GET", path, X_aws_ec2_metadata_token=token)

    assert get("/latest/meta-data/instance-id") == (200, "i-1")
    assert get("/latest/meta-data/") == (200, "instance-id\nplacement/")
    assert get("/latest/meta-data/placement/region") == (200, "us-west-2")
    assert get("/latest/user-data") == (200, "#!/bin/sh")
    assert get("/latest/meta-data/nothing")[0] == 404
    assert get("/oldest/meta-data/")[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 400), ({TTL: "0"}, 400), ({TTL: "21601"}, 400), ({TTL: "x"}, 400)]
)
def test_bad_token_requests(service: tuple[int, Path], headers: dict[str, str], status: int) -> None:
    assert ask(service[0], "PUT", "/latest/api/token", **headers)[0] == status


def test_forwarded_requests_are_refused(service: tuple[int, Path]) -> None:
    assert ask(service[0], "PUT", "/latest/api/token", X_Forwarded_For="192.0.2.1", **{TTL: "60"})[0] == 403


def test_settings_are_followed_at_once(service: tuple[int, Path]) -> None:
    port, folder = service
    change(folder, token_required=False)
    assert ask(port, "GET", "/latest/meta-data/instance-id") == (200, "i-1")
    change(folder, enabled=False)
    assert ask(port, "GET", "/latest/meta-data/instance-id")[0] == 403


def test_a_container_on_the_instance_is_one_hop_too_far(tmp_path: Path) -> None:
    handler = metadata.Handler.__new__(metadata.Handler)
    options = dict(DATA["options"])
    handler.client_address = ("172.17.0.2", 40000)
    assert not handler.near(options)
    assert handler.near({**options, "hops": 2})
    handler.client_address = ("198.18.0.9", 40000)
    assert handler.near(options)


def test_tokens_end() -> None:
    answers = metadata.Answers(Path())
    token = answers.new_token(60)
    assert answers.valid(token)
    answers.tokens[token] = 0
    assert not answers.valid(token)
    assert not answers.valid(None)

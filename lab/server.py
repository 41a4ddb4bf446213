"""The lab's AWS API: moto in this process, with the lab's corrections, behind one HTTP port."""

from __future__ import annotations

import json
import os
import secrets
import string
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from werkzeug.middleware.shared_data import SharedDataMiddleware
from werkzeug.serving import BaseWSGIServer, make_server

from lab import catalog, open_data
from lab.faults import Faults
from lab.settings import ACCOUNT, REGION, Settings

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
KEY_LETTERS = string.ascii_uppercase + "234567"


def prepare(settings: Settings) -> None:
    """Set what moto reads when it is imported: the images, the checks AWS makes, and who may call."""
    path = settings.folder / "amis.json"
    path.write_text(json.dumps(catalog.images()))
    os.environ.update(
        MOTO_AMIS_PATH=str(path),
        MOTO_ENABLE_AMI_VALIDATION="1",
        MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION="1",
        MOTO_ENABLE_KEYPAIR_VALIDATION="1",
        MOTO_IAM_LOAD_MANAGED_POLICIES="true",
        INITIAL_NO_AUTH_ACTION_COUNT="0",
    )


def write_environment(settings: Settings) -> dict[str, str]:
    """Write the variables that point the AWS tools at the lab; a second start keeps the key of the first."""
    path = settings.folder / "env"
    known = read_environment(path)
    values = {
        "AWS_ENDPOINT_URL": settings.endpoint,
        "AWS_ACCESS_KEY_ID": known.get("AWS_ACCESS_KEY_ID")
        or "AKIA" + "".join(secrets.choice(KEY_LETTERS) for _ in range(16)),
        "AWS_SECRET_ACCESS_KEY": known.get("AWS_SECRET_ACCESS_KEY") or secrets.token_urlsafe(30),
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"export {name}={value}\n" for name, value in values.items())
    return values


def read_environment(path: Path) -> dict[str, str]:
    """Read the variables back."""
    if not path.exists():
        return {}
    lines = [line.removeprefix("export ").partition("=") for line in path.read_text().splitlines() if "=" in line]
    return {name: value for name, _, value in lines}


def make_user(access_key: str, secret: str) -> None:
    """Make the lab's IAM user with the key of the environment file; every other key is refused, as on AWS."""
    from moto.iam.models import iam_backends

    iam = iam_backends[ACCOUNT]["global"]
    if "lab" not in iam.users:
        iam.create_user(REGION, "lab")
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        iam.put_user_policy("lab", "everything", json.dumps(policy))
        key = iam.create_access_key("lab")
        del iam.access_keys[key.access_key_id]
        key.access_key_id, key.secret_access_key = access_key, secret
        iam.access_keys[access_key] = key


def regions() -> set[str]:
    """Return the regions that EC2 has."""
    from moto.ec2.models import ec2_backends

    return set(ec2_backends[ACCOUNT].regions)


def region_error(service: str) -> tuple[str, bytes]:
    """Return the content type and text of AWS's error for a region that does not exist."""
    code, message = "SignatureDoesNotMatch", "Credential should be scoped to a valid region."
    if service == "ec2":
        error = f"<Error><Code>AuthFailure</Code><Message>{escape(message)}</Message></Error>"
        return "text/xml", f"<Response><Errors>{error}</Errors></Response>".encode()
    if service in {"sts", "iam", "sns", "monitoring"}:
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        return "text/xml", f"<ErrorResponse>{error}</ErrorResponse>".encode()
    return "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message}).encode()


class Front:
    """What answers on the port: the lab's own pages, the stand-in channel's files, and moto for all else."""

    def __init__(self, settings: Settings, status: Callable[[], dict[str, Any]], called: threading.Event) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.settings, self.status, self.called = settings, status, called
        self.known = regions()
        self.moto: Application = DomainDispatcherApplication(create_backend_app)  # type: ignore[assignment]
        self.files = SharedDataMiddleware(not_found, {"/conda": str(settings.folder / "conda")})

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = environ.get("PATH_INFO", "")
        if path == "/checkip":
            return text(start_response, f"{self.caller(environ)}\n")
        if path == "/lab/status":
            return text(start_response, json.dumps(self.status()), "application/json")
        if path == "/lab/actions":
            # Only here: what asks moto is imported after moto's settings were made.
            from lab.permissions import LOG

            calls = LOG.take(forget=environ.get("REQUEST_METHOD") == "DELETE")
            if environ.get("REQUEST_METHOD") == "POST":
                LOG.refused = set()
            return text(start_response, json.dumps(calls), "application/json")
        if path.startswith("/conda/"):
            return self.files(environ, start_response)
        scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split(",")[0].split("/")
        if len(scope) == 5 and scope[2] not in self.known:
            kind, body = region_error(scope[3])
            start_response("403 Forbidden", [("Content-Type", kind), ("Content-Length", str(len(body)))])
            return [body]
        try:
            return self.moto(environ, start_response)
        finally:
            if environ.get("REQUEST_METHOD") != "GET":
                self.called.set()

    def caller(self, environ: dict[str, Any]) -> str:
        """Return the caller's address as an instance sees it: this machine shows up as the network's gateway."""
        address = str(environ.get("REMOTE_ADDR", ""))
        return self.settings.gateway if address.startswith("127.") else address


def text(start_response: StartResponse, body: str, kind: str = "text/plain") -> list[bytes]:
    """Answer with a short text."""
    data = body.encode()
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(data)))])
    return [data]


def not_found(_: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Answer that there is no such file."""
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"Not found\n"]


def serve(address: str, port: int, front: Front) -> BaseWSGIServer:
    """Listen on an address, in the background."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler

    class Quiet(MotoRequestHandler):
        """Log failures only."""

        protocol_version = "HTTP/1.1"

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Keep the log readable."""
            if str(code).startswith("5"):
                super().log_request(code, size)

    server = make_server(address, port, front, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, name=f"http-{address}", daemon=True).start()
    return server


def start_api(settings: Settings, console: Callable[[str], str], runnable: Callable[[str], str]) -> dict[str, str]:
    """Load moto, corrected, with the lab's user in it; return the environment that people use."""
    prepare(settings)
    from lab import patches

    patches.apply(settings, Faults(settings.folder / "faults.json"), console, runnable)
    environment = write_environment(settings)
    make_user(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    open_data.make(settings)
    return environment

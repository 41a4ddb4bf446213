"""The instance metadata service (IMDSv2) and the firewall of one instance.

Runs in a container of its own that shares the instance's network, with the standard library only:
`python3 metadata.py FOLDER`. FOLDER holds data.json (what to answer) and rules.nft (what may come in).
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ADDRESS = "169.254.169.254"
LONGEST = 21600


class Answers:
    """The data, read anew when it changed, and the tokens given out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens: dict[str, float] = {}

    def data(self) -> dict[str, Any]:
        """Return what the lab says about the instance."""
        found: dict[str, Any] = json.loads((self.folder / "data.json").read_text())
        return found

    def new_token(self, seconds: int) -> str:
        """Give out a token."""
        token = secrets.token_urlsafe(40)
        self.tokens[token] = time.monotonic() + seconds
        return token

    def valid(self, token: str | None) -> bool:
        """Tell whether a token is one of ours and still good."""
        return token is not None and self.tokens.get(token, 0) > time.monotonic()


def find(tree: Any, path: str) -> str | None:
    """Return the value at a path; for a folder its entries, one a line; None if there is neither."""
    for part in [part for part in path.split("/") if part]:
        if not isinstance(tree, dict) or part not in tree:
            return None
        tree = tree[part]
    if isinstance(tree, dict):
        return "\n".join(f"{name}/" if isinstance(value, dict) else name for name, value in tree.items())
    return str(tree)


class Handler(BaseHTTPRequestHandler):
    """One request to the metadata service."""

    answers: Answers

    def reply(self, status: int, body: str = "", **headers: str) -> None:
        """Send an answer."""
        data = body.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def near(self, options: dict[str, Any]) -> bool:
        """Tell whether the answer would reach the caller: a container on the instance is one hop farther."""
        caller = self.client_address[0]
        own = caller == ADDRESS or caller.startswith("127.") or caller in options["addresses"]
        return own or int(options["hops"]) > 1

    def do_PUT(self) -> None:
        """Give out a token."""
        options = self.answers.data()["options"]
        if not options["enabled"]:
            return self.reply(403)
        if self.path != "/latest/api/token":
            return self.reply(404)
        seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not seconds.isdigit() or not 1 <= int(seconds) <= LONGEST or "X-Forwarded-For" in self.headers:
            return self.reply(403 if "X-Forwarded-For" in self.headers else 400)
        if not self.near(options):
            self.close_connection = True
            return None
        return self.reply(200, self.answers.new_token(int(seconds)), X_aws_ec2_metadata_token_ttl_seconds=seconds)

    def do_GET(self) -> None:
        """Answer from the data."""
        data = self.answers.data()
        options = data["options"]
        if not options["enabled"]:
            return self.reply(403)
        token = self.headers.get("X-aws-ec2-metadata-token")
        if (token is not None or options["token_required"]) and not self.answers.valid(token):
            return self.reply(401, "Unauthorized")
        version, _, path = self.path.lstrip("/").partition("/")
        if version not in {"latest", "1.0", "2021-03-23"}:
            return self.reply(404)
        body = find(data["tree"], path)
        return self.reply(404) if body is None else self.reply(200, body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def guard(folder: Path, every: float = 3) -> None:
    """Put the rules back when something on the instance has flushed them all."""
    while True:
        time.sleep(every)
        there = subprocess.run(["nft", "list", "table", "inet", "lab"], capture_output=True, check=False)
        if there.returncode != 0:
            subprocess.run(["nft", "-f", str(folder / "rules.nft")], check=False)


def main() -> None:
    """Close the firewall, then answer."""
    folder = Path(sys.argv[1])
    subprocess.run(["nft", "-f", str(folder / "rules.nft")], check=True)
    subprocess.run(["ip", "address", "replace", f"{ADDRESS}/32", "dev", "lo"], check=True)
    # The private address lies on the same wire: instances reach each other by it, this machine does not.
    cards = sorted(path.name for path in Path("/sys/class/net").glob("eth*"))
    for address in json.loads((folder / "data.json").read_text())["private"] if cards else ():
        subprocess.run(["ip", "address", "replace", address, "dev", cards[0]], check=True)
    threading.Thread(target=guard, args=(folder,), daemon=True).start()
    Handler.answers = Answers(folder)
    ThreadingHTTPServer((ADDRESS, 80), Handler).serve_forever()


if __name__ == "__main__":
    main()

"""Logs in with each account that stdin describes, as its programs do, and says which the server refused and which nobody can try from here.

{"client": "mariadb", "socket": "/run/...", "port": 3306, "options": {"socket": [], "tcp": ["--ssl"]},
 "accounts": [{"name": "ann", "host": "10.0.0.0/255.0.0.0", "password": "..."}]}
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
from typing import Any


def way(host: str, addresses: list[str], asked: dict[str, Any]) -> list[str]:
    """How an account of this host can be tried from here; empty if it cannot."""
    if host == "localhost":
        return ["--protocol=socket", f"--socket={asked['socket']}", *asked["options"]["socket"]]
    for address in addresses:
        try:
            fits = host in ("%", address) or ipaddress.ip_address(address) in ipaddress.ip_network(host)
        except ValueError:
            fits = False
        if fits:
            # To one's own address one comes from the same.
            return ["--protocol=tcp", f"--host={address}", f"--port={asked['port']}", *asked["options"]["tcp"]]
    return []


def quoted(text: str) -> str:
    """A value as an option file has it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def main() -> None:
    """Try all of them."""
    asked = json.load(sys.stdin)
    said = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout
    addresses = [*said.split(), "127.0.0.1", "::1"]
    refused, untried = [], []
    for account in asked["accounts"]:
        how = way(account["host"], addresses, asked)
        if not how:
            untried.append(f"{account['name']}@{account['host']}")
            continue
        # By stdin: no list of processes and no file shows it.
        options = f"[client]\nuser={quoted(account['name'])}\npassword={quoted(account['password'])}\n"
        command = [asked["client"], "--defaults-file=/dev/stdin", *how, "--execute=SELECT 1"]
        done = subprocess.run(command, input=options, capture_output=True, text=True, check=False)
        if done.returncode:
            refused.append(f"{account['name']}@{account['host']}: {done.stderr.strip()}")
    print(json.dumps({"refused": refused, "untried": untried}))


main()

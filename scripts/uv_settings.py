#!/usr/bin/env python3
"""Prints what pip is told on this machine (PIP_*, its configuration files) as the shell variables that tell uv the same.

Run by the Python whose pip is asked. What the shell says of uv already (UV_*) is left alone.
"""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys

# pip's option: uv's variable, and what stands between several values there.
SAME = {
    "index-url": ("UV_DEFAULT_INDEX", None),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", None),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "timeout": ("UV_HTTP_TIMEOUT", None),
    "default-timeout": ("UV_HTTP_TIMEOUT", None),
    "cert": ("SSL_CERT_FILE", None),
    "client-cert": ("SSL_CLIENT_CERT", None),
    "proxy": ("ALL_PROXY", None),
    "cache-dir": ("", None),  # each has its own
}
# The system's list of authorities also knows the one of a company whose network re-signs.
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def told(listing: str) -> dict[str, str]:
    """Return pip's options from what `pip config list` prints; a later scope wins, the environment over all."""
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        key, equals, value = line.partition("=")
        scope, dot, option = key.rpartition(".")
        if not (equals and dot and scope in (":env:", "global", "install")):
            continue
        rank = ("global", "install", ":env:").index(scope)
        if option not in found or rank >= found[option][0]:
            found[option] = (rank, str(ast.literal_eval(value)))
    return {option: value for option, (_, value) in found.items()}


def variables(options: dict[str, str], environment: dict[str, str]) -> dict[str, str]:
    """Return uv's variables for these options of pip."""
    # pip takes the best version of all indexes; uv by itself only looks at the first that has the package.
    result = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for option, value in options.items():
        name, between = SAME.get(option, ("", None))
        if name:
            result[name] = between.join(value.split()) if between else value
    if "SSL_CERT_FILE" not in result and os.path.exists(AUTHORITIES):  # noqa: PTH110 - also for Python 3.9
        result["SSL_CERT_FILE"] = AUTHORITIES
    return {name: value for name, value in result.items() if name not in environment}


def main() -> None:
    """Print the lines for the shell to read."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    listing = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    for name, value in variables(told(listing), dict(os.environ)).items():
        print(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    main()

"""Logs in with each account that stdin describes, as its programs do, and says which the server refused.

{"socket": "/run/postgresql", "port": 5432, "accounts": [{"name": "ann", "password": "..."}]}
"""

from __future__ import annotations

import json
import os
import subprocess
import sys


def main() -> None:
    """Try all of them through the socket, where an account with a password has to give it."""
    asked = json.load(sys.stdin)
    refused = []
    for account in asked["accounts"]:
        # The password is in memory that only psql gets: not an argument, nor a file, nor a variable that others can read.
        secret = account["password"].replace("\\", "\\\\").replace(":", "\\:")
        memory = os.memfd_create("passwords")
        os.fchmod(memory, 0o600)
        os.write(memory, f"*:*:*:*:{secret}\n".encode())
        command = ["psql", "--no-psqlrc", "--no-password", f"--host={asked['socket']}", f"--port={asked['port']}"]
        command += [f"--username={account['name']}", "--dbname=postgres", "--command=SELECT 1"]
        done = subprocess.run(
            command,
            env={**os.environ, "PGPASSFILE": f"/proc/self/fd/{memory}"},
            pass_fds=[memory],
            capture_output=True,
            text=True,
            check=False,
        )
        os.close(memory)
        # Whoever may not use that database was let in before it was said.
        if done.returncode and "permission denied for database" not in done.stderr:
            refused.append(f"{account['name']}: {done.stderr.strip()}")
    print(json.dumps(refused))


main()

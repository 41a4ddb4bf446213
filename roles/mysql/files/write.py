"""Makes the directories and files that stdin describes, all root's, removes others, and then runs what is to be run.

A file is written beside its place and renamed, so that nobody reads half of one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Do it."""
    # Folders on the way are for others to enter, however strict root's umask is.
    os.umask(0o022)
    plan = json.load(sys.stdin)
    for directory in plan["directories"]:
        path = Path(directory["path"])
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, 0, 0)
        path.chmod(int(directory["mode"], 8))
    for file in plan["files"]:
        path = Path(file["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.touch(mode=0o600)
        os.chown(beside, 0, 0)
        beside.chmod(int(file["mode"], 8))
        with beside.open("w", encoding="utf-8") as opened:
            opened.write(file["content"])
            opened.flush()
            os.fsync(opened.fileno())
        beside.rename(path)
    for name in plan["remove"]:
        Path(name).unlink(missing_ok=True)
    for command in plan["run"]:
        subprocess.run(command, check=True)


main()

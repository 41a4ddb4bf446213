"""`python -m lab.conda build`: make the stand-in channel and installer. `... lock`: renew the locked wheels."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab.conda import interpreters
from lab.conda.debian import BuildError


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m lab.conda", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build_parser = commands.add_parser("build", help="make DIR/channel, DIR/<installer>.sh and DIR/manifest.json")
    build_parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    build_parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="downloads and packages, by hash (default: OUT/cache)"
    )
    build_parser.add_argument("--mirror", help="Debian mirror (default: the one this host uses)")
    build_parser.add_argument(
        "--python",
        action="append",
        choices=[python.version for python in interpreters.PYTHONS],
        help="one that is wanted, may be given more than once (default: all)",
    )
    commands.add_parser("lock", help="resolve the wheels anew and write locks/ (needs the Python package uv)")
    arguments = parser.parse_args()
    try:
        if arguments.command == "lock":
            from lab.conda import lock

            lock.write_locks(say)
        else:
            from lab.conda import build

            cache = arguments.cache.absolute() if arguments.cache else None
            pythons = arguments.python or [python.version for python in interpreters.PYTHONS]
            print(build.build(arguments.out.absolute(), cache, arguments.mirror, pythons, say))
    except BuildError as problem:
        print(f"conda stand-in: {problem}", file=sys.stderr)
        return 1
    return 0


def say(line: str) -> None:
    """Show that it moves."""
    sys.stderr.write(f"conda stand-in: {line}\n")


if __name__ == "__main__":
    sys.exit(main())

"""What a person sees while they wait."""

from __future__ import annotations

import fcntl
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from lab.settings import ROOT

LOCKS = ROOT / ".cache" / "locks"


def say(text: str) -> None:
    """Print one line at once."""
    print(text, file=sys.stderr, flush=True)


def follow(lines: Iterable[str], what: str, every: float = 8.0) -> None:
    """Read a chatty program to its end; show a line of it now and then, so that nobody thinks it hangs."""
    started = shown = time.monotonic()
    for line in lines:
        now = time.monotonic()
        if now - shown >= every and line.strip():
            say(f"  {what}, {now - started:.0f} s: {line.strip()[:90]}")
            shown = now


@contextmanager
def alone(what: str) -> Iterator[None]:
    """Wait for whoever makes the same thing now."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    with (LOCKS / re.sub(r"[^A-Za-z0-9.-]", "-", what)).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

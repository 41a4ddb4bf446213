"""Failures on request: the next calls of an API action answer with the error you choose."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass
class Fault:
    """One failure: of an action, in one zone or all, for a number of calls or (0) for ever.

    `after` lets the call be done first: its answer is lost. For RunInstances with a code as StateReason has them (Client.*,
    Server.*) the answer comes, and what was launched is terminated at once for that reason.
    """

    action: str
    code: str
    message: str
    zone: str | None = None
    times: int = 0
    after: bool = False


class Faults:
    """The list of faults, in a file that the command line writes and the server reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()

    def read(self) -> list[Fault]:
        """Return the faults that are set."""
        if not self.path.exists():
            return []
        return [Fault(**entry) for entry in json.loads(self.path.read_text())]

    def write(self, faults: list[Fault]) -> None:
        """Replace the list; readers see the old or the new one, never half of it."""
        if not faults:
            self.path.unlink(missing_ok=True)
            return
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(fault) for fault in faults], indent=1))
        fresh.replace(self.path)

    def add(self, fault: Fault) -> None:
        """Set a fault; a second one for the same action and zone replaces the first."""
        others = [old for old in self.read() if (old.action, old.zone) != (fault.action, fault.zone)]
        self.write([*others, fault])

    def take(self, action: str, zone: str | None = None) -> Fault | None:
        """Return the fault that meets this call, and count it down."""
        if not self.path.exists():
            return None
        with self.lock:
            faults = self.read()
            for fault in faults:
                if fault.action == action and (fault.zone is None or fault.zone == zone):
                    if fault.times == 1:
                        faults.remove(fault)
                    if fault.times:
                        fault.times -= 1
                        self.write(faults)
                    return fault
        return None

    def zoned(self, action: str) -> bool:
        """Tell whether any fault of this action asks for a zone."""
        return self.path.exists() and any(fault.action == action and fault.zone for fault in self.read())

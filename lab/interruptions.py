"""AWS takes a spot instance back: it says so in the instance's metadata, stops it two minutes later, and starts it when it has room."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

NOTICE_S = 120


class Interruptions:
    """What is under way, in a file that the command line writes and the lab's process follows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, dict[str, float]]:
        """Return the time of each instance's stop, and that of its return (0: never)."""
        found: dict[str, dict[str, float]] = json.loads(self.path.read_text()) if self.path.exists() else {}
        return found

    def write(self, entries: dict[str, dict[str, float]]) -> None:
        """Replace the list at once."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(entries))
        fresh.replace(self.path)

    def add(self, instance: str, seconds: float, back: float) -> None:
        """Interrupt an instance in so many seconds; start it so many after that, or (0) not."""
        at = time.time() + seconds
        self.write({**self.read(), instance: {"at": at, "back": at + back if back else 0.0}})

    def follow(self, items: list[Any]) -> None:
        """Do what AWS does by now to these instances."""
        if not self.path.exists():
            return
        entries, now = self.read(), time.time()
        for item in items:
            entry = entries.get(item.id)
            if entry is None:
                item.spot_action = None
                continue
            running = item.state == "running"
            if now < entry["at"] and running:
                when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry["at"]))
                item.spot_action = {"action": "stop", "time": when}
                continue
            item.spot_action = None
            if running and not entry.get("stopped"):
                item.stop()
                item._reason = item.state_reason.message = "Server.SpotInstanceShutdown: Instance shut down by EC2"
                item.state_reason.code = "Server.SpotInstanceShutdown"
                self.write({**self.read(), item.id: {**entry, "stopped": 1.0}})
            elif running or item.state == "terminated" or not entry["back"]:
                self.write({one: what for one, what in self.read().items() if one != item.id})
            elif now >= entry["back"]:
                item.start()

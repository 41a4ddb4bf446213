#!/usr/bin/python3 -I
"""Saves what can be saved when AWS takes a spot server back.

AWS says so two minutes before, in the instance's metadata. ``watch`` asks every few seconds, tells people, and starts ``save``, which
writes files to disk, runs the hooks and waits for the databases' dumps. AWS itself stops the server, and starts it when it has room.
It uses nothing but the host's own Python (3.9 or newer) and its standard library.

  spot-notice watch    ask, for ever (spot-notice.service)
  spot-notice save     save now (spot-notice-save.service); may be run by hand, as a rehearsal
"""

from __future__ import annotations

import calendar
import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TOKEN_S = 21600
PATH = "/latest/meta-data/spot/instance-action"
Settings = dict[str, Any]
Notice = dict[str, Any]


def say(text: str) -> None:
    """To the journal."""
    print(text, flush=True)


class Metadata:
    """The metadata service, with a token as IMDSv2 wants it."""

    def __init__(self, address: str) -> None:
        self.address, self.token = address, ""

    def ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """One question."""
        connection = http.client.HTTPConnection(self.address, timeout=2)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def action(self) -> dict[str, str] | None:
        """What AWS is about to do and when; None as long as it is about to do nothing. OSError when it does not answer."""
        for _ in range(2):
            if not self.token:
                status, self.token = self.ask(
                    "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S)}
                )
                if status != 200:
                    self.token = ""
                    raise OSError(f"the metadata service gives no token ({status})")
            status, body = self.ask("GET", PATH, {"X-aws-ec2-metadata-token": self.token})
            if status == 200:
                return {"action": str(json.loads(body)["action"]), "time": str(json.loads(body)["time"])}
            if status == 404:
                return None
            # The token is too old, or the server was stopped and started meanwhile.
            self.token = ""
        raise OSError(f"the metadata service answers {status}")


class Store:
    """The files. All belong to root."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.settings_file = root / "etc/spot-notice/spot-notice.json"
        self.notice_file = root / "run/spot-notice/notice.json"

    def settings(self) -> Settings:
        """The settings, as the role writes them."""
        loaded: Settings = json.loads(self.settings_file.read_text())
        return loaded

    def notice(self) -> Notice:
        """The notice that is in force, or nothing."""
        with contextlib.suppress(OSError, ValueError):
            loaded = json.loads(self.notice_file.read_text())
            if isinstance(loaded, dict):
                return loaded
        return {}

    def save(self, notice: Notice) -> None:
        """Write the notice at once or not at all."""
        self.notice_file.parent.mkdir(parents=True, exist_ok=True)
        new = self.notice_file.with_name(".notice.json")
        new.write_text(json.dumps(notice))
        new.chmod(0o644)
        new.replace(self.notice_file)


def seconds_of(stamp: str) -> float:
    """AWS's time in seconds since the epoch."""
    return float(calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")))


def text_of(action: dict[str, str], now: float) -> str:
    """What people are told."""
    at = seconds_of(action["time"])
    when = f"{time.strftime('%H:%M:%S %Z', time.localtime(at))}, in {max(0, round(at - now))} s"
    if action["action"] == "stop":
        return (
            f"AWS takes this spot server back and stops it at {when}. Save your work now: notebooks, files and databases stay, what"
            " runs does not. It starts again by itself when AWS has room."
        )
    return f"AWS takes this spot server back ({action['action']}) at {when}. Copy away now what you cannot lose."


def tell_terminals(text: str, root: Path) -> int:
    """Write to every terminal that takes messages; returns how many did."""
    told = 0
    for file in (root / "dev/pts").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            number = os.open(file, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                os.write(number, f"\r\n\a*** {text} ***\r\n".encode())
                told += 1
            finally:
                os.close(number)
    return told


def step(store: Store, action: dict[str, str] | None, now: float, start: Callable[[], None]) -> str:
    """Do what follows from an answer; returns what was done: notice, withdraw or nothing."""
    before = store.notice()
    if action is None:
        if not before:
            return ""
        store.notice_file.unlink(missing_ok=True)
        say("AWS took its notice back.")
        tell_terminals("AWS took its notice back: this server stays on.", store.root)
        return "withdraw"
    if action["time"] == before.get("time"):
        return ""
    text = text_of(action, now)
    store.save({**action, "text": text})
    say(f"{text} ({tell_terminals(text, store.root)} terminals were told)")
    start()
    return "notice"


def start_save_unit() -> None:
    """Save by a unit of its own: hooks may do anything, what watches may not."""
    subprocess.run(["/usr/bin/systemctl", "start", "--no-block", "spot-notice-save.service"], check=False)


def watch(store: Store, rounds: Iterator[None], start: Callable[[], None] = start_save_unit) -> int:
    """Ask again and again. What goes wrong is said once, and tried again."""
    settings = store.settings()
    metadata, fault = Metadata(settings["address"]), ""
    for _ in rounds:
        try:
            step(store, metadata.action(), time.time(), start)
            fault = ""
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            if str(error) != fault:
                say(f"AWS's notice cannot be read ({error}); it is tried again every {settings['every_s']} s.")
            fault = str(error)
    return 0


def every(seconds: float) -> Iterator[None]:
    """The rounds of the real thing."""
    while True:
        yield
        time.sleep(seconds)


def hooks(directories: list[Path]) -> list[Path]:
    """The hooks in order. Only what belongs to root alone is run, because it runs as root."""
    found = []
    for directory in directories:
        for file in sorted(directory.glob("*")):
            if not file.is_file() or not os.access(file, os.X_OK):
                continue
            if file.stat().st_uid != os.getuid() or file.stat().st_mode & 0o022:
                say(f"{file} can be changed by others than root and is not run.")
                continue
            found.append(file)
    return found


def run(command: list[str], seconds: float) -> bool:
    """Run one thing; whatever becomes of it, the others have their turn."""
    if seconds <= 0:
        say(f"No time is left for {command[-1]}.")
        return False
    began = time.monotonic()
    try:
        subprocess.run(command, timeout=seconds, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        say(f"{command[-1]}: {error}")
        return False
    say(f"{command[-1]}: done in {time.monotonic() - began:.1f} s.")
    return True


def save(store: Store, systemctl: str = "/usr/bin/systemctl") -> int:
    """Save what can be saved until the time that AWS gave; without a notice, within two minutes."""
    settings, notice = store.settings(), store.notice()
    end = (seconds_of(notice["time"]) if notice else time.time() + 120) - settings["reserve_s"]
    os.sync()
    dumps = [str(unit) for unit in settings["units"]]
    # They run beside the hooks.
    started = [unit for unit in dumps if run([systemctl, "start", "--no-block", unit], 10)]
    done = [run([str(file)], end - time.time()) for file in hooks([Path(one) for one in settings["hook_dirs"]])]
    done += [run([systemctl, "start", unit], end - time.time()) for unit in started]
    os.sync()
    failed = done.count(False) + len(dumps) - len(started)
    say(f"Saved: {done.count(True)} things, {failed} not.")
    return 1 if failed else 0


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    store = Store()
    if arguments[1:] == ["watch"]:
        return watch(store, every(store.settings()["every_s"]))
    if arguments[1:] == ["save"]:
        return save(store)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))

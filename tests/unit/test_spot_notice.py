"""The two minutes before AWS takes a spot server back: against the lab's metadata service, with a clock of its own."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab import interruptions, metadata
from roles.spot_notice.files import spot_notice

STOP = {"action": "stop", "time": "2026-11-21T12:02:00Z"}
NOON = 1795262400.0  # 2026-11-21T12:00:00Z


@pytest.fixture
def store(tmp_path: Path) -> spot_notice.Store:
    """A host's files."""
    (tmp_path / "etc/spot-notice").mkdir(parents=True)
    (tmp_path / "hooks").mkdir()
    store = spot_notice.Store(tmp_path)
    configure(store)
    return store


def configure(store: spot_notice.Store, **changed: Any) -> None:
    """Write the settings."""
    plain = {
        "address": "127.0.0.1:1",
        "every_s": 5,
        "reserve_s": 10,
        "units": [],
        "hook_dirs": [str(store.root / "hooks")],
    }
    store.settings_file.write_text(json.dumps({**plain, **changed}))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The lab's metadata service on a loopback port."""
    show(tmp_path, None)
    handler = type("Handler", (metadata.Handler,), {"answers": metadata.Answers(tmp_path)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}", tmp_path
    server.shutdown()
    server.server_close()


def show(folder: Path, action: dict[str, str] | None) -> None:
    """Say what AWS is about to do."""
    tree: dict[str, Any] = {"instance-id": "i-1"}
    if action:
        tree["spot"] = {"instance-action": json.dumps(action)}
    options = {"enabled": True, "token_required": True, "hops": 1, "addresses": []}
    (folder / "data.json").write_text(json.dumps({"options": options, "tree": {"meta-data": tree}}))


def test_the_notice_is_read_with_a_token_that_may_grow_old(service: tuple[str, Path]) -> None:
    address, folder = service
    asked = spot_notice.Metadata(address)
    assert asked.action() is None
    show(folder, STOP)
    assert asked.action() == STOP
    asked.token = "too old"
    assert asked.action() == STOP


def test_no_answer_is_said_once_and_tried_again(
    store: spot_notice.Store, service: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    address, folder = service
    assert spot_notice.watch(store, iter([None] * 3)) == 0  # type: ignore[arg-type]
    assert capsys.readouterr().out.count("cannot be read") == 1
    configure(store, address=address)
    show(folder, STOP)
    begun: list[int] = []
    spot_notice.watch(store, iter([None] * 3), lambda: begun.append(1))  # type: ignore[arg-type]
    assert begun == [1] and store.notice()["time"] == STOP["time"]


def test_a_notice_counts_once_and_may_be_taken_back(store: spot_notice.Store) -> None:
    begun: list[int] = []

    def step(action: dict[str, str] | None, now: float = NOON) -> str:
        return spot_notice.step(store, action, now, lambda: begun.append(1))

    assert step(None) == ""
    assert step(STOP) == "notice" and step(STOP, NOON + 5) == ""
    assert "stops it at" in store.notice()["text"] and "in 120 s" in store.notice()["text"]
    # The service was restarted meanwhile, or another time was named.
    assert spot_notice.step(spot_notice.Store(store.root), STOP, NOON + 9, lambda: begun.append(2)) == ""
    assert step({**STOP, "time": "2026-11-21T12:04:00Z"}) == "notice"
    assert step(None) == "withdraw" and step(None) == "" and store.notice() == {}
    assert begun == [1, 1]


def test_words_for_other_actions() -> None:
    assert "(terminate)" in spot_notice.text_of({**STOP, "action": "terminate"}, NOON)


def test_terminals_are_told(store: spot_notice.Store) -> None:
    (store.root / "dev/pts").mkdir(parents=True)
    main, name = os.openpty()
    (store.root / "dev/pts/0").symlink_to(os.ttyname(name))
    assert spot_notice.tell_terminals("Save your work", store.root) == 1
    assert b"Save your work" in os.read(main, 1000)


def hook(store: spot_notice.Store, name: str, line: str, mode: int = 0o755) -> None:
    """Plant a hook."""
    file = store.root / "hooks" / name
    file.write_text(f"#!/bin/sh\n{line}\n")
    file.chmod(mode)


def systemctl(store: spot_notice.Store, code: int = 0) -> str:
    """Systemctl that writes down what it is asked."""
    file = store.root / "systemctl"
    file.write_text(f'#!/bin/sh\necho "$@" >>{store.root}/asked\nexit {code}\n')
    file.chmod(0o755)
    return str(file)


def test_hooks_and_dumps_have_their_turn_whatever_becomes_of_the_others(store: spot_notice.Store) -> None:
    configure(store, units=["dump.service"])
    hook(store, "10-fails", "exit 3")
    hook(store, "20-works", f"echo done >{store.root}/done")
    hook(store, "30-others", f"echo no >{store.root}/others", 0o777)
    hook(store, "40-note", "not run", 0o644)
    assert spot_notice.save(store, systemctl(store)) == 1
    assert (store.root / "done").exists() and not (store.root / "others").exists()
    assert (store.root / "asked").read_text().splitlines() == ["start --no-block dump.service", "start dump.service"]
    (store.root / "hooks/10-fails").unlink()
    assert spot_notice.save(store, systemctl(store)) == 0
    assert spot_notice.save(store, systemctl(store, 1)) == 1


def test_a_slow_hook_ends_in_time_and_nothing_is_begun_after_that(
    store: spot_notice.Store, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(store, reserve_s=0)
    hook(store, "10-slow", "exec sleep 60")
    hook(store, "20-late", f"echo done >{store.root}/done")
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    store.save({"action": "stop", "time": soon, "text": "x"})
    assert spot_notice.save(store, systemctl(store)) == 1
    said = capsys.readouterr().out
    assert "10-slow" in said and "timed out" in said and "No time is left for" in said
    assert not (store.root / "done").exists()


class Item:
    """An instance of the lab's API."""

    def __init__(self) -> None:
        self.id, self.state, self.spot_action, self._reason = "i-1", "running", None, ""
        self.state_reason = type("Reason", (), {"code": "", "message": ""})()

    def stop(self) -> None:
        self.state = "stopped"

    def start(self) -> None:
        self.state = "running"


def test_the_lab_interrupts_as_aws_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [NOON]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    taken, item = interruptions.Interruptions(tmp_path / "interruptions.json"), Item()
    taken.follow([item])
    taken.add("i-1", 120, 30)
    taken.follow([item])
    assert item.spot_action == STOP and item.state == "running"
    clock[0] += 121
    taken.follow([item])
    assert (
        item.state == "stopped" and item.state_reason.code == "Server.SpotInstanceShutdown" and item.spot_action is None
    )
    taken.follow([item])
    assert item.state == "stopped"
    clock[0] += 30
    taken.follow([item])
    assert item.state == "running"
    taken.follow([item])
    assert item.state == "running" and taken.read() == {}
    taken.add("i-1", 0, 0)
    clock[0] += 1
    taken.follow([item])
    taken.follow([item])
    clock[0] += 1000
    taken.follow([item])
    assert item.state == "stopped" and taken.read() == {}

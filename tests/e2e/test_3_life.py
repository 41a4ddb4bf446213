"""A day in the life of that server: stopped and started, its data lost and brought back, new secrets, and nothing left of it at the end."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import SERVER, STATE
from tests.lab_site import Run, Site, account

KEPT = "kept"


def play(server: Site, name: str, **settings: str) -> Run:
    """Run one of the playbooks as a person does."""
    given = [word for key, value in settings.items() for word in ("-e", f"{key}={value}")]
    return server.apply(name, *given, playbook=f"playbooks/{name}.yml")


def test_stop_and_start_with_a_new_address(server: Site) -> None:
    server.give(KEPT)
    before, had = server.record, server.possessions(KEPT)
    stopped = play(server, "stop")
    assert stopped.code == 0, stopped.tail()
    found = server.client().describe_instances(InstanceIds=[before["instance_id"]])["Reservations"][0]["Instances"]
    assert found[0]["State"]["Name"] == "stopped"
    started = play(server, "start")
    assert started.code == 0, started.tail(120)
    assert server.record["instance_id"] == before["instance_id"]
    assert server.record["public_ip"] != before["public_ip"]
    # At the new address, with a certificate for it, and everything is there.
    assert server.logs_in(server.password)
    assert server.possessions(KEPT) == had


def test_what_was_lost_comes_back_from_a_backup(server: Site) -> None:
    had, volume = server.possessions(KEPT), server.record["data_volume_id"]
    saved = play(server, "backup")
    assert saved.code == 0, saved.tail()
    server.take(KEPT)
    restored = play(server, "restore", confirm=SERVER)
    assert restored.code == 0, restored.tail(120)
    assert server.record["data_volume_id"] != volume
    assert server.possessions(KEPT) == had
    server.client().delete_volume(VolumeId=volume)  # which the restore keeps, and says so


def test_new_secrets_open_it_and_old_ones_do_not(server: Site, tmp_path: Path) -> None:
    key, old, password = STATE / SERVER / "id_ed25519", tmp_path / "old", server.password
    old.touch(mode=0o600)
    old.write_text(key.read_text())
    assert server.lets_in(old)
    rotated = play(server, "rotate", rotate="all")
    assert rotated.code == 0, rotated.tail(120)
    assert server.password != password and key.read_text() != old.read_text()
    assert not server.lets_in(old)
    assert server.ssh("true").returncode == 0
    assert server.logs_in(server.password)
    assert not server.logs_in(password)


def test_destroy_leaves_nothing(server: Site, before: dict[str, set[str]]) -> None:
    """The account is what it was before the first run, and this machine keeps nothing of the server."""
    assert account(server) != before
    gone = {"data_volume": "delete", "backups": "delete", "images": "delete", "final_backup": "false"}
    run = play(server, "destroy", confirm=SERVER, **gone)
    assert run.code == 0, run.tail(120)
    assert account(server) == before
    assert not (STATE / SERVER).exists()

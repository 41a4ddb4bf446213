"""Backup, damage, restore; an image, and a second server from both in another zone: rows and notebooks are counted each time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.lab_site import FIRST_RUN, Run, Site, lab
from tests.life.conftest import LAB, MAKE, settings

KEPT, TWIN = "kept_in_backup", "twin"


def of(server: Site, kind: str, role: str, name: str = "") -> list[dict[str, Any]]:
    """Volumes, snapshots or images of a server, by their tags."""
    tags = {"Project": "notebook-server", "Name": name or server.server, "Role": role}
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    owner: dict[str, Any] = {"images": {"Owners": ["self"]}, "snapshots": {"OwnerIds": ["self"]}}.get(kind, {})
    return list(getattr(server.client(), f"describe_{kind}")(Filters=filters, **owner)[kind.capitalize()])


def play(server: Site, what: str, *arguments: str, **more: object) -> Run:
    """Run one of the playbooks as a person does."""
    return server.apply(
        "-".join([what, *(a.rpartition("=")[2] for a in arguments if "=" in a)]),
        *settings(**more),
        *arguments,
        playbook=f"playbooks/{what}.yml",
    )


def test_a_backup_is_made_after_a_plan_and_old_ones_go(server: Site) -> None:
    server.give(KEPT)
    rehearsal = play(server, "backup", "--check")
    assert rehearsal.code == 0, rehearsal.tail()
    assert f"data volume {server.record['data_volume_id']}" in rehearsal.output
    before = {one["SnapshotId"] for one in of(server, "snapshots", "backup")}
    first = play(server, "backup")
    assert first.code == 0, first.tail()
    (made,) = {one["SnapshotId"] for one in of(server, "snapshots", "backup")} - before
    second = play(server, "backup", "-e", "backup_keep=1")
    assert second.code == 0, second.tail()
    # Named before it went.
    assert made in second.output.partition("Make the snapshot")[0]
    (left,) = of(server, "snapshots", "backup")
    assert left["SnapshotId"] != made
    assert server.root("ls /data/backups/mysql /data/backups/postgres").count("notebooks-") >= 2


def test_a_restore_brings_back_what_was_lost(server: Site) -> None:
    """Without the name it does nothing, a swap that fails ends with the old volume in its place, and the old volume is kept."""
    had, volume = server.possessions(KEPT), server.record["data_volume_id"]
    server.take(KEPT)
    refused = play(server, "restore", "-e", "confirm=somebody")
    assert refused.code != 0
    assert "keeps its data" in refused.output
    assert not of(server, "volumes", "data-new")

    lab(LAB, "fault", "AttachVolume", "IncorrectState", "made up", "--times", "1")
    failed = play(server, "restore", "-e", "confirm=demo")
    assert failed.code != 0
    assert "All is as before" in " ".join(failed.output.split()), failed.tail()
    assert server.record["data_volume_id"] == volume
    assert server.root("systemctl is-active mariadb postgresql@17-main jupyter").split() == ["active"] * 3
    assert not (server.root("ls /var/lib/notebook-restore"))
    (new,) = of(server, "volumes", "data-new")

    restored = play(server, "restore", "-e", "confirm=demo")
    assert restored.code == 0, restored.tail(120)
    assert server.possessions(KEPT) == had
    assert server.record["data_volume_id"] == new["VolumeId"] == of(server, "volumes", "data")[0]["VolumeId"]
    (old,) = of(server, "volumes", "data-old")
    assert (old["VolumeId"], old["State"]) == (volume, "available")
    assert volume in restored.output.rpartition("delete-volume")[2]
    again = server.apply("restore-again", *settings(), playbook="playbooks/provision.yml")
    assert again.changes_nothing(), again.tail(120)
    server.client().delete_volume(VolumeId=volume)


def remove(twin: Site) -> None:
    """Take the second server away as if it had never been."""
    ec2, record = twin.client(), twin.record
    ec2.terminate_instances(InstanceIds=[record["instance_id"]])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[record["instance_id"]], WaiterConfig={"Delay": 2})
    ec2.delete_key_pair(KeyName=record["key_name"])
    ec2.delete_security_group(GroupId=record["security_group_id"])
    for volume in of(twin, "volumes", "data"):
        ec2.delete_volume(VolumeId=volume["VolumeId"])
    shutil.rmtree(twin.state / TWIN)


def test_an_image_and_a_backup_make_a_second_server_in_another_zone(server: Site) -> None:
    """It has everything, needs few changes, and is itself: other host keys, machine id and password, and the first one's key is refused."""
    address, had = server.record["public_ip"], server.possessions(KEPT)
    baked = play(server, "bake", "-e", "confirm=demo")
    assert baked.code == 0, baked.tail()
    assert server.record["public_ip"] == address
    assert server.possessions(KEPT) == had
    (image,) = of(server, "images", "image")
    assert len(image["BlockDeviceMappings"]) == 1  # not the data volume
    (backup,) = of(server, "snapshots", "backup")

    inventory = Path(server.environment["LAB_DIR"]) / "twin.yml"
    inventory.write_text(f"servers: {{children: {{launched: {{children: {{lab: {{hosts: {{{TWIN}: }}}}}}}}}}}}\n")
    other = next(f"us-west-2{letter}" for letter in "abc" if server.record["zone"] != f"us-west-2{letter}")
    given = settings(
        image=server.server, ec2_provision_zone=other, ec2_provision_data_volume_snapshot_id=backup["SnapshotId"]
    )
    run = server.apply(TWIN, "-i", str(inventory), "--limit", TWIN, *given, playbook=MAKE, seconds=FIRST_RUN)
    twin = Site(server.name, server.state, server.environment, TWIN)
    try:
        assert run.code == 0, run.tail(120)
        assert (twin.record["zone"], twin.record["image_id"]) == (other, image["ImageId"])
        assert twin.possessions(KEPT) == had
        # Nothing is installed and nothing is made: the databases are only started, now that their disk is there.
        names = [task.partition("]")[0] for task in run.output.split("TASK [")[1:] if f"\nchanged: [{TWIN}]" in task]
        made = [one for one in names if one.startswith("base :") or " : install" in one or " : objects" in one]
        made += [one for one in names if " : accounts" in one or " : initialise" in one or " : format" in one]
        assert not made, made
        for secret in ("cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub"):
            assert twin.root(secret) != server.root(secret)
        assert twin.password != server.password
        key = (server.state / server.server / "id_ed25519.pub").read_text().split()[1]
        assert key not in twin.root("cat /home/admin/.ssh/authorized_keys")
    finally:
        if (twin.state / TWIN / "record.yml").exists():
            remove(twin)
        ec2 = server.client()
        ec2.deregister_image(ImageId=image["ImageId"])
        for kind in ("image", "backup"):
            for snapshot in of(server, "snapshots", kind):
                ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])

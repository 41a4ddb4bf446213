"""The disk for data: databases and notebooks live on it; it grows in place, and outlives stops, starts and the instance itself."""

from __future__ import annotations

import time

from tests.lab_site import FIRST_RUN, Site
from tests.life.conftest import COMPONENTS, SETTINGS, settings

UNITS = ("data.mount", "mariadb", "postgresql@17-main", "jupyter")
ONLY_DISKS = {"server_components": ["data_volume"]}


def root(server: Site, command: str) -> str:
    """Run a command on the server as root, and return what it prints."""
    said = server.ssh(f"sudo sh -c '{command}'")
    assert said.returncode == 0, f"{command}: {said.stdout} {said.stderr}"
    return said.stdout.strip()


def possessions(server: Site) -> dict[str, str]:
    """Count what must never be lost."""
    count = "SELECT COUNT(*), SUM(n) FROM kept_on_volume"
    return {
        "mysql": root(server, f'mariadb -BN notebooks -e "{count}"').replace("\t", "|"),
        "postgres": root(server, f'cd / && runuser -u postgres -- psql -At notebooks -c "{count}"'),
        "files": root(server, 'cd /data/notebooks && find . -type f ! -path "*/.*" -exec sha256sum {} + | sort'),
    }


def until_it_answers(server: Site) -> None:
    """Wait until systemd is done with starting."""
    end = time.monotonic() + 60
    while server.ssh("systemctl is-system-running --wait").returncode == 255:
        assert time.monotonic() < end
        time.sleep(1)


def in_use(server: Site) -> None:
    """The disk is mounted by its UUID, and what has data on it runs."""
    uuid = root(server, "blkid --match-tag UUID --output value $(findmnt -no SOURCE /data)")
    assert f"UUID={uuid} /data ext4 defaults,nofail,x-systemd.device-timeout=90s 0 2" in root(server, "cat /etc/fstab")
    # A program that is starting again counts, too.
    end = time.monotonic() + 60
    while server.ssh(f"systemctl is-active {' '.join(UNITS)}").stdout.split() != ["active"] * len(UNITS):
        assert time.monotonic() < end, server.ssh(f"systemctl status {' '.join(UNITS)}").stdout
        time.sleep(1)


def test_databases_and_notebooks_live_on_a_disk_of_their_own(server: Site) -> None:
    in_use(server)
    volume = server.client().describe_volumes(VolumeIds=[server.record["data_volume_id"]])["Volumes"][0]
    assert (volume["Encrypted"], volume["VolumeType"], volume["Size"]) == (
        True,
        "gp3",
        SETTINGS["ec2_provision_data_volume_gb"],
    )
    assert root(server, 'mariadb -BN -e "SELECT @@datadir"') == "/data/mysql/"
    assert root(server, 'cd / && runuser -u postgres -- psql -At -c "SHOW data_directory"') == "/data/postgres/17/main"
    assert root(server, "stat -c %U:%a /data/notebooks /data/backups/mysql").split() == ["jupyter:750", "root:700"]
    # None of them starts without it.
    needed = root(server, "systemctl show --property=RequiredBy --value data.mount").split()
    assert {"mariadb.service", "postgresql@17-main.service", "jupyter.service", "notebook-mysql-dump.service"} <= set(
        needed
    )
    table = "CREATE TABLE IF NOT EXISTS kept_on_volume (n INT); INSERT INTO kept_on_volume VALUES (40), (2)"
    root(server, f'mariadb notebooks -e "{table}"; cd /; runuser -u postgres -- psql -q notebooks -c "{table}"')
    root(server, 'echo "{}" | runuser -u jupyter -- tee /data/notebooks/volume.ipynb')


def test_it_grows_in_place_and_a_copy_of_it_is_a_data_set(server: Site) -> None:
    before, ec2 = possessions(server), server.client()
    old = int(str(SETTINGS["ec2_provision_data_volume_gb"]))
    smaller = server.apply(
        "volume-shrunk", *settings(ec2_provision_data_volume_gb=old - 1), playbook="playbooks/provision.yml"
    )
    assert smaller.code != 0
    assert "cannot shrink" in smaller.output if old > 1 else "would be missing" in smaller.output
    root(server, "sync")
    copy = ec2.create_snapshot(VolumeId=server.record["data_volume_id"])["SnapshotId"]
    SETTINGS["ec2_provision_data_volume_gb"] = old + 1
    wanted = settings(**ONLY_DISKS, ec2_provision_data_sets=[{"name": "before", "snapshot_id": copy}])
    run = server.apply("volume-grown", *wanted, playbook="playbooks/provision.yml")
    assert run.code == 0, run.tail(80)
    assert f"from {old} to {old + 1} GB" in run.output
    run = server.apply("volume-mounted", *wanted, playbook="playbooks/configure.yml")
    assert run.code == 0, run.tail(80)
    in_use(server)
    assert possessions(server) == before
    assert old * 0.9 < int(root(server, "df --block-size=1M --output=size /data | tail -n 1")) / 1024 - 0.9 < old + 0.1
    mount = root(server, "findmnt -no SOURCE,OPTIONS /data-sets/before")
    assert "ro" in mount.split()[1].split(",")
    assert root(server, "cat /data-sets/before/notebooks/volume.ipynb") == "{}"
    again = server.apply("volume-again", *wanted, playbook="playbooks/configure.yml")
    assert again.changes_nothing(), again.tail(80)
    # Taken away by hand: the rest of this server's life does without it.
    root(server, 'umount /data-sets/before; sed -i "/data-sets/d" /etc/fstab; systemctl daemon-reload')
    for one in server.record["data_sets"]:
        ec2.detach_volume(VolumeId=one["id"])
        ec2.delete_volume(VolumeId=one["id"])
    ec2.delete_snapshot(SnapshotId=copy)


def test_a_stop_and_a_start_keep_it(server: Site) -> None:
    before, ec2, instance = possessions(server), server.client(), [server.record["instance_id"]]
    ec2.stop_instances(InstanceIds=instance)
    ec2.get_waiter("instance_stopped").wait(InstanceIds=instance, WaiterConfig={"Delay": 1})
    run = server.apply("volume-started", *settings(), playbook="playbooks/provision.yml")
    assert run.code == 0, run.tail(80)
    until_it_answers(server)
    in_use(server)
    assert possessions(server) == before


def test_the_next_instance_has_the_same_disk(server: Site) -> None:
    before, record = possessions(server), server.record
    server.client().terminate_instances(InstanceIds=[record["instance_id"]])
    run = server.apply("volume-next-instance", *settings(server_components=COMPONENTS), seconds=FIRST_RUN)
    assert run.code == 0, run.tail(120)
    assert server.record["instance_id"] != record["instance_id"]
    assert server.record["data_volume_id"] == record["data_volume_id"]
    in_use(server)
    assert possessions(server) == before

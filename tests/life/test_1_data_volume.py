"""The disk for data: databases and notebooks live on it; it grows in place, and outlives the instance itself."""

from __future__ import annotations

from tests.lab_site import FIRST_RUN, Site
from tests.life.conftest import MAKE, SETTINGS, in_use, settings

KEPT = "kept_on_volume"
ONLY_DISKS = {"server_components": ["data_volume"]}


def test_databases_and_notebooks_live_on_a_disk_of_their_own(server: Site) -> None:
    in_use(server)
    volume = server.client().describe_volumes(VolumeIds=[server.record["data_volume_id"]])["Volumes"][0]
    size = SETTINGS["ec2_provision_data_volume_gb"]
    assert (volume["Encrypted"], volume["VolumeType"], volume["Size"]) == (True, "gp3", size)
    assert server.root('mariadb -BN -e "SELECT @@datadir"') == "/data/mysql/"
    assert server.root('cd / && runuser -u postgres -- psql -At -c "SHOW data_directory"') == "/data/postgres/17/main"
    folders = "/data/notebooks /data/backups/mysql"
    assert server.root(f"stat -c %U:%a {folders}").split() == ["jupyter:750", "root:700"]
    # None of them starts without it.
    needed = set(server.root("systemctl show --property=RequiredBy --value data.mount").split())
    assert needed >= {
        "mariadb.service",
        "postgresql@17-main.service",
        "jupyter.service",
        "notebook-mysql-dump.service",
    }


def test_it_grows_in_place_and_a_copy_of_it_is_a_data_set(server: Site) -> None:
    server.give(KEPT)
    before, ec2 = server.possessions(KEPT), server.client()
    old = int(str(SETTINGS["ec2_provision_data_volume_gb"]))
    smaller = settings(ec2_provision_data_volume_gb=old - 1)
    shrunk = server.apply("volume-shrunk", *smaller, playbook="playbooks/provision.yml")
    assert shrunk.code != 0
    assert "cannot shrink" in shrunk.output if old > 1 else "would be missing" in shrunk.output
    server.root("sync")
    copy = ec2.create_snapshot(VolumeId=server.record["data_volume_id"])["SnapshotId"]
    SETTINGS["ec2_provision_data_volume_gb"] = old + 1
    wanted = settings(**ONLY_DISKS, ec2_provision_data_sets=[{"name": "before", "snapshot_id": copy}])
    run = server.apply("volume-grown", *wanted, playbook=MAKE)
    assert run.code == 0, run.tail(80)
    assert f"from {old} to {old + 1} GB" in run.output
    in_use(server)
    assert server.possessions(KEPT) == before
    has = int(server.root("df --block-size=1M --output=size /data | tail -n 1")) / 1024
    assert old * 0.9 < has - 0.9 < old + 0.1
    options = server.root("findmnt -no OPTIONS /data-sets/before").split(",")
    assert "ro" in options
    assert server.root(f"cat /data-sets/before/notebooks/{KEPT}.ipynb") == "{}"
    again = server.apply("volume-again", *wanted, playbook=MAKE)
    assert again.changes_nothing(), again.tail(80)
    # Taken away by hand: the rest of this server's life does without it.
    server.root('umount /data-sets/before; sed -i "/data-sets/d" /etc/fstab; systemctl daemon-reload')
    for one in server.record["data_sets"]:
        ec2.detach_volume(VolumeId=one["id"])
        ec2.delete_volume(VolumeId=one["id"])
    ec2.delete_snapshot(SnapshotId=copy)


def test_the_next_instance_has_the_same_disk(server: Site) -> None:
    """Made from nothing, as the first was: what is installed anew takes over the data that it finds."""
    before, record = server.possessions(KEPT), server.record
    server.client().terminate_instances(InstanceIds=[record["instance_id"]])
    run = server.apply("volume-next-instance", *settings(), playbook=MAKE, seconds=FIRST_RUN)
    assert run.code == 0, run.tail(120)
    assert server.record["instance_id"] != record["instance_id"]
    assert server.record["data_volume_id"] == record["data_volume_id"]
    in_use(server)
    assert server.possessions(KEPT) == before

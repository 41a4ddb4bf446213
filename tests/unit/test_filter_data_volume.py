"""When a disk may be formatted or mounted, and the sentences where it may not."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.filter import data_volume as role
from plugins.filter import ec2_provision

SETTINGS: dict[str, Any] = {"path": "/data", "device": "", "sets_path": "/data-sets", "wait_timeout": 120, "sets": []}
DISK: dict[str, Any] = {
    "name": "the data volume", "path": "/data", "device": "/dev/nvme1n1", "source": "UUID=1", "gb": 10.0, "filesystem": "ext4",
    "uuid": "1", "filesystem_gb": 10.0, "blank": False, "holds": "", "mounted": [], "occupied": [], "other": False,
}  # fmt: skip


def problems(**changed: Any) -> list[str]:
    return role.disk_problems({"former": [], "disks": [DISK | changed]}, "demo", 10, 120)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"path": "data"}, "data_volume_path is 'data': give a folder of its own"),
        ({"path": "/"}, "give a folder of its own"),
        ({"path": "/var"}, "give a folder of its own"),
        ({"path": "/proc/x"}, "give a folder of its own"),
        ({"path": "/da ta"}, "give a folder of its own"),
        ({"sets_path": "/etc"}, "data_volume_sets_path is '/etc'"),
        ({"device": "sdb"}, "data_volume_device is 'sdb': give the path of a disk"),
        ({"device": "/dev/sdb; reboot"}, "give the path of a disk"),
        ({"wait_timeout": 4000}, "give 0 to 3600 seconds"),
    ],
)
def test_bad_settings(changed: dict[str, Any], words: str) -> None:
    [said] = role.setting_problems(SETTINGS | changed)
    assert words in said


def test_good_settings() -> None:
    assert role.setting_problems(SETTINGS) == []
    assert (
        role.setting_problems(SETTINGS | {"path": "/mnt/big.disk", "device": "/dev/disk/by-id/usb-Some_Disk-0:0"}) == []
    )


def test_good_disks() -> None:
    assert problems() == problems(mounted=["/data"]) == []
    assert problems(filesystem="", uuid="", blank=True) == []
    assert problems(filesystem="xfs") == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"device": ""}, "The data volume of demo did not show up within 120 seconds"),
        ({"gb": 8.0}, "does not show its 10 GB within 120 seconds"),
        ({"other": True}, "Something else is mounted at /data on demo: unmount it"),
        ({"mounted": ["/mnt"]}, "is mounted at /mnt already"),
        ({"occupied": ["a", "b"]}, "/data on demo is not empty (a, b)"),
        (
            {"filesystem": "", "holds": "LVM2_member"},
            "it holds LVM2_member, and nothing was done to it. If nobody needs that: sudo wipefs",
        ),
        ({"filesystem": "", "holds": "gpt"}, "A partition may be what is wanted"),
        ({"filesystem": "", "holds": "data"}, "it holds data, and nothing was done to it"),
    ],
)
def test_disks_that_are_refused(changed: dict[str, Any], words: str) -> None:
    [said] = problems(**changed)
    assert words in said


def test_a_data_set_is_never_formatted() -> None:
    [said] = problems(name="the data set genomes", path="/data-sets/genomes", filesystem="", blank=True)
    assert said.startswith("The data set genomes of demo (/dev/nvme1n1, 10 GB) is blank")


def test_data_that_would_be_left_behind() -> None:
    former = [{"from": "/srv/notebooks", "to": "/data/notebooks", "names": ["a.ipynb"]}]
    [said] = role.disk_problems({"former": former, "disks": []}, "demo", 10, 120)
    assert (
        "demo has data on its system's disk, in /srv/notebooks (a.ipynb), and with the data volume other places are used"
        in said
    )


def test_growth() -> None:
    assert role.grows(DISK | {"filesystem_gb": 8.0})
    assert not role.grows(DISK | {"filesystem_gb": 9.99})
    assert not role.grows(DISK | {"filesystem_gb": 0.0})
    assert not role.grows({})


def test_data_sets_as_disks() -> None:
    [by_id, by_path] = role.set_disks(
        [{"name": "a", "id": "vol-1", "device": "/dev/sdg"}, {"name": "b", "device": "/dev/sdc"}], "/data-sets"
    )
    assert (by_id["path"], by_id["id"], by_id["device"], by_id["attached_as"]) == (
        "/data-sets/a",
        "vol-1",
        "",
        "/dev/sdg",
    )
    assert (by_path["id"], by_path["device"], by_path["read_only"]) == ("", "/dev/sdc", True)
    assert role.words([{"name": "a", "folder": "/data/a", "home": "/h", "shell": "/bin/sh"}]) == [
        "a",
        "/data/a",
        "/h",
        "/bin/sh",
    ]


VOLUME: dict[str, Any] = {"data_volume_gb": 10, "data_volume_snapshot_id": "", "data_sets": []}
SNAPSHOT = "snap-0123456789abcdef0"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data_volume_gb": "ten"}, "ec2_provision_data_volume_gb is 'ten': give a number of GB from 1 to 16384, or 0"),
        ({"data_volume_gb": -1}, "give a number of GB"),
        ({"data_volume_gb": True}, "give a number of GB"),
        ({"data_volume_gb": 20000}, "give a number of GB"),
        ({"data_volume_gb": 0, "data_volume_snapshot_id": SNAPSHOT}, "is set without a size"),
        ({"data_volume_snapshot_id": "vol-1"}, "is 'vol-1': give the id of a snapshot"),
        ({"data_sets": "genomes"}, "must be a list such as"),
        ({"data_sets": [{"name": "a"}]}, "must be a list such as"),
        (
            {"data_sets": [{"name": "A/b", "snapshot_id": SNAPSHOT}]},
            "'A/b' in ec2_provision_data_sets cannot be a folder",
        ),
        ({"data_sets": [{"name": "a", "snapshot_id": "x"}]}, "'x' in ec2_provision_data_sets is not the id"),
        ({"data_sets": [{"name": "a", "snapshot_id": SNAPSHOT}] * 2}, "has a twice"),
        ({"data_sets": [{"name": f"a{n}", "snapshot_id": SNAPSHOT} for n in range(9)]}, "has 9 entries"),
    ],
)
def test_bad_settings_of_the_launch(changed: dict[str, Any], words: str) -> None:
    [said] = ec2_provision.volume_problems(VOLUME | changed)
    assert words in said


def test_good_settings_of_the_launch() -> None:
    assert ec2_provision.volume_problems({}) == ec2_provision.volume_problems(VOLUME) == []
    sets = [{"name": "genomes-2026", "snapshot_id": SNAPSHOT}]
    assert (
        ec2_provision.volume_problems({"data_volume_gb": "500", "data_volume_snapshot_id": SNAPSHOT, "data_sets": sets})
        == []
    )


def test_the_server_goes_where_its_volume_is() -> None:
    subnets = [{"id": "1", "zone": "a"}, {"id": "2", "zone": "b"}]
    assert ec2_provision.subnets_in(subnets, "b") == subnets[1:]
    assert ec2_provision.subnets_in(subnets, "") == subnets

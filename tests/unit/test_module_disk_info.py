"""What disks hold: file systems as their first blocks say them, tables of mounts, places with data."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plugins.modules import disk_info

OWNERS = Path(__file__).resolve().parents[2] / "roles/data_volume/files/owners.sh"


def made(tmp_path: Path, program: str, size: int) -> Path:
    """A file with a file system in it, as the program makes it."""
    file = tmp_path / program
    with file.open("wb") as output:
        output.truncate(size)
    subprocess.run([program, "-q", str(file)], check=True, capture_output=True)
    return file


def test_the_size_of_a_real_ext4(tmp_path: Path) -> None:
    head = made(tmp_path, "mkfs.ext4", 96 * 1024 * 1024).read_bytes()[:4096]
    assert disk_info.filesystem_bytes(head) == 96 * 1024 * 1024


def test_the_size_of_a_large_ext4_and_an_xfs() -> None:
    head = bytearray(4096)
    head[1024 + 0x38 : 1024 + 0x3A] = b"\x53\xef"
    struct.pack_into("<I", head, 1024 + 4, 7)
    struct.pack_into("<I", head, 1024 + 0x150, 1)
    struct.pack_into("<I", head, 1024 + 0x18, 2)
    assert disk_info.filesystem_bytes(bytes(head)) == 7 * 4096
    struct.pack_into("<I", head, 1024 + 0x60, 0x80)
    assert disk_info.filesystem_bytes(bytes(head)) == (7 + (1 << 32)) * 4096
    assert disk_info.filesystem_bytes(b"XFSB" + struct.pack(">IQ", 4096, 1000)) == 4096000
    assert disk_info.filesystem_bytes(b"\0" * 4096) == disk_info.filesystem_bytes(b"") == 0


def test_the_size_of_a_mounted_xfs(monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        "meta-data=/dev/nvme1n1  isize=512    agcount=4, agsize=65536 blks\n"
        "data     =                       bsize=4096   blocks=262144, imaxpct=25\n"
        "log      =internal log           bsize=4096   blocks=16384, version=2\n"
    )
    monkeypatch.setattr(disk_info, "run", lambda *_: said)
    assert disk_info.mounted_bytes("/data") == 1024**3


def test_where_a_device_is_mounted() -> None:
    table = "36 35 259:3 / /data rw - ext4 /dev/nvme1n1 rw\n37 35 259:3 /sub /bind rw - ext4 x rw\n38 35 0:5 / /a\\040b rw - tmpfs t rw\n"
    assert disk_info.mounts(os.makedev(259, 3), table) == ["/data"]
    assert disk_info.mounts(os.makedev(0, 5), table) == ["/a b"]
    assert disk_info.mounts(os.makedev(8, 0), table) == []


def test_a_disk_is_found_by_its_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dev/disk/by-id").mkdir(parents=True)
    for name in ("nvme1n1", "nvme2n1", "xvdf", "sdq"):
        (tmp_path / "dev" / name).touch()
    (tmp_path / "dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol01").symlink_to("../../nvme1n1")
    monkeypatch.setattr("stat.S_ISBLK", lambda _: True)
    monkeypatch.setattr(disk_info, "run", lambda *_: "/dev/nvme1n1 vol01\n/dev/nvme2n1 vol02\n/dev/nvme3n1\n")

    def found(**disk: Any) -> str:
        return disk_info.device_of(disk, str(tmp_path)).removeprefix(str(tmp_path))

    assert found(id="vol-01") == "/dev/nvme1n1"
    assert found(id="vol-02", attached_as="/dev/sdf") == "/dev/nvme2n1"
    assert found(id="vol-03", attached_as="/dev/sdf") == "/dev/xvdf"
    assert found(id="vol-03", attached_as="/dev/sdq") == "/dev/sdq"
    assert found(id="vol-03") == found(id="vol-03", attached_as="/dev/sdz") == found(device="") == ""
    assert found(device="/dev/sdq") == "/dev/sdq"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", {"blank": True, "holds": "", "filesystem": ""}),
        (b"\0" * 5000 + b"secret", {"blank": False, "holds": "data", "filesystem": ""}),
        (b"LUKS\xba\xbe\x00\x01" + b"\0" * 600, {"blank": False, "filesystem": ""}),
    ],
)
def test_what_a_disk_holds(tmp_path: Path, content: bytes, found: dict[str, Any]) -> None:
    file = tmp_path / "disk"
    file.write_bytes(content.ljust(4 * 1024 * 1024, b"\0"))
    said = disk_info.describe({"name": "data", "path": str(tmp_path / "mount"), "id": ""}, str(file))
    assert found.items() <= said.items()
    assert said["gb"] == pytest.approx(0.004, abs=0.001)


def test_a_disk_with_a_file_system(tmp_path: Path) -> None:
    said = disk_info.describe(
        {"name": "data", "path": str(tmp_path / "m"), "id": ""}, str(made(tmp_path, "mkfs.ext4", 96 << 20))
    )
    assert (said["filesystem"], said["blank"], said["holds"], said["mounted"]) == ("ext4", False, "", [])
    assert said["filesystem_gb"] == said["gb"] == pytest.approx(96 / 1024, abs=0.001)
    assert said["source"] == f"UUID={said['uuid']}"
    assert len(said["uuid"]) == 36


def test_what_lies_at_the_place(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    disk = {"name": "data", "path": f"{tmp_path}/", "id": "vol-1"}
    assert disk_info.describe(disk, "")["occupied"] == []
    (tmp_path / "a").touch()
    assert disk_info.describe(disk, "")["occupied"] == ["a"]
    assert disk_info.describe({**disk, "path": "/proc"}, "")["other"]


def test_data_that_would_be_left_behind(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    place: dict[str, Any] = {"from": str(old), "to": str(new)}
    assert disk_info.left_behind(place) is None
    old.mkdir()
    (old / "lost+found").mkdir()
    assert disk_info.left_behind(place) is None
    (old / "ibdata1").touch()
    (old / "mysql").mkdir()
    assert disk_info.left_behind(place) == place | {"names": ["ibdata1", "mysql"]}
    own = {"directories": True, "except": ["mysql", "#*"]}
    assert disk_info.left_behind(place | own) is None
    (old / "shop").mkdir()
    assert disk_info.left_behind(place | own) == place | {"names": ["shop"]}
    assert disk_info.left_behind(place | own | {"to": str(old)}) is None
    (new / "shop").mkdir(parents=True)
    assert disk_info.left_behind(place | own) is None


def test_whose_folder_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = {"folder": str(tmp_path / "a")}
    assert not disk_info.is_stranger({"name": "nobody", **folder})
    (tmp_path / "a").mkdir()
    if not os.getuid():
        os.chown(tmp_path / "a", 4711, 4711)
    assert disk_info.is_stranger({"name": "no-such-account", **folder})
    assert disk_info.is_stranger({"name": "root", **folder})
    # What root has is nobody's in particular.
    assert not disk_info.is_stranger({"name": "no-such-account", "folder": "/"})
    has = (tmp_path / "a").stat()
    monkeypatch.setattr("pwd.getpwnam", lambda _: SimpleNamespace(pw_uid=has.st_uid, pw_gid=has.st_gid))
    assert not disk_info.is_stranger({"name": "ann", **folder})


def test_the_script_is_sound() -> None:
    assert subprocess.run(["sh", "-n", str(OWNERS)], check=False).returncode == 0

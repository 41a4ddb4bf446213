"""What data_volume decides: whether a disk may be formatted or mounted, and what a person does when it may not."""

from __future__ import annotations

import re
from typing import Any

MOUNT_POINT = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._-]*)+")
# Folders of the system, which a disk would cover.
SYSTEM = (
    "bin",
    "boot",
    "dev",
    "etc",
    "home",
    "lib",
    "lib64",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "srv",
    "sys",
    "tmp",
    "usr",
    "var",
)
# Less than this is what file systems leave unused at the end of a disk.
GROWTH_GB = 0.05


def setting_problems(settings: dict[str, Any]) -> list[str]:
    """What is wrong with the settings."""
    problems = []
    for name in ("path", "sets_path"):
        path = str(settings[name])
        if path and (
            not MOUNT_POINT.fullmatch(path)
            or path.lstrip("/") in SYSTEM
            or path.split("/")[1] in {"dev", "proc", "sys", "run", "tmp"}
        ):
            problems.append(f"data_volume_{name} is '{path}': give a folder of its own, such as /data.")
    if settings["device"] and not re.fullmatch(r"/dev/[\w./:+-]+", str(settings["device"])):
        problems.append(f"data_volume_device is '{settings['device']}': give the path of a disk, such as /dev/sdb.")
    if not 0 <= int(settings["wait_timeout"]) <= 3600:
        problems.append(f"data_volume_wait_timeout is {settings['wait_timeout']}: give 0 to 3600 seconds.")
    return problems


def set_disks(sets: list[dict[str, Any]], folder: str) -> list[dict[str, Any]]:
    """The disks of data sets as the module disk_info takes them."""
    return [
        {
            "name": f"the data set {one['name']}",
            "path": f"{folder}/{one['name']}",
            "id": one.get("id") or "",
            "device": "" if one.get("id") else one.get("device") or "",
            "attached_as": one.get("device") or "",
            "gb": 0,
            "read_only": True,
        }
        for one in sets
    ]


def disk_problems(look: dict[str, Any], host: str, gb: float, seconds: int) -> list[str]:
    """Why a disk cannot be formatted or mounted, or what would be hidden by it."""
    left = [f"{one['from']} ({', '.join(one['names'])})" for one in look["former"]]
    problems = []
    if left:
        problems.append(
            f"{host} has data on its system's disk, in {', '.join(left)}, and with the data volume other places are used, where these are "
            "not. Nothing on the server was changed. Move them first: docs/data-volume.md says how, under 'A server that is there already'."
        )
    for disk in look["disks"]:
        problems += one_disk_problems(disk, host, gb, seconds)
    return problems


def one_disk_problems(disk: dict[str, Any], host: str, gb: float, seconds: int) -> list[str]:
    """The same for one disk."""
    what, path, data = f"{disk['name']} of {host}", disk["path"], disk["name"] == "the data volume"
    what = what[0].upper() + what[1:]
    if not disk["device"]:
        return [
            f"{what} did not show up within {seconds} seconds: run the same command again, or look at the volume in the AWS console; for "
            "a disk given by data_volume_device, `lsblk` on the host says which there are."
        ]
    device = f"{what} ({disk['device']}, {disk['gb']:g} GB)"
    if data and disk["gb"] < gb:
        return [
            f"{device} does not show its {gb:g} GB within {seconds} seconds: run the same command again; everything works on with the size "
            "it has."
        ]
    if disk["other"]:
        return [
            f"Something else is mounted at {path} on {host}: unmount it (sudo umount {path}), or choose another place."
        ]
    if disk["mounted"] and path not in disk["mounted"]:
        return [
            f"{device} is mounted at {disk['mounted'][0]} already: unmount it there, take it out of /etc/fstab, and run this again."
        ]
    if disk["occupied"]:
        return [
            f"{path} on {host} is not empty ({', '.join(disk['occupied'])}), and a disk mounted there would hide that: "
            f"move it away (sudo mv {path} {path}.before), run this again, and move what is wanted back."
        ]
    if disk["filesystem"]:
        return []
    if disk["blank"]:
        return (
            [] if data else [f"{device} is blank: the snapshot holds no file system; correct ec2_provision_data_sets."]
        )
    holds = disk["holds"]
    hint = (
        " A partition may be what is wanted: name it in data_volume_device, such as /dev/sdb1."
        if holds in ("dos", "gpt")
        else ""
    )
    return [
        f"{device} is not blank and has no ext4 or XFS: it holds {holds}, and nothing was done to it.{hint} If nobody needs that: "
        f"sudo wipefs --all {disk['device']}; sudo dd if=/dev/zero of={disk['device']} bs=1M count=1; and run this again."
    ]


def words(accounts: list[dict[str, Any]]) -> list[str]:
    """Accounts as owners.sh takes them."""
    return [str(account[key]) for account in accounts for key in ("name", "folder", "home", "shell")]


def grows(disk: dict[str, Any]) -> bool:
    """Whether the file system is smaller than its disk."""
    return bool(disk.get("filesystem_gb")) and disk["gb"] - disk["filesystem_gb"] > GROWTH_GB


class FilterModule:
    """Ansible's entrance."""

    def filters(self) -> dict[str, Any]:
        """The filters by name."""
        return {
            "data_volume_disk_problems": disk_problems,
            "data_volume_grows": grows,
            "data_volume_problems": setting_problems,
            "data_volume_set_disks": set_disks,
            "data_volume_words": words,
        }

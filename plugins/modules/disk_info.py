#!/usr/bin/python
"""What disks hold and where they are mounted, without changing anything."""

from __future__ import annotations

DOCUMENTATION = """
module: disk_info
short_description: What disks hold, before one is formatted or mounted
description:
  - Waits until each disk is there, found by the id of its EBS volume (whatever name the kernel gave it) or by its path.
  - Says whether it is blank, which file system it has, where it is mounted, and what lies at the place where it is to be mounted.
  - Reads only.
options:
  disks:
    description: "The disks: name, path (where it is to be mounted), id (of an EBS volume) or device, gb (least size), attached_as"
    type: list
    elements: dict
    default: []
  former:
    description: "Where data were before: from, to, and directories (only those count, less what is in except)"
    type: list
    elements: dict
    default: []
  accounts: {description: "Accounts with files on a disk: name and folder", type: list, elements: dict, default: []}
  wait_timeout: {description: Seconds to wait for a disk, type: int, default: 120}
author: [The project's authors]
"""

EXAMPLES = """
- name: Look at the disk for data
  disk_info:
    disks: [{name: data, path: /data, id: vol-0123456789abcdef0, gb: 50}]
"""

RETURN = """
disks:
  description: >-
    For each disk name, path, device (empty when it is not there), source (what fstab says), gb, filesystem, uuid, filesystem_gb, blank,
    holds (what else it is), mounted (where it is mounted), occupied (what lies at path while nothing is mounted there), other (what
    else is mounted there)
  type: list
  returned: always
strangers: {description: Names of accounts whose folder belongs to another number, type: list, returned: always}
former: {description: "Places that hold data which the new place does not: from, to, names", type: list, returned: always}
"""

import fnmatch
import os
import pwd
import stat
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

BY_ID = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_"
GB = 1024**3
KNOWN = ("ext4", "xfs")
# So much of a new disk is nothing but zeros.
LOOKED_AT = 1024 * 1024


def run(*command: str) -> str:
    """What a command prints; nothing when it fails, as those here do where there is nothing to be found."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def device_of(disk: dict[str, Any], root: str = "") -> str:
    """The path of a disk as the kernel has it, or nothing."""
    serial = str(disk.get("id") or "").replace("-", "")
    places = [BY_ID + serial] if serial else [str(disk.get("device") or "")]
    if serial:
        # The links are udev's; lsblk asks the kernel.
        rows = [row.split() for row in run("lsblk", "--nodeps", "--noheadings", "--output", "PATH,SERIAL").splitlines()]
        places += [row[0] for row in rows if len(row) == 2 and row[1] == serial]
        letter = str(disk.get("attached_as") or "").rpartition("/sd")[2]
        # On types without NVMe the name that it was attached as is all there is.
        places += [f"/dev/xvd{letter}", f"/dev/sd{letter}"] if letter else []
    for place in places:
        path = os.path.realpath(root + place) if place else ""
        if path and os.path.exists(path) and stat.S_ISBLK(os.stat(path).st_mode):
            return path
    return ""


def mounts(device: int, table: str) -> list[str]:
    """Where a device is mounted, by its number."""
    number = f"{os.major(device)}:{os.minor(device)}"
    rows = [row.split(" ") for row in table.splitlines()]
    return [row[4].replace("\\040", " ") for row in rows if len(row) > 4 and row[2] == number and row[3] == "/"]


def filesystem_bytes(head: bytes) -> int:
    """The size of an ext4 or XFS file system by its first block; 0 when that does not say."""
    if head[:4] == b"XFSB":
        size, blocks = struct.unpack(">IQ", head[4:16])
        return int(size * blocks)
    if len(head) >= 2048 and head[1024 + 0x38 : 1024 + 0x3A] == b"\x53\xef":
        low, high = struct.unpack_from("<I", head, 1024 + 4)[0], struct.unpack_from("<I", head, 1024 + 0x150)[0]
        incompatible = struct.unpack_from("<I", head, 1024 + 0x60)[0]
        blocks = low + ((high << 32) if incompatible & 0x80 else 0)
        return int(blocks << (10 + struct.unpack_from("<I", head, 1024 + 0x18)[0]))
    return 0


def mounted_bytes(path: str) -> int:
    """The size of a mounted XFS, whose first block on the disk may be older than what the kernel knows."""
    for line in run("xfs_growfs", "-n", path).splitlines():
        if line.startswith("data"):
            values = dict(
                part.split("=", 1) for part in line.replace(",", " ").split() if part.count("=") == 1 and part != "="
            )
            return int(values["bsize"]) * int(values["blocks"])
    return 0


def entries(path: str) -> list[str]:
    """The first things in a folder."""
    try:
        return sorted(name for name in os.listdir(path) if name != "lost+found")[:3]
    except (FileNotFoundError, NotADirectoryError):
        return []


def describe(disk: dict[str, Any], device: str) -> dict[str, Any]:
    """All that is to be known of one disk."""
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    path = str(disk["path"]).rstrip("/")
    over = [row.split(" ")[4] for row in table.splitlines()]
    found: dict[str, Any] = {
        "name": disk["name"], "path": path, "device": device, "source": "", "gb": 0.0, "filesystem": "", "uuid": "",
        "filesystem_gb": 0.0, "blank": False, "holds": "", "mounted": [], "other": path in over,
        "occupied": [] if path in over else entries(path),
    }  # fmt: skip
    if not device:
        return found
    with open(device, "rb") as file:
        head = file.read(LOOKED_AT)
        size = file.seek(0, os.SEEK_END)
    signs = run("wipefs", "--no-act", "--noheadings", "--output", "TYPE", device).split()
    probed = run("blkid", "--probe", "--output", "export", device).splitlines()
    known = dict(line.split("=", 1) for line in probed if "=" in line)
    kind = known.get("TYPE", "")
    found["mounted"] = mounts(os.stat(device).st_rdev, table)
    found["other"] = path in over and path not in found["mounted"]
    has = kind if kind in KNOWN and set(signs) <= {kind} else ""
    found |= {
        "gb": round(size / GB, 3),
        "filesystem": has,
        "uuid": known.get("UUID", "") if has else "",
        "blank": not signs and not known and not any(head),
        "holds": ""
        if has
        else (", ".join(sorted({kind, *signs, known.get("PTTYPE", "")} - {""})) or ("data" if any(head) else "")),
    }
    if has:
        own = mounted_bytes(path) if has == "xfs" and path in found["mounted"] else filesystem_bytes(head)
        found["filesystem_gb"] = round(own / GB, 3)
    # A disk that was made from a copy of another one has its UUID.
    link = BY_ID + str(disk.get("id") or "").replace("-", "")
    by_id = disk.get("id") and os.path.exists(link)
    found["source"] = link if by_id and disk.get("read_only") else f"UUID={found['uuid']}"
    return found


def left_behind(place: dict[str, Any]) -> dict[str, Any] | None:
    """A place with data that the new one does not have."""

    def names(path: str) -> list[str]:
        """What counts there."""
        try:
            found = sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [
            name
            for name in found
            if not any(fnmatch.fnmatch(name, pattern) for pattern in ["lost+found", *place.get("except", [])])
            and (not place.get("directories") or os.path.isdir(os.path.join(path, name)))
        ]

    old = names(str(place["from"]))
    if place["from"] == place["to"] or not old or names(str(place["to"])):
        return None
    return {"from": place["from"], "to": place["to"], "names": old[:3]}


def is_stranger(account: dict[str, Any]) -> bool:
    """Whether the folder of an account belongs to another number, or nobody has the name."""
    try:
        has = os.stat(str(account["folder"]))
    except FileNotFoundError:
        return False
    if not has.st_uid:
        return False
    try:
        return (has.st_uid, has.st_gid) != (pwd.getpwnam(account["name"]).pw_uid, pwd.getpwnam(account["name"]).pw_gid)
    except KeyError:
        return True


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "disks": {"type": "list", "elements": "dict", "default": []},
            "former": {"type": "list", "elements": "dict", "default": []},
            "accounts": {"type": "list", "elements": "dict", "default": []},
            "wait_timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    until = time.monotonic() + (0 if module.check_mode else module.params["wait_timeout"])
    found = []
    for disk in module.params["disks"]:
        while True:
            said = describe(disk, device_of(disk))
            # A disk that grows is larger a moment after AWS says so.
            if (said["device"] and said["gb"] >= float(disk.get("gb") or 0)) or time.monotonic() > until:
                break
            time.sleep(0.5)
        found.append(said)
    former = [one for one in map(left_behind, module.params["former"]) if one]
    strangers = [one["name"] for one in module.params["accounts"] if is_stranger(one)]
    module.exit_json(changed=False, disks=found, former=former, strangers=strangers)


if __name__ == "__main__":
    main()

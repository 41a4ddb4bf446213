"""EBS volumes as loop devices: formatted once, they keep their data through detaching, moving and stopping."""

from __future__ import annotations

import threading

from lab.engine import docker, labelled
from lab.settings import Settings

LOOP_MAJOR = 7
# Attaching happens on the engine's machine, in a container with just the rights for it: some refuse --privileged.
HELPER_FLAGS = (
    "--cap-drop=ALL",
    "--cap-add=SYS_ADMIN",
    "--cap-add=MKNOD",
    "--cap-add=DAC_OVERRIDE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    f"--device-cgroup-rule=b {LOOP_MAJOR}:* rwm",
    "--device-cgroup-rule=c 10:237 rwm",
    "--network=none",
    "--volume=/dev:/dev",
    "--stop-signal=SIGKILL",
    "--entrypoint=sleep",
)


class Disks:
    """The backing files and loop devices of one lab."""

    def __init__(self, settings: Settings, image: str) -> None:
        self.settings, self.image = settings, image
        self.helper = f"{settings.name}-disks"
        self.lock = threading.Lock()
        self.files: set[str] = set()
        self.connected: set[str] = set()

    def run(self, script: str, *args: str) -> str:
        """Run a shell script where the loop devices are."""
        if self.helper not in labelled("container", self.settings.label):
            if self.settings.disks not in labelled("volume", self.settings.label):
                docker("volume", "create", "--label", self.settings.label, self.settings.disks)
            labels = ["--label", self.settings.label, "--label", "lab.part=disks"]
            mount = f"--volume={self.settings.disks}:/disks"
            docker("run", "--detach", f"--name={self.helper}", *labels, *HELPER_FLAGS, mount, self.image, "infinity")
        if docker("inspect", "--format", "{{.State.Running}}", self.helper).strip() != "true":
            docker("start", self.helper)
        return docker("exec", self.helper, "sh", "-ec", script, "sh", *args)

    def attach(self, volume: str, gigabytes: int) -> int:
        """Return the number of the loop device that shows a volume; make, grow or connect it as needed."""
        script = """
file="/disks/$1.img"
size=$(($2 * 1024 * 1024 * 1024))
[ -e "$file" ] || : >"$file"
device=$(losetup --noheadings --output NAME --associated "$file" | head -n 1)
if [ "$(stat -c %s "$file")" -lt "$size" ]; then
  truncate -s "$size" "$file"
  [ -z "$device" ] || losetup --set-capacity "$device"
fi
[ -n "$device" ] || device=$(losetup --find --show "$file")
echo "${device#/dev/loop}"
"""
        with self.lock:
            number = int(self.run(script, volume, str(gigabytes)).strip())
            self.files.add(volume)
            self.connected.add(volume)
            return number

    def copy(self, source: str, target: str) -> None:
        """Copy what a volume or snapshot holds to a new one; of a disk that was never shown there is nothing to copy."""
        if source not in self.files:
            return
        script = """
device=$(losetup --noheadings --output NAME --associated "/disks/$1.img" | head -n 1)
[ -z "$device" ] || blockdev --flushbufs "$device"
cp --sparse=always "/disks/$1.img" "/disks/.$2.part"
mv "/disks/.$2.part" "/disks/$2.img"
"""
        with self.lock:
            self.run(script, source, target)
            self.files.add(target)

    def detach(self, volume: str) -> None:
        """Disconnect a volume's loop device; its data stay in the file."""
        script = 'losetup --noheadings --output NAME --associated "/disks/$1.img" | xargs -r -n 1 losetup --detach'
        with self.lock:
            self.run(script, volume)
            self.connected.discard(volume)

    def delete(self, volume: str) -> None:
        """Throw a volume's data away."""
        self.detach(volume)
        with self.lock:
            self.run('rm -f "/disks/$1.img"', volume)
            self.files.discard(volume)

    def destroy(self) -> None:
        """Disconnect every volume of this lab; the containers and files go with the rest of the lab."""
        if self.settings.disks in labelled("volume", self.settings.label):
            if self.helper in labelled("container", self.settings.label):
                docker("rm", "--force", self.helper)
            script = 'for file in /disks/*.img; do [ ! -e "$file" ] || '
            script += 'losetup --noheadings --output NAME --associated "$file" | xargs -r -n 1 losetup --detach; done'
            self.run(script)


def show(container: str, names: dict[str, tuple[int, str]]) -> None:
    """Make the devices of an instance match: /dev/nvme1n1 and so on, with the links by volume id
    that AWS's systems have.

    `names` maps a device name to its loop number and volume id. A device that is gone leaves no name behind.
    """
    script = ["mkdir -p /dev/disk/by-id", "find /dev/disk/by-id -name 'nvme-Amazon_Elastic_Block_Store_*' -delete"]
    wanted = " ".join(names) or "none"
    script.append(
        f'for node in /dev/nvme[1-9]*n1; do case " {wanted} " in '
        '*" ${node#/dev/} "*) ;; *) rm -f "$node" ;; esac; done'
    )
    for name, (number, volume) in names.items():
        link = f"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}"
        script.append(
            f'[ "$(stat -c %T /dev/{name} 2>/dev/null)" = "{number:x}" ] || '
            f"{{ rm -f /dev/{name}; mknod -m 0660 /dev/{name} b {LOOP_MAJOR} {number}; chgrp disk /dev/{name}; }}"
        )
        script.append(f"ln -sf ../../{name} {link}")
    docker("exec", "--user=0", container, "sh", "-ec", "\n".join(script))

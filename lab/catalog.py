"""The machine images (AMIs) and public parameters that the lab's AWS knows: those that the product asks for by name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

DEBIAN, CANONICAL, AMAZON = "136693071363", "099720109477", "137112412989"


@dataclass(frozen=True)
class System:
    """A family of images, one a date and architecture."""

    os: str
    user: str
    owner: str
    root_device: str
    name: str
    parameter: str
    dates: tuple[str, str]
    architectures: tuple[tuple[str, str], ...] = (("amd64", "x86_64"), ("arm64", "arm64"))
    # What the lab runs for it: a Debian release that it can make by itself, or the image of a container registry.
    base: str = ""


# Two dates each, so that "the newest" is a real choice; the parameter names the newest.
SYSTEMS = (
    System(
        "debian13", "admin", DEBIAN, "/dev/xvda", "debian-13-{arch}-{date}-2260",
        "/aws/service/debian/release/13/latest/{arch}", ("20260806", "20261015"), base="13",
    ),
    System(
        "debian12", "admin", DEBIAN, "/dev/xvda", "debian-12-{arch}-{date}-2261",
        "/aws/service/debian/release/12/latest/{arch}", ("20260807", "20261016"), base="12",
    ),
    System(
        "ubuntu2404", "ubuntu", CANONICAL, "/dev/sda1",
        "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{arch}-server-{date}",
        "/aws/service/canonical/ubuntu/server/24.04/stable/current/{arch}/hvm/ebs-gp3/ami-id",
        ("20260910", "20261020"), base="ubuntu:24.04",
    ),
    System(
        "ubuntu2204", "ubuntu", CANONICAL, "/dev/sda1",
        "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-{arch}-server-{date}",
        "/aws/service/canonical/ubuntu/server/22.04/stable/current/{arch}/hvm/ebs-gp2/ami-id",
        ("20260911", "20261018"), base="ubuntu:22.04",
    ),
    System(
        "amazonlinux2023", "ec2-user", AMAZON, "/dev/xvda", "al2023-ami-2023.9.{date}.0-kernel-6.12-{arch}",
        "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{arch}",
        ("20260914", "20261012"), (("x86_64", "x86_64"), ("arm64", "arm64")),
    ),
)  # fmt: skip


def image_id(name: str) -> str:
    """Return an id that stays the same for an image name."""
    return f"ami-{hashlib.sha256(name.encode()).hexdigest()[:17]}"


def images() -> list[dict[str, object]]:
    """Return the images in the form that moto loads."""
    return [
        {
            "ami_id": image_id(system.name.format(arch=label, date=date)),
            "owner_id": system.owner,
            "name": system.name.format(arch=label, date=date),
            "description": f"{system.os} {architecture} {date}",
            "public": True,
            "virtualization_type": "hvm",
            "architecture": architecture,
            "root_device_type": "ebs",
            "root_device_name": system.root_device,
            "hypervisor": "xen",
            "creation_date": f"{date[:4]}-{date[4:6]}-{date[6:]}T10:00:00.000Z",
        }
        for system in SYSTEMS
        for label, architecture in system.architectures
        for date in system.dates
    ]


def parameters() -> dict[str, str]:
    """Return the public parameters: name -> image id."""
    return {
        system.parameter.format(arch=label): image_id(system.name.format(arch=label, date=system.dates[-1]))
        for system in SYSTEMS
        for label, _ in system.architectures
    }


# Images that people made of their instances: which system is in them.
MADE: dict[str, System | None] = {}


def adopt(ami: str, source: str) -> None:
    """Remember that an image was made of an instance of another one."""
    MADE[ami] = system_of(source)


def system_of(ami: str) -> System | None:
    """Return the family that an image id belongs to, None for an image that nobody knows."""
    if ami in MADE:
        return MADE[ami]
    for system in SYSTEMS:
        for label, _ in system.architectures:
            if ami in {image_id(system.name.format(arch=label, date=date)) for date in system.dates}:
                return system
    return None

"""What the role update reads on a host, says and keeps for the way back."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from plugins.filter import update as role

look: Any = runpy.run_path(str(Path(__file__).resolve().parents[2] / "roles/update/files/look.py"))
APT = """Reading package lists...
The following packages have been kept back:
  linux-image-amd64 big
  more
The following packages will be upgraded:
  libexpat1 rsync
Inst libexpat1 [2.8.3-1~deb13u1] (2.9.0-1~deb13u1 Debian-Security:13/stable-security [amd64])
Inst linux-image-6.12.9 (6.12.9-1 Debian:13.7/stable [amd64]) []
Conf libexpat1 (2.9.0-1~deb13u1 Debian-Security:13/stable-security [amd64])
"""
PACKAGES = [
    {"name": "libexpat1", "old": "2.8.3-1~deb13u1", "new": "2.9.0-1~deb13u1"},
    {"name": "linux-image-6.12.9", "old": "", "new": "6.12.9-1"},
]
LOOK: dict[str, Any] = {
    "packages": PACKAGES,
    "held": ["big"],
    "unfinished": False,
    "stale": [],
    "left": [],
    "reboot": "",
}


def test_apt() -> None:
    assert look["apt_packages"](APT) == PACKAGES
    assert look["apt_held"](APT) == ["linux-image-amd64", "big", "more"]
    assert look["apt_packages"]("") == look["apt_held"]("") == []


def test_dnf() -> None:
    text = "\nopenssl.x86_64   1:3.2.2-1.amzn2023.0.2   amazonlinux\nObsoleting Packages\nold.noarch  1  amazonlinux\n"
    found = look["dnf_packages"](text, {"openssl": "1:3.2.2-1.amzn2023.0.1"})
    assert found == [{"name": "openssl", "old": "1:3.2.2-1.amzn2023.0.1", "new": "1:3.2.2-1.amzn2023.0.2"}]


@pytest.mark.parametrize(
    ("line", "yes"),
    [
        ("7f-80 r-xp 00000000 fe:01 12 /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)", True),
        ("7f-80 r--p 00000000 fe:01 12 /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)", False),
        ("7f-80 r-xp 00000000 fe:01 12 /usr/lib/x86_64-linux-gnu/libssl.so.3", False),
        ("7f-80 rwxs 00000000 00:01 12 /memfd:doublemapper (deleted)", False),
        ("7f-80 r-xp 00000000 00:01 12 /tmp/x.so (deleted)", False),
        ("7f-80 r-xp 00000000 00:00 0", False),
    ],
)
def test_replaced_code(line: str, yes: bool) -> None:
    assert look["replaced"](line) is yes


def test_services() -> None:
    assert look["unit_of"]("0::/system.slice/jupyter.service\n") == "jupyter.service"
    assert (
        look["unit_of"]("0::/system.slice/system-postgresql.slice/postgresql@17-main.service")
        == "postgresql@17-main.service"
    )
    assert look["unit_of"]("0::/user.slice/user-1000.slice/session-3.scope") == ""
    for unit in (
        "dbus.service",
        "systemd-logind.service",
        "docker.service",
        "user@1000.service",
        "serial-getty@ttyS0.service",
    ):
        assert look["NEVER"].fullmatch(unit)
    assert not look["NEVER"].fullmatch("jupyter.service")


def test_versions_sort_as_people_count() -> None:
    versions = ["6.12.10+deb13-amd64", "6.12.9+deb13-amd64", "6.1.0-40-amd64"]
    assert sorted(versions, key=look["natural"])[-1] == "6.12.10+deb13-amd64"


def test_says() -> None:
    says = role.update_says(LOOK, False, True)
    assert says[:3] == [
        "System packages: 2 change.",
        "  libexpat1 2.8.3-1~deb13u1 -> 2.9.0-1~deb13u1",
        "  linux-image-6.12.9 (new) -> 6.12.9-1",
    ]
    assert "Kept back" in says[3] and "are restarted" in says[4]
    nothing = {**LOOK, "packages": [], "held": []}
    assert role.update_says(nothing, False, True) == ["System packages: all are up to date."]
    due = role.update_says({**nothing, "reboot": "new kernel", "stale": ["a.service"]}, False, False)
    assert "are named: a.service" in due[1] and "give -e reboot=true" in due[2]
    assert "comes at the end" in role.update_says({**nothing, "reboot": "x"}, True, True)[1]


def test_the_way_back() -> None:
    apt = "apt-get install --allow-downgrades libexpat1=2.8.3-1~deb13u1 linux-image-6.12.9-"
    assert role.update_way_back(PACKAGES, "apt") == apt
    assert role.update_way_back(PACKAGES[:1], "dnf") == "dnf downgrade libexpat1-2.8.3-1~deb13u1"


def test_kernels_there_and_back() -> None:
    kernels: list[dict[str, Any]] = [
        {"name": "py", "packages": ["numpy"], "env": {"A": "1"}},
        {"name": "held", "lock_file": "held.txt"},
        {"name": "gone", "state": "absent"},
    ]
    latest = role.update_latest(kernels)
    assert [kernel.get("state") for kernel in latest] == ["latest", None, "absent"]
    back = role.update_back(kernels, "/kept", ["py"])
    assert back[0] == {"name": "py", "env": {"A": "1"}, "lock_file": "/kept/py.txt"}
    assert back[1:] == kernels[1:]

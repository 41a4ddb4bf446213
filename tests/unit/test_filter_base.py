"""What the role base refuses: settings, and hosts that cannot be servers, each in a sentence."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("base", ROOT / "plugins/filter/base.py")
assert spec and spec.loader
base = importlib.util.module_from_spec(spec)
spec.loader.exec_module(base)

DEFAULTS = yaml.safe_load((ROOT / "roles/base/defaults/main.yml").read_text())
SYSTEMS = yaml.safe_load((ROOT / "roles/base/vars/main.yml").read_text())["__base_supported"]
GOOD = {
    "system": "debian",
    "version": "13",
    "name": "Debian GNU/Linux 13 (trixie)",
    "init": "systemd",
    "machine": "x86_64",
    "python": "3.13",
    "sudo": "free",
    "login": "admin",
    "memory_mb": "3900",
    "disk_mb": "25000",
}


def refusals(**changes: str) -> list[str]:
    answers = {name: value for name, value in {**GOOD, **changes}.items() if value}
    return list(base.base_admission_problems(answers, "lab1", SYSTEMS, 900, 6000))


def test_the_defaults_are_fine() -> None:
    assert base.base_setting_problems(DEFAULTS) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"base_timezone": "Europe/Atlantis"}, "no time zone"),
        ({"base_auto_reboot_time": "25:00"}, "write hours and minutes"),
        ({"base_swap_mb": 10}, "choose 0 for no swap"),
        ({"base_swap_file": "swap file"}, "give the full path"),
        ({"base_data_dir": "/var/lib/jupyter"}, "the same directory"),
        ({"base_data_dir": "/usr"}, "base_data_dir"),
        ({"base_user_groups": ["docker"]}, "docker"),
        ({"base_user": "root"}, "root"),
    ],
)
def test_a_setting_that_cannot_work_is_named(changes: dict[str, Any], sentence: str) -> None:
    problems = base.base_setting_problems({**DEFAULTS, **changes})
    assert len(problems) == 1
    assert sentence in problems[0]


def test_a_good_host_is_admitted() -> None:
    assert refusals() == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"system": "fedora", "version": "43", "name": "Fedora Linux 43"},
            "runs Fedora Linux 43, which is not supported",
        ),
        ({"init": "tini"}, "not by systemd"),
        ({"machine": "riscv64"}, "processor of kind riscv64"),
        ({"python": "3.8"}, "only Python 3.8"),
        ({"python": ""}, "no Python"),
        ({"sudo": "missing"}, "has no sudo"),
        ({"memory_mb": "400"}, "400 MB of memory"),
        ({"disk_mb": "100"}, "100 MB free"),
        ({"system": ""}, "no shell that this project understands"),
    ],
)
def test_a_host_that_cannot_be_a_server_is_refused(changes: dict[str, str], sentence: str) -> None:
    problems = refusals(**changes)
    assert len(problems) == 1
    assert sentence in problems[0]


def test_sudo_with_a_password_is_refused_only_when_it_was_tried() -> None:
    answers = {**GOOD, "sudo": "password"}
    assert base.base_admission_problems(answers, "lab1", SYSTEMS, 900, 6000, False) == []
    refused = base.base_admission_problems(answers, "lab1", SYSTEMS, 900, 6000, True)
    assert len(refused) == 1
    assert "admin may not use sudo on lab1 without a password" in refused[0]


def test_a_full_disk_of_a_server_that_is_set_up_is_no_reason() -> None:
    assert refusals(disk_mb="100", known="yes") == []

"""What the role base refuses: settings, and hosts that cannot be servers, each in a sentence."""

from __future__ import annotations

import importlib.util
import subprocess
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


MARKED = "jupyter:x:998:998:Notebooks:/var/lib/jupyter:/bin/bash"
BARE = "jupyter:x:998:998::/var/lib/jupyter:/bin/bash"
ACCOUNT = {
    "account": "",
    "account_groups": "",
    "account_group": "",
    "uid_min": "1000",
    "accounts_ours": "",
    "account_twins": "",
    "home_homes": "",
    "data_homes": "",
    "home_owner": "",
    "data_owner": "",
}


def taken(user: str = "jupyter", home: str = "/var/lib/jupyter", **answers: str) -> list[str]:
    return list(base.base_account_problems({**ACCOUNT, **answers}, "lab1", user, home, "/srv/notebooks"))


@pytest.mark.parametrize(
    "answers",
    [
        {},
        # As the first version of the role left it, and as it is when somebody gave it a group or a password since.
        {"account": MARKED, "account_groups": "jupyter", "home_owner": "jupyter", "data_owner": "jupyter"},
        {"account": MARKED, "account_groups": "jupyter sudo", "account_password": "P"},
        {"account": MARKED.replace("Notebooks", "Notebooks,,,"), "account_groups": "jupyter"},
        # As a data volume brings it.
        {"account": BARE, "account_groups": "jupyter", "data_owner": "jupyter"},
        {"account": BARE, "account_groups": "jupyter", "account_password": "L"},
        # Directories that are root's, or an account's that is gone, or that of a former base_user.
        {"home_owner": "root", "data_owner": "UNKNOWN"},
        {"home_owner": "former", "home_homes": "former", "accounts_ours": "former"},
    ],
)
def test_an_account_of_the_role_is_known_again(answers: dict[str, str]) -> None:
    assert taken(**answers) == []


@pytest.mark.parametrize(
    ("name", "answers", "sentence"),
    [
        (
            "ann",
            {"account": "ann:x:1000:1000:Ann,,,:/home/ann:/bin/bash", "account_groups": "ann sudo docker"},
            "lab1 has an account ann that this role did not make (home /home/ann, groups sudo, docker), and it would lose",
        ),
        (
            "www-data",
            {"account": "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin", "account_groups": "www-data"},
            "lab1 has an account www-data that this role did not make (home /var/www)",
        ),
        ("jupyter", {"account": BARE, "account_groups": "jupyter docker"}, "groups docker"),
        ("jupyter", {"account": BARE, "account_groups": "jupyter", "account_password": "P"}, "did not make"),
        ("jupyter", {"account": BARE.replace("998", "1001"), "account_groups": "jupyter"}, "such as notebooks."),
        ("jupyter", {"account": BARE.replace("/var/lib", "/home"), "account_groups": "jupyter"}, "home /home/jupyter"),
        ("toor", {"account": "toor:x:0:0:Notebooks:/root:/bin/bash", "account_groups": "root"}, "root by another name"),
        ("sudo", {"account_group": "sudo"}, "has a group sudo that belongs to something else"),
        ("jupyter", {"account": MARKED, "account_twins": "ann"}, "has the same number as ann"),
    ],
)
def test_an_account_of_somebody_is_refused(name: str, answers: dict[str, str], sentence: str) -> None:
    problems = taken(name, **answers)
    assert len(problems) == 1
    assert sentence in problems[0]
    assert "set base_user (notebook_user in group_vars) to a name that is free" in problems[0]


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({"home_owner": "ann"}, "/var/lib/jupyter on lab1 belongs to ann, and notebooks would shut everybody else out"),
        ({"data_owner": "www-data"}, "/srv/notebooks on lab1 belongs to www-data"),
        ({"home_homes": "ann", "home_owner": "ann"}, "/var/lib/jupyter on lab1 is where ann is at home"),
        ({"data_homes": "ann bob"}, "/srv/notebooks on lab1 is where ann, bob are at home"),
    ],
)
def test_a_directory_of_somebody_is_refused(answers: dict[str, str], sentence: str) -> None:
    problems = taken(**answers)
    assert len(problems) == 1
    assert sentence in problems[0]
    assert "to a directory of their own" in problems[0]


def test_what_the_host_says_of_an_account(tmp_path: Path) -> None:
    # The script itself, on this machine: root is somebody's account wherever it runs.
    script = (ROOT / "roles/base/files/account.sh").read_text() + '\necho "rest=$*"\n'
    command = ["sh", "-c", script, "account", "root", "/root", str(tmp_path), "git", "tmux"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    answers = base.base_answers(said.stdout)
    assert answers["account"].startswith("root:x:0:0:")
    assert set(ACCOUNT) <= set(answers)
    assert (answers["home_owner"], answers["rest"]) == ("root", "git tmux")
    assert "root by another name" in base.base_account_problems(answers, "lab1", "root", "/root", str(tmp_path))[0]
    assert said.stderr == ""

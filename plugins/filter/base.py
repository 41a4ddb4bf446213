"""Checks of the role base: its settings, and what a host answers before anything on it changes."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

# Directories that the system needs as they are: not a home, and not a place for data.
SYSTEM_DIRECTORIES = frozenset(
    """
    / /bin /boot /dev /etc /home /lib /media /mnt /opt /proc
    /root /run /sbin /srv /sys /tmp /usr /usr/local /var /var/lib
    """.split()
)
# Groups that make their members root, or as good as.
POWERFUL_GROUPS = frozenset({"root", "sudo", "admin", "wheel", "docker", "lxd", "disk", "shadow"})
SYSTEM_NAMES = {"debian": "Debian", "ubuntu": "Ubuntu", "amzn": "Amazon Linux"}
ARCHITECTURES = ("x86_64", "aarch64")
OLDEST_PYTHON = (3, 9)


def base_answers(text: str) -> dict[str, str]:
    """Return name=value lines as a dictionary; lines of another kind (a greeting of the shell, say) are left out."""
    found = (re.fullmatch(r"([A-Za-z][\w.-]*)=(.*)", line.strip()) for line in text.splitlines())
    return {match[1]: match[2].strip() for match in found if match}


def _directory_problems(name: str, value: str) -> list[str]:
    path = PurePosixPath(value)
    if not path.is_absolute() or ".." in path.parts:
        return [f"{name} is '{value}'; give the full path of a directory, such as /srv/notebooks."]
    if str(path) in SYSTEM_DIRECTORIES:
        return [
            f"{name} is '{value}', which belongs to the system; choose a directory of its own, such as /srv/notebooks."
        ]
    return []


def base_setting_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each setting of the role that cannot work; none means all are fine."""
    problems = []
    user = settings["base_user"]
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", user):
        problems.append(
            f"base_user is '{user}'; use at most 32 small letters, digits, - and _, beginning with a letter, such as jupyter."
        )
    elif user in {"root", "admin", "ubuntu", "debian", "ec2-user", "nobody"}:
        problems.append(
            f"base_user is '{user}', which is not for notebooks; choose an account of their own, such as jupyter."
        )
    problems += [
        f"base_user_groups names {group}, which would make every notebook root; take it out."
        for group in settings["base_user_groups"]
        if group in POWERFUL_GROUPS
    ]
    for name in ("base_user_home", "base_data_dir"):
        problems += _directory_problems(name, settings[name])
    if PurePosixPath(settings["base_user_home"]) == PurePosixPath(settings["base_data_dir"]):
        problems.append(
            "base_user_home and base_data_dir are the same directory; notebooks are shared with other roles, "
            "the home is not: choose two."
        )
    zone, zones = settings["base_timezone"], zoneinfo.available_timezones()
    # A machine without zones of its own cannot tell.
    if zone and zones and zone not in zones:
        problems.append(f"base_timezone is '{zone}', which is no time zone; write one such as Europe/Paris or Etc/UTC.")
    time = settings["base_auto_reboot_time"]
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", str(time)):
        problems.append(f"base_auto_reboot_time is '{time}'; write hours and minutes in quotes, such as \"04:00\".")
    swap = settings["base_swap_mb"]
    if swap != 0 and not 64 <= swap <= 65536:
        problems.append(f"base_swap_mb is {swap}; choose 0 for no swap, or 64 to 65536.")
    swap_file = PurePosixPath(settings["base_swap_file"])
    if not swap_file.is_absolute() or re.search(r"\s", str(swap_file)):
        problems.append(
            f"base_swap_file is '{swap_file}'; give the full path of a file, without blanks, such as /swapfile."
        )
    return problems


def _supported(systems: Mapping[str, Sequence[str]]) -> str:
    names = [
        f"{SYSTEM_NAMES.get(system, system)} {version}" for system, versions in systems.items() for version in versions
    ]
    return ", ".join(names[:-1]) + " or " + names[-1]


def base_admission_problems(
    answers: Mapping[str, str],
    host: str,
    systems: Mapping[str, Sequence[str]],
    memory_mb: int,
    disk_mb: int,
    sudo_refused: bool = False,
) -> list[str]:
    """Return a sentence for each thing in the way of making the host a server, from its answers to admission.sh."""
    if "system" not in answers:
        return [
            f"{host} answers, but runs no shell that this project understands; give it a system it knows: {_supported(systems)}."
        ]
    problems = []
    if answers.get("version") not in systems.get(answers["system"], []):
        problems.append(f"{host} runs {answers['name']}, which is not supported; give it {_supported(systems)}.")
    if answers["init"] != "systemd":
        problems.append(
            f"{host} was started by {answers['init']} and not by systemd, which runs the services here; "
            "use a machine that boots, or a container whose first process is systemd."
        )
    if answers["machine"] not in ARCHITECTURES:
        problems.append(
            f"{host} has a processor of kind {answers['machine']}; this project knows {' and '.join(ARCHITECTURES)}."
        )
    python = tuple(map(int, answers.get("python", "0.0").split(".")))
    if python < OLDEST_PYTHON:
        found = f"only Python {answers['python']}" if "python" in answers else "no Python"
        problems.append(
            f"{host} has {found}, and Ansible needs 3.9 or newer there; install it: sudo apt-get install python3."
        )
    if answers["sudo"] == "missing":
        problems.append(f"{host} has no sudo; log in as root and install it: apt-get install sudo.")
    elif answers["sudo"] == "password" and sudo_refused:
        login = answers["login"]
        problems.append(
            f"{login} may not use sudo on {host} without a password; "
            f"run this again with --ask-become-pass, or have an administrator add the line "
            f"'{login} ALL=(ALL) NOPASSWD: ALL' there by: visudo -f /etc/sudoers.d/{login}."
        )
    if int(answers["memory_mb"]) < memory_mb:
        problems.append(
            f"{host} has {answers['memory_mb']} MB of memory, and JupyterLab with a kernel needs {memory_mb}; "
            "choose a larger machine (or lower base_min_memory_mb)."
        )
    # A server that is set up already may be full of notebooks; it stays one.
    if int(answers["disk_mb"]) < disk_mb and "known" not in answers:
        problems.append(
            f"{host} has {answers['disk_mb']} MB free on /, and environments need {disk_mb}; "
            "make room or use a larger disk (or lower base_min_free_disk_mb)."
        )
    return problems


def _made_by_this_role(account: Sequence[str], answers: Mapping[str, str], user: str, home: str) -> bool:
    """Whether an account is this role's, by the comment that the role gives it, or by having nothing to lose.

    The second is what the role data_volume makes for files that a disk brings, before this role comes.
    """
    _, _, uid, _, comment, now, shell = account
    if comment.partition(",")[0] == "Notebooks":
        return True
    bare = not comment and now == home and shell == "/bin/bash" and answers["account_groups"].split() == [user]
    system = int(uid) < int(answers.get("uid_min") or 1000)
    return bare and system and answers.get("account_password", "L") in ("L", "LK", "NP")


def base_account_problems(answers: Mapping[str, str], host: str, user: str, home: str, data_dir: str) -> list[str]:
    """Return a sentence for an account, a home or a directory that is somebody's, from the answers to account.sh."""
    if "account" not in answers:
        return []
    problems = []
    other = "notebooks" if user == "jupyter" else "jupyter"
    instead = f"set base_user (notebook_user in group_vars) to a name that is free, such as {other}."
    account = answers["account"].split(":")
    ours = {user, *answers["accounts_ours"].split()}
    if len(account) == 7 and account[2] == "0":
        problems.append(f"The account {user} of {host} is root by another name; {instead}")
    elif len(account) == 7 and not _made_by_this_role(account, answers, user, home):
        groups = ", ".join(group for group in answers["account_groups"].split() if group != user)
        problems.append(
            f"{host} has an account {user} that this role did not make (home {account[5]}"
            f"{', groups ' + groups if groups else ''}), and it would lose its password, its groups and its home; {instead}"
        )
    elif len(account) != 7 and answers["account_group"]:
        problems.append(f"{host} has a group {user} that belongs to something else; {instead}")
    elif answers["account_twins"]:
        problems.append(
            f"The account {user} of {host} has the same number as {', '.join(answers['account_twins'].split())}, so notebooks would be "
            f"that account; {instead}"
        )
    for name, setting, path in (
        ("home", "base_user_home (notebook_home", home),
        ("data", "base_data_dir (data_dir", data_dir),
    ):
        owner, people = answers[f"{name}_owner"], [one for one in answers[f"{name}_homes"].split() if one not in ours]
        choose = f"and notebooks would shut everybody else out of it; set {setting} in group_vars) to a directory of their own."
        if people:
            problems.append(
                f"{path} on {host} is where {', '.join(people)} {'is' if len(people) == 1 else 'are'} at home, {choose}"
            )
        elif owner not in {"", "root", "UNKNOWN", *ours}:
            problems.append(f"{path} on {host} belongs to {owner}, {choose}")
    return problems


class FilterModule:
    """Hand the filters to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "base_answers": base_answers,
            "base_setting_problems": base_setting_problems,
            "base_admission_problems": base_admission_problems,
            "base_account_problems": base_account_problems,
        }

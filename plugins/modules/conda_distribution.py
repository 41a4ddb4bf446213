#!/usr/bin/python
"""Ansible module: put a conda distribution on the host, once, from an installer that is pinned by its hash."""

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_distribution
short_description: Install Miniforge or Anaconda from a pinned installer
description:
  - Downloads the installer, compares its SHA-256 and runs it in batch mode as the account that shall own it.
  - The prefix counts as installed when its conda answers and the marker in it names the same SHA-256.
  - Nothing on the host changes when the installer cannot be had or is not the pinned one.
options:
  prefix:
    description: Where the distribution lives. Made by root and given to O(user).
    type: path
    required: true
  user:
    description: The account that owns the distribution and runs the installer.
    type: str
    required: true
  url:
    description: Address of the installer.
    type: str
    required: true
  sha256:
    description: SHA-256 of the installer.
    type: str
    required: true
  validate_certs:
    description: Whether the server of the installer must have a valid certificate.
    type: bool
    default: true
  ca_path:
    description: A bundle of CA certificates to use in the place of the system's.
    type: path
author: the project
"""

EXAMPLES = r"""
- name: Install Miniforge
  conda_distribution:
    prefix: /opt/conda
    user: jupyter
    url: https://mirror.example.org/Miniforge3-26.3.2-3-Linux-x86_64.sh
    sha256: 848194851a98903134187fbb4ab50efe87b003e0c0f808f97644b7524a62bf2c
"""

RETURN = r"""
version:
  description: What C(conda --version) says, empty when there is no conda (dry run).
  type: str
  returned: success
"""

import hashlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url

MARKER = ".installer-sha256"
MARKED = re.compile(r"(installing )?[0-9a-f]{64}")
ATTEMPTS = 3
# Of root's environment, what the account's commands get.
PASSED_ON = re.compile(r"(?i)(https?|no|all)_proxy$")


class Problem(Exception):
    """A sentence for the person who runs the role."""


class Owner:
    """The account that the distribution belongs to. What touches the prefix runs with its rights, never with root's."""

    def __init__(self, name: str) -> None:
        self.entry = pwd.getpwnam(name)
        self.groups = os.getgrouplist(name, self.entry.pw_gid)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the account, with nothing of root's environment but the proxies."""
        environment = {key: value for key, value in os.environ.items() if PASSED_ON.match(key)}
        environment.update(
            HOME=self.entry.pw_dir,
            USER=self.entry.pw_name,
            LOGNAME=self.entry.pw_name,
            LANG="C.UTF-8",
            PATH="/usr/local/bin:/usr/bin:/bin",
        )
        rights: dict[str, Any] = {}
        if os.geteuid() == 0:
            rights = {"user": self.entry.pw_uid, "group": self.entry.pw_gid, "extra_groups": self.groups}
        try:
            return subprocess.run(
                argv,
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                check=False,
                **rights,
            )
        except OSError as error:
            # A file that cannot be run (half written, other architecture) is an answer as well.
            return subprocess.CompletedProcess(argv, 126, str(error))


class Distribution:
    """One prefix and what is in it."""

    def __init__(self, owner: Owner, prefix: Path, sha256: str) -> None:
        self.owner = owner
        self.prefix = prefix
        self.sha256 = sha256
        self.marker = prefix / MARKER

    def version(self) -> str:
        """What conda says it is; nothing when it does not work."""
        conda = self.prefix / "bin/conda"
        if not conda.exists():
            return ""
        answer = self.owner.run(str(conda), "--version")
        return answer.stdout.strip() if answer.returncode == 0 else ""

    def marked(self) -> str:
        """What the marker says: a hash, "installing HASH" after an interruption, or nothing."""
        text = self.marker.read_text(encoding="utf-8", errors="replace").strip() if self.marker.is_file() else ""
        return text if MARKED.fullmatch(text) else ""

    def content(self) -> list[str]:
        """The names in the prefix."""
        return sorted(os.listdir(self.prefix)) if self.prefix.is_dir() else []

    def has_environments(self) -> bool:
        """Whether somebody's environments are in it."""
        envs = self.prefix / "envs"
        return envs.is_dir() and any(not name.startswith(".") for name in os.listdir(envs))

    def check_prefix(self) -> None:
        """Refuse a prefix that belongs to something or somebody else."""
        if self.prefix.is_symlink() or (self.prefix.exists() and not self.prefix.is_dir()):
            raise Problem(f"{self.prefix} is not a directory: set anaconda_kernels_prefix to another place.")
        content = self.content()
        if content and not self.marked() and "conda-meta" not in content:
            raise Problem(
                f"{self.prefix} has other things in it ({', '.join(content[:3])}): "
                "set anaconda_kernels_prefix to a directory of its own."
            )
        if content and self.prefix.stat().st_uid != self.owner.entry.pw_uid:
            holder = self.prefix.stat().st_uid
            raise Problem(
                f"{self.prefix} belongs to user id {holder} and not to {self.owner.entry.pw_name}: give it to that "
                f"account (chown -R {self.owner.entry.pw_name} {self.prefix}), or set anaconda_kernels_prefix to "
                "another place."
            )

    def write_marker(self, text: str) -> None:
        """Write the marker with the rights of the owner."""
        answer = self.owner.run("/bin/sh", "-c", 'printf "%s\\n" "$1" > "$2"', "sh", text, str(self.marker))
        if answer.returncode:
            raise Problem(f"{self.marker} cannot be written: {one_line(answer.stdout)}")

    def clear(self) -> None:
        """Empty the prefix."""
        self.owner.run("/bin/rm", "-rf", "--", *(str(self.prefix / name) for name in self.content()))

    def install(self, installer: Path) -> None:
        """Run the installer. What an earlier, interrupted run left is not built upon."""
        fresh = not self.content() or (self.marked().startswith("installing") and not self.has_environments())
        made = not self.prefix.exists()
        if made:
            self.prefix.mkdir(parents=True, mode=0o755)
        os.chown(self.prefix, self.owner.entry.pw_uid, self.owner.entry.pw_gid)
        if fresh:
            self.clear()
        self.write_marker(f"installing {self.sha256}")
        # -b: batch; -u: the directory exists already, which an unprivileged account could not have made.
        answer = self.owner.run("/bin/bash", str(installer), "-b", "-u", "-p", str(self.prefix))
        if answer.returncode or not self.version():
            if fresh:
                self.clear()
            if made:
                self.prefix.rmdir()
            said = one_line(answer.stdout)[-600:]
            raise Problem(f"The installer of conda failed (exit code {answer.returncode}): {said}")
        self.write_marker(self.sha256)


def one_line(text: str) -> str:
    """The text with every run of white space made one blank."""
    return " ".join(text.split())


def download(module: AnsibleModule, target: Path) -> None:
    """Fetch the installer and refuse any other than the pinned one."""
    url, pinned = module.params["url"], module.params["sha256"]
    why = ""
    for attempt in range(ATTEMPTS):
        time.sleep(2 * attempt)
        response, info = fetch_url(module, url, timeout=60, ca_path=module.params["ca_path"])
        if info["status"] == 200:
            digest = hashlib.sha256()
            try:
                with target.open("wb") as file:
                    while block := response.read(1 << 20):
                        digest.update(block)
                        file.write(block)
            except (OSError, ValueError) as error:
                why = f"the transfer broke off: {error}"
                continue
            if digest.hexdigest() == pinned:
                target.chmod(0o644)
                return
            raise Problem(
                f"The installer at {url} has the SHA-256 {digest.hexdigest()}, the pinned one is {pinned}: nothing was "
                "installed; find out which of the two is right before you change anaconda_kernels_installer_sha256."
            )
        why = one_line(str(info["msg"]))
        if 400 <= info["status"] < 500:
            break
    raise Problem(
        f"The installer cannot be had from {url} ({why}): nothing was installed; check the address "
        "(anaconda_kernels_installer_url), the network of the host and its proxy (anaconda_kernels_proxy_servers)."
    )


def ensure(module: AnsibleModule) -> dict[str, object]:
    """Make the prefix what it shall be and say what was done."""
    user, prefix, sha256 = module.params["user"], Path(module.params["prefix"]), module.params["sha256"].lower()
    try:
        owner = Owner(user)
    except KeyError:
        if module.check_mode:
            return {"changed": True, "version": ""}
        raise Problem(
            f"The account {user} does not exist on this host: apply the role base first, or set anaconda_kernels_user."
        ) from None
    if os.geteuid() not in (0, owner.entry.pw_uid):
        raise Problem("The role anaconda_kernels needs become: true.")
    distribution = Distribution(owner, prefix, sha256)
    version = distribution.version()
    before = distribution.marked()
    if version and before == sha256:
        return {"changed": False, "version": version}
    distribution.check_prefix()
    if not module.check_mode:
        work = Path(tempfile.mkdtemp(prefix="conda-installer-", dir="/var/tmp"))
        try:
            work.chmod(0o755)
            # The installer refuses to run under a name that does not end in .sh.
            installer = work / "installer.sh"
            download(module, installer)
            distribution.install(installer)
        finally:
            shutil.rmtree(work)
        version = distribution.version()
    what = f"{prefix}: installer {{}}\n"
    return {
        "changed": True,
        "version": version,
        "diff": {"before": what.format(before or "none"), "after": what.format(sha256)},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "url": {"type": "str", "required": True},
            "sha256": {"type": "str", "required": True},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)
    try:
        module.exit_json(**ensure(module))
    except Problem as problem:
        module.fail_json(msg=str(problem))


if __name__ == "__main__":
    main()

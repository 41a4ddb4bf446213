#!/usr/bin/python
"""Ansible module: put a conda distribution on the host, once, from an installer that is pinned by its hash."""

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_distribution
short_description: Install Miniforge or Anaconda from a pinned installer
description:
  - Downloads the installer, compares its SHA-256 and runs it in batch mode as root.
  - The distribution belongs to root. The account gets the folders C(envs) and C(pkgs) in it, and nothing else that it could write to.
  - The prefix counts as installed when the marker in it names the same SHA-256, all of it but these two folders belongs to root, and its
    conda answers. A distribution that others could write to is not trusted, whatever is in it now, and is made anew.
  - Nothing on the host changes when the installer cannot be had or is not the pinned one.
options:
  prefix:
    description: Where the distribution lives.
    type: path
    required: true
  user:
    description: The account that owns the environments and the cache of packages.
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
there:
  description: Whether the prefix is there; in a dry run it may not be.
  type: bool
  returned: success
"""

import hashlib
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url

MARKER = ".installer-sha256"
MARKED = re.compile(r"(installing )?[0-9a-f]{64}")
# What the account may write to; all else is root's.
ACCOUNTS = ("envs", "pkgs")
# In the folder that holds a former distribution while the new one is made: all of it was moved there.
MOVED = ".all-of-it"
ATTEMPTS = 3
# Of Ansible's environment, what the installer gets.
PASSED_ON = re.compile(r"(?i)(https?|no|all)_proxy$")


class Problem(Exception):
    """A sentence for the person who runs the role."""


def run(*argv: str, home: str = "/nonexistent") -> subprocess.CompletedProcess[str]:
    """Run a command with nothing of the caller's environment but the proxies."""
    environment = {key: value for key, value in os.environ.items() if PASSED_ON.match(key)}
    environment.update(HOME=home, LANG="C.UTF-8", PATH="/usr/local/bin:/usr/bin:/bin", PYTHONNOUSERSITE="1")
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
        )
    except OSError as error:
        # A file that cannot be run (half written, other architecture) is an answer as well.
        return subprocess.CompletedProcess(argv, 126, str(error))


class Distribution:
    """One prefix and what is in it."""

    def __init__(self, account: pwd.struct_passwd, prefix: Path, sha256: str) -> None:
        self.account = account
        self.prefix = prefix
        self.sha256 = sha256
        self.marker = prefix / MARKER
        # Beside the prefix, because a rename must stay on one file system.
        self.former = prefix.with_name(f".{prefix.name}.former")

    def strangers(self) -> str:
        """The first path of the distribution that others than root may write to; nothing when there is none."""
        mine = os.geteuid()
        todo = [self.prefix]
        while todo:
            path = todo.pop()
            about = path.lstat()
            loose = about.st_mode & (0o002 if about.st_gid == 0 else 0o022) and not stat.S_ISLNK(about.st_mode)
            if about.st_uid != mine or loose:
                return str(path)
            if stat.S_ISDIR(about.st_mode):
                todo += [path / name for name in os.listdir(path) if path != self.prefix or name not in ACCOUNTS]
        return ""

    def works(self) -> bool:
        """Whether the installed conda answers. It is not asked while others could have changed it."""
        return run(str(self.prefix / "bin/conda"), "--version").returncode == 0

    def marked(self) -> str:
        """What the marker says: a hash, "installing HASH" from a run that was cut off, or nothing."""
        text = self.marker.read_text(encoding="utf-8", errors="replace").strip() if self.marker.is_file() else ""
        return text if MARKED.fullmatch(text) else ""

    def content(self) -> list[str]:
        """The names in the prefix."""
        return sorted(os.listdir(self.prefix)) if self.prefix.is_dir() else []

    def foreign(self) -> list[str]:
        """Which of the account's folders are not there or not its own. A link to somewhere else is left as it is."""
        wrong = []
        for name in ACCOUNTS:
            path = self.prefix / name
            if not os.path.lexists(path) or (not path.is_symlink() and path.lstat().st_uid != self.account.pw_uid):
                wrong.append(str(path))
        return wrong

    def check_prefix(self) -> None:
        """Refuse a prefix that belongs to something or somebody else."""
        if self.prefix.is_symlink() or (self.prefix.exists() and not self.prefix.is_dir()):
            raise Problem(f"{self.prefix} is not a directory: set anaconda_kernels_prefix to another place.")
        parent = next(path for path in self.prefix.parents if path.exists())
        if parent.stat().st_uid != os.geteuid():
            raise Problem(
                f"{parent} does not belong to root, so that its owner could put another conda in the place of "
                f"{self.prefix}: set anaconda_kernels_prefix to a place in a directory of root's, such as /opt/conda."
            )
        content = self.content()
        if content and not self.marked() and not self.former.exists():
            if "conda-meta" not in content:
                raise Problem(
                    f"{self.prefix} has other things in it ({', '.join(content[:3])}): "
                    "set anaconda_kernels_prefix to a directory of its own."
                )
            holder = self.prefix.stat().st_uid
            if holder != self.account.pw_uid:
                raise Problem(
                    f"{self.prefix} is a conda that belongs to user id {holder}, and this role did not make it: set "
                    "anaconda_kernels_prefix to a directory of its own."
                )

    def set_aside(self) -> None:
        """Move what is in the prefix where nobody but root gets at it. What a run began that was cut off is finished."""
        self.prefix.mkdir(parents=True, exist_ok=True)
        # Nobody gets in before the new one is whole.
        os.chown(self.prefix, os.geteuid(), os.getegid())
        self.prefix.chmod(0o700)
        self.former.mkdir(mode=0o700, exist_ok=True)
        if (self.former / MOVED).exists():
            self.keep_accounts()
            self.clear()
        for name in self.content():
            os.rename(self.prefix / name, self.former / name)
        (self.former / MOVED).touch()

    def keep_accounts(self) -> None:
        """Environments that were in their place again when a run was cut off are set aside once more."""
        for name in ACCOUNTS:
            if os.path.lexists(self.prefix / name) and not os.path.lexists(self.former / name):
                os.rename(self.prefix / name, self.former / name)

    def put_back(self, names: list[str]) -> None:
        """Move things of the former distribution to where they were."""
        for name in names:
            if os.path.lexists(self.former / name):
                remove(self.prefix / name)
                os.rename(self.former / name, self.prefix / name)

    def clear(self) -> None:
        """Empty the prefix, which only root can enter now."""
        for name in self.content():
            remove(self.prefix / name)

    def give(self) -> None:
        """Give the account its two folders."""
        for name in ACCOUNTS:
            path = self.prefix / name
            if not os.path.lexists(path):
                path.mkdir(mode=0o755)
            if not path.is_symlink():
                os.chown(path, self.account.pw_uid, self.account.pw_gid, follow_symlinks=False)

    def own(self) -> None:
        """Packages may have brought owners and modes of where they were built."""
        for folder, folders, files in os.walk(self.prefix):
            for path in (Path(folder, name) for name in [*folders, *files]):
                about = path.lstat()
                if (about.st_uid, about.st_gid) != (os.geteuid(), os.getegid()):
                    os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
                if about.st_mode & 0o022 and not path.is_symlink():
                    path.chmod(stat.S_IMODE(about.st_mode) & ~0o022)

    def install(self, installer: Path) -> None:
        """Run the installer in an empty prefix, then put environments and packages back."""
        made = not self.prefix.exists()
        self.set_aside()
        # -b: batch; -u: the directory exists already.
        answer = run("/bin/bash", str(installer), "-b", "-u", "-p", str(self.prefix), home=str(installer.parent))
        if answer.returncode or not self.works():
            self.clear()
            (self.former / MOVED).unlink()
            self.put_back(os.listdir(self.former))
            self.former.rmdir()
            self.prefix.chmod(0o755)
            if made:
                self.prefix.rmdir()
            said = one_line(answer.stdout)[-600:]
            raise Problem(f"The installer of conda failed (exit code {answer.returncode}): {said}")
        # Files of the cache are the very files of the distribution (hard links): who owns those could change these.
        remove(self.prefix / "pkgs")
        self.own()
        self.put_back(list(ACCOUNTS))
        self.give()
        self.marker.write_text(f"{self.sha256}\n", encoding="utf-8")
        self.prefix.chmod(0o755)
        remove(self.former)


def remove(path: Path) -> None:
    """Remove a file or a tree, if it is there; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


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
        account = pwd.getpwnam(user)
    except KeyError:
        if module.check_mode:
            return {"changed": True, "there": prefix.is_dir()}
        raise Problem(
            f"The account {user} does not exist on this host: apply the role base first, or set anaconda_kernels_user."
        ) from None
    if os.geteuid() != 0:
        raise Problem("The role anaconda_kernels needs become: true.")
    distribution = Distribution(account, prefix, sha256)
    before = distribution.marked()
    stranger = distribution.strangers() if before else ""
    foreign: list[str] = []
    if before == sha256 and not stranger and not distribution.former.exists() and distribution.works():
        foreign = distribution.foreign()
        if not foreign:
            return {"changed": False, "there": True}
    distribution.check_prefix()
    if foreign:
        if not module.check_mode:
            distribution.give()
        return {"changed": True, "there": True, "diff": owners(foreign, "others", user)}
    if not module.check_mode:
        work = Path(tempfile.mkdtemp(prefix="conda-installer-", dir="/var/tmp"))
        try:
            # The installer refuses to run under a name that does not end in .sh.
            installer = work / "installer.sh"
            download(module, installer)
            distribution.install(installer)
        finally:
            shutil.rmtree(work)
    diff = {"before": f"{prefix}: installer {before or 'none'}\n", "after": f"{prefix}: installer {sha256}\n"}
    if stranger:
        said = owners([stranger], "others (the distribution is made anew)", "root")
        diff = {side: text + said[side] for side, text in diff.items()}
    return {"changed": True, "there": prefix.is_dir(), "diff": diff}


def owners(paths: list[str], before: str, after: str) -> dict[str, str]:
    """A change of who may write to something, as Ansible shows it."""
    return {
        side: "".join(f"{path}: may be written to by {who}\n" for path in paths)
        for side, who in (("before", before), ("after", after))
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

#!/usr/bin/python
"""Bring files to the notebooks of a server, or from there. Nothing is ever deleted, and nothing newer is overwritten unasked."""

from __future__ import annotations

DOCUMENTATION = """
module: notebook_files
short_description: Bring files to a server's notebooks, or from there
description:
  - Runs on the controller. What goes is found out by size and time of each file on both sides, the same in check mode. It is brought by
    rsync where both sides have it, otherwise by tar, both over the given ssh command.
  - On the server everything is done as the user of the notebooks, who owns what arrives.
  - Links and the folders .ipynb_checkpoints are left out.
options:
  login: {description: "The command that logs in to the server, its last word being the server", type: list, elements: str, required: true}
  user: {description: The user of the notebooks, type: str, required: true}
  root: {description: The folder of the notebooks, type: str, required: true}
  direction: {description: Where to, type: str, choices: [push, pull], required: true}
  here: {description: File or folder on this machine, type: path, required: true}
  there: {description: "File or folder of the notebooks, within root", type: str, default: ""}
  overwrite: {description: Also replace files that are newer than those that would take their place, type: bool, default: false}
author: [The project's authors]
"""

EXAMPLES = """
- name: Bring the course's files
  notebook_files:
    login: [ssh, admin@198.51.100.7]
    user: jupyter
    root: /srv/notebooks
    direction: push
    here: ~/course
    there: course
"""

RETURN = """
files: {description: Names of the files that went (in check mode, that would go), type: list, returned: success}
same: {description: Number of files that are the same on both sides, type: int, returned: success}
newer: {description: Names of files that stay because they are newer there, type: list, returned: success}
links: {description: Number of links that were left out, type: int, returned: success}
bytes: {description: Their size, type: int, returned: success}
how: {description: rsync or tar, type: str, returned: success}
"""

import contextlib
import os
import posixpath
import shlex
import shutil
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from ansible.module_utils.basic import AnsibleModule

LEFT_OUT = ".ipynb_checkpoints"
# File systems and archives do not keep times equally exactly.
SECONDS = 2
LOOK = """
command -v rsync >/dev/null && echo rsync || echo tar
cd "$1" || exit 66
if [ -d "$2" ]; then echo folder; elif [ -e "$2" ]; then echo file; else echo nothing; exit 0; fi
exec find -H "$2" -name .ipynb_checkpoints -prune -o -type f -printf 'f %s %T@ %P\\0' -o -type l -printf 'l 0 0 %P\\0'
"""


class Side(NamedTuple):
    """What one side has: its kind (folder, file, nothing), its files with size and time, the number of its links."""

    kind: str
    files: dict[str, tuple[int, float]]
    links: int


def inside(root: str, path: str) -> str:
    """A path as it is seen from the folder of the notebooks. ValueError: it is not in there."""
    rest = posixpath.relpath(posixpath.join(root, path), root) if path else "."
    if rest == ".." or rest.startswith("../"):
        raise ValueError(f"{path} is not in the folder of the notebooks, {root}: name a place in it.")
    return rest


def safe(name: str) -> bool:
    """Whether a name stays below the folder that it is put in."""
    return bool(name) and not name.startswith("/") and ".." not in PurePosixPath(name).parts


def look_here(path: Path) -> Side:
    """What this machine has."""

    def entry(file: Path) -> tuple[int, float]:
        status = file.stat()
        return status.st_size, status.st_mtime

    if path.is_file():
        return Side("file", {path.name: entry(path)}, 0)
    if not path.is_dir():
        return Side("nothing", {}, 0)
    files, links = {}, 0

    def stop(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(path, onerror=stop):
        links += sum(Path(folder, name).is_symlink() for name in folders)
        folders[:] = [name for name in folders if name != LEFT_OUT]
        for name in names:
            file = Path(folder, name)
            if file.is_symlink():
                links += 1
            elif stat.S_ISREG(file.stat().st_mode):
                files[str(file.relative_to(path))] = entry(file)
    return Side("folder", files, links)


def read_look(text: str, name: str) -> tuple[str, Side]:
    """What the server said: whether it has rsync, and its files."""
    tool, kind, listing = (text + "\n").split("\n", 2)
    files, links = {}, 0
    for line in listing.rstrip("\n").split("\0"):
        if not line:
            continue
        what, size, when, path = line.split(" ", 3)
        if what == "l":
            links += 1
        else:
            files[path or name] = (int(size), float(when))
    strange = [path for path in files if not safe(path)]
    if strange:
        raise ValueError(f"The server names a file that cannot be: {strange[0]!r}. Nothing was copied.")
    return tool, Side(kind, files, links)


class Plan(NamedTuple):
    """What goes, what is the same, and what stays because it is newer."""

    files: list[str]
    same: int
    newer: list[str]


def plan(source: Side, target: dict[str, tuple[int, float]], overwrite: bool) -> Plan:
    """Compare the two sides."""
    files, newer, same = [], [], 0
    for name, (size, when) in sorted(source.files.items()):
        present = target.get(name)
        if present and present[0] == size and abs(present[1] - when) <= SECONDS:
            same += 1
        elif present and present[1] > when + SECONDS and not overwrite:
            newer.append(name)
        else:
            files.append(name)
    return Plan(files, same, newer)


class Server:
    """The other side."""

    def __init__(self, login: list[str], user: str, root: str) -> None:
        self.login, self.user, self.root = login, user, root

    def command(self, *words: str) -> list[str]:
        """What does something on the server as the user of the notebooks."""
        remote = shlex.join(["sudo", "-n", "-u", self.user, "--", *words])
        return [*self.login[:1], "-o", "BatchMode=yes", *self.login[1:], remote]

    def fail(self, code: int, said: str) -> None:
        """Say in a sentence why a command came to nothing."""
        last = said.strip().splitlines()[-1] if said.strip() else f"exit code {code}"
        host = self.login[-1]
        if code == 255:
            raise ValueError(f"{host} cannot be reached by SSH ({last}): is it running?")
        if code == 66:
            raise ValueError(f"{host} has no folder {self.root}: apply site.yml first.")
        if "password is required" in said or "unknown user" in said:
            raise ValueError(f"On {host} the files cannot be handled as {self.user} ({last}).")
        raise ValueError(f"{host} did not do it ({last}). What has arrived stays; run the same command again.")

    def run(self, command: list[str], **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a command, and see that it succeeded."""
        result = subprocess.run(command, capture_output=True, check=False, **more)
        if result.returncode:
            self.fail(result.returncode, result.stderr.decode(errors="replace"))
        return result

    def look(self, path: str) -> tuple[str, Side]:
        """What it has."""
        result = self.run(self.command("sh", "-c", LOOK, "look", self.root, path), stdin=subprocess.DEVNULL)
        return read_look(os.fsdecode(result.stdout), posixpath.basename(path))

    def folder(self, path: str) -> str:
        """The full path of a folder of the notebooks."""
        return posixpath.normpath(posixpath.join(self.root, path))

    def rsync(self, push: bool, here: Path, there: str, files: list[str]) -> None:
        """Bring files by rsync."""
        shell = shlex.join([*self.login[:1], "-o", "BatchMode=yes", *self.login[1:-1]])
        remote = f"{self.login[-1]}:{self.folder(there)}/"
        ends = [f"{here}/", remote] if push else [remote, f"{here}/"]
        options = ["--times", "--protect-args", "--from0", "--files-from=-", f"--rsh={shell}"]
        command = ["rsync", *options, f"--rsync-path=sudo -n -u {shlex.quote(self.user)} rsync", *ends]
        self.run(command, input=b"\0".join(map(os.fsencode, files)) + b"\0")

    def push_tar(self, here: Path, there: str, files: list[str]) -> None:
        """Bring files to the server by tar."""
        command = self.command("tar", "-x", "-f", "-", "-C", self.folder(there))
        with tempfile.TemporaryFile() as said:
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said) as ssh:
                try:
                    with tarfile.open(fileobj=ssh.stdin, mode="w|", format=tarfile.PAX_FORMAT) as archive:
                        for name in files:
                            archive.add(here / name, name, recursive=False)
                except BrokenPipeError:
                    pass  # tar ended already; its exit code says why
                with contextlib.suppress(BrokenPipeError):
                    cast(IO[bytes], ssh.stdin).close()
                code = ssh.wait()
            if code:
                said.seek(0)
                self.fail(code, said.read().decode(errors="replace"))

    def pull_tar(self, here: Path, there: str, files: list[str]) -> None:
        """Bring files from the server by tar."""
        command = self.command("tar", "-C", self.folder(there), "-c", "--null", "-T", "-", "-f", "-")
        with tempfile.TemporaryFile() as names, tempfile.TemporaryFile() as said:
            names.write(b"\0".join(map(os.fsencode, files)) + b"\0")
            names.seek(0)
            with subprocess.Popen(command, stdin=names, stdout=subprocess.PIPE, stderr=said) as ssh:
                try:
                    unpack(ssh.stdout, here, set(files))
                except tarfile.ReadError:
                    pass  # a broken stream has its reason in the exit code
                if ssh.stdout:
                    ssh.stdout.close()
                if ssh.wait():
                    said.seek(0)
                    self.fail(ssh.returncode, said.read().decode(errors="replace"))


def unpack(stream: Any, here: Path, wanted: set[str]) -> None:
    """Take the files that were asked for out of an archive, each whole or not at all."""
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() and member.name in wanted else None
            if content is None:
                continue
            target = here / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=".pull_")
            try:
                with os.fdopen(handle, "wb") as file:
                    shutil.copyfileobj(content, file)
                os.utime(name, (member.mtime, member.mtime))
                os.chmod(name, (member.mode & 0o777) | stat.S_IRUSR | stat.S_IWUSR)
                os.replace(name, target)
            except BaseException:
                os.unlink(name)
                raise


def base_of(side: Side, path: str) -> str:
    """The folder that the names of a side are in."""
    return os.path.dirname(path) or "." if side.kind == "file" else path


def run(options: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Bring the files, or say which would go. ValueError: why not."""
    push, here = options["direction"] == "push", Path(options["here"])
    there = inside(options["root"], options["there"])
    server = Server(options["login"], options["user"], options["root"])
    tool, remote = server.look(there)
    source, target = look_here(here), remote
    if not push:
        source, target = remote, look_here(here)
    if source.kind == "nothing":
        where = "on this machine" if push else f"on {options['login'][-1]}"
        raise ValueError(f"There is no {options['here'] if push else server.folder(there)} {where}.")
    if target.kind == "file":
        raise ValueError(f"{server.folder(there) if push else here} is a file: name the folder that the files go to.")
    todo = plan(source, target.files, options["overwrite"])
    how = "rsync" if tool == "rsync" and shutil.which("rsync") else "tar"
    if todo.files and not check:
        if push:
            local = Path(base_of(source, str(here)))
            server.run(server.command("mkdir", "-p", server.folder(there)), stdin=subprocess.DEVNULL)
            server.rsync(True, local, there, todo.files) if how == "rsync" else server.push_tar(
                local, there, todo.files
            )
        else:
            here.mkdir(parents=True, exist_ok=True)
            away = base_of(source, there)
            server.rsync(False, here, away, todo.files) if how == "rsync" else server.pull_tar(here, away, todo.files)
        # What was said to go is there: counted on the side where it should have arrived.
        arrived = server.look(there)[1] if push else look_here(here)
        missing = [n for n in todo.files if arrived.files.get(n, (-1, 0))[0] != source.files[n][0]]
        if missing:
            raise ValueError(
                f"{len(missing)} files did not arrive whole, such as {missing[0]}: run the same command again."
            )
    return {
        "changed": bool(todo.files),
        "files": todo.files,
        "same": todo.same,
        "newer": todo.newer,
        "links": source.links,
        "bytes": sum(source.files[name][0] for name in todo.files),
        "how": how,
    }


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "login": {"type": "list", "elements": "str", "required": True},
            "user": {"type": "str", "required": True},
            "root": {"type": "str", "required": True},
            "direction": {"type": "str", "choices": ["push", "pull"], "required": True},
            "here": {"type": "path", "required": True},
            "there": {"type": "str", "default": ""},
            "overwrite": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode)
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

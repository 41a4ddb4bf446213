#!/usr/bin/python
"""One marked block with an Include at the top of a person's ssh configuration."""

from __future__ import annotations

DOCUMENTATION = """
module: ssh_include
short_description: Include files in a person's ssh configuration, in a marked block at its top
description:
  - Everything else in the file stays as it is, byte for byte, and so does its mode. Only the block of this folder is ever touched.
  - A file that is a link, that is somebody else's or in which the marks do not pair is refused and left as it is.
options:
  path: {description: The configuration, type: path, required: true}
  folder: {description: "The folder whose */ssh_config is included", type: path, required: true}
  state: {description: Whether the block is to be there, type: str, choices: [present, absent], default: present}
author: [The project's authors]
"""

EXAMPLES = """
- name: Let ssh know the servers
  ssh_include:
    path: ~/.ssh/config
    folder: /home/ann/notebooks/.state
"""

RETURN = """
path: {description: The file, type: str, returned: always}
"""

import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# What ssh would not take as a plain character in the name of an included file.
SPECIAL = set('*?["%$\n')


def marks(folder: str) -> tuple[str, str]:
    """The first and the last line of the block."""
    about = f"notebook servers of {folder}"
    return f"# BEGIN {about}", f"# END {about}"


def without_block(text: str, folder: str) -> str:
    """The text without the block. ValueError: the marks do not pair."""
    begin, end = marks(folder)
    lines = text.splitlines(keepends=True)
    places = [[i for i, line in enumerate(lines) if line.strip() == mark] for mark in (begin, end)]
    if not places[0] and not places[1]:
        return text
    if [len(place) for place in places] != [1, 1] or places[0][0] > places[1][0]:
        raise ValueError(f"the lines '{begin}' and '{end}' do not pair")
    first, last = places[0][0], places[1][0]
    # The empty line that keeps the block apart was made with it.
    rest = lines[last + 1 :]
    return "".join(lines[:first] + (rest[1:] if rest and not rest[0].strip() else rest))


def wanted(text: str, folder: str, state: str) -> str:
    """The text as it shall be."""
    rest = without_block(text, folder)
    if state == "absent":
        return rest
    begin, end = marks(folder)
    # At the top: below a Host line it would count for that host only.
    block = f'{begin}\nInclude "{folder}/*/ssh_config"\n{end}\n'
    return f"{block}\n{rest}" if rest else block


def read(path: Path) -> str:
    """The file as it is. ValueError: it is none that can be written to. Bytes that are no UTF-8 survive."""
    return path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""


def refusal(path: Path) -> str:
    """Why the file must not be written to, or nothing."""
    if path.is_symlink():
        return "is a link, and what it points to may be kept elsewhere"
    if not path.exists():
        return ""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return "is not a file"
    if status.st_uid != os.geteuid():
        return "belongs to another account"
    if b"\0" in path.read_bytes():
        return "is not a text"
    return ""


def write(path: Path, text: str) -> None:
    """Put the text in place of the file, at once and with the mode that it has."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".ssh_config_")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def run(options: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Make it so. ValueError: why not, and what to do."""
    path, folder, state = Path(options["path"]), str(options["folder"]).rstrip("/"), options["state"]
    by_hand = (
        f'add the line `Include "{folder}/*/ssh_config"` at its top by hand'
        if state == "present"
        else ("take the marked lines out by hand")
    )
    if set(folder) & SPECIAL and state == "present":
        raise ValueError(f"ssh cannot include files of {folder}, because of the characters in its name.")
    if not (path.is_symlink() or path.exists()) and state == "absent":
        return {"changed": False, "path": str(path)}
    try:
        # What is behind a link may be read, but nothing is written through it.
        text = read(path) if path.is_file() or not path.exists() else ""
        new = wanted(text, folder, state)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} stays as it is: {error}. Put that right, or {by_hand}.") from error
    if new == text:
        return {"changed": False, "path": str(path)}
    why = refusal(path)
    if why:
        raise ValueError(f"{path} stays as it is: it {why}. Set client_ssh_config to another file, or {by_hand}.")
    if not check:
        write(path, new)
    return {"changed": True, "path": str(path)}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "folder": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
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

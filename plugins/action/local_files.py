"""Write text files on this machine, without starting a module for each."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


def write(path: Path, content: str) -> None:
    """Put a file in place whole: whoever reads meanwhile sees the former one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        # As a program that knows of no secrets would leave it.
        mask = os.umask(0)
        os.umask(mask)
        Path(beside).chmod(0o666 & ~mask)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


class ActionModule(ActionBase):
    """Takes ``files``, contents by path. Changed when a file differs; a dry run writes nothing."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"files"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write what differs."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        changed = []
        for name, content in self._task.args["files"].items():
            path = Path(str(name)).expanduser()
            try:
                if path.is_file() and path.read_text(encoding="utf-8") == content:
                    continue
                if not self._task.check_mode:
                    write(path, str(content))
            except OSError as error:
                raise AnsibleActionFail(f"{path} cannot be written: {error.strerror or error}.") from None
            changed.append(str(path))
        result.update(changed=bool(changed), files=changed)
        return result

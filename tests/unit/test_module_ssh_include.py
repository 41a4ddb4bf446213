"""One marked block in a person's ssh configuration, and nothing else ever changed in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plugins.modules import ssh_include

STATE = "/home/ann/note books/.state"
BLOCK = f'# BEGIN notebook servers of {STATE}\nInclude "{STATE}/*/ssh_config"\n# END notebook servers of {STATE}\n'


def run(path: Path, state: str = "present", check: bool = False, folder: str = STATE) -> bool:
    return bool(ssh_include.run({"path": str(path), "folder": folder, "state": state}, check)["changed"])


@pytest.mark.parametrize("text", ["", "Host a\n  User b\n", "\n\n# mine", "Host a\r\n", "Host \udcff\n"], ids=range(5))
def test_there_and_back_leaves_every_byte(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    raw = text.encode("utf-8", "surrogateescape")
    path.write_bytes(raw)
    path.chmod(0o640)
    assert run(path) and not run(path)
    assert path.read_bytes() == (BLOCK + ("\n" if text else "")).encode() + raw
    assert path.stat().st_mode & 0o777 == 0o640
    assert run(path, "absent") and not run(path, "absent")
    assert path.read_bytes() == raw and path.stat().st_mode & 0o777 == 0o640


def test_a_new_file_is_the_persons_alone(tmp_path: Path) -> None:
    path = tmp_path / ".ssh" / "config"
    assert not run(path, "absent") and not path.exists()
    assert run(path, check=True) and not path.exists()
    assert run(path)
    assert path.read_text() == BLOCK
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_another_copy_of_the_project_has_its_own_block(tmp_path: Path) -> None:
    path = tmp_path / "config"
    run(path)
    run(path, folder="/home/ann/other/.state")
    assert path.read_text().count("Include") == 2
    run(path, "absent", folder="/home/ann/other/.state")
    assert path.read_text() == BLOCK


def test_a_link_is_read_but_never_written(tmp_path: Path) -> None:
    real, path = tmp_path / "real", tmp_path / "config"
    real.write_text("Host a\n")
    path.symlink_to(real)
    assert not run(path, "absent")
    with pytest.raises(ValueError, match=r"it is a link.* add the line `Include"):
        run(path)
    real.write_text(BLOCK)
    assert not run(path)
    with pytest.raises(ValueError, match="take the marked lines out by hand"):
        run(path, "absent")
    assert path.is_symlink()


@pytest.mark.parametrize(
    "text",
    [
        BLOCK.splitlines()[0] + "\n",
        BLOCK.splitlines()[2] + "\n",
        BLOCK + BLOCK,
        "\n".join(reversed(BLOCK.splitlines())) + "\n",
    ],
    ids=["no end", "no begin", "twice", "wrong order"],
)
def test_marks_that_do_not_pair_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    for state in ("present", "absent"):
        with pytest.raises(ValueError, match=r"do not pair\. Put that right"):
            run(path, state)
    assert path.read_text() == text


def test_what_is_no_text_of_the_person_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.write_bytes(b"a\0b")
    with pytest.raises(ValueError, match="it is not a text"):
        run(path)
    path.write_text("Host a\n")
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(ValueError, match="it belongs to another account"):
        run(path)
    with pytest.raises(ValueError, match="it is not a file"):
        run(tmp_path)
    with pytest.raises(ValueError, match="because of the characters in its name"):
        run(path, folder="/home/a*b/.state")

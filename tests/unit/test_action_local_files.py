from __future__ import annotations

import os
from pathlib import Path

import pytest

from plugins.action import local_files


def test_file_is_there_whole_with_the_usual_mode(tmp_path: Path) -> None:
    former = os.umask(0o022)
    try:
        local_files.write(tmp_path / "a/b/page.html", "ä\n")
    finally:
        os.umask(former)
    assert (tmp_path / "a/b/page.html").read_text(encoding="utf-8") == "ä\n"
    assert (tmp_path / "a/b/page.html").stat().st_mode & 0o777 == 0o644


def test_what_cannot_be_written_leaves_the_former_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("former")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        local_files.write(page, "new")
    assert page.read_text() == "former"
    assert list(tmp_path.iterdir()) == [page]

"""What goes to a server's notebooks or comes from there, and what never does."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from plugins.filter.client import current, files_said
from plugins.modules import notebook_files as files


class Here(files.Server):
    """A server that is this machine: its commands run without ssh and sudo."""

    def command(self, *words: str) -> list[str]:
        return list(words)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the notebooks; neither side has rsync."""
    monkeypatch.setattr(files, "Server", Here)
    monkeypatch.setattr(files, "LOOK", files.LOOK.replace("command -v rsync", "false"))
    root = tmp_path / "notebooks"
    root.mkdir()
    return root


def run(root: Path, direction: str, here: Path, there: str = "", check: bool = False, **more: Any) -> dict[str, Any]:
    options = {
        "login": ["ssh", "demo"],
        "user": "jupyter",
        "root": str(root),
        "direction": direction,
        "here": str(here),
    }
    return files.run({**options, "there": there, "overwrite": False, **more}, check)


def course(folder: Path) -> Path:
    (folder / "a b").mkdir(parents=True)
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints/x").write_text("x")
    (folder / "a b/ü.txt").write_text("one")
    (folder / "b.bin").write_bytes(bytes(range(256)) * 1000)
    (folder / "link").symlink_to("b.bin")
    (folder / "folder-link").symlink_to("a b")
    return folder


def test_there_and_back(there: Path, tmp_path: Path) -> None:
    local = course(tmp_path / "course")
    wanted = {
        "changed": True,
        "files": ["a b/ü.txt", "b.bin"],
        "same": 0,
        "newer": [],
        "links": 2,
        "bytes": 256003,
        "how": "tar",
    }
    assert run(there, "push", local, "week1", check=True) == wanted
    assert not (there / "week1").exists()
    assert run(there, "push", local, "week1") == wanted
    assert run(there, "push", local, "week1") == {**wanted, "changed": False, "files": [], "same": 2, "bytes": 0}
    back = run(there, "pull", tmp_path / "back", "week1")
    assert back["files"] == ["a b/ü.txt", "b.bin"]
    assert (tmp_path / "back/b.bin").read_bytes() == (local / "b.bin").read_bytes()
    assert sorted(p.name for p in (there / "week1").iterdir()) == ["a b", "b.bin"]
    assert not run(there, "pull", tmp_path / "back", "week1")["changed"]


def test_one_file(there: Path, tmp_path: Path) -> None:
    one = tmp_path / "data.csv"
    one.write_text("1,2\n")
    assert run(there, "push", one)["files"] == ["data.csv"]
    assert run(there, "pull", tmp_path / "back", "data.csv")["files"] == ["data.csv"]
    assert (tmp_path / "back/data.csv").read_text() == "1,2\n"


def test_what_is_newer_stays_and_nothing_is_deleted(there: Path, tmp_path: Path) -> None:
    local = course(tmp_path / "course")
    run(there, "push", local)
    (there / "own.ipynb").write_text("theirs")
    (there / "b.bin").write_text("changed there")
    os.utime(local / "b.bin", (1000, 1000))
    (local / "a b/ü.txt").write_text("another one")
    os.utime(local / "a b/ü.txt", (4e9, 4e9))
    result = run(there, "push", local)
    assert (result["files"], result["newer"]) == (["a b/ü.txt"], ["b.bin"])
    assert (there / "own.ipynb").read_text() == "theirs" and (there / "b.bin").read_text() == "changed there"
    assert run(there, "push", local, overwrite=True)["files"] == ["b.bin"]
    assert (there / "b.bin").stat().st_size == 256000


@pytest.mark.parametrize("path", ["..", "../x", "/etc", "a/../../x"])
def test_a_place_outside_is_refused(there: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="is not in the folder of the notebooks"):
        run(there, "push", course(tmp_path / "course"), path)


def test_what_is_not_there_is_said(there: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no .*/none on this machine."):
        run(there, "push", tmp_path / "none")
    with pytest.raises(ValueError, match=r"There is no .*/none on demo."):
        run(there, "pull", tmp_path / "back", "none")
    (there / "file").write_text("")
    with pytest.raises(ValueError, match="is a file: name the folder"):
        run(there, "push", course(tmp_path / "course"), "file")


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (255, "ssh: connect to host x port 22: Connection timed out", "demo cannot be reached by SSH (ssh: connect"),
        (66, "", "demo has no folder /data: apply site.yml first."),
        (1, "sudo: a password is required", "On demo the files cannot be handled as jupyter"),
        (
            2,
            "tar: x: No space left on device",
            "demo did not do it (tar: x: No space left on device). What has arrived stays",
        ),
    ],
)
def test_why_it_came_to_nothing(code: int, said: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        files.Server(["ssh", "demo"], "jupyter", "/data").fail(code, said)
    assert words in str(caught.value)


def test_a_server_cannot_write_elsewhere(tmp_path: Path) -> None:
    for name in ("../x", "/etc/passwd", "a/../../x"):
        with pytest.raises(ValueError, match="names a file that cannot be"):
            files.read_look(f"tar\nfolder\nf 1 1.0 {name}\0", "x")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, kind in (("good", tarfile.REGTYPE), ("../bad", tarfile.REGTYPE), ("asked", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    stream.seek(0)
    files.unpack(stream, tmp_path / "here", {"good", "asked"})
    assert [p.name for p in tmp_path.rglob("*")] == ["here", "good"]


def test_a_server_that_ends_in_between_is_no_success(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Here, "command", lambda self, *words: ["sh", "-c", "exit 255"] if words[0] == "tar" else list(words)
    )
    with pytest.raises(ValueError, match="cannot be reached"):
        run(there, "push", course(tmp_path / "course"))
    assert not [p for p in there.rglob("*") if p.is_file()]


def test_words() -> None:
    result = {"files": [f"f{n}" for n in range(22)], "bytes": 1500, "how": "tar", "same": 3, "newer": ["x"], "links": 1}
    said = files_said(result, "demo", "to", False)
    assert said.startswith("22 files (1.5 kB) went to demo by tar: f0, f1") and "f19 and 2 more. 3 are the same" in said
    assert (
        "1 stay because they are newer where they would go (-e overwrite=true replaces them): x. 1 links were left out."
        in said
    )
    assert files_said({**result, "files": [], "newer": [], "links": 0}, "demo", "from", True).startswith(
        "Nothing to bring from demo."
    )


def test_a_key_for_putty_is_written_anew_when_the_key_is_newer(tmp_path: Path) -> None:
    made, key, secret = (str(tmp_path / name) for name in ("ppk", "key", "secret"))
    for name in (key, secret, made):
        assert not current(made, [key, secret])
        Path(name).write_text("x")
    assert current(made, [key, secret])
    os.utime(key, (4e9, 4e9))
    assert not current(made, [key, secret])


def test_look_reads_every_name(tmp_path: Path) -> None:
    strange = "new\nline"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / strange).write_text("x")
    out = subprocess.run(["sh", "-c", files.LOOK, "look", str(tmp_path), "a"], capture_output=True, check=True)
    tool, side = files.read_look(os.fsdecode(out.stdout), "a")
    assert tool in ("rsync", "tar") and list(side.files) == [strange]

"""What becomes of a wheel in the conda stand-in, without a network."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import pytest

from lab.conda import debian, lock, wheels
from lab.conda.build import KEEP_S, Builder
from lab.conda.package import unpack


def wheel(folder: Path, name: str, files: dict[str, str], needs: tuple[str, ...] = ()) -> wheels.Wheel:
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Python: >=3.9\n"
    metadata += "".join(f"Requires-Dist: {need}\n" for need in needs)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in (files | {f"{name}-1.0.dist-info/METADATA": metadata}).items():
            archive.writestr(file, content)
    return wheels.Wheel(path, ["3.11"])


@pytest.mark.parametrize(
    ("file", "left_out"),
    [
        ("pandas/tests/test_x.py", True),
        ("pandas/testing.py", False),
        ("pyarrow/tests/test_x.py", True),
        ("pyarrow/include/arrow/api.h", True),
        ("pyarrow/libarrow_flight.so.2100", True),
        ("pyarrow/_flight.cpython-311-x86_64-linux-gnu.so", True),
        ("pyarrow/libarrow_python.so", True),
        ("pyarrow/libarrow_python.so.2100.0.0", True),
        # What all of pyarrow is linked against.
        ("pyarrow/libarrow_python.so.2100", False),
        ("pyarrow/libarrow.so.2100", False),
        ("pyarrow/libarrow_substrait.so.2100", False),
        ("pyarrow/libparquet.so.2100", False),
        ("pyarrow/lib.cpython-311-x86_64-linux-gnu.so", False),
        ("pyarrow/_parquet.cpython-311-x86_64-linux-gnu.so", False),
        ("pyarrow/flight.py", False),
    ],
)
def test_what_is_left_out(file: str, left_out: bool) -> None:
    assert bool(wheels.LEFT_OUT.match(file)) is left_out


def test_needs_are_those_that_were_locked_with_it(tmp_path: Path) -> None:
    needs = ("attrs>=20,<30", "absent", "tomli; python_version < '3.10'", "psycopg-binary==1.0; extra == 'binary'")
    present = {"attrs", "tomli", "psycopg-binary"}
    assert wheel(tmp_path, "other", {}, needs).depends(present) == ["attrs <30,>=20"]
    assert wheel(tmp_path, "psycopg", {}, needs).depends(present) == ["attrs <30,>=20", "psycopg-binary ==1.0"]


def test_a_package_has_what_a_notebook_uses(tmp_path: Path) -> None:
    made = wheel(tmp_path, "pandas", {"pandas/__init__.py": "", "pandas/tests/test_x.py": ""})
    work = tmp_path / "work"
    work.mkdir()
    record = wheels.build(made, set(), work, tmp_path / "out", "linux-64")
    unpack(tmp_path / "out" / record["fn"], tmp_path / "there")
    names = {path.name for path in (tmp_path / "there/site-packages").rglob("*") if path.is_file()}
    assert names == {"__init__.py", "METADATA"}


def test_the_desk_is_locked_for_every_python() -> None:
    names = {re.split(r"\W", name.replace("[binary]", ""))[0].lower() for name in [*lock.KERNEL, *lock.DESK]}
    for python in lock.WANTED:
        locked = wheels.locked(python)
        assert names | {"psycopg-binary"} <= {name for name, _, _ in locked}
        assert all(hashes for _, _, hashes in locked)


def test_a_package_is_made_once_and_takes_no_space_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "architecture", lambda: "amd64")
    made = wheel(tmp_path, "one", {"one.py": ""})
    (tmp_path / "cache").mkdir()
    builder = Builder(tmp_path / "out", tmp_path / "cache", None, ("3.13",), print)
    work: list[Path] = []

    def make(folder: Path, out: Path) -> list[dict[str, object]]:
        work.append(folder)
        return [wheels.build(made, set(), folder, out, "linux-64")]

    for name in ("first", "second"):
        builder.channel = tmp_path / name
        record = builder.cached("key", make)[0]
    assert len(work) == 1
    kept = tmp_path / "cache/packages/key"
    assert (tmp_path / "second/noarch" / record["fn"]).samefile(kept / record["fn"])
    old = kept.stat().st_mtime - KEEP_S - 60
    builder._prune()
    assert kept.exists()
    os.utime(kept, (old, old))
    builder._prune()
    assert not kept.exists()
    assert (tmp_path / "second/noarch" / record["fn"]).exists()

"""The distribution of conda belongs to root: what others could have written to is made anew, and environments outlive it."""

from __future__ import annotations

import importlib.util
import os
import pwd
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SHA256 = "a" * 64
INSTALLER = """
prefix=$4
mkdir -p "$prefix/bin" "$prefix/pkgs/conda" "$prefix/envs" "$prefix/conda-meta"
printf '#!/bin/sh\\n' >"$prefix/bin/conda"
chmod 0775 "$prefix/bin/conda"
ln "$prefix/bin/conda" "$prefix/pkgs/conda/conda"
"""


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PROJECT / f"plugins/modules/{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULE = load("conda_distribution")


@pytest.fixture
def installer(tmp_path: Path) -> Path:
    path = tmp_path / "installer.sh"
    path.write_text(INSTALLER)
    return path


@pytest.fixture
def former(tmp_path: Path) -> Any:
    """A distribution of the first version, in which a notebook has changed something."""
    prefix = tmp_path / "opt/conda"
    for name in ("bin", "conda-meta", "envs/mine", "pkgs"):
        (prefix / name).mkdir(parents=True)
    (prefix / "bin/conda").write_text("#!/bin/sh\necho planted\n")
    (prefix / "bin/conda").chmod(0o777)
    (prefix / "envs/mine/rows").write_text("kept")
    (prefix / MODULE.MARKER).write_text(f"{SHA256}\n")
    return MODULE.Distribution(pwd.getpwuid(os.getuid()), prefix, SHA256)


def whole(distribution: Any) -> None:
    """As it has to be in the end, however it came to be."""
    prefix = distribution.prefix
    assert (prefix / "envs/mine/rows").read_text() == "kept"
    assert "planted" not in (prefix / "bin/conda").read_text()
    assert distribution.marked() == SHA256
    assert distribution.strangers() == ""
    assert distribution.foreign() == []
    assert (prefix / "bin/conda").stat().st_nlink == 1
    assert prefix.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in prefix.parent.iterdir()] == ["conda"]


def test_what_others_could_write_to_is_found(former: Any) -> None:
    assert former.strangers() == str(former.prefix / "bin/conda")
    (former.prefix / "bin/conda").chmod(0o755)
    assert former.strangers() == ""
    (former.prefix / "envs").chmod(0o777)
    assert former.strangers() == ""


def test_a_distribution_of_others_is_made_anew_and_environments_stay(former: Any, installer: Path) -> None:
    former.check_prefix()
    former.install(installer)
    whole(former)


def test_an_installer_that_fails_leaves_all_as_it_was(former: Any, installer: Path) -> None:
    installer.write_text("mkdir -p $4/bin $4/envs; exit 3")
    with pytest.raises(MODULE.Problem, match="failed"):
        former.install(installer)
    assert "planted" in (former.prefix / "bin/conda").read_text()
    assert (former.prefix / "envs/mine/rows").read_text() == "kept"
    assert [path.name for path in former.prefix.parent.iterdir()] == ["conda"]
    installer.write_text(INSTALLER)
    former.install(installer)
    whole(former)


@pytest.mark.parametrize("after", ["set_aside", "keep_accounts", "put_back", "give"])
def test_a_run_that_was_cut_off_is_finished_by_the_next(
    former: Any, installer: Path, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = getattr(MODULE.Distribution, after)

    def cut_off(self: Any, *arguments: Any) -> None:
        step(self, *arguments)
        raise KeyboardInterrupt

    if after == "keep_accounts":
        former.set_aside()
    monkeypatch.setattr(MODULE.Distribution, after, cut_off)
    with pytest.raises(KeyboardInterrupt):
        former.install(installer)
    monkeypatch.undo()
    former.check_prefix()
    former.install(installer)
    whole(former)


def test_a_link_in_the_place_of_the_environments_is_not_given_away(
    former: Any, installer: Path, tmp_path: Path
) -> None:
    away = tmp_path / "away"
    away.mkdir(mode=0o700)
    (former.prefix / "envs").rename(tmp_path / "former-envs")
    (former.prefix / "envs").symlink_to(away)
    given: list[Path] = []

    def chown(path: Any, *_: Any, **__: Any) -> None:
        given.append(Path(path).resolve())

    former.set_aside()
    former.put_back(["envs"])
    real, os.chown = os.chown, chown  # type: ignore[assignment]
    try:
        former.give()
    finally:
        os.chown = real
    assert away not in given
    assert (former.prefix / "envs").is_symlink()


def test_a_conda_of_somebody_elses_is_refused(former: Any) -> None:
    (former.prefix / MODULE.MARKER).unlink()
    former.account = pwd.getpwnam("nobody")
    with pytest.raises(MODULE.Problem, match="this role did not make it"):
        former.check_prefix()

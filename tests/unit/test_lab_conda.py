"""The conda stand-in against what real conda was seen to do, on a channel of two tiny packages and without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.conda.package import Package, write, write_index

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TRANSCRIPTS = yaml.safe_load((Path(__file__).parent / "fixtures/conda_transcripts.yml").read_text())
Answer = subprocess.CompletedProcess[str]


class World:
    """A channel, a prefix that may become an environment, and the command."""

    def __init__(self, folder: Path) -> None:
        self.prefix = folder / "env"
        self.channel = (folder / "channel").as_uri()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "PYTHONPATH": str(ROOT),
            "_CONDA_STAND_IN_ROOT": str(folder / "root"),
        }
        (folder / "home").mkdir()
        (folder / "root/conda-meta").mkdir(parents=True)
        (folder / "root/conda-meta/history").touch()
        records = []
        for name, version, needs in (("alpha", "1.0", []), ("alpha", "2.0", []), ("beta", "1.0", ["alpha"])):
            stage = folder / f"{name}-{version}"
            (stage / "share").mkdir(parents=True)
            (stage / "share" / name).write_text(version)
            records.append(write(stage, Package(name, version, needs, "noarch"), folder / "channel/noarch"))
        write_index(folder / "channel", records, ("noarch", "linux-64", "linux-aarch64"))

    def conda(self, *arguments: str) -> Answer:
        return subprocess.run(
            [sys.executable, "-m", "lab.conda.standin.main", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def packages(self) -> dict[str, str] | None:
        if not (self.prefix / "conda-meta/history").exists():
            return None
        records = [json.loads(path.read_text()) for path in (self.prefix / "conda-meta").glob("*.json")]
        return {record["name"]: record["version"] for record in records}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def given(world: World, packages: list[str]) -> None:
    done = world.conda(
        "create", "--yes", "--prefix", str(world.prefix), "--override-channels", "-c", world.channel, *packages
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("seen", TRANSCRIPTS, ids=lambda seen: seen["name"])
def test_does_what_conda_does(world: World, seen: dict[str, Any]) -> None:
    if "given" in seen:
        given(world, seen["given"])
    names = {"$P": str(world.prefix), "$C": world.channel}
    done = world.conda(*(names.get(word, word) for word in seen["run"]))
    assert done.returncode == seen["code"], done.stdout + done.stderr
    if "says" in seen:
        assert seen["says"] in done.stdout + done.stderr
    if {"json", "keys", "actions", "without"} & set(seen):
        result = json.loads(done.stdout)
        assert {name: result.get(name) for name in seen.get("json", {})} == seen.get("json", {})
        assert set(seen.get("keys", [])) <= set(result)
        assert not set(seen.get("without", [])) & set(result)
        if "actions" in seen:
            assert set(result["actions"]) == set(seen["actions"])
    if "after" in seen:
        assert world.packages() == seen["after"]


def test_a_lock_file_with_a_wrong_hash_makes_no_environment(world: World, tmp_path: Path) -> None:
    given(world, ["beta"])
    listed = world.conda("list", "--prefix", str(world.prefix), "--explicit", "--sha256")
    assert listed.returncode == 0
    lines = [line for line in listed.stdout.splitlines() if "#" in line and "://" in line]
    assert len(lines) == 2
    lock = tmp_path / "lock.txt"
    lock.write_text("@EXPLICIT\n" + "\n".join(lines) + "\n")
    other = tmp_path / "other"
    made = world.conda("create", "--yes", "--prefix", str(other), "--file", str(lock))
    assert made.returncode == 0, made.stderr
    assert (other / "share/beta").read_text() == "1.0"
    lock.write_text("@EXPLICIT\n" + "\n".join(line[:-4] + "0000" for line in lines) + "\n")
    refused = world.conda("create", "--yes", "--json", "--prefix", str(tmp_path / "third"), "--file", str(lock))
    assert refused.returncode == 1
    assert "ChecksumMismatchError" in refused.stdout
    assert not (tmp_path / "third/conda-meta/history").exists()


def test_says_that_it_is_a_stand_in(world: World) -> None:
    assert "stand-in" in world.conda("info").stdout.lower()

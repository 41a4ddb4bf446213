"""Two condas on one package cache: the real one breaks, so do the stand-ins, and the module never starts two."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

from tests.unit.test_conda_environments import Server
from tests.unit.test_lab_conda import World


def test_kernels_with_the_same_packages_are_made_on_a_cold_cache(tmp_path: Path) -> None:
    server = Server(tmp_path)
    (server.prefix / "slow").touch()
    packages = ("python=3.13", "ipykernel")
    result = server.apply(*(server.kernel(*packages, name=name) for name in ("one", "two", "three")))
    assert not result["failed"], result["msg"]
    assert [kernel["done"] for kernel in result["kernels"]] == [["made the environment", "wrote the kernelspec"]] * 3
    assert server.calls() == ["create"] * 3


def test_the_stand_in_breaks_while_another_fetches_the_same(tmp_path: Path) -> None:
    world = World(tmp_path)
    cache = tmp_path / "root/pkgs"
    cache.mkdir()
    create = ("create", "--yes", "--json", "--prefix", str(world.prefix), "-c", world.channel, "-O", "beta")
    with (cache / "alpha-2.0-0.conda.partial").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        done = world.conda(*create)
        assert done.returncode == 1, done.stdout
        assert json.loads(done.stdout)["exception_name"] == "FileNotFoundError"
        assert world.packages() is None
    # The lock is gone with its owner, and a file that a killed one left is in nobody's way.
    done = world.conda(*create)
    assert done.returncode == 0, done.stdout
    assert not list(cache.glob("*.partial"))
    # What is in the cache already, nobody fetches.
    with (cache / "alpha-2.0-0.conda.partial").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        done = world.conda(*create[:4], str(tmp_path / "second"), *create[5:])
        assert done.returncode == 0, done.stdout

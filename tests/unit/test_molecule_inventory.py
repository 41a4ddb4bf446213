"""The hosts of a Molecule scenario: which there are, what they are called and where they live."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

SCRIPT = Path(__file__).parents[2] / "molecule/shared/inventory.py"


def run(scenario: Path, images: str | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MOLECULE_SCENARIO_DIRECTORY": str(scenario)}
    environment.pop("NOTEBOOK_IMAGES", None)
    if images is not None:
        environment["NOTEBOOK_IMAGES"] = images
    return subprocess.run([sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)


def hosts(scenario: Path, images: str | None) -> dict[str, Any]:
    done = run(scenario, images)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["servers"]["hosts"] == list(answer["_meta"]["hostvars"])
    return dict(answer["_meta"]["hostvars"])


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    (tmp_path / "inventory.yml").write_text("instances: {vars: {subnet: 198.19.9.0/24}}\n")
    return tmp_path


@pytest.mark.parametrize("images", [None, "", " "])
def test_default_is_one_debian(scenario: Path, images: str | None) -> None:
    assert hosts(scenario, images) == {"debian13": {"image": "13", "ansible_host": "198.19.9.101"}}


def test_any_image_may_be_named(scenario: Path) -> None:
    named = hosts(scenario, "13 ubuntu:24.04 registry.example/team/Own:1")
    assert list(named) == ["debian13", "ubuntu-24-04", "own-1"]
    assert named["own-1"] == {"image": "registry.example/team/Own:1", "ansible_host": "198.19.9.103"}


def test_two_hosts_of_one_name_are_refused(scenario: Path) -> None:
    done = run(scenario, "13 13")
    assert done.returncode == 1
    assert done.stderr == "NOTEBOOK_IMAGES names two hosts alike: 13 13.\n"


def test_a_scenario_may_name_its_servers_itself(scenario: Path) -> None:
    with (scenario / "inventory.yml").open("a") as file:
        file.write('servers: {hosts: {old: {image: "12", ansible_host: 198.19.9.12}}}\n')
    assert hosts(scenario, "13 12") == {}


def test_a_scenario_may_need_no_host(tmp_path: Path) -> None:
    (tmp_path / "inventory.yml").write_text("all: {hosts: {localhost: {}}}\n")
    done = run(tmp_path, None)
    assert json.loads(done.stdout) == {}


def test_no_side_effect_is_passed_over() -> None:
    """Molecule says "Missing playbook" and goes on where the configuration names none, whatever the sequence names."""
    root = Path(__file__).parents[2]
    config = yaml.safe_load((root / ".config/molecule/config.yml").read_text())
    assert "side_effect" in config["ansible"]["playbooks"]
    for scenario in root.glob("molecule/*/molecule.yml"):
        own = yaml.safe_load(scenario.read_text()) or {}
        for step in own.get("scenario", {}).get("test_sequence", []):
            action, _, playbook = step.partition(" ")
            assert (scenario.parent / playbook).is_file() == bool(playbook), (scenario, step)
            assert not playbook or action == "side_effect"

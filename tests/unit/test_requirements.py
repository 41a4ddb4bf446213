"""What names a version twice says the same: requirements.yml, the locks, and what is installed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import ansible_collections
import pytest
import yaml
from ansible.release import __version__ as ansible_version

ROOT = Path(__file__).parents[2]
MINE = "requirements.yml"
LOCKS = sorted(path for path in (ROOT / "requirements").glob("*.txt"))


def wanted(name: str) -> dict[str, str]:
    return {entry["name"]: entry["version"] for entry in yaml.safe_load((ROOT / name).read_text())["collections"]}


def test_the_collections_of_the_ansible_package_are_those_of_the_requirements() -> None:
    folders = [Path(folder) for folder in ansible_collections.__path__]
    installed = {}
    for name in wanted(MINE):
        for folder in folders:
            manifest = folder / name.replace(".", "/") / "MANIFEST.json"
            if manifest.exists():
                installed[name] = json.loads(manifest.read_text())["collection_info"]["version"]
    assert installed == wanted(MINE)


def test_every_collection_that_is_used_is_named() -> None:
    files = [*ROOT.glob("roles/**/*.yml"), *ROOT.glob("playbooks/*.yml"), *ROOT.glob("molecule/**/*.yml")]
    used = set()
    for file in files:
        used |= set(re.findall(r"^\s+(?:- )?((?:amazon|ansible|community)\.\w+)\.\w+:", file.read_text(), re.MULTILINE))
    assert used - {"ansible.builtin"} <= set(wanted("requirements.yml"))


def test_the_locked_ansible_is_the_one_that_is_installed() -> None:
    pins = re.findall(r"^ansible-core==(\S+) ", (ROOT / "requirements/runtime.txt").read_text(), re.MULTILINE)
    assert pins == [ansible_version]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_pin_with_hashes_and_name_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    for block in re.split(r"\n(?=\S)", text):
        if not block.startswith("#") and block.strip():
            assert re.match(r"[\w.\[\],-]+==\S+", block), block
            assert "--hash=sha256:" in block, block

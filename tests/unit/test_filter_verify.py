"""Settings of the role verify that cannot work are refused by a sentence; its defaults are fine."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("verify", ROOT / "plugins/filter/verify.py")
assert spec and spec.loader
verify = importlib.util.module_from_spec(spec)
spec.loader.exec_module(verify)

DEFAULTS = yaml.safe_load((ROOT / "roles/verify/defaults/main.yml").read_text())


def test_defaults_are_fine() -> None:
    assert verify.verify_problems(DEFAULTS) == []


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("verify_port", 0, "verify_port is 0; choose a number from 1 to 65535."),
        ("verify_scan_timeout", "60", "verify_scan_timeout is 60; choose a number from 0.1 to 30."),
        ("verify_scan_concurrency", 5000, "verify_scan_concurrency is 5000; choose a number from 1 to 4000."),
        ("verify_days_left", -1, "verify_days_left is -1; choose a number from 0 to 365."),
        (
            "verify_open_ports",
            [22, 70000],
            "verify_open_ports holds 70000, which is no port; ports go from 1 to 65535.",
        ),
        ("verify_allowed_ports", [0], "verify_allowed_ports holds 0, which is no port; ports go from 1 to 65535."),
        (
            "verify_scan_ports",
            ["9-1"],
            "verify_scan_ports holds '9-1'; write a port such as 8888 or a range such as 1-1024.",
        ),
        (
            "verify_kernels",
            [{"name": "r"}, {"name": "py"}, {"name": "r"}],
            "verify_kernels names 'r' twice; give each kernel a name of its own.",
        ),
    ],
)
def test_what_cannot_work_is_refused(name: str, value: Any, sentence: str) -> None:
    assert verify.verify_problems(DEFAULTS | {name: value}) == [sentence]


def test_every_problem_is_named_at_once() -> None:
    assert len(verify.verify_problems(DEFAULTS | {"verify_port": 0, "verify_wait": 9999})) == 2


def test_kernels_to_expect() -> None:
    declared = [
        {"name": "py", "packages": ["numpy"]},
        {"name": "r", "language": "r"},
        {"name": "old", "state": "absent"},
    ]
    assert verify.verify_expected_kernels(declared, "/opt/conda") == [
        {"name": "py", "language": "python", "prefix": "/opt/conda/envs/py"},
        {"name": "r", "language": "r", "prefix": "/opt/conda/envs/r"},
    ]

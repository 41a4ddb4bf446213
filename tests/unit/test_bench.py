"""Figures with goals, and which tasks touch a host."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), ROOT / f"{path}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = load("scripts/bench")
desk = load("tests/bench/desk")
host_tasks = load("tests/plugins/callback/host_tasks")


@pytest.mark.parametrize(
    ("action", "delegate_to", "touches"),
    [
        ("ansible.builtin.command", None, True),
        ("ansible.builtin.template", None, True),
        ("ansible.builtin.command", "localhost", False),
        ("ansible.builtin.assert", None, False),
        ("assert", None, False),
        ("ansible.builtin.include_role", None, False),
        ("ansible.builtin.validate_argument_spec", None, False),
    ],
)
def test_what_leaves_the_controller_touches_a_host(action: str, delegate_to: str | None, touches: bool) -> None:
    assert host_tasks.touches_host(action, delegate_to) is touches


@pytest.mark.parametrize(
    ("value", "goal", "unit", "relation", "met", "said"),
    [
        (1.149, 1.15, "x", "<=", True, "a: 1.15x (goal <= 1.15x)"),
        (1.16, 1.15, "x", "<=", False, "a: 1.16x (goal <= 1.15x)"),
        (25, 25, "", "<", False, "a: 25 (goal < 25)"),
        (0, 0, "", "<=", True, "a: 0 (goal <= 0)"),
    ],
)
def test_a_figure_says_its_goal(value: float, goal: float, unit: str, relation: str, met: bool, said: str) -> None:
    figure = desk.figure("a", value, goal, unit, relation)
    assert figure["met"] is met
    assert bench.line(figure) == said


def test_tasks_that_were_skipped_are_one_line() -> None:
    rows = [
        {"task": "a", "where": "host", "changed": True, "seconds": 1.0},
        {"task": "b", "where": "skipped", "changed": False, "seconds": 2.0},
        {"task": "c", "where": "skipped", "changed": False, "seconds": 3.0},
    ]
    assert [(row["task"], row["seconds"]) for row in desk.slowest(rows)] == [
        ("2 tasks that were skipped", 5.0),
        ("a", 1.0),
    ]


def test_the_script_gets_no_more_files_than_are_named() -> None:
    files = [line for line in (ROOT / "tests/bench/files.txt").read_text().splitlines() if not line.startswith("#")]
    script = (ROOT / "tests/bench/bare.sh").read_text()
    assert files
    for file in files:
        folder = str(Path(file).parent).replace("*", '"$version"')
        assert folder in script, file

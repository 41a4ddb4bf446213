"""The check that holds argument specs, defaults and READMEs together finds what differs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("check_roles", ROOT / "scripts/check_roles.py")
assert spec and spec.loader
check_roles = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_roles)

PORT = {"type": "int", "default": 443, "description": "The port, 1 to 65535."}
USERS = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "description": ["Who may", "come in."],
    "options": {"name": {"type": "str", "required": True, "description": "a | b", "choices": ["x", "y"]}},
}


def role(folder: Path, options: dict[str, Any], defaults: dict[str, Any], preflight: Any = None) -> Path:
    """Write a role that has nothing but its variables."""
    specs: dict[str, Any] = {"main": {"options": options}}
    if preflight is not None:
        specs["preflight"] = {"options": preflight}
    made = folder / "demo"
    for name, content in (("meta/argument_specs.yml", {"argument_specs": specs}), ("defaults/main.yml", defaults)):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(yaml.safe_dump(content))
    return made


def test_a_role_that_agrees_with_itself_is_fine(tmp_path: Path) -> None:
    options = {
        "demo_port": PORT,
        "demo_users": USERS,
        "demo_given": {"type": "str", "required": True, "description": "x"},
    }
    made = role(tmp_path, options, {"demo_port": 443, "demo_users": []}, options)
    assert list(check_roles.disagreements(made)) == []


@pytest.mark.parametrize(
    ("options", "defaults", "says"),
    [
        ({"demo_port": PORT}, {"demo_port": 8888}, "demo_port is 8888 in defaults/main.yml, 443 in its spec"),
        ({"demo_port": PORT}, {"demo_port": "443"}, "demo_port is '443' in defaults/main.yml, 443 in its spec"),
        ({"demo_port": PORT}, {}, "demo_port is neither required nor in defaults/main.yml"),
        ({}, {"demo_port": 443}, "demo_port is in defaults/main.yml but not in meta/argument_specs.yml"),
        ({"port": PORT}, {"port": 443}, "port does not start with the name of the role"),
        ({"demo_port": {"type": "int", "default": 443}}, {"demo_port": 443}, "demo_port lacks a type or a description"),
        (
            {"demo_port": {"type": "int", "description": "x"}},
            {"demo_port": 443},
            "has a value in defaults/main.yml but",
        ),
    ],
)
def test_what_differs_is_named(tmp_path: Path, options: dict[str, Any], defaults: dict[str, Any], says: str) -> None:
    assert any(says in problem for problem in check_roles.disagreements(role(tmp_path, options, defaults)))


def test_the_entry_point_preflight_takes_the_same_options(tmp_path: Path) -> None:
    made = role(tmp_path, {"demo_port": PORT}, {"demo_port": 443}, {})
    assert any("main and preflight have different options" in problem for problem in check_roles.disagreements(made))


def test_tables_have_a_row_for_each_setting_and_each_field_of_it() -> None:
    text = "before\n<!-- variables:begin -->\nold\n<!-- variables:end -->\nafter\n"
    made = check_roles.with_tables(text, {"demo_port": PORT, "demo_users": USERS})
    assert "| `demo_port` | int | `443` | The port, 1 to 65535. |\n" in made
    assert "| `demo_users` | list of dict | `[]` | Who may come in. |\n" in made
    assert "| `demo_users[].name` | str | **required** | a \\| b One of `x`, `y`. |\n" in made
    assert "old" not in made
    assert (made.startswith("before\n"), made.endswith("-->\nafter\n")) == (True, True)
    assert check_roles.with_tables(made, {"demo_port": PORT, "demo_users": USERS}) == made


def test_a_marker_may_choose_settings() -> None:
    text = "<!-- variables:begin demo_port -->\n<!-- variables:end -->\n"
    made = check_roles.with_tables(text, {"demo_users": USERS, "demo_port": PORT})
    assert ("demo_port" in made, "demo_users" in made) == (True, False)
    assert list(check_roles.unknown_names(text, {"demo_users": USERS})) == ["demo_port"]


@pytest.mark.parametrize("line", ["command |" + "| true", "  ignore_errors" + ": true", "failed_when" + ": false"])
def test_swallowed_failures_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(check_roles, "ROOT", tmp_path)
    (tmp_path / "file.yml").write_text(f"fine\n{line}\n")
    assert ["file.yml:2" in problem for problem in check_roles.forbidden(tmp_path / "file.yml")] == [True]

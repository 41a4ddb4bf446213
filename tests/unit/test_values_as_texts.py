"""What comes by -e name=value is a text, and outranks every fact: numbers and switches of all roles are taken as texts, too."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import filter_loader, init_plugin_loader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("check_roles", ROOT / "scripts/check_roles.py")
assert spec and spec.loader
check_roles = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_roles)

ROLES = sorted(path.parents[1] for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
KINDS = {"int": (int, "7"), "float": (float, "0.5"), "bool": (bool, "false")}
# What a setting is where its spec demands one, and what the roles ask Ansible for.
SAMPLES: dict[str, Any] = {
    "str": "demo",
    "path": "/srv/demo",
    "list": [],
    "dict": {},
    "int": 7,
    "float": 0.5,
    "bool": True,
    "raw": "",
}
AROUND = {
    "inventory_hostname": "demo",
    "playbook_dir": "/nowhere",
    "ansible_check_mode": False,
    "group_names": [],
    "ansible_managed": "x",
    "ansible_facts": {"distribution": "Debian", "distribution_release": "trixie", "pkg_mgr": "apt"},
}


@pytest.fixture(scope="module", autouse=True)
def filters() -> None:
    init_plugin_loader()
    filter_loader.add_directory(str(ROOT / "plugins/filter"))


@cache
def options(role: Path) -> dict[str, Any]:
    """The settings of a role, at whichever entry point."""
    specs = check_roles.load(role / "meta/argument_specs.yml")["argument_specs"]
    return {name: option for one in specs.values() for name, option in (one.get("options") or {}).items()}


@cache
def own(role: Path) -> dict[str, Any]:
    """What a role has of itself."""
    loader = DataLoader()
    values: dict[str, Any] = {}
    for file in (role / "defaults/main.yml", role / "vars/main.yml"):
        values |= loader.load_from_file(str(file), trusted_as_template=True) if file.exists() else {}
    return values


def templar(role: Path, **settings: Any) -> Templar:
    """What templates the values of a role with its defaults, its own variables, and these settings."""
    demanded = {name: option.get("default", SAMPLES[option["type"]]) for name, option in options(role).items()}
    variables = {**AROUND, "role_path": str(role), **demanded, **own(role), **settings}
    return Templar(loader=DataLoader(), variables=variables)


def as_texts(role: Path) -> dict[str, str]:
    """Each number and each switch of a role as its default, but as a text."""
    typed = check_roles.typed_options(role)
    values = {name: options(role)[name].get("default", SAMPLES[kind]) for name, kind in typed.items()}
    plain = {name: value for name, value in values.items() if not isinstance(value, str)}
    assert plain or not typed
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in plain.items()}


CONVERTED = [
    (role, name, kind)
    for role in ROLES
    for name, kind in check_roles.typed_options(role).items()
    if f"__{name}" in check_roles.load(role / "vars/main.yml")
]


def test_many_are_converted() -> None:
    assert len(CONVERTED) > 70
    assert len({role for role, _, _ in CONVERTED}) > 15


@pytest.mark.parametrize(("role", "name", "kind"), CONVERTED, ids=[name for _, name, _ in CONVERTED])
def test_a_text_becomes_what_its_spec_says(role: Path, name: str, kind: str) -> None:
    wanted, text = KINDS[kind]
    value = templar(role, **{name: text}).template(trust_as_template(f"{{{{ __{name} }}}}"))
    assert isinstance(value, wanted)
    assert isinstance(value, bool) == (kind == "bool")
    assert str(value).lower() == text


def checks(role: Path) -> list[dict[str, Any]]:
    """The assertions about the settings, but not the one that compares them with what AWS offers."""
    file = role / "tasks/preflight.yml"
    tasks = DataLoader().load_from_file(str(file), trusted_as_template=True) if file.exists() else []
    return [
        task
        for task in tasks or []
        if "ansible.builtin.assert" in task and "vars" in task and "_offer" not in str(task["vars"])
    ]


def judged(role: Path, task: dict[str, Any], settings: dict[str, Any]) -> Any:
    """What the filters of an assertion say."""
    with_vars = templar(role, **settings)
    with_vars.available_variables = {**with_vars.available_variables, **task["vars"]}
    return [with_vars.template(value) for value in task["vars"].values()]


CHECKED = [(role, number) for role in ROLES for number in range(len(checks(role)))]


def test_the_filters_of_many_roles_are_asked() -> None:
    names = {role.name for role, _ in CHECKED}
    assert {
        "base",
        "docker",
        "anaconda_kernels",
        "jupyter_tls",
        "mysql",
        "postgres",
        "notebook_container",
        "autostop",
    } <= names


@pytest.mark.parametrize(("role", "number"), CHECKED, ids=[f"{role.name}-{number}" for role, number in CHECKED])
def test_filters_judge_texts_as_they_judge_values(role: Path, number: int) -> None:
    task = checks(role)[number]
    assert judged(role, task, as_texts(role)) == judged(role, task, {})


def rendered(role: Path, template: Path, settings: dict[str, Any]) -> str:
    """What a template makes of the settings."""
    text = template.read_text(encoding="utf-8")
    return str(templar(role, **settings).template(trust_as_template(text)))


# Those that the settings alone make, without what was found on a host.
TEMPLATES = {
    "autostop": ["autostop-ask.socket.j2"],
    "base": ["updates-apt.conf.j2", "updates-dnf.conf.j2"],
    "jupyter_tls": ["jupyter.service.j2", "jupyter_server_config.py.j2"],
    "notebook_container": ["jupyter_server_config.py.j2"],
}
PAIRS = [(ROOT / "roles" / role, name) for role, names in TEMPLATES.items() for name in names]


@pytest.mark.parametrize(("role", "name"), PAIRS, ids=[f"{role.name}-{name}" for role, name in PAIRS])
def test_templates_make_the_same_of_texts(role: Path, name: str) -> None:
    template = role / "templates" / name
    found = rendered(role, template, as_texts(role))
    assert found == rendered(role, template, {})
    assert len(found) > 50


def test_a_raw_number_is_found(tmp_path: Path) -> None:
    role = tmp_path / "demo"
    settings = {"demo_port": "int", "demo_open": "bool", "demo_load": "float"}
    specs = {"argument_specs": {"main": {"options": {name: {"type": kind} for name, kind in settings.items()}}}}
    files = {
        "meta/argument_specs.yml": yaml.safe_dump(specs),
        "vars/main.yml": '__demo_port: "{{ demo_port | int }}"\n'
        '__demo_load: "{{ (demo_load | float) if demo_load is string else demo_load }}"\n',
        "tasks/main.yml": "- when: __demo_port > 3 and demo_open | bool\n  debug: {msg: 'demo_port is {{ __demo_port }}'}\n",
        "templates/x.j2": "{{ demo_open | default(false) | bool }} {{ {'demo_port': __demo_port} }} demo_port\n",
    }
    for name, text in files.items():
        (role / name).parent.mkdir(parents=True, exist_ok=True)
        (role / name).write_text(text)
    assert list(check_roles.unconverted(role)) == []
    for name, text in {
        "templates/y.j2": "{% if demo_port < 1024 %}",
        "templates/z.j2": "{{ [demo_open, 1] }}",
        "tasks/two.yml": "- when:\n    - true\n    - demo_open\n",
        "tasks/three.yml": '- when: "demo_load > 0.5"\n',
        "vars/other.yml": '__other: "{{ demo_port + 1 }}"\n',
    }.items():
        (role / name).write_text(text)
        said = list(check_roles.unconverted(role))
        assert len(said) == 1, (name, said)
        assert said[0].startswith(f"demo/{name}:")
        (role / name).unlink()
    (role / "vars/main.yml").write_text('__demo_port: "{{ demo_port }}"\n')
    assert len(list(check_roles.unconverted(role))) == 2

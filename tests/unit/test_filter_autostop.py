"""Settings of autostop, and what is to be done on a host."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from plugins.filter import autostop
from roles.autostop.files import autostop as program

SETTINGS: dict[str, Any] = {
    "idle_minutes": 60, "notice_minutes": 10, "max_hours": 0, "stay_awake_max_hours": 24, "action": ["/usr/bin/systemctl", "poweroff"],
    "hook_timeout_minutes": 15, "load": 0.5, "ssh_port": 22, "ignore": [], "usd_per_hour": 0.0, "jupyter_unit": "jupyter.service",
}  # fmt: skip
FILES = {"/usr/local/lib/x/run.py": "#!/usr/bin/python3\n", "/etc/x.json": "{}\n"}


def found(path: str, mode: str = "", owner: str = "root") -> str:
    text = FILES[path]
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"found {mode or ('755' if text.startswith('#!') else '644')} {owner} {digest}  {path}"


def test_good_settings() -> None:
    assert autostop.autostop_problems(SETTINGS) == []
    assert (
        autostop.autostop_problems({**SETTINGS, "jupyter_unit": "", "max_hours": 12, "ignore": ["gpu", "mysql"]}) == []
    )


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("idle_minutes", 5, "autostop_idle_minutes is 5; give 15 to 10080 minutes."),
        ("notice_minutes", 0, "autostop_notice_minutes is 0; give 1 to 60 minutes."),
        ("notice_minutes", 58, "at least 5 more than autostop_notice_minutes"),
        ("max_hours", -1, "autostop_max_hours is -1; give 1 to 720 hours, or 0 for no limit."),
        ("load", 0.0, "autostop_load is 0.0; give 0.05 to 1000 processors at work."),
        ("ssh_port", 0, "autostop_ssh_port is 0; give 1 to 65535."),
        ("usd_per_hour", -0.1, "autostop_usd_per_hour is -0.1"),
        ("action", [], "autostop_action has to be a list whose first element is the full path"),
        ("action", ["poweroff"], "such as [/usr/bin/systemctl, poweroff]"),
        ("ignore", ["kernel"], "autostop_ignore names 'kernel', which is no probe; the probes are kernels, terminals"),
        ("ignore", list(autostop.PROBES), "names every probe"),
        ("jupyter_unit", "../x", "give the name of a unit"),
    ],
)
def test_bad_settings(name: str, value: Any, sentence: str) -> None:
    assert sentence in " ".join(autostop.autostop_problems({**SETTINGS, name: value}))


def test_probes_are_those_of_the_program() -> None:
    assert list(autostop.PROBES) == [probe.__name__ for probe in program.PROBES]


def test_bare_host() -> None:
    plan = autostop.autostop_plan("", FILES, ["/etc/x.d"])
    assert [(file["path"], file["mode"]) for file in plan["files"]] == [
        ("/etc/x.json", "0644"),
        ("/usr/local/lib/x/run.py", "0755"),
    ]
    assert plan["directories"] == ["/etc", "/etc/x.d", "/usr/local/lib/x"]
    assert (plan["running"], plan["restart"], plan["jupyter"], plan["problems"]) == ([], [], "", [])


def test_finished_host() -> None:
    said = "\n".join([*map(found, FILES), "found 755 root directory /etc/x.d", "installed a.timer", "running a.timer"])
    plan = autostop.autostop_plan(said, FILES, ["/etc/x.d"])
    assert (plan["files"], plan["directories"], plan["restart"]) == ([], [], [])
    assert (plan["installed"], plan["running"]) == (["a.timer"], ["a.timer"])


@pytest.mark.parametrize(
    "wrong",
    [found("/etc/x.json", mode="600"), found("/etc/x.json", owner="jupyter"), "found 644 root abc  /etc/x.json"],
)
def test_file_that_differs_is_written(wrong: str) -> None:
    said = "\n".join([found("/usr/local/lib/x/run.py"), wrong, "found 755 root directory /etc"])
    plan = autostop.autostop_plan(said, FILES, [])
    assert [file["path"] for file in plan["files"]] == ["/etc/x.json"]
    assert plan["directories"] == []


def test_what_the_host_says_of_itself() -> None:
    plan = autostop.autostop_plan("restart a.timer\njupyter waits\nproblem There is no ss.\n", {}, [])
    assert (plan["restart"], plan["jupyter"], plan["problems"]) == (["a.timer"], "waits", ["There is no ss."])

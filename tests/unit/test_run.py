"""The runner of the tests counts honestly: what failed, was skipped, was not done or left no result never counts as passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import cpu, parts, run
from tests.parts import Part

JUNIT = '<testsuites><testsuite tests="{}" failures="{}" errors="{}" skipped="{}" /></testsuites>'
SHELL = {"PATH": "/usr/bin:/bin"}


@pytest.fixture(autouse=True)
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (run, parts):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "REPORTS", tmp_path)
    monkeypatch.setattr(run, "LAST", tmp_path / "cache" / "seconds.json")
    return tmp_path


@pytest.mark.parametrize(
    ("code", "junit", "counts", "expected"),
    [
        (0, (5, 0, 0, 0), False, (5, 0)),
        (1, (5, 2, 1, 0), False, (2, 3)),
        (0, (5, 0, 0, 1), False, (4, 1)),  # a skipped test
        (2, (5, 0, 0, 0), False, (5, 1)),  # crashed after its tests
        (0, None, False, (0, 1)),  # says it is well, and shows nothing
        (4, None, False, (0, 1)),
        (0, (5, 0, 0, 0), True, (6, 0)),  # a scenario counts itself and its tests
        (1, (5, 2, 0, 0), True, (3, 3)),
        (1, None, True, (0, 1)),
    ],
)
def test_counts(
    reports: Path, code: int, junit: tuple[int, ...] | None, counts: bool, expected: tuple[int, int]
) -> None:
    if junit:
        (reports / "part.xml").write_text(JUNIT.format(*junit))
    part = Part("part", [], junit=["part.xml"], counts=counts)
    run.finish(part, code)
    assert (part.passed, part.failed) == expected


def test_what_mostly_waits_takes_no_core() -> None:
    some = [Part(name, [["sleep", "0.5"]], budget=9) for name in ("first", "second")]
    some.append(Part("idle", [["sleep", "0.5"]], cores=0))
    run.run(some, SHELL, slots=1)
    first, second, idle = (part.started for part in some)
    assert idle < second and second >= first + 0.5


def test_a_part_that_keeps_all_cores_busy_runs_alone() -> None:
    some = [Part("one", [["sleep", "0.5"]], budget=9), Part("wide", [["sleep", "0.1"]], cores=8)]
    run.run(some, SHELL, slots=2)
    assert some[1].started >= some[0].started + 0.5


def test_what_takes_longest_starts_first_by_the_last_run_or_else_by_the_budget() -> None:
    some = [Part("image", [], budget=1), Part("short", [], budget=5, needs=("image",)), Part("long", [], budget=50)]
    some += [Part("quick", [], budget=1, quick=True)]
    assert [part.name for part in run.in_order(some)] == ["quick", "image", "long", "short"]
    some[1].passed, some[1].seconds = 1, 99.0
    run.remember(some)
    assert [part.name for part in run.in_order(some)] == ["quick", "image", "short", "long"]


def test_nothing_else_starts_when_what_is_quick_fails(reports: Path) -> None:
    some = [
        Part("lint", [["sh", "-c", "sleep 0.5; exit 1"]], quick=True),
        Part("image", [["true"]], counts=False),
        Part("long", [["touch", str(reports / "ran")]], needs=("image",)),
    ]
    run.run(some, SHELL, slots=2)
    assert run.report(some, 1.0) == 1
    assert some[2].failed == 1 and "Not run, because lint failed." in some[2].reasons
    assert not (reports / "ran").exists()


def test_all_that_is_run_and_the_closing_line(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some = [
        Part("first", [["true"], ["sh", "-c", "echo second command"]]),
        Part("broken", [["sh", "-c", "echo the reason; exit 3"]]),
        Part("after", [["true"]], needs=("first",)),
        Part("hopeless", [["true"]], needs=("broken",)),
    ]
    run.run(some, SHELL, slots=2)
    assert run.report(some, 1.0) == 1
    said = capsys.readouterr().out
    assert "| the reason" in said
    assert "Not run, because broken failed." in said
    assert said.splitlines()[-1] == "2 passed, 2 failed"
    assert "second command" in (reports / "first.log").read_text()


def test_why_a_test_failed_is_said_and_said_again_at_the_end(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = '<testcase classname="tests.some" name="test_it"><failure message="assert 1 == 2&#10;where"/></testcase>'
    junit = JUNIT.format(2, 1, 0, 0).replace(" /></testsuites>", f">{case}</testsuite></testsuites>")
    (reports / "part.xml").write_text(junit)
    part = Part("part", [], junit=["part.xml"], counts=False)
    run.finish(part, 1)
    run.report([part], 1.0)
    assert capsys.readouterr().out.count("tests.some::test_it: failure: assert 1 == 2 where") == 2


def test_nothing_run_is_not_success() -> None:
    assert run.report([Part("part", [])], 0.0) == 1


def test_at_the_deadline_what_runs_is_ended_and_what_waits_is_not_forgotten(
    reports: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PATIENCE", 1)  # where SIGINT is ignored, as in the background of a shell
    some = [
        Part("done", [["true"]], budget=9),
        Part(
            "slow", [["sh", "-c", f"sleep 60; touch {reports}/slow"]], budget=8, cleanup=["touch", f"{reports}/clean"]
        ),
        Part("never", [["true"]], budget=7),
    ]
    run.run(some, SHELL, slots=1, deadline=1.0)
    assert run.report(some, 1.0) == 1
    said = capsys.readouterr().out
    assert "slow: Not done when the" in said and "never: Not done when the" in said
    assert said.splitlines()[-1] == "1 passed, 2 failed"
    assert (reports / "clean").exists() and not (reports / "slow").exists()


def test_cpu_seconds_are_counted_and_held_to_the_budget(capsys: pytest.CaptureFixture[str]) -> None:
    busy = "import time\nwhile time.process_time() < 0.6: pass"
    some = [Part("busy", [["sh", "-c", f"{parts.PYTHON} -c '{busy}'"]], budget=0), Part("idle", [["true"]], budget=1)]
    run.run(some, SHELL, slots=2)
    assert some[0].cpu >= 0.6
    some[1].cpu = 1.3
    run.report(some, 1.0)
    over = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "over its budget" in line]
    assert over == ["idle"]


@pytest.mark.parametrize(
    ("memberships", "expected"),
    [
        ("12:cpu,cpuacct:/docker/abc/init.scope\n0::/x", "/sys/fs/cgroup/cpuacct/docker/abc"),
        ("2:cpuacct:/system.slice/docker-abc.scope", "/sys/fs/cgroup/cpuacct/system.slice/docker-abc.scope"),
        ("2:cpuacct:/elsewhere", None),
    ],
)
def test_the_figures_of_a_container_are_found(memberships: str, expected: str | None) -> None:
    found = cpu.group_of("abc", memberships)
    assert (str(found) if found else None) == expected


def some_parts() -> list[Part]:
    return [
        Part("image:13", []),
        Part("image:big", [], needs=("image:13",)),
        Part("molecule:base", [], needs=("image:13",)),
        Part("unit", []),
        Part("life:1", [], needs=("image:big",), slice=1),
        Part("life:2", [], slice=2),
    ]


def names(some: list[Part]) -> list[str]:
    return [part.name for part in some]


def test_parts_are_chosen_with_what_they_need() -> None:
    some = some_parts()
    assert names(run.chosen(some, "molecule:")) == ["image:13", "molecule:base"]
    assert names(run.chosen(some, "unit,life:1")) == ["image:13", "image:big", "unit", "life:1"]
    with pytest.raises(SystemExit, match=r"There is no part unti; there are: image, image:13, .*, unit"):
        run.chosen(some, "unti")


@pytest.mark.parametrize(
    ("number", "more"), [(None, []), (0, ["life:1"]), (1, ["life:2"]), (2, ["life:1"]), (7, ["life:2"])]
)
def test_the_slices_are_taken_in_turn(number: int | None, more: list[str]) -> None:
    found = names(run.of_slices(some_parts(), number))
    assert [name for name in found if not name.startswith("image")] == ["molecule:base", "unit", *more]
    assert ("image:big" in found) == ("life:1" in more)


def test_every_scenario_and_every_folder_of_tests_is_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.setattr(parts, "ROOT", root)
    everything = parts.all_parts()
    scenarios = {path.parent.name for path in root.glob("molecule/*/molecule.yml")}
    assert {":".join(part.name.split(":")[:2]) for part in everything if part.name.startswith("molecule:")} == {
        f"molecule:{s}" for s in scenarios
    }
    said = " ".join(" ".join(command) for part in everything for command in part.commands)
    for path in root.glob("tests/*/test_*.py"):
        folder = f"tests/{path.parent.name}"
        assert f"{folder} " in said or f"{folder}/{path.name}" in said, path


def test_what_git_calls_changed_is_what_ansible_lint_looks_at(reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("roles/base", "roles/docker", "playbooks"):
        (reports / name).mkdir(parents=True)
    for name in ("site.yml", "playbooks/new.yml"):
        (reports / name).touch()
    answers = {
        "merge-base": ["abc"],
        "diff": ["roles/base/tasks/main.yml", "README.md", "site.yml", "playbooks/gone.yml", "tests/run.py"],
        "ls-files": ["playbooks/new.yml", "roles/docker/files/x"],
    }
    monkeypatch.setattr(parts, "git", lambda *arguments: answers[arguments[0]])
    assert parts.changed() == ["playbooks/new.yml", "roles/base", "roles/docker", "site.yml"]

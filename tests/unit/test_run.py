"""The runner of the tests counts honestly: what failed, was skipped or left no result is never counted as passed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
JUNIT = '<testsuites><testsuite tests="{}" failures="{}" errors="{}" skipped="{}" /></testsuites>'


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("tests_run", ROOT / "tests/run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tests_run", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "REPORTS", tmp_path)
    return module


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
    run: ModuleType, code: int, junit: tuple[int, ...] | None, counts: bool, expected: tuple[int, int]
) -> None:
    if junit:
        (run.REPORTS / "part.xml").write_text(JUNIT.format(*junit))
    part = run.Part("part", [], junit=["part.xml"], counts=counts)
    run.finish(part, code)
    assert (part.passed, part.failed) == expected


def test_what_mostly_waits_takes_no_place(run: ModuleType) -> None:
    parts = [run.Part(name, [["sleep", "1"]]) for name in ("first", "second")]
    parts.append(run.Part("idle", [["sleep", "1"]], waits=True))
    run.run(parts, {"PATH": "/usr/bin:/bin"}, slots=1)
    first, second, idle = (part.started for part in parts)
    assert idle < second and second >= first + 1


def test_all_that_is_run_and_the_closing_line(run: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [
        run.Part("first", [["true"], ["sh", "-c", "echo second command"]]),
        run.Part("broken", [["sh", "-c", "echo the reason; exit 3"]]),
        run.Part("after", [["true"]], needs="first"),
        run.Part("hopeless", [["true"]], needs="broken"),
    ]
    run.run(parts, {"PATH": "/usr/bin:/bin"}, slots=2)
    assert run.report(parts, 1.0) == 1
    said = capsys.readouterr().out
    assert "| the reason" in said
    assert "Not run, because broken failed." in said
    assert said.splitlines()[-1] == "2 passed, 2 failed"
    assert "second command" in (run.REPORTS / "first.log").read_text()


def test_why_a_test_failed_is_said_and_said_again_at_the_end(
    run: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    case = '<testcase classname="tests.some" name="test_it"><failure message="assert 1 == 2&#10;where"/></testcase>'
    junit = JUNIT.format(2, 1, 0, 0).replace(" /></testsuites>", f">{case}</testsuite></testsuites>")
    (run.REPORTS / "part.xml").write_text(junit)
    part = run.Part("part", [], junit=["part.xml"], counts=False)
    run.finish(part, 1)
    run.report([part], 1.0)
    assert capsys.readouterr().out.count("tests.some::test_it: failure: assert 1 == 2 where") == 2


def test_nothing_run_is_not_success(run: ModuleType) -> None:
    assert run.report([run.Part("part", [])], 0.0) == 1


def test_a_part_that_hangs_is_stopped(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LIMIT", 0.5)
    part = run.Part("slow", [["sleep", "60"]])
    run.run([part], {"PATH": "/usr/bin:/bin"}, slots=1)
    assert (part.passed, part.failed) == (0, 1)
    assert "it was not done after 0.5 s" in part.log.read_text()


def test_parts_are_chosen_with_what_they_need(run: ModuleType) -> None:
    parts = [run.Part("images", []), run.Part("molecule:base", [], needs="images"), run.Part("unit", [])]
    assert [part.name for part in run.chosen(parts, "molecule:")] == ["images", "molecule:base"]
    assert [part.name for part in run.chosen(parts, "unit,molecule:base")] == ["images", "molecule:base", "unit"]
    assert run.chosen(parts, "") == parts
    with pytest.raises(SystemExit, match="There is no part unti; there are: images, molecule, molecule:base, unit"):
        run.chosen(parts, "unti")

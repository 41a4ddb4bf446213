from __future__ import annotations

from pathlib import Path

import pytest

from plugins.filter import preflight

KNOWN = ["anaconda_kernels", "base", "jupyter_tls"]


def test_roles_are_those_that_can_be_asked(tmp_path: Path) -> None:
    for path in ("one/tasks/preflight.yml", "two/tasks/main.yml"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    assert preflight.roles(str(tmp_path)) == ["one"]


def test_good_server() -> None:
    assert preflight.server_problems("demo-1", ["base", "jupyter_tls"], KNOWN) == []


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a.b", "a" * 64, "a\n"])
def test_bad_names(name: str) -> None:
    (problem,) = preflight.server_problems(name, [], KNOWN)
    assert "cannot be a host name and a tag" in problem


def test_bad_components() -> None:
    assert preflight.server_problems("demo", "base", KNOWN) == ["server_components must be a list of role names."]
    unknown, twice = preflight.server_problems("demo", ["bass", "base", "base"], KNOWN)
    assert unknown.endswith("Did you mean base?")
    assert twice == "server_components names base twice: name it once."


def test_ports() -> None:
    assert preflight.port_clashes({"SSH": 22, "a": "443", "b": 8080}) == []
    assert preflight.port_clashes({"SSH": 22, "a": "22"}) == ["a and SSH both want port 22: change one of them."]
    for port in (0, 65536, "x", True, None):
        assert len(preflight.port_clashes({"a": port})) == 1


def test_sources() -> None:
    assert preflight.sources("https://one/i.sh", ["conda-forge", "https://two/ours/", "file:///three"]) == [
        {"url": "https://one/i.sh", "setting": "anaconda_kernels_installer_url"},
        {"url": "https://conda.anaconda.org/conda-forge/noarch/repodata.json", "setting": "anaconda_kernels_channels"},
        {"url": "https://two/ours/noarch/repodata.json", "setting": "anaconda_kernels_channels"},
    ]
    assert preflight.sources("", []) == []

"""The settings of the role anaconda_kernels: what is refused, in which words, and what the host gets to hear."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem + "_filter", PROJECT / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILTER = load("plugins/filter/anaconda_kernels.py")
PYTHON = {"name": "py313", "packages": ["python=3.13", "numpy"]}
LOCK = "# a comment\n@EXPLICIT\nhttps://c.test/linux-64/{}-1.2-h1_0.conda#" + "0" * 64 + "\n"
GOOD: dict[str, Any] = {
    "channels": ["conda-forge", "https://conda.example.org/ours"],
    "distribution": "miniforge",
    "accept_anaconda_terms": False,
    "version": "",
    "installer_url": "",
    "installer_sha256": {},
    "prefix": "/opt/conda",
    "parallel": 2,
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> Path:
    (tmp_path / "good.yml").write_text("dependencies: [python=3.12, ipykernel, {pip: [black]}]\n")
    (tmp_path / "two.yml").write_text("dependencies: [python=2.7]\n")
    (tmp_path / "empty.yml").write_text("name: nothing\n")
    (tmp_path / "bad.yml").write_text("dependencies: [\n")
    (tmp_path / "good.lock").write_text(LOCK.format("ipykernel"))
    (tmp_path / "bare.lock").write_text(LOCK.format("numpy"))
    (tmp_path / "names.lock").write_text("@EXPLICIT\nnumpy=2.1\n")
    (tmp_path / "export.lock").write_text("numpy=2.1\n")
    return tmp_path


@pytest.mark.parametrize(
    "kernel",
    [
        PYTHON,
        {"name": "R-4.5_x", "language": "r", "packages": ["r-base", "r-irkernel"], "env": {"OMP_NUM_THREADS": 2}},
        {"name": "env", "environment_file": "good.yml", "state": "latest"},
        {"name": "locked", "lock_file": "good.lock"},
        {"name": "gone", "state": "absent"},
        {"name": "py27gone", "state": "absent"},
    ],
)
def test_a_good_kernel(kernel: dict[str, Any], files: Path) -> None:
    assert FILTER.kernels_problems([kernel], str(files)) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "a b"}, "Kernel a b has a name that Jupyter cannot use: "),
        ({"name": "-x"}, "Kernel -x has a name that Jupyter cannot use: "),
        ({"name": "base"}, "Kernel base has the name of conda's own environment: choose another."),
        ({"version": "3.13"}, "Kernel py313 has the unknown field version: known are name, display_name, language, "),
        ({"language": "julia"}, "Kernel py313 has the language 'julia': choose python or r."),
        ({"state": "gone"}, "Kernel py313 has the state 'gone': choose present, latest or absent."),
        ({"env": ["A=1"]}, "Kernel py313 must have names and values as env, "),
        ({"packages": ["python=2.7"]}, "Kernel py313 asks for Python 2, which ended in January 2020 "),
        ({"packages": ["conda-forge::python 2.*"]}, "Kernel py313 asks for Python 2, "),
        ({"name": "py27"}, "Kernel py27 asks for Python 2, "),
        ({"packages": [""]}, "Kernel py313 names a package that conda cannot read: ''."),
        ({"packages": "numpy"}, "Kernel py313 must have a list of texts as packages, "),
        ({"packages": []}, "Kernel py313 has nothing to be made of: "),
        ({"lock_file": "good.lock"}, "Kernel py313 has both packages and lock_file: keep one."),
        ({"packages": [], "lock_file": "no.lock"}, "Kernel py313 names the lock_file no.lock, which is not there: "),
        (
            {"packages": [], "lock_file": "bare.lock"},
            "Kernel py313 names the lock_file bare.lock, which has no ipykernel: ",
        ),
        (
            {"packages": [], "lock_file": "export.lock"},
            "Kernel py313 names the lock_file export.lock, which has no line @E",
        ),
        (
            {"packages": [], "lock_file": "names.lock"},
            "Kernel py313 names the lock_file names.lock, which lists something ",
        ),
        (
            {"packages": [], "lock_file": "good.lock", "state": "latest"},
            "Kernel py313 has a lock_file and state: latest: ",
        ),
        (
            {"packages": [], "environment_file": "no.yml"},
            "Kernel py313 names the environment_file no.yml, which is not ",
        ),
        ({"packages": [], "environment_file": "two.yml"}, "Kernel py313 asks for Python 2, "),
        (
            {"packages": [], "environment_file": "bad.yml"},
            "Kernel py313 names the environment_file bad.yml, which is not Y",
        ),
        (
            {"packages": [], "environment_file": "empty.yml"},
            "Kernel py313 names the environment_file empty.yml, which has",
        ),
    ],
)
def test_a_bad_kernel(change: dict[str, Any], sentence: str, files: Path) -> None:
    problems = FILTER.kernels_problems([{**PYTHON, **change}], str(files))
    assert len(problems) == 1
    assert problems[0].startswith(sentence)
    assert problems[0].endswith(".")


def test_a_list_that_is_none(files: Path) -> None:
    assert FILTER.kernels_problems("py313", str(files)) == ["anaconda_kernels_kernels must be a list of kernels."]
    assert FILTER.kernels_problems([{"packages": ["numpy"]}], str(files))[0].startswith(
        "An entry of the list of kernels"
    )


def test_a_kernel_named_twice(files: Path) -> None:
    assert FILTER.kernels_problems([PYTHON, {**PYTHON, "name": "PY313"}], str(files)) == [
        "Kernel py313 is in the list 2 times: give each its own name."
    ]


def test_python_3_is_not_python_2() -> None:
    assert not FILTER.python_2(["python=3.2", "python>=3.12,<3.20", "python", "python-dateutil=2.8"])
    assert FILTER.python_2(["python ==2.7.18"])


def test_good_settings() -> None:
    assert FILTER.settings_problems(GOOD) == []
    accepted = {"distribution": "anaconda", "channels": ["defaults"], "accept_anaconda_terms": True}
    assert FILTER.settings_problems({**GOOD, **accepted}) == []
    assert FILTER.settings_problems({**GOOD, "version": "1-0", "installer_sha256": {"x86_64": "0" * 64}}) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"channels": []}, "anaconda_kernels_channels is empty: "),
        ({"channels": ["two words"]}, "The channel 'two words' is neither a name nor a URL: "),
        ({"channels": ["ftp://x/y"]}, "The channel 'ftp://x/y' is neither a name nor a URL: "),
        ({"distribution": "anaconda"}, "The distribution anaconda comes under Anaconda's Terms of Service, "),
        ({"channels": ["defaults"]}, "The channel defaults comes under Anaconda's Terms of Service, "),
        (
            {"channels": ["https://repo.anaconda.com/pkgs/main"]},
            "The channel https://repo.anaconda.com/pkgs/main comes ",
        ),
        ({"installer_url": "mirror/x.sh"}, "anaconda_kernels_installer_url is 'mirror/x.sh': it must be a URL."),
        ({"installer_sha256": "abc"}, "The SHA-256 of the installer for this host is 'abc': "),
        ({"installer_sha256": {"x86_64": "abc"}}, "The SHA-256 of the installer for x86_64 is 'abc': "),
        (
            {"version": "26.9.9-0"},
            "anaconda_kernels_version is 26.9.9-0 but anaconda_kernels_installer_sha256 is empty: ",
        ),
        ({"prefix": "/opt/my conda"}, "anaconda_kernels_prefix is '/opt/my conda': "),
        ({"prefix": "/opt"}, "anaconda_kernels_prefix is '/opt': "),
        ({"parallel": 0}, "anaconda_kernels_parallel is 0: "),
    ],
)
def test_bad_settings(change: dict[str, Any], sentence: str) -> None:
    problems = FILTER.settings_problems({**GOOD, **change})
    assert len(problems) == 1
    assert problems[0].startswith(sentence)


def test_the_host_gets_every_field(files: Path) -> None:
    kernels = [
        {"name": "py", "packages": ["python=3.13", "Numpy>=2"], "env": {"A": 1}},
        {"name": "r", "language": "r", "packages": ["r-base"], "display_name": "R here"},
        {"name": "env", "environment_file": "good.yml"},
        {"name": "locked", "lock_file": str(files / "good.lock")},
        {"name": "gone", "state": "absent", "lock_file": "lost.lock"},
    ]
    python, r, env, locked, gone = FILTER.declared(kernels, str(files))
    assert python["packages"] == ["python=3.13", "Numpy>=2", "ipykernel"]
    assert python["names"] == ["ipykernel", "numpy", "python"]
    assert python["env"] == {"A": "1"}
    assert python["display_name"] == "py"
    assert r["packages"] == ["r-base", "r-irkernel"]
    assert r["display_name"] == "R here"
    assert env["names"] == ["ipykernel", "python"]
    assert "pip" in env["environment_file"]
    assert "ipykernel" in locked["lock_file"]
    assert gone["lock_file"] == ""
    assert gone["state"] == "absent"

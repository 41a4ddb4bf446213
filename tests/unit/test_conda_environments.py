"""The module conda_environments against a conda with the real one's traps: what is kept, lost and called."""

from __future__ import annotations

import getpass
import importlib.util
import json
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
# Says what a kernel in the right place would say; the real program is tried in the Molecule scenario.
PROBE = """
import json, os, sys
spec = json.load(sys.stdin)["spec"]
program = spec["argv"][0]
home = os.path.dirname(os.path.dirname(program))
prefix = os.path.join(home, "lib/R") if program.endswith("R") else home
print(json.dumps({"prefix": prefix, "program": program, "version": "1.2.3"}))
"""


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "conda_environments", PROJECT / "plugins/modules/conda_environments.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULE = load()


class Server:
    """A prefix with the fake conda, and the module as a task would call it."""

    def __init__(self, folder: Path) -> None:
        self.prefix = folder / "conda"
        self.specs = folder / "kernels"
        self.log = self.prefix / "calls.log"
        self.prune = False
        (self.prefix / "bin").mkdir(parents=True)
        (self.prefix / "envs").mkdir()
        conda = self.prefix / "bin/conda"
        conda.write_text(f"#!{sys.executable}\n" + (PROJECT / "tests/unit/fake_conda.py").read_text())
        conda.chmod(0o755)
        self.publish(python=["3.12", "3.13"], ipykernel=["7.0"], numpy=["2.1"], pandas=["2.0"], broken=["1"])

    def publish(self, **more: list[str]) -> None:
        """Bring packages into the channel."""
        file = self.prefix / "channel.json"
        there = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**there, **{name.replace("_", "-"): versions for name, versions in more.items()}}))

    def kernel(self, *packages: str, name: str = "py", **more: Any) -> dict[str, Any]:
        """One entry of the list, as the role hands it over."""
        return {
            **MODULE.NOTHING,
            "name": name,
            "state": "present",
            "packages": list(packages),
            "names": sorted(package.partition("=")[0] for package in packages),
            **more,
        }

    def apply(self, *kernels: dict[str, Any], check: bool = False) -> dict[str, Any]:
        """Run the module in this process."""
        self.log.write_text("")
        params = {
            "prefix": str(self.prefix),
            "user": getpass.getuser(),
            "kernelspec_dir": str(self.specs),
            "kernels": list(kernels),
            "channels": ["ours"],
            "accept_terms": False,
            "probe": PROBE,
            "parallel": 2,
            "prune": self.prune,
        }
        return MODULE.ensure(SimpleNamespace(params=params, check_mode=check))

    def calls(self) -> list[str]:
        """The conda commands of the last run."""
        return [" ".join(line.split()[:1]) for line in self.log.read_text().splitlines()]

    def installed(self, name: str = "py") -> list[str]:
        """The packages in an environment."""
        meta = self.prefix / "envs" / name / "conda-meta"
        return sorted(path.name.removesuffix("-0.json") for path in meta.glob("*.json"))

    def litter(self) -> list[str]:
        """What should not be beside the environments after a run."""
        return sorted(path.name for path in (self.prefix / "envs").glob(".*"))


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_a_kernel_is_made_once_and_then_conda_is_left_alone(server: Server) -> None:
    wanted = server.kernel("python=3.12", "ipykernel")
    dry = server.apply(wanted, check=True)
    assert dry["changed"]
    assert dry["kernels"][0]["done"] == ["make the environment", "write the kernelspec"]
    assert not server.specs.exists()
    assert server.installed() == []
    first = server.apply(wanted)
    assert not first["failed"], first["msg"]
    assert first["kernels"][0]["version"] == "1.2.3"
    assert server.installed() == ["ipykernel-7.0", "python-3.12"]
    spec = json.loads((server.specs / "py/kernel.json").read_text())
    env = server.prefix / "envs/py"
    assert spec["argv"][0] == f"{env}/bin/python"
    assert spec["env"]["PATH"] == f"{env}/bin:${{PATH}}"
    for check in (True, False):
        again = server.apply(wanted, check=check)
        assert not again["changed"]
        assert server.calls() == []
    assert server.litter() == []


def test_present_is_not_latest(server: Server) -> None:
    server.apply(server.kernel("python", "ipykernel", "numpy=2"))
    server.publish(numpy=["2.1", "2.2", "3.0"], ipykernel=["7.0", "7.1"])
    # A new request, so conda is asked; but nothing of it is missing.
    result = server.apply(server.kernel("python", "ipykernel", "numpy"))
    assert not result["changed"]
    assert server.calls() == ["install"]
    latest = server.kernel("python", "ipykernel", "numpy=2", state="latest")
    result = server.apply(latest)
    assert result["kernels"][0]["done"] == ["changed packages"]
    assert server.installed() == ["ipykernel-7.1", "numpy-2.2", "python-3.13"]
    assert not server.apply(latest)["changed"]


def test_packages_come_and_go(server: Server) -> None:
    server.apply(server.kernel("python", "ipykernel"))
    more = server.kernel("python", "ipykernel", "numpy", "pandas")
    dry = server.apply(more, check=True)
    assert dry["diff"][0]["after"] == "numpy 2.1\npandas 2.0\n"
    assert "numpy-2.1" not in server.installed()
    server.apply(more)
    assert "pandas-2.0" in server.installed()
    # pandas needs numpy, so numpy stays until pandas goes as well.
    assert not server.apply(server.kernel("python", "ipykernel", "pandas"))["changed"]
    assert "numpy-2.1" in server.installed()
    server.apply(server.kernel("python", "ipykernel"))
    assert server.installed() == ["ipykernel-7.0", "numpy-2.1", "python-3.13"]
    assert server.litter() == []


@pytest.mark.parametrize("packages", [["nowhere"], ["numpy=9"], ["broken"]])
def test_a_change_that_fails_leaves_the_environment_as_it_was(server: Server, packages: list[str]) -> None:
    good = server.kernel("python=3.12", "ipykernel")
    server.apply(good)
    (server.prefix / "envs/py/mine.txt").write_text("a person's file")
    result = server.apply(server.kernel("python=3.12", "ipykernel", *packages))
    assert result["failed"]
    assert not result["changed"]
    assert result["msg"].startswith("Kernel py: ")
    assert server.installed() == ["ipykernel-7.0", "python-3.12"]
    assert (server.prefix / "envs/py/mine.txt").exists()
    assert server.litter() == []
    assert not server.apply(good)["changed"]
    assert subprocess.run([server.prefix / "envs/py/bin/python", "-c", ""], check=False).returncode == 0


def test_an_environment_that_never_worked_leaves_nothing(server: Server) -> None:
    for packages in (["nowhere", "ipykernel"], ["broken", "ipykernel"]):
        result = server.apply(server.kernel(*packages))
        assert result["failed"]
        assert list((server.prefix / "envs").iterdir()) == []
        assert [path.name for path in server.specs.iterdir()] == [MODULE.LOCK]


def test_one_bad_kernel_does_not_hold_up_the_others(server: Server) -> None:
    result = server.apply(server.kernel("nowhere", name="bad"), server.kernel("python", "ipykernel", name="good"))
    assert result["failed"]
    assert [kernel["changed"] for kernel in result["kernels"]] == [False, True]
    assert server.installed("good") == ["ipykernel-7.0", "python-3.13"]


def run_and_die(server: Server, kernel: dict[str, Any]) -> None:
    """Run the module in a process that is killed in the middle of conda's work."""
    (server.prefix / "die").touch()
    code = (
        f"import sys, importlib; sys.path.insert(0, {str(PROJECT / 'tests/unit')!r})\n"
        "import test_conda_environments as test\n"
        f"server = test.Server.__new__(test.Server)\n"
        f"server.prefix = test.Path({str(server.prefix)!r})\n"
        f"server.specs = test.Path({str(server.specs)!r})\n"
        "server.prune = False\n"
        f"server.log = server.prefix / 'calls.log'\n"
        f"server.apply({kernel!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    (server.prefix / "die").unlink()


def test_an_interrupted_creation_is_made_again(server: Server) -> None:
    wanted = server.kernel("python", "ipykernel")
    run_and_die(server, wanted)
    assert (server.prefix / "envs/py/conda-meta/history").exists()
    assert server.apply(wanted, check=True)["changed"]
    result = server.apply(wanted)
    assert not result["failed"], result["msg"]
    assert server.calls() == ["create"]
    assert server.installed() == ["ipykernel-7.0", "python-3.13"]
    assert server.litter() == []


def test_an_interrupted_change_goes_back_and_forward(server: Server) -> None:
    server.apply(server.kernel("python=3.12", "ipykernel"))
    more = server.kernel("python=3.12", "ipykernel", "numpy")
    run_and_die(server, more)
    assert server.litter() == [".py.old"]
    (server.prefix / "envs/py/bin/python").unlink()
    result = server.apply(more)
    assert not result["failed"], result["msg"]
    assert server.calls() == ["install", "install"]
    assert server.installed() == ["ipykernel-7.0", "numpy-2.1", "python-3.12"]
    assert server.litter() == []


def test_what_is_no_environment_is_made_again_and_what_fails_comes_back(server: Server) -> None:
    (server.prefix / "envs/py/bin").mkdir(parents=True)
    (server.prefix / "envs/py/half.txt").touch()
    assert server.apply(server.kernel("nowhere"))["failed"]
    assert (server.prefix / "envs/py/half.txt").exists()
    assert server.apply(server.kernel("python", "ipykernel"))["kernels"][0]["done"][0] == "made the environment again"
    assert not (server.prefix / "envs/py/half.txt").exists()


def test_an_environment_of_somebody_else_is_taken_over_not_wiped(server: Server) -> None:
    server.apply(server.kernel("python=3.12", "ipykernel"))
    (server.specs / "py" / MODULE.STAMP).unlink()
    (server.prefix / "envs/py/mine.txt").touch()
    result = server.apply(server.kernel("python", "ipykernel", "numpy"))
    assert result["kernels"][0]["done"] == ["changed packages"]
    assert (server.prefix / "envs/py/mine.txt").exists()
    assert "create" not in server.calls()


def test_drift_is_repaired(server: Server) -> None:
    wanted = server.kernel("python", "ipykernel", "numpy")
    server.apply(wanted)
    next((server.prefix / "envs/py/conda-meta").glob("numpy-*")).unlink()
    assert server.apply(wanted, check=True)["changed"]
    assert server.apply(wanted)["kernels"][0]["done"] == ["changed packages"]
    (server.prefix / "envs/py/bin/python").unlink()
    assert server.apply(wanted)["kernels"][0]["done"] == ["made the environment again"]
    assert not server.apply(wanted)["changed"]


def lock(*packages: str, hashes: bool = True) -> str:
    """An explicit list, in an order that means nothing."""
    lines = []
    for package in packages:
        url = f"http://channel.test/noarch/{package}-0.conda"
        lines.append(url + (f"#{MODULE.hashlib.sha256(url.encode()).hexdigest()}" if hashes else ""))
    return "\n".join(["# platform: linux-64", "@EXPLICIT", *lines]) + "\n"


def test_a_lock_file_is_met_exactly(server: Server) -> None:
    first = server.kernel(lock_file=lock("python-3.12", "ipykernel-7.0", "numpy-2.1"))
    result = server.apply(first)
    assert not result["failed"], result["msg"]
    other_order = server.kernel(lock_file=lock("numpy-2.1", "python-3.12", "ipykernel-7.0", hashes=False))
    assert not server.apply(other_order)["changed"]
    assert server.calls() == []
    changed = server.kernel(lock_file=lock("python-3.13", "ipykernel-7.0"))
    dry = server.apply(changed, check=True)
    assert dry["diff"][0]["before"] == "numpy-2.1-0.conda\npython-3.12-0.conda\n"
    result = server.apply(changed)
    assert result["kernels"][0]["done"] == ["rebuilt the environment from the lock file"]
    assert server.installed() == ["ipykernel-7.0", "python-3.13"]
    assert not server.apply(changed)["changed"]
    assert server.litter() == []


@pytest.mark.parametrize("wrong", [("python-3.12", "ipykernel-9"), ("python-3.12", "ipykernel-7.0", "broken-1")])
def test_a_lock_file_that_cannot_work_costs_nothing(server: Server, wrong: tuple[str, ...]) -> None:
    good = server.kernel(lock_file=lock("python-3.12", "ipykernel-7.0"))
    server.apply(good)
    (server.prefix / "envs/py/mine.txt").touch()
    result = server.apply(server.kernel(lock_file=lock(*wrong)))
    assert result["failed"]
    assert (server.prefix / "envs/py/mine.txt").exists()
    assert server.litter() == []
    assert not server.apply(good)["changed"]


def environment(*specs: str) -> dict[str, Any]:
    """An environment file and the names in it."""
    text = "dependencies:\n" + "".join(f"  - {spec}\n" for spec in specs)
    return {"environment_file": text, "names": sorted(spec.partition("=")[0] for spec in specs)}


def test_an_environment_file(server: Server) -> None:
    wanted = server.kernel(**environment("python=3.12", "ipykernel", "numpy"))
    result = server.apply(wanted)
    assert not result["failed"], result["msg"]
    server.publish(numpy=["2.1", "2.2"])
    assert not server.apply(wanted)["changed"]
    assert server.calls() == []
    fewer = server.kernel(**environment("python=3.12", "ipykernel"))
    assert server.apply(fewer, check=True)["changed"]
    assert server.apply(fewer)["kernels"][0]["done"] == ["applied the environment file"]
    assert server.installed() == ["ipykernel-7.0", "python-3.12"]
    result = server.apply(server.kernel(**environment("python=3.12", "ipykernel", "broken")))
    assert result["failed"]
    assert server.installed() == ["ipykernel-7.0", "python-3.12"]
    assert not server.apply(fewer)["changed"]
    assert server.litter() == []


def test_only_what_the_role_made_is_removed(server: Server) -> None:
    made = server.kernel("python", "ipykernel")
    server.apply(made)
    foreign = server.prefix / "envs/theirs/conda-meta"
    foreign.mkdir(parents=True)
    (foreign / "history").touch()
    absent = [server.kernel(name=name, state="absent") for name in ("py", "theirs", "never")]
    assert server.apply(*absent, check=True)["kernels"][0]["done"] == ["remove the environment and the kernel"]
    result = server.apply(*absent)
    assert [kernel["changed"] for kernel in result["kernels"]] == [True, False, False]
    assert "theirs was not made by this role" in result["warnings"][0]
    assert foreign.exists()
    assert not (server.prefix / "envs/py").exists()
    assert not (server.specs / "py").exists()
    assert not server.apply(*absent)["changed"]


def test_pruning_is_asked_for(server: Server) -> None:
    both = [server.kernel("python", "ipykernel", name=name) for name in ("one", "two")]
    server.apply(*both)
    assert not server.apply(both[0])["changed"]
    server.prune = True
    assert server.apply(both[0])["kernels"][1]["done"] == ["removed the environment and the kernel"]
    assert not (server.specs / "two").exists()
    assert (server.specs / "one/kernel.json").exists()


def test_a_new_display_name_is_a_change_without_conda(server: Server) -> None:
    wanted = server.kernel("python", "ipykernel")
    server.apply(wanted)
    result = server.apply({**wanted, "display_name": "Python for all", "env": {"A": "1"}})
    assert result["kernels"][0]["done"] == ["wrote the kernelspec"]
    assert server.calls() == []


def test_an_r_kernel(server: Server) -> None:
    server.publish(r_base=["4.5"])
    wanted = server.kernel("r-base", "ipykernel", name="r", language="r")
    result = server.apply(wanted, server.kernel("python", "ipykernel"))
    assert not result["failed"], result["msg"]
    spec = json.loads((server.specs / "r/kernel.json").read_text())
    assert spec["env"]["R_HOME"] == f"{server.prefix}/envs/r/lib/R"
    assert spec["argv"][0] == f"{server.prefix}/envs/r/bin/R"


def test_no_conda(server: Server) -> None:
    (server.prefix / "bin/conda").unlink()
    wanted = server.kernel("python", "ipykernel")
    assert server.apply(wanted, check=True)["kernels"][0]["done"] == ["make the environment", "write the kernelspec"]
    assert server.apply(wanted)["msg"].startswith("Kernel py: there is no conda in ")


def test_the_last_object_in_what_conda_says() -> None:
    assert MODULE.last_object('{"fetch": "a", "progress": 0.5}\n\0{"success": true}\n') == {"success": True}
    assert MODULE.last_object("") == {}
    assert MODULE.last_object("{broken") == {}


def test_root_reads_only_plain_files_of_the_account(server: Server, tmp_path: Path) -> None:
    # What a notebook could put where root looks: a file of root's, one without an end, one that never begins, one of another account.
    meta = server.prefix / "envs/py/conda-meta"
    meta.mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_text('{"name": "secret", "version": "1", "url": "u"}')
    owner = MODULE.Owner(getpass.getuser(), 0, server.prefix, tmp_path)
    (meta / "plain.json").write_text("{}")
    assert owner.read(meta / "plain.json") == "{}"
    (meta / "link.json").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        owner.read(meta / "link.json")
    os.mkfifo(meta / "pipe.json")
    (meta / "large.json").touch()
    os.truncate(meta / "large.json", MODULE.LARGEST + 1)
    for name in ("pipe", "large"):
        with pytest.raises(MODULE.Problem, match="is not a file of"):
            owner.read(meta / f"{name}.json")
    owner.entry = pwd.getpwnam("nobody")
    with pytest.raises(MODULE.Problem, match="is not a file of"):
        owner.read(meta / "plain.json")
    kernel = MODULE.Kernel(
        SimpleNamespace(prefix=server.prefix, specs=server.specs, owner=owner), server.kernel("python")
    )
    with pytest.raises(MODULE.Problem):
        list(kernel.records())


def test_a_command_is_as_closed_as_the_notebooks_unit(server: Server, tmp_path: Path) -> None:
    unit = (PROJECT / "roles/jupyter_tls/templates/jupyter.service.j2").read_text().splitlines()
    # Of the unit alone: what it is for, what it may use, and the right to a low port, which these commands have no use for.
    closing = r"(No|Protect(?!Home)|Private|Restrict|Lock|Keyring|SystemCall)\w+="
    wanted = {line for line in unit if re.match(closing, line)}
    assert len(wanted) > 15
    assert wanted <= set(MODULE.CONFINED)
    command = MODULE.Owner(getpass.getuser(), 0, server.prefix, tmp_path).confined(("printf", "$HOME ${X} $$"))
    assert command[-1] == "$$HOME $${X} $$$$"
    assert "--property=CapabilityBoundingSet=" in command
    assert not any("HOME=" in word for word in command)

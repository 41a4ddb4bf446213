"""The kernels as a Jupyter server on the host would start them, after all that changes.yml and refusals.yml did."""

import json
from pathlib import Path

import pytest

PREFIX = "/opt/conda"
KERNELS = "/usr/local/share/jupyter/kernels"
ASK = (Path(__file__).resolve().parents[3] / "roles/anaconda_kernels/files/ask_kernel.py").read_text()


def test_only_the_kernels_of_the_list_are_there(host):
    assert sorted(host.file(KERNELS).listdir()) == ["py311", "py39", "r"]
    assert sorted(host.file(f"{PREFIX}/envs").listdir()) == ["py311", "py39", "r"]


@pytest.mark.parametrize(
    ("name", "language", "home", "version"),
    [("py311", "python", "", "3.11."), ("py39", "python", "", "3.9."), ("r", "r", "/lib/R", "4.2")],
)
def test_a_kernel_starts_in_its_environment(host, name, language, home, version):
    env = f"{PREFIX}/envs/{name}"
    spec = json.loads(host.file(f"{KERNELS}/{name}/kernel.json").content_string)
    question = json.dumps({"name": name, "language": language, "spec": spec})
    command = "cd / && printf '%%s' %s | sudo -u jupyter -H %s -c %s"
    answer = host.run(command, question, f"{PREFIX}/envs/py311/bin/python", ASK)
    assert answer.rc == 0, answer.stderr
    said = json.loads(answer.stdout.splitlines()[-1])
    assert said["prefix"] == env + home
    assert said["program"].startswith(f"{env}/bin/")
    assert said["version"].startswith(version)


def test_kernelspecs_are_roots_and_for_everybody(host):
    for path in (KERNELS, f"{KERNELS}/py39", f"{KERNELS}/py39/kernel.json", f"{KERNELS}/r/kernel.json"):
        file = host.file(path)
        assert (file.user, file.mode & 0o022) == ("root", 0)
        assert file.mode & 0o004
    spec = json.loads(host.file(f"{KERNELS}/py39/kernel.json").content_string)
    assert spec["display_name"] == "Python 3.9, an old one"
    assert spec["env"]["OMP_NUM_THREADS"] == "2"


def test_environments_and_packages_belong_to_the_account_and_the_rest_to_root(host):
    assert host.check_output(f"find {PREFIX}/envs {PREFIX}/pkgs ! -user jupyter") == ""
    rest = f"find {PREFIX} \\( -path {PREFIX}/envs -o -path {PREFIX}/pkgs \\) -prune -o ! -user root -print"
    assert host.check_output(rest) == ""


def test_the_account_cannot_add_a_channel(host):
    shown = host.check_output(f"cd / && sudo -u jupyter -H {PREFIX}/bin/conda config --show channels --json")
    assert json.loads(shown)["channels"] == [f"http://{host.ansible.get_variables()['conda_address']}/channel"]


def test_nothing_is_left_behind(host):
    assert host.run("ls -d /var/tmp/conda-installer-* /opt/other").stdout == ""


def test_login_shells_are_otherwise_as_before(host):
    shell = host.run("bash -lc 'echo $PATH'")
    assert "/usr/bin" in shell.stdout.split(":")
    assert f"{PREFIX}/bin" not in shell.stdout
    assert shell.stderr == ""

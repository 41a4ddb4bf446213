"""What a notebook could do with conda against root and against the people who log in: here it is tried.

What it had done before is in the scenario anaconda_former.
"""

import re

import pytest

PREFIX = "/opt/conda"
# How a notebook's process stands: the account, without further rights.
NOTEBOOK = "cd / && setpriv --reuid=jupyter --regid=jupyter --init-groups --no-new-privs --reset-env "
# Says from which file each line comes that a login shell runs. bash does not take this from the environment for root, who reads the same.
SOURCES = "cd / && PS4='+ $BASH_SOURCE ' bash -lxc true 2>&1"


def read_by_a_login(host, account):
    """The files that a login shell of an account runs."""
    shown = host.check_output(f"setpriv --reuid={account} --clear-groups --reset-env sh -c %s", SOURCES)
    return set(re.findall(r"^\++ (/\S+)", shown, re.MULTILINE))


def test_a_login_shell_of_another_runs_nothing_that_the_account_wrote(host):
    folder = f"{PREFIX}/etc/profile.d"
    plant = f"sh -c 'mkdir -p {folder} && echo \"touch /tmp/planted-again\" >>{folder}/conda.sh'"
    assert host.run(NOTEBOOK + plant).failed
    host.check_output("bash -lc true && su --login --command=true admin")
    assert host.run("ls /tmp/planted-*").stdout == ""


def test_what_login_shells_read_is_roots_up_to_the_root(host):
    for account in ("nobody", "admin"):
        read = read_by_a_login(host, account)
        assert any(path.startswith("/etc/profile") for path in read)
        for path in read:
            own = host.user(account).home
            for part in [path, *(path[: m.start()] or "/" for m in re.finditer("/", path))]:
                about = host.file(part)
                assert about.user == "root" or path.startswith(own + "/"), part
                assert not about.mode & 0o022, part


@pytest.fixture
def real(host):
    """The file of the real distribution, which the stand-in does not have."""
    host.check_output(f"mkdir -p {PREFIX}/etc/profile.d && echo 'conda() {{ :; }}' >{PREFIX}/etc/profile.d/conda.sh")
    yield
    host.check_output(f"rm -r {PREFIX}/etc/profile.d/conda.sh")


def test_no_shell_but_the_accounts_gets_conda(host, real):
    says = "bash -lc 'type -t conda'"
    assert host.run(says).stdout == ""
    assert host.run(f"cd / && setpriv --reuid=admin --clear-groups --reset-env {says}").stdout == ""
    assert host.run(NOTEBOOK + says).stdout.strip() == "function"


def test_the_account_can_write_to_environments_and_packages_only(host):
    there = f"find {PREFIX} -mindepth 1 \\( -path {PREFIX}/envs -o -path {PREFIX}/pkgs \\) -prune -o ! -type l -writable -print"
    assert host.run(NOTEBOOK + there).stdout == ""
    assert host.run(f"{NOTEBOOK} test -w {PREFIX}").failed
    for name in ("envs", "pkgs"):
        assert host.run(f"{NOTEBOOK} test -w {PREFIX}/{name}").succeeded


def test_people_still_install_what_they_like_in_their_environments(host):
    conda = f"{NOTEBOOK} {PREFIX}/bin/conda"
    env = f"{PREFIX}/envs/mine"
    host.check_output(f"{conda} create -y -q -p {env} python=3.11")
    host.check_output(f"{conda} install -y -q -p {env} numpy")
    host.check_output(f"{NOTEBOOK} {env}/bin/python -c 'import numpy'")
    host.check_output(f"{conda} env remove -y -q -p {env}")
    pip = f"{NOTEBOOK} {PREFIX}/envs/py311/bin/python -m pip"
    assert host.run(f"{pip} --version").succeeded
    assert host.run(f"{NOTEBOOK} test -w {PREFIX}/envs/py311/lib/python3.11/site-packages").succeeded
    assert host.run(f"{conda} install -y -q -n base numpy").failed

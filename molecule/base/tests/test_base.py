"""A server as the role base leaves it."""

import pytest


def test_packages_that_the_role_promises(host):
    for name in ("git", "tmux", "rsync", "curl", "acl", "python3-venv", "unattended-upgrades"):
        assert host.package(name).is_installed, name


def test_account_is_neither_powerful_nor_open(host):
    user = host.user("jupyter")
    assert user.home == "/var/lib/jupyter"
    assert user.shell == "/bin/bash"
    assert user.uid < 1000
    assert user.groups == ["jupyter"]
    assert user.password == "!"
    assert "not allowed to run sudo" in host.run("sudo -l -U jupyter").stdout


def test_account_can_work(host):
    assert host.check_output("runuser -u jupyter -- sh -c 'cd && pwd'") == "/var/lib/jupyter"
    assert host.run("runuser -u jupyter -- sh -c 'touch /srv/notebooks/new && rm /srv/notebooks/new'").succeeded


@pytest.mark.parametrize(("path", "mode"), [("/var/lib/jupyter", 0o700), ("/srv/notebooks", 0o750)])
def test_directories_belong_to_the_account_alone(host, path, mode):
    directory = host.file(path)
    assert (directory.user, directory.group, directory.mode) == ("jupyter", "jupyter", mode)
    assert host.run(f"runuser -u nobody -- ls {path}").failed


def test_what_was_good_is_still_there(host):
    assert "sudo" in host.user("keeper").groups
    assert host.file("/srv/notebooks/kept.ipynb").content_string == "{}\n"


def test_only_security_updates_are_installed_by_themselves(host):
    settings = host.check_output("apt-config dump")
    assert 'APT::Periodic::Update-Package-Lists "1";' in settings
    assert 'APT::Periodic::Unattended-Upgrade "1";' in settings
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in settings
    origins = [line for line in settings.splitlines() if line.startswith("Unattended-Upgrade::Origins-Pattern:: ")]
    assert origins
    assert all("security" in line.lower() for line in origins)


def test_unattended_upgrades_knows_the_origin(host):
    done = host.run("unattended-upgrade --dry-run --debug")
    assert done.succeeded, done.stderr
    assert "-security" in done.stdout + done.stderr


@pytest.mark.parametrize("timer", ["apt-daily.timer", "apt-daily-upgrade.timer"])
def test_updates_are_looked_for_every_day(host, timer):
    service = host.service(timer)
    assert service.is_enabled
    assert service.is_running


def test_time_is_kept_wherever_the_clock_is_the_hosts_own(host):
    # systemd does not start it in a container, which has the clock of its machine.
    assert host.service("systemd-timesyncd.service").is_enabled


def test_tmux_starts_with_the_settings(host):
    command = "tmux -L test new-session -d -x 80 -y 24 ';' show-options -g history-limit ';' kill-server"
    assert "history-limit 50000" in host.check_output(command)


def test_a_container_gets_no_swap(host):
    assert not host.file("/swapfile").exists
    assert "/swapfile" not in host.file("/etc/fstab").content_string

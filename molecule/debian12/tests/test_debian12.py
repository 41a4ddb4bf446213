"""What Debian 12 has, so that the other tests of this scenario were about that. They are those of the roles' own scenarios."""

import pytest


def test_it_is_debian_12(host):
    assert (host.system_info.distribution, host.system_info.release.partition(".")[0]) == ("debian", "12")


@pytest.mark.parametrize(
    ("command", "version"),
    [
        ("docker version --format '{{.Server.Version}}'", "20.10."),
        ("mariadb --batch --skip-column-names --execute='SELECT VERSION()'", "10.11."),
        ("cd / && runuser -u postgres -- psql -XqAt -c 'SHOW server_version'", "15."),
        ("/opt/jupyter/bin/python -c 'import platform; print(platform.python_version())'", "3.11."),
    ],
)
def test_versions_are_the_distributions(host, command, version):
    assert host.check_output(command).startswith(version)


def test_the_client_is_in_the_engines_package(host):
    # roles/docker/vars/Debian-12.yml: there is no docker-cli.
    assert host.package("docker.io").is_installed
    assert host.check_output("dpkg -S /usr/bin/docker") == "docker.io: /usr/bin/docker"

"""An engine and a container as the role docker leaves them."""

import json
import os
from pathlib import Path

import pytest

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


@pytest.fixture
def demo(host):
    return json.loads(host.check_output("docker inspect demo"))[0]


def test_engine_runs_with_its_settings(host):
    service = host.service("docker.service")
    assert service.is_running
    assert service.is_enabled
    info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert info["LiveRestoreEnabled"]
    assert info["LoggingDriver"] == "json-file"
    assert info["DefaultAddressPools"] == [{"Base": "172.29.128.0/17", "Size": 24}]
    bridge = json.loads(host.check_output("docker network inspect bridge"))[0]
    assert bridge["IPAM"]["Config"][0]["Subnet"] == "172.29.0.0/24"
    assert bridge["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    assert host.run("pgrep docker-proxy").failed


def test_only_those_listed_may_use_it(host):
    assert host.group("docker").members == ["admin"]


def test_nobody_but_the_host_reaches_the_port(host):
    assert host.check_output("curl -sf http://127.0.0.1:8080/") == "demo 1"
    address = host.check_output("hostname -I").split()[0]
    assert host.run(f"curl -sf --max-time 2 http://{address}:8080/").failed


def test_container_has_few_rights(host, demo):
    settings = demo["HostConfig"]
    assert settings["CapDrop"] == ["ALL"]
    assert not settings["CapAdd"]
    assert not settings["Privileged"]
    assert "no-new-privileges" in settings["SecurityOpt"]
    assert (settings["Memory"], settings["PidsLimit"], settings["NanoCpus"]) == (64 << 20, 64, 5 * 10**8)
    assert settings["ReadonlyRootfs"]
    status = host.check_output("docker exec demo cat /proc/1/status")
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    assert "Uid:\t990\t990\t990\t990" in status


def test_systemd_keeps_it(host, demo):
    unit = host.service("container-demo.service")
    assert unit.is_running
    assert unit.is_enabled
    assert demo["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert demo["State"]["Health"]["Status"] == "healthy"
    assert not host.service("container-gone.service").exists


def test_secrets_are_files_and_nowhere_else(host, demo):
    environment = dict(variable.split("=", 1) for variable in demo["Config"]["Env"])
    assert environment["GREETING"] == 'say "100%"'
    assert environment["TOKEN_FILE"] == "/run/secrets/TOKEN"
    assert host.check_output("docker exec demo cat /run/secrets/TOKEN") == 'given $HOME "token"'
    made = host.check_output("docker exec demo cat /run/secrets/PASSWORD")
    assert len(made) == 28
    for secret in ("given $HOME", made):
        assert secret not in json.dumps(demo)
        assert host.run("systemctl cat container-demo.service | grep -F '%s'", secret).failed
    directory = host.file("/etc/docker-containers")
    assert (directory.user, directory.mode) == ("root", 0o700)
    file = host.file("/etc/docker-containers/demo/TOKEN")
    assert (file.uid, file.mode) == (990, 0o400)


def test_made_secret_is_kept_on_the_controller(host):
    made = host.check_output("docker exec demo cat /run/secrets/PASSWORD")
    kept = EPHEMERAL / host.backend.get_hostname() / "container_demo_PASSWORD"
    assert kept.read_text() == made
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700


def test_login_is_for_root_alone(host):
    file = host.file("/root/.docker/config.json")
    assert (file.user, file.mode) == ("root", 0o600)
    assert len(json.loads(file.content_string)["auths"]) == 1


def test_what_a_person_wrote_is_kept(host):
    copies = host.check_output("ls /etc/docker/daemon.json.2*Z").split()
    assert len(copies) == 1
    assert json.loads(host.file(copies[0]).content_string) == {"debug": True, "icc": True}


def test_folder_was_made_for_the_user(host):
    folder = host.file("/srv/demo")
    assert (folder.uid, folder.gid, folder.mode) == (990, 990, 0o750)

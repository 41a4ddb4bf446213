"""The vendor's engine in the place of the distribution's."""


def test_the_engine_is_the_vendors(host):
    for name in ("docker-ce", "docker-ce-cli", "containerd.io"):
        assert host.package(name).is_installed, name
    for name in ("docker.io", "docker-cli", "containerd"):
        assert not host.package(name).is_installed, name
    assert host.service("docker.service").is_running


def test_the_repository_is_entered_once(host):
    assert not [name for name in host.file("/etc/apt/sources.list.d").listdir() if name.startswith("planted")]
    assert (
        host.run("grep -r -l '198.19.12.11' /etc/apt/sources.list.d").stdout
        == "/etc/apt/sources.list.d/docker.sources\n"
    )


def test_the_container_runs_on(host):
    assert (
        host.check_output("curl --silent --fail --retry 20 --retry-all-errors --retry-delay 1 http://127.0.0.1:8080/")
        == "demo 1"
    )
    assert host.service("container-demo.service").is_running

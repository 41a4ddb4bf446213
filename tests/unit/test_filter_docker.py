"""Settings good and bad, what a host said of itself, and the containers that follow from it."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("docker_filter", ROOT / "plugins/filter/docker.py")
assert spec and spec.loader
docker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(docker)

DIGEST = "sha256:" + "a" * 64
DEMO: dict[str, Any] = {"name": "demo", "image": f"registry.example/demo@{DIGEST}"}
SETTINGS: dict[str, Any] = {
    "source": "distribution",
    "repository_key_fingerprint": "9DC858229FC7DD38854AE2D88D81803C0EBFCD88",
    "users": [],
    "bridge_address": "172.29.0.1/24",
    "address_pool": "172.29.128.0/17",
    "log_max_size": "10m",
    "log_max_files": 3,
    "daemon_options": {},
    "registries": [],
}
# A key made for this test; gpg says its fingerprint.
KEY = """-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawFV5RYJKwYBBAHaRw8BAQdA5evBjMgWy+a0+A2XhzGYVdDiI2ibLHBhH3Sy
lILYhW20BHRlc3SIkAQTFggAOBYhBJI2FgUBmQn0SS1bCNAE7e/YeFl/BQJrAVXl
AhsDBQsJCAcCBhUKCQgLAgQWAgMBAh4BAheAAAoJENAE7e/YeFl/t5YBAJRoLzz7
l/L4tiXc+Dfj/D4xFtAyTH/0BIpLYEzEwgVjAP9qPDm6C448rq8wyzqHXoCC+FJx
+cicocXZFq/ax54vDg==
=0IPy
-----END PGP PUBLIC KEY BLOCK-----
"""
FINGERPRINT = "92361605019909F4492D5B08D004EDEFD878597F"


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def one(problems: list[str]) -> str:
    """The only sentence there is."""
    assert len(problems) == 1, problems
    assert problems[0][-1] in ".)"
    return problems[0]


# Settings of the engine


def test_defaults_are_fine() -> None:
    assert docker.docker_problems(SETTINGS) == []


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("users", ["Ann Other"], "docker_users has 'Ann Other'"),
        ("bridge_address", "172.29.0.1", "docker_bridge_address is '172.29.0.1'"),
        ("bridge_address", "172.29.0.0/24", "give an address of the bridge"),
        ("address_pool", "172.29.128.0/25", "give a network of length 24 or less"),
        ("address_pool", "172.16.0.0/12", "holds the bridge 172.29.0.1/24"),
        ("address_pool", "elsewhere", "docker_address_pool is 'elsewhere'"),
        ("log_max_size", "10 MB", "docker_log_max_size is '10 MB'"),
        ("log_max_files", 0, "docker_log_max_files is 0; give 1 to 100"),
        ("daemon_options", {"hosts": ["tcp://0.0.0.0:2375"]}, "whoever reaches that port would be root"),
        ("registries", [{"host": "https://registry.example"}], "without https://"),
        ("registries", [{"host": "registry.example", "username": "ann"}], "only one of username and password"),
        ("registries", [{"host": "registry.example", "ca_file": "/nowhere"}], "holds no certificate in PEM"),
        ("registries", [{"host": "registry.example"}] * 2, "names registry.example twice"),
    ],
)
def test_settings_that_cannot_work(setting: Any, value: Any, says: Any) -> None:
    assert says in one(docker.docker_problems({**SETTINGS, setting: value}))


def test_fingerprint_counts_for_the_vendor_only() -> None:
    wrong = {**SETTINGS, "repository_key_fingerprint": "9DC8"}
    assert docker.docker_problems(wrong) == []
    assert "give 40 hexadecimal digits" in one(docker.docker_problems({**wrong, "source": "vendor"}))


def test_fingerprint_of_a_key() -> None:
    assert docker.docker_fingerprints(KEY) == [FINGERPRINT]
    assert docker.docker_fingerprints("<html>Sorry</html>") == []
    assert docker.docker_fingerprints(KEY.replace(KEY.splitlines()[3], "?")) == []


# The engine on a host


def look(**parts: str) -> dict[str, str]:
    """What a host says that has nothing."""
    names = "engine packages directories members strangers enabled validates stale login_mode"
    return {**dict.fromkeys(names.split(), ""), "sysctl": "writable", **parts}


WANTED: dict[str, Any] = {
    "host": "server",
    "source": "distribution",
    "packages": ["docker.io"],
    "other_packages": ["docker-ce"],
    "directories": ["/etc/docker"],
    "settings": {"icc": False},
    "bridge_address": "172.29.0.1/24",
    "address_pool": "172.29.128.0/17",
    "users": [],
    "registries": [],
    "repository_url": "https://packages.example/debian",
    "fingerprint": FINGERPRINT,
    "sources": "Types: deb\n",
}
OURS = '{\n  "icc": false\n}\n'
FINISHED = look(
    engine="active",
    enabled="enabled",
    packages="docker.io",
    directories="/etc/docker",
    daemon=packed(OURS),
    daemon_note=packed(hashlib.sha256(OURS.encode()).hexdigest() + "  daemon.json\n"),
)


def test_bare_host_gets_everything() -> None:
    plan = docker.docker_engine(look(), WANTED)
    assert plan["differs"]
    assert plan["missing_packages"] == ["docker.io"]
    assert plan["daemon_wanted"] == OURS
    assert not plan["daemon_foreign"]
    assert not plan["restart"]
    assert plan["problems"] == []


def test_finished_host_gets_nothing() -> None:
    plan = docker.docker_engine(FINISHED, WANTED)
    assert not plan["differs"]
    assert plan["problems"] == []


def test_settings_of_somebody_else_are_named() -> None:
    theirs = {**FINISHED, "daemon": packed('{"icc": true, "debug": true}')}
    plan = docker.docker_engine(theirs, WANTED)
    assert plan["daemon_foreign"]
    assert plan["restart"]
    assert "Going: debug. Changing: icc (true to false)." in plan["daemon_changes"]


def test_our_own_former_settings_are_not_foreign() -> None:
    plan = docker.docker_engine(FINISHED, {**WANTED, "settings": {"icc": False, "debug": True}})
    assert plan["daemon_differs"]
    assert not plan["daemon_foreign"]


def test_a_run_that_was_cut_off_before_the_note() -> None:
    plan = docker.docker_engine({**FINISHED, "daemon_note": ""}, WANTED)
    assert plan["daemon_differs"]
    assert not plan["daemon_foreign"]
    assert not plan["restart"]


def test_an_engine_older_than_its_settings_is_restarted() -> None:
    assert docker.docker_engine({**FINISHED, "stale": "/etc/docker/daemon.json"}, WANTED)["restart"]


@pytest.mark.parametrize(
    ("parts", "wanted", "says"),
    [
        ({"daemon": packed("{")}, {}, "/etc/docker/daemon.json of server is not JSON"),
        ({"daemon": packed("[]")}, {}, "it holds no object"),
        ({"packages": "docker-ce"}, {}, "would be a downgrade"),
        ({"strangers": "ann"}, {}, "docker_users has ann, but server has no such account"),
        ({"routes": "default eth0\n172.29.0.0/16 eth0"}, {"address_pool": "10.9.0.0/16"}, "reaches by eth0"),
        ({"sysctl": ""}, {}, "server is itself a container"),
        (
            {"login": packed("?")},
            {"registries": [{"host": "r.example", "username": "ann", "password": "x"}]},
            "/root/.docker/config.json of server is not JSON",
        ),
    ],
)
def test_hosts_that_are_refused(parts: Any, wanted: Any, says: Any) -> None:
    parts = {**parts, "routes": parts.get("routes", "").removeprefix("default eth0\n")}
    assert says in one(docker.docker_engine({**FINISHED, **parts}, {**WANTED, **wanted})["problems"])


def test_people_join_and_leave() -> None:
    plan = docker.docker_engine({**FINISHED, "members": "bob,cat"}, {**WANTED, "users": ["ann", "cat"]})
    assert plan["users_change"] == "ann becomes a member of the group docker, and so root. bob leaves the group docker."


def test_login_is_added_to_those_that_are_there() -> None:
    theirs = json.dumps({"auths": {"other.example": {"auth": "x"}}, "psFormat": "y"})
    registries = [{"host": "r.example", "username": "ann", "password": "secret"}]
    plan = docker.docker_engine({**FINISHED, "login": packed(theirs)}, {**WANTED, "registries": registries})
    assert plan["login_differs"]
    written = json.loads(plan["login_wanted"])
    assert written["auths"] == {"other.example": {"auth": "x"}, "r.example": {"auth": packed("ann:secret")}}
    assert written["psFormat"] == "y"
    again = {**FINISHED, "login": packed(plan["login_wanted"]), "login_mode": "600 0 0"}
    assert not docker.docker_engine(again, {**WANTED, "registries": registries})["differs"]
    open_to_all = {**again, "login_mode": "644 0 0"}
    assert docker.docker_engine(open_to_all, {**WANTED, "registries": registries})["login_differs"]


def test_ca_that_is_another_one(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text("-----BEGIN CERTIFICATE-----")
    wanted = {**WANTED, "registries": [{"host": "r.example:5000", "ca_file": str(file)}]}
    there = f"{hashlib.sha256(file.read_bytes()).hexdigest()}  /etc/docker/certs.d/r.example:5000/ca.crt"
    assert docker.docker_engine(FINISHED, wanted)["other_cas"] == wanted["registries"]
    assert docker.docker_engine({**FINISHED, "cas": there}, wanted)["other_cas"] == []


def test_other_spellings_of_the_repository_go() -> None:
    files = {
        "/etc/apt/sources.list": "deb https://deb.example trixie main\ndeb https://packages.example/debian trixie stable\n",
        "/etc/apt/sources.list.d/docker.list": "# mine\ndeb [arch=amd64] https://packages.example/debian trixie stable\n",
        "/etc/apt/sources.list.d/two.sources": (
            "Types: deb\nURIs: https://deb.example\n\nTypes: deb\nURIs: https://packages.example/debian/\n"
        ),
        "/etc/apt/sources.list.d/off.list": "# deb https://packages.example/debian trixie stable\n",
    }
    found = "\n".join(f"{path} {packed(text)}" for path, text in files.items())
    plan = docker.docker_engine({**FINISHED, "sources_files": found}, {**WANTED, "source": "vendor"})
    assert plan["repository_differs"]
    assert {other["path"]: other["content"] for other in plan["other_sources"]} == {
        "/etc/apt/sources.list": "deb https://deb.example trixie main\n",
        "/etc/apt/sources.list.d/docker.list": "",
        "/etc/apt/sources.list.d/two.sources": "Types: deb\nURIs: https://deb.example\n",
    }


def test_repository_that_is_there() -> None:
    there = {**FINISHED, "key": packed(KEY), "repository": packed("Types: deb\n")}
    assert not docker.docker_engine(there, {**WANTED, "source": "vendor"})["differs"]


# Containers


@pytest.mark.parametrize(
    ("reference", "handed", "local"),
    [
        ("mongo", "mongo:latest", False),
        ("docker.io/library/mongo:8.0", "docker.io/library/mongo:8.0", False),
        (f"r.example:5000/a/b:1@{DIGEST}", f"r.example:5000/a/b@{DIGEST}", False),
        ("localhost/made:1", "localhost/made:1", True),
    ],
)
def test_references(reference: Any, handed: Any, local: Any) -> None:
    image = docker.docker_image(reference)
    assert (image["reference"], image["local"]) == (handed, local)


@pytest.mark.parametrize(
    "reference", ["", "UPPER", "a b", "-a", "r.example/x@sha256:12", "r.example/x:", "https://r.example/x"]
)
def test_references_that_are_none(reference: Any) -> None:
    assert docker.docker_image(reference) == {}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "Demo"}, "A container is called 'Demo'"),
        ({"name": "x-former"}, "not -former at the end"),
        ({"imgae": "x"}, "has imgae, which means nothing"),
        ({"state": "stopped"}, "state is 'stopped'; give present or absent"),
        ({"image": ""}, "has no image"),
        ({"image": "r.example/demo:1"}, "names no digest"),
        ({"ports": [{"container": 80, "host": 70000}]}, "a port has host 70000"),
        ({"ports": [{"container": 80, "host": 80, "address": "everywhere"}]}, "a port has the address 'everywhere'"),
        ({"volumes": [{"source": "../x", "target": "/x"}]}, "cannot be mounted"),
        ({"volumes": [{"source": "/", "target": "/host"}]}, "is never mounted"),
        ({"volumes": [{"source": "/var/run/docker.sock", "target": "/s"}]}, "is never mounted"),
        ({"user": "jovyan"}, "give numbers as uid:gid"),
        ({"secrets": {"X": ""}}, "has secrets but no user"),
        ({"secrets": {"X": "a\nb"}, "user": "1:1"}, "more than one line"),
        ({"secrets": {"X": ""}, "user": "1:1", "environment": {"X_FILE": "y"}}, "which secrets gives too"),
        ({"environment": {"a-b": "c"}}, "is no name of an environment variable"),
        ({"memory": "much"}, "memory is 'much'"),
        ({"capabilities": ["CAP_CHOWN"]}, "without CAP_"),
        ({"capabilities": ["ALL"]}, "open the host"),
        ({"network": "host"}, "network is host"),
        ({"healthcheck": {"interval_s": 5}}, "healthcheck has no command"),
        ({"healthcheck": {"command": ["true"], "retries": 0}}, "healthcheck has retries 0"),
        ({"stop_timeout_s": 0}, "stop_timeout_s is 0"),
    ],
)
def test_containers_that_cannot_be(changes: Any, says: Any) -> None:
    assert says in one(docker.docker_container_problems({**DEMO, **changes}, True))


def test_containers_in_each_others_way() -> None:
    port = {"ports": [{"container": 80, "host": 8080}]}
    everywhere = {"ports": [{"container": 80, "host": 8080, "address": "0.0.0.0"}]}
    assert "Two containers are called demo" in one(docker.docker_containers_problems([DEMO, DEMO]))
    both = [{**DEMO, **port}, {**DEMO, "name": "other", **everywhere}]
    assert "both want port 8080" in one(docker.docker_containers_problems(both))
    udp = {"ports": [{"container": 80, "host": 8080, "protocol": "udp"}]}
    assert docker.docker_containers_problems([{**DEMO, **port}, {**DEMO, "name": "other", **udp}]) == []


def test_arguments_hold_the_limits_and_no_secret() -> None:
    container = {
        **DEMO,
        "user": "990:100",
        "ports": [{"container": 8888, "host": 443, "address": "::"}],
        "volumes": [{"source": "/srv/x", "target": "/x", "read_only": True}, {"source": "data", "target": "/data"}],
        "secrets": {"PASSWORD": "hidden"},
        "entrypoint": ["sh", "-c"],
        "command": ["true"],
        "healthcheck": {"command": ["test", "-e", "a b"]},
    }
    made = docker.create_arguments(docker.whole(container))
    assert {"--cap-drop=ALL", "--security-opt=no-new-privileges", "--restart=no", "--pull=never"} <= set(made)
    assert "--publish=[::]:443:8888/tcp" in made
    assert "--mount=type=bind,source=/srv/x,target=/x,readonly" in made
    assert "--mount=type=volume,source=data,target=/data" in made
    assert "--env=PASSWORD_FILE=/run/secrets/PASSWORD" in made
    assert "--health-cmd=test -e 'a b'" in made
    assert made[-4:] == ["--entrypoint=sh", f"registry.example/demo@{DIGEST}", "-c", "true"]
    assert "hidden" not in " ".join(made)


def seen(container: dict[str, Any], **parts: str) -> dict[str, str]:
    """What a host says on which the container runs as it is to be."""
    bare = look(engine="active", images=f"{docker.docker_image(container['image'])['reference']} sha256:1")
    label = docker.docker_container_plan(container, bare, [])["arguments"][0].partition("=")[2].partition("=")
    there = {
        "Name": f"/{container['name']}",
        "Image": "sha256:1",
        "Config": {"Labels": {label[0]: label[2]}},
        "State": {"Running": True, "Health": {"Status": "healthy"}},
        "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}},
    }
    return {
        **bare,
        "containers": json.dumps([there]),
        "units": f"container-{container['name']}.service loaded active enabled no",
        "unit_files": f"{container['name']} {packed('unit')}",
        **parts,
    }


def test_a_container_that_is_as_it_is_to_be() -> None:
    plan = docker.docker_container_plan(DEMO, seen(DEMO), [], "unit\n")
    assert not plan["differs"]
    assert plan["reasons"] == []


@pytest.mark.parametrize(
    ("changes", "parts", "key", "value"),
    [
        ({"memory": "1g"}, {}, "reasons", ["its settings are other ones"]),
        ({"restart_on": "x"}, {}, "reasons", ["its settings are other ones"]),
        ({}, {"images": f"registry.example/demo@{DIGEST} sha256:2"}, "reasons", ["its image is another one"]),
        ({}, {"containers": "[]"}, "reasons", ["it is not there"]),
        ({}, {"newer_secrets": "demo"}, "reasons", ["a secret of it is newer"]),
        ({}, {"unit_files": ""}, "unit_differs", True),
        ({}, {"units": "container-demo.service loaded failed enabled no"}, "start", True),
        ({}, {"units": "container-demo.service loaded active enabled yes"}, "start", True),
        ({}, {"images": ""}, "pull", True),
        ({"network": "mine"}, {"networks": "bridge"}, "network_missing", True),
        (
            {"volumes": [{"source": "/srv/x", "target": "/x"}]},
            {"sources": "/srv/x missing /srv/x"},
            "missing_folders",
            ["/srv/x"],
        ),
    ],
)
def test_what_differs(changes: Any, parts: Any, key: Any, value: Any) -> None:
    plan = docker.docker_container_plan({**DEMO, **changes}, seen(DEMO, **parts), [], "unit")
    assert plan[key] == value


def test_a_container_that_is_to_go() -> None:
    gone = {"name": "demo", "state": "absent"}
    assert docker.docker_container_plan(gone, seen(DEMO), [])["differs"]
    assert docker.docker_container_plan(gone, look(engine="active", secret_dirs="demo"), [])["differs"]
    assert not docker.docker_container_plan(gone, look(engine="active"), [])["differs"]


@pytest.mark.parametrize(
    ("container", "parts", "says"),
    [
        (
            {**DEMO, "name": "other", "ports": [{"container": 80, "host": 8080}]},
            {},
            "port 8080 of the host is taken by the container demo",
        ),
        (
            {**DEMO, "ports": [{"container": 80, "host": 80}]},
            {"listeners": 'tcp LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=7,fd=6))'},
            "port 80 of the host is taken by nginx (process 7)",
        ),
        (
            {**DEMO, "volumes": [{"source": "/srv/link", "target": "/x"}]},
            {"sources": "/srv/link there /home/ann/x", "homes": "ann /home/ann"},
            "the home of ann, who logs in on this host",
        ),
        ({**DEMO, "image": "localhost/made:1"}, {}, "the image localhost/made:1 is not on this host"),
    ],
)
def test_what_is_in_the_way_on_the_host(container: Any, parts: Any, says: Any) -> None:
    assert says in one(docker.docker_container_plan(container, seen(DEMO, **parts), [])["problems"])
    # Containers of one list give way to each other; what else is there does not.
    listed = docker.docker_host_problems([container, DEMO], seen(DEMO, **parts))
    assert listed == ([] if "by the container" in says else [one(listed)])


def test_a_container_of_somebody_else_is_not_touched() -> None:
    theirs = [{**json.loads(seen(DEMO)["containers"])[0], "Config": {"Labels": None}}]
    plan = docker.docker_container_plan(DEMO, seen(DEMO, containers=json.dumps(theirs)), [])
    assert "that somebody else made" in one(plan["problems"])


def test_secrets_are_kept_given_or_yet_to_be_made(tmp_path: Path) -> None:
    (tmp_path / "container_demo_KEPT").write_text("kept")
    (tmp_path / "container_demo_CHANGED").write_text("old")
    container = {**DEMO, "user": "990:100", "secrets": {"KEPT": "", "CHANGED": "new", "MADE": ""}}
    secrets = {secret["name"]: secret for secret in docker.docker_secrets(container, str(tmp_path))}
    assert [secrets[name]["write"] for name in ("KEPT", "CHANGED", "MADE")] == [False, True, True]
    assert [secrets[name]["value"] for name in ("KEPT", "CHANGED")] == ["kept", "new"]
    assert secrets["KEPT"]["path"] == "/etc/docker-containers/demo/KEPT"
    sha = hashlib.sha256(b"kept").hexdigest()
    for there, wrong in ((f"400 990 100 {sha}", []), (f"444 990 100 {sha}", ["KEPT"]), ("", ["KEPT"])):
        state = {"secrets": f"{there} /etc/docker-containers/demo/KEPT" if there else ""}
        assert docker.wrong_secrets(state, [secrets["KEPT"]]) == wrong


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("x509: certificate signed by unknown authority", "give its ca_file in docker_registries"),
        ("x509: certificate is valid for a.example, but wanted to match r.example", "is not for that name"),
        ("no basic auth credentials", "wants a login"),
        ("manifest unknown: manifest unknown", "does not have it"),
        ("write /var/lib/docker/x: no space left on device", "The disk of the server is full"),
        ("dial tcp 192.0.2.1:443: connect: connection refused", "cannot be reached from the server"),
        ("something new", "Docker refused (something new)"),
        ("", "Docker refused (it said nothing)"),
    ],
)
def test_pulls_that_fail(said: Any, says: Any) -> None:
    assert says in docker.docker_pull_trouble(said, "r.example/demo:1")

"""The notebook image as a browser finds it, and what stays when it is made anew."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.notebook_server import Server
from tests.played import Run, play

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
CA = EPHEMERAL / "ca/ca.crt"
WORK = "/srv/notebooks-container/work"
HELD: dict[str, Any] = json.loads((EPHEMERAL / "registry.json").read_text())
BY_TAG = {"notebook_container_digest": ""}
BASE = f"{HELD['image'].rpartition(':')[0]}@{HELD['digest']}"
NEWER = {f"notebook_container_{key}": value for key, value in HELD["newer"].items()}


@pytest.fixture(scope="module")
def server(host: Any) -> Server:
    """The server under test."""
    variables = host.ansible.get_variables()
    return Server(variables["inventory_hostname"], variables["ansible_host"], EPHEMERAL)


@pytest.fixture(scope="module")
def session(server: Server) -> requests.Session:
    """A session that is logged in."""
    return server.entered()


@pytest.fixture(scope="module")
def apply(server: Server) -> Callable[..., Run]:
    """Apply the role again, with other settings; they go by a file, as anything on a command line is seen."""

    def run(settings: dict[str, Any], *arguments: str) -> Run:
        file = EPHEMERAL / "settings.json"
        file.write_text(json.dumps(settings))
        return play(SCENARIO, "--limit", server.name, "-e", f"@{file}", *arguments, str(SCENARIO / "converge.yml"))

    return run


def inspect(host: Any) -> dict[str, Any]:
    """What the engine says of the container."""
    found: list[dict[str, Any]] = json.loads(host.check_output("docker container inspect notebook"))
    return found[0]


def test_runs_with_the_user_s_number_and_no_further_rights(host: Any) -> None:
    found = inspect(host)
    limits = found["HostConfig"]
    assert found["Config"]["User"] == f"{host.user('jupyter').uid}:100"
    assert (limits["CapDrop"], limits["CapAdd"] or []) == (["ALL"], [])
    assert limits["SecurityOpt"] == ["no-new-privileges"]
    assert (limits["Memory"], limits["PidsLimit"], limits["Privileged"]) == (2**30, 4096, False)
    assert found["State"]["Health"]["Status"] == "healthy"
    assert {mount["Destination"]: mount["RW"] for mount in found["Mounts"]} == {
        "/home/jovyan": True,
        "/home/jovyan/work": True,
        "/etc/jupyter-server": False,
        "/etc/notebook-container": False,
        "/run/probe": False,
        "/srv/samples": False,
    }
    for line in host.check_output("docker container top notebook -eo uid,pid").splitlines()[1:]:
        uid, pid = line.split()
        status = host.file(f"/proc/{pid}/status").content_string
        assert int(uid) == host.user("jupyter").uid, line
        assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE) and re.search(
            r"^NoNewPrivs:\s+1$", status, re.MULTILINE
        )


def test_private_files_are_root_s_and_the_group_s(host: Any) -> None:
    for path, mode in [
        ("/etc/jupyter-server", 0o750),
        ("/etc/jupyter-server/tls.key", 0o640),
        ("/etc/jupyter-server/password_hash", 0o640),
        ("/etc/notebook-container", 0o750),
        ("/etc/notebook-container/jupyter_server_config.py", 0o640),
        ("/srv/notebooks-container", 0o750),
    ]:
        file = host.file(path)
        assert (file.mode, file.user, file.group) == (mode, "root", "jupyter"), path


def test_no_secret_is_in_what_the_engine_shows(host: Any, server: Server) -> None:
    shown = host.check_output(
        "docker container inspect notebook; docker image inspect $(docker image ls -q); docker logs notebook 2>&1"
    )
    digest = host.file("/etc/jupyter-server/password_hash").content_string.strip()
    assert server.password not in shown and digest not in shown and "argon2" not in shown


def test_the_image_stays_as_it_was_but_for_packages_and_number(host: Any) -> None:
    reference = inspect(host)["Config"]["Image"]
    before, after = json.loads(host.check_output(f"docker image inspect {BASE} {reference}"))
    for key in ("User", "Entrypoint", "Cmd", "Env", "WorkingDir", "ExposedPorts", "Healthcheck"):
        assert after["Config"][key] == before["Config"][key], key
    assert host.check_output("docker container ls --all --format '{{.Names}}'") == "notebook"


def test_serves_tls_of_the_private_ca_only(server: Server) -> None:
    context = ssl.create_default_context(cafile=str(CA))
    with socket.create_connection((server.address, 443), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=server.address) as tls:
            assert tls.version() == "TLSv1.3"
    with pytest.raises(requests.ConnectionError):
        server.browser().get(f"http://{server.address}:443/", timeout=10)
    answer = server.browser().get(f"{server.url}/", allow_redirects=False, timeout=20)
    assert answer.headers["Strict-Transport-Security"] == "max-age=63072000"


def test_the_password_opens_and_nothing_else_does(server: Server) -> None:
    for wrong in ("", server.password + "x"):
        assert server.login(wrong)[1].status_code == 401
    # "open-sesame" is what the settings planted in the home would allow.
    for token in ("", "open-sesame"):
        answer = server.browser().get(f"{server.url}/api/contents", params={"token": token}, timeout=20)
        assert answer.status_code == 403
    session, answer = server.login(server.password)
    assert answer.status_code == 302
    assert session.get(f"{server.url}/lab", timeout=20).status_code == 200


def test_a_kernel_computes_within_its_bounds(host: Any, server: Server, session: requests.Session) -> None:
    code = """
import getpass, json, os, pathlib, pymysql, socket
def writable(path):
    try:
        pathlib.Path(path).touch()
    except OSError:
        return False
    pathlib.Path(path).unlink()
    return True
client = socket.socket(socket.AF_UNIX)
client.connect("/run/probe/socket")
pathlib.Path("/home/jovyan/work/made.txt").write_text("kept")
print(json.dumps({
    "user": getpass.getuser(), "given": os.environ["GIVEN"], "openssl": os.environ.get("OPENSSL_CONF"),
    "seen_as": client.recv(99).decode(),
    "writable": [
        p for p in ("/home/jovyan/work/x", "/home/jovyan/x", "/tmp/x", "/opt/conda/x", "/etc/x", "/run/probe/x",
                    "/etc/jupyter-server/x", "/etc/notebook-container/x") if writable(p)
    ],
    "engine": [p for p in ("/run/docker.sock", "/var/run/docker.sock") if os.path.exists(p)],
}))
"""
    assert server.compute(session, "python3", code) == {
        "user": "jovyan",
        "given": 'say "100%" \\o/',
        "openssl": None,
        "seen_as": "jupyter",
        "writable": ["/home/jovyan/work/x", "/home/jovyan/x", "/tmp/x", "/opt/conda/x"],
        "engine": [],
    }
    file = host.file(f"{WORK}/made.txt")
    assert (file.content_string, file.user, file.mode) == ("kept", "jupyter", 0o600)


def test_a_failed_pull_and_a_failed_package_leave_the_old_one_running(
    host: Any, server: Server, apply: Callable[..., Run]
) -> None:
    before = inspect(host)["Id"]
    dead = "127.0.0.1:9/jupyter/datascience-notebook:2026-07-28"
    run = apply({"notebook_container_image": dead, **BY_TAG, "notebook_container_require_digest": False})
    assert run.code != 0
    assert f"The notebook image {dead} cannot be had for {server.name}: 127.0.0.1:9 cannot be reached" in run.words
    assert "The container runs on as before." in run.words
    run = apply({"notebook_container_packages": ["no-such-package"]})
    assert run.code != 0
    assert f"The packages could not be installed into the notebook image of {server.name}: " in run.words
    assert "no-such-package" in run.words and "The container runs on as before." in run.words
    assert inspect(host)["Id"] == before
    assert host.check_output("docker container ls --all --format '{{.Names}}'") == "notebook"
    assert server.browser().get(f"{server.url}/api", timeout=20).status_code == 200


def test_bad_input_is_refused_with_a_sentence(host: Any, apply: Callable[..., Run]) -> None:
    before = inspect(host)["Id"]
    run = apply(
        {
            "notebook_container_sockets": ["/var/run/"],
            "notebook_container_require_digest": True,
            "notebook_container_image": "a/b:1",
            **BY_TAG,
        }
    )
    assert run.code != 0
    assert "notebook_container_sockets names /var/run/, which is or holds a socket of the container engine" in run.words
    assert "notebook_container_digest is empty, and images without one are refused; give that of a/b:1" in run.words
    host.check_output("chown 4711 %s", WORK)
    run = apply({"notebook_container_sockets": ["/run/nothing"]})
    host.check_output("chown jupyter %s", WORK)
    assert run.code != 0
    assert f"{WORK} belongs to the account 4711, and the container runs as" in run.words
    assert "There is no directory /run/nothing on this host; apply the role of that database first" in run.words
    assert inspect(host)["Id"] == before


def test_an_upgrade_keeps_notebooks_settings_and_logins(
    host: Any, server: Server, session: requests.Session, apply: Callable[..., Run]
) -> None:
    note = {"type": "file", "format": "text", "content": "kept\n"}
    assert session.put(f"{server.url}/api/contents/note.txt", json=note, timeout=20).status_code == 201
    theme = f"{server.url}/lab/api/settings/@jupyterlab/apputils-extension:themes"
    raw = json.dumps({"theme": "JupyterLab Dark"})
    assert session.put(theme, json={"raw": raw}, timeout=20).status_code == 204
    before = inspect(host)
    upgrade = {**NEWER, "notebook_container_pids": 2048}
    run = apply(upgrade)
    assert run.code == 0, run.output
    after = inspect(host)
    assert after["Image"] != before["Image"] and after["HostConfig"]["PidsLimit"] == 2048
    # The same browser, still logged in.
    assert session.get(f"{server.url}/api/contents/note.txt", timeout=20).json()["content"] == "kept\n"
    assert session.get(theme, timeout=20).json()["raw"] == raw
    assert server.compute(
        session, "python3", "import json, pymysql; print(json.dumps({'made': open('work/made.txt').read()}))"
    ) == {"made": "kept"}
    # The former image is gone, and what it was made from.
    images = json.loads(host.check_output("docker image inspect $(docker image ls --quiet --no-trunc)"))
    assert {image["Id"] for image in images if not image["RepoDigests"]} == {after["Image"]}
    assert [digest for image in images for digest in image["RepoDigests"]] == [
        f"{BASE.partition('@')[0]}@{HELD['newer']['digest']}"
    ]


def test_a_new_password_reaches_the_container(server: Server, apply: Callable[..., Run]) -> None:
    old, password = server.password, f"{uuid.uuid4()} '\"%{{"
    settings = {**NEWER, "jupyter_tls_password": password}
    run = apply(settings, "-vvv")
    assert run.code == 0, run.output
    for secret in (password, json.dumps(password)[1:-1], old, "argon2id"):
        assert secret not in run.output
    assert server.login(old)[1].status_code == 401
    assert server.login(password)[1].status_code == 302
    again = apply(settings)
    assert (again.code, again.changed) == (0, 0), again.output


def test_comes_back_after_a_reboot(server: Server) -> None:
    # The socket of the test is gone with the reboot, as those of databases are until they have started.
    name = f"molecule-notebook_container-{server.name}"
    subprocess.run(["docker", "restart", name], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["docker", "exec", name, "sh", "-c", "sleep 3; mkdir -p /run/probe"], check=True)
    end = time.monotonic() + 90
    while True:
        try:
            assert server.login(server.password)[1].status_code == 302
            return
        except requests.ConnectionError:
            assert time.monotonic() < end, "no answer in 90 seconds"
            time.sleep(1)

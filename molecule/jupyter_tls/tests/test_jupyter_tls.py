"""JupyterLab as a browser finds it, and as it behaves when something of it changes."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.notebook_server import Server
from tests.played import Run, play

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SCENARIO = Path(__file__).parents[1]
CA = EPHEMERAL / "ca/ca.crt"
KERNEL = "/usr/local/share/jupyter/kernels/probe"


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
    """Apply the role again, with other settings; secrets go by environment, as anything on a command line is seen."""

    def run(*arguments: str) -> Run:
        return play(SCENARIO, "--limit", server.name, *arguments, str(SCENARIO / "converge.yml"))

    return run


def shake(server: Server, name: str, context: ssl.SSLContext) -> dict[str, Any]:
    """Shake hands by TLS under a name, and return what was agreed and with whom."""
    with socket.create_connection((server.address, 443), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=name) as tls:
            der = tls.getpeercert(binary_form=True)
            assert der
            return {
                "version": tls.version(),
                "cipher": tls.cipher(),
                "certificate": x509.load_der_x509_certificate(der),
            }


def trusting() -> ssl.SSLContext:
    """A client that trusts the private CA alone."""
    return ssl.create_default_context(cafile=str(CA))


def old_client(version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    """A client that speaks nothing newer, and would accept anything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(ciphers)
    context.minimum_version = context.maximum_version = version
    return context


def started(host: Any) -> str:
    """When the server was started last."""
    return str(host.check_output("systemctl show --property=ExecMainStartTimestampMonotonic --value jupyter"))


@pytest.fixture
def kernel(host: Any) -> Iterator[None]:
    """A declared kernel. It borrows the Python of the server's environment; real ones come from another role."""
    spec = json.dumps(
        {
            "argv": ["/opt/jupyter/bin/python", "-m", "ipykernel", "-f", "{connection_file}"],
            "display_name": "Probe",
            "language": "python",
        }
    )
    host.check_output("install -d -m 0755 %s && printf %%s %s >%s/kernel.json", KERNEL, spec, KERNEL)
    yield
    host.check_output("rm -r %s", KERNEL)


def test_runs_as_the_user_without_further_rights(host: Any) -> None:
    pid = host.check_output("systemctl show --property=MainPID --value jupyter")
    status = dict(line.split(":", 1) for line in host.file(f"/proc/{pid}/status").content_string.splitlines())
    assert set(status["Uid"].split()) == {str(host.user("jupyter").uid)}
    assert status["NoNewPrivs"].strip() == "1"
    assert int(status["CapBnd"], 16) == 1 << 10, "more than the right to bind a low port"


def test_listens_on_its_own_port_only(host: Any) -> None:
    listening = host.check_output("ss --listening --tcp --numeric --processes --no-header").splitlines()
    assert [line.split()[3] for line in listening if "jupyter" in line] == ["0.0.0.0:443"]


def test_unit_is_hardened_and_enabled(host: Any) -> None:
    assert host.service("jupyter").is_enabled
    exposure = host.check_output("systemd-analyze security --no-pager jupyter.service").splitlines()[-1]
    assert float(exposure.split(":")[1].split()[0]) < 2.0, exposure


def test_private_files_are_root_s_and_the_group_s(host: Any) -> None:
    directory = host.file("/etc/jupyter-server")
    assert (directory.mode, directory.user, directory.group) == (0o750, "root", "jupyter")
    for name in ("tls.key", "password_hash", "jupyter_server_config.py"):
        file = host.file(f"/etc/jupyter-server/{name}")
        assert (file.mode, file.user, file.group) == (0o640, "root", "jupyter"), name
    assert host.file("/etc/jupyter-server/password_hash").content_string.startswith("argon2:$argon2id$")


def test_secrets_on_the_controller_are_its_user_s_alone(server: Server) -> None:
    for path, mode in [
        (EPHEMERAL / server.name, 0o700),
        (EPHEMERAL / server.name / "jupyter_password", 0o600),
        (CA.with_name("ca.key"), 0o600),
    ]:
        assert path.stat().st_mode & 0o777 == mode, path
    assert len(server.password) >= 24


def test_neither_the_key_of_the_ca_nor_the_password_is_on_the_host(host: Any, server: Server) -> None:
    # sudo notes the commands of this very test in the journal, so its lines do not count.
    journal = [line for line in host.check_output("journalctl --no-pager").splitlines() if " sudo[" not in line]
    for secret in (CA.with_name("ca.key").read_text().splitlines()[1], server.password):
        search = host.run("grep -rlF --exclude-dir=journal -e %s /etc /home /opt /root /srv /tmp /var", secret)
        assert (search.rc, search.stdout) == (1, "")
        assert not [line for line in journal if secret in line]


def test_certificate_is_for_these_addresses_and_signed_by_the_ca(server: Server) -> None:
    for name in (server.address, f"{server.name}.example"):
        agreed = shake(server, name, trusting())
    assert agreed["version"] == "TLSv1.3"
    certificate, ca = agreed["certificate"], x509.load_pem_x509_certificate(CA.read_bytes())
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert certificate.public_key().curve.name == "secp256r1"
    assert timedelta(days=396) < certificate.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=397)
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and constraints.value.ca and constraints.value.path_length == 0


def test_certificate_is_refused_under_another_name(server: Server) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(server, "localhost", trusting())


def test_old_tls_is_refused(server: Server) -> None:
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        shake(server, server.address, old_client(ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"))


def test_old_ciphers_are_refused(server: Server) -> None:
    assert shake(server, server.address, old_client(ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM"))["version"] == "TLSv1.2"
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        shake(
            server, server.address, old_client(ssl.TLSVersion.TLSv1_2, "AES256-SHA:ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0")
        )


def test_plain_http_is_not_served(server: Server) -> None:
    connection = http.client.HTTPConnection(server.address, 443, timeout=10)
    connection.request("GET", "/")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        connection.getresponse()
    for port in (80, 8888):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.address, port), timeout=10)


@pytest.mark.parametrize("path", ["/", "/login", "/static/favicon.ico", "/api"])
def test_browsers_are_told_to_stay_with_tls(server: Server, path: str) -> None:
    answer = server.browser().get(server.url + path, allow_redirects=False, timeout=20)
    assert answer.headers["Strict-Transport-Security"] == "max-age=63072000"


def test_the_password_opens_and_nothing_else_does(server: Server) -> None:
    for wrong in ("", "wrong", server.password + "x"):
        session, answer = server.login(wrong)
        assert answer.status_code == 401, wrong
        assert session.get(f"{server.url}/api/contents", timeout=20).status_code == 403
    session, answer = server.login(server.password)
    assert answer.status_code == 302
    assert session.get(f"{server.url}/api/contents", timeout=20).status_code == 200
    assert session.get(f"{server.url}/lab", timeout=20).status_code == 200


def test_no_token_opens(server: Server) -> None:
    # "open-sesame" is what the settings planted in the home would allow.
    for token in ("", "open-sesame"):
        answer = server.browser().get(f"{server.url}/api/contents", params={"token": token}, timeout=20)
        assert answer.status_code == 403
        answer = server.browser().get(
            f"{server.url}/api/contents", headers={"Authorization": f"token {token}"}, timeout=20
        )
        assert answer.status_code == 403


@pytest.mark.parametrize(
    "path", ["/terminals/websocket/1", "/lsp/ws/pylsp", "/api/events/subscribe", "/metrics", "/api/kernels", "/files/"]
)
def test_strangers_see_nothing(server: Server, path: str) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    answer = server.browser().get(server.url + path, headers=upgrade, allow_redirects=False, timeout=20)
    assert answer.status_code == 403 or answer.headers.get("Location", "").startswith("/login"), answer.status_code


def test_only_declared_kernels_show(host: Any, server: Server, session: requests.Session, kernel: None) -> None:
    declared = set(host.file(str(Path(KERNEL).parent)).listdir())
    assert "probe" in declared
    assert set(session.get(f"{server.url}/api/kernelspecs", timeout=20).json()["kernelspecs"]) == declared


def test_a_kernel_computes_within_its_bounds(server: Server, session: requests.Session, kernel: None) -> None:
    code = """
import getpass, json, os, pathlib, psutil, ssl, sys
def writable(path):
    try:
        pathlib.Path(path).touch()
    except OSError:
        return False
    pathlib.Path(path).unlink()
    return True
os.sched_setaffinity(0, os.sched_getaffinity(0))
print(json.dumps({
    "sum": sum(range(101)), "user": getpass.getuser(), "cwd": os.getcwd(), "memory": psutil.virtual_memory().total > 0,
    "writable": [
        p for p in ("/srv/notebooks/x", "/var/lib/jupyter/x", "/tmp/x", "/opt/x", "/usr/local/share/jupyter/kernels/x")
        if writable(p)
    ],
    "openssl": os.environ.get("OPENSSL_CONF"), "given": os.environ["GIVEN"], "network": len(psutil.net_if_addrs()) > 0,
    "pip": os.path.exists("/root/."), "mapped": bool(__import__("mmap").mmap(-1, 4096, prot=7)),
}))
"""
    assert server.compute(session, "probe", code) == {
        "sum": 5050,
        "user": "jupyter",
        "cwd": "/srv/notebooks",
        "memory": True,
        "writable": ["/srv/notebooks/x", "/var/lib/jupyter/x", "/tmp/x"],
        "openssl": None,
        "given": 'say "100%" \\o/',
        "network": True,
        "pip": False,
        "mapped": True,
    }


def test_files_are_kept_and_a_terminal_opens(host: Any, server: Server, session: requests.Session) -> None:
    url = f"{server.url}/api/contents/note.txt"
    body = {"type": "file", "format": "text", "content": "kept\n"}
    assert session.put(url, json=body, timeout=20).status_code == 201
    file = host.file("/srv/notebooks/note.txt")
    assert (file.content_string, file.user, file.mode) == ("kept\n", "jupyter", 0o600)
    assert session.delete(url, timeout=20).status_code == 204
    terminal = session.post(f"{server.url}/api/terminals", json={}, timeout=20)
    assert terminal.status_code == 200
    assert session.delete(f"{server.url}/api/terminals/{terminal.json()['name']}", timeout=20).status_code == 204


def test_a_password_cannot_be_changed_from_the_browser(server: Server) -> None:
    session = server.browser()
    session.get(f"{server.url}/login", timeout=20)
    form = {"password": server.password, "new_password": "another-password", "_xsrf": session.cookies["_xsrf"]}
    session.post(f"{server.url}/login", data=form, timeout=20)
    assert server.login("another-password")[1].status_code == 401
    assert server.login(server.password)[1].status_code == 302


def test_a_run_that_was_cut_off_is_finished_by_the_next(host: Any, apply: Callable[..., Run]) -> None:
    before = started(host)
    host.check_output("touch /etc/jupyter-server/jupyter_server_config.py")
    run = apply()
    assert run.code == 0, run.output
    assert "Newer than the running server: /etc/jupyter-server/jupyter_server_config.py." in run.output
    assert started(host) != before


def test_a_server_that_was_stopped_and_disabled_is_started(
    host: Any, server: Server, apply: Callable[..., Run]
) -> None:
    host.check_output("systemctl disable --now jupyter")
    assert apply().code == 0
    assert host.service("jupyter").is_enabled
    assert server.browser().get(f"{server.url}/api", timeout=20).status_code == 200


@pytest.mark.one_system
def test_new_addresses_and_a_new_password_take_effect_once(
    server: Server, apply: Callable[..., Run], tmp_path: Path
) -> None:
    old_password, old = server.password, shake(server, server.address, trusting())["certificate"]
    name, password = f"n{time.time_ns()}.example", f"{uuid.uuid4()} '\"%{{"
    settings = tmp_path / "settings.json"
    settings.write_text(
        json.dumps(
            {
                "jupyter_tls_addresses": [server.address, f"{server.name}.example", name],
                "jupyter_tls_password": password,
            }
        )
    )
    run = apply("-vvv", "-e", f"@{settings}")
    assert run.code == 0, run.output
    assert "and shall be for" in run.output
    for secret in (password, json.dumps(password)[1:-1], old_password, "argon2id"):
        assert secret not in run.output
    new = shake(server, name, trusting())["certificate"]
    assert new.serial_number != old.serial_number
    assert new.public_key() == old.public_key()
    assert server.password == password
    assert server.login(old_password)[1].status_code == 401
    assert server.login(password)[1].status_code == 302
    again = apply("-e", f"@{settings}")
    assert (again.code, again.changed) == (0, 0), again.output


@pytest.mark.one_system
def test_a_bad_upgrade_leaves_the_old_environment_at_work(
    host: Any, server: Server, apply: Callable[..., Run], tmp_path: Path
) -> None:
    before = (started(host), host.file("/opt/jupyter").linked_to)
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"attrs==26.1.0 --hash=sha256:{64 * '0'}\n")
    run = apply("-e", f"jupyter_tls_requirements_file={lock}")
    assert run.code != 0
    assert f"JupyterLab could not be installed on {server.name}" in run.output
    assert f"The server still runs from {before[1]}, as before." in run.words
    assert (started(host), host.file("/opt/jupyter").linked_to) == before
    assert server.browser().get(f"{server.url}/api", timeout=20).status_code == 200


@pytest.mark.extended
def test_a_certificate_of_one_s_own_is_served(server: Server, apply: Callable[..., Run], tmp_path: Path) -> None:
    key, pem = ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.PEM
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "own")]), datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("own.example")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 4711, now, now + timedelta(days=90))
    own = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    (tmp_path / "own.crt").write_bytes(own.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "own.key").write_bytes(private)
    settings: dict[str, Any] = {
        "jupyter_tls_certificate_file": f"{tmp_path}/own.crt",
        "jupyter_tls_key_file": f"{tmp_path}/own.key",
    }
    refused = apply("-e", json.dumps(settings))
    assert refused.code != 0
    assert f"own.crt is not for {server.address}" in " ".join(refused.output.split())
    settings["jupyter_tls_addresses"] = ["own.example"]
    taken = apply("-vvv", "-e", json.dumps(settings))
    assert taken.code == 0, taken.output
    assert private.decode().splitlines()[1] not in taken.output
    context = ssl.create_default_context(cafile=str(tmp_path / "own.crt"))
    assert shake(server, "own.example", context)["certificate"].serial_number == 4711
    assert apply("-e", json.dumps(settings)).changed == 0


@pytest.mark.extended
def test_a_start_that_fails_is_told_and_an_upgrade_takes_its_place(
    host: Any, server: Server, apply: Callable[..., Run], tmp_path: Path
) -> None:
    # Until the test before this one the server had a certificate of its own: the private CA's comes back, too.
    before = host.file("/opt/jupyter").linked_to
    run = apply(
        "-e", '{"jupyter_tls_config": {"ServerApp": {"certfile": "/nowhere.crt"}}, "__jupyter_tls_patience": 4}'
    )
    assert run.code != 0
    assert f"JupyterLab does not answer on port 443 of {server.name}." in run.words
    assert "/nowhere.crt" in run.output
    lock = tmp_path / "requirements.txt"
    lock.write_text((SCENARIO.parents[1] / "roles/jupyter_tls/files/requirements.txt").read_text() + "# newer\n")
    run = apply("-e", f"jupyter_tls_requirements_file={lock}")
    assert run.code == 0, run.output
    after = host.file("/opt/jupyter").linked_to
    assert after != before
    assert host.check_output("ls -d /opt/jupyter-*") == after
    assert server.browser().get(f"{server.url}/api", timeout=20).status_code == 200
    assert shake(server, server.address, trusting())["version"] == "TLSv1.3"

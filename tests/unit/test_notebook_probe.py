"""The probe against good and bad servers: real Jupyter servers and small TLS servers, all on loopback."""

from __future__ import annotations

import datetime
import importlib.util
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from jupyter_server.auth.security import passwd

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("notebook_probe", ROOT / "plugins/modules/notebook_probe.py")
assert spec and spec.loader
notebook_probe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(notebook_probe)

PASSWORD = "correct horse battery staple"
HASH = passwd(PASSWORD)  # type: ignore[no-untyped-call]
# Enough to stand for R: it answers R's question, and says that it speaks R.
R_KERNEL = """
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel
class R(Kernel):
    implementation, implementation_version, banner = "R", "4", "R"
    language_info = {"name": "R", "mimetype": "text/x-r", "file_extension": ".r"}
    def do_execute(self, code, silent, *args, **kwargs):
        text = "42\\n/opt/conda/envs/r/lib/R" if "R.home()" in code else "?"
        self.send_response(self.iopub_socket, "stream", {"name": "stdout", "text": text})
        return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
IPKernelApp.launch_instance(kernel_class=R)
"""


class Authority:
    """A certificate authority made for one test run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Test authority {folder.name}")])
        certificate = self._sign(self.name, self.key, 3650, x509.BasicConstraints(ca=True, path_length=0), True)
        self.file = folder / "ca.crt"
        self.file.write_bytes(certificate)

    def _sign(self, name: x509.Name, key: Any, days: float, extension: x509.ExtensionType, critical: bool) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical)
        builder = builder.not_valid_before(now - datetime.timedelta(days=30))
        builder = builder.not_valid_after(now + datetime.timedelta(days=days))
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def certificate(self, days: float = 90, address: str = "127.0.0.1") -> Path:
        """Make a key and a certificate for an address, in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self.folder / f"{address}-{days}.pem"
        file.write_bytes(self._sign(x509.Name([]), key, days, names, True) + pem)
        return file


@dataclass
class Jupyter:
    """A running Jupyter server and what the probe needs to ask it."""

    port: int
    settings: dict[str, Any]

    def probe(self, password: str = PASSWORD, **changes: Any) -> dict[str, tuple[bool, str]]:
        """Ask the server; return each check's verdict and detail."""
        settings = self.settings | changes
        checks = notebook_probe.probe(settings, notebook_probe.trust(settings["ca_file"]), password)
        return {check.check: (check.ok, check.detail) for check in checks}


def broken(checks: dict[str, tuple[bool, str]]) -> set[str]:
    return {name for name, (ok, _detail) in checks.items() if not ok}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def kernelspec(folder: Path, name: str, language: str, argv: list[str]) -> None:
    target = folder / "kernels" / name
    target.mkdir(parents=True)
    (target / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": name, "language": language}))


@contextmanager
def jupyter(
    folder: Path, authority: Authority, identity: dict[str, Any], kernels: tuple[str, ...] = ("py", "r")
) -> Iterator[Jupyter]:
    """Run a Jupyter server with Python, something that stands for R, a kernel that ends at once and one that hangs."""
    folder.mkdir()
    (folder / "r.py").write_text(R_KERNEL)
    kernelspec(
        folder / "share", "py", "python", [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    )
    kernelspec(folder / "share", "r", "R", [sys.executable, str(folder / "r.py"), "-f", "{connection_file}"])
    kernelspec(folder / "share", "broken", "python", [sys.executable, "-c", "raise SystemExit(3)"])
    kernelspec(folder / "share", "hangs", "python", [sys.executable, "-c", "import time; time.sleep(60)"])
    port = free_port()
    config = {
        "ServerApp": {
            "ip": "127.0.0.1",
            "port": port,
            "port_retries": 0,
            "root_dir": str(folder),
            "open_browser": False,
            "allow_root": True,
            "certfile": str(authority.certificate()),
            "tornado_settings": {"headers": {"Strict-Transport-Security": "max-age=63072000"}},
            "kernel_manager_class": "jupyter_server.services.kernels.kernelmanager.AsyncMappingKernelManager",
        },
        "KernelSpecManager": {"ensure_native_kernel": False, "allowed_kernelspecs": list(kernels)},
        "AsyncIOLoopKernelRestarter": {"restart_limit": 1, "time_to_dead": 1.0},
        "IdentityProvider": {key: value for key, value in identity.items() if key == "token"},
        "PasswordIdentityProvider": identity,
    }
    (folder / "config.json").write_text(json.dumps(config))
    environment = os.environ | {
        "HOME": str(folder),
        "JUPYTER_CONFIG_DIR": str(folder / "etc"),
        "JUPYTER_DATA_DIR": str(folder / "share"),
        "JUPYTER_RUNTIME_DIR": str(folder / "run"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", f"--config={folder / 'config.json'}"],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Jupyter(
            port,
            {
                "address": "127.0.0.1",
                "port": port,
                "ca_file": str(authority.file),
                "kernels": [
                    {"name": "py", "language": "python", "prefix": sys.prefix},
                    {"name": "r", "language": "r", "prefix": "/opt/conda/envs/r"},
                ],
                "only_kernels": True,
                "questions": [],
                "open_ports": [port],
                "allowed_ports": [],
                "scan_ports": [],
                "scan_timeout": 1.0,
                "scan_concurrency": 100,
                "days_left": 7,
                "wait": 120,
                "kernel_timeout": 30,
            },
        )
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Jupyter]:
    folder = tmp_path_factory.mktemp("good") / "server"
    with jupyter(folder, authority, {"hashed_password": HASH, "token": ""}) as server:
        yield server


@pytest.fixture(scope="session")
def seen(good: Jupyter) -> dict[str, tuple[bool, str]]:
    """What the probe says of the good server."""
    return good.probe()


def test_a_good_server_keeps_every_promise(seen: dict[str, tuple[bool, str]]) -> None:
    assert broken(seen) == set()
    assert list(seen) == [
        "answers",
        "certificate",
        "old TLS",
        "plain HTTP",
        "HSTS",
        "without login",
        "token",
        "wrong password",
        "password",
        "session cookie",
        "kernels",
        "kernel py",
        "kernel r",
        "ports",
    ]


def test_kernels_say_where_they_live(seen: dict[str, tuple[bool, str]]) -> None:
    assert seen["kernel py"] == (True, f"6 * 7 = 42 in {sys.prefix}")
    assert seen["kernel r"] == (True, "6 * 7 = 42 in /opt/conda/envs/r/lib/R")


@pytest.mark.extended
def test_a_second_run_says_the_same(good: Jupyter, seen: dict[str, tuple[bool, str]]) -> None:
    assert good.probe() == seen


def test_no_kernel_is_left_running(good: Jupyter, seen: dict[str, tuple[bool, str]]) -> None:
    server = notebook_probe.Server("127.0.0.1", good.port, notebook_probe.trust(good.settings["ca_file"]))
    server.ask("GET", "/login")
    assert notebook_probe.log_in(server, PASSWORD)[0].ok
    assert json.loads(server.ask("GET", "/api/kernels").body) == []


def test_kernels_missing_unexpected_and_in_the_wrong_place(good: Jupyter) -> None:
    kernels = [
        {"name": "py", "language": "python", "prefix": "/opt/conda/envs/other"},
        {"name": "julia", "language": "python", "prefix": ""},
    ]
    checks = good.probe(kernels=kernels)
    assert checks["kernels"] == (False, "julia missing; r not expected")
    assert checks["kernel py"] == (False, f"computes in {sys.prefix}, not in /opt/conda/envs/other")
    assert good.probe(kernels=kernels, only_kernels=False)["kernels"] == (False, "julia missing")


def test_what_else_a_kernel_must_be_able_to_do(good: Jupyter) -> None:
    codes = {"sum": "print(40 + 2)", "wrong": "print(41)", "broken": "1 / 0", "elsewhere": "print(42)"}
    questions = [
        {"name": name, "kernel": "julia" if name == "elsewhere" else "py", "code": code} for name, code in codes.items()
    ]
    checks = good.probe(questions=questions)
    assert checks["sum"] == (True, "kernel py answers")
    assert checks["wrong"] == (False, "kernel py answers with '41' and not with 42")
    assert checks["broken"] == (False, "kernel py does not compute: ZeroDivisionError: division by zero")
    assert not checks["elsewhere"][0]
    assert checks["elsewhere"][1].startswith("kernel julia does not start (status")


def test_the_wrong_language_is_not_taken_for_the_right_one(good: Jupyter) -> None:
    checks = good.probe(kernels=[{"name": "r", "language": "python", "prefix": ""}])
    assert checks["kernel r"] == (False, "answers 6 * 7 with '?'")


def test_the_password_that_people_were_given_does_not_work(good: Jupyter) -> None:
    checks = good.probe(password="another one")
    assert checks["password"] == (False, "the right password is refused (status 401)")
    assert "kernels" not in checks


def test_a_token_and_kernels_that_do_not_start_are_found(tmp_path: Path, authority: Authority) -> None:
    identity = {"hashed_password": HASH, "token": "secret-token"}
    with jupyter(tmp_path / "s", authority, identity, ("broken", "hangs")) as server:
        checks = server.probe(kernels=[], kernel_timeout=6)
        assert broken(checks) == {"token", "kernel broken", "kernel hangs"}
        assert checks["kernel broken"][1] == "does not compute: it ends by itself"
        assert checks["kernel hangs"][1] == "gives no answer within 6 s"


def test_a_server_without_a_password_is_found(tmp_path: Path, authority: Authority) -> None:
    with jupyter(tmp_path / "s", authority, {"hashed_password": "", "token": ""}) as server:
        checks = server.probe(kernels=[])
        assert broken(checks) >= {"without login", "wrong password"}
        assert "/api/kernels answers 200 to anyone" in checks["without login"][1]


@contextmanager
def tls_server(file: Path, prepare: Callable[[ssl.SSLContext], None] = lambda context: None) -> Iterator[int]:
    """Answer TLS handshakes with a certificate, until the test is over."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    prepare(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                connection.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    ("days", "address", "says"),
    [
        (90, "127.0.0.1", "trusted for 127.0.0.1, valid until "),
        (-1, "127.0.0.1", "not trusted for 127.0.0.1: certificate has expired"),
        (90, "127.0.0.2", "not trusted for 127.0.0.1: IP address mismatch"),
        (3, "127.0.0.1", "which is less than 7 days from now"),
    ],
)
def test_certificate(authority: Authority, days: float, address: str, says: str) -> None:
    with tls_server(authority.certificate(days, address)) as port:
        context = notebook_probe.trust(str(authority.file))
        check = notebook_probe.check_certificate("127.0.0.1", port, context, 7)
        assert check.ok == (says.startswith("trusted"))
        assert says in check.detail


def test_a_certificate_of_another_authority(tmp_path: Path, authority: Authority) -> None:
    with tls_server(authority.certificate()) as port:
        context = notebook_probe.trust(str(Authority(tmp_path).file))
        check = notebook_probe.check_certificate("127.0.0.1", port, context, 7)
        assert not check.ok
        assert "unable to get local issuer certificate" in check.detail


def test_the_password_is_not_sent_to_an_untrusted_server(tmp_path: Path, good: Jupyter) -> None:
    checks = good.probe(ca_file=str(Authority(tmp_path).file))
    assert broken(checks) == {"certificate"}
    assert "password" not in checks


def old_protocols(context: ssl.SSLContext) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated")
def test_old_protocols_are_found(authority: Authority) -> None:
    with tls_server(authority.certificate(), old_protocols) as port:
        check = notebook_probe.check_tls_versions("127.0.0.1", port)
        assert (check.ok, check.detail) == (False, "TLS 1.0 and TLS 1.1 accepted")


class Page(BaseHTTPRequestHandler):
    """Answers every request with a page, or with the way to https."""

    def do_GET(self) -> None:
        self.send_response(301 if self.server.redirects else 200)  # type: ignore[attr-defined]
        self.send_header("Location", "https://127.0.0.1/")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Be quiet."""


@pytest.mark.parametrize("redirects", [False, True])
def test_plain_http(redirects: bool) -> None:
    with HTTPServer(("127.0.0.1", 0), Page) as http:
        http.redirects = redirects  # type: ignore[attr-defined]
        threading.Thread(target=http.serve_forever, daemon=True).start()
        check = notebook_probe.check_plain_http(notebook_probe.Server("127.0.0.1", http.server_port, None))
        http.shutdown()
    assert check.ok == redirects
    assert check.detail == ("not served" if redirects else "served without TLS (status 200)")


def test_only_the_intended_ports_answer() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
        socket.socket() as three,  # bound so that nobody else has it, and closed because nobody listens
    ):
        three.bind(("127.0.0.1", 0))
        wanted, other, closed = (each.getsockname()[1] for each in (one, two, three))
        settings: dict[str, Any] = {
            "open_ports": [wanted],
            "allowed_ports": [],
            "scan_ports": [str(other), str(closed)],
        }
        settings |= {"scan_timeout": 1.0, "scan_concurrency": 10}
        check = notebook_probe.check_ports("127.0.0.1", settings)
        assert (check.ok, check.detail) == (False, f"{other} should not answer but do")
        check = notebook_probe.check_ports("127.0.0.1", settings | {"allowed_ports": [other]})
        assert (check.ok, check.detail.split()[0]) == (True, "of")
        check = notebook_probe.check_ports("127.0.0.1", settings | {"allowed_ports": [other], "open_ports": [closed]})
        assert (check.ok, check.detail) == (False, f"{closed} should answer but do not")


def test_a_port_that_could_not_be_tried_is_not_called_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_files_left(*args: Any, **kwargs: Any) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(notebook_probe.asyncio, "open_connection", no_files_left)
    settings = {
        "open_ports": [],
        "allowed_ports": [],
        "scan_ports": ["1-10"],
        "scan_timeout": 1.0,
        "scan_concurrency": 5,
    }
    check = notebook_probe.check_ports("127.0.0.1", settings)
    assert (check.ok, check.detail) == (False, "could not be tried from this machine: Too many open files")


def test_a_server_that_is_not_there() -> None:
    ip, check = notebook_probe.wait_for("127.0.0.1", free_port(), 0)
    assert not check.ok
    assert "Connection refused); is the server running, and may your address reach it?" in check.detail
    assert ip == ""


@pytest.mark.parametrize("text", ["", "0", "x", "10-5", "1-70000", "-5"])
def test_port_ranges_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a port or a range of ports"):
        notebook_probe.parse_ports([text])


def test_port_ranges() -> None:
    assert notebook_probe.parse_ports(["1-3", "8888", "3-4"]) == {1, 2, 3, 4, 8888}


def play(folder: Path, server: Jupyter, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    """Run the role as the playbook does."""
    (folder / "password").write_text(PASSWORD + "\n")
    names = ("address", "port", "ca_file", "kernels", "open_ports", "scan_ports")
    variables = {f"verify_{name}": server.settings[name] for name in names}
    variables |= {"verify_password_file": str(folder / "password"), "verify_report_dir": str(folder / "reports")}
    (folder / "vars.json").write_text(json.dumps(variables | changes))
    book = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "roles": [{"role": "verify"}]}]
    (folder / "play.yml").write_text(json.dumps(book))
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_NOCOLOR": "1",
    }
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-e", f"@{folder / 'vars.json'}"]
    return subprocess.run(
        [*command, *arguments, str(folder / "play.yml")], env=environment, capture_output=True, text=True, timeout=120
    )


def test_the_role_says_what_is_broken_and_no_password(tmp_path: Path, good: Jupyter) -> None:
    first = play(tmp_path, good, "-vvv", verify_kernels=[{"name": "py", "prefix": sys.prefix}])
    assert first.returncode == 2
    assert "localhost at 127.0.0.1 does not keep 1 of 13 promises: kernels - r not expected." in first.stdout
    assert PASSWORD not in first.stdout + first.stderr
    report = tmp_path / "reports/verify.json"
    assert report.stat().st_mode & 0o777 == 0o600
    assert json.loads(report.read_text())["kept"] is False


# Each site that the tests set up is verified twice as well.
@pytest.mark.extended
def test_the_role_changes_nothing_the_second_time(tmp_path: Path, good: Jupyter) -> None:
    first = play(tmp_path, good)
    assert first.returncode == 0, first.stdout
    report = tmp_path / "reports/verify.json"
    before = report.read_bytes()
    assert json.loads(before)["kept"] is True
    second = play(tmp_path, good)
    assert second.returncode == 0, second.stdout
    assert "changed=0" in second.stdout
    assert report.read_bytes() == before


@pytest.mark.extended
def test_a_check_run_asks_nobody(tmp_path: Path, good: Jupyter) -> None:
    result = play(tmp_path, good, "--check", verify_address="", verify_password_file="")
    assert result.returncode == 0, result.stdout
    assert "A check run does not ask localhost: what would change is not there yet." in result.stdout
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"verify_address": ""}, "There is nobody to ask: set verify_address"),
        *(
            pytest.param(changes, says, marks=pytest.mark.extended)
            for changes, says in (
                ({"verify_password_file": "/nonexistent/password"}, "'/nonexistent/password' cannot be read"),
                ({"verify_ca_file": "/nonexistent/ca.crt"}, "'/nonexistent/ca.crt' cannot be read"),
                ({"verify_scan_ports": ["99999"]}, "verify_scan_ports holds '99999'"),
            )
        ),
    ],
)
def test_the_role_refuses_what_cannot_work(tmp_path: Path, good: Jupyter, changes: dict[str, Any], says: str) -> None:
    result = play(tmp_path, good, **changes)
    assert result.returncode == 2
    assert says in result.stdout.replace("\n", " ")


SSH = """#!{python}
import socket, sys, threading
_, here, _, there = sys.argv[sys.argv.index("-L") + 1].split(":")
listener = socket.create_server(("127.0.0.1", int(here)))

def copy(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)

while True:
    one, _ = listener.accept()
    try:
        two = socket.create_connection(("127.0.0.1", int(there)))
    except OSError:
        one.close()
        continue
    for pair in ((one, two), (two, one)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""


def test_through_a_tunnel_the_port_itself_must_not_answer(good: Jupyter, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(SSH.format(python=sys.executable))
    ssh.chmod(0o755)
    settings = good.settings | {"tunnel": [str(ssh), "demo"], "open_ports": []}
    checks = {
        c.check: (c.ok, c.detail)
        for c in notebook_probe.ask(settings, notebook_probe.trust(good.settings["ca_file"]), PASSWORD)
    }
    assert checks["answers"] == (True, f"a tunnel to port {good.port} of 127.0.0.1")
    # This server's certificate names no localhost, and its port is open.
    assert checks["certificate"][1].startswith("not trusted for localhost")
    assert checks["ports"] == (False, f"{good.port} should not answer but do")


def test_a_tunnel_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n")
    ssh.chmod(0o755)
    for login, words in (([str(ssh), "demo"], "Permission denied (publickey)."), (["/no/ssh", "demo"], "No such file")):
        settings = {"tunnel": login, "address": "192.0.2.1", "port": 443, "wait": 5}
        checks = notebook_probe.ask(settings, notebook_probe.trust(None), PASSWORD)
        assert [check.ok for check in checks] == [False]
        assert checks[0].detail.startswith("no tunnel to 192.0.2.1 by SSH: ") and words in checks[0].detail

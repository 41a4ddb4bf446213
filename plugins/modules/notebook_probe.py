"""Ask a running JupyterLab server, from outside, whether it keeps its promises."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import secrets
import socket
import ssl
import struct
import subprocess
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage, HTTPSConnection
from http.cookies import SimpleCookie
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import websocket
except ImportError:
    websocket = None  # type: ignore[assignment,unused-ignore]

DOCUMENTATION = r"""
module: notebook_probe
short_description: Ask a JupyterLab server from outside whether it keeps its promises
description:
  - Changes nothing on the machine it runs on. On the server it starts one kernel of each kind and ends it again.
  - The module itself reads the password from a file, and sends it only to a server whose certificate is good.
  - Needs the Python package websocket-client.
options:
  address: {type: str, required: true, description: Host name or IP address that people use.}
  port: {type: int, default: 443, description: Port of JupyterLab.}
  ca_file: {type: str, description: Certificate of the authority to trust; empty for those this machine trusts.}
  password_file: {type: path, required: true, description: File that holds the password.}
  kernels:
    type: list
    elements: dict
    default: []
    description: Kernels that must be there and compute. Empty for at least one, whatever it is.
    suboptions:
      name: {type: str, required: true, description: Name of the kernel.}
      language: {type: str, choices: [python, r], default: python, description: What it speaks.}
      prefix: {type: str, default: "", description: Folder that must hold its interpreter.}
  only_kernels: {type: bool, default: true, description: Whether the server may offer no other kernels.}
  need_kernel: {type: bool, default: true, description: Whether a server that offers no kernel at all is wrong.}
  ask_kernels: {type: bool, default: true, description: Whether kernels are asked at all; else a login is the end.}
  questions:
    type: list
    elements: dict
    default: []
    description: What else a kernel must be able to do, such as to reach a database.
    suboptions:
      name: {type: str, required: true, description: Name of the check.}
      kernel: {type: str, required: true, description: Name of the kernel that is asked.}
      code: {type: str, required: true, description: What it runs. It must print 42 and nothing else.}
  open_ports: {type: list, elements: int, default: [], description: Ports that must answer.}
  allowed_ports: {type: list, elements: int, default: [], description: Ports that may answer.}
  scan_ports: {type: list, elements: str, default: [], description: Ports and ranges to try.}
  scan_timeout: {type: float, default: 1.5, description: Seconds to wait for one port.}
  scan_concurrency: {type: int, default: 400, description: Ports tried at the same time.}
  days_left: {type: int, default: 7, description: Days that the certificate must still be valid.}
  wait: {type: int, default: 30, description: Seconds to wait for the server to answer at all.}
  kernel_timeout: {type: int, default: 120, description: Seconds that a kernel may take to start and compute.}
  tunnel:
    type: list
    elements: str
    default: []
    description:
      - The command that logs in to the server by SSH, when JupyterLab is to be reached through it alone. It is asked as localhost then,
        and its port must not answer at its address.
"""

EXAMPLES = r"""
- name: Ask the server
  notebook_probe:
    address: 198.51.100.7
    ca_file: .state/ca/ca.crt
    password_file: .state/demo/credentials/jupyter_password
    kernels: [{name: python3}, {name: ir, language: r, prefix: /opt/conda/envs/r}]
    open_ports: [22, 443]
    scan_ports: [1-1024, "8888"]
"""

RETURN = r"""
checks:
  description: Every check made, with nothing in it that differs between two runs against the same server.
  returned: always
  type: list
  elements: dict
  sample: [{check: certificate, ok: true, detail: "trusted for 198.51.100.7, valid until 2027-11-21"}]
"""

NETWORK_ERRORS = (OSError, HTTPException)
REFUSED = (401, 403)
CLOSED = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH)
# What each kernel is asked: an answer to compute, and where its interpreter lives.
QUESTIONS = {
    "python": "import sys; print(6 * 7, sys.prefix, sep='\\n')",
    "r": "cat(6 * 7, R.home(), sep = '\\n')",
}


class Check(NamedTuple):
    """One promise: its name, whether it is kept, and what was seen."""

    check: str
    ok: bool
    detail: str


class Reply(NamedTuple):
    """What the server answered to one request."""

    status: int
    headers: HTTPMessage
    body: bytes


class Server:
    """A small HTTPS client with a cookie jar. Every request is a connection of its own, so threads may share one."""

    def __init__(self, address: str, port: int, context: ssl.SSLContext) -> None:
        self.address, self.port, self.context = address, port, context
        self.host = f"[{address}]" if ":" in address else address
        if port != 443:
            self.host += f":{port}"
        self.cookies: dict[str, str] = {}

    @property
    def cookie_header(self) -> str:
        """The cookies as one header."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def ask(
        self, method: str, path: str, *, form: dict[str, str] | None = None, data: Any = None, token: str = ""
    ) -> Reply:
        """Make one request; an untrusted certificate raises SSLCertVerificationError before anything is sent."""
        headers = {"Accept-Language": "en", "Cookie": self.cookie_header, "X-XSRFToken": self.cookies.get("_xsrf", "")}
        body = None
        if form is not None:
            body, headers["Content-Type"] = urllib.parse.urlencode(form), "application/x-www-form-urlencoded"
            del headers["X-XSRFToken"]  # a form proves itself by its own field, as in a browser
        elif data is not None:
            body, headers["Content-Type"] = json.dumps(data), "application/json"
        if token:
            headers["Authorization"] = f"token {token}"
        connection = HTTPSConnection(self.address, self.port, timeout=30, context=self.context)
        try:
            connection.request(method, path, body, {name: value for name, value in headers.items() if value})
            answer = connection.getresponse()
            reply = Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()
        for line in reply.headers.get_all("Set-Cookie", []):
            self.cookies.update({name: morsel.value for name, morsel in SimpleCookie(line).items()})
        return reply


def parse_ports(ranges: list[str]) -> set[int]:
    """Turn ["1-3", "8888"] into {1, 2, 3, 8888}."""
    ports: set[int] = set()
    for entry in ranges:
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", entry.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= 65535:
            raise ValueError(f"'{entry}' is not a port or a range of ports between 1 and 65535, such as 8888 or 1-1024")
        ports.update(range(first, last + 1))
    return ports


def scan(address: str, ports: set[int], timeout: float, concurrency: int) -> set[int]:
    """Say which of the ports accept a TCP connection. One that could not be tried is an error, never a closed port."""

    async def answers(port: int, limit: asyncio.Semaphore) -> bool:
        async with limit:
            try:
                _reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), timeout)
            except TimeoutError:
                return False
            except OSError as error:
                if error.errno in CLOSED:
                    return False
                raise
            writer.transport.abort()
            return True

    async def every_port() -> set[int]:
        limit = asyncio.Semaphore(concurrency)
        ordered = sorted(ports)
        found = await asyncio.gather(*(answers(port, limit) for port in ordered))
        return {port for port, is_open in zip(ordered, found, strict=True) if is_open}

    return asyncio.run(every_port())


def check_ports(address: str, settings: dict[str, Any]) -> Check:
    """Only the ports that are meant to answer do."""
    needed, allowed = set(settings["open_ports"]), set(settings["allowed_ports"])
    asked = parse_ports(settings["scan_ports"]) | needed
    try:
        found = scan(address, asked, settings["scan_timeout"], settings["scan_concurrency"])
        # A lost packet must not look like a closed port.
        found |= scan(address, needed - found, 5.0, 10)
    except OSError as error:
        return Check("ports", False, f"could not be tried from this machine: {error.strerror or error}")
    words = []
    if found - needed - allowed:
        words.append(f"{_list(found - needed - allowed)} should not answer but do")
    if needed - found:
        words.append(f"{_list(needed - found)} should answer but do not")
    return Check("ports", not words, "; ".join(words) or f"of {len(asked)} asked only {_list(found)} answer")


def _list(items: Any) -> str:
    return ", ".join(str(item) for item in sorted(items))


def wait_for(address: str, port: int, seconds: float) -> tuple[str, Check]:
    """Check that the port accepts a connection, at once or after a while. Also return the IP address that did."""
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((address, port), timeout=5) as raw:
                return str(raw.getpeername()[0]), Check("answers", True, f"{address} port {port} accepts connections")
        except OSError as error:
            if time.monotonic() > end:
                why = f"nothing at {address} port {port} within {seconds} s ({error.strerror or error})"
                return "", Check("answers", False, f"{why}; is the server running, and may your address reach it?")
        time.sleep(1)


def check_certificate(address: str, port: int, context: ssl.SSLContext, days_left: int) -> Check:
    """Check that the chain ends at the given authority, names the address and is valid long enough."""
    try:
        raw = socket.create_connection((address, port), timeout=10)
        with raw, context.wrap_socket(raw, server_hostname=address) as tls:
            until = ssl.cert_time_to_seconds(str((tls.getpeercert() or {})["notAfter"]))
    except ssl.SSLCertVerificationError as error:
        return Check("certificate", False, f"not trusted for {address}: {error.verify_message}")
    except OSError as error:
        return Check("certificate", False, f"no TLS connection: {error}")
    date = time.strftime("%Y-%m-%d", time.gmtime(until))
    if until - time.time() < days_left * 86400:
        return Check("certificate", False, f"valid only until {date}, which is less than {days_left} days from now")
    return Check("certificate", True, f"trusted for {address}, valid until {date}")


def client_hello(version: int) -> bytes:
    """Build the first message of a TLS 1.0 or 1.1 client by hand: the OpenSSL of this machine may not speak them."""
    ciphers = struct.pack("!8H", 0xC009, 0xC00A, 0xC013, 0xC014, 0x002F, 0x0035, 0x0033, 0x000A)
    extensions = struct.pack("!HHH3H", 10, 8, 6, 23, 24, 25) + struct.pack("!HHBB", 11, 2, 1, 0)
    body = struct.pack("!H", version) + secrets.token_bytes(32) + b"\0"
    body += struct.pack("!H", len(ciphers)) + ciphers + b"\x01\0" + struct.pack("!H", len(extensions)) + extensions
    handshake = b"\x01" + struct.pack("!I", len(body))[1:] + body
    return struct.pack("!BHH", 22, 0x0301, len(handshake)) + handshake


def exchange(address: str, port: int, message: bytes) -> bytes:
    """Send bytes, return the beginning of the answer; a closed connection is an empty answer."""
    with socket.create_connection((address, port), timeout=5) as raw:
        raw.sendall(message)
        try:
            return raw.recv(256)
        except (ConnectionResetError, TimeoutError):
            return b""


def check_tls_versions(address: str, port: int) -> Check:
    """TLS 1.0 and 1.1 are refused."""
    # The answer to a hello is a handshake record (22) with a server hello (2) in it, or an alert, or nothing.
    taken = []
    for name, version in (("TLS 1.0", 0x0301), ("TLS 1.1", 0x0302)):
        answer = exchange(address, port, client_hello(version))
        if answer[:1] == b"\x16" and answer[5:6] == b"\x02":
            taken.append(name)
    return Check("old TLS", not taken, f"{' and '.join(taken)} accepted" if taken else "TLS 1.0 and 1.1 refused")


def check_plain_http(server: Server) -> Check:
    """Whoever speaks HTTP without TLS gets no page; an error or the way to https is a fair answer."""
    request = f"GET /login HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n\r\n"
    answer = exchange(server.address, server.port, request.encode())
    match = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    if match and not (match[1] in (b"400", b"426") or (match[1].startswith(b"3") and b"https://" in answer)):
        return Check("plain HTTP", False, f"served without TLS (status {int(match[1])})")
    return Check("plain HTTP", True, "not served")


def check_without_login(server: Server) -> Check:
    """Nobody sees files, kernels or terminals without a login, or with a made-up token."""
    seen = []
    for path in ("contents", "kernels", "kernelspecs", "sessions", "terminals", "status"):
        for token in ("", secrets.token_hex(24)):
            status = server.ask("GET", f"/api/{path}", token=token).status
            # 404: terminals can be turned off
            if status not in REFUSED and not (path == "terminals" and status == 404):
                seen.append(f"/api/{path} answers {status} to {'a made-up token' if token else 'anyone'}")
    return Check("without login", not seen, "; ".join(seen) or "files, kernels and terminals refused")


def check_token(login_page: bytes) -> Check:
    """Read in the login page whether the server accepts a token: it offers one only then."""
    offered = re.search(rb"password or token|token authentication is enabled", login_page, re.IGNORECASE)
    return Check("token", not offered, "the server accepts a login token" if offered else "no login token")


def check_hsts(page: Reply) -> Check:
    """Browsers are told to come back by TLS only."""
    value = page.headers.get("Strict-Transport-Security", "")
    return Check("HSTS", "max-age=" in value, value or "the header Strict-Transport-Security is missing")


def check_wrong_password(server: Server) -> Check:
    """No password and a made-up one are refused, and so is a form without the anti-forgery field."""
    xsrf = server.cookies.get("_xsrf", "")
    for what, form in {
        "an empty password": {"_xsrf": xsrf, "password": ""},
        "a wrong password": {"_xsrf": xsrf, "password": secrets.token_hex(12)},
        "a login form without its anti-forgery field": {"password": secrets.token_hex(12)},
    }.items():
        status = server.ask("POST", "/login", form=form).status
        if status not in REFUSED:
            return Check("wrong password", False, f"{what} gets status {status}")
    return Check("wrong password", True, "refused")


def log_in(server: Server, password: str) -> list[Check]:
    """Log in as a person does: the form, then the cookie."""
    reply = server.ask("POST", "/login", form={"_xsrf": server.cookies.get("_xsrf", ""), "password": password})
    if reply.status != 302:
        return [Check("password", False, f"the right password is refused (status {reply.status})")]
    status = server.ask("GET", "/api/contents?content=0").status
    if status != 200:
        return [Check("password", False, f"accepted, but files cannot be listed after the login (status {status})")]
    weak = []
    for line in reply.headers.get_all("Set-Cookie", []):
        attributes = {part.strip().lower() for part in line.split(";")[1:]}
        if not line.startswith("_xsrf=") and not {"secure", "httponly"} <= attributes:
            weak.append(line.split("=")[0])
    detail = f"{_list(weak)} lacks Secure or HttpOnly" if weak else "Secure and HttpOnly"
    return [Check("password", True, "accepted"), Check("session cookie", not weak, detail)]


def connect(server: Server, kernel_id: str, session: str, end: float) -> Any:
    """Open the websocket of a kernel; the server accepts it once the kernel is up."""
    while True:
        try:
            return websocket.create_connection(
                f"wss://{server.host}/api/kernels/{kernel_id}/channels?session_id={session}",
                timeout=max(0.1, min(5, end - time.monotonic())),
                cookie=server.cookie_header,
                sslopt={"context": server.context},
                http_no_proxy=["*"],
            )
        except websocket.WebSocketTimeoutException:
            # The server restarts a kernel that dies a few times and then forgets it.
            if server.ask("GET", f"/api/kernels/{kernel_id}").status == 404:
                raise RuntimeError("it ends by itself") from None
            if time.monotonic() > end:
                raise


def execute(server: Server, kernel_id: str, code: str, timeout: float) -> str:
    """Run code in a kernel over its websocket; return what it printed, raise RuntimeError on an error in the code."""
    end = time.monotonic() + timeout
    message_id, session = uuid.uuid4().hex, uuid.uuid4().hex
    header = {"msg_id": message_id, "msg_type": "execute_request", "session": session, "version": "5.3"}
    header |= {"username": "verify", "date": ""}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    channel = connect(server, kernel_id, session, end)
    printed, waiting_for = "", {"reply", "idle"}
    try:
        channel.send(json.dumps(request))
        while waiting_for:
            channel.settimeout(max(0.1, end - time.monotonic()))
            answer = json.loads(channel.recv())
            kind, content = answer["msg_type"], answer["content"]
            if kind == "status" and content["execution_state"] in ("restarting", "dead"):
                raise RuntimeError("it ends by itself")
            if answer["parent_header"].get("msg_id") != message_id:
                continue
            if kind == "stream" and content["name"] == "stdout":
                printed += content["text"]
            elif kind == "error":
                raise RuntimeError(f"{content['ename']}: {content['evalue']}")
            elif kind == "execute_reply":
                waiting_for.discard("reply")
            elif kind == "status" and content["execution_state"] == "idle":
                waiting_for.discard("idle")
    finally:
        channel.close()
    return printed


def ask_kernel(server: Server, name: str, code: str, timeout: float) -> tuple[str, str]:
    """Start a kernel, let it run code, end it. Return what it printed, and what went wrong or nothing."""
    reply = server.ask("POST", "/api/kernels", data={"name": name})
    if reply.status != 201:
        return "", f"does not start (status {reply.status})"
    path = f"/api/kernels/{json.loads(reply.body)['id']}"
    try:
        printed = execute(server, path.rsplit("/", 1)[1], code, timeout)
    except websocket.WebSocketTimeoutException:
        return "", f"gives no answer within {timeout} s"
    except (websocket.WebSocketException, RuntimeError, *NETWORK_ERRORS) as error:
        return "", f"does not compute: {error}"
    finally:
        ended = server.ask("DELETE", path).status
    if ended != 204 or server.ask("GET", path).status != 404:
        return "", f"computes, but does not end (status {ended})"
    return printed, ""


def try_kernel(server: Server, name: str, language: str, timeout: float) -> tuple[str, str]:
    """Let a kernel compute. Return the place of its interpreter, or "" and what went wrong."""
    if language not in QUESTIONS:
        return "", f"speaks {language}, which is not known here"
    printed, problem = ask_kernel(server, name, QUESTIONS[language], timeout)
    lines = printed.split()
    if not problem and (len(lines) != 2 or lines[0] != "42"):
        problem = f"answers 6 * 7 with '{' '.join(lines)[:80]}'"
    return ("", problem) if problem else (lines[1], "")


def check_question(server: Server, question: dict[str, str], timeout: float) -> Check:
    """Let a kernel do something more."""
    printed, problem = ask_kernel(server, question["kernel"], question["code"], timeout)
    if not problem and printed.strip() != "42":
        problem = f"answers with '{' '.join(printed.split())[:80]}' and not with 42"
    return Check(question["name"], not problem, f"kernel {question['kernel']} {problem or 'answers'}")


def check_kernels(
    server: Server, expected: list[dict[str, Any]], only: bool, timeout: float, need: bool = True
) -> list[Check]:
    """Check that the kernels meant to be there are, maybe no others, and each computes in its own environment."""
    offered = json.loads(server.ask("GET", "/api/kernelspecs").body)["kernelspecs"]
    wanted = expected or [{"name": name, "language": offered[name]["spec"]["language"].lower()} for name in offered]
    names = {kernel["name"] for kernel in wanted}
    words = []
    if names - set(offered):
        words.append(f"{_list(names - set(offered))} missing")
    if only and set(offered) - names:
        words.append(f"{_list(set(offered) - names)} not expected")
    if not wanted and need:
        words.append("the server offers none")
    checks = [Check("kernels", not words, "; ".join(words) or _list(names) or "none, and none are asked for")]

    present = [kernel for kernel in wanted if kernel["name"] in offered]
    with ThreadPoolExecutor(max_workers=3) as pool:
        jobs = [pool.submit(try_kernel, server, kernel["name"], kernel["language"], timeout) for kernel in present]
    results = [job.result() for job in jobs]
    places = [place for place, problem in results]
    for kernel, (place, problem) in zip(present, results, strict=True):
        prefix = str(kernel.get("prefix") or "").rstrip("/")
        if not problem and prefix and place != prefix and not place.startswith(prefix + "/"):
            problem = f"computes in {place}, not in {prefix}"
        elif not problem and places.count(place) > 1:
            problem = f"shares {place} with another kernel"
        checks.append(Check(f"kernel {kernel['name']}", not problem, problem or f"6 * 7 = 42 in {place}"))
    return checks


def trust(ca_file: str | None) -> ssl.SSLContext:
    """Trust what a browser would: the given authority (or this very certificate), else those of this machine."""
    context = ssl.create_default_context(cafile=ca_file or None)
    # The same answer from every Python: 3.13 turned both of these on.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def probe(settings: dict[str, Any], context: ssl.SSLContext, password: str) -> list[Check]:
    """Make every check that can be made. The password is never sent to a server that could not prove who it is."""
    address, port = settings["address"], settings["port"]
    ip, answers = wait_for(address, port, settings["wait"])
    if not answers.ok:
        return [answers]
    if settings.get("behind"):
        ip, port_there = settings["behind"]
        settings = {**settings, "scan_ports": [*settings["scan_ports"], str(port_there)]}
        answers = Check("answers", True, f"a tunnel to port {port_there} of {ip}")
    checks = [answers, check_certificate(address, port, context, settings["days_left"])]
    server = Server(address, port, context)
    with ThreadPoolExecutor(max_workers=1) as pool:
        ports = pool.submit(check_ports, ip, settings)
        try:
            checks += [check_tls_versions(address, port), check_plain_http(server)]
            page = server.ask("GET", "/login")
            checks += [check_hsts(page), check_without_login(server), check_token(page.body)]
            checks.append(check_wrong_password(server))
            server.cookies = {name: value for name, value in server.cookies.items() if name == "_xsrf"}
            login = log_in(server, password)
            checks += login
            if login[0].ok and settings.get("ask_kernels", True):
                kernels, only, timeout = settings["kernels"], settings["only_kernels"], settings["kernel_timeout"]
                with ThreadPoolExecutor(max_workers=2) as more:
                    asked = [more.submit(check_question, server, one, timeout) for one in settings["questions"]]
                    checks += check_kernels(server, kernels, only, timeout, settings.get("need_kernel", True))
                checks += [one.result() for one in asked]
        except ssl.SSLCertVerificationError:
            pass  # said by the check "certificate"; such a server is asked nothing more
        except NETWORK_ERRORS as error:
            checks.append(Check("conversation", False, f"the server broke off: {error}"))
        except (KeyError, ValueError) as error:
            checks.append(Check("conversation", False, f"an answer is not JupyterLab's: {error!r}"))
        checks.append(ports.result())
    return checks


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def leads_somewhere(port: int) -> bool:
    """Whether there is a server at the other end: without one, ssh takes the connection and ends it at once."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as one:
            return bool(one.recv(1))
    except TimeoutError:
        return True  # it waits for what a client has to say, as TLS does
    except OSError:
        return False


@contextmanager
def tunnel(login: list[str], port: int, seconds: float) -> Iterator[int]:
    """Lead a port of this machine to one that only the server itself reaches. RuntimeError: what ssh says."""
    here = free_port()
    options = ["-N", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ControlPath=none"]
    command = [login[0], *options, "-L", f"127.0.0.1:{here}:127.0.0.1:{port}", *login[1:]]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as ssh:
        try:
            end = time.monotonic() + seconds
            while ssh.poll() is None:
                if leads_somewhere(here):
                    break
                if time.monotonic() > end:
                    raise RuntimeError(f"nothing at port {port} of the server itself within {seconds} s")
                time.sleep(0.2)
            else:
                raise RuntimeError(ssh.stderr.read().strip() if ssh.stderr else "")
            yield here
        finally:
            ssh.terminate()


def ask(settings: dict[str, Any], context: ssl.SSLContext, password: str) -> list[Check]:
    """Make the checks as people come: straight to the server, or through SSH."""
    if not settings["tunnel"]:
        return probe(settings, context, password)
    address, port = settings["address"], settings["port"]
    try:
        with tunnel(settings["tunnel"], port, settings["wait"]) as here:
            there = {**settings, "address": "localhost", "port": here, "behind": (address, port)}
            return probe(there, context, password)
    except (RuntimeError, OSError) as error:
        return [Check("answers", False, f"no tunnel to {address} by SSH: {error}")]


def main() -> None:
    """Run as an Ansible module."""
    kernel_options = {
        "name": {"type": "str", "required": True},
        "language": {"type": "str", "choices": ["python", "r"], "default": "python"},
        "prefix": {"type": "str", "default": ""},
    }
    question_options = {name: {"type": "str", "required": True} for name in ("name", "kernel", "code")}
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "default": 443},
            "ca_file": {"type": "str"},
            "password_file": {"type": "path", "required": True, "no_log": False},
            "kernels": {"type": "list", "elements": "dict", "default": [], "options": kernel_options},
            "only_kernels": {"type": "bool", "default": True},
            "need_kernel": {"type": "bool", "default": True},
            "ask_kernels": {"type": "bool", "default": True},
            "questions": {"type": "list", "elements": "dict", "default": [], "options": question_options},
            "open_ports": {"type": "list", "elements": "int", "default": []},
            "allowed_ports": {"type": "list", "elements": "int", "default": []},
            "scan_ports": {"type": "list", "elements": "str", "default": []},
            "scan_timeout": {"type": "float", "default": 1.5},
            "scan_concurrency": {"type": "int", "default": 400},
            "days_left": {"type": "int", "default": 7},
            "wait": {"type": "int", "default": 30},
            "kernel_timeout": {"type": "int", "default": 120},
            "tunnel": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    if websocket is None:
        module.fail_json(msg=missing_required_lib("websocket-client"))
    try:
        parse_ports(module.params["scan_ports"])
        with open(module.params["password_file"], encoding="utf-8") as file:
            password = file.read().rstrip("\r\n")
        context = trust(module.params["ca_file"])
    except ssl.SSLError:
        module.fail_json(msg=f"'{module.params['ca_file']}' holds no certificate.")
    except OSError as error:
        module.fail_json(msg=f"'{error.filename or module.params['ca_file']}' cannot be read: {error.strerror}.")
    except ValueError as error:
        module.fail_json(msg=f"{error}.")
    checks = ask(module.params, context, password)
    module.exit_json(changed=False, checks=[check._asdict() for check in checks])


if __name__ == "__main__":
    main()

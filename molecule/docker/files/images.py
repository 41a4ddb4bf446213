"""images.py <registry> <password>: makes the images of the tests out of one program and puts them into the registry.

demo:1 and demo:2 serve a page that says which one they are; demo:sick serves none, and says by its health check that it is
ill. Prints nothing.
"""

import base64
import gzip
import hashlib
import io
import json
import ssl
import sys
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path

REGISTRY, PASSWORD = sys.argv[1:]
CONTEXT = ssl.create_default_context(cafile="/srv/sources/ca.crt")
PROGRAM = Path("/bin/busybox")
NAMES = ("sh", "cat", "httpd", "id", "nc", "sleep", "touch", "true", "wget")


def call(method: str, path: str, data: bytes | None = None, kind: str = "application/octet-stream") -> str:
    """Ask the registry; return where it says to go on."""
    login = base64.b64encode(f"reader:{PASSWORD}".encode()).decode()
    url = path if path.startswith("https:") else f"https://{REGISTRY}/v2/demo/{path}"
    headers = {"Authorization": f"Basic {login}", "Content-Type": kind}
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - https by the line above
    for _ in range(100):
        try:
            with urllib.request.urlopen(request, context=CONTEXT) as answer:  # noqa: S310
                return answer.headers.get("Location", "")
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):  # it is up, then
                raise
            time.sleep(0.1)
    raise SystemExit("The registry does not answer.")


def upload(blob: bytes) -> dict[str, object]:
    """Put a blob into the registry."""
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    place = call("POST", "blobs/uploads/", b"")
    call("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", blob)
    return {"digest": digest, "size": len(blob)}


def layer(version: str) -> bytes:
    """The file system of an image."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:

        def add(name: str, mode: int, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
            info = tarfile.TarInfo(name)
            info.mode, info.type, info.linkname, info.size = mode, kind, link, len(content)
            tar.addfile(info, io.BytesIO(content))

        for folder in ("bin", "etc", "www"):
            add(folder, 0o755, kind=tarfile.DIRTYPE)
        add("tmp", 0o1777, kind=tarfile.DIRTYPE)
        add("bin/busybox", 0o755, PROGRAM.read_bytes())
        for name in NAMES:
            add(f"bin/{name}", 0o777, kind=tarfile.SYMTYPE, link="busybox")
        add("www/index.html", 0o644, f"demo {version}\n".encode())
        add("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\n")
    return buffer.getvalue()


def image(version: str, test: list[str]) -> None:
    """Make one image."""
    content = layer(version)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Cmd": ["httpd", "-f", "-p", "8080", "-h", "/www"],
            "Env": ["PATH=/bin"],
            "Healthcheck": {"Test": ["CMD", *test], "Interval": 10**9, "Timeout": 5 * 10**9, "Retries": 2},
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    kind = "application/vnd.docker.{}+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind.format("distribution.manifest.v2"),
        "config": {"mediaType": kind.format("container.image.v1"), **upload(json.dumps(config).encode())},
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                **upload(gzip.compress(content, mtime=0)),
            }
        ],
    }
    body = json.dumps(manifest).encode()
    call("PUT", f"manifests/{version}", body, str(manifest["mediaType"]))
    Path("/srv/sources/digests", version).write_text(f"sha256:{hashlib.sha256(body).hexdigest()}")


Path("/srv/sources/digests").mkdir(exist_ok=True)
PAGE = ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"]
image("1", PAGE)
image("2", PAGE)
image("sick", ["sh", "-c", "echo ill; exit 1"])

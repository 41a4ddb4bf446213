"""The stand-in notebook image and its registry, without an engine: what goes in, how it is kept, what is refused."""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509

from lab import notebook, registry, settings, sources
from lab.engine import EngineError
from lab.registry import certificate, storage

REQUIREMENTS = """\
jupyterlab==4.6.6 \\
    --hash=sha256:aa
    # via -r requirements.in
jupyter-core==5.9.1 \\
    --hash=sha256:bb
tomli==2.5.0 ; python_full_version < '3.11' \\
    --hash=sha256:cc
tzdata==2026.6 \\
    --hash=sha256:dd
"""


def test_what_conda_has_is_not_installed_by_pip() -> None:
    from_channel, by_pip = notebook.split(REQUIREMENTS, {"jupyter_core", "python-tzdata", "numpy"})
    assert from_channel == sorted({"jupyter_core", "python-tzdata", *notebook.SCIENCE})
    assert by_pip.startswith("jupyterlab==4.6.6 \\\n    --hash=sha256:aa\n")
    assert "tomli" not in by_pip and "tzdata" not in by_pip


def test_the_locked_jupyterlab_is_among_what_pip_installs() -> None:
    assert "\njupyterlab==" in notebook.split(notebook.LOCK.read_text(), set())[1]


def test_only_packages_for_the_images_python_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    records = {
        "noarch": {"six": ["python >=3.9"]},
        "linux-64": {"numpy": ["python 3.11.*"], "pyarrow": ["python 3.13.*"], "zlib": []},
    }
    for subdir, names in records.items():
        packages = {f"{name}.conda": {"name": name, "depends": depends} for name, depends in names.items()}
        (tmp_path / subdir).mkdir()
        (tmp_path / subdir / "repodata.json").write_text(json.dumps({"packages.conda": packages}))
    assert notebook.offered(tmp_path) == {"six", "numpy", "zlib"}


def test_the_images_name_follows_what_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    before = notebook.tag()
    assert notebook.tag() == before
    monkeypatch.setattr(notebook, "files", lambda: {"Dockerfile": b"FROM other"})
    assert notebook.tag() != before


def test_the_build_serves_a_folder_while_it_takes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("b")
    with notebook.serve(tmp_path) as url:
        assert requests.get(f"{url}/a", timeout=5).text == "b"
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/a", timeout=5)


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """An image of two layers."""
    layers = [b"first" * 1000, b"second" * 1000]
    config: dict[str, Any] = {"config": {"Labels": {"a": "b"}}, "rootfs": {"type": "layers"}}
    config["rootfs"]["diff_ids"] = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]

    def unpack(_: str, folder: Path) -> None:
        folder.mkdir()
        for number, layer in enumerate(layers):
            (folder / f"{number}.tar").write_bytes(layer)
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "manifest.json").write_text(json.dumps([{"Config": "config.json", "Layers": ["0.tar", "1.tar"]}]))

    monkeypatch.setattr(storage, "unpack", unpack)
    return layers


def blob(root: Path, digest: str) -> bytes:
    """What is kept under a digest, which has to be its own."""
    text = digest.removeprefix("sha256:")
    data = (root / "docker/registry/v2/blobs/sha256" / text[:2] / text / "data").read_bytes()
    assert hashlib.sha256(data).hexdigest() == text
    return data


def test_an_image_is_kept_as_a_registry_keeps_it(tmp_path: Path, saved: list[bytes]) -> None:
    root = tmp_path / "storage"
    digests = storage.Storage(root).add("image", "a/b", ["one", "two"], tmp_path)
    assert len(set(digests.values())) == 2
    repository = root / "docker/registry/v2/repositories/a/b"
    for tag, digest in digests.items():
        assert (repository / f"_manifests/tags/{tag}/current/link").read_text() == digest
        assert (repository / "_manifests/revisions" / digest.replace(":", "/") / "link").read_text() == digest
        manifest = json.loads(blob(root, digest))
        config = json.loads(blob(root, manifest["config"]["digest"]))
        assert config["config"]["Labels"] == {"a": "b", "lab.release": tag}
        assert [gzip.decompress(blob(root, layer["digest"])) for layer in manifest["layers"]] == saved
        for part in [manifest["config"], *manifest["layers"]]:
            assert len(blob(root, part["digest"])) == part["size"]
            assert (repository / "_layers" / part["digest"].replace(":", "/") / "link").read_text() == part["digest"]


def test_the_same_image_has_the_same_digest(tmp_path: Path, saved: list[bytes]) -> None:
    found = []
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        found.append(storage.Storage(tmp_path / name / "s").add("image", "a/b", ["one"], tmp_path / name))
    assert found[0] == found[1]


def test_the_certificate_is_for_the_name_and_the_address(tmp_path: Path) -> None:
    certificate.write(tmp_path, "registry.lab", "198.18.0.5")
    ca = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    own = x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes())
    own.verify_directly_issued_by(ca)
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["registry.lab"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["198.18.0.5"]
    assert own.not_valid_after_utc - datetime.datetime.now(datetime.UTC) > datetime.timedelta(days=300)
    assert (tmp_path / "tls.key").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "ca.key").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "a b"}, "no name for a container"),
        ({"ip": "198.18.0"}, "no IPv4 address"),
        ({"host_name": "Registry_1"}, "no host name"),
        ({"login": ("ann:x", "secret")}, "letters and digits"),
        ({"login": ("ann", "")}, "1 to 72 bytes"),
        ({"login": ("ann", "x" * 73)}, "1 to 72 bytes"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, Any], sentence: str) -> None:
    good = {"name": "lab-registry", "ip": "198.18.0.5", "host_name": "registry.lab", "login": ("ann", "secret")}
    registry.check(**good)  # type: ignore[arg-type]
    with pytest.raises(EngineError, match=sentence):
        registry.check(**{**good, **change})  # type: ignore[arg-type]


def test_a_container_of_somebody_else_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "docker", lambda *_, **__: "|<no value> running\n")
    with pytest.raises(EngineError, match="not a registry"):
        registry.stop("db")


def test_the_labs_registry_has_an_address_that_no_instance_gets() -> None:
    found = settings.load({"LAB_NAME": "x", "LAB_SUBNET": "198.19.250.0/24"})
    assert (found.registry, found.registry_ip) == ("x-registry", "198.19.250.5")


@pytest.mark.parametrize("there", [True, False], ids=["conda_stand_in", "real_conda"])
def test_the_lab_uses_the_conda_stand_in_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(registry, "start", lambda *_, **options: asked.update(options) or {"host": "h"})
    found = settings.load({"LAB_DIR": str(tmp_path)})
    if there:
        (tmp_path / "conda").mkdir()
    assert sources.registry_stand_in(found) == {"stand_in": True, "host": "h"}
    assert asked == {"label": "lab=lab", "conda": tmp_path / "conda" if there else None}

"""Certificates good and bad, passwords short and kept, and what the host said of itself."""

from __future__ import annotations

import importlib.util
import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("jupyter_tls", ROOT / "plugins/filter/jupyter_tls.py")
assert spec and spec.loader
jupyter_tls = importlib.util.module_from_spec(spec)
spec.loader.exec_module(jupyter_tls)

ADDRESSES = ["192.0.2.7", "notebook.example"]
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])


class Pair:
    """A key and its certificate, made for a test."""

    def __init__(self, names: list[str], start: int = -1, end: int = 300, signer: Pair | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        san = [
            x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() or ":" in name else x509.DNSName(name)
            for name in names
        ]
        builder = (
            x509.CertificateBuilder()
            .subject_name(NAME)
            .issuer_name(NAME)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=start))
            .not_valid_after(now + timedelta(days=end))
        )
        if san:
            builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
        self.certificate = builder.sign((signer or self).key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    @property
    def public_key(self) -> str:
        return jupyter_tls.public_pem(self.key.public_key()).strip()

    def write(self, folder: Path, stem: str = "own") -> tuple[str, str]:
        certificate, key = folder / f"{stem}.crt", folder / f"{stem}.key"
        certificate.write_text(self.pem)
        key.write_text(self.key_pem)
        return str(certificate), str(key)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Settings that work."""
    return {
        "port": 443,
        "addresses": ADDRESSES,
        "kernelspec_dir": "/usr/local/share/jupyter/kernels",
        "password": "",
        "credentials_dir": str(tmp_path / "credentials"),
        "ca_dir": str(tmp_path / "ca"),
        "validity_days": 397,
        "renew_days": 60,
        "certificate_file": "",
        "key_file": "",
        "requirements_file": "",
        "pip_ca_file": "",
        "cull_idle_timeout": 43200,
        "cull_interval": 300,
        "environment": {"PGHOST": "/run/postgresql"},
    }


def test_settings_that_work_are_not_refused(settings: dict[str, Any]) -> None:
    assert jupyter_tls.jupyter_tls_problems(settings) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"port": 0}, "jupyter_tls_port is 0; give 1 to 65535."),
        ({"port": 70000}, "jupyter_tls_port is 70000; give 1 to 65535."),
        ({"validity_days": 20, "renew_days": 5}, "jupyter_tls_validity_days is 20; give 30 to 825 days"),
        ({"renew_days": 397}, "jupyter_tls_renew_days is 397; give 1 day to one less than"),
        ({"cull_idle_timeout": -1}, "jupyter_tls_cull_idle_timeout is -1; give 0 (never) to 31536000 seconds."),
        ({"cull_interval": 0}, "jupyter_tls_cull_interval is 0; give 1 to 86400 seconds."),
        ({"environment": {"1st": "x"}}, "jupyter_tls_environment names '1st'; a variable has letters"),
        ({"environment": {"JUPYTER_PATH": "x"}}, "jupyter_tls_environment names JUPYTER_PATH, which the server itself"),
        ({"environment": {"A": "x\ny"}}, "jupyter_tls_environment gives A more than one line;"),
        ({"addresses": []}, "jupyter_tls_addresses is empty; list the names"),
        ({"addresses": ["https://a.example/"]}, "jupyter_tls_addresses names 'https://a.example/', which is neither"),
        ({"addresses": ["192.0.2.700"]}, "jupyter_tls_addresses names '192.0.2.700', which is neither"),
        ({"addresses": ["-a.example"]}, "jupyter_tls_addresses names '-a.example', which is neither"),
        ({"password": "short"}, "jupyter_tls_password has 5 characters; give at least 12, or leave it out"),
        ({"certificate_file": "/a.crt"}, "jupyter_tls_certificate_file and jupyter_tls_key_file belong together"),
        ({"certificate_file": "/a.crt", "key_file": "/a.key"}, "/a.crt and /a.key cannot be found"),
        ({"requirements_file": "/a.txt"}, "jupyter_tls_requirements_file names /a.txt, which cannot be found"),
        ({"kernelspec_dir": "/opt/specs"}, "jupyter_tls_kernelspec_dir is /opt/specs; its last part must be kernels"),
    ],
)
def test_each_bad_setting_gives_one_sentence(settings: dict[str, Any], change: dict[str, Any], sentence: str) -> None:
    problems = jupyter_tls.jupyter_tls_problems(settings | change)
    assert len(problems) == 1
    assert problems[0].startswith(sentence)
    assert problems[0].endswith(".")


def test_a_short_password_in_the_file_is_refused_and_not_shown(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/jupyter_password").write_text("hunter2\n")
    (problem,) = jupyter_tls.jupyter_tls_problems(settings)
    assert "jupyter_password has 7 characters" in problem
    assert "hunter2" not in problem


def own(settings: dict[str, Any], certificate: str, key: str) -> list[str]:
    """Problems of the settings with a certificate of one's own."""
    problems: list[str] = jupyter_tls.jupyter_tls_problems(
        settings | {"certificate_file": certificate, "key_file": key}
    )
    return problems


@pytest.mark.parametrize("names", [ADDRESSES, [*ADDRESSES, "more.example"], ["192.0.2.7", "*.example"]])
def test_a_good_certificate_of_one_s_own_is_taken(settings: dict[str, Any], tmp_path: Path, names: list[str]) -> None:
    assert own(settings, *Pair(names).write(tmp_path)) == []


def test_certificate_and_key_that_do_not_match(settings: dict[str, Any], tmp_path: Path) -> None:
    certificate, _ = Pair(ADDRESSES).write(tmp_path)
    _, key = Pair(ADDRESSES).write(tmp_path, "other")
    assert own(settings, certificate, key) == [
        f"{certificate} and {key} do not belong together; give the key that the certificate was made for."
    ]


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (Pair(ADDRESSES, start=-30, end=-2), "expired on"),
        (Pair(ADDRESSES, start=3), "is not valid before"),
        (Pair(["192.0.2.7", "*.deep.example"]), "is not for notebook.example (it is for *.deep.example, 192.0.2.7)"),
        (Pair([]), "is not for 192.0.2.7, notebook.example (it is for no name at all)"),
    ],
)
def test_a_bad_certificate_of_one_s_own(settings: dict[str, Any], tmp_path: Path, pair: Pair, sentence: str) -> None:
    certificate, key = pair.write(tmp_path)
    (problem,) = own(settings, certificate, key)
    assert problem.startswith(f"{certificate} {sentence}")


def test_files_that_hold_something_else(settings: dict[str, Any], tmp_path: Path) -> None:
    certificate, key = Pair(ADDRESSES).write(tmp_path)
    assert own(settings, key, key)[0].startswith(f"{key} holds no certificate in PEM form")
    assert own(settings, certificate, certificate)[0].startswith(f"{certificate} holds no private key in PEM form")


def test_a_ca_that_cannot_sign(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    certificate, key = Pair([], end=4000).write(tmp_path / "ca", "ca")
    assert jupyter_tls.jupyter_tls_problems(settings) == []
    Path(key).unlink()
    assert jupyter_tls.jupyter_tls_problems(settings)[0].startswith(f"{certificate} has lost its key {key};")
    Pair([], end=100).write(tmp_path / "ca", "ca")
    assert "before a certificate of 397 days that it would sign now" in jupyter_tls.jupyter_tls_problems(settings)[0]


def reasons(server: Pair, ca: Pair, **change: Any) -> list[str]:
    """Reasons to renew a server's certificate."""
    state = {"certificate": server.pem, "public_key": server.public_key} | change.pop("state", {})
    given = {"ca_pem": ca.pem, "addresses": ADDRESSES, "renew_days": 60} | change
    result: list[str] = jupyter_tls.jupyter_tls_renewal(state, **given)
    return result


def test_a_certificate_is_renewed_for_a_reason_only() -> None:
    ca = Pair([])
    good = Pair(ADDRESSES, signer=ca)
    assert reasons(good, ca) == []
    assert reasons(good, ca, addresses=["NOTEBOOK.example", "192.0.2.7"]) == []
    assert reasons(good, ca, state={"certificate": ""}) == ["there is none yet that the server can use"]
    assert reasons(good, ca, state={"public_key": ""}) == ["there is none yet that the server can use"]
    assert reasons(good, ca, state={"public_key": ca.public_key}) == ["its key is another one"]
    assert reasons(good, ca, ca_pem="") == ["there is no private CA yet"]
    assert reasons(good, Pair([])) == ["another CA signed it"]
    assert reasons(good, ca, addresses=["192.0.2.8"]) == [
        "it is for 192.0.2.7, notebook.example, and shall be for 192.0.2.8"
    ]
    assert reasons(Pair(ADDRESSES, end=59, signer=ca), ca)[0].startswith("it has 58 days left")
    assert reasons(Pair(ADDRESSES, end=61, signer=ca), ca) == []


def test_a_hash_that_is_right_stays() -> None:
    password = "correct horse battery"
    present = jupyter_tls.jupyter_tls_hash(password, "")
    assert present.startswith("argon2:$argon2id$")
    assert jupyter_tls.jupyter_tls_hash(password, present) == present
    changed = jupyter_tls.jupyter_tls_hash("another password", present)
    assert changed != present
    assert PasswordHasher().verify(changed.removeprefix("argon2:"), "another password")


@pytest.mark.parametrize(
    "weak", ["sha1:0e112c3ddfce:a68df677475c2b47b6e86d0467eec97ac5f4b85a", "argon2:garbage", "weak"]
)
def test_a_weaker_hash_is_replaced(weak: str) -> None:
    if weak == "weak":
        weak = "argon2:" + PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash("mypassword")
    assert jupyter_tls.jupyter_tls_hash("mypassword", weak) != weak


def test_the_state_of_the_host_is_read_by_name() -> None:
    text = "== group\njupyter\n== stale\n== certificate\n-----BEGIN\n-----END\n"
    assert jupyter_tls.jupyter_tls_state(text) == {
        "group": "jupyter",
        "stale": "",
        "certificate": "-----BEGIN\n-----END",
    }


def test_names_and_addresses_go_into_the_certificate_as_what_they_are() -> None:
    assert jupyter_tls.jupyter_tls_san(["192.0.2.7", "2001:DB8:0::1", "A.example."]) == [
        "IP:192.0.2.7",
        "IP:2001:db8::1",
        "DNS:a.example",
    ]


def test_a_key_is_told_from_another() -> None:
    pair = Pair(ADDRESSES)
    assert jupyter_tls.jupyter_tls_same_key(pair.key_pem, pair.public_key)
    assert not jupyter_tls.jupyter_tls_same_key(pair.key_pem, Pair(ADDRESSES).public_key)


def test_variables_reach_a_kernel_as_they_are() -> None:
    assert jupyter_tls.jupyter_tls_assignments({"B": 'say "100%" \\o/', "A": 1}) == [
        '"A=1"',
        '"B=say \\"100%%\\" \\\\o/"',
    ]

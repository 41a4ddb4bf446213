"""What the role jupyter_tls decides on the controller: are settings sound, certificates good, hashes right."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

PASSWORD_MINIMUM = 12
VALIDITY_RANGE = (30, 825)
# One label of a host name: letters, digits and inner hyphens.
LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Variables of this kind decide how the server itself works; the role sets them.
OWN_VARIABLE = re.compile(r"JUPYTER.*|OPENSSL_CONF|PATH|LD_.*")
SECTION = re.compile(r"^== (\w+)$", re.MULTILINE)


def as_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a text spells, or None when it spells none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_host_name(text: str) -> bool:
    """Whether a text is a name that a certificate may bear (no wildcard, no port, not a mistyped IPv4 address)."""
    name = text.lower().rstrip(".")
    labels = name.split(".")
    return len(name) <= 253 and all(LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def normal(address: str) -> str:
    """One spelling for each address, so that two lists can be compared."""
    ip = as_ip(address)
    return str(ip) if ip else address.lower().rstrip(".")


def names_in(certificate: x509.Certificate) -> set[str]:
    """The names and addresses that a certificate is for."""
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    names = [normal(name) for name in san.get_values_for_type(x509.DNSName)]
    return set(names) | {str(ip) for ip in san.get_values_for_type(x509.IPAddress)}


def covers(names: set[str], address: str) -> bool:
    """Whether a certificate for these names is good for the address; a wildcard stands for one label."""
    wanted = normal(address)
    return wanted in names or (as_ip(wanted) is None and "*." + wanted.partition(".")[2] in names)


def reaches(certificate: x509.Certificate, addresses: list[str]) -> str:
    """A half sentence when the certificate is not for all addresses, or nothing."""
    missing = [address for address in addresses if not covers(names_in(certificate), address)]
    return f"is not for {', '.join(missing)}" if missing else ""


def public_pem(key: Any) -> str:
    """A public key as text, so that two can be compared."""
    pem: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def number_problems(settings: dict[str, Any]) -> list[str]:
    """Numbers out of their range."""
    low, high = VALIDITY_RANGE
    ranges = {
        "port": (1, 65535, "1 to 65535"),
        "validity_days": (low, high, f"{low} to {high} days; browsers refuse certificates that are valid for longer"),
        "renew_days": (1, int(settings["validity_days"]) - 1, "1 day to one less than jupyter_tls_validity_days"),
        "cull_idle_timeout": (0, 31536000, "0 (never) to 31536000 seconds"),
        "cull_interval": (1, 86400, "1 to 86400 seconds"),
    }
    return [
        f"jupyter_tls_{name} is {settings[name]}; give {words}."
        for name, (least, most, words) in ranges.items()
        if not least <= int(settings[name]) <= most
    ]


def address_problems(addresses: list[str]) -> list[str]:
    """Addresses that no certificate can bear."""
    if not addresses:
        return ["jupyter_tls_addresses is empty; list the names and IP addresses that people type to reach the server."]
    return [
        f"jupyter_tls_addresses names {address!r}, which is neither a host name nor an IP address;"
        " give it without https://, port or path."
        for address in addresses
        if not (as_ip(address) or is_host_name(address))
    ]


def password_problems(password: str, file: Path) -> list[str]:
    """A password that is too short, given or in the file."""
    given = "jupyter_tls_password"
    if not password and file.is_file():
        password, given = file.read_text().rstrip("\n"), f"the password in {file}"
    if password and len(password) < PASSWORD_MINIMUM:
        return [
            f"{given} has {len(password)} characters; give at least {PASSWORD_MINIMUM},"
            " or leave it out and one is generated."
        ]
    return []


def own_certificate_problems(certificate_file: str, key_file: str, addresses: list[str]) -> list[str]:
    """What is wrong with a certificate and a key that a person gives."""
    if not (certificate_file and key_file):
        return [
            "jupyter_tls_certificate_file and jupyter_tls_key_file belong together; give both,"
            " or none for the private CA."
        ]
    missing = [file for file in (certificate_file, key_file) if not Path(file).is_file()]
    if missing:
        return [
            f"{' and '.join(missing)} cannot be found; correct jupyter_tls_certificate_file or jupyter_tls_key_file."
        ]
    try:
        certificate = x509.load_pem_x509_certificate(Path(certificate_file).read_bytes())
    except ValueError:
        return [
            f"{certificate_file} holds no certificate in PEM form; give the server's certificate,"
            " then its chain, in one file."
        ]
    try:
        key = serialization.load_pem_private_key(Path(key_file).read_bytes(), password=None)
    except (ValueError, TypeError):
        return [
            f"{key_file} holds no private key in PEM form without a passphrase; the server must be able to start alone."
        ]
    now, shown = datetime.now(UTC), "%Y-%m-%d %H:%M UTC"
    problems = []
    if public_pem(key.public_key()) != public_pem(certificate.public_key()):
        problems.append(
            f"{certificate_file} and {key_file} do not belong together; give the key that the certificate was made for."
        )
    if certificate.not_valid_after_utc <= now:
        problems.append(f"{certificate_file} expired on {certificate.not_valid_after_utc:{shown}}; give a newer one.")
    if certificate.not_valid_before_utc > now:
        problems.append(
            f"{certificate_file} is not valid before {certificate.not_valid_before_utc:{shown}};"
            " wait, or correct this machine's clock."
        )
    if wrong := reaches(certificate, addresses):
        names = ", ".join(sorted(names_in(certificate))) or "no name at all"
        problems.append(
            f"{certificate_file} {wrong} (it is for {names}); give another one, or correct jupyter_tls_addresses."
        )
    return problems


def ca_problems(folder: Path, validity_days: int) -> list[str]:
    """A private CA that cannot sign any more."""
    certificate_file, key_file = folder / "ca.crt", folder / "ca.key"
    if not certificate_file.is_file():
        return []
    if not key_file.is_file():
        return [
            f"{certificate_file} has lost its key {key_file};"
            " bring the key back, or move the certificate away and trust a new one."
        ]
    try:
        end = x509.load_pem_x509_certificate(certificate_file.read_bytes()).not_valid_after_utc
    except ValueError:
        return [
            f"{certificate_file} holds no certificate in PEM form;"
            " bring the right file back, or move it away and trust a new one."
        ]
    if end <= datetime.now(UTC) + timedelta(days=validity_days):
        return [
            f"{certificate_file} ends on {end:%Y-%m-%d}, before a certificate of {validity_days} days that it would"
            f" sign now; move {folder} away, and trust the new CA that the next run makes."
        ]
    return []


def file_problems(settings: dict[str, Any]) -> list[str]:
    """Files that are named and not there, and a directory that Jupyter would not look into."""
    problems = [
        f"jupyter_tls_{name} names {settings[name]}, which cannot be found on this machine;"
        " correct it, or leave it empty."
        for name in ("requirements_file", "pip_ca_file")
        if settings[name] and not Path(settings[name]).is_file()
    ]
    if Path(settings["kernelspec_dir"]).name != "kernels":
        problems.append(
            f"jupyter_tls_kernelspec_dir is {settings['kernelspec_dir']};"
            " its last part must be kernels, where Jupyter looks."
        )
    return problems


def environment_problems(environment: dict[str, Any]) -> list[str]:
    """Variables that cannot be, or that would change the server itself."""
    problems = []
    for name, value in environment.items():
        if not VARIABLE.fullmatch(str(name)):
            problems.append(
                f"jupyter_tls_environment names {str(name)!r}; a variable has letters, digits and _, no digit first."
            )
        elif OWN_VARIABLE.fullmatch(name):
            problems.append(f"jupyter_tls_environment names {name}, which the server itself depends on; take it out.")
        elif not str(value).isprintable():
            problems.append(f"jupyter_tls_environment gives {name} more than one line; a variable of a unit has one.")
    return problems


def jupyter_tls_assignments(environment: dict[str, Any]) -> list[str]:
    """The variables as systemd reads them in Environment=, where quotes, backslashes and percent signs mean something."""
    values = {name: str(value).replace("\\", "\\\\").replace('"', '\\"') for name, value in environment.items()}
    return [f'"{name}={value}"'.replace("%", "%%") for name, value in sorted(values.items())]


def jupyter_tls_problems(settings: dict[str, Any]) -> list[str]:
    """Sentences about settings that cannot work; none when all is well."""
    problems = number_problems(settings) + address_problems(settings["addresses"]) + file_problems(settings)
    problems += environment_problems(settings["environment"])
    problems += password_problems(settings["password"], Path(settings["credentials_dir"], "jupyter_password"))
    if settings["certificate_file"] or settings["key_file"]:
        return problems + own_certificate_problems(
            settings["certificate_file"], settings["key_file"], settings["addresses"]
        )
    return problems + ca_problems(Path(settings["ca_dir"]), int(settings["validity_days"]))


def jupyter_tls_state(text: str) -> dict[str, str]:
    """What a look found on the host: each "== name" begins a part."""
    parts = SECTION.split(text)
    return {name: value.strip() for name, value in zip(parts[1::2], parts[2::2], strict=True)}


def jupyter_tls_renewal(state: dict[str, str], ca_pem: str, addresses: list[str], renew_days: int) -> list[str]:
    """Why the certificate on the host must be made (again); none when it is good."""
    if not state["certificate"] or not state["public_key"]:
        return ["there is none yet that the server can use"]
    if not ca_pem:
        return ["there is no private CA yet"]
    certificate = x509.load_pem_x509_certificate(state["certificate"].encode())
    reasons = []
    if public_pem(certificate.public_key()).strip() != state["public_key"]:
        reasons.append("its key is another one")
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_pem.encode()))
    except (ValueError, TypeError, InvalidSignature):
        reasons.append("another CA signed it")
    if names_in(certificate) != {normal(address) for address in addresses}:
        reasons.append(f"it is for {', '.join(sorted(names_in(certificate)))}, and shall be for {', '.join(addresses)}")
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    if left < timedelta(days=renew_days):
        reasons.append(f"it has {max(left.days, 0)} days left, and is renewed when fewer than {renew_days} are")
    return reasons


def jupyter_tls_same_key(key_pem: str, public_key: str) -> bool:
    """Whether a private key is the one whose public half is given."""
    key: Any = serialization.load_pem_private_key(key_pem.encode(), password=None)
    return public_pem(key.public_key()).strip() == public_key


def jupyter_tls_san(addresses: list[str]) -> list[str]:
    """Addresses as subjectAltName wants them."""
    return [f"{'IP' if as_ip(address) else 'DNS'}:{normal(address)}" for address in addresses]


def jupyter_tls_hash(password: str, present: str) -> str:
    """The password's hash as Jupyter reads it: the present one while it is right, a new one otherwise."""
    hasher = PasswordHasher()
    old = present.removeprefix("argon2:")
    try:
        if hasher.verify(old, password) and not hasher.check_needs_rehash(old):
            return present
    except (VerificationError, InvalidHashError):
        pass
    return f"argon2:{hasher.hash(password)}"


class FilterModule:
    """Filters of the role jupyter_tls."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            f.__name__: f
            for f in (
                jupyter_tls_problems,
                jupyter_tls_state,
                jupyter_tls_renewal,
                jupyter_tls_same_key,
                jupyter_tls_san,
                jupyter_tls_hash,
                jupyter_tls_assignments,
            )
        }

"""An AWS account of the lab for each worker, and the files that bad settings name."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.account import Account, new_account


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Account]:
    """An account with a region (eu-west-1) that has no default VPC."""
    with new_account(tmp_path_factory.mktemp("lab"), f"refusals-{worker_id}") as account:
        ec2 = account.client(region="eu-west-1")
        for subnet in ec2.describe_subnets()["Subnets"]:
            ec2.delete_subnet(SubnetId=subnet["SubnetId"])
        for vpc in ec2.describe_vpcs()["Vpcs"]:
            ec2.delete_vpc(VpcId=vpc["VpcId"])
        yield account


def certificate(key: ec.EllipticCurvePrivateKey, days: int) -> bytes:
    """A certificate for demo that ends so many days from now."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "demo")])
    end = datetime.now(UTC) + timedelta(days=days)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), end - timedelta(days=90), end
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("demo")]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SSH keys one and two; certificates good and old with their keys."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("one", "two"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    for name, days in (("good", 60), ("old", -1)):
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / f"{name}.crt").write_bytes(certificate(key, days))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.key").write_bytes(pem)
    return folder

"""An AWS account of the lab for each worker, and the files that bad settings name."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PROJECT = Path(__file__).resolve().parents[2]


class Account:
    """The lab's API, what is in it, and its faults."""

    def __init__(self, folder: Path, worker: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.lab = {"LAB_DIR": str(folder), "LAB_NAME": f"refusals-{worker}", "LAB_PORT": str(self.port)}
        self.command("up", "--api-only")
        lines = [
            line.removeprefix("export ").split("=", 1)
            for line in (folder / "env").read_text().splitlines()
            if "=" in line
        ]
        self.keys = dict(lines)

    def command(self, *arguments: str) -> None:
        """Run `python -m lab`."""
        subprocess.run(
            [sys.executable, "-m", "lab", *arguments], cwd=PROJECT, env={**os.environ, **self.lab}, check=True
        )

    def client(self, region: str = "us-west-2") -> Any:
        """A client with the right keys."""
        return boto3.client(
            "ec2",
            endpoint_url=self.keys["AWS_ENDPOINT_URL"],
            region_name=region,
            aws_access_key_id=self.keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.keys["AWS_SECRET_ACCESS_KEY"],
        )

    def things(self) -> dict[str, int]:
        """How many of each thing there are that a run could have made."""
        ec2 = self.client()
        return {
            "instances": len(ec2.describe_instances()["Reservations"]),
            "volumes": len(ec2.describe_volumes()["Volumes"]),
            "key pairs": len(ec2.describe_key_pairs()["KeyPairs"]),
            "security groups": len(
                [g for g in ec2.describe_security_groups()["SecurityGroups"] if g["GroupName"] != "default"]
            ),
            "VPCs": len([v for v in ec2.describe_vpcs()["Vpcs"] if not v["IsDefault"]]),
        }


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Account]:
    """An account with a region (eu-west-1) that has no default VPC."""
    account = Account(tmp_path_factory.mktemp("lab"), worker_id)
    ec2 = account.client("eu-west-1")
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    for vpc in ec2.describe_vpcs()["Vpcs"]:
        ec2.delete_vpc(VpcId=vpc["VpcId"])
    yield account
    account.command("down")


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

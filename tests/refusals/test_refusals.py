"""Bad input: one sentence, nothing created, an exit code that is not 0. One row is one way to be wrong."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.account import NOTHING, REGION, Account, changing

PROJECT = Path(__file__).resolve().parents[2]
KERNEL = {"name": "py313", "packages": ["python=3.13"]}
FULL = ("RunInstances", "InsufficientInstanceCapacity", "We currently do not have sufficient capacity.")
QUOTA = (
    "RunInstances",
    "VcpuLimitExceeded",
    "You have requested more vCPU capacity than your current vCPU limit of 0 allows.",
)


@dataclass
class Row:
    """What is given wrongly, and the sentence that comes back. {files} is a folder with keys and certificates.

    Only the components whose settings are given are asked, so that a row is quick; with `whole` all that group_vars names.
    """

    says: str
    given: dict[str, Any] = field(default_factory=dict)
    server: str = "demo"
    keys: dict[str, str] = field(default_factory=dict)
    fault: tuple[str, str, str] | None = None
    whole: bool = False


ROWS = {
    "no credentials": Row(
        "No AWS credentials were found (Unable to locate credentials): run `aws configure` (or `aws login`, `aws sso login`, or set "
        "ec2_provision_profile) to use your AWS account, or `make demo` to try everything on this machine without one.",
        keys={"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
    ),
    "half of the credentials": Row(
        "The AWS credentials are incomplete (one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is not set): ",
        keys={"AWS_SECRET_ACCESS_KEY": ""},
    ),
    "wrong credentials": Row(
        "AWS does not accept these credentials (AuthFailure: ", keys={"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"}
    ),
    "expired credentials": Row(
        "The AWS credentials have expired (The security token included in the request is expired): sign in again",
        fault=("GetCallerIdentity", "ExpiredToken", "The security token included in the request is expired"),
    ),
    "credentials without permission": Row(
        "These credentials may not look at what this region offers (UnauthorizedOperation: You are not authorized to "
        "perform this operation): "
        "ask whoever runs the AWS account for that permission.",
        fault=("DescribeInstanceTypes", "UnauthorizedOperation", "You are not authorized to perform this operation."),
    ),
    "no such profile": Row(
        "There is no AWS profile 'wrok': correct ec2_provision_profile.", {"ec2_provision_profile": "wrok"}
    ),
    "AWS out of reach": Row("AWS cannot be reached (", keys={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}),
    "region misspelt": Row(
        "There is no AWS region 'us-wst-2': correct ec2_provision_region. Did you mean us-west-2",
        {"ec2_provision_region": "us-wst-2"},
    ),
    "unknown OS": Row(
        "There is no operating system 'debian14' here: set ec2_provision_os to debian13, debian12, ubuntu2404, "
        "ubuntu2204, amazonlinux2023.",
        {"ec2_provision_os": "debian14"},
    ),
    "unknown image": Row(
        "There is no image ami-0123456789abcdef0 in us-west-2: choose another ec2_provision_os",
        {"ec2_provision_image_id": "ami-0123456789abcdef0"},
    ),
    "unknown type": Row(
        "There is no instance type 't3.lagre': correct ec2_provision_instance_type. Did you mean t3.large",
        {"ec2_provision_instance_type": "t3.lagre"},
    ),
    "type not offered": Row(
        "The instance type u-24tb1.112xlarge is not offered in us-west-1: choose another ec2_provision_instance_type "
        "or ec2_provision_region.",
        {"ec2_provision_instance_type": "u-24tb1.112xlarge", "ec2_provision_region": "us-west-1"},
    ),
    "dearer than agreed": Row(
        "m7i-flex.large in us-west-2 with 30 GB costs about $75.95 a month running all the time, more than max_monthly_usd (50): "
        "choose a smaller ec2_provision_instance_type or raise max_monthly_usd.",
        {"max_monthly_usd": 50},
    ),
    "unknown price": Row(
        "No price of m5zn.large in us-west-2 is known here, so max_monthly_usd (200) cannot be kept: AWS did not say its prices (",
        {"ec2_provision_instance_type": "m5zn.large"},
    ),
    "CIDR that is none": Row(
        "'300.1.1.1/32' in ec2_provision_allowed_cidrs is not an address range: write one like 203.0.113.7/32.",
        {"ec2_provision_allowed_cidrs": ["300.1.1.1/32"]},
    ),
    "half the internet": Row(
        "'0.0.0.0/1' in ec2_provision_allowed_cidrs is a good part of the internet: write 0.0.0.0/0 if you mean "
        "everybody, or a narrower range.",
        {"ec2_provision_allowed_cidrs": ["0.0.0.0/1", "128.0.0.0/1"]},
    ),
    "world-open port not named": Row(
        "ec2_provision_extra_ingress entry 1 would open port 8050 to the whole internet without a reason: add "
        "`reason:` to say why, "
        "or give a narrower cidr.",
        {"ec2_provision_extra_ingress": [{"port": 8050, "cidr": "0.0.0.0/0"}]},
    ),
    "own address unknown": Row(
        "name the addresses that may reach the server in ec2_provision_allowed_cidrs, such as [203.0.113.7/32].",
        {"ec2_provision_caller_ip_url": "http://127.0.0.1:9/"},
    ),
    "port clash with SSH": Row(
        "jupyter_tls_port and SSH both want port 22: change one of them.", {"jupyter_tls_port": 22}
    ),
    "port clash with an extra port": Row(
        "ec2_provision_extra_ingress entry 1 opens port 443, which JupyterLab has: use ec2_provision_allowed_cidrs "
        "for that one.",
        {
            "server_components": ["jupyter_tls"],
            "ec2_provision_extra_ingress": [{"port": 443, "cidr": "203.0.113.7"}],
        },
    ),
    "port that is none": Row(
        "jupyter_tls_port is '70000', which is not a port: give a number from 1 to 65535.", {"jupyter_tls_port": 70000}
    ),
    "disk too small": Row(
        "ec2_provision_disk_gb is 8, too small for the system and its kernels: give at least 16.",
        {"ec2_provision_disk_gb": 8},
    ),
    "server name": Row(
        "The server name 'My_Server' cannot be a host name and a tag: use 1 to 63 of a-z, 0-9 and -, with a letter or "
        "digit at both ends.",
        server="My_Server",
    ),
    "server name too long": Row("cannot be a host name and a tag: use 1 to 63 of", server="a" * 64),
    "tag that is identity": Row(
        "ec2_provision_tags sets Name, which is how the server is found again: choose another key.",
        {"ec2_provision_tags": {"Name": "other"}},
    ),
    "unknown component": Row(
        "server_components names 'anaconda_kernel', and there is no such role: correct it. Did you mean "
        "anaconda_kernels?",
        {"server_components": ["base", "anaconda_kernel"]},
    ),
    "database name that is none": Row(
        "postgres_databases names 'my data'; a database has up to 50 letters, digits, _ and -, no digit or - first.",
        {"postgres_databases": [{"name": "my data"}]},
    ),
    "two accounts alike": Row(
        "mysql_users names ann from localhost twice; make one of the two.",
        {"mysql_users": [{"name": "ann", "plugin": "socket"}, {"name": "ann", "plugin": "socket"}]},
    ),
    "grant on a database that is not there": Row(
        "mysql_users gives ann privileges on sales, which mysql_databases does not name; add it there.",
        {"mysql_users": [{"name": "ann", "privileges": {"sales": ["ALL"]}}]},
    ),
    "unknown way to log in": Row(
        "ann shall log in by 'kerberos', which the role does not know; give",
        {"postgres_users": [{"name": "jupyter", "plugin": "peer"}, {"name": "ann", "plugin": "kerberos"}]},
    ),
    "database open to the world": Row(
        "postgres_remote_access.cidrs has 0.0.0.0/0, which opens the server to the world; name your own networks, or say "
        "postgres_open_to_the_world: true.",
        {"postgres_remote_access": {"bind": "0.0.0.0", "cidrs": ["0.0.0.0/0"]}},
    ),
    "image without digest": Row(
        "notebook_container_digest is empty, and images without one are refused; give that of",
        {"docker_require_digest": True, "notebook_container_digest": ""},
    ),
    "container that could become root": Row(
        "whoever has that is root on the host, so it is never mounted.",
        {
            "docker_containers": [
                {
                    "name": "ctl",
                    "image": "quay.io/x/y:1",
                    "volumes": [{"source": "/var/run/docker.sock", "target": "/var/run/docker.sock"}],
                }
            ]
        },
    ),
    "two servers of notebooks on one port": Row(
        "notebook_container_port and jupyter_tls_port both want port 443: change one of them.",
        {"jupyter_tls_port": 443, "notebook_container_port": 443},
    ),
    "groups of root": Row(
        "base_user_groups names docker, which would make every notebook root; take it out.",
        {"base_user_groups": ["docker"]},
    ),
    "idle for no time": Row("autostop_idle_minutes is 0; give ", {"autostop_idle_minutes": 0}),
    "folder of samples that is none": Row(
        "'samples' is not an absolute path; desk_samples_dir and the folders of desk_servers start with /.",
        {"desk_samples_dir": "samples"},
    ),
    "mount point that is none": Row(
        "data_volume_path is 'data': give a folder of its own, such as /data.", {"data_volume_path": "data"}
    ),
    "tunnel through a port that is none": Row(
        "notebook_tunnel_port is 443: give a port of this machine from 1024 to 65000.", {"client_tunnel_port": 443}
    ),
    "bucket that is none": Row(
        "'My_Data' cannot be a bucket: use 3 to 63 of a-z, 0-9 and -, with a letter or digit at both ends.",
        {"instance_profile_buckets": [{"name": "My_Data"}]},
    ),
    "SSH key missing": Row(
        "which is not there: correct it, or leave both empty and a key is made.",
        {"ec2_provision_key_public_file": "{files}/none.pub", "ec2_provision_key_private_file": "{files}/one"},
    ),
    "SSH key, only one half": Row(
        "Give both ec2_provision_key_public_file and ec2_provision_key_private_file, or none of them and a key is "
        "made.",
        {"ec2_provision_key_public_file": "{files}/one.pub"},
    ),
    "SSH keys mixed up": Row(
        "ec2_provision_key_public_file names a private key: name the file that ends in .pub; the private half never "
        "leaves this machine.",
        {"ec2_provision_key_public_file": "{files}/one", "ec2_provision_key_private_file": "{files}/one.pub"},
    ),
    "SSH keys of two pairs": Row(
        "are not two halves of one key: name the two files of one pair.",
        {"ec2_provision_key_public_file": "{files}/one.pub", "ec2_provision_key_private_file": "{files}/two"},
    ),
    "certificate and key of two pairs": Row(
        "do not belong together; give the key that the certificate was made for.",
        {"jupyter_tls_certificate_file": "{files}/good.crt", "jupyter_tls_key_file": "{files}/old.key"},
    ),
    "certificate expired": Row(
        "old.crt expired on ",
        {"jupyter_tls_certificate_file": "{files}/old.crt", "jupyter_tls_key_file": "{files}/old.key"},
    ),
    "password too short": Row("has 8 characters; give at least 12,", {"jupyter_tls_password": "password"}),
    "kernel named twice": Row(
        "Kernel py313 is in the list 2 times: give each its own name.",
        {"anaconda_kernels_kernels": [KERNEL, {**KERNEL, "name": "PY313"}]},
    ),
    "kernel with an unknown field": Row(
        "Kernel py313 has the unknown field package: known are ",
        {"anaconda_kernels_kernels": [{**KERNEL, "package": ["numpy"]}]},
    ),
    "SHA-256 that is none": Row(
        "The SHA-256 of the installer for x86_64 is 'abc': it has 64 hexadecimal digits.",
        {"anaconda_kernels_installer_sha256": {"x86_64": "abc"}},
    ),
    "installer out of reach": Row(
        "http://127.0.0.1:9/installer.sh cannot be reached ([Errno 111] Connection refused): check your network, or "
        "set "
        "anaconda_kernels_installer_url to a place that can be.",
        {
            "preflight_check_sources": True,
            "anaconda_kernels_channels": ["file:///nowhere"],
            "anaconda_kernels_installer_url": "http://127.0.0.1:9/installer.sh",
            "anaconda_kernels_installer_sha256": {"x86_64": "0" * 64},
        },
    ),
    "channel out of reach": Row(
        "http://127.0.0.1:9/ours/noarch/repodata.json cannot be reached ([Errno 111] Connection refused): check your "
        "network, or set "
        "anaconda_kernels_channels to a place that can be.",
        {"preflight_check_sources": True, "anaconda_kernels_channels": ["http://127.0.0.1:9/ours"]},
    ),
    "no capacity in any zone": Row(
        "demo: Launch in the first zone with room failed: We currently do not have sufficient capacity "
        "(InsufficientInstanceCapacity). "
        "AWS has no free m7i-flex.large in us-west-2a, us-west-2b, us-west-2c, us-west-2d now: try again later, or "
        "choose another "
        "ec2_provision_instance_type or ec2_provision_region.",
        fault=FULL,
        whole=True,
    ),
    "quota": Row(
        "demo: Launch in the first zone with room failed: You have requested more vCPU capacity than your current "
        "vCPU limit of 0 allows "
        "(VcpuLimitExceeded). Your account's quota of vCPUs for this family is used up in us-west-2: terminate "
        "something,",
        fault=QUOTA,
    ),
    "no default VPC": Row(
        "This region has no default VPC and ec2_provision_vpc_create is false: allow it to make one, or name yours in "
        "ec2_provision_vpc_id or ec2_provision_subnet_id.",
        {"ec2_provision_region": "eu-west-1", "ec2_provision_vpc_create": False},
    ),
    "no such VPC": Row(
        "There is no VPC vpc-0123456789abcdef0 with a subnet in this region: correct ec2_provision_vpc_id.",
        {"ec2_provision_vpc_id": "vpc-0123456789abcdef0"},
    ),
    "no such subnet": Row(
        "There is no subnet subnet-0123456789abcdef0 in this region: correct ec2_provision_subnet_id.",
        {"ec2_provision_subnet_id": "subnet-0123456789abcdef0"},
    ),
}


# What runs before each change lands: one row for each component, and whatever needs AWS's answer or credentials.
GATE = {
    "no credentials",
    "half of the credentials",
    "wrong credentials",
    "expired credentials",
    "credentials without permission",
    "no such profile",
    "AWS out of reach",
    "region misspelt",
    "unknown image",
    "unknown type",
    "type not offered",
    "no capacity in any zone",
    "quota",
    "no default VPC",
    "no such VPC",
    "no such subnet",
    "unknown component",
    "dearer than agreed",
    "grant on a database that is not there",
    "database open to the world",
    "container that could become root",
    "image without digest",
    "certificate expired",
    "kernel with an unknown field",
    "channel out of reach",
}
# Where a run could make something, whatever region it was given.
REGIONS = sorted({row.given.get("ec2_provision_region", REGION) for row in ROWS.values()} - {"us-wst-2"})
COMPONENTS = sorted(file.parents[1].name for file in PROJECT.glob("roles/*/tasks/preflight.yml"))


def of(row: Row) -> dict[str, Any]:
    """The settings that leave out the components of which a row says nothing."""
    asked = [name for name in COMPONENTS if any(setting.startswith(f"{name}_") for setting in row.given)]
    # These are asked for every server that AWS is to run.
    always = ("client", "ec2_provision", "instance_profile")
    return {} if row.whole else {"server_components": [name for name in asked if name not in always]}


def rows() -> list[Any]:
    """The rows, those outside the gate marked."""
    assert ROWS.keys() >= GATE
    return [
        pytest.param(row, id=name, marks=[] if name in GATE else pytest.mark.extended) for name, row in ROWS.items()
    ]


@pytest.mark.parametrize("row", rows())
def test_refused(row: Row, account: Account, files: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"servers": {"children": {"launched": {"hosts": {row.server: {}}}}}}))
    state = tmp_path / "state"
    given = {
        "state_dir": str(state),
        "ec2_provision_caller_ip_url": f"{account.endpoint}/checkip",
        "preflight_check_sources": False,
        **of(row),
        **json.loads(json.dumps(row.given).replace("{files}", str(files))),
    }
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_", "LAB_"))
    }
    environment |= {"HOME": str(tmp_path), "ANSIBLE_NOCOLOR": "1", **account.keys, **row.keys}
    environment = {name: value for name, value in environment.items() if value}
    if row.fault:
        account.fault(*row.fault)
    account.forget()
    try:
        done = subprocess.run(
            ["ansible-playbook", "-i", str(inventory), "site.yml", "-e", json.dumps(given)],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        account.calm()
    called, _ = account.called()
    output = " ".join((done.stdout + done.stderr).split())
    assert row.says in output, done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in output
    assert not list(state.rglob("*"))
    # Whoever is refused before the launch has changed nothing, anywhere; later what was made is taken back.
    assert row.fault in (FULL, QUOTA) or not changing(called)
    assert account.things(*REGIONS) == NOTHING

"""What the steps share: the lab's API, and a way to run a playbook as a person does."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.played import Run, play

SCENARIO = Path(__file__).resolve().parents[1]
PROJECT = SCENARIO.parents[1]
PORT = 5061
ALIVE = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]


class Cloud:
    """What the API says there is, and the playbooks that change it."""

    def __init__(self, folder: Path, keys: dict[str, str]) -> None:
        self.keys, self.state = keys, folder / "state"
        self.ec2 = self.client("ec2")

    def client(self, service: str) -> Any:
        """A client of the API."""
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self.keys["AWS_ENDPOINT_URL"],
            region_name="us-west-2",
            aws_access_key_id=self.keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.keys["AWS_SECRET_ACCESS_KEY"],
        )

    def run(self, playbook: str, *options: str, check: bool = False, good: bool = True, **settings: Any) -> Run:
        """Run a playbook of this scenario with settings of the role, given without their prefix."""
        given = {
            "wait": False,
            "caller_ip_url": f"http://127.0.0.1:{PORT}/checkip",
            "state_dir": str(self.state),
            **settings,
        }
        extra = json.dumps({f"ec2_provision_{name}": value for name, value in given.items()})
        run = play(
            PROJECT,
            "-i",
            str(SCENARIO / "inventory.yml"),
            str(SCENARIO / playbook),
            "-e",
            extra,
            *options,
            *(["--check", "--diff"] if check else []),
            environment={**self.keys, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
        )
        assert (run.code == 0) == good, run.output
        return run

    def instances(self) -> list[dict[str, Any]]:
        """Instances that are not terminated."""
        return [i for r in self.ec2.describe_instances(Filters=ALIVE)["Reservations"] for i in r["Instances"]]

    def things(self) -> dict[str, int]:
        """How many of each thing that costs money or attention there are, beside the default VPC's."""
        return {
            "instances": len(self.instances()),
            "volumes": len(self.ec2.describe_volumes()["Volumes"]),
            "key pairs": len(self.ec2.describe_key_pairs()["KeyPairs"]),
            "security groups": len(
                [g for g in self.ec2.describe_security_groups()["SecurityGroups"] if g["GroupName"] != "default"]
            ),
            "VPCs": len([v for v in self.ec2.describe_vpcs()["Vpcs"] if not v["IsDefault"]]),
        }

    def fault(self, *arguments: str) -> None:
        """Make an API action fail, or with --clear none."""
        folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "lab"
        subprocess.run(
            ["python", "-m", "lab", "fault", *arguments],
            cwd=PROJECT,
            env={**os.environ, "LAB_DIR": str(folder), "LAB_NAME": "mol-ec2", "LAB_PORT": str(PORT)},
            check=True,
        )


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    """An account with nothing of ours in it."""
    file = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "lab" / "env"
    lines = [line.removeprefix("export ").split("=", 1) for line in file.read_text().splitlines() if "=" in line]
    cloud = Cloud(tmp_path_factory.mktemp("server"), dict(lines))
    assert not any(cloud.things().values())
    return cloud

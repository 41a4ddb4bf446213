"""An AWS account of the lab, without hosts: what there is in it, what was called, and what is to go wrong."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3

from lab.faults import Fault, Faults
from tests.lab_site import lab, read_exports

REGION = "us-west-2"
READS = re.compile(r"[a-z0-9-]+:(Describe|Get|Head|List)")
ALIVE = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
NOTHING = {"instances": 0, "volumes": 0, "key pairs": 0, "security groups": 0, "addresses": 0, "VPCs": 0}


class Account:
    """The API of a lab that runs."""

    def __init__(self, folder: Path, variables: Mapping[str, str] = {}) -> None:
        self.variables = dict(variables)
        self.keys = read_exports(folder / "env")
        self.endpoint = self.keys["AWS_ENDPOINT_URL"]
        self.faults = Faults(folder / "faults.json")
        self.clients: dict[tuple[str, ...], Any] = {}

    def client(self, service: str = "ec2", region: str = REGION, keys: Mapping[str, str] = {}) -> Any:
        """A client with a user's keys, or with those that may do everything. To make one takes longer than most calls."""
        have = {**self.keys, **keys}
        key, secret = have["AWS_ACCESS_KEY_ID"], have["AWS_SECRET_ACCESS_KEY"]
        if (service, region, key) not in self.clients:
            self.clients[service, region, key] = boto3.client(  # type: ignore[call-overload]
                service,
                endpoint_url=self.endpoint,
                region_name=region,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
            )
        return self.clients[service, region, key]

    def instances(self, region: str = REGION) -> list[dict[str, Any]]:
        """Instances that are not terminated."""
        found = self.client(region=region).describe_instances(Filters=ALIVE)["Reservations"]
        return [instance for reservation in found for instance in reservation["Instances"]]

    def things(self, *regions: str) -> dict[str, int]:
        """How many of each thing that costs money or attention there are, beside what every region has."""
        found: Counter[str] = Counter(NOTHING)
        for region in regions or (REGION,):
            ec2 = self.client(region=region)
            found["instances"] += len(self.instances(region))
            found["volumes"] += len(ec2.describe_volumes()["Volumes"])
            found["key pairs"] += len(ec2.describe_key_pairs()["KeyPairs"])
            groups = ec2.describe_security_groups()["SecurityGroups"]
            found["security groups"] += len([group for group in groups if group["GroupName"] != "default"])
            found["addresses"] += len(ec2.describe_addresses()["Addresses"])
            found["VPCs"] += len([vpc for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]])
        return dict(found)

    def _actions(self, method: str) -> list[tuple[str, str, bool]]:
        """Ask the lab for the actions that were called: by whom, which, whether it was allowed."""
        where = urlsplit(self.endpoint)
        connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)
        connection.request(method, "/lab/actions")
        found = [(who, action, good) for who, action, good in json.loads(connection.getresponse().read())]
        connection.close()
        return found

    def forget(self, refuse_once: bool = False) -> None:
        """The actions from now on count. With refuse_once each of them is refused at its first call."""
        self._actions("DELETE")
        if refuse_once:
            self._actions("POST")

    def called(self) -> tuple[set[str], set[str]]:
        """The actions that were allowed and those that were refused, in every region."""
        calls = self._actions("GET")
        return {action for _, action, good in calls if good}, {action for _, action, good in calls if not good}

    def command(self, *arguments: str) -> None:
        """Run `python -m lab`, for what has no quicker way here."""
        lab(self.variables, *arguments)

    def fault(self, action: str, code: str, message: str, zone: str | None = None, times: int = 0) -> None:
        """Make an action fail: in one zone or all, so many times or always."""
        self.faults.add(Fault(action, code, message, zone, times))

    def calm(self) -> None:
        """No more faults."""
        self.faults.write([])


def changing(actions: set[str]) -> set[str]:
    """Those of some actions that change something."""
    return {action for action in actions if not READS.match(action)}


@contextmanager
def new_account(folder: Path, name: str) -> Iterator[Account]:
    """Start a lab's API at a free port, and end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        variables = {"LAB_DIR": str(folder), "LAB_NAME": name, "LAB_PORT": str(free.getsockname()[1])}
    lab(variables, "up", "--api-only")
    try:
        yield Account(folder, variables)
    finally:
        lab(variables, "down")

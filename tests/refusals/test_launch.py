"""Launches whose answer is lost, or that AWS ends at once: nothing that may be billed loses its key, and the reason is said."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.account import Account, new_account
from tests.played import Run, play

pytestmark = pytest.mark.extended
PROJECT = Path(__file__).resolve().parents[2]


class Launch:
    """One server, provisioned in the lab's API without anybody who waits for it."""

    def __init__(self, account: Any, folder: Path) -> None:
        self.account, self.folder = account, folder
        self.state = folder / "state"
        self.inventory = folder / "inventory.json"
        self.inventory.write_text(json.dumps({"servers": {"children": {"launched": {"hosts": {"lost": {}}}}}}))

    def provision(self, playbook: str = "playbooks/provision.yml", **given: Any) -> Run:
        settings = {
            "state_dir": str(self.state),
            "ec2_provision_allowed_cidrs": ["203.0.113.7/32"],
            "ec2_provision_wait": False,
            "ec2_provision_wait_timeout": 30,
            **given,
        }
        environment = {name: "" for name in os.environ if name.startswith(("AWS_", "LAB_"))}
        return play(
            PROJECT,
            "-i",
            str(self.inventory),
            playbook,
            "-e",
            json.dumps(settings),
            environment={**environment, "HOME": str(self.folder), **self.account.keys},
        )

    def instances(self) -> list[dict[str, Any]]:
        """What is alive."""
        pages = self.account.client().describe_instances(Filters=[{"Name": "tag:Name", "Values": ["lost"]}])
        found = [one for reservation in pages["Reservations"] for one in reservation["Instances"]]
        return [one for one in found if one["State"]["Name"] != "terminated"]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Account]:
    """An account of its own: terminated instances stay to be seen in it."""
    # A lab's name begins with a letter.
    with new_account(tmp_path_factory.mktemp("lab"), f"launch-{worker_id}") as account:
        yield account


@pytest.fixture
def launch(account: Any, tmp_path: Path) -> Iterator[Launch]:
    one = Launch(account, tmp_path)
    yield one
    account.command("fault", "--clear")
    ec2 = account.client()
    for instance in one.instances():
        ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    for group in ec2.describe_security_groups(Filters=[{"Name": "tag:Name", "Values": ["lost"]}])["SecurityGroups"]:
        ec2.delete_security_group(GroupId=group["GroupId"])
    ec2.delete_key_pair(KeyName="notebook-server-lost")


def test_a_launch_whose_answer_is_lost_is_one_server_with_its_key(launch: Launch) -> None:
    # Once: the question is repeated, and the run goes on.
    launch.account.command("fault", "RunInstances", "InternalError", "lost", "--after", "--times", "1")
    once = launch.provision()
    assert once.code == 0, once.output
    (instance,) = launch.instances()
    assert (launch.state / "lost/id_ed25519").is_file()
    again = launch.provision()
    assert again.code == 0, again.output
    assert again.changed == 0
    assert [one["InstanceId"] for one in launch.instances()] == [instance["InstanceId"]]


def test_a_launch_that_is_never_answered_keeps_its_key_and_is_taken_up(launch: Launch) -> None:
    launch.account.command("fault", "RunInstances", "InternalError", "lost", "--after")
    first = launch.provision()
    assert first.code != 0
    (instance,) = launch.instances()
    assert "AWS did not answer whether it launched m7i-flex.large" in first.words
    assert f"It did: {instance['InstanceId']} is there and billed." in first.words
    key = (launch.state / "lost/id_ed25519").read_text()
    launch.account.command("fault", "--clear")
    second = launch.provision()
    assert second.code == 0, second.output
    assert (launch.state / "lost/id_ed25519").read_text() == key
    assert [one["InstanceId"] for one in launch.instances()] == [instance["InstanceId"]]
    assert instance["InstanceId"] in (launch.state / "lost/record.yml").read_text()


def test_what_aws_ends_at_once_is_said_at_once(launch: Launch) -> None:
    reason = "Client.InvalidKMSKey.InvalidState"
    launch.account.command("fault", "RunInstances", reason, "The KMS key is not usable", "--after", "--times", "1")
    ended = launch.provision(ec2_provision_wait_timeout=600)
    assert ended.code != 0
    assert f"at once: {reason}: The KMS key is not usable. Nothing of it is billed any more." in ended.words
    assert launch.instances() == []
    after = launch.provision()
    assert after.code == 0, after.output
    assert len(launch.instances()) == 1


def test_a_burstable_server_has_unlimited_credits_until_it_was_verified(launch: Launch) -> None:
    def cpu_credits() -> str:
        (instance,) = launch.instances()
        found = launch.account.client().describe_instance_credit_specifications(InstanceIds=[instance["InstanceId"]])
        return str(found["InstanceCreditSpecifications"][0]["CpuCredits"])

    # The second run is that of somebody whose first was cut off before verify.
    for changed in (True, False):
        run = launch.provision(ec2_provision_instance_type="t3.large")
        assert run.code == 0, run.output
        assert bool(run.changed) == changed
        assert cpu_credits() == "unlimited"
    assert "credits_until_verified: true" in (launch.state / "lost/record.yml").read_text()
    for changed in (True, False):
        run = launch.provision(str(PROJECT / "tests/refusals/verified.yml"), ec2_provision_instance_type="t3.large")
        assert run.code == 0, run.output
        assert bool(run.changed) == changed
        assert cpu_credits() == "standard"
    again = launch.provision(ec2_provision_instance_type="t3.large")
    assert again.changed == 0

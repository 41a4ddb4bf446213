"""`status.yml`, the inventory that is found by tags, and the day until which a server is needed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab_site import Site
from tests.life.conftest import row, run, settings, status

PLAYBOOK = "playbooks/status.yml"
FOUND = "inventory/servers.aws_ec2.yml"


@contextmanager
def forgotten_disk(site: Site) -> Iterator[str]:
    """A disk of a server that nobody knows here any more."""
    ec2 = site.client()
    tags = [{"Key": "Project", "Value": "notebook-server"}, {"Key": "Name", "Value": "old"}]
    disk = ec2.create_volume(
        AvailabilityZone="us-west-2a",
        Size=20,
        VolumeType="gp3",
        TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
    )["VolumeId"]
    try:
        yield disk
    finally:
        ec2.delete_volume(VolumeId=disk)


def test_one_screen(server: Site) -> None:
    result = server.apply("status", *settings(), playbook=PLAYBOOK)
    assert result.changes_nothing(), result.tail()
    print(result.output)
    assert server.record["public_ip"] in result.output
    assert "US dollars so far this month" in result.output


def test_as_json_with_a_disk_that_was_forgotten(server: Site) -> None:
    # At least one dump, as the timer makes each night.
    made = server.ssh("sudo", "systemctl", "start", "notebook-mysql-dump.service")
    assert made.returncode == 0, made.stderr
    # What autostop writes each minute where it is on.
    file = "/run/autostop/status.json"
    text = json.dumps({"activity": time.time() - 3600})
    wrote = server.ssh(f"sudo mkdir -p /run/autostop && echo '{text}' | sudo tee {file}")
    assert wrote.returncode == 0, wrote.stderr
    with forgotten_disk(server) as disk:
        result = status(server)
    assert server.ssh("sudo", "rm", file).returncode == 0
    demo, old = row(result, server.server), row(result, "old")
    assert (demo["state"], demo["instance_id"], demo["recorded"]) == ("running", server.record["instance_id"], True)
    assert demo["address"] == server.record["public_ip"]
    assert demo["volumes"][0]["role"] == "system"
    assert demo["certificate_days"] > 300
    assert demo["last_backup"]["kind"] == "dump"
    assert 3500 < demo["idle_seconds"] < 3900
    assert demo["usd_month"] > 20
    assert 0 < demo["this_month_usd"]["least"] <= demo["this_month_usd"]["most"] < 10
    assert (old["state"], old["volumes"][0]["id"]) == ("no instance", disk)
    assert any(f"old has no instance, but {disk}" in note for note in result["notes"])
    # One of them.
    assert [one["name"] for one in status(server, "-l", server.server)["servers"]] == [server.server]


def test_the_inventory_of_what_is_there(server: Site) -> None:
    listed = run(server, "ansible-inventory", "-i", FOUND, "--list")
    assert listed.returncode == 0, listed.stderr
    groups = json.loads(listed.stdout)
    assert groups["launched"]["hosts"] == groups["servers"]["hosts"] == [server.server]
    assert server.record["instance_id"] in str(groups["_meta"]["hostvars"][server.server]["aws_instance_id"])
    # It is all that a playbook needs, with what the launch left on this machine.
    state = ("-e", f"state_dir={server.state}")
    told = run(server, "ansible-playbook", "-i", FOUND, PLAYBOOK, *state, *settings(), ANSIBLE_STDOUT_CALLBACK="plain")
    assert told.returncode == 0 and f"\n{server.server} " in f"\n{told.stdout}", told.stdout + told.stderr


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect to the endpoint URL"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "AuthFailure"),
    ],
)
def test_no_answer_is_an_error_and_not_an_empty_list(server: Site, trouble: dict[str, str], words: str) -> None:
    quick = trouble | {"AWS_MAX_ATTEMPTS": "1"}
    listed = run(server, "ansible-inventory", "-i", FOUND, "--list", **quick)
    assert listed.returncode != 0, listed.stdout
    asked = run(server, *server.command(*settings(), playbook=PLAYBOOK), **quick, ANSIBLE_STDOUT_CALLBACK="plain")
    assert asked.returncode != 0
    assert asked.stdout == ""
    assert words in asked.stderr, asked.stderr


def test_a_playbook_without_an_answer_does_not_run_for_nobody(server: Site) -> None:
    gone = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    played = run(server, "ansible-playbook", "-i", FOUND, "site.yml", *settings(), **gone)
    assert played.returncode != 0 and "PLAY" not in played.stdout, played.stdout


def test_a_day_that_is_over(server: Site) -> None:
    past = server.apply("expires", *settings(ec2_provision_expires="2026-01-31"), playbook="playbooks/provision.yml")
    assert past.code == 0, past.tail()
    demo = row(status(server), server.server)
    assert (demo["expires"], demo["overdue"], demo["state"]) == ("2026-01-31", True, "running")
    taken_back = server.apply("expires-not", *settings(), playbook="playbooks/provision.yml")
    assert taken_back.code == 0, taken_back.tail()
    found = server.client().describe_instances(InstanceIds=[server.record["instance_id"]])
    tags = {tag["Key"]: tag["Value"] for tag in found["Reservations"][0]["Instances"][0]["Tags"]}
    assert "Project" in tags and not [key for key in tags if key.startswith("Expires")], tags

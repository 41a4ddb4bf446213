"""The end of a server's life, after all others: refused while protected, cut off, finished, and proven to leave only what was to stay."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.lab_site import LATER_RUN, REPORTS, Site
from tests.life.conftest import settings

DESTROY = "playbooks/destroy.yml"
MINE = [{"Name": "tag:Name", "Values": ["demo"]}, {"Name": "tag:Project", "Values": ["notebook-server"]}]


def said(text: str) -> str:
    """What a run said, without its line breaks."""
    return " ".join(text.split())


def things(server: Site) -> dict[str, list[Any]]:
    """What AWS itself says that there is, asked without any of the project's code."""
    ec2 = server.client()
    states = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped", "shutting-down"]}]
    return {
        "instances": [i for r in ec2.describe_instances(Filters=MINE + states)["Reservations"] for i in r["Instances"]],
        "volumes": ec2.describe_volumes(Filters=MINE)["Volumes"],
        "snapshots": ec2.describe_snapshots(OwnerIds=["self"], Filters=MINE)["Snapshots"],
        "images": ec2.describe_images(Owners=["self"], Filters=MINE)["Images"],
        "addresses": ec2.describe_addresses(Filters=MINE)["Addresses"],
        "groups": ec2.describe_security_groups(Filters=MINE)["SecurityGroups"],
        "keys": ec2.describe_key_pairs(Filters=MINE)["KeyPairs"],
        "interfaces": ec2.describe_network_interfaces(Filters=MINE)["NetworkInterfaces"],
    }


def final(snapshots: list[Any]) -> list[Any]:
    """The last backups among snapshots."""
    return [one for one in snapshots if {"Key": "Final", "Value": "yes"} in one.get("Tags", [])]


def test_a_stopped_server_is_destroyed_and_nothing_is_left_but_its_data(server: Site, tmp_path: Path) -> None:
    ec2, identity, config = server.client(), server.record["instance_id"], tmp_path / "config"
    config.write_text("Host elsewhere\n")
    more = {"client_ssh_config": str(config)}
    included = server.apply(
        "destroy-include", *settings(client_ssh_include=True, **more), playbook="playbooks/client.yml"
    )
    assert included.code == 0 and "Include" in config.read_text(), included.tail()
    ec2.stop_instances(InstanceIds=[identity])
    before = things(server)
    data = [v["VolumeId"] for v in before["volumes"] if {"Key": "Role", "Value": "data"} in v.get("Tags", [])]

    plan = server.apply("destroy-plan", *settings(**more), "--check", playbook=DESTROY)
    assert plan.changes_nothing(), plan.tail()
    for words in (identity, "Goes:", "a last backup is made of", "$", *data):
        assert words in plan.output
    kept = server.apply("destroy-kept", *settings(**more, confirm="other"), playbook=DESTROY)
    assert kept.code and "demo is kept: the name given was" in said(kept.output)
    ec2.modify_instance_attribute(InstanceId=identity, DisableApiTermination={"Value": True})
    refused = server.apply("destroy-protected", *settings(**more, confirm="demo"), playbook=DESTROY)
    assert (
        refused.code
        and "is protected against termination: set ec2_provision_termination_protection to false"
        in said(refused.output)
    )
    ec2.modify_instance_attribute(InstanceId=identity, DisableApiTermination={"Value": False})
    assert {kind: len(some) for kind, some in things(server).items()} == {
        kind: len(some) for kind, some in before.items()
    }

    # The laptop's lid is closed after the last backup, while the server goes.
    log = REPORTS / "life-destroy-cut.log"
    cut = server.start(log, *settings(**more, confirm="demo"), playbook=DESTROY)
    end = time.monotonic() + LATER_RUN
    while "Remove what goes" not in log.read_text() and cut.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(cut.pid, signal.SIGKILL)
    cut.wait()
    assert (server.state / "demo/record.yml").exists(), log.read_text()[-3000:]

    run = server.apply("destroy", *settings(**more, confirm="demo"), playbook=DESTROY)
    assert run.code == 0 and "nothing of it is left but what was to stay, for $" in said(run.output), run.tail(80)
    now = things(server)
    assert [v["VolumeId"] for v in now["volumes"]] == data
    assert {v["State"] for v in now["volumes"]} <= {"available"}
    assert len(final(now["snapshots"])) == 1 and len(now["snapshots"]) == len(before["snapshots"]) + 1
    assert len(now["images"]) == len(before["images"])
    assert not any(now[kind] for kind in ("instances", "addresses", "groups", "keys", "interfaces"))
    assert not (server.state / "demo").exists() and server.ca_file.exists()
    assert config.read_text() == "Host elsewhere\n"

    again = server.apply("destroy-again", *settings(**more, confirm="demo"), playbook=DESTROY)
    assert again.changes_nothing() and "There is nothing to remove." in said(again.output), again.tail()


def test_what_was_kept_goes_when_it_is_named(server: Site, tmp_path: Path) -> None:
    every = {"data_volume": "delete", "backups": "delete", "images": "delete", "final_backup": False, "confirm": "demo"}
    wrong = server.apply("destroy-wrong", *settings(**{**every, "backups": "yes"}), playbook=DESTROY)
    assert wrong.code and "backups=yes is not understood: give -e backups=delete" in said(wrong.output), wrong.tail()
    run = server.apply("destroy-all", *settings(**every, client_ssh_config=str(tmp_path / "none")), playbook=DESTROY)
    assert run.code == 0 and "nothing of it is left." in said(run.output), run.tail(80)
    assert not any(things(server).values()), things(server)
    assert not server.ca_file.exists()

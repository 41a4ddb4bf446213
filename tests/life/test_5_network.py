"""An address that stays, a name that follows, a zone that cannot change, and what happens when AWS takes a spot server back."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.lab_site import ROOT, Run, Site
from tests.life.conftest import LAB, MAKE, settings

ZONE, NAME = "example.org", "lab.example.org"
NAMED = {"ec2_provision_dns_name": NAME, "ec2_provision_dns_zone": "auto"}
DUMPS = ["notebook-mysql-dump.service", "notebook-postgres-dump.service"]
HOOK = "/etc/spot-notice/before-stop.d/10-note"


def provision(site: Site, name: str, **more: object) -> Run:
    """What AWS has, made as declared."""
    return site.apply(f"network-{name}", *settings(**more), playbook="playbooks/provision.yml")


def addresses(site: Site) -> list[str]:
    """The Elastic IPs of the account."""
    return [one["PublicIp"] for one in site.client().describe_addresses()["Addresses"]]


def instance(site: Site) -> dict[str, Any]:
    """The instance as AWS sees it."""
    found = site.client().describe_instances(InstanceIds=[site.record["instance_id"]])
    return dict(found["Reservations"][0]["Instances"][0])


def until_stopped(site: Site, seconds: float) -> None:
    """Wait until the instance is off."""
    until = time.monotonic() + seconds
    while instance(site)["State"]["Name"] != "stopped":
        assert time.monotonic() < until, instance(site)["State"]
        time.sleep(0.5)


@pytest.fixture(scope="module")
def zone(server: Site) -> Iterator[str]:
    """A public hosted zone, and whatever is in it goes with it."""
    route53 = server.client("route53")
    made = route53.create_hosted_zone(Name=ZONE, CallerReference=str(time.time()))["HostedZone"]["Id"]
    yield made
    left = route53.list_resource_record_sets(HostedZoneId=made)["ResourceRecordSets"]
    changes = [{"Action": "DELETE", "ResourceRecordSet": one} for one in left if one["Type"] in ("A", "TXT")]
    if changes:  # of a test that failed
        route53.change_resource_record_sets(HostedZoneId=made, ChangeBatch={"Changes": changes})
    route53.delete_hosted_zone(Id=made)


def records(site: Site, zone: str) -> dict[str, str]:
    """What the zone says."""
    found = site.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    return {f"{r['Name']} {r['Type']}": r["ResourceRecords"][0]["Value"] for r in found if r["Type"] in ("A", "TXT")}


def test_an_address_and_a_name(server: Site, zone: str) -> None:
    refused = provision(server, "outside", **{**NAMED, "ec2_provision_dns_name": "lab.example.com"})
    assert refused.code != 0 and re.search(r"lab\.example\.com\.\s+60\s+IN\s+A", refused.output), refused.tail()
    assert not addresses(server)

    # Certificate, ssh and summary follow.
    wanted = settings(server_components=["jupyter_tls"], ec2_provision_elastic_ip=True, **NAMED)
    first = server.apply("network-on", *wanted, playbook=f"{MAKE} playbooks/client.yml playbooks/summary.yml")
    assert first.code == 0, first.tail()
    (fixed,) = addresses(server)
    assert server.record["public_ip"] == fixed and instance(server)["PublicIpAddress"] == fixed
    assert records(server, zone)[f"{NAME}. A"] == fixed
    assert f"https://{NAME}/" in first.output and "an Elastic IP for $3.65 of it, also while stopped" in " ".join(
        first.output.split()
    )
    by_name = ["ssh", "-F", str(server.ssh_config), "-o", "BatchMode=yes", NAME, "hostname"]
    assert subprocess.run(by_name, timeout=30, check=False, capture_output=True).returncode == 0
    asked = [
        "openssl",
        "s_client",
        "-connect",
        f"{fixed}:443",
        "-CAfile",
        str(server.ca_file),
        "-verify_hostname",
        NAME,
    ]
    tls = subprocess.run(asked, input="", capture_output=True, text=True, timeout=30, check=False)
    assert "Verify return code: 0 (ok)" in tls.stdout, tls.stdout


def test_the_address_stays_over_stop_and_start(server: Site, zone: str) -> None:
    fixed = server.record["public_ip"]
    server.client().stop_instances(InstanceIds=[server.record["instance_id"]])
    until_stopped(server, 60)
    again = provision(server, "started", ec2_provision_elastic_ip=True, **NAMED)
    assert again.code == 0, again.tail()
    assert addresses(server) == [fixed] == [server.record["public_ip"]]
    assert records(server, zone)[f"{NAME}. A"] == fixed


def test_the_address_is_given_back_and_the_name_follows(server: Site, zone: str) -> None:
    fixed, here = server.record["public_ip"], server.record["zone"]
    other = "us-west-2a" if here != "us-west-2a" else "us-west-2b"
    refused = provision(server, "zone", ec2_provision_elastic_ip=False, ec2_provision_zone=other, **NAMED)
    assert refused.code != 0 and "a server cannot move" in " ".join(refused.output.split()), refused.tail()
    assert addresses(server) == [fixed]
    off = provision(server, "off", **NAMED)
    assert off.code == 0, off.tail()
    assert not addresses(server)
    assert server.record["public_ip"] == instance(server)["PublicIpAddress"] != fixed
    assert records(server, zone)[f"{NAME}. A"] == server.record["public_ip"]


def test_a_spot_server(server: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    inventory = tmp_path_factory.mktemp("spot") / "spare.yml"
    inventory.write_text("{servers: {children: {launched: {children: {lab: {hosts: {spare: {}}}}}}}}")
    ec2, folder = server.client(), server.state / "spare"

    def run(name: str, *arguments: str, playbook: str = "playbooks/provision.yml", **more: object) -> Run:
        spot = {"ec2_provision_market": "spot", "ec2_provision_spot_max_usd": "0.05", "ec2_provision_wait": False}
        only = ["-i", str(inventory), "-l", "spare"]
        return server.apply(f"network-{name}", *only, *arguments, *settings(**spot | more), playbook=playbook)

    def requests() -> list[str]:
        mine = {"tag:Name": "spare", "instance-id": record["instance_id"]}
        found = ec2.describe_spot_instance_requests(Filters=[{"Name": k, "Values": [v]} for k, v in mine.items()])
        return [one["State"] for one in found["SpotInstanceRequests"]]

    first = run("spot")
    assert first.code == 0, first.tail()
    record = yaml.safe_load((folder / "record.yml").read_text())
    assert record["market"] == "spot" and requests() == ["active"]
    ec2.stop_instances(InstanceIds=[record["instance_id"]])
    assert requests() == ["disabled"]
    started = run("spot-started")
    assert started.code == 0, started.tail()
    assert requests() == ["active"]
    sure = ["-e", "confirm=spare", "-e", "final_backup=false"]
    gone = run("spot-gone", *sure, playbook="playbooks/destroy.yml")
    assert gone.code == 0, gone.tail()
    assert requests() == ["cancelled"] and not folder.exists()
    found = ec2.describe_instances(InstanceIds=[record["instance_id"]])["Reservations"][0]["Instances"][0]
    assert found["State"]["Name"] == "terminated"


def test_aws_takes_the_server_back(server: Site) -> None:
    parts = {"server_components": ["spot_notice"], "spot_notice_enabled": True, "spot_notice_units": DUMPS}
    on = server.apply("network-notice", *settings(**parts), playbook="playbooks/configure.yml")
    assert on.code == 0, on.tail()
    plant = f"printf '#!/bin/sh\\necho saved >/var/tmp/hook\\n' | sudo tee {HOOK} && sudo chmod 755 {HOOK} && sudo rm -f /var/tmp/hook"
    assert server.ssh(plant).returncode == 0
    began = int(time.time()) - 1
    command = [sys.executable, "-m", "lab", "interrupt", server.record["instance_id"], "--seconds", "35", "--back", "8"]
    subprocess.run(command, cwd=ROOT, env=server.environment | LAB, check=True)
    until, said = time.monotonic() + 28, ""
    while "Saved:" not in said and time.monotonic() < until:
        time.sleep(1)
        said = server.ssh(
            f"sudo journalctl --since @{began} -u spot-notice -u spot-notice-save -o cat --no-pager"
        ).stdout
    assert "AWS takes this spot server back and stops it at" in said, said
    for done in ("10-note", *DUMPS):
        assert f"{done}: done in" in said, said
    until_stopped(server, 60)
    assert instance(server)["StateReason"]["Code"] == "Server.SpotInstanceShutdown"


def test_it_is_back_and_as_it_was(server: Site, zone: str) -> None:
    # Not a spot server, and without a name: the service is off, and the record of the name is taken back.
    wanted = settings(server_components=["jupyter_tls", "spot_notice"])
    back = server.apply("network-back", *wanted, playbook=MAKE)
    assert back.code == 0, back.tail()
    assert not records(server, zone)
    assert server.ssh(f"cat /var/tmp/hook && sudo rm -f {HOOK} /var/tmp/hook").stdout.strip() == "saved"
    assert server.ssh("systemctl is-active spot-notice").stdout.strip() == "inactive"

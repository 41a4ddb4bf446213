"""Elastic IP, name in Route 53, spot request: every call can fail and every run can be cut off; then the same run converges."""

from __future__ import annotations

from typing import Any

import botocore.exceptions as aws
import pytest

from plugins.filter import ec2_provision as role
from plugins.modules import ec2_dns_record as dns
from plugins.modules import ec2_elastic_ip as eip
from plugins.modules import ec2_launch, ec2_offer_info
from plugins.modules import ec2_spot_request as spot
from tests.unit.cloud import IMAGE, Cloud, Cut, changing, cloud, codes

SERVER = {"project": "p", "name": "demo"}
TROUBLES = ["UnauthorizedOperation", "RequestLimitExceeded", "InternalError"]
ABOUT = {"type": "t3.large", "region": "us-west-2", "zones": "a, b"}


def launched(account: Cloud) -> str:
    """An instance to connect an address to."""
    return str(account.client().run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"])


def address(account: Cloud, instance: str = "", state: str = "present", check: bool = False) -> dict[str, Any]:
    """One run of ec2_elastic_ip."""
    return eip.run(
        account.client(), {**SERVER, "instance_id": instance, "tags": {"Owner": "ann"}, "state": state}, check
    )


def addresses(account: Cloud) -> list[dict[str, Any]]:
    """What the account has, asked without counting."""
    count = len(account.calls)
    found = list(account.client().describe_addresses()["Addresses"])
    del account.calls[count:]
    return found


def test_one_address_found_or_made_connected_and_given_back() -> None:
    with cloud() as account:
        instance = launched(account)
        plan = address(account, instance, check=True)
        assert plan["steps"] == ["allocate", "connect"] and not addresses(account)
        made = address(account, instance)
        assert made["changed"] and address(account, instance) == {**made, "changed": False, "steps": []}
        (one,) = addresses(account)
        assert one["InstanceId"] == instance and one["PublicIp"] == made["public_ip"]
        assert {t["Key"]: t["Value"] for t in one["Tags"]} == {
            "Project": "p", "Name": "demo", "ManagedBy": "ansible", "Owner": "ann",
        }  # fmt: skip
        # Another instance of the server, after the first was replaced: the address follows.
        other = launched(account)
        assert address(account, other)["steps"] == ["connect"]
        assert addresses(account)[0]["InstanceId"] == other
        assert address(account, state="absent", check=True)["steps"] == ["disconnect", "release"]
        assert len(addresses(account)) == 1
        assert address(account, state="absent")["public_ip"] == ""
        assert not addresses(account) and not address(account, state="absent")["changed"]


def test_an_address_of_somebody_else_is_never_touched() -> None:
    with cloud() as account:
        theirs = account.client().allocate_address(Domain="vpc")["AllocationId"]
        address(account)
        address(account, state="absent")
        assert [one["AllocationId"] for one in addresses(account)] == [theirs]


def test_two_addresses_of_one_server_are_refused() -> None:
    with cloud() as account:
        address(account)
        tags = [{"Key": "Project", "Value": "p"}, {"Key": "Name", "Value": "demo"}]
        account.client().allocate_address(
            Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags}]
        )
        with pytest.raises(eip.Refusal, match=r"2 Elastic IPs bear the tags of demo: .* Each is billed"):
            address(account)
        address(account, state="absent")
        assert not addresses(account)


@pytest.mark.slow
@pytest.mark.parametrize("code", codes("InvalidAllocationID.NotFound", *TROUBLES, "AddressLimitExceeded"))
def test_every_call_for_an_address_may_fail(code: str) -> None:
    with cloud() as account:
        instance = launched(account)
        for state, calls in (("present", 3), ("absent", 3)):
            for number in range(1, calls + 1):
                account.calm()
                account.fail_at, account.code = number, code
                try:
                    address(account, instance, state)
                except aws.ClientError as error:
                    said = role.stuck({"msg": f"{eip.left({**SERVER, 'state': state})}: {error}"}, ABOUT)
                    assert "run the same command again" in said and code in said
                else:
                    assert state == "absent" and code == "InvalidAllocationID.NotFound" and number > 1
                account.calm()
                # What was half done is found again, and not made twice.
                assert len(addresses(account)) <= 1
                address(account, instance, state)
                assert len(addresses(account)) == (state == "present")
                if number < calls:
                    address(account, instance, "absent" if state == "present" else "present")


@pytest.mark.slow
def test_a_run_for_an_address_may_be_cut_off_anywhere() -> None:
    with cloud() as account:
        instance = launched(account)
        for state, former in (("present", "absent"), ("absent", "present")):
            account.calm()
            address(account, instance, former)
            account.calm()
            address(account, instance, state)
            for number in changing(list(account.calls)):
                account.calm()
                address(account, instance, former)
                account.calm()
                account.cut_at = number
                with pytest.raises(Cut):
                    address(account, instance, state)
                account.calm()
                address(account, instance, state)
                found = addresses(account)
                assert len(found) == (state == "present")
                assert all(one["InstanceId"] == instance for one in found)


def test_the_quota_has_a_sentence() -> None:
    said = role.stuck(
        {
            "msg": "demo has none: An error occurred (AddressLimitExceeded) when calling the AllocateAddress operation: Too many."
        },
        ABOUT,
    )
    assert said.startswith(
        "demo has none. AWS says: Too many (AddressLimitExceeded). The account's quota of Elastic IPs"
    )
    assert role.stuck({"msg": "plain words"}, ABOUT) == "plain words"
    tried = "An error occurred (Throttling) when calling the ListHostedZones operation (reached max retries: 4): Rate exceeded"
    assert (
        role.stuck({"msg": f"Nothing: it is so: {tried}"}, ABOUT)
        == "Nothing: it is so. AWS says: Rate exceeded (Throttling)."
    )


# ---- the name


def zones(account: Cloud, *names: str, private: str = "") -> list[str]:
    """Hosted zones."""
    route53 = account.client("route53")
    made = [route53.create_hosted_zone(Name=name, CallerReference=f"{name}{n}") for n, name in enumerate(names)]
    if private:
        vpc = account.client().describe_vpcs()["Vpcs"][0]["VpcId"]
        route53.create_hosted_zone(
            Name=private, CallerReference="x", VPC={"VPCRegion": "us-west-2", "VPCId": vpc},
            HostedZoneConfig={"PrivateZone": True},
        )  # fmt: skip
    account.calm()
    return [zone["HostedZone"]["Id"].rpartition("/")[2] for zone in made]


def name(account: Cloud, at: str = "203.0.113.9", check: bool = False, **more: str) -> dict[str, Any]:
    """One run of ec2_dns_record."""
    options = {**SERVER, "dns_name": "lab.example.org", "zone": "auto", "address": at, "ttl": 60, "state": "present"}
    return dns.run(account.client("route53"), {**options, **more}, check)


def records(account: Cloud, zone: str) -> dict[str, list[str]]:
    """What a zone has besides NS and SOA, asked without counting."""
    count = len(account.calls)
    found = account.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    del account.calls[count:]
    return {f"{r['Name']} {r['Type']}": dns.values(r) for r in found if r["Type"] not in ("NS", "SOA")}


OURS = {"_notebook-server.lab.example.org. TXT": ['"project=p server=demo"']}


def test_the_name_follows_the_address_and_goes() -> None:
    with cloud() as account:
        (zone,) = zones(account, "example.org")
        assert name(account, check=True)["steps"] == ["UPSERT A", "UPSERT TXT"] and not records(account, zone)
        assert name(account)["note"] == "lab.example.org leads to 203.0.113.9."
        assert records(account, zone) == {"lab.example.org. A": ["203.0.113.9"], **OURS}
        assert not name(account)["changed"]
        assert name(account, "203.0.113.10")["changed"]
        assert records(account, zone) == {"lab.example.org. A": ["203.0.113.10"], **OURS}
        assert not name(account, "")["changed"]
        assert name(account, "", state="absent")["steps"] == ["DELETE A", "DELETE TXT"]
        assert not records(account, zone) and not name(account, "", state="absent")["changed"]


def test_the_zone_is_the_longest_public_one() -> None:
    with cloud() as account:
        short, long, other = zones(
            account, "example.org", "team.example.org", "ample.org", private="lab.team.example.org"
        )
        name(account, dns_name="lab.team.example.org")
        assert records(account, long) and not records(account, short) and not records(account, other)
        assert name(account, dns_name="x.team.example.org", zone="example.org")["zone"] == "example.org"
        assert name(account, dns_name="x.example.org", zone=short)["zone"] == "example.org"
        with pytest.raises(
            dns.Refusal, match=r"no public hosted zone in Route 53 that lab.example.com lies in .*60 IN A 203.0.113.9"
        ):
            name(account, dns_name="lab.example.com")
        with pytest.raises(
            dns.Refusal, match=r"no public hosted zone ample.org in Route 53 that lab.example.org lies in"
        ):
            name(account, zone="ample.org")
        # A zone that is gone has no record to remove.
        assert not name(account, dns_name="lab.example.com", state="absent")["changed"]


def test_two_zones_of_one_name_want_an_id() -> None:
    with cloud() as account:
        one, two = zones(account, "example.org", "example.org")
        with pytest.raises(dns.Refusal, match=r"2 public hosted zones example.org .* by its id"):
            name(account)
        name(account, zone=two)
        assert records(account, two) and not records(account, one)


@pytest.mark.parametrize(
    ("kind", "value"), [("A", "203.0.113.77"), ("CNAME", "www.example.org"), ("AAAA", "2001:db8::1")]
)
def test_a_record_of_somebody_else_is_refused_and_stays(kind: str, value: str) -> None:
    with cloud() as account:
        (zone,) = zones(account, "example.org")
        record = {"Name": "lab.example.org", "Type": kind, "TTL": 300, "ResourceRecords": [{"Value": value}]}
        change = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
        account.client("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch=change)
        for at in ("203.0.113.9", ""):
            with pytest.raises(dns.Refusal, match=f"lab.example.org has a record of type {kind} already"):
                name(account, at)
        assert not name(account, "", state="absent")["changed"]
        assert records(account, zone) == {f"lab.example.org. {kind}": [value]}
        if kind == "A":  # the line that was added by hand before the zone was named
            assert name(account, value)["changed"] and records(account, zone) == {"lab.example.org. A": [value], **OURS}


def test_the_name_of_another_server_is_refused() -> None:
    with cloud() as account:
        (zone,) = zones(account, "example.org")
        name(account)
        with pytest.raises(dns.Refusal, match=r"belongs to another server .*project=p server=demo"):
            name(account, "203.0.113.10", name="other")
        assert not name(account, "", state="absent", name="other")["changed"]
        assert records(account, zone) == {"lab.example.org. A": ["203.0.113.9"], **OURS}


@pytest.mark.slow
@pytest.mark.parametrize("code", codes("AccessDenied", "Throttling", "PriorRequestNotComplete", "NoSuchHostedZone"))
def test_every_call_for_a_name_may_fail(code: str) -> None:
    with cloud() as account:
        (zone,) = zones(account, "example.org")
        for state, former, at in (("present", "absent", "203.0.113.9"), ("absent", "present", "")):
            for number in range(1, 5):
                account.calm()
                name(account, state=former)
                account.calm()
                account.fail_at, account.code = number, code
                with pytest.raises(aws.ClientError) as caught:
                    name(account, at, state=state)
                options = {**SERVER, "dns_name": "lab.example.org", "ttl": 60, "address": at, "state": state}
                said = role.stuck({"msg": f"{dns.left(options)}: {caught.value}"}, ABOUT)
                assert "run the same command again" in said and code in said and "lab.example.org" in said
                # All or nothing, as it was.
                assert len(records(account, zone)) == (0 if state == "present" else 2)
                account.calm()
                name(account, at, state=state)
                assert len(records(account, zone)) == (2 if state == "present" else 0)


@pytest.mark.slow
def test_a_run_for_a_name_may_be_cut_off() -> None:
    with cloud() as account:
        (zone,) = zones(account, "example.org")
        for state, wanted in (("present", 2), ("absent", 0)):
            account.calm()
            account.cut_at = 4
            with pytest.raises(Cut):
                name(account, state=state)
            assert changing(account.calls) == [4]
            account.calm()
            name(account, state=state)
            assert len(records(account, zone)) == wanted


def test_a_domain_that_is_kept_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, words in (
        (
            [],
            "lab.example.org: it leads nowhere yet. Add this where the domain is kept: lab.example.org. 60 IN A 203.0.113.9",
        ),
        (["203.0.113.1"], "lab.example.org: it leads to 203.0.113.1 now. Add this"),
        (["203.0.113.9"], "lab.example.org leads to 203.0.113.9, as it should."),
    ):
        monkeypatch.setattr(dns, "resolve", lambda _, found=found: found)
        with cloud() as account:
            said = name(account, zone="")
            assert not account.calls
        assert said["note"].startswith(words) and not said["changed"]


@pytest.mark.parametrize("wrong", ["lab", "https://lab.example.org", "-a.example.org", "a..org", "lab.example.org/x"])
def test_what_is_no_host_name(wrong: str) -> None:
    with cloud() as account, pytest.raises(dns.Refusal, match="is not a host name"):
        name(account, dns_name=wrong)


# ---- spot and placement


class Requests:
    """Spot requests, which moto's RunInstances does not make."""

    def __init__(self, *states: str) -> None:
        self.states, self.error = states, ""
        self.cancelled: list[str] = []

    def describe_spot_instance_requests(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        (wanted,) = [one["Values"] for one in Filters if one["Name"] == "state"]
        assert {"Name": "tag:Project", "Values": ["p"]} in Filters and {
            "Name": "tag:Name",
            "Values": ["demo"],
        } in Filters
        found = [{"SpotInstanceRequestId": f"sir-{n}"} for n, s in enumerate(self.states) if s in wanted]
        return {"SpotInstanceRequests": found}

    def cancel_spot_instance_requests(self, SpotInstanceRequestIds: list[str]) -> None:  # noqa: N803
        if self.error:
            raise aws.ClientError({"Error": {"Code": self.error, "Message": "x"}}, "CancelSpotInstanceRequests")
        self.cancelled += SpotInstanceRequestIds


def test_requests_in_force_are_cancelled() -> None:
    ec2 = Requests("active", "cancelled", "disabled", "closed", "open")
    assert spot.run(ec2, "p", "demo", check_mode=True) == ["sir-0", "sir-2", "sir-4"] and not ec2.cancelled
    assert spot.run(ec2, "p", "demo", check_mode=False) == ec2.cancelled
    assert spot.run(Requests("cancelled"), "p", "demo", check_mode=False) == []


def test_a_request_that_went_meanwhile_is_no_fault_and_others_are() -> None:
    ec2 = Requests("active")
    ec2.error = "InvalidSpotInstanceRequestID.NotFound"
    assert spot.run(ec2, "p", "demo", check_mode=False) == ["sir-0"]
    ec2.error = "UnauthorizedOperation"
    with pytest.raises(aws.ClientError):
        spot.run(ec2, "p", "demo", check_mode=False)


LAUNCH: dict[str, Any] = {
    "image_id": "ami-1", "instance_type": "t3.large", "security_group_id": "sg-1", "key_name": "k", "root_device_name": "/dev/xvda",
    "disk_gb": 30, "standard_credits": True, "instance_profile": "", "metadata_hop_limit": 1, "termination_protection": False,
    "tags": {"Name": "demo"}, "market": "on_demand", "spot_max_usd": "",
}  # fmt: skip


def test_a_spot_launch_is_persistent_stops_and_is_tagged() -> None:
    assert "InstanceMarketOptions" not in ec2_launch.request(LAUNCH, "s")
    asked = ec2_launch.request({**LAUNCH, "market": "spot", "spot_max_usd": "0.05"}, "s")
    options = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop", "MaxPrice": "0.05"}
    assert asked["InstanceMarketOptions"] == {"MarketType": "spot", "SpotOptions": options}
    assert "spot-instances-request" in {one["ResourceType"] for one in asked["TagSpecifications"]}
    asked = ec2_launch.request({**LAUNCH, "market": "spot"}, "s")
    assert "MaxPrice" not in asked["InstanceMarketOptions"]["SpotOptions"]


class Reservations:
    """Reserved instances, which moto does not know."""

    def __init__(self, *found: dict[str, str]) -> None:
        self.found = found

    def describe_reserved_instances(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        assert Filters == [{"Name": "state", "Values": ["active"]}, {"Name": "instance-type", "Values": ["t3.large"]}]
        return {"ReservedInstances": list(self.found)}


def test_placement() -> None:
    def placed(zone: str, *found: dict[str, str]) -> list[str]:
        options = {"zone": zone, "instance_type": "t3.large"}
        return ec2_offer_info.find_placement(Reservations(*found), options, ["a", "b"], "us-west-2")

    zonal, regional = {"Scope": "Availability Zone", "AvailabilityZone": "b"}, {"Scope": "Region"}
    assert placed("") == ["a", "b"] and placed("b") == ["b"]
    assert placed("reserved", zonal) == ["b"] and placed("reserved", zonal, regional) == ["a", "b"]
    with pytest.raises(ec2_offer_info.Refusal, match=r"t3.large is offered in a, b, and ec2_provision_zone is 'c'"):
        placed("c")
    with pytest.raises(ec2_offer_info.Refusal, match=r"no active reserved instance of t3.large in us-west-2"):
        placed("reserved")


SETTINGS: dict[str, Any] = {"name": "demo", "market": "on_demand", "zone": "", "type": "t3.large"}
PLACE = {"zone": "a", "market": "on_demand", "type": "t3.large"}


@pytest.mark.parametrize(
    ("instance", "settings", "words"),
    [
        ({}, {"zone": "b"}, "demo is in a, and ec2_provision_zone is b (b): a server cannot move."),
        (
            {},
            {"market": "spot"},
            "demo was launched on demand, and ec2_provision_market is spot: AWS cannot change that.",
        ),
        ({"market": "spot"}, {}, "demo was launched spot, and ec2_provision_market is on_demand"),
        ({"market": "spot"}, {"market": "spot", "type": "t3.small"}, "AWS changes the type of no spot server"),
    ],
)
def test_what_cannot_change(instance: dict[str, Any], settings: dict[str, Any], words: str) -> None:
    (problem,) = role.place_problems({**PLACE, **instance}, {"placement": ["b"]}, {**SETTINGS, **settings})
    assert words in problem


def test_what_may_stay() -> None:
    assert role.place_problems(PLACE, {"placement": ["a"]}, SETTINGS) == []
    assert role.place_problems(PLACE, {"placement": ["a"]}, {**SETTINGS, "zone": "a", "type": "t3.small"}) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dns_name": "lab"}, "write one like lab.example.org"),
        ({"dns_name": "Lab.example.org"}, "in small letters"),
        ({"dns_zone": "auto"}, "without a name"),
        ({"market": "cheap"}, "choose on_demand or spot"),
        ({"spot_max_usd": "0.05"}, "is for spot servers"),
        ({"market": "spot", "spot_max_usd": "much"}, "give US dollars an hour"),
        ({"market": "spot", "spot_max_usd": "0"}, "give US dollars an hour"),
        ({"market": "spot", "termination_protection": True}, "no termination protection for spot"),
    ],
)
def test_settings_that_cannot_be(changed: dict[str, Any], words: str) -> None:
    (problem,) = role.network_problems(changed) + role.market_problems(changed)
    assert words in problem


def test_settings_that_can_be() -> None:
    good = {"dns_name": "lab.example.org", "dns_zone": "auto", "market": "spot", "spot_max_usd": "0.05"}
    assert role.network_problems(good) + role.market_problems(good) == []

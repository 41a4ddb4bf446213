"""The module that asks AWS for prices, against answers in the documented form with made-up figures (fixtures/price_api.yml)."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.stub import ANY, Stubber

from plugins.filter import cost
from plugins.modules import ec2_prices

RECORDED = yaml.safe_load((Path(__file__).parent / "fixtures/price_api.yml").read_text())
NOW = datetime.datetime(2026, 11, 21, 8, tzinfo=datetime.UTC)


def client(service: str) -> tuple[Any, Stubber]:
    made: Any = boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    stub = Stubber(made)
    stub.activate()
    return made, stub


def expect(stub: Stubber, service: str, key: str, **fields: str) -> None:
    """One question with exactly these filters; the answer comes in two pages, as that of the API may."""
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in fields.items()]
    asked = {"ServiceCode": service, "FormatVersion": "aws_v1", "Filters": filters}
    items = [json.dumps(one) for one in RECORDED["products"].get(key, [])]
    stub.add_response(
        "get_products", {"FormatVersion": "aws_v1", "PriceList": items[:1], "NextToken": "more"}, {**asked}
    )
    stub.add_response(
        "get_products", {"FormatVersion": "aws_v1", "PriceList": items[1:]}, {**asked, "NextToken": "more"}
    )


def expect_server(stub: Stubber, name: str) -> None:
    expect(stub, "AmazonEC2", name, instanceType=name, regionCode="us-west-2", **ec2_prices.SERVER)


def server(name: str) -> dict[str, Any]:
    pricing, stub = client("pricing")
    expect_server(stub, name)
    return ec2_prices.server(pricing, "us-west-2", name)


def test_on_demand_and_the_right_one_of_the_reservations() -> None:
    assert server("c5.large") == {"on_demand": 0.086, "reserved": 0.054, "make": {"vcpus": 2, "memory_gib": 4}}


def test_blocks_of_capacity_are_not_on_demand() -> None:
    found = server("p5.48xlarge")
    assert (found["on_demand"], found["reserved"]) == (55.04, None)
    assert found["make"] == {"vcpus": 192, "memory_gib": 2048}


def test_two_prices_are_no_price() -> None:
    assert server("t2.micro")["on_demand"] is None


def test_a_type_that_is_not_offered() -> None:
    assert server("x9.nano") == {"on_demand": None, "reserved": None, "make": {}}


def test_everything_and_what_the_price_file_makes_of_it() -> None:
    pricing, stub = client("pricing")
    ec2, spot = client("ec2")
    names = ["c5.large", "x9.nano"]
    for name in names:
        expect_server(stub, name)
    expect(stub, "AmazonEC2", "gp3", regionCode="us-west-2", volumeApiName="gp3")
    expect(stub, "AmazonEC2", "Storage Snapshot", regionCode="us-west-2", productFamily="Storage Snapshot")
    expect(stub, "AmazonVPC", "VPCPublicIPv4Address", regionCode="us-west-2", group="VPCPublicIPv4Address")
    spot.add_response(
        "describe_spot_price_history",
        {"SpotPriceHistory": RECORDED["spot"]},
        {"InstanceTypes": names, "ProductDescriptions": ["Linux/UNIX"], "StartTime": ANY, "EndTime": ANY},
    )
    answer = ec2_prices.ask(pricing, ec2, "us-west-2", names, NOW)
    stub.assert_no_pending_responses()
    assert answer == {
        "region": "us-west-2",
        "date": "2026-11-21",
        "on_demand": {"c5.large": 0.086, "x9.nano": None},
        "reserved": {"c5.large": 0.054, "x9.nano": None},
        "spot": {"c5.large": 0.0322},
        "types": {"c5.large": {"vcpus": 2, "memory_gib": 4}},
        "gp3_gb_month": 0.08,
        "snapshot_gb_month": 0.05,
        "public_ipv4_hour": 0.005,
    }
    prices = cost.refreshed({}, answer)
    assert cost.monthly_usd(prices, "us-west-2", "c5.large", 30) == 730 * 0.086 + 30 * 0.08 + 730 * 0.005

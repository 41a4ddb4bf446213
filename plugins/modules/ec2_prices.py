#!/usr/bin/python
"""Ask AWS what it asks today for servers in a region."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_prices
short_description: Today's prices of a region, from AWS's price API
description:
  - Asks for Linux on-demand, spot and one-year reserved (standard, no upfront) prices, for gp3 volumes, snapshots and public IPv4
    addresses. Reads only. The account needs C(pricing:GetProducts) and C(ec2:DescribeSpotPriceHistory), and pays nothing for it.
  - A price that AWS does not name, or names twice and differently, is null. An answer with no price at all is an error.
options:
  instance_types: {description: The types to ask for, type: list, elements: str, required: true}
  spot: {description: "Ask for spot prices, too, which needs C(ec2:DescribeSpotPriceHistory)", type: bool, default: true}
author: [The project's authors]
"""

EXAMPLES = """
- name: Ask for two types
  ec2_prices:
    region: us-west-2
    instance_types: [t3.medium, m7i.large]
"""

RETURN = """
answer: {description: "region, date, on_demand, spot and reserved by type, gp3_gb_month, snapshot_gb_month, public_ipv4_hour, and
  types with their vcpus and memory_gib", type: dict, returned: always}
"""

import datetime
import json
import statistics
from collections.abc import Iterator
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

PRICE_REGION = "us-east-1"  # the price API is in few regions and answers for all
SERVER = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}


def products(pricing: Any, service: str, **fields: str) -> Iterator[dict[str, Any]]:
    """Give each product that has these attributes. The API wraps each as JSON in a string."""
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in fields.items()]
    for page in pricing.get_paginator("get_products").paginate(
        ServiceCode=service, FormatVersion="aws_v1", Filters=filters
    ):
        for item in page["PriceList"]:
            yield json.loads(item) if isinstance(item, str) else item


def rates(product: dict[str, Any], term: str, unit: str, wanted: dict[str, str] | None = None) -> set[float]:
    """Give the different prices of a product in a kind of terms, per unit, first tier only, none for what is free of charge."""
    found = set()
    for offer in product.get("terms", {}).get(term, {}).values():
        attributes = offer.get("termAttributes", {})
        if any(attributes.get(name) != value for name, value in (wanted or {}).items()):
            continue
        for dimension in offer["priceDimensions"].values():
            usd = float(dimension.get("pricePerUnit", {}).get("USD", 0))
            if dimension.get("unit") == unit and dimension.get("beginRange", "0") == "0" and usd > 0:
                found.add(usd)
    return found


def only(values: set[float]) -> float | None:
    """Give the one price; none or several is unknown."""
    return values.pop() if len(values) == 1 else None


def server(pricing: Any, region: str, name: str) -> dict[str, Any]:
    """Give on-demand and reserved price and the make of a type."""
    on_demand: set[float] = set()
    reserved: set[float] = set()
    make: dict[str, Any] = {}
    terms = {"LeaseContractLength": "1yr", "OfferingClass": "standard", "PurchaseOption": "No Upfront"}
    for product in products(pricing, "AmazonEC2", instanceType=name, regionCode=region, **SERVER):
        attributes = product["product"]["attributes"]
        if attributes.get("marketoption", "OnDemand") != "OnDemand":
            continue  # blocks of capacity are listed beside
        on_demand |= rates(product, "OnDemand", "Hrs")
        reserved |= rates(product, "Reserved", "Hrs", terms)
        memory = attributes.get("memory", "").split(" ")[0].replace(",", "")
        if attributes.get("vcpu", "").isdigit() and memory.replace(".", "", 1).isdigit():
            gib = float(memory)
            make = {"vcpus": int(attributes["vcpu"]), "memory_gib": int(gib) if gib.is_integer() else gib}
    return {"on_demand": only(on_demand), "reserved": only(reserved), "make": make}


def spot(ec2: Any, names: list[str], now: datetime.datetime) -> dict[str, float]:
    """Give the present spot price of each type: the middle one of the region's zones."""
    by_type: dict[str, dict[str, float]] = {}
    pages = ec2.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=names, ProductDescriptions=["Linux/UNIX"], StartTime=now, EndTime=now
    )
    for page in pages:
        for item in page["SpotPriceHistory"]:
            by_type.setdefault(item["InstanceType"], {})[item["AvailabilityZone"]] = float(item["SpotPrice"])
    return {name: round(statistics.median(zones.values()), 6) for name, zones in by_type.items()}


def one_rate(pricing: Any, service: str, unit: str, ending: str, **fields: str) -> float | None:
    """Give the price of a thing whose usage type ends so; regions but the first prefix theirs with a code."""
    found: set[float] = set()
    for product in products(pricing, service, **fields):
        usage = product["product"]["attributes"].get("usagetype", "")
        if usage == ending or usage.endswith(f"-{ending}"):
            found |= rates(product, "OnDemand", unit)
    return only(found)


def ask(
    pricing: Any, ec2: Any, region: str, names: list[str], now: datetime.datetime, with_spot: bool = True
) -> dict[str, Any]:
    """Ask for everything."""
    servers = {name: server(pricing, region, name) for name in names}
    return {
        "region": region,
        "date": now.date().isoformat(),
        "on_demand": {name: one["on_demand"] for name, one in servers.items()},
        "reserved": {name: one["reserved"] for name, one in servers.items()},
        "spot": spot(ec2, names, now) if with_spot else {},
        "types": {name: one["make"] for name, one in servers.items() if one["make"]},
        "gp3_gb_month": one_rate(
            pricing, "AmazonEC2", "GB-Mo", "EBS:VolumeUsage.gp3", regionCode=region, volumeApiName="gp3"
        ),
        "snapshot_gb_month": one_rate(
            pricing, "AmazonEC2", "GB-Mo", "EBS:SnapshotUsage", regionCode=region, productFamily="Storage Snapshot"
        ),
        "public_ipv4_hour": one_rate(
            pricing, "AmazonVPC", "Hrs", "PublicIPv4:InUseAddress", regionCode=region, group="VPCPublicIPv4Address"
        ),
    }


def main() -> None:
    """Run as Ansible asks."""
    module = AnsibleAWSModule(
        argument_spec={
            "instance_types": {"type": "list", "elements": "str", "required": True},
            "spot": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    region = module.region
    try:
        answer = ask(
            module.client("pricing", region=PRICE_REGION),
            module.client("ec2"),
            region,
            module.params["instance_types"],
            datetime.datetime.now(tz=datetime.timezone.utc),
            module.params["spot"],
        )
    except (aws.ClientError, aws.BotoCoreError) as error:
        reason = f"AWS did not say its prices ({' '.join(str(error).split('<')[0].split()).rstrip(' (:')})"
        module.fail_json(
            reason=reason,
            msg=f"{reason}: check the credentials, that they may pricing:GetProducts and "
            "ec2:DescribeSpotPriceHistory, and the network (the lab's API has no prices). The prices here stay as they were.",
        )
    if not any(answer["on_demand"].values()):
        reason = f"AWS named no price of {', '.join(module.params['instance_types'])} in {region}"
        module.fail_json(
            reason=reason, msg=f"{reason}: correct the region and the types. The prices here stay as they were."
        )
    module.exit_json(changed=False, answer=answer)


if __name__ == "__main__":
    main()

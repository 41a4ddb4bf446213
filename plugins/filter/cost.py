"""What a server costs on AWS, from the dated prices in prices.yml. A price that is not there is None: unknown."""

from __future__ import annotations

import datetime
import math
from typing import Any

HOURS_PER_MONTH = 730
WORKDAY_HOURS = 8 * 22
FREE_EGRESS_GB = 100  # a month, for the whole account
OLD_DAYS = 180
PARTS = ("compute", "disk", "snapshots", "ipv4", "egress")
# A price that is not known is taken to be at most that of the dearest region that is known, and half as much again.
MARGIN = 1.5
# The part of each vCPU that a t3, t3a or t4g may use all the time, by size (AWS's table of CPU credits).
BASELINE = {"nano": 0.05, "micro": 0.1, "small": 0.2, "medium": 0.2, "large": 0.3, "xlarge": 0.4, "2xlarge": 0.4}
REFRESH = "`ansible-playbook playbooks/estimate.yml -e refresh=true`"


def prices_of(prices: dict[str, Any], region: str) -> dict[str, Any]:
    """Return what is known of a region's prices, which may be nothing."""
    return dict(prices.get("regions", {}).get(region) or {})


def times(amount: float, price: float | None) -> float | None:
    """Multiply; nothing costs nothing, whatever its price, and what has no price is unknown."""
    if not amount:
        return 0.0
    return None if price is None else amount * price


def total(parts: dict[str, float | None]) -> float | None:
    """Add up; one unknown part makes the sum unknown."""
    known = [value for value in parts.values() if value is not None]
    return sum(known) if len(known) == len(parts) else None


def parts_of(
    local: dict[str, Any], per_hour: float | None, hours: float, usage: dict[str, Any]
) -> dict[str, float | None]:
    """Return the parts of what ``usage["months"]`` months cost with ``hours`` of running in each.

    The disk is billed all the time, stopped or not. A public IPv4 address is billed while the instance has one: while it runs,
    or always when it is an Elastic IP.
    """
    months = usage["months"]
    address_hours = 0.0
    if usage["public_ipv4"]:
        address_hours = usage["hours"] if usage["elastic_ip"] else hours
    return {
        "compute": times(months * hours, per_hour),
        "disk": times(months * usage["disk_gb"], local.get("gp3_gb_month")),
        "snapshots": times(months * usage["snapshot_gb"], local.get("snapshot_gb_month")),
        "ipv4": times(months * address_hours, local.get("public_ipv4_hour")),
        "egress": times(months * max(0.0, usage["egress_gb"] - FREE_EGRESS_GB), local.get("egress_gb")),
    }


def usage_of(disk_gb: float, **others: Any) -> dict[str, Any]:
    """Return a usage: what a plain server needs, and what is said otherwise."""
    plain = {
        "months": 1,
        "hours": HOURS_PER_MONTH,
        "work_hours": WORKDAY_HOURS,
        "disk_gb": disk_gb,
        "snapshot_gb": 0,
        "egress_gb": 0,
        "public_ipv4": True,
        "elastic_ip": False,
        "credits_usd": 0,
    }
    return {**plain, **others}


def monthly_usd(
    prices: dict[str, Any],
    region: str,
    instance_type: str,
    disk_gb: float,
    hours: float = HOURS_PER_MONTH,
    market: str = "on_demand",
    **others: Any,
) -> float | None:
    """Return US dollars for a month in which a server runs ``hours``, or None when a price is unknown; ``others`` as in usage_of."""
    local = prices_of(prices, region)
    return total(parts_of(local, local.get(market, {}).get(instance_type), hours, usage_of(disk_gb, **others)))


def pace(instance_type: str) -> int:
    """Return how many times longer a type may take than one that always has its cores: a burstable one without credits is slow.

    A machine whose type is not known counts as one that has its cores.
    """
    family, _, size = instance_type.partition(".")
    share = BASELINE.get(size, 1) if family in ("t2", "t3", "t3a", "t4g") else 1
    return min(5, math.ceil(1 / (2 * share))) if share < 1 else 1


def surplus_usd(prices: dict[str, Any], instance_type: str) -> float | None:
    """Return what an hour of full load costs beyond the price of a burstable type whose CPU credits are unlimited, at most."""
    family, _, size = instance_type.partition(".")
    price, share = prices.get("surplus_vcpu_hour", {}).get(family), BASELINE.get(size)
    vcpus = (prices.get("types", {}).get(instance_type) or {}).get("vcpus")
    return None if not price or share is None or not vcpus else float(price * vcpus * (1 - share))


def credits_note(prices: dict[str, Any], instance_type: str, wanted: str) -> str:
    """Return what the CPU credits of a new burstable server cost, or nothing for other types and for t2, which begins with some."""
    family = instance_type.partition(".")[0]
    if family not in prices.get("surplus_vcpu_hour", {}) or (family == "t2" and wanted == "standard"):
        return ""
    usd = surplus_usd(prices, instance_type)
    most = "what that costs is not known here" if usd is None else f"at most ${usd:.2f} for each hour of full load"
    if wanted == "unlimited":
        return f"{instance_type} has unlimited CPU credits: {most}, for good (ec2_provision_cpu_credits)"
    return (
        f"{instance_type} gets no CPU credits to begin with, so it has unlimited ones until verify has passed: {most}"
    )


def kind_of(instance_type: str, market: str) -> str:
    """Return how people call a type that is paid for in a certain way."""
    return instance_type if market == "on_demand" else f"{market} {instance_type}"


def unknown(
    prices: dict[str, Any], region: str, instance_type: str, disk_gb: float, market: str = "on_demand", **others: Any
) -> list[str]:
    """Return which parts of a server have no price here: its own, its disk's, its address's."""
    local = prices_of(prices, region)
    parts = parts_of(local, local.get(market, {}).get(instance_type), HOURS_PER_MONTH, usage_of(disk_gb, **others))
    return [part for part in PARTS if parts[part] is None]


def most_usd(
    prices: dict[str, Any], region: str, instance_type: str, disk_gb: float, market: str = "on_demand", **others: Any
) -> float | None:
    """Return what a month costs at most where prices are missing, or None where nothing at all is known of the type."""

    def dearest(found: list[float | None]) -> float | None:
        return max((MARGIN * one for one in found if one is not None), default=None)

    local, every = prices_of(prices, region), list(prices.get("regions", {}).values())
    known = {
        key: local.get(key, dearest([other.get(key) for other in every]))
        for key in ("gp3_gb_month", "snapshot_gb_month", "public_ipv4_hour", "egress_gb")
    }
    elsewhere = dearest([other.get("on_demand", {}).get(instance_type) for other in every])
    # AWS takes no more for spot than on demand.
    on_demand = local.get("on_demand", {}).get(instance_type, elsewhere)
    per_hour = local.get(market, {}).get(instance_type, on_demand)
    return total(parts_of(known, per_hour, HOURS_PER_MONTH, usage_of(disk_gb, **others)))


def monthly_cost(
    prices: dict[str, Any], region: str, instance_type: str, disk_gb: float, market: str = "on_demand", **others: Any
) -> str:
    """Return the line for summary and preflight, or an empty string where there is no instance to pay for."""
    if not instance_type:
        return ""
    always = monthly_usd(prices, region, instance_type, disk_gb, HOURS_PER_MONTH, market, **others)
    kind = kind_of(instance_type, market)
    if always is None:
        gaps = unknown(prices, region, instance_type, disk_gb, market, **others)
        if "compute" in gaps:
            return f"no price of {kind} in {region} is known here: {REFRESH} asks AWS for it"
        named = {"disk": "disk", "ipv4": "IPv4 address", "snapshots": "snapshots", "egress": "traffic"}
        alone = hourly_usd(prices, region, instance_type, HOURS_PER_MONTH, market)
        return (
            f"on AWS about ${alone:.2f} a month running all the time for {kind} in {region} alone"
            f" (prices of {source_of(prices, region, market)['date']}); the price of its "
            f"{' and '.join(named[part] for part in gaps)} there is not known here: {REFRESH} asks AWS for it"
        )
    workdays = monthly_usd(prices, region, instance_type, disk_gb, WORKDAY_HOURS, market, **others)
    stopped = monthly_usd(prices, region, instance_type, disk_gb, 0, market, **others)
    date = source_of(prices, region, market)["date"]
    address = "one IPv4 address"
    if others.get("elastic_ip"):
        fixed = HOURS_PER_MONTH * prices_of(prices, region)["public_ipv4_hour"]
        address = f"an Elastic IP for ${fixed:.2f} of it, also while stopped"
    return (
        f"on AWS about ${always:.2f} a month running all the time, ${workdays:.2f} on 22 days of 8 hours, ${stopped:.2f} stopped"
        f" ({kind} in {region}, {disk_gb:g} GB, {address}; prices of {date}, traffic not counted)"
    )


def ceiling_problems(
    prices: dict[str, Any],
    region: str,
    instance_type: str,
    disk_gb: float,
    ceiling: float,
    setting: str,
    market: str = "on_demand",
    asked: str = "",
    **others: Any,
) -> list[str]:
    """Return why a server is dearer than agreed. With a ceiling of 0 nothing is too dear. ``asked`` is why AWS did not say a price."""
    if not ceiling:
        return []
    month = monthly_usd(prices, region, instance_type, disk_gb, HOURS_PER_MONTH, market, **others)
    kind = kind_of(instance_type, market)
    if month is None:
        most = most_usd(prices, region, instance_type, disk_gb, market, **others)
        if most is not None and most <= ceiling:
            return []
        way = (
            f"{asked}. Mend that (policies/launch.json has the permissions),"
            if asked
            else f"{REFRESH} asks AWS for the price,"
        )
        return [
            f"No price of {kind} in {region} is known here, so {setting} ({ceiling:g}) cannot be kept: {way} "
            f"or set {setting} to 0 to go without a ceiling."
        ]
    if month > ceiling:
        return [
            f"{kind} in {region} with {disk_gb:g} GB costs about ${month:.2f} a month running all the time, "
            f"more than {setting} ({ceiling:g}): choose a smaller ec2_provision_instance_type or raise {setting}."
        ]
    return []


def ceiling_note(
    prices: dict[str, Any],
    region: str,
    instance_type: str,
    disk_gb: float,
    ceiling: float,
    setting: str,
    market: str = "on_demand",
    **others: Any,
) -> str:
    """Return why a server goes on although a price is not known, or nothing."""
    if not ceiling or not unknown(prices, region, instance_type, disk_gb, market, **others):
        return ""
    most = most_usd(prices, region, instance_type, disk_gb, market, **others)
    if most is None or most > ceiling:
        return ""
    return (
        f"What is not known is counted as in the dearest region that is, and half as much again: at most ${most:.2f} a month, "
        f"so {setting} ({ceiling:g}) is kept"
    )


def source_of(prices: dict[str, Any], region: str, kind: str) -> dict[str, str]:
    """Return date and words on where one kind of a region's prices is from."""
    name = prices_of(prices, region).get("from", {}).get(kind, "")
    return dict(prices.get("sources", {}).get(name) or {"date": "", "says": ""})


def break_even(
    local: dict[str, Any], per_hour: float | None, on_demand: float | None, usage: dict[str, Any]
) -> float | None:
    """Return from how many hours a month on another price running always is cheaper than running so long on demand."""
    if per_hour is None or on_demand is None:
        return None
    # An address that is kept is billed the same either way; one that goes with a stop is saved too.
    address = local.get("public_ipv4_hour", 0) if usage["public_ipv4"] and not usage["elastic_ip"] else 0
    return float(usage["hours"] * (per_hour + address) / (on_demand + address))


def patterns(local: dict[str, Any], instance_type: str, usage: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the ways to run one type, each with its cost in parts."""
    price = {kind: local.get(kind, {}).get(instance_type) for kind in ("on_demand", "spot", "reserved")}
    ways = [
        ("always", "on demand, always", "on_demand", usage["hours"]),
        ("work", "on demand, work hours", "on_demand", usage["work_hours"]),
        ("spot", "spot, always", "spot", usage["hours"]),
        ("reserved", "reserved for a year", "reserved", usage["hours"]),
    ]
    rows = []
    for key, name, kind, hours in ways:
        parts = parts_of(local, price[kind], hours, usage)
        whole = total(parts)
        rows.append(
            {
                "key": key,
                "name": name,
                "hours": hours,
                **parts,
                "total": whole,
                "a_month": None if whole is None else whole / usage["months"],
                "credits_left": None if whole is None else max(0.0, usage["credits_usd"] - whole),
                "break_even_hours": None
                if kind == "on_demand"
                else break_even(local, price[kind], price["on_demand"], usage),
            }
        )
    return rows


def cost_estimate(prices: dict[str, Any], types: list[str], region: str, usage: dict[str, Any]) -> dict[str, Any]:
    """Return the costs of each type and way to run it, and what to know when reading them."""
    local = prices_of(prices, region)
    servers = [
        {
            "type": name,
            "vcpus": None,
            "memory_gib": None,
            **(prices.get("types", {}).get(name) or {}),
            "patterns": patterns(local, name, usage),
        }
        for name in types
    ]
    return {"region": region, "usage": usage, "servers": servers}


def notes(prices: dict[str, Any], estimate: dict[str, Any], today: str) -> list[str]:
    """Return what a person should know beside the figures: age, gaps, and what the ways to run mean."""
    region, usage = estimate["region"], estimate["usage"]
    said = old_notes(prices, region, today)
    gaps: dict[str, list[str]] = {}
    for server in estimate["servers"]:
        ways = [row["name"] for row in server["patterns"] if row["total"] is None and row["key"] != "work"]
        if ways:
            gaps.setdefault("; ".join(ways), []).append(server["type"])
    said += [
        f"Unknown in {region}, {ways}: {', '.join(types)}. No price is known here; -e refresh=true asks AWS."
        for ways, types in gaps.items()
    ]
    if any("reserved" in ways for ways in gaps):
        said += shares(prices, region)
    burstable = {server["type"]: surplus_usd(prices, server["type"]) for server in estimate["servers"]}
    said += [
        f"{name}: CPU credits beyond its share cost at most ${usd:.2f} for an hour of full load; a new server has them until it "
        "was verified."
        for name, usd in burstable.items()
        if usd is not None and not name.startswith("t2.")
    ]
    said += [
        f"Work hours are {usage['work_hours']:g} a month; a stopped server costs its disk and snapshots only"
        + (" and its Elastic IP." if usage["public_ipv4"] and usage["elastic_ip"] else ", its address goes back."),
        "Spot prices change all the time, and AWS may stop a spot server two minutes after saying so.",
        "A reservation is owed for 12 months, running or not, and this project never buys one.",
        f"Break-even: running for longer than these hours of the month's {usage['hours']:g} is cheaper that way than on demand.",
        f"Traffic to the internet: {usage['egress_gb']:g} GB a month, the account's first {FREE_EGRESS_GB} are free; traffic in is free.",
        "Without tax, and without CPU credits that a t type may buy when it is busy for long.",
    ]
    return said


def shares(prices: dict[str, Any], here: str) -> list[str]:
    """Return what reservations cost elsewhere, where that is known, so that a gap is not a dead end."""
    said = []
    for region, local in prices.get("regions", {}).items():
        found = [
            price / local["on_demand"][name]
            for name, price in local.get("reserved", {}).items()
            if name in local.get("on_demand", {})
        ]
        if found and region != here:
            said.append(
                f"For comparison: in {region} a reservation costs {min(found):.0%} to {max(found):.0%} of on demand "
                f"({len(found)} types)."
            )
    return said


def old_notes(prices: dict[str, Any], region: str, today: str) -> list[str]:
    """Return a warning for each kind of price that is older than can be trusted blindly."""
    if not prices_of(prices, region):
        known = ", ".join(prices.get("regions", {}))
        return [f"WARNING: no prices of {region} are known here (only {known}); -e refresh=true asks AWS."]
    said = []
    for kind in prices_of(prices, region).get("from", {}):
        source = source_of(prices, region, kind)
        days = (datetime.date.fromisoformat(today) - datetime.date.fromisoformat(source["date"])).days
        if days > OLD_DAYS:
            said.append((kind.replace("_", " "), days))
    if not said:
        return []
    ages = ", ".join(f"{kind} {days}" for kind, days in said)
    return [
        f"WARNING: prices older than {OLD_DAYS} days are used (days: {ages}); -e refresh=true asks AWS for today's."
    ]


def sources(prices: dict[str, Any], region: str) -> list[dict[str, str]]:
    """Return where the prices of a region are from, each source once with the kinds it gave."""
    kinds: dict[str, list[str]] = {}
    for kind, name in prices_of(prices, region).get("from", {}).items():
        kinds.setdefault(name, []).append(kind.replace("_", " "))
    return [{"kinds": ", ".join(kind), **prices["sources"][name]} for name, kind in kinds.items()]


def usage_problems(types: Any, usage: dict[str, Any]) -> list[str]:
    """Return what cannot be in the settings of an estimate."""
    problems = []
    if not isinstance(types, list) or not types:
        problems.append("estimate_types names no instance type: name some, such as -e types=t3.medium,m7i.large.")
    for name in types if isinstance(types, list) else []:
        if not isinstance(name, str) or len(name.split(".")) != 2 or not all(name.split(".")):
            problems.append(f"'{name}' is not an instance type: write it like t3.medium.")
    for name, value in usage.items():
        if isinstance(value, bool):
            continue
        if not isinstance(value, (int, float)) or value < 0:
            problems.append(f"estimate_{name} is '{value}': give a number, 0 or more.")
    if problems:
        return problems
    if not usage["months"]:
        problems.append("estimate_months is 0: give 1 or more.")
    if not usage["hours"] or usage["hours"] > 744:
        problems.append(f"estimate_hours is {usage['hours']}: a month has 672 to 744 hours.")
    if usage["work_hours"] > usage["hours"]:
        problems.append(f"estimate_work_hours is {usage['work_hours']}, more than the {usage['hours']} of the month.")
    return problems


def refreshed(prices: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Return the prices with what AWS said just now (see module ec2_prices) in place of the region's former ones.

    A type that AWS did not name a price for loses its former one: it is unknown now. What was not asked for, which is traffic,
    stays as it was.
    """
    old = prices_of(prices, answer["region"])
    here = {"on_demand", "spot", "reserved"}
    asked = {"on_demand": "on_demand", "spot": "spot", "reserved": "reserved"}
    for kind, key in (("disk", "gp3_gb_month"), ("snapshot", "snapshot_gb_month"), ("address", "public_ipv4_hour")):
        if answer.get(key) is not None:
            asked[kind] = key
    local = {**old, **{key: answer[key] for key in asked.values()}}
    for kind in here:
        local[kind] = {name: value for name, value in answer[kind].items() if value is not None}
    local["from"] = {**old.get("from", {}), **dict.fromkeys(asked, f"aws_{answer['date']}")}
    says = "AWS price API (pricing:GetProducts) and ec2:DescribeSpotPriceHistory, asked by this project"
    regions = {**prices.get("regions", {}), answer["region"]: local}
    given = {name for region in regions.values() for name in region["from"].values()}
    every = {**prices.get("sources", {}), f"aws_{answer['date']}": {"date": answer["date"], "says": says}}
    return {
        **prices,
        "sources": {name: source for name, source in every.items() if name in given},
        "types": {**prices.get("types", {}), **answer["types"]},
        "regions": regions,
    }


def hourly_usd(
    prices: dict[str, Any], region: str, instance_type: str, hours: float = 1, market: str = "on_demand"
) -> float | None:
    """Return US dollars for some hours of a type, the machine alone: its disk is billed anyway."""
    return times(hours, prices_of(prices, region).get(market, {}).get(instance_type))


def stopped_cost(
    prices: dict[str, Any], region: str, volumes: list[dict[str, Any]], elastic_ips: list[str]
) -> dict[str, float | None]:
    """Return what a month costs in which a server is stopped: its disks, and addresses that are kept. Only gp3 has a price here."""
    local = prices_of(prices, region)
    known = all(volume["type"] == "gp3" for volume in volumes)
    parts = {
        "disk": times(sum(volume["gb"] for volume in volumes), local.get("gp3_gb_month") if known else None),
        "ipv4": times(HOURS_PER_MONTH * len(elastic_ips), local.get("public_ipv4_hour")),
    }
    return {**parts, "total": total(parts)}


class FilterModule:
    """Filters on cost."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "cost_ceiling_note": ceiling_note,
            "cost_ceiling_problems": ceiling_problems,
            "cost_credits_note": credits_note,
            "cost_estimate": cost_estimate,
            "cost_hourly_usd": hourly_usd,
            "cost_monthly_usd": monthly_usd,
            "cost_notes": notes,
            "cost_pace": pace,
            "cost_refreshed": refreshed,
            "cost_sources": sources,
            "cost_stopped": stopped_cost,
            "cost_unknown": unknown,
            "cost_usage_problems": usage_problems,
            "monthly_cost": monthly_cost,
        }

"""What a server costs a month on AWS, from a dated table of prices."""

from __future__ import annotations

from typing import Any

HOURS_PER_MONTH = 730


def monthly_usd(
    prices: dict[str, Any], instance_type: str, disk_gb: float, hours: float = HOURS_PER_MONTH, months: float = 1
) -> float | None:
    """Return US dollars for an instance that runs ``hours`` in each of ``months`` months, or None when the type has no price.

    The disk is billed all the time, stopped or not: ``disk_gb`` gigabytes of gp3 at ``prices["gp3_gb_month"]``. The public
    IPv4 address is billed while the instance has one, which is while it runs.
    """
    per_hour = prices["types"].get(instance_type)
    if per_hour is None:
        return None
    running = hours * (per_hour + prices["public_ipv4_hour"])
    return float(months * (running + disk_gb * prices["gp3_gb_month"]))


def monthly_cost(prices: dict[str, Any], instance_type: str, disk_gb: float) -> str:
    """Return the line for the summary, or an empty string where there is no instance to pay for."""
    if not instance_type:
        return ""
    always = monthly_usd(prices, instance_type, disk_gb)
    if always is None:
        return f"no price for {instance_type} in the table of {prices['date']}: see the AWS pricing calculator"
    workdays = monthly_usd(prices, instance_type, disk_gb, hours=8 * 22)
    stopped = disk_gb * prices["gp3_gb_month"]
    regions = " and ".join(prices["regions"])
    return (
        f"on AWS about ${always:.2f} a month running all the time, ${workdays:.2f} on 22 days of 8 hours, ${stopped:.2f} stopped"
        f" ({instance_type}, {disk_gb:g} GB, one IPv4 address; {regions}, prices of {prices['date']}, traffic not counted)"
    )


class FilterModule:
    """Filters on cost."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"monthly_cost": monthly_cost, "monthly_usd": monthly_usd}

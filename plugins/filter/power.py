"""Words and decisions of start.yml, stop.yml, resize.yml and burst.yml."""

from __future__ import annotations

import datetime
from typing import Any

LONGEST_BURST_HOURS = 24 * 30


def moment(now: str = "") -> str:
    """Return this moment, or the given one, as the records write it: UTC, to the second."""
    return now or f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


def in_burst(record: dict[str, Any], now: str = "") -> bool:
    """Whether a server has another type for some hours, by its record."""
    return bool(record.get("burst_type")) and moment(now) < str(record.get("burst_until", ""))


def held_type(setting: str, record: dict[str, Any], now: str = "") -> str:
    """The type that a server is to have: the newest word counts.

    A burst counts until its end, a resize as long as the setting is the one of that time, and the setting otherwise.
    """
    if in_burst(record, now):
        return str(record["burst_type"])
    if record.get("resized_to") and record.get("resized_setting") == setting:
        return str(record["resized_to"])
    return setting


def carried(record: dict[str, Any], setting: str, now: str = "") -> dict[str, str]:
    """What the next record still has to know of resizes and bursts."""
    known = {key: str(record.get(key) or "") for key in ("resized_to", "resized_setting", "burst_type", "burst_until")}
    if known["resized_setting"] != setting or known["resized_to"] == setting:
        known |= {"resized_to": "", "resized_setting": ""}
    if not in_burst(record, now):
        known |= {"burst_type": "", "burst_until": ""}
    return known


def type_note(setting: str, record: dict[str, Any], name: str, now: str = "") -> str:
    """Why a server is not of the type that the settings say; empty when it is."""
    kind = held_type(setting, record, now)
    if kind == setting:
        return ""
    if in_burst(record, now):
        return (
            f"{name} stays {kind} until {record['burst_until']}, by playbooks/burst.yml; "
            f"`ansible-playbook playbooks/burst.yml -l {name} -e hours=0` ends that."
        )
    return (
        f"{name} stays {kind}, as playbooks/resize.yml made it, though ec2_provision_instance_type is {setting}: "
        f"write `ec2_provision_instance_type: {kind}` into inventory/host_vars/{name}.yml or group_vars/all/aws.yml to make the "
        "settings say so, or another type to resize it."
    )


def dollars(amount: float | None) -> str:
    """An amount, or that it is not known."""
    return "an unknown price" if amount is None else f"${amount:.2f}"


def difference(before: float | None, after: float | None) -> str:
    """How much more or less."""
    if before is None or after is None:
        return "the difference is not known"
    change = after - before
    return "the same" if abs(change) < 0.005 else f"${abs(change):.2f} {'more' if change > 0 else 'less'}"


def stop_lines(found: dict[str, Any], name: str, cost: dict[str, Any]) -> str:
    """What a stop stops, and what goes on to be billed; cost is what cost_stopped gives."""
    one = found["instance"]
    disks = ", ".join(f"{v['id']} {v['gb']} GB" for v in found["volumes"])
    still = f"its disks ({disks}) {dollars(cost['disk'])}"
    if found["elastic_ips"]:
        still += f", its fixed address {', '.join(found['elastic_ips'])} {dollars(cost['ipv4'])}"
    if one["state"] == "stopped":
        begin = f"{name}: {one['id']} ({one['type']} in {one['zone']}) is stopped already."
    else:
        begin = (
            f"{name}: {one['id']} ({one['type']} in {one['zone']}) stops. What runs on it ends; notebooks and databases stay."
            + ("" if found["elastic_ips"] else " Its address goes back: the next start brings another.")
        )
    return f"{begin} Billed a month while it is stopped: {still}; together {dollars(cost['total'])}."


def start_lines(found: dict[str, Any], name: str) -> str:
    """What a start does."""
    one = found["instance"]
    if one["state"] == "running":
        return f"{name}: {one['id']} ({one['type']} in {one['zone']}) runs already, at {one['public_ip']}."
    return f"{name}: {one['id']} ({one['type']} in {one['zone']}) is {one['state']} and starts."


def resize_lines(plan: dict[str, Any], name: str, before: float | None, after: float | None) -> str:
    """What a resize does, with its price."""
    one, kind = plan["instance"], plan["type"]
    what = f"{kind['vcpus']} vCPU, {kind['memory_gib']:g} GiB"
    if one["type"] == kind["name"] and not plan["cut_off"]:
        said = f"{name}: {one['id']} is {kind['name']} ({what}) already."
    else:
        state = "It is stopped for that and started again." if plan["runs"] else "It is stopped, and stays so."
        said = f"{name}: {one['id']} becomes {kind['name']} ({what}) instead of {plan['before']}. {state}"
    price = (
        f"A month of running all the time: {dollars(before)} before, {dollars(after)} after, {difference(before, after)}."
        if plan["before"] != kind["name"]
        else f"A month of running all the time: {dollars(after)}."
    )
    return " ".join([said, price, *plan["notes"]])


def resize_keep(name: str, kind: str, setting: str) -> str:
    """What to write into the settings after a resize."""
    if kind == setting:
        return ""
    return (
        f"{name} is {kind} now. The settings still say {setting}: write `ec2_provision_instance_type: {kind}` into "
        f"inventory/host_vars/{name}.yml (this server) or group_vars/all/aws.yml (all). Until then site.yml leaves it {kind} as long as "
        "the setting is not changed; on another machine, without this server's record, it would go by the settings."
    )


def burst_problems(kind: str, hours: Any, name: str) -> list[str]:
    """What cannot be in the wish for a burst."""
    try:
        amount = float(str(hours))
    except ValueError:
        return [f"hours is '{hours}': give the hours of the burst, such as -e hours=3, or -e hours=0 to end one."]
    if not 0 <= amount <= LONGEST_BURST_HOURS:
        return [f"hours is {hours}: give 0 to {LONGEST_BURST_HOURS}."]
    if amount and not kind:
        return [f"Which type? ansible-playbook playbooks/burst.yml -l {name} -e type=m7i.2xlarge -e hours={hours}"]
    return []


def usual_type(setting: str, record: dict[str, Any]) -> str:
    """The type that a server has when it is in no burst."""
    return held_type(setting, {**record, "burst_type": ""})


def burst_refused(instance: dict[str, Any], planned: dict[str, Any], kind: str, name: str) -> list[str]:
    """Why a server as it is now cannot begin a burst, or move the end of one."""
    if instance["state"] != "running":
        return [
            f"{name} is {instance['state']}: start it first, `ansible-playbook playbooks/start.yml -l {name}`. Nothing was changed."
        ]
    if kind == planned.get("type", instance["type"]):
        return [
            f"{kind} is the type that {name} has without a burst: choose another one, or -e hours=0 to end a burst."
        ]
    return []


def burst_dear(
    kind: str, name: str, month: float | None, burst: float | None, plain: float | None, ceiling: float
) -> list[str]:
    """Why a burst is dearer than agreed: a month with it may not cost more than the ceiling, which 0 takes away."""
    if not ceiling:
        return []
    if month is None or burst is None or plain is None:
        return [
            f"The price of these hours of {kind} is not known here, so max_monthly_usd ({ceiling:g}) cannot be kept: "
            "`ansible-playbook playbooks/estimate.yml -e refresh=true` asks AWS for prices, or set max_monthly_usd to 0."
        ]
    if month + burst - plain > ceiling:
        return [
            f"A month of {name} with this burst costs about ${month + burst - plain:.2f}, more than max_monthly_usd ({ceiling:g}): "
            "choose fewer hours, a smaller type, or raise max_monthly_usd."
        ]
    return []


def burst_lines(
    plan: dict[str, Any], name: str, usual: str, hours: float, burst: float | None, plain: float | None
) -> str:
    """What a burst does and costs; the prices are those of its hours."""
    kind = plan["type"]
    if plan["instance"]["type"] == kind["name"]:
        begin = f"{name}: {plan['instance']['id']} is {kind['name']} already; its return to {usual} is in {hours:g} hours from now."
    else:
        begin = (
            f"{name}: {plan['instance']['id']} becomes {kind['name']} ({kind['vcpus']} vCPU, {kind['memory_gib']:g} GiB) for {hours:g} "
            f"hours and {usual} again after that, by AWS itself. It is stopped and started for each."
        )
    price = f"These hours cost {dollars(burst)} instead of {dollars(plain)}, {difference(plain, burst)}."
    return " ".join([begin, price, *plan["notes"]])


# What a person can do about an error of AWS.
HELP = {
    "InsufficientInstanceCapacity": "AWS has no free machine of this type in this zone now: try again later, or another type "
    "with playbooks/resize.yml.",
    "VcpuLimitExceeded": "The account's quota of vCPUs for this family is used up: stop something, choose a smaller type, or ask for "
    "more under Service Quotas, Amazon EC2, in the AWS console.",
    "UnauthorizedOperation": "Ask whoever runs the AWS account for that permission (docs/power.md lists all).",
    "RequestLimitExceeded": "AWS has too many calls from this account at the moment: wait a minute, then run the same command again.",
    "InvalidInstanceID.NotFound": "Somebody removed it meanwhile: `ansible-playbook site.yml` launches a new one.",
    "IncorrectInstanceState": "Something else changed it at the same time: run the same command again.",
    "WaitedTooLong": "Run the same command again to go on waiting.",
    "InvalidParameterCombination": "Accounts on the free plan may use only some types, such as m7i-flex.large or t3.small.",
    "RequestExpired": "The AWS credentials have expired: sign in again, then run the same command.",
}
HELP["InsufficientHostCapacity"] = HELP["InsufficientInstanceCapacity"]
HELP["AccessDenied"] = HELP["AccessDeniedException"] = HELP["UnauthorizedOperation"]
HELP["Throttling"] = HELP["ThrottlingException"] = HELP["RequestLimitExceeded"]
HELP["ExpiredToken"] = HELP["ExpiredTokenException"] = HELP["RequestExpired"]


def explain(result: dict[str, Any], name: str, task: str, region: str) -> str:
    """What failed, in AWS's words, how things are now and what to do."""
    said = str(result.get("msg", "no reason given")).strip()
    if "error" not in result:
        return said  # a refusal, which says all this itself
    error = result["error"] or {}
    code = str(error.get("code", ""))
    words = str(error.get("message") or said).strip().rstrip(".")
    doing = task.rpartition(" | ")[2]
    advice = HELP.get(code, "Run the same command again; if it stays so, look at the server in the AWS console.")
    parts = [
        f"{name} in {region}: '{doing}' failed: {words}{f' ({code})' if code else ''}.",
        result.get("now", ""),
        advice,
    ]
    return " ".join(part for part in parts if part)


class FilterModule:
    """Ansible's entrance."""

    def filters(self) -> dict[str, Any]:
        """The filters by name."""
        return {
            "power_burst_dear": burst_dear,
            "power_burst_lines": burst_lines,
            "power_burst_problems": burst_problems,
            "power_burst_refused": burst_refused,
            "power_carried": carried,
            "power_explain": explain,
            "power_held_type": held_type,
            "power_in_burst": in_burst,
            "power_resize_keep": resize_keep,
            "power_resize_lines": resize_lines,
            "power_start_lines": start_lines,
            "power_stop_lines": stop_lines,
            "power_type_note": type_note,
            "power_usual_type": usual_type,
        }

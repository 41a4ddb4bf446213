"""What the project has on AWS, put together for one screen: what module ec2_project_info found, prices, and what the servers say."""

from __future__ import annotations

import calendar
import datetime
import json
from typing import Any

from ansible.errors import AnsibleFilterError

# Things that AWS does not bill. An image is free; the snapshots that it is made of are listed themselves.
FREE = {
    "images",
    "network_interfaces",
    "security_groups",
    "key_pairs",
    "vpcs",
    "subnets",
    "internet_gateways",
    "route_tables",
    "launch_templates",
    "spot_requests",
    "schedules",
    "schedule_groups",
    "roles",
    "instance_profiles",
    "budgets",
}
MONTH_HOURS = 730
# What gp3 has without paying more.
GP3_IOPS, GP3_THROUGHPUT = 3000, 125
RUNNING = ("pending", "running")
# An instance that was started so soon after its disk was made has run once only.
ONE_RUN_S = 600
IN_USE_S = 180
COLUMNS = (
    ("name", "server"),
    ("state", "state"),
    ("type", "type"),
    ("address", "address"),
    ("disks", "disks, GB"),
    ("month", "so far, USD"),
    ("rate", "a month, USD"),
    ("idle", "idle for"),
    ("certificate", "certificate"),
    ("backup", "last backup"),
    ("expires", "needed until"),
)
UNKNOWN = "unknown"


def epoch(text: str) -> float:
    """Seconds since 1970 of a time as AWS writes it; 0 for none."""
    return datetime.datetime.fromisoformat(text).timestamp() if text else 0.0


def local_prices(prices: dict[str, Any], region: str) -> dict[str, Any]:
    """What is known of a region's prices."""
    return dict(prices.get("regions", {}).get(region) or {})


def times(amount: float, price: float | None) -> float | None:
    """Multiply; nothing costs nothing, and what has no price is unknown."""
    if not amount:
        return 0.0
    return None if price is None else amount * price


def hourly(thing: dict[str, Any], local: dict[str, Any]) -> float | None:
    """What an instance of this type costs for an hour of running."""
    price = local.get("spot" if thing["spot"] else "on_demand", {}).get(thing["type"])
    return None if price is None else float(price)


def gb_month(thing: dict[str, Any], local: dict[str, Any]) -> float | None:
    """What a disk costs for a month."""
    fast = thing["iops"] > GP3_IOPS or thing["throughput"] > GP3_THROUGHPUT
    return None if thing["type"] != "gp3" or fast else times(thing["gb"], local.get("gp3_gb_month"))


def usd_month(thing: dict[str, Any], local: dict[str, Any], elastic: set[str]) -> float | None:
    """What a thing costs for a month if it stays as it is; None: not known."""
    kind = thing["kind"]
    if kind in FREE:
        return 0.0
    if kind == "instances":
        if thing["state"] not in RUNNING:
            return 0.0
        compute = times(MONTH_HOURS, hourly(thing, local))
        address = 0 if thing["id"] in elastic or not thing["public_ip"] else MONTH_HOURS
        ipv4 = times(address, local.get("public_ipv4_hour"))
        return None if compute is None or ipv4 is None else compute + ipv4
    if kind == "volumes":
        return gb_month(thing, local)
    if kind == "snapshots":  # at most: only blocks in use that no older snapshot has are billed
        return times(thing["gb"], local.get("snapshot_gb_month"))
    if kind == "addresses":
        return times(MONTH_HOURS, local.get("public_ipv4_hour"))
    return None


def costs(things: list[dict[str, Any]], prices: dict[str, Any], region: str) -> list[dict[str, Any]]:
    """Give each thing that was found `usd`: what it costs for a month if it stays as it is; None where that is not known.

    A snapshot's is the most that it can be. A public address that is not an Elastic IP is part of its instance.
    """
    local = local_prices(prices, region)
    elastic = {thing["attached_to"] for thing in things if thing["kind"] == "addresses"}
    return [{**thing, "usd": usd_month(thing, local, elastic)} for thing in things]


class Month:
    """The month that now is in, as bills have it: in UTC."""

    def __init__(self, now: float) -> None:
        today = datetime.datetime.fromtimestamp(now, datetime.UTC)
        self.now = now
        self.start = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
        self.hours = calendar.monthrange(today.year, today.month)[1] * 24

    def since(self, start: float, end: float = 0) -> float:
        """Hours of this month from one time to another, or to now."""
        return max(0.0, (min(end or self.now, self.now) - max(start, self.start)) / 3600)


def running_hours(instance: dict[str, Any], first: float, month: Month) -> tuple[float, float]:
    """The least and the most hours that an instance can have run this month.

    AWS tells its last start, and of a stopped one often the stop. What it did before that start is not known, only that it was not
    there before its first disk.
    """
    started = epoch(instance["launched"])
    stopped = epoch(instance["stopped"])
    if instance["state"] in RUNNING:
        least = month.since(started)
        most = month.since(first)
    else:
        least = month.since(started, stopped) if stopped >= started else 0.0
        most = month.since(first, stopped if stopped >= started else 0)
    if abs(started - first) < ONE_RUN_S and (instance["state"] in RUNNING or stopped >= started):
        most = least
    return least, max(least, most)


def so_far(things: dict[str, list[dict[str, Any]]], local: dict[str, Any], month: Month) -> dict[str, Any]:
    """What a server can have cost this month, least and most, of what is there now; and what has no price here."""
    least = most = 0.0
    unknown = []
    elastic = {address["attached_to"] for address in things.get("addresses", [])}
    firsts: dict[str, float] = {}
    for instance in things.get("instances", []):
        roots = [v for v in things.get("volumes", []) if v.get("root") and v["attached_to"] == instance["id"]]
        firsts[instance["id"]] = epoch(roots[0]["created"]) if roots else epoch(instance["launched"])
        low, high = running_hours(instance, firsts[instance["id"]], month)
        price, address = hourly(instance, local), local.get("public_ipv4_hour")
        if instance["id"] in elastic:
            address = 0.0
        if price is not None and address is not None:
            least, most = least + low * (price + address), most + high * (price + address)
        elif high:
            unknown.append(f"{instance['type']}{' (spot)' if instance['spot'] else ''}")
    for volume in things.get("volumes", []):
        month_price = gb_month(volume, local)
        if month_price is None:
            unknown.append(f"{volume['gb']} GB {volume['type']}")
        else:
            share = month.since(epoch(volume["created"])) / month.hours
            least, most = least + share * month_price, most + share * month_price
    for snapshot in things.get("snapshots", []):
        price = local.get("snapshot_gb_month")
        if price is None:
            unknown.append(f"{snapshot['gb']} GB of snapshot")
        else:
            most += month.since(epoch(snapshot["created"])) / month.hours * snapshot["gb"] * price
    for address in things.get("addresses", []):
        price = local.get("public_ipv4_hour")
        if price is None:
            unknown.append("an Elastic IP")
        else:
            # AWS does not say since when it is held.
            since = firsts.get(address["attached_to"], 0)
            most += month.since(since) * price
            least += (month.since(since) if since else 0) * price
    for kind in ("alarms", "buckets", "tables", "others"):
        unknown += [f"{thing.get('type') or 'alarm'} {thing['id']}" for thing in things.get(kind, [])]
    return {"least": round(least, 4), "most": round(most, 4), "unknown": unknown}


def said(look: dict[str, Any] | None) -> dict[str, Any]:
    """What a server said when it was asked (playbooks/files/look_status.sh), and why it did not."""
    if not look:
        return {}
    lines = dict(line.split("=", 1) for line in str(look.get("stdout", "")).splitlines() if "=" in line)
    if look.get("rc") != 0 or "now" not in lines:
        last = f"{look.get('stderr', '')} {look.get('msg', '')}".strip().splitlines()
        return {"trouble": last[-1].strip() if last else "no answer"}
    answer: dict[str, Any] = {"now": int(lines["now"])}
    for field in ("dump", "certificate"):
        if lines.get(field):
            answer[field] = int(lines[field])
    try:
        answer["activity"] = float(json.loads(lines["autostop"])["activity"])
    except (KeyError, ValueError, TypeError):
        pass  # off, or it has not looked yet
    return answer


def newest_backup(things: dict[str, list[dict[str, Any]]], answer: dict[str, Any]) -> dict[str, Any]:
    """The newest copy of what is on a server: a snapshot tagged Role=backup, or a dump of a database on it."""
    backups = [
        {"at": epoch(snapshot["created"]), "kind": "snapshot"}
        for snapshot in things.get("snapshots", [])
        if snapshot["tags"].get("Role") == "backup" and snapshot["state"] == "completed"
    ]
    if "dump" in answer:
        backups.append({"at": float(answer["dump"]), "kind": "dump"})
    return max(backups, key=lambda one: float(str(one["at"])), default={})


def server_row(
    name: str,
    things: dict[str, list[dict[str, Any]]],
    prices: dict[str, Any],
    region: str,
    known: dict[str, Any],
    now: float,
) -> dict[str, Any]:
    """All that is to be said of one server."""
    local, month = local_prices(prices, region), Month(now)
    everything = costs([thing for some in things.values() for thing in some], prices, region)
    priced = {kind: [thing for thing in everything if thing["kind"] == kind] for kind in things}
    instances = priced.get("instances", [])
    instance = instances[0] if instances else {}
    record, answer = known.get("record") or {}, said(known.get("look"))
    rate = sum(thing["usd"] or 0 for thing in everything)
    elastic = next((a["ip"] for a in priced.get("addresses", [])), "")
    # The tag is on the server's every part, so that it is seen without an instance too. An empty one was taken back.
    expires = max((thing["tags"].get("ExpiresAt", "") for thing in (instances or everything)), default="")
    today = datetime.datetime.fromtimestamp(now, datetime.UTC).date().isoformat()
    activity = answer.get("activity")
    row: dict[str, Any] = {
        "name": name,
        "region": region,
        "instance_id": instance.get("id", ""),
        "state": instance.get("state", "no instance"),
        "type": instance.get("type", ""),
        "spot": instance.get("spot", False),
        "zone": instance.get("zone", ""),
        "address": elastic or instance.get("public_ip", ""),
        "elastic_ip": bool(elastic),
        "volumes": [
            {
                "id": v["id"],
                "gb": v["gb"],
                "type": v["type"],
                "role": "system" if v.get("root") else v["tags"].get("Role", ""),
                "attached": bool(v["attached_to"]),
            }
            for v in sorted(priced.get("volumes", []), key=lambda v: (not v.get("root"), v["id"]))
        ],
        "snapshots_gb": sum(s["gb"] for s in priced.get("snapshots", [])),
        "this_month_usd": so_far(things, local, month),
        "usd_month": round(rate, 4),
        "usd_month_unknown": [t["id"] for t in everything if t["usd"] is None],
        "idle_seconds": None if activity is None else max(0, int(answer["now"] - activity)),
        "certificate_days": int((answer["certificate"] - now) // 86400) if "certificate" in answer else None,
        "last_backup": newest_backup(priced, answer),
        "expires": expires,
        "overdue": bool(expires) and expires < today,
        "recorded": bool(record),
    }
    row["notes"] = server_notes(row, instances, priced, record, answer)
    return row


def server_notes(
    row: dict[str, Any],
    instances: list[dict[str, Any]],
    things: dict[str, list[dict[str, Any]]],
    record: dict[str, Any],
    answer: dict[str, Any],
) -> list[str]:
    """What a person should know of a server beside the figures."""
    name, notes = row["name"], []
    if row["overdue"]:
        notes.append(
            f"{name} was needed until {row['expires']} and is overdue: destroy it, or set ec2_provision_expires anew."
        )
    if len(instances) > 1:
        others = ", ".join(i["id"] for i in instances[1:])
        notes.append(f"{name} has further instances with its tags: {others}. One server is to have one.")
    if instances and not record:
        notes.append(
            f"{name} has no record on this machine: it was launched from another, or its state folder is gone."
        )
    if record.get("credits_until_verified") and instances:
        notes.append(
            f"{name} has unlimited CPU credits until it was verified, and may bill extra: site.yml or playbooks/verify.yml ends that."
        )
    if record and not instances:
        notes.append(
            f"{name} has a record here ({record.get('instance_id')}), but AWS has no instance of it: "
            "site.yml launches it anew, destroy.yml removes what is left."
        )
    if not instances and row["usd_month"]:
        parts = ", ".join(thing["id"] for some in things.values() for thing in some if thing["usd"])
        notes.append(f"{name} has no instance, but {parts} cost {dollars(row['usd_month'])} a month at most.")
    if instances and record and record.get("instance_id") != instances[0]["id"]:
        notes.append(f"{name}'s record is of another instance, {record.get('instance_id')}: site.yml corrects it.")
    elif row["state"] == "running" and record and record.get("public_ip") != row["address"]:
        notes.append(
            f"{name} is at {row['address']} and its record says {record.get('public_ip')}: start.yml corrects it."
        )
    if "trouble" in answer:
        notes.append(f"{name} could not be asked over SSH: {answer['trouble']}")
    bare = [v["id"] for v in things.get("volumes", []) if v["by"] == "attached"]
    if bare:
        notes.append(f"{name} has disks without the project's tags, which destroy.yml leaves alone: {', '.join(bare)}.")
    if row["certificate_days"] is not None and row["certificate_days"] < 30:
        notes.append(f"{name}'s certificate ends in {row['certificate_days']} days: site.yml renews it.")
    unknown = row["this_month_usd"]["unknown"]
    if unknown:
        notes.append(f"{name}: no price is known here of {', '.join(unknown)}; not counted.")
    return notes


def status(
    surveys: list[dict[str, Any]],
    prices: dict[str, Any],
    local: dict[str, dict[str, Any]],
    now: float,
    only: list[str] | None = None,
) -> dict[str, Any]:
    """All servers. Each survey is {region, found, denied}; local has for each server of the inventory its region, record and look."""
    servers, notes = [], []
    shared: list[str] = []
    for survey in surveys:
        region, found = survey["region"], survey["found"]
        if "instances" in {kind for denied in survey["denied"] for kind in denied["kinds"]}:
            action = next(d["action"] for d in survey["denied"] if "instances" in d["kinds"])
            raise AnsibleFilterError(f"You may not list the instances in {region}: ask for the permission {action}.")
        names = {thing["server"] for things in found.values() for thing in things if thing["server"]}
        names |= {name for name, known in local.items() if known.get("record") and known["region"] == region}
        for name in sorted(names):
            if only and name not in only:
                continue
            mine = {kind: [thing for thing in things if thing["server"] == name] for kind, things in found.items()}
            servers.append(server_row(name, mine, prices, region, local.get(name, {}), now))
        for denied in survey["denied"]:
            kinds = " and ".join(denied["kinds"]).replace("_", " ")
            notes.append(f"You may not list {kinds} in {region} ({denied['action']}): there may be some.")
        shared += [
            f"{kind.replace('_', ' ')} {thing['id']}"
            for kind, things in found.items()
            for thing in things
            if not thing["server"] and kind != "schedule_groups"
        ]
    if shared and not only:
        notes.append(f"Of the project, but of no server: {', '.join(shared)}.")
    absent = sorted(
        set(local) - {row["name"] for row in servers} if not only else set(only) - {r["name"] for r in servers}
    )
    notes += [f"{name} is in the inventory, and not launched." for name in absent]
    costs_now = [row["this_month_usd"] for row in servers]
    return {
        "at": datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "regions": [survey["region"] for survey in surveys],
        "servers": servers,
        "total": {
            "this_month_usd": {
                "least": round(sum(cost["least"] for cost in costs_now), 4),
                "most": round(sum(cost["most"] for cost in costs_now), 4),
                "unknown": [part for cost in costs_now for part in cost["unknown"]],
            },
            "usd_month": round(sum(row["usd_month"] for row in servers), 4),
        },
        "notes": [note for row in servers for note in row["notes"]] + notes,
    }


def dollars(value: float) -> str:
    """An amount as people read it."""
    return f"${value:,.2f}"


def between(cost: dict[str, Any]) -> str:
    """A cost of which the least and the most are known."""
    low, high = f"{cost['least']:.2f}", f"{cost['most']:.2f}"
    text = low if low == high else f"{low} to {high}"
    return f"{text} + ?" if cost["unknown"] else text


def span(seconds: int) -> str:
    """A time as people say it."""
    if seconds < IN_USE_S:
        return "in use"
    minutes = seconds // 60
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


def moment(at: float) -> str:
    """A time to the minute, in UTC."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def cells(row: dict[str, Any]) -> dict[str, str]:
    """A server's row as text."""
    runs = row["state"] == "running"
    disks = [f"{v['gb']}{'' if v['attached'] else ' (loose)'}" for v in row["volumes"]]
    if row["snapshots_gb"]:
        disks.append(f"{row['snapshots_gb']} snap")
    backup = row["last_backup"]
    days = row["certificate_days"]
    return {
        "name": row["name"],
        "state": row["state"],
        "type": f"{row['type']} spot" if row["spot"] else row["type"] or "-",
        "address": f"{row['address']} fixed" if row["elastic_ip"] else row["address"] or "-",
        "disks": " + ".join(disks) or "-",
        "month": between(row["this_month_usd"]),
        "rate": f"{row['usd_month']:.2f}{' + ?' if row['usd_month_unknown'] else ''}",
        "idle": (UNKNOWN if row["idle_seconds"] is None else span(row["idle_seconds"])) if runs else "-",
        "certificate": (UNKNOWN if days is None else f"{days} days") if runs else "-",
        "backup": f"{moment(backup['at'])} {backup['kind']}"
        if backup
        else ("none" if row["recorded"] and runs else UNKNOWN),
        "expires": f"{row['expires']}{' OVER' if row['overdue'] else ''}" if row["expires"] else "-",
    }


def table(result: dict[str, Any]) -> str:
    """Everything as one screen of text."""
    where = ", ".join(result["regions"])
    if not result["servers"]:
        lines = [f"No server of this project in {where}."]
    else:
        rows = [dict(COLUMNS), *(cells(row) for row in result["servers"])]
        # What no server has needs no room.
        columns = [key for key, _ in COLUMNS if key != "expires" or any(row["expires"] for row in result["servers"])]
        width = {key: max(len(row[key]) for row in rows) for key in columns}
        lines = ["  ".join(f"{row[key]:{width[key]}}" for key in columns).rstrip() for row in rows]
        total = result["total"]
        lines += [
            "",
            f"{where}, {result['at'][:16].replace('T', ' ')} UTC: {between(total['this_month_usd'])} US dollars so far this month, "
            f"{total['usd_month']:.2f} in a whole month if all stays as it is",
            "by the table of prices, without traffic and tax. Two figures: AWS tells the last start only, and not what snapshots hold.",
        ]
    if result["notes"]:
        lines += ["", *(f"- {note}" for note in result["notes"])]
    return "\n".join(lines)


class FilterModule:
    """Ansible's entrance."""

    def filters(self) -> dict[str, Any]:
        """The filters by name."""
        return {"status": status, "status_costs": costs, "status_table": table}

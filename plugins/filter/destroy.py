"""What playbooks/destroy.yml says, and its proof that nothing is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# May be left without costing anything: another region's server of this name, or another server, still uses it.
SHARED = ("roles", "instance_profiles", "schedule_groups")
DENIED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
CHOICES = {"data_volume": ("keep", "delete"), "backups": ("keep", "delete"), "images": ("keep", "delete")}


def problems(given: dict[str, str]) -> list[str]:
    """Why what was given after -e cannot be."""
    said = []
    for name, choices in CHOICES.items():
        value = str(given[name])
        # The setting of this name is where the data volume is mounted; that means nothing here.
        if value not in choices and not (name == "data_volume" and (not value or value.startswith("/"))):
            said.append(f"{name}={value} is not understood: give -e {name}=delete, or leave it out and they are kept.")
    if str(given["final_backup"]).lower() not in ("true", "false", "yes", "no"):
        said.append(
            f"final_backup={given['final_backup']} is not understood: give -e final_backup=false, or leave it out."
        )
    return said


def price(thing: dict[str, Any]) -> str:
    """What a month of a thing costs, in words."""
    if thing["usd"] is None:
        return "price not known here"
    if not thing["usd"]:
        return ""
    most = "at most " if thing["kind"] == "snapshots" else ""
    return f"{most}${thing['usd']:.2f} a month"


def about(thing: dict[str, Any]) -> str:
    """A thing in a few words."""
    kind = (
        thing["kind"].replace("_", " ").removesuffix("s") if thing["kind"] != "others" else thing.get("type", "thing")
    )
    name = f" {thing['name']}" if thing["name"] not in (thing["id"], thing["server"]) else ""
    more = [str(thing["gb"]) + " GB" if thing["gb"] else "", thing["state"], thing.get("type", "")]
    if thing["kind"] == "others":
        more = []
    if thing["kind"] in ("security_groups", "key_pairs", "network_interfaces"):
        more = []
    return f"{kind}{name} {thing['id']}" + (f" ({', '.join(filter(None, more))})" if any(more) else "")


def rows(things: list[dict[str, Any]]) -> list[str]:
    """A line for each thing: what, what it costs, why."""
    cells = [(about(thing), price(thing), thing.get("why", "")) for thing in things]
    widths = [max([len(cell[column]) for cell in cells], default=0) for column in (0, 1)]
    return [f"  {what:{widths[0]}}  {cost:{widths[1]}}  {why}".rstrip() for what, cost, why in cells]


def total(things: list[dict[str, Any]]) -> str:
    """What a month of these things costs together."""
    known = sum(thing["usd"] for thing in things if thing["usd"] is not None)
    more = " and what has no price here" if any(thing["usd"] is None for thing in things) else ""
    return f"${known:.2f} a month{more}"


def said_final(planned: dict[str, Any], snapshot_usd: float | None) -> list[str]:
    """What is said of the last backup."""
    last = planned["final"]
    if not last:
        return []
    what = "the data volume" if last["role"] == "data" else "the system's disk, with notebooks and databases"
    if last["snapshot"]:
        return [f"The last backup is there already: {last['snapshot']}, of {what}."]
    cost = "price not known here" if snapshot_usd is None else f"at most ${snapshot_usd:.2f} a month"
    stop = "It is stopped for that. " if last["running"] else ""
    return [
        f"First a last backup is made of {what} ({last['volume']}, {last['gb']} GB; {cost}). {stop}-e final_backup=false: none."
    ]


def plan_said(
    planned: dict[str, Any],
    name: str,
    where: str,
    folder: str,
    go: list[dict[str, Any]],
    stay: list[dict[str, Any]],
    usd: float | None,
) -> str:
    """The plan, as people read it."""
    lines = [f"{name} ({where})", ""]
    if go:
        lines += ["Goes:", *rows(go), *([f"  {folder} on this machine, with its keys and passwords"] if folder else [])]
    elif folder:
        lines += [f"AWS has nothing of it that is to go. {folder} on this machine goes, with its keys and passwords."]
    else:
        lines += ["There is nothing to remove."]
    if stay:
        lines += ["", f"Stays, for {total(stay)}:", *rows(stay)]
    final = said_final(planned, usd)
    lines += ["", *final] if final else []
    return "\n".join([*lines, "", "What goes cannot be brought back."] if go else lines)


def left(after: dict[str, Any], planned: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """What is still there and was not to stay."""
    allowed = {thing["id"] for thing in planned["stay"]}
    return [
        thing
        for some in after["found"].values()
        for thing in some
        if thing["server"] == name
        and thing["id"] not in allowed
        and thing["kind"] not in SHARED
        and not (thing["kind"] == "snapshots" and thing["tags"].get("Final") == "yes" and planned["final"])
    ]


def unproven(after: dict[str, Any], planned: dict[str, Any], name: str) -> list[str]:
    """Why it is not proven that nothing is left; none when it is."""
    said = []
    still = left(after, planned, name)
    if still:
        things = ", ".join(about(thing) for thing in still)
        said.append(
            f"AWS still has of {name}, and may bill: {things}. Run the same command again, or look in the AWS console."
        )
    for one in after["denied"]:
        said.append(
            f"Whether {', '.join(one['kinds']).replace('_', ' ')} are left cannot be seen without the permission {one['action']}: ask "
            "whoever runs the AWS account for it, and run the same command again."
        )
    return said


def kept(after: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """What stays, once all is done. Free things that others share are none of it."""
    every = [thing for some in after["found"].values() for thing in some]
    return [thing for thing in every if thing["server"] == name and thing["kind"] not in SHARED]


def closing(name: str, where: str, services: int, stay: list[dict[str, Any]], ca: str) -> str:
    """The closing list."""
    lines = [f"{name} is gone: of {services} kinds of things that AWS was asked for ({where}), nothing of it is left"]
    if stay:
        lines[0] += f" but what was to stay, for {total(stay)}:"
        lines += rows(stay)
    else:
        lines[0] += "."
    return "\n".join(lines + ([ca] if ca else []))


def servers(state_dir: str) -> list[str]:
    """The servers that a state folder knows."""
    return sorted(file.parent.name for file in Path(state_dir).expanduser().glob("*/record.yml"))


def failed(result: dict[str, Any]) -> str:
    """What failed, in AWS's words, and what things are like."""
    said = str(result.get("msg", "no reason given")).strip().rstrip(".")
    error = result.get("error") or {}
    if error.get("code"):
        # The module's own words come before AWS's.
        where = said.partition(": An error occurred")[0]
        said = f"{where}: {str(error.get('message', '')).strip().rstrip('.')} ({error['code']})"
        if error["code"] in DENIED:
            said += ", which whoever runs the AWS account can allow"
    return f"{said}. {result.get('now', '')}".strip()


class FilterModule:
    """Ansible's entrance."""

    def filters(self) -> dict[str, Any]:
        """The filters by name."""
        return {
            "destroy_closing": closing,
            "destroy_failed": failed,
            "destroy_kept": kept,
            "destroy_plan": plan_said,
            "destroy_problems": problems,
            "destroy_servers": servers,
            "destroy_unproven": unproven,
        }

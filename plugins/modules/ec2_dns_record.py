#!/usr/bin/python
"""The name of a server in Route 53: an A record, and a TXT record beside it that says whose it is."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_dns_record
short_description: A server's name in Route 53
description:
  - Points a name at an address. The public hosted zone is the one given, or the one whose name is the longest end of the name.
  - The TXT record C(_notebook-server.NAME) is written and removed in the same change as the A record, and says which server of which
    project it belongs to. A record that somebody else made is refused, never overwritten and never removed; one that says the
    address already is taken over.
  - With an empty zone nothing is changed - it says the line to add where the domain is kept, and what the name says now.
options:
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: The server, type: str, required: true}
  dns_name: {description: "The name, such as lab.example.org", type: str, required: true}
  zone: {description: "auto, the name of a zone, or its id. Empty when the domain is kept elsewhere", type: str, default: ''}
  address: {description: "The IPv4 address. Empty: not known yet, only look whether the name can be had", type: str, default: ''}
  ttl: {description: Seconds for which others may remember the address, type: int, default: 60}
  state: {description: Whether there is a record, type: str, choices: [present, absent], default: present}
author: [The project's authors]
"""

EXAMPLES = """
- name: Point the name at the server
  ec2_dns_record:
    project: notebooks
    name: demo
    dns_name: lab.example.org
    zone: auto
    address: 203.0.113.9
"""

RETURN = """
zone: {description: "Name of the zone, empty when the domain is kept elsewhere", type: str, returned: always}
line: {description: The record as a line of a zone file, type: str, returned: always}
note: {description: What a person should know or do, type: str, returned: always}
steps: {description: "What was done, or would be: UPSERT or DELETE and the record's type", type: list, returned: always}
"""

import re
import socket
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import pages
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
ZONE_ID = re.compile(r"[A-Z0-9]{10,32}")
# What the same name cannot have beside our A record, or what would lead people elsewhere.
RIVALS = ("A", "AAAA", "CNAME")


class Refusal(Exception):
    """A sentence for the person: what is wrong and what to do."""


def bare(name: str) -> str:
    """A DNS name as it is compared: small letters, no dot at the end."""
    return name.strip().rstrip(".").lower()


def name_problems(name: str) -> list[str]:
    """Why a text is no host name."""
    labels = bare(name).split(".")
    if len(labels) > 1 and len(bare(name)) <= 230 and all(LABEL.fullmatch(label) for label in labels):
        return []
    return [f"ec2_provision_dns_name is '{name}', which is not a host name: write one like lab.example.org."]


def line(options: dict[str, Any]) -> str:
    """The record as people add it at a registrar."""
    return f"{bare(options['dns_name'])}. {options['ttl']} IN A {options['address'] or '(the address of the server)'}"


def elsewhere(options: dict[str, Any]) -> str:
    """What to do where the zone is not in this account."""
    return f"leave ec2_provision_dns_zone empty and add this where the domain is kept: {line(options)}"


def find_zone(route53: Any, options: dict[str, Any]) -> dict[str, str]:
    """The public zone: the one that is named, or the longest that the name ends in."""
    name, wanted = bare(options["dns_name"]), options["zone"].strip()
    zones = [
        {"id": str(zone["Id"]).rpartition("/")[2], "name": bare(zone["Name"])}
        for zone in pages(route53, "list_hosted_zones", "HostedZones")
        if not zone.get("Config", {}).get("PrivateZone")
    ]
    holding = [zone for zone in zones if name == zone["name"] or name.endswith("." + zone["name"])]
    if ZONE_ID.fullmatch(wanted):
        holding = [zone for zone in holding if zone["id"] == wanted]
    elif wanted != "auto":
        holding = [zone for zone in holding if zone["name"] == bare(wanted)]
    if not holding:
        known = ", ".join(sorted({zone["name"] for zone in zones})) or "none at all"
        which = "no public hosted zone" if wanted == "auto" else f"no public hosted zone {wanted}"
        raise Refusal(
            f"This account has {which} in Route 53 that {name} lies in (it has {known}): correct ec2_provision_dns_name or "
            f"ec2_provision_dns_zone, or {elsewhere(options)}"
        )
    longest = max(len(zone["name"]) for zone in holding)
    holding = [zone for zone in holding if len(zone["name"]) == longest]
    if len(holding) > 1:
        ids = " or ".join(sorted(zone["id"] for zone in holding))
        raise Refusal(
            f"This account has {len(holding)} public hosted zones {holding[0]['name']} in Route 53: say which one the world asks, by "
            f"its id, in ec2_provision_dns_zone ({ids})."
        )
    return holding[0]


def owner_name(options: dict[str, Any]) -> str:
    """The name of the TXT record."""
    return f"_notebook-server.{bare(options['dns_name'])}"


def owner_text(options: dict[str, Any]) -> str:
    """What the TXT record says, in the quotes that DNS wants."""
    return f'"project={options["project"]} server={options["name"]}"'


def find(route53: Any, zone: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """All records of the name, and the one that says whose it is."""
    found = []
    for name in (bare(options["dns_name"]), owner_name(options)):
        answer = route53.list_resource_record_sets(
            HostedZoneId=zone, StartRecordName=name, StartRecordType="A", MaxItems="100"
        )
        # Names come in order; those that follow are others.
        found += [one for one in answer["ResourceRecordSets"] if bare(one["Name"]) == name]
    return found


def values(record: dict[str, Any]) -> list[str]:
    """What a record says; nothing for an alias."""
    return [str(one["Value"]) for one in record.get("ResourceRecords", [])]


def plan(found: list[dict[str, Any]], options: dict[str, Any]) -> list[dict[str, Any]]:
    """The changes of one batch, which Route 53 does all or not at all."""
    name, address = bare(options["dns_name"]), options["address"]
    owner = [one for one in found if bare(one["Name"]) == owner_name(options) and one["Type"] == "TXT"]
    rivals = [one for one in found if bare(one["Name"]) == name and one["Type"] in RIVALS]
    ours = any(owner_text(options) in values(one) for one in owner)
    if options["state"] == "absent":
        gone = [one for one in rivals if one["Type"] == "A" and "SetIdentifier" not in one and values(one)]
        return [{"Action": "DELETE", "ResourceRecordSet": one} for one in (gone + owner if ours else [])]
    if owner and not ours:
        raise Refusal(
            f"{name} belongs to another server ({' '.join(values(owner[0]))}, says {owner_name(options)}): choose another "
            "ec2_provision_dns_name, or remove both records in Route 53."
        )
    for one in rivals:
        right = one["Type"] == "A" and "SetIdentifier" not in one and bool(values(one))
        if not right or not (ours or values(one) == [address]):
            says = ", ".join(values(one)) or "an alias"
            raise Refusal(
                f"{name} has a record of type {one['Type']} already ({says}) that this project did not make, and it stays as it is: "
                "choose another ec2_provision_dns_name, or remove that record in Route 53."
            )
    if not address:
        return []
    wanted = [
        {"Name": name, "Type": "A", "TTL": options["ttl"], "ResourceRecords": [{"Value": address}]},
        {
            "Name": owner_name(options),
            "Type": "TXT",
            "TTL": options["ttl"],
            "ResourceRecords": [{"Value": owner_text(options)}],
        },
    ]
    there = {(bare(one["Name"]), one["Type"]): (one.get("TTL"), values(one)) for one in found}
    if all(there.get((one["Name"], one["Type"])) == (one["TTL"], values(one)) for one in wanted):
        return []
    return [{"Action": "UPSERT", "ResourceRecordSet": one} for one in wanted]


def apply(route53: Any, zone: str, changes: list[dict[str, Any]]) -> None:
    """Make the changes at once."""
    if changes:
        route53.change_resource_record_sets(
            HostedZoneId=zone, ChangeBatch={"Comment": "Ansible: a notebook server", "Changes": changes}
        )


def resolve(name: str) -> list[str]:
    """What this machine's resolver says of a name now."""
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(name, 443, socket.AF_INET, socket.SOCK_STREAM)})
    except OSError:
        return []


def note_elsewhere(options: dict[str, Any]) -> str:
    """What to add where the domain is kept, and whether it is there."""
    name, address, says = bare(options["dns_name"]), options["address"], resolve(options["dns_name"])
    if address and says == [address]:
        return f"{name} leads to {address}, as it should."
    now = f"it leads to {', '.join(says)} now" if says else "it leads nowhere yet"
    return f"{name}: {now}. Add this where the domain is kept: {line(options)}"


def run(route53: Any, options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """All of it."""
    problems = name_problems(options["dns_name"])
    if problems:
        raise Refusal(problems[0])
    if not options["zone"]:
        note = note_elsewhere(options) if options["state"] == "present" else ""
        return {"changed": False, "zone": "", "line": line(options), "note": note, "steps": []}
    try:
        zone = find_zone(route53, options)
    except Refusal:
        if options["state"] == "present":
            raise
        # The zone went before the name did.
        return {"changed": False, "zone": "", "line": line(options), "note": "", "steps": []}
    changes = plan(find(route53, zone["id"], options), options)
    if not check_mode:
        apply(route53, zone["id"], changes)
    name = bare(options["dns_name"])
    note = f"{name} leads to {options['address']}." if options["address"] and options["state"] == "present" else ""
    return {
        "changed": bool(changes),
        "zone": zone["name"],
        "line": line(options),
        "note": note,
        "steps": [f"{one['Action']} {one['ResourceRecordSet']['Type']}" for one in changes],
    }


def left(options: dict[str, Any]) -> str:
    """What state things are in after a failure, and what to type next."""
    name = bare(options["dns_name"])
    if options["state"] == "absent":
        return (
            f"The record {name} is still in Route 53 and may lead to an address that is another's soon: run the same command again, "
            "or remove it there"
        )
    if not options["address"]:
        return f"Route 53 does not say whether {name} can be had, and nothing was made: run the same command again"
    return (
        f"{name} does not lead to {options['name']} ({options['address']}) yet, though the server itself is as wanted: run the same "
        f"command again, or add the record by hand ({line(options)})"
    )


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "dns_name": {"type": "str", "required": True},
            "zone": {"type": "str", "default": ""},
            "address": {"type": "str", "default": ""},
            "ttl": {"type": "int", "default": 60},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    options = module.params
    if not options["project"] or not options["name"]:
        module.fail_json(msg="project and name must not be empty: they are what tells this server's record.")
    try:
        result = run(module.client("route53") if options["zone"] else None, options, module.check_mode)
    except Refusal as sentence:
        module.fail_json(msg=str(sentence))
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg=left(options))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

"""What is wrong with the buckets and tables that a server shall use."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
# What AWS keeps for itself.
PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
KEYS = {
    "buckets": {"name", "create", "access", "versioning"},
    "tables": {"name", "create", "access", "key", "point_in_time_recovery"},
}
LONGEST_ROLE = 64


def bucket_problems(name: str, create: bool) -> list[str]:
    """Why S3 does not take a name."""
    if not BUCKET.fullmatch(name) or ".." in name:
        return [f"'{name}' cannot be a bucket: use 3 to 63 of a-z, 0-9 and -, with a letter or digit at both ends."]
    if name.startswith(PREFIXES) or name.endswith(SUFFIXES):
        return [f"'{name}' cannot be a bucket: AWS keeps names that begin or end like this for itself."]
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        pass
    else:
        return [f"'{name}' cannot be a bucket: it reads like an IP address."]
    if create and "." in name:
        return [f"'{name}' has a dot, and S3's certificate does not cover such a bucket's host name: use - instead."]
    return []


def entry_problems(kind: str, number: int, entry: Any) -> list[str]:
    """What is wrong with one bucket or table."""
    where = f"instance_profile_{kind} entry {number}"
    example = "{name: notebooks-data-4711, access: write}" if kind == "buckets" else "{name: runs, access: write}"
    if not isinstance(entry, Mapping) or "name" not in entry:
        return [f"{where} must have a name: {example}."]
    unknown = sorted(set(entry) - KEYS[kind])
    if unknown:
        return [f"{where} has {', '.join(unknown)}, which it does not know: {', '.join(sorted(KEYS[kind]))} are known."]
    problems = []
    name, create = str(entry["name"]), entry.get("create", False)
    if entry.get("access", "read") not in {"read", "write"}:
        problems.append(f"access of {where} is '{entry['access']}': give read or write.")
    for flag in {"create", "versioning", "point_in_time_recovery"} & set(entry):
        if not isinstance(entry[flag], bool):
            problems.append(f"{flag} of {where} is '{entry[flag]}': give true or false.")
    if kind == "buckets":
        problems += bucket_problems(name, create is True)
    elif not TABLE.fullmatch(name):
        problems.append(f"'{name}' cannot be a table: use 3 to 255 of A-Z, a-z, 0-9, _, . and -.")
    if not 1 <= len(str(entry.get("key", "id"))) <= 255:
        problems.append(f"key of {where} must have 1 to 255 characters.")
    return problems


def setting_problems(buckets: Any, tables: Any, resource: str, given: str) -> list[str]:
    """All that is wrong with the settings; `given` is ec2_provision_instance_profile."""
    problems = []
    for kind, entries in (("buckets", buckets), ("tables", tables)):
        if not isinstance(entries, list):
            problems.append(f"instance_profile_{kind} must be a list.")
            continue
        for number, entry in enumerate(entries, start=1):
            problems += entry_problems(kind, number, entry)
        names = [str(entry["name"]) for entry in entries if isinstance(entry, Mapping) and "name" in entry]
        for name in sorted({name for name in names if names.count(name) > 1}):
            problems.append(f"instance_profile_{kind} names {name} twice: once is enough, with the wider access.")
    if len(resource) > LONGEST_ROLE:
        problems.append(
            f"The name of the IAM role, {resource}, has {len(resource)} characters and may have {LONGEST_ROLE}: give the project or "
            "the server a shorter name."
        )
    if (buckets or tables) and given != resource:
        problems.append(
            f"instance_profile_buckets or instance_profile_tables ask for a profile to be made, and ec2_provision_instance_profile "
            f"names {given or 'none'}: a server has one; take one of the settings out."
        )
    return problems


class FilterModule:
    """Ansible's entrance."""

    def filters(self) -> dict[str, Any]:
        """The filters by name."""
        return {"instance_profile_problems": setting_problems}

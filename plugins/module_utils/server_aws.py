"""What the modules that work on a server's things in AWS share: how those are found, and how AWS's lists are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ALIVE = ("pending", "running", "stopping", "stopped", "shutting-down")


def by_tags(project: str, name: str = "") -> list[dict[str, Any]]:
    """The filters that are a server's identity: the tags Project and Name. Without a name: everything of the project."""
    wanted = {"tag:Project": project} | ({"tag:Name": name} if name else {})
    return [{"Name": key, "Values": [value]} for key, value in wanted.items()]


def tags_of(thing: dict[str, Any], field: str = "Tags") -> dict[str, str]:
    """Tags as a plain dictionary."""
    return {tag["Key"]: tag["Value"] for tag in thing.get(field) or []}


def tag_list(tags: dict[str, Any]) -> list[dict[str, str]]:
    """Tags as AWS takes them."""
    return [{"Key": key, "Value": str(value)} for key, value in sorted(tags.items())]


def pages(client: Any, operation: str, key: str, **request: Any) -> Iterator[dict[str, Any]]:
    """Every entry of a list that AWS gives in pages."""
    for page in client.get_paginator(operation).paginate(**request):
        yield from page[key]


def instances(ec2: Any, filters: list[dict[str, Any]], states: tuple[str, ...] = ALIVE) -> list[dict[str, Any]]:
    """Instances in these states."""
    wanted = [*filters, {"Name": "instance-state-name", "Values": list(states)}]
    return [i for r in pages(ec2, "describe_instances", "Reservations", Filters=wanted) for i in r["Instances"]]

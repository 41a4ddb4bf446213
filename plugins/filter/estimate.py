"""An estimate (see filter cost_estimate) as text for the terminal and as a chart in SVG."""

from __future__ import annotations

from html import escape
from typing import Any

UNKNOWN = "unknown"
COLUMNS = (
    # key, head, width in the terminal
    ("hours", "hours", 6),
    ("compute", "compute", 11),
    ("disk", "disk", 9),
    ("snapshots", "snapshots", 11),
    ("ipv4", "IPv4", 8),
    ("egress", "egress", 9),
    ("total", "total", 12),
    ("a_month", "a month", 11),
    ("credits_left", "credits left", 14),
    ("break_even_hours", "break-even", 12),
)
NAME_WIDTH = 24


def cell(row: dict[str, Any], key: str, usage: dict[str, Any]) -> str:
    """Return one figure as a person reads it: dollars with cents, hours without, and never a guess."""
    value = row[key]
    if key == "credits_left" and not usage["credits_usd"]:
        return "-"
    if key == "break_even_hours":
        if row["key"] in ("always", "work"):
            return "-"
        return UNKNOWN if value is None else f"{value:.0f} h"
    if key == "hours":
        return f"{value:g}"
    return UNKNOWN if value is None else f"{value:,.2f}"


def size(server: dict[str, Any]) -> str:
    """Return what a type is made of, where it is known."""
    if not server["vcpus"]:
        return ""
    return f"{server['vcpus']} vCPU, {server['memory_gib']:g} GiB"


def months(usage: dict[str, Any]) -> str:
    """Return the time that the totals are for."""
    return "1 month" if usage["months"] == 1 else f"{usage['months']:g} months"


def title(estimate: dict[str, Any]) -> str:
    """Return the estimate in a line."""
    usage = estimate["usage"]
    address = ", an Elastic IP" if usage["elastic_ip"] else ", one IPv4 address"
    return (
        f"{months(usage)} in {estimate['region']}, in US dollars: {usage['disk_gb']:g} GB gp3, {usage['snapshot_gb']:g} GB of snapshots"
        f"{address if usage['public_ipv4'] else ''}, {usage['egress_gb']:g} GB a month to the internet"
    )


def table(estimate: dict[str, Any]) -> str:
    """Return the table for the terminal."""
    usage = estimate["usage"]
    head = "".join(f"{name:>{width}}" for _, name, width in COLUMNS)
    lines = [title(estimate), "", f"{'':{NAME_WIDTH}}{head}"]
    for server in estimate["servers"]:
        lines += [f"{server['type']}  {size(server)}".rstrip()]
        for row in server["patterns"]:
            figures = "".join(f"{cell(row, key, usage):>{width}}" for key, _, width in COLUMNS)
            lines.append(f"  {row['name']:{NAME_WIDTH - 2}}{figures}")
    return "\n".join(line.rstrip() for line in lines)


def grid(estimate: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the table for the page: heads by key, then servers with their rows of finished cells."""
    usage = estimate["usage"]
    return [
        {
            "type": server["type"],
            "size": size(server),
            "rows": [
                {"name": row["name"], "cells": [cell(row, key, usage) for key, _, _ in COLUMNS]}
                for row in server["patterns"]
            ],
        }
        for server in estimate["servers"]
    ]


# The chart: a bar for each way to run each type, on one scale from nought; what is not compute is paler.
LEFT, RIGHT, BAR, STEP, GROUP, TOP, WIDTH = 180, 108, 14, 20, 34, 76, 860
STYLE = (
    ".ec text{font:13px system-ui,sans-serif;fill:#24292f}.ec .t{font-weight:600}.ec .h{font-size:16px;font-weight:600}"
    ".ec .q{fill:#57606a}.ec .c{fill:#0b62b8}.ec .o{fill:#e08a1e}.ec .a{stroke:#8c959f}.ec .g{fill:#fff}"
    "@media(prefers-color-scheme:dark){.ec text{fill:#e6edf3}.ec .q{fill:#9aa5b1}.ec .c{fill:#5aa9f5}.ec .o{fill:#e9a94f}"
    ".ec .a{stroke:#6e7681}.ec .g{fill:#0d1117}}"
)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Return a line of text."""
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{style} text-anchor="{anchor}">{escape(words)}</text>'


def bar(x: float, y: float, width: float, kind: str) -> str:
    """Return a bar, none for nothing."""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:g}" width="{width:.1f}" height="{BAR}"/>' if width > 0 else ""


def chart(estimate: dict[str, Any]) -> str:
    """Return the chart as a file of SVG that needs nothing else."""
    usage = estimate["usage"]
    totals = [row["total"] for server in estimate["servers"] for row in server["patterns"] if row["total"] is not None]
    scale = (WIDTH - LEFT - RIGHT) / (max(totals, default=0) or 1)
    shapes = [
        text(16, 26, f"What {months(usage)} cost in {estimate['region']} (US dollars)", "h"),
        bar(16, 42, BAR, "c"),
        text(36, 54, "compute"),
        bar(116, 42, BAR, "o"),
        text(136, 54, "disk, snapshots, address, traffic"),
    ]
    y = TOP
    for server in estimate["servers"]:
        y += GROUP - 16
        shapes += [text(16, y, server["type"], "t"), text(LEFT + 6, y, size(server), "q")]
        y += 8
        for row in server["patterns"]:
            shapes.append(text(LEFT - 8, y + 11.5, row["name"], "", "end"))
            if row["total"] is None:
                shapes.append(text(LEFT + 6, y + 11.5, "price unknown", "q"))
            else:
                compute, whole = row["compute"] * scale, row["total"] * scale
                shapes += [bar(LEFT, y, compute, "c"), bar(LEFT + compute, y, whole - compute, "o")]
                shapes.append(text(LEFT + whole + 6, y + 11.5, f"{row['total']:,.2f}"))
            y += STEP
        y += 12
    shapes.append(f'<line class="a" x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{y - 8:g}"/>')
    body = "\n".join(shape for shape in shapes if shape)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" class="ec" viewBox="0 0 {WIDTH} {y:g}" width="{WIDTH}" height="{y:g}" role="img"
 aria-label="{escape(title(estimate))}">
<style>{STYLE}</style>
<rect class="g" width="{WIDTH}" height="{y:g}"/>
{body}
</svg>
"""


class FilterModule:
    """Ansible's entrance."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "estimate_chart": chart,
            "estimate_columns": lambda _: [name for _, name, _ in COLUMNS],
            "estimate_grid": grid,
            "estimate_table": table,
            "estimate_title": title,
        }

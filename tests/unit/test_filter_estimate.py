"""The estimate as a person sees it. Golden figures: the seed's own arithmetic of 720 hours a month."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from plugins.filter import cost, estimate

ROOT = Path(__file__).parents[2]
PRICES = yaml.safe_load((ROOT / "prices.yml").read_text())
SEEDS = ["t2.micro", "m4.large", "c5.large"]


def made(types: list[str] = SEEDS, region: str = "us-east-1", **changes: Any) -> dict[str, Any]:
    usage = cost.usage_of(**{"disk_gb": 20, "months": 3, "hours": 720, **changes})
    return cost.cost_estimate(PRICES, types, region, usage)


def always(found: dict[str, Any], key: str) -> list[str]:
    return [estimate.cell(server["patterns"][0], key, found["usage"]) for server in found["servers"]]


@pytest.mark.parametrize("region", ["us-east-1", "us-west-2"])
def test_golden_compute_only(region: str) -> None:
    found = made(region=region, disk_gb=0, public_ipv4=False)
    assert always(found, "compute") == ["25.06", "216.00", "183.60"]
    assert always(found, "total") == ["25.06", "216.00", "183.60"]


@pytest.mark.parametrize("region", ["us-east-1", "us-west-2"])
def test_golden_with_20_gb_and_an_address(region: str) -> None:
    found = made(region=region)
    assert always(found, "compute") == ["25.06", "216.00", "183.60"]
    assert always(found, "disk") == ["4.80"] * 3
    assert always(found, "ipv4") == ["10.80"] * 3
    assert always(found, "total") == ["40.66", "231.60", "199.20"]


def test_golden_table() -> None:
    """The whole text, so that a change of a figure or a column is seen."""
    lines = estimate.table(made(["c5.large", "p5.48xlarge"], credits_usd=100)).splitlines()
    assert lines == [
        "3 months in us-east-1, in US dollars: 20 GB gp3, 0 GB of snapshots, one IPv4 address, 0 GB a month to the internet",
        "",
        "                         hours    compute     disk  snapshots    IPv4   egress       total    a month  credits left  break-even",
        "c5.large  2 vCPU, 4 GiB",
        "  on demand, always        720     183.60     4.80       0.00   10.80     0.00      199.20      66.40          0.00           -",
        "  on demand, work hours    176      44.88     4.80       0.00    2.64     0.00       52.32      17.44         47.68           -",
        "  spot, always             720      78.19     4.80       0.00   10.80     0.00       93.79      31.26          6.21       330 h",
        "  reserved for a year      720     116.64     4.80       0.00   10.80     0.00      132.24      44.08          0.00       472 h",
        "p5.48xlarge  192 vCPU, 2048 GiB",
        "  on demand, always        720 118,886.40     4.80       0.00   10.80     0.00  118,902.00  39,634.00          0.00           -",
        "  on demand, work hours    176  29,061.12     4.80       0.00    2.64     0.00   29,068.56   9,689.52          0.00           -",
        "  spot, always             720    unknown     4.80       0.00   10.80     0.00     unknown    unknown       unknown     unknown",
        "  reserved for a year      720    unknown     4.80       0.00   10.80     0.00     unknown    unknown       unknown     unknown",
    ]  # fmt: skip


def test_a_type_that_is_not_known_at_all_stays_in_the_table() -> None:
    lines = estimate.table(made(["x9.nano"])).splitlines()
    assert lines[3] == "x9.nano"
    assert lines[4].split()[4:] == ["unknown", "4.80", "0.00", "10.80", "0.00", "unknown", "unknown", "-", "-"]


def bars(drawing: str) -> list[tuple[str, float]]:
    root = ET.fromstring(drawing)  # noqa: S314 our own
    return [
        (shape.get("class") or "", float(shape.get("width") or 0))
        for shape in root.iter("{http://www.w3.org/2000/svg}rect")
        if shape.get("class") in ("c", "o")
    ][2:]  # the first two explain the colours


def test_bars_are_as_long_as_what_they_show() -> None:
    found = made()
    widths = bars(estimate.chart(found))
    rows = [row for server in found["servers"] for row in server["patterns"]]
    assert len(widths) == 2 * len(rows)
    scale = (estimate.WIDTH - estimate.LEFT - estimate.RIGHT) / max(row["total"] for row in rows)
    for number, row in enumerate(rows):
        compute, others = widths[2 * number : 2 * number + 2]
        assert (compute[0], others[0]) == ("c", "o")
        assert compute[1] == pytest.approx(row["compute"] * scale, abs=0.06)
        assert others[1] == pytest.approx((row["total"] - row["compute"]) * scale, abs=0.06)
    assert max(widths[n][1] + widths[n + 1][1] for n in range(0, len(widths), 2)) <= estimate.WIDTH - estimate.LEFT


def test_what_is_unknown_has_words_and_no_bar() -> None:
    drawing = estimate.chart(made(["x9.nano"], "eu-west-1"))
    assert bars(drawing) == []
    assert drawing.count("price unknown") == 4


def test_chart_is_a_file_of_its_own_and_hides_no_markup() -> None:
    drawing = estimate.chart(made(['<b>."&']))
    ET.fromstring(drawing)  # noqa: S314 our own
    assert "<b>" not in drawing
    assert "http" not in drawing.replace("http://www.w3.org/2000/svg", "")


def page(found: dict[str, Any], prices: dict[str, Any] = PRICES) -> str:
    environment = jinja2.Environment(  # noqa: S701 as Ansible renders it
        loader=jinja2.FileSystemLoader(ROOT / "roles/estimate/templates"), trim_blocks=True
    )
    environment.filters.update(cost.FilterModule().filters() | estimate.FilterModule().filters())
    return environment.get_template("estimate.html.j2").render(
        __estimate=found,
        __estimate_notes=cost.notes(prices, found, "2026-11-21"),
        __estimate_prices=prices,
        __estimate_today="2026-11-21",
        estimate_region=found["region"],
    )


def test_page_has_table_chart_warnings_and_sources() -> None:
    text = page(made())
    for part in ("<td>40.66</td>", "<td>231.60</td>", "<td>199.20</td>", "<svg", 'class="warn"', "Karpenter"):
        assert part in text
    assert "<script" not in text and "src=" not in text


def test_page_hides_no_markup() -> None:
    assert "<b>" not in page(made(['<b>."&']))


def written(prices: dict[str, Any]) -> dict[str, Any]:
    """The price file as a refresh writes it, read again."""
    environment = jinja2.Environment(  # noqa: S701 as Ansible renders it
        loader=jinja2.FileSystemLoader(ROOT / "roles/estimate/templates"), trim_blocks=True
    )
    text = environment.get_template("prices.yml.j2").render(__estimate_prices=prices)
    assert max(map(len, text.splitlines())) <= 140
    return dict(yaml.safe_load(text))


def test_price_file_is_written_as_it_was_read() -> None:
    assert written(PRICES) == PRICES


def test_price_file_of_a_region_with_a_tiny_price_and_none() -> None:
    answer = {
        "region": "us-west-2",
        "date": "2026-11-21",
        "on_demand": {"c5.large": 0.09},
        "spot": {"c5.large": 0.00001},
        "reserved": {"c5.large": None},
        "types": {"c5.large": {"vcpus": 2, "memory_gib": 4}},
        "gp3_gb_month": None,
        "snapshot_gb_month": None,
        "public_ipv4_hour": None,
    }
    new = cost.refreshed({}, answer)
    assert written(new) == new

"""What playbooks/destroy.yml says, what it takes for an answer, and when it has proven that nothing is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plugins.filter import destroy, status

PRICES = {
    "regions": {
        "us-west-2": {
            "gp3_gb_month": 0.08,
            "snapshot_gb_month": 0.05,
            "public_ipv4_hour": 0.005,
            "on_demand": {"m5.large": 0.1},
            "spot": {"m5.large": 0.04},
        }
    }
}


def thing(kind: str, one: str, **more: Any) -> dict[str, Any]:
    plain = {
        "kind": kind,
        "id": one,
        "name": one,
        "server": "demo",
        "state": "",
        "gb": 0,
        "tags": {},
        "by": "tags",
        "why": "",
    }
    return {**plain, **more}


INSTANCE = thing("instances", "i-1", name="demo", state="running", type="m5.large", spot=False, public_ip="192.0.2.1")
DATA = thing("volumes", "vol-1", gb=20, type="gp3", iops=3000, throughput=125, state="in-use", why="its data")
BUCKET = thing("buckets", "b", type="s3")


def priced(*things: dict[str, Any]) -> list[dict[str, Any]]:
    return status.costs(list(things), PRICES, "us-west-2")


def after(*things: dict[str, Any], denied: Any = ()) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {"instances": [], "volumes": [], "snapshots": [], "roles": []}
    for one in things:
        found.setdefault(one["kind"], []).append(one)
    return {"found": found, "denied": list(denied)}


def test_what_is_not_understood() -> None:
    good = {"data_volume": "keep", "backups": "keep", "images": "delete", "final_backup": "false"}
    assert destroy.problems(good) == []
    assert destroy.problems({**good, "data_volume": "/data"}) == []
    for name in ("data_volume", "backups", "images"):
        assert destroy.problems({**good, name: "yes"})[0].startswith(
            f"{name}=yes is not understood: give -e {name}=delete"
        )
    assert "final_backup=never is not understood" in destroy.problems({**good, "final_backup": "never"})[0]


def test_the_plan() -> None:
    planned = {"final": {"volume": "vol-1", "gb": 20, "role": "data", "snapshot": "", "running": ["i-1"]}}
    said = destroy.plan_said(
        planned, "demo", "us-west-2", "/x/.state/demo", priced(INSTANCE), priced(DATA, BUCKET), 1.0
    )
    for words in (
        "instance i-1 (running, m5.large)  $76.65 a month",
        "/x/.state/demo on this machine, with its keys and passwords",
        "Stays, for $1.60 a month and what has no price here:",
        "volume vol-1 (20 GB, in-use, gp3)  $1.60 a month",
        "First a last backup is made of the data volume (vol-1, 20 GB; at most $1.00 a month). It is stopped for that.",
        "What goes cannot be brought back.",
    ):
        assert words in said
    assert "There is nothing to remove." in destroy.plan_said({"final": {}}, "demo", "here", "", [], [], None)


def test_nothing_left_is_proven() -> None:
    planned: dict[str, Any] = {"stay": [DATA], "final": {"volume": "vol-1"}}
    last = thing("snapshots", "snap-9", gb=20, tags={"Final": "yes"})
    assert (
        destroy.unproven(after(DATA, last, {**INSTANCE, "server": "other"}, thing("roles", "r")), planned, "demo") == []
    )
    assert (
        "AWS still has of demo, and may bill: instance i-1 (running, m5.large)."
        in destroy.unproven(after(INSTANCE), planned, "demo")[0]
    )
    # A snapshot that nobody wanted is one too many.
    assert "snap-9" in destroy.unproven(after(last), {**planned, "final": {}}, "demo")[0]
    denied = [{"kinds": ["budgets"], "action": "budgets:ViewBudget", "why": "no"}]
    assert "without the permission budgets:ViewBudget" in destroy.unproven(after(denied=denied), planned, "demo")[0]


def test_the_closing_list() -> None:
    stay = status.costs(destroy.kept(after(DATA, thing("roles", "r")), "demo"), PRICES, "us-west-2")
    said = destroy.closing("demo", "us-west-2", 23, stay, "")
    assert (
        "nothing of it is left but what was to stay, for $1.60 a month:" in said
        and "vol-1" in said
        and "role" not in said
    )
    assert destroy.closing("demo", "us-west-2", 23, [], "The CA went.").endswith("nothing of it is left.\nThe CA went.")


def test_what_failed() -> None:
    result = {
        "msg": "volume vol-1 could not be removed: An error occurred (UnauthorizedOperation) when calling ...",
        "error": {"code": "UnauthorizedOperation", "message": "You are not authorized."},
        "now": "Gone: instance demo (i-1). Still there: volume vol-1.",
    }
    assert destroy.failed(result) == (
        "volume vol-1 could not be removed: You are not authorized (UnauthorizedOperation), which whoever runs the AWS account can allow. "
        "Gone: instance demo (i-1). Still there: volume vol-1."
    )
    assert destroy.failed({"msg": "It is protected."}) == "It is protected."


def test_servers_of_a_state_folder(tmp_path: Path) -> None:
    for name in ("b", "a", "ca"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        (tmp_path / name / "record.yml").write_text("")
    assert destroy.servers(str(tmp_path)) == ["a", "b"]

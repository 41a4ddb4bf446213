"""A person who has the policies, and nothing else, can do all of it; without any one of their actions the run fails and names it.

Each playbook runs as the user whom docs/permissions.md names for it. The first time the lab refuses every action once, at its first
call: the task must fail, name the action, and succeed when it is done again. So one run stands for as many as there are actions.
The tests in the gate are those where something is refused. That a person with the policies is refused nothing is also seen wherever the
tests of a server's life run a playbook.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from plugins.filter.ec2_provision import unsaid
from tests.account import NOTHING
from tests.policies.conftest import ACCOUNT, PROJECT, Lab, Run

SERVER = "notebook"
CHANGED: dict[str, Any] = {
    "ec2_provision_instance_type": "t3.large",
    "ec2_provision_disk_gb": 40,
    "ec2_provision_tags": {"Owner": "ann"},
    "ec2_provision_extra_ingress": [{"port": 8050, "cidr": "198.51.100.0/24", "reason": "dashboard"}],
    "ec2_provision_elastic_ip": True,
    "ec2_provision_data_volume_gb": 10,
    "autostop_cloudwatch": True,
    "instance_profile_buckets": [{"name": "policies-data", "access": "write", "create": True, "versioning": True}],
    "instance_profile_tables": [{"name": "policies-runs", "create": True, "point_in_time_recovery": True}],
}
# What a run copes with, by another way or by saying that it does not know: it goes on, so nothing fails.
COPES = {
    "ec2:DescribeReservedInstances",  # placement without them
    "ec2:DescribeVpcAttribute",
    "servicequotas:GetServiceQuota",  # said to be unknown
    "ssm:GetParameter",  # images are then looked up by name
}


def kept_back(action: str) -> str:
    """What amazon.aws says where it keeps AWS's reason to itself; the role's own words, which a debugged task does not get to, name it."""
    return "Failed to" + re.sub(r"([A-Z])", lambda letter: f" {letter[1].lower()}", action.partition(":")[2])


def good(run: Run) -> Run:
    """A run that came through, with every refusal named."""
    assert run.code == 0, run.output[-3000:]
    unnamed = {
        action
        for action in run.refused - COPES
        if not run.names(action)
        and not (run.names(kept_back(action).replace(" ", "")) and action in unsaid(kept_back(action)))
    }
    assert not unnamed, f"refused and not named: {sorted(unnamed)}\n{run.output[-3000:]}"
    return run


def nothing_refused(run: Run) -> Run:
    """A run that came through, and AWS refused nothing."""
    assert (run.code, run.refused) == (0, set()), run.output[-3000:]
    return run


@pytest.mark.extended
def test_the_budget(lab: Lab) -> None:
    """From none to one, to another amount, to none: each as a dry run first, and again without change."""
    budgets, user = lab.account.client("budgets"), lab.user("budget")

    def limits() -> list[float]:
        found = budgets.describe_budgets(AccountId=ACCOUNT).get("Budgets", [])
        return [float(one["BudgetLimit"]["Amount"]) for one in found if one["BudgetName"] == PROJECT]

    before: list[float] = []
    for amount, after in ((100.0, [100.0]), (150.5, [150.5]), (0.0, [])):
        settings: dict[str, Any] = {"budget_monthly_usd": amount, "budget_email": "ann@example.org"}
        # The second of two changes nothing: together they make one change.
        for playbooks, arguments, there in (("budget", ["--check"], before), ("budget budget", [], after)):
            run = nothing_refused(lab.run(playbooks, user, *arguments, **settings))
            assert run.changed() == 1, run.output[-3000:]
            assert limits() == there
        before = after


def test_a_budget_without_its_action(lab: Lab) -> None:
    user = lab.user("budget", without="budgets:ModifyBudget")
    run = lab.run("budget", user, budget_monthly_usd=9, budget_email="ann@example.org")
    assert run.code != 0 and run.names("budgets:ModifyBudget"), run.output[-3000:]
    assert not lab.account.client("budgets").describe_budgets(AccountId=ACCOUNT).get("Budgets", [])


@pytest.fixture(scope="module")
def launch(lab: Lab) -> Run:
    """A launch while every action is refused once."""
    return lab.run("provision", lab.user("launch"), once=True)


@pytest.fixture(scope="module")
def change(lab: Lab, launch: Run) -> Run:
    """Nearly everything of the server is changed, while every action is refused once."""
    return lab.run("provision", lab.user("launch", "roles"), once=True, **CHANGED)


def test_a_server_is_launched(lab: Lab, launch: Run) -> None:
    good(launch)
    assert {"ec2:RunInstances", "ec2:ImportKeyPair", "ec2:CreateSecurityGroup", "ec2:CreateTags"} <= launch.refused


def test_everything_is_changed(lab: Lab, change: Run) -> None:
    good(change)
    assert {"iam:CreateRole", "iam:PassRole", "s3:PutBucketPolicy", "cloudwatch:PutMetricAlarm"} <= change.refused
    assert lab.server()["InstanceType"] == "t3.large"


# What needs a host to log in to is done while the server is stopped, and there is nobody to ask.
@pytest.mark.parametrize(
    ("state", "playbook", "arguments", "action"),
    [
        ("running", "stop", [], "ec2:StopInstances"),
        ("stopped", "backup", ["-e", "dumps=false"], "ec2:CreateSnapshot"),
        ("stopped", "bake", ["-e", f"confirm={SERVER}"], "ec2:CreateImage"),
        pytest.param(
            "stopped", "resize", ["-e", "type=t3.medium"], "ec2:ModifyInstanceAttribute", marks=pytest.mark.extended
        ),
    ],
)
@pytest.mark.usefixtures("change")
def test_without_one_action(lab: Lab, state: str, playbook: str, arguments: list[str], action: str) -> None:
    """The run fails and names it, and all is as it was."""
    lab.has(state)
    before = lab.server(), made(lab)
    run = lab.run(playbook, lab.user("daily", without=action), *arguments, **CHANGED)
    assert run.code != 0
    assert action in run.refused and run.names(action), run.output[-3000:]
    assert (lab.server(), made(lab)) == before


def made(lab: Lab) -> tuple[int, int]:
    """How many backups and images there are."""
    snapshots = lab.ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": "tag:Role", "Values": ["backup"]}])
    return len(snapshots["Snapshots"]), len(lab.ec2.describe_images(Owners=["self"])["Images"])


def planned(lab: Lab) -> int:
    """How many schedules there are, which bring a burst's server back."""
    return len(lab.account.client("scheduler").list_schedules()["Schedules"])


@pytest.mark.extended
@pytest.mark.parametrize(
    ("state", "playbooks", "arguments", "calls", "done"),
    [
        (
            "stopped",
            "status",
            [],
            {"tag:GetResources"},
            lambda lab, run: SERVER in run.output and "stopped" in run.output,
        ),
        # Each leaves the server as the next wants it.
        (
            "running",
            "stop backup bake resize",
            ["-e", "dumps=false", "-e", f"confirm={SERVER}", "-e", "type=t3.medium"],
            {"ec2:StopInstances", "ec2:CreateSnapshot", "ec2:CreateImage", "ec2:ModifyInstanceAttribute"},
            lambda lab, _: (made(lab), shown(lab)) == ((1, 1), ("t3.medium", "stopped")),
        ),
        ("stopped", "start", [], {"ec2:StartInstances"}, lambda lab, _: shown(lab)[1] == "running"),
        (
            "running",
            "burst",
            ["-e", "type=t3.xlarge", "-e", "hours=1"],
            {"scheduler:CreateSchedule", "ec2:StopInstances", "ec2:ModifyInstanceAttribute", "ec2:StartInstances"},
            lambda lab, _: (planned(lab), shown(lab)) == (3, ("t3.xlarge", "running")),
        ),
    ],
    ids=["status", "stop, backup, bake, resize", "start", "burst"],
)
@pytest.mark.usefixtures("change")
def test_daily_life(
    lab: Lab, state: str, playbooks: str, arguments: list[str], calls: set[str], done: Callable[[Lab, Run], bool]
) -> None:
    """With the policy nothing is refused, and what was to be done is done."""
    lab.has(state)
    policies = ["daily", "roles"] if playbooks == "burst" else ["daily"]
    run = nothing_refused(lab.run(playbooks, lab.user(*policies), *arguments, **CHANGED))
    assert calls <= run.allowed, run.output[-3000:]
    assert done(lab, run), run.output[-3000:]


def shown(lab: Lab) -> tuple[str, str]:
    """The server's type and state."""
    server = lab.server()
    return server["InstanceType"], server["State"]["Name"]


def test_other_peoples_things_are_out_of_reach(lab: Lab) -> None:
    everything = lab.ec2
    image = everything.describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"][0]["ImageId"]
    other = everything.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0][
        "InstanceId"
    ]
    for policy in ("launch", "daily", "destroy"):
        ec2 = lab.account.client(keys=lab.user(policy))
        for call in (ec2.stop_instances, ec2.terminate_instances):
            with pytest.raises(ec2.exceptions.ClientError, match="UnauthorizedOperation"):
                call(InstanceIds=[other])
        tags = [{"Key": "Project", "Value": PROJECT}]
        with pytest.raises(ec2.exceptions.ClientError, match="UnauthorizedOperation"):
            ec2.create_tags(Resources=[other], Tags=tags)
    everything.terminate_instances(InstanceIds=[other])


DESTROY = [
    "-e",
    f"confirm={SERVER}",
    "-e",
    "final_backup=false",
    "-e",
    "data_volume=delete",
    "-e",
    "backups=delete",
    "-e",
    "images=delete",
]


@pytest.mark.parametrize("without", ["ec2:TerminateInstances", pytest.param("", marks=pytest.mark.extended)])
@pytest.mark.usefixtures("change")
def test_destroy(lab: Lab, without: str) -> None:
    run = lab.run("destroy", lab.user("destroy", without=without), *DESTROY, **CHANGED)
    if without:
        assert run.code != 0
        assert without in run.refused and run.names(without), run.output[-3000:]
        assert len(lab.account.instances()) == 1
    else:
        nothing_refused(run)
        assert lab.account.things() == NOTHING

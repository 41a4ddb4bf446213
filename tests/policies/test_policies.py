"""A person who has the policies, and nothing else, can do all of it; without any one of their actions the run fails and names it.

Each playbook runs as the user whom docs/permissions.md names for it. The first time the lab refuses every action once, at its first
call: the task must fail, name the action, and succeed when it is done again. So one run stands for as many as there are actions.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from plugins.filter.ec2_provision import unsaid
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


def test_the_budget(lab: Lab) -> None:
    """From none to one, to another amount, to none: each as a dry run first, and again without change."""
    budgets, user = lab.client("budgets"), lab.user("budget")

    def limits() -> list[float]:
        found = budgets.describe_budgets(AccountId=ACCOUNT).get("Budgets", [])
        return [float(one["BudgetLimit"]["Amount"]) for one in found if one["BudgetName"] == PROJECT]

    before: list[float] = []
    settings: dict[str, Any] = {}
    for amount, after in ((100.0, [100.0]), (150.5, [150.5]), (0.0, [])):
        settings = {"budget_monthly_usd": amount, "budget_email": "ann@example.org"}
        runs = [(["--check"], 1, before), ([], 1, after), ([], 0, after)]
        for arguments, changed, there in runs:
            run = lab.run("budget", user, *arguments, **settings)
            assert (run.code, run.refused) == (0, set()), run.output[-3000:]
            assert f"changed={changed} " in run.output, run.output[-3000:]
            assert limits() == there
        before = after
    refused = lab.run(
        "budget", lab.user("budget", without="budgets:ModifyBudget"), **{**settings, "budget_monthly_usd": 9}
    )
    assert refused.code != 0 and refused.names("budgets:ModifyBudget"), refused.output[-3000:]


@pytest.fixture(scope="module")
def launched(lab: Lab) -> Lab:
    """A server that was launched while every action was refused once."""
    run = good(lab.run("provision", lab.user("launch"), once=True))
    assert {"ec2:RunInstances", "ec2:ImportKeyPair", "ec2:CreateSecurityGroup", "ec2:CreateTags"} <= run.refused
    instances = [i for r in lab.client("ec2").describe_instances()["Reservations"] for i in r["Instances"]]
    assert len(instances) == 1
    return lab


def test_everything_is_changed(launched: Lab) -> None:
    run = good(launched.run("provision", launched.user("launch", "roles"), once=True, **CHANGED))
    assert {"iam:CreateRole", "iam:PassRole", "s3:PutBucketPolicy", "cloudwatch:PutMetricAlarm"} <= run.refused
    again = launched.run("provision", launched.user("launch", "roles"), **CHANGED)
    assert (again.code, again.refused) == (0, set()), again.output[-3000:]
    assert "changed=0" in again.output


# In this order: what needs a host to log in to is done while the server is stopped, and there is nobody to ask.
@pytest.mark.parametrize(
    ("playbook", "arguments", "calls", "without"),
    [
        ("status", [], "tag:GetResources", False),
        ("stop", [], "ec2:StopInstances", True),
        ("stop", [], "ec2:StopInstances", False),
        ("backup", ["-e", "dumps=false"], "ec2:CreateSnapshot", True),
        ("backup", ["-e", "dumps=false"], "ec2:CreateSnapshot", False),
        ("bake", ["-e", f"confirm={SERVER}"], "ec2:CreateImage", True),
        ("bake", ["-e", f"confirm={SERVER}"], "ec2:CreateImage", False),
        ("resize", ["-e", "type=t3.medium"], "ec2:ModifyInstanceAttribute", True),
        ("start", [], "ec2:StartInstances", False),
        ("burst", ["-e", "type=t3.xlarge", "-e", "hours=1"], "scheduler:CreateSchedule", False),
    ],
)
def test_daily_life(launched: Lab, playbook: str, arguments: list[str], calls: str, without: bool) -> None:
    """With the policy nothing is refused; what comes after AWS's part may fail for want of hosts. Without the action it is named."""
    policies = ["daily", "roles"] if playbook == "burst" else ["daily"]
    user = launched.user(*policies, without=calls if without else "")
    run = launched.run(playbook, user, *arguments, **CHANGED)
    if without:
        assert run.code != 0
        assert run.names(calls), run.output[-3000:]
    else:
        assert run.refused == set(), run.output[-3000:]
        assert calls in run.allowed, run.output[-3000:]


def test_other_peoples_things_are_out_of_reach(launched: Lab) -> None:
    everything = launched.client("ec2")
    image = everything.describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"][0]["ImageId"]
    other = everything.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0][
        "InstanceId"
    ]
    for policy in ("launch", "daily", "destroy"):
        ec2 = launched.client("ec2", launched.user(policy))
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


@pytest.mark.parametrize("without", ["ec2:TerminateInstances", ""])
def test_destroy(launched: Lab, without: str) -> None:
    run = launched.run("destroy", launched.user("destroy", without=without), *DESTROY, **CHANGED)
    found = launched.client("ec2").describe_instances()["Reservations"]
    alive = [i for r in found for i in r["Instances"] if i["State"]["Name"] != "terminated"]
    if without:
        assert (run.code != 0, run.names(without), len(alive)) == (True, True, 1), run.output[-3000:]
    else:
        assert (run.code, run.refused, alive) == (0, set(), []), run.output[-3000:]

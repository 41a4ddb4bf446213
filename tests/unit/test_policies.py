"""The IAM policies hold exactly what the playbooks use, each in the narrowest way that AWS knows."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

from lab import permissions
from plugins.filter.ec2_provision import unsaid
from tests import actions

FOLDER = actions.ROOT / "policies"
DOCUMENTS: dict[str, Any] = {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}
PROVISION = actions.ROOT / "roles/ec2_provision/tasks"
# These make IAM roles, buckets and tables, for which there is a policy of its own.
ROLES = {"dynamodb_private_table", "iam_instance_role", "s3_private_bucket"}
DAILY = "backup bake burst client resize restore rotate start status stop update".split()
# A server that is there is not launched, given a network or removed.
NOT_DAILY = {PROVISION / name for name in ("launch.yml", "network.yml", "remove.yml", "remove_vpc.yml")}
# What AWS wants along with a call and no source says.
ALONG = {"iam:PassRole", "cloudwatch:TagResource", "scheduler:TagResource"}
# What burst does to have a role for its schedule is in roles.json.
BURST = {"iam:CreateRole", "iam:DeleteRole", "iam:DeleteRolePolicy", "iam:PutRolePolicy", "iam:TagRole"}
LARGEST = 6144


def used(playbooks: list[str], without: set[Any] | None = None, modules: Any = lambda _: True) -> set[str]:
    """What playbooks use, without some files, of some modules."""
    found = {one for name in playbooks for one in actions.used(actions.ROOT / name, set(without or ()))}
    return {call for module, state in found if modules(module) for call in actions.of_module(module, state)}


USED = {
    "launch": used(["site.yml"], modules=lambda name: name not in ROLES),
    "daily": used([f"playbooks/{name}.yml" for name in DAILY], NOT_DAILY, lambda name: name not in ROLES) - BURST,
    "destroy": used(["playbooks/destroy.yml"]),
    "roles": used(["site.yml"], modules=lambda name: name in ROLES) | BURST,
    "budget": used(["playbooks/budget.yml"]),
}


def held(name: str) -> set[str]:
    """The actions of a policy."""
    return {action for statement in DOCUMENTS[name]["Statement"] for action in permissions.listed(statement["Action"])}


def test_there_is_a_policy_for_each() -> None:
    assert set(DOCUMENTS) == set(USED)


@pytest.mark.parametrize("name", USED)
def test_policy_holds_what_is_used_and_nothing_else(name: str) -> None:
    missing, idle = USED[name] - held(name), held(name) - USED[name] - ALONG
    assert not missing, f"Used by playbooks and not in policies/{name}.json: {' '.join(sorted(missing))}"
    assert not idle, f"In policies/{name}.json and used by nothing: {' '.join(sorted(idle))}"


@pytest.mark.slow
def test_every_playbook_has_its_policy() -> None:
    """A new playbook that asks AWS for something has to be in one of the lists above."""
    everything = set().union(*(held(name) for name in USED))
    for file in sorted((actions.ROOT / "playbooks").glob("*.yml")):
        if file.stem == "estimate":  # its two, for prices alone, are named in docs/costs.md
            continue
        calls = set().union(*actions.of_playbook(f"playbooks/{file.name}").values())
        assert calls <= everything, f"{file.name}: {' '.join(sorted(calls - everything))}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_policy_is_one_that_aws_takes(name: str) -> None:
    document = DOCUMENTS[name]
    assert document["Version"] == "2012-10-17"
    sids = [statement["Sid"] for statement in document["Statement"]]
    assert len(set(sids)) == len(sids)
    assert all(re.fullmatch(r"[A-Za-z0-9]+", sid) for sid in sids)
    text = json.dumps(document, separators=(",", ":"))
    assert len(text) < LARGEST - 200, "room for longer names of project and region"
    assert set(re.findall(r"<\w+>", text)) <= {"<project>", "<region>", "<account>"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_nothing_is_allowed_on_everything_but_looking(name: str) -> None:
    for statement in DOCUMENTS[name]["Statement"]:
        assert statement["Effect"] == "Allow"
        for action in permissions.listed(statement["Action"]):
            assert "*" not in action
            looks = action.split(":")[1].startswith(("Describe", "Get", "List"))
            assert looks or permissions.listed(statement["Resource"]) != ["*"]
            if action.startswith("ec2:") and not looks:
                assert "Condition" in statement or statement["Sid"] == "UseWhatIsThere", (statement["Sid"], action)


def rendered(name: str) -> list[dict[str, Any]]:
    """A policy for one project, as playbooks/policies.yml writes it."""
    text = json.dumps(DOCUMENTS[name])
    for word, value in {"<project>": "notebooks", "<region>": "us-west-2", "<account>": "123456789012"}.items():
        text = text.replace(word, value)
    return [json.loads(text)]


EC2 = "arn:aws:ec2:us-west-2:123456789012"
OURS, THEIRS = {"aws:resourcetag/project": ["notebooks"]}, {"aws:resourcetag/project": ["others"]}
MADE = {"aws:requesttag/project": ["notebooks"]}


@pytest.mark.parametrize(
    ("name", "need", "good"),
    [
        ("launch", ("ec2:TerminateInstances", f"{EC2}:instance/i-1", OURS), True),
        ("destroy", ("ec2:TerminateInstances", f"{EC2}:instance/i-1", OURS), True),
        ("destroy", ("ec2:TerminateInstances", f"{EC2}:instance/i-1", THEIRS), False),
        ("destroy", ("ec2:TerminateInstances", f"{EC2}:instance/i-1", {}), False),
        ("daily", ("ec2:TerminateInstances", f"{EC2}:instance/i-1", OURS), False),
        ("daily", ("ec2:RunInstances", f"{EC2}:instance/*", MADE), False),
        ("daily", ("ec2:StopInstances", f"{EC2}:instance/i-1", THEIRS), False),
        ("launch", ("ec2:RunInstances", f"{EC2}:instance/*", MADE), True),
        ("launch", ("ec2:RunInstances", f"{EC2}:instance/*", {}), False),
        ("launch", ("ec2:RunInstances", f"{EC2}:instance/*".replace("us-west-2", "eu-west-1"), MADE), False),
        ("launch", ("ec2:RunInstances", f"{EC2}:security-group/sg-1", THEIRS), False),
        ("launch", ("ec2:RunInstances", f"{EC2}:subnet/subnet-1", {}), True),
        ("launch", ("ec2:CreateTags", f"{EC2}:instance/i-1", {**THEIRS, **MADE}), False),
        ("launch", ("ec2:CreateTags", f"{EC2}:instance/i-1", {**OURS, "aws:requesttag/project": ["others"]}), False),
        ("launch", ("ec2:CreateTags", f"{EC2}:instance/i-1", {**OURS, "aws:requesttag/owner": ["ann"]}), True),
        ("launch", ("ec2:DeleteVolume", f"{EC2}:volume/vol-1", THEIRS), False),
        (
            "launch",
            (
                "iam:PassRole",
                "arn:aws:iam::123456789012:role/notebooks-demo",
                {"iam:passedtoservice": ["ec2.amazonaws.com"]},
            ),
            True,
        ),
        (
            "launch",
            ("iam:PassRole", "arn:aws:iam::123456789012:role/admin", {"iam:passedtoservice": ["ec2.amazonaws.com"]}),
            False,
        ),
        (
            "launch",
            (
                "iam:PassRole",
                "arn:aws:iam::123456789012:role/notebooks-demo",
                {"iam:passedtoservice": ["lambda.amazonaws.com"]},
            ),
            False,
        ),
        ("launch", ("iam:CreateRole", "arn:aws:iam::123456789012:role/notebooks-demo", MADE), False),
        ("roles", ("iam:CreateRole", "arn:aws:iam::123456789012:role/notebooks-demo", MADE), True),
        ("roles", ("iam:CreateRole", "arn:aws:iam::123456789012:role/admin", MADE), False),
        ("roles", ("iam:PutRolePolicy", "arn:aws:iam::123456789012:role/notebooks-demo", {}), False),
        ("roles", ("s3:DeleteBucket", "arn:aws:s3:::data", {}), False),
        ("roles", ("s3:GetObject", "arn:aws:s3:::data/x", {}), False),
        ("launch", ("ec2:DescribeInstances", "*", {"aws:requestedregion": ["us-west-2"]}), True),
        ("launch", ("ec2:DescribeInstances", "*", {"aws:requestedregion": ["eu-west-1"]}), False),
        ("budget", ("budgets:ModifyBudget", "arn:aws:budgets::123456789012:budget/notebooks", {}), True),
        ("budget", ("budgets:ModifyBudget", "arn:aws:budgets::123456789012:budget/company", {}), False),
    ],
)
def test_what_is_allowed(name: str, need: Any, good: bool) -> None:
    assert permissions.allowed(rendered(name), need) is good


def document(*statements: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"Version": "2012-10-17", "Statement": list(statements)}]


def test_the_lab_judges_policies_as_aws_does() -> None:
    yes = {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}
    no = {"Effect": "Deny", "Action": "ec2:Terminate*", "Resource": "*"}
    need: permissions.Need = ("ec2:TerminateInstances", "arn:x", {})
    assert permissions.allowed(document(yes), need)
    assert not permissions.allowed(document(yes, no), need)
    assert not permissions.allowed(document(), need)
    for operator, wanted, has, good in (
        ("StringEquals", ["a"], ["a"], True),
        ("StringEquals", ["a"], None, False),
        ("StringEqualsIfExists", ["a"], None, True),
        ("StringEqualsIfExists", ["a"], ["b"], False),
        ("StringNotEquals", ["a"], None, True),
        ("StringNotEquals", ["a"], ["a"], False),
        ("StringLike", ["a*"], ["abc"], True),
        ("ForAllValues:StringEquals", ["a", "b"], ["a", "c"], False),
        ("ForAllValues:StringEquals", ["a", "b"], None, True),
        ("ForAnyValue:StringEquals", ["a", "b"], ["a", "c"], True),
        ("Null", ["true"], None, True),
        ("Null", ["false"], None, False),
        ("Bool", ["true"], ["true"], True),
    ):
        assert permissions.holds(operator, wanted, has) is good, (operator, wanted, has)


@pytest.mark.parametrize(
    ("method", "path", "resource", "action"),
    [
        ("HEAD", "/b", "arn:aws:s3:::b", "s3:ListBucket"),
        ("PUT", "/b", "arn:aws:s3:::b", "s3:CreateBucket"),
        ("PUT", "/b?publicAccessBlock", "arn:aws:s3:::b", "s3:PutBucketPublicAccessBlock"),
        ("GET", "/b?encryption", "arn:aws:s3:::b", "s3:GetEncryptionConfiguration"),
        ("DELETE", "/b", "arn:aws:s3:::b", "s3:DeleteBucket"),
        ("GET", "/b/k", "arn:aws:s3:::b/k", "s3:GetObject"),
    ],
)
def test_the_lab_knows_what_s3_calls_need(method: str, path: str, resource: str, action: str) -> None:
    call = SimpleNamespace(_method=method, _path=path, _action="s3:GetObject")
    assert permissions.s3_action(call, resource) == action


def test_a_tag_that_names_a_thing_makes_no_resource_of_it() -> None:
    given = {"SnapshotId": "snap-0123456789abcdef0"}
    for number, (key, value) in enumerate({"Project": "nb", "Replaces": "vol-0123456789abcdef0"}.items(), 1):
        tag = f"TagSpecification.1.Tag.{number}"
        given |= {"TagSpecification.1.ResourceType": "volume", f"{tag}.Key": key, f"{tag}.Value": value}
    needed = {
        resource.rpartition(":")[2] for _, resource, _ in permissions.ec2_needs("CreateVolume", given, "us-west-2")
    }
    assert needed == {"snapshot/snap-0123456789abcdef0", "volume/*"}


def test_tags_of_a_call() -> None:
    given = {
        "TagSpecification.1.ResourceType": "volume",
        "TagSpecification.1.Tag.2.Key": "Project",
        "TagSpecification.1.Tag.2.Value": "n",
    }
    assert permissions.tags_in(given, "TagSpecification.1.") == {"Project": "n"}
    assert permissions.tags_in({"Tags.member.1.Key": "Name", "Tags.member.1.Value": "x"}, "") == {"Name": "x"}


@pytest.mark.parametrize(
    ("words", "action"),
    [
        ("Unable to create security group: Failed to create security group", "ec2:CreateSecurityGroup"),
        (
            "Unable to authorize ingress rules: []: Failed to authorize security group ingress",
            "ec2:AuthorizeSecurityGroupIngress",
        ),
        ("Unable to modify: Failed to modify subnet", "ec2:ModifySubnetAttribute"),
        ("The disk is full", ""),
    ],
)
def test_where_the_reason_is_kept_back_the_action_is_named(words: str, action: str) -> None:
    said = unsaid(words)
    assert (action in said) if action else not said

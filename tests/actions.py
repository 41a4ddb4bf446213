"""Which AWS permissions the playbooks use, read from the source: playbooks -> roles -> modules -> calls of boto3.

python -m tests.actions                      # every playbook and what it uses
python -m tests.actions site.yml destroy.yml
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import yaml
from botocore import xform_name

ROOT = Path(__file__).resolve().parents[1]
# Where a call needs another permission than its name says (AWS's Service Authorization Reference).
S3 = {
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
}
BUDGETS = {"Describe": "ViewBudget", "Create": "ModifyBudget", "Delete": "ModifyBudget", "Update": "ModifyBudget"}
PREFIXES = {"resourcegroupstaggingapi": "tag", "service-quotas": "servicequotas"}
# Permissions that nobody has to be given.
FREE = {"sts:GetCallerIdentity"}
# What amazon.aws's modules call, as this project uses them. Recorded with `python -m lab actions`.
COLLECTION = {
    "amazon.aws.ec2_instance": "DescribeInstanceAttribute DescribeInstances DescribeSubnets DescribeVpcs DescribeSecurityGroups "
    "ModifyInstanceAttribute ModifyInstanceMetadataOptions CreateTags StartInstances StopInstances",
    "amazon.aws.ec2_instance absent": "DescribeInstances TerminateInstances",
    "amazon.aws.ec2_key": "DescribeKeyPairs ImportKeyPair CreateTags DeleteKeyPair",
    "amazon.aws.ec2_key absent": "DescribeKeyPairs DeleteKeyPair",
    "amazon.aws.ec2_security_group": "DescribeSecurityGroups DescribeVpcs DescribeTags CreateSecurityGroup CreateTags "
    "AuthorizeSecurityGroupIngress RevokeSecurityGroupIngress UpdateSecurityGroupRuleDescriptionsIngress",
    "amazon.aws.ec2_security_group absent": "DescribeSecurityGroups DeleteSecurityGroup",
    "amazon.aws.ec2_tag": "DescribeTags CreateTags",
    "amazon.aws.ec2_vol": "DescribeVolumes ModifyVolume",
    "amazon.aws.ec2_vpc_igw": "CreateInternetGateway CreateTags AttachInternetGateway DescribeInternetGateways DescribeVpcs",
    "amazon.aws.ec2_vpc_igw absent": "DescribeInternetGateways DetachInternetGateway DeleteInternetGateway",
    "amazon.aws.ec2_vpc_net": "CreateVpc CreateTags DescribeVpcAttribute DescribeVpcs ModifyVpcAttribute",
    "amazon.aws.ec2_vpc_net absent": "DescribeVpcs DescribeVpcAttribute DeleteVpc",
    "amazon.aws.ec2_vpc_route_table": "AssociateRouteTable CreateRoute CreateRouteTable CreateTags DescribeInternetGateways "
    "DescribeRouteTables DescribeSubnets",
    "amazon.aws.ec2_vpc_route_table absent": "DescribeRouteTables DisassociateRouteTable DeleteRouteTable",
    "amazon.aws.ec2_vpc_route_table_info": "DescribeRouteTables",
    "amazon.aws.ec2_vpc_subnet": "CreateSubnet CreateTags DescribeSubnets ModifySubnetAttribute",
    "amazon.aws.ec2_vpc_subnet absent": "DescribeSubnets DeleteSubnet",
    "amazon.aws.ec2_vpc_subnet_info": "DescribeSubnets",
}
# What AWS wants along with a call: tags at the making, a role that is handed on.
ALONG = {
    "ec2:RunInstances": ["ec2:CreateTags"],
    "budgets:CreateBudget": ["budgets:TagResource"],
    "dynamodb:CreateTable": ["dynamodb:TagResource"],
    "iam:AddRoleToInstanceProfile": ["iam:PassRole"],
    "iam:CreateInstanceProfile": ["iam:TagInstanceProfile"],
    "iam:CreateRole": ["iam:TagRole"],
}


@functools.cache
def operations(service: str) -> dict[str, str]:
    """Return the calls of a service: describe_instances -> DescribeInstances."""
    names = botocore.session.get_session().get_service_model(service).operation_names
    return {xform_name(name): name for name in names}


@functools.cache
def waiters(service: str) -> dict[str, str]:
    """Return what a service's waiters call: instance_running -> describe_instances."""
    try:
        model = botocore.session.get_session().get_waiter_model(service)
    except botocore.exceptions.UnknownServiceError:
        return {}
    return {xform_name(name): xform_name(model.get_waiter(name).operation) for name in model.waiter_names}


@functools.cache
def services() -> frozenset[str]:
    """Return the names of all services."""
    return frozenset(botocore.session.get_session().get_available_services())


def permission(service: str, call: str) -> str:
    """Return the permission for a call."""
    if service == "s3":
        call = S3.get(call, call)
    if service == "budgets":
        call = next((name for verb, name in BUDGETS.items() if call.startswith(verb)), call)
    return f"{PREFIXES.get(service, service)}:{call}"


def words(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield everything that may name a call: x.describe_vpcs as (describe_vpcs, x), and texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            yield node.attr, owner.id if isinstance(owner, ast.Name) else ""
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, ""


def calls_in(tree: ast.AST, of: set[str]) -> set[str]:
    """Return the permissions for the calls in some source, which uses these services."""
    found = set()
    for word, owner in words(tree):
        likely = {s for s in of if word in operations(s)}
        for service in {owner} & likely or likely:
            found.add((service, operations(service)[word]))
        for service in of:
            call = waiters(service).get(word)
            if call:
                found.add((service, operations(service)[call]))
    along = {name for service, call in found for name in ALONG.get(f"{service}:{call}", [])}
    return {permission(*one) for one in found} | along


@functools.cache
def shared() -> dict[str, ast.AST]:
    """Return the functions of plugins/module_utils by name."""
    found: dict[str, ast.AST] = {}
    for file in (ROOT / "plugins/module_utils").glob("*.py"):
        found |= {
            node.name: node
            for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
    return found


@functools.cache
def of_module(name: str, state: str = "") -> frozenset[str]:
    """Return what a module may call; state absent is another list where it has one."""
    if name.startswith("amazon.aws."):
        calls = COLLECTION.get(f"{name} {state}") or COLLECTION.get(name)
        if calls is None:
            raise KeyError(f"{name} is used and tests/actions.py does not say what it calls: record it in the lab.")
        return frozenset(f"ec2:{call}" for call in calls.split())
    file = ROOT / "plugins/modules" / f"{name}.py"
    tree = ast.parse(file.read_text())
    # Documentation and examples name calls too.
    tree.body = [
        n for n in tree.body if not (isinstance(n, ast.Assign | ast.Expr) and isinstance(n.value, ast.Constant))
    ]
    of = {word for word, _ in words(tree) if word in services()}
    parts: list[ast.AST] = [tree]
    seen: set[str] = set()
    names = {
        a.name
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom) and "module_utils" in (n.module or "")
        for a in n.names
    }
    while names - seen:
        one = (names - seen).pop()
        seen.add(one)
        if one in shared():
            parts.append(shared()[one])
            names |= {n.id for n in ast.walk(shared()[one]) if isinstance(n, ast.Name)} & set(shared())
    return frozenset(call for part in parts for call in calls_in(part, of)) - FREE


def own_modules() -> set[str]:
    """Return the project's modules."""
    return {file.stem for file in (ROOT / "plugins/modules").glob("*.py")}


def tasks_in(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every task below a list of tasks or plays."""
    for one in node or []:
        if isinstance(one, dict):
            yield one
            for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers"):
                yield from tasks_in(one.get(key))


def used(file: Path, seen: set[Path] | None = None) -> Iterator[tuple[str, str]]:
    """Yield the modules that a file of plays or tasks uses, with all that it includes: (name, state)."""
    seen = set() if seen is None else seen
    if file in seen or not file.is_file():
        return
    seen.add(file)
    for task in tasks_in(yaml.safe_load(file.read_text())):
        for key, value in task.items():
            short = key.removeprefix("ansible.builtin.")
            if short == "import_playbook":
                yield from used((file.parent / str(value)).resolve(), seen)
            elif short in {"include_tasks", "import_tasks"}:
                name = value["file"] if isinstance(value, dict) else value
                if "{{" in str(name):  # whichever it is
                    for other in file.parent.glob("*.yml"):
                        yield from used(other, seen)
                yield from used(file.parent / str(name), seen)
            elif short in {"include_role", "import_role"}:
                start = str(value.get("tasks_from", "main")).removesuffix(".yml")
                roles = [str(value["name"])] if "{{" not in str(value["name"]) else []
                for role in roles:
                    yield from used(ROOT / "roles" / role / "tasks" / f"{start}.yml", seen)
            elif short == "roles":
                for role in value:
                    name = role["role"] if isinstance(role, dict) else role
                    yield from used(ROOT / "roles" / name / "tasks/main.yml", seen)
            elif key in own_modules() or key.startswith("amazon.aws."):
                state = value.get("state", "") if isinstance(value, dict) else ""
                yield key, "absent" if state == "absent" else ""


def of_playbook(name: str) -> dict[str, set[str]]:
    """Return what a playbook may call, by module."""
    found: dict[str, set[str]] = {}
    for module, state in used(ROOT / name):
        calls = of_module(module, state)
        if calls:
            found.setdefault(module, set()).update(calls)
    return found


def in_policy(text: str) -> set[str]:
    """Return the permissions that a policy names."""
    return set(
        re.findall(r'"([a-z0-9-]+:[A-Za-z0-9*]+)"', "\n".join(re.findall(r'"Action":\s*(\[[^\]]*\]|"[^"]*")', text)))
    )


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["site.yml", *(f"playbooks/{f.name}" for f in sorted((ROOT / "playbooks").glob("*.yml")))]
    for playbook in chosen:
        modules = of_playbook(playbook)
        everything = sorted(set().union(*modules.values())) if modules else []
        print(f"{playbook}: {len(everything)}\n  {' '.join(everything)}")
        for module, calls in sorted(modules.items()):
            print(f"    {module}: {' '.join(sorted(calls))}")

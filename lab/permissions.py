"""Who may do what: IAM policies with their resources and conditions, and a list of the actions that were called.

moto knows the actions of a policy; here are the resources that a call touches, their tags, the tags it asks for, and the further
permissions that AWS wants with it: CreateTags for what is made with tags, PassRole for a role that is handed on.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qsl, unquote

from moto.iam import access_control
from moto.s3.models import FakeBucket

from lab.settings import ACCOUNT

# Where an action of the API is another one in policies.
SERVICES = {"monitoring": "cloudwatch", "tagging": "tag"}
BUDGETS = {"Describe": "ViewBudget", "Create": "ModifyBudget", "Delete": "ModifyBudget", "Update": "ModifyBudget"}
BUCKET = {
    "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "location": "BucketLocation",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
}
BUCKET_ITSELF = {
    "HEAD": "ListBucket",
    "GET": "ListBucket",
    "PUT": "CreateBucket",
    "DELETE": "DeleteBucket",
    "POST": "DeleteObject",
}
# EC2: what an id belongs to, and what an action makes. (AWS's Service Authorization Reference.)
KINDS = {
    "ami": "image",
    "eipalloc": "elastic-ip",
    "eni": "network-interface",
    "i": "instance",
    "igw": "internet-gateway",
    "key": "key-pair",
    "lt": "launch-template",
    "rtb": "route-table",
    "sg": "security-group",
    "sir": "spot-instances-request",
    "snap": "snapshot",
    "subnet": "subnet",
    "vol": "volume",
    "vpc": "vpc",
}
ID = re.compile(rf"({'|'.join(KINDS)})-[0-9a-f]{{8,17}}")
MAKES = {
    "AllocateAddress": ["elastic-ip"],
    "CopySnapshot": ["snapshot"],
    "CreateImage": ["image", "snapshot"],
    "CreateInternetGateway": ["internet-gateway"],
    "CreateLaunchTemplate": ["launch-template"],
    "CreateRouteTable": ["route-table"],
    "CreateSecurityGroup": ["security-group"],
    "CreateSnapshot": ["snapshot"],
    "CreateSnapshots": ["snapshot"],
    "CreateSubnet": ["subnet"],
    "CreateVolume": ["volume"],
    "CreateVpc": ["vpc"],
    "ImportKeyPair": ["key-pair"],
    "CreateKeyPair": ["key-pair"],
    "RequestSpotInstances": ["spot-instances-request"],
    "RunInstances": ["instance", "network-interface", "volume"],
}
# What else a call needs when it carries tags.
WITH_TAGS = {
    "budgets:CreateBudget": "budgets:TagResource",
    "dynamodb:CreateTable": "dynamodb:TagResource",
    "iam:CreateInstanceProfile": "iam:TagInstanceProfile",
    "iam:CreateRole": "iam:TagRole",
    "monitoring:PutMetricAlarm": "cloudwatch:TagResource",
    "scheduler:CreateScheduleGroup": "scheduler:TagResource",
}
READS = ("Describe", "Get", "List")
Need = tuple[str, str, dict[str, list[str]]]


class Log:
    """The actions that were called: who, what, and whether it was allowed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls: list[tuple[str, str, bool]] = []
        # None, or the actions that were refused once although they are allowed: every other one will be at its first call.
        self.refused: set[str] | None = None

    def refuses(self, action: str) -> bool:
        """Tell whether this is an action's first call while each is to be refused once."""
        with self.lock:
            if self.refused is None or action in self.refused:
                return False
            self.refused.add(action)
            return True

    def add(self, who: str, action: str, allowed: bool) -> None:
        """Note one."""
        with self.lock:
            self.calls.append((who, action, allowed))

    def take(self, forget: bool = False) -> list[tuple[str, str, bool]]:
        """Return all since the last time that they were forgotten."""
        with self.lock:
            calls = list(self.calls)
            if forget:
                self.calls.clear()
                self.refused = None
        return calls


LOG = Log()


def parameters(request: Any) -> dict[str, str]:
    """Return a call's parameters, flat: InstanceId.1, Target.RoleArn."""
    found: dict[str, str] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{name}.{key}" if name else str(key), inner)
        elif isinstance(value, list):
            for number, inner in enumerate(value, 1):
                add(f"{name}.{number}", inner)
        else:
            found[name] = str(value)

    body = request._body
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    if text.startswith("{"):
        add("", json.loads(text))
    elif request._service in {"ec2", "iam", "sts", "sns"}:
        # A form was read already.
        found |= {name: str(value[0] if isinstance(value, list) else value) for name, value in request._data.items()}
    return found


def tags_in(given: dict[str, str], prefix: str) -> dict[str, str]:
    """Return the tags below a prefix: <prefix>Tag.1.Key, Tags.member.1.Key or Tags.1.Key."""
    form = re.compile(rf"{re.escape(prefix)}(?:Tags?|ResourceTags|TagList)\.(?:member\.)?(\d+)\.Key")
    found = {}
    for name, key in given.items():
        if form.fullmatch(name):
            found[key] = given.get(f"{name.removesuffix('Key')}Value", "")
    return found


def asked(tags: dict[str, str]) -> dict[str, list[str]]:
    """Return the context of tags that a call asks for."""
    return {f"aws:requesttag/{key.lower()}": [value] for key, value in tags.items()} | (
        {"aws:tagkeys": list(tags)} if tags else {}
    )


def borne(tags: dict[str, str], service: str) -> dict[str, list[str]]:
    """Return the context of tags that a resource has."""
    return {f"{name}:resourcetag/{key.lower()}": [value] for key, value in tags.items() for name in ("aws", service)}


def ec2_needs(action: str, given: dict[str, str], region: str) -> Iterator[Need]:
    """Yield what an EC2 call needs."""
    from moto.ec2.models import ec2_backends

    backend = ec2_backends[ACCOUNT][region]
    call = f"ec2:{action}"
    if action.startswith(READS) and action != "GetConsoleOutput":
        yield call, "*", {}
        return

    def of(identity: str) -> dict[str, str]:
        return {str(t["key"]): str(t["value"]) for t in backend.describe_tags(filters={"resource-id": [identity]})}

    def arn(kind: str, identity: str = "*") -> str:
        owner = "" if kind in {"image", "snapshot"} else ACCOUNT
        return f"arn:aws:ec2:{region}:{owner}:{kind}/{identity}"

    makes: dict[str, dict[str, str]] = {kind: {} for kind in MAKES.get(action, [])}
    for name, value in given.items():
        if re.fullmatch(r"TagSpecification\.\d+\.ResourceType", name):
            makes[value] = tags_in(given, name.removesuffix("ResourceType"))
    new = asked(tags_in(given, "")) if action in {"CreateTags", "DeleteTags"} else {}
    # A tag may name a thing; that makes no resource of it.
    named = [value for name, value in given.items() if not re.search(r"(^|\.)Tag\.\d+\.Value$", name)]
    ids = {match[0] for value in named for match in [ID.fullmatch(value)] if match}
    for value in list(given.values()):
        # What has no resource of its own in policies counts as what it ties together.
        if value.startswith("iip-assoc-"):
            ids |= {
                a.instance.id for a in backend.iam_instance_profile_associations.values() if a.association_id == value
            }
        if value.startswith("eipassoc-"):
            ids |= {a.allocation_id for a in backend.addresses if a.association_id == value}
        if value.startswith("rtbassoc-"):
            ids |= {t.id for t in backend.route_tables.values() if value in t._associations}
    needs = [(arn(KINDS[one.rpartition("-")[0]], one), borne(of(one), "ec2") | new) for one in sorted(ids)]
    if "KeyName" in given and action != "ImportKeyPair":
        pair = backend.key_pairs.get(given["KeyName"])
        needs.append((arn("key-pair", given["KeyName"]), borne(of(pair.id), "ec2") if pair else {}))
    needs += [(arn(kind), asked(tags)) for kind, tags in makes.items()]
    for resource, context in needs or [("*", {})]:
        yield call, resource, context
    for kind, tags in makes.items():
        if tags:
            yield "ec2:CreateTags", arn(kind), {**asked(tags), "ec2:createaction": [action]}
    profile = (given.get("IamInstanceProfile.Name") or given.get("IamInstanceProfile.Arn", "")).rpartition("/")[2]
    if profile:
        yield from passes(profile, "ec2.amazonaws.com")


def passes(profile: str, service: str) -> Iterator[Need]:
    """Yield the permission to hand on the role of an instance profile."""
    from moto.iam.models import iam_backends

    for one in iam_backends[ACCOUNT]["aws"].instance_profiles.values():
        if one.name == profile:
            for role in one.roles:
                yield "iam:PassRole", role.arn, {"iam:passedtoservice": [service]}


def plain(tags: Any) -> dict[str, str]:
    """Return the tags that moto keeps, in one of its ways."""
    entries = tags.values() if isinstance(tags, dict) else tags
    return {str(tag["Key"]): str(tag["Value"]) for tag in entries}


def iam_needs(action: str, given: dict[str, str]) -> Iterator[Need]:
    """Yield what an IAM call needs."""
    from moto.iam.models import iam_backends

    iam = iam_backends[ACCOUNT]["aws"]
    root = f"arn:aws:iam::{ACCOUNT}"
    role, profile = given.get("RoleName"), given.get("InstanceProfileName")
    context = asked(tags_in(given, ""))
    if profile:
        known = next((one for one in iam.instance_profiles.values() if one.name == profile), None)
        has = plain(known.tags) if known else {}
        yield f"iam:{action}", f"{root}:instance-profile/{profile}", {**context, **borne(has, "iam")}
    elif role:
        known = next((one for one in iam.roles.values() if one.name == role), None)
        has = plain(known.tags) if known else {}
        yield f"iam:{action}", f"{root}:role/{role}", {**context, **borne(has, "iam")}
    else:
        yield f"iam:{action}", "*", context
    if action == "AddRoleToInstanceProfile" and role:
        yield "iam:PassRole", f"{root}:role/{role}", {"iam:passedtoservice": ["ec2.amazonaws.com"]}


def s3_action(request: Any, resource: str) -> str:
    """Return the permission that an S3 call needs; moto's names are right for objects only."""
    if "/" in resource.rpartition(":")[2]:
        return str(request._action)
    query = request._path.partition("?")[2]
    parts = {pair.partition("=")[0] for pair in query.split("&")}
    for name, noun in BUCKET.items():
        if name in parts:
            verb = {"GET": "Get", "DELETE": "Delete" if name == "policy" else "Put"}.get(request._method, "Put")
            return f"s3:{verb}{noun}"
    return f"s3:{BUCKET_ITSELF.get(request._method, 'ListBucket')}"


def other_needs(service: str, action: str, given: dict[str, str], request: Any) -> Iterator[Need]:
    """Yield what a call of another service needs."""
    region, context = request._region, asked(tags_in(given, ""))
    here = f"{region}:{ACCOUNT}"
    path = [unquote(part) for part in request._path.partition("?")[0].strip("/").split("/")]
    call, resource = f"{SERVICES.get(service, service)}:{action}", "*"
    if service == "budgets":
        resource = f"arn:aws:budgets::{ACCOUNT}:budget/{given.get('BudgetName') or given.get('Budget.BudgetName', '*')}"
        call = next((f"budgets:{name}" for verb, name in BUDGETS.items() if action.startswith(verb)), call)
    elif service == "monitoring":
        name = given.get("AlarmName") or given.get("AlarmNames.1", "*")
        resource = given.get("ResourceARN") or f"arn:aws:cloudwatch:{here}:alarm:{name}"
    elif service == "dynamodb":
        resource = given.get("ResourceArn") or f"arn:aws:dynamodb:{here}:table/{given.get('TableName', '*')}"
    elif service == "ssm" and "Name" in given:
        owner = "" if given["Name"].startswith("/aws/service/") else ACCOUNT
        resource = f"arn:aws:ssm:{region}:{owner}:parameter/{given['Name'].lstrip('/')}"
    elif service == "scheduler":
        query = dict(parse_qsl(request._path.partition("?")[2]))
        group = given.get("GroupName") or query.get("groupName") or query.get("ScheduleGroup") or "default"
        kind = f"schedule/{group}" if path[0] == "schedules" else "schedule-group"
        resource = f"arn:aws:scheduler:{here}:{kind}/{path[1]}" if len(path) > 1 and path[0] != "tags" else "*"
        resource = path[1] if path[0] == "tags" and len(path) > 1 else resource
    elif service == "route53":
        zone = next((part for before, part in itertools.pairwise(path) if before in {"hostedzone", "change"}), "")
        resource = f"arn:aws:route53:::{'change' if 'change' in path else 'hostedzone'}/{zone}" if zone else "*"
    yield call, resource, context
    if "Target.RoleArn" in given:
        yield "iam:PassRole", given["Target.RoleArn"], {"iam:passedtoservice": ["scheduler.amazonaws.com"]}


def needs_of(request: Any, resource: str) -> list[Need]:
    """Return every permission that a call needs: the action, the resource, and what conditions may ask for."""
    service, action = request._action.split(":", 1)
    if service == "s3":
        return [(s3_action(request, resource), resource, {})]
    given = parameters(request)
    if service == "ec2":
        needs = list(ec2_needs(action, given, request._region))
    elif service == "iam":
        needs = list(iam_needs(action, given))
    else:
        needs = list(other_needs(service, action, given, request))
    extra = WITH_TAGS.get(request._action)
    if extra and any(name.split(".")[0] in {"Tags", "ResourceTags"} for name in given):
        needs.append((extra, needs[0][1], needs[0][2]))
    everywhere = {"aws:requestedregion": [request._region], "ec2:region": [request._region]}
    return [(call, arn, {**everywhere, **context}) for call, arn, context in needs]


def listed(value: Any) -> list[str]:
    """Return what a policy gives as one or as a list."""
    return (
        [str(one) for one in value]
        if isinstance(value, list)
        else [str(value).lower() if isinstance(value, bool) else str(value)]
    )


def like(pattern: str, value: str) -> bool:
    """Compare with * and ?."""
    return fnmatchcase(value, pattern.replace("[", "[[]"))


TESTS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, has: wanted == has,
    "StringLike": like,
    "ArnEquals": like,
    "ArnLike": like,
    "Bool": lambda wanted, has: wanted.lower() == has.lower(),
}


def holds(operator: str, wanted: list[str], has: list[str] | None) -> bool:
    """Tell whether one condition holds; `has` is None for a key that the call does not have."""
    manner, _, plain = operator.rpartition(":")
    optional, plain = plain.endswith("IfExists"), plain.removesuffix("IfExists")
    if plain == "Null":
        return (has is None) == (wanted == ["true"])
    if has is None:
        return optional or manner == "ForAllValues" or "Not" in plain
    test, negated = TESTS[plain.replace("Not", "")], "Not" in plain
    hits = [any(test(one, value) for one in wanted) != negated for value in has]
    return all(hits) if manner == "ForAllValues" or negated else any(hits)


def speaks_of(statement: dict[str, Any], need: Need) -> bool:
    """Tell whether a statement is about this."""
    action, resource, context = need
    if not any(like(one.lower(), action.lower()) for one in listed(statement["Action"])):
        return False
    if not any(like(one, resource) for one in listed(statement.get("Resource", "*"))):
        return False
    return all(
        holds(operator, listed(wanted), context.get(key.lower()))
        for operator, conditions in statement.get("Condition", {}).items()
        for key, wanted in conditions.items()
    )


def statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the statements of a policy."""
    found = document["Statement"]
    return found if isinstance(found, list) else [found]


def allowed(documents: list[dict[str, Any]], need: Need) -> bool:
    """Tell whether policies allow something: some statement does, and none denies it."""
    effects = set()
    for document in documents:
        effects |= {statement["Effect"] for statement in statements(document) if speaks_of(statement, need)}
    return effects == {"Allow"}


def apply(wrap: Callable[[Any, str], Callable[[Callable[..., Any]], None]]) -> None:
    """Let moto ask here."""

    @wrap(access_control.IAMRequestBase, "check_action_permitted")
    def _check(original: Any, self: Any, resource: str) -> None:
        who = self._access_key.arn
        if self._action.startswith("sts:"):
            LOG.add(who, self._action, True)
            original(self, resource)
            return
        documents = [access_control.IAMPolicy(one)._policy_json for one in self._access_key.collect_policies()]
        for need in needs_of(self, resource):
            good = allowed(documents, need) and not LOG.refuses(need[0])
            LOG.add(who, need[0], good)
            if not good:
                self._action, self.refused = need[0], need[1]
                self._raise_access_denied()

    @wrap(FakeBucket, "get_permission")
    def _bucket(_: Any, self: Any, action: str, resource: str) -> Any:
        # A statement whose condition does not hold says nothing; and the lab's HTTP stands for AWS's HTTPS.
        documents = [json.loads(self.policy)] if self.policy else []
        need = (action, resource, {"aws:securetransport": ["true"]})
        effects = {s["Effect"] for d in documents for s in statements(d) if speaks_of(s, need)}
        results = access_control.PermissionResult
        return results.DENIED if "Deny" in effects else results.PERMITTED if effects else results.NEUTRAL

"""EventBridge Scheduler's one-time schedules: moto keeps them, the lab carries them out when they are due, as AWS does."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo

from botocore.exceptions import BotoCoreError, ClientError

from lab.settings import ACCOUNT

LOG = logging.getLogger("lab")
SERVICE = "scheduler.amazonaws.com"
LONGEST_PAUSE = 30.0
Call = Callable[[str, str, str, dict[str, Any]], None]


def due_at(expression: str, zone: str) -> float | None:
    """When a one-time schedule is due, as seconds since 1970; None for the repeated ones, which the lab does not carry out."""
    if not (expression.startswith("at(") and expression.endswith(")")):
        return None
    return datetime.fromisoformat(expression[3:-1]).replace(tzinfo=ZoneInfo(zone or "UTC")).timestamp()


def operation(arn: str) -> tuple[str, str]:
    """The service and the operation of a universal target: arn:aws:scheduler:::aws-sdk:ec2:stopInstances."""
    parts = arn.split(":")
    if parts[2:6] != ["scheduler", "", "", "aws-sdk"] or len(parts) != 8:
        raise ValueError(f"{arn} is not a universal target")
    return parts[6], parts[7][:1].upper() + parts[7][1:]


def role_of(arn: str) -> Any:
    """The IAM role with this ARN, or None."""
    from moto.iam.models import iam_backends

    return next((role for role in iam_backends[ACCOUNT]["global"].roles.values() if role.arn == arn), None)


def trusted(role: Any, group_arn: str) -> bool:
    """Whether a role lets the scheduler use it for a group of schedules."""
    document = role.assume_role_policy_document
    for statement in (json.loads(document) if isinstance(document, str) else document)["Statement"]:
        services = statement.get("Principal", {}).get("Service", [])
        if SERVICE not in ([services] if isinstance(services, str) else services):
            continue
        wanted = {key: value for entry in statement.get("Condition", {}).values() for key, value in entry.items()}
        given = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": group_arn}
        if all(fnmatchcase(given.get(key, ""), value) for key, value in wanted.items()):
            return True
    return False


def permitted(role: Any, action: str, resource: str) -> bool:
    """Whether a role's own policies allow an action on a resource."""
    from moto.iam.access_control import IAMPolicy, PermissionResult

    answers = [IAMPolicy(text).is_action_permitted(action, resource) for text in role.policies.values()]
    return PermissionResult.PERMITTED in answers and PermissionResult.DENIED not in answers


def resources(service: str, region: str, request: dict[str, Any]) -> list[str]:
    """What a request is about, where the lab knows it: instances."""
    found = request.get("InstanceIds") or [request.get("InstanceId")]
    return [f"arn:aws:{service}:{region}:{ACCOUNT}:instance/{one}" if one else "*" for one in found]


@dataclass
class Attempt:
    """How often a due schedule was tried, and when next."""

    count: int = 0
    after: float = 0.0


class Scheduler:
    """Carries out what is due."""

    def __init__(self, call: Call, clock: Callable[[], float] = time.time) -> None:
        self.call, self.clock = call, clock
        self.attempts: dict[tuple[str, str], Attempt] = {}

    def all(self) -> Iterator[tuple[str, Any, Any]]:
        """Every schedule, with its region and its group."""
        from moto.scheduler.models import scheduler_backends

        for account, region, backend in list(scheduler_backends.iter_backends()):
            for group in list(backend.schedule_groups.values()) if account == ACCOUNT else ():
                for schedule in list(group.schedules.values()):
                    yield region, group, schedule

    def follow(self, ending: threading.Event) -> None:
        """Look every half second."""
        while not ending.wait(0.5):
            try:
                self.pass_once()
            except Exception:
                LOG.exception("The lab could not look at its schedules")

    def pass_once(self) -> None:
        """Try what is due; one that is done, or has failed for good, is over."""
        for region, group, schedule in self.all():
            due = due_at(schedule.schedule_expression, schedule.schedule_expression_timezone)
            attempt = self.attempts.setdefault((schedule.arn, schedule.schedule_expression), Attempt())
            now = self.clock()
            if schedule.state != "ENABLED" or due is None or now < max(due, attempt.after):
                continue
            try:
                self.perform(region, group.arn, schedule.target)
                LOG.info("The schedule %s did what it was made for", schedule.name)
            except (ClientError, BotoCoreError, PermissionError, ValueError) as error:
                policy = schedule.target.get("RetryPolicy", {})
                attempt.count += 1
                attempt.after = now + min(2.0 ** (attempt.count - 1), LONGEST_PAUSE)
                LOG.info("The schedule %s failed (attempt %d): %s", schedule.name, attempt.count, error)
                left = attempt.count <= int(policy.get("MaximumRetryAttempts", 185))
                if left and attempt.after <= due + int(policy.get("MaximumEventAgeInSeconds", 86400)):
                    continue
            # Somebody may have moved it meanwhile: then it is not over.
            if due_at(schedule.schedule_expression, schedule.schedule_expression_timezone) == due:
                self.over(group, schedule)

    def over(self, group: Any, schedule: Any) -> None:
        """After its last attempt a schedule is deleted, or stays and does nothing more."""
        if schedule.action_after_completion == "DELETE":
            group.schedules.pop(schedule.name, None)
        else:
            self.attempts[(schedule.arn, schedule.schedule_expression)].after = float("inf")

    def perform(self, region: str, group_arn: str, target: dict[str, Any]) -> None:
        """Call the operation that a target names, if its role may."""
        service, name = operation(target["Arn"])
        request = json.loads(target.get("Input") or "{}")
        role = role_of(target["RoleArn"])
        if role is None or not trusted(role, group_arn):
            raise PermissionError(f"{target['RoleArn']} cannot be used by {SERVICE}")
        for resource in resources(service, region, request):
            if not permitted(role, f"{service}:{name}", resource):
                raise PermissionError(f"{role.name} may not call {service}:{name} on {resource}")
        self.call(region, service, name, request)


def caller(endpoint: str, keys: dict[str, str]) -> Call:
    """A function that calls the lab's API."""
    import boto3
    from botocore import xform_name

    def call(region: str, service: str, name: str, request: dict[str, Any]) -> None:
        client: Any = boto3.client(  # type: ignore[call-overload]
            service,
            region_name=region,
            endpoint_url=endpoint,
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        )
        getattr(client, xform_name(name))(**request)

    return call


def corrections(wrap: Callable[..., Any]) -> None:
    """Where moto takes what AWS refuses: a group that is there, a group that is not, a role that the scheduler cannot use."""
    from moto.core.exceptions import JsonRESTError
    from moto.scheduler.models import EventBridgeSchedulerBackend as Backend

    def check(self: Any, group: str | None, target: dict[str, Any]) -> None:
        known = self.get_schedule_group(group)
        role = role_of(target.get("RoleArn", ""))
        if role is None or not trusted(role, known.arn):
            text = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
            raise JsonRESTError("ValidationException", text)

    @wrap(Backend, "create_schedule")
    def _create(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        check(self, kwargs.get("group_name"), kwargs["target"])
        return original(self, *args, **kwargs)

    @wrap(Backend, "update_schedule")
    def _update(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        check(self, kwargs.get("group_name"), kwargs["target"])
        return original(self, *args, **kwargs)

    @wrap(Backend, "create_schedule_group")
    def _group(original: Any, self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if name in self.schedule_groups:
            raise JsonRESTError("ConflictException", f"Schedule group {name} already exists.")
        return original(self, name, *args, **kwargs)

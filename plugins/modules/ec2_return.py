#!/usr/bin/python
"""The return of a server to its usual type at a time, done by AWS itself, whatever becomes of the machine that asked for it."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_return
short_description: AWS gives a server its usual type back at a time
description:
  - Makes three one-time schedules of EventBridge Scheduler, in a group that has the project's name. The first stops the instance, the
    second changes its type, the third starts it. They are deleted when they are done; until then they are what remembers the type.
  - Makes an IAM role for them that may do these three things with this instance and nothing else, unless one is given.
  - In a check run it only says which return is planned.
options:
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: Value of the Name tag, type: str, required: true}
  state:
    description:
      - V(present) plans a return, or moves the one that is planned, V(absent) takes it away, V(planned) only looks.
    type: str
    choices: [present, absent, planned]
    default: present
  instance_id: {description: The instance, type: str, default: ''}
  instance_type: {description: The type to return to. One that is planned already stays, type: str, default: ''}
  hours: {description: Hours from now, type: float, default: 0}
  pause: {description: "Seconds between stop, change and start: as long as a stop may take", type: int, default: 180}
  role_arn: {description: A role for the schedules. Empty means that one is made, type: str, default: ''}
  tags: {description: Tags of role and group, type: dict, default: {}}
  forget: {description: "With V(absent): the role and the empty group go too", type: bool, default: false}
author: [The project's authors]
"""

EXAMPLES = """
- name: Back in three hours
  ec2_return:
    project: notebooks
    name: demo
    instance_id: i-0123456789abcdef0
    instance_type: m7i-flex.large
    hours: 3
"""

RETURN = """
planned: {description: "The return that was planned before: type and at (UTC), or nothing", type: dict, returned: success}
type: {description: The type that it returns to, type: str, returned: success}
at: {description: "When, in UTC", type: str, returned: success}
now: {description: A sentence on how things are, type: str, returned: failure}
"""

import datetime
import hashlib
import json
import time
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import tag_list
from ansible.module_utils.server_power import Refusal, Trouble, code_of
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

ACTIONS = {"type": "modifyInstanceAttribute", "start": "startInstances", "stop": "stopInstances"}
# A new role is known everywhere in AWS after some seconds only.
ROLE_TRIES, ROLE_PAUSE = 15, 4
GONE = ("ResourceNotFoundException", "NoSuchEntity")
POLICY = "return"
LONGEST = 64


def short(name: str) -> str:
    """A name that AWS takes: what is too long ends in a piece of its hash."""
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def names(project: str, name: str) -> dict[str, str]:
    """What the schedules, their group and their role are called."""
    return {
        "group": short(project),
        "role": short(f"{project}-{name}-burst"),
        **{step: short(f"{project}-{name}-return-{step}") for step in ACTIONS},
    }


def find(scheduler: Any, project: str, name: str) -> dict[str, Any]:
    """The return that is planned: the schedules there are, the type, and when it begins."""
    called = names(project, name)
    there: dict[str, Any] = {}
    for step in ACTIONS:
        try:
            there[step] = scheduler.get_schedule(GroupName=called["group"], Name=called[step])
        except aws.ClientError as error:
            if code_of(error) not in GONE:
                raise
    if "type" not in there:
        return {"schedules": there, "planned": {}}
    kind = json.loads(there["type"]["Target"]["Input"])["InstanceType"]["Value"]
    first = there.get("stop", there["type"])["ScheduleExpression"]
    return {"schedules": there, "planned": {"type": kind, "at": first[3:-1] + "Z", "whole": len(there) == len(ACTIONS)}}


def trust(partition: str, account: str, group: str) -> dict[str, Any]:
    """Who may use the role: the scheduler, for this group of this account."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "scheduler.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {
                    "StringEquals": {"aws:SourceAccount": account},
                    "ArnLike": {"aws:SourceArn": f"arn:{partition}:scheduler:*:{account}:schedule-group/{group}"},
                },
            }
        ],
    }


def rights(instance_arn: str) -> dict[str, Any]:
    """What the role may do."""
    wanted = ["ec2:StopInstances", "ec2:ModifyInstanceAttribute", "ec2:StartInstances"]
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": wanted, "Resource": instance_arn}]}


def have_role(iam: Any, sts: Any, region: str, options: dict[str, Any]) -> str:
    """Make the role what it shall be; give its ARN."""
    called = names(options["project"], options["name"])
    caller = sts.get_caller_identity()
    account, partition = caller["Account"], caller["Arn"].split(":")[1]
    trusted = json.dumps(trust(partition, account, called["group"]))
    try:
        iam.get_role(RoleName=called["role"])
    except aws.ClientError as error:
        if code_of(error) not in GONE:
            raise
        mine = {"Project": options["project"], "Name": options["name"], "ManagedBy": "ansible"}
        says = f"Returns the server {options['name']} to its usual instance type after a burst"
        request = {"RoleName": called["role"], "AssumeRolePolicyDocument": trusted, "Description": says}
        try:
            iam.create_role(**request, Tags=tag_list({**options["tags"], **mine}))
        except aws.ClientError as again:
            if code_of(again) != "EntityAlreadyExists":  # made by another run at the same time
                raise
    instance = f"arn:{partition}:ec2:{region}:{account}:instance/{options['instance_id']}"
    # One for each region: a role belongs to all of them.
    iam.put_role_policy(
        RoleName=called["role"], PolicyName=f"{POLICY}-{region}", PolicyDocument=json.dumps(rights(instance))
    )
    return f"arn:{partition}:iam::{account}:role/{called['role']}"


def have_group(scheduler: Any, options: dict[str, Any]) -> None:
    """Have the group of the project."""
    group = names(options["project"], options["name"])["group"]
    try:
        scheduler.get_schedule_group(Name=group)
    except aws.ClientError as error:
        if code_of(error) not in GONE:
            raise
        try:
            tags = tag_list({**options["tags"], "Project": options["project"], "ManagedBy": "ansible"})
            scheduler.create_schedule_group(Name=group, Tags=tags)
        except aws.ClientError as again:
            if code_of(again) != "ConflictException":  # made by another run at the same time
                raise


def times(begin: datetime.datetime, pause: int) -> dict[str, datetime.datetime]:
    """When each step is."""
    step = datetime.timedelta(seconds=pause)
    return {"stop": begin, "type": begin + step, "start": begin + 2 * step}


def schedule(options: dict[str, Any], step: str, kind: str, at: datetime.datetime, role_arn: str) -> dict[str, Any]:
    """The request for one schedule."""
    one = options["instance_id"]
    request: dict[str, Any] = {"InstanceIds": [one]}
    if step == "type":
        request = {"InstanceId": one, "InstanceType": {"Value": kind}}
    called = names(options["project"], options["name"])
    return {
        "GroupName": called["group"],
        "Name": called[step],
        "Description": f"Returns {options['name']} to {kind} after a burst"[:512],
        "ScheduleExpression": f"at({at:%Y-%m-%dT%H:%M:%S})",
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "State": "ENABLED",
        "Target": {
            "Arn": f"arn:{role_arn.split(':')[1]}:scheduler:::aws-sdk:ec2:{ACTIONS[step]}",
            "RoleArn": role_arn,
            "Input": json.dumps(request),
            "RetryPolicy": {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 60},
        },
    }


def put(scheduler: Any, request: dict[str, Any], there: bool) -> None:
    """Make or change a schedule. A role that was made a moment ago may not be known yet."""
    for number in range(ROLE_TRIES):
        try:
            (scheduler.update_schedule if there else scheduler.create_schedule)(**request)
        except aws.ClientError as error:
            code = code_of(error)
            if code == "ConflictException" and not there:
                there = True
            elif code in GONE and there:
                there = False
            elif code == "ValidationException" and "role" in str(error) and number + 1 < ROLE_TRIES:
                time.sleep(ROLE_PAUSE)
            else:
                raise
            continue
        return


def present(
    clients: dict[str, Any], found: dict[str, Any], options: dict[str, Any], begin: datetime.datetime
) -> dict[str, Any]:
    """Plan the return, or move it. What an earlier burst set out from stays the type to return to."""
    scheduler = clients["scheduler"]
    kind = found["planned"].get("type") or options["instance_type"]
    if not options["instance_id"] or not kind:
        raise Refusal("A return needs instance_id and instance_type.")
    try:
        role_arn = options["role_arn"] or have_role(clients["iam"], clients["sts"], scheduler.meta.region_name, options)
        have_group(scheduler, options)
        # A run may be cut off in between. Without the stop nothing happens, so it is made last; and when the return moves to later,
        # a stop that is early meets a change and a start that are still to come.
        before = found["planned"].get("at", "")
        later = f"{begin:%Y-%m-%dT%H:%M:%SZ}" >= before
        when = times(begin, options["pause"])
        for step in (
            ("type", "start", "stop")
            if not before
            else ("start", "type", "stop")
            if later
            else ("stop", "type", "start")
        ):
            put(scheduler, schedule(options, step, kind, when[step], role_arn), step in found["schedules"])
    except (aws.ClientError, aws.BotoCoreError) as error:
        if found["planned"]:
            raise Trouble(error, f"A return to {kind} stays planned; the type was not changed.") from error
        raise Trouble(error, "The type was not changed.") from error
    return {"type": kind, "at": f"{begin:%Y-%m-%dT%H:%M:%SZ}"}


def absent(clients: dict[str, Any], found: dict[str, Any], options: dict[str, Any]) -> bool:
    """Take the return away, the stop first: what is left of it does nothing then. Gives whether anything was there."""
    scheduler, called = clients["scheduler"], names(options["project"], options["name"])
    gone = bool(found["schedules"])

    def without(call: Any, **request: str) -> bool:
        try:
            call(**request)
        except aws.ClientError as error:
            if code_of(error) not in GONE:
                raise
            return False
        return True

    try:
        for step in ("stop", "start", "type"):
            if step in found["schedules"]:
                without(scheduler.delete_schedule, GroupName=called["group"], Name=called[step])
        if options["forget"]:
            policy = f"{POLICY}-{scheduler.meta.region_name}"
            gone |= without(clients["iam"].delete_role_policy, RoleName=called["role"], PolicyName=policy)
            try:
                gone |= without(clients["iam"].delete_role, RoleName=called["role"])
            except aws.ClientError as error:
                if code_of(error) != "DeleteConflict":  # the server of this name in another region uses it
                    raise
            there = without(scheduler.get_schedule_group, Name=called["group"])
            empty = there and not scheduler.list_schedules(GroupName=called["group"])["Schedules"]
            if empty:
                gone |= without(scheduler.delete_schedule_group, Name=called["group"])
    except (aws.ClientError, aws.BotoCoreError) as error:
        left = (
            f"A return to {found['planned']['type']} may still be planned."
            if found["planned"]
            else "No return was planned."
        )
        raise Trouble(error, left) from error
    return gone


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent", "planned"], "default": "present"},
            "instance_id": {"type": "str", "default": ""},
            "instance_type": {"type": "str", "default": ""},
            "hours": {"type": "float", "default": 0},
            "pause": {"type": "int", "default": 180},
            "role_arn": {"type": "str", "default": ""},
            "tags": {"type": "dict", "default": {}},
            "forget": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    options = module.params
    name, wish = options["name"], options["state"]
    clients = {service: module.client(service) for service in ("scheduler", "iam", "sts")}
    begin = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=options["hours"])
    changed, result = False, {}
    try:
        found = find(clients["scheduler"], options["project"], name)
        result = {"type": found["planned"].get("type", ""), "at": found["planned"].get("at", "")}
        if wish == "present":
            changed = True
            if module.check_mode:
                result = {"type": result["type"] or options["instance_type"], "at": f"{begin:%Y-%m-%dT%H:%M:%SZ}"}
            else:
                result = present(clients, found, options, begin)
        elif wish == "absent":
            changed = bool(found["schedules"]) if module.check_mode else absent(clients, found, options)
    except Refusal as sentence:
        module.fail_json(msg=str(sentence))
    except Trouble as trouble:
        module.fail_json_aws(trouble.error, msg=f"The return of {name} is not as asked for", now=trouble.now)
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(
            error, msg=f"AWS would not say whether a return of {name} is planned", now="Nothing was changed."
        )
    module.exit_json(changed=changed, planned=found["planned"], **result)


if __name__ == "__main__":
    main()

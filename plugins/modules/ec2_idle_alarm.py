#!/usr/bin/python
"""A CloudWatch alarm that stops a server whose CPU did next to nothing for hours."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_idle_alarm
short_description: Stop an instance that did nothing for hours
description:
  - Makes an alarm that stops the instance when its CPU stayed below a percentage in every one of so many hours. AWS does it, also
    when the server hangs or nobody can log in. Hours in which it did not run count as busy.
options:
  alarm_name: {description: Name of the alarm, type: str, required: true}
  instance_id: {description: The instance. Needed when state is present, type: str, default: ''}
  cpu_percent: {description: Below this it is idle, type: float, default: 3}
  hours: {description: So many hours in a row, type: int, default: 12}
  tags: {description: Tags that the alarm gets, type: dict, default: {}}
  state: {description: Whether it shall be there, type: str, choices: [present, absent], default: present}
author: [The project's authors]
"""

EXAMPLES = """
- name: Stop what was forgotten
  ec2_idle_alarm:
    alarm_name: notebooks-demo-idle
    instance_id: i-0123456789abcdef0
"""

RETURN = """
plan: {description: "What was done, or in check mode would be, in words", type: list, returned: always}
"""

from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import tag_list
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def wanted(options: dict[str, Any], region: str, partition: str) -> dict[str, Any]:
    """The alarm as AWS takes it."""
    return {
        "AlarmName": options["alarm_name"],
        "Namespace": "AWS/EC2",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": options["instance_id"]}],
        "Statistic": "Maximum",
        "Period": 3600,
        "EvaluationPeriods": options["hours"],
        "Threshold": options["cpu_percent"],
        "ComparisonOperator": "LessThanThreshold",
        "TreatMissingData": "notBreaching",
        "AlarmActions": [f"arn:{partition}:automate:{region}:ec2:stop"],
    }


def ensure(cloudwatch: Any, options: dict[str, Any], region: str, check_mode: bool) -> dict[str, Any]:
    """Find, plan and do."""
    name = options["alarm_name"]
    partition = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    there = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    plan = []
    if options["state"] == "absent":
        if there:
            plan.append(f"remove the alarm {name}")
            if not check_mode:
                cloudwatch.delete_alarms(AlarmNames=[name])
        return {"changed": bool(plan), "plan": plan}
    wish = wanted(options, region, partition)
    if not there or any(there[0].get(key) != value for key, value in wish.items()):
        plan.append(
            f"stop {options['instance_id'] or 'the server'} after {options['hours']} hours below {options['cpu_percent']:g} % CPU"
        )
        if not check_mode:
            # AWS takes tags only when it makes the alarm.
            more = {} if there else {"Tags": tag_list(options["tags"])}
            cloudwatch.put_metric_alarm(**wish, **more)
    return {"changed": bool(plan), "plan": plan}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "alarm_name": {"type": "str", "required": True},
            "instance_id": {"type": "str", "default": ""},
            "cpu_percent": {"type": "float", "default": 3},
            "hours": {"type": "int", "default": 12},
            "tags": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        result = ensure(module.client("cloudwatch"), options, module.region, module.check_mode)
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(
            error, msg=f"The alarm {options['alarm_name']} is not yet as it should be; the server is as it was"
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Whether a burstable instance slows down or bills extra when it runs out of CPU credits."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_cpu_credits
short_description: CPU credits of a burstable instance
description:
  - A burstable type that runs out of credits slows down when they are "standard", and bills extra when "unlimited",
    which is what AWS chooses when an instance becomes burstable by a resize. amazon.aws can set this at launch only.
options:
  instance_id: {description: The instance, type: str, required: true}
  credits: {description: What it shall have, type: str, choices: [standard, unlimited], default: standard}
author: [The project's authors]
"""

EXAMPLES = """
- name: Never bill extra
  ec2_cpu_credits:
    instance_id: i-0123456789abcdef0
"""

RETURN = """
before: {description: What it was, type: str, returned: always}
"""

from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def standardise(ec2: Any, instance_id: str, check_mode: bool, wanted: str = "standard") -> str:
    """Set credits unless they are so; give what they were."""
    answer = ec2.describe_instance_credit_specifications(InstanceIds=[instance_id])["InstanceCreditSpecifications"]
    before = str(answer[0]["CpuCredits"]) if answer else "none"
    if before not in ("none", wanted) and not check_mode:
        ec2.modify_instance_credit_specification(
            InstanceCreditSpecifications=[{"InstanceId": instance_id, "CpuCredits": wanted}]
        )
    return before


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "instance_id": {"type": "str", "required": True},
            "credits": {"type": "str", "choices": ["standard", "unlimited"], "default": "standard"},
        },
        supports_check_mode=True,
    )
    wanted = module.params["credits"]
    try:
        before = standardise(module.client("ec2"), module.params["instance_id"], module.check_mode, wanted)
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg="The CPU credits of the instance cannot be set")
    module.exit_json(changed=before not in ("none", wanted), before=before)


if __name__ == "__main__":
    main()

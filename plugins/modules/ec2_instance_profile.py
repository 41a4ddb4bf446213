#!/usr/bin/python
"""Give an instance an IAM instance profile, or another than it has."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_instance_profile
short_description: The IAM instance profile of an instance
description:
  - Associates the profile, or replaces the one that is associated, while the instance runs. amazon.aws.ec2_instance does so too,
    but even in check mode, and asks IAM for the profile at every run.
options:
  instance_id: {description: The instance, type: str, required: true}
  name: {description: Name of the instance profile, type: str, required: true}
author: [The project's authors]
"""

EXAMPLES = """
- name: Let the server use its bucket
  ec2_instance_profile:
    instance_id: i-0123456789abcdef0
    name: notebooks
"""

RETURN = """
before: {description: Name of the one it had, or nothing, type: str, returned: always}
"""

from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def give(ec2: Any, instance_id: str, name: str, check_mode: bool) -> str:
    """Associate the profile unless it is; give the name of the former."""
    mine = [
        {"Name": "instance-id", "Values": [instance_id]},
        {"Name": "state", "Values": ["associating", "associated"]},
    ]
    found = ec2.describe_iam_instance_profile_associations(Filters=mine)["IamInstanceProfileAssociations"]
    before = str(found[0]["IamInstanceProfile"]["Arn"]).rpartition("/")[2] if found else ""
    if before != name and not check_mode:
        if found:
            ec2.replace_iam_instance_profile_association(
                AssociationId=found[0]["AssociationId"], IamInstanceProfile={"Name": name}
            )
        else:
            ec2.associate_iam_instance_profile(InstanceId=instance_id, IamInstanceProfile={"Name": name})
    return before


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={"instance_id": {"type": "str", "required": True}, "name": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    options = module.params
    try:
        before = give(module.client("ec2"), options["instance_id"], options["name"], module.check_mode)
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"The instance cannot have the instance profile {options['name']}")
    module.exit_json(changed=before != options["name"], before=before)


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Cancel the spot requests of a server, so that AWS does not launch it again after it was terminated."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_spot_request
short_description: Cancel a server's spot requests
description:
  - Finds the requests by the tags Project and Name and cancels those that are still in force. A persistent request outlives its
    instance - AWS would launch another after it was terminated.
  - Cancelling leaves a running instance alone. AWS terminates one that is stopped.
options:
  project: {description: Value of the Project tag, type: str, required: true}
  name: {description: Value of the Name tag, type: str, required: true}
author: [The project's authors]
"""

EXAMPLES = """
- name: Have no request any more
  ec2_spot_request:
    project: notebooks
    name: demo
"""

RETURN = """
cancelled: {description: "Ids of the requests that were cancelled, or would be", type: list, returned: always}
"""

from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import by_tags
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

IN_FORCE = ["open", "active", "disabled"]


def find(ec2: Any, project: str, name: str) -> list[str]:
    """The requests in force that bear the server's tags."""
    wanted = [*by_tags(project, name), {"Name": "state", "Values": IN_FORCE}]
    found = ec2.describe_spot_instance_requests(Filters=wanted)["SpotInstanceRequests"]
    return sorted(str(one["SpotInstanceRequestId"]) for one in found)


def run(ec2: Any, project: str, name: str, check_mode: bool) -> list[str]:
    """Cancel them."""
    found = find(ec2, project, name)
    if found and not check_mode:
        try:
            ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=found)
        except aws.ClientError as error:
            # Cancelled meanwhile, by a run at the same time or by hand.
            if error.response["Error"]["Code"] != "InvalidSpotInstanceRequestID.NotFound":
                raise
    return found


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={"project": {"type": "str", "required": True}, "name": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    project, name = module.params["project"], module.params["name"]
    if not project or not name:
        module.fail_json(msg="project and name must not be empty: they are what tells this server's requests.")
    try:
        cancelled = run(module.client("ec2"), project, name, module.check_mode)
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(
            error,
            msg=f"The spot request of {name} is still in force, and nothing of the server was removed: run the same command again, "
            "or cancel it in the AWS console (EC2, Spot Requests) before the instance is terminated",
        )
    module.exit_json(changed=bool(cancelled), cancelled=cancelled)


if __name__ == "__main__":
    main()

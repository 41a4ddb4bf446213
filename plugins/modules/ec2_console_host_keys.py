#!/usr/bin/python
"""Read an instance's SSH host keys from its console, so that the first login need not trust blindly."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_console_host_keys
short_description: SSH host keys of an instance, from its console output
description:
  - cloud-init prints the host keys on the console at first boot. AWS serves the console to the account's owner only, so
    what stands there is known to come from the instance. Empty until it has been printed.
options:
  instance_id: {description: The instance, type: str, required: true}
author: [The project's authors]
"""

EXAMPLES = """
- name: Read the host keys
  ec2_console_host_keys:
    instance_id: i-0123456789abcdef0
"""

RETURN = """
host_keys: {description: "Keys as in known_hosts, without the host (type and base64)", type: list, returned: always}
"""

import base64
import re
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

BLOCK = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
KEY = re.compile(r"\b((?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d+) AAAA[A-Za-z0-9+/]+=*)")


def parse(console: str) -> list[str]:
    """The keys of the last whole block; a log prefix before each line does not matter."""
    blocks = BLOCK.findall(console)
    return sorted(set(KEY.findall(blocks[-1]))) if blocks else []


def read(ec2: Any, instance_id: str) -> str:
    """The console as it is now; types without a live console give what AWS last stored."""
    try:
        answer = ec2.get_console_output(InstanceId=instance_id, Latest=True)
    except aws.ClientError as error:
        if error.response["Error"]["Code"] not in {"UnsupportedOperation", "InvalidParameterCombination"}:
            raise
        answer = ec2.get_console_output(InstanceId=instance_id)
    text = answer.get("Output", "")
    # boto3 decodes the text; an old answer may still be base64.
    if text and "\n" not in text and re.fullmatch(r"[A-Za-z0-9+/=]+", text):
        text = base64.b64decode(text).decode(errors="replace")
    return str(text)


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={"instance_id": {"type": "str", "required": True}}, supports_check_mode=True
    )
    try:
        console = read(module.client("ec2"), module.params["instance_id"])
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg="The console of the instance cannot be read")
    module.exit_json(changed=False, host_keys=parse(console))


if __name__ == "__main__":
    main()

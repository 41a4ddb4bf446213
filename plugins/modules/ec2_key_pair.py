#!/usr/bin/python
"""Have AWS know a public key under a name that it knows another one under."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_key_pair
short_description: Exchange the public key of a key pair
description:
  - AWS cannot change a key pair, so the former one is deleted and the new one imported under its name. Before anything
    is deleted, AWS is asked whether it would let this account import (DryRun), so that nothing is lost for want of a
    permission. Neither touches an instance, and nobody logs in by what AWS keeps; it is for the next launch.
  - In a dry run AWS is asked whether it would let both happen.
options:
  name: {description: Name of the key pair, type: str, required: true}
  public_key: {description: "The key, as in a .pub file", type: str, required: true}
  tags: {description: "Tags of the key pair. Project and Name tell that the one that is there may go", type: dict, required: true}
author: [The project's authors]
"""

EXAMPLES = """
- name: Give AWS the new key
  ec2_key_pair:
    name: notebook-server-demo
    public_key: ssh-ed25519 AAAA...
    tags: {Project: notebook-server, Name: demo}
"""

RETURN = """
former: {description: The public key that AWS had; empty when it had none, type: str, returned: always}
"""

from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import tag_list, tags_of
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


class NotOursError(Exception):
    """The name is that of somebody else's key pair."""


def code_of(error: Any) -> str:
    """AWS's word for what went wrong."""
    return str(error.response["Error"]["Code"])


def bare(key: str) -> str:
    """A public key without its comment."""
    return " ".join(key.split()[:2])


def find(ec2: Any, name: str) -> dict[str, Any]:
    """The key pair of that name, or nothing."""
    wanted = [{"Name": "key-name", "Values": [name]}]
    return next(iter(ec2.describe_key_pairs(Filters=wanted, IncludePublicKey=True)["KeyPairs"]), {})


def plan(found: dict[str, Any], public_key: str, tags: dict[str, str]) -> list[str]:
    """What is to be done: nothing, import, or delete and import."""
    if found and bare(found.get("PublicKey", "")) == bare(public_key):
        return []
    if found and not {key: tags[key] for key in ("Project", "Name")}.items() <= tags_of(found).items():
        raise NotOursError
    return ["delete", "import"] if found else ["import"]


def request(name: str, public_key: str, tags: dict[str, str]) -> dict[str, Any]:
    """The ImportKeyPair request."""
    return {
        "KeyName": name,
        "PublicKeyMaterial": public_key.encode(),
        "TagSpecifications": [{"ResourceType": "key-pair", "Tags": tag_list(tags)}],
    }


def ask(call: Any, **wanted: Any) -> None:
    """Raise what AWS would answer if it would refuse."""
    try:
        call(**wanted, DryRun=True)
    except aws.ClientError as error:
        # The name is taken until the former one is deleted; AWS says so only to those who may import.
        if code_of(error) not in ("DryRunOperation", "InvalidKeyPair.Duplicate"):
            raise


def rehearse(ec2: Any, steps: list[str], name: str, public_key: str, tags: dict[str, str]) -> None:
    """Ask AWS whether it would let all the steps happen."""
    if "import" in steps:
        ask(ec2.import_key_pair, **request(name, public_key, tags))
    if "delete" in steps:
        ask(ec2.delete_key_pair, KeyName=name)


def apply(ec2: Any, steps: list[str], name: str, public_key: str, tags: dict[str, str]) -> None:
    """Do it."""
    if "delete" in steps:
        # One that is gone already is no error to AWS.
        ec2.delete_key_pair(KeyName=name)
    if "import" in steps:
        ec2.import_key_pair(**request(name, public_key, tags))


def exchange(ec2: Any, options: dict[str, Any], check: bool) -> dict[str, Any]:
    """All of it."""
    name, key, tags = options["name"], options["public_key"], options["tags"]
    found = find(ec2, name)
    steps = plan(found, key, tags)
    if steps:
        rehearse(ec2, steps, name, key, tags)
    if not check:
        apply(ec2, steps, name, key, tags)
    return {"changed": bool(steps), "former": bare(found.get("PublicKey", ""))}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "public_key": {"type": "str", "required": True, "no_log": False},
            "tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    name = module.params["name"]
    try:
        result = exchange(module.client("ec2"), module.params, module.check_mode)
    except NotOursError:
        module.fail_json(msg=f"AWS has a key pair {name} that this project did not make: remove it, or rename it.")
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"AWS did not take the new key of {name}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""A bucket that nobody else reads: found, or made private, encrypted and for TLS only. Never emptied, never deleted."""

from __future__ import annotations

DOCUMENTATION = """
module: s3_private_bucket
short_description: A private S3 bucket
description:
  - Without O(create) says whether the bucket is there and can be used. With it, makes the bucket - no public access, encryption
    (SSE-S3), owned by the account whoever writes, TLS only - and corrects these settings when they differ.
  - A bucket that is there already is only touched when it bears the Project tag, or is empty and without any tag (a run was cut off).
  - Never deletes anything. amazon.aws.s3_bucket has no check mode, and would take over a bucket that somebody else in the account made.
options:
  name: {description: Name of the bucket, type: str, required: true}
  create: {description: Make it where it is not there, type: bool, default: false}
  versioning: {description: Keep former versions of objects. False leaves it as it is, type: bool, default: false}
  project: {description: Value of the Project tag, type: str, required: true}
  tags: {description: Tags that the bucket gets, type: dict, default: {}}
author: [The project's authors]
"""

EXAMPLES = """
- name: Have the bucket
  s3_private_bucket:
    name: notebooks-data-4711
    create: true
    project: notebooks
"""

RETURN = """
plan: {description: "What was done, or in check mode would be, in words", type: list, returned: always}
region: {description: Where the bucket is, type: str, returned: always}
"""

import json
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import tag_list
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

CLOSED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
SID = "TlsOnly"


class Refused(Exception):
    """The bucket cannot be used so."""


def ask(call: Any, *absent: str, **request: Any) -> Any:
    """What S3 says, or nothing if it answers with one of these codes."""
    try:
        return call(**request)
    except aws.ClientError as error:
        if error.response["Error"]["Code"] in absent:
            return {}
        raise


def tls_only(name: str, partition: str) -> dict[str, Any]:
    """The statement that refuses what is not encrypted on its way."""
    arn = f"arn:{partition}:s3:::{name}"
    return {
        "Sid": SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def find(s3: Any, options: dict[str, Any], region: str, account: str) -> dict[str, Any]:
    """The bucket as it is; nothing when there is none."""
    name = options["name"]
    try:
        head = (
            s3.head_bucket(Bucket=name, ExpectedBucketOwner=account)
            if options["create"]
            else s3.head_bucket(Bucket=name)
        )
    except aws.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = error.response["Error"]["Code"]
        if status == 404 or code in {"404", "NoSuchBucket"}:
            if options["create"]:
                return {}
            raise Refused(
                f"There is no bucket {name}: correct its name in instance_profile_buckets, or add `create: true`."
            ) from error
        if status == 403 or code in {"403", "AccessDenied"}:
            raise Refused(
                f"The bucket {name} is there, but belongs to somebody else or these credentials may not see it (s3:ListBucket): "
                "names of buckets are shared by all of AWS; choose another in instance_profile_buckets."
            ) from error
        if status == 301:
            head = {
                "BucketRegion": error.response["ResponseMetadata"]["HTTPHeaders"].get(
                    "x-amz-bucket-region", "another region"
                )
            }
        else:
            raise
    headers = head.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    where = head.get("BucketRegion") or headers.get("x-amz-bucket-region") or region
    if not options["create"]:
        return {"region": where}
    if where != region:
        raise Refused(
            f"The bucket {name} is there already, in {where}, and the server is in {region}: leave out `create: true` to use it as it "
            "is (AWS charges what is sent between regions), or choose another name."
        )
    tags = ask(s3.get_bucket_tagging, "NoSuchTagSet", Bucket=name).get("TagSet", [])
    found: dict[str, Any] = {"region": where, "tags": {tag["Key"]: tag["Value"] for tag in tags}}
    foreign = found["tags"].get("Project") != options["project"]
    if foreign and (tags or ask(s3.list_objects_v2, Bucket=name, MaxKeys=1).get("KeyCount")):
        raise Refused(
            f"The bucket {name} is there already and this project did not make it: leave out `create: true` to use it as it is, "
            "or choose another name."
        )
    rules = ask(s3.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError", Bucket=name)
    rules = rules.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    owner = ask(s3.get_bucket_ownership_controls, "OwnershipControlsNotFoundError", Bucket=name)
    block = ask(s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration", Bucket=name)
    return {
        **found,
        "closed": block.get("PublicAccessBlockConfiguration", {}) == CLOSED,
        "owned": any(
            r["ObjectOwnership"] == "BucketOwnerEnforced" for r in owner.get("OwnershipControls", {}).get("Rules", [])
        ),
        "encrypted": bool(rules),
        "policy": json.loads(ask(s3.get_bucket_policy, "NoSuchBucketPolicy", Bucket=name).get("Policy", "{}")),
        "versioned": s3.get_bucket_versioning(Bucket=name).get("Status") == "Enabled",
    }


def plan(found: dict[str, Any], options: dict[str, Any], partition: str) -> list[tuple[str, str]]:
    """What has to be done, as (step, words), in this order."""
    name = options["name"]
    if not options["create"]:
        return []
    steps = [] if found else [("create", f"make the bucket {name}")]
    if options["tags"].items() - found.get("tags", {}).items():
        steps.append(("tags", f"tag {name}"))
    if not found.get("closed"):
        steps.append(("close", f"refuse every public access to {name}"))
    if found and not found["owned"]:
        steps.append(("own", f"own what others write into {name}"))
    if not found.get("encrypted"):
        steps.append(("encrypt", f"encrypt {name}"))
    if tls_only(name, partition) not in found.get("policy", {}).get("Statement", []):
        steps.append(("tls", f"take only TLS connections to {name}"))
    if options["versioning"] and not found.get("versioned"):
        steps.append(("versions", f"keep former versions in {name}"))
    return steps


def apply(
    s3: Any, steps: list[tuple[str, str]], found: dict[str, Any], options: dict[str, Any], where: tuple[str, str]
) -> None:
    """Do it; `where` is the partition and the region."""
    name, (partition, region) = options["name"], where
    for step, _ in steps:
        if step == "create":
            request: dict[str, Any] = {"Bucket": name, "ObjectOwnership": "BucketOwnerEnforced"}
            if region != "us-east-1":
                request["CreateBucketConfiguration"] = {"LocationConstraint": region}
            s3.create_bucket(**request)
        elif step == "tags":
            tags = {**found.get("tags", {}), **options["tags"]}
            s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tag_list(tags)})
        elif step == "close":
            s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=CLOSED)
        elif step == "own":
            rules = [{"ObjectOwnership": "BucketOwnerEnforced"}]
            s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls={"Rules": rules})
        elif step == "encrypt":
            rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
            s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
        elif step == "tls":
            others = [s for s in found.get("policy", {}).get("Statement", []) if s.get("Sid") != SID]
            document = {"Version": "2012-10-17", "Statement": [*others, tls_only(name, partition)]}
            s3.put_bucket_policy(Bucket=name, Policy=json.dumps(document))
        elif step == "versions":
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})


def ensure(s3: Any, sts: Any, options: dict[str, Any], region: str, check_mode: bool) -> dict[str, Any]:
    """Find, plan and do."""
    caller = sts.get_caller_identity()
    partition = caller["Arn"].split(":")[1]
    found = find(s3, options, region, caller["Account"])
    steps = plan(found, options, partition)
    if not check_mode:
        try:
            apply(s3, steps, found, options, (partition, region))
        except aws.ClientError as error:
            if error.response["Error"]["Code"] == "BucketAlreadyExists":
                raise Refused(
                    f"The name {options['name']} is taken by a bucket of somebody else: choose another in instance_profile_buckets."
                ) from error
            raise
    return {"changed": bool(steps), "plan": [words for _, words in steps], "region": found.get("region", region)}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "create": {"type": "bool", "default": False},
            "versioning": {"type": "bool", "default": False},
            "project": {"type": "str", "required": True},
            "tags": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    options = module.params
    options["tags"] = {key: str(value) for key, value in options["tags"].items()}
    try:
        result = ensure(module.client("s3"), module.client("sts"), options, module.region, module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error))
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"The bucket {options['name']} is not yet as it should be; what was done stays")
    module.exit_json(**result)


if __name__ == "__main__":
    main()

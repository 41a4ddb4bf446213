"""Role, bucket and table: made once, whatever fails or is cut off; nobody else's is touched."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import botocore.exceptions as aws
import pytest

from plugins.filter.instance_profile import setting_problems
from plugins.modules import dynamodb_private_table, iam_instance_role, s3_private_bucket
from tests.unit.cloud import READS, REGION, Cloud, Cut, changing, cloud, codes

NAME = "notebooks-demo"
OURS = {"Name": "demo", "Project": "notebooks", "ManagedBy": "ansible"}
ROLE: dict[str, Any] = {
    "resource_name": NAME,
    "project": "notebooks",
    "name": "demo",
    "tags": OURS,
    "buckets": [{"name": "data-4711", "access": "write"}, {"name": "results"}],
    "tables": [{"name": "runs"}],
    "settle_seconds": 0,
    "state": "present",
}
BUCKET: dict[str, Any] = {
    "name": "data-4711",
    "create": True,
    "versioning": True,
    "project": "notebooks",
    "tags": {**OURS, "Name": "data-4711"},
}
TABLE: dict[str, Any] = {
    "name": "runs",
    "create": True,
    "key": "run",
    "point_in_time_recovery": True,
    "project": "notebooks",
    "tags": OURS,
}
Work = Callable[..., dict[str, Any]]


def role(account: Cloud, check: bool = False, **more: Any) -> dict[str, Any]:
    return iam_instance_role.ensure(account.client("iam"), account.client("sts"), {**ROLE, **more}, REGION, check)


def no_role(account: Cloud, check: bool = False) -> dict[str, Any]:
    return role(account, check, state="absent")


def bucket(account: Cloud, check: bool = False, region: str = REGION, **more: Any) -> dict[str, Any]:
    s3 = account.client("s3", region)
    return s3_private_bucket.ensure(s3, account.client("sts"), {**BUCKET, **more}, region, check)


def table(account: Cloud, check: bool = False, **more: Any) -> dict[str, Any]:
    return dynamodb_private_table.ensure(account.client("dynamodb"), {**TABLE, **more}, REGION, check)


def prepare(account: Cloud, work: Work) -> None:
    """What must be there before the work can be tried."""
    if work is no_role:
        role(account)
        allow = {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        arn = account.client("iam").create_policy(PolicyName="extra", PolicyDocument=document)["Policy"]["Arn"]
        account.client("iam").attach_role_policy(RoleName=NAME, PolicyArn=arn)
    account.calm()


@functools.cache
def calls_of(work: Work) -> list[str]:
    """What the work calls when all goes well."""
    with cloud() as account:
        prepare(account, work)
        work(account)
        return list(account.calls)


WORKS: list[Work] = [role, no_role, bucket, table]
ids = [work.__name__ for work in WORKS]


@pytest.mark.parametrize("work", WORKS, ids=ids)
def test_first_check_then_once_then_nothing(work: Work) -> None:
    with cloud() as account:
        prepare(account, work)
        planned = work(account, True)
        assert planned["changed"]
        assert not changing(account.calls)
        assert work(account)["plan"] == planned["plan"]
        account.calm()
        assert work(account) | {"plan": []} == work(account, True)
        assert not changing(account.calls)


@pytest.mark.slow
@pytest.mark.parametrize("work", WORKS, ids=ids)
@pytest.mark.parametrize("code", codes("AccessDenied", "Throttling"))
def test_every_call_may_fail_once(work: Work, code: str) -> None:
    for number in range(1, len(calls_of(work)) + 1):
        with cloud() as account:
            prepare(account, work)
            account.fail_at, account.code = number, code
            with pytest.raises((aws.ClientError, aws.WaiterError, s3_private_bucket.Refused)) as failure:
                work(account)
            assert code in str(failure.value) or "s3:ListBucket" in str(failure.value)
            account.calm()
            work(account)
            assert not work(account)["changed"]


@pytest.mark.slow
@pytest.mark.parametrize("work", WORKS, ids=ids)
def test_what_vanishes_meanwhile(work: Work) -> None:
    """It copes or fails; the next run finds or makes one of each, and nothing is lost."""
    code = {bucket: "NoSuchBucket", table: "ResourceNotFoundException"}.get(work, "NoSuchEntity")
    for number in range(1, len(calls_of(work)) + 1):
        with cloud() as account:
            prepare(account, work)
            account.fail_at, account.code = number, code
            call = calls_of(work)[number - 1]
            try:
                work(account)
            except (aws.ClientError, aws.WaiterError, s3_private_bucket.Refused):
                pass
            else:
                # What was to be found is not there, or what was to go is gone: nothing that was to be made.
                assert call.startswith((*READS, "Delete", "Detach", "Remove")), call
            account.calm()
            work(account)
            assert not work(account)["changed"]


@pytest.mark.slow
@pytest.mark.parametrize("work", WORKS, ids=ids)
def test_a_run_that_was_cut_off_goes_on(work: Work) -> None:
    for number in changing(calls_of(work)):
        with cloud() as account:
            prepare(account, work)
            account.cut_at = number
            with pytest.raises(Cut):
                work(account)
            account.calm()
            work(account)
            assert not work(account)["changed"]


def test_role_is_for_ec2_and_these_names_only() -> None:
    with cloud() as account:
        result = role(account)
        iam = account.client("iam")
        assert iam.get_role(RoleName=NAME)["Role"]["AssumeRolePolicyDocument"] == iam_instance_role.TRUST
        assert [
            r["RoleName"] for r in iam.get_instance_profile(InstanceProfileName=NAME)["InstanceProfile"]["Roles"]
        ] == [NAME]
        assert (
            result["policy"]
            == iam.get_role_policy(RoleName=NAME, PolicyName=iam_instance_role.POLICY)["PolicyDocument"]
        )
    allowed = {
        (action, resource)
        for s in result["policy"]["Statement"]
        for action in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
        for resource in ([s["Resource"]] if isinstance(s["Resource"], str) else s["Resource"])
    }
    assert ("s3:PutObject", "arn:aws:s3:::data-4711/*") in allowed
    assert ("s3:GetObject", "arn:aws:s3:::results/*") in allowed
    assert ("s3:PutObject", "arn:aws:s3:::results/*") not in allowed
    assert ("dynamodb:Query", f"arn:aws:dynamodb:{REGION}:123456789012:table/runs") in allowed
    assert not [a for a, _ in allowed if "*" in a or a in {"dynamodb:PutItem", "s3:DeleteBucket"}]


def test_policy_and_trust_are_set_back_and_taken_away() -> None:
    with cloud() as account:
        role(account)
        iam = account.client("iam")
        open_to_all = json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        )
        trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        anybody = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        iam.put_role_policy(RoleName=NAME, PolicyName=iam_instance_role.POLICY, PolicyDocument=open_to_all)
        iam.update_assume_role_policy(RoleName=NAME, PolicyDocument=anybody)
        assert len(role(account)["plan"]) == 2
        assert role(account, buckets=[], tables=[])["plan"] == [f"allow the role {NAME} nothing any more"]
        assert iam.list_role_policies(RoleName=NAME)["PolicyNames"] == []


@pytest.mark.parametrize("state", ["present", "absent"])
def test_role_of_somebody_else_is_refused(state: str) -> None:
    with cloud() as account:
        account.client("iam").create_role(RoleName=NAME, AssumeRolePolicyDocument="{}")
        with pytest.raises(iam_instance_role.Refused, match=f"a role {NAME} that this project did not make"):
            role(account, state=state)
        assert account.client("iam").get_role(RoleName=NAME)


def test_bucket_is_private() -> None:
    with cloud() as account:
        bucket(account)
        s3 = account.client("s3")
        block = s3.get_public_access_block(Bucket="data-4711")["PublicAccessBlockConfiguration"]
        assert block == s3_private_bucket.CLOSED
        owner = s3.get_bucket_ownership_controls(Bucket="data-4711")["OwnershipControls"]["Rules"]
        assert owner == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        rule = s3.get_bucket_encryption(Bucket="data-4711")["ServerSideEncryptionConfiguration"]["Rules"][0]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        (statement,) = json.loads(s3.get_bucket_policy(Bucket="data-4711")["Policy"])["Statement"]
        assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
        assert s3.get_bucket_versioning(Bucket="data-4711")["Status"] == "Enabled"
        assert s3.get_bucket_location(Bucket="data-4711")["LocationConstraint"] == REGION
        # Set back, and others' statements kept.
        other = {
            "Sid": "Mine",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::data-4711/x",
        }
        s3.put_bucket_policy(Bucket="data-4711", Policy=json.dumps({"Version": "2012-10-17", "Statement": [other]}))
        s3.delete_public_access_block(Bucket="data-4711")
        s3.delete_bucket_ownership_controls(Bucket="data-4711")
        assert len(bucket(account)["plan"]) == 3
        assert other in json.loads(s3.get_bucket_policy(Bucket="data-4711")["Policy"])["Statement"]
        assert not bucket(account)["changed"]


def test_bucket_in_the_region_without_a_constraint() -> None:
    with cloud() as account:
        assert bucket(account, region="us-east-1")["changed"]
        assert not bucket(account, region="us-east-1")["changed"]


def test_buckets_that_cannot_be_used() -> None:
    with cloud() as account:
        s3 = account.client("s3")
        with pytest.raises(s3_private_bucket.Refused, match="There is no bucket data-4711"):
            bucket(account, create=False)
        s3.create_bucket(Bucket="data-4711", CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket="data-4711", Key="a", Body=b"1")
        with pytest.raises(s3_private_bucket.Refused, match="this project did not make it"):
            bucket(account)
        assert not bucket(account, create=False)["changed"]
        account.client("s3", "eu-west-1").create_bucket(
            Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        with pytest.raises(s3_private_bucket.Refused, match="in eu-west-1, and the server is in us-west-2"):
            bucket(account, name="far")
        assert s3.get_object(Bucket="data-4711", Key="a")["Body"].read() == b"1"


def test_bucket_of_somebody_else() -> None:
    with cloud() as account:
        from moto.s3.models import s3_backends

        s3_backends["999999999999"]["aws"].create_bucket("data-4711", REGION)
        account.fail_at, account.code = 2, "403"
        with pytest.raises(s3_private_bucket.Refused, match="belongs to somebody else"):
            bucket(account)
        account.fail_at = 2
        account.calls.clear()
        account.code = "404"
        with pytest.raises(s3_private_bucket.Refused, match="is taken by a bucket of somebody else"):
            bucket(account)


def test_tables_that_cannot_be_used() -> None:
    with cloud() as account:
        with pytest.raises(dynamodb_private_table.Refused, match="There is no table runs in us-west-2"):
            table(account, create=False)
        table(account)
        with pytest.raises(dynamodb_private_table.Refused, match="has the key run, and the settings say id"):
            table(account, key="id")
        with pytest.raises(dynamodb_private_table.Refused, match="this project did not make it"):
            table(account, project="other")
        assert not table(account, project="other", create=False)["changed"]
        described = account.client("dynamodb").describe_table(TableName="runs")["Table"]
        assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


GOOD: dict[str, Any] = {"name": "data-4711", "access": "write", "create": True}


@pytest.mark.parametrize(
    ("buckets", "tables", "says"),
    [
        ([GOOD], [{"name": "runs", "key": "run"}], ""),
        (GOOD, [], "must be a list"),
        (["data"], [], "entry 1 must have a name"),
        ([{"name": "Data"}], [], "3 to 63 of a-z"),
        ([{"name": "da"}], [], "3 to 63"),
        ([{"name": "a..b"}], [], "3 to 63"),
        ([{"name": "a" * 64}], [], "3 to 63"),
        ([{"name": "-abc"}], [], "3 to 63"),
        ([{"name": "192.168.5.4"}], [], "IP address"),
        ([{"name": "xn--abc"}], [], "keeps names"),
        ([{"name": "abc-s3alias"}], [], "keeps names"),
        ([{**GOOD, "name": "a.b.c"}], [], "has a dot"),
        ([{"name": "a.b.c"}], [], ""),
        ([{**GOOD, "access": "all"}], [], "give read or write"),
        ([{**GOOD, "create": "yes"}], [], "give true or false"),
        ([{**GOOD, "public": True}], [], "has public, which it does not know"),
        ([GOOD, GOOD], [], "names data-4711 twice"),
        ([], [{"name": "r"}], "3 to 255"),
        ([], [{"name": "runs", "key": ""}], "1 to 255"),
    ],
)
def test_settings(buckets: Any, tables: Any, says: str) -> None:
    problems = " ".join(setting_problems(buckets, tables, NAME, NAME))
    assert (says in problems) if says else not problems


def test_settings_that_contradict_each_other() -> None:
    assert "names notebooks: a server has one" in setting_problems([GOOD], [], NAME, "notebooks")[0]
    assert "may have 64" in setting_problems([GOOD], [], "n" * 65, "n" * 65)[0]
    assert setting_problems([], [], NAME, "notebooks") == []

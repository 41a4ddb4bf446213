"""What a server may do in AWS without keys: its bucket and its table, and nothing else."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest

from tests.lab_site import Site
from tests.life.conftest import PORT, SUBNET, settings

BUCKET, OTHER, TABLE = "life-6-data", "life-6-others", "life-6-runs"
PROFILE = "notebook-server-demo"
WITH: dict[str, object] = {
    "ec2_provision_instance_profile": PROFILE,
    "instance_profile_buckets": [{"name": BUCKET, "access": "write", "create": True}],
    "instance_profile_tables": [{"name": TABLE, "access": "read", "create": True}],
    "autostop_cloudwatch": True,
}
GATEWAY = f"http://{SUBNET.rpartition('.')[0]}.1:{PORT}"
# What boto3 does in a notebook, with what every server has: the credentials that the metadata service hands out sign the call.
CALL = """
import datetime, hashlib, hmac, json, sys, urllib.error, urllib.parse, urllib.request

def get(path, method="GET", **headers):
    request = urllib.request.Request("http://169.254.169.254/latest/" + path, method=method, headers=headers)
    return urllib.request.urlopen(request, timeout=5).read().decode()

service, method, url, body, more = json.loads(sys.argv[1])
token = {"X-aws-ec2-metadata-token": get("api/token", "PUT", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})}
path = "meta-data/iam/security-credentials/"
role = json.loads(get(path + get(path, **token), **token))
parts, payload = urllib.parse.urlsplit(url), body.encode()
now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
digest = hashlib.sha256(payload).hexdigest()
headers = {"host": parts.netloc, "x-amz-date": now, "x-amz-security-token": role["Token"], "x-amz-content-sha256": digest, **more}
names = sorted(name.lower() for name in headers)
lower = {name.lower(): value for name, value in headers.items()}
query = "&".join(sorted(one if "=" in one else one + "=" for one in parts.query.split("&") if one))
lines = [method, parts.path or "/", query, *[f"{name}:{lower[name]}" for name in names], "", ";".join(names), digest]
scope = f"{now[:8]}/us-west-2/{service}/aws4_request"
text = "\\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256("\\n".join(lines).encode()).hexdigest()])
key = ("AWS4" + role["SecretAccessKey"]).encode()
for part in scope.split("/"):
    key = hmac.new(key, part.encode(), "sha256").digest()
signature = hmac.new(key, text.encode(), "sha256").hexdigest()
who = f"AWS4-HMAC-SHA256 Credential={role['AccessKeyId']}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
request = urllib.request.Request(url, data=payload or None, method=method, headers={**headers, "Authorization": who})
try:
    answer = urllib.request.urlopen(request, timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.read().decode()]))
"""


def ask(site: Site, service: str, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
    """Call AWS from the server itself: the status, and what it answered."""
    call = json.dumps([service, method, f"{GATEWAY}/{path}", body, headers])
    done = subprocess.run(
        ["ssh", "-F", str(site.ssh_config), "-o", "BatchMode=yes", site.server, "python3", "-", shlex.quote(call)],
        input=CALL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    status, answer = json.loads(done.stdout)
    return status, answer


def s3(site: Site, method: str, path: str, body: str = "") -> tuple[int, str]:
    return ask(site, "s3", method, path, body, **{"Content-Type": "text/plain"})


def table(site: Site, action: str, request: dict[str, object]) -> tuple[int, str]:
    headers = {"X-Amz-Target": f"DynamoDB_20120810.{action}", "Content-Type": "application/x-amz-json-1.0"}
    return ask(site, "dynamodb", "POST", "", json.dumps(request), **headers)


@pytest.fixture(scope="module")
def allowed(server: Site) -> Site:
    """The server with a profile that was made for it."""
    planned = server.apply(
        "6-check", *settings(**WITH), "--check", playbook="playbooks/provision.yml", rights=("roles",)
    )
    assert planned.code == 0, planned.tail()
    buckets = {bucket["Name"] for bucket in server.client("s3").list_buckets()["Buckets"]}
    assert BUCKET not in buckets
    run = server.apply("6-profile", *settings(**WITH), playbook="playbooks/provision.yml", rights=("roles",))
    assert run.code == 0, run.tail()
    if OTHER not in buckets:
        server.client("s3").create_bucket(Bucket=OTHER, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    server.client("s3").put_object(Bucket=OTHER, Key="secret", Body=b"not for you")
    return server


def test_server_writes_and_reads_its_bucket(allowed: Site) -> None:
    assert s3(allowed, "PUT", f"{BUCKET}/answer", "forty-two")[0] == 200
    assert s3(allowed, "GET", f"{BUCKET}/answer") == (200, "forty-two")
    status, listed = s3(allowed, "GET", f"{BUCKET}?list-type=2")
    assert (status, "<Key>answer</Key>" in listed) == (200, True)
    assert s3(allowed, "DELETE", f"{BUCKET}/answer")[0] == 204


def test_server_is_denied_all_else(allowed: Site) -> None:
    others = [("GET", f"{OTHER}/secret"), ("GET", f"{OTHER}?list-type=2"), ("GET", ""), ("GET", f"{BUCKET}?policy")]
    for method, path in [*others, ("DELETE", BUCKET), ("PUT", "life-6-new")]:
        status, answer = s3(allowed, method, path)
        assert (status, "AccessDenied" in answer) == (403, True), (method, path, answer)


def test_table_is_read_and_not_written(allowed: Site) -> None:
    allowed.client("dynamodb").put_item(TableName=TABLE, Item={"id": {"S": "one"}, "value": {"N": "42"}})
    key: dict[str, object] = {"TableName": TABLE, "Key": {"id": {"S": "one"}}}
    status, answer = table(allowed, "GetItem", key)
    assert (status, json.loads(answer)["Item"]["value"]) == (200, {"N": "42"})
    status, answer = table(allowed, "DeleteItem", key)
    assert (status, "not authorized to perform: dynamodb:DeleteItem" in answer) == (400, True)


def test_again_changes_nothing_and_the_alarm_is_there(allowed: Site) -> None:
    again = allowed.apply("6-again", *settings(**WITH), playbook="playbooks/provision.yml", rights=("roles",))
    assert again.changes_nothing(), again.tail()
    (alarm,) = allowed.client("cloudwatch").describe_alarms(AlarmNames=[f"{PROFILE}-idle"])["MetricAlarms"]
    assert alarm["Dimensions"][0]["Value"] == allowed.record["instance_id"]


def test_taken_out_of_the_settings(allowed: Site) -> None:
    run = allowed.apply("6-without", *settings(), playbook="playbooks/provision.yml", rights=("roles",))
    assert run.code == 0, run.tail()
    assert s3(allowed, "GET", f"{BUCKET}?list-type=2")[0] == 403
    assert allowed.client("cloudwatch").describe_alarms(AlarmNames=[f"{PROFILE}-idle"])["MetricAlarms"] == []
    # What holds data is never deleted.
    allowed.client("s3").head_bucket(Bucket=BUCKET)
    assert allowed.client("dynamodb").describe_table(TableName=TABLE)

"""What the modules share that stop, start and resize a server: finding it, waiting for it, and words for what went wrong."""

from __future__ import annotations

import time
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import by_tags, instances, tags_of

PAUSE = 3  # seconds between two looks
# So many looks may still show what was before a call: AWS tells of changes a little late.
LATE = 4
# The tag that a resize leaves on a running server while it is stopped, so that a run that was cut off is finished by the next.
MARK = "ResizingFrom"


class Refusal(Exception):
    """A sentence for the person: why nothing was done."""


class Trouble(Exception):
    """An error of AWS, and how things are now."""

    def __init__(self, error: Exception, now: str) -> None:
        super().__init__(now)
        self.error, self.now = error, now


def made_up(code: str, message: str, call: str) -> Exception:
    """An error of AWS that it gave in another way than by answering a call."""
    return aws.ClientError({"Error": {"Code": code, "Message": message}}, call)


def code_of(error: Exception) -> str:
    """The code that AWS gave an error, or nothing."""
    return str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))


def facts(instance: dict[str, Any]) -> dict[str, Any]:
    """What is decided by, of an instance."""
    return {
        "id": instance["InstanceId"],
        "state": instance["State"]["Name"],
        "type": instance["InstanceType"],
        "zone": instance["Placement"]["AvailabilityZone"],
        "public_ip": instance.get("PublicIpAddress", ""),
        "spot": instance.get("InstanceLifecycle", "") == "spot",
        "tags": tags_of(instance),
    }


def the_instance(ec2: Any, project: str, name: str) -> dict[str, Any]:
    """The one instance with a server's tags, as AWS describes it. None, or more than one, is refused."""
    if not project or not name:
        raise Refusal("project and name must not be empty: they are what tells this server from all others.")
    found = [i for i in instances(ec2, by_tags(project, name)) if i["State"]["Name"] != "shutting-down"]
    if not found:
        raise Refusal(
            f"There is no server {name} of the project {project} in {ec2.meta.region_name}: "
            f"`ansible-playbook site.yml -l {name}` launches one; if it is elsewhere, correct ec2_provision_region."
        )
    if len(found) > 1:
        ids = ", ".join(i["InstanceId"] for i in found)
        raise Refusal(
            f"{len(found)} instances bear the tags of {name} ({ids}): remove the tag Project from those that are not it, or "
            "terminate them. Nothing was done."
        )
    return found[0]


def look(ec2: Any, instance_id: str) -> dict[str, Any]:
    """One instance now; AWS says itself when there is none."""
    found = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    return dict(found[0]["Instances"][0])


def wait(ec2: Any, instance_id: str, wanted: str, seconds: float) -> dict[str, Any]:
    """Look until it is stopped, or runs. A start that AWS takes back for lack of room is an error as if it had said so at once."""
    until = time.monotonic() + seconds
    looks = 0
    while True:
        instance = look(ec2, instance_id)
        state, reason = instance["State"]["Name"], instance.get("StateReason") or {}
        if state == wanted:
            return instance
        if state in ("shutting-down", "terminated"):
            raise made_up("InvalidInstanceID.NotFound", f"{instance_id} was terminated meanwhile", "DescribeInstances")
        looks += 1
        if wanted == "running" and state == "stopped":
            said = str(reason.get("Code", ""))
            if said.startswith("Server.Insufficient") or looks > LATE:
                code = said.rpartition(".")[2] or "Stopped"
                raise made_up(code, reason.get("Message") or "it stopped again by itself", "StartInstances")
        if time.monotonic() > until:
            detail = f"{instance_id} is still {state} after {seconds:g} seconds"
            raise made_up("WaitedTooLong", detail, "DescribeInstances")
        time.sleep(PAUSE)


def stop(ec2: Any, instance_id: str, state: str, seconds: float) -> None:
    """Stop it from any state, and wait until it is."""
    if state == "pending":
        state = wait(ec2, instance_id, "running", seconds)["State"]["Name"]
    if state == "running":
        ec2.stop_instances(InstanceIds=[instance_id])
    if state != "stopped":
        wait(ec2, instance_id, "stopped", seconds)


def start(ec2: Any, instance_id: str, state: str, seconds: float) -> dict[str, Any]:
    """Start it from any state, and wait until it runs."""
    if state == "stopping":
        state = wait(ec2, instance_id, "stopped", seconds)["State"]["Name"]
    if state == "stopped":
        ec2.start_instances(InstanceIds=[instance_id])
    return wait(ec2, instance_id, "running", seconds)


def now(ec2: Any, name: str, instance_id: str) -> str:
    """A sentence on how a server is after something failed."""
    try:
        instance = look(ec2, instance_id)
    except (aws.ClientError, aws.BotoCoreError) as error:
        if code_of(error).startswith("InvalidInstanceID"):
            return f"{name} ({instance_id}) is not there any more."
        return f"How {name} ({instance_id}) is now, AWS would not say."
    return f"{name} ({instance_id}) is {instance['State']['Name']} as {instance['InstanceType']}."

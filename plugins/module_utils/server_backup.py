"""What the modules share that copy a server: the server to copy, and words for what went wrong."""

from __future__ import annotations

import datetime
from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible.module_utils.server_aws import by_tags, instances

# A run that was cut off so many minutes ago is finished rather than repeated.
FINISH_MINUTES = 30


class Trouble(Exception):
    """Something that a person has to know: what failed, what things are like now and what to do."""

    def __init__(self, doing: str, now: str, cause: Any = None) -> None:
        super().__init__(doing)
        self.doing, self.now, self.cause = doing, now, cause


def code_of(error: Any) -> str:
    """AWS's code of an error, or nothing."""
    return str(error.response["Error"]["Code"]) if isinstance(error, aws.ClientError) else ""


def recent(began: str, now: datetime.datetime) -> bool:
    """Whether a run that began then (as AWS writes times) may be finished now."""
    then = datetime.datetime.strptime(began[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.timezone.utc)  # noqa: UP017  # Python 3.9
    return now - then < datetime.timedelta(minutes=FINISH_MINUTES)


def instance_of(ec2: Any, project: str, name: str) -> dict[str, Any]:
    """A server's instance with its disks; empty when there is none."""
    found = [i for i in instances(ec2, by_tags(project, name)) if i["State"]["Name"] != "shutting-down"]
    if len(found) > 1:
        names = ", ".join(i["InstanceId"] for i in found)
        raise Trouble(
            f"{len(found)} instances bear the tags of {name} ({names})",
            "Nothing was changed. Remove the tag Project from those that are not it, then run the same command.",
        )
    for one in found:
        devices = {m["DeviceName"]: m["Ebs"]["VolumeId"] for m in one.get("BlockDeviceMappings", []) if m.get("Ebs")}
        return {
            "id": one["InstanceId"],
            "state": one["State"]["Name"],
            "type": one["InstanceType"],
            "zone": one["Placement"]["AvailabilityZone"],
            "root_device": one.get("RootDeviceName", ""),
            "root_volume": devices.get(one.get("RootDeviceName", ""), ""),
            "devices": devices,
        }
    return {}


def tell(module: Any, trouble: Trouble) -> None:
    """End the run with what a person has to know."""
    if trouble.cause is None:
        module.fail_json(msg=f"{trouble.doing}.", now=trouble.now)
    module.fail_json_aws(trouble.cause, msg=trouble.doing, now=trouble.now)

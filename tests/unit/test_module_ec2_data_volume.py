"""The data volume in an account in this process: found, made, grown, kept; every call failing once, every run cut off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import botocore.exceptions as aws
import pytest

from plugins.modules import ec2_server_info
from plugins.modules.ec2_data_volume import DEVICES, Job, Refused, data_problems
from tests.unit.cloud import IMAGE, Cloud, Cut, changing, cloud, codes

pytestmark = pytest.mark.slow

ZONE = "us-west-2a"
TAGS = {"Name": "demo", "Project": "nb", "ManagedBy": "ansible", "Owner": "ann"}
MINE = [{"Key": "Project", "Value": "nb"}, {"Key": "Name", "Value": "demo"}]


@pytest.fixture
def account() -> Iterator[Cloud]:
    """An account with nothing in it."""
    with cloud() as account:
        yield account


def launch(account: Cloud, zone: str = ZONE, name: str = "demo") -> str:
    """An instance of the server."""
    made = account.client().run_instances(
        ImageId=IMAGE,
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        Placement={"AvailabilityZone": zone},
        TagSpecifications=[
            {"ResourceType": kind, "Tags": [MINE[0], {"Key": "Name", "Value": name}]} for kind in ("instance", "volume")
        ],
    )
    account.calm()
    return str(made["Instances"][0]["InstanceId"])


def options(instance: str, **more: Any) -> dict[str, Any]:
    plain = {
        "project": "nb",
        "name": "demo",
        "instance_id": instance,
        "gb": 10,
        "snapshot_id": "",
        "data_sets": [],
        "tags": TAGS,
    }
    return {**plain, "remove": False, "wait_timeout": 0, **more}


def present(account: Cloud, instance: str, check: bool = False, **more: Any) -> dict[str, Any]:
    return Job(account.client(), options(instance, **more), check, pause=0).present()


def absent(account: Cloud, **more: Any) -> dict[str, Any]:
    return Job(account.client(), options("", **more), pause=0).absent()


def volumes(account: Cloud, role: str = "data", name: str = "demo*") -> list[dict[str, Any]]:
    wanted = [{"Name": "tag:Role", "Values": [role]}, {"Name": "tag:Name", "Values": [name]}]
    found: list[dict[str, Any]] = account.client().describe_volumes(Filters=wanted)["Volumes"]
    return found


def snapshot(account: Cloud, gb: int = 5) -> str:
    ec2 = account.client()
    volume = ec2.create_volume(AvailabilityZone=ZONE, Size=gb)["VolumeId"]
    made = str(ec2.create_snapshot(VolumeId=volume)["SnapshotId"])
    ec2.delete_volume(VolumeId=volume)
    account.calm()
    return made


def test_made_once_and_kept_as_declared(account: Cloud) -> None:
    instance = launch(account)
    planned = present(account, instance, check=True)
    assert planned["steps"] == ["make a data volume of 10 GB in us-west-2a", "attach the data volume"]
    assert volumes(account) == []
    result = present(account, instance)
    assert result["changed"]
    [volume] = volumes(account)
    assert result["volume"] == {"id": volume["VolumeId"], "gb": 10, "zone": ZONE, "device": DEVICES[0]}
    assert (volume["Encrypted"], volume["VolumeType"], volume["Size"]) == (True, "gp3", 10)
    assert {tag["Key"]: tag["Value"] for tag in volume["Tags"]} == TAGS | {"Role": "data"}
    assert volume["Attachments"][0]["InstanceId"] == instance
    again = present(account, instance)
    assert (again["changed"], again["steps"], again["volume"]) == (False, [], result["volume"])


def test_before_the_launch_only_a_plan(account: Cloud) -> None:
    assert present(account, "", check=True)["steps"] == ["make a data volume of 10 GB", "attach the data volume"]
    assert changing(account.calls) == []


def test_grown_and_never_shrunk(account: Cloud) -> None:
    instance = launch(account)
    made = present(account, instance)["volume"]
    assert present(account, instance, check=True, gb=20)["steps"] == [f"grow {made['id']} from 10 to 20 GB"]
    grown = present(account, instance, gb=20)
    assert (grown["volume"]["id"], grown["volume"]["gb"]) == (made["id"], 20)
    assert not present(account, instance, gb=20)["changed"]
    with pytest.raises(
        Refused, match=r"has 20 GB, and a disk cannot shrink: set ec2_provision_data_volume_gb to 20 or more"
    ):
        present(account, instance, gb=19)


def test_the_next_instance_gets_the_volume_of_the_first(account: Cloud) -> None:
    first = launch(account)
    made = present(account, first)["volume"]
    account.client().terminate_instances(InstanceIds=[first])
    assert present(account, "", check=True)["volume"]["zone"] == ZONE
    second = launch(account)
    result = present(account, second)
    assert result["steps"] == [f"attach the data volume {made['id']}"]
    assert result["volume"]["id"] == made["id"]
    assert [v["Attachments"][0]["InstanceId"] for v in volumes(account)] == [second]


def test_it_stays_when_somebody_said_that_it_goes(account: Cloud) -> None:
    instance = launch(account)
    made = present(account, instance)["volume"]
    account.client().modify_instance_attribute(
        InstanceId=instance,
        BlockDeviceMappings=[{"DeviceName": made["device"], "Ebs": {"DeleteOnTermination": True}}],
    )
    assert present(account, instance)["steps"] == [f"{made['id']} stays when demo is terminated"]
    account.client().terminate_instances(InstanceIds=[instance])
    assert [volume["VolumeId"] for volume in volumes(account)] == [made["id"]]


def test_another_zone_is_refused(account: Cloud) -> None:
    present(account, launch(account))
    with pytest.raises(Refused, match=r"lies in us-west-2a and its instance in us-west-2b.*make a snapshot"):
        other = launch(account, "us-west-2b")
        present(account, other)


def test_two_of_them_or_none_wanted_are_refused(account: Cloud) -> None:
    instance = launch(account)
    made = present(account, instance)["volume"]
    with pytest.raises(
        Refused, match=f"has a data volume \\({made['id']}, 10 GB\\), and without it its data would be missing"
    ):
        present(account, instance, gb=0)
    tags = [*MINE, {"Key": "Role", "Value": "data"}]
    other = account.client().create_volume(
        AvailabilityZone=ZONE, Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )["VolumeId"]
    with pytest.raises(Refused, match=r"2 volumes bear the tags of the data volume of demo"):
        present(account, instance)
    assert {volume["VolumeId"] for volume in volumes(account)} == {made["id"], other}


def test_one_that_another_instance_has_is_refused(account: Cloud) -> None:
    first = launch(account)
    made = present(account, first)["volume"]
    second = launch(account)
    with pytest.raises(
        Refused, match=f"The data volume {made['id']} of demo is attached to another instance, {first} .running."
    ):
        present(account, second)
    assert volumes(account)[0]["Attachments"][0]["InstanceId"] == first


def test_an_instance_that_is_gone(account: Cloud) -> None:
    instance = launch(account)
    account.client().terminate_instances(InstanceIds=[instance])
    with pytest.raises(Refused, match=r"is gone: run site.yml to launch it again"):
        present(account, instance)
    assert volumes(account) == []


def test_from_a_snapshot(account: Cloud) -> None:
    instance, source = launch(account), snapshot(account)
    with pytest.raises(
        Refused, match=f"{source} is of a disk of 5 GB and ec2_provision_data_volume_gb is 4: give at least 5"
    ):
        present(account, instance, gb=4, snapshot_id=source)
    assert volumes(account) == []
    result = present(account, instance, snapshot_id=source)
    assert result["steps"][0] == f"make a data volume of 10 GB from {source} in us-west-2a"
    assert volumes(account)[0]["SnapshotId"] == source
    # Once it is there the snapshot does not matter any more.
    assert not present(account, instance, snapshot_id="snap-00000000000000000")["changed"]


def test_data_sets_come_and_go_with_the_server(account: Cloud) -> None:
    instance, source = launch(account), snapshot(account)
    sets = [{"name": "genomes", "snapshot_id": source}, {"name": "climate", "snapshot_id": source}]
    result = present(account, instance, data_sets=sets)
    assert [(one["name"], one["gb"], one["device"]) for one in result["data_sets"]] == [
        ("genomes", 5, DEVICES[1]),
        ("climate", 5, DEVICES[2]),
    ]
    assert not present(account, instance, data_sets=sets)["changed"]
    with pytest.raises(Refused, match=r"The data set climate of demo was made from"):
        present(account, instance, data_sets=[{"name": "climate", "snapshot_id": "snap-1"}])
    account.client().terminate_instances(InstanceIds=[instance])
    assert volumes(account, "dataset") == []
    assert len(volumes(account)) == 1


def test_a_data_set_in_another_zone_is_made_again(account: Cloud) -> None:
    first, source = launch(account), snapshot(account)
    wanted: dict[str, Any] = {"gb": 0, "data_sets": [{"name": "genomes", "snapshot_id": source}]}
    made = present(account, first, **wanted)["data_sets"][0]
    account.client().detach_volume(VolumeId=made["id"], InstanceId=first)
    account.client().terminate_instances(InstanceIds=[first])
    result = present(account, launch(account, "us-west-2b"), **wanted)
    assert result["data_sets"][0]["zone"] == "us-west-2b"
    assert [volume["VolumeId"] for volume in volumes(account, "dataset")] == [result["data_sets"][0]["id"]]


def test_absent_keeps_the_data_unless_told(account: Cloud) -> None:
    instance, source = launch(account), snapshot(account)
    made = present(account, instance, data_sets=[{"name": "genomes", "snapshot_id": source}])
    account.client().detach_volume(VolumeId=made["data_sets"][0]["id"], InstanceId=instance)
    account.client().terminate_instances(InstanceIds=[instance])
    result = absent(account)
    assert result["steps"] == [f"delete {made['data_sets'][0]['id']} (genomes, 5 GB)"]
    assert result["volume"]["id"] == made["volume"]["id"]
    assert (len(volumes(account)), volumes(account, "dataset")) == (1, [])
    assert absent(account, remove=True)["steps"] == [f"delete {made['volume']['id']} (the data volume, 10 GB)"]
    assert volumes(account) == []
    assert not absent(account, remove=True)["changed"]


def test_absent_does_not_take_it_from_a_server_that_runs(account: Cloud) -> None:
    present(account, launch(account))
    with pytest.raises(Refused, match=r"is attached to another instance"):
        absent(account, remove=True)
    assert len(volumes(account)) == 1


def test_no_other_servers_volume_is_ever_touched(account: Cloud) -> None:
    instance = launch(account)
    other = [{"Key": "Project", "Value": "nb"}, {"Key": "Name", "Value": "demo2"}, {"Key": "Role", "Value": "data"}]
    account.client().create_volume(
        AvailabilityZone=ZONE, Size=7, TagSpecifications=[{"ResourceType": "volume", "Tags": other}]
    )
    present(account, instance)
    assert sorted(volume["Size"] for volume in volumes(account)) == [7, 10]
    account.client().terminate_instances(InstanceIds=[instance])
    absent(account, remove=True)
    assert [volume["Size"] for volume in volumes(account)] == [7]


def test_a_data_volume_is_not_mistaken_for_the_systems_disk(account: Cloud) -> None:
    instance = launch(account)
    root = account.client().describe_volumes()["Volumes"][0]["VolumeId"]
    made = present(account, instance, gb=500)["volume"]
    found = ec2_server_info.survey(account.client(), {"project": "nb", "name": "demo", "resource_name": "nb-demo"}, {})
    assert found["instances"][0]["root_volume_id"] == root
    assert found["instances"][0]["disk_gb"] < 500
    assert found["data_volumes"] == [{"id": made["id"], "role": "data"}]


def test_problems_before_a_launch() -> None:
    volume = {"VolumeId": "vol-1", "Size": 10, "AvailabilityZone": ZONE}
    assert data_problems("demo", [], 10, "") == data_problems("demo", [volume], 10, "") == []
    assert "cannot shrink" in data_problems("demo", [volume], 5, "")[0]


# Faults: the whole of it, with a volume to grow and a data set.


def work(account: Cloud, instance: str, source: str, name: str = "demo") -> dict[str, Any]:
    """All that the module does: make, attach, grow, data set, keep."""
    present(account, instance, gb=10, name=name)
    return present(account, instance, gb=20, data_sets=[{"name": "genomes", "snapshot_id": source}], name=name)


@pytest.fixture
def sweep(account: Cloud) -> list[str]:
    """The calls of that, in their order."""
    instance, source = launch(account, name="undisturbed"), snapshot(account)
    work(account, instance, source, "undisturbed")
    return list(account.calls)


VANISHED = {
    "DescribeInstances": "InvalidInstanceID.NotFound",
    "AttachVolume": "InvalidVolume.NotFound",
    "DescribeVolumes": "InvalidVolume.NotFound",
    "ModifyVolume": "InvalidVolume.NotFound",
    "DescribeSnapshots": "InvalidSnapshot.NotFound",
    "CreateVolume": "InvalidSnapshot.NotFound",
    "DescribeVolumesModifications": "InvalidVolumeModification.NotFound",
    "ModifyInstanceAttribute": "InvalidInstanceID.NotFound",
}


def one_of_each(account: Cloud, instance: str, source: str, name: str) -> None:
    """Run again: everything is there, once, and what holds data outlives the instance."""
    account.calm()
    result = present(account, instance, gb=20, data_sets=[{"name": "genomes", "snapshot_id": source}], name=name)
    [data], [dataset] = volumes(account, name=name), volumes(account, "dataset", name)
    assert (data["Size"], data["Attachments"][0]["InstanceId"]) == (20, instance)
    assert dataset["Attachments"][0]["InstanceId"] == instance
    assert result["volume"]["id"] == data["VolumeId"]
    account.client().terminate_instances(InstanceIds=[instance])
    assert (len(volumes(account, name=name)), volumes(account, "dataset", name)) == (1, [])


@pytest.mark.parametrize(
    "code", codes("UnauthorizedOperation", "RequestLimitExceeded", "InsufficientVolumeCapacity", "it vanished")
)
def test_every_call_fails_once(account: Cloud, sweep: list[str], code: str) -> None:
    source = snapshot(account)
    for number, call in enumerate(sweep, 1):
        name = f"demo{number}"
        instance = launch(account, name=name)
        account.fail_at, account.code = number, VANISHED[call] if code == "it vanished" else code
        with pytest.raises((aws.ClientError, Refused)) as error:
            work(account, instance, source, name)
        # What AWS said, or a sentence that says what to type.
        assert account.code in str(error.value) or "run the same command again" in str(error.value)
        one_of_each(account, instance, source, name)


def test_cut_off_after_every_change(account: Cloud, sweep: list[str]) -> None:
    source = snapshot(account)
    for number in changing(sweep):
        name = f"demo{number}"
        instance = launch(account, name=name)
        account.cut_at = number
        with pytest.raises(Cut):
            work(account, instance, source, name)
        one_of_each(account, instance, source, name)


def left_over(account: Cloud, name: str) -> None:
    """A data volume and a data set of a server that is gone."""
    instance, source = launch(account, name=name), snapshot(account)
    made = present(account, instance, data_sets=[{"name": "genomes", "snapshot_id": source}], name=name)
    account.client().detach_volume(VolumeId=made["data_sets"][0]["id"], InstanceId=instance)
    account.client().terminate_instances(InstanceIds=[instance])
    account.calm()


@pytest.mark.parametrize(
    "code", codes("UnauthorizedOperation", "InvalidVolume.NotFound", "RequestLimitExceeded", "VolumeInUse")
)
def test_every_call_of_a_removal_fails_once(account: Cloud, code: str) -> None:
    for number in range(1, 5):
        name = f"demo{number}"
        left_over(account, name)
        account.fail_at, account.code = number, code
        try:
            absent(account, remove=True, name=name)
        except aws.ClientError as error:
            assert code in str(error)
        else:
            assert code == "InvalidVolume.NotFound" and number > 2
        account.calm()
        absent(account, remove=True, name=name)
        # One that AWS said was gone is found by the next run if it is not.
        assert volumes(account, name=name) == volumes(account, "dataset", name) == []


def test_a_removal_that_is_cut_off(account: Cloud) -> None:
    for number in (3, 4):
        name = f"demo{number}"
        left_over(account, name)
        account.cut_at = number
        with pytest.raises(Cut):
            absent(account, remove=True, name=name)
        account.calm()
        absent(account, remove=True, name=name)
        assert volumes(account, name=name) == volumes(account, "dataset", name) == []


class Slow:
    """A client whose volumes take a while: their states come one after the other."""

    def __init__(self, client: Any, states: list[str], modification: list[str]) -> None:
        self.client, self.states, self.modification, self.asked = client, states, modification, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def describe_volumes(self, **request: Any) -> Any:
        answer = self.client.describe_volumes(**request)
        if "VolumeIds" in request and self.states:
            state = self.states.pop(0)
            if state == "unknown":
                raise aws.ClientError(
                    {"Error": {"Code": "InvalidVolume.NotFound", "Message": "not yet"}}, "DescribeVolumes"
                )
            answer["Volumes"][0]["State"] = state
        return answer

    def describe_volumes_modifications(self, **request: Any) -> Any:
        if not self.modification:
            return self.client.describe_volumes_modifications(**request)
        return {"VolumesModifications": [{"TargetSize": 20, "ModificationState": self.modification.pop(0)}]}

    def modify_volume(self, **request: Any) -> Any:
        self.asked += 1
        return self.client.modify_volume(**request)


def test_what_takes_its_time_is_waited_for(account: Cloud) -> None:
    instance = launch(account)
    slow = Slow(account.client(), ["unknown", "creating", "creating"], [])
    assert Job(slow, options(instance, wait_timeout=5), pause=0).present()["volume"]["gb"] == 10
    assert slow.states == []


def test_one_that_cannot_be_made_is_said(account: Cloud) -> None:
    instance = launch(account)
    with pytest.raises(Refused, match=r"AWS failed to make the volume vol-.*delete it"):
        Job(Slow(account.client(), ["error"], []), options(instance), pause=0).present()


def test_a_growth_that_is_under_way_is_not_asked_for_twice(account: Cloud) -> None:
    instance = launch(account)
    present(account, instance)
    slow = Slow(account.client(), [], ["modifying", "modifying", "optimizing"])
    Job(slow, options(instance, gb=20, wait_timeout=5), pause=0).present()
    assert (slow.asked, slow.modification) == (0, [])


def test_a_growth_that_fails_is_said(account: Cloud) -> None:
    instance = launch(account)
    present(account, instance)
    with pytest.raises(Refused, match=r"AWS could not grow vol-.*it has 10 GB as before"):
        Job(Slow(account.client(), [], ["modifying", "failed"]), options(instance, gb=20), pause=0).present()


class Recorder:
    """A client that does not show what was just made, as AWS for a moment, and remembers what was asked."""

    def __init__(self, client: Any) -> None:
        self.client, self.tokens = client, []  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def create_volume(self, **request: Any) -> Any:
        self.tokens.append(request["ClientToken"])
        raise Cut


def test_the_same_wish_has_the_same_token(account: Cloud) -> None:
    instance, other = launch(account), launch(account)
    recorder = Recorder(account.client())
    for wish in (options(instance), options(instance), options(other), options(instance, gb=11)):
        with pytest.raises(Cut):
            Job(recorder, wish, pause=0).present()
    assert len(recorder.tokens) == 4
    assert recorder.tokens[0] == recorder.tokens[1]
    assert len(set(recorder.tokens)) == 3
    assert max(map(len, recorder.tokens)) <= 64

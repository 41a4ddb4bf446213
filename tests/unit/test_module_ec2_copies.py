"""Backups, restores and images against an account in this process: every call fails once, and every run is cut off at every change."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import botocore.exceptions as aws
import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import amis, ec2_backends

from lab import copies
from plugins.filter import backup as words
from plugins.module_utils import server_backup
from plugins.modules import ec2_backup, ec2_image, ec2_restore
from tests.unit.cloud import IMAGE, REGION, Cloud, Cut, changing, cloud

pytestmark = pytest.mark.slow

PROJECT = "notebooks"
NOW = datetime.datetime.now(datetime.UTC)
NOT_FOUND = {
    "Snapshot": "InvalidSnapshot.NotFound",
    "Volume": "InvalidVolume.NotFound",
    "Image": "InvalidAMIID.NotFound",
}
PRICES = {"regions": {REGION: {"snapshot_gb_month": 0.05, "gp3_gb_month": 0.08}}}
Trouble = server_backup.Trouble
# Each case has a server of its own; a new account for each would take a second.
case = {"number": 0}


# What a sweep tries: each call with one error, in turn; and then with all others where something changes.
SWEEPS = pytest.mark.parametrize("rest", [False, pytest.param(True, marks=pytest.mark.extended)], ids=["one", "rest"])


def faults(calls: list[str], rest: bool, *more: str) -> Iterator[tuple[int, str]]:
    """Each call by its number, with the errors that it is to have."""
    for number, call in enumerate(calls, 1):
        missing = next((code for part, code in NOT_FOUND.items() if part in call), "InvalidVolume.NotFound")
        codes = ["UnauthorizedOperation", "RequestLimitExceeded", missing, *more]
        turn = codes[number % 3]
        if not rest:
            yield number, turn
        elif number in changing(calls):
            yield from ((number, code) for code in codes if code != turn)


def name() -> str:
    """The server of this case."""
    return f"demo{case['number']}"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """An account that makes images as the lab's and AWS's do."""

    def wrap(owner: Any, name: str) -> Callable[[Callable[..., Any]], None]:
        original = getattr(owner, name)

        def install(function: Callable[..., Any]) -> None:
            monkeypatch.setattr(owner, name, lambda self, *args, **kwargs: function(original, self, *args, **kwargs))

        return install

    def create(original: Any, self: Any, *args: Any, tag_specifications: Any, **kwargs: Any) -> Any:
        return original(self, *args, tag_specifications=[t for t in tag_specifications if t["ResourceType"] == "image"])

    wrap(amis.AmiBackend, "create_image")(create)
    copies.apply(wrap)
    disks = property(
        lambda self: [
            {"DeviceName": d, "Ebs": {"SnapshotId": s.id, "VolumeSize": s.volume.size}}
            for d, s in getattr(self, "disks", {}).items()
        ]
    )
    monkeypatch.setattr(amis.Ami, "block_device_mappings", disks)
    with cloud(image=True) as made:
        yield made


def backend() -> Any:
    return ec2_backends[DEFAULT_ACCOUNT_ID][REGION]


def tags(**more: str) -> list[dict[str, str]]:
    every = {"Project": PROJECT, "Name": name(), "ManagedBy": "ansible", **more}
    return [{"Key": key, "Value": value} for key, value in every.items()]


def server(ec2: Any, data_gb: int = 0, called: str = "") -> dict[str, Any]:
    """A server, with a data volume if it has a size."""
    made = ec2.run_instances(
        ImageId=IMAGE,
        InstanceType="t3.small",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags(Name=called or name())}],
    )["Instances"][0]
    volume = ""
    if data_gb:
        specification = [{"ResourceType": "volume", "Tags": tags(Role="data", Name=called or name())}]
        zone = made["Placement"]["AvailabilityZone"]
        volume = ec2.create_volume(
            Size=data_gb, AvailabilityZone=zone, VolumeType="gp3", TagSpecifications=specification
        )["VolumeId"]
        ec2.attach_volume(VolumeId=volume, InstanceId=made["InstanceId"], Device="/dev/sdf")
    return {"id": made["InstanceId"], "volume": volume, "zone": made["Placement"]["AvailabilityZone"]}


def old_snapshot(ec2: Any, volume: str, days: float, status: str = "completed", **more: str) -> str:
    """A backup of some days ago."""
    specification = [
        {"ResourceType": "snapshot", "Tags": tags(**{"Role": "backup", "Of": "data", "Finished": "yes", **more})}
    ]
    made = str(ec2.create_snapshot(VolumeId=volume, TagSpecifications=specification)["SnapshotId"])
    backend().snapshots[made].start_time = NOW - datetime.timedelta(days=days)
    backend().snapshots[made].status = status
    return made


def options(**more: Any) -> dict[str, Any]:
    plain = {
        "project": PROJECT,
        "name": name(),
        "tags": {},
        "wait_timeout": 0,
        "delay": 0,
        "os": "debian13",
        "reboot": True,
    }
    return {**plain, "keep": 2, "source": "", "snapshot": "latest", "step": "plan", **more}


# Backups.


def back_up(account: Cloud, now: datetime.datetime = NOW, keep: int = 2) -> dict[str, Any]:
    """What the module does in one run."""
    ec2 = account.client()
    found = ec2_backup.find(ec2, PROJECT, name())
    planned = ec2_backup.plan(found, keep, now)
    return {**found, **planned, **ec2_backup.apply(ec2, found, planned, options(keep=keep))}


def history(account: Cloud) -> dict[str, str]:
    """A server with three complete backups, one that failed, and a backup of another server."""
    ec2 = account.client()
    demo = server(ec2, data_gb=4)
    made = {f"day{days}": old_snapshot(ec2, demo["volume"], days) for days in (1, 2, 3)}
    made["broken"] = old_snapshot(ec2, demo["volume"], 0.5, status="error")
    made["foreign"] = old_snapshot(ec2, demo["volume"], 9, Name="other")
    account.calm()
    return {**made, **demo}


def test_a_backup_is_of_the_data_volume_and_keeps_the_newest(account: Cloud) -> None:
    """The failed one is named and not counted; those of others are not touched."""
    before = history(account)
    result = back_up(account)
    assert result["volume"]["id"] == before["volume"]
    assert (result["removed"], result["broken"]) == ([before["day2"], before["day3"]], [before["broken"]])
    left = {one["id"]: one for one in ec2_backup.find(account.client(), PROJECT, name())["snapshots"]}
    assert set(left) == {before["day1"], before["broken"], result["snapshot"]["id"]}
    assert not left[result["snapshot"]["id"]]["unfinished"]
    assert before["foreign"] in backend().snapshots


def test_without_a_data_volume_the_system_is_saved(account: Cloud) -> None:
    ec2 = account.client()
    demo = server(ec2)
    result = back_up(account)
    assert result["volume"]["role"] == "root"
    assert result["volume"]["id"] in backend().get_instance(demo["id"]).block_device_mapping["/dev/sda1"].volume_id


def test_the_data_volume_of_a_server_that_is_gone_can_be_saved(account: Cloud) -> None:
    ec2 = account.client()
    demo = server(ec2, data_gb=4)
    ec2.detach_volume(VolumeId=demo["volume"], InstanceId=demo["id"])
    ec2.terminate_instances(InstanceIds=[demo["id"]])
    result = back_up(account)
    assert (result["instance"], result["volume"]["id"]) == ({}, demo["volume"])


def test_a_backup_that_is_still_pending_removes_nothing(account: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as there, but not as good; when it is complete it takes its place."""
    before = history(account)
    original = ec2_backup.create

    def slow(*arguments: Any) -> str:
        made = original(*arguments)
        backend().snapshots[made].status = "pending"
        return made

    monkeypatch.setattr(ec2_backup, "create", slow)
    result = back_up(account)
    assert (result["snapshot"]["state"], result["removed"]) == ("pending", [])
    assert "still copying" in words.backup_done(result, name())[0]
    monkeypatch.setattr(ec2_backup, "create", original)
    # An hour later it is a backup like any other, not complete yet.
    later = ec2_backup.plan(ec2_backup.find(account.client(), PROJECT, name()), 2, NOW + datetime.timedelta(hours=1))
    assert (later["pending"], later["finishes"]) == ([result["snapshot"]["id"]], "")
    backend().snapshots[result["snapshot"]["id"]].status = "completed"
    again = back_up(account)
    assert again["snapshot"]["id"] == result["snapshot"]["id"]
    assert again["removed"] == [before["day2"], before["day3"]]


def test_a_snapshot_that_aws_cannot_complete_is_said_and_removes_nothing(
    account: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = history(account)
    original = ec2_backup.create

    def broken(*arguments: Any) -> str:
        made = original(*arguments)
        backend().snapshots[made].status = "error"
        return made

    monkeypatch.setattr(ec2_backup, "create", broken)
    with pytest.raises(Trouble) as trouble:
        back_up(account)
    assert "no older one was removed" in trouble.value.now
    assert {before["day1"], before["day2"], before["day3"]} <= set(backend().snapshots)


def test_a_snapshot_that_an_image_needs_stays(account: Cloud) -> None:
    before = history(account)
    backend().snapshots[before["day3"]].from_ami = IMAGE
    result = back_up(account)
    assert (result["removed"], result["in_use"]) == ([before["day2"]], [before["day3"]])
    assert "an image needs it" in words.backup_done(result, name())[1]


def test_two_data_volumes_or_instances_are_refused(account: Cloud) -> None:
    ec2 = account.client()
    server(ec2, data_gb=4)
    zone = f"{REGION}a"
    for _ in range(2):
        ec2.create_volume(
            Size=1,
            AvailabilityZone=zone,
            VolumeType="gp3",
            TagSpecifications=[{"ResourceType": "volume", "Tags": tags(Role="data", Name="two")}],
        )
    with pytest.raises(Trouble, match="2 volumes have the tag Role=data of two"):
        ec2_backup.find(ec2, PROJECT, "two")
    server(ec2)
    with pytest.raises(Trouble, match="2 instances bear the tags"):
        ec2_backup.find(ec2, PROJECT, name())


def backups_are_whole(account: Cloud, before: dict[str, str]) -> None:
    """One new backup, the newest former one, and nothing of anyone else's gone."""
    account.calm()
    found = ec2_backup.find(account.client(), PROJECT, name())["snapshots"]
    good = [one["id"] for one in found if one["state"] == "completed"]
    assert len(good) == 2
    assert good[1] == before["day1"]
    assert {before["broken"], before["foreign"]} <= set(backend().snapshots)
    assert not any(one["unfinished"] for one in found)


def calls_of(work: Callable[[Cloud], Any], prepare: Callable[[Cloud], Any], account: Cloud) -> list[str]:
    """The calls of a run in which nothing goes wrong."""
    prepare(account)
    work(account)
    return list(account.calls)


def fresh(account: Cloud) -> None:
    """From here on another server is meant."""
    case["number"] += 1
    account.calm()


@SWEEPS
def test_every_call_of_a_backup_fails_once(account: Cloud, rest: bool) -> None:
    calls = calls_of(back_up, history, account)
    tried = 0
    for number, code in faults(calls, rest):
        fresh(account)
        before = history(account)
        account.fail_at, account.code = number, code
        tried += 1
        try:
            back_up(account)
        except Trouble as trouble:
            assert trouble.now.endswith(("again.", "it.", "leave it.")), trouble.now
        except aws.ClientError:
            assert calls[number - 1].startswith("Describe")
        else:
            # It is taken for gone, as if it were; the next backup removes it.
            assert code.endswith("NotFound") and number in changing(calls), (number, calls[number - 1], code)
            continue
        account.calm()
        back_up(account)
        backups_are_whole(account, before)
    print(f"{tried} faults in {len(calls)} calls: {calls}")


def test_a_backup_is_cut_off_at_every_change(account: Cloud) -> None:
    """The next run finishes it: no second snapshot."""
    calls = calls_of(back_up, history, account)
    places = changing(calls)
    for number in places[:-1]:
        fresh(account)
        before = history(account)
        account.cut_at = number
        with pytest.raises(Cut):
            back_up(account)
        account.calm()
        planned = ec2_backup.plan(ec2_backup.find(account.client(), PROJECT, name()), 2, NOW)
        assert planned["finishes"], calls[number - 1]
        back_up(account)
        backups_are_whole(account, before)
    assert calls[places[-1] - 1] == "CreateTags"  # after which all is done
    print(f"cut at {len(places)} places")


# Images.


def bake(account: Cloud, now: datetime.datetime = NOW, keep: int = 2, reboot: bool = True) -> dict[str, Any]:
    """What the module does in one run."""
    ec2 = account.client()
    found = {**ec2_image.find(ec2, PROJECT, name()), "name": f"{PROJECT}-{name()}"}
    planned = ec2_image.plan(found, keep, now)
    return {**found, **planned, **ec2_image.apply(ec2, found, planned, options(keep=keep, reboot=reboot))}


def images_before(account: Cloud) -> dict[str, Any]:
    """A server with a data volume and three images, and an image of another server."""
    ec2 = account.client()
    demo = server(ec2, data_gb=4)
    made = {}
    for days, whose in ((1, name()), (2, name()), (3, name()), (4, "other")):
        every = tags(Role="image", Os="debian13", Name=whose, Finished="yes")
        image = ec2.create_image(
            InstanceId=demo["id"],
            Name=f"{name()}-old{days}",
            NoReboot=True,
            BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "NoDevice": ""}],
            TagSpecifications=[{"ResourceType": kind, "Tags": every} for kind in ("image", "snapshot")],
        )["ImageId"]
        backend().amis[image].creation_date = NOW - datetime.timedelta(days=days)
        made[f"day{days}"] = image
    account.calm()
    return {**made, **demo}


def test_an_image_is_of_the_system_only_and_keeps_the_newest(account: Cloud) -> None:
    """Image and snapshot are tagged, the older ones go with their snapshots."""
    before = images_before(account)
    result = bake(account)
    assert result["removed"] == [before["day2"], before["day3"]]
    assert result["image"]["os"] == "debian13"
    (snapshot,) = result["image"]["snapshots"]
    found = account.client().describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
    assert {"Key": "Role", "Value": "image"} in found["Tags"]
    images_are_whole(account, before)


def images_are_whole(account: Cloud, before: dict[str, Any]) -> None:
    """One new image, the newest former one, their snapshots and no others."""
    account.calm()
    ec2 = account.client()
    found = ec2_image.find(ec2, PROJECT, name())
    assert len(found["images"]) == 2, found["images"]
    assert found["images"][1]["id"] == before["day1"]
    assert found["orphans"] == []
    assert not any(one["unfinished"] for one in found["images"])
    mine = ec2.describe_snapshots(Filters=[{"Name": "tag:Name", "Values": [name()]}])["Snapshots"]
    assert {one["SnapshotId"] for one in mine} == {s for one in found["images"] for s in one["snapshots"]}
    assert before["day4"] in backend().amis


@SWEEPS
def test_every_call_of_a_bake_fails_once(account: Cloud, rest: bool) -> None:
    calls = calls_of(bake, images_before, account)
    begun = calls.index("CreateImage") + 1
    tried = 0
    for number, code in faults(calls, rest):
        fresh(account)
        before = images_before(account)
        account.fail_at, account.code = number, code
        tried += 1
        try:
            bake(account)
        except Trouble as trouble:
            assert trouble.now.endswith(("again.", "it.", "leave it.")), trouble.now
        except aws.ClientError:
            assert number < begun
        else:
            # It is taken for gone, as if it were; the next image removes it.
            assert code.endswith("NotFound") and number in changing(calls), (number, calls[number - 1], code)
            continue
        account.calm()
        bake(account)
        images_are_whole(account, before)
    print(f"{tried} faults in {len(calls)} calls: {calls}")


def test_a_bake_is_cut_off_at_every_change(account: Cloud) -> None:
    """The next run finishes it: no second image, and no snapshot without its image."""
    calls = calls_of(bake, images_before, account)
    places = changing(calls)
    for number in places[:-1]:
        fresh(account)
        before = images_before(account)
        account.cut_at = number
        with pytest.raises(Cut):
            bake(account)
        account.calm()
        bake(account)
        images_are_whole(account, before)
    print(f"cut at {len(places)} places")


# Restores.


def damaged(account: Cloud) -> dict[str, Any]:
    """A server with a data volume and a backup of it."""
    ec2 = account.client()
    demo = server(ec2, data_gb=4)
    demo["snapshot"] = old_snapshot(ec2, demo["volume"], 1)
    account.calm()
    return demo


def step(account: Cloud, which: str, **more: Any) -> dict[str, Any]:
    return ec2_restore.run(account.client(), options(step=which, **more))


def restore(account: Cloud) -> dict[str, Any]:
    """The steps that the playbook takes when nothing goes wrong."""
    for which in ("plan", "make", "swap"):
        step(account, which)
    return step(account, "finish")


def restored(account: Cloud, before: dict[str, Any]) -> None:
    """The new volume is the data volume, the old one is kept, and there is no third."""
    account.calm()
    found = account.client().describe_volumes(
        Filters=[{"Name": "tag:Name", "Values": [name()]}, {"Name": "tag:Project", "Values": [PROJECT]}]
    )["Volumes"]
    roles = {one["VolumeId"]: ec2_restore.volume_words(one) for one in found}
    assert len(roles) == 2, roles
    assert (roles[before["volume"]]["role"], roles[before["volume"]]["instance"]) == ("data-old", "")
    (new,) = [one for one in roles.values() if one["id"] != before["volume"]]
    assert (new["role"], new["instance"], new["source"], new["unfinished"], new["device"]) == (
        "data", before["id"], before["snapshot"], False, "/dev/sdf",
    )  # fmt: skip


def as_before(account: Cloud, before: dict[str, Any]) -> None:
    """The old volume is the data volume again, and attached."""
    account.calm()
    old = ec2_restore.volume_words(account.client().describe_volumes(VolumeIds=[before["volume"]])["Volumes"][0])
    assert (old["role"], old["instance"], old["device"]) == ("data", before["id"], "/dev/sdf")


def test_a_restore_swaps_the_volumes_and_keeps_the_old_one(account: Cloud) -> None:
    before = damaged(account)
    plan = step(account, "plan")
    assert (plan["old"]["id"], plan["new"], plan["size_gb"], plan["stage"]) == (before["volume"], {}, 4, "restore")
    restore(account)
    restored(account, before)
    again = step(account, "plan")
    assert (again["stage"], again["new"], [one["id"] for one in again["kept"]]) == ("restore", {}, [before["volume"]])


def test_a_restore_that_is_taken_back_leaves_the_old_volume_in_its_place(account: Cloud) -> None:
    """The next try takes the same new volume."""
    before = damaged(account)
    for which in ("make", "swap", "back"):
        step(account, which)
    as_before(account, before)
    restore(account)
    restored(account, before)


def test_a_server_that_lost_its_data_volume_gets_one(account: Cloud) -> None:
    """In whatever zone it is."""
    ec2 = account.client()
    before = damaged(account)
    ec2.detach_volume(VolumeId=before["volume"], InstanceId=before["id"])
    ec2.delete_volume(VolumeId=before["volume"])
    result = restore(account)
    assert (result["old"], result["new"]["instance"]) == ({}, before["id"])


def test_another_servers_backup_comes_to_this_one(account: Cloud) -> None:
    before = damaged(account)
    other = server(account.client(), data_gb=9, called="other")
    result = step(account, "plan", name="other", source=name())
    assert (result["snapshot"]["id"], result["old"]["id"], result["size_gb"]) == (
        before["snapshot"],
        other["volume"],
        9,
    )


def test_what_cannot_be_restored_is_refused(account: Cloud) -> None:
    """Each with a sentence, and before anything is made."""
    ec2 = account.client()
    demo = server(ec2, data_gb=4)
    with pytest.raises(Trouble, match="no complete backup of the data volume of demo"):
        step(account, "plan")
    old_snapshot(ec2, demo["volume"], 1, Of="root")
    with pytest.raises(Trouble, match="1 of its system, or not complete"):
        step(account, "plan")
    for more, sentence in (
        ({"Of": "root"}, "of the system of demo\\d+, not of a data volume"),
        ({"Project": "others"}, "does not have the tag Project=notebooks"),
        ({"status": "pending"}, "is not complete"),
    ):
        snapshot = old_snapshot(ec2, demo["volume"], 1, **more)
        with pytest.raises(Trouble, match=sentence):
            step(account, "plan", snapshot=snapshot)
    with pytest.raises(Trouble, match="There is no snapshot snap-0123456789abcdef0"):
        step(account, "plan", snapshot="snap-0123456789abcdef0")
    with pytest.raises(Trouble, match="There is no server nobody"):
        step(account, "plan", name="nobody")
    thief = server(ec2, called="thief")
    good = old_snapshot(ec2, demo["volume"], 1)
    ec2.detach_volume(VolumeId=demo["volume"], InstanceId=demo["id"])
    ec2.attach_volume(VolumeId=demo["volume"], InstanceId=thief["id"], Device="/dev/sdf")
    with pytest.raises(Trouble, match="is attached to another instance"):
        step(account, "plan", snapshot=good)


@SWEEPS
def test_every_call_of_a_restore_fails_once(account: Cloud, rest: bool) -> None:
    """As the playbook does, a swap that failed is taken back; then the same command again does it."""
    calls = calls_of(restore, damaged, account)
    tried = 0
    for number, code in faults(calls, rest, "VolumeLimitExceeded", "IncorrectState"):
        fresh(account)
        before = damaged(account)
        account.fail_at, account.code = number, code
        tried += 1
        with pytest.raises((Trouble, aws.ClientError)) as caught:
            restore(account)
        if isinstance(caught.value, Trouble):
            assert "again" in caught.value.now or "Nothing was changed" in caught.value.now, caught.value.now
        account.calm()
        step(account, "back")
        as_before(account, before)
        restore(account)
        restored(account, before)
    print(f"{tried} faults in {len(calls)} calls: {calls}")


def forth_and_back(account: Cloud) -> None:
    for which in ("plan", "make", "swap", "back"):
        step(account, which)


@pytest.mark.parametrize("work", [restore, forth_and_back])
def test_a_restore_is_cut_off_at_every_change(account: Cloud, work: Callable[[Cloud], Any]) -> None:
    """The same command again completes it, with the same new volume."""
    calls = calls_of(work, damaged, account)
    places = changing(calls)
    for number in places:
        fresh(account)
        before = damaged(account)
        account.cut_at = number
        with pytest.raises(Cut):
            work(account)
        account.calm()
        if work is restore and number == places[-1]:
            restored(account, before)
            continue
        if calls[number - 1] != "CreateVolume":
            assert step(account, "plan")["new"]
        restore(account)
        restored(account, before)
    print(f"cut at {len(places)} places of {work.__name__}")


# Words.


def test_the_plans_say_what_happens_and_what_it_costs(account: Cloud) -> None:
    before = history(account)
    found = ec2_backup.find(account.client(), PROJECT, name())
    found |= ec2_backup.plan(found, 2, NOW)
    text = " ".join(words.backup_plan(found, name(), 2, PRICES, REGION))
    for part in (
        before["volume"],
        "at most $0.20 a month",
        before["day3"],
        "aws ec2 delete-snapshot --snapshot-id " + before["broken"],
    ):
        assert part in text
    assert "not known here" in " ".join(words.backup_plan(found, name(), 2, {}, REGION))
    listed = words.backup_list(found, name(), PRICES, REGION)
    assert len(listed) == 5
    assert "Together at most $0.60 a month" in listed[-1]
    plan = step(account, "plan")
    text = " ".join(words.restore_plan(plan, name(), "/data", PRICES, REGION))
    assert f"aws ec2 delete-volume --region {REGION} --volume-id {before['volume']}" in text
    assert "$0.32 a month" in text
    image = ec2_image.find(account.client(), PROJECT, name())
    image |= {"name": name(), **ec2_image.plan({**image, "name": name()}, 3, NOW)}
    text = " ".join(words.bake_plan(image, name(), {"running": False, "keep": 3}, PRICES, REGION))
    assert "starts it again, with the same address" in text
    assert "data volume and data sets are not in the image" in text
    assert "goes on running" in " ".join(words.bake_plan(image, name(), {"running": True, "keep": 3}, PRICES, REGION))

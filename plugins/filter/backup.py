"""Plain words for copies of a server: what a run would do, what there is, and what each costs."""

from __future__ import annotations

from typing import Any


def usd(price: float | None, gb: float) -> str:
    """What so many GB cost in a month."""
    return "its price is not known here" if price is None else f"${gb * price:.2f} a month"


def local(prices: dict[str, Any], region: str) -> dict[str, Any]:
    """What is known of a region's prices."""
    return dict(prices.get("regions", {}).get(region) or {})


def when(text: str) -> str:
    """A time for people."""
    return f"{text[:10]} {text[11:16]} UTC"


def backup_plan(found: dict[str, Any], name: str, keep: int, prices: dict[str, Any], region: str) -> list[str]:
    """What `backup.yml` is going to do."""
    volume, state = found["volume"], found["instance"].get("state", "")
    if not volume:
        return [f"{name}: AWS has no volume of it in {region}, so there is nothing to back up."]
    size, price = volume["size_gb"], local(prices, region).get("snapshot_gb_month")
    what = "data volume" if volume["role"] == "data" else "system's volume"
    if found["finishes"]:
        said = [
            f"{name}: {found['finishes']}, begun by a run that was cut off, is finished instead of making another snapshot."
        ]
    else:
        said = [f"{name}: a snapshot is made of its {what} {volume['id']} ({size} GB)."]
    if volume["role"] == "root":
        said.append("It has no data volume, so system and data are saved together.")
    if state == "running":
        said.append(
            "Its databases are dumped first and everything is written to the disk; nothing is stopped. The snapshot shows the disk as "
            "after a power failure, which databases and file systems repair by themselves; the dumps in it need no repair."
        )
    elif state:
        said.append(f"It is {state}, so nothing is being written.")
    else:
        said.append("It has no instance now, so nothing is being written.")
    said.append(f"Cost: at most {usd(price, size)}, less when little changed since the backup before.")
    times = {one["id"]: when(one["started"]) for one in found["snapshots"]}
    gone = ", ".join(f"{one} of {times[one]}" for one in found["remove"])
    good = sum(one["state"] == "completed" for one in found["snapshots"])
    said.append(
        f"It has {good} complete backup{'' if good == 1 else 's'} now; the newest {keep} are kept. Removed afterwards: {gone or 'none'}."
    )
    if found["pending"]:
        said.append(f"Still being copied by AWS, and not counted yet: {', '.join(found['pending'])}.")
    if found["broken"]:
        said.append(failed(found["broken"], "aws ec2 delete-snapshot --snapshot-id"))
    return said


def failed(ids: list[str], command: str) -> str:
    """What to do about copies that AWS could not make."""
    return (
        f"AWS could not make {', '.join(ids)}, which holds nothing and is not counted: `{command} {ids[0]}` removes it."
    )


def backup_list(found: dict[str, Any], name: str, prices: dict[str, Any], region: str) -> list[str]:
    """The backups of a server, newest first."""
    if not found["snapshots"]:
        return [f"{name} has no backup in {region}."]
    price = local(prices, region).get("snapshot_gb_month")
    words = {"data": "data", "root": "system and data"}
    said = [
        f"{one['id']}  {when(one['started'])}  {one['size_gb']} GB of {words.get(one['of'], one['of'])}  "
        f"{one['state']}{' ' + one['progress'] if one['state'] == 'pending' else ''}"
        for one in found["snapshots"]
    ]
    whole = sum(one["size_gb"] for one in found["snapshots"] if one["state"] != "error")
    return [*said, f"Together at most {usd(price, whole)}; AWS bills each only for what changed since the one before."]


def backup_done(result: dict[str, Any], name: str) -> list[str]:
    """What `backup.yml` did."""
    made = result["snapshot"]
    if made["state"] != "completed":
        return [
            f"{name}: {made['id']} holds the data of {when(made['started'])}, but AWS is still copying "
            f"({made['progress'] or '0%'}): it is there, and not as good as complete. "
            "Nothing older was removed. `playbooks/backup.yml -e list=true` says when it is done."
        ]
    gone = ", ".join(result["removed"]) or "none"
    said = [f"{name}: {made['id']} is complete ({made['size_gb']} GB, {when(made['started'])}). Removed: {gone}."]
    if result["in_use"]:
        said.append(f"Kept although it is old, because an image needs it: {', '.join(result['in_use'])}.")
    return said


def bake_plan(
    found: dict[str, Any], name: str, settings: dict[str, Any], prices: dict[str, Any], region: str
) -> list[str]:
    """What `bake.yml` is going to do."""
    instance = found["instance"]
    if not instance:
        return [f"{name}: AWS has no instance of it in {region}, so there is nothing to make an image of."]
    size, price = instance["size_gb"], local(prices, region).get("snapshot_gb_month")
    if found["finishes"]:
        said = [
            f"{name}: {found['finishes']}, begun by a run that was cut off, is finished instead of making another image."
        ]
    else:
        said = [f"{name}: an image {found['image_name']} is made of its system ({instance['id']}, {size} GB)."]
        if instance["state"] != "running":
            said.append(f"It is {instance['state']} and stays so.")
        elif settings["running"]:
            said.append(
                "It goes on running meanwhile: the image shows its disk as after a power failure, which databases and file systems "
                "repair by themselves at the first start."
            )
        else:
            said.append(
                "AWS shuts it down for that and starts it again, with the same address: kernels end, and for about a minute "
                "nobody can work. Without a restart: -e running=true."
            )
    if len(instance["devices"]) > 1:
        said.append("Its data volume and data sets are not in the image: playbooks/backup.yml saves the data.")
    said.append(
        "The image is a copy of the system with every password and file on it, for yourself and not to be shared; a server that is "
        "launched from it gets SSH host keys, machine id, JupyterLab password and certificate of its own."
    )
    said.append(f"Cost: at most {usd(price, size)}, less when little changed since the image before.")
    names = {one["id"]: f"{one['id']} of {when(one['made'])}" for one in found["images"]}
    gone = ", ".join(names[one] for one in found["remove"])
    good = sum(one["state"] == "available" for one in found["images"])
    said.append(
        f"It has {good} image{'' if good == 1 else 's'} now; the newest {settings['keep']} are kept. Removed afterwards: {gone or 'none'}."
    )
    if found["orphans"]:
        said.append(f"Removed too, left of images that are gone: {', '.join(found['orphans'])}.")
    if found["pending"]:
        said.append(f"Still being copied by AWS, and not counted yet: {', '.join(found['pending'])}.")
    if found["broken"]:
        said.append(failed(found["broken"], "aws ec2 deregister-image --image-id"))
    return said


def bake_list(found: dict[str, Any], name: str, prices: dict[str, Any], region: str) -> list[str]:
    """The images of a server, newest first."""
    if not found["images"]:
        return [f"{name} has no image in {region}."]
    price = local(prices, region).get("snapshot_gb_month")
    said = [
        f"{one['id']}  {when(one['made'])}  {one['size_gb']} GB  {one['os']}  {one['state']}" for one in found["images"]
    ]
    whole = sum(one["size_gb"] for one in found["images"])
    return [*said, f"Together at most {usd(price, whole)}; AWS bills each only for what changed since the one before."]


def bake_done(result: dict[str, Any], name: str) -> list[str]:
    """What `bake.yml` did."""
    made = result["image"]
    if made["state"] != "available":
        return [
            f"{name}: {made['id']} shows it as of {when(made['made'])}, but AWS is still copying: it cannot be launched yet. "
            "Nothing older was removed. `playbooks/bake.yml -e list=true` says when it is done."
        ]
    said = [
        f"{name}: {made['id']} can be used: `ansible-playbook site.yml -l <a new server> -e image={made['id']}`. "
        f"Removed: {', '.join(result['removed']) or 'none'}."
    ]
    if result["in_use"]:
        said.append(f"Snapshots kept, because something else needs them: {', '.join(result['in_use'])}.")
    return said


def restore_plan(found: dict[str, Any], name: str, mount: str, prices: dict[str, Any], region: str) -> list[str]:
    """What `restore.yml` is going to do."""
    snapshot, old, new = found["snapshot"], found["old"], found["new"]
    price = local(prices, region).get("gp3_gb_month")
    source = f"{snapshot['id']} ({snapshot['size_gb']} GB of {snapshot['name'] or 'no known server'}, {when(snapshot['started'])})"
    if found["stage"] == "verify":
        return [
            f"{name}: the volume {new['id']} with what {source} holds is in its place already; a run that was cut off is finished."
        ]
    said = [f"{name}: {mount} becomes what {source} holds."]
    said.append(
        f"The volume {new['id']} that an earlier run made of it is used."
        if new
        else f"A volume of {found['size_gb']} GB is made of it in {found['instance']['zone']}; it costs {usd(price, found['size_gb'])}."
    )
    said.append(f"Whatever uses {mount} is stopped, for about a minute, and started again.")
    if old:
        said.append(
            f"The volume that is there now, {old['id']} ({old['size_gb']} GB), is kept with all that is on it, and goes on costing "
            f"{usd(price, old['size_gb'])} until you delete it: `aws ec2 delete-volume --region {region} --volume-id {old['id']}`."
        )
    said += [
        f"Kept from an earlier restore: {one['id']} ({one['size_gb']} GB, {usd(price, one['size_gb'])})."
        for one in found["kept"]
    ]
    return said


def restore_failed(result: dict[str, Any]) -> str:
    """The sentence of a step that failed: what its program said last, or its message."""
    # What a script says comes as its output, through a terminal.
    said = [str(result.get(key) or "").strip() for key in ("stdout", "msg")]
    text = next((one for one in said if one), "no reason given")
    return text.splitlines()[-1].strip().rstrip(".")


class FilterModule:
    """Ansible's entrance."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "backup_done": backup_done,
            "backup_list": backup_list,
            "backup_plan": backup_plan,
            "bake_done": bake_done,
            "bake_list": bake_list,
            "bake_plan": bake_plan,
            "restore_failed": restore_failed,
            "restore_plan": restore_plan,
        }

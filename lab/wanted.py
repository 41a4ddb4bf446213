"""What the API says an instance is, in the words of the machine that runs it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lab import catalog
from lab.firewall import Rule, ruleset
from lab.settings import ACCOUNT

# A system with an init, sshd and Ansible's Python needs this much to work at all; smaller types get it anyway.
LEAST_MIB = 2048


@dataclass(frozen=True)
class Limits:
    """What a container may use."""

    cpus: float
    mebibytes: int

    def flags(self) -> list[str]:
        """Return the engine's options; no swap on top, as an instance has none by itself."""
        memory = f"{self.mebibytes}m"
        return [f"--cpus={self.cpus:g}", f"--memory={memory}", f"--memory-swap={memory}"]


def limits(kind: str, types: dict[str, Any], processors: int | None = None) -> Limits:
    """Return an instance type's limits: its vCPUs, at most this machine's; its memory, at least what a host needs."""
    entry = types.get(kind, {})
    processors = processors or os.cpu_count() or 1
    vcpus = int(entry.get("VCpuInfo", {}).get("DefaultVCpus", 2))
    memory = int(entry.get("MemoryInfo", {}).get("SizeInMiB", 4096))
    return Limits(float(min(vcpus, processors)), max(memory, LEAST_MIB))


@dataclass
class Wanted:
    """One instance as it should be."""

    id: str
    state: str
    region: str
    ami: str
    kind: str
    public_ip: str | None
    private_ip: str
    private_prefix: int
    hostname: str
    user: str
    public_key: str
    user_data: bytes
    reboots: int
    shutdown: str
    rules: str
    volumes: dict[str, tuple[str, int]]
    metadata: dict[str, Any] = field(repr=False)


def volumes_of(instance: Any) -> dict[str, tuple[str, int]]:
    """Return the data disks, nvme1n1 first in the order they were attached: name -> (volume id, gigabytes)."""
    blocks = [
        (device, block) for device, block in instance.get_block_device_mapping if device != instance.root_device_name
    ]
    blocks.sort(key=lambda entry: (entry[1].attach_time, entry[0]))
    found = {}
    names: dict[str, str] = getattr(instance, "disk_names", {})
    instance.disk_names = names = {
        volume: name for volume, name in names.items() if volume in {b.volume_id for _, b in blocks}
    }
    for _, block in blocks:
        # A disk keeps its name while it is attached, also when one before it goes.
        free = (f"nvme{number}n1" for number in range(1, 27) if f"nvme{number}n1" not in names.values())
        name = names.setdefault(block.volume_id, next(free) if block.volume_id not in names else "")
        found[name] = (block.volume_id, int(instance.ec2_backend.get_volume(block.volume_id).size))
    return found


def rules_of(instance: Any, neighbours: list[Any]) -> list[Rule]:
    """Return what the instance's security groups let in."""
    found = []
    for group in instance.nics[0].group_set:
        for rule in group.ingress_rules:
            sources = [cidr for cidr in (rule.cidr_ipv4, rule.cidr_ipv6) if cidr]
            wanted = (rule.referenced_group_info or {}).get("GroupId")
            for other in neighbours if wanted else ():
                if any(member.id == wanted for member in other.nics[0].group_set):
                    sources += [f"{address}/32" for address in (other.public_ip, other.private_ip) if address]
            found += [Rule(str(rule.ip_protocol), rule.from_port, rule.to_port, source) for source in sources]
    return found


def role_of(instance: Any) -> Any:
    """Return the IAM role an instance may use, if it has a profile with one."""
    from moto.iam.models import iam_backends

    arn = (instance.iam_instance_profile or {}).get("Arn")
    for profile in iam_backends[ACCOUNT]["global"].instance_profiles.values() if arn else ():
        if profile.arn == arn and profile.roles:
            return profile.roles[0]
    return None


def metadata_of(instance: Any, credentials: dict[str, Any] | None, public_key: str) -> dict[str, Any]:
    """Return the metadata tree and the options that rule it."""
    options = instance.metadata_options
    zone = instance.placement.zone
    region = instance.region_name
    nic = instance.nics[0]
    tree: dict[str, Any] = {
        "ami-id": instance.image_id,
        "ami-launch-index": str(instance.ami_launch_index),
        "hostname": instance.private_dns_name,
        "instance-action": "none",
        "instance-id": instance.id,
        "instance-life-cycle": instance.lifecycle or "on-demand",
        "instance-type": instance.instance_type,
        "local-hostname": instance.private_dns_name,
        "local-ipv4": instance.private_ip,
        "mac": nic.mac_address,
        "placement": {"availability-zone": zone, "region": region},
        "reservation-id": next(
            (r.id for r in instance.ec2_backend.reservations.values() if instance in r.instances), ""
        ),
        "security-groups": "\n".join(sorted(group.name for group in nic.group_set)),
        "services": {"domain": "amazonaws.com", "partition": "aws"},
    }
    if instance.public_ip:
        tree |= {"public-hostname": instance.public_dns_name, "public-ipv4": instance.public_ip}
    if public_key:
        tree["public-keys"] = {"0": {"openssh-key": public_key}}
    if credentials:
        tree["iam"] = credentials
    if getattr(instance, "spot_action", None):
        tree["spot"] = {"instance-action": json.dumps(instance.spot_action)}
    if options.instance_metadata_tags == "enabled":
        tree["tags"] = {"instance": {tag["key"]: tag["value"] for tag in instance.get_tags()}}
    document = {
        "accountId": ACCOUNT,
        "architecture": instance.architecture,
        "availabilityZone": zone,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "privateIp": instance.private_ip,
        "region": region,
        "version": "2017-09-30",
    }
    whole: dict[str, Any] = {"meta-data": tree, "dynamic": {"instance-identity": {"document": document}}}
    data = decoded(instance.user_data)
    if data:
        whole["user-data"] = data.decode(errors="replace")
    return {
        "options": {
            "enabled": options.http_endpoint == "enabled",
            "token_required": options.http_tokens == "required",
            "hops": options.http_put_response_hop_limit,
            "addresses": [address for address in (instance.public_ip, instance.private_ip) if address],
        },
        "tree": whole,
    }


def decoded(user_data: Any) -> bytes:
    """Return user data as the bytes that the person gave."""
    return base64.b64decode(str(user_data)) if user_data else b""


def snapshot(instance: Any, neighbours: list[Any], credentials: dict[str, Any] | None) -> Wanted:
    """Return what the API wants of an instance now."""
    pairs = instance.ec2_backend.key_pairs
    key = pairs[instance.key_name].public_key.strip() if instance.key_name in pairs else ""
    # A key pair may be deleted in the API; the instance keeps what it was started with.
    instance.first_key = key = getattr(instance, "first_key", "") or key
    system = catalog.system_of(instance.image_id)
    subnet = instance.nics[0].subnet
    return Wanted(
        id=instance.id,
        state=instance.state,
        region=instance.region_name,
        ami=instance.image_id,
        kind=instance.instance_type,
        public_ip=instance.public_ip,
        private_ip=instance.private_ip,
        private_prefix=int(str(subnet.cidr_block).split("/")[1]),
        hostname=instance.private_dns_name.split(".")[0],
        user=system.user if system else "admin",
        public_key=key,
        user_data=decoded(instance.user_data),
        reboots=getattr(instance, "reboots", 0),
        shutdown=instance.instance_initiated_shutdown_behavior,
        rules=ruleset(rules_of(instance, neighbours)),
        volumes=volumes_of(instance),
        metadata=metadata_of(instance, credentials, key),
    )


def all_instances() -> Iterator[tuple[Any, list[Any]]]:
    """Yield every instance of the account with those of its region that are not gone."""
    from moto.ec2.models import ec2_backends

    for _, _, backend in list(ec2_backends.iter_backends()):
        everyone = [
            instance for reservation in list(backend.reservations.values()) for instance in reservation.instances
        ]
        alive = [instance for instance in everyone if instance.state != "terminated" and instance.nics]
        for instance in everyone:
            yield instance, alive

"""What ec2_provision decides: checks of its settings, security group rules, and plain words for what AWS answers."""

from __future__ import annotations

import base64
import binascii
import datetime
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
PUBLIC_KEY = re.compile(r"(ssh-ed25519|ssh-rsa) (AAAA[A-Za-z0-9+/]+=*)( .*)?", re.DOTALL)
HOST_NAME = re.compile(r"(?=.{4,230}$)((?!-)[a-z0-9-]{1,63}(?<!-)\.)+(?!-)[a-z0-9-]{1,63}(?<!-)")
USD = re.compile(r"\d{1,3}(\.\d{1,6})?")
MARKETS = ("on_demand", "spot")
SNAPSHOT = re.compile(r"snap-[0-9a-f]{8,17}")
DATA_SET = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
MOST_DATA_SETS = 8
PROFILE = re.compile(r"[\w+=,.@-]{0,128}", re.ASCII)
# AWS takes no other characters in the description of a rule.
NOT_IN_DESCRIPTION = re.compile(r"[^a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]")
SSH_PORT = 22
SMALLEST_DISK_GB = 16
LARGEST_DISK_GB = 16384
# Wider than this is a good part of the internet: then it should be said as 0.0.0.0/0 or ::/0.
WIDEST = {4: 8, 6: 19}
RULES_PER_GROUP = 60
WORLD = ("0.0.0.0/0", "::/0")
# An error code of AWS and what a person can do about it. {type} and {region} are filled in.
HELP = {
    "InsufficientInstanceCapacity": "AWS has no free {type} in {zones} now: try again later, or choose another "
    "ec2_provision_instance_type or ec2_provision_region.",
    "Unsupported": "Choose another ec2_provision_instance_type or ec2_provision_region.",
    "VcpuLimitExceeded": "Your account's quota of vCPUs for this family is used up in {region}: terminate something, "
    "choose a smaller "
    "ec2_provision_instance_type, or ask for more under Service Quotas, Amazon EC2, in the AWS console.",
    "AddressLimitExceeded": "The account's quota of Elastic IPs (5 at first) is used up in {region}: release one that nobody uses in the "
    "AWS console, ask for more under Service Quotas, Amazon EC2, or set ec2_provision_elastic_ip to false.",
    "SpotMaxPriceTooLow": "Spot {type} costs more than ec2_provision_spot_max_usd now in {zones}: raise it, or leave it empty for the "
    "price on demand.",
    "IncorrectSpotRequestState": "AWS stopped this spot server for want of room and starts it again by itself: wait, or look at its spot "
    "request in the AWS console.",
    "NoSuchHostedZone": "The hosted zone went meanwhile: correct ec2_provision_dns_zone.",
    "MaxSpotInstanceCountExceeded": "Ask for more under Service Quotas, Amazon EC2, in the AWS console.",
    "InstanceLimitExceeded": "Terminate something, or ask for more under Service Quotas, Amazon EC2, in the AWS "
    "console.",
    "VolumeModificationRateExceeded": "AWS changes a volume only every six hours: everything works on with the size it has; "
    "run the same command later.",
    "IncorrectModificationState": "AWS is still at work on an earlier change of the volume: everything works on with the "
    "size it has; run the same command later.",
    "InvalidSnapshot.NotFound": "Correct the id of the snapshot; it must be of {region}, yours or public.",
    "InvalidVolume.NotFound": "The volume went meanwhile: run the same command again.",
    "RequestLimitExceeded": "AWS asks for fewer calls: wait a minute, then run the same command.",
    "VolumeLimitExceeded": "Delete volumes you do not need, or ask for more under Service Quotas, Amazon EBS, in the "
    "AWS console.",
    "VpcLimitExceeded": "Name a VPC you have in ec2_provision_vpc_id, or delete one you do not need.",
    "SecurityGroupLimitExceeded": "Delete security groups you do not need, or use another VPC (ec2_provision_vpc_id).",
    "PendingVerification": "AWS is still verifying this account for the region: wait for its e-mail, then run the "
    "same command.",
    "OptInRequired": "Finish the sign-up of the AWS account in the AWS console, then run the same command.",
    "OperationNotPermitted": "Set ec2_provision_termination_protection to false and apply it first.",
    "UnauthorizedOperation": "Ask whoever runs the AWS account for that permission; docs/permissions.md has "
    "policies with all that are needed.",
    "RequestExpired": "The AWS credentials have expired or this machine's clock is wrong: sign in again, then run the "
    "same command.",
    "InvalidParameterCombination": "Accounts on the free plan may launch only some types: choose m7i-flex.large or "
    "t3.small, or upgrade the plan.",
}
HELP["AccessDenied"] = HELP["UnauthorizedOperation"]
HELP["InsufficientHostCapacity"] = HELP["InsufficientInstanceCapacity"]
HELP["ExpiredToken"] = HELP["RequestExpired"]


def normalise(cidr: str) -> str:
    """A network as AWS spells it: no host bits, a single address with its length."""
    return str(ipaddress.ip_network(cidr.strip(), strict=False))


def cidr_problems(cidr: Any, setting: str) -> list[str]:
    """Why an address range cannot stand in a rule."""
    try:
        network = ipaddress.ip_network(str(cidr).strip(), strict=False)
    except ValueError:
        return [f"'{cidr}' in {setting} is not an address range: write one like 203.0.113.7/32."]
    if 0 < network.prefixlen < WIDEST[network.version]:
        world = WORLD[network.version == 6]
        return [
            f"'{cidr}' in {setting} is a good part of the internet: write {world} if you mean everybody, or a "
            "narrower range."
        ]
    if network.prefixlen == 0 and str(cidr).strip() not in WORLD:
        return [f"'{cidr}' in {setting} means the whole internet: write {normalise(str(cidr))} if you mean everybody."]
    return []


def port_problems(port: Any, setting: str) -> list[str]:
    """Why a number cannot be a port."""
    if isinstance(port, bool) or not str(port).isdigit() or not 1 <= int(port) <= 65535:
        return [f"{setting} is '{port}', which is not a port: give a number from 1 to 65535."]
    return []


def jupyter_problems(ports: Any) -> list[str]:
    """What is wrong with the ports of JupyterLab."""
    if not isinstance(ports, list):
        return ["ec2_provision_jupyter_ports must be a list such as [443]."]
    problems = []
    for port in ports:
        problems += port_problems(port, "A port in ec2_provision_jupyter_ports")
        if str(port) == str(SSH_PORT):
            problems.append("ec2_provision_jupyter_ports has 22, which SSH has: choose another, such as 443.")
    return problems


def ingress_problems(extra: Any, jupyter_ports: list[Any]) -> list[str]:
    """What is wrong with the list of further ports."""
    problems = []
    taken = {int(port): "JupyterLab" for port in jupyter_ports if str(port).isdigit()} | {SSH_PORT: "SSH"}
    for number, rule in enumerate(extra, start=1):
        where = f"ec2_provision_extra_ingress entry {number}"
        if not isinstance(rule, Mapping) or not {"port", "cidr"} <= set(rule) <= {"port", "cidr", "reason"}:
            problems.append(
                f"{where} must have port and cidr, and may have reason: "
                f"{{port: 8050, cidr: 203.0.113.7/32, reason: dashboard}}."
            )
            continue
        wrong = port_problems(rule["port"], f"port of {where}") + cidr_problems(rule["cidr"], f"cidr of {where}")
        if not wrong and int(rule["port"]) in taken:
            wrong = [
                f"{where} opens port {rule['port']}, which {taken[int(rule['port'])]} has: use "
                "ec2_provision_allowed_cidrs for that one."
            ]
        if not wrong and normalise(str(rule["cidr"])) in WORLD and not str(rule.get("reason", "")).strip():
            wrong = [
                f"{where} would open port {rule['port']} to the whole internet without a reason: "
                "add `reason:` to say why, or give a narrower cidr."
            ]
        problems += wrong
    return problems


def tag_problems(tags: Any) -> list[str]:
    """What AWS would not take as a tag."""
    if not isinstance(tags, Mapping):
        return ["ec2_provision_tags must be a mapping such as {Owner: ann}."]
    problems = []
    for key, value in tags.items():
        if key == "ExpiresAt":
            problems.append("ec2_provision_tags sets ExpiresAt: set ec2_provision_expires instead.")
        elif key in {"Name", "Project", "ManagedBy"}:
            problems.append(
                f"ec2_provision_tags sets {key}, which is how the server is found again: choose another key."
            )
        elif str(key).lower().startswith("aws:") or not 0 < len(str(key)) <= 128 or len(str(value)) > 256:
            problems.append(
                f"ec2_provision_tags has '{key}', which AWS does not take: 1 to 128 characters, not starting with "
                "aws:, value up to 256."
            )
    return problems


def expiry_problems(expires: Any) -> list[str]:
    """Why a text cannot be the day from which a server is not needed any more."""
    if not expires:
        return []
    try:
        day = datetime.date.fromisoformat(str(expires))
    except ValueError:
        day = None
    if day is None or day.isoformat() != str(expires):
        return [f"ec2_provision_expires is '{expires}': write a day like 2027-01-31, or leave it empty."]
    return []


def past_problems(expires: Any, name: str) -> list[str]:
    """Why a server is not launched: its day is over. One that is there is kept, and status.yml says that it is overdue."""
    if expires and str(expires) < datetime.datetime.now(datetime.UTC).date().isoformat():
        return [
            f"{name} would be overdue from its first minute: ec2_provision_expires is {expires}, which is in the past."
        ]
    return []


def disk_problems(disk_gb: Any) -> list[str]:
    """Why the size of the disk cannot be."""
    if isinstance(disk_gb, bool) or not str(disk_gb).isdigit():
        return [f"ec2_provision_disk_gb is '{disk_gb}': give a number of GB, such as 30."]
    if int(disk_gb) < SMALLEST_DISK_GB:
        return [
            f"ec2_provision_disk_gb is {disk_gb}, too small for the system and its kernels: give at least "
            f"{SMALLEST_DISK_GB}."
        ]
    if int(disk_gb) > LARGEST_DISK_GB:
        return [
            f"ec2_provision_disk_gb is {disk_gb}, more than one gp3 volume can have: give at most {LARGEST_DISK_GB}."
        ]
    return []


def public_half(private: str) -> str:
    """The public key inside an OpenSSH private key file, which holds it in the clear; empty for other formats."""
    body = "".join(line for line in private.splitlines() if "-----" not in line)
    try:
        blob = base64.b64decode(body)
    except (binascii.Error, ValueError):
        return ""
    if not blob.startswith(b"openssh-key-v1\0"):
        return ""
    rest, fields = blob[15:], []
    for count in range(5):  # cipher, kdf, kdf options, (number of keys), public key
        if count == 3:
            rest = rest[4:]
            continue
        size = int.from_bytes(rest[:4], "big")
        fields.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    return base64.b64encode(fields[-1]).decode()


def key_problems(public_file: str, private_file: str) -> list[str]:
    """What is wrong with a pair of key files that a person gave."""
    if not public_file and not private_file:
        return []
    if not public_file or not private_file:
        return [
            "Give both ec2_provision_key_public_file and ec2_provision_key_private_file, or none of them and a key is "
            "made."
        ]
    texts = {}
    for setting, file in (
        ("ec2_provision_key_public_file", public_file),
        ("ec2_provision_key_private_file", private_file),
    ):
        path = Path(file).expanduser()
        if not path.is_file():
            return [f"{setting} names {file}, which is not there: correct it, or leave both empty and a key is made."]
        try:
            texts[setting] = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            return [f"{setting} names {file}, which cannot be read ({error})."]
    public, private = texts.values()
    if "PRIVATE KEY" in public:
        return [
            "ec2_provision_key_public_file names a private key: name the file that ends in .pub; the private half "
            "never leaves this machine."
        ]
    if PUBLIC_KEY.fullmatch(private):
        return ["ec2_provision_key_private_file names a public key: name the file without .pub."]
    if "PRIVATE KEY" not in private:
        return [f"ec2_provision_key_private_file names {private_file}, which is not an SSH private key."]
    match = PUBLIC_KEY.fullmatch(public)
    if not match:
        return [
            f"ec2_provision_key_public_file names {public_file}, which is not an ed25519 or RSA public key: AWS takes "
            "no other kind."
        ]
    half = public_half(private)
    if half and half != match[2]:
        return [
            "ec2_provision_key_public_file and ec2_provision_key_private_file are not two halves of one key: name the "
            "two files of one pair."
        ]
    return []


def name_problems(name: Any, setting: str = "The server name") -> list[str]:
    """Why a name cannot be a host name, a tag and a folder."""
    if NAME.fullmatch(str(name)):
        return []
    return [
        f"{setting} '{name}' cannot be a host name and a tag: use 1 to 63 of a-z, 0-9 and -, with a letter or digit "
        "at both ends."
    ]


def network_problems(settings: dict[str, Any]) -> list[str]:
    """What is wrong with the name in DNS."""
    name, zone = str(settings.get("dns_name", "")), str(settings.get("dns_zone", ""))
    if name and not HOST_NAME.fullmatch(name):
        return [
            f"ec2_provision_dns_name is '{name}', which is not a host name: write one like lab.example.org, in small letters."
        ]
    if zone and not name:
        return [f"ec2_provision_dns_zone is '{zone}' without a name: set ec2_provision_dns_name, such as lab.{zone}."]
    return []


def market_problems(settings: dict[str, Any]) -> list[str]:
    """What is wrong with how the server is paid."""
    market, most = settings.get("market", "on_demand"), str(settings.get("spot_max_usd", ""))
    if market not in MARKETS:
        return [f"ec2_provision_market is '{market}': choose on_demand or spot."]
    if most and market != "spot":
        return ["ec2_provision_spot_max_usd is for spot servers: set ec2_provision_market to spot, or leave it empty."]
    if most and not (USD.fullmatch(most) and float(most)):
        return [f"ec2_provision_spot_max_usd is '{most}': give US dollars an hour, such as 0.05, or leave it empty."]
    if market == "spot" and settings.get("termination_protection"):
        return [
            "AWS has no termination protection for spot servers: set ec2_provision_termination_protection to false."
        ]
    return []


def volume_problems(settings: dict[str, Any]) -> list[str]:
    """What is wrong with the data volume and the data sets."""
    gb, snapshot = settings.get("data_volume_gb", 0), str(settings.get("data_volume_snapshot_id", ""))
    problems = []
    if isinstance(gb, bool) or not str(gb).isdigit() or int(gb) > LARGEST_DISK_GB:
        problems.append(
            f"ec2_provision_data_volume_gb is '{gb}': give a number of GB from 1 to {LARGEST_DISK_GB}, or 0 for no data volume."
        )
    elif snapshot and not int(gb):
        problems.append(
            "ec2_provision_data_volume_snapshot_id is set without a size: set ec2_provision_data_volume_gb to that of the snapshot or more."
        )
    if snapshot and not SNAPSHOT.fullmatch(snapshot):
        problems.append(
            f"ec2_provision_data_volume_snapshot_id is '{snapshot}': give the id of a snapshot, such as snap-0123456789abcdef0."
        )
    sets = settings.get("data_sets", [])
    if not isinstance(sets, list) or any(
        not isinstance(one, Mapping) or set(one) != {"name", "snapshot_id"} for one in sets
    ):
        return [
            *problems,
            "ec2_provision_data_sets must be a list such as [{name: genomes, snapshot_id: snap-0123456789abcdef0}].",
        ]
    for one in sets:
        if not DATA_SET.fullmatch(str(one["name"])):
            problems.append(
                f"'{one['name']}' in ec2_provision_data_sets cannot be a folder: use 1 to 32 of a-z, 0-9 and -."
            )
        if not SNAPSHOT.fullmatch(str(one["snapshot_id"])):
            problems.append(
                f"'{one['snapshot_id']}' in ec2_provision_data_sets is not the id of a snapshot, such as snap-0123456789abcdef0."
            )
    names = [one["name"] for one in sets]
    problems += [
        f"ec2_provision_data_sets has {name} twice: give each its own name."
        for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if len(sets) > MOST_DATA_SETS:
        problems.append(
            f"ec2_provision_data_sets has {len(sets)} entries: an instance takes at most {MOST_DATA_SETS} here."
        )
    return problems


def subnets_in(subnets: list[dict[str, Any]], zone: str) -> list[dict[str, Any]]:
    """The subnets of one zone, or all when no zone is given."""
    return [one for one in subnets if not zone or one["zone"] == zone]


def setting_problems(settings: dict[str, Any], systems: dict[str, Any]) -> list[str]:
    """All that is wrong with the settings themselves; the keys are those of the role without its prefix."""
    problems = name_problems(settings["name"]) + name_problems(settings["project"], "ec2_provision_project")
    if settings["os"] not in systems:
        problems.append(
            f"There is no operating system '{settings['os']}' here: set ec2_provision_os to {', '.join(systems)}."
        )
    if not isinstance(settings["allowed_cidrs"], list):
        problems.append("ec2_provision_allowed_cidrs must be a list such as [203.0.113.7/32].")
    else:
        for cidr in settings["allowed_cidrs"]:
            problems += cidr_problems(cidr, "ec2_provision_allowed_cidrs")
    ports = settings["jupyter_ports"] if isinstance(settings["jupyter_ports"], list) else []
    problems += jupyter_problems(settings["jupyter_ports"])
    problems += ingress_problems(settings["extra_ingress"], ports)
    if not PROFILE.fullmatch(settings["instance_profile"]):
        problems.append(
            f"ec2_provision_instance_profile is '{settings['instance_profile']}': give the name of an instance profile, not its "
            "ARN, or leave it empty."
        )
    problems += disk_problems(settings["disk_gb"])
    problems += network_problems(settings) + market_problems(settings) + volume_problems(settings)
    problems += key_problems(settings["key_public_file"], settings["key_private_file"])
    problems += tag_problems(settings["tags"])
    problems += expiry_problems(settings["expires"])
    rules = (1 + len(ports)) * max(1, len(settings["allowed_cidrs"])) + len(settings["extra_ingress"])
    if rules > RULES_PER_GROUP:
        problems.append(
            f"{rules} rules are more than a security group takes ({RULES_PER_GROUP}): name fewer or wider ranges."
        )
    return problems


def offer_problems(offer: dict[str, Any], settings: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """What stands between the settings and what AWS has; the record is of an earlier run, or empty."""
    if record:
        if record["account_id"] != offer["account_id"]:
            return [
                f"{settings['name']} was launched in AWS account {record['account_id']}, and these credentials are of "
                "account "
                f"{offer['account_id']}: use the credentials (or ec2_provision_profile) of the first."
            ]
        if record.get("endpoint") != offer["endpoint"]:
            return [
                f"{settings['name']} was launched at {record.get('endpoint') or 'AWS'}, and now AWS_ENDPOINT_URL "
                "points to "
                f"{offer['endpoint'] or 'AWS'}: point it back, or choose another server name."
            ]
        if record["region"] != offer["region"]:
            return [
                f"{settings['name']} was launched in {record['region']}, and ec2_provision_region is "
                f"{offer['region']}: "
                "a server cannot move; set the region back, or choose another server name."
            ]
        if record["disk_gb"] > int(settings["disk_gb"]):
            return [
                f"{settings['name']} has a disk of {record['disk_gb']} GB, and a disk cannot shrink: set "
                "ec2_provision_disk_gb to that or more."
            ]
        return []
    past = past_problems(settings["expires"], settings["name"])
    if past:
        return past
    image = offer["image"]
    if not image:
        wanted = settings["image_id"] or f"of {settings['os']} for {offer['type']['architecture']}"
        return [
            f"There is no image {wanted} in {offer['region']}: choose another ec2_provision_os, "
            "ec2_provision_image_id or ec2_provision_region."
        ]
    if image["architecture"] != offer["type"]["architecture"]:
        return [
            f"The image {image['id']} is for {image['architecture']} and the type {offer['type']['name']} is "
            f"{offer['type']['architecture']}: choose another ec2_provision_image_id or ec2_provision_instance_type."
        ]
    if image["disk_gb"] > int(settings["disk_gb"]):
        return [
            f"The image {image['id']} needs {image['disk_gb']} GB and ec2_provision_disk_gb is {settings['disk_gb']}: "
            "give at least that."
        ]
    return []


def place_problems(instance: dict[str, Any], offer: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """What cannot be changed about an instance: its zone, how it is paid, and the type of a spot one."""
    name, zone, market = settings["name"], settings.get("zone", ""), settings.get("market", "on_demand")
    if zone and instance["zone"] not in offer["placement"]:
        return [
            f"{name} is in {instance['zone']}, and ec2_provision_zone is {zone} ({', '.join(offer['placement'])}): a server cannot move. "
            "Leave it empty to keep the server where it is; to move, restore a backup of it to a server in that zone."
        ]
    if instance.get("market", market) != market:
        return [
            f"{name} was launched {instance['market'].replace('_', ' ')}, and ec2_provision_market is {market}: AWS cannot change that. "
            "Set it back, or restore a backup of it to another server."
        ]
    if market == "spot" and instance["type"] != settings.get("type", instance["type"]):
        return [
            f"{name} is a spot server of type {instance['type']}, and AWS changes the type of no spot server: set "
            "ec2_provision_instance_type back, or restore a backup of it to another server."
        ]
    return []


def present_problems(
    found: dict[str, Any], offer: dict[str, Any], settings: dict[str, Any], public_key: str, former_key: str = ""
) -> list[str]:
    """What stands between what AWS has of a server and going on with it.

    The former key is that of a rotation that was cut off: the server knows the present one already, AWS not yet.
    """
    name, instances = settings["name"], found["instances"]
    if len(instances) > 1:
        ids = ", ".join(i["id"] for i in instances)
        return [
            f"{len(instances)} instances bear the tags of {name} ({ids}): remove the tag Project from those that are "
            "not it, or terminate them."
        ]
    if not instances:
        if found["strangers"]:
            return [
                f"AWS has a {found['strangers'][0]} that this project did not make: remove it, or choose another "
                "server name."
            ]
        if not offer["image"]:
            return [
                f"The image that {name} was launched from is gone, and so is its instance: remove its record.yml and "
                "a current image is used."
            ]
        return []
    if instances[0]["disk_gb"] > int(settings["disk_gb"]):
        return [
            f"{name} has a disk of {instances[0]['disk_gb']} GB, and a disk cannot shrink: set ec2_provision_disk_gb "
            "to that or more."
        ]
    stays = place_problems(instances[0], offer, settings)
    if stays:
        return stays
    if not public_key:
        return [
            f"{name} is there ({instances[0]['id']}), but its private key is not on this machine: bring back its "
            "state folder from the "
            "machine that launched it, or destroy it and launch it again."
        ]
    known = [key["public_key"] for key in found["key_pairs"] if key["name"] == instances[0]["key_name"]]
    if known and known[0] and known[0] not in (public_key, former_key):
        return [
            f"{name} was launched with another SSH key than the present one: AWS cannot change it; give that key, or "
            "destroy the server first."
        ]
    return []


def subnets(zones: list[str], cidr: str) -> list[dict[str, str]]:
    """One subnet for each zone, cut from the VPC's range."""
    parts = ipaddress.ip_network(cidr).subnets(prefixlen_diff=4)
    return [{"zone": zone, "cidr": str(part)} for zone, part in zip(zones, parts, strict=False)]


def made_subnets(results: list[dict[str, Any]], zones: list[str]) -> list[dict[str, str]]:
    """The subnets that a loop of ec2_vpc_subnet made; in a rehearsal none, so the zones stand for them."""
    made = [one["subnet"] for one in results if one.get("subnet", {}).get("id")]
    if not made:
        return [{"id": "", "zone": zone} for zone in zones]
    return [{"id": one["id"], "zone": one["availability_zone"]} for one in made]


def rules(allowed: list[str], jupyter_ports: list[int], extra: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The security group's rules, as amazon.aws.ec2_security_group takes them."""

    def rule(port: int, cidr: str, why: str) -> dict[str, Any]:
        network = normalise(cidr)
        field = "cidr_ipv6" if ":" in network else "cidr_ip"
        return {
            "proto": "tcp",
            "ports": [str(port)],
            field: network,
            "rule_desc": NOT_IN_DESCRIPTION.sub(" ", why)[:255],
        }

    wanted = [
        rule(port, cidr, why)
        for port, why in ((SSH_PORT, "SSH"), *((int(port), "JupyterLab") for port in jupyter_ports))
        for cidr in allowed
    ]
    wanted += [rule(int(one["port"]), str(one["cidr"]), str(one.get("reason") or "extra_ingress")) for one in extra]
    return [one for number, one in enumerate(wanted) if one not in wanted[:number]]


def rotate_problems(settings: dict[str, Any], record: dict[str, Any], made: bool) -> list[str]:
    """Why the SSH key of a server cannot be exchanged; `made` is whether its own one is on this machine."""
    name = settings["name"]
    if settings["key_private_file"]:
        return [
            f"{name} has a key of your own ({settings['key_private_file']}), which may open other doors too: this project "
            "does not change it. Put another one into its authorized_keys yourself, then name its files in "
            "ec2_provision_key_private_file and ec2_provision_key_public_file."
        ]
    if not record:
        return [f"There is no record of {name} on this machine: only a server that was launched from here has a key."]
    if not made:
        return [f"The key of {name} is not on this machine: bring back its state folder from the one that launched it."]
    return []


def rotate_failed(result: dict[str, Any], name: str, doing: str, switched: bool, about: dict[str, str]) -> str:
    """What failed on the way to a new key, which key opens the server now, and what to do."""
    last = f"{result.get('stdout', '')} {result.get('stderr', '')}".strip().splitlines()
    words = f"{name}: {doing} failed: {last[-1].strip()}." if last else explain(result, f"{name}: {doing}", about)
    which = (
        "The new key is in use on this machine and on the server"
        if switched
        else "The old key is in use as before, and the new one waits beside it (id_ed25519.new)"
    )
    help_text = "" if not last or result.get("rc") != 255 else " Is the server running (playbooks/start.yml)?"
    return f"{words}{help_text} {which}; run the same command again, it goes on from here."


def unsaid(words: str) -> str:
    """What to look at where amazon.aws keeps AWS's reason to itself: of ec2_security_group, ec2_vol and others it says only what failed."""
    failed = re.search(r"Failed to ((?:[a-z]+ )+[a-z]+)$", words)
    if not failed:
        return ""
    action = "".join(word.capitalize() for word in failed[1].split())
    action = {"ModifySubnet": "ModifySubnetAttribute"}.get(action, action)
    return (
        f"AWS's reason was not passed on. Most often these credentials lack the permission ec2:{action}: "
        "docs/permissions.md has the policies."
    )


def explain(result: dict[str, Any], doing: str, about: dict[str, str]) -> str:
    """One sentence for a failed AWS task: what failed, in AWS's words, and what to do."""
    result = next(
        (one for one in result.get("results") or [] if one.get("failed")), result
    )  # of a loop, the item that failed
    text = f"{result.get('msg', '')} {result.get('exception', '')}"
    framed = re.search(r"An error occurred \(([\w.]+)\) when calling the (\w+) operation[^:]*: (.+)", text)
    error = result.get("error") or {}
    code = str(error.get("code") or (framed[1] if framed else ""))
    words = (
        str(error.get("message") or (framed[3].splitlines()[0] if framed else result.get("msg", "no reason given")))
        .strip()
        .rstrip(".")
    )
    help_text = HELP.get(code, "").format(**about) if code else unsaid(words)
    return f"{doing} failed: {words}{f' ({code})' if code else ''}. {help_text}".strip()


def stuck(result: dict[str, Any], about: dict[str, str]) -> str:
    """A module's own words on what state things are in, then AWS's reason and what helps against it."""
    framed = re.match(
        r"(.+?): An error occurred \(([\w.]+)\) when calling the \w+ operation(?: \([^)]*\))?: (.+)",
        str(result.get("msg", "")),
        re.DOTALL,
    )
    if not framed:
        return str(result.get("msg", "no reason given"))
    where, code, words = framed[1], framed[2], framed[3].splitlines()[0].strip().rstrip(".")
    help_text = HELP.get(code, "").format(**about)
    return f"{where}. AWS says: {words} ({code}). {help_text}".strip()


def waited(result: dict[str, Any], name: str, address: str, seconds: int) -> str:
    """One sentence for a wait that came to nothing: the last thing heard, and what to do."""
    last = f"{result.get('stdout', '')} {result.get('stderr', '')}".strip().splitlines()
    if "host_keys" in result:
        return (
            f"{name} did not print its SSH host keys on its console within {seconds} seconds: run the same command "
            "again, "
            "or look at the instance's system log in the AWS console."
        )
    if last and "Host key verification failed" in " ".join(last):
        return (
            f"{name} at {address} shows other SSH host keys than those known from its console: somebody may stand "
            "between. If you "
            "made new host keys yourself, remove its known_hosts file and run the same command again."
        )
    if result.get("rc") in {75, 255}:
        return (
            f"{name} at {address} was not ready within {seconds} seconds ({last[-1] if last else 'no answer'}): run "
            "the same command again; "
            "if it stays so, check that ec2_provision_allowed_cidrs holds your address, and the instance's system log "
            "in the AWS console."
        )
    return f"{name} at {address} cannot be worked on: {' '.join(last) or result.get('msg', 'no reason given')}."


class FilterModule:
    """Ansible's entrance."""

    def filters(self) -> dict[str, Any]:
        """The filters by name."""
        return {
            "ec2_provision_explain": explain,
            "ec2_provision_made_subnets": made_subnets,
            "ec2_provision_name_problems": name_problems,
            "ec2_provision_normalise": normalise,
            "ec2_provision_offer_problems": offer_problems,
            "ec2_provision_present_problems": present_problems,
            "ec2_provision_rotate_failed": rotate_failed,
            "ec2_provision_rotate_problems": rotate_problems,
            "ec2_provision_rules": rules,
            "ec2_provision_setting_problems": setting_problems,
            "ec2_provision_stuck": stuck,
            "ec2_provision_subnets": subnets,
            "ec2_provision_subnets_in": subnets_in,
            "ec2_provision_waited": waited,
        }

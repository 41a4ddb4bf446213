"""The lab without an engine: settings, images, faults, firewall rules, limits, device names, what cloud-init gets."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab import catalog, image, instances, server, sources, wanted
from lab.engine import EngineError
from lab.faults import Fault, Faults
from lab.firewall import Rule, ruleset
from lab.settings import ROOT, Settings, SettingsError, load


def test_settings_defaults() -> None:
    settings = load({})
    assert (settings.name, settings.port, settings.gateway) == ("lab", 5055, "198.18.0.1")
    assert settings.endpoint == "http://127.0.0.1:5055"
    assert settings.gateway_url == "http://198.18.0.1:5055"
    assert settings.folder.name == ".lab"
    assert settings.releases == ("13",)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("LAB_NAME", "My Lab", "small letters"),
        ("LAB_SUBNET", "198.18.0.1/17", "no network"),
        ("LAB_SUBNET", "8.8.8.0/24", "never holds a real host"),
        ("LAB_SUBNET", "198.18.0.0/30", "size"),
        ("LAB_PORT", "80", "from 1024"),
        ("LAB_PORT", "x", "from 1024"),
        ("LAB_RELEASES", "11", "12, 13 or both"),
    ],
)
def test_settings_refused_in_one_sentence(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({name: value})
    assert words in str(caught.value)
    assert name in str(caught.value)


def test_two_releases() -> None:
    assert load({"LAB_RELEASES": "12, 13"}).releases == ("12", "13")


def test_every_parameter_names_the_newest_image_of_its_system() -> None:
    images = {entry["ami_id"]: entry for entry in catalog.images()}
    assert len(images) == len(catalog.images()) == 20
    for name, ami in catalog.parameters().items():
        found = images[ami]
        system = catalog.system_of(ami)
        assert system is not None
        rivals = [
            entry
            for entry in images.values()
            if catalog.system_of(str(entry["ami_id"])) == system and entry["architecture"] == found["architecture"]
        ]
        assert found["creation_date"] == max(str(entry["creation_date"]) for entry in rivals), name


def test_images_have_their_real_owners_and_root_devices() -> None:
    shapes = {
        (e["owner_id"], e["root_device_name"]) for e in catalog.images() if str(e["name"]).startswith("debian-13-")
    }
    assert shapes == {("136693071363", "/dev/xvda")}
    shapes = {(e["owner_id"], e["root_device_name"]) for e in catalog.images() if "ubuntu-noble" in str(e["name"])}
    assert shapes == {("099720109477", "/dev/sda1")}
    assert catalog.system_of("ami-0123") is None


def test_a_fault_counts_down_and_ends(tmp_path: Path) -> None:
    faults = Faults(tmp_path / "faults.json")
    faults.add(Fault("RunInstances", "InsufficientInstanceCapacity", "none left", times=2))
    assert faults.take("StopInstances") is None
    assert [bool(faults.take("RunInstances")) for _ in range(3)] == [True, True, False]
    assert not faults.path.exists()


def test_a_fault_in_one_zone(tmp_path: Path) -> None:
    faults = Faults(tmp_path / "faults.json")
    faults.add(Fault("RunInstances", "InsufficientInstanceCapacity", "none left", "us-west-2a"))
    assert faults.zoned("RunInstances")
    assert not faults.zoned("StopInstances")
    assert faults.take("RunInstances", "us-west-2b") is None
    assert faults.take("RunInstances") is None
    for _ in range(3):
        assert faults.take("RunInstances", "us-west-2a")


def test_a_second_fault_replaces_the_first(tmp_path: Path) -> None:
    faults = Faults(tmp_path / "faults.json")
    faults.add(Fault("RunInstances", "A", "a"))
    faults.add(Fault("RunInstances", "B", "b"))
    assert [fault.code for fault in faults.read()] == ["B"]
    faults.write([])
    assert faults.read() == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule("tcp", 22, 22, "192.0.2.7/32"), "ip saddr 192.0.2.7/32 tcp dport 22-22 accept"),
        (Rule("6", 80, 90, "192.0.2.7/24"), "ip saddr 192.0.2.0/24 tcp dport 80-90 accept"),
        (Rule("udp", 53, 53, "2001:db8::/32"), "ip6 saddr 2001:db8::/32 udp dport 53-53 accept"),
        (Rule("-1", None, None, "0.0.0.0/0"), "ip saddr 0.0.0.0/0 accept"),
        (Rule("icmp", 8, -1, "0.0.0.0/0"), "ip saddr 0.0.0.0/0 meta l4proto icmp icmp type 8 accept"),
        (Rule("icmp", -1, -1, "0.0.0.0/0"), "ip saddr 0.0.0.0/0 meta l4proto icmp accept"),
        (Rule("50", None, None, "0.0.0.0/0"), "ip saddr 0.0.0.0/0 meta l4proto 50 accept"),
    ],
)
def test_rules(rule: Rule, text: str) -> None:
    assert rule.render() == text


def test_a_ruleset_drops_what_no_rule_names() -> None:
    text = ruleset([Rule("tcp", 22, 22, "192.0.2.7/32"), Rule("tcp", 22, 22, "192.0.2.7/32")])
    assert text.count("dport") == 1
    assert text.index("established") < text.index("dport") < text.index("    drop\n")
    assert ruleset([]).count("accept") == 4


def nic(*groups: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(group_set=list(groups))


def test_a_rule_by_group_becomes_its_members_addresses() -> None:
    rule = SimpleNamespace(
        ip_protocol="tcp",
        from_port=5432,
        to_port=5432,
        cidr_ipv4=None,
        cidr_ipv6=None,
        referenced_group_info={"GroupId": "sg-a"},
    )
    one, two = SimpleNamespace(id="sg-a", ingress_rules=[]), SimpleNamespace(id="sg-b", ingress_rules=[rule])
    client = SimpleNamespace(nics={0: nic(one)}, public_ip="198.18.0.9", private_ip="172.31.0.9")
    target = SimpleNamespace(nics={0: nic(two)}, public_ip="198.18.0.8", private_ip="172.31.0.8")
    found = {rule.source for rule in wanted.rules_of(target, [client, target])}
    assert found == {"198.18.0.9/32", "172.31.0.9/32"}


TYPES = {
    "t3.micro": {"VCpuInfo": {"DefaultVCpus": 2}, "MemoryInfo": {"SizeInMiB": 1024}},
    "m5.4xlarge": {"VCpuInfo": {"DefaultVCpus": 16}, "MemoryInfo": {"SizeInMiB": 65536}},
}


def test_limits_follow_the_type_within_reason() -> None:
    assert wanted.limits("t3.micro", TYPES, 4) == wanted.Limits(2.0, wanted.LEAST_MIB)
    assert wanted.limits("m5.4xlarge", TYPES, 4) == wanted.Limits(4.0, 65536)
    assert wanted.Limits(2.0, 4096).flags() == ["--cpus=2", "--memory=4096m", "--memory-swap=4096m"]


def test_disks_keep_their_names_while_attached() -> None:
    start = datetime(2026, 11, 21, tzinfo=UTC)

    def block(volume: str, second: int) -> SimpleNamespace:
        return SimpleNamespace(volume_id=volume, attach_time=start + timedelta(seconds=second))

    backend = SimpleNamespace(get_volume=lambda _: SimpleNamespace(size=5))
    item = SimpleNamespace(root_device_name="/dev/xvda", ec2_backend=backend)
    item.get_block_device_mapping = [
        ("/dev/xvda", block("root", 0)),
        ("/dev/sdf", block("a", 1)),
        ("/dev/sdg", block("b", 2)),
    ]
    assert wanted.volumes_of(item) == {"nvme1n1": ("a", 5), "nvme2n1": ("b", 5)}
    item.get_block_device_mapping = [("/dev/xvda", block("root", 0)), ("/dev/sdg", block("b", 2))]
    assert wanted.volumes_of(item) == {"nvme2n1": ("b", 5)}
    item.get_block_device_mapping = [("/dev/sdg", block("b", 2)), ("/dev/sdh", block("c", 9))]
    assert wanted.volumes_of(item) == {"nvme2n1": ("b", 5), "nvme1n1": ("c", 5)}


def make_wanted(**changes: object) -> wanted.Wanted:
    values = {
        "id": "i-1",
        "state": "running",
        "region": "us-west-2",
        "ami": "ami-1",
        "kind": "t3.micro",
        "user": "ubuntu",
        "public_ip": "198.18.0.9",
        "private_ip": "172.31.0.4",
        "private_prefix": 20,
        "hostname": "ip-172-31-0-4",
        "public_key": "ssh-ed25519 A",
        "user_data": b"",
        "reboots": 0,
        "shutdown": "stop",
        "rules": "",
        "volumes": {},
        "metadata": {},
    }
    return wanted.Wanted(**{**values, **changes})  # type: ignore[arg-type]


def test_the_seed_carries_key_user_and_user_data() -> None:
    files = instances.seed(make_wanted(user_data=b"#!/bin/sh\n"))
    meta = json.loads(files["var/lib/cloud/seed/nocloud/meta-data"])
    assert meta == {"instance-id": "i-1", "local-hostname": "ip-172-31-0-4", "public-keys": ["ssh-ed25519 A"]}
    assert files["var/lib/cloud/seed/nocloud/user-data"] == b"#!/bin/sh\n"
    assert json.loads(files["etc/cloud/cloud.cfg.d/95-instance.cfg"])["system_info"]["default_user"]["name"] == "ubuntu"
    with tarfile.open(fileobj=io.BytesIO(instances.archive(files))) as tar:
        modes = {entry.name: entry.mode for entry in tar}
    assert modes["var/lib/cloud/seed/nocloud/user-data"] == 0o600


def fleet(tmp_path: Path, **environ: str) -> instances.Instances:
    return instances.Instances(load({"LAB_DIR": str(tmp_path), **environ}), TYPES)


def test_images_that_cannot_run_here_are_named(tmp_path: Path) -> None:
    by_os = {
        system.os: catalog.image_id(system.name.format(arch=system.architectures[0][0], date=system.dates[1]))
        for system in catalog.SYSTEMS
    }
    plain = fleet(tmp_path)
    assert plain.runnable(by_os["debian12"]) == plain.runnable(by_os["debian13"]) == ""
    assert "LAB_IMAGE=ubuntu:24.04" in plain.runnable(by_os["ubuntu2404"])
    assert "amazonlinux2023" in plain.runnable(by_os["amazonlinux2023"])
    assert fleet(tmp_path, LAB_IMAGE="ubuntu:24.04").runnable(by_os["ubuntu2404"]) == ""


def test_console_is_empty_until_there_is_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = fleet(tmp_path)

    def engine(*args: str) -> str:
        if args == ("logs", "lab-i-1"):
            return "-----BEGIN SSH HOST KEY KEYS-----"
        raise EngineError("No such container")

    monkeypatch.setattr(instances, "docker", engine)
    assert machines.console("i-2") == ""
    assert "BEGIN SSH HOST KEY KEYS" in machines.console("i-1")


def test_image_names() -> None:
    assert image.tag("13") == "localhost/notebook-host:13"
    assert image.tag("ubuntu:24.04") == "localhost/notebook-host:ubuntu-24.04"
    assert image.tag("13-prepared") == "localhost/notebook-host:13-prepared"
    with pytest.raises(EngineError):
        image.tag("-v /:/host")
    assert image.fingerprint("12") != image.fingerprint("13")


def test_a_prepared_host_follows_the_plain_one_and_the_locked_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, prepared = image.fingerprint("13"), image.fingerprint("13-prepared")
    lock = tmp_path / "requirements.txt"
    lock.write_text("jupyterlab==5\n")
    monkeypatch.setattr(image, "LOCK", lock)
    newer = image.fingerprint("13-prepared")
    assert (image.fingerprint("13"), newer != prepared) == (plain, True)
    monkeypatch.setattr(image, "host_authorities", lambda: {"company.crt": b"another authority"})
    assert image.fingerprint("13") != plain
    assert image.fingerprint("13-prepared") != newer


def test_the_images_of_hosts_are_made_without_the_environment() -> None:
    """`make demo` makes them while it installs that."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "lab.image"],
        cwd=ROOT, env={"LAB_IMAGE": "no name"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "lab: `no name` is not 12, 13, 13-prepared or the name of an image.\n")


def test_the_environment_is_private_and_keeps_its_key(tmp_path: Path) -> None:
    settings: Settings = load({"LAB_DIR": str(tmp_path)})
    first = server.write_environment(settings)
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600
    assert server.write_environment(settings) == first == server.read_environment(tmp_path / "env")
    assert len(first["AWS_ACCESS_KEY_ID"]) == 20


@pytest.mark.parametrize(
    ("service", "mark"), [("ec2", "<Code>AuthFailure<"), ("sts", "<Code>Sig"), ("ssm", '"__type": "Sig')]
)
def test_an_unknown_region_is_refused_in_the_services_own_format(service: str, mark: str) -> None:
    _, body = server.region_error(service)
    assert mark in body.decode()
    assert "valid region" in body.decode()


def test_the_roles_own_installer_is_what_is_probed(tmp_path: Path) -> None:
    variables = tmp_path / "main.yml"
    variables.write_text(
        "__anaconda_kernels_distributions: {miniforge: {version: '1.2', url: 'https://a.example/{version}-{architecture}.sh'}}"
    )
    installer, channel = sources.role_urls(variables)
    assert installer.startswith("https://a.example/1.2-")
    assert channel.endswith("/conda-forge/noarch/repodata.json.zst")
    assert sources.role_urls()[0].startswith("https://")
    assert "{" not in sources.role_urls()[0]


def test_sentences_name_every_source() -> None:
    found = {name: {"stand_in": name == "conda"} for name in sources.NAMES}
    assert [text.endswith("a stand-in") for text in sources.sentences(found)] == [False, True, False]

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from plugins.filter import ec2_provision as role

GOOD: dict[str, Any] = {
    "name": "demo",
    "project": "notebook-server",
    "os": "debian13",
    "image_id": "",
    "disk_gb": 30,
    "allowed_cidrs": [],
    "jupyter_ports": [443],
    "extra_ingress": [],
    "instance_profile": "",
    "key_public_file": "",
    "key_private_file": "",
    "tags": {},
    "expires": "",
}
OFFER: dict[str, Any] = {
    "account_id": "1",
    "region": "us-west-2",
    "endpoint": None,
    "type": {"name": "t3.large", "architecture": "x86_64"},
    "image": {"id": "ami-1", "architecture": "x86_64", "disk_gb": 8},
}
RECORD = {"account_id": "1", "region": "us-west-2", "endpoint": None, "disk_gb": 30}
FOUND: dict[str, Any] = {"instances": [], "strangers": [], "key_pairs": []}
INSTANCE = {"id": "i-1", "disk_gb": 30, "key_name": "k"}


def problems(**changed: Any) -> list[str]:
    return role.setting_problems({**GOOD, **changed}, {"debian13": {}})


def test_good_settings() -> None:
    assert problems() == []
    assert problems(jupyter_ports=[443, 8443], instance_profile="notebooks+x@y") == []
    assert problems(jupyter_ports=[]) == []
    assert problems(allowed_cidrs=["203.0.113.7", "198.51.100.9/24", "2001:db8::1", "0.0.0.0/0", "::/0"]) == []
    assert (
        problems(extra_ingress=[{"port": 8050, "cidr": "0.0.0.0/0", "reason": "course"}], tags={"Owner": "ann"}) == []
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "A_b"}, "The server name 'A_b' cannot be"),
        ({"project": ""}, "ec2_provision_project '' cannot be"),
        ({"os": "debian14"}, "set ec2_provision_os to debian13"),
        ({"allowed_cidrs": "203.0.113.7"}, "must be a list"),
        ({"allowed_cidrs": ["300.1.1.1"]}, "is not an address range"),
        ({"allowed_cidrs": ["0.0.0.0/1"]}, "good part of the internet: write 0.0.0.0/0"),
        ({"allowed_cidrs": ["2000::/3"]}, "good part of the internet: write ::/0"),
        ({"allowed_cidrs": ["1.2.3.4/0"]}, "means the whole internet: write 0.0.0.0/0"),
        ({"allowed_cidrs": [f"203.0.113.{n}" for n in range(40)]}, "80 rules are more"),
        ({"allowed_cidrs": [f"203.0.113.{n}" for n in range(21)], "jupyter_ports": [443, 8443]}, "63 rules are more"),
        ({"jupyter_ports": [443, 0]}, "is not a port"),
        ({"jupyter_ports": [22]}, "which SSH has"),
        ({"jupyter_ports": 443}, "must be a list"),
        ({"jupyter_ports": [443, 8443], "extra_ingress": [{"port": 8443, "cidr": "1.2.3.4"}]}, "which JupyterLab has"),
        ({"instance_profile": "arn:aws:iam::1:instance-profile/x"}, "give the name of an instance profile"),
        ({"extra_ingress": [{"port": 8050}]}, "must have port and cidr"),
        ({"extra_ingress": [{"port": 8050, "cidr": "1.2.3.4", "why": ""}]}, "must have port and cidr"),
        ({"extra_ingress": [{"port": 99999, "cidr": "1.2.3.4"}]}, "is not a port"),
        ({"extra_ingress": [{"port": 443, "cidr": "1.2.3.4"}]}, "which JupyterLab has"),
        ({"extra_ingress": [{"port": 8050, "cidr": "::/0", "reason": " "}]}, "without a reason"),
        ({"disk_gb": "many"}, "give a number of GB"),
        ({"disk_gb": 15}, "too small"),
        ({"disk_gb": 16385}, "at most 16384"),
        ({"tags": []}, "must be a mapping"),
        ({"tags": {"ExpiresAt": "2030-01-01"}}, "set ec2_provision_expires instead"),
        ({"expires": "tomorrow"}, "write a day like"),
        ({"expires": "20300101"}, "write a day like"),
        ({"expires": "2030-02-30"}, "write a day like"),
        ({"tags": {"Project": "x"}}, "how the server is found again"),
        ({"tags": {"aws:x": "y"}}, "AWS does not take"),
    ],
)
def test_bad_settings(changed: dict[str, Any], words: str) -> None:
    (problem,) = problems(**changed)
    assert words in problem
    assert problem.endswith(".")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name, kind, word in (
        ("one", "ed25519", ""),
        ("two", "ed25519", "secret"),
        ("rsa", "rsa", ""),
        ("curve", "ecdsa", ""),
    ):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", word, "-f", str(folder / name)], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", "", "-f", str(folder / "pem")], check=True)
    (folder / "text").write_text("hello")
    (folder / "bytes").write_bytes(b"\xff\xfe")
    return folder


@pytest.mark.parametrize("name", ["one", "two", "rsa", "pem"])
def test_good_key_pairs_even_with_a_passphrase(keys: Path, name: str) -> None:
    assert role.key_problems(str(keys / f"{name}.pub"), str(keys / name)) == []


@pytest.mark.parametrize(
    ("public", "private", "words"),
    [
        ("", "one", "Give both"),
        ("one.pub", "", "Give both"),
        ("none.pub", "one", "which is not there"),
        ("one", "one.pub", "names a private key"),
        ("one.pub", "two.pub", "names a public key"),
        ("one.pub", "text", "is not an SSH private key"),
        ("text", "one", "is not an ed25519 or RSA public key"),
        ("curve.pub", "curve", "is not an ed25519 or RSA public key"),
        ("bytes", "one", "cannot be read"),
        ("one.pub", "two", "not two halves of one key"),
    ],
)
def test_bad_key_pairs(keys: Path, public: str, private: str, words: str) -> None:
    (problem,) = role.key_problems(*(str(keys / name) if name else "" for name in (public, private)))
    assert words in problem


@pytest.mark.parametrize(
    ("offer", "settings", "record", "words"),
    [
        ({}, {}, {**RECORD, "account_id": "2"}, "was launched in AWS account 2"),
        (
            {},
            {},
            {**RECORD, "endpoint": "http://x"},
            "was launched at http://x, and now AWS_ENDPOINT_URL points to AWS",
        ),
        ({}, {}, {**RECORD, "region": "eu-west-1"}, "a server cannot move"),
        ({}, {"disk_gb": 20}, RECORD, "a disk cannot shrink"),
        ({"image": {}}, {}, {}, "There is no image of debian13 for x86_64"),
        ({"image": {}}, {"image_id": "ami-9"}, {}, "There is no image ami-9"),
        ({"image": {**OFFER["image"], "architecture": "arm64"}}, {}, {}, "is for arm64"),
        ({"image": {**OFFER["image"], "disk_gb": 50}}, {}, {}, "needs 50 GB"),
        ({}, {"expires": "2026-01-31"}, {}, "would be overdue from its first minute"),
    ],
)
def test_offers_that_do_not_fit(offer: Any, settings: Any, record: Any, words: str) -> None:
    (problem,) = role.offer_problems({**OFFER, **offer}, {**GOOD, **settings}, record)
    assert words in problem


def test_offers_that_fit() -> None:
    assert role.offer_problems(OFFER, GOOD, {}) == []
    assert role.offer_problems({**OFFER, "image": {}}, GOOD, RECORD) == []
    assert role.offer_problems(OFFER, {**GOOD, "expires": "2999-12-31"}, {}) == []
    # A server that is there is kept, overdue or not.
    assert role.offer_problems(OFFER, {**GOOD, "expires": "2026-01-31"}, RECORD) == []


@pytest.mark.parametrize(
    ("found", "image", "key", "words"),
    [
        ({"instances": [INSTANCE, {**INSTANCE, "id": "i-2"}]}, {}, "k", "2 instances bear the tags of demo (i-1, i-2)"),
        ({"strangers": ["key pair x"]}, {"id": "ami-1"}, "k", "AWS has a key pair x that this project did not make"),
        ({}, {}, "k", "is gone, and so is its instance"),
        ({"instances": [{**INSTANCE, "disk_gb": 50}]}, {}, "k", "a disk cannot shrink"),
        ({"instances": [INSTANCE]}, {}, "", "its private key is not on this machine"),
        ({"instances": [INSTANCE], "key_pairs": [{"name": "k", "public_key": "old"}]}, {}, "new", "another SSH key"),
    ],
)
def test_what_is_there_and_does_not_fit(found: Any, image: Any, key: str, words: str) -> None:
    (problem,) = role.present_problems({**FOUND, **found}, {"image": image}, GOOD, key)
    assert words in problem


def test_what_is_there_and_fits() -> None:
    assert role.present_problems(FOUND, {"image": {"id": "ami-1"}}, GOOD, "") == []
    found = {**FOUND, "instances": [INSTANCE], "key_pairs": [{"name": "k", "public_key": "mine"}]}
    assert role.present_problems(found, {"image": {}}, GOOD, "mine") == []


def test_rules() -> None:
    rules = role.rules(
        ["203.0.113.7", "2001:db8::1"], [443, 8443], [{"port": 8050, "cidr": "10.1.2.3/8", "reason": "Ann's <board>"}]
    )
    assert [(r["ports"], r.get("cidr_ip") or r.get("cidr_ipv6")) for r in rules] == [
        (["22"], "203.0.113.7/32"),
        (["22"], "2001:db8::1/128"),
        (["443"], "203.0.113.7/32"),
        (["443"], "2001:db8::1/128"),
        (["8443"], "203.0.113.7/32"),
        (["8443"], "2001:db8::1/128"),
        (["8050"], "10.0.0.0/8"),
    ]
    assert rules[-1]["rule_desc"] == "Ann s  board "
    assert len(role.rules(["203.0.113.7", "203.0.113.7/32"], [443, 443], [])) == 2


def test_subnets() -> None:
    assert role.subnets(["a", "b"], "10.20.0.0/16") == [
        {"zone": "a", "cidr": "10.20.0.0/20"},
        {"zone": "b", "cidr": "10.20.16.0/20"},
    ]
    assert role.made_subnets([{"subnet": {"id": "s", "availability_zone": "a"}}, {"skipped": True}], ["a"]) == [
        {"id": "s", "zone": "a"}
    ]
    assert role.made_subnets([], ["a"]) == [{"id": "", "zone": "a"}]


ABOUT = {"type": "t3.large", "region": "us-west-2", "zones": "us-west-2a"}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (
            {"msg": "x", "error": {"code": "InsufficientInstanceCapacity", "message": "No room."}},
            "It failed: No room (InsufficientInstanceCapacity). AWS has no free t3.large in us-west-2a now",
        ),
        (
            {"msg": "An error occurred (VcpuLimitExceeded) when calling the RunInstances operation: Too many."},
            "It failed: Too many (VcpuLimitExceeded). Your account's quota",
        ),
        (
            {"results": [{"failed": False}, {"failed": True, "msg": "one of them"}], "msg": "loop"},
            "It failed: one of them.",
        ),
        ({"msg": "no code here"}, "It failed: no code here."),
    ],
)
def test_explain(result: dict[str, Any], words: str) -> None:
    assert role.explain(result, "It", ABOUT).startswith(words)


@pytest.mark.parametrize("code", role.HELP)
def test_every_help_can_be_filled_in(code: str) -> None:
    assert "{" not in role.explain({"error": {"code": code, "message": "m"}}, "It", ABOUT)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"host_keys": []}, "did not print its SSH host keys"),
        ({"rc": 255, "stderr": "Host key verification failed."}, "somebody may stand between"),
        ({"rc": 255, "stderr": "a\nConnection timed out"}, "was not ready within 600 seconds (Connection timed out)"),
        ({"rc": 75, "stdout": "cloud-init is still at work"}, "(cloud-init is still at work)"),
        ({"rc": 1, "stdout": "cloud-init failed: x"}, "cannot be worked on: cloud-init failed: x."),
    ],
)
def test_waited(result: dict[str, Any], words: str) -> None:
    assert words in role.waited(result, "demo", "198.18.0.9", 600)

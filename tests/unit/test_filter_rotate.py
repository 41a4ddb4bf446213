from __future__ import annotations

from typing import Any

import pytest

from plugins.filter import ec2_provision, mysql, postgres
from plugins.filter import rotate as role

FACTS: dict[str, Any] = {
    "name": "demo",
    "known": True,
    "kept": True,
    "components": ["jupyter_tls", "notebook_container"],
    "launched": True,
    "own_key_file": "",
    "own_password": False,
    "own_certificate_file": "",
    "credentials_dir": "/c",
    "ca_dir": "/ca",
    "mysql_users": [{"name": "jupyter", "plugin": "socket"}, {"name": "ann"}, {"name": "bob", "password": "given"}],
    "postgres_users": [{"name": "eve", "state": "absent"}, {"name": "peer", "plugin": "peer"}],
    "mysql_tls": False,
    "postgres_tls": True,
    "postgres_own_certificate_file": "",
    "unfinished": [],
}


def plan(asked: Any, **changed: Any) -> dict[str, list[str]]:
    return role.rotate_plan(asked, {**FACTS, **changed})


def test_all_and_some() -> None:
    made = plan("all")
    assert made["parts"] == ["ssh_key", "jupyter_password", "database_passwords", "certificate"]
    assert not made["problems"]
    says = " ".join(made["says"])
    assert "JupyterLab and the notebook image" in says and "MySQL: ann)" in says and "PostgreSQL reads" in says
    assert "CA:" not in says
    assert plan("certificate, ssh_key")["parts"] == ["ssh_key", "certificate"]
    assert plan(["jupyter_password"])["parts"] == ["jupyter_password"]


def test_a_new_ca_brings_new_certificates() -> None:
    made = plan("ca")
    assert set(made["parts"]) == {"certificate", "ca"}
    assert any("EVERYBODY" in line for line in made["says"])


@pytest.mark.parametrize(
    ("asked", "changed", "words"),
    [
        ("", {}, "Nothing was asked for"),
        ("ssh", {}, "rotate=ssh is none of these"),
        ("ssh_key", {"own_key_file": "~/.ssh/id_rsa"}, "a key of your own"),
        ("ssh_key", {"launched": False}, "was not launched"),
        ("jupyter_password", {"own_password": True}, "jupyter_tls_password"),
        ("jupyter_password", {"components": ["mysql"]}, "no JupyterLab"),
        ("database_passwords", {"mysql_users": []}, "accounts by socket have none"),
        ("certificate", {"own_certificate_file": "x.pem", "postgres_tls": False}, "your own (x.pem)"),
        ("ca", {"components": [], "postgres_tls": False}, "nothing on demo has a certificate"),
        ("all", {"known": False}, "is not there yet"),
        ("all", {"kept": False}, "copy that folder from where they were, or apply site.yml here"),
        (
            "all",
            {"components": [], "launched": False, "mysql_users": [], "postgres_tls": False},
            "no secret that could be changed",
        ),
    ],
)
def test_refused_with_a_sentence(asked: str, changed: dict[str, Any], words: str) -> None:
    made = plan(asked, **changed)
    assert words in " ".join(made["problems"])
    assert not made["parts"]


def test_all_leaves_out_what_is_not_there_and_says_so() -> None:
    made = plan("all", launched=False)
    assert "ssh_key" not in made["parts"] and not made["problems"]
    assert any(line.startswith("Left out: ssh_key, because demo was not launched") for line in made["says"])


def test_what_was_cut_off_is_finished() -> None:
    left = ["mysql_ann.new", "id_ed25519.old", "jupyter_password.new"]
    made = plan("certificate", unfinished=left)
    assert made["parts"] == ["ssh_key", "jupyter_password", "database_passwords", "certificate"]
    assert "cut off" in made["says"][-1] and "mysql_ann.new" in made["says"][-1]


def test_new_passwords_lie_beside_the_former(tmp_path: Any) -> None:
    asked = {
        "users": [{"name": "ann"}, {"name": "bob", "password": "given-one"}, {"name": "jupyter", "plugin": "socket"}],
        "remote_access": {},
        "credentials_dir": str(tmp_path),
    }
    for name in ("mysql_ann", "postgres_ann"):
        (tmp_path / name).write_text("former")
        (tmp_path / f"{name}.new").write_text("newer")
    assert mysql.mysql_secrets(asked, "mariadb") == {"ann": "former", "bob": "given-one"}
    secrets = mysql.mysql_secrets(asked, "mariadb", ".new")
    assert secrets == {"ann": "newer", "bob": "given-one"}
    assert mysql.mysql_rotated(asked, "mariadb") == ["ann"]
    logins = mysql.mysql_logins(mysql.mysql_accounts(asked, "mariadb"), secrets)
    assert logins[0] == {"name": "ann", "host": "localhost", "password": "newer"} and len(logins) == 2
    users = [{"name": "ann"}, {"name": "bob", "password": "given-one"}]
    found = {one["name"]: one for one in postgres.postgres_passwords(users, str(tmp_path), ".new")}
    assert found["ann"]["file"].endswith("postgres_ann.new") and found["ann"]["password"] == "newer"
    assert found["bob"]["file"].endswith("postgres_bob")


def test_the_key_and_what_failed() -> None:
    settings = {"name": "demo", "key_private_file": ""}
    assert not ec2_provision.rotate_problems(settings, {"user": "admin"}, True)
    assert (
        "key of your own"
        in ec2_provision.rotate_problems({**settings, "key_private_file": "~/k"}, {"user": "a"}, True)[0]
    )
    assert "no record" in ec2_provision.rotate_problems(settings, {}, True)[0]
    assert "bring back" in ec2_provision.rotate_problems(settings, {"user": "admin"}, False)[0]
    about = {"type": "t", "region": "r", "zones": ""}
    said = ec2_provision.rotate_failed({"rc": 255, "stderr": "timed out"}, "demo", "Let the new key in", False, about)
    assert "timed out. Is the server running" in said and "old key is in use" in said
    denied = {"error": {"code": "UnauthorizedOperation", "message": "no."}}
    said = ec2_provision.rotate_failed(denied, "demo", "Give AWS its public half", True, about)
    assert "(UnauthorizedOperation). Ask whoever" in said and "new key is in use" in said


def test_a_rotation_that_was_cut_off_is_no_other_servers_key() -> None:
    found = {"instances": [{"id": "i-1", "disk_gb": 30, "key_name": "k"}], "strangers": [], "key_pairs": []}
    settings = {"name": "demo", "disk_gb": 30}
    found["key_pairs"] = [{"name": "k", "public_key": "ssh-ed25519 OLD"}]
    offer = {"image": {"id": "ami-1"}}
    new, old = "ssh-ed25519 NEW", "ssh-ed25519 OLD"
    assert "another SSH key" in ec2_provision.present_problems(found, offer, settings, new)[0]
    assert not ec2_provision.present_problems(found, offer, settings, new, old)

"""What the desk hands to kernels: packages, variables and samples."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from plugins.filter import desk

SAMPLES = {
    path.name: path.read_text()
    for path in (Path(__file__).resolve().parents[2] / "roles/desk/files/samples").glob("*.ipynb")
}
SETTINGS = {
    "user": "jupyter",
    "mysql_socket": "/run/mysqld/mysqld.sock",
    "mysql_database": "notebooks",
    "postgres_socket_dir": "/run/postgresql",
    "postgres_database": "notebooks",
    "region": "us-west-2",
    "s3_endpoint_url": "",
    "s3_bucket": "",
}
SERVER = {"name": "native", "folder": "/srv/notebooks", "python_kernel": "py313", "r_kernel": "r"}


def test_variables_hold_no_password() -> None:
    made = desk.desk_environment(SETTINGS)
    assert set(made) == {
        "MYSQL_UNIX_PORT", "MYSQL_DATABASE", "MYSQL_USER", "MYSQL_URL", "PGHOST", "PGDATABASE", "PGUSER", "POSTGRES_URL",
        "AWS_DEFAULT_REGION", "PLOOMBER_STATS_ENABLED",
    }  # fmt: skip
    assert [urlsplit(made[name]).password for name in ("MYSQL_URL", "POSTGRES_URL")] == [None, None]
    assert parse_qs(urlsplit(made["MYSQL_URL"]).query)["unix_socket"] == ["/run/mysqld/mysqld.sock"]
    assert parse_qs(urlsplit(made["POSTGRES_URL"]).query)["host"] == ["/run/postgresql"]


def test_another_port_is_told_to_programs_and_the_usual_one_is_not() -> None:
    made = desk.desk_environment({**SETTINGS, "postgres_port": 5433})
    assert made["PGPORT"] == "5433"
    assert parse_qs(urlsplit(made["POSTGRES_URL"]).query) == {"host": ["/run/postgresql"], "port": ["5433"]}
    assert "PGPORT" not in desk.desk_environment({**SETTINGS, "postgres_port": "5432"})


def test_names_with_signs_stay_one_part_of_an_url() -> None:
    made = desk.desk_environment({**SETTINGS, "user": "a@b", "mysql_database": "x?y"})
    assert urlsplit(made["MYSQL_URL"]).path == "/x%3Fy"
    assert urlsplit(made["MYSQL_URL"]).hostname == "localhost"


def test_what_a_server_lacks_has_no_variable() -> None:
    lacking = {**SETTINGS, "mysql_database": "", "postgres_database": "", "region": ""}
    assert desk.desk_environment(lacking) == {"PLOOMBER_STATS_ENABLED": "false"}


def test_kernels_get_what_is_missing_and_keep_what_is_asked_for() -> None:
    kernels: list[dict[str, Any]] = [
        {"name": "py", "packages": ["python=3.13", "conda-forge::SQLAlchemy=1.4"]},
        {"name": "r", "language": "r", "packages": ["r-base"]},
        {"name": "file", "environment_file": "x.yml"},
        {"name": "gone", "packages": ["python"], "state": "absent"},
    ]
    full = desk.desk_kernels(kernels, ["sqlalchemy", "boto3"], ["r-dbi"])
    assert full[0]["packages"] == ["python=3.13", "conda-forge::SQLAlchemy=1.4", "boto3"]
    assert full[1]["packages"] == ["r-base", "r-dbi"]
    assert full[2:] == kernels[2:]
    assert kernels[0]["packages"] == ["python=3.13", "conda-forge::SQLAlchemy=1.4"]


@pytest.mark.parametrize(("language", "name"), [("python", "b"), ("r", ""), ("julia", "")])
def test_the_first_kernel_of_a_language(language: str, name: str) -> None:
    kernels = [{"name": "a", "state": "absent"}, {"name": "b"}, {"name": "c"}]
    assert desk.desk_kernel_name(kernels, language) == name


def test_samples_are_bound_to_the_kernels_of_each_server() -> None:
    image = {**SERVER, "name": "image", "python_kernel": "python3", "r_kernel": "ir"}
    files = desk.desk_samples([SERVER, image], SAMPLES, "/samples", desk.desk_environment(SETTINGS))
    kernels = {file["path"]: json.loads(file["content"])["metadata"]["kernelspec"]["name"] for file in files}
    assert len(files) == 2 * len(SAMPLES) == 10
    assert kernels["/samples/native/1-plot.ipynb"] == "py313"
    assert kernels["/samples/native/5-r.ipynb"] == "r"
    assert kernels["/samples/image/5-r.ipynb"] == "ir"


def test_samples_of_what_is_not_there_are_left_out() -> None:
    names = [
        Path(file["path"]).name for file in desk.desk_samples([{**SERVER, "r_kernel": ""}], SAMPLES, "/samples", {})
    ]
    assert names == ["1-plot.ipynb", "4-s3.ipynb"]


def test_samples_come_without_outputs() -> None:
    for text in SAMPLES.values():
        for cell in json.loads(text)["cells"]:
            assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.parametrize(
    ("servers", "folder", "said"),
    [
        ([SERVER], "/samples", ""),
        ([SERVER, SERVER], "/samples", "desk_servers names native twice;"),
        ([{**SERVER, "name": "../etc"}], "/samples", "desk_servers names '../etc'; a name begins"),
        ([{**SERVER, "folder": "notebooks"}], "/samples", "'notebooks' is not an absolute path;"),
        ([SERVER], "samples", "'samples' is not an absolute path;"),
    ],
)
def test_settings_that_cannot_work_are_refused(servers: list[dict[str, Any]], folder: str, said: str) -> None:
    assert " ".join(desk.desk_problems(servers, folder)).startswith(said)
    assert bool(said) == bool(desk.desk_problems(servers, folder))


def test_a_host_that_has_all_is_left_alone() -> None:
    files = desk.desk_samples([SERVER], SAMPLES, "/samples", {})
    said = [f"file 644 root {hashlib.sha256(file['content'].encode()).hexdigest()}  {file['path']}" for file in files]
    plan = desk.desk_plan("\n".join([*said, "link /samples/native /srv/notebooks"]), files, [SERVER], "/samples")
    assert not any(plan.values())


def test_a_host_gets_what_it_lacks_and_loses_what_is_old() -> None:
    files = desk.desk_samples([SERVER], SAMPLES, "/samples", {})
    old = f"file 666 root {'0' * 64}  {files[0]['path']}\nfile 644 root {'0' * 64}  /samples/native/old.ipynb"
    plan = desk.desk_plan(f"{old}\nnone - /srv/notebooks", files, [SERVER], "/samples")
    assert [file["path"] for file in plan["files"]] == [file["path"] for file in files]
    assert plan["gone"] == ["/samples/native/old.ipynb"]
    assert plan["folders"] == ["/samples/native"]
    assert plan["links"] == [{"path": "/srv/notebooks/samples", "target": "/samples/native"}]


def test_a_folder_of_somebody_s_own_stays() -> None:
    plan = desk.desk_plan("other - /srv/notebooks", [], [SERVER], "/samples")
    assert (plan["links"], plan["others"]) == ([], ["/srv/notebooks/samples"])

"""Filters of the role notebook_container."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("notebook_container", ROOT / "plugins/filter/notebook_container.py")
assert spec and spec.loader
notebook_container = importlib.util.module_from_spec(spec)
spec.loader.exec_module(notebook_container)

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def settings() -> dict[str, Any]:
    """Settings that work."""
    return {
        "image": "quay.io/jupyter/datascience-notebook:2026-07-28",
        "digest": DIGEST,
        "require_digest": True,
        "port": 8443,
        "bind_address": "0.0.0.0",
        "uid": "",
        "data_dir": "/srv/notebooks-container",
        "packages": ["pandas=2.*", "conda-forge::r-dbi", "numpy>=2"],
        "channels": ["conda-forge", "https://conda.example.org/forge"],
        "sockets": ["/run/mysqld", "/run/postgresql"],
        "shared_paths": ["/usr/local/share/samples"],
        "environment": {"PGHOST": "/run/postgresql", "NOTEBOOK_BUCKET": "b"},
        "memory": "6g",
        "pids": 4096,
        "cull_idle_timeout": 0,
        "wait_s": 180,
    }


def test_settings_that_work_are_not_refused(settings: dict[str, Any]) -> None:
    assert notebook_container.notebook_container_problems(settings) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image": f"a/b:1@{DIGEST}"}, "; give what comes after @ as notebook_container_digest."),
        ({"image": "no image"}, "notebook_container_image is 'no image', no reference of an image;"),
        ({"digest": "sha256:..."}, "notebook_container_digest is 'sha256:...'; give sha256: and 64"),
        (
            {"digest": ""},
            "notebook_container_digest is empty, and images without one are refused; give that of quay.io/",
        ),
        ({"port": 0}, "notebook_container_port is 0; give 1 to 65535."),
        ({"pids": 10}, "notebook_container_pids is 10; give 64 to 4194304;"),
        ({"wait_s": 4}, "notebook_container_wait_s is 4; give 5 to 3600 seconds."),
        ({"cull_idle_timeout": -1}, "notebook_container_cull_idle_timeout is -1; give 0 (never)"),
        ({"uid": "0"}, "notebook_container_uid is 0; give 1 to 65533, or leave it empty"),
        ({"uid": "ada"}, "notebook_container_uid is ada;"),
        ({"memory": "90%"}, "notebook_container_memory is '90%'; give a number with k, m or g"),
        ({"bind_address": "localhost"}, "notebook_container_bind_address is 'localhost'; give an IP address"),
        ({"data_dir": "/srv"}, "notebook_container_data_dir is '/srv'; give a full path of a folder of its own"),
        ({"data_dir": "/srv/../etc/x"}, "notebook_container_data_dir is '/srv/../etc/x'; give a full path"),
        ({"data_dir": "/home/ada/notebooks"}, "in the home of a person who logs in"),
        (
            {"sockets": ["/run"]},
            "notebook_container_sockets names /run, which is or holds a socket of the container engine",
        ),
        ({"sockets": ["/var/run/docker.sock"]}, "which is or holds a socket of the container engine"),
        ({"sockets": ["run/mysqld"]}, "notebook_container_sockets names 'run/mysqld'; give full paths"),
        ({"shared_paths": ["samples"]}, "notebook_container_shared_paths names 'samples'; give full paths"),
        ({"shared_paths": ["/var/lib"]}, "notebook_container_shared_paths names /var/lib, which is or holds a socket"),
        ({"packages": ["--help"]}, "notebook_container_packages names '--help'; give what `mamba install` takes"),
        ({"packages": ["pandas >=2"]}, "notebook_container_packages names 'pandas >=2'"),
        ({"channels": ["-c"]}, "notebook_container_channels names '-c'; give a name or an address."),
        ({"channels": ["https://ann:secret@conda.example.org"]}, "has a channel with a login in it"),
        ({"channels": []}, "notebook_container_channels is empty, and there are packages to install"),
        ({"environment": {"JUPYTER_TOKEN": "x"}}, "names JUPYTER_TOKEN, which the server itself depends on"),
        ({"environment": {"1st": "x"}}, "notebook_container_environment names '1st';"),
        ({"environment": {"A": "x\ny"}}, "notebook_container_environment gives A more than one line"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], change: dict[str, Any], sentence: str) -> None:
    problems = notebook_container.notebook_container_problems(settings | change)
    assert len(problems) == 1
    assert sentence in problems[0]


def test_an_image_made_on_the_host_needs_no_digest(settings: dict[str, Any]) -> None:
    change = {"image": "localhost/mine:1", "digest": ""}
    assert notebook_container.notebook_container_problems(settings | change) == []


@pytest.mark.parametrize(
    ("image", "digest", "reference"),
    [
        ("quay.io/jupyter/a:2026-07-28", "", "quay.io/jupyter/a:2026-07-28"),
        ("quay.io/jupyter/a:2026-07-28", DIGEST, f"quay.io/jupyter/a@{DIGEST}"),
        ("registry:5000/a", DIGEST, f"registry:5000/a@{DIGEST}"),
        ("a:1", DIGEST, f"a@{DIGEST}"),
    ],
)
def test_a_digest_takes_the_place_of_the_tag(image: str, digest: str, reference: str) -> None:
    assert notebook_container.notebook_container_reference(image, digest) == reference


def test_memory_is_four_fifths_in_steps() -> None:
    assert notebook_container.notebook_container_memory("8148000") == "6144m"
    assert notebook_container.notebook_container_memory("8140000") == "6144m"
    assert notebook_container.notebook_container_memory("400000") == "512m"
    assert notebook_container.notebook_container_memory("") == "512m"


def look(**parts: str) -> dict[str, str]:
    """What a host would say."""
    whole = {"gid": "995", "directories": "", "files": "", **parts}
    return notebook_container.notebook_container_state("".join(f"== {name}\n{text}\n" for name, text in whole.items()))


def test_only_directories_that_differ_are_made() -> None:
    wanted = {"config": "/etc/nc", "data": "/srv/d", "uid": "990", "shared": ["/srv/a", "/srv/b"]}
    state = look(directories="0 995 750 /etc/nc\n0 995 755 /srv/d\n990 995 750 /srv/d/home\n7 7 700 /srv/b")
    assert notebook_container.notebook_container_directories(state, wanted) == [
        {"path": "/srv/d", "owner": "0", "group": "995", "mode": "0750"},
        {"path": "/srv/d/work", "owner": "990", "group": "995", "mode": "0750"},
        {"path": "/srv/a", "owner": "0", "group": "0", "mode": "0755"},
    ]
    assert notebook_container.notebook_container_directories(look(gid=""), wanted) == []


def test_only_files_that_differ_are_written() -> None:
    right = hashlib.sha256(b"text\n").hexdigest()
    files = {"right": "text\n", "open": "text\n", "other": "more\n", "missing": ""}
    state = look(files=f"right 0 995 640 {right}\nopen 0 995 644 {right}\nother 0 995 640 {right}")
    assert notebook_container.notebook_container_stale_files(state, files) == ["open", "other", "missing"]


def test_sockets_are_seen_in_the_same_place_and_not_written_to() -> None:
    assert notebook_container.notebook_container_read_only_volumes(["/run/mysqld"]) == [
        {"source": "/run/mysqld", "target": "/run/mysqld", "read_only": True}
    ]


def test_the_last_words_are_one_line() -> None:
    assert notebook_container.notebook_container_last_words("a\n\n b\nc\nd\ne\n") == "b / c / d / e"
    assert notebook_container.notebook_container_last_words("") == "it said nothing."

"""The desk: databases, S3 and samples are simply there, in JupyterLab of the server and in the notebook image."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest

from tests.e2e import notebooks
from tests.lab_site import REPORTS, ROOT, Site
from tests.played import Run, play

PAGES = REPORTS / "notebooks"
# What each sample must say or draw, besides ending without an error.
SAID = {
    "1-plot.ipynb": [],
    "2-mysql.ipynb": ["jupyter@localhost", "Torgersen"],
    "3-postgres.ipynb": ["PostgreSQL", "jupyter", "Torgersen"],
    "4-s3.ipynb": ["celsius"],
    "5-r.ipynb": ["42", "2149"],
}
DRAWN = {"1-plot.ipynb", "4-s3.ipynb", "5-r.ipynb"}
SERVERS = {"native": 443, "container": 8443}
SAMPLES = "/usr/local/share/notebook-samples"
# On the disk for data, which the server of these tests has.
FOLDERS = {"native": "/data/notebooks", "container": "/data/notebooks-container/work"}


def client(server: Site, name: str) -> notebooks.Client:
    """Log in to one of the two."""
    return notebooks.Client(server.record["public_ip"], SERVERS[name], server.ca_file, server.password)


@pytest.fixture(scope="module", params=SERVERS)
def desk(server: Site, request: pytest.FixtureRequest) -> notebooks.Client:
    """Someone at one of the two servers of notebooks."""
    return client(server, request.param)


def test_the_samples_are_there(desk: notebooks.Client) -> None:
    assert desk.folder("samples") == sorted(SAID)


@pytest.mark.parametrize("name", sorted(SAID))
def test_a_sample_runs_from_top_to_bottom(desk: notebooks.Client, name: str) -> None:
    notebook = desk.run(desk.read(f"samples/{name}"), "")
    for text in SAID[name]:
        assert text in notebooks.text_of(notebook)
    assert notebooks.pictures(notebook) >= (name in DRAWN)
    copy = f"ran-{name}"
    assert desk.write(copy, notebook) in (200, 201)
    page = desk.render(copy)
    assert "Traceback" not in page
    PAGES.mkdir(parents=True, exist_ok=True)
    server = "native" if desk.server.port == 443 else "container"
    (PAGES / f"{server}-{name.removesuffix('.ipynb')}.html").write_text(page)


def test_a_sample_cannot_be_changed(desk: notebooks.Client) -> None:
    notebook = desk.read("samples/1-plot.ipynb")
    assert desk.write("samples/1-plot.ipynb", notebook) >= 400
    assert desk.write("samples/mine.ipynb", notebook) >= 400


def test_no_password_is_in_what_a_notebook_sees(server: Site, desk: notebooks.Client) -> None:
    code = "import os\nprint(*sorted(f'{k}={v}' for k, v in os.environ.items()), sep='\\n')"
    cell = {"cell_type": "code", "source": code}
    kernel = desk.read("samples/1-plot.ipynb")["metadata"]["kernelspec"]
    said = notebooks.text_of(desk.run({"cells": [cell], "metadata": {"kernelspec": kernel}}, ""))
    assert "PGHOST=/run/postgresql" in said
    assert "MYSQL_URL=mysql+pymysql://jupyter@localhost/notebooks?unix_socket=/run/mysqld/mysqld.sock" in said
    assert server.password not in said


@pytest.mark.parametrize("command", ["mysql -BN notebooks -e 'SELECT 6 * 7'", "psql -Atc 'SELECT 6 * 7'"])
def test_a_shell_beside_the_notebooks_needs_no_password(server: Site, command: str) -> None:
    """JupyterLab's terminals and a notebook's `!` have the same account and variables."""
    desk = client(server, "native")
    kernel = desk.read("samples/1-plot.ipynb")["metadata"]["kernelspec"]
    cell = {"cell_type": "code", "source": f"!{command}"}
    ran = desk.run({"cells": [cell], "metadata": {"kernelspec": kernel}}, "")
    assert notebooks.text_of(ran).strip() == "42"


def test_the_databases_listen_to_nobody_else(server: Site) -> None:
    listeners = server.ssh("sudo", "ss", "-Hltn").stdout
    assert ":3306" not in listeners
    assert ":5432" not in listeners


# ---- what people left where the samples go; last, as it changes what the tests above look at -----------------------------


def told(server: Site, script: str) -> str:
    """Run a script as root; return what it says."""
    done = server.ssh("sudo", "sh", "-euc", shlex.quote(script))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def apply(server: Site) -> Callable[..., Run]:
    """Apply the role alone, with the settings of the whole run."""

    def run(*arguments: str) -> Run:
        state = ["-e", f"state_dir={server.state}", *server.settings]
        command = ["-i", "inventory/lab.yml", *state, "-b", "-m", "include_role"]
        return play(
            ROOT,
            server.server,
            *command,
            "-a",
            "name=desk",
            *arguments,
            program="ansible",
            environment=server.environment,
        )

    return run


@pytest.fixture(scope="module")
def planted(server: Site, apply: Callable[..., Run]) -> Run:
    """A link of somebody's to where root alone has business, a folder of somebody's own, and a sample of an earlier time."""
    told(
        server,
        f"""
        ln -sfn /root {FOLDERS["native"]}/samples
        chown -h jupyter: {FOLDERS["native"]}/samples
        rm {FOLDERS["container"]}/samples
        install -d -o jupyter -g jupyter {FOLDERS["container"]}/samples
        echo mine >{FOLDERS["container"]}/samples/own.txt
        rm -r {SAMPLES}/native
        echo '{{}}' >{SAMPLES}/container/9-gone.ipynb
        """,
    )
    dry = apply("--check")
    assert dry.code == 0, dry.output
    assert told(server, f"ls {SAMPLES}") == "container"
    run = apply()
    assert run.code == 0, run.output
    return run


def test_a_link_of_somebody_s_is_not_followed(server: Site, planted: Run) -> None:
    assert told(server, f"readlink {FOLDERS['native']}/samples") == f"{SAMPLES}/native"
    assert told(server, "stat -c %a /root; find /root -name '*.ipynb'") == "700"
    assert told(server, f"ls {SAMPLES}/native").split() == sorted(SAID)
    assert told(server, f"ls {SAMPLES}/container").split() == sorted(SAID)


def test_people_copy_samples_and_do_not_change_them(server: Site, planted: Run) -> None:
    there, person = f"cd {FOLDERS['native']}", "runuser -u jupyter --"
    told(server, f"{there}; {person} cp samples/1-plot.ipynb mine.ipynb; {person} rm mine.ipynb")
    for command in ("sh -c 'echo >>samples/1-plot.ipynb'", "touch samples/new.ipynb", "rm samples/1-plot.ipynb"):
        told(server, f"{there}; ! {person} {command}")


def test_a_folder_of_somebody_s_own_is_still_theirs(server: Site, planted: Run, apply: Callable[..., Run]) -> None:
    samples = f"{FOLDERS['container']}/samples"
    assert told(server, f"stat -c '%F %U' {samples}; ls {samples}").splitlines() == ["directory jupyter", "own.txt"]
    assert "CHANGED" not in apply().output
    # When they have moved it away, the samples are shown.
    told(server, f"rm -r {samples}")
    assert apply().code == 0
    assert told(server, f"readlink {samples}") == f"{SAMPLES}/container"

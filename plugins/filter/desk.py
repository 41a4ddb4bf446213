"""What the role desk decides on the controller: samples for each server, variables for kernels, packages for environments."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

# In the order of the list: what a sample needs that not every server has.
NEEDS = {"2-mysql.ipynb": "mysql", "3-postgres.ipynb": "postgres"}
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
SPEC = re.compile(r"(?:[^\s:]+::)?([A-Za-z0-9_][A-Za-z0-9_.-]*)")


def desk_problems(servers: list[dict[str, Any]], folder: str) -> list[str]:
    """Sentences about settings that cannot work; none when all is well."""
    problems = []
    names = [str(server["name"]) for server in servers]
    for name in sorted(set(names)):
        if not NAME.fullmatch(name):
            problems.append(f"desk_servers names '{name}'; a name begins with a-z and has a-z, 0-9, - and _ only.")
        if names.count(name) > 1:
            problems.append(f"desk_servers names {name} twice; give each server a name of its own.")
    for path in [folder, *(str(server["folder"]) for server in servers)]:
        if not path.startswith("/"):
            problems.append(
                f"'{path}' is not an absolute path; desk_samples_dir and the folders of desk_servers start with /."
            )
    return problems


def desk_environment(desk: dict[str, Any]) -> dict[str, str]:
    """The variables that kernels and terminals get. None of them is a secret: the sockets know the account.

    The keys of desk: user, mysql_socket and mysql_database, postgres_socket_dir, postgres_port and postgres_database, region,
    s3_endpoint_url, s3_bucket. What is empty is left out, a database by its database, and the port where it is the usual one.
    """
    # JupySQL reports its use to its makers unless it is told not to.
    user, made = desk["user"], {"PLOOMBER_STATS_ENABLED": "false"}
    if desk["mysql_database"]:
        made["MYSQL_UNIX_PORT"] = desk["mysql_socket"]
        made["MYSQL_DATABASE"] = desk["mysql_database"]
        made["MYSQL_USER"] = user
        made["MYSQL_URL"] = (
            f"mysql+pymysql://{quote(user)}@localhost/{quote(desk['mysql_database'])}"
            f"?unix_socket={quote(desk['mysql_socket'])}&charset=utf8mb4"
        )
    if desk["postgres_database"]:
        port = str(desk.get("postgres_port", ""))
        port = port if port != "5432" else ""
        made["PGPORT"] = port
        made["PGHOST"] = desk["postgres_socket_dir"]
        made["PGDATABASE"] = desk["postgres_database"]
        made["PGUSER"] = user
        made["POSTGRES_URL"] = (
            f"postgresql+psycopg://{quote(user)}@/{quote(desk['postgres_database'])}?host={quote(desk['postgres_socket_dir'])}"
            + (f"&port={port}" if port else "")
        )
    made["AWS_DEFAULT_REGION"] = desk["region"]
    made["AWS_ENDPOINT_URL_S3"] = desk["s3_endpoint_url"]
    made["NOTEBOOK_BUCKET"] = desk["s3_bucket"]
    return {name: value for name, value in made.items() if value}


def package_name(spec: str) -> str:
    """The name in what conda calls a match spec: "conda-forge::numpy>=2" -> "numpy"."""
    found = SPEC.match(spec.strip())
    return found[1].lower() if found else ""


def desk_kernels(
    kernels: list[dict[str, Any]], python_packages: list[str], r_packages: list[str]
) -> list[dict[str, Any]]:
    """The kernels with the packages of the desk, where a list of packages is what makes them. What is asked for stays."""
    extra = {"python": python_packages, "r": r_packages}
    full = []
    for kernel in kernels:
        packages = kernel.get("packages")
        if packages and kernel.get("state", "present") != "absent":
            named = {package_name(str(spec)) for spec in packages}
            more = [spec for spec in extra.get(kernel.get("language", "python"), []) if package_name(spec) not in named]
            kernel = kernel | {"packages": [*packages, *more]}
        full.append(kernel)
    return full


def desk_kernel_name(kernels: list[dict[str, Any]], language: str) -> str:
    """The first kernel of a language, or nothing."""
    names = [
        str(kernel["name"])
        for kernel in kernels
        if kernel.get("language", "python") == language and kernel.get("state", "present") != "absent"
    ]
    return names[0] if names else ""


def desk_samples(
    servers: list[dict[str, Any]], samples: dict[str, str], folder: str, environment: dict[str, str]
) -> list[dict[str, str]]:
    """The files to write: each sample for each server, bound to the kernel that the server has for its language."""
    there = {"mysql": "MYSQL_URL" in environment, "postgres": "POSTGRES_URL" in environment}
    files = []
    for server in servers:
        kernels = {"python": server.get("python_kernel", ""), "r": server.get("r_kernel", "")}
        for name, text in sorted(samples.items()):
            notebook = json.loads(text)
            spec = notebook["metadata"]["kernelspec"]
            kernel = kernels[spec["language"]]
            if kernel and there.get(NEEDS.get(name, ""), True):
                spec.update(name=kernel, display_name=kernel)
                content = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
                files.append({"path": f"{folder}/{server['name']}/{name}", "content": content})
    return files


def desk_plan(
    said: str, files: list[dict[str, str]], servers: list[dict[str, Any]], folder: str
) -> dict[str, list[Any]]:
    """What is to be done on the host that said this (files/look.sh)."""
    lines = [line.split(maxsplit=2) for line in said.splitlines()]
    there = {words[2].split(maxsplit=2)[2]: (words[1], words[2]) for words in lines if words[0] == "file"}
    differing = [
        file
        for file in files
        if there.get(file["path"], ("", ""))
        != ("644", f"root {hashlib.sha256(file['content'].encode()).hexdigest()}  {file['path']}")
    ]
    at = {words[2]: (words[0], words[1]) for words in lines if words[0] in ("link", "other", "none")}
    wanted = {str(server["folder"]): f"{folder}/{server['name']}" for server in servers}
    # A folder that is not there is another role's to make, which in a dry run it has not done.
    links = [
        {"path": f"{path}/samples", "target": target}
        for path, target in wanted.items()
        if at.get(path, ("", ""))[0] == "none" or (at.get(path, ("", ""))[0] == "link" and at[path][1] != target)
    ]
    return {
        "files": differing,
        "folders": sorted({str(PurePosixPath(file["path"]).parent) for file in differing}),
        "gone": sorted(set(there) - {file["path"] for file in files}),
        "links": links,
        "others": [f"{path}/samples" for path in wanted if at.get(path, ("", ""))[0] == "other"],
    }


def desk_text(path: str) -> str:
    """The text of a file on this machine."""
    return Path(path).read_text(encoding="utf-8")


class FilterModule:
    """Filters of the role desk."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        made = (desk_environment, desk_kernel_name, desk_kernels, desk_plan, desk_problems, desk_samples, desk_text)
        return {f.__name__: f for f in made}

"""Which real sources can be reached from here, and what stands in for those that cannot."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
import yaml

from lab import notebook, open_data, registry
from lab.conda.standin.config import SCALARS
from lab.engine import EngineError
from lab.image import registry_answers
from lab.progress import follow, say
from lab.settings import ROOT, Settings, stand_ins

SECONDS = 3
ACME = "https://acme-v02.api.letsencrypt.org/directory"
# What the role itself would download is what decides.
CONDA_ROLE = ROOT / "roles" / "anaconda_kernels" / "vars" / "main.yml"
NAMES = {
    "registry": "container registry",
    "conda": "conda installer and channel",
    "acme": "public certificate authority",
}


def answers(url: str, seconds: float = SECONDS) -> bool:
    """Tell whether anything useful answers at a URL."""
    try:
        status = requests.head(url, timeout=seconds, allow_redirects=True).status_code
    except (requests.RequestException, ValueError):
        return False
    # "Wrong method" is an answer of the real server; "forbidden" is what a filtering proxy says.
    return bool(status < 400 or status == 405)


def role_urls(variables: Path = CONDA_ROLE) -> list[str]:
    """Return what the conda role would download first: its default installer, and the default channel's index."""
    if not variables.exists():
        return []
    pin = yaml.safe_load(variables.read_text())["__anaconda_kernels_distributions"]["miniforge"]
    installer = str(pin["url"]).format(version=pin["version"], architecture=platform.machine())
    return [installer, f"{SCALARS['channel_alias']}/conda-forge/noarch/repodata.json.zst"]


def conda_answers() -> bool:
    """Tell whether installer and channel both answer."""
    urls = role_urls()
    return bool(urls) and all(answers(url) for url in urls)


def probe() -> dict[str, bool]:
    """Ask all sources at the same time; True is "the real one answers", or that it is to be used without asking."""
    if not stand_ins():
        return dict.fromkeys(NAMES, True)
    checks = {"registry": registry_answers, "conda": conda_answers, "acme": lambda: answers(ACME)}
    with ThreadPoolExecutor(len(checks)) as pool:
        jobs = {name: pool.submit(check) for name, check in checks.items()}
        return {name: job.result() for name, job in jobs.items()}


def prepare(settings: Settings) -> dict[str, bool]:
    """Find out which sources are the real ones, and make what stands in for the others."""
    real = probe()
    with ThreadPoolExecutor() as pool:
        jobs = [] if real["conda"] else [pool.submit(make_conda, settings)]
        if not real["registry"]:
            jobs += [pool.submit(notebook.make_system), pool.submit(registry.make_server)]
    for job in jobs:
        job.result()
    if not real["registry"]:
        registry.build(conda_folder(settings))
    return real


def make_conda(settings: Settings) -> None:
    """Make the stand-in channel and installer."""
    folder = settings.folder / "conda"
    command = [
        sys.executable,
        "-m",
        "lab.conda",
        "build",
        "--out",
        str(folder),
        "--cache",
        str(ROOT / ".cache" / "conda"),
        *pythons(settings),
    ]
    say("Preparing the conda stand-in ...")
    tail: list[str] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:

        def lines() -> Any:
            for line in process.stdout or ():
                tail.append(line.strip())
                yield line

        follow(lines(), "conda stand-in")
    if process.returncode != 0:
        raise EngineError(f"The conda stand-in could not be built: {tail[-1] if tail else 'it said nothing'}")


def pythons(settings: Settings) -> list[str]:
    """Return which Pythons the channel is to have: one is for Debian 12 only, and takes a third of the work."""
    if {settings.image} - {None, "13", "13-prepared"} or "12" in settings.releases:
        return []
    return ["--python=3.11", "--python=3.13"]


def conda_folder(settings: Settings) -> Path | None:
    """Return where the stand-in channel is, if it was made."""
    folder = settings.folder / "conda"
    return folder if folder.is_dir() else None


def conda_stand_in(settings: Settings) -> dict[str, Any]:
    """Return where the stand-in channel and installer are."""
    manifest = json.loads((settings.folder / "conda" / "manifest.json").read_text())
    base = f"{settings.gateway_url}/conda"
    return {
        "stand_in": True,
        "installer_name": manifest["installer_name"],
        "installer_url": f"{base}/{manifest['installer_name']}",
        "installer_sha256": {platform.machine(): manifest["installer_sha256"]},
        "channels": [f"{base}/channel"],
        # Those that any release can have, and the newest that each can.
        "kernels": manifest["kernels"],
        "kernels_by_release": manifest["kernels_by_release"],
    }


def registry_stand_in(settings: Settings) -> dict[str, Any]:
    """Start a registry in the lab's network with the stand-in notebook image in it."""
    return {
        "stand_in": True,
        **registry.start(
            settings.registry,
            settings.network,
            settings.registry_ip,
            settings.folder / "registry",
            label=settings.label,
            conda=conda_folder(settings),
        ),
    }


def write(settings: Settings, api_only: bool, real: dict[str, bool]) -> dict[str, Any]:
    """Write sources.json, and start what stands in."""
    found: dict[str, Any] = {name: {"stand_in": not there} for name, there in real.items()}
    found["caller_ip_url"] = f"{settings.endpoint}/checkip"
    found["pip"] = {"stand_in": False}
    if not api_only and not real["conda"]:
        found["conda"] = conda_stand_in(settings)
    if not api_only and not real["registry"]:
        found["registry"] = registry_stand_in(settings)
    # Reached by instances and this machine alike. On AWS there is no such setting: S3 is where the region is.
    url = settings.endpoint if api_only else settings.gateway_url
    found["s3"] = {
        "endpoint_url": url, "bucket": open_data.bucket(settings), "instance_profile": open_data.PROFILE,
        "open_data_bucket": open_data.PUBLIC,
    }  # fmt: skip
    found["sentences"] = sentences(found)
    (settings.folder / "sources.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def read(settings: Settings) -> dict[str, Any]:
    """Return what `write` found."""
    found: dict[str, Any] = json.loads((settings.folder / "sources.json").read_text())
    return found


def sentences(found: dict[str, Any]) -> list[str]:
    """Say which sources are the real ones."""
    return [f"{text}: {'a stand-in' if found[name]['stand_in'] else 'the real one'}" for name, text in NAMES.items()]

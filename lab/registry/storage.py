"""An image of the engine in the form in which a registry keeps it, so that nothing has to be pushed."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab.engine import EngineError

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
CHUNK = 2**20


class Storage:
    """The folder of a registry's file system driver."""

    def __init__(self, root: Path) -> None:
        """Nothing is written yet."""
        self.root = root / "docker" / "registry" / "v2"

    def link(self, digest: str, *parts: str) -> None:
        """Write a file that names a blob."""
        path = self.root.joinpath("repositories", *parts, "link")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(digest)

    def place(self, digest: str) -> Path:
        """Return where a blob is kept."""
        kind, _, text = digest.partition(":")
        path = self.root / "blobs" / kind / text[:2] / text / "data"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def text(self, value: dict[str, Any]) -> dict[str, Any]:
        """Keep a small blob; return its digest and size."""
        data = json.dumps(value, sort_keys=True).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.place(digest).write_bytes(data)
        return {"digest": digest, "size": len(data)}

    def layer(self, source: Path, work: Path) -> dict[str, Any]:
        """Keep a layer, compressed in a way that gives the same bytes every time."""
        with source.open("rb") as tar, work.open("wb") as file:
            # No more than this: it is for a network without a line to save on.
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=1, mtime=0) as packed:
                shutil.copyfileobj(tar, packed, CHUNK)
        with work.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        size = work.stat().st_size
        work.rename(self.place(digest))
        return {"mediaType": LAYER, "digest": digest, "size": size}

    def add(self, image: str, repository: str, tags: list[str], work: Path) -> dict[str, str]:
        """Keep an image under several tags, as releases that differ in a label only; return the digest of each."""
        folder = work / "saved"
        unpack(image, folder)
        saved = json.loads((folder / "manifest.json").read_text())[0]
        with ThreadPoolExecutor(4) as pool:
            jobs = [
                pool.submit(self.layer, folder / name, work / f"layer-{number}")
                for number, name in enumerate(saved["Layers"])
            ]
            layers = [job.result() for job in jobs]
        config = json.loads((folder / saved["Config"]).read_text())
        shutil.rmtree(folder)
        for layer in layers:
            self.link(layer["digest"], repository, "_layers", *layer["digest"].split(":"))
        digests = {}
        for tag in tags:
            config["config"]["Labels"]["lab.release"] = tag
            described = self.text(config)
            manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": CONFIG, **described}}
            digests[tag] = digest = self.text({**manifest, "layers": layers})["digest"]
            self.link(described["digest"], repository, "_layers", *described["digest"].split(":"))
            self.link(digest, repository, "_manifests", "revisions", *digest.split(":"))
            self.link(digest, repository, "_manifests", "tags", tag, "current")
            self.link(digest, repository, "_manifests", "tags", tag, "index", *digest.split(":"))
        return digests


def unpack(image: str, folder: Path) -> None:
    """Take an image out of the engine."""
    with subprocess.Popen(["docker", "image", "save", image], stdout=subprocess.PIPE) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, OSError) as error:
            process.kill()
            raise EngineError(f"The image {image} cannot be taken out of the engine: {error}.") from error

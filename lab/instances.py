"""Every instance of the API is a container that runs a whole system: this brings the one in line with the other."""

from __future__ import annotations

import io
import json
import logging
import tarfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab import catalog, copies, volumes
from lab.engine import EngineError, docker, stream
from lab.image import build, tag
from lab.interruptions import Interruptions
from lab.settings import ACCOUNT, Settings
from lab.wanted import Limits, Wanted, all_instances, limits, role_of, snapshot

LOG = logging.getLogger("lab")
FLAGS = (
    "--tty",
    "--cap-add=ALL",
    "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--cgroupns=host",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
    "--tmpfs=/run",
    "--tmpfs=/run/lock",
    "--volume=/var/lib/docker",
    "--device-cgroup-rule=b 7:* rwm",
)
# An instance has its disks when it starts, a container is shown them then: it waits until volumes.show was there.
BOOT = ("sh", "-c", "until [ -e /dev/disk ]; do sleep 0.05; done; exec /lib/systemd/systemd")
# How a container ends tells what the system in it did: init dies of SIGHUP when it restarts the machine.
REBOOTED = 129
KEEP_CREDENTIALS = 3600
EVENTS = (
    "events",
    "--filter=event=die",
    '--format={{index .Actor.Attributes "lab.instance"}} {{index .Actor.Attributes "exitCode"}}',
)


def archive(files: dict[str, bytes]) -> bytes:
    """Return a tar archive that root owns."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), int(time.time())
            info.mode = 0o755 if "/system-generators/" in name else 0o644 if name.startswith("etc/") else 0o600
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def seed(wanted: Wanted) -> dict[str, bytes]:
    """Return the files that cloud-init starts from, by their path."""
    meta = {"instance-id": wanted.id, "local-hostname": wanted.hostname}
    if wanted.public_key:
        meta["public-keys"] = [wanted.public_key]  # type: ignore[assignment]
    user = {
        "name": wanted.user,
        "lock_passwd": True,
        "groups": ["adm", "sudo"],
        "sudo": ["ALL=(ALL) NOPASSWD:ALL"],
        "shell": "/bin/bash",
    }
    folder = "var/lib/cloud/seed/nocloud"
    return {
        f"{folder}/meta-data": json.dumps(meta).encode(),
        f"{folder}/user-data": wanted.user_data or b"#cloud-config\n{}\n",
        "etc/systemd/system-generators/lab-fstab": (Path(__file__).parent / "fstab.sh").read_bytes(),
        "etc/cloud/cloud.cfg.d/95-instance.cfg": json.dumps({"system_info": {"default_user": user}}).encode(),
    }


class Instances:
    """The containers of one lab."""

    def __init__(self, settings: Settings, types: dict[str, Any]) -> None:
        self.settings, self.types = settings, types
        self.folder = settings.folder / "instances"
        self.interruptions = Interruptions(settings.folder / "interruptions.json")
        self.disks = volumes.Disks(settings, tag(settings.image or settings.releases[0]))
        self.done: dict[str, Wanted] = {}
        self.sizes: dict[str, Limits] = {}
        # Images to make of instances: instance -> the API's image, and whether the instance restarts for it.
        self.asked: dict[str, tuple[Any, bool]] = {}
        self.problems: dict[str, str] = {}
        self.stopping: set[str] = set()
        self.credentials: dict[str, tuple[float, str, dict[str, Any]]] = {}
        self.jobs: dict[str, Future[None]] = {}
        self.pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="instance")
        self.wake = threading.Event()
        self.ending = threading.Event()

    # What the API asks.

    def container(self, instance: str) -> str:
        """Return the name of an instance's container."""
        return f"{self.settings.name}-{instance}"

    def console(self, instance: str) -> str:
        """Return what the instance has printed on its console."""
        try:
            return docker("logs", self.container(instance))
        except EngineError:
            return ""

    def runnable(self, ami: str) -> str:
        """Say why an image cannot run here; nothing if it can."""
        system = catalog.system_of(ami)
        if (
            self.settings.image
            or system is None
            or system.base in self.settings.releases
            or system.base in {"12", "13"}
        ):
            return ""
        if not system.base:
            return f"The lab has no container image of {system.os}: choose debian13, debian12 or an Ubuntu."
        return (
            f"The lab does not run {system.os} by itself: start it with LAB_IMAGE={system.base} "
            "(needs a container registry)."
        )

    # What runs.

    def follow(self) -> None:
        """Bring everything in line, again and again."""
        watcher = threading.Thread(target=self.watch, name="events", daemon=True)
        watcher.start()
        while not self.ending.is_set():
            try:
                self.pass_once()
            except Exception:
                LOG.exception("The lab could not look at its instances")
            self.wake.wait(0.5)
            self.wake.clear()

    def end(self) -> None:
        """Finish what is under way and begin nothing more."""
        self.ending.set()
        self.wake.set()
        self.pool.shutdown(wait=True, cancel_futures=True)

    def watch(self) -> None:
        """Wake up when a container ends by itself."""
        while True:
            try:
                for line in stream(*EVENTS, "--filter", f"label={self.settings.label}"):
                    instance, _, code = line.partition(" ")
                    if instance and code.isdigit():
                        self.ended(instance, int(code))
            except EngineError as error:
                LOG.warning("The engine's events stopped: %s", error)
            time.sleep(1)

    def ended(self, instance: str, code: int) -> None:
        """Tell the API that a system shut itself down or restarted, unless the API asked for it."""
        known = self.done.get(instance)
        for item, _ in all_instances():
            if item.id != instance or known is None or known.state != "running" or item.state != "running":
                continue
            if instance in self.stopping:  # asked for, and since then asked to start again
                continue
            if getattr(item, "reboots", 0) != known.reboots:
                continue
            if code == REBOOTED:
                LOG.info("%s restarts by itself", instance)
                item.reboots = getattr(item, "reboots", 0) + 1
            elif item.instance_initiated_shutdown_behavior == "terminate":
                LOG.info("%s was shut down from inside: terminated", instance)
                item.terminate()
            else:
                LOG.info("%s was shut down from inside: stopped", instance)
                item.stop()
                item._reason = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
                item.state_reason.code = "Client.InstanceInitiatedShutdown"
                item.state_reason.message = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
            self.wake.set()

    def pass_once(self) -> None:
        """Start a job for every instance that is not as wanted."""
        everyone = list(all_instances())
        self.interruptions.follow([item for item, _ in everyone])
        for item, neighbours in everyone:
            job = self.jobs.get(item.id)
            if job is not None and not job.done():
                continue
            if item.state == "terminated":
                if item.id in self.done and self.done[item.id].state != "terminated":
                    self.start_job(item.id, self.remove, item.id)
                continue
            if item.id in self.asked and item.id in self.done:
                self.start_job(item.id, copies.commit, self, self.done[item.id], *self.asked.pop(item.id))
                continue
            wanted = snapshot(item, neighbours, self.role_credentials(item))
            if self.done.get(item.id) != wanted:
                self.start_job(item.id, self.bring, wanted)
        self.forget_volumes()

    def start_job(self, instance: str, function: Any, *args: Any) -> None:
        """Do one thing for one instance in the background; a failure is logged, shown, and tried again later."""

        def work() -> None:
            try:
                function(*args)
                self.problems.pop(instance, None)
            except (EngineError, OSError) as error:
                if self.problems.get(instance) != str(error):
                    LOG.error("%s: %s", instance, error)
                self.problems[instance] = str(error)
                time.sleep(2)
            except Exception as error:
                LOG.exception("%s", instance)
                self.problems[instance] = f"{type(error).__name__}: {error}"
                time.sleep(5)
            self.wake.set()

        if not self.ending.is_set():
            self.jobs[instance] = self.pool.submit(work)

    def role_credentials(self, item: Any) -> dict[str, Any] | None:
        """Return the metadata about an instance's role, with temporary credentials that the API accepts."""
        role = role_of(item)
        if role is None:
            self.credentials.pop(item.id, None)
            return None
        until, arn, known = self.credentials.get(item.id, (0.0, "", {}))
        if until < time.time() or arn != role.arn:
            from moto.sts.models import sts_backends

            given = sts_backends[ACCOUNT]["aws"].assume_role(
                region_name=item.region_name,
                role_session_name=item.id,
                role_arn=role.arn,
                policy="",
                duration=21600,
                external_id="",
            )
            secret = {
                "Code": "Success",
                "LastUpdated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "Type": "AWS-HMAC",
                "AccessKeyId": given.access_key_id,
                "SecretAccessKey": given.secret_access_key,
                "Token": given.session_token,
                "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 21600)),
            }
            info = {
                "Code": "Success",
                "InstanceProfileArn": item.iam_instance_profile["Arn"],
                "InstanceProfileId": "AIPALAB",
            }
            known = {"info": json.dumps(info), "security-credentials": {role.name: json.dumps(secret)}}
            self.credentials[item.id] = (time.time() + 21600 - KEEP_CREDENTIALS, role.arn, known)
        return known

    # What is done to one container.

    def state(self, name: str) -> str:
        """Return what the engine says of a container: running, exited, created, or nothing if it is not there."""
        try:
            return docker("inspect", "--format", "{{.State.Status}}", name).strip()
        except EngineError as error:
            if "no such" in str(error).lower():
                return ""
            raise

    def bring(self, wanted: Wanted) -> None:
        """Make one container as wanted."""
        name, before = self.container(wanted.id), self.done.get(wanted.id)
        state = self.state(name)
        if wanted.state != "running":
            self.stopping.add(wanted.id)
            try:
                if state == "running":
                    LOG.info("%s stops", wanted.id)
                    docker("stop", "--time=30", name, timeout=60)
                self.drop_guard(wanted.id)
                self.done[wanted.id] = wanted
            finally:
                self.stopping.discard(wanted.id)
            return
        self.describe(wanted)
        fresh = not state
        if fresh:
            self.create(wanted)
        booted = state != "running"
        if before and before.reboots != wanted.reboots and state == "running":
            LOG.info("%s restarts", wanted.id)
            docker("stop", "--time=30", name, timeout=60)
            booted = True
        moved = not fresh and self.address(name) != (wanted.public_ip or "")
        if moved:
            self.move(name, wanted.public_ip)
        size = limits(wanted.kind, self.types)
        if self.sizes.get(wanted.id) != size:
            docker("update", *size.flags(), name)
            self.sizes[wanted.id] = size
        if booted:
            docker("start", name)
            LOG.info("%s runs at %s", wanted.id, wanted.public_ip)
        if booted:
            self.show_volumes(wanted)
        if booted or moved:
            self.guard(wanted)
        elif before is None or before.rules != wanted.rules:
            docker("exec", f"{name}-guard", "nft", "-f", "/lab/rules.nft")
        if not booted and (before is None or before.volumes != wanted.volumes):
            self.show_volumes(wanted)
        self.done[wanted.id] = wanted

    def base(self, wanted: Wanted) -> str:
        """Return the host image an instance runs, built if need be."""
        if wanted.ami in catalog.MADE:
            return copies.reference(self.settings, wanted.ami)
        system = catalog.system_of(wanted.ami)
        return build(self.settings.image or (system.base if system and system.base else self.settings.releases[0]))

    def create(self, wanted: Wanted) -> None:
        """Make the container of a new instance, not started yet."""
        name = self.container(wanted.id)
        where = (
            [f"--network={self.settings.network}", f"--ip={wanted.public_ip}"]
            if wanted.public_ip
            else ["--network=none"]
        )
        labels = [f"--label={self.settings.label}", f"--label=lab.instance={wanted.id}", "--label=lab.part=instance"]
        size = limits(wanted.kind, self.types)
        image = self.base(wanted)
        docker(
            "create", f"--name={name}", f"--hostname={wanted.hostname}", *labels, *where, *size.flags(), *FLAGS, image, *BOOT,
        )  # fmt: skip
        self.sizes[wanted.id] = size
        docker("cp", "-", f"{name}:/", stdin=archive(seed(wanted)))

    def address(self, name: str) -> str:
        """Return the address a container has, or will have when it starts, in the lab's network."""
        found = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", name))
        entry = found.get(self.settings.network) or {}
        return str((entry.get("IPAMConfig") or {}).get("IPv4Address") or entry.get("IPAddress") or "")

    def move(self, name: str, address: str | None) -> None:
        """Give a container another address, or none."""
        LOG.info("%s moves to %s", name, address)
        for network in json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", name)):
            docker("network", "disconnect", "--force", network, name)
        if address:
            docker("network", "connect", f"--ip={address}", self.settings.network, name)

    def describe(self, wanted: Wanted) -> None:
        """Write what the instance's metadata service and firewall read."""
        folder = self.folder / wanted.id
        folder.mkdir(parents=True, exist_ok=True)
        script = (Path(__file__).parent / "metadata.py").read_text()
        data = {**wanted.metadata, "private": [f"{wanted.private_ip}/{wanted.private_prefix}"]}
        for file, text in {"data.json": json.dumps(data), "rules.nft": wanted.rules, "metadata.py": script}.items():
            fresh = folder / f".{file}"
            fresh.touch(0o600)
            fresh.write_text(text)
            fresh.replace(folder / file)

    def drop_guard(self, instance: str) -> None:
        """Remove the container that holds an instance's firewall and metadata service."""
        name = f"{self.container(instance)}-guard"
        if self.state(name):
            docker("rm", "--force", name)

    def guard(self, wanted: Wanted) -> None:
        """Start the firewall and the metadata service in the instance's network."""
        self.drop_guard(wanted.id)
        name = self.container(wanted.id)
        labels = [f"--label={self.settings.label}", "--label=lab.part=guard"]
        rights = ["--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=NET_BIND_SERVICE", "--cap-add=DAC_OVERRIDE"]
        docker(
            "run", "--detach", f"--name={name}-guard", *labels, f"--network=container:{name}", *rights,
            "--stop-signal=SIGKILL", f"--volume={self.folder / wanted.id}:/lab:ro", "--entrypoint=python3",
            self.disks.image, "/lab/metadata.py", "/lab",
        )  # fmt: skip

    def show_volumes(self, wanted: Wanted) -> None:
        """Connect the volumes and give them their names on the instance."""
        numbers = {name: (self.disks.attach(volume, size), volume) for name, (volume, size) in wanted.volumes.items()}
        volumes.show(self.container(wanted.id), numbers)

    def remove(self, instance: str) -> None:
        """Remove a terminated instance for good."""
        LOG.info("%s is terminated", instance)
        self.drop_guard(instance)
        if self.state(self.container(instance)):
            docker("rm", "--force", "--volumes", self.container(instance))
        for path in (self.folder / instance).glob("*"):
            path.unlink()
        if (self.folder / instance).is_dir():
            (self.folder / instance).rmdir()
        self.done[instance].state = "terminated"

    def forget_volumes(self) -> None:
        """Disconnect volumes that no instance has any more, and throw away those that the API deleted."""
        from moto.ec2.models import ec2_backends

        if not self.disks.files:
            return
        existing: dict[str, bool] = {}
        for _, _, backend in list(ec2_backends.iter_backends()):
            existing |= dict.fromkeys(list(backend.snapshots), False)
            existing |= {volume.id: volume.attachment is not None for volume in list(backend.volumes.values())}
        shown = {
            volume
            for wanted in self.done.values()
            for volume, _ in wanted.volumes.values()
            if wanted.state == "running"
        }
        for volume in list(self.disks.files):
            if volume not in existing and volume not in shown:
                self.disks.delete(volume)
            elif volume in self.disks.connected and not existing.get(volume) and volume not in shown:
                self.disks.detach(volume)

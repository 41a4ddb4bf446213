#!/usr/bin/python
"""Ansible module: make conda environments and their Jupyter kernels what a list says, in one task for all of them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_environments
short_description: Make, change and remove conda environments and the kernels that start in them
description:
  - Every kernel of the list gets an environment, C(PREFIX/envs/NAME), and a kernelspec, C(KERNELSPEC_DIR/NAME).
  - A stamp beside the kernelspec says what was asked for, what was made and that the kernel was started and asked. When
    the stamp still tells the truth, conda is not called at all.
  - An environment is changed under a copy (hard links) or after it was moved aside. The copy goes away only when the
    changed one has started its kernel, and comes back when anything fails. The next run puts an interrupted one right.
  - In a dry run conda is asked what it would do.
  - What runs as the account (conda, what its packages and settings bring, the kernels that are asked) is confined by systemd as the
    server of notebooks is, and ends with the command that brought it. What root itself reads there must be plain files of the account's.
options:
  prefix:
    description: Where conda is installed.
    type: path
    required: true
  user:
    description: The account that owns the environments. Conda and the kernels run as it.
    type: str
    required: true
  kernelspec_dir:
    description: Where Jupyter finds kernels. Owned by root.
    type: path
    required: true
  kernels:
    description: The kernels.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {type: str, required: true, description: Name of the kernel and of its environment.}
      display_name: {type: str, description: What people see. The name when not given.}
      language: {type: str, choices: [python, r], default: python, description: What it speaks.}
      state:
        description: V(present) changes no package that satisfies the list, V(latest) brings all of them up to date.
        type: str
        choices: [present, absent, latest]
        default: present
      packages: {type: list, elements: str, default: [], description: What conda shall install.}
      environment_file: {type: str, default: "", description: The text of a conda environment file.}
      lock_file: {type: str, default: "", description: The text of an explicit list of packages.}
      names: {type: list, elements: str, default: [], description: Names of the packages that are asked for.}
      env: {type: dict, default: {}, description: Variables that the kernel gets.}
  channels:
    description: Where packages come from.
    type: list
    elements: str
    required: true
  accept_terms:
    description: Tell conda that the terms of Anaconda's channels were accepted.
    type: bool
    default: false
  probe:
    description: The program that starts a kernel and asks it who it is.
    type: str
    required: true
  parallel:
    description:
      - How many kernels are worked on at a time. Conda itself is run once at a time, whatever this says, as two of them that fetch
        the same package into one cache break each other.
    type: int
    default: 2
  prune:
    description: Remove kernels that this module made and that are not in the list any more.
    type: bool
    default: false
author: the project
"""

EXAMPLES = r"""
- name: Two kernels
  conda_environments:
    prefix: /opt/conda
    user: jupyter
    kernelspec_dir: /usr/local/share/jupyter/kernels
    channels: [conda-forge]
    probe: "{{ lookup('ansible.builtin.file', 'ask_kernel.py') }}"
    kernels:
      - {name: py313, display_name: Python 3.13, packages: [python=3.13, ipykernel, numpy]}
      - {name: r, language: r, packages: [r-base, r-irkernel]}
"""

RETURN = r"""
kernels:
  description:
    - Name, environment, version and what was done, for every kernel of the list.
    - In a dry run that would change an environment also what is in it, as an explicit list (C(explicit)).
  type: list
  elements: dict
  returned: success
"""

import base64
import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import pwd
import re
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

STAMP = ".anaconda_kernels.json"
LOCK = ".anaconda_kernels.lock"
WAIT_FOR_ANOTHER_RUN = 120
# Of root's environment, what conda and pip get.
PASSED_ON = re.compile(r"(?i)(https?|no|all)_proxy$|pip_[a-z_]+$|ssl_cert_file$|requests_ca_bundle$")
# The account could bring code into each of its commands. As a notebook, that code shall not get out: no more rights, no other user's
# files, nothing that stays. RemoveIPC is left out, because the account's notebooks use the same.
CONFINED = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "KeyringMode=private",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    "SystemCallFilter=@chown",
    "SystemCallErrorNumber=EPERM",
    "UMask=0022",
    "OOMPolicy=continue",
)
UNITS = "anaconda-kernels"
# What conda writes down about a package is some thousand bytes, for the largest some million.
LARGEST = 32 << 20
# Where a kernel's own package keeps its logos, below the environment.
LOGOS = {"python": "share/jupyter/kernels/python3", "r": "lib/R/library/IRkernel/kernelspec"}
INTERPRETER = {"python": "bin/python", "r": "bin/R"}
SMOKE = {"python": ("-c", "import ipykernel, jupyter_client"), "r": ("--slave", "-e", "library(IRkernel)")}


class Problem(Exception):
    """A sentence for the person who runs the role."""


def one_line(text: str) -> str:
    """The text with every run of white space made one blank."""
    return " ".join(text.split())


def digest(value: Any) -> str:
    """A hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Owner:
    """The account that the environments belong to. What touches them runs with its rights, never with root's."""

    def __init__(self, name: str, lock: int, prefix: Path, work: Path, check: bool = False) -> None:
        self.entry = pwd.getpwnam(name)
        self.groups = os.getgrouplist(name, self.entry.pw_gid)
        self.lock = lock
        self.prefix = prefix
        self.work = work
        self.more: dict[str, str] = {}
        self.confines = os.geteuid() == 0 and Path("/run/systemd/system").is_dir()
        # A dry run's commands have another name: the run that stops what a former one left may come meanwhile.
        self.unit = f"{UNITS}{'-look' if check else ''}-{os.getpid()}"
        self.numbers = itertools.count()

    def environment(self) -> dict[str, str]:
        """What its commands get: of root's environment nothing but the proxies."""
        return {
            **{key: value for key, value in os.environ.items() if PASSED_ON.match(key)},
            "HOME": self.entry.pw_dir,
            "USER": self.entry.pw_name,
            "LOGNAME": self.entry.pw_name,
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            **self.more,
        }

    def confined(self, argv: tuple[str, ...]) -> list[str]:
        """The command, as a unit of systemd that is as closed as the one of the notebooks."""
        number = next(self.numbers)
        # A file of root's: what is in it may be a proxy's password, and everybody sees arguments and properties.
        variables = self.work / f"environment-{number}"
        escaped = {key: re.sub(r'(["\\$`])', r"\\\1", value) for key, value in self.environment().items()}
        variables.touch(mode=0o600)
        variables.write_text("".join(f'{key}="{value}"\n' for key, value in escaped.items()), encoding="utf-8")
        home = self.entry.pw_dir
        at_home = re.match(r"/(home|root|run/user)(/|$)", home)
        properties = [
            *CONFINED,
            f"User={self.entry.pw_name}",
            "WorkingDirectory=/",
            f"EnvironmentFile={variables}",
            f"ReadWritePaths=-{home} -{self.prefix}",
            *(["ProtectHome=tmpfs", f"BindPaths=-{home}"] if at_home else ["ProtectHome=yes"]),
        ]
        return [
            *("systemd-run", "--quiet", "--collect", "--wait", "--pipe", "--service-type=exec"),
            f"--unit={self.unit}-{number}",
            *(f"--property={value}" for value in properties),
            "--",
            # systemd would put variables in their place.
            *(word.replace("$", "$$") for word in argv),
        ]

    def run(self, *argv: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as the account."""
        rights: dict[str, Any] = {"env": self.environment()}
        command: list[str] = list(argv)
        if self.confines:
            command, rights = self.confined(argv), {}
        elif os.geteuid() == 0:
            rights |= {"user": self.entry.pw_uid, "group": self.entry.pw_gid, "extra_groups": self.groups}
        try:
            # The child holds the lock too: when this run is killed, the next one waits until conda is gone as well.
            return subprocess.run(
                command,
                input=text,
                cwd="/",
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                pass_fds=(self.lock,),
                check=False,
                **rights,
            )
        except OSError as error:
            return subprocess.CompletedProcess(argv, 126, "", str(error))

    def read(self, path: Path) -> str:
        """The text of a file of the account's: read by root, so nothing but a plain file, and nobody else's."""
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, encoding="utf-8") as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode) or about.st_uid != self.entry.pw_uid or about.st_size > LARGEST:
                raise Problem(f"{path} is not a file of {self.entry.pw_name}'s as conda writes it: remove it")
            return file.read(LARGEST)

    def do(self, *argv: str) -> None:
        """Run a command that must not fail."""
        answer = self.run(*argv)
        if answer.returncode:
            raise Problem(f"{' '.join(argv[:2])} failed: {one_line(answer.stderr)}")


class Conda:
    """The conda command, as the owner of the environments."""

    def __init__(self, owner: Owner, prefix: Path, channels: list[str]) -> None:
        self.owner = owner
        self.program = prefix / "bin/conda"
        # One at a time: conda's package cache is not made for two (conda/conda#8870, #13037). Both fetch what both need, the second
        # removes the archive of the first, and either may fail, on the first run of a server above all.
        self.turn = threading.Lock()
        # Exactly the channels of the role, whatever configuration files the account has.
        self.channels = ["--override-channels", *(word for channel in channels for word in ("-c", channel))]

    def __call__(self, *argv: str) -> dict[str, Any]:
        """Run it with --json and return what it says; a failure is a sentence."""
        # -q: without it progress bars are part of the JSON.
        with self.turn:
            answer = self.owner.run(str(self.program), *argv, "--json", "-q")
        said = last_object(answer.stdout)
        if answer.returncode or said.get("exception_name"):
            reason = one_line(str(said.get("message") or said.get("error") or answer.stderr or answer.stdout))
            command = " ".join(argv[: 2 if argv[0] == "env" else 1])
            raise Problem(f"conda {command} failed: {reason[:800] or answer.returncode}")
        return said


def last_object(text: str) -> dict[str, Any]:
    """The last JSON object in a text; empty when there is none (conda says nothing about explicit lists)."""
    decoder = json.JSONDecoder()
    found: dict[str, Any] = {}
    start = text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except ValueError:
            end = start + 1
        else:
            found = value
        start = text.find("{", end)
    return found


def package_lines(actions: dict[str, Any], kind: str) -> list[str]:
    """The packages that conda would link or unlink, as lines for a person."""
    return sorted(f"{package['name']} {package['version']}" for package in actions.get(kind, []))


def explicit_lines(text: str) -> set[tuple[str, str]]:
    """The packages of an explicit list as address and hash (sha256, md5 or empty)."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("#") for line in lines if line and not line.startswith(("#", "@")))
    return {(url, value.replace("sha256:", "")) for url, _, value in pairs}


class Host:
    """What all kernels of this run have in common."""

    def __init__(self, module: AnsibleModule, owner: Owner) -> None:
        self.owner = owner
        self.check = module.check_mode
        self.prefix = Path(module.params["prefix"])
        self.specs = Path(module.params["kernelspec_dir"])
        self.conda = Conda(owner, self.prefix, module.params["channels"])
        self.has_conda = self.conda.program.exists()
        self.channels = module.params["channels"]
        self.probe = module.params["probe"]
        self.pythons: list[Path] = []
        self.warnings: list[str] = []

    def remove(self, *paths: Path) -> None:
        """Remove trees of the owner's."""
        there = [str(path) for path in paths if os.path.lexists(path)]
        if there:
            self.owner.do("/bin/rm", "-rf", "--", *there)

    def move(self, source: Path, target: Path) -> None:
        """Rename a directory of the owner's."""
        self.owner.do("/bin/mv", "-T", "--", str(source), str(target))

    def write(self, target: Path, text: str | bytes) -> None:
        """Write a file of root's, whole or not at all."""
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        data = text.encode() if isinstance(text, str) else text
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, target)


class Kernel:
    """One kernel of the list: its environment, its kernelspec and the stamp that tells what is known about them."""

    def __init__(self, host: Host, wanted: dict[str, Any]) -> None:
        self.host = host
        self.wanted = wanted
        self.name: str = wanted["name"]
        self.language: str = wanted["language"]
        envs = host.prefix / "envs"
        self.env = envs / self.name
        # Beside the environment, because a rename must stay on one file system.
        self.old = envs / f".{self.name}.old"
        self.new = envs / f".{self.name}.new"
        self.spec_file = host.specs / self.name / "kernel.json"
        self.stamp_file = host.specs / self.name / STAMP
        self.stamp = self.read_stamp()
        self.done: list[str] = []
        self.before: list[str] = []
        self.after: list[str] = []
        self.problem = ""
        self.made = False
        self.identity: dict[str, str] = self.stamp.get("identity", {})

    # -- what there is ---------------------------------------------------------------------------------------------

    def read_stamp(self) -> dict[str, Any]:
        """The stamp of an earlier run, if it is about this environment."""
        try:
            stamp = json.loads(self.stamp_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) and stamp.get("environment") == str(self.env) else {}

    def write_stamp(self, **stamp: Any) -> None:
        """Write down what is known. It comes before a change and after it."""
        self.stamp = {"environment": str(self.env), **stamp}
        self.host.write(self.stamp_file, json.dumps(self.stamp, indent=1, sort_keys=True) + "\n")

    def forget(self) -> None:
        """Remove kernelspec and stamp, and the folder when nothing else is in it."""
        if self.spec_file.parent.is_dir():
            for name in os.listdir(self.spec_file.parent):
                if name in ("kernel.json", STAMP) or name.startswith(("logo-", ".new-")):
                    (self.spec_file.parent / name).unlink()
            with contextlib.suppress(OSError):
                self.spec_file.parent.rmdir()
        self.stamp = {}

    def fingerprint(self) -> str:
        """A hash of what is installed, read from the environment itself; empty when it is not a whole one."""
        meta = self.env / "conda-meta"
        if not (meta / "history").is_file() or not os.access(self.env / INTERPRETER[self.language], os.X_OK):
            return ""
        names = sorted(name for name in os.listdir(meta) if name.endswith(".json"))
        if self.wanted["environment_file"]:
            # Its pip section is not in conda-meta.
            names += sorted(path.name for path in self.env.glob("lib/python*/site-packages/*.dist-info"))
        return digest(names) if names else ""

    def records(self) -> Iterator[dict[str, Any]]:
        """What conda knows about the packages in the environment."""
        for path in (self.env / "conda-meta").glob("*.json"):
            try:
                yield json.loads(self.host.owner.read(path))
            except (OSError, ValueError) as error:
                raise Problem(f"{path} cannot be read: {error}") from None

    def satisfies_lock(self) -> bool:
        """Whether exactly the locked packages are there: as a set, because conda's order means nothing."""
        wanted = explicit_lines(self.wanted["lock_file"])
        there = {record["url"]: {"", record.get("md5"), record.get("sha256")} for record in self.records()}
        return set(there) == {url for url, _ in wanted} and all(value in there[url] for url, value in wanted)

    def request(self) -> str:
        """A hash of what the list asks of the environment."""
        keys = ("language", "packages", "environment_file", "lock_file")
        return digest([[self.wanted[key] for key in keys], [] if self.wanted["lock_file"] else self.host.channels])

    def spec(self) -> dict[str, Any]:
        """What kernel.json must hold. Jupyter activates no environment: the kernel's own variables do that work."""
        program = str(self.env / INTERPRETER[self.language])
        env = {
            # Jupyter puts in the PATH that it has itself.
            "PATH": f"{self.env}/bin:${{PATH}}",
            "CONDA_PREFIX": str(self.env),
            "CONDA_DEFAULT_ENV": self.name,
        }
        if self.language == "r":
            argv = [program, "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"]
            language = "R"
            env["R_HOME"] = f"{self.env}/lib/R"
        else:
            # Frozen modules hide the standard library from the debugger.
            argv = [program, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            language = "python"
        return {
            "argv": argv,
            "display_name": self.wanted["display_name"] or self.name,
            "env": {**env, **self.wanted["env"]},
            "language": language,
            "metadata": {"debugger": self.language == "python"},
        }

    # -- phase 1: the environment ----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Bring the environment to what the list says."""
        if self.wanted["state"] == "absent":
            self.remove()
            return
        if not self.host.has_conda:
            if not self.host.check:
                raise Problem(f"there is no conda in {self.host.prefix}")
            self.note("make the environment")
            return
        whole = self.recover()
        seen = self.fingerprint() if whole else ""
        if not seen:
            self.create()
        elif self.wanted["lock_file"]:
            if not self.satisfies_lock():
                self.rebuild()
        elif self.known(seen) and self.wanted["state"] != "latest":
            return
        elif self.wanted["environment_file"]:
            self.update_from_file(seen)
        else:
            self.update()

    def known(self, seen: str) -> bool:
        """Whether the stamp still tells the truth: the same was asked for, and the same is there."""
        stamp = self.stamp
        return bool(
            stamp.get("state") == "made" and stamp.get("request") == self.request() and stamp.get("fingerprint") == seen
        )

    def recover(self) -> bool:
        """Put right what an interrupted run left; say whether what is in the environment's place may be trusted."""
        state = self.stamp.get("state", "made")
        if self.host.check:
            return state == "made" or (state == "changing" and self.env.exists() and not self.old.exists())
        self.host.remove(self.new)
        if state == "made":
            self.host.remove(self.old)
            return True
        if self.old.exists():
            self.host.remove(self.env)
            self.host.move(self.old, self.env)
        elif state == "making":
            self.host.remove(self.env)
        before = self.stamp.get("before")
        if before:
            self.write_stamp(**before)
        return True

    def begin(self, state: str) -> None:
        """Write down that the environment is not to be trusted until the stamp says so."""
        stamp = {key: value for key, value in self.stamp.items() if key != "environment"}
        self.write_stamp(state=state, before=stamp if stamp.get("state") == "made" else None)

    def note(self, what: str, actions: dict[str, Any] | None = None) -> None:
        """Remember what was or would be done."""
        self.done.append(what)
        self.before += package_lines(actions or {}, "UNLINK")
        self.after += package_lines(actions or {}, "LINK")

    def create(self) -> None:
        """Make the environment. What is in its place but is not one goes aside until the new one works."""
        again = os.path.lexists(self.env)
        if self.host.check:
            actions = {}
            if not again and self.wanted["packages"]:
                said = self.host.conda("create", "-y", "--dry-run", *self.create_arguments(self.env))
                actions = said.get("actions", {})
            self.note("make the environment again" if again else "make the environment", actions)
            return
        self.made = not again
        if again:
            self.begin("changing")
            self.host.move(self.env, self.old)
        else:
            self.begin("making")
        self.fill(self.env)
        self.note("made the environment again" if again else "made the environment")
        self.after += [f"{record['name']} {record['version']}" for record in self.records()]

    def create_arguments(self, target: Path) -> list[str]:
        """What conda create needs beside the kind of run."""
        return ["-p", str(target), *self.host.conda.channels, *self.wanted["packages"]]

    def fill(self, target: Path) -> None:
        """Create an environment where there is none: one that exists conda would delete first and solve then."""
        if os.path.lexists(target):
            raise Problem(f"{target} is in the way.")
        if self.wanted["lock_file"]:
            with self.text_file("lock.txt", self.wanted["lock_file"]) as path:
                self.host.conda("create", "-y", "-p", str(target), "--file", path)
        elif self.wanted["environment_file"]:
            # Not "env create", which wipes what exists and knows fewer files: "env update" makes what is missing.
            with self.text_file("environment.yml", self.wanted["environment_file"]) as path:
                self.host.conda("env", "update", "-p", str(target), "-f", path)
        else:
            self.host.conda("create", "-y", *self.create_arguments(target))

    @contextlib.contextmanager
    def text_file(self, name: str, text: str) -> Iterator[str]:
        """A file that the owner of the environments can read."""
        with tempfile.TemporaryDirectory(dir=self.host.owner.work) as folder:
            Path(folder).chmod(0o755)
            path = Path(folder, name)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)
            yield str(path)

    def rebuild(self) -> None:
        """Make exactly what the lock file says: beside the old one first, then in its place.

        Environments have their own path in their files, so what was built beside cannot be moved. It proves that the
        list can be had, fits together and has the kernel in it, and leaves all packages in conda's cache; the second
        time is links only.
        """
        there = {record["url"] for record in self.records()}
        wanted = {url for url, _ in explicit_lines(self.wanted["lock_file"])}
        self.before += sorted(url.rpartition("/")[2] for url in there - wanted)
        self.after += sorted(url.rpartition("/")[2] for url in wanted - there)
        if self.host.check:
            self.note("rebuild the environment from the lock file")
            return
        try:
            self.fill(self.new)
            answer = self.host.owner.run(str(self.new / INTERPRETER[self.language]), *SMOKE[self.language])
            if answer.returncode:
                raise Problem(f"what the lock file lists has no kernel that starts: {one_line(answer.stderr)[-300:]}")
        finally:
            self.host.remove(self.new)
        self.begin("changing")
        self.host.move(self.env, self.old)
        self.fill(self.env)
        self.note("rebuilt the environment from the lock file")

    def update(self) -> None:
        """Bring the packages to what the list says, asking conda first what that means."""
        target = ["-p", str(self.env)]
        # present: satisfied packages stay as they are, or conda would update them. latest: all that fits the list.
        how = "--update-all" if self.wanted["state"] == "latest" else "--satisfied-skip-solve"
        plan = [["install", "-y", how, *target, *self.host.conda.channels, *self.wanted["packages"]]]
        plan += [["remove", "-y", *target, name] for name in self.dropped()]
        steps = []
        for step in plan:
            actions = self.host.conda(*step, "--dry-run").get("actions", {})
            leaving = {package["name"] for package in actions.get("UNLINK", [])}
            # What was dropped from the list stays when something on the list needs it.
            if actions and not (step[0] == "remove" and leaving & set(self.wanted["names"])):
                steps.append(step)
                self.note("change packages" if self.host.check else "changed packages", actions)
        if steps and not self.host.check:
            self.keep()
            for step in steps:
                self.host.conda(*step)

    def dropped(self) -> list[str]:
        """Packages that an earlier list asked for, that this one does not, and that are still there."""
        gone = set(self.stamp.get("names", [])) - set(self.wanted["names"])
        return sorted(gone & {record["name"] for record in self.records()}) if gone else []

    def update_from_file(self, seen: str) -> None:
        """Let conda apply the environment file. It has no dry run for this, so ours says only that it would be applied.

        Conda updates what the file names. So it is asked only when the file is new, a package is missing, or on demand.
        """
        asked = self.stamp.get("request") == self.request() and self.wanted["state"] != "latest"
        if asked and set(self.wanted["names"]) <= {record["name"] for record in self.records()}:
            return
        if self.host.check:
            self.note("apply the environment file")
            return
        there = {f"{record['name']} {record['version']}" for record in self.records()}
        prune = ["--prune"] if self.dropped() else []
        self.keep()
        with self.text_file("environment.yml", self.wanted["environment_file"]) as path:
            self.host.conda("env", "update", "-p", str(self.env), "-f", path, *prune)
        if self.fingerprint() == seen:
            self.accept()
            return
        now = {f"{record['name']} {record['version']}" for record in self.records()}
        self.note("applied the environment file")
        self.before += sorted(there - now)
        self.after += sorted(now - there)

    def keep(self) -> None:
        """Copy the environment, as hard links: conda and pip replace files, they do not write into them."""
        self.begin("changing")
        self.host.owner.do("/bin/cp", "-al", "--", str(self.env), str(self.new))
        # These are written into.
        self.host.remove(self.new / "conda-meta")
        self.host.owner.do("/bin/cp", "-a", "--", str(self.env / "conda-meta"), str(self.new / "conda-meta"))
        self.host.move(self.new, self.old)

    def restore(self) -> None:
        """Take everything back that this run did to the environment."""
        before = self.stamp.get("before") if self.stamp.get("state") in ("making", "changing") else self.stamp
        self.host.remove(self.new)
        if self.old.exists():
            self.host.remove(self.env)
            self.host.move(self.old, self.env)
        elif self.made:
            self.host.remove(self.env)
        if before:
            before.pop("environment", None)
            self.write_stamp(**before)
        elif not self.spec_file.exists():
            self.forget()
        else:
            self.stamp_file.unlink(missing_ok=True)

    def accept(self) -> None:
        """The old environment is not needed any more."""
        self.host.remove(self.old)

    def remove(self) -> None:
        """Remove what this module made, and nothing else."""
        if not self.stamp:
            if os.path.lexists(self.env):
                self.host.warnings.append(
                    f"{self.env} was not made by this role: it is left alone, remove it yourself if nobody needs it."
                )
            return
        self.note(
            "remove the environment and the kernel" if self.host.check else "removed the environment and the kernel"
        )
        self.before = [self.name]
        if not self.host.check:
            self.spec_file.unlink(missing_ok=True)
            self.host.remove(self.env, self.old, self.new)
            self.forget()

    # -- phase 2: the kernel ---------------------------------------------------------------------------------------

    def introduce(self) -> None:
        """Start the kernel when anything about it is new, ask it who it is, and show it to Jupyter only then."""
        if self.wanted["state"] == "absent":
            return
        text = json.dumps(self.spec(), indent=1, sort_keys=True) + "\n"
        there = self.spec_file.read_text(encoding="utf-8") if self.spec_file.is_file() else ""
        if text != there:
            action = "write" if self.host.check else "wrote"
            self.note(f"{action} the kernelspec")
            self.before.append(there)
            self.after.append(text)
        if self.host.check:
            return
        seen = self.fingerprint()
        if not self.done and self.known(seen) and self.stamp.get("kernel") == digest(text):
            return
        self.identity = self.ask()
        if text != there:
            self.copy_logos()
            self.host.write(self.spec_file, text)
        self.write_stamp(
            state="made",
            request=self.request(),
            names=self.wanted["names"],
            fingerprint=seen,
            kernel=digest(text),
            identity=self.identity,
        )
        self.accept()

    def ask(self) -> dict[str, str]:
        """Start the kernel through jupyter_client as its user, and compare who it says it is with what it must be."""
        owner = self.host.owner
        question = json.dumps({"name": self.name, "language": self.language, "spec": self.spec()})
        for python in [self.env / "bin/python", *self.host.pythons, self.host.prefix / "bin/python"]:
            if owner.run(str(python), "-c", "import jupyter_client").returncode == 0:
                break
        else:
            raise Problem(
                "its kernel cannot be tried, as no environment here has jupyter_client: add a Python kernel to the list"
            )
        answer = owner.run(str(python), "-c", self.host.probe, text=question)
        said = last_object(answer.stdout) or {"problem": f"it does not start: {one_line(answer.stderr)[-300:]}"}
        if "problem" in said:
            detail = one_line(answer.stderr)[-300:]
            raise Problem(f"its kernel was asked who it is, and {said['problem']} {detail}".strip())
        home = self.env / "lib/R" if self.language == "r" else self.env
        program = self.env / INTERPRETER[self.language]
        if os.path.realpath(said["prefix"]) != os.path.realpath(home):
            raise Problem(f"its kernel runs in {said['prefix']} and not in {home}")
        if os.path.dirname(said["program"] or "") != os.path.dirname(program):
            raise Problem(f"inside its kernel PATH leads to {said['program']} and not to {program}")
        return {"prefix": said["prefix"], "version": said["version"]}

    def copy_logos(self) -> None:
        """Take the pictures that the kernel's package brings, read with its owner's rights."""
        folder = self.env / LOGOS[self.language]
        for path in folder.glob("logo-*"):
            if re.fullmatch(r"logo-(32x32|64x64|svg)\.(png|svg)", path.name):
                answer = self.host.owner.run("/usr/bin/base64", str(path))
                if answer.returncode == 0:
                    self.host.write(self.spec_file.parent / path.name, base64.b64decode(answer.stdout))

    # -- both ------------------------------------------------------------------------------------------------------

    def attempt(self, step: Callable[[], None]) -> None:
        """Do a step; when it fails, keep the sentence and bring the old state back."""
        if self.problem:
            return
        try:
            step()
        except Problem as problem:
            self.problem = f"Kernel {self.name}: {str(problem).rstrip('. ')}."
        except Exception as error:
            self.problem = f"Kernel {self.name}: {type(error).__name__}: {error}."
        if self.problem and not self.host.check:
            self.restore()
            self.done = []
            if self.fingerprint():
                self.problem += " The environment is as it was before."

    def explicit(self) -> str:
        """What is in the environment, as the explicit list by which it can be made again."""
        urls = sorted("#".join(filter(None, (record["url"], record.get("md5")))) for record in self.records())
        return "".join(f"{line}\n" for line in ["@EXPLICIT", *urls])

    def report(self) -> dict[str, Any]:
        """What the caller gets to know."""
        return {
            **({"explicit": self.explicit()} if self.host.check and self.done and self.fingerprint() else {}),
            "name": self.name,
            "language": self.language,
            "state": self.wanted["state"],
            "environment": str(self.env),
            "version": self.identity.get("version", ""),
            "changed": bool(self.done),
            "done": self.done,
        }

    def diff(self) -> dict[str, str]:
        """The change as Ansible shows it."""
        header = f"kernel {self.name} ({', '.join(self.done)})"
        lines = {
            side: "".join(text.rstrip("\n") + "\n" for text in texts if text)
            for side, texts in (("before", self.before), ("after", self.after))
        }
        return {"before_header": header, "after_header": header, **lines}


NOTHING: dict[str, Any] = {
    "display_name": "",
    "language": "python",
    "packages": [],
    "environment_file": "",
    "lock_file": "",
    "names": [],
    "env": {},
}


def stale(host: Host, names: set[str]) -> Iterator[dict[str, Any]]:
    """Kernels that this module made in this prefix and that the list does not name any more."""
    for path in sorted(host.specs.glob(f"*/{STAMP}")):
        if path.parent.name not in names:
            yield {"name": path.parent.name, "state": "absent", **NOTHING}


def hold(path: Path) -> int:
    """Make sure that no other run works on the same kernels; the lock goes when the process (and its conda) goes."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + WAIT_FOR_ANOTHER_RUN
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except OSError:
            if time.monotonic() > end:
                raise Problem(
                    "Another run is still changing the kernels of this host: wait until it has ended, then apply again."
                ) from None
            time.sleep(1)


def ensure(module: AnsibleModule) -> dict[str, Any]:
    """Settle all environments, then start their kernels."""
    # A dry run waits for nobody.
    dry = module.check_mode
    lock = os.open(os.devnull, os.O_RDONLY) if dry else hold(Path(module.params["kernelspec_dir"]) / LOCK)
    try:
        # Not below /tmp, which is another for what is confined.
        with tempfile.TemporaryDirectory(prefix=f"{UNITS}-", dir="/run" if os.geteuid() == 0 else None) as folder:
            Path(folder).chmod(0o755)
            return work(module, lock, Path(folder))
    finally:
        os.close(lock)


def work(module: AnsibleModule, lock: int, folder: Path) -> dict[str, Any]:
    """Do it, holding the lock."""
    params = module.params
    wanted = params["kernels"]
    rest = (lock, Path(params["prefix"]), folder, module.check_mode)
    try:
        owner = Owner(params["user"], *rest)
    except KeyError:
        if not module.check_mode:
            raise Problem(f"The account {params['user']} does not exist on this host.") from None
        owner = Owner("root", *rest)
    if owner.confines and not module.check_mode:
        # What a run that was killed left at work. The lock says that no other runs.
        subprocess.run(["systemctl", "--quiet", "stop", f"{UNITS}-[0-9]*.service"], capture_output=True, check=False)
    if params["accept_terms"]:
        owner.more["CONDA_PLUGINS_AUTO_ACCEPT_TOS"] = "yes"
    host = Host(module, owner)
    # A dry run before the account exists: nothing may run as root in its place, and there is nothing to look at.
    host.has_conda = host.has_conda and owner.entry.pw_name == params["user"]
    if host.check and host.has_conda:
        # What an interrupted installation left is still there in a dry run.
        host.has_conda = owner.run(str(host.conda.program), "--version").returncode == 0
    if params["prune"]:
        wanted = [*wanted, *stale(host, {kernel["name"] for kernel in wanted})]
    kernels = [Kernel(host, one) for one in wanted]
    with ThreadPoolExecutor(max_workers=max(1, params["parallel"])) as pool:
        list(pool.map(lambda kernel: kernel.attempt(kernel.settle), kernels))
        # An R kernel is asked with the help of a Python that is ready.
        ready = [kernel for kernel in kernels if kernel.language == "python" and not kernel.problem]
        host.pythons = [kernel.env / "bin/python" for kernel in ready]
        list(pool.map(lambda kernel: kernel.attempt(kernel.introduce), kernels))
    changed = [kernel for kernel in kernels if kernel.done]
    problems = [kernel.problem for kernel in kernels if kernel.problem]
    return {
        "changed": bool(changed),
        "kernels": [kernel.report() for kernel in kernels],
        "diff": [kernel.diff() for kernel in changed],
        "warnings": host.warnings,
        "msg": " ".join(problems) or "; ".join(f"{kernel.name}: {', '.join(kernel.done)}" for kernel in changed),
        "failed": bool(problems),
    }


def main() -> None:
    """Run the module."""
    texts = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "kernelspec_dir": {"type": "path", "required": True},
            "kernels": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "display_name": {"type": "str"},
                    "language": {"type": "str", "choices": ["python", "r"], "default": "python"},
                    "state": {"type": "str", "choices": ["present", "absent", "latest"], "default": "present"},
                    "packages": texts,
                    "environment_file": {"type": "str", "default": ""},
                    "lock_file": {"type": "str", "default": ""},
                    "names": texts,
                    "env": {"type": "dict", "default": {}},
                },
            },
            "channels": {"type": "list", "elements": "str", "required": True},
            "accept_terms": {"type": "bool", "default": False},
            "probe": {"type": "str", "required": True},
            "parallel": {"type": "int", "default": 2},
            "prune": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)
    try:
        result = ensure(module)
    except Problem as problem:
        module.fail_json(msg=str(problem))
    for warning in result.pop("warnings"):
        module.warn(warning)
    if result.pop("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

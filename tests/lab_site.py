"""A lab with a server in it, and what a person does there: what the end-to-end tests and those of a server's life share."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.open_data import PROFILE
from plugins.modules.notebook_probe import Server, log_in, trust, wait_for

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "reports"
# Seconds that a run may take on two busy cores.
FIRST_RUN, LATER_RUN = 1500, 600
# Whom docs/permissions.md names for a playbook; daily life is all others.
POLICIES = {
    "site.yml": {"launch"},
    "playbooks/provision.yml": {"launch"},
    "playbooks/burst.yml": {"daily", "roles"},
    "playbooks/destroy.yml": {"destroy"},
}
USER, PROJECT, REGION, ACCOUNT = "jupyter", "notebook-server", "us-west-2", "123456789012"
Recap = dict[str, dict[str, int]]


@dataclass
class Run:
    """A finished run of ansible-playbook."""

    code: int
    output: str
    seconds: float

    @property
    def recap(self) -> Recap:
        """Its last lines: {"demo": {"ok": 3, "changed": 0, ...}}."""
        lines = self.output.rpartition("PLAY RECAP")[2].splitlines()[1:]
        hosts = [re.match(r"(\S+)\s+: (ok=.*)", line) for line in lines]
        return {host[1]: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", host[2])} for host in hosts if host}

    def changes_nothing(self) -> bool:
        """Whether it succeeded, on at least one host, and changed none."""
        return self.code == 0 and bool(self.recap) and all(host["changed"] == 0 for host in self.recap.values())

    def tail(self, lines: int = 60) -> str:
        """Return the end of what it said, for the message of a failed test."""
        return "\n".join(self.output.splitlines()[-lines:])


class Site:
    """The lab, and what a person does with it, who may do what the policies say and nothing else."""

    def __init__(self, name: str, state: Path, environment: dict[str, str], server: str = "demo") -> None:
        self.name, self.state, self.server, self.environment = name, state, server, environment
        self.ssh_config = state / server / "ssh_config"
        self.password_file = state / server / "credentials" / "jupyter_password"
        self.ca_file = state / "ca" / "ca.crt"
        # Given at every run, as if they were in group_vars.
        self.settings: tuple[str, ...] = ()
        self.users: dict[frozenset[str], dict[str, str]] = {}

    @property
    def record(self) -> dict[str, Any]:
        """What is known of the server."""
        return dict(yaml.safe_load((self.state / self.server / "record.yml").read_text()))

    @property
    def url(self) -> str:
        """Where people go."""
        return f"https://{self.record['public_ip']}/"

    @property
    def password(self) -> str:
        """What people type there."""
        return self.password_file.read_text().strip()

    @property
    def kernels(self) -> list[dict[str, Any]]:
        """The kernels that the settings ask for, as Ansible itself reads them."""
        ask = ["-m", "ansible.builtin.debug", "-a", "msg={{ anaconda_kernels_kernels | to_json }}"]
        result = subprocess.run(
            ["ansible", self.server, "-i", "inventory/lab.yml", "-e", f"state_dir={self.state}", "--one-line", *ask],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        said = json.loads(result.stdout.partition("=>")[2])["msg"]
        return list(json.loads(said) if isinstance(said, str) else said)

    def user(self, *policies: str) -> dict[str, str]:
        """Return the keys of somebody who has these policies."""
        wanted = frozenset(policies)
        if wanted not in self.users:
            iam, name = self.client("iam"), f"{'-'.join(sorted(wanted))}-{time.monotonic_ns()}"
            iam.create_user(UserName=name)
            for policy in sorted(wanted):
                made = iam.create_policy(PolicyName=f"{policy}-{name}", PolicyDocument=json.dumps(document(policy)))
                iam.attach_user_policy(UserName=name, PolicyArn=made["Policy"]["Arn"])
            key = iam.create_access_key(UserName=name)["AccessKey"]
            self.users[wanted] = {
                "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
                "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            }
        return self.users[wanted]

    def refused(self) -> set[str]:
        """Return what AWS refused to such people since the last time, and forget it."""
        request = urllib.request.Request(f"{self.environment['AWS_ENDPOINT_URL']}/lab/actions", method="DELETE")  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the lab's, on this machine
            calls = json.load(answer)
        return {f"{action} to {who}" for who, action, allowed in calls if not allowed and ":user/" in who}

    def command(self, *arguments: str, playbook: str = "site.yml") -> list[str]:
        """Return what people type, with the state in a place of its own; one playbook, or several with spaces between."""
        state = ["-e", f"state_dir={self.state}", *self.settings]
        return ["ansible-playbook", "-i", "inventory/lab.yml", *playbook.split(), *state, *arguments]

    def start(
        self, log: Path, *arguments: str, playbook: str = "site.yml", rights: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        """Start ansible-playbook as a terminal would: in a process group of its own, which Ctrl-C reaches."""
        log.parent.mkdir(exist_ok=True)
        policies = set(rights).union(*(POLICIES.get(one, {"daily"}) for one in playbook.split()))
        with log.open("wb") as output:
            return subprocess.Popen(
                self.command(*arguments, playbook=playbook),
                cwd=ROOT,
                env=self.environment | self.user(*policies),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def apply(
        self,
        name: str,
        *arguments: str,
        seconds: int = LATER_RUN,
        playbook: str = "site.yml",
        rights: tuple[str, ...] = (),
    ) -> Run:
        """Run ansible-playbook as somebody who has the policies for it, and `rights`; AWS must refuse nothing.

        Its output goes to reports/<name of the tests>-<name>.log.
        """
        log = REPORTS / f"{self.name}-{name}.log"
        started, before = time.monotonic(), cpu_seconds()
        code = self.start(log, *arguments, playbook=playbook, rights=rights).wait(seconds)
        run = Run(code, log.read_text(errors="replace"), time.monotonic() - started)
        print(
            f"ansible-playbook {playbook} {' '.join(arguments)}: exit code {code} after {run.seconds:.0f} s, "
            f"{cpu_seconds() - before:.0f} CPU-s here"
        )
        refused = self.refused()
        assert not refused, f"the policies lack {', '.join(sorted(refused))}\n{run.tail()}"
        return run

    def ssh(self, *command: str, seconds: int = 120) -> subprocess.CompletedProcess[str]:
        """Log in to the server by its alias and run a command there."""
        return subprocess.run(
            ["ssh", "-F", str(self.ssh_config), "-o", "BatchMode=yes", self.server, *command],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def root(self, command: str, seconds: int = 120) -> str:
        """Run a command on the server as root, and return what it prints."""
        said = self.ssh(f"sudo sh -c {shlex.quote(command)}", seconds=seconds)
        assert said.returncode == 0, f"{command}: {said.stdout} {said.stderr}"
        return said.stdout.strip()

    def lets_in(self, key: Path) -> bool:
        """Whether a private key, with no other, opens the server by SSH."""
        config = key.with_suffix(".config")
        lines = [line for line in self.ssh_config.read_text().splitlines() if "IdentityFile" not in line]
        config.write_text("\n".join([*lines, f'  IdentityFile "{key}"', ""]))
        words = ["ssh", "-F", str(config), "-o", "BatchMode=yes", "-o", "ControlPath=none", "-o", "IdentityAgent=none"]
        code = subprocess.run([*words, self.server, "true"], capture_output=True, timeout=60, check=False).returncode
        assert code in (0, 255), f"ssh ended with {code}"
        return code == 0

    def logs_in(self, password: str) -> bool:
        """Whether JupyterLab takes a password, asked over a connection that the CA's certificate proves."""
        address = self.record["public_ip"]
        wait_for(address, 443, 120)
        server = Server(address, 443, trust(str(self.ca_file)))
        server.ask("GET", "/login")
        return log_in(server, password)[0].ok

    def possessions(self, table: str) -> dict[str, str]:
        """Count what must never be lost: the rows of a table in both databases, and people's files (kernels write what is hidden)."""
        count = f"SELECT COUNT(*), SUM(n) FROM {table}"  # noqa: S608 - a name of the tests' own
        find = 'cd /data/notebooks && find . -type f ! -path "*/.*" -exec sha256sum {} + | sort'
        return {
            "mysql": self.root(f"mariadb -BN notebooks -e '{count}'").replace("\t", "|"),
            "postgres": self.root(f"cd / && runuser -u postgres -- psql -At notebooks -c '{count}'"),
            "files": self.root(find),
        }

    def give(self, table: str) -> None:
        """Have something to lose: a table in both databases, and a notebook of the same name."""
        rows = f"CREATE TABLE IF NOT EXISTS {table} (n INT); INSERT INTO {table} VALUES (40), (2)"  # noqa: S608 - as above
        self.root(f"mariadb notebooks -e '{rows}'; cd /; runuser -u postgres -- psql -q notebooks -c '{rows}'")
        self.root(f"echo '{{}}' | runuser -u {USER} -- tee /data/notebooks/{table}.ipynb")

    def take(self, table: str) -> None:
        """Lose it."""
        drop = f"DROP TABLE {table}"
        self.root(f"mariadb notebooks -e '{drop}'; cd /; runuser -u postgres -- psql -q notebooks -c '{drop}'")
        self.root(f"rm /data/notebooks/{table}.ipynb")

    def client(self, service: str = "ec2") -> Any:
        """Return a client of the lab's AWS API, which may do everything."""
        import boto3

        return boto3.client(  # type: ignore[call-overload]
            service,
            region_name=REGION,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )


def account(site: Site) -> dict[str, set[str]]:
    """Return what there is in the whole account, asked without any of the project's code; not what AWS or the lab has for everybody."""
    ec2, iam = site.client(), site.client("iam")
    reservations = ec2.describe_instances()["Reservations"]
    groups = ec2.describe_security_groups()["SecurityGroups"]
    return {
        "instances": {
            i["InstanceId"] for r in reservations for i in r["Instances"] if i["State"]["Name"] != "terminated"
        },
        "volumes": {one["VolumeId"] for one in ec2.describe_volumes()["Volumes"]},
        "snapshots": {one["SnapshotId"] for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]},
        "images": {one["ImageId"] for one in ec2.describe_images(Owners=["self"])["Images"]},
        "addresses": {one["AllocationId"] for one in ec2.describe_addresses()["Addresses"]},
        "groups": {one["GroupId"] for one in groups if one["GroupName"] != "default"},
        "keys": {one["KeyName"] for one in ec2.describe_key_pairs()["KeyPairs"]},
        "interfaces": {one["NetworkInterfaceId"] for one in ec2.describe_network_interfaces()["NetworkInterfaces"]},
        "networks": {one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"]},
        "roles": {one["RoleName"] for one in iam.list_roles()["Roles"]},
        "profiles": {one["InstanceProfileName"] for one in iam.list_instance_profiles()["InstanceProfiles"]},
        "alarms": {one["AlarmName"] for one in site.client("cloudwatch").describe_alarms()["MetricAlarms"]},
        "schedules": {one["Name"] for one in site.client("scheduler").list_schedules()["Schedules"]},
        "buckets": {one["Name"] for one in site.client("s3").list_buckets()["Buckets"]},
    }


def cpu_seconds() -> float:
    """Return what the programs that were started here and have ended used of the processors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def document(policy: str) -> dict[str, Any]:
    """Return a policy as a person attaches it, who also uses the lab's own instance profile (docs/permissions.md)."""
    text = (ROOT / f"policies/{policy}.json").read_text()
    for word, value in {"<project>": PROJECT, "<region>": REGION, "<account>": ACCOUNT}.items():
        text = text.replace(word, value)
    found: dict[str, Any] = json.loads(text)
    for statement in found["Statement"]:
        if statement["Sid"] == "HandOverRole":
            statement["Resource"] = [statement["Resource"], f"arn:aws:iam::{ACCOUNT}:role/{PROFILE}"]
    return found


def lab(variables: dict[str, str], *arguments: str) -> None:
    """Run a command of the lab."""
    subprocess.run(
        [sys.executable, "-m", "lab", *arguments], cwd=ROOT, env=os.environ | variables, timeout=900, check=True
    )


def read_exports(file: Path) -> dict[str, str]:
    """Read the lines `export NAME=value` of the lab's env file as a shell would."""
    result = subprocess.run(
        ["sh", "-c", '. "$0" && env -0', str(file)], env={}, capture_output=True, text=True, check=True
    )
    pairs = (line.split("=", 1) for line in result.stdout.split("\0") if line)
    return {name: value for name, value in pairs if name.startswith("AWS_")}


@contextmanager
def lab_site(name: str, variables: dict[str, str], keep: bool = False) -> Iterator[Site]:
    """Start a lab, and take it away with all that is in it when the tests are done, unless it is to be kept for the next time."""
    folder = ROOT / variables["LAB_DIR"]

    def remove() -> None:
        if not keep:
            lab(variables, "down")
            shutil.rmtree(folder, ignore_errors=True)

    remove()
    try:
        lab(variables, "up")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= variables | read_exports(folder / "env")
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        # As on a person's terminal, less the colours.
        environment |= {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "PYTHONUNBUFFERED": "1"}
        yield Site(name, folder / "state", environment)
    finally:
        remove()

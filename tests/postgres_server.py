"""A server with PostgreSQL as the scenarios that apply the role postgres see it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests import played

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
BACKUPS = "/srv/backups/postgres"


@dataclass
class Server:
    """One host of the scenario, seen from the controller."""

    name: str
    address: str = ""
    subnet: str = ""

    @property
    def container(self) -> str:
        """What the container engine calls it."""
        return f"molecule-{SCENARIO.name}-{self.name}"

    def sh(self, command: str, **environment: str) -> str:
        """Run a command as root, and return what it prints."""
        done = self.run(command, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def run(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as root, however it ends."""
        settings = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
        inside = ["docker", "exec", *settings, self.container, "bash", "-c", command]
        return subprocess.run(inside, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def sql(self, statement: str, account: str = "postgres", database: str = "notebooks") -> str:
        """What a statement gives to an account that the system vouches for."""
        return self.sh(f'cd / && runuser -u {account} -- psql -XqAt {database} -c "$SQL"', SQL=statement)

    def login(
        self, account: str, password: str, query: str = "SELECT 1", **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Log in by a password, through the socket unless there is more to say."""
        where = {"host": "/run/postgresql", "dbname": "notebooks", **more}
        line = " ".join(f"{name}={value}" for name, value in where.items())
        return self.run(f'psql -XqAt "user={account} {line}" -c "$SQL"', SQL=query, PGPASSWORD=password)

    def started(self) -> str:
        """When the server was started."""
        return self.sql("SELECT pg_postmaster_start_time()")

    @property
    def etc(self) -> str:
        """Where the server's settings are."""
        return self.sh("dirname $(ls -t /etc/postgresql/*/main/postgresql.conf | head -n 1)")

    def password(self, account: str) -> str:
        """The password that the role keeps on the controller."""
        return (EPHEMERAL / self.name / f"postgres_{account}").read_text()

    def play(self, playbook: Path, *arguments: str) -> played.Run:
        """Run a playbook for this host."""
        return played.play(SCENARIO, "--limit", self.name, *arguments, str(playbook))

"""What the role rotate decides: which secrets change, what that means for people, and what cannot be changed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# In the order in which they are done. `all` is all but the last, which takes something from everybody.
PARTS = ("ssh_key", "jupyter_password", "database_passwords", "certificate", "ca")
ALL = PARTS[:-1]
# Log in as whom the system says they are, without a password.
BY_SOCKET = {"socket", "peer", "unix_socket", "auth_socket"}
NOTEBOOKS = {"jupyter_tls": "JupyterLab", "notebook_container": "the notebook image"}


def listed(names: list[str]) -> str:
    """Names as people list them."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def rotate_generated(users: list[dict[str, Any]]) -> list[str]:
    """Accounts whose password the project made: they have one, and nobody gave it."""
    return [
        str(user["name"])
        for user in users
        if (user.get("plugin") or "password") not in BY_SOCKET
        and not user.get("password")
        and (user.get("state") or "present") == "present"
    ]


def wished(asked: Any) -> list[str]:
    """What was asked for, as a list of words: a,b or [a, b]."""
    words = asked.split(",") if isinstance(asked, str) else asked
    return [str(word).strip() for word in words if str(word).strip()]


def unfinished(files: list[str]) -> set[str]:
    """The parts that a run which was cut off had begun, by the files that it left."""
    begun = {"id_ed25519": "ssh_key", "jupyter_password": "jupyter_password"}
    return {begun.get(file.rpartition(".")[0], "database_passwords") for file in files}


class Plan:
    """Collects what is to be done on one server."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.name: str = facts["name"]
        self.notebooks = [NOTEBOOKS[name] for name in NOTEBOOKS if name in facts["components"]]
        self.says: list[str] = []
        self.cannot = ""

    def ssh_key(self) -> bool:
        """A new key for the login user."""
        if not self.facts["launched"]:
            self.cannot = (
                f"{self.name} was not launched by this project, so its SSH keys are not this project's to change"
            )
        elif self.facts["own_key_file"]:
            self.cannot = (
                f"{self.name} has a key of your own ({self.facts['own_key_file']}), which may open other doors too: put "
                "another one into its authorized_keys yourself, and name it in ec2_provision_key_private_file"
            )
        else:
            self.says.append(
                "SSH: a new key; the old one opens nothing any more. `ssh -F` and ssh_config name the same file as before. "
                "Make copies anew that you have elsewhere (another machine, a .ppk for PuTTY)."
            )
        return not self.cannot

    def jupyter_password(self) -> bool:
        """A new password for people."""
        if not self.notebooks:
            self.cannot = f"{self.name} has no JupyterLab, so there is no password"
        elif self.facts["own_password"]:
            self.cannot = (
                f"the password of {self.name} is given in jupyter_tls_password: change it there and apply site.yml"
            )
        else:
            self.says.append(
                f"Password of {listed(self.notebooks)}: a new one, shown once at the end. Everybody is logged out, and kernels and "
                "terminals that run are ended: have people save first."
            )
        return not self.cannot

    def database_passwords(self) -> bool:
        """New passwords for accounts."""
        accounts = {
            "MySQL": rotate_generated(self.facts["mysql_users"]),
            "PostgreSQL": rotate_generated(self.facts["postgres_users"]),
        }
        if not any(accounts.values()):
            self.cannot = (
                f"no database account of {self.name} has a password that was made here: accounts by socket have none, and "
                "those in the settings are changed there"
            )
            return False
        words = [f"{kind}: {', '.join(names)}" for kind, names in accounts.items() if names]
        self.says.append(
            f"Database passwords: new ones ({'; '.join(words)}), kept in {self.facts['credentials_dir']}. Programs that have the old "
            "ones fail until you give them the new; connections that are open stay."
        )
        return True

    def certified(self) -> list[str]:
        """Services whose certificate the private CA signs."""
        found = [] if self.facts["own_certificate_file"] else list(self.notebooks)
        found += ["MySQL"] if self.facts["mysql_tls"] else []
        return found + (
            ["PostgreSQL"] if self.facts["postgres_tls"] and not self.facts["postgres_own_certificate_file"] else []
        )

    def certificate(self) -> bool:
        """New keys and certificates."""
        if not self.certified():
            given = self.facts["own_certificate_file"]
            self.cannot = (
                f"the certificate of {self.name} is your own ({given}): exchange the file and apply site.yml"
                if given
                else f"nothing on {self.name} has a certificate of the private CA"
            )
            return False
        self.says.append(
            f"Certificate of {listed(self.certified())}: a new key and certificate by the same CA, so there is nothing new to trust. "
            "What has it is restarted (PostgreSQL reads it again): kernels and terminals that run are ended."
        )
        return True

    def ca(self) -> bool:
        """A new CA, and with it new certificates."""
        if not self.certified():
            self.cannot = f"nothing on {self.name} has a certificate of the private CA"
            return False
        self.says.append(
            f"CA: a new one in {self.facts['ca_dir']}; the former is kept beside it. EVERYBODY must trust the new ca.crt "
            "(docs/trust.md), and every other server of this checkout is distrusted until site.yml was applied to it."
        )
        return True


def rotate_plan(asked: Any, facts: dict[str, Any]) -> dict[str, list[str]]:
    """The parts to do, what to say before, and problems. What `all` names and this server has not is left out and said."""
    words = wished(asked)
    every = "all" in words
    unknown = [word for word in words if word not in (*PARTS, "all")]
    if unknown or not words:
        given = f"rotate={','.join(unknown)} is none of these" if unknown else "Nothing was asked for"
        return {
            "parts": [],
            "says": [],
            "problems": [f"{given}: say -e rotate= and one or more of {', '.join((*PARTS, 'all'))}."],
        }
    if not facts["known"]:
        return {"parts": [], "says": [], "problems": [f"{facts['name']} is not there yet: site.yml launches it."]}
    made_here = [] if facts["own_password"] else [name for name in NOTEBOOKS if name in facts["components"]]
    made_here += rotate_generated([*facts["mysql_users"], *facts["postgres_users"]])
    if made_here and not facts["kept"]:
        return {
            "parts": [],
            "says": [],
            "problems": [
                f"{facts['credentials_dir']} is not there, so the passwords of {facts['name']} were not made on this machine: copy that "
                "folder from where they were, or apply site.yml here, which makes new ones."
            ],
        }
    parts, says, problems = [], [], []
    cut_off = unfinished(facts["unfinished"])
    for part in PARTS:
        if part in words or part in cut_off or (every and part in ALL):
            plan = Plan(facts)
            if getattr(plan, part)():
                parts.append(part)
            elif part in words:
                problems.append(f"{part}: {plan.cannot}.")
            else:
                says.append(f"Left out: {part}, because {plan.cannot}.")
            says += plan.says
    if every and not parts:
        problems.append(f"{facts['name']} has no secret that could be changed here.")
    # A new CA signs everything anew.
    if "ca" in parts and "certificate" not in parts:
        parts.insert(parts.index("ca"), "certificate")
    if cut_off:
        says.append(
            f"An earlier run was cut off: this one goes on with what it made ({', '.join(sorted(facts['unfinished']))})."
        )
    return {"parts": parts, "says": says, "problems": problems}


class FilterModule:
    """Filters of the role rotate."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {f.__name__: f for f in (rotate_plan, rotate_generated)}

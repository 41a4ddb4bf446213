#!/usr/bin/env python3
"""Holds together what says the same thing twice: argument specs, defaults and the tables in the READMEs.

With --write the tables are made anew; without, whatever differs is named and the exit code is 1.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
# The marker may name settings: then the table has these, in this order, without what is inside them; else all of the role.
MARKERS = re.compile(r"(<!-- variables:begin(?P<names>[^>]*?)-->\n)(?P<table>.*?)(<!-- variables:end -->)", re.DOTALL)

# A longer default is not repeated in a table.
LONGEST_DEFAULT = 120

# What no file of the project says, and why not. Brackets keep the patterns from finding themselves.
FORBIDDEN = {
    r"[|][|] *true\b": "a failure is swallowed",
    r"\bignore_errors[:] *(true|yes)": "a failure is swallowed",
    r"\bfailed_when[:] *false": "a failure is swallowed",
    r"\bpy[p]i\.org|python[h]osted\.org|\bdeb\.[d]ebian\.org|registry\.[n]pmjs": "the machine chooses its mirrors",
}


def load(path: Path) -> Any:
    """Read a YAML file; an absent or empty one is an empty mapping."""
    return (yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None) or {}


def options(role: Path) -> dict[str, Any]:
    """Return the documented variables of a role."""
    specs = load(role / "meta" / "argument_specs.yml").get("argument_specs", {})
    return dict(specs.get("main", {}).get("options", {}) or {})


def disagreements(role: Path) -> Iterator[str]:
    """Name what the argument specs of a role and its defaults say differently."""
    specs = load(role / "meta" / "argument_specs.yml").get("argument_specs", {})
    spec, defaults = options(role), load(role / "defaults" / "main.yml")
    if "main" not in specs:
        yield f"{role.name}: meta/argument_specs.yml has no entry point main."
    if "preflight" in specs and specs["preflight"].get("options") != specs["main"].get("options"):
        yield f"{role.name}: the entry points main and preflight have different options (write `preflight: *main`)."
    for name in sorted(set(defaults) - set(spec)):
        yield f"{role.name}: {name} is in defaults/main.yml but not in meta/argument_specs.yml."
    for name, option in spec.items():
        if not name.startswith(f"{role.name}_"):
            yield f"{role.name}: {name} does not start with the name of the role."
        if "type" not in option or "description" not in option:
            yield f"{role.name}: {name} lacks a type or a description in meta/argument_specs.yml."
        if name not in defaults:
            if not option.get("required"):
                yield f"{role.name}: {name} is neither required nor in defaults/main.yml."
        elif "default" not in option:
            yield f"{role.name}: {name} has a value in defaults/main.yml but no default in its spec."
        elif option["default"] != defaults[name]:
            yield f"{role.name}: {name} is {defaults[name]!r} in defaults/main.yml, {option['default']!r} in its spec."


# Settings of these types are read by a name of their own, as what comes by -e name=value is a text whatever the spec says.
TYPES = {"int", "float", "bool"}
# Where expressions are: in braces, in the lines of a statement in YAML that is one by itself, and in the list of such lines.
BRACES = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
BARE = re.compile(r"^( *)(?:- )?(?:when|that|until|changed_when|failed_when):.*\n(?:(?:\1 +.*)?\n)*", re.MULTILINE)
LITERALS = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|#.*")


def typed_options(role: Path) -> dict[str, str]:
    """Return the type of each setting of a role, at whichever entry point, that is a number or a switch."""
    specs = load(role / "meta" / "argument_specs.yml").get("argument_specs", {})
    every = [option for spec in specs.values() for option in (spec.get("options") or {}).items()]
    return {name: option["type"] for name, option in every if option.get("type") in TYPES}


def converted(name: str, kind: str) -> str:
    """Return the expression that makes a setting what its spec says. A number that is one already keeps its digits."""
    return f"({name} | float) if {name} is string else {name}" if kind == "float" else f"{name} | {kind}"


def files_with_expressions(role: Path) -> list[Path]:
    """Return the files of a role that may read settings."""
    return sorted(
        path
        for folder in ("tasks", "handlers", "vars", "templates")
        for path in role.glob(f"{folder}/*")
        if path.is_file()
    )


def expressions(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yield each expression of a file with where it begins."""
    for match in BRACES.finditer(text):
        yield match.start(), match[0]
    if path.suffix == ".yml":
        for match in BARE.finditer(text):
            # Its braces were yielded already, and quotes around all of it belong to YAML.
            lines = BRACES.sub(lambda braces: " " * len(braces[0]), match[0])
            yield match.start(), re.sub(r"^( *(?:- |\w+: )+)\"(.*)\"$", r"\1 \2 ", lines, flags=re.MULTILINE)


def raw_reads(path: Path, text: str, typed: dict[str, str]) -> list[tuple[int, int]]:
    """Return where a file reads a number or a switch as it comes, and does not convert it at once."""
    at_once = r"\s*(?:\|\s*default\([^)]*\)\s*)?\|\s*(?:int|float|bool)\b"
    no_read = rf"{at_once}|\s*=[^=]|\s*is (?:not )?(?:defined|string)"
    reads = re.compile(rf"(?<![\w.])(?:{'|'.join(typed)})\b(?!{no_read})")
    found = set()
    for start, expression in expressions(path, text):
        allowed = LITERALS.sub(lambda literal: " " * len(literal[0]), expression)
        for name, kind in typed.items():
            allowed = allowed.replace(converted(name, kind), " " * len(converted(name, kind)))
        found |= {(start + match.start(), start + match.end()) for match in reads.finditer(allowed)}
    return sorted(found)


def unconverted(role: Path) -> Iterator[str]:
    """Name the places where a role reads a number or a switch that may be a text."""
    typed = typed_options(role)
    for path in files_with_expressions(role) if typed else []:
        text = path.read_text(encoding="utf-8")
        for start, end in raw_reads(path, text, typed):
            line, name = text.count("\n", 0, start) + 1, text[start:end]
            yield f"{role.name}/{path.relative_to(role)}:{line}: {name} may be a text; read __{name}, converted in vars/main.yml."
    for name, value in load(role / "vars" / "main.yml").items():
        kind = typed.get(name.removeprefix("__"))
        wanted = kind and f"{{{{ {converted(name.removeprefix('__'), kind)} }}}}"
        if wanted and value != wanted:
            yield f"{role.name}: {name} in vars/main.yml is not {wanted}."


def passed_on(text: str, start: int, end: int) -> bool:
    """Whether a value is no more than handed to a role, which converts it."""
    return text[:start].endswith('"{{ ') and text[end:].startswith(' }}"\n')


def unconverted_around(typed: dict[str, str]) -> Iterator[str]:
    """Name the places where group_vars or a playbook computes with a number or a switch that may be a text."""
    files = sorted([*ROOT.glob("group_vars/**/*.yml"), *ROOT.glob("playbooks/**/*.yml")])
    kinds = {bool: "bool", int: "int", float: "float"}
    for path in ROOT.glob("group_vars/**/*.yml"):
        typed = {name: kinds[type(value)] for name, value in load(path).items() if type(value) in kinds} | typed
    for path in files:
        text = path.read_text(encoding="utf-8")
        for start, end in raw_reads(path, text, typed):
            if not passed_on(text, start, end):
                line, name = text.count("\n", 0, start) + 1, text[start:end]
                yield f"{path.relative_to(ROOT)}:{line}: {name} may be a text; write {name} | {typed[name]}."


def cell(value: Any) -> str:
    """Return text that may stand in a cell of a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|")


def shown(value: Any) -> str:
    """Return a default as people would write it."""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return f"`{cell(text)}`" if len(text) <= LONGEST_DEFAULT else f"{len(value)} entries"


def rows(spec: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a row for each option, those of nested ones after their parent."""
    for name, option in spec.items():
        kind = option.get("type", "")
        if kind == "list":
            kind = f"list of {option.get('elements', 'raw')}"
        default = "**required**" if option.get("required") else shown(option["default"]) if "default" in option else ""
        description = option.get("description", "")
        words = cell(" ".join(description) if isinstance(description, list) else description)
        if "choices" in option:
            words += " One of " + ", ".join(shown(choice) for choice in option["choices"]) + "."
        yield f"| `{prefix}{name}` | {kind} | {default} | {words} |"
        yield from rows(option.get("options", {}), f"{prefix}{name}{'[]' if option.get('type') == 'list' else ''}.")


def table(spec: dict[str, Any]) -> str:
    """Return the Markdown table of some options."""
    return "\n".join(["| variable | type | default | what it is |", "|---|---|---|---|", *rows(spec), ""])


def with_tables(text: str, spec: dict[str, Any]) -> str:
    """Return a README with its tables made from the options."""

    def made(match: re.Match[str]) -> str:
        names = match["names"].split()
        some = {name: {k: v for k, v in spec[name].items() if k != "options"} for name in names} or spec
        return match[1] + table(some) + match[4]

    return MARKERS.sub(made, text)


def unknown_names(text: str, spec: dict[str, Any]) -> Iterator[str]:
    """Yield the settings that a marker names and no role has."""
    for match in MARKERS.finditer(text):
        yield from (name for name in match["names"].split() if name not in spec)


def check_readme(path: Path, spec: dict[str, Any], write: bool) -> Iterator[str]:
    """Name what is wrong with the tables of one README, or make them anew."""
    name = path.relative_to(ROOT)
    if not path.exists():
        yield f"{name} is missing."
        return
    text = path.read_text(encoding="utf-8")
    if not MARKERS.search(text):
        yield f"{name} has no `<!-- variables:begin -->` and `<!-- variables:end -->`."
        return
    unknown = list(unknown_names(text, spec))
    if unknown:
        yield f"{name} names settings that no role has: {', '.join(unknown)}."
        return
    fresh = with_tables(text, spec)
    if fresh != text and write:
        path.write_text(fresh, encoding="utf-8")
        print(f"{name}: table made anew")
    elif fresh != text:
        yield f"{name}: the table of variables is not the one of the argument specs (make docs)."


def project_files() -> Iterator[Path]:
    """Yield the files that belong to the project, committed or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and path.suffix not in {".md", ".png"}:
            yield path


def forbidden(path: Path) -> Iterator[str]:
    """Name the lines of a file that say what no file may say."""
    text = path.read_text(encoding="utf-8", errors="replace")
    for pattern, reason in FORBIDDEN.items():
        for match in re.finditer(pattern, text):
            yield f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}: {reason}."


def main(arguments: list[str]) -> int:
    """Check everything and return the exit code."""
    write = "--write" in arguments
    roles = sorted(path.parent.parent for path in ROOT.glob("roles/*/tasks/main.yml"))
    problems: list[str] = []
    everything: dict[str, Any] = {}
    typed: dict[str, str] = {}
    for role in roles:
        typed.update(typed_options(role))
        everything.update(options(role))
        problems += disagreements(role)
        problems += unconverted(role)
        problems += check_readme(role / "README.md", options(role), write)
    problems += unconverted_around(typed)
    problems += check_readme(ROOT / "README.md", everything, write)
    for path in project_files():
        problems += forbidden(path)
    print("\n".join(problems) or f"{len(roles)} roles: specs, defaults and tables agree.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The command line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import yaml
from rattler import Platform, VirtualPackage

from . import VERSION, environments, transactions
from .config import LISTS, Config, change, root
from .environments import check, check_writable, is_environment
from .errors import CondaError, Quiet, no_environment

NOTHING_TO_DO = "All requested packages already installed."


class Parser(argparse.ArgumentParser):
    """argparse with conda's voice; its own exit code for wrong usage is 2, like conda's."""

    def error(self, message: str) -> NoReturn:
        """Usage, then one line."""
        self.print_usage(sys.stderr)
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        raise SystemExit(2)


def parser() -> Parser:
    """All commands and their options; options that conda knows and that change nothing here are accepted."""
    top = Parser(prog="conda", description="conda stand-in: behaves like conda, is not conda.")
    top.add_argument("-V", "--version", action="version", version=f"conda {VERSION}")
    commands = top.add_subparsers(dest="command", required=True, parser_class=Parser)

    output = Parser(add_help=False)
    output.add_argument("--json", action="store_true")
    output.add_argument("-q", "--quiet", action="store_true")
    output.add_argument("-v", "--verbose", action="count")
    yes = Parser(add_help=False)
    yes.add_argument("-y", "--yes", action="store_true")
    dry = Parser(add_help=False)
    dry.add_argument("-d", "--dry-run", action="store_true")
    network = Parser(add_help=False)
    for flag in ("--offline", "-k --insecure", "-C --use-index-cache"):
        network.add_argument(*flag.split(), action="store_true")
    network.add_argument("--solver")
    network.add_argument("--repodata-fn", action="append")
    channels = Parser(add_help=False)
    channels.add_argument("-c", "--channel", action="append", default=[])
    channels.add_argument("-O", "--override-channels", action="store_true")
    channels.add_argument("--strict-channel-priority", action="store_true")
    channels.add_argument("--no-channel-priority", action="store_true")
    channels.add_argument("--subdir", "--platform", dest="subdir")
    modes = Parser(add_help=False)
    for flag in (
        "--freeze-installed --no-update-deps", "--update-deps", "-S --satisfied-skip-solve", "--update-all --all",
        "--update-specs", "--no-deps", "--only-deps", "--copy", "--no-pin", "--force-reinstall", "--download-only",
        "--show-channel-urls", "--no-shortcuts", "--no-default-packages", "--prune", "--override-frozen",
    ):  # fmt: skip
        modes.add_argument(*flag.split(), action="store_true")
    modes.add_argument("--file", "-f", action="append", default=[])

    def target(*, required: bool = False) -> Parser:
        some = Parser(add_help=False)
        group = some.add_mutually_exclusive_group(required=required)
        group.add_argument("-n", "--name")
        group.add_argument("-p", "--prefix")
        return some

    usual = [output, yes, dry, network, channels, modes]
    for name in ("create", "install", "update"):
        command = commands.add_parser(
            name, parents=[*usual, target(required=name == "create")], aliases=["upgrade"] if name == "update" else []
        )
        command.add_argument("packages", nargs="*")
    command = commands.add_parser(
        "remove", parents=[output, yes, dry, network, channels, target()], aliases=["uninstall"]
    )
    command.add_argument("--all", action="store_true")
    for flag in ("--keep-env", "--force-remove", "--no-pin", "--override-frozen"):
        command.add_argument(flag, action="store_true")
    command.add_argument("packages", nargs="*")
    command = commands.add_parser("list", parents=[output, target()])
    for flag in ("--explicit", "--sha256", "--md5", "-e --export", "-f --full-name", "--no-pip", "-c --canonical"):
        command.add_argument(*flag.split(), action="store_true")
    command.add_argument("regex", nargs="?")
    command = commands.add_parser("info", parents=[output])
    for flag in ("-a --all", "--base", "-e --envs", "-s --system", "--unsafe-channels"):
        command.add_argument(*flag.split(), action="store_true")
    command = commands.add_parser("run", parents=[target()])
    command.add_argument("-v", "--verbose", action="count")
    for flag in ("--no-capture-output --live-stream", "--dev", "--debug-wrapper-scripts"):
        command.add_argument(*flag.split(), action="store_true")
    command.add_argument("--cwd")
    command.add_argument("words", nargs=argparse.REMAINDER)
    command = commands.add_parser("clean", parents=[output, yes, dry])
    for flag in (
        "-a --all",
        "-i --index-cache",
        "-p --packages",
        "-t --tarballs",
        "-f --force-pkgs-dirs",
        "-l --logfiles",
    ):
        command.add_argument(*flag.split(), action="store_true")
    command = commands.add_parser("init", parents=[output, dry])
    command.add_argument("--all", action="store_true")
    command.add_argument("shells", nargs="*")
    command = commands.add_parser("config", parents=[output])
    where = command.add_mutually_exclusive_group()
    where.add_argument("--system", action="store_true")
    where.add_argument("--env", action="store_true")
    where.add_argument("--file")
    for flag in ("--show-sources", "--validate"):
        command.add_argument(flag, action="store_true")
    command.add_argument("--show", nargs="*")
    command.add_argument("--get", nargs="*")
    for flag in ("--set", "--append", "--prepend --add", "--remove"):
        command.add_argument(*flag.split(), nargs=2, action="append", default=[])
    command.add_argument("--remove-key", action="append", default=[])

    env = commands.add_parser("env").add_subparsers(dest="env_command", required=True, parser_class=Parser)
    env.add_parser("list", parents=[output])
    command = env.add_parser("create", parents=[output, yes, dry, network, target()])
    command.add_argument("-f", "--file", default="environment.yml")
    command.add_argument("--no-default-packages", action="store_true")
    command = env.add_parser("update", parents=[output, network, target()])
    command.add_argument("-f", "--file", default="environment.yml")
    command.add_argument("--prune", action="store_true")
    env.add_parser("remove", parents=[output, yes, dry, network, target()])
    return top


def say(options: argparse.Namespace, text: str) -> None:
    """Print for people; with --json nobody reads it."""
    if not options.json and not getattr(options, "quiet", False):
        print(text)


def finish(options: argparse.Namespace, **result: Any) -> None:
    """Print the JSON result."""
    if options.json:
        print(json.dumps(result, indent=2))


def ask(options: argparse.Namespace, question: str, default: bool) -> None:
    """A question; no terminal and nothing to read means the default answer. --json and --yes never ask."""
    if options.json or options.yes:
        return
    sys.stdout.write(f"{question} ({'[y]/n' if default else 'y/[n]'})? ")
    sys.stdout.flush()
    answer = sys.stdin.readline().strip().lower()
    if not (default if not answer else answer in ("y", "yes")):
        raise Quiet("CondaSystemExit", "Exiting.")


def prefix_of(options: argparse.Namespace, config: Config) -> Path:
    """The prefix that is meant by -p, -n or the environment."""
    if options.prefix:
        return Path(options.prefix).expanduser().absolute()
    if options.name:
        if options.name in ("base", "root"):
            return root()
        if re.search(r"[/:#\s]", options.name):
            raise CondaError("CondaValueError", f"Invalid environment name: '{options.name}'")
        for folder in config.envs_dirs():
            if is_environment(folder / options.name):
                return folder / str(options.name)
        return config.envs_dirs()[0] / str(options.name)
    return Path(os.environ.get("CONDA_PREFIX") or root())


def channel_names(options: argparse.Namespace, config: Config) -> list[str]:
    """The channels of this call."""
    if options.override_channels and not options.channel:
        message = "At least one -c / --channel flag must be supplied when using --override-channels."
        raise CondaError("ArgumentError", message)
    return [*options.channel, *([] if options.override_channels else config["channels"])]


def wanted(options: argparse.Namespace) -> tuple[list[str], list[str] | None]:
    """The specs of a call, and the lines of an explicit file if there is one."""
    specs = list(options.packages)
    lines: list[str] | None = None
    for name in options.file:
        path = Path(name)
        if not path.is_file():
            raise CondaError("CondaFileIOError", f"'{name}'. [Errno 2] No such file or directory: '{name}'")
        if path.suffix in (".yml", ".yaml"):
            raise CondaError(
                "CondaError",
                f"'{name}' is an environment file: conda env create/update reads it, this command does not.",
            )
        found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        found = [line for line in found if line and not line.startswith("#")]
        if "@EXPLICIT" in found:
            lines = [line for line in found if line != "@EXPLICIT"]
        else:
            specs += found
    return specs, lines


def existing_is_removed(prefix: Path, options: argparse.Namespace) -> None:
    """Conda's most dangerous habit: what is there goes first, before anything is solved."""
    if is_environment(prefix):
        if options.dry_run:
            raise CondaError("CondaValueError", "Cannot `create --dry-run` with an existing conda environment")
        if not options.json:
            print(f"WARNING: A conda environment already exists at '{prefix}'\n")
        ask(
            options,
            "Remove existing environment?\nThis will remove ALL directories contained within this specified prefix "
            "directory, including any other conda environments.\n\n",
            default=False,
        )
        if prefix == root():
            raise CondaError("CondaValueError", "The target prefix is the base prefix. Aborting.")
        say(options, f"Removing existing environment {prefix}")
        shutil.rmtree(prefix)
        environments.forget(prefix)
    elif prefix.exists() and any(prefix.iterdir()) and not options.dry_run:
        if not options.json:
            print(
                f"WARNING: A directory already exists at the target location '{prefix}'\nbut it is not a conda environment."
            )
        ask(options, "Continue creating environment", default=False)


def check_creatable(prefix: Path) -> None:
    """Refuse a place where this user cannot write."""
    parent = prefix
    while not parent.exists():
        parent = parent.parent
    if not os.access(parent, os.W_OK):
        raise CondaError(
            "EnvironmentNotWritableError" if prefix == parent else "NotWritableError",
            f"The current user does not have write permissions to a required path.\n  path: {parent}\n"
            f"  uid: {os.geteuid()}\n  gid: {os.getegid()}\n",
            **({"environment_location": str(prefix)} if prefix == parent else {"path": str(parent)}),
        )


def transact(
    options: argparse.Namespace, done: transactions.Change, specs: list[str], config: Config, **history: list[str]
) -> None:
    """Ask, do, remember and report."""
    prefix = done.prefix
    new = not is_environment(prefix)
    if not done and not new:
        say(options, f"\n# {NOTHING_TO_DO}\n")
        if not getattr(options, "dry_run", False) and history:
            environments.write_history(prefix, command_line(), [], [], **history)
        finish(options, message=NOTHING_TO_DO, success=True)
        return
    say(options, f"\n## Package Plan ##\n\n  environment location: {prefix}\n\n  added / updated specs:")
    for line in [f"    - {spec}" for spec in specs]:
        say(options, line)
    for title, records in (("INSTALLED", done.link), ("REMOVED", done.unlink)):
        if records:
            say(options, f"\nThe following packages will be {title}:\n")
            for record in records:
                say(options, f"  {record['name']:<18} {record['version']}-{record['build_string']}")
    if getattr(options, "dry_run", False):
        finish(options, actions=done.actions(), dry_run=True, prefix=str(prefix), success=True)
        if options.json:
            return
        raise Quiet("DryRunExit", "Dry run. Exiting.")
    if hasattr(options, "yes"):
        ask(options, "\nProceed", default=True)
    if new:
        check_creatable(prefix)
    else:
        check_writable(prefix)
    before = environments.installed(prefix)
    transactions.carry_out(done, specs, config)
    environments.write_history(prefix, command_line(), before, environments.installed(prefix), **history)
    environments.remember(prefix)
    say(options, "\nPreparing transaction: done\nVerifying transaction: done\nExecuting transaction: done")
    finish(options, actions=done.actions(), prefix=str(prefix), success=True)


def command_line() -> str:
    """The command as the history keeps it."""
    return " ".join([sys.argv[0], *sys.argv[1:]])


def do_create(options: argparse.Namespace, config: Config) -> None:
    """`conda create`."""
    prefix = prefix_of(options, config)
    specs, lines = wanted(options)
    existing_is_removed(prefix, options)
    if lines is not None:
        do_explicit(options, prefix, lines, config)
        return
    if not options.no_default_packages:
        named = {environments.spec_name(spec) for spec in specs}
        specs += [spec for spec in config["create_default_packages"] if environments.spec_name(spec) not in named]
    channels = channel_names(options, config)
    nothing = transactions.Change(prefix)
    done = transactions.work_out(prefix, specs, [], channels, config) if specs else nothing
    transact(options, done, specs, config, update=specs)


def do_explicit(options: argparse.Namespace, prefix: Path, lines: list[str], config: Config) -> None:
    """An explicit file: no solver, and with --json not a word, even in a dry run."""
    if options.dry_run:
        if not options.json:
            raise Quiet("DryRunExit", "Dry run. Exiting.")
        return
    done = transactions.explicit(prefix, lines, config)
    before = environments.installed(prefix)
    check_creatable(prefix)
    transactions.carry_out(done, [], config)
    specs = [f"{record['name']}=={record['version']}={record['build_string']}" for record in done.link]
    environments.write_history(prefix, command_line(), before, environments.installed(prefix), update=specs)
    environments.remember(prefix)
    say(options, "\nPreparing transaction: done\nVerifying transaction: done\nExecuting transaction: done")


def do_install(options: argparse.Namespace, config: Config) -> None:
    """`conda install` and `conda update`."""
    updating = options.command in ("update", "upgrade")
    prefix = prefix_of(options, config)
    specs, lines = wanted(options)
    check(prefix)
    check_writable(prefix)
    if lines is not None:
        do_explicit(options, prefix, lines, config)
        return
    if not specs and not options.update_all and not (updating and options.file):
        if updating:
            message = "no package names supplied\n# Example: conda update -n myenv scipy\n"
        else:
            message = "too few arguments, must supply command line package specs or --file"
        raise CondaError("CondaValueError", message)
    present = transactions.prefix_records(prefix)
    names = {record.name.normalized for record in present}
    if updating and specs:
        for spec in specs:
            if environments.spec_name(spec) not in names:
                name = environments.spec_name(spec)
                raise CondaError(
                    "PackageNotInstalledError",
                    f"Package is not installed in prefix.\n  prefix: {prefix}\n  package name: {name}\n",
                    package_name=name,
                    prefix=str(prefix),
                )
    if options.satisfied_skip_solve and specs and not options.update_all and transactions.satisfied(specs, present):
        say(options, f"\n# {NOTHING_TO_DO}\n")
        finish(options, message=NOTHING_TO_DO, success=True)
        return
    named = {environments.spec_name(spec) for spec in specs}
    asked = {name: spec for name, spec in environments.requested(prefix).items() if name in names and name not in named}
    # What is named moves to the newest build that fits, satisfied or not; the rest stays where it can.
    keep = [] if options.update_all else [record for record in present if record.name.normalized not in named]
    done = transactions.work_out(prefix, [*specs, *asked.values()], keep, channel_names(options, config), config)
    transact(options, done, specs, config, update=specs)


def do_remove(options: argparse.Namespace, config: Config) -> None:
    """`conda remove`."""
    prefix = prefix_of(options, config)
    if options.all:
        remove_environment(options, prefix)
        return
    check(prefix)
    check_writable(prefix)
    if not options.packages:
        raise CondaError("CondaValueError", 'no package names supplied,\n       try "conda remove -h" for more details')
    present = environments.installed(prefix)
    names = {str(record["name"]) for record in present}
    missing = [name for name in options.packages if environments.spec_name(name) not in names]
    if missing:
        lines = "\n".join(f"  - {name}" for name in missing)
        raise CondaError(
            "PackagesNotFoundError",
            f"The following packages are missing from the target environment:\n{lines}\n",
            packages=missing,
        )
    gone = {environments.spec_name(name) for name in options.packages}
    size = -1
    while size != len(gone):  # what needs a removed package goes too
        size = len(gone)
        gone |= {r["name"] for r in present if gone & {environments.spec_name(spec) for spec in r.get("depends", [])}}
    records = [r for r in transactions.prefix_records(prefix) if r.name.normalized not in gone]
    done = transactions.Change(prefix, records=records)
    done.unlink = [environments.listed(record) for record in present if record["name"] in gone]
    transact(options, done, list(options.packages), config, remove=list(options.packages))


def remove_environment(options: argparse.Namespace, prefix: Path) -> None:
    """`conda env remove` and `conda remove --all`."""
    check(prefix)
    if prefix == root():
        raise CondaError("CondaEnvironmentError", "cannot remove root environment, add -n NAME or -p PREFIX option")
    check_writable(prefix)
    say(options, f"\nRemove all packages in environment {prefix}:\n")
    unlink = [environments.listed(record) for record in environments.installed(prefix)]
    actions: dict[str, Any] = {"PREFIX": str(prefix), "UNLINK": unlink}
    if options.dry_run:
        finish(options, actions=actions, dry_run=True, prefix=str(prefix), success=True)
        if options.json:
            return
        raise Quiet("DryRunExit", "Dry run. Exiting.")
    ask(options, "Proceed", default=True)
    shutil.rmtree(prefix)
    environments.forget(prefix)
    finish(options, actions=actions, prefix=str(prefix), success=True)


def do_list(options: argparse.Namespace, config: Config) -> None:
    """`conda list`."""
    prefix = check(prefix_of(options, config))
    records = environments.installed(prefix)
    if options.regex:
        pattern = f"^{re.escape(options.regex)}$" if options.full_name else options.regex
        records = [record for record in records if re.search(pattern, record["name"])]
        if not records:
            raise CondaError("CondaValueError", f"No packages match '{options.regex}'.")
    if options.explicit:
        print("# This file may be used to create an environment using:")
        print("# $ conda create --name <env> --file <this file>")
        print(f"# platform: {config['subdir'] or Platform.current()}")
        print(f"# created-by: conda {VERSION}\n@EXPLICIT")
        for record in records:
            digest = record.get("sha256") if options.sha256 else record.get("md5") if options.md5 else None
            print(record["url"] + (f"#{digest}" if digest else ""))
    elif options.json:
        print(json.dumps([environments.listed(record) for record in records], indent=2))
    elif options.export:
        print(
            "# This file may be used to create an environment using:\n# $ conda create --name <env> --file <this file>"
        )
        for record in records:
            print(f"{record['name']}={record['version']}={record['build']}")
    else:
        print(f"# packages in environment at {prefix}:\n#\n# {'Name':<23} {'Version':<15} {'Build':<20} Channel")
        for record in records:
            print(
                f"{record['name']:<25} {record['version']:<15} {record['build']:<20} {environments.listed(record)['channel']}"
            )


def do_info(options: argparse.Namespace, config: Config) -> None:
    """`conda info`."""
    found = environments.everything(config)
    if options.base:
        finish(options, root_prefix=str(root()))
        say(options, str(root()))
        return
    if options.envs:
        list_environments(options, config)
        return
    active = os.environ.get("CONDA_PREFIX")
    values: dict[str, Any] = {
        "stand_in": True,
        "active_prefix": active,
        "active_prefix_name": Path(active).name if active else None,
        "channels": [
            f"{url}/{part}"
            for url in config.channel_urls(config["channels"])
            for part in (str(Platform.current()), "noarch")
        ],
        "conda_prefix": str(root()),
        "conda_version": VERSION,
        "config_files": [str(path) for path in config.files],
        "default_prefix": active or str(root()),
        "envs": [str(prefix) for prefix in found],
        "envs_details": {str(prefix): environments.details(prefix, config) for prefix in found},
        "envs_dirs": [str(path) for path in config.envs_dirs()],
        "offline": config["offline"],
        "pkgs_dirs": [str(path) for path in config.pkgs_dirs()],
        "platform": str(config["subdir"] or Platform.current()),
        "python_version": f"{platform.python_version()}.final.0",
        "rc_path": str(Path.home() / ".condarc"),
        "root_prefix": str(root()),
        "root_writable": os.access(root(), os.W_OK),
        "solver": {"name": "py-rattler (stand-in)", "default": True},
        "sys_rc_path": str(root() / ".condarc"),
        "user_rc_path": str(Path.home() / ".condarc"),
        "virtual_pkgs": [str(item.into_generic()).split("=") for item in VirtualPackage.detect()],
    }
    if options.json:
        print(json.dumps(values, indent=2))
        return
    print("\n     THIS IS A STAND-IN: it behaves like conda where the lab's tests look, and is not conda.\n")
    for key in (
        "active_prefix",
        "conda_version",
        "python_version",
        "root_prefix",
        "channels",
        "pkgs_dirs",
        "envs_dirs",
    ):
        value = values[key]
        print(f"{key.replace('_', ' '):>24} : {', '.join(value) if isinstance(value, list) else value}")
    print()


def list_environments(options: argparse.Namespace, config: Config) -> None:
    """`conda env list`, `conda info --envs`."""
    found = environments.everything(config)
    if options.json:
        details = {str(prefix): environments.details(prefix, config) for prefix in found}
        print(json.dumps({"envs": [str(prefix) for prefix in found], "envs_details": details}, indent=2))
        return
    print("\n# conda environments:\n#")
    for prefix in found:
        detail = environments.details(prefix, config)
        print(f"{detail['name']:<22} {'*' if detail['active'] else ' '} {prefix}")
    print()


def do_run(options: argparse.Namespace, config: Config) -> int:
    """`conda run`: the child's exit code is ours."""
    prefix = prefix_of(options, config)
    if not is_environment(prefix):
        raise no_environment(str(prefix))
    if not options.words:
        raise CondaError("ArgumentError", "No command was given to run.")
    environment = os.environ | {
        "PATH": f"{prefix}/bin:{root()}/condabin:{os.environ.get('PATH', os.defpath)}",
        "CONDA_PREFIX": str(prefix),
        "CONDA_DEFAULT_ENV": environments.details(prefix, config)["name"] or str(prefix),
        "CONDA_SHLVL": "1",
    }
    state = prefix / "conda-meta" / "state"
    if state.is_file():
        environment |= json.loads(state.read_text(encoding="utf-8")).get("env_vars", {})
    words = options.words[1:] if options.words[0] == "--" else options.words
    if not shutil.which(words[0], path=environment["PATH"]):
        print(f"{words[0]}: command not found", file=sys.stderr)
        return 127
    return subprocess.run(words, env=environment, cwd=options.cwd, check=False).returncode


def do_clean(options: argparse.Namespace, config: Config) -> None:
    """`conda clean`."""
    if not options.dry_run:
        ask(options, "Proceed", default=True)
        for folder in config.pkgs_dirs():
            if (options.all or options.packages or options.force_pkgs_dirs) and folder.is_dir():
                for path in folder.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    finish(options, success=True)


def do_init(options: argparse.Namespace, _config: Config) -> None:
    """`conda init`: a block in the user's ~/.bashrc."""
    path = Path.home() / ".bashrc"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if "# >>> conda initialize >>>" in text:
        say(options, f"no change     {path}\nNo action taken.")
        return
    block = f'# >>> conda initialize >>>\n. "{root()}/etc/profile.d/conda.sh"\n# <<< conda initialize <<<\n'
    if not options.dry_run:
        path.write_text(f"{text}\n{block}", encoding="utf-8")
    say(options, f"modified      {path}")


def do_config(options: argparse.Namespace, config: Config) -> None:
    """`conda config`: no word on whether anything changed, like conda."""
    if options.file:
        path = Path(options.file)
    elif options.system:
        path = root() / ".condarc"
    elif options.env and os.environ.get("CONDA_PREFIX"):
        path = Path(os.environ["CONDA_PREFIX"]) / ".condarc"
    else:  # --env with no active environment ends here too
        path = Path.home() / ".condarc"
    if options.show is not None:
        unknown = [key for key in options.show if key.split(".")[0] not in config.values]
        if unknown:
            raise CondaError("ArgumentError", f"Invalid configuration parameters: {', '.join(unknown)}")
        shown = {key: config[key] for key in (options.show or sorted(config.values))}
        print(json.dumps(shown, indent=2) if options.json else yaml.safe_dump(shown, sort_keys=False), end="")
        return
    if options.show_sources:
        from .config import read

        shown = {str(path): read(path) for path in config.files}
        print(json.dumps(shown, indent=2) if options.json else yaml.safe_dump(shown, sort_keys=False))
        return
    if options.get is not None:
        from .config import read

        data = read(path) if path.exists() else {}
        keys = options.get or list(data)
        found = {key: data[key] for key in keys if key in data}
        finish(options, get=found, rc_path=str(path), success=True, warnings=[])
        for key, value in found.items():
            for item in value if key in LISTS else [value]:
                say(options, f"--{'add' if key in LISTS else 'set'} {key} {item!r}")
        return
    for action in ("prepend", "append", "set", "remove"):
        for key, value in getattr(options, action):
            change(path, action, key, value)
    for key in options.remove_key:
        change(path, "remove_key", key, None)
    finish(options, rc_path=str(path), success=True, warnings=[])


def read_environment_file(name: str) -> dict[str, Any]:
    """An environment.yml."""
    path = Path(name)
    if not path.is_file():
        raise CondaError("EnvironmentFileNotFound", f"'{path.absolute()}' file not found", filename=str(path))
    if path.suffix not in (".yml", ".yaml"):
        raise CondaError(
            "EnvironmentFileExtensionNotValid", f"'{name}' file extension must be one of '.txt', '.yaml' or '.yml'"
        )
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as problem:
        raise CondaError(
            "EnvironmentFileInvalid", f"Unable to load the environment file '{name}': {problem}"
        ) from problem
    if not isinstance(data, dict):
        raise CondaError("EnvironmentFileEmpty", f"'{name}' is empty", filename=str(path))
    return data


def do_env(options: argparse.Namespace, config: Config) -> None:
    """`conda env ...`."""
    if options.env_command == "list":
        list_environments(options, config)
        return
    if options.env_command == "remove":
        remove_environment(options, prefix_of(options, config))
        return
    data = read_environment_file(options.file)
    if not options.name and not options.prefix:
        if not data.get("name") and not data.get("prefix"):
            raise CondaError(
                "CondaValueError", "Unable to create environment\n\nPlease re-run this command with a name or prefix."
            )
        options.name, options.prefix = data.get("name"), None if data.get("name") else data["prefix"]
    prefix = prefix_of(options, config)
    creating = options.env_command == "create"
    # 26.3.2: without --yes an existing environment is updated; with it, wiped.
    if creating and is_environment(prefix) and options.yes:
        existing_is_removed(prefix, options)
    update_from_file(options, config, prefix, data)


def update_from_file(options: argparse.Namespace, config: Config, prefix: Path, data: dict[str, Any]) -> None:
    """Make a prefix what an environment file says; extra packages stay unless --prune."""
    specs: list[str] = []
    pip: list[str] = []
    for item in data.get("dependencies") or []:
        if isinstance(item, dict):
            pip += item.get("pip") or []
        else:
            specs.append(str(item))
    channels = [str(name) for name in data.get("channels") or []]
    if "nodefaults" in channels:
        channels.remove("nodefaults")
    channels += [name for name in config["channels"] if name not in channels]
    prune = bool(getattr(options, "prune", False))
    present = transactions.prefix_records(prefix) if is_environment(prefix) else []
    if present:
        check_writable(prefix)
    named = {environments.spec_name(spec) for spec in specs}
    keep = [record for record in present if record.name.normalized not in named]
    asked = {} if prune or not present else environments.requested(prefix)
    extra = [
        spec for name, spec in asked.items() if name not in named and any(r.name.normalized == name for r in present)
    ]
    done = transactions.Change(prefix)
    if specs or prune:
        done = transactions.work_out(prefix, [*specs, *extra], keep, channels, config, prune)
    if pip and not done.records and not is_environment(prefix):
        raise CondaError("CondaValueError", "pip dependencies need python among the dependencies")
    result = options.json
    quiet = argparse.Namespace(**(vars(options) | ({"json": False, "quiet": True, "yes": True} if pip else {})))
    transact(quiet, done, specs, config, update=specs)
    if pip and not getattr(options, "dry_run", False):
        install_with_pip(prefix, [str(item) for item in pip])
        if result:
            finish(options, success=True, **({"actions": done.actions() | {"PIP": pip}} if done else {}))
    if data.get("variables"):
        state = prefix / "conda-meta" / "state"
        values = {str(key): str(value) for key, value in data["variables"].items()}
        state.write_text(json.dumps({"version": 1, "env_vars": values}), encoding="utf-8")


def install_with_pip(prefix: Path, names: list[str]) -> None:
    """The pip section."""
    command = [str(prefix / "bin/python"), "-m", "pip", "install", "-U", *names]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    sys.stderr.write(result.stderr)
    if result.returncode:
        raise CondaError("CondaEnvException", "Pip failed")


COMMANDS = {
    "create": do_create,
    "install": do_install,
    "update": do_install,
    "upgrade": do_install,
    "remove": do_remove,
    "uninstall": do_remove,
    "list": do_list,
    "info": do_info,
    "run": do_run,
    "clean": do_clean,
    "init": do_init,
    "config": do_config,
    "env": do_env,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit codes are conda's: 0, 1 for failures, 2 for wrong usage."""
    options = parser().parse_args(arguments)
    options.json = getattr(options, "json", False)
    try:
        config = Config()
        if getattr(options, "subdir", None):
            config.values["subdir"] = options.subdir
        if getattr(options, "strict_channel_priority", False):
            config.values["channel_priority"] = "strict"
        if config["always_yes"] and hasattr(options, "yes"):
            options.yes = True
        code = COMMANDS[options.command](options, config)
        return code or 0
    except Quiet as end:
        if options.json:
            print(json.dumps({"success": True, "message": end.message}))
        else:
            print(f"\n{end.name}: {end.message}\n")
        return 0
    except CondaError as problem:
        if options.json:
            print(json.dumps(problem.as_json(), indent=2))
        else:
            print(f"\n{problem.name}: {problem.message}\n", file=sys.stderr)
        return 1


def leave(code: int) -> NoReturn:
    """End at once: py-rattler's threads crash now and then (about one run in ten) when the interpreter shuts down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run() -> NoReturn:
    """What the command `conda` calls."""
    leave(main())


if __name__ == "__main__":
    run()

"""`python -m lab <command>`: AWS on this machine, without an account."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from lab import copies, daemon, registry, sources
from lab.engine import EngineError, docker, labelled, require
from lab.faults import Fault, Faults
from lab.image import build
from lab.interruptions import NOTICE_S, Interruptions
from lab.progress import say
from lab.server import read_environment
from lab.settings import Settings, SettingsError, load

LEAST_FREE_GB = 8
FILES = ("env", "sources.json", "lab.log", "lab.pid", "amis.json", "faults.json", "interruptions.json")


def up(settings: Settings, api_only: bool) -> None:
    """Start the lab, or find that it runs."""
    started = time.monotonic()
    running = daemon.status(settings)
    if running and running["lab"] != settings.name:
        raise EngineError(
            f"Port {settings.port} belongs to the lab `{running['lab']}`: give this one another LAB_PORT."
        )
    if running and bool(running["api_only"]) != api_only:
        kind = "only the API" if running["api_only"] else "instances too"
        raise EngineError(f"The lab `{settings.name}` runs already, with {kind}: `python -m lab down` first.")
    if running and (settings.folder / "sources.json").exists():
        say(f"The lab `{settings.name}` is up: {settings.endpoint}")
        return
    if not running and daemon.taken(settings):
        raise EngineError(f"Port {settings.port} is taken by another process: end it, or set LAB_PORT to a free one.")
    if not api_only:
        version = require()
        say(f"The container engine answers (version {version}).")
        room(settings)
        left = [name for name in labelled("container", settings.label) if name != settings.registry]
        if left and not running:
            raise EngineError(
                f"The lab `{settings.name}` was cut off and its API has forgotten the {len(left)} containers that are "
                "left: `python -m lab down` removes them with all they hold; then start it again."
            )
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    real = dict.fromkeys(sources.NAMES, False)
    if not api_only:
        # Neither needs the other, and each takes a minute or more the first time.
        with ThreadPoolExecutor() as pool:
            hosts = [
                pool.submit(build, release) for release in ([settings.image] if settings.image else settings.releases)
            ]
            stand_ins = pool.submit(sources.prepare, settings)
        for host in hosts:
            host.result()
        real = stand_ins.result()
        daemon.network(settings)
    if not running:
        daemon.start(settings, api_only)
        say(f"The AWS API answers at {settings.endpoint}")
    found = sources.write(settings, api_only, real)
    for sentence in [] if api_only else sources.sentences(found):
        say(f"  {sentence}")
    say(
        f"The lab `{settings.name}` is up ({time.monotonic() - started:.0f} s). "
        f"To use it from a shell: . {settings.folder / 'env'}"
    )


def room(settings: Settings) -> None:
    """Refuse to start without room on the disks that fill up."""
    for place in (docker("info", "--format", "{{.DockerRootDir}}").strip(), str(settings.folder.parent)):
        try:
            free = shutil.disk_usage(place).free // 2**30
        except OSError:
            continue
        if free < LEAST_FREE_GB:
            raise EngineError(f"Only {free} GB are free at {place}: make room for {LEAST_FREE_GB} GB and start again.")


def down(settings: Settings) -> None:
    """Remove the lab: process, containers, networks, volumes, loop devices and state."""
    running = daemon.status(settings)
    api_only = bool(running and running["lab"] == settings.name and running["api_only"])
    daemon.stop(settings)
    # Without an engine command there can be no containers; with one that does not answer, say so instead of "gone".
    if shutil.which("docker") and not api_only and (settings.folder.exists() or everything(settings)):
        from lab.image import tag
        from lab.volumes import Disks

        Disks(settings, tag(settings.image or settings.releases[0])).destroy()
        containers = labelled("container", settings.label)
        # Those that share another's network first.
        for name in sorted(containers, key=lambda name: not name.endswith("-guard")):
            say(f"Removing {name}")
            docker("rm", "--force", "--volumes", name)
        for name in labelled("network", settings.label):
            docker("network", "rm", name)
        for name in labelled("volume", settings.label):
            docker("volume", "rm", name)
        copies.clear(settings)
    for name in FILES:
        (settings.folder / name).unlink(missing_ok=True)
    for name in ("instances", "conda", "registry"):
        if (settings.folder / name).is_dir():
            shutil.rmtree(settings.folder / name)
    if settings.folder.is_dir() and not any(settings.folder.iterdir()):
        settings.folder.rmdir()
    say(
        f"The lab `{settings.name}` is gone. Images (docker image ls 'localhost/notebook-*') and .cache/ stay "
        "for the next time."
    )


def everything(settings: Settings) -> list[str]:
    """Return what the engine has of this lab; nothing if no engine answers."""
    try:
        require()
    except EngineError:
        return []
    return [name for kind in ("container", "network", "volume") for name in labelled(kind, settings.label)]


def show(settings: Settings) -> None:
    """Say how the lab is."""
    running = daemon.status(settings)
    if running is None:
        left = everything(settings)
        more = f" {len(left)} things are left of it: `python -m lab down` removes them." if left else ""
        raise EngineError(f"The lab `{settings.name}` is not running.{more}")
    only = ", API only" if running["api_only"] else ""
    print(f"lab {running['lab']}: {settings.endpoint}, process {running['pid']}{only}")
    for name, (state, address, kind) in running["instances"].items():
        if state == "terminated":
            continue
        print(f"  {name}  {state}  {address or '-'}  {kind}")
    for name, problem in running["problems"].items():
        print(f"  {name}: {problem}")


def fault(settings: Settings, arguments: argparse.Namespace) -> None:
    """Set or clear faults."""
    if not settings.folder.is_dir():
        raise EngineError(f"The lab `{settings.name}` is not running.")
    faults = Faults(settings.folder / "faults.json")
    if arguments.clear:
        faults.write([])
    elif arguments.action and arguments.code:
        message = arguments.message or f"{arguments.code} (set by hand in the lab)"
        faults.add(Fault(arguments.action, arguments.code, message, arguments.zone, arguments.times, arguments.after))
    for one in faults.read():
        where = f" in {one.zone}" if one.zone else ""
        print(f"{one.action}{where}: {one.code} {one.message}{f' ({one.times} more)' if one.times else ''}")


def interrupt(settings: Settings, arguments: argparse.Namespace) -> None:
    """Have AWS take an instance back."""
    running = daemon.status(settings)
    state = running["instances"].get(arguments.instance, [""])[0] if running else ""
    if state != "running":
        raise EngineError(
            f"No instance {arguments.instance} runs in the lab `{settings.name}`: see `python -m lab status`."
        )
    Interruptions(settings.folder / "interruptions.json").add(arguments.instance, arguments.seconds, arguments.back)
    print(f"{arguments.instance} has its notice, and is stopped in {arguments.seconds:g} seconds.")


def actions(settings: Settings, arguments: argparse.Namespace) -> None:
    """Print the actions that were called since the last time that they were forgotten."""
    found = daemon.calls(settings, "DELETE" if arguments.forget else "POST" if arguments.refuse_once else "GET")
    if found is None:
        raise EngineError(f"The lab `{settings.name}` is not running.")
    if not arguments.forget and not arguments.refuse_once:
        print("\n".join(sorted({action for _, action, good in found if good})))
        for who, action in sorted({(who, action) for who, action, good in found if not good}):
            print(f"denied: {action} to {who}")


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    whole = argparse.ArgumentParser(prog="python -m lab", description="AWS on this machine, without an account.")
    commands = whole.add_subparsers(dest="command", required=True)
    for name, text in {"up": "start the lab", "serve": "be the lab's process (used by `up`)"}.items():
        one = commands.add_parser(name, help=text)
        one.add_argument("--api-only", action="store_true", help="the API alone, no containers")
    for name, text in {
        "down": "remove the lab and all it made",
        "status": "say what runs",
        "env": "print the variables that point AWS tools at the lab",
        "sources": "say which sources are the real ones",
    }.items():
        commands.add_parser(name, help=text)
    image = commands.add_parser("image", help="build the image of a host and print its name")
    image.add_argument("base", nargs="?", help="12, 13 (default) or a base image such as ubuntu:24.04")
    registry.add_parser(commands)
    called = commands.add_parser("actions", help="print the API actions that were called, as policies name them")
    called.add_argument("--forget", action="store_true", help="forget them; the next ones count")
    called.add_argument(
        "--refuse-once", action="store_true", help="from now on refuse each action at its first call, until --forget"
    )
    faulty = commands.add_parser("fault", help="make an API action fail")
    faulty.add_argument("action", nargs="?")
    faulty.add_argument("code", nargs="?")
    faulty.add_argument("message", nargs="?")
    faulty.add_argument("--zone", help="only calls for this availability zone (RunInstances)")
    faulty.add_argument("--times", type=int, default=0, help="how many calls fail (0: all)")
    faulty.add_argument("--after", action="store_true", help="the call is done, and its answer is lost")
    faulty.add_argument("--clear", action="store_true", help="no more faults")
    taken = commands.add_parser("interrupt", help="take an instance back, as AWS does a spot instance")
    taken.add_argument("instance")
    taken.add_argument("--seconds", type=float, default=NOTICE_S, help="from the notice to the stop (120)")
    taken.add_argument("--back", type=float, default=0, help="start it so many seconds later (0: never)")
    return whole


def main() -> int:
    """Run one command."""
    arguments = parser().parse_args()
    try:
        settings = load()
        if arguments.command == "up":
            up(settings, arguments.api_only)
        elif arguments.command == "serve":
            daemon.run(settings, arguments.api_only)
        elif arguments.command == "down":
            down(settings)
        elif arguments.command == "status":
            show(settings)
        elif arguments.command == "env":
            if not read_environment(settings.folder / "env"):
                raise EngineError(f"The lab `{settings.name}` is not running.")
            print((settings.folder / "env").read_text(), end="")
        elif arguments.command == "sources":
            if not (settings.folder / "sources.json").exists():
                raise EngineError(f"The lab `{settings.name}` is not running.")
            print("\n".join(sources.sentences(sources.read(settings))))
        elif arguments.command == "interrupt":
            interrupt(settings, arguments)
        elif arguments.command == "registry":
            require()
            print(registry.command(arguments))
        elif arguments.command == "actions":
            actions(settings, arguments)
        elif arguments.command == "image":
            require()
            print(build(arguments.base or settings.image or "13"))
        else:
            fault(settings, arguments)
    except (EngineError, SettingsError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the role anaconda_kernels decides on the controller: can its settings work, and what shall the host do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

FIELDS = ("name", "display_name", "language", "packages", "environment_file", "lock_file", "state", "env")
LANGUAGES = ("python", "r")
STATES = ("present", "absent", "latest")
# The package that makes an environment a kernel.
KERNEL_PACKAGE = {"python": "ipykernel", "r": "r-irkernel"}
# Jupyter takes [A-Za-z0-9._-]; a first dot or hyphen would be a hidden folder or an option.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RESERVED = {"base": "conda's own environment", "root": "conda's own environment"}
CHANNEL = re.compile(r"(https?|file)://\S+|[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)*")
# Channels whose packages are under Anaconda's terms.
UNDER_TERMS = re.compile(r"defaults|main|msys2|pkgs/\S+|anaconda|https?://repo\.anaconda\.(com|cloud)/\S*")
SPEC = re.compile(r"(?:[^\s:]+::)?([A-Za-z0-9_][A-Za-z0-9_.-]*)\s*(.*)")
PYTHON_2 = re.compile(r"[\s=]*2(\.|\*|,|\s|$)")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")
PYTHON_2_REASON = (
    "asks for Python 2, which ended in January 2020 and for which no current Jupyter kernel is made: "
    "use python=3.12 or newer, or run old code in a container"
)


def package_name(spec: str) -> str:
    """The name in what conda calls a match spec: "conda-forge::numpy>=2" -> "numpy"."""
    found = SPEC.fullmatch(spec.strip())
    return found[1].lower() if found else ""


def resolve(path: str, folder: str) -> Path:
    """A path as the settings give it: absolute, or in the folder for such files."""
    return Path(folder, Path(path).expanduser())


def conda_dependencies(text: str) -> list[str] | str:
    """The conda packages that an environment file asks for, or a sentence about what is wrong with it."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return f"is not YAML ({' '.join(str(error).split())[:200]})"
    if not isinstance(content, dict) or not isinstance(content.get("dependencies"), list):
        return "has no list of dependencies"
    return [str(entry) for entry in content["dependencies"] if not isinstance(entry, dict)]


def locked_names(text: str) -> set[str] | str:
    """The names of the packages in an explicit list, or a sentence about what is wrong with it."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if "@EXPLICIT" not in lines:
        return "has no line @EXPLICIT; make one with: conda list --explicit --sha256"
    addresses = [line.partition("#")[0] for line in lines if line != "@EXPLICIT"]
    names = [re.fullmatch(r"\S+/([^/\s]+)-[^-/]+-[^-/]+\.(?:conda|tar\.bz2)", address) for address in addresses]
    if not addresses or not all(names):
        return "lists something other than addresses of packages (.conda or .tar.bz2)"
    return {found[1] for found in names if found}


def python_2(specs: list[str]) -> bool:
    """Whether one of the packages is a Python 2."""
    return any(package_name(spec) == "python" and PYTHON_2.match(SPEC.fullmatch(spec.strip())[2]) for spec in specs)  # type: ignore[index]


def content_problems(kernel: dict[str, Any], folder: str) -> list[str]:
    """What is wrong with what a kernel is made of."""
    sources = [key for key in ("packages", "environment_file", "lock_file") if kernel.get(key)]
    language = kernel.get("language", "python")
    if kernel.get("state") == "absent":
        return []
    if len(sources) > 1:
        return [f"has both {' and '.join(sources)}: keep one"]
    if not sources:
        return ["has nothing to be made of: give it packages, an environment_file or a lock_file"]
    if sources == ["packages"]:
        packages = kernel["packages"]
        if not isinstance(packages, list) or not all(isinstance(spec, str) for spec in packages):
            return ["must have a list of texts as packages, such as [python=3.13, numpy]"]
        wrong = [spec for spec in packages if not package_name(spec)]
        problems = [f"names a package that conda cannot read: {wrong[0]!r}"] if wrong else []
        return problems + ([PYTHON_2_REASON] if not wrong and python_2(packages) else [])
    key = sources[0]
    path = resolve(str(kernel[key]), folder)
    if not path.is_file():
        return [f"names the {key} {kernel[key]}, which is not there: it is looked for at {path}"]
    text = path.read_text(encoding="utf-8", errors="replace")
    if key == "environment_file":
        specs = conda_dependencies(text)
        if isinstance(specs, str):
            return [f"names the environment_file {kernel[key]}, which {specs}"]
        return [PYTHON_2_REASON] if python_2(specs) else []
    if kernel.get("state") == "latest":
        return ["has a lock_file and state: latest: what is locked stays as it is; use present and change the file"]
    names = locked_names(text)
    if isinstance(names, str):
        return [f"names the lock_file {kernel[key]}, which {names}"]
    if language in KERNEL_PACKAGE and KERNEL_PACKAGE[language] not in names:
        return [f"names the lock_file {kernel[key]}, which has no {KERNEL_PACKAGE[language]}: no kernel can start"]
    return []


def kernel_problems(kernel: Any, folder: str) -> list[str]:
    """What is wrong with one kernel of the list."""
    if not isinstance(kernel, dict) or not kernel.get("name"):
        return [f"An entry of the list of kernels has no name: {kernel!r}."]
    name = str(kernel["name"])
    problems = []
    if not NAME.fullmatch(name):
        problems.append(
            "has a name that Jupyter cannot use: take letters, digits, dot, underscore, hyphen, first a letter or digit"
        )
    elif name.lower() in RESERVED:
        problems.append(f"has the name of {RESERVED[name.lower()]}: choose another")
    elif re.fullmatch(r"(py|python)2\d?", name.lower()):
        problems.append(PYTHON_2_REASON)
    known = ", ".join(FIELDS)
    problems += [f"has the unknown field {field}: known are {known}" for field in kernel if field not in FIELDS]
    if kernel.get("language", "python") not in LANGUAGES:
        problems.append(f"has the language {kernel['language']!r}: choose python or r")
    if kernel.get("state", "present") not in STATES:
        problems.append(f"has the state {kernel['state']!r}: choose present, latest or absent")
    env = kernel.get("env", {})
    if not isinstance(env, dict) or not all(isinstance(value, (str, int, float)) for value in env.values()):
        problems.append("must have names and values as env, such as {OMP_NUM_THREADS: 2}")
    problems += [problem for problem in content_problems(kernel, folder) if problem not in problems]
    return [f"Kernel {name} {problem}." for problem in problems]


def kernels_problems(kernels: Any, folder: str) -> list[str]:
    """What is wrong with the list of kernels; nothing when it can work."""
    if not isinstance(kernels, list):
        return ["anaconda_kernels_kernels must be a list of kernels."]
    problems = [problem for kernel in kernels for problem in kernel_problems(kernel, folder)]
    names = [str(kernel.get("name", "")).lower() for kernel in kernels if isinstance(kernel, dict)]
    # Jupyter does not tell capitals from small letters.
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        problems.append(f"Kernel {name} is in the list {names.count(name)} times: give each its own name.")
    return problems


def settings_problems(settings: dict[str, Any]) -> list[str]:
    """What is wrong with the other settings: distribution, installer, channels."""
    problems = []
    channels = settings["channels"]
    if not channels:
        problems.append("anaconda_kernels_channels is empty: name at least one channel, such as conda-forge.")
    for channel in channels:
        if not CHANNEL.fullmatch(str(channel)):
            problems.append(
                f"The channel {channel!r} is neither a name nor a URL: write conda-forge or https://conda.example.org/ours."
            )
    if not settings["accept_anaconda_terms"]:
        bound = [str(channel) for channel in channels if UNDER_TERMS.fullmatch(str(channel))]
        if settings["distribution"] == "anaconda" or bound:
            what = f"The channel {bound[0]}" if bound else "The distribution anaconda"
            problems.append(
                f"{what} comes under Anaconda's Terms of Service, by which larger organisations must pay: read them, "
                "then set anaconda_kernels_accept_anaconda_terms: true, or stay with miniforge and conda-forge."
            )
    url = settings["installer_url"]
    if url and not re.fullmatch(r"(https?|file)://\S+", url):
        problems.append(f"anaconda_kernels_installer_url is {url!r}: it must be a URL.")
    given = settings["installer_sha256"]
    hashes = given if isinstance(given, dict) else {"this host": given} if given else {}
    for machine, value in hashes.items():
        if not SHA256.fullmatch(str(value)):
            problems.append(f"The SHA-256 of the installer for {machine} is {value!r}: it has 64 hexadecimal digits.")
    if settings["version"] and not hashes:
        problems.append(
            f"anaconda_kernels_version is {settings['version']} but anaconda_kernels_installer_sha256 is empty: "
            "give the SHA-256 of that installer."
        )
    if not re.fullmatch(r"/[^\s/]+(/[^\s/]+)+", settings["prefix"]):
        problems.append(
            f"anaconda_kernels_prefix is {settings['prefix']!r}: it must be an absolute path without blanks, two "
            "folders deep or more, such as /opt/conda."
        )
    if not 1 <= settings["parallel"] <= 16:
        problems.append(f"anaconda_kernels_parallel is {settings['parallel']}: choose 1 to 16.")
    return problems


def declared(kernels: list[dict[str, Any]], folder: str) -> list[dict[str, Any]]:
    """The list of kernels as the module conda_environments takes it: every field there, files read."""
    result = []
    for kernel in kernels:
        language = kernel.get("language", "python")
        present = kernel.get("state") != "absent"
        packages = list(kernel.get("packages") or []) if present else []
        texts = {
            key: resolve(str(kernel[key]), folder).read_text(encoding="utf-8") if present and kernel.get(key) else ""
            for key in ("environment_file", "lock_file")
        }
        if packages and KERNEL_PACKAGE[language] not in map(package_name, packages):
            packages.append(KERNEL_PACKAGE[language])
        asked = packages or (conda_dependencies(texts["environment_file"]) if texts["environment_file"] else [])
        result.append(
            {
                "name": kernel["name"],
                "display_name": kernel.get("display_name") or kernel["name"],
                "language": language,
                "state": kernel.get("state", "present"),
                "packages": packages,
                **texts,
                "names": sorted({package_name(spec) for spec in asked}),
                "env": {key: str(value) for key, value in (kernel.get("env") or {}).items()},
            }
        )
    return result


class FilterModule:
    """The filters, by the names that tasks use."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them."""
        return {
            "anaconda_kernels_declared": declared,
            "anaconda_kernels_kernels_problems": kernels_problems,
            "anaconda_kernels_settings_problems": settings_problems,
        }

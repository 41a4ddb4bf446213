#!/usr/bin/python
"""Ask, all at once, whether the places that downloads come from answer."""

from __future__ import annotations

DOCUMENTATION = """
module: reachable_urls
short_description: Whether URLs answer
description:
  - Asks for each URL's first byte, side by side, following redirections and the proxy of the environment.
options:
  sources: {description: "What to ask: url, and the setting that names it", type: list, elements: dict, required: true}
  timeout: {description: Seconds for each, type: int, default: 10}
author: [The project's authors]
"""

EXAMPLES = """
- name: Ask
  reachable_urls:
    sources: [{url: https://conda.anaconda.org/conda-forge/noarch/repodata.json, setting: anaconda_kernels_channels}]
"""

RETURN = """
problems: {description: One sentence for each that does not answer, type: list, returned: always}
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url


def problem(source: dict[str, Any], timeout: int) -> str:
    """A sentence when the URL does not answer with what it should have, else nothing."""
    url, setting = str(source["url"]), str(source["setting"])
    try:
        open_url(url, method="GET", headers={"Range": "bytes=0-0"}, timeout=timeout).close()
    except HTTPError as error:
        if error.code == 416:  # an empty file is there too
            return ""
        reason = f"HTTP {error.code}"
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
    else:
        return ""
    return f"{url} cannot be reached ({reason}): check your network, or set {setting} to a place that can be."


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "sources": {"type": "list", "elements": "dict", "required": True},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    sources, timeout = module.params["sources"], module.params["timeout"]
    with ThreadPoolExecutor(max_workers=8) as pool:
        problems = [text for text in pool.map(lambda source: problem(source, timeout), sources) if text]
    module.exit_json(changed=False, problems=problems)


if __name__ == "__main__":
    main()

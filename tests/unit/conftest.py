"""Lets the tests import modules of the project as Ansible does: what these share is ansible.module_utils.<name> there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

for file in (Path(__file__).resolve().parents[2] / "plugins/module_utils").glob("[a-z]*.py"):
    sys.modules[f"ansible.module_utils.{file.stem}"] = importlib.import_module(f"plugins.module_utils.{file.stem}")

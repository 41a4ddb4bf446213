#!/usr/bin/env python3
"""`jupyter lab`, or what DOCKER_STACKS_JUPYTER_CMD names, with NOTEBOOK_ARGS and then the arguments given here."""

import os
import shlex
import sys

command = ["jupyter", os.environ.get("DOCKER_STACKS_JUPYTER_CMD", "lab")]
command += shlex.split(os.environ.get("NOTEBOOK_ARGS", ""))
command += sys.argv[1:]
print("Executing:", *command, flush=True)
os.execvp(command[0], command)  # noqa: S606 # no shell on purpose

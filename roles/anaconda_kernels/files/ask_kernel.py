"""Start a kernel from its kernelspec, as a Jupyter server does, and ask it who it is.

Read from standard input, as JSON: {"name": ..., "language": "python" or "r", "spec": the content of kernel.json}.
Written to standard output, as JSON: {"prefix": ..., "program": ..., "version": ...} or {"problem": a sentence}.
Run by a Python that has jupyter_client, as the account that notebooks run as. Standard library and jupyter_client only.
"""

import json
import os
import queue
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

STARTS_WITHIN = 90
ANSWERS_WITHIN = 60
# prefix: where the kernel's libraries are; program: what its own PATH finds, for `!pip` and system() in a notebook.
QUESTIONS = {
    "python": (
        "import json, platform, shutil, sys\n"
        "who = {'prefix': sys.prefix, 'program': shutil.which('python'), 'version': platform.python_version()}\n"
        "print(json.dumps(who))"
    ),
    "r": (
        'cat(sprintf(\'{"prefix": "%s", "program": "%s", "version": "%s.%s"}\','
        ' R.home(), Sys.which("R"), R.version$major, R.version$minor))'
    ),
}


def ask(name: str, language: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Start the kernel, ask, stop it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).mkdir()
        Path(folder, name, "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
        specs = KernelSpecManager(kernel_dirs=[folder], ensure_native_kernel=False)
        connection = str(Path(folder, "connection.json"))
        manager = KernelManager(kernel_name=name.lower(), kernel_spec_manager=specs, connection_file=connection)
        # IPYTHONDIR: the question leaves no trace in the account's history, and its startup files are left alone.
        manager.start_kernel(cwd=folder, env={**os.environ, "IPYTHONDIR": folder})
        client = manager.blocking_client()
        try:
            client.start_channels()
            client.wait_for_ready(timeout=STARTS_WITHIN)
            return listen(client, client.execute(QUESTIONS[language], store_history=False))
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def listen(client: Any, question: str) -> dict[str, Any]:
    """Collect what the kernel prints until it is idle again."""
    printed = ""
    end = time.monotonic() + ANSWERS_WITHIN
    while time.monotonic() < end:
        try:
            message = client.get_iopub_msg(timeout=1)
        except queue.Empty:
            continue
        if message["parent_header"].get("msg_id") != question:
            continue
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            printed += content["text"]
        elif message["msg_type"] == "error":
            return {"problem": f"it answers with an error: {content['ename']}: {content['evalue']}"}
        elif message["msg_type"] == "status" and content["execution_state"] == "idle":
            return json.loads(printed)
    return {"problem": f"it started but did not answer within {ANSWERS_WITHIN} seconds"}


def main() -> None:
    """Read the question, print the answer."""
    try:
        answer = ask(**json.load(sys.stdin))
    except Exception as error:  # whatever goes wrong is the answer
        answer = {"problem": f"it does not start: {' '.join(str(error).split()) or type(error).__name__}"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()

"""What JupyterLab does in a container. `--config` names another file, which then takes the place of this one."""

import os
import subprocess
from pathlib import Path

from jupyter_core.paths import jupyter_data_dir

c = get_config()  # type: ignore[name-defined]  # noqa: F821
c.ServerApp.ip = ""
c.ServerApp.open_browser = False
c.FileContentsManager.delete_to_trash = False

if "GEN_CERT" in os.environ:
    pem = Path(jupyter_data_dir()) / "notebook.pem"
    pem.parent.mkdir(parents=True, exist_ok=True)
    subject = "/CN=generated"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365", "-subj", subject]
    subprocess.check_call([*command, "-keyout", str(pem), "-out", str(pem)])
    pem.chmod(0o600)
    c.ServerApp.certfile = str(pem)

if "NB_UMASK" in os.environ:
    os.umask(int(os.environ["NB_UMASK"], 8))

"""Ctrl-C in the middle of a first run: the same command completes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from tests.e2e.conftest import STATE
from tests.lab_site import FIRST_RUN, REPORTS, Site


@pytest.mark.extended
def test_a_run_that_is_cut_off_can_be_repeated(site: Site) -> None:
    """In or just after conda's work, on a server without a disk for data."""
    inventory = STATE.parent / "second.yml"
    inventory.write_text("servers: {children: {launched: {children: {lab: {hosts: {second: }}}}}}\n")
    # The three other components are cut off between and within their tasks by their own scenarios.
    wanted = {"server_components": ["base", "anaconda_kernels", "jupyter_tls"], "ec2_provision_data_volume_gb": 0}
    arguments = ("-i", str(inventory), "--limit", "second", "-e", json.dumps(wanted))
    log = REPORTS / "e2e-cut-off.log"
    process = site.start(log, *arguments)
    end = time.monotonic() + FIRST_RUN
    while "Make every environment and its kernel" not in log.read_text(errors="replace"):
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        assert time.monotonic() < end
        time.sleep(0.5)
    time.sleep(4)
    assert process.poll() is None, "the run was done before it could be cut off"
    os.killpg(process.pid, signal.SIGINT)
    try:
        assert process.wait(60) != 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    run = site.apply("cut-off-again", *arguments, seconds=FIRST_RUN)
    assert run.code == 0, run.tail(120)
    assert set(run.recap) == {"second"}
    again = site.apply("cut-off-third", *arguments)
    assert again.changes_nothing(), again.tail(120)

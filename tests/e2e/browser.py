"""A real browser for the tests: headless Chromium that trusts one authority, and what people do in JupyterLab."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, Locator, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Without these Chromium talks to its maker at every start, as root it does not start at all.
ARGUMENTS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--no-sandbox",
)
# Seconds; a kernel on a busy machine with two cores is slow to start.
PATIENCE = 90
expect.set_options(timeout=PATIENCE * 1000)


class BrowserMissing(RuntimeError):
    """There is no browser or no certutil; the text says how to get them."""


def find_browser() -> str | None:
    """Return the path of the system's browser, or None if Playwright has one of its own."""
    if not shutil.which("certutil"):
        raise BrowserMissing("certutil is missing: sudo apt install libnss3-tools")
    # Ubuntu's chromium-browser is a snap: it sees neither a temporary home nor its certificates.
    for path in filter(None, map(shutil.which, NAMES)):
        if "/snap/" not in str(Path(path).resolve()) and not Path(path).resolve().match("*/snap"):
            return path
    with sync_playwright() as playwright:
        if Path(playwright.chromium.executable_path).exists():
            return None
    raise BrowserMissing(
        "No Chromium was found: on Debian `sudo apt install chromium`, "
        "elsewhere `playwright install --with-deps chromium`"
    )


def trust(home: Path, ca_file: Path) -> None:
    """Do what a person does once: import the authority's certificate into the browser's list."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    for arguments in (
        ["-N", "--empty-password"],
        ["-A", "-n", "Notebook server CA", "-t", "C,,", "-i", str(ca_file)],
    ):
        subprocess.run(["certutil", "-d", f"sql:{database}", *arguments], check=True, timeout=30)


@contextmanager
def browser(home: Path, ca_file: Path | None) -> Iterator[BrowserContext]:
    """Start a new browser with a home of its own; certificate errors are errors."""
    home.mkdir(parents=True)
    executable = find_browser()
    if ca_file:
        trust(home, ca_file)
    environment: dict[str, str | float | bool] = {**os.environ}
    environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            home / "profile",
            executable_path=executable,
            args=list(ARGUMENTS),
            env=environment,
            viewport={"width": 1280, "height": 800},
            device_scale_factor=1.5,
            locale="en-US",
        )
        context.set_default_timeout(PATIENCE * 1000)
        # Jupyter Server lists a folder and then looks at each file; one that is renamed in between (as a notebook is when it
        # is saved for the first time) makes it answer 404, which JupyterLab's file browser reports as a folder that is gone.
        gone = context.pages[0].locator(".jp-Dialog", has_text="Directory not found")
        context.pages[0].add_locator_handler(gone, lambda dialog: dialog.locator("button.jp-mod-accept").click())
        try:
            yield context
        finally:
            context.close()


def log_in(page: Page, password: str) -> None:
    """Fill in the login form."""
    page.fill("#password_input", password)
    page.click("#login_submit")


class Notebook:
    """A notebook that is open in JupyterLab."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.panel: Locator = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def run(self, code: str) -> Locator:
        """Type code into the last cell, run it with Shift+Enter, and return its outputs."""
        cells = self.panel.locator(".jp-Notebook .jp-CodeCell")
        index = cells.count() - 1
        editor = cells.nth(index).locator(".cm-content")
        editor.click()
        editor.fill(code)
        editor.press("Shift+Enter")
        prompt = cells.nth(index).locator(".jp-InputPrompt")
        expect(prompt).to_have_text(re.compile(r"\[\d+\]"))
        return cells.nth(index).locator(".jp-OutputArea-output")

    def save(self, name: str) -> None:
        """Save it for the first time, under a name."""
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Control+s")
        self.page.locator(".jp-Dialog input").first.fill(name)
        self.page.locator(".jp-Dialog button.jp-mod-accept").click()
        expect(self.page.locator(".jp-Dialog")).to_have_count(0)
        expect(self.page.locator(".jp-DirListing-itemText", has_text=name)).to_be_visible()


def open_lab(page: Page) -> None:
    """Wait until JupyterLab has loaded and shows its launcher."""
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    page.wait_for_selector(".jp-Launcher")


def take_picture(page: Page, file: Path) -> None:
    """Take a picture; a question that JupyterLab asks in the corner is answered first, as anyone would."""
    for button in page.locator(".Toastify").get_by_role("button", name="No", exact=True).all():
        button.click()
    expect(page.locator(".Toastify__toast")).to_have_count(0)
    page.screenshot(path=file)


def new_notebook(page: Page, kernel: str) -> Notebook:
    """Open a notebook for a kernel through the launcher, as a person does, and wait for the kernel."""
    if not page.locator(".jp-Launcher:visible").count():
        page.keyboard.press("Control+Shift+L")
    card = page.locator('.jp-Launcher:visible .jp-LauncherCard[data-category="Notebook"]', has_text=kernel)
    card.first.click()
    notebook = Notebook(page)
    notebook.panel.wait_for()
    expect(notebook.panel.locator(".jp-KernelName")).to_contain_text(kernel)
    status = notebook.panel.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
    expect(status).to_have_count(1)
    return notebook

"""What a person sees: a real browser that trusts the CA, a login, and a notebook for every kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, Page, expect

from tests.e2e import browser
from tests.lab_site import REPORTS, Site

PICTURES = REPORTS / "screenshots"
ASK = {
    "python": "import sys\nprint(sys.prefix, 6 * 7)",
    "r": "cat(R.home(), 6 * 7)",
}
PLOT = {
    "python": (
        "import numpy as np, matplotlib.pyplot as plt\n"
        "x = np.linspace(0, 4 * np.pi, 400)\n"
        "plt.figure(figsize=(8, 3.4))\n"
        "for shift in range(4):\n"
        "    plt.plot(x, np.sin(x + shift) * np.exp(-x / 8), label=f'shift {shift}')\n"
        "plt.title('Damped waves'); plt.legend(); plt.show()"
    ),
    "r": "options(repr.plot.width = 8, repr.plot.height = 3.4)\nplot(cars, main = 'Stopping distance', pch = 19)",
}


@pytest.fixture(scope="module")
def page(server: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser that trusts the CA."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with browser.browser(tmp_path_factory.mktemp("browser") / "home", server.ca_file) as context:
        page = context.pages[0]
        yield page
        page.screenshot(path=PICTURES / "last.png")


def test_a_browser_that_does_not_know_the_ca_refuses(server: Site, tmp_path: Path) -> None:
    with browser.browser(tmp_path / "home", None) as context:
        with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
            context.pages[0].goto(server.url)


def test_the_login_page_comes_first(server: Site, page: Page) -> None:
    page.goto(server.url)
    expect(page.locator("#password_input")).to_be_visible()
    page.screenshot(path=PICTURES / "login.png")


def test_a_wrong_password_is_refused(page: Page) -> None:
    browser.log_in(page, "not the password")
    expect(page.locator(".message")).to_contain_text("Invalid credentials")


def test_the_password_opens_jupyterlab(server: Site, page: Page) -> None:
    browser.log_in(page, server.password)
    browser.open_lab(page)
    for kernel in server.kernels:
        card = page.locator('.jp-LauncherCard[data-category="Notebook"]', has_text=kernel["display_name"])
        expect(card.first).to_be_visible()
    browser.take_picture(page, PICTURES / "launcher.png")


def test_every_kernel_computes_and_draws_in_a_notebook(server: Site, page: Page) -> None:
    for kernel in server.kernels:
        compute(page, kernel)
        owner = server.ssh("sudo", "stat", "--format=%U", f"/data/notebooks/first-{kernel['name']}.ipynb")
        assert owner.stdout.strip() == "jupyter", owner.stderr


def compute(page: Page, kernel: dict[str, Any]) -> None:
    """Open a notebook, ask the kernel where it lives, let it draw, save, take a picture."""
    language = kernel.get("language", "python")
    notebook = browser.new_notebook(page, kernel["display_name"])
    answer = notebook.run(ASK[language])
    expect(answer).to_contain_text(f"/envs/{kernel['name']}")
    expect(answer).to_contain_text("42")
    plot = notebook.run(PLOT[language]).locator("img")
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.naturalWidth") > 100
    notebook.save(f"first-{kernel['name']}.ipynb")
    browser.take_picture(page, PICTURES / f"{kernel['name']}.png")

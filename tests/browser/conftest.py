"""A real browser on pages that this machine serves: nothing else may be asked, and nothing may go wrong silently."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import notebook
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from servers import ROOT, free_port, serving
from watching import watched

from helpers import doctor

CHROMIUM = doctor.chromium()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's or Google's browser; Playwright's own if there is neither."""
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """open_page(**context options) -> a page; the test fails on a request elsewhere and on a console error.

    `allowed` is a pattern of console errors that the test provokes.
    """
    with watched(browser) as opened:
        yield opened


@pytest.fixture(scope="session")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the fixture notebook and two that cannot be shown."""
    folder = tmp_path_factory.mktemp("notebooks")
    notebook.write(folder)
    notebook.write(folder, "broken.ipynb", notebook.BROKEN)
    notebook.write(folder, "foreign.ipynb", notebook.BROKEN, kernel=("nowhere", "cobol"))
    return folder


@pytest.fixture(scope="session")
def start_voila(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """start_voila(folder of notebooks, *options) -> the address of the landing page."""
    with contextlib.ExitStack() as stack:
        def started(folder: Path, *options: str) -> str:
            port = free_port()
            # Each test is a visitor, and a page whose context is closed does not say that it was left.
            command = ["-m", "helpers.app.server", "--port", str(port), "--no-browser", "--visitors", "500",
                       "--notebooks", str(folder)]
            log = tmp_path_factory.mktemp("voila") / "log"
            stack.enter_context(serving([*command, *options], log, port, tmp_path_factory.mktemp("home")))
            return f"http://127.0.0.1:{port}/"

        yield started


@pytest.fixture(scope="session")
def start_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], str]]:
    """start_lab(folder of notebooks) -> the address under which its notebooks open."""
    with contextlib.ExitStack() as stack:
        def started(folder: Path) -> str:
            port = free_port()
            command = ["-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1",
                       "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None",
                       "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
                       "--LabApp.expose_app_in_browser=True"]
            log = tmp_path_factory.mktemp("lab") / "log"
            stack.enter_context(serving(command, log, port, tmp_path_factory.mktemp("home")))
            return f"http://127.0.0.1:{port}/lab/tree/"

        yield started


@pytest.fixture(scope="session")
def voila(start_voila: Callable[..., str], notebooks: Path) -> str:
    """The landing page over the notebooks of the tests."""
    return start_voila(notebooks, "--pool", "0")


@pytest.fixture(scope="session")
def our_pages(start_voila: Callable[..., str]) -> str:
    """The landing page over our own notebooks."""
    return start_voila(ROOT / "notebooks", "--pool", "0")


@pytest.fixture(scope="session")
def lab(start_lab: Callable[[Path], str], notebooks: Path) -> str:
    """JupyterLab over the fixture notebook."""
    return start_lab(notebooks)


@pytest.fixture
def run_in_lab() -> Callable[[Page, str], None]:
    """run_in_lab(page, address of a notebook): open it and run all its cells."""
    def run(page: Page, address: str) -> None:
        page.goto(address)
        page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel"
                               "?.connectionStatus === 'connected'")
        page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")

    return run

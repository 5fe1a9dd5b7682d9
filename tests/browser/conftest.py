"""A real browser on pages that this machine serves: nothing else may be asked, and nothing may go wrong silently."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import notebook
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from servers import ROOT, free_port, serving
from watching import watched

from helpers import doctor
from helpers.app.server.pages import LESSON_TAGS

SMALL = {"TRAIN_ROWS": 72, "TEST_ROWS": 24, "ROUNDS": 2, "FIRST_EPOCHS": 0.1, "TIMED_ROWS": 8, "METERS": False}
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
def start_voila(tmp_path_factory: pytest.TempPathFactory,
                make_home: Callable[[], Path]) -> Iterator[Callable[..., str]]:
    """start_voila(folder of notebooks, *options) -> the address of the landing page."""
    with contextlib.ExitStack() as stack:
        def started(folder: Path, *options: str) -> str:
            port = free_port()
            # Each test is a visitor, and a page whose context is closed does not say that it was left.
            command = ["-m", "helpers.app.server", "--port", str(port), "--no-browser", "--visitors", "500",
                       "--notebooks", str(folder)]
            log = tmp_path_factory.mktemp("voila") / "log"
            stack.enter_context(serving([*command, *options], log, port, make_home()))
            return f"http://127.0.0.1:{port}/"

        yield started


@pytest.fixture(scope="session")
def start_lab(tmp_path_factory: pytest.TempPathFactory,
              make_home: Callable[[], Path]) -> Iterator[Callable[[Path], str]]:
    """start_lab(folder of notebooks) -> the address under which its notebooks open."""
    with contextlib.ExitStack() as stack:
        def started(folder: Path) -> str:
            port = free_port()
            command = ["-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1",
                       "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None",
                       "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
                       "--LabApp.expose_app_in_browser=True"]
            log = tmp_path_factory.mktemp("lab") / "log"
            stack.enter_context(serving(command, log, port, make_home()))
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
def small_notebooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's cells of notebook 1, with few rows."""
    source = ROOT / "notebooks" / "1_model_optimization.ipynb"
    small = nbformat.read(source, as_version=4)
    small.cells = [cell for cell in small.cells if not LESSON_TAGS & set(cell.metadata.get("tags", []))]
    parameters = next(cell for cell in small.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source += "".join(f"\n{name} = {value}" for name, value in SMALL.items())
    folder = tmp_path_factory.mktemp("small")
    nbformat.write(small, folder / source.name)
    return folder


@pytest.fixture(scope="session")
def small_pages(start_voila: Callable[..., str], small_notebooks: Path) -> str:
    """The landing page over `small_notebooks`."""
    return start_voila(small_notebooks, "--pool", "0")


@pytest.fixture(scope="session")
def lab(start_lab: Callable[[Path], str], notebooks: Path) -> str:
    """JupyterLab over the fixture notebook."""
    return start_lab(notebooks)

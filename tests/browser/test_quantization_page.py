"""Notebook 1 as its visitors meet it: recorded results at once, and a real measurement, in both frontends."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from watching import cancel, run_in_lab, watched

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "1_model_optimization.ipynb"
MEASURE = "Measure on this machine"


@pytest.fixture(scope="module")
def voila_address(small_pages: str) -> str:
    return f"{small_pages}voila/render/{NOTEBOOK.name}"


@pytest.fixture(scope="module")
def lab_address(start_lab: Callable[[Path], str], small_notebooks: Path) -> str:
    return f"{start_lab(small_notebooks)}{NOTEBOOK.name}"


@pytest.fixture(scope="module")
def open_voila(voila_address: str, browser: Browser) -> Iterator[Locator]:
    """The panel of one visit."""
    with watched(browser) as open_page:
        page = open_page()
        page.goto(voila_address)
        yield drawn(page)


@pytest.fixture
def open_lab(lab_address: str, open_page: Callable[..., Page]) -> Locator:
    page = open_page(viewport={"width": 1280, "height": 6000})  # JupyterLab only renders the cells in view
    run_in_lab(page, lab_address)
    return drawn(page)


def drawn(page: Page) -> Locator:
    """The panel, once its chart is there."""
    panel = page.locator(".app-panel", has_text=MEASURE)
    expect(panel.locator(".app-chart svg")).to_be_visible()
    return panel


def test_it_opens_on_recorded_results(open_voila):
    cells = open_voila.locator("tbody td:last-child")
    assert cells.count() > 5
    assert all("recorded" in text for text in cells.all_inner_texts())
    expect(open_voila.page.locator(".app-figures").first).to_contain_text("points of accuracy")


def test_the_runtimes_follow_the_scheme(open_voila):
    scheme, runtime = (open_voila.locator(".widget-dropdown", has_text=name).locator("select")
                       for name in ("Scheme", "Runtime"))
    scheme.select_option("static-int8")
    expect(runtime.locator("option")).to_have_text(["onnxruntime", "openvino"])


@pytest.mark.slow
@pytest.mark.parametrize("frontend", ["voila", "lab"])
def test_a_real_measurement_replaces_the_recorded_results_and_another_can_be_cancelled(frontend, request):
    panel = request.getfixturevalue(f"open_{frontend}")
    status = panel.locator(".app-status")
    scheme = panel.locator(".widget-dropdown", has_text="Scheme").locator("select")
    scheme.select_option("dynamic-int8")
    panel.get_by_role("button", name=MEASURE).click()
    expect(status).to_contain_text("Measured on this machine just now", timeout=400_000)
    measured = panel.locator("tbody tr", has_text="measured")
    expect(measured).to_have_count(2)
    expect(measured.nth(1)).to_contain_text("int8 dynamic, ONNX Runtime")

    scheme.select_option("static-int8")
    panel.get_by_role("button", name=MEASURE).click()
    expect(status).to_contain_text(re.compile("quantizing|quality of|timing"), timeout=120_000)
    assert cancel(panel) < 1
    expect(measured).to_have_count(2)

"""Notebook 1's other parts as its visitors meet them: each opens when chosen, on recorded results, and measures."""

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from helpers.app.server.pages import LESSON_TAGS

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "1_model_optimization.ipynb"
RECORDED = Path(__file__).parents[2] / "helpers" / "facts" / "recorded"
SMALL = {"TRAIN_ROWS": 72, "TEST_ROWS": 24, "ROUNDS": 2, "FIRST_EPOCHS": 0.1, "TIMED_ROWS": 8, "METERS": False}
MEASURE = "Measure on this machine"


@pytest.fixture(scope="module")
def address(start_voila: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if not LESSON_TAGS & set(cell.metadata.get("tags", []))]
    parameters = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source += "".join(f"\n{name} = {value}" for name, value in SMALL.items())
    folder = tmp_path_factory.mktemp("optimization")
    nbformat.write(notebook, folder / NOTEBOOK.name)
    return f"{start_voila(folder, '--pool', '0')}voila/render/{NOTEBOOK.name}"


@pytest.fixture
def page(address: str, open_page: Callable[..., Page]) -> Page:
    """The page, once its first chart is drawn."""
    found = open_page()
    found.goto(address)
    expect(found.locator(".app-panel .app-chart svg")).to_be_visible()
    return found


def open_part(page: Page, name: str) -> Locator:
    """The panel of a part, once its own chart is there."""
    page.get_by_role("button", name=name, exact=True).click()
    panel = page.locator(".app-parts .app-panel", has_text=MEASURE)
    expect(panel).to_have_count(1)
    expect(panel.locator(".app-chart svg")).to_be_visible()
    return panel


def control(panel: Locator, name: str | re.Pattern) -> Locator:
    return panel.locator(".widget-dropdown", has_text=name).locator("select")


def test_the_first_sentence_is_about_everything_together(page):
    """Times cheaper and points lost, each with its interval."""
    figures = page.locator(".app-figures").first
    expect(figures).to_contain_text(re.compile(r"\d+x\s*cheaper \([\d.]+ to [\d.]+\)"))
    expect(figures).to_contain_text(re.compile(r"points of accuracy \(\S+ to \S+\)"))


def test_a_part_is_computed_when_it_is_chosen(page):
    expect(page.locator(".app-panel")).to_have_count(1)
    expect(page.locator(".app-parts")).to_have_text("")


@pytest.mark.parametrize(("part", "file"), [("Taught labels", "taught_labels"), ("Taught fields", "taught_fields")])
def test_what_a_teacher_gives_is_shown_as_it_was_recorded_or_as_not_yet_recorded(page, part, file):
    page.get_by_role("button", name=part, exact=True).click()
    there = (RECORDED / f"1_model_optimization_{file}.json").is_file()
    expect(page.locator(".app-parts")).to_contain_text("that it labelled" if there else "is not recorded yet")


@pytest.mark.parametrize(("part", "shown", "setting"), [
    ("Pruning", "weights zeroed", "Granularity"), ("Distillation", "labels only", "Temperature"),
    ("Together", "with a linear first stage", "Points of accuracy to lose at most")])
def test_each_part_opens_on_recorded_results(page, part, shown, setting):
    panel = open_part(page, part)
    cells = panel.locator("tbody td:last-child")
    expect(panel.locator("tbody")).to_contain_text(shown)
    assert all("recorded" in text for text in cells.all_inner_texts())
    expect(panel.locator(".app-controls")).to_contain_text(setting)


def test_the_product_of_the_gains_stands_beside_the_combined_one(page):
    chart = open_part(page, "Together").locator(".app-chart")
    expect(chart).to_contain_text(re.compile(r"gains multiply to [\d.]+x; together they.*give [\d.]+x", re.DOTALL))


def test_the_language_model_is_shown_as_it_was_recorded_or_as_not_yet_recorded(page):
    page.get_by_role("button", name="Language model", exact=True).click()
    if (RECORDED / "1_model_optimization_language.json").is_file():
        chart = page.locator(".app-chart", has_text="perplexity")
        expect(chart.locator("svg")).to_be_visible()
        expect(chart).to_contain_text(re.compile(r"times their perplexity"))
    else:
        expect(page.get_by_text("is not recorded yet")).to_be_visible()
    expect(page.locator(".app-parts .app-panel")).to_have_count(0)


def test_a_control_that_does_not_apply_says_why_and_cannot_be_moved(page):
    quantization = page.locator(".app-panel", has_text=MEASURE)
    for name in ("Bits", "Group size", "Calibration rows"):
        expect(control(quantization, name)).to_be_disabled()
        expect(control(quantization, name).locator("option")).to_have_text([re.compile(r"^for\s")])
    control(quantization, "Scheme").select_option("weight-only")
    expect(control(quantization, "Bits")).to_be_enabled()
    expect(control(quantization, "Bits").locator("option")).to_have_text([str(bits) for bits in range(2, 9)])
    expect(control(quantization, "Calibration rows")).to_be_disabled()
    control(quantization, "Scheme").select_option("bf16")
    expect(control(quantization, "Bits")).to_be_disabled()
    expect(control(quantization, "Worst layers kept in float")).to_be_disabled()

    pruning = open_part(page, "Pruning")
    expect(control(pruning, "Sparsity scope")).to_be_disabled()
    control(pruning, "Granularity").select_option("2:4")
    sparsity = control(pruning, re.compile(r"Sparsity(?!\sscope)"))
    expect(sparsity.locator("option")).to_have_text([re.compile(r"half,\sby")])
    expect(control(pruning, "Importance")).to_be_disabled()


def test_pruning_is_measured_here(page):
    panel = open_part(page, "Pruning")
    control(panel, "Granularity").select_option("layers")
    control(panel, "Recovery: epochs").select_option("0")
    panel.get_by_role("button", name=MEASURE).click()
    expect(panel.locator(".app-status")).to_contain_text("Measured on this machine just now", timeout=240_000)
    expect(panel.locator("tbody tr", has_text="measured")).to_have_count(2)
    expect(panel.locator("tbody tr", has_text="50% of layers pruned")).to_have_count(1)

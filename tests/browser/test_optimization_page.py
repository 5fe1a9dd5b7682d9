"""Notebook 1's other parts as its visitors meet them: each opens when chosen, on recorded results, and measures."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from watching import watched

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "1_model_optimization.ipynb"
RECORDED = Path(__file__).parents[2] / "helpers" / "facts" / "recorded"
MEASURE = "Measure on this machine"


@pytest.fixture(scope="module")
def page(small_pages: str, browser: Browser) -> Iterator[Page]:
    """One visit to the page, once its first chart is drawn: each test opens the part that it looks at."""
    with watched(browser) as open_page:
        yield opened(open_page(), small_pages)


def opened(page: Page, small_pages: str) -> Page:
    page.goto(f"{small_pages}voila/render/{NOTEBOOK.name}")
    expect(page.locator(".app-panel .app-chart svg")).to_be_visible()
    return page


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
    quantization = page.locator(".app-panel", has_text=MEASURE).first
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


@pytest.mark.slow
def test_pruning_is_measured_here(small_pages, open_page):
    """In a visit of its own: it is measured with the settings that a visitor finds."""
    panel = open_part(opened(open_page(), small_pages), "Pruning")
    control(panel, "Granularity").select_option("layers")
    control(panel, "Recovery: epochs").select_option("0")
    panel.get_by_role("button", name=MEASURE).click()
    expect(panel.locator(".app-status")).to_contain_text("Measured on this machine just now", timeout=240_000)
    expect(panel.locator("tbody tr", has_text="measured")).to_have_count(2)
    expect(panel.locator("tbody tr", has_text="50% of layers pruned")).to_have_count(1)

"""Notebook 3 as its visitors meet it: recorded results at once, and another plan for each change of a control."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from watching import watched

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "3_hardware_codesign.ipynb"


@pytest.fixture(scope="module")
def address(our_pages: str) -> str:
    return f"{our_pages}voila/render/{NOTEBOOK.name}"


@pytest.fixture(scope="module")
def page(address: str, browser: Browser) -> Iterator[Page]:
    """One visit to the page, once its nine charts are there: each test begins from whatever the one before chose."""
    with watched(browser) as open_page:
        opened = open_page()
        opened.goto(address, timeout=60_000)
        expect(opened.locator(".app-chart svg")).to_have_count(9, timeout=60_000)
        yield opened


def panel(page: Page, number: int) -> Locator:
    return page.locator(".app-panel").nth(number)


def figure(panel: Locator, number: int) -> str:
    return panel.locator(".app-figure b").nth(number).inner_text()


def test_it_answers_first_from_recorded_results(page):
    sentence = page.locator(".app-verdict").first.inner_text()
    assert re.search(r"answers \d+ texts a second and uses \d+% of what the cores can multiply", sentence)
    assert re.search(r"answers \d+\.\d times as many \(\d+\.\d to \d+\.\d\)", sentence)
    assert re.match(r"On .+, \d+ cores", sentence)
    assert re.search(r": \d\.\d \(padding\) .+ \(bits\)\.", sentence)
    assert re.fullmatch(r"\d+\.\dx", page.locator(".app-figure b").first.inner_text())
    text = page.locator("main").inner_text()
    assert "Explore" in text
    assert "What is at stake" not in text
    assert "Go further" not in text


def test_a_control_changes_figures_and_charts(page):
    plan = panel(page, 0)
    before, chart = figure(plan, 0), plan.locator(".app-chart svg").last
    drawn = chart.inner_html()
    plan.get_by_label("Runtime and precision", exact=True).select_option("ONNX Runtime int8")
    expect(plan.locator(".app-figure b").first).not_to_have_text(before)
    expect(plan).to_contain_text("ONNX Runtime int8")
    target = plan.get_by_label("Target: p95, ms, as a number", exact=True)
    target.fill("20")
    target.press("Tab")
    expect(plan.locator(".app-chart").last).to_contain_text(re.compile("a ?million"))
    page.wait_for_function("old => [...document.querySelector('.app-panel').querySelectorAll('.app-chart svg')].at(-1)"
                           "?.innerHTML !== old", arg=drawn)
    expect(page).to_have_url(re.compile(r"target_ms=20\b"))


def test_fewer_bits_show_for_a_language_model(page):
    tokens = page.locator(".app-panel").filter(has=page.get_by_label("Tokens written", exact=True))
    chart = tokens.locator(".app-chart")
    expect(chart).to_contain_text("bits")
    before = chart.text_content()
    tokens.get_by_label("Model", exact=True).select_option("Llama 3.1 70B")
    expect(chart).not_to_have_text(before)
    expect(chart).to_contain_text(re.compile("a ?million"))  # a line of the title may end here


def test_the_readers_price_of_tokens_stands_beside_the_lists(page):
    """A thousand dollars a million for the 1,000 tokens read, 4.50 for the 250 written: 800.90 on average."""
    tokens = page.locator(".app-panel").filter(has=page.get_by_label("Tokens written", exact=True))
    for name, price in (("read", "1000"), ("written", "4.5")):
        box = tokens.get_by_label(f"Your price of tokens {name}, $ a million, as a number", exact=True)
        box.fill(price)
        box.press("Tab")
    expect(tokens.locator(".app-chart")).to_contain_text(re.compile(r"\$800\.90"))


def test_the_plan_is_copied_as_a_script_that_stands_alone(page):
    plan = panel(page, 0)
    plan.get_by_role("button", name="Copy this setting as code").click()
    code = plan.locator(".app-code pre")
    expect(code).to_contain_text("def choose")
    script = ast.parse(code.inner_text())
    assert {"choose", "table"} <= {node.name for node in script.body if isinstance(node, ast.FunctionDef)}

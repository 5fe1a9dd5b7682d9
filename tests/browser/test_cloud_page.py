"""Notebook 5 as its visitors meet it: a simulated hour at once, and another one for each change of a control."""

import ast
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect
from watching import run_in_lab, watched

from helpers.app.server.pages import derive

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "5_cloud_distributed.ipynb"


@pytest.fixture(scope="module")
def address(our_pages: str) -> str:
    return f"{our_pages}voila/render/{NOTEBOOK.name}"


@pytest.fixture(scope="module")
def panel(address: str, browser: Browser) -> Iterator[Locator]:
    """The explore panel of one visit, once its two charts are there; each test changes what it finds."""
    with watched(browser) as open_page:
        page = open_page()
        page.goto(address, timeout=120_000)  # on a fresh machine the simulator is compiled first
        first = page.locator(".app-panel").first
        expect(first.locator(".app-chart svg")).to_have_count(2, timeout=120_000)
        yield first


def figure(panel: Locator, number: int) -> str:
    return panel.locator(".app-figure b").nth(number).inner_text()


def choose(panel: Locator, control: str, value: str) -> None:
    panel.get_by_label(control, exact=True).select_option(value)


def test_it_opens_on_a_computed_sentence_and_figures(panel):
    sentence = panel.page.locator(".app-verdict").first.inner_text()
    assert re.search(r"\d machines that always run .+ leave \d+\.\d% of the answers late", sentence)
    assert re.search(r"cost (about )?(as much|\d+\.\d\d times (less|more))( \(.+\))?, with \d+\.\d%", sentence)
    assert re.fullmatch(r"\$[\d,]+", figure(panel, 0))
    assert re.fullmatch(r"[\d,]+ ms|\d\.\d s|\d\d+ s", figure(panel, 1))
    assert figure(panel, 2).endswith("%")


def test_a_control_changes_figures_and_charts(panel):
    before, chart = figure(panel, 0), panel.locator(".app-chart svg").first
    drawn = chart.inner_html()
    choose(panel, "Scaling policy", "fixed")
    expect(panel.locator(".app-figure b").first).not_to_have_text(before)
    expect(panel.locator(".app-chart").first).to_contain_text("always")
    assert chart.inner_html() != drawn
    fixed = figure(panel, 0)
    choose(panel, "Machine", "AWS c7i.xlarge")
    expect(panel.locator(".app-figure b").first).not_to_have_text(fixed)
    expect(panel.page).to_have_url(re.compile("policy=fixed"))


def test_an_hour_answers_while_the_reader_looks(panel):
    """Generous, for a busy machine; `benchmarks.page` times a panel on a quiet one."""
    waits = []
    for policy in ("Knative", "Ray Serve", "predictive", "KEDA", "fixed"):
        chart = panel.locator(".app-chart svg").last
        before, begun = chart.inner_html(), time.monotonic()
        choose(panel, "Scaling policy", policy)
        while chart.inner_html() == before and time.monotonic() - begun < 20:
            time.sleep(0.01)
        waits.append(time.monotonic() - begun)
    assert sorted(waits)[len(waits) // 2] < 1.5, waits


@pytest.fixture
def others(panel: Locator) -> list[Locator]:
    """The panels below: serverless platforms, and a language model's fleet."""
    panels = [panel.page.locator(".app-panel").nth(number) for number in (1, 2)]
    for one in panels:
        expect(one.locator(".app-chart svg")).to_have_count(1, timeout=120_000)
    return panels


def test_instances_kept_ready_stand_beside_serverless_and_as_many_machines_as_the_headline_has(panel, others):
    serverless, _ = others
    assert re.fullmatch(r"\$[\d,]+\.\d\d", figure(serverless, 0))
    expect(serverless.locator(".app-chart")).to_contain_text(re.compile("1 kept ?ready"))  # a name may take two lines
    choose(serverless, "Instances of Lambda kept ready", "8")
    expect(serverless.locator(".app-chart")).to_contain_text(re.compile("8 kept ?ready"))
    choose(serverless, "Instances of Lambda kept ready", "0")
    expect(serverless.locator(".app-chart")).not_to_contain_text(re.compile("kept ?ready"))
    machines = re.search(r"(\d+) machines? that always", panel.page.locator(".app-verdict").first.inner_text())[1]
    expect(serverless.locator(".app-chart")).to_contain_text(re.compile(rf"{machines} AWS m6i.large that ?always run"))


def test_a_language_models_fleet_is_billed_with_an_interval(others):
    _, fleet = others
    text = fleet.locator(".app-figures").inner_text()
    assert re.search(r"\$[\d,]+\s+a month \([\d,]+ to [\d,]+, 4 runs\)", text), text
    expect(fleet).to_contain_text(re.compile("Steps: Recorded on .*H100"))
    before = figure(fleet, 0)
    choose(fleet, "Scale on", "fixed")
    expect(fleet.locator(".app-figure b").first).not_to_have_text(before)
    choose(fleet, "Scale on", "requests")
    choose(fleet, "Replicas that always run", "none: stop when idle")
    expect(fleet.locator(".app-status.error")).to_have_count(0)


def test_the_scenario_is_copied_as_a_script_that_stands_alone(panel):
    panel.get_by_role("button", name="Copy this setting as code").click()
    code = panel.locator(".app-code pre")
    expect(code).to_contain_text("def scenario")
    script = ast.parse(code.inner_text())
    defined = {node.name for node in script.body if isinstance(node, ast.FunctionDef)}
    assert {"scenario", "service_times", "erlang_c", "fleet_of", "arrivals_of", "interval"} <= defined


def test_the_lesson_stays_out_of_the_page(panel):
    text = panel.page.locator("main").inner_text()
    assert "Explore" in text
    assert "What is at stake" not in text
    assert "Go further" not in text


def test_the_panel_works_in_jupyterlab(start_lab, open_page, tmp_path):
    """The cells of the page, run in Lab as a participant runs them."""
    shown, _ = derive(NOTEBOOK.parent, tmp_path / "page")
    page = open_page(viewport={"width": 1280, "height": 6000})  # JupyterLab only renders the cells in view
    run_in_lab(page, f"{start_lab(shown)}{NOTEBOOK.name}")
    panel = page.locator(".app-panel").first
    expect(panel.locator(".app-chart svg")).to_have_count(2, timeout=120_000)
    before = figure(panel, 0)
    choose(panel, "Scaling policy", "fixed")
    expect(panel.locator(".app-figure b").first).not_to_have_text(before)

"""Notebook 2 as its visitors meet it: recorded results at once, and panels that answer from them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from watching import watched

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "2_efficient_architectures.ipynb"


@pytest.fixture(scope="module")
def address(our_pages: str) -> str:
    return f"{our_pages}voila/render/{NOTEBOOK.name}"


@pytest.fixture(scope="module")
def opened(address: str, browser: Browser) -> Iterator[Page]:
    """One visit to the page, once the charts of its panels are there: each test moves a panel of its own."""
    with watched(browser) as open_page:
        page = open_page()
        page.goto(address, timeout=60_000)
        expect(page.locator(".app-panel .app-chart svg").nth(7)).to_be_visible(timeout=60_000)  # or more, once recorded
        yield page


def panel(page: Page, control: str) -> Locator:
    """The panel that has this control."""
    return page.locator(".app-panel").filter(has=page.get_by_label(control, exact=True))


def test_it_opens_on_a_computed_sentence_and_figures(opened):
    sentence = opened.locator(".app-verdict").first.inner_text()
    assert re.search(r"leaves \d+% of the messages to the large one: \d+\.\d% of its accuracy at \d+% of its busy s",
                     sentence)
    assert re.fullmatch(r"\$[\d.]+", opened.locator(".app-figure b").first.inner_text())
    text = opened.locator("main").inner_text()
    assert "Explore" in text
    assert "What is at stake" not in text, "the lesson stays out of the page"


def test_a_higher_floor_names_a_dearer_step_and_one_that_none_reaches_is_said(opened):
    ladder = panel(opened, "At least right, in percent")
    result = ladder.locator(".app-verdict")
    slider = ladder.get_by_role("slider", name="At least right, in percent")
    slider.press("Home")
    expect(result).to_contain_text("is the cheapest that is good enough")
    slider.press("End")
    expect(result).to_contain_text("No step reaches this floor.")
    expect(opened).to_have_url(re.compile("floor=99"))


def test_a_confidence_of_one_sends_everything_on(opened):
    cascade = panel(opened, "Confidence asked of a stage")
    escalated = cascade.locator(".app-figure b").nth(2)
    cascade.get_by_role("slider").press("Home")
    expect(escalated).to_have_text("0%")
    cascade.get_by_role("slider").press("End")
    expect(escalated).to_have_text("100%")


def test_more_tenants_take_more_bytes_but_hardly_more_than_one_model(opened):
    tenants = panel(opened, "Tenants")
    result = tenants.locator(".app-verdict")
    tenants.get_by_role("slider").press("End")
    expect(result).to_contain_text("Tenants: 100;")
    many = float(re.search(r"([\d.]+) times one model", result.inner_text()).group(1))
    tenants.get_by_role("slider").press("Home")
    expect(result).to_contain_text("Tenants: 1;")
    assert 1 <= float(re.search(r"([\d.]+) times one model", result.inner_text()).group(1)) < many < 50


def test_fewer_key_value_heads_keep_fewer_bytes(opened):
    attention = panel(opened, "Key-value heads, if grouped")
    title = attention.locator(".app-chart").first
    attention.get_by_label("Tokens", exact=True).select_option("131072")
    expect(title).to_contain_text("linear")
    expect(opened).to_have_url(re.compile("attention.length=131072"))


def test_the_reader_s_tokens_are_priced_and_what_is_not_recorded_is_said(opened):
    terms = panel(opened, "Tokens written")
    title = terms.locator(".app-chart").first
    expect(title).to_contain_text("From $")
    before = title.inner_text()
    terms.get_by_role("slider").nth(2).press("End")
    expect(title).not_to_have_text(before)
    terms.get_by_label("Your model's answers").fill("I cannot help with that.")
    terms.get_by_role("slider").first.press("Home")
    expect(terms).to_contain_text("Answers: 1; resolved: 0.0%")
    router = panel(opened, "Points that may be lost")
    expect(router).to_contain_text(re.compile("not recorded yet|of the requests resolved"))

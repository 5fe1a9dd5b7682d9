"""Notebook 4 as its visitors meet it: recorded answers at once, and doubtful rows to decide on."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from watching import watched

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "4_data_efficiency.ipynb"


@pytest.fixture(scope="module")
def address(our_pages: str) -> str:
    return f"{our_pages}voila/render/{NOTEBOOK.name}"


def opened(address: str, page: Page) -> Page:
    page.goto(address, timeout=120_000)
    expect(page.locator(".app-panel").first.locator(".app-chart svg")).to_have_count(1, timeout=60_000)
    expect(page.locator(".app-row-text")).to_have_count(1, timeout=60_000)
    return page


def test_it_opens_on_a_computed_sentence_answers_questions_and_saves_reviews(address, open_page):
    page = opened(address, open_page())
    sentence = page.locator(".app-verdict").first.inner_text()
    assert re.search(r"\$20 \(200 reviews in order of doubt\) regain -?\d+% of the lost accuracy \(-?\d+% to -?\d+%\)",
                     sentence)
    assert re.search(r"To \d+% of the full accuracy, [\w -]+, the best strategy on validation rows, needs", sentence)
    assert re.fullmatch(r"-?\d+%", page.locator(".app-figure b").first.inner_text())
    assert "What is at stake" not in page.locator("main").inner_text()

    panel = page.locator(".app-panel").first
    answer, chart = panel.locator(".app-verdict"), panel.locator(".app-chart svg")
    for question, said in (("Which rows should I label?", "fewer than random"), ("Are my labels any good?", "regain"),
                           ("Which rows can I leave out?", "of the rows, chosen by"),
                           ("Do changed copies help?", "points"), ("How many labels do I need?", "takes")):
        panel.get_by_label("Question", exact=True).select_option(question)
        expect(answer).to_contain_text(said)
        expect(chart).to_be_visible()
    expect(page).to_have_url(re.compile("question="))
    panel.get_by_role("button", name="Copy this setting as code").click()
    expect(panel.locator(".app-code pre")).to_contain_text("def how_many")

    review = page.locator(".app-panel").nth(1)
    text, status = review.locator(".app-row-text"), review.locator(".app-status")
    first = text.inner_text()
    review.get_by_role("button", name="Drop", exact=True).click()
    expect(status).to_contain_text("1 of")
    expect(text).not_to_have_text(first)
    review.get_by_role("button", name="Relabel", exact=True).click()
    expect(status).to_contain_text("(0 keep, 1 relabel, 1 drop)")

    again = opened(address, open_page())  # another visitor
    other = again.locator(".app-panel").nth(1)
    expect(other.locator(".app-status")).to_contain_text("0 of")
    expect(other.locator(".app-row-text")).to_have_text(first)
    expect(other.get_by_role("button", name="Undo", exact=True)).to_be_disabled()
    expect(status).to_contain_text("2 of")
    for _ in range(2):
        review.get_by_role("button", name="Undo", exact=True).click()
    expect(text).to_have_text(first)
    with page.expect_download() as saved:
        review.get_by_role("button", name="change log").click()
    assert saved.value.suggested_filename == "changes.jsonl"
    assert len(Path(saved.value.path()).read_text().splitlines()) == 4


@pytest.fixture(scope="module")
def visit(address: str, browser: Browser) -> Iterator[Page]:
    """One visit in which files are sent."""
    with watched(browser) as open_page:
        yield opened(address, open_page())


def uploaded(panel: Locator, name: str, content: bytes) -> None:
    panel.locator("input[type=file]").set_input_files({"name": name, "mimeType": "text/csv", "buffer": content})


def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(visit):
    review = visit.locator(".app-panel").nth(1)
    status = review.locator(".app-status")
    expect(review.locator("input[type=text]")).to_have_count(0)  # a page takes no paths
    uploaded(review, "bad.csv", b"body,kind\nx,a\n")
    expect(status).to_contain_text("bad.csv has arrived")
    review.get_by_role("button", name="Check this file").click()
    expect(status).to_contain_text("no column 'text'", timeout=60_000)


def test_a_file_that_is_too_large_is_said_and_the_one_before_is_not_taken_for_it(visit):
    review = visit.locator(".app-panel").nth(1)
    status = review.locator(".app-status")
    uploaded(review, "good.csv", b"text,label\n" + b"one text,a\nother text,b\n" * 10)
    expect(status).to_contain_text("good.csv has arrived")
    uploaded(review, "big.csv", b"text,label\n" + b"a,b\n" * 5_000_000)
    expect(status).to_contain_text("big.csv has 20.0 MB")
    review.get_by_role("button", name="Check this file").click()
    expect(status).to_contain_text("Choose a file first")

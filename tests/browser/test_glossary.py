"""A term on a page opens its meaning, for whoever clicks, taps or types."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from watching import watched

from helpers.app.text.glossary import explained
from helpers.app.text.words import style

PAGE = "1_model_optimization"


@pytest.fixture(scope="module")
def page(our_pages: str, browser: Browser) -> Iterator[Page]:
    """The first page on a touch screen, its first sentence shown."""
    with watched(browser) as open_page:
        opened = open_page(viewport={"width": 390, "height": 844}, has_touch=True)
        opened.goto(f"{our_pages}voila/render/{PAGE}.ipynb", timeout=120_000)
        opened.locator(".app-verdict .app-term").first.wait_for(timeout=120_000)
        yield opened


def test_enter_opens_a_meaning_and_escape_closes_it(page):
    term, meaning = page.locator(".app-term").first, page.locator(".app-meaning").first
    expect(meaning).to_be_hidden()
    term.focus()
    page.keyboard.press("Enter")
    expect(meaning).to_be_visible()
    assert meaning.get_attribute("id") == term.get_attribute("aria-describedby")
    page.keyboard.press("Escape")
    expect(meaning).to_be_hidden()


def test_a_tap_opens_a_meaning_inside_the_screen_and_a_second_term_takes_its_place(page):
    first, second = (page.locator(".app-meaning").nth(place) for place in (0, 1))
    page.locator(".app-term").nth(0).tap()
    expect(first).to_be_in_viewport(ratio=1)
    page.locator(".app-term").nth(1).tap()
    expect(second).to_be_in_viewport(ratio=1)
    expect(first).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_who_hears_the_page_is_told_the_meaning_with_the_term(page):
    term = page.locator(".app-term").first
    described = page.locator(f"#{term.get_attribute('aria-describedby')}").text_content()
    expect(term).to_have_accessible_description(described)


SAID = "Cut by pruning, then static int8 (LoRA) with distillation; what remains is quantization."
MARKS_OUTSIDE = """() => {
  // Each mark beside a term stands on the same line as the term's nearest letters.
  const wrong = [];
  for (const term of document.querySelectorAll(".app-term")) {
    const [first, last] = [term.getClientRects()[0], [...term.getClientRects()].pop()];
    for (const [node, at, mine] of [[term.previousSibling, -1, first], [term.nextSibling, 0, last]]) {
      const text = node?.textContent ?? "";
      const mark = at ? text.slice(-1) : text[0];
      if (!mark || !/[(),;.]/.test(mark)) continue;
      const range = document.createRange(), from = at ? text.length - 1 : 0;
      const inside = node.nodeType === 3 ? node : node.firstChild;
      range.setStart(inside, from);
      range.setEnd(inside, from + 1);
      const box = range.getBoundingClientRect();
      if (box.bottom <= mine.top || box.top >= mine.bottom) wrong.push(`${mark} beside ${term.textContent}`);
    }
  }
  return wrong;
}"""


def test_no_line_begins_with_a_mark_that_belongs_to_a_term(browser):
    page = browser.new_page()
    text, _ = explained(SAID)
    assert text.count("<button") == 5
    page.set_content(f"{style()}<div class='app-verdict'>{text}</div>")
    assert page.locator(".app-verdict").text_content() == SAID
    for width in range(120, 700, 7):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate(MARKS_OUTSIDE) == [], width
    page.close()

"""The pages around the notebooks, and the fixture, for everybody; test_every_page.py does the same for notebooks."""

import functools
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from watching import watched

PAGES = {"landing": "", "fixture": "voila/render/fixture.ipynb",
         "cell error": "voila/render/broken.ipynb", "error": "voila/render/foreign.ipynb", "unknown": "nothing/here",
         "doctor": "doctor"}
# What arrow keys change: of a number with a slider, the slider.
CONTROL = ".app-controls :is(.noUi-handle, select, input:not(.app-number-row input), button)"
FOCUSED = """() => {
    const all = [...document.querySelectorAll(".app-panel :is(.noUi-handle, select, input, button, summary)")];
    return all.filter(element => element.offsetParent && !element.disabled).indexOf(document.activeElement);
}"""
VISIBLE = """() => [...document.querySelectorAll(".app-panel :is(.noUi-handle, select, input, button, summary)")]
    .filter(element => element.offsetParent && !element.disabled).map(element => [element.className || element.tagName,
    element.getAttribute("aria-label") ?? element.textContent])"""
VALUE = """element => element.getAttribute("aria-valuenow") ?? (element.tagName === "SELECT"
    ? [element.selectedIndex, element.options.length] : element.value)"""


def settled(page: Page, name: str) -> None:
    if name == "fixture":
        page.locator(".app-panel .app-chart svg").first.wait_for()
    elif name == "cell error":
        expect(page.locator("main")).to_contain_text("could not be computed")


@pytest.fixture(scope="module")
def visits(voila: str, browser: Browser) -> Iterator[Callable[[str, str], Page]]:
    """visits(name, colour scheme) -> the page, opened once."""
    with watched(browser) as open_page:
        @functools.cache
        def opened(name: str, scheme: str) -> Page:
            page = open_page(allowed="404|500", color_scheme=scheme)
            page.goto(voila + PAGES[name])
            settled(page, name)
            return page

        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(visits, name, scheme):
    page = visits(name, scheme)
    result = Axe().run(page).response["violations"]
    serious = [f"{item['id']}: {node['target']} {node['failureSummary']}" for item in result
               if item["impact"] in ("serious", "critical") for node in item["nodes"]]
    assert not serious, "\n".join(serious)


def test_the_keyboard_alone_reaches_every_control(visits):
    page = visits("fixture", "light")
    expected = page.evaluate(VISIBLE)
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(FOCUSED))
    missed = [expected[index] for index in range(len(expected)) if index not in reached]
    assert expected
    assert missed == []


def test_arrow_keys_change_every_control(visits):
    page = visits("fixture", "light")
    controls = page.locator(CONTROL)
    assert controls.count() > 3
    for index in range(controls.count()):
        control = controls.nth(index)
        before = control.evaluate(VALUE)
        if isinstance(before, list) and before[1] == 1:
            continue  # nothing else to choose from
        control.focus()
        page.keyboard.press("ArrowDown" if isinstance(before, list) else "ArrowRight")
        if control.evaluate(VALUE) == before:  # it stood at its upper end
            page.keyboard.press("ArrowUp" if isinstance(before, list) else "ArrowLeft")
        assert control.evaluate(VALUE) != before

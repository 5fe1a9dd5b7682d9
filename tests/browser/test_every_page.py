"""What every page of ours keeps: drawn without an error, for everybody, on a phone, in the dark, by keyboard alone."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect
from servers import ROOT
from watching import watched

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
CONTROL = ".app-controls :is(.noUi-handle, select, input:not([type=file])):not([disabled])"
# Elements that a reader can use now: seen, and neither switched off nor in something that is.
USABLE = """() => [...document.querySelectorAll(".app-panel :is(.noUi-handle, select, input, button, summary)")]
    .filter(element => element.checkVisibility() && !element.closest("[disabled]"))"""
NAMES = f"""() => ({USABLE})().map(element => [element.tagName,
    element.getAttribute("aria-label") ?? element.textContent].join(" "))"""
FOCUSED = f"() => ({USABLE})().indexOf(document.activeElement)"
VALUE = """element => element.getAttribute("aria-valuetext") ?? (element.type === "checkbox" ? element.checked
    : element.value)"""
BRIGHTNESS = """([element, property]) => {
    const [red, green, blue] = getComputedStyle(element)[property].match(/\\d+/g).map(Number);
    return 0.3 * red + 0.6 * green + 0.1 * blue;
}"""


@pytest.fixture(scope="module", params=NOTEBOOKS)
def page(request: pytest.FixtureRequest, our_pages: str, browser: Browser) -> Iterator[Page]:
    """One visit to a page, all of whose charts are drawn."""
    with watched(browser) as open_page:
        opened = open_page(viewport=DESK)
        opened.goto(f"{our_pages}voila/render/{request.param}.ipynb", timeout=120_000)
        drawn(opened)
        yield opened


def drawn(page: Page) -> None:
    page.locator(".app-chart svg").first.wait_for(timeout=120_000)
    page.wait_for_function("() => [...document.querySelectorAll('.app-chart')].every(one => one.querySelector('svg'))")


def axe(page: Page) -> list[str]:
    result = Axe().run(page).response["violations"]
    return [f"{item['id']}: {node['target']} {node['failureSummary']}" for item in result
            if item["impact"] in ("serious", "critical") for node in item["nodes"]]


def changed(control: Locator) -> bool:
    """Whether an arrow key, or for a box the space bar, changes the control; a list of one entry cannot."""
    before = control.evaluate(VALUE)
    control.focus()
    if control.evaluate("element => element.tagName === 'SELECT' && element.options.length === 1"):
        return True
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "Space"):
        control.press(key)
        if control.evaluate(VALUE) != before:
            return True
    return False


def test_axe_finds_nothing_serious_in_the_light(page):
    assert not axe(page)


def test_the_keyboard_alone_reaches_every_control(page):
    expected, reached = page.evaluate(NAMES), set()
    assert expected
    for _ in range(len(expected) + 80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(FOCUSED))
    assert [name for place, name in enumerate(expected) if place not in reached] == []


def test_the_keyboard_alone_changes_every_control(page):
    controls = page.locator(CONTROL)
    assert controls.count() > 2
    for place in range(controls.count()):
        control = controls.nth(place)
        if control.is_visible():
            assert changed(control), control.evaluate("element => element.outerHTML")


def test_a_phone_needs_no_sideways_scrolling(page):
    page.set_viewport_size(PHONE)
    drawn(page)
    expect(page.locator(".app-chart svg").first).to_be_visible()
    page.wait_for_function("() => [...document.querySelectorAll('.app-chart svg')].every(svg => "
                           "!svg.checkVisibility() || svg.getBoundingClientRect().right <= innerWidth)")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.set_viewport_size(DESK)


def test_the_dark_is_dark_and_as_clear(page):
    page.emulate_media(color_scheme="dark")
    drawn(page)
    label = page.locator(".app-chart svg text").first
    page.wait_for_function(f"() => ({BRIGHTNESS})([document.querySelector('.app-chart svg text'), 'fill']) > 128")
    assert label.evaluate(f"text => ({BRIGHTNESS})([document.body, 'backgroundColor'])") < 64
    assert not axe(page)

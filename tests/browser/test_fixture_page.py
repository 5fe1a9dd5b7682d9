"""What every page relies on, seen in a browser on the fixture notebook, in both frontends."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from watching import cancel, run_in_lab, watched

CHARTS = ".app-chart svg"
ALL_DRAWN = """count => {
    const charts = [...document.querySelectorAll('.app-chart svg')];
    return charts.length === count && charts.every(svg => {
        const box = svg.getBoundingClientRect();
        return box.width > 200 && box.height > 100 && svg.querySelectorAll('path').length > 5;
    });
}"""


ANSWER_MS = """(panel, [key, wanted]) => new Promise(done => {
    const since = performance.now();
    new MutationObserver((_changes, observer) => {
        if (!panel.textContent.includes(wanted)) return;
        observer.disconnect();
        done(performance.now() - since);
    }).observe(panel, {subtree: true, childList: true, characterData: true});
    const handle = panel.querySelector(".noUi-handle");
    handle.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
})"""


# A test that looks now and then would miss what is said for a moment.
COLLECT_SAID = """panel => {
    window.said = [];
    new MutationObserver(() => {
        const now = panel.querySelector(".app-status")?.textContent ?? "";
        if (now !== window.said.at(-1)) window.said.push(now);
    }).observe(panel, {subtree: true, childList: true, characterData: true});
}"""


def wait_for_charts(page: Page, count: int = 3) -> None:
    page.wait_for_function(ALL_DRAWN, arg=count)


@pytest.fixture
def voila_page(voila: str, open_page: Callable[..., Page]) -> Page:
    page = open_page()
    page.goto(f"{voila}voila/render/fixture.ipynb")
    wait_for_charts(page)
    return page


@pytest.fixture(scope="module", params=["voila", "lab"])
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """One visit in each frontend: the tests begin where the ones before have left it."""
    with watched(browser) as open_page:
        page = open_page(viewport={"width": 1280, "height": 6000})  # JupyterLab only renders the cells in view
        if request.param == "voila":
            page.goto(f"{request.getfixturevalue('voila')}voila/render/fixture.ipynb")
        else:
            run_in_lab(page, f"{request.getfixturevalue('lab')}fixture.ipynb")
        wait_for_charts(page)
        yield page


def panel_of(page: Page):
    return page.locator(".app-panel", has_text="Measure on this machine")


def explore_of(page: Page):
    return page.locator(".app-panel", has=page.locator(".widget-dropdown", has_text="Steps"))


def provenances(page: Page) -> list[str]:
    return panel_of(page).locator("tbody td:last-child").evaluate_all("cells => cells.map(c => c.firstChild.data)")


def move_slider(page: Page, name: str, key: str) -> None:
    slider = page.locator(".widget-slider", has_text=name).locator(".noUi-handle")
    slider.focus()
    slider.press(key)


def test_all_charts_are_drawn_and_described(page):
    wait_for_charts(page)
    said = page.locator(".app-chart > [role=graphics-document]").first
    expect(said).to_have_attribute("aria-label", re.compile("dynamic int8 costs 2.1x less"))
    page.set_viewport_size({"width": 1000, "height": 6000})
    wait_for_charts(page)


def test_a_control_changes_the_explored_chart(page):
    explore = explore_of(page)
    expect(explore).to_contain_text("2.07 after 4 steps")
    before = explore.locator(CHARTS).inner_html()
    move_slider(page, "Base", "ArrowRight")
    expect(explore).to_contain_text("2.86 after 4 steps")
    assert explore.locator(CHARTS).inner_html() != before
    expect(explore.locator(CHARTS)).to_have_count(1)


def test_a_run_replaces_recorded_marks_by_measured_ones_that_can_be_saved(page):
    panel = panel_of(page)
    assert provenances(page) == ["recorded"] * 4 + ["simulated"]
    panel.evaluate(COLLECT_SAID)
    button = panel.get_by_role("button", name="Measure on this machine")
    button.click()
    expect(button).to_be_disabled()
    expect(panel.locator(".app-status")).to_contain_text("Measured on this machine just now", timeout=30_000)
    expect(button).to_be_enabled()
    said = " | ".join(page.evaluate("window.said"))
    assert re.search(r"waiting: 1 run ahead.*\d+%: timing MiniLM fp32.*\d+%: timing 2-layer student", said), said
    assert provenances(page) == ["measured"] * 4 + ["simulated"]
    filled = panel.locator(f"{CHARTS} path[aria-roledescription=point]").evaluate_all(
        "marks => marks.filter(mark => mark.getAttribute('fill') !== 'transparent').length")
    assert filled == 4
    for name, start in (("CSV", "task,reference,measured_at,model"), ("JSON", "[\n {\n")):
        with page.expect_download() as saving:
            panel.get_by_role("button", name=f"Download {name}").click()
        assert saving.value.suggested_filename == f"fixture.{name.lower()}"
        saved = saving.value.path().read_text()
        assert saved.startswith(start)
        assert saved.count("measured") > 4


def test_cancel_takes_less_than_a_second(page):
    panel = panel_of(page)
    move_slider(page, "Seconds", "End")
    panel.get_by_role("button", name="Measure on this machine").click()
    expect(panel.locator(".app-status")).to_contain_text("timing", timeout=20_000)
    assert cancel(panel) < 1
    expect(panel.get_by_role("button", name="Measure on this machine")).to_be_enabled()


def test_lesson_cells_are_not_on_the_page(voila_page):
    assert "LESSON ONLY" not in voila_page.content()
    assert voila_page.locator("main").locator(CHARTS).count() == 3


@pytest.fixture(scope="module", params=["light", "dark"])
def phone(request: pytest.FixtureRequest, voila: str, browser: Browser) -> Iterator[tuple[Page, str]]:
    """A visit on a phone, and its colour scheme."""
    with watched(browser) as open_page:
        page = open_page(viewport={"width": 390, "height": 844}, color_scheme=request.param)
        page.goto(f"{voila}voila/render/fixture.ipynb")
        wait_for_charts(page)
        yield page, request.param


def test_a_phone_needs_no_sideways_scrolling(phone):
    page, _ = phone
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for index in range(3):
        assert page.locator(CHARTS).nth(index).evaluate("svg => svg.getBoundingClientRect().right <= innerWidth")


def test_chart_and_page_share_the_theme(phone):
    page, scheme = phone
    dark, chart = scheme == "dark", page.locator(CHARTS).first
    light = """element => {
        const [red, green, blue] = element.match(/\\d+/g).map(Number);
        return 0.3 * red + 0.6 * green + 0.1 * blue > 128;
    }"""
    page_colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    label_colour = chart.locator("text").first.evaluate("text => getComputedStyle(text).fill")
    assert page.evaluate(light, page_colour) != dark
    assert page.evaluate(light, label_colour) == dark
    assert chart.evaluate("svg => getComputedStyle(svg).backgroundColor") == page_colour


# Turns the page dark while its first chart is being drawn in light colours.
DARK_MEANWHILE = """new MutationObserver((_, watch) => {
    if (!document.querySelector(".app-chart svg")) return;
    watch.disconnect();
    document.body.dataset.jpThemeLight = "false";
}).observe(document, {childList: true, subtree: true})"""
IS_LIGHT = """([element, property]) => {
    const [red, green, blue] = getComputedStyle(document.querySelector(element))[property].match(/\\d+/g).map(Number);
    return 0.3 * red + 0.6 * green + 0.1 * blue > 128;
}"""


def test_a_chart_follows_the_theme_that_changes_while_it_is_drawn(voila, open_page):
    page = open_page(color_scheme="light")
    page.add_init_script(DARK_MEANWHILE)
    page.goto(f"{voila}voila/render/fixture.ipynb")
    page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
    page.wait_for_function(IS_LIGHT, arg=[".app-chart svg text", "fill"])
    assert page.evaluate(IS_LIGHT, [".app-chart svg text", "fill"]), "drawn anew, in the dark's light letters"


def test_settings_survive_a_reload(voila_page):
    move_slider(voila_page, "Base", "ArrowRight")
    expect(explore_of(voila_page)).to_contain_text("2.86 after 4 steps")
    expect(voila_page).to_have_url(re.compile(r"base=1\.3"))
    voila_page.reload()
    expect(explore_of(voila_page)).to_contain_text("2.86 after 4 steps")


def test_settings_out_of_bounds_are_ignored(voila, open_page):
    page = open_page()
    page.goto(f"{voila}voila/render/fixture.ipynb?base=99&steps=7&fixture.rows=nan&theme=%3Cscript%3E&template=x")
    wait_for_charts(page)
    expect(explore_of(page)).to_contain_text("2.07 after 4 steps")


def test_the_landing_page_leads_to_the_notebook(voila, open_page):
    page = open_page()
    page.goto(voila)
    expect(page.locator("main")).to_contain_text("A fixture with made-up records")
    page.get_by_role("link", name="What does a smaller model cost?").click()
    wait_for_charts(page)


def test_a_session_that_has_ended_says_so(voila, open_page):
    page = open_page(allowed="WebSocket|404|Kernel|kernel")
    page.goto(f"{voila}voila/render/fixture.ipynb")
    wait_for_charts(page)
    banner = page.locator(".app-ended").first
    expect(banner).to_be_hidden()
    page.evaluate("""() => {
        const {baseUrl, kernelId} = JSON.parse(document.getElementById("jupyter-config-data").textContent);
        const form = new FormData();
        form.append("_xsrf", document.cookie.match(/_xsrf=([^;]*)/)[1]);
        return fetch(`${baseUrl}voila/api/shutdown/${kernelId}`, {method: "POST", body: form});
    }""")
    expect(banner).to_contain_text("Session ended", timeout=15_000)
    expect(banner).to_be_visible(timeout=15_000)


def test_a_slider_answers_within_150_ms(voila_page):
    explore = explore_of(voila_page)
    move_slider(voila_page, "Base", "Home")
    expect(explore).to_contain_text("1.00 after 4 steps")
    times = []
    for key, steps in (("ArrowRight", range(1, 11)), ("ArrowLeft", range(9, -1, -1))):
        for step in steps:
            times.append(explore.evaluate(ANSWER_MS, [key, f"{(1 + step / 10) ** 4:.2f} after 4 steps"]))
    assert sorted(times)[18] < 150, times

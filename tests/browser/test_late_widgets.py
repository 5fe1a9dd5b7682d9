"""A kernel that answers late, or not at all: what it sends is shown when it comes, and what is missing is told."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from servers import ROOT
from test_fixture_page import CHARTS, explore_of, move_slider, panel_of, wait_for_charts

CHART_JS = ROOT / "helpers/app/static/chart.js"

# What the kernel says comes as late as from a busy machine, or never at the page's first opening.
LATE = """
window.WebSocket = class extends WebSocket {
    set onmessage(handler) {
        const until = performance.now() + %d;
        super.onmessage = event => setTimeout(() => handler(event), Math.max(0, until - performance.now()));
    }
};
"""
# A line on which every message takes as long, one after another.
SLOW = """
window.WebSocket = class extends WebSocket {
    set onmessage(handler) {
        let free = performance.now();
        super.onmessage = event => {
            free = Math.max(free, performance.now()) + %d;
            setTimeout(() => handler(event), free - performance.now());
        };
    }
};
"""
SILENT_AT_FIRST = """
if (!sessionStorage.getItem("opened")) {
    sessionStorage.setItem("opened", "once");
    window.WebSocket = class extends WebSocket {
        set onmessage(handler) {}
    };
}
"""
# By an hour, two seconds after the page began.
SET_BACK = """
{
    const clock = Date.now, began = clock();
    Date.now = () => clock() - (clock() - began > 2_000 ? 3_600_000 : 0);
}
"""
# What draws the charts is there after three seconds, as in a browser that has much else to do.
SLOW_TO_LOAD = """
const made = URL.createObjectURL;
URL.createObjectURL = blob => {
    const url = made.call(URL, blob);
    if (blob.size !== %d) return url;
    const late = `await new Promise(done => setTimeout(done, 3_000)); export {default} from "${url}";`;
    return made.call(URL, new Blob([late], {type: "text/javascript"}));
};
"""
# A page that is busy whenever ipywidgets wants to look for a model again, which it does after 100 ms, for 2 s.
BUSY = """
{
    const after = setTimeout;
    window.setTimeout = (work, ms, ...rest) => after(work, ms === 100 ? 2_500 : ms, ...rest);
}
"""
ALLOWED = "WebSocket|Kernel|kernel"


@pytest.fixture
def opened(voila: str, open_page: Callable[..., Page]) -> Callable[..., Page]:
    """opened(script) -> the fixture's page, with the script run before all others."""
    def opening(script: str) -> Page:
        page = open_page(allowed=ALLOWED)
        page.add_init_script(script)
        page.goto(f"{voila}voila/render/fixture.ipynb")
        return page

    return opening


@pytest.mark.parametrize("late_ms", [3_000, 6_000, 12_000, 18_000])
def test_widgets_that_come_late_are_shown(opened, late_ms):
    """ipywidgets waits 4 s for all of them at once, and here 15; then for each of them."""
    page = opened(LATE % late_ms)
    wait_for_charts(page)
    expect(explore_of(page)).to_contain_text("2.07 after 4 steps")
    expect(panel_of(page).locator(".widget-readout").first).to_have_text("200")
    expect(page.locator("main")).not_to_contain_text("Error displaying widget")
    expect(page.locator("main")).not_to_contain_text("Loading widget")
    expect(page.locator(".brand-late")).to_have_count(0)


def test_widgets_come_over_a_slow_line(opened):
    """Asking for each by itself, as ipywidgets does after 4 s, takes messages for each of them."""
    page = opened(SLOW % 600)
    wait_for_charts(page)
    expect(page.locator("main")).not_to_contain_text("Error displaying widget")


def test_widgets_are_found_however_busy_the_page_was_meanwhile(opened):
    """A look that comes too late is a look all the same: nothing is told as missing that is there."""
    page = opened(LATE % 1_000 + BUSY)
    wait_for_charts(page)
    page.wait_for_timeout(5_000)  # until ipywidgets has given its verdict, too
    wait_for_charts(page)
    expect(page.locator("main")).not_to_contain_text("Error displaying widget")


def test_late_widgets_are_asked_for_again_where_the_visitors_clock_is_set_back(opened):
    page = opened(LATE % 6_000 + SET_BACK)
    wait_for_charts(page)
    expect(page.locator("main")).not_to_contain_text("Error displaying widget")


def test_charts_that_take_long_to_load_follow_their_controls(opened):
    """anywidget gives a model up that is not ready after 2 s: it then stands still whatever is set."""
    page = opened(SLOW_TO_LOAD % CHART_JS.stat().st_size)
    wait_for_charts(page)
    drawn = explore_of(page).locator(CHARTS)
    before = drawn.inner_html()
    move_slider(page, "Base", "ArrowRight")
    expect(explore_of(page)).to_contain_text("2.86 after 4 steps")
    page.wait_for_function("([chart, before]) => chart.innerHTML !== before",
                           arg=[drawn.element_handle(), before])


@pytest.mark.slow
def test_a_page_whose_widgets_stay_away_says_so_and_comes_whole_after_a_reload(opened):
    page = opened(SILENT_AT_FIRST)
    banner = page.locator(".brand-late")
    expect(banner).to_contain_text("A part of this page has not arrived", timeout=60_000)
    expect(banner).to_have_attribute("role", "alert")
    banner.get_by_role("button", name="Reload").click()
    wait_for_charts(page)
    expect(banner).to_have_count(0)


def test_a_place_that_gave_up_is_drawn_once_its_model_is_there(opened):
    page = opened("")
    wait_for_charts(page)
    place = page.locator(".jp-OutputArea-output", has=page.locator(CHARTS)).first
    place.evaluate("node => { node.textContent = 'Error displaying widget: model not found'; }")
    wait_for_charts(page)
    expect(page.locator("main")).not_to_contain_text("Error displaying widget")

"""How fast the pages open and answer, and what they load, in a real browser.

python -m benchmarks.page [--quick] [--json FILE]
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import numpy as np
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from benchmarks.common import Row, arguments, at_most, finish, p95, shown
from helpers import doctor
from helpers.lab.measuring.intervals import bootstrap_interval

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "1_model_optimization.ipynb"
CLOUD = NOTEBOOK.with_name("5_cloud_distributed.ipynb")
# What was to be shown, set beforehand.
OPEN_S, COLD_S = 2.0, 4.0  # before a visitor leaves; once a day one may wait longer
REDRAW_MS, COMPUTE_MS = 50, 150  # a slider that follows the hand; one that seems to
CANCEL_S = 1.0
CHART = ".app-panel .app-chart svg"
CELLS = ["""
import time
import altair as alt
import numpy as np
from ipywidgets import FloatSlider
from helpers import app

def draw(result):
    load, waits = result
    counts, edges = np.histogram(waits, 40)
    rows = [{"wait": float(edge), "requests": int(count)} for edge, count in zip(edges, counts)]
    return alt.Chart(alt.Data(values=rows)).mark_line().encode(x="wait:Q", y="requests:Q").properties(
        width="container", height=240, title=f"load {load:.2f}")
""", """
def queue(load):
    chance = np.random.default_rng(0)  # Lindley: a wait is the walk of work less time above its lowest point
    walk = np.cumsum(chance.exponential(load, 200_000) - chance.exponential(1.0, 200_000))
    return load, walk - np.minimum.accumulate(np.minimum(walk, 0))

app.Explore(queue, {"load": FloatSlider(value=0.5, min=0.5, max=0.99, step=0.01, description="Load")}, draw)
""", """
def endless(report):
    report(0.0, "counting")
    time.sleep(600)

app.Panel(endless, {}, [])
"""]
# One key press on the slider, until the chart shows that it is drawn again.
ANSWER_MS = """([key, wanted]) => new Promise(done => {
    const since = performance.now();
    const panel = document.querySelector(".app-panel:has(.app-chart)");
    new MutationObserver((_changes, observer) => {
        if (!panel.querySelector(".app-chart svg")?.textContent.includes(wanted)) return;
        observer.disconnect();
        done(performance.now() - since);
    }).observe(panel, {subtree: true, childList: true, characterData: true});
    panel.querySelector(".noUi-handle").dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
})"""
# A choice in the first panel, until the last of its charts is drawn again; half a second without another ends the look.
CHOICE_MS = """([label, value]) => new Promise(done => {
    const panel = document.querySelector(".app-panel:has(.app-chart)");
    const box = [...panel.querySelectorAll(".widget-dropdown")].find(one => one.textContent.startsWith(label));
    const select = box.querySelector("select");
    let last = null, timer;
    const since = performance.now();
    const observer = new MutationObserver(() => {
        last = performance.now() - since;
        clearTimeout(timer);
        timer = setTimeout(() => { observer.disconnect(); done(last); }, 500);
    });
    for (const chart of panel.querySelectorAll(".app-chart")) observer.observe(chart, {childList: true});
    select.value = value;
    if (select.value !== value) throw new Error(`${label} has no ${value}`);  // nothing would ever be drawn again
    select.dispatchEvent(new Event("change", {bubbles: true}));
})"""
# Playwright looks less and less often, at last once a second: the page itself knows when it said so.
CANCEL_MS = """panel => new Promise(done => {
    const since = performance.now();
    new MutationObserver((_changes, observer) => {
        if (!panel.textContent.includes("Cancelled")) return;
        observer.disconnect();
        done(performance.now() - since);
    }).observe(panel, {subtree: true, childList: true, characterData: true});
    [...panel.querySelectorAll("button")].find(button => button.textContent === "Cancel").click();
})"""


@contextlib.contextmanager
def serving(*module_and_options: str, **environment: str) -> Iterator[str]:
    """A Voila or JupyterLab of this project on a free port; its address. `environment`: beside this process's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    server = subprocess.Popen([sys.executable, "-m", *module_and_options, f"--port={port}", "--no-browser"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | environment)
    try:
        _wait_for(address)
        yield address
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser that is installed, else Playwright's."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=doctor.chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


class Traffic:
    """Traffic of a page: bytes that came, other hosts that were asked, errors in the console."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.bytes, self.elsewhere, self.errors = 0, 0, 0
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.loadingFinished", lambda event: self._add(event["encodedDataLength"]))
        session.on("Network.webSocketFrameReceived", lambda event: self._add(len(event["response"]["payloadData"])))
        page.on("request", self._see)
        page.on("console", lambda message: self._count_error(message.type == "error"))

    def _add(self, size: float) -> None:
        self.bytes += size

    def _see(self, request: object) -> None:
        self.elsewhere += urlsplit(request.url).hostname not in ("127.0.0.1", None)

    def _count_error(self, error: bool) -> None:
        self.errors += error


def opening_s(browser: Browser, address: str, times: int, rest_s: float) -> tuple[list[float], list[float], Traffic]:
    """Seconds from asking for the page to its chart, and what it loaded.

    The first list is of browsers that have nothing cached, the second of the same browsers once more.
    """
    first, again = [], []
    for _ in range(times):
        with contextlib.closing(browser.new_context()) as context:
            page = context.new_page()
            traffic = Traffic(context, page)
            first.append(_open_s(page, address, rest_s))
            page.wait_for_timeout(1_000)  # what comes later counts as loaded too
            loaded = traffic.bytes
            page.goto("about:blank")  # leaving ends the kernel
            again.append(_open_s(page, address, rest_s))
            traffic.bytes = loaded
            page.goto("about:blank")
    return first, again, traffic


def _open_s(page: Page, address: str, rest_s: float) -> float:
    time.sleep(rest_s)  # the next kernel is being prepared, or the last one is ending
    began = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_selector(CHART, timeout=60_000)
    return time.perf_counter() - began


def answers_ms(page: Page, steps: int) -> tuple[list[float], list[float]]:
    """Milliseconds from a key press to the chart: with a new simulation each, and on the way back."""
    slider = page.locator(".app-panel .noUi-handle").first
    slider.focus()
    fresh = [page.evaluate(ANSWER_MS, ["ArrowRight", f"load {0.5 + step / 100:.2f}"]) for step in range(1, steps + 1)]
    back = [page.evaluate(ANSWER_MS, ["ArrowLeft", f"load {0.5 + step / 100:.2f}"])
            for step in range(steps - 1, -1, -1)]
    return fresh, back


def simulated_hour_row(browser: Browser) -> Row:
    """Notebook 5's panel under each policy: an hour of traffic, simulated four times for the interval."""
    with serving("helpers.app.server", "--pool=0") as address:
        page = browser.new_page()
        page.goto(f"{address}voila/render/{CLOUD.name}")
        page.wait_for_selector(CHART, timeout=60_000)
        page.wait_for_timeout(2_000)
        panel = page.locator(".app-panel:has(.app-chart)").first
        policies = panel.get_by_label("Scaling policy", exact=True).locator("option").evaluate_all(
            "options => options.map(option => option.value)")  # their text has spaces that do not break
        waits = [page.evaluate(CHOICE_MS, ["Scaling policy", policy]) for policy in policies[1:]]
        page.close()
    return within("control to charts, an hour of traffic simulated four times, p95", p95(waits), COMPUTE_MS, "ms")


def cancel_ms(page: Page) -> float:
    """Milliseconds from Cancel to the page saying so, in the middle of a step that looks at nothing."""
    panel = page.locator(".app-panel", has_text="Cancel")
    panel.get_by_role("button", name="Measure on this machine").click()
    panel.get_by_text("counting").wait_for()
    return panel.evaluate(CANCEL_MS)


def within(name: str, measured: tuple[float, float, float], target: float, unit: str) -> Row:
    """A figure with its interval that should be `target` or less."""
    return at_most(name, measured[0], target, unit, *measured[1:])


def opened_rows(browser: Browser, times: int) -> list[Row]:
    """Notebook 1's page, from a kernel that waits and from none."""
    path = f"voila/render/{NOTEBOOK.name}"
    rows = []
    for pool, name, target in ((1, "chart on screen, kernel preheated", OPEN_S), (0, "chart on screen, cold", COLD_S)):
        with serving("helpers.app.server", f"--pool={pool}") as address:
            first, again, traffic = opening_s(browser, address + path, times, rest_s=12.0 if pool else 2.0)
        rows += [within(f"{name}, first visit, median", bootstrap_interval(np.median, first), target, "s"),
                 within(f"{name}, next visit, median", bootstrap_interval(np.median, again), target, "s")]
    return [*rows, shown("loaded by a first visit", traffic.bytes / 1e6, "MB"),
            at_most("requests to other hosts", traffic.elsewhere, 0, ""),
            at_most("errors in the console", traffic.errors, 0, "")]


def answered_rows(browser: Browser, steps: int) -> list[Row]:
    """A page with a simulation and a computation to cancel, in both frontends."""
    with tempfile.TemporaryDirectory() as folder:
        cells = [nbformat.v4.new_code_cell(source.strip()) for source in CELLS]
        spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), Path(folder) / "answers.ipynb")
        with serving("helpers.app.server", "--pool=0", f"--notebooks={folder}") as address:
            page = browser.new_page()
            page.goto(f"{address}voila/render/answers.ipynb")
            page.wait_for_selector(CHART)
            fresh, back = answers_ms(page, steps)
            in_voila = cancel_ms(page)
            page.close()
        with serving("jupyterlab", f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=", "--allow-root",
                     "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None") as address:
            in_lab = _in_lab(browser, f"{address}lab/tree/answers.ipynb", cancel_ms)
    return [within("control to chart, nothing recomputed, p95", p95(back), REDRAW_MS, "ms"),
            within("control to chart, a queue of 200,000 requests simulated, p95", p95(fresh), COMPUTE_MS, "ms"),
            at_most("cancel in Voila", in_voila / 1000, CANCEL_S, "s"),
            at_most("cancel in JupyterLab", in_lab / 1000, CANCEL_S, "s")]


def _in_lab(browser: Browser, address: str, look: Callable[[Page], float]) -> float:
    page = browser.new_page(viewport={"width": 1280, "height": 3000})  # JupyterLab only renders the cells in view
    page.goto(address)
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel"
                           "?.connectionStatus === 'connected'", timeout=60_000)
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_selector(CHART, timeout=60_000)
    result = look(page)
    page.close()
    return result


def _wait_for(address: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address)
            return
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.3)
    raise TimeoutError(f"{address} did not answer within {seconds:.0f} s")


def main() -> None:
    """Open, move, cancel, print."""
    options = arguments(__doc__)
    with chromium() as browser:
        rows = [*opened_rows(browser, 3 if options.quick else 7), *answered_rows(browser, 15 if options.quick else 40),
                simulated_hour_row(browser)]
    finish(rows, options.json)


if __name__ == "__main__":
    main()

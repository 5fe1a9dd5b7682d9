"""Pages that are watched: a request to another host, or a console error, fails the test. And notebooks that are run."""

import contextlib
import re
from collections.abc import Callable, Iterator

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Route

from benchmarks.page import CANCEL_MS

LOCAL = re.compile(r"^(https?|ws)://127\.0\.0\.1[:/]|^(data|blob|about):")


@contextlib.contextmanager
def watched(browser: Browser) -> Iterator[Callable[..., Page]]:
    """What `open_page` gives, for as long as the block lasts."""
    wrong: list[str] = []
    with contextlib.ExitStack() as stack:
        def opened(allowed: str = "(?!)", **options: object) -> Page:
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
            stack.callback(context.close)
            page = context.new_page()
            context.route("**/*", lambda route: _only_local(route, wrong))
            page.on("console", lambda message: _note(message, wrong, allowed))
            page.on("pageerror", lambda error: wrong.append(f"uncaught: {error}"))
            page.set_default_timeout(60_000)
            return page

        yield opened
    assert wrong == []


def run_in_lab(page: Page, address: str) -> None:
    """Open a notebook in JupyterLab and run all its cells."""
    page.goto(address)
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel"
                           "?.connectionStatus === 'connected'")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")


def cancel(panel: Locator) -> float:
    """Cancel a panel's run; the seconds until the panel says that it is cancelled."""
    return panel.evaluate(CANCEL_MS) / 1000


def _only_local(route: Route, wrong: list[str]) -> None:
    if LOCAL.match(route.request.url):
        route.continue_()
    else:
        wrong.append(f"asked {route.request.url}")
        route.abort()


def _note(message: ConsoleMessage, wrong: list[str], allowed: str) -> None:
    if message.type == "error" and not re.search(allowed, message.text):
        wrong.append(f"console: {message.text} ({message.location.get('url', '')})")

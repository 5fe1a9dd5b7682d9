"""What strangers, mistakes and accidents may do to a page: little, and the page says so."""

import contextlib
import os
import re
import signal
import stat
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect
from servers import ROOT, free_port, serving
from test_fixture_page import explore_of, panel_of, wait_for_charts
from watching import watched

from helpers.app.server.frames import PROTOCOL

NOTEBOOK = ROOT / "notebooks" / "1_model_optimization.ipynb"
MARKUP = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
ODD = {
    "markup": {"base": MARKUP, "fixture.rows": MARKUP, "steps": MARKUP, "theme": MARKUP, "template": MARKUP},
    "long": {"base": "1" * 10_000, "steps": "x" * 10_000, "theme": "x" * 10_000},
    "wrong types": {"base": "true", "steps": "[10]", "fixture.rows": "3.5", "fixture.seconds": "nan"},
    "out of bounds": {"base": "1e308", "steps": "-1", "fixture.rows": "9" * 20, "fixture.seconds": "-inf"},
    "strange keys": {"__proto__": "x", "constructor": "x", "fixture.__class__": "x", "": "x", "template": "../../etc"},
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_address_changes_nothing_and_runs_nothing(voila, open_page, kind):
    page = open_page()
    page.goto(f"{voila}voila/render/fixture.ipynb?{urllib.parse.urlencode(ODD[kind])}")
    wait_for_charts(page)
    expect(explore_of(page)).to_contain_text("2.07 after 4 steps")
    expect(panel_of(page).locator(".widget-readout").first).to_have_text("200")
    assert page.evaluate("window.hacked") is None
    assert "onerror=window" not in page.content()


def kernel_process(page: Page) -> psutil.Process:
    kernel = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            listens = [line.laddr for line in process.net_connections("unix")]  # a forked one has no arguments
            if any(kernel in name for name in (*process.cmdline(), *listens)):
                return process
    raise AssertionError(f"no process of kernel {kernel}")


def test_a_killed_kernel_is_told_within_ten_seconds(voila, open_page):
    page = open_page(allowed="WebSocket|Kernel|kernel")
    page.goto(f"{voila}voila/render/fixture.ipynb")
    wait_for_charts(page)
    expect(page.locator(".app-ended").first).to_be_hidden()
    os.kill(kernel_process(page).pid, signal.SIGKILL)
    expect(page.locator(".app-ended:visible")).to_contain_text("Session ended", timeout=10_000)
    expect(page.locator(".app-ended:visible")).to_have_count(1)


def test_the_kernel_of_a_vanished_browser_is_ended(start_voila, notebooks, browser):
    """A new kernel has 30 s of grace; the browser's last words, which would end it at once, are held back."""
    address = start_voila(notebooks, "--pool", "0", "--idle", "5")
    context = browser.new_context()
    context.route("**/api/shutdown/**", lambda route: route.abort())
    page = context.new_page()
    page.goto(f"{address}voila/render/fixture.ipynb")
    wait_for_charts(page)
    process = kernel_process(page)
    context.close()
    assert process.is_running()
    process.wait(60)


@pytest.mark.skipif(sys.platform == "win32", reason="has no sockets in files")
def test_a_kernel_takes_no_port_that_others_may_take_first(voila, open_page):
    page = open_page()
    page.goto(f"{voila}voila/render/fixture.ipynb")
    wait_for_charts(page)
    sockets = {line.laddr for line in kernel_process(page).net_connections("unix") if "-ipc-" in line.laddr}
    assert len(sockets) == 5, "for shell, output, input, control and heartbeat"
    assert all(stat.S_ISSOCK(os.stat(socket).st_mode) for socket in sockets)


def test_a_page_that_opens_slowly_counts_the_seconds(voila, open_page):
    page, held = open_page(), []
    page.route("**/app/chunks-*.js", lambda route: held.append(route))
    page.goto(f"{voila}voila/render/fixture.ipynb", wait_until="commit")
    expect(page.locator("#loading_seconds")).to_have_text(re.compile("^[23] s$"))
    for route in held:
        route.continue_()
    wait_for_charts(page)
    expect(page.locator("#loading_seconds")).to_be_hidden()


def test_leaving_a_page_ends_its_kernel(voila, open_page):
    page = open_page()
    page.goto(f"{voila}voila/render/fixture.ipynb")
    wait_for_charts(page)
    process = kernel_process(page)
    page.goto(voila)
    process.wait(15)
    assert not process.is_running()


def test_all_links_keep_the_base_url(start_voila, notebooks, open_page):
    address = f"{start_voila(notebooks, '--pool', '0', '--base_url', '/x/')}x/"
    page = open_page(allowed="404")
    page.goto(address)
    hrefs = page.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert len(hrefs) > 5
    assert all(href.startswith(address) for href in hrefs), hrefs
    page.get_by_role("link", name="What does a smaller model cost?").click()
    wait_for_charts(page)
    assert page.url.startswith(address)
    page.goto(f"{address}nothing")
    page.locator("header").get_by_role("link", name="Fixture").click()
    wait_for_charts(page)


@pytest.mark.parametrize(("path", "status", "said"), [
    ("nothing/here", 404, "no such page"), ("voila/render/gone.ipynb", 404, "no such page"),
    ("voila/render/foreign.ipynb", 500, "could not be shown")])
def test_an_error_page_leads_on(voila, open_page, path, status, said):
    page = open_page(allowed="404|500")
    answer = page.goto(voila + path)
    assert answer.status == status
    expect(page.locator("main")).to_contain_text(said)
    assert "Traceback" not in page.content()
    link = page.locator("header").get_by_role("link", name="Fixture")
    expect(link).to_have_attribute("href", re.compile(r"/voila/render/fixture\.ipynb$"))
    if path == "nothing/here":  # one is followed: each opens the page anew
        link.click()
        wait_for_charts(page)


def test_a_cell_that_fails_is_said_without_its_traceback(voila, open_page):
    page = open_page()
    page.goto(f"{voila}voila/render/broken.ipynb")
    expect(page.locator("main")).to_contain_text("could not be computed")
    assert "ZeroDivisionError" not in page.content()


def test_the_doctor_has_a_page(voila, open_page):
    page = open_page()
    page.goto(voila)
    page.get_by_role("link", name=re.compile("Does this machine")).click()
    expect(page.locator(".brand-checks")).to_contain_text("instruction sets")
    assert page.locator(".brand-checks li").count() == 8


SEND = """([frame, protocol]) => new Promise(resolve => {
    const facts = JSON.parse(document.getElementById('jupyter-config-data').textContent);
    const address = `${location.origin.replace('http', 'ws')}/api/kernels/${facts.kernelId}/channels`;
    const socket = new WebSocket(address, protocol);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => socket.send(typeof frame === 'string' ? frame : new Uint8Array(frame));
    socket.onclose = event => resolve([event.code, event.reason]);
})"""


@pytest.fixture(scope="module")
def visit(voila: str, browser: Browser) -> Iterator[Page]:
    """One visit to the fixture's page."""
    with watched(browser) as open_page:
        page = open_page()
        page.goto(f"{voila}voila/render/fixture.ipynb")
        wait_for_charts(page)
        yield page


@pytest.mark.parametrize(("frame", "protocol", "said"), [
    ([255] * 8, [PROTOCOL], "its count of offsets is 18446744073709551615"),
    (list(b"garbage that is no frame"), [PROTOCOL], "its count of offsets is "),
    ('{"channel": "shell", "header": {}}', [PROTOCOL], "it is text"),
    ("{}", [], "the protocol is not"), ([127, 255, 255, 255, 0], [], "the protocol is not")])
def test_a_frame_that_no_page_sends_ends_its_own_line_alone(voila, visit, frame, protocol, said):
    """Eight bytes kept the one thread that serves everybody, for ever."""
    code, reason = visit.evaluate(SEND, [frame, protocol])
    assert (code, reason[:len(said)]) == (1008, said)
    with urllib.request.urlopen(voila, timeout=5) as answer:
        assert answer.status == 200
    for key, answer in (("Home", "1.00 after 4 steps"), ("ArrowRight", "1.46 after 4 steps")):
        explore_of(visit).get_by_role("slider").first.press(key)
        expect(explore_of(visit)).to_contain_text(answer)


def ask(address: str, host: str) -> tuple[int, str]:
    request = urllib.request.Request(address, headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_strangers_name_for_this_machine_is_not_answered(start_voila, notebooks):
    """A page of evil.example whose address is changed to 127.0.0.1 would read what is served here."""
    address = start_voila(notebooks, "--pool", "0", "--host", "apps.example.org")
    port = address.rsplit(":", 1)[1].strip("/")
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "apps.example.org"):
        assert ask(address, host)[0] == 200, host
    for host in ("evil.example", f"evil.example:{port}", "192.168.0.1", "apps.example.org.evil.example", "",
                 "127.0.0.1.evil.example", "evil.example#127.0.0.1", "0x7f.1", "localhost@evil.example"):
        for path in ("", "doctor", "voila/render/fixture.ipynb"):
            status, text = ask(address + path, host)
            assert status in (400, 403), (host, path)
            assert "kernelId" not in text


def test_a_page_allows_only_what_this_server_serves(voila):
    for path in ("", "voila/render/fixture.ipynb", "doctor"):
        with urllib.request.urlopen(voila + path, timeout=60) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert {"default-src 'self'", "object-src 'none'", "frame-ancestors 'self'"} <= set(policy.split("; "))
            assert "http" not in policy
            assert answer.headers["Referrer-Policy"] == "same-origin"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.fixture
def plain_voila(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], contextlib.AbstractContextManager]:
    """Voila started by hand, with the configuration file that an installation puts beside Jupyter's."""
    @contextlib.contextmanager
    def started(what: str):
        port, home = free_port(), tmp_path_factory.mktemp("home")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JUPYTER_CONFIG_PATH", str(ROOT / "helpers" / "app" / "etc"))
            with serving(["-m", "voila", what, "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"], home / "log",
                         port, home):
                yield f"http://127.0.0.1:{port}/"

    return started


def test_plain_voila_shows_a_notebook_as_a_page(plain_voila, open_page):
    with plain_voila(str(NOTEBOOK)) as address:
        page = open_page()
        page.goto(address)
        page.locator(".app-panel .app-chart svg").wait_for()
        expect(page.locator("header")).to_contain_text("Compute smarter")
        assert "The experiment" not in page.locator("main").inner_text()
        page.close()


def test_plain_voila_lists_a_folder(plain_voila, notebooks, open_page):
    with plain_voila(str(notebooks)) as address:
        page = open_page()
        page.goto(address)
        page.get_by_role("link", name="What does a smaller model cost?").click()
        wait_for_charts(page)
        assert "LESSON ONLY" not in page.content()
        page.close()


def test_what_is_not_a_picture_is_not_handed_out(voila):
    for path in ("voila/files/fixture.ipynb", "voila/files/../log"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(voila + path)
        assert refused.value.code in (403, 404)

"""What is served: scripts under addresses that follow their content, and pages to as many visitors as there is room."""

import asyncio
import contextlib
import gzip
import http.client
import http.cookiejar
import json
import re
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from app_helpers import commands_of, wait_until
from servers import free_port, serving

from helpers.app.server.handlers import CHUNKS, SCRIPTS, Script, chunks, one_of, places
from helpers.app.server.kernels.manager import PREFIX

PAGE = "voila/render/small.ipynb"


def test_the_installed_voila_has_every_listed_part():
    """Else the list is another version's: python -m recording.chunks writes it anew."""
    assert [name for name in CHUNKS.read_text().split() if not places(name)] == []


def test_the_file_holds_each_part_once():
    text = gzip.decompress(chunks())
    parts = [places(name)[0].read_bytes() for name in CHUNKS.read_text().split()]
    assert len(parts) > 50
    assert [text.count(part) for part in parts] == [1] * len(parts)


def test_an_address_changes_with_the_content_alone():
    one, same, other = (Script("x", lambda content=content: content) for content in (b"1", b"1", b"2"))
    assert one.address == same.address != other.address
    assert set(SCRIPTS) == {"chunks", "vega"}


class Reader:
    """A browser without scripts: it keeps cookies, and says at which kernel its page ends."""

    def __init__(self, address: str) -> None:
        self._address, self._cookies = address, http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies))
        self.kernel = ""

    def open(self, path: str = PAGE, **headers: str) -> tuple[int, str, dict]:
        """(status, text, headers) of a page."""
        try:
            answer = self._opener.open(urllib.request.Request(self._address + path, headers=headers), timeout=120)
        except urllib.error.HTTPError as refused:
            answer = refused
        text = answer.read().decode()
        if result := re.search(r'"kernelId": "([\w-]+)"', text):
            self.kernel = result[1]
        return answer.status, text, dict(answer.headers)

    def place(self) -> int:
        """In the line."""
        status, text, _ = self.open()
        assert status == 503
        return int(re.search(r"You are number (\d+) in line", text)[1])

    def leave(self) -> None:
        """As a page does when it is closed."""
        xsrf = next(cookie.value for cookie in self._cookies if cookie.name == "_xsrf")
        request = urllib.request.Request(f"{self._address}voila/api/shutdown/{self.kernel}", method="POST", data=b"",
                                         headers={"X-XSRFToken": xsrf})
        assert self._opener.open(request, timeout=60).status == 204


def kernels() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True)
            if "ipykernel" in child.name() + commands_of([child])]


def small_page(folder: Path) -> None:
    """A notebook that leaves a file in its visitor's folder."""
    cells = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# A page"},
             {"cell_type": "code", "id": "b", "metadata": {}, "execution_count": None, "outputs": [],
              "source": "from helpers.lab.paths import session\nsession().joinpath('left').touch()"}]
    spec = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    (folder / "small.ipynb").write_text(json.dumps({"cells": cells, "metadata": spec, "nbformat": 4,
                                                    "nbformat_minor": 5}))


@pytest.fixture
def start(tmp_path):
    """start(*options) -> the address of a server of one small page, with a short name for temporary files."""
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        small_page(tmp_path)

        def started(*options: str) -> tuple[str, Path]:
            port = free_port()
            (temporary / "home").mkdir()
            command = ["-m", "helpers.app.server", "--port", str(port), "--no-browser", "--notebooks", str(tmp_path)]
            stack.enter_context(serving([*command, *options], tmp_path / "log", port, temporary / "home",
                                        temporary))
            return f"http://127.0.0.1:{port}/", temporary

        yield started


def test_pages_are_computed_one_after_another_but_one_that_hangs_holds_up_none_for_ever():
    async def story():
        places, order = asyncio.Semaphore(1), []

        async def page(name: str, work: asyncio.Event | None) -> None:
            async with one_of(places, patience_s=0.2):
                order.append(name)
                if work:
                    await work.wait()

        first = asyncio.Event()
        pages = [asyncio.ensure_future(page("first", first)), asyncio.ensure_future(page("second", None))]
        await asyncio.sleep(0.05)
        assert order == ["first"]
        first.set()
        await asyncio.gather(*pages)
        assert order == ["first", "second"]

        hanging = asyncio.ensure_future(page("hanging", asyncio.Event()))
        await asyncio.sleep(0.05)
        await asyncio.wait_for(page("beside it", None), 5)
        hanging.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await hanging
        await asyncio.wait_for(places.acquire(), 5)  # the place that it held, and no other
        assert places.locked()

    asyncio.run(story())


def left_behind(temporary: Path) -> int:
    """Folders of visitors."""
    return len(list(temporary.glob(f"{PREFIX}*/*/left")))


def test_more_visitors_than_seats_wait_in_line_and_come_in_one_by_one(start):
    address, temporary = start("--visitors", "2", "--pool", "0")
    first, second, third, fourth = (Reader(address) for _ in range(4))
    assert [reader.open()[0] for reader in (first, second)] == [200, 200]
    status, text, headers = third.open()
    assert status == 503
    assert "You are number 1 in line" in text
    assert '<meta http-equiv="refresh" content="5">' in text
    assert (headers["Retry-After"], headers["Cache-Control"]) == ("5", "no-store")
    assert "Content-Security-Policy" in headers
    assert [reader.place() for reader in (third, fourth, fourth, third)] == [1, 2, 2, 1]
    assert (len(kernels()), left_behind(temporary)) == (2, 2)
    first.leave()
    assert fourth.place() == 2, "the seat is the third's"
    assert third.open()[0] == 200
    assert fourth.place() == 1
    assert (len(kernels()), left_behind(temporary)) == (2, 2)
    assert third.open("nothing.ipynb")[0] == 404, "what is not there is said at once"
    assert third.open("")[0] == 200, "the landing page has no kernel"
    second.leave()
    third.leave()
    wait_until(lambda: not kernels())
    assert left_behind(temporary) == 0


def test_a_kernel_that_was_held_ready_counts_for_whoever_gets_it(start):
    address, temporary = start("--visitors", "1", "--pool", "1")
    wait_until(lambda: left_behind(temporary) == 1, 60)
    first, second = Reader(address), Reader(address)
    assert first.open()[0] == 200
    assert second.open()[0] == 503
    assert second.place() == 1
    first.leave()
    assert second.open()[0] == 200
    assert second.kernel != first.kernel
    assert first.place() == 1


def test_a_robot_without_cookies_starts_no_more_kernels_than_there_are_seats(start):
    address, _ = start("--visitors", "2", "--pool", "0")
    answers = [Reader(address).open() for _ in range(12)]
    assert [status for status, *_ in answers] == [200, 200, *[503] * 10]
    assert all("You are number 1 in line" in text for status, text, _ in answers if status == 503)
    assert len(kernels()) == 2
    status, rules, _ = Reader(address).open("robots.txt")
    assert (status, rules.splitlines()[1]) == (200, "Disallow: /voila/")


def test_a_browsers_guess_at_the_next_page_starts_nothing(start):
    address, _ = start("--visitors", "2", "--pool", "0")
    assert Reader(address).open(**{"Sec-Purpose": "prefetch;prerender"})[0] == 503
    assert kernels() == []


UP = ("../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..%252f", "%c0%ae%c0%ae/", ".%00./", "....//", "/")
DOORS = ("voila/files/", "voila/render/", "voila/static/", "voila/templates/brand/static/", "voila/templates/",
         "voila/tree/", "voila/api/contents/", "voila/labextensions/", "voila/api/themes/", "")


def test_no_address_leads_to_a_file_of_the_server(start):
    """From the folder of pages, the secret lies three folders up; /etc/passwd lies below all that is climbed."""
    address, temporary = start("--visitors", "2", "--pool", "0")
    (temporary / "home" / "secret.txt").write_text("the secret")
    port = int(address.rsplit(":", 1)[1].strip("/"))
    climbs = [f"/{door}{step * times}{file}" for door in DOORS for step in UP
              for times, file in ((3, "secret.txt"), (12, "etc/passwd"))]
    for path in [*climbs, f"//{temporary}/home/secret.txt", f"/file://{temporary}/home/secret.txt", "/%00",
                 f"/voila/render/small.ipynb?path={temporary}/home/secret.txt&TASK=/etc/passwd&template=/etc/passwd"]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        connection.close()
        assert "the secret" not in text, path
        assert "root:" not in text, path
        assert "Traceback" not in text, path
    assert Reader(address).open("")[0] == 200


@pytest.mark.parametrize("path", [
    "api/kernels", "api/sessions", "api/contents", "api/contents/small.ipynb", "api/terminals", "api/config/notebook",
    "files/small.ipynb", "nbconvert/html/small.ipynb", "lab", "tree", "edit/small.ipynb", "terminals/1",
    "api/kernelspecs", "metrics", "api/me"])
def test_what_a_notebook_server_has_more_is_not_here(served, path):
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        status, text = asked(served, path, method)
        assert status in (403, 404, 405), (method, status)
        assert "kernelId" not in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "FOO"])
def test_only_get_opens_a_page(served, method):
    status, text = asked(served, PAGE, method)
    assert status in (204, 400, 403, 405)
    assert "kernelId" not in text
    assert kernels() == []


def test_nobody_ends_a_kernel_without_its_number_and_a_token(served):
    unknown = "00000000-0000-4000-8000-000000000000"
    assert asked(served, f"api/kernels/{unknown}", "DELETE")[0] == 403
    assert asked(served, f"voila/api/shutdown/{unknown}", "POST")[0] == 403
    assert asked(served, f"api/kernels/{unknown}", "GET")[0] == 404


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of a server that no test of these changes."""
    folder, port = tmp_path_factory.mktemp("small"), free_port()
    small_page(folder)
    command = ["-m", "helpers.app.server", "--port", str(port), "--no-browser", "--pool", "0",
               "--notebooks", str(folder)]
    with serving(command, folder / "log", port, tmp_path_factory.mktemp("home")):
        yield f"http://127.0.0.1:{port}/"


def asked(address: str, path: str, method: str) -> tuple[int, str]:
    """(status, text) of a request as no browser makes it."""
    request = urllib.request.Request(address + path, method=method, data=b"" if method in ("POST", "PUT") else None)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()

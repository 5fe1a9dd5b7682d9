"""What crowd and soak count: kinds of errors, what is left of visitors, memory that grows, records that are lost."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer

import nbformat
import psutil
import pytest

from benchmarks import crowd
from benchmarks.crowd import CULL_S, OPEN_S, Log, Server, rows_of
from benchmarks.soak import OWN, STORED, bombs, growth, ledger_rows, write_pages
from helpers.lab import InputError, Ledger
from helpers.lab.data.files import MAX_UPLOAD_BYTES, read_rows
from helpers.lab.paths import UPLOADS
from helpers.lab.progress import Progress

# A server that starts one process named as kernels are, and one that is not; each line that comes ends one of them.
SERVER = """
import subprocess, sys
code = "import time; print('ready', flush=True); time.sleep(600)"
children = [subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE)
            for name in ("ipykernel_launcher", "worker")]
for child in children:
    child.stdout.readline()
print("ready", flush=True)
for line in sys.stdin:
    child = children.pop(0)
    child.kill()
    child.wait()
    print("ended", flush=True)
"""


@pytest.fixture
def started(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               env=os.environ | {"TMPDIR": str(tmp_path)})
    assert process.stdout.readline() == "ready\n"
    server = Server(psutil.Process(process.pid), (tmp_path,))
    yield process, server
    for one in [*server.started(), process]:
        one.kill()
    process.communicate()


def test_the_time_of_what_has_ended_counts_too(started):
    process, server = started
    before = server.busy_s()
    assert before > 0
    end_one(process)
    assert server.busy_s() >= before - 0.05, "its time is the server's now"


def end_one(process):
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ended\n"


def test_what_is_left_of_visitors_is_counted_and_named_until_it_is_gone(started, tmp_path, capsys):
    process, server = started
    (tmp_path / "visitors" / "kernel").mkdir(parents=True)
    (tmp_path / "compute-smarter-timing").mkdir()
    (tmp_path / "compute-smarter-timing" / "draw.lock").touch()
    (tmp_path / "compute-smarter-timing" / "7.turn").touch()
    whole = server.census()
    assert whole == {"kernels": 1, "other processes": 1, "files": 3}
    assert asyncio.run(server.left(whole, 5.0))[0] == Counter()
    before = whole - Counter(kernels=1, files=1)
    more, seconds = asyncio.run(server.left(before, 2.0))
    assert more == {"kernels": 1, "files": 1}
    assert seconds >= 2.0
    said = capsys.readouterr().out
    assert said.startswith("1 more than the 2 before of these: ")
    assert all(f"{name!r}: 1" in said for name in ("visitors", "kernel", "#.turn")), said
    end_one(process)
    (tmp_path / "compute-smarter-timing" / "7.turn").unlink()
    assert asyncio.run(server.left(before, 5.0))[0] == Counter()
    alone, together = server.memory_gb()
    assert 0.001 < alone < together < 1
    process.kill()
    process.wait()
    assert server.census() == before, "its worker outlived it"


def test_errors_are_told_by_their_kind_and_waiting_in_line_is_none():
    log = Log()
    for kernel in ("0a1b2c3d-0000-1111-2222-333344445555", "ffffffff-0000-1111-2222-333344445555"):
        log.count("console", f"WebSocket to kernel {kernel} failed after {len(log.errors)} s")
    log.count("console", "Failed to load resource: the server responded with a status of 503 (Service Unavailable)")
    log.count("no answer", "net::ERR_ABORTED")
    assert log.errors == {"console: WebSocket to kernel # failed after # s": 2}


class Line(BaseHTTPRequestHandler):
    """A page with the place in line, which loads itself again, and then the page itself."""

    asked = 0

    def do_GET(self):
        Line.asked += self.path == "/page"
        waits = Line.asked == 1
        text = '<meta http-equiv="refresh" content="1">In line' if waits else "<svg id='sign'></svg>"
        self.send_response(503 if waits else 200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        """Nothing."""


def test_a_page_is_open_once_the_line_has_ended_and_never_without_its_sign(monkeypatch):
    monkeypatch.setattr(crowd, "LIMIT_S", 5.0)
    server, log = HTTPServer(("127.0.0.1", 0), Line), Log()
    threading.Thread(target=server.serve_forever, daemon=True).start()

    async def story():
        async with crowd.chromium() as browser:
            page = await browser.new_page()
            address = f"http://127.0.0.1:{server.server_port}/page"
            return [await crowd.opened(page, address, log, sign) for sign in ("#sign", "#other")]

    assert asyncio.run(story()) == [True, False]
    server.shutdown()
    assert (log.waited, Line.asked) == (1, 3)
    assert 0.9 < log.opened_s[0] < log.opened_s[1] == 5.0
    assert log.errors == {"not open: not in # s": 1}


def judged(more=(), seconds=10.0, slow=0, errors=0, gigabytes=3.0):
    log = Log([OPEN_S - 1] * (100 - slow) + [OPEN_S + 1] * slow, memory=[(0.0, 0.2, 1.0), (1.0, 0.2, gigabytes)])
    log.errors["console"] += errors
    return {row.name: row.holds for row in rows_of(log, Counter(), Counter(more), seconds) if row.holds is not None}


def test_each_target_can_be_missed():
    assert all(judged(slow=5).values())
    for wrong, name in (({"slow": 6}, "pages open under 10 s"), ({"errors": 1}, "errors"),
                        ({"gigabytes": 16.1}, "memory of the server and all that it started, peak"),
                        ({"more": ["kernels"]}, "kernels, processes, locks and files left"),
                        ({"seconds": CULL_S + 1}, "until nothing was left")):
        assert [row for row, holds in judged(**wrong).items() if not holds] == [name]


@pytest.mark.parametrize(("rate", "peak"), [(0.0, 0.0), (0.02, 0.0), (0.0, 3.0), (0.02, 3.0)])
def test_growth_is_that_of_the_line_and_neither_warming_up_nor_peaks_count(rate, peak):
    memory = [(float(minute), 0.5 * (1 + rate * minute / 60) + (minute % 20 == 0) * peak - (minute < 10) * 0.3, 9.0)
              for minute in range(61)]
    value, low, high = growth(memory)
    assert value == pytest.approx(rate * 50 / 60, abs=0.003)
    assert low <= value <= high


def test_a_record_that_was_shown_and_is_not_there_is_counted(tmp_path, new_measurement):
    path = tmp_path / "ledger.sqlite"
    for number in ("a", "b"):
        Ledger(path).put(new_measurement(id=number * 32))

    def missed(stored):
        return [row.name for row in ledger_rows(path, stored) if row.holds is False]

    assert missed({"a" * 32, "b" * 32}) == []
    assert missed({"a" * 32, "c" * 32}) == ["records shown and not in the ledger"]
    assert missed(set()) == ["records that visitors were shown"]
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE measurements SET body = '{' WHERE id LIKE 'b%'")
    assert missed({"a" * 32}) == ["damage to the ledger"]


def test_each_bomb_is_refused_in_a_sentence(tmp_path):
    (tmp_path / UPLOADS).mkdir()
    for name, content in bombs().items():
        if len(content) <= MAX_UPLOAD_BYTES:  # else it is not even sent
            (tmp_path / UPLOADS / name).write_bytes(content)
            with pytest.raises(InputError):
                read_rows(tmp_path / UPLOADS / name, "text", "label")


def test_the_soaks_own_page_shows_the_numbers_of_what_it_stored(tmp_path, fresh_home):
    """Its cells run here, and its measurement in this process."""
    names, scope = write_pages(tmp_path / "pages"), {}
    assert len(names) == 6
    for cell in nbformat.read(tmp_path / "pages" / OWN, 4).cells:
        exec(cell.source, scope)
    panel = scope["panel"]
    panel.records = list(scope["measure"](Progress()).measurements)
    [shown] = panel._right.children
    assert STORED.findall(shown.value) == [record.id for record in Ledger().all()] == [panel.records[0].id]

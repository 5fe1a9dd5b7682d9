"""An hour of visitors that vanish, double-click, cancel, reload, paste nonsense, upload bombs: what leaks or is lost.

python -m benchmarks.soak [--minutes 60] [--visitors 4] [--json FILE]

They open all pages, and one more that measures a small model in seconds and takes files: what it shows as stored must
stand in the ledger at the end.
"""

import argparse
import asyncio
import contextlib
import gzip
import random
import re
import shutil
import sqlite3
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import nbformat
import numpy as np
from playwright.async_api import Error, Page
from scipy.stats import theilslopes

from benchmarks.common import Row, at_least, at_most, finish, shown
from benchmarks.crowd import CULL_S, LIMIT_S, MEASURE, Log, Server, chromium, common_rows, move, opened, served, visits
from benchmarks.page import NOTEBOOK
from helpers.lab import Ledger
from helpers.lab.errors import NotStored

# What was to be shown, set beforehand.
MAX_GROWTH = 0.05  # of the server's memory over the time after the warm-up
ANSWER_S = 10.0  # in which the landing page comes, whatever visitors do

WARM_UP = 1 / 6  # of the time: scripts and templates are read when they are first asked for
PROBE_S = 5.0
OWN = "soak.ipynb"
STORED = re.compile(r"stored ([0-9a-f]{32})")
OPEN = ".app-upload"  # there once the whole of this page is
REFUSED = ".app-status.error"
JOB_MS = 1000 * 2 * LIMIT_S  # until a small measurement or a check of a file has ended, on a busy machine
CELLS = ["""
import pandas as pd
from helpers import app
from helpers.data_efficiency import Review
""", """
def measure(report):
    from helpers.lab import Ledger, compare, load_task, tfidf_baseline
    task = load_task("tickets").take(train=300, test=100)
    return compare([tfidf_baseline(task)], task, rows=16, rounds=2, energy=False, memory=False, ledger=Ledger(),
                   progress=report)

panel = app.Panel(measure, {}, chart=lambda records: " ".join(f"stored {record.id}" for record in records))
panel
""", """
def check(report, path):
    from helpers.data_efficiency import doubtful_rows
    return doubtful_rows(path, kind="hashed")

flags = pd.DataFrame({"row": [0, 1], "given": ["x", "y"], "suggested": ["y", "x"], "doubt": [0.9, 0.8]})
app.ReviewPanel(Review, ["a b", "c d"], ["x", "y"], flags, usd_per_review=1.0, check=check)
"""]
NONSENSE = ("<img src=x onerror=alert(1)>", "' OR 1=1 --", "\u202e\u0000\U0001f600" * 50, "9" * 400, "../" * 40, "NaN",
            "-1e999", "{}[](" * 2_000)


def bombs() -> dict[str, bytes]:
    """Files by name: small ones that unpack to gigabytes, too large, damaged, of another kind."""
    zeros = gzip.compress(bytes(2**26), 9)
    return {"zeros.csv.gz": gzip.compress(b"text,label\na,b\n") + zeros * 40, "large.csv": b"a,b\n" * 2_500_000,
            "deep.json": b"[" * 1_000_000, "wide.csv": b"," * 1_000_000, "rows.jsonl": b"{}\n" * 1_000_000,
            "half.parquet": b"PAR1" + b"\xff" * 10_000 + b"PAR1", "picture.png": b"\x89PNG" + bytes(1_000),
            "nothing.csv": b""}


class Visitor:
    """A visitor who does something else at each stay; `stored` has the records that were shown as stored."""

    def __init__(self, address: str, notebooks: Sequence[str], log: Log) -> None:
        self._address, self._log = f"{address}voila/render/", log
        self._notebooks = [name for name in notebooks if name != OWN]
        self._bombs = bombs()
        self.stored: set[str] = set()
        self.deeds = (self.vanish, self.double_click, self.cancel, self.reload, self.paste, self.upload)

    async def stay(self, page: Page, chance: random.Random) -> None:
        """One deed, and a look at what the page says afterwards."""
        deed: Callable[[Page, random.Random], Coroutine[None, None, None]] = chance.choice(self.deeds)
        await deed(page, chance)
        if deed == self.vanish:
            return
        for sentence in await page.locator(REFUSED).all_inner_texts():
            if deed != self.upload or "not your fault" in sentence:  # of bombs it is what should be said
                self._log.count("on the page", sentence)

    async def vanish(self, page: Page, chance: random.Random) -> None:
        """Leave while the page is being made, or just after."""
        with contextlib.suppress(Error):  # it may not have begun to come
            await page.goto(self._address + chance.choice(self._notebooks), wait_until="commit",
                            timeout=chance.uniform(100, 5_000))
        await asyncio.sleep(chance.uniform(0, 3))

    async def double_click(self, page: Page, chance: random.Random) -> None:
        """Measure with a double-click, and wait for the result."""
        if await opened(page, self._address + OWN, self._log, OPEN):
            await page.get_by_role("button", name=MEASURE).dblclick()
            await page.get_by_text(STORED).first.wait_for(timeout=JOB_MS)
            self.stored |= set(STORED.findall(await page.locator("main").inner_text()))

    async def cancel(self, page: Page, chance: random.Random) -> None:
        """Measure and cancel at any moment; what was stored by then counts."""
        if await opened(page, self._address + OWN, self._log, OPEN):
            cancel = page.get_by_role("button", name="Cancel").first
            await page.get_by_role("button", name=MEASURE).click()
            await asyncio.sleep(chance.uniform(0, 8))
            if await cancel.is_enabled():
                with contextlib.suppress(Error):  # it may have ended just now
                    await cancel.click(timeout=1_000)
            await page.get_by_text(re.compile("Cancelled|Measured on this machine")).first.wait_for(timeout=JOB_MS)
            self.stored |= set(STORED.findall(await page.locator("main").inner_text()))

    async def reload(self, page: Page, chance: random.Random) -> None:
        """Load a page again and again before it is whole; the last time it must come."""
        address = self._address + chance.choice(self._notebooks)
        for _ in range(chance.randint(1, 3)):
            with contextlib.suppress(Error):  # cut short by the next one
                await page.goto(address, wait_until="commit", timeout=10_000)
            await asyncio.sleep(chance.uniform(0, 4))
        if await opened(page, address, self._log):
            await move(page, chance)

    async def paste(self, page: Page, chance: random.Random) -> None:
        """Nonsense in the address, and in each field in view."""
        query = urllib.parse.urlencode({chance.choice(("base", "steps", "theme", "__proto__", "a" * 500)):
                                        chance.choice(NONSENSE)})
        if await opened(page, f"{self._address}{chance.choice(self._notebooks)}?{query}", self._log):
            for field in await page.locator(".app-panel input[type=text], .app-panel input[type=number]").all():
                if await field.is_visible() and await field.is_enabled():
                    await field.evaluate("(one, text) => { one.value = text; "
                                         "one.dispatchEvent(new Event('change', {bubbles: true})); }",
                                         chance.choice(NONSENSE))
            await move(page, chance)

    async def upload(self, page: Page, chance: random.Random) -> None:
        """A bomb, which must be answered by a sentence."""
        if await opened(page, self._address + OWN, self._log, OPEN):
            name = chance.choice(list(self._bombs))
            await page.locator(".app-upload input[type=file]").set_input_files(
                {"name": name, "mimeType": "application/octet-stream", "buffer": self._bombs[name]})
            await asyncio.sleep(2)
            if not await page.locator(REFUSED).count():  # one that is too large is refused as it comes
                await page.get_by_role("button", name="Check this file").click()
            await page.locator(REFUSED).first.wait_for(timeout=JOB_MS)


async def probed(address: str, answers_s: list[float]) -> None:
    """Note how long the landing page takes to come, every few seconds, for ever."""
    def ask() -> float:
        began = time.monotonic()
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=LIMIT_S) as answer:
            answer.read()
            return time.monotonic() - began
        return LIMIT_S

    while True:
        answers_s.append(await asyncio.to_thread(ask))
        await asyncio.sleep(PROBE_S)


def growth(memory: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """(growth, low, high) of the server's memory over the time after the warm-up, as a share of its middle.

    By the median of the slopes between all points (Theil and Sen), with its 95% interval: peaks do not move it.

    >>> [round(part, 6) for part in growth([(float(n), 1 + n / 1000, 2.0) for n in range(61)])]
    [0.048309, 0.048309, 0.048309]
    """
    minutes, alone = np.array(memory)[:, :2].T
    warm = minutes >= WARM_UP * minutes[-1]
    slope, _, low, high = theilslopes(alone[warm], minutes[warm])
    whole = np.ptp(minutes[warm]) / np.median(alone[warm])
    return float(slope * whole), float(low * whole), float(high * whole)


def ledger_rows(path: Path, stored: set[str]) -> list[Row]:
    """Whether all records that visitors were shown are in the ledger, and whether it is whole."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", NotStored)
        there = {record.id for record in Ledger(path).all()}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        whole = connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    damage = sum(issubclass(one.category, NotStored) for one in said) + (not whole)
    return [at_least("records that visitors were shown", len(stored), 1, ""),
            at_most("records shown and not in the ledger", len(stored - there), 0, ""),
            at_most("damage to the ledger", damage, 0, "")]


async def soak(address: str, server: Server, notebooks: Sequence[str], visitors: int, minutes: float) -> tuple[
        list[Row], set[str]]:
    """The figures of so many minutes, and the records that were shown as stored."""
    log, answers_s, before = Log(), [], await server.at_rest(len(notebooks))
    visitor = Visitor(address, notebooks, log)
    async with chromium() as browser:
        watching = [asyncio.ensure_future(one) for one in (log.watch_memory(server), probed(address, answers_s))]
        end = time.monotonic() + 60 * minutes
        await asyncio.gather(*(visits(number, browser, log, end, visitor.stay) for number in range(visitors)))
        for one in watching:
            one.cancel()
    more, seconds = await server.left(before, 2 * CULL_S)
    grown, low, high = growth(log.memory)
    return [at_most("growth of the server's memory after the warm-up", grown, MAX_GROWTH, "of it", low, high),
            shown("memory of the server at the end", log.memory[-1][1], "GB"),
            at_most("until the landing page comes, at most", max(answers_s), ANSWER_S, "s"),
            *common_rows(log, before, more, seconds)], visitor.stored


def write_pages(folder: Path) -> list[str]:
    """The names of this project's pages and of the soak's own, which are written into a folder."""
    folder.mkdir()
    for path in NOTEBOOK.parent.glob("*.ipynb"):
        shutil.copy(path, folder)
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), folder / OWN)
    return sorted(path.name for path in folder.iterdir())


def main() -> None:
    """Serve, torment, count; exit status 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--visitors", type=int, default=4)
    parser.add_argument("--json", type=Path, help="write machine and rows to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        pages = write_pages(folder / "pages")
        with served(folder, f"--notebooks={folder / 'pages'}") as (address, server):
            rows, stored = asyncio.run(soak(address, server, pages, options.visitors, options.minutes))
        rows += ledger_rows(folder / "HELPERS_HOME" / "ledger.sqlite", stored)
    finish(rows, options.json)
    sys.exit(any(row.holds is False for row in rows))


if __name__ == "__main__":
    main()

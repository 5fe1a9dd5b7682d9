"""Many visitors at once on one server, in a real browser: how soon pages open, what goes wrong, what is left behind.

python -m benchmarks.crowd [--visitors 30] [--minutes 10] [--think 18] [--json FILE]

They come one after another, read, move controls, measure now and then, reload and leave: half of them by a link, half
without a word. The browser takes its part of the machine's cores: for visitors from elsewhere pages open sooner.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path

import psutil
from playwright.async_api import Browser, Error, Page, async_playwright

from benchmarks.common import Row, at_least, at_most, finish, p95, shown
from benchmarks.page import CHART, NOTEBOOK, serving
from helpers import doctor

# What was to be shown, set beforehand.
OPEN_S, OPEN_SHARE = 10.0, 0.95
MAX_MEMORY_GB = 16.0
IDLE_S = 60  # the server's --idle: a kernel without a reader ends after it
CULL_S = IDLE_S + 30 + 2 * 15 + 60  # and its grace, two rounds of looking, and starting the kernels that are held ready

LIMIT_S = 60.0  # a page that is not open by then never is, and counts with this
ARRIVALS_S, PAUSE_S = 180.0, 15.0  # over which they come; mean between two stays
# Mean between two acts: people read at most 28% of a page's words (Nielsen, How Little Do Users Read?, 2008), ours have
# 1,700 in the mean, at 238 words a minute (Brysbaert, 2019): two minutes, in which there are 6.5 acts.
THINK_S = 18.0
RELOADS, MEASURES = 0.01, 0.01  # of all acts: most people move controls
PATIENCE_S = (5.0, 60.0)  # with a measurement
LOOK_S = 10.0  # between two looks at the memory
MEASURE = "Measure on this machine"
CONTROL = ".app-controls :is(.noUi-handle, select):not([disabled])"
TROUBLE = ".app-ended:not([hidden]), .brand-late, .app-status.error"
WAITING = re.compile("status of 503|ERR_ABORTED")  # the page with the place in line; what was asked for when one left
# Until an element is there. Playwright's own wait has each page drawn sixty times a second, which thirty pages on two
# cores would wait for.
SHOWN = """sign => new Promise(done => {
    const look = () => {
        if (!document.querySelector(sign)) return;
        observer.disconnect();
        done();
    };
    const observer = new MutationObserver(look);
    observer.observe(document, {subtree: true, childList: true});
    look();
})"""
NUMBERS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d+")
STAYS = {"compute-smarter-timing", "draw.lock"}  # where measurements queue: nobody's, and empty


def held_gb(process: psutil.Process) -> tuple[float, float]:
    """Memory of a process alone (USS), and with its part of what is shared (PSS, where known); 0 once it is gone."""
    try:
        facts = process.memory_full_info()
    except psutil.Error:
        return 0.0, 0.0
    return facts.uss / 1e9, getattr(facts, "pss", facts.uss) / 1e9


@dataclasses.dataclass(frozen=True)
class Server:
    """The server's process, and the folders of its temporary files and of its kernels' sockets."""

    process: psutil.Process
    folders: tuple[Path, ...]

    def started(self) -> list[psutil.Process]:
        """The processes with the server's temporary folder: all that it started, even where a parent has ended."""
        started = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):  # another user's, or just gone
                if process != self.process and process.environ().get("TMPDIR") == str(self.folders[0]):
                    started.append(process)
        return started

    def memory_gb(self) -> tuple[float, float]:
        """Of the server alone, and with all that it started."""
        alone, part = held_gb(self.process)
        return alone, part + sum(held_gb(process)[1] for process in self.started())

    def busy_s(self) -> float:
        """Processor seconds of the server and all that it started, those that have ended and were waited for too."""
        seconds = 0.0
        for process in [self.process, *self.started()]:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
        return seconds

    def census(self) -> Counter[str]:
        """How many kernels, other processes, and files (locks and folders among them) there are."""
        there: Counter[str] = Counter()
        for process in self.started():
            with contextlib.suppress(psutil.Error):
                names = [process.name(), *process.cmdline()]  # a forked one has a name alone
                there["kernels" if any("ipykernel" in part for part in names) else "other processes"] += 1
        there["files"] += self.files().total()
        return there

    def files(self) -> Counter[str]:
        """How many there are of each name, numbers left out; folders and locks among them."""
        steps = (step for folder in self.folders for step in os.walk(folder))
        return Counter(NUMBERS.sub("#", name) for _, folders, files in steps for name in {*folders, *files} - STAYS)

    async def at_rest(self, kernels: int, limit_s: float = 180.0) -> Counter[str]:
        """The census once so many kernels are held ready and nothing changes any more."""
        end, seen = time.monotonic() + limit_s, deque([Counter()], maxlen=3)
        while time.monotonic() < end and not (seen[-1]["kernels"] >= kernels and seen.count(seen[-1]) == 3):
            await asyncio.sleep(5)
            seen.append(self.census())
        return seen[-1]

    async def left(self, before: Counter[str], limit_s: float) -> tuple[Counter[str], float]:
        """Wait until nothing is left beyond an earlier census; return what is left, and the seconds or the limit."""
        began = time.monotonic()
        while (more := self.census() - before) and time.monotonic() - began < limit_s:
            await asyncio.sleep(1)
        if more["files"]:
            print(f"{more['files']} more than the {before['files']} before of these: {dict(self.files())}")
        return more, time.monotonic() - began


@dataclasses.dataclass
class Log:
    """Visitors' experience: seconds until each page was open, how many had to wait in line or measured, errors by kind.

    busy_s: processor seconds of the server and all that it started. memory: (minutes, gigabytes of the server, and with
    all that it started).
    """

    opened_s: list[float] = dataclasses.field(default_factory=list)
    waited: int = 0
    measured: int = 0
    busy_s: float = 0.0
    errors: Counter[str] = dataclasses.field(default_factory=Counter)
    memory: list[tuple[float, float, float]] = dataclasses.field(default_factory=list)

    def count(self, where: str, what: object) -> None:
        """One more error of a kind: numbers in it do not tell kinds apart."""
        text = " ".join(str(what).split())
        if not WAITING.search(text):
            self.errors[f"{where}: {NUMBERS.sub('#', text)[:120]}"] += 1

    def watch(self, page: Page) -> None:
        """Count what goes wrong on a page, and with what it asks for."""
        page.on("pageerror", lambda error: self.count("uncaught", error))
        page.on("console", lambda message: self.count("console", message.text) if message.type == "error" else None)
        page.on("requestfailed", lambda request: self.count("no answer", request.failure))
        page.on("response", lambda answer: self.count("answer", answer.status)
                if answer.status >= 500 and answer.status != 503 else None)

    async def look(self, page: Page) -> None:
        """Count what a page tells its reader that it should not have to."""
        for text in await page.locator(TROUBLE).all_inner_texts():
            self.count("on the page", text)
        if await page.get_by_text("Error displaying widget").count():
            self.count("on the page", "Error displaying widget")

    async def watch_memory(self, server: Server) -> None:
        """Note the memory every few seconds, for ever."""
        began = time.monotonic()
        while True:
            held = await asyncio.to_thread(server.memory_gb)
            self.memory.append(((time.monotonic() - began) / 60, *held))
            await asyncio.sleep(LOOK_S)


@contextlib.contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[str, Server]]:
    """The pages' address, and their server, with its own home, temporary files and sockets in `folder`."""
    environment = {name: str(folder / name) for name in ("HELPERS_HOME", "TMPDIR", "JUPYTER_RUNTIME_DIR")}
    for path in environment.values():
        Path(path).mkdir()
    with serving("helpers.app.server", f"--idle={IDLE_S}", *options, **environment) as address:
        [process] = [child for child in psutil.Process().children() if "helpers.app.server" in child.cmdline()]
        yield address, Server(process, (folder / "TMPDIR", folder / "JUPYTER_RUNTIME_DIR"))


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser that is installed, else Playwright's; for many visitors at once."""
    settings = {"executable_path": doctor.chromium(), "args": ["--no-sandbox"]}
    async with async_playwright() as playwright, await playwright.chromium.launch(**settings) as browser:
        yield browser


async def opened(page: Page, address: str, log: Log, sign: str = CHART) -> bool:
    """Whether a page came with what shows that it is open; its time is noted, the one in line included."""
    began, whole = time.perf_counter(), False
    try:
        answer = await page.goto(address, wait_until="commit", timeout=1000 * LIMIT_S)
        log.waited += answer is not None and answer.status == 503
        await asyncio.wait_for(shows(page, sign), LIMIT_S)
        whole = True
    except (Error, TimeoutError) as error:
        log.count("not open", str(error).split("\n")[0] or f"not in {LIMIT_S:g} s")
    log.opened_s.append(time.perf_counter() - began if whole else LIMIT_S)
    return whole


async def shows(page: Page, sign: str) -> None:
    """Wait for what shows that a page is open; the page with the place in line loads itself again."""
    while True:
        try:
            await page.evaluate(SHOWN, sign)
            return
        except Error as error:
            if "context was destroyed" not in error.message:
                raise
            await page.wait_for_load_state("commit")


async def move(page: Page, chance: random.Random) -> None:
    """Move one of the controls in view, if there are any."""
    controls = [one for one in await page.locator(CONTROL).all() if await one.is_visible()]
    if not controls:
        return
    control = chance.choice(controls)
    if await control.evaluate("one => one.tagName") == "SELECT":
        await control.select_option(index=chance.randrange(await control.locator("option").count()))
    else:
        await control.press(chance.choice(("ArrowLeft", "ArrowRight")))


async def measure(page: Page, chance: random.Random, log: Log) -> None:
    """Begin a measurement, wait for some time, and cancel it, or forget about it."""
    panel = page.locator(".app-panel", has=page.get_by_role("button", name=MEASURE)).first
    run, cancel = (panel.get_by_role("button", name=name) for name in (MEASURE, "Cancel"))
    if not await panel.count() or not await run.is_enabled():
        return
    await run.click()
    log.measured += 1
    await asyncio.sleep(chance.uniform(*PATIENCE_S))
    if chance.random() < 0.5 and await cancel.is_enabled():
        await cancel.click()
        await panel.get_by_text("Cancelled").first.wait_for(timeout=10_000)


async def stay(page: Page, address: str, notebooks: Sequence[str], chance: random.Random, log: Log,
               think_s: float, end: float) -> None:
    """Open some pages one after another, and use each of them as people do; all leave in the end."""
    for notebook in chance.sample(notebooks, chance.randint(1, 3)):
        if time.monotonic() > end or not await opened(page, f"{address}voila/render/{notebook}", log):
            continue
        for _ in range(chance.randint(3, 10)):
            await asyncio.sleep(chance.expovariate(1 / think_s))
            if time.monotonic() > end:
                break
            act = chance.random()
            if act < RELOADS:
                await opened(page, page.url, log)
            elif act < RELOADS + MEASURES:
                await measure(page, chance, log)
            else:
                await move(page, chance)
        await log.look(page)
    if chance.random() < 0.5:  # a context that is closed does not say that its page was left
        await page.goto(address)


async def visits(number: int, browser: Browser, log: Log, end: float,
                 staying: Callable[[Page, random.Random], Coroutine[None, None, None]]) -> None:
    """One visitor after another on one chair until the end; each with fresh cookies and a fresh cache."""
    chance = random.Random(number)
    await asyncio.sleep(chance.uniform(0, min(ARRIVALS_S, end - time.monotonic())))
    while time.monotonic() < end:
        try:
            async with await browser.new_context() as context:
                page = await context.new_page()
                log.watch(page)
                await staying(page, chance)
        except Error as error:
            log.count("an act failed", error.message.split("\n")[0])
        await asyncio.sleep(chance.expovariate(1 / PAUSE_S))


async def crowd(address: str, server: Server, visitors: int, minutes: float, think_s: float) -> list[Row]:
    """The figures of so many visitors over so many minutes, and what was left of them."""
    notebooks = sorted(path.name for path in NOTEBOOK.parent.glob("*.ipynb"))
    before, log = await server.at_rest(len(notebooks)), Log()
    async with chromium() as browser:
        watching = asyncio.ensure_future(log.watch_memory(server))
        end = time.monotonic() + 60 * minutes
        busy_s = server.busy_s()
        await asyncio.gather(*(visits(number, browser, log, end, lambda page, chance: stay(
            page, address, notebooks, chance, log, think_s, end)) for number in range(visitors)))
        watching.cancel()
        log.busy_s = server.busy_s() - busy_s
    more, seconds = await server.left(before, 2 * CULL_S)
    return rows_of(log, before, more, seconds)


def rows_of(log: Log, before: Counter[str], more: Counter[str], seconds: float) -> list[Row]:
    """Rows with the targets of a crowd, `common_rows` among them."""
    soon = sum(one < OPEN_S for one in log.opened_s) / len(log.opened_s)
    value, low, high = p95(log.opened_s)
    return [at_least(f"pages open under {OPEN_S:g} s", soon, OPEN_SHARE, "of all"),
            shown("until a page is open, median", statistics.median(log.opened_s), "s"),
            shown("until a page is open, p95", value, "s", low, high),
            shown("pages opened after waiting in line", log.waited, ""),
            shown("processor time of the server and its kernels, a page opened", log.busy_s / len(log.opened_s), "s"),
            shown("measurements begun", log.measured, ""), *common_rows(log, before, more, seconds)]


def common_rows(log: Log, before: Counter[str], more: Counter[str], seconds: float) -> list[Row]:
    """Rows with the targets for visitors of all kinds; errors by kind and the memory of each minute are printed.

    Args:
        before: the census before anybody came; `more` is what there was beyond it, `seconds` after all had gone.
    """
    for kind, times in log.errors.most_common():
        print(f"{times:5} x {kind}")
    for minute, alone, whole in log.memory[::round(60 / LOOK_S)]:
        print(f"minute {minute:5.1f}: server {alone:.2f} GB, with its kernels and measurements {whole:.2f} GB")
    print(f"before anybody came: {dict(before)}; beyond that after all had left: {dict(more) or 'nothing'}")
    return [shown("pages opened", len(log.opened_s), ""), at_most("errors", log.errors.total(), 0, ""),
            at_most("memory of the server and all that it started, peak", max(row[2] for row in log.memory),
                    MAX_MEMORY_GB, "GB"),
            at_most("kernels, processes, locks and files left", more.total(), 0, ""),
            at_most("until nothing was left", seconds, CULL_S, "s")]


def main() -> None:
    """Serve, visit, count; exit status 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--think", type=float, default=THINK_S, help="mean seconds between two acts of a visitor")
    parser.add_argument("--json", type=Path, help="write machine and rows to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crowd-") as folder, served(Path(folder)) as (address, server):
        rows = asyncio.run(crowd(address, server, options.visitors, options.minutes, options.think))
    finish(rows, options.json)
    sys.exit(any(row.holds is False for row in rows))


if __name__ == "__main__":
    main()

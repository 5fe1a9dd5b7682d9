"""Kernels of two visitors at once: what one does, the other does not see, and it goes with its kernel."""

import asyncio
import datetime
import os
import platform
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from jupyter_server.services.kernels import kernelmanager

from helpers.app.server.kernels.manager import PREFIX, SETTLED_S, GraceKernelManager, _sweep
from helpers.app.server.visitors import CONNECT_S, HOLD_S, SEAT, Room, Seat
from helpers.lab.paths import SESSION

ROOT = Path(__file__).parents[5]
PANEL = """
import pandas as pd
from helpers.app import ReviewPanel
from helpers.data_efficiency import Review
from helpers.lab.paths import session
flags = pd.DataFrame({"row": [0, 1], "given": ["x", "y"], "suggested": ["y", "x"], "doubt": [0.9, 0.8]})
def opened():
    return ReviewPanel(Review, ["a b", "c d"], ["x", "y"], flags, usd_per_review=1.0, check=lambda report, path: {})
panel = opened()
"""


@pytest.fixture
def temporary(monkeypatch):
    """A folder for temporary files with a short name: sockets lie in it."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        yield Path(folder)


class Visitor:
    """Someone whose clicks are run in a kernel."""

    def __init__(self, manager: GraceKernelManager, kernel: str) -> None:
        self._client = manager.get_kernel(kernel).client()
        self.folder = manager.folders / kernel

    async def run(self, code: str, shown: str = "None") -> str:
        """Run code; what `shown` then is."""
        if not self._client.channels_running:
            self._client.start_channels()
            await self._client.wait_for_ready(timeout=120)
        number = self._client.execute(code, user_expressions={"shown": shown})
        while True:
            reply = await self._client.get_shell_msg(timeout=120)
            if reply["parent_header"]["msg_id"] == number:
                assert reply["content"]["status"] == "ok", reply["content"]
                return reply["content"]["user_expressions"]["shown"]["data"]["text/plain"]

    def leave(self) -> None:
        self._client.stop_channels()


def test_two_visitors_at_once_do_not_see_each_others_decisions(temporary, fresh_home):
    async def story():
        manager = GraceKernelManager()
        kernels = [await manager.start_kernel() for _ in range(2)]
        first, second = (Visitor(manager, kernel) for kernel in kernels)
        for visitor in (first, second):
            await visitor.run(PANEL)
        assert await first.run("panel._buttons['drop'].click()", "sorted(panel.review.decisions)") == "[0]"
        assert await second.run("", "sorted(opened().review.decisions)") == "[]"
        assert await second.run("panel._buttons['undo'].click()", "sorted(panel.review.decisions)") == "[]"
        assert await first.run("", "sorted(opened().review.decisions)") == "[0]"
        await first.run("panel._upload._handle_custom_msg({'name': 'mine.csv'}, [memoryview(b'mine')])")
        assert await second.run("", "sorted(path.name for path in session().rglob('*') if path.is_file())") == "[]"
        assert [path.read_bytes() for path in first.folder.rglob("mine.csv")] == [b"mine"]
        assert not fresh_home.exists(), "nothing of a visitor lies where all visitors' things are"
        if os.name != "nt":
            assert first.folder.stat().st_mode & 0o077 == 0

        await manager.shutdown_kernel(kernels[0])
        assert not first.folder.exists()
        assert second.folder.exists()
        manager.get_kernel(kernels[1]).provisioner.process.kill()  # and a kernel that dies of itself
        await manager.shutdown_kernel(kernels[1])
        assert not second.folder.exists()
        for visitor in (first, second):
            visitor.leave()

    asyncio.run(story())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator gives memory back by itself")
def test_a_server_gives_memory_back_when_a_visitor_has_gone(temporary):
    async def story():
        manager = GraceKernelManager()
        kernel = await manager.start_kernel()
        held = [bytes(600) for _ in range(100_000)]  # of malloc's heap, not of Python's own arenas
        del held[:-1]  # what is left keeps the heap from shrinking at its end
        before = psutil.Process().memory_info().rss
        await manager.shutdown_kernel(kernel)
        assert before - psutil.Process().memory_info().rss > 30e6

    asyncio.run(story())


def test_a_kernel_that_cannot_start_leaves_no_folder(temporary):
    async def story():
        manager = GraceKernelManager()
        with pytest.raises(Exception, match="nowhere"):
            await manager.start_kernel(kernel_name="nowhere")
        assert [path for path in manager.folders.iterdir() if path.is_dir()] == []

    asyncio.run(story())


def test_what_a_killed_server_left_goes_when_the_next_one_starts(temporary):
    server = GraceKernelManager()
    alive = server.folders
    killed, young, foreign = temporary / f"{PREFIX}killed", temporary / f"{PREFIX}young", temporary / "other"
    of_a_later_clock = temporary / f"{PREFIX}later"
    for folder in (killed, young, foreign, of_a_later_clock):
        (folder / "visitor").mkdir(parents=True)
    long_ago = time.time() - SETTLED_S - 1
    for folder in (alive, killed, foreign):
        os.utime(folder, (long_ago, long_ago))
    os.utime(of_a_later_clock, (time.time() + 3600,) * 2)
    _sweep()
    assert [folder.exists() for folder in (alive, killed, young, foreign, of_a_later_clock)] == [
        True, False, True, True, False]


def test_the_environment_of_a_kernel_names_the_visitors_folder_alone(temporary, monkeypatch):
    """What the server itself was started with is no visitor's."""
    monkeypatch.setenv(SESSION, "/elsewhere")

    async def story():
        manager = GraceKernelManager()
        kernel = await manager.start_kernel(env={**os.environ, "VOILA_PREHEAT": "False"})
        visitor = Visitor(manager, kernel)
        assert await visitor.run("import os", f"os.environ['{SESSION}']") == repr(str(manager.folders / kernel))
        visitor.leave()
        await manager.shutdown_kernel(kernel)

    asyncio.run(story())


def test_a_kernel_that_no_browser_came_for_is_ended_and_its_seat_is_free(temporary):
    """A robot's; one that a browser is connected to stays, until it is idle for long and others wait."""
    async def story():
        now = 0.0
        manager = GraceKernelManager(cull_idle_timeout=1)
        manager.grace_s, manager.room = 0.0, Room(2, now=lambda: now)
        kernels, seats = [], []
        for visitor in ("robot", "reader"):
            seats.append(manager.room.enter(visitor))
            token = SEAT.set(seats[-1])
            kernels.append(await manager.start_kernel(env={**os.environ, "VOILA_PREHEAT": "False"}))
            SEAT.reset(token)
            manager.room.sent(seats[-1])
        assert [seat.kernel for seat in seats] == kernels
        manager.notify_connect(kernels[1])
        await asyncio.sleep(1.5)  # idle by Jupyter's clock
        for now in (CONNECT_S - 1, CONNECT_S + 1):
            for kernel in manager.list_kernel_ids():
                manager.get_kernel(kernel).last_activity = datetime.datetime.now(datetime.UTC)
                await manager.cull_kernel_if_idle(kernel)
            assert manager.list_kernel_ids() == (kernels if now < CONNECT_S else kernels[1:])
        assert manager.room.taken == 1

        noted, since = manager._active[kernels[1]]
        manager._active[kernels[1]] = noted, since - 10
        await manager.cull_kernel_if_idle(kernels[1])
        assert manager.list_kernel_ids() == kernels[1:], "nobody waits for it"
        seats.append(manager.room.enter("third"))
        manager.room.enter("fourth")
        await manager.cull_kernel_if_idle(kernels[1])
        assert manager.list_kernel_ids() == []
        now += HOLD_S + 1
        assert isinstance(manager.room.enter("fourth"), Seat)

    asyncio.run(story())


@pytest.mark.parametrize("hours", [2, -2])
def test_a_clock_that_is_set_ends_no_kernel_and_keeps_none(temporary, monkeypatch, hours):
    """Set ahead, it would look as if nobody had used the kernel for hours; set back, as if somebody just did."""
    shift = datetime.timedelta()

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + shift

    monkeypatch.setattr("helpers.app.server.kernels.manager.datetime", Clock)
    monkeypatch.setattr(kernelmanager, "utcnow", lambda: Clock.now(datetime.UTC))

    async def story():
        nonlocal shift
        manager = GraceKernelManager(cull_idle_timeout=60)
        manager.grace_s = 0.0
        kernel = await manager.start_kernel(env={**os.environ, "VOILA_PREHEAT": "False"})
        await manager.cull_kernel_if_idle(kernel)
        shift = datetime.timedelta(hours=hours)
        await manager.cull_kernel_if_idle(kernel)
        assert manager.list_kernel_ids() == [kernel]
        for _ in range(20):  # until what it says as it starts is over
            noted, since = manager._active[kernel]
            manager._active[kernel] = noted, since - 61
            await manager.cull_kernel_if_idle(kernel)
            if not manager.list_kernel_ids():
                return
            await asyncio.sleep(0.5)
        await manager.shutdown_all()
        pytest.fail("it was kept")

    asyncio.run(story())

"""The kernels behind the pages: each with a folder of its visitor's, ended when nobody uses it."""

import asyncio
import atexit
import functools
import os
import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

from helpers.app.server.visitors import SEAT, Room, Seat
from helpers.lab.machine import return_free_memory
from helpers.lab.paths import SESSION

PREFIX = "compute-smarter-visitors-"
SETTLED_S = 60  # a folder that is younger may be another server's that is about to lock it


class GraceKernelManager(AsyncMappingKernelManager):
    """Ends kernels that nobody uses, but none in its first seconds with a reader; and what a visitor left goes with it.

    A pooled kernel may have been idle for hours when a reader gets it, and would be culled before
    the reader's browser connects. Voila never offers a pooled kernel for culling, so the first
    call for a kernel tells when it was handed out.
    """

    grace_s = 30.0
    room: Room | None = None  # where visitors are counted, on the server of all pages

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._handed_out: dict[str, float] = {}
        self._active: dict[str, tuple[datetime, float]] = {}  # what Jupyter noted of a kernel, and when it was seen

    async def start_kernel(self, **kwargs: Any) -> str:
        """Start a kernel that knows the folder of its visitor's: `helpers.lab.paths.session()`."""
        kernel_id = kwargs.pop("kernel_id", None) or self.new_kernel_id(**kwargs)
        folder = self.folders / kernel_id
        folder.mkdir(mode=0o700)
        environment = {**(kwargs.pop("env", None) or os.environ), SESSION: str(folder)}
        seat = None if environment.get("VOILA_PREHEAT") == "True" else SEAT.get()  # a pooled one is for nobody yet
        if seat is not None:
            seat.kernel = kernel_id
        try:
            return await super().start_kernel(kernel_id=kernel_id, env=environment, **kwargs)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            if seat is not None:
                seat.kernel = None
            raise

    def remove_kernel(self, kernel_id: str) -> Any:
        """Forget a kernel that has ended, with all that its visitor left."""
        shutil.rmtree(self.folders / kernel_id, ignore_errors=True)
        self._handed_out.pop(kernel_id, None)
        self._active.pop(kernel_id, None)
        if self.room is not None:
            self.room.ended(kernel_id)
        removed = super().remove_kernel(kernel_id)
        return_free_memory()  # the allocator keeps it: 142 MB after 428 pages were 118 MB once trimmed
        return removed

    def notify_connect(self, kernel_id: str) -> None:
        """A browser has come for this kernel."""
        super().notify_connect(kernel_id)
        if self.room is not None:
            self.room.connected(kernel_id)

    def notify_disconnect(self, kernel_id: str) -> None:
        """A browser has left this kernel, perhaps for a moment."""
        super().notify_disconnect(kernel_id)
        if self.room is not None and not self._kernel_connections.get(kernel_id):
            self.room.disconnected(kernel_id)

    def hand_out(self, notebook: str, seat: Seat) -> None:
        """The pooled kernel that Voila is about to take for a notebook belongs to this seat."""
        def known(starting: asyncio.Future) -> None:
            if not starting.cancelled() and starting.exception() is None:
                seat.kernel = starting.result()["kernel_id"]

        starting = self._pools[notebook][0]
        if starting.done():  # a callback would come after the page, which is ready to be sent at once
            known(starting)
        else:
            starting.add_done_callback(known)

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """Cull as usual once the grace is over; where others wait, also what a reader has left open and idle."""
        now = time.monotonic()
        self._keep_time(kernel_id, now)
        if now - self._handed_out.setdefault(kernel_id, now) < self.grace_s:
            return
        if self._is_waste(kernel_id):
            self.log.info("Kernel %s is ended: nobody uses it.", kernel_id)
            await self.shutdown_kernel(kernel_id)
            return
        await super().cull_kernel_if_idle(kernel_id)

    def _is_waste(self, kernel_id: str) -> bool:
        if self.room is None:
            return False
        return self.room.is_waste(kernel_id) or (self.room.has_line() and self._is_idle(kernel_id))

    def _keep_time(self, kernel_id: str, now: float) -> None:
        """Say for Jupyter when a kernel was last active, by a clock that nobody sets.

        It notes that by the machine's clock. Where that is set ahead, it would end every kernel at once that has no
        reader for a moment; where it is set back, none for as long.
        """
        kernel = self.get_kernel(kernel_id)
        noted, since = self._active.get(kernel_id, (None, now))
        if kernel.last_activity != noted:
            since = now  # it was active after the last look, which is some seconds ago
        kernel.last_activity = datetime.now(UTC) - timedelta(seconds=now - since)
        self._active[kernel_id] = kernel.last_activity, since

    def _is_idle(self, kernel_id: str) -> bool:
        unused_s = time.monotonic() - self._active[kernel_id][1]
        return self.get_kernel(kernel_id).execution_state != "busy" and 0 < self.cull_idle_timeout < unused_s

    @functools.cached_property
    def folders(self) -> Path:
        """Where each visitor's folder lies; it goes with the server, or with the next one after a crash."""
        _sweep()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._alive = FileLock(folder / "alive")
        self._alive.acquire()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder


def _sweep() -> None:
    """Remove what servers that were killed have left: the system has let go of their lock."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            facts = folder.lstat()
            age_s = time.time() - facts.st_mtime  # below 0 where the clock was set back since
            if folder.is_symlink() or facts.st_uid != _user() or 0 <= age_s < SETTLED_S:
                continue
            with FileLock(folder / "alive", timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, Timeout):  # another sweep was faster, or its server lives
            continue


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0

"""Who may have a page: so many at a time, so many a visitor, and a line in which the others wait for their turn."""

import contextvars
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from helpers.lab.machine import usable_cores

RELOAD_S = 5  # how often a waiting page asks again
GONE_S = 4 * RELOAD_S  # a place in the line lapses when its page has not asked for so long
HOLD_S = RELOAD_S + 2  # a seat is held for whoever had it: most who leave a page load it again
CONNECT_S = 60  # a browser that has a whole page connects within seconds; a robot never does
PAGES_EACH = 6  # of one visitor: all pages in tabs, and one that is loaded again
LONGEST_LINE = 500
FEWEST_PAGES = 2
PAGE_BYTES, RESERVED_BYTES = 400_000_000, 2_500_000_000  # a kernel; the server, kernels held ready, a measurement
# A page takes kernel and server 2.0 s of a processor (python -m benchmarks.crowd --visitors 12 --minutes 2). With
# 20 readers who open one every two minutes a core is busy for a third of the time; a measurement may have the rest.
PAGES_PER_CORE = 20
CGROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may take (Linux)


@dataclasses.dataclass(eq=False)
class Seat:
    """A page that a visitor has, or is about to have, and its kernel as soon as there is one."""

    visitor: str
    address: str
    is_new: bool  # came without a cookie
    kernel: str | None = None
    met: bool = False  # a browser has been on the line to the kernel
    alone_since: float | None = None  # since when no browser is connected; None while one is, or the page is made


@dataclasses.dataclass(frozen=True)
class Wait:
    """Waiting page of a visitor who gets no page yet: the place in line, or 0 with too many pages of the visitor's."""

    place: int
    seats: int
    each: int


class Room:
    """The pages that visitors have open, and the waiting line.

    Args:
        seats: pages at a time.
        each: pages of one visitor.
        now: a clock, in seconds.

    A visitor is a cookie. A visitor without one is new, and is recognized only by the address: of one address
    so many may be new at a time as one visitor may have pages. So a robot that keeps no cookies has no more kernels
    than a person, and takes no place in the line.
    """

    def __init__(self, seats: int, each: int = PAGES_EACH, now: Callable[[], float] = time.monotonic) -> None:
        self.seats, self.each, self._now = seats, each, now
        self._taken: list[Seat] = []
        self._line: dict[str, float] = {}  # visitor -> when its waiting page last asked, in the order of arrival
        self._left: dict[str, float] = {}  # visitor -> when its last page ended

    @property
    def taken(self) -> int:
        """How many pages are open, or being opened."""
        return len(self._taken)

    def enter(self, visitor: str, address: str = "", is_new: bool = False) -> Seat | Wait:
        """A seat, or what to tell a visitor who has to wait; a waiting visitor keeps its place by asking again."""
        now = self._now()
        self._line = {one: asked for one, asked in self._line.items() if now - asked < GONE_S}
        if not is_new and sum(seat.visitor == visitor for seat in self._taken) >= self.each:
            self._line.pop(visitor, None)
            return Wait(0, self.seats, self.each)
        self._left = {one: left for one, left in self._left.items() if now - left < HOLD_S}
        free = self.seats - self.taken - len(self._left.keys() - {visitor})
        ahead = [] if visitor in self._left else list(self._line)
        place = ahead.index(visitor) if visitor in ahead else len(ahead)
        strangers = sum(seat.is_new and not seat.met and seat.address == address for seat in self._taken)
        if place < free and not (is_new and strangers >= self.each):
            self._line.pop(visitor, None)
            self._left.pop(visitor, None)
            self._taken.append(Seat(visitor, address, is_new))
            return self._taken[-1]
        if not is_new and place < LONGEST_LINE:
            self._line[visitor] = now
        return Wait(place + 1, self.seats, self.each)

    def sent(self, seat: Seat) -> None:
        """The page of a seat is whole, or has failed: a seat without a kernel is free again."""
        if seat.kernel is None:
            self._taken.remove(seat)
        elif not seat.met:
            seat.alone_since = self._now()

    def connected(self, kernel: str) -> None:
        """A browser is on the line to this kernel."""
        for seat in self._of(kernel):
            seat.alone_since, seat.met = None, True

    def disconnected(self, kernel: str) -> None:
        """The last browser on the line to this kernel has left."""
        for seat in self._of(kernel):
            seat.alone_since = self._now()

    def ended(self, kernel: str) -> None:
        """This kernel is no more: its seat is free, after a moment in which its visitor may come again."""
        self._left.update({seat.visitor: self._now() for seat in self._of(kernel) if seat.met})
        self._taken = [seat for seat in self._taken if seat.kernel != kernel]

    def is_waste(self, kernel: str) -> bool:
        """Whether a kernel may go at once: no browser ever came for its page, or it left for good and others wait."""
        return any(seat.alone_since is not None and self._now() - seat.alone_since > CONNECT_S
                   and (not seat.met or self.has_line()) for seat in self._of(kernel))

    def has_line(self) -> bool:
        """Whether somebody waits."""
        return any(self._now() - asked < GONE_S for asked in self._line.values())

    def _of(self, kernel: str) -> list[Seat]:
        return [seat for seat in self._taken if seat.kernel == kernel]


# The seat for which the current request opens a page, so that the kernel that is started for it finds it.
SEAT: contextvars.ContextVar[Seat | None] = contextvars.ContextVar("seat", default=None)


def seats_for_machine() -> int:
    """As many pages as this machine, or this container, holds beside the server and a measurement.

    Its memory sets that, or its cores: with more readers than these can serve, all would wait.
    """
    memory = psutil.virtual_memory().total
    if CGROUP.is_file() and (limit := CGROUP.read_text(encoding="ascii").strip()).isdecimal():
        memory = min(memory, int(limit))
    return max(FEWEST_PAGES, min(int((memory - RESERVED_BYTES) / PAGE_BYTES), PAGES_PER_CORE * usable_cores()))

"""Several computations timed in turns, one timing at a time on a machine."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from helpers.lab.progress import Progress, silent


@contextlib.contextmanager
def timing_turn(progress: Progress = silent, folder: Path | None = None, poll_s: float = 0.2) -> Iterator[None]:
    """Hold the machine's only stopwatch: one timing at a time, first come, first served.

    Args:
        progress: hears how many runs are ahead while there are any; told to end, it leaves the queue.
        folder: where the queue stands; the system's temporary folder by default, so that
            different users of one machine share it.

    Each run holds a lock on its own numbered file; the system drops the lock of a process that
    dies, so a killed run never blocks the queue.
    """
    folder = folder or Path(tempfile.gettempdir()) / "compute-smarter-timing"
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(PermissionError):  # only its owner may open it to the other users
        folder.chmod(0o1777)
    with FileLock(folder / "draw.lock", mode=0o666):  # else two could each see no earlier number and start together
        mine = folder / f"{_next_number(folder):020d}.turn"
        lock = FileLock(mine, mode=0o666)
        lock.acquire()
    try:
        while ahead := _runs_ahead(folder, mine):
            progress(None, f"waiting for {ahead} other runs")
            time.sleep(poll_s)
        yield
    finally:
        mine.unlink(missing_ok=True)
        lock.release()


def _next_number(folder: Path) -> int:
    """Above all numbers in the queue, even if the clock was set back."""
    return max([time.time_ns(), *(int(ticket.stem) + 1 for ticket in folder.glob("*.turn"))])


def _runs_ahead(folder: Path, mine: Path) -> int:
    ahead = 0
    for ticket in sorted(folder.glob("*.turn")):
        if ticket.name >= mine.name:
            break
        ahead += _is_held(ticket)
    return ahead


def _is_held(ticket: Path) -> bool:
    lock = FileLock(ticket, timeout=0, mode=0o666)
    try:
        with lock, contextlib.suppress(PermissionError):  # only its own user may remove it
            ticket.unlink(missing_ok=True)  # left behind by a process that died
    except Timeout:
        return True
    return False


def seconds_in_turns(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Name -> (rounds,) seconds. One round runs each once, so that a busy moment hits all alike; one more warms up."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            if number:
                found[name].append(time.perf_counter() - began)
    return {name: np.array(seconds) for name, seconds in found.items()}

"""Computations timed in turns, one timing at a time on a machine."""

import contextlib
import math
import tempfile
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock, Timeout

from helpers.lab.progress import Progress, silent

Name = TypeVar("Name", bound=Hashable)
_MIN_ROUNDS = 2  # of each work, whatever the patience: one run alone may have met a busy moment
_SHORT_S = 0.2  # a call below that comes twice: what the call before left behind would be a part of its time
_STILL_S, _STILL, _MAX_SETTLE_S = 0.004, 0.15, 1.0  # how long to look, CPU seconds a second that count as still, limit


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


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def settle() -> None:
    """Wait until no thread of this process computes any more, for a second at most.

    A runtime's threads go on spinning after a call, so as to be there for the next one: ONNX Runtime's for some 40 ms
    of CPU. On two cores they hold up every barrier of another runtime's threads: PyTorch took 76 ms for what takes it
    9 ms alone, and still 35 ms after a rest of 30 ms.
    """
    until = time.perf_counter() + _MAX_SETTLE_S
    still = 0
    while still < 2 and time.perf_counter() < until:
        began, used = time.perf_counter(), time.process_time()
        time.sleep(_STILL_S)
        idle = time.process_time() - used < _STILL * (time.perf_counter() - began)
        still = still + 1 if idle and not _another_thread_wants_to_run() else 0


def _another_thread_wants_to_run() -> bool:
    """On Linux: a busy machine lets a spinning thread wait for its turn, so that it uses no CPU for a while."""
    mine = threading.get_native_id()
    for task in Path("/proc/self/task").glob("*/stat"):  # none on other systems
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if int(task.parent.name) != mine and task.read_text().rpartition(")")[2].split()[0] == "R":
                return True
    return False


def seconds_in_turns(works: Mapping[Name, Callable[[], object]], rounds: int, *, warm_up: int = 1,
                     repeats: Mapping[Name, int] | None = None, seed: int | None = None,
                     patience_s: float = math.inf, progress: Progress = silent) -> dict[Name, np.ndarray]:
    """Seconds of each call, in rounds that run each work once: a busy moment hits all works alike.

    Each work is timed as if it were alone: before its turn the threads of the runtime before it come to rest
    (`settle`), and a short work is called once more, untimed, since its own threads sleep by then.

    Args:
        works: name -> what is timed. Hold `timing_turn` around the call, so that nobody else measures meanwhile.
        rounds: timed rounds; `warm_up` rounds more come first, in which memory is allocated and kernels are chosen.
        repeats: name -> calls in one round, each timed (default: 1).
        seed: draws another order of the works for each round; None keeps the order of `works`.
        patience_s: a work whose timed calls took longer in sum sits out the rounds after its second one.
        progress: hears of each turn; asked before each call whether to end.

    Returns:
        Name -> (rounds * repeats,) seconds in the order of the calls; fewer where patience ended.

    Raises:
        Cancelled: `progress` was told to end.

    >>> from helpers.lab.measuring.timing import seconds_in_turns
    >>> seconds = seconds_in_turns({"few": lambda: sum(range(10)), "many": lambda: sum(range(10_000))}, rounds=3)
    >>> {name: len(calls) for name, calls in seconds.items()}
    {'few': 3, 'many': 3}
    """
    repeats, names = repeats or {}, list(works)
    rng = None if seed is None else np.random.default_rng(seed)
    seconds: dict[Name, list[float]] = {name: [] for name in names}
    shortest: dict[Name, float] = {}
    for number in range(-warm_up, rounds):
        order = range(len(names)) if rng is None else rng.permutation(len(names))
        for place, name in enumerate(names[index] for index in order):
            if number >= _MIN_ROUNDS and sum(seconds[name]) > patience_s:
                continue
            progress((number + warm_up + place / len(names)) / (rounds + warm_up),
                     f"round {number + 1} of {rounds}" if number >= 0 else "warming up")
            settle()
            leading = shortest.get(name, 0.0) < _SHORT_S
            for call in range(leading + repeats.get(name, 1)):
                progress.check()
                took = seconds_of(works[name])
                shortest[name] = min(took, shortest.get(name, took))
                if number >= 0 and call >= leading:
                    seconds[name].append(took)
    return {name: np.array(calls) for name, calls in seconds.items()}

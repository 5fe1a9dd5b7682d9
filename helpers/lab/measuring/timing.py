"""Computations timed in turns, one timing at a time on a machine."""

import contextlib
import itertools
import math
import os
import re
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
from filelock import FileLock, Timeout

from helpers.lab.errors import InputError
from helpers.lab.progress import Progress, silent

Name = TypeVar("Name", bound=Hashable)
_MIN_ROUNDS = 2  # of each work, whatever the patience: one run alone may have met a busy moment
_SHORT_S = 0.2  # a call below that comes twice: what the call before left behind would be a part of its time
_STILL_S, _STILL, _MAX_SETTLE_S = 0.004, 0.15, 1.0  # how long to look, CPU seconds a second that count as still, limit
_TICKET = re.compile(r"\d{1,30}\.turn")  # it holds the number of the process, and of the list where that stands
_STUCK_S, _STUCK = 120.0, 0.01  # how long a run may use fewer CPU seconds a second than that: it times nothing
_MAX_TURN_S = 7_200.0  # of a run that others wait for
_MAX_DRAW_S = 60.0  # to draw a number, which takes a millisecond


@contextlib.contextmanager
def timing_turn(progress: Progress = silent, folder: Path | None = None, poll_s: float = 0.2) -> Iterator[None]:
    """Hold the machine's only stopwatch: one timing at a time, first come, first served.

    Args:
        progress: hears how many runs are ahead while there are any; cancelled, the run leaves the queue.
        folder: where the queue stands; the system's temporary folder by default, so that different users of one machine
            share it. Where it cannot be used, a warning says so, and this user's runs queue apart.

    Each run holds a lock on its own numbered file; the system drops the lock of a process that dies, so a killed run
    never blocks the queue. Nor does one that has stood still for two minutes, as a stopped process does, or a lock that
    outlives its process in a child; or one that takes more than two hours.

    Raises:
        Cancelled: `progress` cancelled the work.
        InputError: nobody can draw a number; or others had to go first, so that this run's times may be disturbed.
    """
    folder = _usable(folder or Path(tempfile.gettempdir()) / "compute-smarter-timing")
    with _drawing(folder, progress, poll_s):
        mine = folder / f"{_next_number(folder):020d}.turn"
        lock = FileLock(mine, mode=0o666)
        lock.acquire()
        with contextlib.suppress(OSError):  # where none can write to a locked file, nobody is found to stand still
            mine.write_text(f"{_namespace()} {os.getpid()}")
    try:
        queue = _Queue(folder, mine)
        while ahead := queue.ahead():
            progress(None, f"waiting for {ahead} other runs")
            time.sleep(poll_s)
        yield
        if not mine.exists():
            raise InputError("This measurement stood still, or took hours, while others waited, so they went first: "
                             "its times may be disturbed. Measure again.")
    finally:
        mine.unlink(missing_ok=True)
        lock.release()


def _usable(folder: Path) -> Path:
    """The folder, made, or this user's own where another user or a stray file is in its way."""
    for place in (folder, folder.with_name(f"{folder.name}-{os.getuid() if hasattr(os, 'getuid') else 'own'}")):
        try:
            place.mkdir(exist_ok=True)
            with contextlib.suppress(PermissionError):  # only its owner may open it to the other users
                place.chmod(0o1777)
            lock = FileLock(place / "draw.lock", mode=0o666)
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
                lock.release()
            return place
        except OSError as error:
            problem = error
            warnings.warn(f"The queue of measurements {place} cannot be used ({error.strerror}): remove it. Until then "
                          "timings of other users are not waited for.", stacklevel=4)
    raise InputError(f"There is no place for the queue of measurements ({problem.strerror}): set TMPDIR to a folder "
                     "that you may write to.") from problem


@contextlib.contextmanager
def _drawing(folder: Path, progress: Progress, poll_s: float) -> Iterator[None]:
    """Draw a number alone, else two could each see no earlier one and start together."""
    lock, until = FileLock(folder / "draw.lock", mode=0o666), time.monotonic() + _MAX_DRAW_S
    while True:
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=poll_s)
            break
        progress(None, "waiting for a number in the queue")
        if time.monotonic() > until:
            raise InputError(f"A process that stands still holds {folder / 'draw.lock'}: end it, or remove that file.")
    try:
        yield
    finally:
        lock.release()


def _tickets(folder: Path) -> list[tuple[int, Path]]:
    """(number, file) of those in the queue, in its order; other files are nobody's."""
    return sorted((int(path.stem), path) for path in folder.iterdir() if _TICKET.fullmatch(path.name))


def _next_number(folder: Path) -> int:
    """Above all numbers in the queue, even if the clock was set back."""
    return max([time.time_ns(), *(number + 1 for number, _ in _tickets(folder))])


class _Queue:
    """The runs ahead of a run, and for how long the first of them has not moved, by this process's own clock."""

    def __init__(self, folder: Path, mine: Path) -> None:
        self._folder, self._mine = folder, mine
        self._first: Path | None = None
        self._since = self._still_since = self._look_at = self._used = 0.0

    def ahead(self) -> int:
        """How many runs to wait for."""
        held = [path for number, path in _tickets(self._folder) if number < int(self._mine.stem) and _is_held(path)]
        if held and self._is_stuck(held[0]):
            with contextlib.suppress(PermissionError):  # only its own user may remove it
                held[0].unlink(missing_ok=True)
            return len(held) - 1
        return len(held)

    def _is_stuck(self, first: Path) -> bool:
        now = time.monotonic()
        if first != self._first:
            self._first, self._since, self._still_since, self._look_at = first, now, now, now
            self._used = math.nan
        if now >= self._look_at:  # seldom: looking takes milliseconds from the run that is timed
            self._look_at = now + _STUCK_S / 10
            used = _cpu_seconds(first)
            if not abs(used - self._used) <= _STUCK * _STUCK_S:  # NaN at first
                self._still_since, self._used = now, used
        return now - self._still_since > _STUCK_S or now - self._since > _MAX_TURN_S


def _cpu_seconds(ticket: Path) -> float:
    """CPU seconds that a ticket's process and its children have used; 0 where it is gone.

    One that cannot be seen, being in another container, is taken to be at work: its seconds are the clock's.
    """
    try:
        namespace, pid = ticket.read_text().split()
    except (OSError, ValueError):
        return time.monotonic()
    if namespace != _namespace() or not pid.isdecimal():
        return time.monotonic()
    try:
        process = psutil.Process(int(pid))
        return sum(sum(one.cpu_times()[:4]) for one in [process, *process.children(recursive=True)])
    except psutil.Error:
        return time.monotonic() if _exists(int(pid)) else 0.0


def _exists(pid: int) -> bool:
    """Whether there is such a process, also where the system hides it from other users."""
    try:
        os.kill(pid, 0)  # on Unix it asks only; elsewhere nothing hides processes
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _namespace() -> str:
    """The number of the system's list of processes that this one is in; 0 where there is but one list."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return "0"


def _is_held(ticket: Path) -> bool:
    lock = FileLock(ticket, timeout=0, mode=0o666)
    try:
        with lock, contextlib.suppress(PermissionError):  # only its own user may remove it
            ticket.unlink(missing_ok=True)  # left behind by a process that died
    except Timeout:
        return True
    except OSError:  # no file, or one that its owner alone may open: no run made it
        return False
    return False


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def next_inputs(work: Callable[[Sequence], object], inputs: Sequence, at_once: int) -> Callable[[], object]:
    """A work that gets the next so many inputs at each call, and after the last whole part the first again.

    What remembers inputs that it has seen, as language models do a prompt's beginning, is then not timed by heart.

    >>> from helpers.lab.measuring.timing import next_inputs
    >>> work = next_inputs(len, ["a", "b", "c", "d", "e"], at_once=2)
    >>> [work(), work(), work()]
    [2, 2, 2]
    """
    parts = itertools.cycle([inputs[start:start + at_once] for start in range(0, len(inputs) - at_once + 1, at_once)])
    return lambda: work(next(parts))


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
        Cancelled: `progress` cancelled the work.

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

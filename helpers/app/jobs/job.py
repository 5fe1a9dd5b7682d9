"""Long computations: as a page's job in another process, or in a script with lines."""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import cloudpickle
import traitlets

from helpers.app.jobs.processes import Gone, Worker
from helpers.app.problems import logged, sentence
from helpers.app.records import listed, replaced
from helpers.lab.errors import InputError
from helpers.lab.measuring.measurement import Measurement
from helpers.lab.paths import is_page
from helpers.lab.progress import Progress

STATES = ("idle", "waiting", "running", "cancelled", "failed", "done")
BUSY = ("waiting", "running")
KEEP_S = 60.0  # how long a worker of a page waits for the next job
EVERY_S = 0.1  # more messages than ten a second only slow the work down
_turn = threading.Lock()  # one job at a time in this kernel
_warm: list[Worker] = []  # the worker that the next job will use


class TimeLeft:
    """Seconds left, by how fast the work went since its first report; None while that is not known.

    Waiting in the queue of the machine does not count: it says nothing about the speed.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def __call__(self, fraction: float | None) -> float | None:
        """After this fraction of the work; None says that it waits."""
        if fraction is None:
            return None
        now = time.monotonic()
        if self._since is None:
            self._since, self._first = now, fraction
        passed, done = now - self._since, fraction - self._first
        return passed / done * (1 - fraction) if done > 0.02 and passed > 0.5 else None


class Job(traitlets.HasTraits):
    """Runs `compute(report, **settings)` in a worker process, one at a time, and follows it by traits.

    `report(fraction, message)` tells how far it is; a fraction of None means that it waits for
    its turn on the machine. `report.partial(result)` appends to `partials`. What compute returns
    becomes `result`, and sentences about what could not be stored (`NotStored`) are in `notes`.
    Observers are called from the thread that follows the worker.

    The process stays for the next job, since importing libraries takes longer than most jobs.
    It is ended, with all its children, by `cancel()` and at the kernel's exit.
    """

    state = traitlets.Enum(STATES, "idle")
    progress = traitlets.Float(0.0)
    message = traitlets.Unicode("")
    seconds_left = traitlets.Float(None, allow_none=True)
    partials = traitlets.List()
    notes = traitlets.List()
    result = traitlets.Any(None, allow_none=True)
    error = traitlets.Unicode("")

    def __init__(self, compute: Callable[..., Any]):
        super().__init__()
        self._compute = compute
        self._worker: Worker | None = None
        self._ended = threading.Event()
        self._ended.set()
        self._change = threading.RLock()

    def start(self, **settings: Any) -> None:
        """Begin, and return at once; while it runs, as after a double-click, this changes nothing.

        Raises:
            InputError: another job of this session still runs, or compute cannot be sent to a process.
        """
        with self._change:  # a run that is just ending ends whole before the next one begins
            if self.state not in BUSY:
                self._begin(settings)

    def _begin(self, settings: dict[str, Any]) -> None:
        try:
            work = cloudpickle.dumps((self._compute, settings))
        except Exception as error:
            raise InputError("This computation cannot be sent to another process, because it holds something "
                             f"that cannot be copied: {error}.") from error
        if not _turn.acquire(blocking=False):
            raise InputError("A measurement is already running in this session: wait for it or cancel it first.")
        try:
            self._ended.clear()
            self._time_left = TimeLeft()
            with self.hold_trait_notifications():
                self.progress, self.message, self.seconds_left = 0.0, "starting", None
                self.partials, self.notes, self.result, self.error = [], [], None, ""
                self.state = "running"
            self._worker = _worker()
            threading.Thread(target=self._follow, args=(self._worker, work), daemon=True).start()
        except BaseException:
            self._end("failed", error="The measurement could not be started.")
            raise

    def cancel(self) -> None:
        """End the worker and its children now. Without a running job this does nothing."""
        with self._change:
            if self.state in BUSY:
                if self._worker is not None:
                    self._worker.kill()
                self._end("cancelled", message="cancelled")

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the job has ended; False when `timeout` seconds were not enough."""
        return self._ended.wait(timeout)

    def _follow(self, worker: Worker, work: bytes) -> None:
        try:
            worker.send(work)
            while self._waits_for(worker):
                kind, content = worker.receive()
                with self._change:
                    if self._waits_for(worker):
                        self._take(worker, kind, content)
        except Gone as gone:
            with self._change:
                if self._waits_for(worker):
                    self._end("failed", error=logged(gone.sentence, worker.last_words()))
        except Exception as error:
            worker.kill()
            with self._change:
                if self._waits_for(worker):
                    self._end("failed", error=sentence(error))

    def _waits_for(self, worker: Worker) -> bool:
        """Whether this worker's run goes on: after a cancel another one may have begun already."""
        return self.state in BUSY and self._worker is worker

    def _take(self, worker: Worker, kind: str, content: Any) -> None:
        if kind == "report":
            self._report(*content)
        elif kind == "partial":
            self.partials = [*self.partials, cloudpickle.loads(content)]
        elif kind == "note":
            self.notes = list(dict.fromkeys([*self.notes, content]))
        elif kind == "done":
            result = cloudpickle.loads(content)
            _keep(worker)
            self._end("done", result=result, progress=1.0, message="done")
        elif kind == "cancelled":
            _keep(worker)
            self._end("cancelled", message="cancelled")
        else:
            _keep(worker)
            what, trace = content
            self._end("failed", error=what if kind == "refused" else logged(what, trace))

    def _report(self, fraction: float | None, message: str) -> None:
        with self.hold_trait_notifications():
            self.message = message
            if fraction is None:
                self.state, self.seconds_left = "waiting", None
                return
            self.state = "running"
            self.progress = min(1.0, max(0.0, fraction))
            self.seconds_left = self._time_left(self.progress)

    def _end(self, state: str, **traits: Any) -> None:
        self._worker = None
        _turn.release()
        try:
            with self.hold_trait_notifications():
                self.seconds_left = None
                for name, value in traits.items():
                    setattr(self, name, value)
                self.state = state
        finally:
            self._ended.set()


def _keep(worker: Worker) -> None:
    """For the next job; on a page for a while only, since the workers of all visitors would fill the memory."""
    _warm.append(worker)
    if is_page():
        timer = threading.Timer(KEEP_S, _let_go, (worker,))
        timer.daemon = True
        timer.start()


def _let_go(worker: Worker) -> None:
    try:
        _warm.remove(worker)
    except ValueError:  # a job has it
        return
    worker.kill()


def _worker() -> Worker:
    while _warm:
        if (worker := _warm.pop()).alive:
            return worker
    return Worker()


def run(compute: Callable[..., Any], **settings: Any) -> list[Measurement]:
    """The records that `compute(report, **settings)` gives, partial ones included; the first is the reference.

    It computes in this process, as a script does, with its progress on the terminal.
    """
    report = _Printed()
    result = compute(report, **settings)
    return replaced(report.partials, listed([] if result is None else result))


class _Printed(Progress):
    """The `report` of a computation that nobody watches on a page."""

    def __init__(self) -> None:
        super().__init__()
        self.partials: list[Measurement] = []
        self._last = ""

    def __call__(self, fraction: float | None, message: str = "") -> None:
        if message != self._last:
            done = "waiting" if fraction is None else f"{fraction:4.0%}"
            print(f"{done} {message}", file=sys.stderr, flush=True)
        self._last = message

    def partial(self, result: Any) -> None:
        """Collect one result; there is no page to show it on."""
        self.partials = replaced(self.partials, listed(result))

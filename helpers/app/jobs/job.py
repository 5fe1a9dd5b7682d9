"""One long computation at a time, in another process: the page stays alive and Cancel always works."""

import threading
import time
from collections.abc import Callable
from typing import Any

import cloudpickle
import traitlets

from helpers.app.jobs.processes import Gone, Worker
from helpers.app.text.problems import logged, sentence
from helpers.lab.errors import InputError

STATES = ("idle", "waiting", "running", "cancelled", "failed", "done")
BUSY = ("waiting", "running")
_turn = threading.Lock()  # one job at a time in this kernel
_warm: list[Worker] = []  # the worker that the next job will use


class Job(traitlets.HasTraits):
    """Runs `compute(report, **settings)` in a worker process and follows it by traits.

    `report(fraction, message)` tells how far it is; a fraction of None means that it waits for
    its turn on the machine. `report.partial(result)` appends to `partials`. What compute returns
    becomes `result`. Observers are called from the thread that follows the worker.

    The process is kept for the next job, since importing libraries takes longer than most jobs.
    It is ended, with all its children, by `cancel()` and at the kernel's exit.
    """

    state = traitlets.Enum(STATES, "idle")
    progress = traitlets.Float(0.0)
    message = traitlets.Unicode("")
    seconds_left = traitlets.Float(None, allow_none=True)
    partials = traitlets.List()
    result = traitlets.Any(None, allow_none=True)
    error = traitlets.Unicode("")

    def __init__(self, compute: Callable[..., Any]):
        super().__init__()
        self._compute = compute
        self._worker: Worker | None = None
        self._ended = threading.Event()
        self._ended.set()
        self._change = threading.RLock()
        self._since: float | None = None

    def start(self, **settings: Any) -> None:
        """Begin, and return at once.

        Raises:
            InputError: another job of this session still runs, or compute cannot be sent to a process.
        """
        try:
            work = cloudpickle.dumps((self._compute, settings))
        except Exception as error:
            raise InputError("This computation cannot be sent to another process, because it holds something "
                             f"that cannot be copied: {error}.") from error
        if not _turn.acquire(blocking=False):
            raise InputError("A measurement is already running in this session: wait for it or cancel it first.")
        try:
            self._ended.clear()
            self._since = None
            with self.hold_trait_notifications():
                self.progress, self.message, self.seconds_left = 0.0, "starting", None
                self.partials, self.result, self.error = [], None, ""
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
            while self.state in BUSY:
                kind, content = worker.receive()
                with self._change:
                    if self.state in BUSY:
                        self._take(worker, kind, content)
        except Gone as gone:
            with self._change:
                if self.state in BUSY:
                    self._end("failed", error=logged(gone.sentence, worker.last_words()))
        except Exception as error:
            worker.kill()
            with self._change:
                if self.state in BUSY:
                    self._end("failed", error=sentence(error))

    def _take(self, worker: Worker, kind: str, content: Any) -> None:
        if kind == "report":
            self._report(*content)
        elif kind == "partial":
            self.partials = [*self.partials, cloudpickle.loads(content)]
        elif kind == "done":
            result = cloudpickle.loads(content)
            _warm.append(worker)
            self._end("done", result=result, progress=1.0, message="done")
        elif kind == "cancelled":
            _warm.append(worker)
            self._end("cancelled", message="cancelled")
        else:
            _warm.append(worker)
            told, trace = content
            self._end("failed", error=told if kind == "refused" else logged(told, trace))

    def _report(self, fraction: float | None, message: str) -> None:
        with self.hold_trait_notifications():
            self.message = message
            if fraction is None:
                self.state, self.seconds_left = "waiting", None
                return
            self.state = "running"
            self.progress = min(1.0, max(0.0, fraction))
            now = time.monotonic()
            if self._since is None:  # waiting in the queue says nothing about the speed
                self._since, self._first = now, self.progress
            gone, made = now - self._since, self.progress - self._first
            self.seconds_left = gone / made * (1 - self.progress) if made > 0.02 and gone > 0.5 else None

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


def _worker() -> Worker:
    while _warm:
        if (worker := _warm.pop()).alive:
            return worker
    return Worker()

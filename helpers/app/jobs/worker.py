"""The other end of a job: `python -m helpers.app.jobs.worker`, started by helpers.app.jobs.processes."""

import contextlib
import os
import pickle
import queue
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import cloudpickle

from helpers.app.jobs.processes import kill_tree, read, write
from helpers.lab.errors import Cancelled, InputError, NotStored
from helpers.lab.paths import is_page
from helpers.lab.progress import Progress

NICE = 10  # a tenth of the processor beside a page that is opened, all of it beside none
AUTOGROUP = Path("/proc/self/autogroup")  # Linux weighs sessions against each other, where it groups processes by them
REPEAT_S = 0.1  # the same message is sent again at most this often, with its new fraction


class Report(Progress):
    """Progress callback for `compute`. The page ends a job by ending its process."""

    def __init__(self, tell: Callable[[str, Any], None]):
        super().__init__()
        self._tell = tell
        self._last: tuple[str, bool] | None = None
        self._at = 0.0

    def __call__(self, fraction: float | None, message: str = "") -> None:
        """Tell the page; None says that the work waits for its turn on the machine."""
        kind, now = (message, fraction is None), time.monotonic()
        if kind == self._last and now - self._at < REPEAT_S:
            return
        self._last, self._at = kind, now
        self._tell("report", (None if fraction is None else float(fraction), str(message)))

    def partial(self, result: Any) -> None:
        """Show one result before the rest is there."""
        self._tell("partial", cloudpickle.dumps(result))


def main() -> None:
    """Answer jobs until the page's kernel is gone."""
    if is_page():
        give_way()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not mix with the answers
    questions = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    with open(os.devnull, "rb") as nothing:  # a program that a measurement starts must not share the pipe
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    paths = pickle.loads(read(questions) or pickle.dumps([]))
    sys.path[:] = list(dict.fromkeys([*paths, *sys.path]))
    jobs: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_listen, args=(questions, jobs), daemon=True).start()
    writing = threading.Lock()

    def tell(kind: str, content: Any) -> None:
        with writing:
            write(answers, pickle.dumps((kind, content)))

    _pass_on_warnings(tell)
    while True:
        _answer(jobs.get(), tell)


def give_way() -> None:
    """Let the pages that others open go first: a measurement has time, and sees by itself that it was disturbed."""
    if hasattr(os, "nice"):
        os.nice(NICE)
    with contextlib.suppress(OSError):  # not on this system
        AUTOGROUP.write_text(str(NICE), encoding="ascii")


def _pass_on_warnings(tell: Callable[[str, Any], None]) -> None:
    """Let the reader know what could not be stored; other warnings are for the log."""
    to_the_log = warnings.showwarning

    def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, NotStored):
            tell("note", str(message))
        else:
            to_the_log(message, category, *where, **more)

    warnings.simplefilter("always", NotStored)
    warnings.showwarning = show


def _listen(questions: BinaryIO, jobs: "queue.Queue[bytes]") -> None:
    while (work := read(questions)) is not None:
        jobs.put(work)
    kill_tree(os.getpid())  # the kernel is gone, whatever it died of: nobody waits for an answer


def _answer(work: bytes, tell: Callable[[str, Any], None]) -> None:
    try:
        compute, settings = cloudpickle.loads(work)
        tell("done", cloudpickle.dumps(compute(Report(tell), **settings)))
    except InputError as error:
        tell("refused", (str(error), ""))
    except Cancelled:
        tell("cancelled", None)
    except MemoryError:
        tell("failed", ("There is not enough memory for these settings: choose smaller ones.",
                        traceback.format_exc()))
    except Exception:
        tell("failed", ("The measurement stopped with an error that is not your fault.", traceback.format_exc()))


if __name__ == "__main__":
    main()

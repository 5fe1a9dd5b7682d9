"""Exercises: a participant's function, tried on random points in a separate process, which can always be ended.

A thread could not be ended: nothing stops a loop inside a library, and a crash takes the kernel with it.
"""

import contextlib
import copy
import html
import io
import marshal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
from IPython.display import HTML

from helpers.app.jobs.processes import Gone, Worker
from helpers.app.text.words import check_html, notes_html, shown
from helpers.lab.errors import InputError, reason

POINTS = 6  # on which a function is tried: many a wrong formula meets one
ROWS = 3  # of them that are shown, wrong ones first
ENTRIES = 4  # numbers of an array that are shown
LOAD_S, RUN_S = 60.0, 4.0  # until the function and its imports are there, and then for its answers to all points
MAX_PRINTED = 400  # characters of what it prints that are shown
_UNWRITTEN = "Your function returns nothing yet: write its answer in the place of `...`."
_DIED = ("Your function ended the process in which it was tried: look for a call that exits, for a recursion without "
         "end, and for what needs too much memory.")
_ready: list[Worker] = []  # the process that the next check will use
_failed: dict[str, set[bytes]] = {}  # exercise -> the functions that failed it in this kernel

Figures = dict[str, np.ndarray]  # what an answer consists of; a bare number or array has the name ''


class Outcome(NamedTuple):
    """A function's answers at the points that it reached, and the problem that stopped it, if any."""

    figures: list[Figures]
    problem: str = ""
    printed: str = ""
    at_point: bool = False  # whether it went wrong at a point, the next one, and not before all of them


class Exercise:
    """Checks what a participant wrote: on several random points, with a tolerance, theirs beside what is wanted.

    Args:
        name: under which failed attempts are counted; each new one brings the next hint.
        draw: a random generator -> a point, as argument name -> value.
        wanted: the right answer to a point, a number or an array; best from a library, so that the check does not
            show the solution.
        right: what a right answer shows.
        hints: the first says where to look, the last nearly all.
        use: for what has more than one right answer: called as `use(function, *point)` in the other process, it
            gives figures, name -> number, and `wanted` the most that each of them may be.
        prepare: called first in that process, for what is compiled or loaded once: no time of the function's.
        tolerance: by how much, relative to what is wanted, an answer may differ.

    >>> import math
    >>> from helpers import app
    >>> check = app.Exercise("area", lambda rng: {"radius": rng.uniform(1, 9)}, lambda radius: math.pi * radius**2,
    ...                      "It grows with the square.", ("Which power?", "The second power.", "Pi times r squared."))
    >>> "Right." in check(lambda radius: radius * radius * 3.14159265).data
    True
    >>> "Hint 1 of 3: Which power?" in check(lambda radius: 2 * 3.14159265 * radius).data
    True
    """

    def __init__(self, name: str, draw: Callable[[np.random.Generator], Mapping[str, Any]], wanted: Callable[..., Any],
                 right: str, hints: Sequence[str], *, use: Callable[..., Mapping[str, Any]] | None = None,
                 prepare: Callable[[], Any] | None = None, tolerance: float = 1e-4):
        self._name, self._wanted, self._right, self._hints = name, wanted, right, hints
        self._use, self._prepare, self._tolerance = use, prepare, tolerance
        rng = np.random.default_rng(0)
        drawn = [draw(rng) for _ in range(POINTS)]
        self._points = [{key: value.item() if isinstance(value, np.generic) else value for key, value in one.items()}
                        for one in drawn]

    def __call__(self, function: Callable[..., Any]) -> HTML:
        """Try a function and show how it did, within some five seconds whatever it does."""
        outcome = _tried(function, {"points": [list(point.values()) for point in self._points], "use": self._use,
                                    "prepare": self._prepare})
        yours = outcome.figures
        wanted = [_figures(self._wanted(*point.values())) for point in self._points]
        marks = [self._agree(*pair) for pair in zip(yours, wanted, strict=False)]  # an error cuts yours short
        order = sorted(range(len(marks)), key=lambda number: marks[number])
        rows = [(_arguments(self._points[number]), *_beside(yours[number], wanted[number]), marks[number])
                for number in order[:ROWS]]
        problem = self._problem(outcome, marks)
        hints = self._hints[:self._attempts(function)] if problem and problem != _UNWRITTEN else ()
        says = [f"Hint {number} of {len(self._hints)}: {hint}" for number, hint in enumerate(hints, 1)]
        printed = " ".join(outcome.printed.split())
        return shown(check_html(not problem, self._right, problem, says) + self._table(rows)
                     + notes_html([f"It printed: {printed}" if printed else ""]))

    def _problem(self, outcome: Outcome, marks: Sequence[bool]) -> str:
        if outcome.problem:
            where = outcome.at_point and outcome.problem != _UNWRITTEN
            return outcome.problem + (f" This was at {_arguments(self._points[len(marks)])}." if where else "")
        wrong = len(marks) - sum(marks)
        if not wrong:
            return ""
        return f"{'All' if wrong == len(marks) else f'{wrong} of'} {len(marks)} random points are wrong."

    def _agree(self, yours: Figures, wanted: Figures) -> bool:
        if yours.keys() != wanted.keys():
            return False
        for name in wanted:
            mine, right = yours[name].squeeze(), wanted[name].squeeze()
            if mine.shape != right.shape:
                return False
            near = np.isclose(mine, right, rtol=self._tolerance, atol=1e-6 * np.abs(right).max(initial=0.0))
            if not np.all(near | (mine < right) if self._use else near):
                return False
        return True

    def _attempts(self, function: Callable[..., Any]) -> int:
        """How many different functions have failed, this one among them: a cell that is run again is no new attempt."""
        code = getattr(function, "__code__", None)
        failed = _failed.setdefault(self._name, set())
        failed.add(marshal.dumps(code, 2) if code else repr(function).encode())
        return len(failed)

    def _table(self, rows: Sequence[tuple[str, str, str, bool]]) -> str:
        if not rows:
            return ""
        titles = ("Point", "Yours", "At most" if self._use else "Wanted", "")
        head = "".join(f"<th scope='col'>{title}</th>" for title in titles)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
                       + f"<td>{'right' if mark else 'wrong'}</td></tr>" for *cells, mark in rows)
        return ("<div class='app-table mathjax_ignore' tabindex='0' role='region' aria-label='Yours beside what is "
                f"wanted'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>")


def answers(report: Any, function: Callable[..., Any], points: Sequence[Sequence[Any]],
            use: Callable[..., Any] | None, prepare: Callable[[], Any] | None) -> Outcome:
    """In the other process: what the function answers at the points, as far as it gets."""
    if prepare:
        prepare()
    report.partial(None)  # all is there: from here on the time is the function's
    figures: list[Figures] = []
    printed = _Printed()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        for point in points:
            try:
                figures.append(_figures(use(function, *point) if use else function(*copy.deepcopy(point))))
            except BaseException as error:  # also what would end the process, such as sys.exit
                return Outcome(figures, _stopped(error, function), printed.getvalue(), at_point=True)
    return Outcome(figures, printed=printed.getvalue())


class _Printed(io.StringIO):
    """Printed text, up to a length: a flood must not fill the memory."""

    def write(self, text: str) -> int:
        super().write(text[:max(0, MAX_PRINTED - self.tell())])
        return len(text)


def _figures(value: Any) -> Figures:
    """Convert the answer to arrays of floats.

    Raises:
        InputError: it is neither a number nor an array of numbers.
    """
    if isinstance(value, Mapping):
        return {str(name): _numbers(one) for name, one in value.items()}
    return {"": _numbers(value)}


def _numbers(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # PyTorch's, which may want gradients
        value = value.detach().cpu().numpy()
    if value is None:
        raise InputError("Your function returns None: end it with `return` and its answer.")
    if any(part is ... for part in (value if isinstance(value, (tuple, list)) else [value])):
        raise InputError(_UNWRITTEN)
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biufO":
            raise TypeError
        return array.astype(float)
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise InputError(f"Your function returns a {kind} that is neither a number nor a table of numbers.") from None


def _stopped(error: BaseException, function: Callable[..., Any]) -> str:
    """An error as a sentence: what it is, and in which line of the function."""
    if isinstance(error, InputError):
        return str(error)
    if "ellipsis" in str(error).lower():
        return _UNWRITTEN
    code = getattr(function, "__code__", None)
    lines = [frame.lineno - code.co_firstlineno + 1 for frame in traceback.extract_tb(error.__traceback__)
             if code and (frame.filename, frame.name) == (code.co_filename, code.co_name)]
    where = f" in its line {lines[-1]}" if lines else ""
    return f"Your function stopped{where} with {reason(error).rstrip(': ')}."


def _tried(function: Callable[..., Any], settings: Mapping[str, Any]) -> Outcome:
    """`answers`, from a process that is ended when it takes too long."""
    if not callable(function):
        return Outcome([], "What is checked here is a function: run the cell that defines it, and give its name "
                           f"without brackets, not a {type(function).__name__}.")
    try:
        work = cloudpickle.dumps((answers, {"function": function, **settings}))
    except Exception as error:  # whatever it refers to is copied with it
        return Outcome([], f"Your function cannot be copied into another process ({reason(error)}): let it use its "
                           "arguments and imported modules only.")
    worker, late, allowed = _worker(), threading.Event(), LOAD_S
    try:
        with _ended_after(allowed, worker, late):
            worker.send(work)
            kind, content = worker.receive()
        if kind == "partial":
            allowed = RUN_S
            with _ended_after(allowed, worker, late):
                kind, content = worker.receive()
    except Gone:
        return Outcome([], f"Your function had not returned after {allowed:.0f} seconds, and its process was ended: "
                           "look for a loop without end, and for what is done again and again."
                       if late.is_set() else _DIED)
    except BaseException:  # such as the kernel's stop button
        worker.kill()
        raise
    _ready.append(worker)
    if kind == "done":
        return cloudpickle.loads(content)
    message = content[1].strip() or content[0]
    return Outcome([], f"Your function cannot be run in another process ({message.splitlines()[-1].rstrip('.')}).")


def _worker() -> Worker:
    while _ready:
        worker = _ready.pop()
        if worker.alive:
            return worker
    return Worker()


@contextlib.contextmanager
def _ended_after(seconds: float, worker: Worker, late: threading.Event) -> Iterator[None]:
    """Kill the process unless the block is left in time; `late` says whether that was done."""
    def end() -> None:
        late.set()
        worker.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _arguments(point: Mapping[str, Any]) -> str:
    """'n=4,096, weight of 4 x 8'."""
    return ", ".join(f"{name} of {' x '.join(map(str, np.shape(value)))}" if np.ndim(value) else
                     f"{name}={_number(value)}" for name, value in point.items())


def _beside(yours: Figures, wanted: Figures) -> tuple[str, str]:
    """Both in words; of long arrays the entries that differ most."""
    lines = []
    for name in dict.fromkeys([*wanted, *yours]):
        pair = [np.atleast_1d(one[name].squeeze()) if name in one else np.empty(0) for one in (yours, wanted)]
        if pair[0].shape == pair[1].shape:
            off = np.nan_to_num(np.abs(pair[0] - pair[1]).ravel(), nan=np.inf)
            places = [np.sort(np.argsort(-off, kind="stable")[:ENTRIES])] * 2
        else:
            places = [np.arange(min(ENTRIES, one.size)) for one in pair]
        lines.append([_listed(name, one, at) for one, at in zip(pair, places, strict=True)])
    mine, right = ("; ".join(parts) for parts in zip(*lines, strict=True))
    return mine, right


def _listed(name: str, values: np.ndarray, places: np.ndarray) -> str:
    """'largest code 127', or of an array '[0] 1.5, [3] 2 (of 12)'."""
    if values.size < 2:
        return f"{name} {_number(values[0]) if values.size else 'missing'}".strip()
    entries = [f"[{', '.join(map(str, np.unravel_index(at, values.shape)))}] {_number(values.ravel()[at])}"
               for at in places]
    return f"{name} {', '.join(entries)} (of {' x '.join(map(str, values.shape))})".strip()


def _number(value: Any) -> str:
    """Six digits, whole numbers in full."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.6g}"

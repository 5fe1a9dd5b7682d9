"""How far a long computation is, and the way to end it."""

from collections.abc import Callable

from helpers.lab.errors import Cancelled


class Progress:
    """Callback of long functions to report progress; it raises Cancelled once its caller wants an end.

    Args:
        report: called with (fraction or None while waiting, message).
        cancelled: asked at each call; True ends the computation.

    >>> from helpers.lab.progress import Progress
    >>> progress = Progress(lambda fraction, message: print(f"{fraction:.0%} {message}"))
    >>> progress.part(0.5, 1.0)(0.5, "fine-tuning")
    75% fine-tuning
    """

    def __init__(self, report: Callable[[float | None, str], None] | None = None,
                 cancelled: Callable[[], bool] | None = None) -> None:
        self._report = report
        self._cancelled = cancelled

    def __call__(self, fraction: float | None, message: str = "") -> None:
        """Report that this fraction is done; None says that the work waits for its turn on the machine.

        Raises:
            Cancelled: the caller wants an end.
        """
        self.check()
        if self._report:
            self._report(fraction, message)

    def check(self) -> None:
        """Raise Cancelled if the caller wants an end: for loops that have nothing to report."""
        if self._cancelled and self._cancelled():
            raise Cancelled

    def part(self, start: float, end: float) -> "Progress":
        """The progress of a part that goes from `start` to `end` of the whole."""
        return Progress(lambda fraction, message: self(None if fraction is None else start + (end - start) * fraction,
                                                       message), self._cancelled)


def _print(fraction: float | None, message: str) -> None:
    print("waiting" if fraction is None else f"{fraction:4.0%}", message, flush=True)


silent = Progress()
printed = Progress(_print)  # a line for each report

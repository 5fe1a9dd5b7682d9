"""A panel's computation without the panel: in this process, its progress on the terminal."""

import sys
from collections.abc import Callable
from typing import Any

from helpers.app.export.records import listed, replaced
from helpers.lab.measuring.measurement import Measurement
from helpers.lab.progress import Progress


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
        """Keep one result; there is no page to show it on."""
        self.partials = replaced(self.partials, listed(result))


def run(compute: Callable[..., Any], **settings: Any) -> list[Measurement]:
    """The records that `compute(report, **settings)` gives, partial ones included; the first is the reference."""
    report = _Printed()
    result = compute(report, **settings)
    return replaced(report.partials, listed([] if result is None else result))

"""Cost of a teacher, by the second or by the token, and the number of requests after which it is repaid."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.language.engines.endpoints import EndpointModel
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.money.bill import repaid_in
from helpers.lab.money.costs import DEFAULT_OFFER, compute_usd
from helpers.lab.progress import Progress


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A teacher's answers to the messages that it was shown, and the seconds and dollars that they took."""

    answers: list
    seconds: float
    usd: float


class Bill:
    """Cost of a teacher: seconds of this machine or, behind a server, tokens as the server counts them.

    Args:
        teacher: its language model, if it has one, stands in `llm`.
        token_price: dollars for a million tokens (read, written).

    Raises:
        InputError: no price for one behind a server, a price for any other, or one below 0.
    """

    def __init__(self, teacher: Any, name: str, token_price: tuple[float, float] | None) -> None:
        llm = getattr(teacher, "llm", None)
        self._served, self._price, self._before = llm if isinstance(llm, EndpointModel) else None, token_price, (0, 0)
        if self._served and token_price is None:
            raise InputError(f"'{name}' is behind a server and paid by the token: give token_price=(dollars for a "
                             "million tokens read, for a million written).")
        if token_price is not None and not self._served:
            raise InputError(f"'{name}' runs on this machine and is paid by the second: leave token_price out, or ask "
                             "a language model behind endpoint().")
        if token_price is not None and (len(token_price) != 2 or not all(0 <= usd < math.inf for usd in token_price)):
            raise InputError(f"token_price is two numbers of dollars from 0 on, for a million tokens read and for a "
                             f"million written, not {token_price}.")

    def begin(self) -> None:
        """Start a bill: earlier requests are not on it."""
        self._before = self._served.used if self._served else (0, 0)

    def usd(self, seconds: float) -> float:
        """Dollars since `begin`, after so many seconds."""
        if not self._served:
            return compute_usd(seconds * usable_cores())
        return sum(price * (now - before) for price, now, before in
                   zip(self._price, self._served.used, self._before, strict=True)) / 1e6


def asked(ask: Callable[[Progress], list], bill: Bill, progress: Progress) -> Teacher:
    """The teacher's answers, and what they took: alone on the machine."""
    with timing_turn(progress):
        began = time.perf_counter()
        bill.begin()
        answers = ask(progress)
        seconds = time.perf_counter() - began
    return Teacher(answers, seconds, bill.usd(seconds))


def priced(rows: list[dict[str, Any]], trained: Mapping[int, float], request_s: float,
           teacher: Teacher) -> pd.DataFrame:
    """The rows with what labels, training and requests cost, the machine's share on DEFAULT_OFFER.

    Args:
        trained: place of each specialist's row -> seconds of its training.
        request_s: that a specialist answers a request in.
    """
    usd_per_s, asked_usd = compute_usd(usable_cores()), teacher.usd / len(teacher.answers)
    for place, row in enumerate(rows):
        labels_usd, labels_s = (teacher.usd, teacher.seconds) if row["taught"] else (0.0, 0.0)
        row |= {"made_in_s": 0.0, "teacher_usd": labels_usd, "usd_per_million": 0.0, "break_even": None}
        if place in trained:
            usd = usd_per_s * request_s
            row |= {"made_in_s": trained[place] + labels_s, "usd_per_million": 1e6 * usd,
                    "break_even": repaid_in(labels_usd + usd_per_s * trained[place], asked_usd - usd)}
    rows[0]["usd_per_million"] = 1e6 * asked_usd
    frame = pd.DataFrame(rows).assign(offer=DEFAULT_OFFER)
    return frame.astype({"break_even": float})  # None only where nothing is repaid would make it a column of objects

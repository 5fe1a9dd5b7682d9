"""What data work costs: people's minutes for labels, and the processor's seconds for choosing them."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import special

from helpers.lab.costs import DEFAULT_OFFER, offer
from helpers.lab.errors import InputError

USD_A_LABEL = 0.10  # an assumption to be replaced by your own: 15 s of a person who costs $24 an hour


@dataclasses.dataclass
class Watch:
    """CPU seconds that were spent; other programs on the machine do not count."""

    seconds: float = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Add what the block spends."""
        began = time.process_time()
        try:
            yield
        finally:
            self.seconds += time.process_time() - began

    @property
    def usd(self) -> float:
        """The seconds as dollars on the default offer, one of its processors billed."""
        return compute_usd(self.seconds)


def compute_usd(cpu_seconds: float, offer_name: str = DEFAULT_OFFER) -> float:
    """Dollars of so many seconds of one processor of a rented machine."""
    rented = offer(offer_name)
    return cpu_seconds / 3600 * rented.on_demand_usd_hour / (rented.vcpus or 1)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high): Student's 95 % interval over independent repetitions.

    Raises:
        InputError: fewer than two values: one repetition says nothing about the scatter.
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        raise InputError("An interval needs at least two repetitions (seeds).")
    half = float(special.stdtrit(len(values) - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(values.mean()), float(values.mean()) - half, float(values.mean()) + half

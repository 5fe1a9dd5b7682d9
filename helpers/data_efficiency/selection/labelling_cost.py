"""What data work costs: people's minutes for labels, and the processor's seconds for choosing them."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import special

from helpers.lab.errors import InputError
from helpers.lab.money.costs import DEFAULT_OFFER, offer

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


def paired_gains(runs: pd.DataFrame, arm: str, at: str, reference: str) -> pd.DataFrame:
    """Each arm's accuracy, and its difference to the reference arm with the same seed, with 95 % intervals over seeds.

    Args:
        runs: columns seed, accuracy, and those that `arm` and `at` name.
        arm: the column that tells what is compared; `reference` is one of its values.
        at: the column within whose values it is compared.

    Returns:
        Columns arm, at (under their names), accuracy, low, high, gain, gain_low and gain_high.
    """
    table = runs.pivot_table(index=[at, "seed"], columns=arm, values="accuracy")
    rows = []
    for place, group in table.groupby(level=at):
        for name in runs[arm].unique():
            accuracy, low, high = interval(group[name])
            gain, gain_low, gain_high = interval(group[name] - group[reference])
            rows.append({arm: name, at: place, "accuracy": accuracy, "low": low, "high": high,
                         "gain": gain, "gain_low": gain_low, "gain_high": gain_high})
    return pd.DataFrame(rows)

"""Which measured model to take, for pages that must not import torch."""

from collections.abc import Sequence

from helpers.lab.errors import InputError
from helpers.lab.measuring.measurement import Measurement


def cheapest_within(measurements: Sequence[Measurement], points: float = 2.0) -> Measurement:
    """The cheapest model whose accuracy is at most so many points below the best one's.

    Raises:
        InputError: no measurement, or a negative number of points.
    """
    if not measurements or points < 0:
        raise InputError("The cheapest of some measurements within 0 or more points of the best is asked for; "
                         f"there are {len(measurements)} measurements and {points} points.")
    best = max(record.accuracy for record in measurements)
    able = [record for record in measurements if record.accuracy >= best - points / 100 - 1e-12]
    return min(able, key=lambda record: record.usd_per_million)


def with_floor(measurements: Sequence[Measurement], floor: float) -> Measurement | None:
    """The cheapest model with at least this accuracy (a fraction); None where none has it."""
    able = [record for record in measurements if record.accuracy >= floor]
    return min(able, key=lambda record: record.usd_per_million, default=None)

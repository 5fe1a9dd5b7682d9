"""How long a replica works on a batch: measured seconds, drawn at random."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from helpers.cloud_distributed.simulator.compiled import hot
from helpers.lab.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class ServiceTimes:
    """Measured seconds of whole batches, by batch size: ServiceTimes({1: [0.021, 0.019], 8: [0.09, 0.1]}).

    A draw takes a measured value at random. Between two measured sizes it takes the same quantile of both
    and interpolates; below the smallest one it takes that one.

    Raises:
        InputError: nothing measured, a size below 1, or seconds that are no positive numbers.
    """

    seconds: Mapping[int, ArrayLike]

    def __post_init__(self) -> None:
        if not self.seconds:
            raise InputError("ServiceTimes needs measured seconds for at least one batch size.")
        measured = {}
        for size, seconds in self.seconds.items():
            values = np.sort(np.atleast_1d(np.asarray(seconds, np.float64)))
            if size != int(size) or size < 1 or values.ndim != 1 or not len(values):
                raise InputError(f"Batch size {size} needs to be 1 or more, with a list of measured seconds.")
            if not (np.isfinite(values).all() and values[0] > 0):
                raise InputError(f"The seconds measured at batch size {size} must be positive numbers.")
            measured[int(size)] = values
        object.__setattr__(self, "seconds", dict(sorted(measured.items())))

    def mean_s(self, size: int = 1) -> float:
        """Mean seconds of a batch of this size."""
        values, rows, weights = self.packed(size)
        below, above = (float(values[rows[size, k]:rows[size, k] + rows[size, k + 1]].mean()) for k in (0, 2))
        return below + float(weights[size]) * (above - below)

    def packed(self, largest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Table that the compiled loop reads, for batches of 1 to `largest`.

        Returns:
            values: all measured seconds, each size's ascending. rows: (largest + 1, 4) int64, where the
            values of the measured sizes below and above begin and how many there are. weights:
            (largest + 1,) float64, how far a size lies between the two.

        Raises:
            InputError: batches larger than any that was measured.
        """
        sizes = np.array(list(self.seconds))
        if largest > sizes[-1]:
            raise InputError(f"The service times were measured up to batch size {sizes[-1]}, and the fleet batches up "
                             f"to {largest}: measure that size too, or lower batch_size.")
        counts = np.array([len(values) for values in self.seconds.values()])
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        wanted = np.maximum(np.arange(largest + 1), sizes[0])
        above = np.searchsorted(sizes, wanted)
        below = np.where(sizes[above] == wanted, above, above - 1)
        gap = np.where(above > below, sizes[above] - sizes[below], 1)
        rows = np.stack([starts[below], counts[below], starts[above], counts[above]], axis=1).astype(np.int64)
        return np.concatenate(list(self.seconds.values())), rows, (wanted - sizes[below]) / gap


@hot
def draw_service(values: np.ndarray, rows: np.ndarray, weights: np.ndarray, size: int, luck: float) -> float:
    """Seconds of a batch of `size`: the same quantile of the two measured sizes around it, interpolated."""
    seconds = values[rows[size, 0] + int(luck * rows[size, 1])]
    if weights[size] > 0.0:
        above = values[rows[size, 2] + int(luck * rows[size, 3])]
        seconds += weights[size] * (above - seconds)
    return seconds

"""Exact quantiles of many latencies without sorting them."""

from collections.abc import Sequence

import numpy as np

from helpers.cloud_distributed.simulator.compiling import compiled

_FEW = 200_000  # below this NumPy's selection is as quick
_SHIFT = 44     # of the 64 bits: sign, 11 of the exponent and 8 of the fraction are left, steps of 0.4 %


def quantiles(values: np.ndarray, at: Sequence[float]) -> np.ndarray:
    """As `numpy.nanquantile(values, at)` for (n,) float64 values >= 0; NaN where there is none.

    The bits of floats that are not negative sort as the floats do: count the leading bits, then sort only the
    values that share them with the one that is looked for.
    """
    at = np.asarray(at, float)
    if len(values) < _FEW:
        known = values[~np.isnan(values)]
        return np.quantile(known, at) if len(known) else np.full(len(at), np.nan)
    values = np.ascontiguousarray(values)
    counts = _count_leading_bits(values.view(np.uint64), values)
    below = np.concatenate([[0], np.cumsum(counts)])
    if not below[-1]:
        return np.full(len(at), np.nan)
    ranks = at * (below[-1] - 1)
    low = np.floor(ranks).astype(np.int64)
    wanted = np.unique(np.concatenate([low, np.minimum(low + 1, below[-1] - 1)]))
    bins = np.searchsorted(below, wanted, side="right") - 1
    found = {}
    for one in np.unique(bins):
        inside = np.sort(_collect(values.view(np.uint64), one, counts[one]))
        found |= {rank: inside[rank - below[one]] for rank in wanted[bins == one]}
    first = np.array([found[rank] for rank in low])
    second = np.array([found[min(rank + 1, below[-1] - 1)] for rank in low])
    return first + (ranks - low) * (second - first)


@compiled
def _count_leading_bits(bits, values):
    counts = np.zeros(1 << (64 - _SHIFT), np.int64)
    for i in range(len(bits)):
        if values[i] == values[i]:  # not NaN
            counts[bits[i] >> np.uint64(_SHIFT)] += 1
    return counts


@compiled
def _collect(bits, leading, size):
    found = np.empty(size, np.uint64)
    k = 0
    for i in range(len(bits)):
        if bits[i] >> np.uint64(_SHIFT) == np.uint64(leading):
            found[k] = bits[i]
            k += 1
    return found.view(np.float64)

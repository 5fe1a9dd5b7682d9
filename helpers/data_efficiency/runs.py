"""Summaries of repeated runs: arms paired over seeds, and the processor's seconds that they took."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import CONFIDENCE, holm, mean_interval, paired_mean_interval, paired_mean_p


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


def paired_gains(runs: pd.DataFrame, arm: str = "strategy", at: str = "labels",
                 reference: str = "random") -> pd.DataFrame:
    """Each arm's accuracy, and its difference to the reference arm with the same seed, with 95% intervals over seeds.

    Args:
        runs: columns seed, accuracy (on test rows), validation (accuracy on validation rows), and those `arm` and
            `at` name: of `compare_strategies`, of `prune_study` (arm="method", at="keep"), or of `augmentation_study`
            (arm="method", reference="none").
        arm: the column that tells what is compared; `reference` is one of its values.
        at: the column within whose values it is compared.

    Returns:
        Columns arm, at (under their names), accuracy, low, high, gain, gain_low and gain_high (Student's t, each for
        itself), p (Holm's, with all arms and places of the table taken into account; NaN for the reference),
        significant (p below 0.05), and validation (mean): who picks the best picks it there.

    Raises:
        InputError: one seed only.
    """
    require_seeds(runs)
    table = runs.pivot(index=[at, "seed"], columns=arm, values=["accuracy", "validation"])
    rows = []
    for place, group in table.groupby(level=at):
        for name in runs[arm].unique():
            mine, its = group["accuracy"][name], group["accuracy"][reference]
            accuracy, low, high = mean_interval(mine)
            gain, gain_low, gain_high = paired_mean_interval(its, mine)
            rows.append({arm: name, at: place, "accuracy": accuracy, "low": low, "high": high,
                         "gain": gain, "gain_low": gain_low, "gain_high": gain_high,
                         "p": math.nan if name == reference else paired_mean_p(its, mine),
                         "validation": group["validation"][name].mean()})
    frame = pd.DataFrame(rows)
    return frame.assign(**judged(frame["p"]))


def first_at(run: pd.DataFrame, accuracy: float, on: str, counted: Sequence[str]) -> list[float]:
    """The count at which a curve first crosses an accuracy, interpolated linearly; NaN where it never does.

    Args:
        run: of one seed, in the order of its points.
        on: the column of its accuracy. counted: columns that grow along it.
    """
    got, counts = run[on].to_numpy(float), run[list(counted)].to_numpy(float)  # (points,), (points, counted)
    above = np.flatnonzero(got >= accuracy)
    if not len(above):
        return [math.nan] * len(counted)
    at = int(above[0])
    if at == 0:
        return counts[0].tolist()
    share = (accuracy - got[at - 1]) / (got[at] - got[at - 1])
    return (counts[at - 1] + share * (counts[at] - counts[at - 1])).tolist()


def judged(p_values: pd.Series) -> dict[str, pd.Series]:
    """Columns p, adjusted by Holm's method, and significant: whether it is below 0.05."""
    adjusted = pd.Series(holm(p_values), p_values.index)
    return {"p": adjusted, "significant": adjusted < 1 - CONFIDENCE}


def require_seeds(runs: pd.DataFrame) -> None:
    """Refuse runs of one seed: one repetition says nothing about the scatter."""
    if runs["seed"].nunique() < 2:
        raise InputError("An interval needs at least two repetitions: run with seeds=2 or more.")

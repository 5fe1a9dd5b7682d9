"""What repeated runs say: arms paired over seeds, and the processor's seconds that they took."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator

import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import mean_interval, paired_mean_interval


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
    """Each arm's accuracy, and its difference to the reference arm with the same seed, with 95 % intervals over seeds.

    Args:
        runs: columns seed, accuracy, and those that `arm` and `at` name: of `compare_strategies`, of `prune_study`
            (arm="method", at="keep"), or of `augmentation_study` (arm="method", reference="none").
        arm: the column that tells what is compared; `reference` is one of its values.
        at: the column within whose values it is compared.

    Returns:
        Columns arm, at (under their names), accuracy, low, high, gain, gain_low and gain_high (Student's t).

    Raises:
        InputError: one seed only.
    """
    require_seeds(runs)
    table = runs.pivot_table(index=[at, "seed"], columns=arm, values="accuracy")
    rows = []
    for place, group in table.groupby(level=at):
        for name in runs[arm].unique():
            accuracy, low, high = mean_interval(group[name])
            gain, gain_low, gain_high = paired_mean_interval(group[reference], group[name])
            rows.append({arm: name, at: place, "accuracy": accuracy, "low": low, "high": high,
                         "gain": gain, "gain_low": gain_low, "gain_high": gain_high})
    return pd.DataFrame(rows)


def require_seeds(runs: pd.DataFrame) -> None:
    """Refuse runs of one seed: one repetition says nothing about the scatter."""
    if runs["seed"].nunique() < 2:
        raise InputError("An interval needs at least two repetitions: run with seeds=2 or more.")

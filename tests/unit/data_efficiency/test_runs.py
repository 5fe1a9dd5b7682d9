"""Runs of one seed are compared with each other, and CPU seconds are counted."""

import math

import numpy as np
import pandas as pd
import pytest

from helpers.data_efficiency.runs import Watch, paired_gains
from helpers.lab.errors import InputError


def test_gains_are_paired_with_the_reference():
    runs = pd.DataFrame({"method": ["none", "edits"] * 2, "labels": 10, "seed": [0, 0, 1, 1],
                         "accuracy": [0.5, 0.6, 0.7, 0.9]})
    row = paired_gains(runs, "method", reference="none").set_index("method").loc["edits"]
    assert row["gain"] == pytest.approx(0.15)
    half = 12.7062 * np.std([0.1, 0.2], ddof=1) / math.sqrt(2)  # Student's t with one degree of freedom
    assert row["gain_high"] - row["gain"] == pytest.approx(half, rel=1e-4)


def test_one_seed_has_no_interval():
    runs = pd.DataFrame({"strategy": ["random", "margin"], "labels": 10, "seed": 0, "accuracy": [0.5, 0.6]})
    with pytest.raises(InputError, match="seeds=2 or more"):
        paired_gains(runs)


def test_a_watch_adds_up_cpu_seconds():
    watch = Watch()
    with watch.running():
        sum(range(200_000))
    assert 0 < watch.seconds < 5

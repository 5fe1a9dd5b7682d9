"""Weights rounded to 4 bits with and without a look at data: all ways answer, and take the bytes of fewer bits."""

import numpy as np
import pytest
from tiny_gguf import tiny_gguf

from helpers.lab import Cancelled, InputError
from helpers.lab.progress import Progress
from helpers.model_optimization import data_aware_rounding
from helpers.model_optimization.language_model.data_aware import WAYS

pytestmark = pytest.mark.slow


def test_each_way_answers_from_fewer_bytes(tuned, task):
    frame = data_aware_rounding(tuned, tiny_gguf(), task, calibration=1).set_index("name")
    assert frame.index.tolist() == ["16 bits", *WAYS]
    assert frame["same"]["16 bits"] == 1
    assert frame["gain"]["16 bits"] == 0
    assert (frame["megabytes"].iloc[1:] < 0.7 * frame["megabytes"].iloc[0]).all()  # the embedding stays in 8 bits
    assert np.isfinite(frame[["accuracy", "gain_low", "gain_high"]]).all(axis=None)
    by_hand = frame["accuracy"] - frame["accuracy"]["rounded"]
    assert frame["over_rounded"].iloc[2:].tolist() == pytest.approx(by_hand.iloc[2:].tolist())
    assert frame["over_rounded"].iloc[:2].isna().all()
    assert not frame[["significant", "over_rounded_significant"]].any(axis=None)  # so few messages show nothing


def test_what_cannot_be_compared_is_refused(tuned, task):
    with pytest.raises(InputError, match="look at one: not 4 and 0"):
        data_aware_rounding(tuned, tiny_gguf(), task, messages=4, calibration=0)
    with pytest.raises(Cancelled):
        data_aware_rounding(tuned, tiny_gguf(), task, progress=Progress(cancelled=lambda: True))

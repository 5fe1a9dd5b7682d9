"""Weights rounded to 4 bits with and without a look at data: all ways run, and take the bytes of 4 bits."""

import dataclasses

import numpy as np
import pytest
from tiny_gguf import tiny_gguf, tiny_llm
from tiny_messages import things

from helpers.lab import Cancelled, InputError, prompted_extractor
from helpers.lab.progress import Progress
from helpers.model_optimization.language_model.data_aware import WAYS, data_aware_rounding

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def task():
    return dataclasses.replace(things(), test=things().test.select(range(4)))


def test_each_way_answers_from_fewer_bytes(task):
    frame = data_aware_rounding(tiny_llm(), tiny_gguf(), task, calibration=4).set_index("name")
    assert frame.index.tolist() == ["16 bits", *WAYS]
    assert (frame["megabytes"].iloc[1:] < 0.7 * frame["megabytes"].iloc[0]).all()  # the embedding stays in 8 bits
    assert frame["gain"]["16 bits"] == 0
    assert frame["same"]["16 bits"] == 1
    assert np.isfinite(frame[["accuracy", "gain_low", "gain_high"]]).all(axis=None)
    by_hand = frame["accuracy"] - frame["accuracy"]["rounded"]
    assert frame["over_rounded"].iloc[2:].tolist() == pytest.approx(by_hand.iloc[2:].tolist())
    assert frame["over_rounded"].iloc[:2].isna().all()


def test_the_graph_of_16_bits_answers_as_the_model_does(task):
    """In transformers, from the weights in memory."""
    frame = data_aware_rounding(tiny_llm(), tiny_gguf(), task, calibration=1)
    found = prompted_extractor(tiny_llm(), task, select="none", form=False).extract(task.test["text"][:])
    assert frame["valid"][0] == np.mean([one is not None for one in found])


def test_what_cannot_be_compared_is_refused(task):
    with pytest.raises(InputError, match="look at one: not 4 and 0"):
        data_aware_rounding(tiny_llm(), tiny_gguf(), task, messages=4, calibration=0)
    with pytest.raises(Cancelled):
        data_aware_rounding(tiny_llm(), tiny_gguf(), task, progress=Progress(cancelled=lambda: True))

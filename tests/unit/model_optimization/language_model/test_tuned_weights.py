"""Tuned weights in fewer bits: the tuned model's own answers at 16 bits, and fewer of them at 2."""

import numpy as np
import pytest
from tiny_gguf import tiny_gguf

from helpers.lab import Cancelled, InputError, prompted_extractor
from helpers.lab.data.extraction import extractions
from helpers.lab.progress import Progress
from helpers.model_optimization import bits_against_extraction

pytestmark = pytest.mark.slow


def test_sixteen_bits_keep_what_was_learned_and_two_lose_it(tuned, task):
    frame = bits_against_extraction(tuned, tiny_gguf(), task, kinds=("F16", "Q8_0", 2)).set_index("name")
    whole = prompted_extractor(tuned, task, select="none", form=False)  # in transformers, not rounded
    assert whole.extract(task.test["text"][:]) == extractions(task, "test")
    assert frame["accuracy"]["F16"] == frame["valid"]["F16"] == 1
    assert frame["gain"]["F16"] == 0
    assert frame["accuracy"]["2 bits"] == 0
    assert frame["gain"]["2 bits"] == -1
    assert frame["same"]["2 bits"] < frame["same"]["F16"] == 1
    assert frame["bits"].round(1).tolist() == [16, 8.5, 2.5]
    assert (frame["megabytes"].diff().dropna() < 0).all()
    assert np.isfinite(frame[["gain_low", "gain_high", "valid"]]).all(axis=None)


def test_what_cannot_be_compared_is_refused(tuned, task):
    with pytest.raises(InputError, match="at least one message"):
        bits_against_extraction(tuned, tiny_gguf(), task, messages=0)
    with pytest.raises(InputError, match="Unknown weight type 'Q9'"):
        bits_against_extraction(tuned, tiny_gguf(), task, kinds=("Q9",))
    with pytest.raises(Cancelled):
        bits_against_extraction(tuned, tiny_gguf(), task, progress=Progress(cancelled=lambda: True))

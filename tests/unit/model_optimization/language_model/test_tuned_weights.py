"""Tuned weights in fewer bits: 16 bits answer as the model in memory does, and each type is compared with them."""

import numpy as np
import pytest
from tiny_gguf import tiny_gguf

from helpers.lab import Cancelled, InputError, prompted_extractor
from helpers.lab.data.extraction import extractions
from helpers.lab.progress import Progress
from helpers.model_optimization import bits_against_extraction

pytestmark = pytest.mark.slow


def test_each_type_is_compared_with_sixteen_bits_on_the_same_messages(tuned, task):
    frame = bits_against_extraction(tuned, tiny_gguf(), task, kinds=("F16", "Q8_0", 2)).set_index("name")
    whole = prompted_extractor(tuned, task, select="none", form=False)  # in transformers, not rounded
    [result] = whole.extract(task.test["text"][:])
    assert frame["accuracy"]["F16"] == (result == extractions(task, "test")[0])
    assert frame["valid"]["F16"] == (result is not None)
    assert frame["gain"].tolist() == (frame["accuracy"] - frame["accuracy"]["F16"]).tolist()
    assert frame["same"]["F16"] == 1
    assert frame.loc["F16", ["gain", "gain_low", "gain_high"]].tolist() == [0, 0, 0]  # of itself nothing differs
    assert frame["significant"].tolist() == [False] * 3  # one message shows nothing
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

"""What generators give away is counted."""

import math

import numpy as np
import pytest

from helpers.data_efficiency import extraction_test
from helpers.lab.errors import InputError

TEXTS = ["where is my parcel now", "where is my order now", "i want my money back", "i want the refund back"]

LABELS = [0, 0, 1, 1]


def test_planted_secrets_come_out_of_copies_and_not_of_thin_air():
    texts, labels = TEXTS * 5, LABELS * 5
    found = extraction_test(texts, labels, "words", copies=(1, 8), secrets=4, samples=400).set_index("copies")
    assert found.loc[8, "extracted"] == 1
    assert found.loc[8, "exposure"] == pytest.approx(math.log2(1001), abs=0.01)
    assert np.isnan(extraction_test(texts, labels, "recombine", copies=(1,), secrets=2, samples=20)["exposure"][0])


def test_a_test_without_samples_is_refused():
    with pytest.raises(InputError, match="at least one secret"):
        extraction_test(TEXTS, LABELS, samples=0)

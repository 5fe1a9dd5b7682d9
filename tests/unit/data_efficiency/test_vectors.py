"""Features are unit rows, computed once."""

import numpy as np
import pytest

from helpers.data_efficiency import features
from helpers.data_efficiency.vectors import readable
from helpers.lab.errors import InputError


def test_features_are_unit_rows_and_come_from_the_file_the_second_time(tiny_task):
    first, second = features(tiny_task, "lexical"), features(tiny_task, "lexical")
    lengths = np.linalg.norm(first.train, axis=1)
    np.testing.assert_allclose(lengths[lengths > 0], 1, rtol=1e-5)
    assert isinstance(second.train, np.memmap)
    np.testing.assert_array_equal(first.train, second.train)


def test_damaged_vectors_are_quarantined_and_made_again(tiny_task, fresh_home):
    first = np.array(features(tiny_task, "lexical").train)
    [stored] = (fresh_home / "cache" / "embeddings").glob("*/train.npy")
    stored.write_bytes(stored.read_bytes()[:200])
    with pytest.warns(UserWarning, match="quarantined"):
        again = features(tiny_task, "lexical")
    np.testing.assert_array_equal(again.train, first)
    assert list(stored.parents[1].glob("*.damaged-1"))


def test_kinds_that_do_not_fit_the_task_are_refused(tiny_task):
    with pytest.raises(InputError, match="pixels"):
        features(tiny_task, "pixels")


def test_a_text_is_readable_where_most_of_its_tokens_are_known():
    texts = ["where is my order", "\u9000\u6b3e\u5f88\u6162", "thanks \u2603\ufe0f for all of your kind help", ""]
    assert readable(texts).tolist() == [True, False, True, True]
    assert readable(["plain", "words"]).all()

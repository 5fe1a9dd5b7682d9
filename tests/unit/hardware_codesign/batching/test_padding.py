"""Padding against brute force."""

import numpy as np
import pytest

from helpers.hardware_codesign.batching.padding import compare_padding, packed_logits, padding_share, plan_batches
from helpers.hardware_codesign.options import PADDINGS
from helpers.lab import InputError
from helpers.lab.facts import Peaks

LENGTHS = [5, 3, 9, 2, 7, 7]


@pytest.mark.parametrize(("padding", "tokens"), [
    ("fixed", 6 * 16), ("longest", 2 * 5 + 2 * 9 + 2 * 7), ("sorted", 2 * 3 + 2 * 7 + 2 * 9), ("packed", sum(LENGTHS))])
def test_padding_is_what_counting_by_hand_gives(padding, tokens):
    assert padding_share(LENGTHS, 2, padding, fixed=16) == pytest.approx(1 - sum(LENGTHS) / tokens)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("fixed", [16, 8])  # a reader's text may be longer than any width that is fixed
def test_every_row_is_in_one_batch_and_none_is_cut(padding, fixed):
    plan = plan_batches(LENGTHS, 4, padding, fixed)
    assert sorted(row for rows, _ in plan for row in rows) == list(range(len(LENGTHS)))
    assert all(width >= max(LENGTHS[row] for row in rows) for rows, width in plan)
    assert all(len(rows) <= 4 for rows, _ in plan)


@pytest.mark.parametrize(("arguments", "said"), [
    (([3], 1, "shortest"), "Choose one of: fixed"), (([3], 0), "at least 1"), (([], 2), "at least one row")])
def test_padding_that_cannot_be_is_a_sentence(arguments, said):
    with pytest.raises(InputError, match=said):
        plan_batches(*arguments)


def test_packed_rows_answer_as_rows_alone_do(tiny_model, tiny_task):
    rows = tiny_model.encoder.encode(tiny_task.test["text"][:7])
    alone = np.concatenate([packed_logits(tiny_model, [row]) for row in rows])
    np.testing.assert_allclose(packed_logits(tiny_model, rows), alone, atol=1e-4)
    np.testing.assert_allclose(alone, tiny_model.predict(tiny_task.test["text"][:7]), atol=1e-4)


def test_all_ways_to_pad_give_the_same_answers(tiny_model, tiny_task):
    frame = compare_padding(tiny_model, tiny_task.test["text"][:12], Peaks("m", {"fp32": 1e12}, 1e10, threads=1),
                            batch=4, fixed=32, rounds=2).set_index("padding")
    assert list(frame.index) == list(PADDINGS)
    assert (frame["largest_difference"] < 1e-3).all()
    assert frame.loc["packed", "padding_share"] == 0
    assert frame.loc["fixed", "padding_share"] > frame.loc["longest", "padding_share"]
    assert frame["utilisation"].between(0, 1, inclusive="neither").all()

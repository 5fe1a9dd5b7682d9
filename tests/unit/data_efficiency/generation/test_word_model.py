"""Likelihoods are those worked out by hand, and what is written has the class that was asked for."""

import math
import random

import pytest

from helpers.data_efficiency.generation.word_model import SHORTER, WordModel
from helpers.lab.errors import InputError

TEXTS = ["where is my parcel now", "where is my order now", "i want my money back", "i want the refund back"]
LABELS = [0, 0, 1, 1]


def test_probabilities_of_the_word_model_are_those_worked_out_by_hand():
    model = WordModel(["a b", "a c"], [0, 0])
    never = SHORTER / (5 + 1)  # of a, b, c and the two marks, and one for words never seen

    def mixed_with(long: float, short: float, alone: float) -> float:
        return (1 - SHORTER) * long + SHORTER * ((1 - SHORTER) * short + SHORTER * ((1 - SHORTER) * alone + never))

    # The first word is 'a' in both rows, whatever the context; 'b' follows in one of two.
    first, second, end = mixed_with(1, 1, 2 / 6), mixed_with(1 / 2, 1 / 2, 1 / 6), mixed_with(1, 1, 2 / 6)
    assert model.log_probability("a b", 0) == pytest.approx(math.log(first) + math.log(second) + math.log(end))


def test_the_word_model_writes_rows_of_the_class_that_was_asked_for():
    model = WordModel(TEXTS, LABELS)
    rng = random.Random(0)
    written = {model.write(1, rng) for _ in range(50)}
    assert set(" ".join(written).split()) <= set(" ".join(TEXTS[2:]).split())
    assert written - set(TEXTS), "something new among them"
    with pytest.raises(InputError, match="no row of class 7"):
        model.write(7, rng)


def test_a_quoted_line_is_no_end_of_a_text():
    model = WordModel(["you said > it is late > please look"], [0])
    rng = random.Random(0)
    assert "you said > it is late > please look" in {model.write(0, rng) for _ in range(20)}


def test_a_model_of_no_rows_is_refused():
    with pytest.raises(InputError, match="at least one text"):
        WordModel([], [])

"""Altered copies are made of the words at hand, the same for the same seed."""

import random

import pytest

from helpers.lab.data.augmentation import METHODS, augment, fill_in, words_between
from helpers.lab.errors import InputError

TEXTS = ["where is my parcel now", "where is my order now", "i want my money back", "i want the refund back"]


@pytest.mark.parametrize("method", METHODS)
def test_altered_copies_come_from_the_words_at_hand(method, tiny_task):
    texts = [*tiny_task.train["text"][:], "one", ""]
    result = augment(texts, 3, seed=1, method=method)
    assert len(result) == 3 * len(texts)
    assert {word for text in result for word in text.split()} <= {word for text in texts for word in text.split()}
    assert len(set(result) - set(texts)) > len(result) / 2
    assert result == augment(texts, 3, seed=1, method=method) != augment(texts, 3, seed=2, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_copies_are_in_the_order_of_the_texts_so_that_labels_repeat(method):
    """A text without a word stays in its place: what one of two augmenters dropped would shift all labels after it."""
    result = augment(["", "alone", " "], 2, method=method)
    assert [bool(text) for text in result] == [False, True, False] * 2
    assert augment(TEXTS, 0, method=method) == []


def test_edits_touch_a_tenth_of_the_words():
    text = " ".join(f"w{n}" for n in range(40))
    for copy in augment([text], 30, method="edits"):
        assert len(set(text.split()) - set(copy.split())) <= 4
        assert abs(len(copy.split()) - 40) <= 4


def test_a_hidden_word_is_filled_in_from_both_neighbours():
    between = words_between(["a red house", "a blue house", "a blue house", "one tree here"])
    filled = {" ".join(fill_in(["a", "red", "house"], between, random.Random(seed))) for seed in range(40)}
    assert "a blue house" in filled
    assert "a tree house" not in filled


def test_crossover_joins_halves_of_two_texts():
    copies = set(augment(["one two three four", "five six seven eight"], 40))
    assert "one two seven eight" in copies


@pytest.mark.parametrize(("options", "said"), [
    ({"copies": -1}, "cannot be negative"), ({"copies": 1, "method": "mixup"}, "Choose one of: crossover,")])
def test_unknown_methods_and_negative_copies_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        augment(TEXTS, **options)

"""Copies change the text as they say, and are found."""

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.data_efficiency import deduplicated, duplicate_quality, find_duplicates, inject_duplicates
from helpers.data_efficiency.duplicates.near_duplicates import COPIES, reordered, typos
from helpers.lab import load_task
from helpers.lab.errors import InputError


@pytest.mark.parametrize("kind", ["typos", "reorder"])
def test_injected_copies_are_found(kind):
    texts = list(load_task("tickets").train["text"][:])
    more, sources = inject_duplicates(texts, kind, 0.2, seed=3)
    assert len(more) == len(texts) + len(sources) == len(texts) + round(0.2 * len(texts))
    assert duplicate_quality(find_duplicates(more), len(texts), sources)["f1"] >= 0.95


BANKING = Path(__file__).parents[5] / "shared" / "text" / "banking77_train.csv"  # beside the checkout; not shipped


def banking() -> tuple[list[str], list[str]]:
    if not BANKING.exists():
        pytest.skip("banking77_train.csv is not beside this checkout.")
    rows = pd.read_csv(BANKING)
    return rows["text"].tolist(), rows["category"].tolist()


def docstrings() -> tuple[list[str], list[str]]:
    train = load_task("docstrings").train
    return list(train["text"]), list(train["label"])


@pytest.mark.slow
@pytest.mark.parametrize("source", [banking, docstrings])
def test_the_default_threshold_holds_on_data_that_did_not_choose_it(source):
    """It was chosen on `tickets`: nearly all typos are found, and nearly all pairs that are there share their label."""
    texts, labels = source()
    unique = np.flatnonzero(deduplicated(texts))
    texts, labels = [texts[row] for row in unique], np.array(labels)[unique]
    for kind, least in (("typos", 0.95), ("reorder", 0.99)):
        more, sources = inject_duplicates(texts, kind, 0.1, seed=11)
        quality = duplicate_quality(find_duplicates(more), len(texts), sources)
        assert quality["recall"] >= least
        assert quality["precision"] >= 0.95
    pairs = find_duplicates(texts)
    assert (labels[pairs["row"]] == labels[pairs["twin"]]).mean() >= 0.9


def test_each_kind_of_copy_changes_the_text_as_it_says():
    text, rng = "where is my order, i need it. please help me now!", random.Random(0)
    for _ in range(20):
        assert sorted(reordered(text, rng).split()) == sorted(text.split())
        assert reordered(text, rng) != text
        assert abs(len(typos(text, rng)) - len(text)) <= 2
    assert "kindly" in COPIES["paraphrase"](text, rng)


def test_the_quality_of_pairs_is_counted_by_hand():
    # Originals 0 to 3, copies 4 (of 0) and 5 (of 1). One copy found, one false pair, one twin of the source.
    pairs = pd.DataFrame({"row": [4, 5, 4, 2], "twin": [0, 3, 2, 0], "similarity": 1.0})
    quality = duplicate_quality(pairs, 4, np.array([0, 1]))
    assert (quality["precision"], quality["recall"]) == (0.5, 0.5)


@pytest.mark.parametrize("make", [
    lambda: inject_duplicates(["a"], "rhyme"), lambda: inject_duplicates(["a"], "typos", 0.0),
])
def test_unknown_kinds_and_shares_are_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\."):
        make()

"""The pairs that are found are those of comparing all, and their effect is told."""

import itertools
import random

import numpy as np
import pandas as pd
import pytest
from letter_triples import similarity

from helpers.data_efficiency import (
    deduplicated,
    duplicate_effect,
    duplicate_pairs,
    features,
    find_duplicates,
    overlap,
    typos,
)
from helpers.data_efficiency.duplicates.finding import keepers, repeated
from helpers.lab import load_task
from helpers.lab.data.shingles import NEIGHBOURS
from helpers.lab.errors import InputError


@pytest.fixture(scope="module")
def messages() -> list[str]:
    return list(load_task("tickets").train["text"][:400])


def test_minhash_finds_what_comparing_all_pairs_finds(messages):
    rng = random.Random(1)
    texts = messages + [typos(text, rng) for text in messages[:150]]
    result = find_duplicates(texts, "minhash", 0.6)
    expected = {(j, i) for i, j in itertools.combinations(range(len(texts)), 2)
                if similarity(texts[i], texts[j]) >= 0.6}
    assert set(zip(result["row"], result["twin"], strict=True)) <= expected
    assert len(result) >= 0.99 * len(expected)
    assert result["similarity"].is_monotonic_decreasing


def test_semantic_pairs_are_those_of_all_cosines():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 5)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    texts = [str(i) for i in range(60)]
    result = find_duplicates(texts, "semantic", 0.8, vectors=rows)
    expected = {(j, i) for i, j in itertools.combinations(range(60), 2) if rows[i] @ rows[j] >= 0.8}
    assert set(zip(result["row"], result["twin"], strict=True)) == expected
    across = find_duplicates(texts[:20], "semantic", 0.8, others=texts[20:], vectors=rows[:20],
                             other_vectors=rows[20:])
    expected = {(i, j) for i in range(20) for j in range(40) if rows[i] @ rows[20 + j] >= 0.8}
    assert set(zip(across["row"], across["twin"], strict=True)) == expected


def test_exact_copies_differ_in_case_and_spaces_only():
    result = find_duplicates(["Where  is it", "here", "where is it", "where is it?"], "exact")
    assert result[["row", "twin"]].to_numpy().tolist() == [[2, 0]]


@pytest.mark.parametrize("method", ["exact", "minhash"])
def test_a_test_row_is_found_in_the_training_rows_however_often_it_stands_there(method):
    many = ["the same sentence again"] * (3 * NEIGHBOURS)
    result = find_duplicates([*many, "something else entirely"], method, others=["unrelated words", *many])
    assert set(result["row"]) == set(range(len(many)))
    assert (result["twin"] > 0).all()


def test_of_many_copies_one_is_kept():
    texts = ["the same sentence again"] * 50 + ["another one"] + ["the same sentence, again"] * 3
    assert np.flatnonzero(deduplicated(texts)).tolist() == [0, 50, 51]
    assert np.flatnonzero(deduplicated(texts, "minhash")).tolist() == [0, 50]


def test_each_row_that_goes_is_near_to_one_that_stays_and_there_are_no_chains():
    """Each text has one word more: neighbours are near, the ends are not."""
    words = [f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    texts = [" ".join(words[start:start + 12]) for start in range(15)]
    keeper, result = repeated(texts, "minhash", 0.7), find_duplicates(texts, "minhash", 0.7)
    gone = np.flatnonzero(keeper != np.arange(len(texts)))
    assert len(gone) >= 5
    assert all(keeper[keeper[row]] == keeper[row] for row in gone)
    assert all(similarity(texts[row], texts[keeper[row]]) >= 0.7 for row in gone)
    kept = keeper == np.arange(len(texts))
    assert not (kept[result["row"]] & kept[result["twin"]]).any(), "of each pair that is found one goes"
    assert similarity(texts[0], texts[-1]) < 0.2, "all are connected, but not alike"


def test_texts_without_letters_are_no_copies_of_each_other():
    assert len(find_duplicates(["???", "!!!", "...", ""], "minhash")) == 0


def test_a_row_goes_only_for_one_that_stays():
    pairs = pd.DataFrame({"row": [1, 2, 3, 4, 4], "twin": [0, 1, 2, 1, 3], "similarity": [0.9, 0.9, 0.9, 0.95, 0.8]})
    assert keepers(pairs, 6).tolist() == [0, 0, 2, 2, 4, 5]
    assert keepers(pairs.head(0), 3).tolist() == [0, 1, 2]


def test_pairs_name_both_lines_and_tell_whether_labels_differ(tmp_path):
    texts = ["how do I cancel my monthly plan", "where is the parcel that I ordered", "the screen of my phone is black"]
    rows = [(f"{text} {'now ' * (n % 2)}{n}", f"kind{k}") for n in range(14) for k, text in enumerate(texts)]
    rows[10] = (rows[10][0], "kind0")
    path = tmp_path / "own.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    lines = path.read_text().splitlines()
    task = load_task(path)
    pairs = duplicate_pairs(task)
    assert len(pairs) > 10
    for pair in pairs.itertuples():
        assert lines[pair.line - 1] == f"{pair.text},{pair.label}"
        assert lines[pair.twin_line - 1] == f"{pair.twin_text},{pair.twin_label}"
        assert pair.similarity == pytest.approx(similarity(pair.text, pair.twin_text))
        assert pair.labels_differ == (pair.label != pair.twin_label)
    assert pairs["labels_differ"].any()


def test_what_the_encoder_cannot_read_is_like_nothing():
    """MiniLM knows hardly a word of Chinese: every text becomes a row of unknown tokens."""
    texts = ["\u9000\u6b3e\u5f88\u6162\u8bf7\u5e2e\u52a9", "\u5305\u88f9\u4e22\u4e86\u8d26\u5355\u9519",
             "where is my parcel", "where is my package"]
    assert find_duplicates(texts, "semantic", 0.6)[["row", "twin"]].to_numpy().tolist() == [[3, 2]]
    assert len(find_duplicates(texts[:1], "semantic", 0.5, others=texts[1:])) == 0


def test_overlap_of_a_task_is_counted_by_hand(tiny_task):
    train, test = list(tiny_task.train["text"][:]), list(tiny_task.test["text"][:])
    plain = {" ".join(text.lower().split()) for text in train}
    expected = sum(" ".join(text.lower().split()) in plain for text in test) / len(test)
    assert overlap(tiny_task, "exact")["test_in_train"] == expected


def test_the_effect_of_duplicates_is_told_for_the_test_rows_that_were_seen_and_the_others(tiny_task):
    result = duplicate_effect(tiny_task, features(tiny_task, "lexical"), "minhash", 0.8, seeds=2)
    kept = int(deduplicated(list(tiny_task.train["text"][:]), "minhash", 0.8).sum())
    assert result["trained_on"].tolist() == ["all rows", "without duplicates", *["as many at random"] * 2]
    assert result["rows"].tolist() == [len(tiny_task.train), kept, kept, kept]
    seen = overlap(tiny_task, "minhash", 0.8)["test_in_train"]
    whole = result["accuracy"] if seen == 0 else seen * result["seen"] + (1 - seen) * result["unseen"]
    np.testing.assert_allclose(result["unseen"] if seen == 0 else whole, result["accuracy"])


@pytest.mark.parametrize("make", [
    lambda: find_duplicates(["a"], "fuzzy"), lambda: find_duplicates(["a"], "minhash", 0.0),
])
def test_unknown_methods_and_thresholds_are_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\."):
        make()

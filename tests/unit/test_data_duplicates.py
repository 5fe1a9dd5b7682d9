"""Duplicates: the same signatures as datasketch's, the same pairs as comparing all, and copies that are found."""

import functools
import itertools
import random

import numpy as np
import pandas as pd
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data_efficiency import (
    deduplicated,
    duplicate_effect,
    duplicate_quality,
    features,
    find_duplicates,
    groups_of,
    inject_duplicates,
    overlap,
)
from helpers.data_efficiency.duplicates.finding import NEIGHBOURS
from helpers.data_efficiency.duplicates.near_duplicates import COPIES, reordered, typos
from helpers.data_efficiency.duplicates.shingles import Packed, hashed, jaccard, likely, shingle_set, signatures
from helpers.lab import load_task
from helpers.lab.errors import InputError


@functools.cache
def triples(text: str) -> set[int]:
    """The shingles written out: words of letters and digits, padded, cut into three bytes."""
    words, word = [], b""
    for byte in text.lower().encode() + b" ":
        letter = bytes([byte])
        if letter.isalnum() or byte >= 128:
            word += letter
        elif word:
            words.append(b" " + word + b" ")
            word = b""
    return {int.from_bytes(word[i:i + 3], "big") for word in words for i in range(len(word) - 2)}


def similarity(one: str, other: str) -> float:
    a, b = triples(one), triples(other)
    return len(a & b) / len(a | b) if a | b else 0.0


def number(*parts: bytes) -> set[int]:
    return {int.from_bytes(part, "big") for part in parts}


def test_shingles_are_letter_triples_of_padded_words():
    assert shingle_set("A bc!") == number(b" a ", b" bc", b"bc ")
    assert shingle_set("?!") == set()
    assert shingle_set("\u00e4") == number(b" \xc3\xa4", b"\xc3\xa4 ")


@given(st.text(max_size=40))
@settings(max_examples=150, deadline=None)
def test_shingles_of_any_text_are_those_written_out(text):
    assert shingle_set(text) == triples(text.encode("utf-8", "replace").decode())


def test_signatures_are_datasketchs_bit_for_bit():
    texts = ["where is my order", "where is my parcel", "", "a", "x" * 500]
    reference = MinHash(64)
    found = signatures(Packed(texts), tuple(reference.permutations))
    for text, signature in zip(texts, found, strict=True):
        theirs = MinHash(64, hashfunc=lambda code: code)
        if triples(text):
            theirs.update_batch(sorted(triples(text)))
        np.testing.assert_array_equal(signature, theirs.hashvalues)


def test_similarities_are_those_of_the_sets():
    texts = ["where is my order", "where was my order?", "order my is where", "", "refund please", "Refund, please!"]
    pairs = list(itertools.combinations(range(len(texts)), 2))
    left, right = np.array(pairs).T
    expected = [similarity(texts[i], texts[j]) for i, j in pairs]
    np.testing.assert_allclose(jaccard(Packed(texts), left, right), expected, rtol=1e-6)


def test_a_pair_is_compared_where_its_signatures_agree_often_enough():
    signed = np.zeros((3, 100), np.uint32)
    signed[1, 30:] = 1  # agrees with row 0 at 30 places
    signed[2, 29:] = 2  # at 29
    # At 0.5, four standard errors are 20 of 100 places.
    assert likely(signed, np.array([0, 0]), np.array([1, 2]), 0.5).tolist() == [True, False]
    assert likely(signed, np.array([0]), np.array([0]), 1.0).tolist() == [True]


def test_hashed_rows_of_like_texts_are_alike():
    rows = hashed(Packed(["where is my order", "order my is where", "a refund now", ""]), 256)
    assert rows[0] @ rows[1] == pytest.approx(1)
    assert abs(rows[0] @ rows[2]) < 0.4
    assert not rows[3].any()


@pytest.fixture(scope="module")
def messages() -> list[str]:
    return list(load_task("tickets").train["text"][:400])


def test_minhash_finds_what_comparing_all_pairs_finds(messages):
    rng = random.Random(1)
    texts = messages + [typos(text, rng) for text in messages[:150]]
    found = find_duplicates(texts, "minhash", 0.6)
    expected = {(j, i) for i, j in itertools.combinations(range(len(texts)), 2)
                if similarity(texts[i], texts[j]) >= 0.6}
    assert set(zip(found["row"], found["twin"], strict=True)) <= expected
    assert len(found) >= 0.99 * len(expected)
    assert found["similarity"].is_monotonic_decreasing


def test_semantic_pairs_are_those_of_all_cosines():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 5)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    texts = [str(i) for i in range(60)]
    found = find_duplicates(texts, "semantic", 0.8, vectors=rows)
    expected = {(j, i) for i, j in itertools.combinations(range(60), 2) if rows[i] @ rows[j] >= 0.8}
    assert set(zip(found["row"], found["twin"], strict=True)) == expected
    across = find_duplicates(texts[:20], "semantic", 0.8, others=texts[20:], vectors=rows[:20],
                             other_vectors=rows[20:])
    expected = {(i, j) for i in range(20) for j in range(40) if rows[i] @ rows[20 + j] >= 0.8}
    assert set(zip(across["row"], across["twin"], strict=True)) == expected


def test_exact_copies_differ_in_case_and_spaces_only():
    found = find_duplicates(["Where  is it", "here", "where is it", "where is it?"], "exact")
    assert found[["row", "twin"]].to_numpy().tolist() == [[2, 0]]


@pytest.mark.parametrize("method", ["exact", "minhash"])
def test_a_test_row_is_found_in_the_training_rows_however_often_it_stands_there(method):
    many = ["the same sentence again"] * (3 * NEIGHBOURS)
    found = find_duplicates([*many, "something else entirely"], method, others=["unrelated words", *many])
    assert set(found["row"]) == set(range(len(many)))
    assert (found["twin"] > 0).all()


def test_of_many_copies_one_is_kept():
    texts = ["the same sentence again"] * 50 + ["another one"] + ["the same sentence, again"] * 3
    assert np.flatnonzero(deduplicated(texts)).tolist() == [0, 50]


def test_texts_without_letters_are_no_copies_of_each_other():
    assert len(find_duplicates(["???", "!!!", "...", ""], "minhash")) == 0


def test_groups_are_named_by_their_first_row():
    pairs = pd.DataFrame({"row": [3, 5, 4], "twin": [1, 3, 0]})
    assert groups_of(pairs, 6).tolist() == [0, 1, 2, 1, 0, 1]
    assert groups_of(pairs.head(0), 3).tolist() == [0, 1, 2]


def test_overlap_of_a_task_is_counted_by_hand(tiny_task):
    train, test = list(tiny_task.train["text"][:]), list(tiny_task.test["text"][:])
    plain = {" ".join(text.lower().split()) for text in train}
    expected = sum(" ".join(text.lower().split()) in plain for text in test) / len(test)
    assert overlap(tiny_task, "exact")["test_in_train"] == expected


def test_the_effect_of_duplicates_is_told_for_the_test_rows_that_were_seen_and_the_others(tiny_task):
    found = duplicate_effect(tiny_task, features(tiny_task, "lexical"), "minhash", 0.8, seeds=2)
    kept = int(deduplicated(list(tiny_task.train["text"][:]), "minhash", 0.8).sum())
    assert found["trained_on"].tolist() == ["all rows", "without duplicates", *["as many at random"] * 2]
    assert found["rows"].tolist() == [len(tiny_task.train), kept, kept, kept]
    seen = overlap(tiny_task, "minhash", 0.8)["test_in_train"]
    whole = found["accuracy"] if seen == 0 else seen * found["seen"] + (1 - seen) * found["unseen"]
    np.testing.assert_allclose(found["unseen"] if seen == 0 else whole, found["accuracy"])


@pytest.mark.parametrize("kind", ["typos", "reorder"])
def test_injected_copies_are_found(kind):
    texts = list(load_task("tickets").train["text"][:])
    more, sources = inject_duplicates(texts, kind, 0.2, seed=3)
    assert len(more) == len(texts) + len(sources) == len(texts) + round(0.2 * len(texts))
    assert duplicate_quality(find_duplicates(more), len(texts), sources)["f1"] >= 0.95


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
    lambda: find_duplicates(["a"], "fuzzy"), lambda: find_duplicates(["a"], "minhash", 0.0),
    lambda: inject_duplicates(["a"], "rhyme"), lambda: inject_duplicates(["a"], "typos", 0.0),
])
def test_unknown_methods_and_thresholds_are_refused(make):
    with pytest.raises(InputError, match=r"\."):
        make()

"""Shingles are those written out, and signatures are datasketch's."""

import itertools

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st
from letter_triples import similarity, triples

from helpers.lab.data.shingles import Packed, _shingles, hashed, jaccard, likely, signatures


def shingle_set(text: str) -> set[int]:
    packed = Packed([text])
    room = np.empty(packed.longest, np.uint32)
    return set(room[:_shingles(packed.content, 0, len(packed.content), room)].tolist())


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
    result = signatures(Packed(texts), tuple(reference.permutations))
    for text, signature in zip(texts, result, strict=True):
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

"""Caches of answers against a plain search; how often messages repeat; a threshold that keeps its promise."""

import numpy as np
import pytest

from helpers.hardware_codesign.language_serving.answer_caches import (
    NEVER,
    Traffic,
    choose_threshold,
    compare_caches,
    repeated,
    replay,
)
from helpers.lab import InputError


def words(texts):
    """(n, 32) of length 1: counts of words, turned at random, so that no two cosines are alike."""
    counts = np.zeros((len(texts), 512))
    for row, text in enumerate(texts):
        for word in text.lower().split():
            counts[row, sum(map(ord, word)) * 7 % 512] += 1
    turned = counts @ np.random.default_rng(0).normal(size=(512, 32))
    return turned / np.linalg.norm(turned, axis=1, keepdims=True)


def plainly(traffic, vectors, threshold):
    """The same by a search through a list."""
    results, stored = [], []
    for number, text in enumerate(traffic.texts):
        same = [one for one in stored if traffic.texts[one].lower().split() == text.lower().split()]
        near = sorted(stored, key=lambda one: -float(vectors[one] @ vectors[number]))[:1]
        if same:
            results.append(("text", same[0]))
        elif near and vectors[near[0]] @ vectors[number] >= threshold:
            results.append(("meaning", near[0]))
        else:
            stored.append(number)
            results.append(("", number))
    return results


@pytest.mark.parametrize("threshold", [0.6, 0.85, NEVER])
def test_a_cache_finds_what_a_plain_search_finds(tiny_task, threshold):
    traffic = repeated(tiny_task.test["text"][:], tiny_task.test["label"][:], 150, seed=3)
    vectors = words(traffic.texts)
    result, expected = replay(traffic, vectors, threshold), plainly(traffic, vectors, threshold)
    assert result["hit"].tolist() == [hit for hit, _ in expected]
    assert result["wrong"].tolist() == [traffic.labels[source] != traffic.labels[number]
                                      for number, (_, source) in enumerate(expected)]


def test_a_cache_by_text_is_blind_to_spaces_and_capitals_alone():
    traffic = Traffic(["Where is it", "where  is IT", "where is", "where is it"], np.array([0, 0, 1, 0]),
                      np.array([0, 0, 1, 0]))
    assert replay(traffic)["hit"].tolist() == ["", "text", "", "text"]


def test_an_answer_of_another_label_is_wrong():
    traffic = Traffic(["cancel it", "keep it"], np.array([0, 1]), np.array([0, 1]))
    result = replay(traffic, np.array([[1.0, 0.0], [0.8, 0.6]]), 0.7)
    assert result["hit"].tolist() == ["", "meaning"]
    assert result["wrong"].tolist() == [False, True]
    assert result["cosine"][1] == pytest.approx(0.8)


def test_messages_repeat_by_zipfs_law():
    texts = [f"message {number}" for number in range(50)]
    traffic = repeated(texts, np.arange(50), 40_000, exponent=1.0, changed=0.0)
    shares = np.sort(np.bincount(traffic.rows))[::-1] / 40_000
    expected = 1 / np.arange(1, 51) / np.sum(1 / np.arange(1, 51))
    np.testing.assert_allclose(shares[:5], expected[:5], rtol=0.1)
    assert [traffic.texts[place] for place in (0, 9)] == [texts[traffic.rows[place]] for place in (0, 9)]
    np.testing.assert_array_equal(traffic.labels, traffic.rows)


def test_so_many_requests_are_changed():
    text = " ".join(f"word{number}" for number in range(30))
    traffic = repeated([text], [0], 2000, changed=0.3)
    assert np.mean([one != text for one in traffic.texts]) == pytest.approx(0.3, abs=0.04)


def test_the_threshold_is_the_one_with_most_hits_that_keeps_the_promise():
    """Ten directions in turn; what leans to the right by 0.9 is the same, by 0.8 another message."""
    vectors = np.repeat(np.eye(10), 3, axis=0)
    vectors[1::3] = 0.9 * np.eye(10) + np.sqrt(1 - 0.81) * np.roll(np.eye(10), 5, axis=1)
    vectors[2::3] = 0.8 * np.eye(10) - 0.6 * np.roll(np.eye(10), 5, axis=1)
    traffic = Traffic([f"message {number}" for number in range(30)], np.arange(30),
                      np.array([[one, one, one + 10] for one in range(10)]).ravel())
    assert choose_threshold(traffic, vectors, max_wrong=0.15) == pytest.approx(0.81)
    assert choose_threshold(traffic, vectors, max_wrong=0.01) == NEVER  # 30 requests show no such small share


def test_caches_are_compared_on_test_rows(tiny_task):
    caches = compare_caches(tiny_task, 200, max_wrong=0.2, embed=words).set_index("cache")
    assert caches["hits"].tolist() == sorted(caches["hits"].tolist())
    assert caches.loc["none", ["hits", "wrong"]].tolist() == [0, 0]
    assert caches.loc["by text", "wrong"] == 0
    assert (caches["hit_rate_low"] <= caches["hit_rate"]).all()
    assert (caches["wrong_rate_high"] >= caches["wrong_rate"]).all()
    traffic = repeated(tiny_task.test["text"][:], tiny_task.test["label"][:], 200, seed=1)
    result = plainly(traffic, words(traffic.texts), caches.loc["by meaning", "threshold"])
    assert caches.loc["by meaning", "hits"] == sum(bool(hit) for hit, _ in result)


def test_traffic_that_cannot_be_is_refused():
    for texts, requests, options in (([], 5, {}), (["a"], 0, {}), (["a"], 5, {"exponent": -1}),
                                     (["a"], 5, {"changed": 1.5})):
        with pytest.raises(InputError, match="Traffic needs messages"):
            repeated(texts, [0] * len(texts), requests, **options)

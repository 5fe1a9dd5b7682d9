"""New texts have the label of the rows that they were learned from."""

import math
import random

import numpy as np
import pytest
from datasets import Dataset
from tiny_features import blobs
from tiny_gguf import tiny_llm

from helpers.data_efficiency import extraction_test, fit
from helpers.data_efficiency.generation import synthesis
from helpers.data_efficiency.generation.synthesis import (
    INSTRUCTION,
    drawn,
    filtered,
    nearest_real,
    recombined,
    synthesis_study,
    synthesize,
)
from helpers.data_efficiency.generation.word_model import WordModel
from helpers.data_efficiency.linear import Linear
from helpers.lab import Task
from helpers.lab.errors import InputError
from helpers.lab.progress import Progress

TEXTS = ["where is my parcel now", "where is my order now", "i want my money back", "i want the refund back"]

LABELS = [0, 0, 1, 1]


def test_recombined_rows_begin_like_one_and_end_like_the_other():
    assert recombined("one two three four", "five six seven eight") == "one two seven eight"
    assert recombined("Hello there. Where is it?", "Hi. I am lost.") == "Hello there. I am lost."


@pytest.mark.parametrize("method", ["words", "recombine"])
def test_as_many_texts_as_asked_for_each_with_a_label_of_the_rows(method):
    made, labels = synthesize(TEXTS, LABELS, 40, method, seed=2)
    assert len(made) == len(labels) == 40
    assert set(labels.tolist()) == {0, 1}
    assert all(set(text.split()) <= set(" ".join(TEXTS[2 * label:2 * label + 2]).split())
               for text, label in zip(made, labels, strict=True))


def test_a_language_model_is_shown_rows_of_the_class_and_writes_one_more():
    llm = tiny_llm()
    made, labels = synthesize(TEXTS, LABELS, 3, llm)
    assert len(made) == len(labels) == 3
    rng = random.Random(0)  # the same draws, and what the model itself answers to them
    wanted = rng.choices(LABELS, k=3)
    for text, label in zip(made, wanted, strict=True):
        shown = rng.sample(TEXTS[2 * label:2 * label + 2], 2)
        prompt = INSTRUCTION + "".join(f"- {one}\n" for one in shown) + "-"
        [answer] = llm.generate([prompt], max_tokens=64, stop=["\n"])
        assert text == answer.text.strip().removeprefix("-").strip().strip('"')
    assert labels.tolist() == wanted


def test_rows_are_drawn_class_by_class_where_that_is_asked_for():
    y = np.array([0] * 10 + [1] * 3 + [2] * 6)
    assert np.bincount(y[drawn(y, 5, per_class=True, seed=0)]).tolist() == [5, 3, 5]
    assert len(drawn(y, 5, per_class=False, seed=0)) == 5
    assert drawn(y, 5, True, 0).tolist() == drawn(y, 5, True, 0).tolist() != drawn(y, 5, True, 1).tolist()


def test_synthetic_rows_are_trained_on_and_real_ones_tested(monkeypatch):
    """Rows that say nothing: with them alone the specialist is right by chance, with real ones as before."""
    data = blobs(2, rows=20)
    texts = [f"{'parcel' if label == 0 else 'money'} {number}" for number, label in enumerate(data.train_y)]
    rows = Dataset.from_dict({"text": texts, "label": data.train_y.tolist()})
    task = Task("mail", rows, rows, rows, data.labels, "a test")
    centres = {"parcel": np.eye(12)[0], "money": np.eye(12)[1]}
    monkeypatch.setattr(synthesis, "embed", lambda made, use_cache: np.array(
        [0.8 * centres[text.split()[0]] + 0.6 * np.eye(12)[2 + number % 10] for number, text in enumerate(made)],
        np.float32))
    heard = []
    study = synthesis_study(task, data, 5, "recombine", (1.0,), seeds=2, per_class=True,
                            progress=Progress(lambda share, _: heard.append(share)))
    assert heard == [0, 0.5]
    first = study[study["seed"] == 0].set_index("mix")
    assert (first.loc["real only", "rows"], first["made"].iloc[0]) == (10, 30)
    assert first.loc["real + 1x", "rows"] <= 20
    by_hand = drawn(data.train_y, 5, True, 0)
    expected = fit(data.train[by_hand], data.train_y[by_hand], 2).accuracy(data.test, data.test_y)
    assert first.loc["real only", "accuracy"] == expected
    assert first.loc["synthetic only", "accuracy"] > 0.9  # they are labelled rightly
    assert (study["kept"] <= study[["confident", "novel"]].min(axis=1)).all()


def test_filters_keep_confident_rows_that_are_no_copies():
    judge = Linear(np.array([[5.0, -5.0], [-5.0, 5.0], [0.0, 0.0]]))
    vectors = np.array([[1, 0], [0, 1], [0.8, 0.6]], np.float32)
    keep, shares = filtered(vectors, np.array([0, 0, 0]), judge, np.array([[1, 0]], np.float32))
    assert keep.tolist() == [False, False, True]  # a copy, another class, neither
    assert shares["confident"] == pytest.approx(2 / 3)
    twice, _ = filtered(vectors[[2, 2]], np.array([0, 0]), judge, np.array([[1, 0]], np.float32))
    assert twice.tolist() == [True, False]  # the second is a copy of the first
    np.testing.assert_allclose(nearest_real(vectors, np.array([[1, 0]], np.float32)), [1, 0, 0.8], rtol=1e-6)


@pytest.mark.parametrize("make", [
    lambda: synthesize(TEXTS, LABELS, 0), lambda: synthesize(TEXTS, LABELS, 3, "magic"),
    lambda: synthesize(TEXTS, LABELS, 3, "nobody/such-a-model"),
    lambda: nearest_real(np.eye(2), np.empty((0, 2))),
])
def test_what_cannot_be_generated_is_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\."):
        make()


def test_planted_secrets_come_out_of_copies_and_not_of_thin_air():
    texts, labels = TEXTS * 5, LABELS * 5
    result = extraction_test(texts, labels, "words", copies=(1, 8), secrets=4, samples=400).set_index("copies")
    assert result.loc[8, "extracted"] == 1
    assert result.loc[8, "exposure"] == pytest.approx(math.log2(1001), abs=0.01)
    assert np.isnan(extraction_test(texts, labels, "recombine", copies=(1,), secrets=2, samples=20)["exposure"][0])


def test_a_test_without_samples_is_refused():
    with pytest.raises(InputError, match="at least one secret"):
        extraction_test(TEXTS, LABELS, samples=0)
    for texts, labels in (([], []), (TEXTS, LABELS[:2])):
        with pytest.raises(InputError, match="labelled rows"):
            extraction_test(texts, labels)


def test_a_model_that_has_seen_no_code_has_an_exposure_of_one_bit():
    """The code and all 1,000 candidates are equally likely; as each tie counts half, its rank is the middle one."""
    seen_nothing = WordModel([*TEXTS, "my customer code is secret"], [*LABELS, 0])
    result = synthesis._exposure(seen_nothing, ["123456", "654321"], 0, random.Random(0))
    assert result == pytest.approx(math.log2(1001 / 501))


@pytest.mark.parametrize("mixes", [(), (0.0,), (1.0, -0.5)])
def test_a_mix_without_synthetic_rows_is_refused(mixes):
    data = blobs(2, rows=4)
    rows = Dataset.from_dict({"text": ["a"] * 8, "label": data.train_y.tolist()})
    with pytest.raises(InputError, match="one or more, above 0"):
        synthesis_study(Task("mail", rows, rows, rows, data.labels, "a test"), data, 4, mixes=mixes)

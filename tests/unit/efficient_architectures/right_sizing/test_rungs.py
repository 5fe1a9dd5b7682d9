"""The ladder: its steps in order, the most frequent label, and few labels."""

import dataclasses

import numpy as np
import pytest

from helpers.efficient_architectures import few_labels, ladder, quality_by_labels
from helpers.efficient_architectures.options import STEPS
from helpers.efficient_architectures.right_sizing.rungs import most_frequent
from helpers.lab import Cancelled, InputError
from helpers.lab.progress import Progress


def test_the_most_frequent_label_is_told_for_every_text(tiny_task):
    uneven = few_labels(tiny_task, 10)
    kept = [row for row, label in enumerate(uneven.train["label"][:]) if label != 0 or row % 3]
    uneven = dataclasses.replace(uneven, train=uneven.train.select(kept))
    counts = np.bincount(uneven.train["label"][:], minlength=3)
    logits = most_frequent(uneven).predict(["cat", "", "hammer hammer"])
    np.testing.assert_allclose(np.exp(logits), np.tile(counts / counts.sum(), (3, 1)), atol=1e-3)


def test_two_classes_have_a_most_frequent_label_too(tmp_path):
    from helpers.lab import load_task

    (tmp_path / "two.csv").write_text("text,label\n" + "".join(f"word {n},{'yes' if n % 3 else 'no'}\n"
                                                               for n in range(60)))
    task = load_task(tmp_path / "two.csv")
    assert (most_frequent(task).predict(task.test["text"][:]).argmax(1) == 1).all()


def test_the_ladder_gives_its_steps_in_order_and_few_labels_are_few(tiny_task, narrow_encoder):
    result = quality_by_labels(tiny_task, (2, None), ("majority", "tfidf", "frozen"), encoder=narrow_encoder)
    assert list(result["step"]) == ["majority", "tfidf", "frozen"] * 2
    assert set(result["rows"]) == {6, len(tiny_task.train)}
    assert (result["low"] <= result["accuracy"]).all()
    assert few_labels(tiny_task, 5).test is tiny_task.test
    names = [model.card.name for model in ladder(tiny_task, ("zero-shot", "majority"), encoder=narrow_encoder)]
    assert names == ["narrow-encoder, zero-shot from label names", "most frequent label"]


def test_progress_only_rises_and_ends_at_one(tiny_task, narrow_encoder):
    fractions = []
    quality_by_labels(tiny_task, (2, None), ("majority", "static", "frozen"), encoder=narrow_encoder, seeds=(0, 1),
                      progress=Progress(lambda fraction, message: fractions.append(fraction)))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


@pytest.mark.parametrize("step", [step for step in STEPS if step not in ("majority", "tfidf", "zero-shot")])
def test_every_step_that_takes_long_can_be_cancelled(step, tiny_task, narrow_encoder):
    with pytest.raises(Cancelled):
        ladder(tiny_task, (step,), encoder=narrow_encoder, progress=Progress(cancelled=lambda: True))


@pytest.mark.parametrize("wrong", [
    lambda task: ladder(task, ("rung",)),
    lambda task: ladder(task, ("tfidf", "tfidf")),
    lambda task: few_labels(task, 0),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong, tiny_task):
    with pytest.raises(InputError, match=r"\.$"):
        wrong(tiny_task)

"""Cascades: who answers which rows, what they cost, and that they come back from disk."""

import dataclasses

import numpy as np
import pytest
from scipy.special import log_softmax
from tiny_models import make_tiny_model

from helpers.efficient_architectures import calibrate, follow
from helpers.efficient_architectures.right_sizing.rungs import most_frequent
from helpers.lab import InputError, Model, load, tfidf_baseline
from helpers.lab.models.cascade import CascadeModel, build_cascade


def texts_of(task):
    return task.test["text"][:]


@pytest.fixture(scope="module")
def two_stages(tiny_model, tiny_task):
    """TF-IDF before a model with random weights, answering what TF-IDF is sure of."""
    return build_cascade([tfidf_baseline(tiny_task), tiny_model], dataclasses.replace(tiny_task, test=None),
                         strategy="a test", max_errors=0.0)


def test_each_stage_answers_its_own_rows(two_stages, tiny_task):
    texts, stages = texts_of(tiny_task), (two_stages.first, two_stages.second)
    first, second = (stage.predict(texts) for stage in stages)
    probabilities = np.exp(first).max(axis=1)
    threshold = float(np.median(probabilities))
    result = CascadeModel(two_stages.card, *stages, threshold).predict(texts)
    np.testing.assert_allclose(np.exp(result).sum(axis=1), 1, rtol=1e-4)
    for row in range(len(texts)):
        answering = first if probabilities[row] >= threshold else second
        assert result[row].argmax() == answering[row].argmax()
        if probabilities[row] >= threshold:
            np.testing.assert_allclose(result[row], first[row], atol=1e-4)


def test_a_cascade_of_two_answers_the_same_after_a_reload(two_stages, tiny_task, tmp_path):
    two_stages.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts_of(tiny_task)), two_stages.predict(texts_of(tiny_task)))
    assert load(tmp_path).card == two_stages.card
    assert isinstance(two_stages, Model)
    assert two_stages.predict([]).shape == (0, 3)


def test_a_cascade_says_what_it_costs_on_average(two_stages, tiny_model):
    card, first = two_stages.card, two_stages.first.card
    assert card.parameters == first.parameters + tiny_model.card.parameters
    assert card.macs == round(first.parameters + card.settings["escalated"] * tiny_model.card.macs)
    assert 0 <= card.settings["escalated"] < 0.5  # random weights are seldom asked where TF-IDF is better


def test_stages_of_other_classes_are_refused(two_stages, tiny_model, tiny_task):
    other = make_tiny_model(dataclasses.replace(tiny_task, labels=("a", "b")))
    with pytest.raises(InputError, match="the same classes; these know 2, 3"):
        build_cascade([other, tiny_model], tiny_task, strategy="a test", max_errors=0.0)
    with pytest.raises(InputError, match=r"0 or more points, not -1"):
        build_cascade([two_stages.first, tiny_model], tiny_task, strategy="a test", max_errors=-1)


def test_a_cascade_is_built_by_one_rule(two_stages, tiny_model, tiny_task):
    for rules in ({}, {"max_errors": 1.0, "max_lost": 50.0}):
        with pytest.raises(InputError, match=r"by max_errors= .* or by max_lost="):
            build_cascade([two_stages.first, tiny_model], tiny_task, strategy="a test", **rules)


@pytest.fixture(scope="module")
def stages(tiny_task, tiny_model):
    return [calibrate(most_frequent(tiny_task), tiny_task), calibrate(tfidf_baseline(tiny_task), tiny_task)]


def test_a_cascade_of_three_predicts_the_same_after_a_reload(stages, tiny_task, tiny_model, tmp_path):
    model = build_cascade([*stages, tiny_model], tiny_task, strategy="a test", max_lost=50.0)
    texts = tiny_task.test["text"][:]
    model.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts), model.predict(texts))
    logits = [log_softmax(stage.predict(texts), axis=1) for stage in (*stages, tiny_model)]
    result = follow(logits, np.array(tiny_task.test["label"][:]), [1, 2, 3], model.threshold)
    assert (model.predict(texts).argmax(1) == np.array(tiny_task.test["label"][:])).mean() == result.accuracy


def test_a_guarantee_that_the_rows_cannot_give_is_refused(stages, tiny_task):
    with pytest.raises(InputError, match="validation rows"):
        build_cascade(stages, tiny_task, strategy="a test", max_lost=0.5)


def test_both_rules_give_one_kind_of_card(stages, tiny_task, tiny_model):
    """A guaranteed cascade, too, says who answers, what goes on and how many products that takes."""
    card = build_cascade([stages[1], tiny_model], tiny_task, strategy="a test", max_lost=50.0).card
    assert {"first", "second", "threshold", "escalated", "max_lost"} <= set(card.settings)
    assert card.macs == round(stages[1].card.parameters + card.settings["escalated"] * tiny_model.card.macs)

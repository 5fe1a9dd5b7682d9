"""Scores of extraction beside counts by hand and beside scikit-learn."""

import math
import random

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer

from helpers.lab import InputError
from helpers.lab.data.extraction import normalised
from helpers.lab.extraction.scores import MESSAGE, WITH_WISH, score_extractions

FIELDS = ("order", "product", "amount")
EXPECTED = [{"wish": "late", "order": "HB-1", "product": "hub"}, {"wish": "late", "amount": "5 €"},
            {"wish": "broken", "product": "camera"}, {"wish": "broken"}]
FOUND = [{"wish": "late", "order": "hb-1", "product": "camera"}, {"wish": "broken", "amount": "$5", "order": "HB-2"},
         None, {"wish": "broken"}]


def test_each_measure_is_what_counting_by_hand_gives():
    score = score_extractions(FOUND, EXPECTED, FIELDS)
    expected = {"order": [True, False, False, True], "product": [False, True, False, True],
                "amount": [True, True, False, True], "wish": [True, False, False, True],
                "message": [False, False, False, True], "message and wish": [False, False, False, True],
                "valid JSON": [True, True, False, True]}
    assert {measure: right.tolist() for measure, right in score.right.items()} == expected
    counts = {field: (one.right, one.found, one.present) for field, one in score.counts.items()}
    assert counts == {"order": (1, 2, 1), "product": (0, 1, 2), "amount": (1, 1, 1), "all fields": (2, 4, 4)}
    assert (score["order"], score["message"]) == (0.5, 0.25)


def test_precision_recall_and_f1_are_those_of_scikit_learn():
    """A message is the set of its pairs of field and value."""
    rng = random.Random(0)
    extracted, expected = ([{field: rng.choice("abc") for field in FIELDS if rng.random() < 0.7} for _ in range(200)]
                       for _ in range(2))
    score = score_extractions(extracted, expected, FIELDS)
    for fields in (*((field,) for field in FIELDS), FIELDS):
        measured = score.counts[fields[0] if len(fields) == 1 else "all fields"]
        sets = [[{(field, one[field]) for field in fields if field in one} for one in rows]
                for rows in (expected, extracted)]
        pairs = MultiLabelBinarizer().fit([*sets[0], *sets[1]])
        by_sklearn = precision_recall_fscore_support(*map(pairs.transform, sets), average="micro")[:3]
        assert (measured.precision, measured.recall, measured.f1) == pytest.approx(by_sklearn)


def test_intervals_are_wilsons_and_differences_are_paired():
    frame = score_extractions(FOUND, EXPECTED, FIELDS).frame().set_index("measure")
    assert frame.loc["order", ["low", "high"]].tolist() == pytest.approx([0.15, 0.85], abs=1e-4)
    assert frame.index.tolist() == ["order", "product", "amount", "wish", "message", "message and wish", "valid JSON",
                                    "all fields"]
    assert frame.loc["all fields", ["precision", "recall", "f1"]].tolist() == [0.5, 0.5, 0.5]
    assert math.isnan(frame.loc["all fields", "exact"])
    perfect = score_extractions(EXPECTED, EXPECTED, FIELDS)
    delta, low, high = perfect.difference(score_extractions(FOUND, EXPECTED, FIELDS))
    assert delta == 0.75
    assert 0 < low < delta < high
    same = score_extractions(EXPECTED, EXPECTED, FIELDS)
    assert perfect.difference(perfect, "order") == (0.0, 0.0, 0.0)
    assert perfect.difference(same, "order")[1] < 0  # another one may differ on other messages


def test_nothing_found_and_nothing_there_has_no_precision():
    score = score_extractions([{}], [{}], ("order",))
    assert np.isnan([score.counts["order"].precision, score.counts["order"].recall, score.counts["order"].f1]).all()
    assert score["message"] == 1.0
    assert normalised("order", '" "') == ""
    assert score_extractions([{"order": '" "'}], [{}], ("order",))["order"] == 1.0  # no value either


def test_answers_to_other_messages_are_refused():
    with pytest.raises(InputError, match="there are 1 answers and 4 messages"):
        score_extractions([{}], EXPECTED, FIELDS)
    with pytest.raises(InputError, match="at least one"):
        score_extractions([], [], FIELDS)


def test_the_constant_answer_is_scored_as_if_it_were_given():
    """Finding nothing everywhere, and of the wishes the one that is then right most often."""
    expected = [{"wish": "late", "order": "HB-1"}, {"wish": "late"}, {"wish": "late", "order": ""}, {"wish": "refund"},
                {"wish": "refund", "order": "HB-2"}]
    given = {wish: score_extractions([{"wish": wish}] * 5, expected, ["order"]) for wish in ("late", "refund")}
    constant = given["late"].constant
    assert constant[MESSAGE] == given["late"][MESSAGE] == 0.6
    assert constant[WITH_WISH] == max(one[WITH_WISH] for one in given.values()) == 0.4

"""What is said of a language model as annotator, teacher or tuned, whichever way its figures fall."""

import math

import pandas as pd
import pytest

from helpers import app
from helpers.app import taught


def taught_table(gains, after=600.0):
    """People's labels alone and with a teacher's, who gains so much; after so many requests it is repaid."""
    known = [math.nan, math.nan, *gains]
    names = [f"{people} of people and 400 of the teacher" for people in (0, 100)]
    return pd.DataFrame({
        "name": ["a teacher", "the constant answer", *names],
        "taught": [400, 0, 400, 400], "accuracy": [0.08, 0.12, 0.3, 0.36], "gain": known,
        "gain_low": [gain - 0.03 for gain in known], "gain_high": [gain + 0.03 for gain in known],
        "significant": [abs(gain) > 0.03 for gain in known], "teacher_usd": [0.002, 0.0, 0.002, 0.002],
        "break_even": [None, None, after, 2 * (after or 0)]})


@pytest.mark.parametrize(("gains", "words"), [
    ((0.1, -0.1), "It gains: 0 of people and 400 of the teacher 10 points (7.0 to 13). It loses: 100 of people"),
    ((-0.1, 0.1), "It gains: 100 of people and 400 of the teacher 10 points (7.0 to 13). It loses: 0 of people"),
    ((0.0, 0.01), "It gains: none. It loses: none. No significant difference: 0 of people")])
def test_a_teacher_may_take_away_what_people_gave(gains, words):
    said = taught(taught_table(gains))
    assert words in said
    assert "right in 8.0% of the 400 messages that it labelled" in said
    assert "the training on 0 of people and 400 of the teacher (30% right), is " + (
        "repaid after 600 requests" if gains[0] > 0.03 else "paid for nothing, without a significant gain.") in said


def test_what_is_significant_of_several_is_read_from_the_table():
    """Its interval leaves zero out, but several were compared, and Holm's method left it out."""
    said = taught(taught_table((0.04, 0.0)).assign(significant=False))
    assert "It gains: none. It loses: none. No significant difference: 0 of people" in said


def test_a_teacher_that_is_cheap_to_ask_is_never_repaid():
    assert taught(taught_table((0.1, 0.1), after=None)).endswith("is never repaid against asking the teacher itself.")
    assert taught(taught_table((0.1, 0.1)).iloc[:2]) == "No specialist learned from the teacher."


def labelled(saved, reached=1.0, price=0.05, significant=True):
    low, high = sorted((saved / 2, saved * 2))
    return pd.DataFrame([
        {"annotator": "people", "usd": 40.0, "saved_usd": 0.0, "saved_usd_low": 0.0, "saved_usd_high": 0.0,
         "significant": False, "break_even_usd": math.nan, "reached": 1.0, "within": 600},
        {"annotator": "both", "usd": 40.0 - saved if reached == 1 else math.nan, "saved_usd": saved,
         "saved_usd_low": low, "saved_usd_high": high, "significant": significant, "break_even_usd": price,
         "reached": reached, "within": 600}])


@pytest.mark.parametrize(("given", "words"), [
    (labelled(10.0), "both: $30.00, saves $10.00 ($5.00 to $20.00); up to $0.0500 a label of the model it pays."),
    (labelled(-10.0, price=-0.01),
     "both: $50.00, loses $10.00 ($5.00 to $20.00); even labels for nothing would not pay."),
    (labelled(10.0, significant=False), "not significant among all that were compared"),
    (labelled(10.0, reached=0.0), "both: not reached within 600 labels."),
    (labelled(10.0, reached=0.6), "both: not reached within 600 labels in 40% of the repetitions."),
])
def test_a_way_of_labelling_may_save_lose_or_not_get_there(given, words):
    said = app.annotator_bills(given)
    assert said.startswith("people: $40.00; ")
    assert words in said


@pytest.mark.parametrize(("counts", "pays_from", "words"), [
    ((8, 100), 0.8, ["worse than always", "too often wrong to pay", "right in 80%"]),
    ((95, 100), 0.8, ["better than always", "right often enough to pay"]),
    ((80, 100), 0.8, ["better than always", "cannot be said from so few rows"]),
    ((20, 100), math.nan, ["not significantly different from always", "no annotator pays", "up to one that is "
                                 "right in 95%"]),
])
def test_an_annotator_is_held_against_the_constant_and_its_price(counts, pays_from, words):
    said = app.annotator_worth(*counts, constant=0.2, pays_from=pays_from, tried=0.95)
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize(("gain", "requests", "words"), [
    (0.1, 12000.0, "tuning gains 10 points (5.0 to 15) and is repaid after 12,000 requests."),
    (-0.1, 12000.0, "tuning loses 10 points (5.0 to 15) and is repaid"),
    (0.0, math.inf, "tuning makes no significant difference in accuracy and is never repaid"),
])
def test_tuning_may_gain_lose_be_repaid_or_never(gain, requests, words):
    row = {"way": "8 examples", "gain": gain, "gain_low": gain - 0.05, "gain_high": gain + 0.05, "requests": requests}
    assert words in app.tuning_worth(pd.DataFrame([row]))


def test_the_best_of_many_extractors_is_not_above_the_constant_answer_by_luck():
    just = {"name": "lucky", "accuracy": 0.4, "low": 0.345, "high": 0.455, "constant": 0.34}
    others = [{**just, "name": str(number), "accuracy": 0.34, "low": 0.28, "high": 0.4} for number in range(4)]
    assert app.beside_nothing(pd.DataFrame([just])).endswith("above that: lucky.")
    assert app.beside_nothing(pd.DataFrame([just, *others])).endswith("above that: none.")
    below = {**just, "name": "worse", "accuracy": 0.1, "low": 0.08, "high": 0.12}
    assert app.beside_nothing(pd.DataFrame([below])).endswith("above that: none.")


def test_tuning_that_gains_just_enough_beside_one_of_several_ways_gains_nothing_significant():
    just = {"way": "8 examples", "gain": 0.05, "gain_low": 0.001, "gain_high": 0.1, "requests": 100.0}
    others = [{**just, "way": f"{count} examples", "gain": 0.0, "gain_low": -0.05, "gain_high": 0.05}
              for count in (2, 4)]
    assert "gains 5.0 points" in app.tuning_worth(pd.DataFrame([just]))
    assert "gains" not in app.tuning_worth(pd.DataFrame([just, *others]))

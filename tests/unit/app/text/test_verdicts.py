"""Sentences about results that may be turned round: what wins in one run loses in the next."""

import itertools
import math
import re

import pandas as pd
import pytest

from helpers import app
from helpers.app import amount, differences, promise, ratios, share_of_loss, times

MINUS = "\N{MINUS SIGN}"
ROWS = [("a", 2.0, 1.5, 2.5), ("b", 1.2, 0.9, 1.5), ("c", 4.0, 3.0, 5.0), ("d", 1.0, 1.0, 1.0)]


def turned(rows):
    return [(name, 1 / value, 1 / high, 1 / low) for name, value, low, high in rows]


@pytest.mark.parametrize("ratio", [1.3, 2.0, 17.0, 1234.0])
def test_a_ratio_turned_round_says_the_same_in_the_other_word(ratio):
    there = times(ratio, 0.9 * ratio, 1.1 * ratio)
    back = times(1 / ratio, 1 / (1.1 * ratio), 1 / (0.9 * ratio))
    assert there.replace("faster", "slower") == back


def test_no_ratio_is_said_as_less_than_one():
    for ratio, width in itertools.product([0.001, 0.2, 0.5, 0.95, 0.999, 1.0, 1.001, 1.05, 2, 30], [1, 1.0005, 1.5, 4]):
        said = times(ratio, ratio / width, ratio * width, "cheaper", "dearer", "as cheap")
        assert re.match(r"(about as cheap|as cheap|[1-9][\d,.]* times )", said), said
        assert not re.match(r"1\.0+ times", said), said
        assert ("no significant difference" in said) == (ratio / width <= 1 <= ratio * width and width > 1)


def test_no_ratio_at_all_is_a_dash():
    assert times(math.nan, math.nan, math.nan) == "\N{EN DASH}"


def test_an_amount_turned_round_says_the_same_in_the_other_words():
    assert amount(30, 10, 50, "{} fewer", "{} more") == "30 fewer (10 to 50)"
    assert amount(-30, -50, -10, "{} fewer", "{} more") == "30 more (10 to 50)"


def test_an_amount_that_may_be_none_says_so():
    assert amount(-5, -12, 2, "saves {}", "loses {}", "${:,.2f}") == (
        "loses $5.00 (\N{MINUS SIGN}$2.00 to $12.00: no significant difference)")
    assert amount(0, 0, 0, "{} fewer", "{} more") == "0 fewer (0 to 0: no significant difference)"


def test_where_several_were_compared_their_test_decides():
    # an interval without 0 beside 'no significant difference' would read as a contradiction
    assert amount(5, 1, 9, "{} fewer", "{} more", significant=False) == (
        "5 fewer (1 to 9: not significant among all that were compared)")
    assert "no significant difference" in amount(5, -1, 9, "{} fewer", "{} more", significant=False)
    assert "no significant difference" not in amount(5, -1, 9, "{} fewer", "{} more", significant=True)


def test_ratios_are_sorted_out_by_their_intervals():
    assert ratios(ROWS) == ("Faster: c 4.0x (3.0 to 5.0); a 2.0x (1.5 to 2.5). Slower: none. "
                            "No significant difference: b, d.")


def test_ratios_turned_round_lose():
    assert ratios(turned(ROWS)) == ("Faster: none. Slower: c 0.25x (0.20 to 0.33); a 0.50x (0.40 to 0.67). "
                                    "No significant difference: b, d.")


def test_every_row_with_a_figure_is_in_one_group():
    for values in itertools.product([(0.5, 0.4, 0.6), (1.0, 0.9, 1.2), (2.0, 1.8, 2.2)], repeat=3):
        rows = [(name, *value) for name, value in zip(("first", "second", "third"), values, strict=True)]
        assert all(ratios(rows).count(name) == 1 for name, *_ in rows)


def test_rows_without_a_figure_are_left_out():
    assert "lost" not in ratios([*ROWS, ("lost", math.nan, math.nan, math.nan)])
    assert ratios([("lost", math.nan, math.nan, math.nan)]) == "Nothing could be compared."
    assert differences([]) == "Nothing could be compared."


def test_differences_are_sorted_out_in_points():
    rows = [("full", 0.01, 0.005, 0.015), ("none", 0.0, 0.0, 0.0), ("bad", -0.2, -0.3, -0.1)]
    minus = "\N{MINUS SIGN}"
    assert differences(rows) == (f"Better: full 1.0 points (0.50 to 1.5). Worse: bad {minus}20 points ({minus}30 to "
                                 f"{minus}10). No significant difference: none.")


def test_where_several_were_compared_each_row_may_bring_its_own_test():
    rows = [("lucky", 0.01, 0.001, 0.02, False), ("real", 0.05, 0.03, 0.07, True), ("worse", -0.05, -0.07, 0.01, True)]
    said = differences(rows)
    assert said.startswith("Better: real ")
    assert "Worse: worse " in said
    assert said.endswith("No significant difference: lucky.")


def test_the_best_of_many_intervals_is_not_taken_for_luck():
    just = ("lucky", 1.1, 1.001, 1.2)
    assert ratios([just]).startswith("Faster: lucky")
    said = ratios([just, *((str(number), 1.0, 0.9, 1.1) for number in range(3)), ("real", 2.0, 1.8, 2.2)])
    assert said.startswith("Faster: real 2.0x (1.8 to 2.2). Slower: none.")
    assert "lucky" in said.partition("No significant difference")[2]


def test_a_ratio_whose_interval_reaches_0_is_not_apart_from_1():
    assert ratios([("a", 0.5, 0.0, 2.0)]).endswith("No significant difference: a.")


@pytest.mark.parametrize(("lost", "said"), [
    (0.03, "3.0% are lost: the promise of 3 points is kept"),
    (0.045, "4.5% are lost: more than the 3 points promised, which hold on average over draws of 468 held-out")])
def test_a_promise_that_was_not_kept_is_not_passed_over(lost, said):
    """As recorded on tickets: 4.5% of the test messages were lost at a threshold that promises 3 points."""
    assert promise(lost, 3.0, 468.0).startswith(said)  # from a row of a table, a float


def test_many_that_make_no_difference_are_counted():
    assert ratios([(str(number), 1.0, 0.9, 1.1) for number in range(10)]).endswith("4, 5 and 4 others.")
    assert ratios([(str(number), 1.0, 0.9, 1.1) for number in range(7)]).endswith("4, 5 and 1 other.")


@pytest.mark.parametrize(("ratio", "said"), [(1.25, "1.2 times more"), (0.8, "1.2 times less"), (1.0, "as much"),
                                             (1.004, "about as much"), (1.04, "1.04 times more"),
                                             (3.0, "3.0 times more")])
def test_of_one_run_alone_no_interval_is_shown(ratio, said):
    assert times(ratio, ratio, ratio, "more", "less", "as much") == said


@pytest.mark.parametrize(("loss", "said"), [
    ((0.04, 0.03, 0.05), "75% of the lost accuracy"),
    ((0.04, -0.01, 0.09), f"3.0 points, and no share of the loss: that loss (4.0 points, {MINUS}1.0 to +9.0; 95%) is "
                          "not distinguishable from none"),
    ((0.04, float("nan"), float("nan")), "3.0 points, and no share of the loss: that loss (4.0 points, no interval) is "
                                         "not distinguishable from none")])
def test_no_share_is_taken_of_a_loss_inside_its_own_noise(loss, said):
    assert share_of_loss(0.03, *loss) == said


@pytest.mark.parametrize(("change", "significant", "words", "not_said"), [
    (-0.2, True, ["Found less often: refund", "Anyone who writes about refund would notice"], "nobody can be named"),
    (-0.2, False, ["largest drop, 'refund', is 20.0 points (15.0 to 25.0) in 50 rows", "nobody can be named"],
     "Anyone who writes"),
    (0.2, True, ["no class is found less often", "Found more often: refund"], "Anyone who writes"),
    (0.0, False, ["no class is found less often"], "Found more often"),
])
def test_a_changed_model_may_fail_a_class_or_nobody(change, significant, words, not_said):
    row = {"class": "refund", "rows": 50, "changed": 12, "lost": 11, "won": 1, "change": change, "low": change - 0.05,
           "high": change + 0.05, "significant": significant}
    said = app.who_notices("int8", pd.DataFrame([row]))
    assert said.startswith("int8: 12 of 50 answers changed, 11 from right to wrong and 1 from wrong to right")
    assert [word for word in words if word not in said] == []
    assert not_said not in said


def test_several_classes_that_lose_are_counted():
    rows = [{"class": name, "rows": 50, "changed": 12, "lost": 11, "won": 1, "change": -0.2, "low": -0.3, "high": -0.1,
             "significant": True} for name in ("refund", "parcel")]
    said = app.who_notices("int8", pd.DataFrame(rows))
    assert said.endswith("Anyone who writes about one of these 2 classes would notice.")


def test_two_orders_of_the_same_steps_are_not_taken_for_one():
    records = app.recorded("1_model_optimization_together")
    told, longest = app.chosen(records), app.longest_pipeline(records)
    assert told.model != longest.model
    assert {step["name"] for step in told.settings["steps"]} == {step["name"] for step in longest.settings["steps"]}
    assert f"the same steps in another order, {app.full_name(longest)}" in app.all_steps(records)

    first = longest.settings["steps"][0]["name"]
    one_order = [record for record in records if record.settings.get("steps", [{"name": first}])[0]["name"] == first]
    assert app.chosen(one_order) is longest
    assert f"all steps together, {app.full_name(longest)}" in app.all_steps(one_order)

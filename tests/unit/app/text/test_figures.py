"""Numbers and findings in words, whichever way they went."""

import pytest
from app_helpers import record

from helpers.app.text.figures import best, change, cheaper, count, finding, interval, seconds, short_finding, two

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (0.0123, "0.012"), (0.996, "1.0"), (9.96, "10"), (123.4, "120"), (45678, "46,000"),
    (-0.3, f"{MINUS}0.30"), (None, "\N{EN DASH}"), (float("nan"), "\N{EN DASH}")])
def test_two_significant_digits(value, text):
    assert two(value) == text


def test_large_numbers_and_times_are_words():
    assert (count(1_234_567), count(950), seconds(7.2), seconds(100)) == ("1.2 million", "950", "8 s", "2 min")


def test_an_interval_without_width_is_left_out():
    assert interval(1.0, 1.0) == ""


def test_a_slower_candidate_is_dearer():
    slow = record("slow", 0.5)
    assert cheaper(slow) == "2.0 times (1.6 to 2.5) dearer"
    assert change(slow).startswith("equally accurate")


def test_the_best_is_the_cheapest_that_significantly_gains_and_loses_little():
    records = [record(), record("fine", 2.0, 0.895), record("lossy", 9.0, 0.7), record("unsure", 1.1, 0.9)]
    assert best(records).model == "fine"
    assert finding(records).startswith("fine is 2.0 times (1.6 to 2.5) cheaper than base and loses 0.50 points")
    assert short_finding(records) == "fine costs 2.0x less and loses 0.50 points"


@pytest.mark.parametrize(("records", "said"), [
    ([], "Nothing has been measured"),
    ([record()], "only the reference"),
    ([record(), record("slow", 0.5)], "None of these is significantly cheaper"),
    ([record(), record("lossy", 3.0, 0.5)], "no candidate is significantly cheaper and loses at most 2.0 points")])
def test_losing_cases_are_said_plainly(records, said):
    assert said in finding(records)

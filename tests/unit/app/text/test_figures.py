"""Numbers in words."""

import pytest

from helpers.app.text.figures import count, interval, percent, seconds, two, with_minus

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (0.0123, "0.012"), (0.996, "1.0"), (9.96, "10"), (123.4, "120"), (45678, "46,000"),
    (-0.3, f"{MINUS}0.30"), (None, "\N{EN DASH}"), (float("nan"), "\N{EN DASH}")])
def test_two_significant_digits(value, text):
    assert two(value) == text


@pytest.mark.parametrize(("share", "text"), [
    (0.8986, "90%"), (0.042, "4.2%"), (0, "0%"), (1.0, "100%"), (0.994, "99%"), (0.996, "99.6%"),
    (0.9996, "99.96%"), (719 / 720, "99.8%"), (None, "\N{EN DASH}")])
def test_less_than_all_is_never_100_percent(share, text):
    assert percent(share) == text


def test_large_numbers_and_times_are_words():
    assert (count(1_234_567), count(950), seconds(7.2), seconds(100)) == ("1.2 million", "950", "8 s", "2 min")
    assert [count(value) for value in (5, 1.0, 1.5, 0, 1e9, 9.96e6)] == ["5", "1", "1.5", "0", "1 billion",
                                                                         "10 million"]


def test_an_interval_without_width_is_left_out():
    assert interval(1.0, 1.0) == ""


@pytest.mark.parametrize(("text", "said"), [
    ("costs -$3", "costs {}$3"), ("(-2.5 to -.1)", "({}2.5 to {}.1)"), ("-1 point", "{}1 point"),
    ("on 2026-01-02", "on 2026-01-02"), ("10-20 rows", "10-20 rows"), ("int-8, top-5", "int-8, top-5"),
    ("--port 80, -n 2", "--port 80, -n 2"), ("e-5 and 1e-5", "e-5 and 1e-5"), ("a - 3", "a - 3")])
def test_negative_numbers_get_a_true_minus_and_nothing_else_does(text, said):
    assert with_minus(text) == said.format(MINUS, MINUS)

"""Dollars, times and grams as a board reads them: two digits, cents, and the unit that fits."""

import pytest

from helpers.app.text.billing.amounts import grams, months, usd, usd_range
from helpers.lab.money.bill import Range


@pytest.mark.parametrize(("value", "said"), [(1234.5, "$1,234"), (99.4, "$99"), (99.6, "$100"), (9.96, "$10"),
                                             (5.0, "$5.00"), (0.5, "$0.50"), (0.00034, "$0.00034"), (0.0, "$0"),
                                             (-1234.5, "\N{MINUS SIGN}$1,234")])
def test_dollars(value, said):
    assert usd(value) == said


def test_dollars_with_their_interval():
    assert usd_range(Range(60.0, 50.0, 70.0)) == "$60 ($50 to $70)"
    assert usd_range(Range(60.0, 60.0, 60.0)) == "$60"


@pytest.mark.parametrize(("value", "said"), [(None, "never"), (1.0, "1.0 months"), (27.4, "27 months"),
                                             (119.0, "120 months"), (120.0, "10 years"), (6.3e6, "520,000 years"),
                                             (12 / 365, "1.0 days")])
def test_the_time_until_work_is_repaid(value, said):
    assert months(value) == said


def test_grams_and_kilograms():
    assert [grams(value) for value in (0.027, 990.0, 13_200.0)] == ["0.027 g", "990 g", "13 kg"]

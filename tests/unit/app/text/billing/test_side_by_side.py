"""Two scenarios side by side: the bills of one each, differences by hand, and words that the interval allows."""

import pytest

from helpers import app
from helpers.app.text.billing.side_by_side import difference
from helpers.lab.money.bill import Range
from helpers.lab.money.scenario import Scenario

TODAY, THEN = Scenario(), Scenario(volume=9e8, labels=900)
BOTH = app.two_bills(TODAY, THEN)


def test_each_row_holds_what_either_bill_says_alone():
    old, new = app.monthly_bill(TODAY), app.monthly_bill(THEN)
    assert (BOTH.before, BOTH.after) == (old, new)
    assert [row.before for row in BOTH.rows] == [old.today, *(step.usd for step in old.steps), old.then]
    assert [row.after for row in BOTH.rows] == [new.today, *(step.usd for step in new.steps), new.then]
    for row in BOTH.rows:
        if row.change is not None:
            assert row.change.value == pytest.approx(row.after.value - row.before.value)
            assert row.change.low <= row.change.value <= row.change.high


def test_a_difference_is_at_the_same_speed_up_so_no_wider_than_apart():
    for row in BOTH.rows:
        if row.change is not None:
            apart = row.after - row.before
            assert apart.low - 1e-9 <= row.change.low <= row.change.high <= apart.high + 1e-9


def test_twice_the_price_costs_one_bill_more():
    """The machines stay as they are: so the difference is the machines' bill, with its interval."""
    usual = Scenario(labels=0)
    dearer = Scenario(labels=0, usd_per_machine_hour=2 * usual.machine.on_demand_usd_hour)
    for row in app.two_bills(usual, dearer).rows:
        if row.change is not None:
            for end in ("value", "low", "high"):
                assert getattr(row.change, end) == pytest.approx(getattr(row.before, end))


def test_dearer_labels_alone_are_known_to_the_cent():
    """400 labels more at 10 cents."""
    rows = app.two_bills(Scenario(labels=500), Scenario(labels=900)).rows
    assert rows[0].change == Range(*[pytest.approx(40.0)] * 3)
    assert rows[0].said == "$40 more"


def test_the_same_scenario_makes_no_difference():
    same = app.two_bills(THEN, THEN)
    assert {row.change for row in same.rows} <= {Range(0.0, 0.0, 0.0), None}
    assert "because nothing that changed enters it" in same.headline


def test_tokens_are_exact_and_their_steps_are_listed_apart_from_a_classifiers():
    """gpt-5.4-mini: 0.75 dollars a million tokens read, 4.50 written."""
    hosted = Scenario(subject="language model", volume=1e6, tokens_in=1000, tokens_out=100)
    usd = 1000 * 0.75 + 100 * 4.5
    twice = app.two_bills(hosted, Scenario(subject="language model", volume=2e6, tokens_in=1000, tokens_out=100))
    assert twice.rows[0].change == Range(usd, usd, usd)
    mixed = app.two_bills(Scenario(), hosted)
    assert len(mixed.rows) == 2 + len(mixed.before.steps) + len(mixed.after.steps)
    then = mixed.before.then
    assert mixed.rows[-1].change == Range(*(pytest.approx(usd - one) for one in (then.value, then.high, then.low)))
    assert mixed.rows[1].name.endswith("(today)")
    assert mixed.rows[1].change is None


@pytest.mark.parametrize(("change", "said"), [
    (Range(20.0, 10.0, 30.0), "$20 more ($10 to $30)"), (Range(-20.0, -30.0, -10.0), "$20 less ($10 to $30)"),
    (Range(-5.0, -5.0, -5.0), "$5.00 less"), (Range(5.0, 5.0, 5.0), "$5.00 more"),
    (Range(0.0, 0.0, 0.0), "no significant difference, because nothing that changed enters it"),
    (Range(5.0, -10.0, 30.0),
     "no significant difference, because what was measured allows anything from $10 less to $30 more"),
    (Range(-5.0, -10.0, 0.0),
     "no significant difference, because what was measured allows anything from $10 less to no difference")])
def test_the_words_are_those_of_the_interval(change, said):
    assert difference(change) == said

"""Small and large firms: the same changes as the bill's, repaid as arithmetic says, and verdicts for each turn."""

import dataclasses

import pandas as pd
import pytest

from helpers import app
from helpers.app.text.billing.by_volume import pays_from
from helpers.lab import InputError
from helpers.lab.money.scenario import Scenario


@pytest.fixture(scope="module")
def shipped():
    return app.changes_by_volume(Scenario(), [1e4, 1e6, 1e8])


def test_each_change_is_that_of_the_bill_at_this_volume(shipped):
    for volume, rows in shipped.groupby("requests"):
        bill = app.monthly_bill(Scenario(volume=volume))
        assert rows["hosted_usd"].tolist() == pytest.approx([volume * 525e-6] * len(rows))  # 400 x 0.75 + 50 x 4.5
        assert rows["today_usd"].unique().tolist() == pytest.approx([bill.today.value])
        if bill.first is not None:
            first = rows.set_index("change").loc[bill.first.name]
            assert first["saved_usd"] == pytest.approx(bill.first.saved_usd.value)
            assert first["repaid_months"] == pytest.approx(bill.first.repaid_months)


def test_months_times_what_is_saved_is_what_was_spent(shipped):
    assert (shipped["repaid_months"] * shipped["saved_usd"]).tolist() == pytest.approx(shipped["spent_usd"].tolist())
    known = shipped.dropna(subset="repaid_months_at_most")
    assert (known["repaid_months_at_most"] >= known["repaid_months"] - 1e-9).all()


def test_a_shorter_work_is_repaid_sooner():
    short = app.changes_by_volume(dataclasses.replace(Scenario(), hours_of_work=1), [1e8])
    long = app.changes_by_volume(Scenario(), [1e8])
    both = short.merge(long, on="change")
    assert len(both)
    assert (both["repaid_months_x"] < both["repaid_months_y"]).all()


def test_a_volume_that_cannot_be_is_refused():
    with pytest.raises(InputError, match="Requests"):
        app.changes_by_volume(Scenario(), [0.0])


def frame(hosted=5.0, **months):
    """Months until each change is repaid at a small and at a large volume; None where it saves nothing."""
    rows = [(volume, name, 100.0, hosted, 1200.0 / value, 1200.0, value, value)
            for name, pair in months.items() for volume, value in zip((1e4, 1e8), pair, strict=True) if value]
    return pd.DataFrame(rows, columns=["requests", "change", "today_usd", "hosted_usd", "saved_usd", "spent_usd",
                                       "repaid_months", "repaid_months_at_most"])


def test_what_pays_at_a_small_volume_and_not_at_a_larger_one_does_not_pay_from_there_on():
    result = frame(int8=(30, 2), cascade=(3, 40), labels=(6, 6), none=(90, None))
    assert pays_from(result) == {"labels": 1e4, "int8": 1e8}


@pytest.mark.parametrize(("months", "words"), [
    ({"int8": (30, 2), "hosted": 5.0}, ["would cost $5.00 there: less than"]),
    ({"int8": (30, 2), "hosted": 500.0}, ["would cost $500 there: no less than"]),
    ({"int8": (30, 2)}, ["int8, 100,000,000.", "saves $40 of it, costs $1,200 once", "30 months: leave it"]),
    ({"int8": (3, 2)}, ["int8, 10,000.", "3.0 months: do it."]),
    ({"int8": (30, 20)}, ["At no volume up to 100,000,000 requests a month is a change repaid within 12 months.",
                          "leave it"])])
def test_the_verdict_falls_as_the_months_do(months, words):
    said = app.volume_verdict(frame(**months))
    assert all(word in said for word in words), said


def test_where_no_change_saves_anything_the_verdict_says_so():
    alone = app.changes_by_volume(Scenario(traffic_hours=24, labels=0), [1e4])
    assert alone.empty
    assert app.volume_verdict(alone) == "No recorded change saves anything at any of these volumes."

"""A page's first lines: the reader's dollars, those of the library, from the address or by default; the way back."""

import dataclasses
import html

import pytest
from IPython.display import HTML

from helpers import app
from helpers.app.panels.page_bill import share_of
from helpers.app.text.billing.amounts import months, usd, usd_range
from helpers.app.text.billing.bills import Step
from helpers.app.text.billing.single_changes import Change
from helpers.lab.money.bill import Range
from helpers.lab.money.scenario import Scenario

ANSWER = app.monthly_bill(Scenario(volume=9e8))


def text_of(bill: app.PageBill) -> str:
    return html.unescape(bill._text.value)


def exact(value: float) -> Range:
    return Range(value, value, value)


def with_steps(*steps: Step, alone: tuple[Change, ...] = ()):
    return dataclasses.replace(ANSWER, today=exact(100.0), steps=steps, alone=alone)


def test_without_an_address_the_default_numbers_are_taken_and_said():
    bill = app.PageBill("1", usd_per_label=0.5)
    assert bill.scenario == Scenario(usd_per_label=0.5)
    assert f"Your bill: {usd(app.monthly_bill(bill.scenario).today.value)} a month" in text_of(bill)
    assert "the default ones: 500 million requests a month in 8 hours a day" in text_of(bill)
    bill._url.query = {"reset": "1"}
    assert "the default ones" in text_of(bill)
    assert "<a" not in bill._text.value, "there is no landing page to go to"


@pytest.mark.parametrize("strategy", "12345")
def test_a_page_shows_its_share_of_the_bill_in_its_address(strategy, monkeypatch):
    monkeypatch.setenv("VOILA_BASE_URL", "/")
    bill = app.PageBill(strategy)
    query = {"bill.volume": "9e8", "today.volume": "5e8", "rows": "200", "bill.offer": "AWS m6i.large"}
    bill._url.query = query
    assert bill.scenario == Scenario(volume=9e8)
    assert share_of(ANSWER, strategy)[0] in text_of(bill)
    assert "the default ones" not in text_of(bill)
    assert "href='../../?bill.volume=9e8&today.volume=5e8&bill.offer=AWS+m6i.large'" in text_of(bill)


def test_what_a_reader_cannot_have_is_said_beside_the_default():
    bill = app.PageBill("1")
    bill._url.query = {"bill.volume": "<script>"}
    assert "&#x27;&lt;script&gt;&#x27;" in bill._text.value
    assert "<script>" not in bill._text.value
    assert bill.scenario == Scenario()


def test_tiles_follow_the_address():
    bill = app.PageBill("4")
    place = bill.follow(lambda scenario: HTML(f"{scenario.usd_per_label:g} a label"))
    assert place.value == "0.1 a label"
    bill._url.query = {"bill.usd_per_label": "2"}
    assert place.value == "2 a label"


def test_the_savings_of_all_pages_add_up():
    """What each page takes off, taken off today's bill together, is the bill with all steps."""
    left = ANSWER.today.value
    for strategy in "12345":
        mine = [number for number, step in enumerate(ANSWER.steps) if step.strategy == strategy and step.usd]
        bills = [ANSWER.today.value]
        for step in ANSWER.steps:
            bills.append(step.usd.value if step.usd else bills[-1])
        saved = sum(bills[number] - bills[number + 1] for number in mine)
        left -= saved
        said = share_of(ANSWER, strategy)[0]
        behind = f"{'adds' if saved < 0 else 'takes off'} {usd(abs(saved))}"
        assert (f" it to {usd(ANSWER.today.value - saved)}" in said or behind in said) == bool(mine)
    assert left == pytest.approx(ANSWER.then.value)


@pytest.mark.parametrize(("after", "said"), [
    (Range(40.0, 30.0, 60.0), "this strategy takes it to $40 ($30 to $60)"),
    (Range(140.0, 130.0, 160.0), "this strategy raises it to $140 ($130 to $160)"),
    (Range(90.0, 70.0, 120.0), "this strategy makes no significant difference to it, taking it to $90 ($70 to $120)"),
    (exact(100.0), "this strategy leaves it at $100"),
    (None, "this strategy's part of it is not counted.")])
def test_the_sentence_says_what_the_interval_allows(after, said):
    first, how = share_of(with_steps(Step("3", "a runtime", after, "why not")), "3")
    assert first.startswith(f"Your bill: $100 a month; {said}")
    assert ("why not" in how) == ("leaves" in said or "significant" in said)
    assert how.startswith("Why not.") == (after is None)


@pytest.mark.parametrize(("after", "said"), [
    (Range(90.0, 70.0, 120.0), True), (Range(40.0, 30.0, 60.0), False)])
def test_a_step_that_saves_nothing_significant_says_what_it_does(after, said):
    _, how = share_of(with_steps(Step("2", "a first stage", after, "2 whole machines; 1.7 times as fast")), "2")
    assert ("A first stage: 2 whole machines; 1.7 times as fast. No significant saving" in how) == said


@pytest.mark.parametrize(("after", "behind"), [
    (Range(90.0, 80.0, 95.0), "it takes off $10 ($5.00 to $20)."),
    (Range(90.0, 80.0, 110.0), "it takes off $10 (\N{MINUS SIGN}$10 to $20): no significant difference."),
    (Range(110.0, 90.0, 130.0), "it adds $10 (\N{MINUS SIGN}$10 to $30): no significant difference."),
    (exact(100.0), "it changes nothing.")])
def test_what_saves_more_alone_than_behind_the_others_says_both(after, behind):
    change = Change("hours", "5", Range(60.0, 50.0, 70.0), 120.0, 2.0)
    answer = with_steps(Step("5", "hours", after, ""), alone=(change, dataclasses.replace(change, strategy="1")))
    first, how = share_of(answer, "5")
    assert first.startswith("Your bill: $100 a month; alone, this strategy takes it to $40 ($30 to $50), and behind ")
    assert first.endswith(behind)
    assert how.startswith("Alone: hours, repaid in 2.0 months. ")


def test_a_change_that_saves_no_more_alone_is_told_at_its_place():
    change = Change("hours", "5", exact(10.0), 120.0, 12.0)
    assert "alone" not in share_of(with_steps(Step("5", "hours", exact(60.0), ""), alone=(change,)), "5")[0]


def test_the_page_says_of_the_advice_what_the_landing_page_says():
    """By default: 'run machines only in the hours of traffic (page 5)' saves $420 a month."""
    answer = app.monthly_bill(Scenario())
    first, how = share_of(answer, answer.first.strategy)
    assert f"takes it to {usd_range(answer.today - answer.first.saved_usd)}" in first
    assert f"repaid in {months(answer.first.repaid_months)}." in how
    assert answer.first.name in answer.advice


def test_steps_of_two_pages_and_of_others_are_told_apart():
    answer = with_steps(Step("1 and 3", "bits and runtime", exact(60.0), ""), Step("2", "a cascade", exact(50.0), ""))
    assert "takes it to $60" in share_of(answer, "1")[0]
    assert "takes it to $60" in share_of(answer, "3")[0]
    assert "takes it to $90" in share_of(answer, "2")[0]
    assert "no step" in share_of(answer, "5")[1]
    assert usd_range(answer.then) in share_of(answer, "2")[1]


def test_what_labels_and_hours_take_off_is_known_better_than_the_machines():
    """A bill of $80 ($50 to $100): labels take $10 off it, whatever it is, and 6 of 24 hours three quarters."""
    bill, labelled = Range(80.0, 50.0, 100.0), Range(70.0, 40.0, 90.0)
    answer = with_steps(Step("1", "bits", bill, ""), Step("4", "rows", labelled, "", exact(10.0)),
                        Step("5", "hours", labelled.scaled(0.25), "", labelled.scaled(0.75)))
    assert share_of(answer, "4")[0].endswith("this strategy takes it to $90.")
    assert share_of(answer, "5")[0].endswith("this strategy takes it to $48 ($32 to $70).")


def test_steps_that_follow_each_other_are_one_difference():
    """From $100 to $60 ($50 to $70), however uncertain what is between."""
    answer = with_steps(Step("1", "a", Range(80.0, 40.0, 100.0), ""), Step("1", "b", Range(60.0, 50.0, 70.0), ""))
    assert share_of(answer, "1")[0].endswith("this strategy takes it to $60 ($50 to $70).")


def test_traffic_at_all_hours_leaves_the_hours_no_saving():
    first, how = share_of(app.monthly_bill(Scenario(volume=1e9, traffic_hours=24)), "5")
    assert "this strategy leaves it at $" in first
    assert "No significant saving repays its 16 hours of work." in how


def test_the_work_is_repaid_by_what_the_page_saves():
    """Two steps of 16 hours at 80 dollars, 40 dollars saved a month: 64 months."""
    answer = with_steps(Step("1", "a", exact(80.0), ""), Step("1", "b", exact(60.0), ""))
    assert "Repays its 32 hours of work: 64 months." in share_of(answer, "1")[1]

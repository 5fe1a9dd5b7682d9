"""The bill that is sent on: the same figures in every form, nothing fetched, and JSON that is JSON."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from helpers import app
from helpers.app.export.bill_report import (
    as_json,
    as_markdown,
    bill_html,
    report,
    settings_of,
    tiles_of,
    waterfall_html,
)
from helpers.app.text.billing.amounts import usd_range
from helpers.app.text.billing.bills import Step
from helpers.lab.money.bill import Range
from helpers.lab.money.scenario import Scenario

ASKED = [Scenario(volume=1e9, traffic_hours=6, max_usd=1.0),
         Scenario(subject="language model", tokens_in=1500, tokens_shared=1200)]


class Parsed(HTMLParser):
    """Tags, addresses that would be fetched, and text."""

    def __init__(self, document):
        super().__init__()
        self.tags, self.fetched, self.said = [], [], ""
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data):
        self.said += data


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.subject)
def test_every_form_says_the_same(asked):
    answer = app.monthly_bill(asked)
    for said in (Parsed(report(answer)).said, as_markdown(answer), Parsed(bill_html(answer)).said):
        for part in (answer.headline, answer.advice, usd_range(answer.then), *answer.broken, *answer.overlaps,
                     *answer.sources, *(step.note for step in answer.steps)):
            assert part in said
    for said in (Parsed(report(answer)).said, as_markdown(answer)):
        assert all(label in said and value in said for label, value in settings_of(asked).items())


def test_the_file_fetches_nothing_and_runs_nothing():
    parsed = Parsed(report(app.monthly_bill(ASKED[0])))
    assert parsed.fetched == []
    assert "script" not in parsed.tags
    assert "@media print" in report(app.monthly_bill(ASKED[0]))


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.subject)
def test_json_is_json_with_every_figure(asked):
    def refuse(constant):
        raise AssertionError(constant)

    answer = app.monthly_bill(asked)
    read = json.loads(as_json(answer), parse_constant=refuse)
    assert read["today"]["value"] == answer.today.value
    assert read["then"] == dataclasses.asdict(answer.then)
    assert [step["usd"] and step["usd"]["value"] for step in read["steps"]] == [
        step.usd and step.usd.value for step in answer.steps]
    assert Scenario(**read["scenario"]) == asked
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d\+00:00", read["written"])


def test_bars_are_as_long_as_their_dollars():
    """From 100 by 60 to 80 (a loss of 20), to 50 with an interval, to all steps."""
    figures = [Range(60.0, 60.0, 60.0), Range(80.0, 80.0, 80.0), None, Range(50.0, 40.0, 55.0)]
    answer = dataclasses.replace(app.monthly_bill(ASKED[0]), today=Range(100.0, 100.0, 100.0), then=figures[-1],
                                 steps=tuple(Step("1", "a step", figure, "") for figure in figures))
    bars = re.findall(r"<i class='(\w+)' style='left:([\d.]+)%;width:([\d.]+)%'>", waterfall_html(answer))
    assert [(kind, float(left), float(width)) for kind, left, width in bars] == [
        ("whole", 0, 100), ("saved", 60, 40), ("added", 60, 20), ("saved", 50, 30), ("interval", 40, 15),
        ("whole", 0, 50), ("interval", 40, 15)]
    assert waterfall_html(answer).count("not counted") == 1


@pytest.mark.parametrize(("low", "high", "said"), [
    (400.0, 600.0, " (10 to 15 months)"), (500.0, 500.0, ""), (500.0, 1000.0, " (12 months to never)"),
    (400.0, 960.0, " (10 months to 12 years)")])
def test_the_time_to_repay_is_told_from_the_soonest_to_the_latest(low, high, said):
    """$6,000 spent, of $1,000 a month some $500 left."""
    answer = dataclasses.replace(app.monthly_bill(ASKED[0]), today=Range(1000.0, 1000.0, 1000.0), spent_usd=6000.0,
                                 then=Range(500.0, low, high))
    assert tiles_of(answer)[-1][1] == f"to repay $6,000 of work and computing for all steps{said}"


def test_the_numbers_behind_it_are_written_as_money_and_counts():
    said = settings_of(Scenario(usd_per_label=0.25, usd_per_machine_hour=0.05))
    assert (said["Price of a label"], said["Your price of it"], said["Requests"], said["Discount on tokens"]) == (
        "$0.25", "$0.05 an hour", "500,000,000 a month", "0%")


def test_markup_in_a_name_is_shown_not_obeyed():
    step = Step("1", "<script>alert(1)</script> | b", Range(1.0, 1.0, 1.0), "<b>")
    answer = dataclasses.replace(app.monthly_bill(ASKED[0]), steps=(step,))
    assert "script" not in Parsed(report(answer)).tags
    assert r"<script>alert(1)</script> \| b" in as_markdown(answer)

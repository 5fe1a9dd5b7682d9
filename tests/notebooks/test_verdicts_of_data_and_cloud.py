"""Verdicts of notebooks 4 and 5 on results that are turned round: what won loses, what met a target misses it."""

import ast
import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from notebook_cells import SOURCES, assigned, functions, guessed, said, sensible

from helpers import app
from helpers.lab import score
from helpers.lab.money.scenario import Scenario

WHOLE = score([0, 1] * 50, [0, 1] * 50, ["no", "yes"])


def savings(sign):
    return pd.DataFrame({"saved_usd": [0.0, 12.0 * sign], "saved_usd_low": [0.0, min(5 * sign, 20 * sign)],
                         "saved_usd_high": [0.0, max(5 * sign, 20 * sign)], "significant": [False, True],
                         "saved_on_validation": [0.0, 1.0]}, index=["random", "margin"])


@pytest.mark.parametrize(("sign", "words"), [(1, "saves $12.00 ($5.00 to $20.00)"),
                                             (-1, "loses $12.00 ($5.00 to $20.00)")])
def test_choosing_rows_may_lose_money(sign, words):
    assert_said_of_choosing(savings(sign), words)


def assert_said_of_choosing(to_95, words):
    assert words in said("4", "d37", to_95=to_95, full=0.9, whole=WHOLE, budget=720)
    at_budget = pd.DataFrame([{"noise": "uniform"}])
    on_the_way = functions("4", "d37", full=0.9, budget=720)["on_the_way"]
    assert words in said("4", "d60", first=["random", "margin"], to_95=to_95, at_budget=at_budget, full=0.9,
                         whole=WHOLE, regained=lambda row: "50% of the lost accuracy", reviews=200, paper=0.1,
                         next_point="$5", guess=guessed(0.5), on_the_way=on_the_way)


@pytest.mark.parametrize("unknown", ["saved_usd", "saved_on_validation"])
def test_what_no_strategy_reached_is_said_to_be_unknown(unknown):
    """As recorded on 2026-11-27: both stopped at 720 labels, and '0 labels fewer (0 to 0)' was said."""
    assert_said_of_choosing(savings(1).assign(**{unknown: np.nan}), "720 labels do not reach it")


@pytest.mark.parametrize(("sign", "words"), [(1, "needs 30 labels fewer than random (10 to 50"),
                                             (-1, "needs 30 labels more than random (10 to 50")])
def test_the_best_strategy_may_need_more_labels(sign, words):
    low, high = sorted((10 * sign, 50 * sign))
    assert words in said_of_labels({0.95: {"saved": 30.0 * sign, "saved_low": low, "saved_high": high}})


@pytest.mark.parametrize("unknown", ["saved", "saved_on_validation"])
def test_the_highest_share_that_was_reached_is_told(unknown):
    here = {"saved": 30.0, "saved_low": 10, "saved_high": 50}
    there = {**here, unknown: math.nan}
    assert "To 90% of the full accuracy, margin" in said_of_labels({0.95: there, 0.9: here})


def said_of_labels(recorded):
    """The verdict where margin is recorded to save so much, by share of the full accuracy."""
    names = {"app": app}
    for cell in ("d03", "d05", "d05b"):
        exec(SOURCES["4", cell], names)
    rows = [{"share": share, "strategy": "margin", "saved_on_validation": 1.0, "compute_usd": 0.0, "significant": True,
             **row} for share, row in recorded.items()]
    rows += [{**row, "strategy": "random", "saved_on_validation": 0.0, "significant": False} for row in rows]
    reviews = names["table"]
    names["table"] = lambda name: pd.DataFrame(rows) if name == "labels_tickets" else reviews(name)
    names |= {"REVIEWER_ERROR": 0.05, "BUDGET_USD": 20, "USD_PER_LABEL": 0.1}
    exec(SOURCES["4", "d07"], names)
    bill = SimpleNamespace(follow=lambda draw: draw(Scenario(usd_per_label=0.1)))
    return said("4", "d07b", **{**names, "your_bill": bill})


@pytest.mark.parametrize("cell", ["d62", "d64"])
@pytest.mark.parametrize(("gain", "significant"), [(0.05, True), (-0.05, True), (0.05, False)])
def test_a_method_may_help_harm_or_neither(cell, gain, significant):
    rows = pd.DataFrame({"method": ["random", "none", "other"], "keep": 0.5, "labels": 100, "gain": [0.0, 0.0, gain],
                         "gain_low": [0.0, 0.0, gain - 0.01], "gain_high": [0.0, 0.0, gain + 0.01],
                         "significant": [False, False, significant]})
    text = said("4", cell, whole=WHOLE, few=[], runs_altered=None, **{"pruned" if cell == "d62" else "changed": rows})
    places = re.split(r"(?:Less accurate|It harms): |No significant difference: ", text)
    assert ["other" in place for place in places] == [significant and gain > 0, significant and gain < 0,
                                                      not significant]


@pytest.mark.parametrize(("measured", "words"), [(0.9, "within that band"), (0.5, "outside of that band")])
def test_the_curve_may_be_wrong(measured, words):
    seen = {"labels": 1000.0, "predicted": 0.9, "low": 0.88, "high": 0.92, "measured": measured}
    assert words in said("4", "d41", measured=None, seen=seen, whole=WHOLE)


@pytest.mark.parametrize(("formula", "machines"), [([0.2, 0.01], "11"), ([0.2, 0.1], "11"), ([0.01, 0.001], "10")])
def test_erlangs_formula_may_ask_for_more_machines_than_were_tried(formula, machines):
    waits = [{"machines": 10 + number, "on paper": share, "central": share, "random": 0.5}
             for number, share in enumerate(formula)]
    assert said("5", "c29", waits=waits, pd=pd).startswith(f"On {machines} machines")


POLICIES = ["fixed", "Kubernetes HPA", "KEDA", "schedule", "predictive"]


@pytest.mark.parametrize("best", POLICIES)
def test_four_arms_are_compared_whichever_policy_is_best(best):
    names = {"best": best, "policies": {name: name for name in POLICIES}, "plan": 3, "service": None, "quick": None,
             "quick_plan": 2}
    lines = [line for line in ast.parse(SOURCES["5", "c47"]).body if set(assigned(line)) & {"scaler", "both", "arms"}]
    exec(compile(ast.Module(lines, []), "c47", "exec"), names)
    assert len(names["arms"]) == 4
    assert all(name.split(",")[0] == policy for name, (policy, *_) in names["arms"].items())


@pytest.mark.parametrize(("factors", "words"), [((1.0, 2.0, 3.0, 4.0), "4.0 times less"), ((1.0, 0.5, 1.0, 0.8),
                                                                                           "1.2 times more")])
def test_a_quicker_model_or_an_autoscaler_may_cost_more(factors, words):
    names = ["fixed, reference", "KEDA, reference", "fixed, quickest model", "KEDA, quickest model"]
    combined = pd.DataFrame({"name": names, "usd_month": 100 / np.array(factors), "times": factors})
    given = dict.fromkeys(("quick", "quick_plan", "scaler", "both", "arms", "priced"))
    assert words in said("5", "c47", combined=combined, **given)


@pytest.mark.parametrize(("usd", "words"), [({0.0: 100.0, 1.0: 50.0}, "2.0 times less"), ({0.0: 50.0, 1.0: 100.0},
                                                                                         "2.0 times more"),
                                            ({0.0: 50.0, 1.0: 50.0}, "as much")])
def test_spot_may_cost_more(usd, words):
    run = SimpleNamespace(late=lambda _: 0.01, counts={"failed": 3})
    given = dict.fromkeys(("size", "settings"))
    assert words in said("5", "c57", usd=usd, mix={0.0: run, 1.0: run}, DEADLINE_S=0.25, **given)


@pytest.mark.parametrize(("best", "in_time", "words"), [
    ("KEDA", 2, "KEDA is the cheapest, of those that meet the latency target"),
    ("fixed", 2, "Nothing costs less than 3 fixed machines, of those that meet"),
    ("KEDA", 0, "KEDA is the cheapest, and none meets the latency target"),
    ("fixed", 0, "Nothing costs less than 3 fixed machines, and none meets the latency target")])
@pytest.mark.parametrize(("times", "all_told"), [(1.0, "as much in all"), (0.8, "1.2 times more in all"),
                                                 (2.5, "2.5 times less in all")])
def test_the_fixed_fleet_may_be_the_cheapest_and_all_may_be_late(best, in_time, words, times, all_told):
    bills = pd.DataFrame({"name": ["fixed", "KEDA"], "usd_month": [100.0, 90.0], "p95_ms": 200.0, "late": 0.1})
    meeting_said = "of those that meet the latency target" if in_time else "and none meets the latency target"
    text = said("5", "c63", bills=bills, best=best, meeting_said=meeting_said, plan=3,
                ratios=(1.1, 1.0, 1.2), paper=2.0, times_less=lambda *_: "1.1 times less",
                combined=pd.DataFrame({"times": [1.0, times]}),
                guess=guessed(1.5))
    assert words in text
    assert all_told in text


@pytest.mark.parametrize(("sign", "words"), [(1, ["30 labels fewer", "$3.00 saved"]),
                                             (-1, ["30 labels more", "$3.00 lost"])])
def test_a_strategy_on_the_page_may_need_more_labels(sign, words):
    low, high = sorted((10 * sign, 50 * sign))
    row = {"saved": 30 * sign, "saved_low": low, "saved_high": high, "usd_saved": 3 * sign, "usd_saved_low": low / 10,
           "usd_saved_high": high / 10}
    text = said_of_rows(row)
    assert all(word in text for word in words)


def said_of_rows(row):
    names = functions("4", "d49", pd=pd, math=math,
                      table=lambda _: pd.DataFrame({"strategy": ["random", "margin"], "labels": 720}),
                      compared=lambda row, more, less, none: more if row["saved"] > 0 else less,
                      saved_at=lambda *_: pd.DataFrame([{**row, "significant": True}], index=["margin"]))
    return sensible(names["which_rows"]("margin", 0.95, 0.1)[2])


def test_what_neither_reached_is_said_on_the_page():
    assert "neither margin nor random reaches 95% of the full accuracy with 720 labels" in said_of_rows(
        {"saved": math.nan})


@pytest.mark.parametrize(("gain", "words"), [(0.02, "gains 2.0 points"), (-0.02, "loses 2.0 points")])
def test_changed_copies_may_harm(gain, words):
    rows = pd.DataFrame({"method": ["none", "swap"], "labels": 100, "validation": [0.8, 0.8 + gain],
                         "gain": [0.0, gain], "gain_low": [0.0, gain - 0.01], "gain_high": [0.0, gain + 0.01],
                         "significant": [False, True]})
    assert words in sensible(functions("4", "d52", table=lambda _: rows)["changed_copies"]()[2])

"""The reader's numbers in the notebooks' own cells: which controls start from them, and that they reach the dollars."""

import ast
import math
import operator
import re
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from notebook_cells import SOURCES, functions, plain

from helpers import app
from helpers.cloud_distributed import diurnal
from helpers.lab import InputError, cost, offer
from helpers.lab.money.scenario import Scenario


def started() -> list[tuple[str, str, str]]:
    """(notebook, setting, what of the Scenario it starts from) of each control that takes the reader's number."""
    results = []
    for (number, _), source in SOURCES.items():
        for text in re.findall(r"(?:bill=|of_bill = |else |TOKEN_PRICES (?:=|\|) )({[^{}]*:[^{}]*})", source):
            if "Explore" in source or "TOKEN_PRICES = " in source:
                results += [(number, setting, field) for setting, field in ast.literal_eval(text).items()]
    return results


def test_controls_start_from_what_a_scenario_has():
    assert {number for number, _, _ in started()} == {"2", "3", "4", "5"}
    for _, _, field in started():
        assert isinstance(operator.attrgetter(field)(Scenario()), int | float | str), field


@pytest.mark.parametrize("number", "12345")
def test_each_notebook_opens_on_the_bill_of_its_own_strategy(number):
    names = {"USD_PER_LABEL": 0.5}
    *before, shown = ast.parse(SOURCES[number, f"bill{number}"]).body
    exec(ast.unparse(before), names)
    bill = eval(ast.unparse(shown), names)
    assert bill._strategy == number
    assert bill.scenario == Scenario(**({"usd_per_label": 0.5} if number == "4" else {}))


def test_page_5_opens_on_the_traffic_of_its_bill_and_says_so():
    """500 million requests in a month of 730 hours: 190 a second, in the sentence and on the slider."""
    your_bill = types.SimpleNamespace(scenario=Scenario(volume=500e6, traffic_hours=8))
    names = {"TRACE": None, "your_bill": your_bill, "np": np, "offers": dict, "laws": {"m": (1, 2)}, "reference": "m",
             "OFFER": None}
    exec(SOURCES["5", "c13"], names)
    assert names["TRACE_RATE"] == round(500e6 / (730 * 3600))
    exec(SOURCES["5", "c59"], names)
    assert names["controls"]["rate"].value == names["TRACE_RATE"]
    given = {"scenario": lambda *_: types.SimpleNamespace(attrs={}), "KINDS": ["bursts"], "quickest": "m",
             "STARTUP_S": 0.0}
    exec(SOURCES["5", "c19"], names := names | given)
    assert names["source"] == "bursts around 190 requests a second, the default bill's mean"


def test_a_day_of_more_requests_than_fit_in_memory_is_refused_in_a_sentence():
    arrivals_of = functions("5", "a9dc9ea0", diurnal=diurnal, InputError=InputError)["arrivals_of"]
    arrivals, peak = arrivals_of("day and night", 2.0, 0)
    assert (len(arrivals), peak) == (pytest.approx(2 * 86_400, rel=0.02), 3.2)
    with pytest.raises(InputError, match="up to 400 a second"):
        arrivals_of("day and night", 571.0, 0)


def test_the_tiles_of_page_4_take_the_readers_cost_of_a_label():
    """What is saved are the labels at that price, less the computing; the budget pays for fewer looks."""
    names = {"app": app, "math": math, "BUDGET_USD": 20, "USD_PER_LABEL": 0.1, "REVIEWER_ERROR": 0.05,
             "your_bill": app.PageBill("4")}
    for cell in ("d03", "d05", "d05b", "d07", "d07b", "d09a", "d09"):
        exec(SOURCES["4", cell], names)
    dear, best = plain(names["tiles_of"](Scenario(usd_per_label=2.0))), names["best"]
    needed = names["table"]("labels_tickets").query("share == @best['share']").set_index("strategy")["compute_usd"]
    saved = 2.0 * best["saved"] - (needed[best.name] - needed["random"])
    assert f"${abs(saved):,.0f}{'saved' if saved >= 0 else 'lost'} on the way" in dear
    looks = names["by_damage"](2.0)[0]
    assert looks["reviewed"] * 2.0 <= 20
    share = names["regained"](looks).partition(names["LOST"])[0]
    assert share in dear or "no share" in dear
    assert "at $2.0 a look" in dear
    opening = plain(names["opening"](Scenario(usd_per_label=0.4)))
    assert "$20 (50 reviews in order of doubt) regain" in opening  # at $0.40 each
    assert "$20 (200 reviews in order of doubt) regain" in plain(names["opening"](Scenario(usd_per_label=0.1)))


def test_messages_and_the_own_price_reach_the_ladders_dollars():
    ladder = functions("2", "e43", cost=cost, offer=offer, TIMED=(
        "fine-tuned", "majority", "tfidf", "static", "zero-shot", "frozen"))["right_size"]
    usual = ladder("all", 80, 1e8, "AWS m6i.large", 100).set_index("step")["usd_month"]
    asked = ladder("all", 80, 3e8, "AWS m6i.large", 50).set_index("step")["usd_month"]
    pd.testing.assert_series_equal(asked, 1.5 * usual)


def test_the_own_price_scales_each_dollar_of_a_simulated_month():
    """Whole machines, their interval and each repetition, and the busy seconds; nothing else."""
    class Ran:
        arrivals, counts = [0.0, 1.0], {"answered": 2}

        def frame(self):
            return pd.DataFrame({"replicas": [1]})

        def latency_quantiles_s(self, _shares):
            return [0.2]

        def late(self, _target_s):
            return 0.0

    paid = types.SimpleNamespace(usd_month=100.0, busy_usd_month=10.0, kg_month=3.0)
    scenario = functions("5", "c17b", one_run=lambda *_: (Ran(), 2), bill=lambda *_: paid, offer=str, np=np,
                         ThreadPoolExecutor=ThreadPoolExecutor, interval=lambda each: (each[0], min(each), max(each)),
                         LENGTHS={}, TRACE=None, DEADLINE_S=0.25)["scenario"]
    full, own = (scenario("steady", 30.0, "fixed", "m", (1.0, 2.0), 60.0, price=price).attrs for price in (100.0, 60.0))
    assert full["usd"] == (100, 100, 100)
    assert own["usd"] == pytest.approx((60, 60, 60))
    assert own["each"] == pytest.approx([60] * len(full["each"]))
    assert (own["busy_usd"], own["kg_month"], own["p95_s"]) == (pytest.approx(6), 3, pytest.approx(0.2))

"""The reader's numbers in the notebooks' own cells: which controls start from them, and that they reach the dollars."""

import ast
import math
import re

import numpy as np
import pandas as pd
import pytest
from notebook_cells import SOURCES, functions, plain

from helpers import app
from helpers.lab import cost, offer
from helpers.lab.money.scenario import Scenario


def started() -> list[tuple[str, str, str]]:
    """(notebook, setting, what of the Scenario it starts from) of each control that takes the reader's number."""
    found = []
    for (number, _), source in SOURCES.items():
        for text in re.findall(r"(?:bill=|of_bill = |else )({[^{}]*:[^{}]*})", source):
            if "Explore" in source:
                found += [(number, setting, field) for setting, field in ast.literal_eval(text).items()]
    return found


def test_controls_start_from_what_a_scenario_has():
    assert {number for number, _, _ in started()} == {"2", "3", "4", "5"}
    for _, _, field in started():
        assert isinstance(getattr(Scenario(), field), int | float | str), field


@pytest.mark.parametrize("number", "12345")
def test_each_notebook_opens_on_the_bill_of_its_own_strategy(number):
    names = {"USD_PER_LABEL": 0.5}
    exec(SOURCES[number, f"bill{number}"], names)
    assert names["your_bill"]._strategy == number
    assert names["your_bill"].scenario == Scenario(**({"usd_per_label": 0.5} if number == "4" else {}))


def test_the_tiles_of_page_4_take_the_readers_cost_of_a_label():
    """What is saved are the labels at that price, less the computing; the budget pays for fewer looks."""
    names = {"app": app, "math": math, "BUDGET_USD": 20, "USD_PER_LABEL": 0.1, "REVIEWER_ERROR": 0.05,
             "your_bill": app.PageBill("4")}
    for cell in ("d03", "d05", "d05b", "d07", "d09"):
        exec(SOURCES["4", cell], names)
    dear, best = plain(names["tiles_of"](Scenario(usd_per_label=2.0))), names["best"]
    needed = names["table"]("labels_tickets").query("share == @best['share']").set_index("strategy")["compute_usd"]
    saved = 2.0 * best["saved"] - (needed[best.name] - needed["random"])
    assert f"${abs(saved):,.0f}{'saved' if saved >= 0 else 'lost'} on the way" in dear
    looks = names["bought"](names["found"][0]["noise"], 20, 2.0, names["error"])
    assert looks["reviewed"] * 2.0 <= 20
    share = names["regained"](looks).partition(names["LOST"])[0]
    assert share in dear or "no share" in dear
    assert "at $2.0 a look" in dear


def test_messages_and_the_own_price_reach_the_ladders_dollars():
    ladder = functions("2", "e43", cost=cost, offer=offer, TIMED=(
        "fine-tuned", "majority", "tfidf", "static", "zero-shot", "frozen"))["right_size"]
    usual = ladder("all", 80, 1e8, "AWS m6i.large", 100).set_index("step")["usd_month"]
    asked = ladder("all", 80, 3e8, "AWS m6i.large", 50).set_index("step")["usd_month"]
    pd.testing.assert_series_equal(asked, 1.5 * usual)


def test_the_own_price_scales_each_dollar_of_a_simulated_month():
    def scenario(rate):
        frame = pd.DataFrame({"replicas": [1]})
        frame.attrs = {"usd": (100.0, 90.0, 110.0), "each": [95.0, 105.0], "busy_usd": 10.0, "p95_s": 0.2}
        return frame

    figures = functions("5", "c61", scenario=scenario, np=np)["at_your_price"](60, rate=30).attrs
    assert figures["usd"] == pytest.approx([60, 54, 66])
    assert figures["each"] == pytest.approx([57, 63])
    assert (figures["busy_usd"], figures["p95_s"]) == (pytest.approx(6), 0.2)

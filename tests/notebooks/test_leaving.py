"""Notebook 3 on leaving a runtime, on accelerators and on budgets: sentences and charts on results either way."""

import pandas as pd
import pytest
from notebook_cells import functions, plain, said

from helpers import app
from helpers.app import bars_spec
from helpers.hardware_codesign import at_prices, budget_verdict, cheapest_budget
from helpers.lab import InputError
from helpers.lab.facts import Peaks


def matrix(opens):
    rows = pd.DataFrame({"form": ["ONNX", "ONNX"], "home": "ONNX Runtime", "runtime": ["ONNX Runtime", "PyTorch"],
                         "precision": "fp32", "opens": [True, opens], "same_answers": [1.0, 0.9 if opens else None],
                         "note": ["", "" if opens else "it cannot. Read the manual"], "difference": 0.0, "integer": 0.0,
                         "own_operators": "", "leave_s": [12.34, 2.0]})
    rows.attrs = {"origin": "made up"}
    return rows


@pytest.mark.parametrize(("opens", "title"), [(True, "1 of 1 attempts"), (False, "0 of 1 attempts")])
def test_the_page_draws_what_opens_and_says_what_does_not(opens, title):
    frame = functions("3", "lv7", table=lambda name: matrix(opens), InputError=InputError)["leave"]("ONNX Runtime")
    chart, notes = functions("3", "lv9", bars_spec=bars_spec, app=app)["draw_leaving"](frame)
    assert f"ONNX Runtime: {title} to open a file elsewhere succeed" in str(chart.to_dict())
    assert plain(notes) == ("" if opens else "PyTorch does not open: ONNX.")


def test_the_page_says_that_leaving_is_not_recorded():
    def missing(name):
        raise InputError("not there")

    frame = functions("3", "lv7", table=missing, InputError=InputError)["leave"]("OpenVINO")
    assert "not recorded yet" in functions("3", "lv9", bars_spec=bars_spec)["draw_leaving"](frame)


def test_the_longest_way_out_is_said():
    assert "12.3 s, to a file of ONNX Runtime in fp32" in said("3", "lv4", leaving=matrix(True))


@pytest.mark.parametrize(("bf16", "words"), [(8e14, "does 8 times"), (2e14, "does 2 times")])
def test_units_are_told_by_their_data_sheets(bf16, words):
    one = Peaks("a device", {"fp32": 1e14, "bf16": bf16, "int8": 2 * bf16}, 1e12)
    text = said("3", "units", pd=pd, devices=lambda: {"NVIDIA H100 SXM": one, "Google TPU v5e": one})
    assert words in text
    assert f"from 100 to {bf16 / 1e12:.0f} operations a byte" in text


@pytest.mark.parametrize(("gain", "words"), [(1.5, "Faster here: with prefix caching."), (0.7, "Slower here: with")])
def test_a_switch_of_the_engine_may_gain_or_lose(gain, words):
    elsewhere = pd.DataFrame({"engine": ["with prefix caching"], "off": "continuous batching", "gain": gain,
                              "gain_low": 0.95 * gain, "gain_high": 1.05 * gain, "this machine": 2.0, "an H100": 2.0})
    assert words in said("3", "lm31b", elsewhere=elsewhere)


def beside_the_first(tokens):
    return pd.DataFrame({"budget": ["8 examples", "1 example"], "split": "test", "prompt_tokens": [90.0, tokens],
                         "right": [0.6, 0.5], "low": 0.45, "high": 0.7, "constant": 0.3, "difference": [0.0, -0.1],
                         "difference_low": [0.0, -0.2], "difference_high": [0.0, 0.02], "answer_tokens": 0.0,
                         "valid": 1.0})


@pytest.mark.parametrize(("tokens", "share"), [(30.0, "33%"), (135.0, "150%")])
def test_a_budget_may_save_or_cost(tokens, share):
    """With one price for both kinds of token, dollars are as their number."""
    tested = beside_the_first(tokens)
    given = {"asked_again": tested, "token_usd": [0.5, 0.5], "at_prices": at_prices, "two_budgets": None}
    assert share in said("3", "tb4", **given)


@pytest.mark.parametrize(("usd_out", "more"), [(0.0, []), (100.0, ["At your prices '8 examples' would be chosen"])])
def test_the_page_takes_the_readers_prices_of_tokens(usd_out, more):
    """One example has fewer tokens of prompt and writes more: it is cheaper unless written ones are dear."""
    both = pd.concat([beside_the_first(30.0).assign(split="validation", difference_low=0.0), beside_the_first(30.0)],
                     ignore_index=True)
    both["answer_tokens"] = [10.0, 20.0] * 2
    served = functions("3", "lm10", pd=pd, recorded_language=lambda name: both, at_prices=at_prices,
                       SERVED={"Token budgets": "budgets"})["served"]
    rows = served("Token budgets", 0.8, 1.0, 0.5, 1.0, usd_out)
    assert rows["usd_per_million"].tolist() == [90 + 10 * usd_out, 30 + 20 * usd_out] * 2
    draw = functions("3", "lm12a", bars_spec=bars_spec, budget_verdict=budget_verdict, cheapest_budget=cheapest_budget)
    verdict, *others, chart = draw["draw_budgets"](rows)
    assert f"'1 example' costs ${30 + 20 * usd_out:.2f} a million requests" in verdict
    assert len(others) == len(more)
    assert all(one.startswith(start) for one, start in zip(others, more, strict=True))
    assert "With 30 to 90 tokens of prompt, 50% to 60% of the fields" in str(chart.to_dict())

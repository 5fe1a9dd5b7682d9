"""Notebook 3 on leaving a runtime, on accelerators and on budgets: sentences and charts on results either way."""

import pandas as pd
import pytest
from notebook_cells import functions, said

from helpers.app import bars_spec
from helpers.lab import InputError
from helpers.lab.facts import Peaks


def matrix(opens):
    rows = pd.DataFrame({"form": ["ONNX", "ONNX"], "home": "ONNX Runtime", "runtime": ["ONNX Runtime", "PyTorch"],
                         "precision": "fp32", "opens": [True, opens], "same_answers": [1.0, 0.9 if opens else None],
                         "note": ["", "" if opens else "it cannot"], "difference": 0.0, "integer": 0.0,
                         "own_operators": "", "leave_s": [12.34, 2.0]})
    rows.attrs = {"origin": "made up"}
    return rows


@pytest.mark.parametrize(("opens", "title"), [(True, "1 of 1 files"), (False, "0 of 1 files")])
def test_the_page_draws_what_opens_and_says_what_does_not(opens, title):
    frame = functions("3", "lv7", table=lambda name: matrix(opens), InputError=InputError)["leave"]("ONNX Runtime")
    chart, *notes = functions("3", "lv9", bars_spec=bars_spec)["draw_leaving"](frame)
    assert f"{title} of ONNX Runtime open elsewhere" in str(chart.to_dict())
    assert notes == ([] if opens else ["ONNX in PyTorch: it cannot"])


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


def beside_the_first(cheaper):
    return pd.DataFrame({"budget": ["8 examples", "1 example"], "split": "test", "usd_per_million": [90.0, cheaper],
                         "right": [0.6, 0.5], "low": 0.45, "high": 0.7, "constant": 0.3, "difference": [0.0, -0.1],
                         "difference_low": [0.0, -0.2], "difference_high": [0.0, 0.02], "prompt_tokens": 9.0,
                         "answer_tokens": 9.0, "valid": 1.0})


@pytest.mark.parametrize(("cheaper", "share"), [(30.0, "33%"), (135.0, "150%")])
def test_a_budget_may_save_or_cost(cheaper, share):
    rows = pd.concat([beside_the_first(cheaper).assign(split="validation"), beside_the_first(cheaper)])
    drawn = functions("3", "lm12a", bars_spec=bars_spec)["draw_budgets"](rows)
    assert f"'1 example' has 50% of the fields right for {share} of the dollars" in str(drawn.to_dict())
    assert share in said("3", "tb4", on_test_rows=beside_the_first(cheaper), two_budgets=None)

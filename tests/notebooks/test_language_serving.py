"""Notebook 3 on a served language model: sentences on results that fall either way, and the page without records."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from notebook_cells import SOURCES, functions, guessed, plain, said

from helpers import app
from helpers.app import bars_spec, lines_spec
from helpers.hardware_codesign import ENGINES, cache_verdict, phase_figures
from helpers.hardware_codesign.language_serving.answer_caches import NEVER
from helpers.hardware_codesign.language_serving.phase_model import PhaseModel, StepCounts
from helpers.lab import DECODERS, offer
from helpers.lab.facts import Peaks

COUNTS = StepCounts(body=1e8, head=3e7, stored=1.3e8, kv_bytes=46080.0, attention=7e4)
GUESS = guessed(12.0)


@pytest.mark.parametrize(("rate", "words"), [(1e11, "On paper from"), (1e14, "at no number of answers")])
def test_arithmetic_may_never_limit_writing(rate, words):
    text = said("3", "lm25", needs=COUNTS, peaks=Peaks("made up", {"fp32": rate}, 1e10), turn_guess=GUESS)
    assert words in text
    assert ("your guess was 12" in text) == (rate == 1e11)


@pytest.mark.parametrize(("turns", "words"), [(7.4, "from 7 answers at once on"), (math.inf, "at no number")])
def test_the_fitted_turn_may_be_nowhere(turns, words):
    predicted = pd.DataFrame({"fitted": [True, False, False], "error": [0.0, 0.1, -0.3]})
    text = said("3", "lm29", predicted=predicted, phases=SimpleNamespace(turning_batch=lambda context: turns))
    assert words in text
    assert "2 points that were not fitted: half of the predictions are within 20%" in text


@pytest.mark.parametrize("speedup", [3.0, 0.5])
def test_a_switch_may_lose(speedup):
    switched = pd.DataFrame({"engine": ["one by one", "continuous batching"], "requests_per_s": 1.0,
                             "speedup": [1.0, speedup], "low": [1.0, 0.9 * speedup], "high": [1.0, 1.1 * speedup],
                             "first_p95_s": 1.0, "same_answers": [1.0, 0.75], "note": ""})
    text = said("3", "lm31", mail=None, tried=list(ENGINES), switched=switched)
    assert f"{'Faster' if speedup > 1 else 'Slower'}: continuous batching" in text
    assert "The same answers as one by one: 75% or more." in text


def test_a_cache_says_its_wrong_answers():
    caches = pd.DataFrame({"cache": ["none", "by text", "by meaning"], "threshold": [np.nan, np.nan, 0.9],
                           "hit_rate": [0.0, 0.2, 0.5], "hit_rate_low": 0.0, "hit_rate_high": 1.0,
                           "wrong_rate": [0.0, 0.0, 0.012], "wrong_rate_high": [0.01, 0.01, 0.03]})
    assert "By text 20% of the requests are found, by meaning 50%; 1.2% of all get" in said("3", "lm35", caches=caches)
    caches.loc[2, ["threshold", "hit_rate"]] = [NEVER, 0.2]
    assert "by meaning no more: on validation rows no threshold kept wrong" in said("3", "lm35", caches=caches)


def test_the_page_says_what_is_not_recorded():
    for cell, name in (("lm07", "draw_request"), ("lm13", "draw_served")):
        assert functions("3", cell, NOT_YET="not yet")[name](None) == "not yet"
    none = functions("3", "lm05", pd=pd, recorded_language=lambda name: None)
    assert none["request"](8, 256, 64, 8, "AWS m6i.large", 100) is None


@pytest.mark.parametrize("bandwidth", [1e10, math.inf])
def test_a_request_is_drawn_from_the_recorded_figures(bandwidth):
    """By hand: one prompt of 100 tokens, and 10 tokens for each of 4 answers."""
    from helpers.hardware_codesign import recorded_phases

    model = PhaseModel(COUNTS, 0.001, 0.0, 1e11, bandwidth, overlap=False)
    models = pd.DataFrame([{"bits": 8, **phase_figures(model)}]).replace(math.inf, math.nan)
    models.attrs = {"origin": "made up"}
    tables = {"model": models, "phases": pd.DataFrame({"bits": [8, 8], "fitted": [True, False], "error": [0.0, 0.2]})}
    frame = functions("3", "lm05", pd=pd, recorded_language=tables.get, recorded_phases=recorded_phases, offer=offer)[
        "request"](8, 100, 10, 4, "AWS m6i.large", 50)
    by_hand = 0.001 + (2 * 1e8 * 100 + 2 * 3e7 + 7e4 * 5050) / 1e11 + (1.3e8 + 46080 * 100) / bandwidth
    assert frame.attrs["first_ms"] == pytest.approx(1000 * by_hand)
    assert frame.attrs["off"] == 0.2
    step_s = 0.001 + 4 * (2 * 1.3e8 + 7e4 * 105) / 1e11 + (1.3e8 + 4 * 46080 * 105) / bandwidth
    usd = 0.5 * offer("AWS m6i.large").on_demand_usd_hour / 3600 * 1e6 * (by_hand + 9 * step_s / 4)
    tiles, chart = functions("3", "lm07", lines_spec=lines_spec, NOT_YET="")["draw_request"](frame)
    assert f"${usd:,.2f}a million requests on AWS m6i.large, at your price" in plain(tiles)
    assert "Arithmetic limits writing" in str(chart.to_dict())


ENGINES_RAN = pd.DataFrame({"engine": ["a", "b", "c"], "speedup": [1.0, 2.5, np.nan], "low": [1.0, 2.0, np.nan],
                            "high": [1.0, 3.0, np.nan], "note": ["", "", "there is no draft"]})
LOADED = pd.DataFrame({"rate": [1.0, 2.0], "good": [1.0, 0.5], "sustained": 1.0, "share": 0.95, "first_target_s": 2.0,
                       "per_token_target_s": 0.15, "cached_share": [0.1, 0.2]})


@pytest.mark.parametrize(("speedup", "title"), [(2.5, "b: 2.5 times the requests of a"),
                                                (0.5, "Nothing answers more requests a second than a")])
def test_recorded_switches_may_win_or_lose_and_what_did_not_run_is_said(speedup, title):
    draw = functions("3", "lm12", bars_spec=bars_spec, app=app)["draw_engines"]
    chart, notes = draw(ENGINES_RAN.assign(speedup=[1.0, speedup, np.nan]))
    assert title in str(chart.to_dict())
    assert plain(notes) == "c: there is no draft."


@pytest.mark.parametrize(("sustained", "title"), [(1.0, "Up to 1.0 a second 95% are within the target"),
                                                  (0.0, "At no rate that was tried 95% are within the target")])
def test_no_rate_may_meet_the_target(sustained, title):
    draw = functions("3", "lm12", lines_spec=lines_spec)["draw_load"]
    drawn = str(draw(LOADED.assign(sustained=sustained)).to_dict())
    assert f"{title}: 2 s to the first token, 0.15 s a further one" in drawn
    assert "requests a second, 15% of the prompts' tokens in the server's cache" in drawn


def test_recorded_caches_are_drawn_with_their_wrong_answers():
    caches = pd.DataFrame({"cache": ["none", "by text", "by meaning"], "hit_rate": [0.0, 0.1, 0.4], "threshold": 0.9,
                           "hit_rate_low": 0.0, "hit_rate_high": 0.5, "wrong_rate": 0.01, "wrong_rate_high": 0.02})
    draw = functions("3", "lm13", bars_spec=bars_spec, cache_verdict=cache_verdict)["draw_caches"]
    verdict, chart = draw(caches)
    assert "by meaning 40%; 1.0% of all get an answer with another label (at most 2.0%, 95%)" in verdict
    assert "by meaning: 40% of the requests" in str(chart.to_dict())


@pytest.mark.parametrize("discount", [0, 40])
def test_a_readers_own_prices_stand_beside_the_lists(discount):
    """By hand: 3 parts read and one written."""
    names = {"pd": pd}
    exec(SOURCES["3", "h69"], names)
    frame = names["tokens"]("Llama 3.1 8B", 300, 100, 50, 2.0, 6.0, discount)
    listed = names["token_costs"](DECODERS["Llama 3.1 8B"], prompt=300, output=100, token_ms=50)
    assert frame["usd_per_million"].iloc[0] == pytest.approx((1 - discount / 100) * listed["usd_per_million"].iloc[0])
    assert frame.iloc[-1][["name", "usd_per_million"]].tolist() == ["your price", 3.0]
    title = functions("3", "h71", bars_spec=lambda *_, title, **__: title)["draw_tokens"](frame)
    assert title.endswith("; your price is $3.00")

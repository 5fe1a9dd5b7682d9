"""Notebook 2 on a language model: sentences on results that fall either way, and the page without records."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from notebook_cells import functions, guessed, said

from helpers import app
from helpers.app import bars_spec, lines_spec
from helpers.efficient_architectures import most_lost, route_drift
from helpers.efficient_architectures.cascades.routing import Routable
from helpers.lab import InputError, load_task
from helpers.lab.data.extraction import extractions

GUESS = guessed(40.0)
LADDER = ("tagger", "patterns", "nearest examples")


def ladder(delta, energy, significant=True):
    """Patterns are as good and as cheap as the tagger; the language model differs as given."""
    return pd.DataFrame({"rung": LADDER, "delta": [0.0, 0.0, delta], "low": [0.0, -0.1, delta - 0.05],
                         "high": [0.0, 0.1, delta + 0.05], "significant": [False, False, significant],
                         "resolved": [0.4, 0.2, 0.4 + delta], "resolved_low": [0.3, 0.1, 0.3 + delta],
                         "resolved_high": [0.5, 0.3, 0.5 + delta], "resolved_constant": 0.12,
                         "energy": [1.0, 1.0, energy], "energy_low": [1.0, 0.9, 0.8 * energy],
                         "energy_high": [1.0, 1.1, 1.2 * energy], "usd_per_million": [1.0, 1.0, energy]})


@pytest.mark.parametrize(("delta", "energy", "significant", "words"), [
    (0.2, 300.0, True, ["Resolve more requests than the tagger: nearest examples 20 points (15 to 25).",
                        "More energy for a request: nearest examples 300x (240 to 360)"]),
    (-0.4, 0.2, True, ["Fewer: nearest examples \N{MINUS SIGN}40 points", "Less: nearest examples 0.20x"]),
    (0.1, 1.0, False, ["Resolve more requests than the tagger: none. Fewer: none.", "No significant difference"])])
def test_the_language_model_may_win_or_lose_in_quality_and_in_energy(delta, energy, significant, words):
    text = said("2", "lm10", rungs=ladder(delta, energy, significant), work=900.0, LADDER=LADDER, energy_guess=GUESS)
    assert all(one in text for one in words), text
    assert "On paper 900 times for nearest examples; you guessed 40." in text
    above = "tagger, nearest examples" if delta > 0 else "tagger"
    assert f"The same answer to all messages is right in 12% of them; significantly above that: {above}." in text


@pytest.mark.parametrize(("a_message", "words"), [
    (0.5, "On paper, 1.8 times as many with eight at once."),  # 8 / (1 + 7 * 0.5)
    (0.0, "On paper, 8.0 times as many"), (-0.1, "On paper, 8.0 times as many")])
def test_further_messages_may_take_time_or_none(a_message, words):
    assert words in said("2", "lm47", alone_s=1.0, four_s=1.0, a_message=a_message)


@pytest.mark.parametrize(("speedups", "words"), [
    ((1.0, 4.0, 30.0, 60.0), ["more: both 60x (54 to 66); swapped 30x (27 to 33); together 4.0x (3.6 to 4.4). fewer: "
                              "none.", "Both changes give 50% of the product; you guessed 40%."]),
    ((1.0, 0.5, 2.0, 3.0), ["fewer: together 0.50x (0.45 to 0.55).", "Both changes give 300% of the product;"])])
def test_changes_on_top_of_each_other_may_give_more_or_less_than_their_product(speedups, words):
    records = [SimpleNamespace(model=name, speedup=speedup, speedup_low=0.9 * speedup, speedup_high=1.1 * speedup,
                               p50_ms=100 / speedup)
               for name, speedup in zip(("alone", "together", "swapped", "both"), speedups, strict=True)]
    text = said("2", "lm51", stacked=SimpleNamespace(measurements=records), both_guess=GUESS)
    assert [one for one in words if one not in text] == []
    assert f"A request alone takes 100 ms, in company {app.two(100 / speedups[1])} ms." in text


def test_the_dearest_and_the_cheapest_terms_are_named():
    prices = pd.DataFrame({"model": ["a", "b"], "terms": ["list price", "in batches"], "usd_per_million": [900.0, 20.0],
                           "resolved": [math.nan] * 2, "as_of": "2026"})
    text = said("2", "lm12", by_token=prices, rungs=ladder(0.1, 300.0), LADDER=LADDER)
    assert "From $20 (b, in batches) to $900 (a, list price); the tagger $1.00 and nearest examples $300.00" in text


def messages(rows, lost):
    """The surest are right; `lost` of the others are not, and the language model is."""
    right = np.ones((2, rows), bool)
    right[0, :lost] = False
    return Routable(np.linspace(0.1, 0.9, rows), right, np.array(["late"] * lost + ["broken"] * (rows - lost)))


@pytest.mark.parametrize(("rows", "lost", "words"), [
    (200, 50, "may answer 155 of 200: at a confidence of at least 0.28"), (20, 0, "so few messages promise")])
def test_the_threshold_from_inside_may_promise_nothing(rows, lost, words):
    """By hand: at 3 points of 200, and with one loss more than seen, five may be lost."""
    text = said("2", "lm16", on_validation=messages(rows, lost), LOSE_AT_MOST=3.0, np=np)
    assert words in text


def test_what_is_out_of_scope_is_never_the_tagger_s_to_answer():
    """By hand: five of 200 may be lost and two are; of 20 messages the tagger is not sure at all."""
    checked = messages(200, 2)
    checked.confidence[-20:] = 0
    text = said("2", "lm16", on_validation=checked, LOSE_AT_MOST=3.0, np=np)
    assert "may answer 180 of 200: at a confidence of at least 0.10" in text


@pytest.mark.parametrize(("delta", "words"), [(0.02, "resolves 2.0 points more"), (-0.08, "resolves 8.0 points fewer")])
def test_the_router_may_be_better_or_worse_than_the_better_of_the_two(delta, words):
    row = {"max_lost": 3.0, "threshold": 0.5, "escalated": 0.3, "lost": 0.02, "accuracy": 0.7, "delta": delta,
           "low": delta - 0.01, "high": delta + 0.01, "best_cost_share": 0.31, "best": "language model",
           "held_out_rows": 200}
    text = said("2", "lm18", routed=pd.DataFrame([row]), dollars=None, LOSE_AT_MOST=3.0)
    assert words in text
    assert "than the language model alone, at 31% of its cost" in text


@pytest.mark.parametrize(("threshold", "rows", "words"), [
    (0.05, messages(100, 20),
     "With 'late' alone (20 of 100 test messages), 100.0% are lost and 0% go on: the promise of 3 points is broken."),
    (0.495, messages(100, 50), "2.0% are lost and 98% go on: the promise of 3 points is kept."),  # one of 50
    (0.5, messages(100, 20), "The router loses no validation message: there is no wish that it is known to lose."),
    (0.5, messages(100, 100), "Of 100 test messages 100 wish 'late': nothing can drift.")])
def test_a_promise_may_be_kept_or_broken_or_untested(threshold, rows, words):
    text = said("2", "lm20", on_validation=rows, on_test=rows, at={"threshold": threshold, "max_lost": 3.0},
                dollars=[1.0, 50.0], most_lost=most_lost, route_drift=route_drift)
    assert words in text


@pytest.mark.parametrize("speedup", [0.4, 1.6])
def test_mixed_tenants_may_be_slower_or_faster(speedup):
    times = pd.DataFrame({"way": ["one tenant", "mixed", "load a whole model"], "seconds": [1.0, 1 / speedup, 3.0],
                          "speedup": [1.0, speedup, math.nan], "low": [1.0, 0.9 * speedup, math.nan],
                          "high": [1.0, 1.1 * speedup, math.nan]})
    text = said("2", "lt12", ways_s=times)
    assert f"{'Faster' if speedup > 1 else 'Slower'}: mixed" in text
    assert "Loading a whole model takes 3.0 s." in text


def test_an_adapter_may_be_larger_than_was_guessed():
    bank = SimpleNamespace(base_bytes=100_000_000, bytes={"one": 5_000_000, "two": 5_000_000})
    text = said("2", "lt10", speaker_bank=bank, adapter_guess=GUESS, np=np)
    assert "5.0% of the base's bytes; you guessed 40%. 50 tenants: 350 MB with adapters, 5,000 MB as copies" in text


def test_the_page_says_what_is_not_recorded():
    for cell, name in (("lm33", "draw_rungs"), ("lm28", "draw_router")):
        assert functions("2", cell, NOT_YET="not yet")[name](None) == "not yet"
    none = {"recorded_language": lambda part: None, "FIGURES": {"a": ("rungs", "rung", "resolved")}}
    assert functions("2", "lm37", **none)["drawn_drift"]() == []
    assert functions("2", "lm25", **none)["rungs_by"]("a") is None
    assert functions("2", "lm28", **none)["router_at"](3.0) is None


def test_recorded_figures_are_drawn():
    rows = ladder(0.2, 300.0)
    rows.attrs = {"columns": ("rung", "energy", "energy_low", "energy_high"), "figure": "Energy"}
    drawn = functions("2", "lm33", bars_spec=bars_spec)["draw_rungs"](rows)
    assert "nearest examples has the most: 300" in str(drawn.to_dict())
    shares = pd.DataFrame({"resolved": [0.5], "rung": ["tagger"]})
    percent = functions("2", "lm25", recorded_language=lambda part: shares,
                        FIGURES={"Resolved, in percent": ("rungs", "rung", "resolved")})
    assert percent["rungs_by"]("Resolved, in percent")["resolved"][0] == 50


@pytest.mark.parametrize(("delta", "words"), [(0.02, "2.0 points more"), (-0.08, "8.0 points fewer")])
def test_a_recorded_router_is_compared_with_the_better_of_its_two(delta, words):
    router = pd.DataFrame({"max_lost": [1.0, 3.0], "accuracy": 0.7, "lost": [0.001, 0.02], "escalated": 0.3,
                           "delta": delta, "low": delta - 0.01, "high": delta + 0.01,
                           "general": "tuned", "best_cost_share": 0.31, "best": "language model"})
    made = functions("2", "lm28", recorded_language=lambda part: router, drawn_drift=list)
    tiles, sentence = made["draw_router"](made["router_at"](2.6))
    assert "2.0%" in tiles.data
    assert f"resolves {words}" in sentence


@pytest.mark.parametrize(("lost", "words"), [(0.05, "up to 5.0% are lost, and the promise is broken"),
                                             (0.02, "up to 2.0% are lost, and the promise is kept")])
def test_a_recorded_promise_may_be_kept_or_broken(lost, words):
    drift = pd.DataFrame({"share": [0.0, 1.0], "lost": [0.001, lost], "drift": "more of late", "max_lost": 3.0})
    [chart] = functions("2", "lm37", recorded_language=lambda part: drift, lines_spec=lines_spec)["drawn_drift"]()
    assert f"more of late: {words}" in str(chart.to_dict())


def test_the_reader_s_tokens_are_priced_on_the_page():
    """By hand: 0.75 dollars a million read, 0.075 from the cache, 4.5 written."""
    made = functions("2", "lm30") | functions("2", "lm41", bars_spec=bars_spec)
    rows = made["by_terms"](1500, 1200, 60, "")
    usd = rows.set_index("offer")["usd_per_million"]
    assert usd["OpenAI gpt-5.4-mini, with the beginning cached"] == pytest.approx(300 * 0.75 + 1200 * 0.075 + 60 * 4.5)
    [chart] = made["draw_terms"](rows)
    assert "From $" in str(chart.to_dict())
    with pytest.raises(InputError, match="shares 0 to all of those read; not 100, 60 and 4000"):
        made["by_terms"](100, 4000, 60, "")  # said, not cut to what is possible in silence


@pytest.mark.parametrize(("good", "words"), [(3, "Answers: 4; resolved: 75.0% (30.1% to 95.4%): $"),
                                             (0, "no price of a resolved one")])
def test_the_reader_s_answers_are_scored_on_the_page(good, words):
    """Wilson's interval of 3 in 4, and the price list over three quarters."""
    task = load_task("tickets-fields")
    right = [json.dumps(one) for one in extractions(task, "test")[:good]]
    made = functions("2", "lm30", FIELDS="tickets-fields") | functions("2", "lm41", bars_spec=bars_spec)
    rows = made["by_terms"](1500, 0, 60, "\n".join([*right, *["I cannot help."] * (4 - good)]))
    _, sentence = made["draw_terms"](rows)
    assert words in sentence
    mini = rows.set_index("offer").loc["OpenAI gpt-5.4-mini, list price", "usd_per_million_resolved"]
    assert mini == pytest.approx((1500 * 0.75 + 60 * 4.5) / 0.75 if good else math.nan, nan_ok=True)


def test_what_to_ask_a_hosted_model_is_the_instruction_and_a_message():
    made = functions("2", "lm43", FIELDS="tickets-fields")
    first, _ = made["to_ask"](2)
    assert first["prompt"].endswith(load_task("tickets-fields").test["text"][0])
    assert made["draw_ask"](made["to_ask"](0)) == "Choose how many messages."

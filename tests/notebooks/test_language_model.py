"""Notebook 1 on a language model: sentences on results that fall either way, and the page without records."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from ipywidgets import HTML, VBox
from notebook_cells import functions, guessed, said, sensible

from helpers import app
from helpers.lab import InputError


def taught(gain: float, after: float = 900.0) -> pd.DataFrame:
    """100 labels of people without and with a teacher's."""
    return pd.DataFrame({
        "name": ["SmolLM2", "the constant answer", "100 labels of people",
                 "100 labels of people and 200 of the teacher"],
        "people": [0, 0, 100, 100], "taught": [200, 0, 0, 200], "accuracy": [0.08, 0.12, 0.4, 0.4 + gain],
        "low": 0.05, "high": 0.9, "gain": [math.nan] * 3 + [gain], "gain_low": [math.nan] * 3 + [gain - 0.03],
        "gain_high": [math.nan] * 3 + [gain + 0.03],
        "significant": [False] * 3 + [abs(gain) > 0.03], "teacher_usd": [0.002, 0.0, 0.0, 0.002],
        "break_even": [math.nan] * 3 + [after]})


@pytest.mark.parametrize(("gain", "words", "repaid"), [
    (0.1, "10.0 points more (7.0 to 13.0)", "repaid after 900 requests"),
    (-0.1, "10.0 points less (7.0 to 13.0)", "paid for nothing, without a significant gain"),
    (0.0, "0.0 points more (\N{MINUS SIGN}3.0 to 3.0: no significant", "paid for nothing, without a significant gain")])
def test_a_teachers_labels_may_harm(gain, words, repaid):
    text = said("1", "ts10", taught=taught(gain), PEOPLE=100, teacher_guess=guessed(-5.0))
    assert f"Beside 100 labels of people: {words}" in text
    assert text.endswith("your guess was \N{MINUS SIGN}5.")
    assert repaid in text


@pytest.mark.parametrize(("gain", "after", "repaid"), [
    (0.2, math.nan, "never repaid"), (-0.2, math.nan, "paid for nothing"), (0.2, 900.0, "repaid after 900 requests")])
def test_a_teacher_of_fields_may_never_be_repaid(gain, after, repaid):
    assert repaid in said("1", "ts12", tagged=taught(gain, after), finder=None, forms=None)


@pytest.mark.parametrize(("gains", "words"), [
    ((0.0, -0.4), "More with: none. Fewer with: 2 bits"), ((0.3, 0.4), "More with: 2 bits"),
    ((0.0, 0.0), "No significant difference: Q4_0, 2 bits")])
def test_tuned_weights_may_lose_or_not(gains, words):
    known = [0.0, *gains]
    bits = pd.DataFrame({"name": ["F16", "Q4_0", "2 bits"], "bits": [16, 4.5, 2.5], "megabytes": [270, 76, 42],
                         "accuracy": [0.5 + gain for gain in known], "low": 0.0, "high": 1.0, "rows": 96,
                         "gain": known, "gain_low": [gain - 0.05 for gain in known],
                         "gain_high": [gain + 0.05 for gain in known],
                         "significant": [abs(gain) > 0.05 for gain in known], "constant": 0.3,
                         "valid": 1.0, "same": 0.9})
    text = said("1", "tw08", fewer_bits=bits, lost_guess=guessed(20.0))
    assert words in text
    assert text.startswith("In 16 bits 50% of 96 messages are right.")


@pytest.mark.parametrize(("ratio", "words"), [
    (2.0, "Perplexity higher: 28 blocks, recovered 2.0x"), (0.9, "Lower: 28 blocks, recovered 0.90x"),
    (1.0, "No significant difference: 28 blocks, recovered")])
def test_a_shorter_model_may_be_surer(ratio, words):
    depths = pd.DataFrame({"name": ["30 blocks", "28 blocks, recovered"], "megabytes": [270.0, 255.0],
                           "ratio": [1.0, ratio], "ratio_low": [1.0, 0.95 * ratio], "ratio_high": [1.0, 1.05 * ratio],
                           "significant": [False, ratio != 1], "dropped": ["", "3, 4"]})
    text = said("1", "dp10", depths=depths, depth_guess=guessed(1.5))
    assert words in text
    assert "28 blocks, recovered have 94% of the bytes" in text
    assert {2.0: ") higher than that of the whole", 0.9: ") lower than that of the whole",
            1.0: "about as high as ("}[ratio] in text
    assert "difference) that of the whole model" in text or ratio != 1


@pytest.mark.parametrize(("correction", "words"), [("calibrated", "'late'"), ("per-token mean", "'broken'")])
def test_what_the_teacher_says_is_what_its_rule_says(correction, words):
    """By the means it is 'broken'; another rule may say otherwise."""
    teacher = SimpleNamespace(
        words=("broken", "late"), card=SimpleNamespace(settings={"correction": correction}), prompt=lambda text: text,
        llm=SimpleNamespace(score=lambda _prompt, _words: np.array([-2.0, -4.0]), count_tokens=lambda words: [1, 1]),
        predict=lambda texts: np.array([[-1.0, 0.0 if correction == "calibrated" else -2.0]]))
    task = SimpleNamespace(train={"text": ["It is late."], "label": [1]}, labels=("broken", "late"))
    assert said("1", "ts04", teacher=teacher, task=task) == (
        f"By these means it is 'broken', by the teacher, whose rule is '{correction}', {words}; by people 'late'.")


def test_the_page_says_what_is_not_recorded():
    def unknown(_name):
        raise InputError("Unknown recorded results.")

    part = functions("1", "q35", app=SimpleNamespace(recorded_table=unknown), HTML=HTML, InputError=InputError)
    shown = part["recorded_part"]("depth", "SmolLM2 with fewer layers", None)
    assert shown.value.startswith("SmolLM2 with fewer layers is not recorded yet")


def titles() -> SimpleNamespace:
    """The sentences of app, and charts that give their titles."""
    def title(*_args, title, **_options):
        return HTML(title)

    return SimpleNamespace(**{"dots": title, "bars": title, "taught": app.taught, "times": app.times, "two": app.two,
                              "beside_nothing": app.beside_nothing})


@pytest.mark.parametrize("ratio", [2.0, 0.8, 1.0])
def test_each_recorded_table_is_drawn_with_what_it_says(ratio):
    one = functions("1", "q35c", app=titles(), VBox=VBox, HTML=HTML)
    tuned = pd.DataFrame({"name": ["F16", "2 bits"], "accuracy": [0.4, 0.4 / ratio], "low": [0.35, 0.35 / ratio],
                          "high": [0.45, 0.45 / ratio], "constant": 0.3})
    dots, beside = one["draw_tuned"](tuned).children
    assert sensible(dots.value).startswith("Tuned, F16: 40% of the messages right; 2 bits: ")
    above = "F16" if ratio == 2 else "F16, 2 bits"
    assert beside.value.endswith(f"right in 30% of them; significantly above that: {above}.")
    other = functions("1", "q35e", app=titles(), VBox=VBox, HTML=HTML)
    depth = pd.DataFrame({"name": ["22 blocks, recovered"], "ratio": ratio, "ratio_low": ratio, "ratio_high": ratio})
    word = {2.0: "2.0 times higher", 0.8: "1.2 times lower", 1.0: "as high"}[ratio]
    assert sensible(other["draw_depth"](depth).value) == f"22 blocks, recovered: perplexity {word}"
    bars, sentence = other["draw_taught"](taught(-0.1)).children
    assert sensible(bars.value).startswith("100 labels of people: 40% right; the teacher itself: 8%")
    assert "It loses: 100 labels of people and 200 of the teacher" in sentence.value


@pytest.mark.parametrize(("gain", "words"), [(0.2, "more right: AWQ 20 points"), (-0.2, "fewer right: AWQ"),
                                             (0.0, "No significant difference: AWQ")])
def test_a_look_at_data_may_help_or_not(gain, words):
    aware = pd.DataFrame({"name": ["16 bits", "rounded", "AWQ"], "bits": 4.0, "megabytes": 80.0,
                          "accuracy": [0.5, 0.3, 0.3 + gain], "low": 0.0, "high": 1.0, "same": 0.5,
                          "over_rounded": [math.nan, math.nan, gain], "over_rounded_low": gain - 0.1,
                          "over_rounded_high": gain + 0.1, "over_rounded_significant": gain != 0,
                          "constant": 0.4})
    text = said("1", "tw10", aware=aware)
    assert words in text
    assert text.startswith("Rounded as they stand, 30% of the messages are right, in 16 bits 50%.")

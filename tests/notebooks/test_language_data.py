"""Notebook 4 on a language model in the place of people: sentences on results that fall either way, and no records."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from notebook_cells import SOURCES, functions, guessed, said, value_of
from sklearn.dummy import DummyClassifier

from helpers.app import bars_spec, lines_spec
from helpers.data_efficiency import TRIES, cohens_kappa, cost_curves, paying_accuracy, tuning_repaid, usd_to
from helpers.data_efficiency.language_model.annotation_costs import ANNOTATORS, DOUBTFUL, MODEL
from helpers.lab import load_task, score

WHOLE = score([0, 1] * 50, [0, 1] * 50, ["no", "yes"])
WRITTEN = {"bars_spec": bars_spec, "TRIES": TRIES, "constant_of": lambda: 0.13}


def annotation(right, rows=100):
    people = np.arange(rows) % 2
    return SimpleNamespace(labels=np.where(np.arange(rows) < right, people, 1 - people), usd_per_label=0.00012), people


@pytest.mark.parametrize(("right", "words"), [(100, "to 100% of 100 messages"), (0, "to 0% of 100 messages")])
def test_the_agreement_may_be_whole_or_none(right, words):
    given, people = annotation(right)
    text = said("4", "la15", given=given, by_people=people, agreed=right / 100, inside=1.0, by_chance=0.5,
                label_guess=guessed(0.3))
    assert words in text
    assert "Kappa: 1.00 (1.00 to 1.00)" in text if right else "Kappa: \N{MINUS SIGN}1.00" in text


def test_kappa_from_inside_is_that_of_the_function():
    given, people = annotation(80)
    names = {"given": given, "by_people": people, "classes": 2}
    exec(SOURCES["4", "la13"], names)
    assert names["inside"] == pytest.approx(cohens_kappa(people, given.labels)[0])


def swept(saved, reached=1.0):
    usd = 30.0 if reached == 1 else math.nan
    rows = [{"right": right, "annotator": who, "people": 20.0, "model": 200.0, "usd": usd, "saved_usd": saved,
             "saved_usd_low": min(saved / 2, saved * 2), "saved_usd_high": max(saved / 2, saved * 2),
             "significant": reached == 1, "break_even_usd": saved / 200, "reached": reached, "within": 600}
            for right in (0.5, 0.9) for who in (MODEL, DOUBTFUL)]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("right", "given_sweep", "words"), [
    (8, swept(10.0), ["worse than always", "too often wrong to pay", "has to be right in 50%", "saves $10.00"]),
    (95, swept(10.0), ["better than always", "right often enough to pay", "saves $10.00"]),
    (95, swept(-10.0), ["no annotator pays", "loses $10.00", "even labels for nothing would not pay"]),
    (95, swept(10.0, reached=0.0), ["no annotator pays", "not reached within 600 labels"]),
])
def test_an_annotator_may_pay_lose_or_not_get_there(right, given_sweep, words):
    given, people = annotation(right)
    text = said("4", "la21", given=given, by_people=people, whole=WHOLE, swept=given_sweep)
    assert [word for word in words if word not in text] == []
    assert math.isnan(paying_accuracy(given_sweep)) == ("no annotator pays" in words)


@pytest.mark.parametrize(("recorded", "usd"), [(pd.DataFrame({"usd_per_label": [0.0001, 0.000312]}), 0.0003),
                                               (None, 0.0001)])
def test_a_label_of_the_model_starts_from_its_recorded_cost(recorded, usd):
    names = {"app": SimpleNamespace(Explore=lambda compute, controls, *_, **more: (controls, more)),
             "if_recorded": {"annotation_agreement": recorded}.get, "USD_PER_LABEL": 0.25, "who_labels": None,
             "draw_annotators": None}
    controls, more = value_of(SOURCES["4", "la07"], names)
    assert controls["usd_model"].value == pytest.approx(usd)
    assert controls["usd_person"].value == 0.25
    assert more["bill"] == {"usd_person": "usd_per_label"}


def played(accuracy):
    parts = [pd.DataFrame({"annotator": who, "seed": seed, "people": [20, 40], "model": 0, "labels": [20, 40],
                           "cpu_s": 0.0, "accuracy": [0.4, accuracy], "labelled_by": "names", "full": 0.8})
             for who in ANNOTATORS for seed in (0, 1)]
    runs = pd.concat(parts, ignore_index=True)
    runs.attrs = {"origin": "made up"}
    return runs


@pytest.mark.parametrize(("accuracy", "words"), [(0.8, "people: $"), (0.5, "people: not reached within 40 labels")])
def test_the_page_says_what_was_reached(accuracy, words):
    tables = {"annotation_classes": pd.DataFrame({"labelled_by": "names", "label": ["refund", "other"], "low": 0.0,
                                                  "right": [0.1, 0.9], "high": 1.0})}
    frame = functions("4", "la03", if_recorded=lambda name: played(accuracy), cost_curves=cost_curves, usd_to=usd_to)[
        "who_labels"]("names", 0.95, 0.10, 0.001)
    draw = functions("4", "la05", lines_spec=lines_spec, bars_spec=bars_spec, NOT_YET="not yet", table=tables.get,
                     constant_of=lambda: 0.45, agreement_of=lambda who: f"As {who}.")["draw_annotators"]
    sentence, chart, hardest = draw(frame)
    assert f"As names. To get 76.0% right: {words}" in sentence.data
    assert "$ of labels" in str(chart.to_dict())
    assert "Hardest: refund, 10% equal" in str(hardest.to_dict()["title"])
    assert draw(None) == "not yet"
    assert functions("4", "la03", if_recorded=lambda name: None)["who_labels"]("names", 0.95, 0.1, 0.001) is None


@pytest.mark.parametrize(("equal", "saved", "words"), [
    (32, 10.0, "right in 8% of 400 rows (6% to 11%), worse than always giving the most frequent label (13%); too"),
    (380, 10.0, "right often enough to pay"), (380, -10.0, "no annotator pays")])
def test_the_page_says_whether_such_an_annotator_pays(equal, saved, words):
    tables = {"annotation_agreement": pd.DataFrame([{"labelled_by": "names", "equal": equal, "rows": 400, "kappa": 0.05,
                                                     "low": 0.01, "high": 0.09, "majority": 0.13}]),
              "annotation_accuracies": swept(saved).assign(usd_per_model_label=0.0004)}
    said_there = functions("4", "la03b", table=tables.get, paying_accuracy=paying_accuracy)["agreement_of"]("names")
    assert words in said_there
    assert "labels of the model at $0.00040 each" in said_there
    assert said_there.endswith("Kappa 0.05 (0.01 to 0.09).")


@pytest.mark.parametrize(("gain", "significant", "words"), [
    (0.05, True, "More accurate than the real rows alone: real + 1x 5.0 points"),
    (-0.05, True, "Less accurate: real + 1x"), (0.05, False, "No significant difference: real + 1x")])
def test_written_rows_may_help_harm_or_neither(gain, significant, words):
    rows = pd.DataFrame({"mix": ["real only", "real + 1x"], "generator": "smollm2", "per_class": 5, "accuracy": 0.5,
                         "low": 0.4, "high": 0.6, "gain": [0.0, gain], "gain_low": [0.0, gain - 0.01],
                         "gain_high": [0.0, gain + 0.01], "significant": [False, significant], "usd": 0.02,
                         "kept": 0.4, "kept_rows": 50.0})
    rows.attrs = {"origin": "made up"}
    leaks = pd.DataFrame({"copies": [1, 4], "extracted": [0.0, 0.4], "low": [0.0, 0.2], "high": [0.3, 0.7]})
    part = functions("4", "ls03", if_recorded=lambda name: rows, table=lambda name: leaks)["written_rows"]("smollm2", 5)
    draw = functions("4", "ls05", **WRITTEN, NOT_YET="not yet")["draw_written"]
    sentence, _ = draw(part)
    assert words in sentence.data
    assert "40% of the rows stay, at $0.00040 each" in sentence.data
    assert "40% of those planted 4 times (20% to 70%)" in sentence.data
    assert draw(functions("4", "ls03", if_recorded=lambda name: None)["written_rows"]("smollm2", 5)) == "not yet"


def test_no_written_row_may_stay():
    rows = pd.DataFrame({"mix": ["real only", "synthetic only", "real + 1x"], "generator": "words", "per_class": 5,
                         "accuracy": [0.5, math.nan, 0.5], "low": 0.4, "high": 0.6, "gain": [0.0, math.nan, 0.0],
                         "gain_low": 0.0, "gain_high": 0.0, "significant": False, "usd": 0.02, "kept": 0.0,
                         "kept_rows": 0.0})
    rows.attrs = {"origin": "made up"}
    leaks = pd.DataFrame({"method": ["words"], "copies": [1], "extracted": [0.0], "low": [0.0], "high": [0.3]})
    part = functions("4", "ls03", if_recorded=lambda name: rows, table=lambda name: leaks)["written_rows"]("words", 5)
    sentence, _ = functions("4", "ls05", **WRITTEN, NOT_YET="")["draw_written"](part)
    assert "0% of the rows stay (fewer than were wanted), so nothing was added" in sentence.data
    assert "nan" not in sentence.data


@pytest.mark.parametrize(("passes", "kept"), [([True, True], 1.0), ([False, False], 0.0)])
def test_all_written_rows_may_stay_or_none(passes, kept):
    text = said("4", "ls15", stays=np.array(passes), written=["a", "b"], kept_guess=guessed(0.5),
                kept_shares={"kept": kept, "confident": kept, "novel": 1.0}, passes=np.array(passes), vectors=None,
                written_y=None, specialist=None, real=None)
    assert text.startswith(f"{kept:.0%} of 2 rows stay")


@pytest.mark.parametrize(("tuned_s", "tuned_right", "constant", "words"), [
    (0.2, 0.9, 0.1, ["tuning gains 10 points", "is repaid after 4,500 requests",
                     "the constant answer (10% right): 8 nearest examples; tuned."]),
    (0.9, 0.7, 0.95, ["tuning loses 10 points", "is never repaid", "the constant answer (95% right): none."])])
def test_tuning_may_be_repaid_or_never(tuned_s, tuned_right, constant, words):
    gain = tuned_right - 0.8
    ways = pd.DataFrame({"way": ["8 nearest examples", "tuned"], "seconds": [0.6, tuned_s], "spent_s": [0.0, 1800.0],
                         "accuracy": [0.8, tuned_right], "low": 0.5, "high": 1.0, "rows": 100, "gain": [gain, 0.0],
                         "gain_low": [gain - 0.02, 0.0], "gain_high": [gain + 0.02, 0.0], "cores": 2,
                         "tokens_in": [800.0, 100.0], "tokens_out": 5.0})
    ways.attrs = {"origin": "made up"}
    result = functions("4", "lr03", if_recorded=lambda name: ways, tuning_repaid=tuning_repaid, MACHINE="here")[
        "repaid"]("here", 0.0)
    draw = functions("4", "lr05", bars_spec=bars_spec, NOT_YET="not yet", constant_of=lambda rows: constant)[
        "draw_repaid"]
    sentence, chart = draw(result)
    assert [word for word in words if word not in sentence.data] == []
    assert f"right in {tuned_right:.0%}, the constant answer in {constant:.0%}" in str(chart.to_dict()["title"])
    assert draw(None) == "not yet"


def test_the_break_even_on_paper_is_that_of_the_tokens():
    """By hand: three times the tokens of two epochs over 200 rows of 100, against 8 examples of 10 + 32 each."""
    reader = SimpleNamespace(tokens=lambda texts: [(100, 3)] * 4,
                             llm=SimpleNamespace(count_tokens=lambda texts: [10] * 4))
    text = said("4", "lr11", reader=reader, texts=["a"] * 4, given=SimpleNamespace(usd_per_label=0.0001), np=np,
                repaid_guess=guessed(50))
    assert f"After {3 * 2 * 200 * 100 / (8 * 42):,.0f} requests (you guessed 50)" in text
    assert f"work after {(120000 + 80 / 1e-6) / (8 * 42):,.0f}." in text


def test_the_constant_answer_is_that_of_the_rows_that_were_asked():
    """By scikit-learn's dummy, on all test rows and on the 100 that the prompted models were asked."""
    names = {}
    exec(SOURCES["4", "la03c"], names)
    for rows in (None, 100):
        labels = load_task("tickets").take(test=rows).test["label"][:]
        dummy = DummyClassifier(strategy="most_frequent").fit(np.zeros((len(labels), 1)), labels)
        assert names["constant_of"](rows) == pytest.approx(dummy.score(np.zeros((len(labels), 1)), labels))

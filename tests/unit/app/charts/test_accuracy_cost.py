"""Accuracy against cost, and speed-ups: what is drawn, and what is said about it."""

import altair as alt
import pytest
from app_helpers import record

from helpers.app.charts.accuracy_cost import cost_spec, speedup_spec
from helpers.app.text.tables import table_html

RECORDS = [record(), record("small", 2.0, 0.89, strategy="pruning"),
           record("tiny", 4.0, 0.8, strategy="distillation", provenance="simulated"),
           record("quick", 3.0, 0.88, strategy="pruning", provenance="measured")]


def rows(spec: alt.LayerChart) -> list[dict]:
    """The data behind the marks."""
    return next(layer["data"]["values"] for layer in spec.to_dict()["layer"]
                if layer["mark"]["type"] == "point" and layer["data"]["values"])


def texts(spec: alt.LayerChart) -> list[str]:
    return [layer["data"]["values"][0].get("text") or layer["data"]["values"][0]["model"]
            for layer in spec.to_dict()["layer"] if layer["mark"]["type"] == "text"]


def test_the_cost_interval_is_that_of_the_speed_up():
    """usd x speedup is what the reference costs: 0.2. The interval of the speed-up is 1.6 to 2.5."""
    row = rows(cost_spec(RECORDS))[1]
    assert (row["usd_low"], row["usd_high"]) == pytest.approx((0.2 / 2.5, 0.2 / 1.6))


def test_the_reference_is_grey_and_strategies_keep_a_colour_each():
    layer = next(layer for layer in cost_spec(RECORDS).to_dict()["layer"] if layer["mark"]["type"] == "point")
    scale = layer["encoding"]["color"]["scale"]
    assert scale["domain"] == ["reference", "pruning", "distillation"]
    assert scale["range"][0] == "#888888"
    assert len(set(scale["range"])) == 3


@pytest.mark.parametrize("spec", [cost_spec, speedup_spec])
def test_only_measured_marks_are_filled(spec):
    assert [row["inside"] for row in rows(spec(RECORDS))] == ["outlined", "outlined", "outlined", "pruning"]


@pytest.mark.parametrize("spec", [cost_spec, speedup_spec])
def test_guess_and_paper_are_labelled(spec):
    class Slider:
        value = 2.5

    result = texts(spec(RECORDS, guess=Slider(), paper=3.0))
    assert {"your guess 2.5x", "on paper 3.0x"} <= set(result)


def test_a_paper_prediction_for_each_model_names_it():
    assert "on paper 3.0x for small" in texts(cost_spec(RECORDS, paper={"small": 3.0, "absent": 9.0}))


@pytest.mark.parametrize("spec", [cost_spec, speedup_spec])
def test_a_screen_reader_hears_the_finding_and_every_record(spec):
    said = spec(RECORDS).to_dict()["description"]
    for shown in RECORDS:
        assert shown.model in said
    assert said.startswith("tiny costs 4.0x less but loses 10 points")


def test_the_constant_is_a_line_and_the_weakest_class_in_the_tooltip():
    known = {"majority": 0.88, "weakest_recall": 0.25, "weakest_class": "yes"}
    spec = cost_spec([record(**known), record("small", 2.0, 0.89, **known)]).to_dict()
    rules = [layer["data"]["values"][0] for layer in spec["layer"] if layer["mark"].get("style") == "expected"]
    assert rules == [{"y": 0.88, "text": "constant answer: 88%"}]
    assert [(row["constant"], row["weakest"]) for row in rows(cost_spec([record(**known)]))] == [
        ("88%", "yes: 25% found")]
    far = cost_spec([record(**{**known, "majority": 0.04})]).to_dict()
    assert "constant answer: 4.0%, below" in str(far)
    assert "constant answer" not in texts(cost_spec(RECORDS))


def test_the_chart_names_the_data_and_the_machine():
    below = cost_spec(RECORDS).to_dict()["title"]["subtitle"]
    assert "Recorded on made up: unknown machine," in " ".join(below)
    assert "Measured here on made up" in " ".join(below)


@pytest.mark.parametrize(("count", "beside"), [(4, ["base", "m1", "m2", "m3"]), (5, ["1", "2", "3", "4", "5"])])
def test_many_marks_bear_the_numbers_of_their_rows(count, beside):
    records = [record(), *(record(f"m{i}", 1.5 + i) for i in range(1, count))]
    assert texts(cost_spec(records)) == beside
    table = table_html(records)
    assert all((f"{number}. " in table) == (count > 4) for number in range(1, count + 1))

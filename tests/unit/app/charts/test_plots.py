"""Charts of tidy frames: what is drawn, how provenance shows, what is said about it."""

import re

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
from altair.utils.schemapi import debug_mode

from helpers import app
from helpers.app.charts.plots import bars_spec, dots_spec, lines_spec
from helpers.app.charts.vega import REFERENCE_GREY, STRATEGY_COLOURS, svg
from helpers.lab import InputError, fingerprint, write_table

CURVES = pd.DataFrame({"labels": [5, 50, 500] * 2, "accuracy": np.array([0.4, 0.7, 0.9, 0.5, 0.8, 0.9]),
                       "strategy": ["random"] * 3 + ["margin"] * 3, "low": [0.3, 0.6, 0.88, 0.4, 0.7, 0.88],
                       "high": [0.5, 0.8, 0.92, 0.6, 0.9, 0.92]})
BARS = pd.DataFrame({"runtime": ["eager", "compiled"], "speedup": [1.0, 2.5], "low": [1.0, 2.0], "high": [1.0, 3.0]})
CHARTS = {
    "lines": lambda **options: lines_spec(CURVES, "labels", "accuracy", "strategy", "low", "high", title="Margin wins",
                                          **options),
    "bars": lambda **options: bars_spec(BARS, "runtime", "speedup", "low", "high", title="Compiled wins", **options),
    "dots": lambda **options: dots_spec(BARS, "speedup", "low", "runtime", title="Compiled wins", **options),
}


def layers(chart: alt.LayerChart, mark: str) -> list[dict]:
    drawn = chart.to_dict()
    return [{"data": drawn.get("data"), **layer} for layer in drawn["layer"] if layer["mark"]["type"] == mark]


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_is_valid_draws_without_a_page_and_speaks_to_a_screen_reader(name):
    with debug_mode(True):
        spec = CHARTS[name](provenance="recorded").to_dict()
    assert svg(CHARTS[name]()).startswith("<svg")
    assert spec["description"].startswith("Margin wins" if name == "lines" else "Compiled wins")
    assert spec["title"]["subtitle"] == ["Marks: recorded"]


def test_the_first_curve_is_the_reference_in_grey():
    scale = layers(CHARTS["lines"](), "line")[0]["encoding"]["color"]["scale"]
    assert scale == {"domain": ["random", "margin"], "range": [REFERENCE_GREY, STRATEGY_COLOURS[0]]}


def test_a_band_and_a_rule_are_drawn_where_they_are_told():
    chart = CHARTS["lines"](percent=True, rules={"your guess": 0.85})
    assert [row["high"] for row in layers(chart, "area")[0]["data"]["values"]] == list(CURVES["high"])
    assert layers(chart, "rule")[0]["data"]["values"][0] == {"y": 0.85, "text": "your guess: 85%"}


def test_provenance_may_differ_from_row_to_row():
    frame = CURVES.assign(seen=["measured"] * 3 + ["simulated"] * 3)
    rows = layers(lines_spec(frame, "labels", "accuracy", "strategy", provenance="seen"), "point")[0]["data"]["values"]
    assert [row["provenance"] for row in rows] == list(frame["seen"])


def test_marks_too_many_for_their_names_are_numbered_with_a_key():
    many = pd.DataFrame({"x": range(1, 7), "y": range(6), "name": [f"model {letter}" for letter in "abcdef"]})
    marks, *key = dots_spec(many, "x", "y", "name").to_dict()["title"]["subtitle"]
    assert marks == "Marks: measured"
    assert [name.split("\N{NO-BREAK SPACE}") for name in " ".join(key).split(", ")] == [
        [str(number), name] for number, name in enumerate(many["name"], start=1)]


def test_rows_without_a_value_are_left_out():
    frame = BARS.assign(speedup=[1.0, np.nan])
    assert [row["name"] for row in layers(bars_spec(frame, "runtime", "speedup"), "point")[0]["data"]["values"]] == [
        "eager"]


def test_a_bars_axis_holds_an_interval_below_zero():
    frame = BARS.assign(speedup=[0.5, 1.0], low=[-2.0, 0.5], high=[1.0, 1.5])
    low, high = layers(bars_spec(frame, "runtime", "speedup", "low", "high"), "point")[0]["encoding"]["x"]["scale"][
        "domain"]
    assert low == -2.0
    assert high >= 1.5


@pytest.mark.parametrize(("draw", "said"), [
    (lambda: app.lines(CURVES, "labels", "score"), "needs a column 'score'"),
    (lambda: app.bars(BARS[:0], "runtime", "speedup"), "nothing to draw"),
    (lambda: app.dots(BARS, "speedup", "low", "runtime", provenance="guessed"),
     "Unknown provenance 'guessed'. Choose one of: measured, recorded, simulated"),
])
def test_bad_input_is_one_sentence(draw, said):
    with pytest.raises(InputError, match=said):
        draw()


@pytest.mark.parametrize(("constant", "line"), [(0.8, True), (0.04, False)])
def test_the_constant_answer_is_told_and_drawn_where_it_is_near(constant, line):
    """Accuracies are 0.84 to 0.89: at 0.04 the line would squeeze them together."""
    frame = CURVES.assign(accuracy=0.8 + CURVES["accuracy"] / 10)
    chart = lines_spec(frame, "labels", "accuracy", "strategy", percent=True, constant=constant)
    drawn = [layer["data"]["values"][0] for layer in layers(chart, "rule")]
    assert drawn == ([{"y": 0.8, "text": "constant answer"}] if line else [])
    assert "Constant answer: " in chart.to_dict()["title"]["subtitle"][1]


def test_names_that_begin_alike_are_shown_whole():
    names = [f"ONNX Runtime int8, rows sorted by length, four at a time, {n} streams" for n in (1, 2, 4)]
    drawn = svg(bars_spec(pd.DataFrame({"name": names, "speedup": [1.0, 2.0, 3.0]}), "name", "speedup"))
    assert "\N{HORIZONTAL ELLIPSIS}" not in drawn
    assert all(f"{n} streams" in drawn for n in (1, 2, 4))


def test_large_numbers_have_no_exponent():
    tip = layers(CHARTS["lines"](), "point")[0]["encoding"]["tooltip"][-1]["format"]
    assert vl_convert.vegalite_to_svg(bars_spec(BARS, "runtime", "speedup").to_dict() | {"width": 300})
    assert vega_number(128_000, tip) == "128,000"


def vega_number(value, format_):
    """As Vega writes it, on the axis of a chart of one mark."""
    spec = {"data": {"values": [{"v": value}]}, "mark": "text",
            "encoding": {"text": {"field": "v", "type": "quantitative", "format": format_}}}
    return re.search(r">([^<>]+)</text>", vl_convert.vegalite_to_svg(spec))[1]


def test_a_recorded_table_is_told_with_its_data_and_machine(tmp_path):
    write_table(tmp_path / "found.json", CURVES, "tickets")
    back = app.recorded_table("found", tmp_path)
    spec = lines_spec(back.query("labels > 5"), "labels", "accuracy", "strategy", provenance="recorded").to_dict()
    below = " ".join(spec["title"]["subtitle"])
    assert below.startswith("Marks: recorded Recorded on tickets: ")
    assert fingerprint()["cpu"] in below
    assert "Recorded on tickets: " in spec["description"]


def test_a_recorded_table_comes_back_with_its_machine(tmp_path):
    write_table(tmp_path / "found.json", CURVES)
    back = app.recorded_table("found", tmp_path)
    pd.testing.assert_frame_equal(back, CURVES, check_dtype=False)
    assert back.attrs["machine"]
    assert back.attrs["measured_at"].startswith("20")


def test_what_is_no_recorded_table_is_said(tmp_path):
    (tmp_path / "odd.json").write_text("[1]")
    with pytest.raises(InputError, match=r"odd\.json is no recorded table"):
        app.recorded_table("odd", tmp_path)
    with pytest.raises(InputError, match="Unknown recorded results 'other'"):
        app.recorded_table("other", tmp_path)
    with pytest.raises(InputError, match="no rows"):
        write_table(tmp_path / "empty.json", CURVES[:0])

"""Charts of plain frames: what is drawn, in which units, and what is said about it."""

import io
import math

import numpy as np
import pandas as pd
import pytest

from helpers import app
from helpers.app.charts.series import (
    break_even_spec,
    dollars_spec,
    latency_spec,
    replicas_spec,
    scaling_spec,
)
from helpers.app.charts.vega import REFERENCE_GREY, svg
from helpers.lab import InputError

SERIES = pd.DataFrame({"t_s": [0.0, 1800.0, 3600.0], "ready": [2, 5, 3], "target": [2, 6, 3],
                       "p50_s": [0.02, math.nan, 0.03], "p95_s": [0.08, math.nan, 1.5]})
BILLS = pd.DataFrame({"name": ["fixed", "scaled", "lean"], "usd_month": [1000.0, 500.0, 800.0],
                      "low": [1000.0, 450.0, 500.0], "high": [1000.0, 550.0, 1100.0], "note": ["", "5% late", ""]})
CURVE = pd.DataFrame({"duty": [0.01, 1.0, 0.01, 1.0], "usd_month": [70.0, 70.0, 4.0, 400.0],
                      "offer": ["machine", "machine", "by request", "by request"]})
MEETING = pd.DataFrame({"duty": [0.2], "usd_month": [70.0], "text": ["20% busy"]})
PREDICTED = pd.DataFrame({"workers": [1, 2, 4], "speedup": [1.0, 1.6, 2.5], "speedup_low": [1.0, 1.4, 2.0],
                          "speedup_high": [1.0, 1.8, 3.0]})
MEASURED = pd.DataFrame({"workers": [1, 2], "speedup": [1.0, 1.5]})

CHARTS = {
    "replicas": lambda: replicas_spec(SERIES),
    "latency": lambda: latency_spec(SERIES, deadline_s=0.25),
    "dollars": lambda: dollars_spec(BILLS, guess=2.5, paper=4.0, title="t"),
    "break-even": lambda: break_even_spec(CURVE, MEETING, title="Below 20% busy, by request is cheaper"),
    "scaling": lambda: scaling_spec(PREDICTED, MEASURED, title="4 do the work of 2.5"),
}


def values(layer: dict, field: str) -> list:
    rows = layer["data"]["values"]
    return pd.read_csv(io.StringIO(rows))[field].tolist() if isinstance(rows, str) else [row.get(field) for row in rows]


def layers(spec, mark: str) -> list[dict]:
    """Those with this mark, each with its data, which Altair keeps on top where all layers share them."""
    drawn = spec.to_dict()
    return [{"data": drawn.get("data"), **layer} for layer in drawn["layer"] if layer["mark"]["type"] == mark]


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_draws_without_a_page_and_speaks_to_a_screen_reader(name):
    spec = CHARTS[name]()
    title = " ".join(spec.to_dict()["title"])
    assert svg(spec).startswith("<svg")
    assert spec.to_dict()["description"].startswith(title)


@pytest.mark.parametrize("name", CHARTS)
def test_what_is_simulated_or_on_paper_is_dashed(name):
    spec = CHARTS[name]()
    by_row = [layer["mark"] for layer in layers(spec, "point") if "strokeDash" in layer["encoding"]
              and set(values(layer, "provenance")) == {"simulated"}]
    drawn = [layer["mark"] for layer in spec.to_dict()["layer"] if layer["mark"]["type"] in ("line", "point")]
    dashed = [mark for mark in drawn if mark.get("strokeDash") or mark.get("shape") == "diamond" or mark in by_row]
    whole = [mark for mark in drawn if mark not in dashed]
    assert dashed
    assert len(whole) == (2 if name == "scaling" else 0)  # the ideal, and the measured points
    assert all(mark["type"] == "line" or mark["filled"] for mark in whole)


def test_latency_is_in_milliseconds_and_a_moment_without_answers_is_a_gap():
    layer = layers(latency_spec(SERIES), "line")[0]
    np.testing.assert_array_equal(values(layer, "p95"), [80.0, math.nan, 1500.0])


def test_an_hour_is_shown_in_minutes_and_two_days_in_hours():
    assert values(layers(replicas_spec(SERIES), "line")[0], "t") == [0, 30, 60]
    days = SERIES.assign(t_s=np.array([0.0, 24.0, 48.0]) * 3600)
    assert values(layers(replicas_spec(days), "line")[0], "t") == [0, 24, 48]


def test_the_latency_target_is_a_line():
    assert values(layers(latency_spec(SERIES, deadline_s=0.25), "rule")[0], "y") == [250.0]
    assert not layers(latency_spec(SERIES), "rule")


def test_guess_and_paper_stand_at_what_they_would_cost():
    """2.5 and 4 times less than 1,000 dollars: 400 and 250."""
    class Slider:
        value = 2.5

    spec = dollars_spec(BILLS, guess=Slider(), paper=4.0, title="t")
    expected = [layer["data"]["values"][0] for layer in layers(spec, "text")[1:]]
    assert [(row["text"], row["x"]) for row in expected] == [
        ("your guess: 2.5x cheaper", 400.0), ("on paper: 4.0x cheaper", 250.0)]


def test_the_reference_is_grey():
    mark = layers(dollars_spec(BILLS, title="t"), "point")[0]
    assert values(mark, "kind") == ["reference", "candidate", "candidate"]
    assert mark["encoding"]["color"]["scale"]["range"][0] == REFERENCE_GREY
    assert layers(break_even_spec(CURVE, MEETING, title="t"), "line")[0]["encoding"]["color"]["scale"]["range"][0] == \
        REFERENCE_GREY


@pytest.mark.parametrize(("draw", "missing"), [
    (lambda: app.replicas_over_time(SERIES[["t_s", "ready"]]), "target"),
    (lambda: app.latency_over_time(SERIES[["t_s", "p95_s"]]), "p50_s"),
    (lambda: app.dollars_a_month(BILLS[["name", "usd_month"]], title="t"), "low"),
    (lambda: app.break_even_chart(CURVE, MEETING[["duty"]], title="t"), "usd_month"),
    (lambda: app.scaling_chart(MEASURED, MEASURED, title="t"), "speedup_low"),
])
def test_a_frame_without_a_column_is_refused_by_name(draw, missing):
    with pytest.raises(InputError, match=f"a column '{missing}'"):
        draw()


def test_a_series_without_rows_is_refused():
    with pytest.raises(InputError, match="at least one row"):
        replicas_spec(SERIES.iloc[:0])

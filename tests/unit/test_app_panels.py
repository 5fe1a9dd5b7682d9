"""Panels without a browser: settings, the address, the latest result wins."""

import math
import threading
import time

import altair as alt
import ipywidgets as widgets
import pytest
from test_app_records import record

from helpers.app import Chart, Explore, Panel
from helpers.app.jobs.processes import kill_all
from helpers.app.panels.controls import as_text, from_text


@pytest.fixture(autouse=True, scope="module")
def _no_worker_left():
    yield
    kill_all()


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


CONTROLS = {
    "int": (lambda: widgets.IntSlider(3, min=1, max=9), "7", 7, ["10", "0", "x", "nan", "3.5"]),
    "float": (lambda: widgets.FloatSlider(0.5, min=0, max=1), "0.25", 0.25, ["nan", "inf", "2", ""]),
    "log": (lambda: widgets.FloatLogSlider(10, base=10, min=0, max=3), "100", 100.0, ["0.1", "1e9"]),
    "bool": (lambda: widgets.Checkbox(False), "1", True, ["yes", "2"]),
    "choice": (lambda: widgets.Dropdown(options=[("eight", 8), ("four", 4)]), "four", 4, ["4", "five"]),
    "several": (lambda: widgets.SelectMultiple(options=["a", "b"], value=["a"]), "a,b", ("a", "b"), ["a,c"]),
    "text": (lambda: widgets.Text("a"), "b", "b", ["b" * 201]),
}


@pytest.mark.parametrize("kind", CONTROLS)
def test_the_address_sets_only_what_the_control_allows(kind):
    make, text, value, refused = CONTROLS[kind]
    control = make()
    assert from_text(control, text) == value
    assert [from_text(control, bad) for bad in refused] == [None] * len(refused)
    control.value = value
    assert from_text(control, as_text(control)) == value


def shown_text(explore: Explore) -> str:
    return explore._results_box.children[0].value


def test_exploring_remembers_results_and_skips_what_was_passed_over():
    computed, gate = [], threading.Event()

    def compute(x):
        computed.append(x)
        if x == 1:
            gate.wait(10)
        return x

    slider = widgets.IntSlider(0, min=0, max=9)
    explore = Explore(compute, {"x": slider}, lambda x: f"x is {x}")
    assert "x is 0" in shown_text(explore)
    slider.value = 1
    wait_until(lambda: computed == [0, 1])
    slider.value, slider.value, slider.value = 2, 3, 4
    gate.set()
    wait_until(lambda: "x is 4" in shown_text(explore))
    slider.value = 0
    wait_until(lambda: "x is 0" in shown_text(explore))
    assert computed == [0, 1, 4]


def test_an_error_while_exploring_is_a_sentence_and_the_next_setting_works(tmp_path, monkeypatch):
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path))
    slider = widgets.IntSlider(1, min=0, max=9)
    explore = Explore(lambda x: 1 // x, {"x": slider}, lambda y: f"y is {y}")
    slider.value = 0
    wait_until(lambda: "not your doing" in explore._status.value)
    slider.value = 1
    wait_until(lambda: "not your doing" not in explore._status.value)
    assert "y is 1" in shown_text(explore)


def test_a_panel_shows_recorded_results_until_fresh_ones_arrive():
    def compute(report, speedup):
        report(0.5, "measuring")
        report.partial(record("fast", speedup, provenance="measured"))
        return [record(provenance="measured"), record("fast", speedup, provenance="measured")]

    panel = Panel(compute, {"speedup": widgets.FloatSlider(3.0, min=1, max=9)}, [record(), record("fast", 2.0)])
    chart = panel._right.children[0]
    assert "fast is 2.0 times" in panel._top.value
    panel._run.click()
    assert panel.job.wait(20)
    assert [r.provenance for r in panel.records] == ["measured"] * 2
    assert "fast is 3.0 times" in panel._top.value
    assert panel._right.children[0] is chart
    assert (panel._run.disabled, panel._cancel.disabled) == (False, True)


def test_a_panel_with_nothing_recorded_says_so():
    panel = Panel(lambda report: [], {}, [])
    assert "Nothing has been recorded" in panel._top.value
    assert panel._right.children == ()


def test_a_computation_without_records_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path))
    panel = Panel(lambda report: math.pi, {}, [record()])
    panel._run.click()
    assert panel.job.wait(20)
    assert "returned no records" in panel._status.value


def test_going_back_draws_nothing_anew_and_shows_the_right_chart():
    drawn = []

    def draw(x):
        drawn.append(x)
        spec = alt.Chart(alt.Data(values=[{"x": x}])).mark_point().encode(x="x:Q").properties(title=f"x is {x}")
        return [Chart(spec), f"x is {x}"]

    slider = widgets.IntSlider(0, min=0, max=9)
    explore = Explore(lambda x: x, {"x": slider}, draw)
    for value in (1, 0, 1, 2, 0):
        slider.value = value
        wait_until(lambda value=value: f"x is {value}" in explore._results_box.children[1].value)
        assert explore._results_box.children[0].spec["title"] == f"x is {value}"
    assert drawn == [0, 1, 2]


def test_a_panels_verdict_is_told_once_something_fresh_is_there():
    panel = Panel(lambda report: record("fast", 3.0, provenance="measured"), {}, [record(), record("fast", 2.0)])
    assert panel._top.layout.display == "none"
    panel._run.click()
    assert panel.job.wait(20)
    assert panel._top.layout.display is None
    assert Panel(lambda report: [], {}, [])._top.layout.display is None

"""The exploring panel without a browser: results are cached, the latest settings win."""

import json
import math
import threading

import altair as alt
import ipywidgets as widgets
from app_helpers import wait_until

from helpers.app import Explore
from helpers.app.charts.vega import Chart


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
    wait_until(lambda: "not your fault" in explore._status.value)
    slider.value = 1
    wait_until(lambda: "not your fault" not in explore._status.value)
    assert "y is 1" in shown_text(explore)


def test_a_page_hears_of_no_more_widgets_however_often_a_control_is_moved():
    def draw(x):
        spec = alt.Chart(alt.Data(values=[{"x": x}])).mark_point().encode(x="x:Q").properties(title=f"x is {x}")
        return [Chart(spec), f"x is {x}"]

    slider = widgets.IntSlider(0, min=0, max=9)
    explore = Explore(lambda x: x, {"x": slider}, draw)
    known = set(widgets.Widget.get_manager_state()["state"])
    for x in range(1, 9):
        slider.value = x
        wait_until(lambda x=x: f"x is {x}" in explore._results_box.children[1].value)
    assert explore._results_box.children[0].spec["title"] == "x is 8"
    assert set(widgets.Widget.get_manager_state()["state"]) == known


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


def test_what_is_saved_is_what_is_on_the_screen_with_its_settings():
    slider, sent = widgets.IntSlider(2, min=0, max=9), []
    explore = Explore(lambda x: [{"step": 1, "value": x, "wait": math.nan}], {"x": slider},
                      lambda rows: f"x is {rows[0]['value']}")
    download = explore.children[2].children[0]
    download.send = lambda message, buffers: sent.append((message["file"], buffers[0].decode()))
    slider.value = 3
    wait_until(lambda: "x is 3" in shown_text(explore))
    for name in ("JSON", "CSV"):
        download._handle_custom_msg({"make": name}, [])
        wait_until(lambda name=name: any(file.endswith(name.lower()) for file, _ in sent))
    files = dict(sent)
    assert json.loads(files["explored.json"]) == {
        "settings": {"x": 3}, "figures": {}, "rows": [{"step": 1, "value": 3, "wait": None}]}
    assert files["explored.csv"] == "step,value,wait,x\n1,3,,3\n"


def test_a_panel_tells_when_its_code_cannot_be_copied(tmp_path, monkeypatch):
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path))
    explore = Explore(lambda x: x, {"x": widgets.IntSlider(1)}, str)
    code = explore.children[2].children[1]
    code._handle_custom_msg({}, [])
    assert "written with def" in explore._status.value

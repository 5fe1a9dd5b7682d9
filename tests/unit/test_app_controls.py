"""More controls than a reader takes in at once."""

import ipywidgets as widgets

from helpers.app.panels.controls import MOST_AT_ONCE, ControlBox


def box_of(count: int) -> ControlBox:
    return ControlBox({f"c{i}": widgets.IntSlider(i) for i in range(count)}, lambda: None, print)


def test_six_controls_need_no_button():
    shown = box_of(MOST_AT_ONCE).children
    assert [type(child) for child in shown[:-1]] == [widgets.IntSlider] * 6


def test_the_seventh_stands_under_more_and_counts_all_the_same():
    box = box_of(8)
    *first, button, more, _url = box.children
    assert len(first) == 6
    assert [control.value for control in more.children] == [6, 7]
    assert (button.description, more.layout.display) == ("More", "none")
    button.value = True
    assert more.layout.display == "flex"
    button.value = False
    assert more.layout.display == "none"
    assert box.settings() == {f"c{i}": i for i in range(8)}
    box._url.query = {"c7": "42"}
    assert box.settings()["c7"] == 42

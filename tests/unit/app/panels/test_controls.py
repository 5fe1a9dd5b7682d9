"""What a reader moves: more controls than one takes in at once, the page's address, and a guess."""

import ipywidgets as widgets
import pytest

from helpers.app import choices, guess
from helpers.app.panels.controls import MAX_AT_ONCE, ControlBox, as_text, from_text
from helpers.lab.errors import InputError

CONTROLS = {
    "int": (lambda: widgets.IntSlider(3, min=1, max=9), "7", 7, ["10", "0", "x", "nan", "3.5"]),
    "float": (lambda: widgets.FloatSlider(0.5, min=0, max=1), "0.25", 0.25, ["nan", "inf", "2", ""]),
    "log": (lambda: widgets.FloatLogSlider(10, base=10, min=0, max=3), "100", 100.0, ["0.1", "1e9"]),
    "bool": (lambda: widgets.Checkbox(False), "1", True, ["yes", "2"]),
    "choice": (lambda: widgets.Dropdown(options=[("eight", 8), ("four", 4)]), "four", 4, ["4", "five"]),
    "several": (lambda: widgets.SelectMultiple(options=["a", "b"], value=["a"]), "a,b", ("a", "b"), ["a,c"]),
    "text": (lambda: widgets.Text("a"), "b", "b", ["b" * 201]),
}


def box_of(count: int) -> ControlBox:
    return ControlBox({f"c{i}": widgets.IntSlider(i) for i in range(count)}, lambda: None, print)


def test_six_controls_need_no_button():
    shown = box_of(MAX_AT_ONCE).children
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


@pytest.mark.parametrize("kind", CONTROLS)
def test_the_address_sets_only_what_the_control_allows(kind):
    make, text, value, refused = CONTROLS[kind]
    control = make()
    assert from_text(control, text) == value
    assert [from_text(control, bad) for bad in refused] == [None] * len(refused)
    control.value = value
    assert from_text(control, as_text(control)) == value


def test_a_guess_follows_its_slider(capsys):
    asked = guess("speed-up", low=0.5, high=4)
    asked.slider.value = 3.0
    assert asked.value == 3.0
    with pytest.raises(InputError, match="low < high"):
        guess("speed-up", low=4, high=1)


@pytest.mark.parametrize(("low", "high", "shown"), [(1, 60, ".1f"), (0, 1, ".2f"), (0.5, 6, ".2f"), (0, 3000, ".0f")])
def test_a_guess_is_read_without_an_exponent(low, high, shown):
    assert guess("a number", low, high).slider.readout_format == shown


@pytest.mark.parametrize(("control", "sent"), [
    (lambda: widgets.IntSlider(3, min=1, max=9, description="Layers"), {"max": 10**9, "value": 10**9}),
    (lambda: widgets.FloatSlider(2, min=1, max=9, description="Layers"), {"min": -1e300, "value": -1e300}),
    (lambda: widgets.FloatSlider(2, min=1, max=9, description="Layers"), {"value": float("nan")}),
    (lambda: widgets.FloatLogSlider(2, base=3, min=0, max=2, description="Layers"), {"max": 600.0, "value": 3.0**600}),
    (lambda: widgets.FloatLogSlider(2, base=3, min=0, max=2, description="Layers"), {"base": 1e100, "value": 1e150})])
def test_a_browser_that_moves_a_sliders_end_gets_no_further(control, sent):
    """Else a stranger chooses how much is computed: a billion layers."""
    slider, said = control(), []
    box = ControlBox({"depth": slider}, lambda: box.settings(), said.append)
    slider.set_state(sent)
    with pytest.raises(InputError, match="Layers goes from 1 to 9"):
        box.settings()
    assert said == ["Layers goes from 1 to 9."]


def test_a_browser_chooses_only_what_there_is_to_choose():
    choice = widgets.Dropdown(options=[("eight", 8), ("four", 4)])
    box = ControlBox({"bits": choice}, lambda: None, print)
    choice.set_state({"_options_labels": ["eight", "four", "../../etc/passwd"]})
    choice.set_state({"index": 1})
    assert box.settings() == {"bits": 4}
    with pytest.raises(IndexError):
        choice.set_state({"index": 2})
    assert box.settings() == {"bits": 4}


def test_a_control_that_does_not_apply_says_why_and_gets_its_usual_value_back():
    bits = widgets.Dropdown(options=[("8", 8), ("3", 3)], value=3)
    choices(bits, range(2, 9), 4)
    assert (bits.value, len(bits.options), bits.disabled) == (3, 7, False)
    choices(bits, range(2, 9), 4, "for weight-only")
    assert (bits.value, bits.options, bits.disabled) == (4, (("for weight-only", 4),), True)
    choices(bits, (5, 6), 6)
    assert (bits.value, bits.disabled) == (6, False)

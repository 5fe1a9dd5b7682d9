"""What a reader moves: more controls than one takes in at once, the page's address, and a guess."""

import json
import math

import ipywidgets as widgets
import pandas as pd
import pytest

from helpers import app
from helpers.app import choices, guess
from helpers.app.panels.controls import MAX_AT_ONCE, ControlBox, NumberBox, as_text, from_text
from helpers.lab.errors import InputError

CONTROLS = {
    "int": (lambda: widgets.IntSlider(3, min=1, max=9), "7", 7, ["10", "0", "x", "nan", "3.5", "1e400"]),
    "float": (lambda: widgets.FloatSlider(0.5, min=0, max=99), "0.25", 0.25, ["nan", "inf", "200", "", "1,5"]),
    "log": (lambda: widgets.FloatLogSlider(10, base=10, min=0, max=3), "100", 100.0, ["0.1", "1e9"]),
    "bool": (lambda: widgets.Checkbox(False), "1", True, ["yes", "2"]),
    "choice": (lambda: widgets.Dropdown(options=[("eight", 8), ("four", 4)]), "four", 4, ["4", "five"]),
    "several": (lambda: widgets.SelectMultiple(options=["a", "b"], value=["a"]), "a,b", ("a", "b"), ["a,c"]),
    "text": (lambda: widgets.Text("a"), "b", "b", ["b" * 201]),
}


def box_of(count: int) -> ControlBox:
    return ControlBox({f"c{i}": widgets.IntSlider(i) for i in range(count)}, lambda: None, print)


def test_six_controls_need_no_button():
    *shown, _refused, _url = box_of(MAX_AT_ONCE).children
    assert [type(child) for child in shown] == [NumberBox] * 6


def test_the_seventh_stands_under_more_and_counts_all_the_same():
    box = box_of(8)
    *first, button, more, _refused, _url = box.children
    assert len(first) == 6
    assert [number.control.value for number in more.children] == [6, 7]
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
    assert asked.said("your guess was {:.1f}") == "your guess was 3.0"
    with pytest.raises(InputError, match="low < high"):
        guess("speed-up", low=4, high=1)


def test_a_slider_that_nobody_moved_is_no_guess():
    """Neither a sentence nor a chart shows its middle; who moves it there has guessed so."""
    asked = guess("speed-up", low=1, high=3)
    assert math.isnan(asked.value)
    assert asked.said("your guess was {:.1f}") == "you have not guessed"
    assert "until then you have none" in asked.widget.children[0].value
    bars = pd.DataFrame({"name": ["a", "b"], "times": [1.0, 2.0]})

    def drawn():
        return [json.dumps(chart.to_dict()).count("strokeDash") for chart in (
            app.bars_spec(bars, "name", "times", provenance="recorded", title="t", reference=asked),
            app.lines_spec(bars, "times", "times", provenance="recorded", title="t", rules={"guess": 1 * asked.value}))]

    before = drawn()
    asked.slider.value = 2.5
    asked.slider.value = 2.0
    assert asked.said("your guess was {:.1f}") == "your guess was 2.0"
    assert "until then" not in asked.widget.children[0].value
    assert all(now > then for now, then in zip(drawn(), before, strict=True))


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


def said_by(number: NumberBox) -> str:
    return "" if number._said.layout.display == "none" else number._said.value


@pytest.mark.parametrize(("control", "typed", "value"), [
    (lambda: widgets.IntSlider(3, min=1, max=9000), "8,000", 8000),
    (lambda: widgets.IntSlider(3, min=1, max=9000), "8e3", 8000),
    (lambda: widgets.FloatSlider(3, min=1, max=900), " 570.776 ", 570.776),
    (lambda: widgets.FloatLogSlider(10, base=10, min=0, max=10), "9e8", 9e8)])
def test_a_typed_number_moves_its_slider_and_back(control, typed, value):
    number = NumberBox(control())
    number._text.value = typed
    assert (number.control.value, said_by(number)) == (value, "")
    assert float(number._text.value) == value
    number.control.value = 7
    assert number._text.value == "7"


@pytest.mark.parametrize(("typed", "said"), [("10", "10"), ("0", "0"), ("3.5", "3.5"), ("nan", "nan"),
                                             ("1e308", "1e+308"), ("", "that"), ("1,5", "that"),
                                             ("<b onclick=x>", "that")])
def test_a_typed_number_out_of_reach_is_said_and_nothing_moves(typed, said):
    slider = widgets.IntSlider(3, min=1, max=9, description="Layers")
    number = NumberBox(slider)
    number._text.value = typed
    number.ask(typed)
    assert f"Layers takes a whole number from 1 to 9, not {said}: it stays at 3." in said_by(number)
    assert (slider.value, number._text.value) == (3, typed)
    number._text.value = "3"
    assert said_by(number) == "", "the number that stays is not refused"
    slider.value = 4
    assert (said_by(number), number._text.value) == ("", "4")


def started_by(query: dict[str, str]) -> ControlBox:
    controls = {"rate": widgets.FloatSlider(30, min=1, max=1000, description="Rate"),
                "tokens": widgets.IntSlider(100, min=10, max=8000, description="Tokens"),
                "machine": widgets.Dropdown(options=["AWS m6i.large", "AWS m7i.large"], description="Machine")}
    box = ControlBox(controls, lambda: None, print, "p",
                     bill={"rate": "per_second", "tokens": "tokens_in", "machine": "offer"})
    box._url.query = query
    return box


def test_controls_start_from_the_bill_of_the_address():
    """73 million a month over 10 of 24 hours, 730 hours a month: 66.67 a second."""
    box = started_by({"bill.volume": "73e6", "bill.traffic_hours": "10", "bill.offer": "AWS m7i.large"})
    assert box.settings() == {"rate": pytest.approx(200 / 3), "tokens": 400, "machine": "AWS m7i.large"}


def test_a_control_may_start_from_a_part_of_the_bill():
    """An own price of 3 dollars less a tenth."""
    paid = widgets.FloatSlider(1, min=0, max=1000, step=0.01, description="Price")
    box = ControlBox({"usd_in": paid}, lambda: None, print, bill={"usd_in": "hosted.input_usd_per_million_tokens"})
    box._url.query = {"bill.usd_per_million_in": "3", "bill.token_discount": "10"}
    assert box.settings() == {"usd_in": pytest.approx(2.7)}


def test_a_setting_of_its_own_goes_before_the_bill():
    settings = started_by({"bill.volume": "73e6", "p.rate": "5"}).settings()
    assert (settings["rate"], settings["tokens"]) == (5, 400)
    assert started_by({"p.rate": "5", "volume": "1e6"}).settings() == {"rate": 5, "tokens": 100,
                                                                      "machine": "AWS m6i.large"}


def test_a_bill_beyond_a_controls_reach_is_said():
    box = started_by({"bill.volume": "1e9", "bill.traffic_hours": "1", "bill.tokens_in": "9000",
                      "bill.offer": "GCP n2-standard-4"})
    rate, tokens = box._numbers["rate"], box._numbers["tokens"]
    assert "Rate takes a number from 1 to 1,000, not 9,132.42 as in" in said_by(rate)
    assert "your bill: it stays at 30." in said_by(rate)
    assert "Tokens takes a whole number from 10 to 8,000" in said_by(tokens)
    assert "Machine cannot be chosen as in your bill" in box._refused.value
    assert box.settings() == {"rate": 30, "tokens": 100, "machine": "AWS m6i.large"}


def test_an_address_out_of_reach_is_said():
    box = started_by({"p.tokens": "5", "p.machine": "<i>"})
    assert "not 5 as the address asks" in said_by(box._numbers["tokens"])
    assert "Machine cannot be chosen as the address asks" in box._refused.value


@pytest.mark.parametrize(("value", "text"), [(5e-05, "0.00005"), (2e8, "200000000"), (0.1, "0.1"), (3.0, "3")])
def test_a_number_is_written_without_an_exponent(value, text):
    control = widgets.FloatText(value)
    assert as_text(control) == text
    assert from_text(control, text) == value

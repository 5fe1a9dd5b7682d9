"""Controls of a panel, whose values the page's address holds too."""

import decimal
import html
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import anywidget
import ipywidgets
import traitlets

from helpers.app.panels.frame import source
from helpers.app.problems import guarded
from helpers.lab.errors import InputError
from helpers.lab.money.scenario import Scenario, read_number

MAX_AT_ONCE = 6  # controls; what comes after them is opened with a button
MAX_TEXT = 200  # characters of a text box that the address may carry
Controls = Mapping[str, ipywidgets.Widget]


class UrlState(anywidget.AnyWidget):
    """`query` is what the address held when the page opened; setting `push` writes those keys into it."""

    _esm = source("url_state.js")
    query = traitlets.Dict().tag(sync=True)
    push = traitlets.Dict().tag(sync=True)


class NumberBox(ipywidgets.VBox):
    """A slider and a box for its number: a number that the slider does not reach is said, never clamped in silence.

    A slider's own readout takes what is typed and quietly puts its end in its place.
    """

    def __init__(self, control: ipywidgets.Widget):
        self.control, self._reach = control, _ends(control)
        control.readout = False
        self._text = ipywidgets.Text(_plain(control.value), continuous_update=False, disabled=control.disabled)
        self._said = ipywidgets.HTML(layout={"display": "none", "width": "100%"})
        both = ipywidgets.Box([control, self._text], layout={"width": "100%"})
        both.add_class("app-number-row")
        super().__init__([both, self._said], layout={"width": "100%"})
        self.add_class("app-number")
        traitlets.dlink((control, "disabled"), (self._text, "disabled"))
        control.observe(self._moved, "value")
        self._text.observe(self._typed, "value")

    def ask(self, text: str, source: str = "") -> None:
        """Take a number that was typed or comes from `source`; what cannot be is said, and the control stays."""
        control = self.control
        value = from_text(control, text)
        if value is None:
            low, high = (f"{end:,.12g}" for end in self._reach)
            whole = "whole " if isinstance(control.value, int) else ""
            self._say(f"{control.description or 'This'} takes a {whole}number from {low} to {high}, not "
                      f"{_number_in(text)}{source}: it stays at {control.value:,.6g}.")
            return
        self._say("")
        control.value = value
        self._text.value = _plain(control.value)

    def _typed(self, change: Any) -> None:
        if change["new"] == _plain(self.control.value):
            self._say("")  # the number that stays: nothing is refused any more
        else:
            self.ask(change["new"])

    def _moved(self, _change: Any) -> None:
        self._say("")
        self._text.value = _plain(self.control.value)

    def _say(self, sentence: str) -> None:
        self._said.value = f"<div class='app-refused' role='alert'>{html.escape(sentence)}</div>"
        self._said.layout.display = None if sentence else "none"


class ControlBox(ipywidgets.VBox):
    """Controls one under the other, those after the sixth under 'More'; `settings()` gives their values.

    Args:
        controls: setting name -> widget with a `value`.
        changed: called after any change.
        tell: is given a sentence when `changed` fails.
        name: goes before the keys in the address, where two panels share a setting's name.
        bill: setting name -> what of the reader's Scenario it starts from, where the address holds one; "offer", or
            "hosted.input_usd_per_million_tokens".
    """

    def __init__(self, controls: Controls, changed: Callable[[], None], tell: Callable[[str], None], name: str = "",
                 bill: Mapping[str, str] | None = None):
        self._controls = dict(controls)
        self._ends = {name: _ends(control) for name, control in self._controls.items()}
        self._prefix = f"{name}." if name else ""
        self._bill = dict(bill or {})
        self._url = UrlState()
        for control in self._controls.values():
            _lay_out(control)
        self._numbers = {name: NumberBox(control) for name, control in self._controls.items()
                         if control.has_trait("readout")}
        self._refused = ipywidgets.HTML(layout={"display": "none", "width": "100%"})
        shown = [self._numbers.get(name, control) for name, control in self._controls.items()]
        super().__init__([*shown[:MAX_AT_ONCE], *_more(shown[MAX_AT_ONCE:]), self._refused, self._url])
        self.add_class("app-controls")
        self._changed = guarded(tell)(changed)
        for control in self._controls.values():
            control.observe(self._on_change, "value")
        self._url.observe(guarded(tell)(self._on_query), "query")

    def settings(self) -> dict[str, Any]:
        """Setting name -> value.

        Raises:
            InputError: a number beyond the ends that its control was made with; a browser may move the ends, too.
        """
        for name, (low, high) in self._ends.items():
            value = self._controls[name].value
            if isinstance(value, (int, float)) and not low <= value <= high:
                raise InputError(f"{self._controls[name].description or name} goes from {low:,.12g} to {high:,.12g}.")
        return {name: control.value for name, control in self._controls.items()}

    def enable(self, enabled: bool) -> None:
        """Let the reader change the controls, or not."""
        for control in self._controls.values():
            control.disabled = not enabled

    def _on_change(self, _change: Any) -> None:
        self._changed()  # first: the reader waits for the chart, nobody for the address
        texts = {self._prefix + name: as_text(control) for name, control in self._controls.items()}
        self._url.push = {key: text for key, text in texts.items() if text is not None}

    def _on_query(self, change: Any) -> None:
        """The settings in the address; settings that it does not name come from its bill."""
        query = change["new"]
        asked = {name: (query[self._prefix + name], " as the address asks") for name in self._controls
                 if self._prefix + name in query}
        if self._bill and (scenario := Scenario.in_address(query)) is not None:
            asked = {name: (_plain(operator.attrgetter(field)(scenario)), " as in your bill")
                     for name, field in self._bill.items()} | asked
        refused = [said for name, (text, source) in asked.items() if (said := self._ask(name, text, source))]
        self._refused.value = f"<div class='app-refused' role='alert'>{html.escape(' '.join(refused))}</div>"
        self._refused.layout.display = None if refused else "none"

    def _ask(self, name: str, text: str, source: str) -> str:
        """Set a control, or say why not: a number beside its slider, anything else in the sentence returned."""
        if name in self._numbers:
            self._numbers[name].ask(text, source)
            return ""
        control = self._controls[name]
        if (value := from_text(control, text)) is None:
            return f"{control.description or name} cannot be chosen{source}: it stays as it is."
        control.value = value
        return ""


def choices(control: ipywidgets.Widget, values: Iterable[Any], usual: Any, why_not: str = "") -> None:
    """Offer other values in a dropdown; where it does not apply, say why in their place, and hold it still.

    Args:
        usual: what is chosen where the present value is not on offer, and where the control does not apply.
        why_not: why it does not apply; empty where it does.

    >>> from ipywidgets import Dropdown
    >>> from helpers import app
    >>> bits = Dropdown(description="Bits")
    >>> app.choices(bits, range(2, 9), 4)
    >>> bits.value, bits.disabled
    (4, False)
    >>> app.choices(bits, range(2, 9), 4, "for weight-only")
    >>> bits.options, bits.disabled
    ((('for weight-only', 4),), True)
    """
    values = list(values)
    value = control.value if control.value in values and not why_not else usual
    control.options = [(why_not, usual)] if why_not else [(str(choice), choice) for choice in values]
    control.value, control.disabled = value, bool(why_not)


def as_text(control: ipywidgets.Widget) -> str | None:
    """The control's value for the address; None where it cannot be written there."""
    if hasattr(control, "_options_labels"):
        labels, index = control._options_labels, control.index
        if isinstance(index, tuple):
            return ",".join(labels[i] for i in index)
        return None if index is None else labels[index]
    value = control.value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, float)):
        return _plain(value)
    return value if isinstance(value, str) and len(value) <= MAX_TEXT else None


def from_text(control: ipywidgets.Widget, text: str) -> Any:
    """The value that the address asks for, or None where the control does not allow it."""
    if hasattr(control, "_options_labels"):
        return _chosen(control, text)
    if isinstance(control.value, bool):
        return {"1": True, "0": False}.get(text)
    if isinstance(control.value, str):
        return text if len(text) <= MAX_TEXT else None
    if isinstance(control.value, (int, float)):
        return _number(control, text)
    return None


def _chosen(control: ipywidgets.Widget, text: str) -> Any:
    values = dict(zip(control._options_labels, control._options_values, strict=True))
    if isinstance(control.index, tuple):
        wanted = text.split(",") if text else []
        return tuple(values[label] for label in wanted) if all(label in values for label in wanted) else None
    return values.get(text)


def _number(control: ipywidgets.Widget, text: str) -> float | int | None:
    value, (low, high) = read_number(text), _ends(control)
    if value is None or not low <= value <= high:  # also refuses nan
        return None
    if isinstance(control.value, int):
        return int(value) if value.is_integer() else None
    return value


def _plain(value: Any) -> str:
    """A number as the address and the box hold it, without an exponent; a text as it is."""
    return f"{decimal.Decimal(f'{value:.12g}'):f}" if isinstance(value, float) else str(value)


def _number_in(text: str) -> str:
    """A number to name in a sentence; anything else is not repeated, since the address may come from a stranger."""
    value = read_number(text)
    return "that" if value is None else f"{value:,.6g}"


def _ends(control: ipywidgets.Widget) -> tuple[float, float]:
    """The least and the largest number that a control gives."""
    low, high = getattr(control, "min", -math.inf), getattr(control, "max", math.inf)
    if isinstance(control, ipywidgets.FloatLogSlider):  # its ends are exponents
        low, high = control.base**low, control.base**high
    return low, high


def _more(controls: list[ipywidgets.Widget]) -> list[ipywidgets.Widget]:
    """A button and the controls that it shows and hides; nothing where there are none."""
    if not controls:
        return []
    box = ipywidgets.VBox(controls, layout={"width": "100%", "display": "none"})
    button = ipywidgets.ToggleButton(description="More", layout={"width": "auto"})
    button.observe(lambda change: setattr(box.layout, "display", "flex" if change["new"] else "none"), "value")
    return [button, box]


def _lay_out(control: ipywidgets.Widget) -> None:
    if control.has_trait("continuous_update"):
        control.continuous_update = False
    if control.has_trait("style") and control.style.has_trait("description_width"):
        control.style.description_width = "initial"
    control.layout.width = "100%"
    control.layout.min_width = "0"

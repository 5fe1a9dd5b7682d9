"""The controls of a panel: laid out alike, read as settings, kept in the page's address."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets

from helpers.app.panels.page_widgets import UrlState
from helpers.app.text.problems import guarded

MOST_AT_ONCE = 6  # controls; what comes after them is opened with a button
LONGEST_TEXT = 200  # characters of a text box that the address may carry
Controls = Mapping[str, ipywidgets.Widget]


class ControlBox(ipywidgets.VBox):
    """Controls one under the other, those after the sixth under 'More'; `settings()` gives their values.

    Args:
        controls: setting name -> widget with a `value`.
        changed: called after any change.
        tell: is given a sentence when `changed` fails.
        name: goes before the keys in the address, where two panels share a setting's name.
    """

    def __init__(self, controls: Controls, changed: Callable[[], None], tell: Callable[[str], None], name: str = ""):
        self._controls = dict(controls)
        self._prefix = f"{name}." if name else ""
        self._url = UrlState()
        for control in self._controls.values():
            _lay_out(control)
        shown = list(self._controls.values())
        super().__init__([*shown[:MOST_AT_ONCE], *_more(shown[MOST_AT_ONCE:]), self._url])
        self.add_class("app-controls")
        self._changed = guarded(tell)(changed)
        for control in self._controls.values():
            control.observe(self._on_change, "value")
        self._url.observe(guarded(tell)(self._on_query), "query")

    def settings(self) -> dict[str, Any]:
        """Setting name -> value."""
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
        for name, control in self._controls.items():
            text = change["new"].get(self._prefix + name)
            value = None if text is None else from_text(control, text)
            if value is not None:
                control.value = value


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
        return f"{value:g}" if isinstance(value, float) else str(value)
    return value if isinstance(value, str) and len(value) <= LONGEST_TEXT else None


def from_text(control: ipywidgets.Widget, text: str) -> Any:
    """The value that the address asks for, or None where the control does not allow it."""
    if hasattr(control, "_options_labels"):
        return _chosen(control, text)
    if isinstance(control.value, bool):
        return {"1": True, "0": False}.get(text)
    if isinstance(control.value, str):
        return text if len(text) <= LONGEST_TEXT else None
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
    try:
        value = int(text) if isinstance(control.value, int) else float(text)
    except ValueError:
        return None
    low, high = getattr(control, "min", -math.inf), getattr(control, "max", math.inf)
    if isinstance(control, ipywidgets.FloatLogSlider):  # its ends are exponents
        low, high = control.base**low, control.base**high
    return value if low <= value <= high else None  # also refuses nan


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

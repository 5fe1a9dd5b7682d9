"""Any table in words: headings with units, shares in percent, and each interval under its figure."""

import dataclasses
import functools
import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from IPython.display import HTML

from helpers.app.text.figures import MINUS, NONE, capital, in_percent, significant
from helpers.app.text.words import shown
from helpers.lab.facts import read_facts

if TYPE_CHECKING:  # most pages open without it
    import pandas as pd

MOST_ROWS = 60
LONG = 28  # letters, from which on a text takes several lines
UNITS: Mapping[str, str] = {  # of a column that the list has not: the end of its name -> unit
    "per_s": "per second", "per_million": "per million", "s": "s", "ms": "ms", "gb": "GB", "mb": "MB", "bytes": "MB",
    "usd": "$", "joules": "J", "months": "months", "min": "minutes", "month": "a month", "share": "%"}


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a column holds. kind: 'share', 'points' (between shares), 'bytes', 'year', or empty for other numbers."""

    words: str
    unit: str
    kind: str = ""


@functools.cache
def _listed() -> dict[str, Meaning]:
    """The columns that the list in helpers/facts/columns.csv has, by their names in Python."""
    return {row["column"]: Meaning(row["words"] or capital(row["column"].replace("_", " ")), row["unit"], row["kind"])
            for row in read_facts("columns")}


def meaning(column: str) -> Meaning:
    """That of a column by its name: as listed, else by the unit that its name ends with.

    >>> from helpers.app.text.frames import meaning
    >>> meaning("hours_a_year"), meaning("peak_gb").unit, meaning("cold_share").kind
    (Meaning(words='Hours a year', unit='', kind=''), 'GB', 'share')
    """
    if column in _listed():
        return _listed()[column]
    if bound := re.fullmatch(r"(.+)_(low|high)", column):  # without its other end, else it stands under its figure
        rest = meaning(bound[1])
        return dataclasses.replace(rest, words=f"{rest.words}, {'at least' if bound[2] == 'low' else 'at most'}")
    if quantile := re.fullmatch(r"(p\d+)_(.+)", column):
        rest = meaning(quantile[2])
        return dataclasses.replace(rest, words=f"{rest.words}, {quantile[1]}")
    if column.startswith("usd_"):
        return Meaning("Cost", f"$ {column.removeprefix('usd_').replace('_', ' ')}")
    end = next((end for end in UNITS if column.endswith(f"_{end}")), "")
    words = column.removesuffix(f"_{end}") if end else column
    return Meaning(capital(words.replace("_", " ")), UNITS.get(end, ""), end if end in ("bytes", "share") else "")


def in_words(frame: "pd.DataFrame", of: str | None = None) -> HTML:
    """A table with its columns in words and units; shares in percent, differences between them in points.

    Columns `x_low` and `x_high`, or `low` and `high` behind a column, stand under its figures as their interval. Of
    long tables the first rows are shown. The name of a column in Python stands in the heading's tooltip.

    Args:
        frame: any; its index is shown where it has a name or words.
        of: of a pivoted table, which column's values it holds: that gives their unit.

    >>> import pandas as pd
    >>> from helpers import app
    >>> shown = app.in_words(pd.DataFrame({"accuracy": [0.834], "low": [0.82], "high": [0.847], "train_s": [14.5132]}))
    >>> "83.4" in shown.data, "82.0 to 84.7" in shown.data, "Training<small>s" in shown.data
    (True, True, True)
    """
    return shown(frame_html(frame, of))


def frame_html(frame: "pd.DataFrame", of: str | None = None) -> str:
    """The table's elements without their style."""
    columns = list(_columns(frame, of))
    names = [column.name for column in columns]
    ends = {place: pair for place in range(len(names)) if (pair := _interval_of(place, names))}
    inside = {end for pair in ends.values() for end in pair}
    told = [(column, ends.get(place, ())) for place, column in enumerate(columns) if place not in inside]
    heads = "".join(column.head() for column, _ in told)
    rows = "".join("<tr>" + "".join(column.cell(row, [columns[end].values[row] for end in pair])
                                    for column, pair in told) + "</tr>" for row in range(min(len(frame), MOST_ROWS)))
    more = (f"<p>And {len(frame) - MOST_ROWS:,} more rows.</p>" if len(frame) > MOST_ROWS else
            "" if len(frame) else "<p>No rows.</p>")
    return (f"<div class='app-table app-frame' tabindex='0' role='region' aria-label='Table'><table><thead><tr>{heads}"
            f"</tr></thead><tbody>{rows}</tbody></table>{more}</div>")


@dataclasses.dataclass(frozen=True)
class _Column:
    """name: in Python. words: its heading. unit_of: what its values are, for a pivoted table the column it holds."""

    name: str
    words: str
    unit_of: Meaning
    values: list[Any]

    def head(self) -> str:
        """The heading, with the unit of what is no text, and the name in Python as its tooltip."""
        words = any(isinstance(value, bool | str) for value in self.values)  # which have no unit
        unit = f"<small>{html.escape(self.unit_of.unit)}</small>" if self.unit_of.unit and not words else ""
        return f"<th scope='col' title='{html.escape(self.name)}'{self._class()}>{html.escape(self.words)}{unit}</th>"

    def cell(self, row: int, interval: Sequence[Any]) -> str:
        """The figure of a row, and under it the two ends of its interval, if it has one."""
        figure, *ends = (_figure(value, self.unit_of.kind) for value in (self.values[row], *interval))
        below = f"<small>{' to '.join(ends)}</small>" if ends and NONE not in ends and ends[0] != ends[1] else ""
        return f"<td{self._class()}>{html.escape(figure)}{below}</td>"

    def _class(self) -> str:
        texts = [value for value in self.values if isinstance(value, str)]
        if not texts:
            return ""
        return " class='app-text app-long'" if max(map(len, texts)) > LONG else " class='app-text'"


def _columns(frame: "pd.DataFrame", of: str | None) -> Iterator[_Column]:
    """The index, where it has a name or words (numbers without a name only count the rows), and the columns."""
    names, labels = list(frame.index.names), frame.index.tolist()
    if names != [None] or not all(isinstance(label, int) for label in labels):
        for place, name in enumerate(names):
            means = meaning(str(name or ""))
            yield _Column(str(name or ""), means.words, means, _values(frame.index.get_level_values(place)))
    for place, name in enumerate(frame):
        parts = name if isinstance(name, tuple) else (name,)
        levels = list(zip(parts, frame.columns.names, strict=True))
        own = meaning(" ".join(str(part) for part, level in levels if level is None))
        at = [_at(part, meaning(level)) for part, level in levels if level is not None]
        words = ", ".join([own.words, *at]) if own.words else capital(", ".join(at))
        unit_of = own if of is None else meaning(of)
        yield _Column(".".join(map(str, parts)), words, unit_of, _values(frame.iloc[:, place]))


def _at(part: Any, level: Meaning) -> str:
    """Where a column of a pivoted table stands: 'keep 50.0%', 'tokens 1,024', or the text that it is for."""
    figure = f"{_figure(part, level.kind)}{'%' * (level.kind == 'share')}"
    return part if isinstance(part, str) else f"{level.words.lower()} {figure}"


def _values(column: "pd.Series | pd.Index") -> list[Any]:
    """As Python's own, None where there is nothing."""
    known = column.astype(object).where(column.notna(), None).tolist()
    return [value.item() if hasattr(value, "item") else value for value in known]


def _interval_of(place: int, names: Sequence[str]) -> tuple[int, int] | None:
    """Where the ends of a column's interval stand: those that bear its name, else 'low' and 'high' right behind it."""
    unit = next((f"_{end}" for end in UNITS if names[place].endswith(f"_{end}")), "")
    for stem in (names[place], names[place].removesuffix(unit)):
        if {f"{stem}_low", f"{stem}_high"} <= set(names):
            return names.index(f"{stem}_low"), names.index(f"{stem}_high")
    behind = list(names[place + 1:place + 3])
    return (place + 1, place + 2) if behind in (["low", "high"], [f"low{unit}", f"high{unit}"]) else None


def _figure(value: Any, kind: str) -> str:
    """A cell's text: a share in percent, a difference in points, bytes in MB; other numbers in three digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_figure(one, kind) for one in value) or NONE
    if not isinstance(value, int | float):  # text, a date, nothing
        return NONE if value is None else str(value)
    if math.isinf(value):
        return "\N{INFINITY}"
    if kind in ("share", "points"):
        return _of_hundred(value, signs=kind == "points")
    if kind == "bytes":
        value = value / 1e6
    if kind == "year":
        return f"{value:.0f}"
    whole = float(value).is_integer() or abs(value) >= 1000
    return f"{value:,.0f}".replace("-", MINUS) if whole else significant(value, 3)


def _of_hundred(share: float, signs: bool) -> str:
    """In percent or points, one decimal; what is less than all is never shown as all, nor what is there as nothing."""
    value = 100 * share
    if not signs and 0.9995 <= share < 1:
        return in_percent(share)
    if 0 < abs(value) < 0.05:
        return f"{'+' if signs and value > 0 else ''}{significant(value, 1)}"
    return f"{value:{'+' if signs else ''},.1f}".replace("-", MINUS)

"""Numbers in words: two significant digits with the unit, a true minus, no share rounded up to all."""

import math
import re
from collections.abc import Sequence

NONE = "\N{EN DASH}"  # stands where there is no figure
NAMED = 4  # marks of a chart that have room for their names; more of them are numbered as in the table
MINUS = "\N{MINUS SIGN}"
_NEGATIVE = re.compile(r"(?<![\w.-])-(?=\$?[.\d])")
_LARGE = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))


def capital(text: str) -> str:
    """The text as a sentence or a heading begins; the rest of it as it is."""
    return f"{text[:1].upper()}{text[1:]}"


def with_minus(text: str) -> str:
    """The text with a true minus before each negative number: Python writes a hyphen.

    >>> with_minus("costs -$3 (-2.5 to 1) on 2026-01-02, in int-8")
    'costs \N{MINUS SIGN}$3 (\N{MINUS SIGN}2.5 to 1) on 2026-01-02, in int-8'
    """
    return _NEGATIVE.sub(MINUS, text)


def two(value: float | None) -> str:
    """Two significant digits without an exponent; a dash where there is no figure."""
    return significant(value, 2)


def significant(value: float | None, digits: int) -> str:
    """The same with so many significant digits.

    >>> significant(34_567.8, 4), significant(0.00012345, 2)
    ('34,570', '0.00012')
    """
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    rounded = round(value, digits - 1 - math.floor(math.log10(abs(value))))
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))  # 9.96 became 10
    return with_minus(f"{rounded:,.{decimals}f}")


def interval(low: float | None, high: float | None) -> str:
    """'low to high' in two digits, or nothing where there is no interval, as for the reference."""
    return "" if low is None or high is None or low == high else f"{two(low)} to {two(high)}"


def signed(value: float) -> str:
    """Two digits with their sign, a true minus for negative ones."""
    text = two(value)
    return text if text.startswith(MINUS) or text == "0" else f"+{text}"


def percent(share: float | None) -> str:
    """A fraction in percent, in two digits: '90%'; what is less than all is never shown as 100."""
    return NONE if share is None else f"{in_percent(share)}%"


def in_percent(share: float | None) -> str:
    """The same without the sign, for a column that bears it: '90', '99.6'."""
    rounded = two(None if share is None else 100 * share)
    if rounded != "100" or share > 1 - 1e-9:  # no test has a billion rows
        return rounded
    missing = round(100 * (1 - share), 9)  # 0.001 is not a little less
    decimals = -math.floor(math.log10(missing))
    return f"{100 - math.ceil(round(missing * 10**decimals, 6)) / 10**decimals:.{decimals}f}"


def count(value: float) -> str:
    """How many, a large number in words: '1.2 million', '1 billion', '5'."""
    size, word = next(((size, f" {word}") for size, word in _LARGE if value >= size), (1.0, ""))
    number = value / size
    return f"{number:.0f}{word}" if 0 <= number < 10 and number.is_integer() else f"{two(number)}{word}"


def seconds(value: float) -> str:
    """A time left: '8 s', '3 min', '1.5 h'."""
    if value < 60:
        return f"{math.ceil(value)} s"
    return f"{math.ceil(value / 60)} min" if value < 5400 else f"{value / 3600:.1f} h"


def short_names(names: Sequence[str]) -> list[str]:
    """Return the labels beside a chart's marks: their names, or the numbers of their rows in the table."""
    return list(names) if len(names) <= NAMED else [str(number) for number in range(1, len(names) + 1)]

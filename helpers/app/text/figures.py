"""Numbers as a reader wants them: two significant digits, with the unit."""

import math

from helpers.lab.measuring.measurement import Measurement

NONE = "\N{EN DASH}"  # stands where there is no figure
_MINUS = "\N{MINUS SIGN}"
_LARGE = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))


def two(value: float | None) -> str:
    """Two significant digits without an exponent; a dash where there is no figure."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    decimals = 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    decimals = max(0, 1 - math.floor(math.log10(abs(rounded))))  # 9.96 became 10
    return f"{rounded:,.{decimals}f}".replace("-", _MINUS)


def interval(low: float | None, high: float | None) -> str:
    """'low to high' in two digits, or nothing where there is no interval, as for the reference."""
    return "" if low is None or high is None or low == high else f"{two(low)} to {two(high)}"


def signed(value: float) -> str:
    """Two digits with their sign, a true minus for negative ones."""
    text = two(value)
    return text if text.startswith(_MINUS) or text == "0" else f"+{text}"


def count(value: float) -> str:
    """A large number in words: '1.2 million'."""
    for size, word in _LARGE:
        if value >= size:
            return f"{two(value / size)} {word}"
    return two(value)


def seconds(value: float) -> str:
    """A time left: '8 s', '3 min', '1.5 h'."""
    if value < 60:
        return f"{math.ceil(value)} s"
    return f"{math.ceil(value / 60)} min" if value < 5400 else f"{value / 3600:.1f} h"


def ratio(record: Measurement) -> tuple[float, float, float, str]:
    """(value, low, high, word): how many times cheaper than the reference, or dearer, so that value >= 1."""
    value, low, high = record.speedup, record.speedup_low, record.speedup_high
    return (value, low, high, "cheaper") if value >= 1 else (1 / value, 1 / high, 1 / low, "dearer")


def cheaper(record: Measurement) -> str:
    """'2.1 times (1.9 to 2.3) cheaper', or dearer, against the record's reference; the interval is of 95 %."""
    value, low, high, word = ratio(record)
    return f"{two(value)} times ({two(low)} to {two(high)}) {word}"


def verb(record: Measurement) -> str:
    """Whether a record gains or loses accuracy."""
    return "gains" if record.accuracy_delta > 0 else "loses"


def change(record: Measurement) -> str:
    """'loses 0.30 points of accuracy (-1.5 to +0.90; 95 % intervals)': the paired difference."""
    low, high = 100 * record.accuracy_delta_low, 100 * record.accuracy_delta_high
    if record.accuracy_delta == 0:
        return f"as often right ({signed(low)} to {signed(high)} points; 95 % intervals)"
    return (f"{verb(record)} {two(abs(100 * record.accuracy_delta))} points of accuracy "
            f"({signed(low)} to {signed(high)}; 95 % intervals)")

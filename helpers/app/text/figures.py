"""Numbers and records in words: two significant digits with the unit, and the finding that records support."""

import math
from collections.abc import Sequence

from helpers.lab.measuring.measurement import Measurement

NONE = "\N{EN DASH}"  # stands where there is no figure
NAMED = 4  # marks of a chart that have room for their names; more of them are numbered as in the table
TOLERATED = 0.02  # accuracy that a candidate may lose, with 95 % confidence
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


def short_names(names: Sequence[str]) -> list[str]:
    """What stands beside the marks of a chart: their names, or the numbers of their rows in the table."""
    return list(names) if len(names) <= NAMED else [str(number) for number in range(1, len(names) + 1)]


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
        return f"equally accurate ({signed(low)} to {signed(high)} points; 95 % intervals)"
    return (f"{verb(record)} {two(abs(100 * record.accuracy_delta))} points of accuracy "
            f"({signed(low)} to {signed(high)}; 95 % intervals)")


def best(measurements: Sequence[Measurement]) -> Measurement | None:
    """The cheapest candidate that is significantly cheaper and loses no more than is tolerated, both at 95 %."""
    able = [record for record in measurements[1:]
            if record.speedup_low > 1 and record.accuracy_delta_low >= -TOLERATED]
    return max(able, key=lambda record: record.speedup, default=None)


def finding(measurements: Sequence[Measurement]) -> str:
    """What the records say in one sentence; losing cases are said as plainly as winning ones."""
    if not measurements:
        return "Nothing has been measured yet."
    reference, candidates = measurements[0], measurements[1:]
    if not candidates:
        return f"So far there is only the reference, {reference.model}: accuracy {two(100 * reference.accuracy)} %."
    if winner := best(measurements):
        return f"{winner.model} is {cheaper(winner)} than {reference.model} and {change(winner)}."
    fastest = max(candidates, key=lambda record: record.speedup)
    if fastest.speedup_low <= 1:
        return (f"None of these is significantly cheaper than {reference.model} (95 %): the fastest, {fastest.model}, "
                f"is {cheaper(fastest)}.")
    return (f"{fastest.model} is {cheaper(fastest)} than {reference.model} but {change(fastest)}: no candidate is "
            f"significantly cheaper and loses at most {two(100 * TOLERATED)} points (95 %).")


def short_finding(measurements: Sequence[Measurement]) -> str:
    """The same as a chart's title."""
    if len(measurements) < 2:
        return finding(measurements)
    winner = best(measurements)
    shown = winner or max(measurements[1:], key=lambda record: record.speedup)
    cost = f"costs {two(shown.speedup)}x less" if shown.speedup >= 1 else f"costs {two(1 / shown.speedup)}x more"
    points = f"{verb(shown)} {two(abs(100 * shown.accuracy_delta))} points"
    what = f"{shown.model} {cost} and {points if shown.accuracy_delta else 'is equally accurate'}"
    return what if winner else f"No clear winner: {what}"

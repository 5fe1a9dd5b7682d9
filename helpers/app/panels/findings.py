"""The sentence that a set of records supports, whichever way it went."""

from collections.abc import Sequence

from helpers.app.text.figures import change, cheaper, two, verb
from helpers.lab.measuring.measurement import Measurement

TOLERATED = 0.02  # a candidate may lose at most this share of right answers, with 95 % certainty


def best(measurements: Sequence[Measurement]) -> Measurement | None:
    """The cheapest candidate that surely is cheaper and surely loses no more than is tolerated."""
    able = [record for record in measurements[1:]
            if record.speedup_low > 1 and record.accuracy_delta_low >= -TOLERATED]
    return max(able, key=lambda record: record.speedup, default=None)


def finding(measurements: Sequence[Measurement]) -> str:
    """What the records say in one sentence; losing cases are said as plainly as winning ones."""
    if not measurements:
        return "Nothing has been measured yet."
    reference, candidates = measurements[0], measurements[1:]
    if not candidates:
        return f"So far there is only the reference, {reference.model}: {two(100 * reference.accuracy)} % right."
    if found := best(measurements):
        return f"{found.model} is {cheaper(found)} than {reference.model} and {change(found)}."
    fastest = max(candidates, key=lambda record: record.speedup)
    if fastest.speedup_low <= 1:
        return (f"None of these is surely cheaper than {reference.model}: the fastest, {fastest.model}, "
                f"is {cheaper(fastest)}.")
    return (f"{fastest.model} is {cheaper(fastest)} than {reference.model} but {change(fastest)}: "
            f"no candidate is surely cheaper and surely within {two(100 * TOLERATED)} points.")


def short_finding(measurements: Sequence[Measurement]) -> str:
    """The same as a chart's title."""
    if len(measurements) < 2:
        return finding(measurements)
    found = best(measurements)
    shown = found or max(measurements[1:], key=lambda record: record.speedup)
    cost = f"costs {two(shown.speedup)}x less" if shown.speedup >= 1 else f"costs {two(1 / shown.speedup)}x more"
    points = f"{verb(shown)} {two(abs(100 * shown.accuracy_delta))} points"
    what = f"{shown.model} {cost} and {points if shown.accuracy_delta else 'scores the same'}"
    return what if found else f"No clear winner: {what}"

"""Sentences for results, whichever way they fall: gains, losses and no significant difference, each as plainly."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from helpers.app.text.figures import MINUS, NONE, signed, two
from helpers.app.text.findings import change, cheaper, chosen, full_name, on_machine

if TYPE_CHECKING:
    import pandas as pd

    from helpers.lab.measuring.measurement import Measurement

LISTED = 6  # names of what makes no significant difference; the others are counted


def times(ratio: float, low: float, high: float, more: str = "faster", less: str = "slower",
          same: str = "as fast") -> str:
    """A ratio with its interval: '1.2 times (1.1 to 1.4) faster', its inverse slower, or 'about as fast'.

    Of one run alone, low and high are the ratio, and no interval is shown.

    >>> from helpers import app
    >>> app.times(0.5, 0.4, 0.8)
    '2.0 times (1.2 to 2.5) slower'
    >>> app.times(1.1, 0.9, 1.3)
    'about as fast (0.90 to 1.3 times: no significant difference)'
    """
    if not math.isfinite(ratio):
        return NONE
    alone = low == high
    if low <= 1 <= high:
        return same if alone else f"about {same} ({two(low)} to {two(high)} times: no significant difference)"
    ratio, low, high, word = (ratio, low, high, more) if ratio > 1 else (1 / ratio, 1 / high, 1 / low, less)
    if _ratio(ratio) == "1.00":
        return f"about {same}"
    return f"{_ratio(ratio)} times {'' if alone else f'({_ratio(low)} to {_ratio(high)}) '}{word}"


def amount(value: float, low: float, high: float, more: str, less: str, form: str = "{:,.0f}",
           significant: bool | None = None) -> str:
    """A difference with its interval: no 'saves -$5' and no '-30 fewer'.

    Args:
        more, less: the words for a positive and a negative value, with {} in the place of its size.
        form: how a size is written.
        significant: whether it counts, where several were compared; by default whether the interval leaves out 0.

    >>> from helpers import app
    >>> app.amount(-30, -50, -10, "{} labels fewer", "{} labels more")
    '30 labels more (10 to 50)'
    >>> app.amount(5, 1, 9, "saves {}", "loses {}", "${:,.2f}", significant=False)
    'saves $5.00 ($1.00 to $9.00: not significant among all that were compared)'
    """
    words, value, low, high = (more, value, low, high) if value >= 0 else (less, -value, -high, -low)
    doubt = ": no significant difference" if low <= 0 else ": not significant among all that were compared"
    doubt = "" if (low > 0 if significant is None else significant) else doubt
    return f"{words.format(_sized(form, value))} ({_sized(form, low)} to {_sized(form, high)}{doubt})"


def share_of_loss(back: float, loss: float, low: float, high: float) -> str:
    """'86% of the lost accuracy', what came back of it; no share where that loss may be none.

    Args:
        back: accuracy that came back.
        loss, low, high: accuracy that was lost, with its 95% interval; NaN bounds are no interval.

    >>> from helpers.app import share_of_loss
    >>> share_of_loss(0.03, 0.04, low=0.03, high=0.05)
    '75% of the lost accuracy'
    """
    if low > 0:
        return f"{back / loss:.0%} of the lost accuracy"
    bounds = f"{signed(100 * low)} to {signed(100 * high)}; 95%" if low <= high else "no interval"
    return (f"{two(100 * back)} points, and no share of the loss: that loss ({two(100 * loss)} points, {bounds}) is "
            "not distinguishable from none")


def ratios(rows: Iterable[Sequence[Any]], more: str = "Faster", less: str = "Slower") -> str:
    """Which of several ratios are significantly above 1, which below, and which neither; those farthest from 1 first.

    Args:
        rows: of (name, ratio, low, high), and whether it is significant with all of them taken into account; where
            that is not given, it follows from the intervals, by Holm's method.
        more, less: the words for what is above 1 and below.

    >>> from helpers import app
    >>> app.ratios([("int8", 2.0, 1.8, 2.2), ("bf16", 0.8, 0.7, 0.9), ("fp16", 1.0, 0.9, 1.1)])
    'Faster: int8 2.0x (1.8 to 2.2). Slower: bf16 0.80x (0.70 to 0.90). No significant difference: fp16.'
    """
    return _sorted_out(rows, 1.0, more, less, lambda value, low, high: f"{two(value)}x ({two(low)} to {two(high)})")


def differences(rows: Iterable[Sequence[Any]], more: str = "Better", less: str = "Worse") -> str:
    """The same of differences of fractions, in points.

    >>> from helpers import app
    >>> app.differences([("more rows", 0.02, 0.01, 0.03), ("copies", 0.002, -0.006, 0.01)])
    'Better: more rows 2.0 points (1.0 to 3.0). Worse: none. No significant difference: copies.'
    """
    return _sorted_out(rows, 0.0, more, less, lambda value, low, high: (
        f"{two(100 * value)} points ({two(100 * low)} to {two(100 * high)})"))


def who_notices(name: str, changes: "pd.DataFrame") -> str:
    """Whom a changed model serves worse, of the table that `recall_changes` of lab returns.

    >>> import pandas as pd
    >>> from helpers import app
    >>> app.who_notices("int8", pd.DataFrame([
    ...     {"class": "refund", "rows": 50, "changed": 2, "lost": 1, "won": 0, "change": -0.02, "low": -0.1,
    ...      "high": 0.05, "significant": False}])).rpartition(": no class")[0]
    'int8: 2 of 50 answers changed, 1 from right to wrong and 0 from wrong to right'
    """
    total = changes[["rows", "changed", "lost", "won"]].sum()
    opening = (f"{name}: {total['changed']:,} of {total['rows']:,} answers changed, {total['lost']:,} from right to "
               f"wrong and {total['won']:,} from wrong to right")
    significant = changes[changes["significant"]]
    worse, better = (significant[sign * significant["change"] > 0] for sign in (-1, 1))
    figures = ["class", "change", "low", "high", "significant"]
    named = differences(significant[figures].itertuples(index=False), "Found more often", "Found less often")
    if len(worse):
        subject = worse["class"].iloc[0] if len(worse) == 1 else f"one of these {len(worse)} classes"
        return f"{opening}. {named} Anyone who writes about {subject} would notice."
    least = changes.loc[changes["change"].idxmin()]
    if least["change"] >= 0:
        doubt = "no class is found less often"
    else:
        value, low, high = (_sized("{:.1f}", 100 * -least[bound]) for bound in ("change", "high", "low"))
        doubt = (f"no class is significantly less often found. The largest drop, '{least['class']}', is {value} points "
                 f"({low} to {high}) in {least['rows']:,} rows: nobody can be named who would notice, and so few rows "
                 "may hide it")
    return f"{opening}: {doubt}. {named if len(better) else ''}".strip()


def _sorted_out(rows: Iterable[Sequence[Any]], neutral: float, more: str, less: str,
                say: Callable[[float, float, float], str]) -> str:
    known = [(name, value, low, high, *given) for name, value, low, high, *given in rows
             if all(map(math.isfinite, (value, low, high)))]
    if not known:
        return "Nothing could be compared."
    counts = [bool(given) for *_, given in known] if len(known[0]) > 4 else significant(known, neutral)
    columns = [row[:4] for row, counted in zip(known, counts, strict=True) if counted]
    neither = [row[0] for row, counted in zip(known, counts, strict=True) if not counted]
    groups = [sorted((row for row in columns if row[1] > neutral), key=lambda row: -row[1]),
              sorted((row for row in columns if row[1] < neutral), key=lambda row: row[1])]
    parts = [f"{word}: {'; '.join(f'{name} {say(*figures)}' for name, *figures in group) or 'none'}."
             for word, group in zip((more, less), groups, strict=True)]
    unnamed = len(neither) - LISTED
    rest = f" and {unnamed} other{'s' * (unnamed > 1)}" if unnamed > 0 else ""
    none = f"No significant difference: {', '.join(neither[:LISTED])}{rest}."
    return " ".join([*parts, *([none] if neither else [])])


def promise(lost: float, max_lost: float, rows: int) -> str:
    """What was lost beside what was promised by a threshold that so many held-out rows chose.

    Args:
        lost: share of the test rows. max_lost: percentage points.

    >>> from helpers import app
    >>> app.promise(0.02, 3.0, 400)
    '2.0% are lost: the promise of 3 points is kept'
    """
    if 100 * lost <= max_lost:
        return f"{lost:.1%} are lost: the promise of {max_lost:g} points is kept"
    return (f"{lost:.1%} are lost: more than the {max_lost:g} points promised, which hold on average over draws of "
            f"{rows:,.0f} held-out messages, not for each draw, and only if new messages are like them")


def longest_pipeline(records: Sequence["Measurement"]) -> "Measurement":
    """The record with most steps; the first one, of several.

    >>> from helpers import app
    >>> len(app.longest_pipeline(app.recorded("1_model_optimization_together")).settings["steps"])
    4
    """
    return max(records, key=lambda record: len(record.settings.get("steps", ())))


def all_steps(records: Sequence["Measurement"]) -> str:
    """What the longest pipeline gains and loses, as a sentence that stands after the finding of the same records.

    Where the finding is about the same steps in another order, it says so: else two figures would stand for one thing.

    >>> from helpers import app
    >>> "order" in app.all_steps(app.recorded("1_model_optimization_together"))
    True
    """
    record, told = longest_pipeline(records), chosen(records)

    def steps_of(one: "Measurement") -> list[str]:
        return sorted(json.dumps(step, sort_keys=True) for step in one.settings.get("steps", ()))
    what = "all steps together"
    if told is not record and steps_of(told) == steps_of(record):
        what = "the same steps in another order"
    return f"{on_machine([record])}{what}, {full_name(record)}: {cheaper(record)}; {change(record)}."


def significant(rows: Sequence[Sequence[Any]], neutral: float) -> Sequence[bool]:
    """Which rows are apart from `neutral`, 1 for ratios and 0 for differences, with all of them taken into account."""
    from helpers.lab.measuring.intervals import p_of_interval, significant_of_many

    def scaled(figure: float) -> float:
        return figure if not neutral else math.log(figure) if figure > 0 else -math.inf
    return significant_of_many([p_of_interval(*map(scaled, (*figures, neutral))) for _, *figures in rows])


def _ratio(value: float) -> str:
    return two(value) if value >= 1.1 else f"{value:.2f}"


def _sized(form: str, value: float) -> str:
    return f"{MINUS if value < 0 else ''}{form.format(abs(value))}"

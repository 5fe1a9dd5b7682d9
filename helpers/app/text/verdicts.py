"""What a result says, whichever way it falls: gains, losses and what is no significant difference, each as plainly."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from helpers.app.text.figures import NONE, count, percent, signed, two

if TYPE_CHECKING:
    import pandas as pd

LISTED = 6  # names of what makes no significant difference; the others are counted
_MINUS = "\N{MINUS SIGN}"


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


def annotator_bills(bills: "pd.DataFrame", reference: str = "people") -> str:
    """What each way of labelling costs to an accuracy; what was not reached is said, and has no price.

    Args:
        bills: columns annotator, usd, saved_usd, saved_usd_low, saved_usd_high, significant, break_even_usd, reached
            (share of repetitions) and within (labels that were tried), as `usd_to` of data_efficiency gives them.
        reference: the way that the others are compared with.

    >>> import pandas as pd
    >>> from helpers import app
    >>> app.annotator_bills(pd.DataFrame([
    ...     {"annotator": "people", "usd": 40.0, "reached": 1.0, "within": 600},
    ...     {"annotator": "model", "usd": float("nan"), "reached": 0.0, "within": 600}]))
    'people: $40.00; model: not reached within 600 labels.'
    """
    return "; ".join(_bill(row, row["annotator"] == reference) for row in bills.to_dict("records")) + "."


def annotator_worth(equal: int, rows: int, constant: float, pays_from: float, tried: float) -> str:
    """Whether an annotator is better than the most frequent label, and right often enough to pay.

    Args:
        equal: labels that equal people's, of so many rows.
        constant: share of rows with the most frequent label.
        pays_from: the accuracy from which on an annotator at this price saves; NaN where none does.
        tried: the highest accuracy that was tried.

    >>> from helpers import app
    >>> app.annotator_worth(16, 200, constant=0.13, pays_from=0.8, tried=0.95)
    'right in 8% of the rows (5% to 13%), worse than always giving the most frequent label (13%); too often wrong to \
pay: at its price an annotator has to be right in 80%'
    """
    from helpers.lab.measuring.intervals import wilson  # SciPy takes a moment, and a page rarely needs it

    right, (low, high) = equal / rows, wilson(equal, rows)
    beside = ("better than" if low > constant else "worse than" if high < constant
              else "not significantly different from")
    if math.isnan(pays_from):
        worth = f"at its price no annotator pays that was tried, up to one that is right in {tried:.0%}"
    elif low >= pays_from:
        worth = f"right often enough to pay: at its price an annotator has to be right in {pays_from:.0%}"
    elif high < pays_from:
        worth = f"too often wrong to pay: at its price an annotator has to be right in {pays_from:.0%}"
    else:
        worth = (f"whether it pays cannot be said from so few rows: at its price an annotator has to be right in "
                 f"{pays_from:.0%}")
    return (f"right in {right:.0%} of the rows ({low:.0%} to {high:.0%}), {beside} always giving the most frequent "
            f"label ({constant:.0%}); {worth}")


def tuning_worth(ways: "pd.DataFrame") -> str:
    """What tuning gives and when it is repaid, beside each way with examples in the prompt.

    Args:
        ways: columns way, gain, gain_low, gain_high (accuracy of the tuned one over it) and requests (after which
            tuning is repaid; infinity: never), as `tuning_repaid` of data_efficiency gives them.

    >>> import pandas as pd
    >>> from helpers import app
    >>> app.tuning_worth(pd.DataFrame([{"way": "8 examples", "gain": 0.1, "gain_low": 0.05, "gain_high": 0.15,
    ...                                 "requests": 12000.0}]))
    'Beside 8 examples, tuning gains 10 points (5.0 to 15) and is repaid after 12,000 requests.'
    """
    parts = []
    for row in ways.to_dict("records"):
        points = 100 * row["gain"], 100 * row["gain_low"], 100 * row["gain_high"]
        gained = (f"gains {two(points[0])} points ({two(points[1])} to {two(points[2])})" if points[1] > 0 else
                  f"loses {two(-points[0])} points ({two(-points[2])} to {two(-points[1])})" if points[2] < 0 else
                  "makes no significant difference in accuracy")
        repaid = ("is never repaid: its requests cost as much or more" if math.isinf(row["requests"])
                  else f"is repaid after {row['requests']:,.0f} requests")
        parts.append(f"Beside {row['way']}, tuning {gained} and {repaid}.")
    return " ".join(parts)


def ratios(rows: Iterable[Sequence[Any]], more: str = "Faster", less: str = "Slower") -> str:
    """Which of several ratios are significantly above 1, which below, and which neither; those farthest from 1 first.

    Args:
        rows: of (name, ratio, low, high), and whether it is significant, where that does not follow from the interval
            because several were compared.
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


def beside_nothing(frame: "pd.DataFrame") -> str:
    """Which extractors are significantly above who reads nothing.

    Args:
        frame: columns name, low (of the share of messages that are right, 95%) and constant (that of the constant
            answer, see ExtractionScore), as `bits_against_extraction` gives them.

    >>> import pandas as pd
    >>> from helpers import app
    >>> app.beside_nothing(pd.DataFrame({"name": ["16 bits", "2 bits"], "low": [0.43, 0.3], "constant": 0.34}))
    'The same answer to all messages is right in 34% of them; significantly above that: 16 bits.'
    """
    constant = frame["constant"].iloc[0]
    above = frame.loc[frame["low"] > constant, "name"]
    return (f"The same answer to all messages is right in {percent(constant)} of them; significantly above that: "
            f"{', '.join(above) or 'none'}.")


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
    sure = changes[changes["significant"]]
    worse, better = (sure[sign * sure["change"] > 0] for sign in (-1, 1))
    figures = ["class", "change", "low", "high", "significant"]
    named = differences(sure[figures].itertuples(index=False), "Found more often", "Found less often")
    if len(worse):
        subject = worse["class"].iloc[0] if len(worse) == 1 else f"one of these {len(worse)} classes"
        return f"{opening}. {named} Who writes about {subject} would notice."
    least = changes.loc[changes["change"].idxmin()]
    if least["change"] >= 0:
        doubt = "no class is found less often"
    else:
        value, low, high = (_sized("{:.1f}", 100 * -least[bound]) for bound in ("change", "high", "low"))
        doubt = (f"no class is significantly less often found. The largest drop, '{least['class']}', is {value} points "
                 f"({low} to {high}) in {least['rows']:,} rows: nobody can be named who would notice, and so few rows "
                 "may hide it")
    return f"{opening}: {doubt}. {named if len(better) else ''}".strip()


def taught(frame: Any) -> str:
    """What a teacher's answers gave its specialists, of the table that `teach_specialist` or `teach_tagger` returns.

    The specialist named is the one with the fewest labels of people that learned from the teacher: which one did best
    would be read off the test rows. Whether it is repaid is against asking the teacher itself.

    >>> import pandas as pd
    >>> from helpers import app
    >>> app.taught(pd.DataFrame({
    ...     "name": ["a large model", "the constant answer", "100 of people", "100 of people and 400 of the teacher"],
    ...     "taught": [400, 0, 0, 400], "accuracy": [0.08, 0.12, 0.47, 0.36], "gain": [None, None, None, -0.1],
    ...     "gain_low": [None, None, None, -0.13], "gain_high": [None, None, None, -0.07],
    ...     "significant": [False, False, False, True],
    ...     "teacher_usd": [0.002, 0, 0, 0.002], "break_even": [None, None, None, 600.0]})).partition(". ")[0]
    'a large model is right in 8.0% of the 400 messages that it labelled, the constant answer in 12% of the test ones'
    """
    teacher, constant = frame.iloc[0], frame.iloc[1]
    compared = frame.iloc[2:][lambda rows: rows["taught"] > 0]
    if compared.empty:
        return "No specialist learned from the teacher."
    first = compared.iloc[0]
    rows = compared[["name", "gain", "gain_low", "gain_high", "significant"]].astype({
        "gain": float, "gain_low": float, "gain_high": float})
    after = float(first["break_even"]) if first["break_even"] is not None else math.nan
    repaid = ("never repaid against asking the teacher itself" if math.isnan(after) else
              f"repaid after {count(after)} requests that the teacher would have answered itself")
    return (f"{teacher['name']} is right in {percent(teacher['accuracy'])} of the {teacher['taught']:,} messages that "
            f"it labelled, {constant['name']} in {percent(constant['accuracy'])} of the test ones. Over the same "
            f"labels of people without it: {differences(rows.itertuples(index=False), 'It gains', 'It loses')} Its "
            f"work costs ${two(first['teacher_usd'])}; that, and the training on {first['name']} "
            f"({percent(first['accuracy'])} right), is {repaid}.")


def _sorted_out(rows: Iterable[Sequence[Any]], neutral: float, more: str, less: str,
                say: Callable[[float, float, float], str]) -> str:
    known = [(name, value, low, high, *given) for name, value, low, high, *given in rows
             if all(map(math.isfinite, (value, low, high)))]
    if not known:
        return "Nothing could be compared."
    counts = [bool(given[0]) if given else not low <= neutral <= high for _, _, low, high, *given in known]
    columns = [row[:4] for row, counted in zip(known, counts, strict=True) if counted]
    neither = [row[0] for row, counted in zip(known, counts, strict=True) if not counted]
    groups = [sorted((row for row in columns if row[1] > neutral), key=lambda row: -row[1]),
              sorted((row for row in columns if row[1] < neutral), key=lambda row: row[1])]
    parts = [f"{word}: {'; '.join(f'{name} {say(*figures)}' for name, *figures in group) or 'none'}."
             for word, group in zip((more, less), groups, strict=True)]
    rest = f" and {len(neither) - LISTED} others" if len(neither) > LISTED else ""
    none = f"No significant difference: {', '.join(neither[:LISTED])}{rest}."
    return " ".join([*parts, *([none] if neither else [])])


def _ratio(value: float) -> str:
    return two(value) if value >= 1.1 else f"{value:.2f}"


def _sized(form: str, value: float) -> str:
    return f"{_MINUS if value < 0 else ''}{form.format(abs(value))}"


def _bill(row: dict[str, Any], is_reference: bool) -> str:
    who = row["annotator"]
    if row["reached"] < 1:
        some = f" in {1 - row['reached']:.0%} of the repetitions" if row["reached"] > 0 else ""
        return f"{who}: not reached within {row['within']:,.0f} labels{some}"
    said = f"{who}: ${row['usd']:,.2f}"
    if is_reference or math.isnan(row["saved_usd"]):
        return said
    saved = amount(row["saved_usd"], row["saved_usd_low"], row["saved_usd_high"], "saves {}", "loses {}", "${:,.2f}",
                   significant=row["significant"])
    price = row["break_even_usd"]
    worth = f"up to ${price:.4f} a label of the model it pays" if price > 0 else "even labels for nothing would not pay"
    return f"{said}, {saved}; {worth}"

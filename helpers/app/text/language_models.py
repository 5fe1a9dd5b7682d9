"""Verdicts on a language model as annotator, teacher, extractor, or tuned: its accuracy and its dollars."""

import math
from typing import TYPE_CHECKING, Any

from helpers.app.text.figures import count, percent, two
from helpers.app.text.verdicts import amount, differences, significant

if TYPE_CHECKING:
    import pandas as pd


def annotator_bills(bills: "pd.DataFrame", reference: str = "people") -> str:
    """Describe the cost of each way of labelling up to an accuracy; one that did not reach it has no price.

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
    'right in 8% of 200 rows (5% to 13%), worse than always giving the most frequent label (13%); too often wrong to \
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
    return (f"right in {right:.0%} of {rows:,} rows ({low:.0%} to {high:.0%}), {beside} always giving the most "
            f"frequent label ({constant:.0%}); {worth}")


def tuning_worth(ways: "pd.DataFrame") -> str:
    """Describe what tuning gains and when it is repaid, beside each way with examples in the prompt; by Holm's method.

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
    gains = significant(ways[["way", "gain", "gain_low", "gain_high"]].to_numpy().tolist(), 0.0)
    for row, counted in zip(ways.to_dict("records"), gains, strict=True):
        gain, low, high = (100 * row[name] for name in ("gain", "gain_low", "gain_high"))
        gained = ("makes no significant difference in accuracy" if not counted else
                  f"gains {two(gain)} points ({two(low)} to {two(high)})" if gain > 0 else
                  f"loses {two(-gain)} points ({two(-high)} to {two(-low)})")
        repaid = ("is never repaid: its requests cost as much or more" if math.isinf(row["requests"])
                  else f"is repaid after {row['requests']:,.0f} requests")
        parts.append(f"Beside {row['way']}, tuning {gained} and {repaid}.")
    return " ".join(parts)


def beside_nothing(frame: "pd.DataFrame") -> str:
    """Which extractors are significantly above one that reads nothing, with all of them taken into account.

    Args:
        frame: columns name, accuracy, low, high (of the share of messages that are right, 95%) and constant (that of
            the constant answer, see ExtractionScore), as `bits_against_extraction` gives them.

    >>> import pandas as pd
    >>> from helpers import app
    >>> app.beside_nothing(pd.DataFrame({
    ...     "name": ["16 bits", "2 bits"], "accuracy": [0.5, 0.37], "low": [0.43, 0.3], "high": [0.57, 0.44],
    ...     "constant": 0.34}))
    'The same answer to all messages is right in 34% of them; significantly above that: 16 bits.'
    """
    constant = frame["constant"].iloc[0]
    apart = frame[["accuracy", "low", "high"]] - constant
    counted = significant([("", *figures) for figures in apart.to_numpy()], 0.0)
    above = frame.loc[counted & (apart["accuracy"] > 0), "name"]
    return (f"The same answer to all messages is right in {percent(constant)} of them; significantly above that: "
            f"{', '.join(above) or 'none'}.")


def taught(frame: Any) -> str:
    """Describe what a teacher's answers gave its specialists; of the table of `teach_specialist` or `teach_tagger`.

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
    repaid = ("paid for nothing, without a significant gain" if not first["significant"] or first["gain"] <= 0 else
              "never repaid against asking the teacher itself" if math.isnan(after) else
              f"repaid after {count(after)} requests that the teacher would have answered itself")
    return (f"{teacher['name']} is right in {percent(teacher['accuracy'])} of the {teacher['taught']:,} messages that "
            f"it labelled, {constant['name']} in {percent(constant['accuracy'])} of the test ones. Over the same "
            f"labels of people without it: {differences(rows.itertuples(index=False), 'It gains', 'It loses')} Its "
            f"work costs ${two(first['teacher_usd'])}; that, and the training on {first['name']} "
            f"({percent(first['accuracy'])} right), is {repaid}.")


def _bill(row: dict[str, Any], is_reference: bool) -> str:
    who = row["annotator"]
    if row["reached"] < 1:
        some = f" in {1 - row['reached']:.0%} of the repetitions" if row["reached"] > 0 else ""
        return f"{who}: not reached within {row['within']:,.0f} labels{some}"
    words = f"{who}: ${row['usd']:,.2f}"
    if is_reference or math.isnan(row["saved_usd"]):
        return words
    saved = amount(row["saved_usd"], row["saved_usd_low"], row["saved_usd_high"], "saves {}", "loses {}", "${:,.2f}",
                   significant=row["significant"])
    price = row["break_even_usd"]
    worth = f"up to ${price:.4f} a label of the model it pays" if price > 0 else "even labels for nothing would not pay"
    return f"{words}, {saved}; {worth}"

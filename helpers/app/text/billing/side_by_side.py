"""Two scenarios side by side, 'today' and 'then': both bills after each strategy, and the differences in words."""

import dataclasses
from pathlib import Path

from helpers.app.text.billing.amounts import usd, usd_range
from helpers.app.text.billing.bills import Answer, monthly_bill
from helpers.app.text.billing.stages import FOLDER, STORIES, labels_of, stages
from helpers.lab.money.bill import Range, serving_change
from helpers.lab.money.scenario import Scenario


@dataclasses.dataclass(frozen=True)
class Row:
    """A month's bill in both scenarios, in dollars, after a strategy's step and all before it.

    Attributes:
        strategy: the number of its page; empty for the bill without steps and with all.
        before, after: today's and then's bill; None where the step is not counted there.
        change: dollars more then than today, with the 95% interval; None where one of the two is not counted.
        said: that change in words.
    """

    strategy: str
    name: str
    before: Range | None
    after: Range | None
    change: Range | None
    said: str


@dataclasses.dataclass(frozen=True)
class TwoBills:
    """Both answers, and what differs: the rows go from the bill without steps to the bill with all."""

    before: Answer
    after: Answer
    headline: str
    rows: tuple[Row, ...]


def two_bills(before: Scenario, after: Scenario, folder: Path = FOLDER) -> TwoBills:
    """The bills of two scenarios and their differences, from the records in a folder.

    A measured speed-up, or a measured saving of labels, is the same number in both, however uncertain it is: the
    difference is taken at the same number, over all of its interval.

    >>> from helpers import app
    >>> from helpers.lab.money.scenario import Scenario
    >>> app.two_bills(Scenario(), Scenario(volume=1e9)).rows[0].change.value > 0
    True
    """
    old, new = (monthly_bill(one, folder) for one in (before, after))
    if before.subject == after.subject in STORIES:
        changes = _changes(before, after, folder)
        rows = [_row(*step, change) for step, change in zip(_steps(old, new), changes, strict=True)]
    elif before.subject == after.subject:
        rows = [_row(*step) for step in _steps(old, new)]
    else:  # their steps are not the same ones
        first, *_, last = _steps(old, new)
        rows = [_row(*first), *(_row(step.strategy, f"{step.name} (today)", step.usd, None) for step in old.steps),
                *(_row(step.strategy, f"{step.name} (then)", None, step.usd) for step in new.steps), _row(*last)]
    return TwoBills(old, new, _headline(rows[0], rows[-1]), tuple(rows))


def _steps(old: Answer, new: Answer) -> list[tuple[str, str, Range | None, Range | None]]:
    """Strategy, name and both bills of each row."""
    return [("", "Without any step", old.today, new.today),
            *((one.strategy, one.name, one.usd, other.usd) for one, other in zip(old.steps, new.steps, strict=False)),
            ("", "With all steps", old.then, new.then)]


def _changes(before: Scenario, after: Scenario, folder: Path) -> list[Range]:
    """The change of each row of two bills of machines: that of the machines, and that of the labels."""
    reference, chain, _ = stages(folder, before.subject)
    served = [serving_change(one, before, after) for one in (reference, *(stage.after for stage in chain))]
    (last, in_hours), bought = served[-1], after.labels * after.usd_per_label - before.labels * before.usd_per_label
    old, new = (labels_of(one, folder)[0] for one in (before, after))
    at_ends = [new.value - old.value, new.low - old.low, new.high - old.high]  # linear in the share that is saved
    labels = Range(at_ends[0], min(at_ends), max(at_ends))
    return [*(always + Range(bought, bought, bought) for always, _ in served), last + labels,
            *2 * [in_hours + labels]]


def _row(strategy: str, name: str, old: Range | None, new: Range | None, change: Range | None = None) -> Row:
    if old is None or new is None:
        return Row(strategy, name, old, new, None, "not counted in both")
    change = change or new - old
    return Row(strategy, name, old, new, change, difference(change))


def difference(change: Range) -> str:
    """Dollars more or less, or why nobody can say which.

    >>> difference(Range(20.0, 10.0, 30.0)), difference(Range(-5.0, -5.0, -5.0))
    ('$20 more ($10 to $30)', '$5.00 less')
    >>> difference(Range(5.0, -10.0, 30.0))
    'no significant difference, because what was measured allows anything from $10 less to $30 more'
    """
    if change.low == change.high == 0:
        return "no significant difference, because nothing that changed enters it"
    if change.holds_zero:
        ends = " to ".join(f"{usd(abs(end))} {'less' if end < 0 else 'more'}" if end else "no difference"
                           for end in (change.low, change.high))
        return f"no significant difference, because what was measured allows anything from {ends}"
    word, size = ("more", change) if change.value > 0 else ("less", Range(-change.value, -change.high, -change.low))
    spread = "" if size.low == size.high else f" ({usd(size.low)} to {usd(size.high)})"
    return f"{usd(size.value)} {word}{spread}"


def _headline(first: Row, last: Row) -> str:
    return (f"Then the month costs {usd(first.after.value)} instead of today's {usd(first.before.value)}: "
            f"{first.said}. With all steps it is {usd_range(last.after)} instead of {usd_range(last.before)}: "
            f"{last.said}.")

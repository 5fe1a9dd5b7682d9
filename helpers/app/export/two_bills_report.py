"""Two scenarios side by side as they are shown and sent on: on the page, in its files, and on a command line."""

import dataclasses
import html
import json
from collections.abc import Iterator

from helpers.app.export.bill_report import as_json, as_markdown, bill_html, settings_of
from helpers.app.export.documents import page, pairs_html
from helpers.app.text.billing.amounts import usd_range
from helpers.app.text.billing.side_by_side import Row, TwoBills
from helpers.app.text.words import verdict_html
from helpers.lab.money.bill import Range

TITLE = "Today and then"
HEADS = ("page", "a month after", "today", "then", "difference")


def two_bills_html(both: TwoBills) -> str:
    """The sentence, what differs between the scenarios, and a line for each step with both bills and the difference."""
    heads = "".join(f"<th scope='col'>{head}</th>" for head in HEADS)
    rows = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in _cells(row))}</tr>" for row in both.rows)
    return (f"<h2>{TITLE}</h2>{verdict_html(both.headline)}<p>{html.escape(_differing(both))}</p>"
            f"<div class='app-table app-two-bills' tabindex='0' role='region' aria-label='{TITLE}'><table>"
            f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>")


def two_bills_page(both: TwoBills) -> str:
    """One HTML file: the comparison, then each bill with its sources and the numbers behind it."""
    bills = [f"<h1>{name}</h1>{bill_html(answer).replace('<details', '<details open')}"
             f"<h2>The numbers behind it</h2>{pairs_html(settings_of(answer.scenario))}"
             for name, answer in (("Today", both.before), ("Then", both.after))]
    return page(TITLE, [two_bills_html(both), *bills])


def two_bills_markdown(both: TwoBills) -> str:
    """The same for a mail or a wiki: the comparison, then the bill of 'then'."""
    return "\n".join(_markdown(both)) + "\n\n" + as_markdown(both.after)


def two_bills_json(both: TwoBills) -> str:
    """Every figure and sentence of both bills, and of the differences."""
    return json.dumps({"headline": both.headline, "rows": [dataclasses.asdict(row) for row in both.rows],
                       "today": json.loads(as_json(both.before)), "then": json.loads(as_json(both.after))},
                      ensure_ascii=False, indent=1, allow_nan=False)


def _markdown(both: TwoBills) -> Iterator[str]:
    yield from (f"# {TITLE}", "", both.headline, "", _differing(both), "")
    yield from ("| " + " | ".join(HEADS) + " |", "|" + " --- |" * len(HEADS))
    yield from ("| " + " | ".join(cell.replace("|", r"\|") for cell in _cells(row)) + " |" for row in both.rows)


def _cells(row: Row) -> tuple[str, ...]:
    return row.strategy, row.name, _said(row.before), _said(row.after), row.said


def _said(figure: Range | None) -> str:
    return "not counted" if figure is None else usd_range(figure)


def _differing(both: TwoBills) -> str:
    """The fields that differ, each with both values."""
    old, new = (settings_of(one.scenario) for one in (both.before, both.after))
    fields = [f"{name} {old[name]}, then {new[name]}" for name in old if old[name] != new[name]]
    return f"What differs: {'; '.join(fields)}." if fields else "Nothing differs: change a number of the bill."

"""The reader's bill on a strategy's page: what that strategy leaves of it, from the numbers in the page's address."""

import html
import itertools
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
import traitlets

from helpers.app.panels.controls import UrlState
from helpers.app.problems import sentence
from helpers.app.text.billing.amounts import months, usd, usd_range
from helpers.app.text.billing.bills import Answer, Step, monthly_bill
from helpers.app.text.figures import capital, count
from helpers.app.text.words import style
from helpers.lab.errors import InputError
from helpers.lab.money.bill import Range, repaid_in
from helpers.lab.money.scenario import KEPT_PREFIX, PREFIX, Scenario
from helpers.lab.paths import is_page

HOME = "../../"  # from a page, voila/render/NAME.ipynb, to the landing page
DEFAULT = "The address holds no numbers of yours, so these are the default ones: "


class PageBill(ipywidgets.VBox):
    """The bill in dollars a month, what this page's strategy takes it to, and the way back to the landing page.

    On a page it follows the address, which holds the numbers of the landing page. In a notebook there is no such
    address: the given scenario's numbers are taken, and that is said.

    Args:
        strategy: the number of the page.
        numbers: fields of the Scenario that differ from its defaults, until the address names another.

    >>> from helpers import app
    >>> app.PageBill("1").scenario.volume
    500000000.0
    """

    scenario = traitlets.Instance(Scenario)

    def __init__(self, strategy: str, **numbers: Any):
        self._strategy, self._text, self._url = strategy, ipywidgets.HTML(layout={"width": "100%"}), UrlState()
        super().__init__([self._text, self._url], layout={"width": "100%"}, scenario=Scenario(**numbers))
        self._show(DEFAULT, {})
        self._url.observe(self._on_query, "query")

    def follow(self, draw: Callable[[Scenario], Any]) -> ipywidgets.HTML:
        """Place what `draw` makes of the scenario, such as tiles; drawn again when the address names another."""
        place = ipywidgets.HTML(layout={"width": "100%"})

        def show(_change: Any = None) -> None:
            place.value = draw(self.scenario).data

        show()
        self.observe(show, "scenario")
        return place

    def _on_query(self, change: Any) -> None:
        query = change["new"]
        try:
            if (asked := Scenario.in_address(query)) is not None:
                self.scenario = asked
            notice = "" if asked is not None else DEFAULT
        except InputError as error:
            notice = f"{sentence(error)} Until then, the default numbers: "
        self._show(notice, query)

    def _show(self, said: str, query: Mapping[str, str]) -> None:
        answer = monthly_bill(self.scenario)
        shared = {name: text for name, text in query.items() if name.startswith((PREFIX, KEPT_PREFIX))}
        back = (f" <a href='{html.escape(HOME + ('?' if shared else '') + urllib.parse.urlencode(shared))}'>"
                "Your whole bill, and other numbers</a>" if is_page() else "")
        first, *rest = (html.escape(line) for line in share_of(answer, self._strategy))
        numbers = f"{said}{_numbers(self.scenario)}"
        self._text.value = (f"{style()}<div class='app-bill mathjax_ignore' role='status'><b>{first}</b>"
                            f"<span>{' '.join(rest)} {html.escape(numbers)}{back}</span></div>")


def share_of(answer: Answer, strategy: str) -> tuple[str, str]:
    """Describe the bill after a page's strategy, and how it was counted: two sentences.

    Its steps are counted where they stand among the steps of all pages, so that all pages' savings add up. Where one of
    them saves more alone, both are said: the landing page advises what saves most alone.

    >>> from helpers import app
    >>> share_of(app.monthly_bill(app.PageBill("5").scenario), "5")[0].startswith("Your bill: $")
    True
    """
    opening, of_page = f"Your bill: {usd(answer.today.value)} a month", _of_page(strategy)
    names = [step.name for step in answer.steps if of_page(step) and step.usd is not None]
    if not names:
        notes = [step.note for step in answer.steps if of_page(step)]
        why = "; ".join(notes) or "it has no step"
        return f"{opening}; this strategy's part of it is not counted.", f"{capital(why)}."
    saved, work = _saved(answer, of_page), answer.scenario.hours_of_work * len(names)
    repaid = months(repaid_in(work * answer.scenario.usd_per_hour_of_work, saved.value))
    reasons = " ".join(f"{capital(step.name)}: {step.note}." for step in answer.steps
                       if of_page(step) and step.usd is not None and step.note) if saved.holds_zero else ""
    alone = max((one for one in answer.alone if one.strategy == strategy), key=lambda one: one.saved_usd.value,
                default=None)
    if alone is not None and alone.saved_usd.value > saved.high:
        return (f"{opening}; alone, this strategy takes it to {usd_range(answer.today - alone.saved_usd)}, and behind "
                f"the steps of the other pages {_behind(saved)}.",
                f"Alone: {alone.name}, repaid in {months(alone.repaid_months)}. All steps of all pages make it "
                f"{usd_range(answer.then)}: what the others have saved cannot be saved again. {reasons}".rstrip())
    return (f"{opening}; {_takes(saved)} {usd_range(answer.today - saved)}.",
            f"Counted: {', '.join(names)}, as the steps of all pages follow each other; all of them make it "
            f"{usd_range(answer.then)}. " + (
                f"{reasons} No significant saving repays its {work:g} hours of work.".lstrip() if saved.holds_zero else
                f"Repays its {work:g} hours of work: {repaid}."))


def _of_page(strategy: str) -> Callable[[Step], bool]:
    return lambda step: strategy in step.strategy.split(" and ")


def _saved(answer: Answer, of_page: Callable[[Step], bool]) -> Range:
    """List the savings of a page's steps; consecutive steps as one difference, since each bill is uncertain."""
    saved, left = Range(0.0, 0.0, 0.0), answer.today
    counted = [step for step in answer.steps if step.usd is not None]
    for (mine, known), run in itertools.groupby(counted, key=lambda step: (of_page(step), step.saved_usd is not None)):
        run = list(run)
        if mine:
            saved = sum((step.saved_usd for step in run), saved) if known else saved + (left - run[-1].usd)
        left = run[-1].usd
    return saved


def _takes(saved: Range) -> str:
    """The verb that the interval allows."""
    if saved.low == saved.high == 0:
        return "this strategy leaves it at"
    if saved.holds_zero:
        return "this strategy makes no significant difference to it, taking it to"
    return "this strategy takes it to" if saved.value > 0 else "this strategy raises it to"


def _behind(saved: Range) -> str:
    """What a strategy does to the bill that the others have left."""
    if saved.low == saved.high == 0:
        return "it changes nothing"
    said = (f"it takes off {usd_range(saved)}" if saved.value >= 0 else
            f"it adds {usd_range(Range(0.0, 0.0, 0.0) - saved)}")
    return f"{said}: no significant difference" if saved.holds_zero else said


def _numbers(scenario: Scenario) -> str:
    what = scenario.api if scenario.subject == "language model" else scenario.offer
    return f"{count(scenario.volume)} requests a month in {scenario.traffic_hours:g} hours a day, {what}."

"""The landing page: the reader's bill over the five pages, and the same bill as files. It needs no kernel."""

import asyncio
import dataclasses
import urllib.parse
from collections.abc import Callable
from typing import Any

from tornado import web
from voila.handler import BaseVoilaHandler
from voila.tornado.treehandler import TornadoVoilaTreeHandler

from helpers.app.export.bill_report import as_json, as_markdown, bill_html, report
from helpers.app.export.two_bills_report import two_bills_html, two_bills_json, two_bills_markdown, two_bills_page
from helpers.app.text.billing.bills import Answer, monthly_bill
from helpers.app.text.billing.side_by_side import TwoBills, two_bills
from helpers.app.text.words import style
from helpers.lab.errors import InputError
from helpers.lab.money.scenario import KEPT_PREFIX, PREFIX, Scenario, choices_of

GROUPS = {  # of the form; the first is open
    "Your service": ("subject", "volume", "traffic_hours", "deadline_ms"),
    "Machines": ("offer", "usd_per_machine_hour", "machine_discount"),
    "A hosted language model": ("api", "tokens_in", "tokens_out", "tokens_shared", "usd_per_million_in",
                                "usd_per_million_out", "token_discount"),
    "People and labels": ("labels", "usd_per_label", "hours_of_work", "usd_per_hour_of_work"),
    "Budgets": ("min_accuracy", "max_usd")}
# Ending -> type, what makes it of a bill, and of two.
FILES: dict[str, tuple[str, Callable[[Answer], str], Callable[[TwoBills], str]]] = {
    "html": ("text/html", report, two_bills_page), "md": ("text/markdown", as_markdown, two_bills_markdown),
    "json": ("application/json", as_json, two_bills_json)}


def fields_of(texts: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The form: group -> its fields, each with what the reader wrote there, right or wrong."""
    known = {field.name: field for field in dataclasses.fields(Scenario)}
    filled = {name: "" if field.default is None else f"{field.default:,.12g}" if choices_of(name) is None
              else field.default for name, field in known.items()}
    return {group: [{**known[name].metadata, "name": PREFIX + name, "value": _grouped(texts.get(name, filled[name])),
                     "usual": filled[name], "choices": choices_of(name)} for name in names]
            for group, names in GROUPS.items()}


def _grouped(text: str) -> str:
    """A whole number with its thousands apart, so that a reader sees millions; anything else as it was written."""
    return f"{int(text):,}" if text.isascii() and text.isdecimal() and len(text) <= 12 else text


class _OfScenario(BaseVoilaHandler):
    """Handler that reads a scenario, and the one kept beside it, from its address."""

    def query(self) -> dict[str, str]:
        """The fields of both as they stand in the address, without those of a page's panels."""
        return {name: self.get_query_argument(name) for name in self.request.query_arguments
                if name.startswith((PREFIX, KEPT_PREFIX))}


def scenarios(query: dict[str, str]) -> tuple[Scenario, Scenario | None]:
    """The scenario of an address, and the one that its reader keeps as today's, if any.

    Raises:
        InputError: a value of either that cannot be; of the kept one, with the way to be rid of it.
    """
    asked = Scenario.in_address(query) or Scenario()
    try:
        return asked, Scenario.in_address(query, KEPT_PREFIX)
    except InputError as error:
        raise InputError(f"The bill that is kept as today's cannot be: {error} Forget it, or take {KEPT_PREFIX} out of "
                         "the address.") from error


def address_of(asked: Scenario, kept: Scenario | None = None) -> str:
    """The query of both scenarios; always with the volume, so that a page knows default numbers for its reader's."""
    both = [(PREFIX, asked)] + ([(KEPT_PREFIX, kept)] if kept else [])
    texts = {prefix + name: text for prefix, one in both
             for name, text in {"volume": f"{one.volume:.12g}", **one.texts()}.items()}
    return f"?{urllib.parse.urlencode(texts)}"


class Landing(_OfScenario, TornadoVoilaTreeHandler):
    """The landing page; other folders are as Voila shows them."""

    @web.authenticated
    async def get(self, path: str = "") -> None:
        """The page with the bill, beside the one that is kept as today's, or with what is wrong in the address."""
        if path.strip("/"):
            await super().get(path)
            return
        query = self.query()
        asked_alone = {PREFIX + name: text for name, text in _of(PREFIX, query).items()}
        given = {"kept": f"?{urllib.parse.urlencode(query)}" if query else "", "problem": "", "bill": "", "beside": "",
                 "forget": f"?{urllib.parse.urlencode(asked_alone)}"}
        try:
            asked, kept = scenarios(query)
            given |= {"kept": address_of(asked, kept), "bill": bill_html(monthly_bill(asked)),
                      "keep": address_of(asked, asked), "forget": address_of(asked),
                      "beside": two_bills_html(two_bills(kept, asked)) if kept else ""}
            query |= {PREFIX + name: text for name, text in asked.texts().items()}
        except InputError as error:
            given["problem"] = str(error)
        self.finish(self.render_template(
            "tree.html", groups=fields_of(_of(PREFIX, query)), style=style(),
            hidden={KEPT_PREFIX + name: text for name, text in _of(KEPT_PREFIX, query).items()}, **given))


def _of(prefix: str, query: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix(prefix): text for name, text in query.items() if name.startswith(prefix)}


class BillFile(_OfScenario):
    """The bill as a file: bill.html, bill.md, bill.json; both bills where one is kept as today's."""

    def initialize(self, ending: str) -> None:
        """Keep which file it is."""
        super().initialize(voila_configuration=self.settings["voila"].voila_configuration)
        self._ending = ending

    @web.authenticated
    async def get(self) -> None:
        """The file, or the sentence that says why there is none."""
        mime = FILES[self._ending][0]
        try:
            text = await asyncio.to_thread(file_of, self._ending, *scenarios(self.query()))
        except InputError as error:
            self.set_status(400)
            mime, text = "text/plain", f"{error}\n"
        else:
            self.set_header("Content-Disposition", f"attachment; filename=bill.{self._ending}")
        self.set_header("Content-Type", f"{mime}; charset=utf-8")
        self.finish(text)


def file_of(ending: str, asked: Scenario, kept: Scenario | None = None) -> str:
    """The text of a file, of one bill or of two."""
    _, of_one, of_two = FILES[ending]
    return of_two(two_bills(kept, asked)) if kept else of_one(monthly_bill(asked))

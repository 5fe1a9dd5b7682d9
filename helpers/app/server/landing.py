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
from helpers.app.text.bills import Answer, monthly_bill
from helpers.app.text.words import style
from helpers.lab.errors import InputError
from helpers.lab.money.scenario import Scenario, choices_of

PREFIX = "bill."  # of the scenario's fields in an address, beside the settings of a page's panels
GROUPS = {  # of the form; the first is open
    "Your service": ("subject", "volume", "traffic_hours", "deadline_ms"),
    "Machines": ("offer", "usd_per_machine_hour", "machine_discount"),
    "A hosted language model": ("api", "tokens_in", "tokens_out", "tokens_shared", "usd_per_million_in",
                                "usd_per_million_out", "token_discount"),
    "People and labels": ("labels", "usd_per_label", "hours_of_work", "usd_per_hour_of_work"),
    "Budgets": ("min_accuracy", "max_usd")}
FILES: dict[str, tuple[str, Callable[[Answer], str]]] = {
    "html": ("text/html", report), "md": ("text/markdown", as_markdown), "json": ("application/json", as_json)}


def fields_of(texts: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The form: group -> its fields, each with what the reader wrote there, right or wrong."""
    known = {field.name: field for field in dataclasses.fields(Scenario)}
    filled = {name: "" if field.default is None else f"{field.default:.12g}" if choices_of(name) is None
              else field.default for name, field in known.items()}
    return {group: [{**known[name].metadata, "name": PREFIX + name, "value": texts.get(name, filled[name]),
                     "usual": filled[name], "choices": choices_of(name)} for name in names]
            for group, names in GROUPS.items()}


class _OfScenario(BaseVoilaHandler):
    """What reads a scenario from its address."""

    def texts(self) -> dict[str, str]:
        """The scenario's fields as they stand in the address, without those of a page's panels."""
        return {name.removeprefix(PREFIX): self.get_query_argument(name) for name in self.request.query_arguments
                if name.startswith(PREFIX)}


class Landing(_OfScenario, TornadoVoilaTreeHandler):
    """The landing page; other folders are as Voila shows them."""

    @web.authenticated
    async def get(self, path: str = "") -> None:
        """The page with the bill, or with what is wrong in the address."""
        if path.strip("/"):
            await super().get(path)
            return
        texts, problem, shown = self.texts(), "", ""
        try:
            scenario = Scenario.from_texts(texts)
            shown, texts = bill_html(monthly_bill(scenario)), {**texts, **scenario.texts()}
        except InputError as error:
            problem = str(error)
        kept = urllib.parse.urlencode({PREFIX + name: text for name, text in texts.items() if text})
        self.finish(self.render_template(
            "tree.html", groups=fields_of(texts), problem=problem, bill=shown, kept=f"?{kept}" if kept else "",
            style=style()))


class BillFile(_OfScenario):
    """The bill as a file: bill.html, bill.md, bill.json."""

    def initialize(self, ending: str) -> None:
        """Keep which file it is."""
        super().initialize(voila_configuration=self.settings["voila"].voila_configuration)
        self._ending = ending

    @web.authenticated
    async def get(self) -> None:
        """The file, or the sentence that says why there is none."""
        mime, make = FILES[self._ending]
        try:
            text = await asyncio.to_thread(lambda: make(monthly_bill(Scenario.from_texts(self.texts()))))
        except InputError as error:
            self.set_status(400)
            mime, text = "text/plain", f"{error}\n"
        else:
            self.set_header("Content-Disposition", f"attachment; filename=bill.{self._ending}")
        self.set_header("Content-Type", f"{mime}; charset=utf-8")
        self.finish(text)

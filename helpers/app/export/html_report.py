"""One HTML file to send on: everything is inside, nothing is loaded, and it draws anywhere."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from helpers.app.charts.vega import Chart, svg
from helpers.app.export.documents import page, pairs_html, settings_html
from helpers.app.text.tables import table_html
from helpers.app.text.words import verdict_html
from helpers.lab import machine
from helpers.lab.measuring.measurement import Measurement
from helpers.lab.money.costs import DEFAULT_OFFER, cost, offer


def records_page(title: str, sentence: str, records: Sequence[Measurement], charts: Sequence[Any],
                 settings: Mapping[str, Any]) -> str:
    """The report of a panel: the sentence, charts, table, settings, machine, sources and provenance.

    Args:
        title: of the document.
        sentence: what the records say.
        records: what is shown; the first is the reference.
        charts: Altair charts of the records.
        settings: of the controls, as they stand.
    """
    body = [f"<h1>{html.escape(title)}</h1>", verdict_html(sentence), *map(figure, charts)]
    if records:
        body.append(table_html(records).replace("<details", "<details open"))
    body.append(settings_html(settings))
    for record in records:
        body += [f"<h2>{html.escape(record.model)}</h2>", pairs_html({
            "provenance": f"{record.provenance}, {record.measured_at[:16]}", **_flat(record.settings)})]
    return page(title, [*body, *_machines(records), _sources(records)])


def figure(chart: Any) -> str:
    """A chart as inline SVG, with a description for screen readers."""
    text = chart.spec.get("description") if isinstance(chart, Chart) else getattr(chart, "description", None)
    label = html.escape(text if isinstance(text, str) else "chart", quote=True)
    return f"<figure role='img' aria-label=\"{label}\">{svg(chart)}</figure>"


def _machines(records: Sequence[Measurement]) -> list[str]:
    known = {str(record.machine): record.machine for record in records if record.machine}
    return [f"<h2>Machine</h2><p>{html.escape(machine.describe(facts))}</p>{pairs_html(_flat(facts))}"
            for facts in known.values()]


def _sources(records: Sequence[Measurement]) -> str:
    if not records:
        return ""
    priced = offer(DEFAULT_OFFER)
    links = "".join(f"<li>{html.escape(source)}</li>" for source in cost(records[0], priced).sources)
    return (f"<h2>Sources</h2><p>Dollars: measured throughput times the price of {html.escape(priced.name)}, "
            f"${priced.on_demand_usd_hour:g} an hour in {html.escape(priced.region)} ({priced.as_of}).</p>"
            f"<ul>{links}</ul>")


def _flat(facts: Mapping[str, Any]) -> dict[str, str]:
    """A mapping of mappings as one line for each key."""
    return {key: ", ".join(f"{name} {inner}" for name, inner in value.items()) if isinstance(value, Mapping)
            else ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            for key, value in facts.items()}

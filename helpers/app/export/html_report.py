"""One HTML file to send on: everything is inside, nothing is loaded, and it draws anywhere."""

import datetime
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from helpers.app.charts.vega import Chart, svg
from helpers.app.text.tables import table_html
from helpers.app.text.words import style, verdict_html
from helpers.lab import machine
from helpers.lab.measuring.measurement import Measurement
from helpers.lab.money.costs import DEFAULT_OFFER, cost, offer

# A report may come from anywhere: what opens it shall neither run nor fetch anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
body {max-width: 1100px; margin: 0 auto; padding: 16px; font: 16px/24px system-ui, sans-serif; color: #1a1a1a;
  background: #fff}
h2 {font-size: 20px; margin: 32px 0 8px} figure {margin: 16px 0} figure svg {max-width: 100%; height: auto}
dl {display: grid; grid-template-columns: minmax(120px, max-content) 1fr; gap: 4px 16px}
dt {color: #555} dd {margin: 0; overflow-wrap: anywhere}
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole HTML document around `body`."""
    today = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    return (f"<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
            f"<meta http-equiv='Content-Security-Policy' content=\"{_POLICY}\">"
            "<meta name='viewport' content='width=device-width, initial-scale=1'><meta name='color-scheme' "
            f"content='light'><title>{html.escape(title)}</title>{style()}<style>{_STYLE}</style></head>"
            f"<body><main>{''.join(body)}<p><small>Written {today} by Compute smarter, not harder.</small></p>"
            "</main></body></html>\n")


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
        body += [f"<h2>{html.escape(record.model)}</h2>", _list({
            "provenance": f"{record.provenance}, {record.measured_at[:16]}", **_flat(record.settings)})]
    return page(title, [*body, *_machines(records), _sources(records)])


def figure(chart: Any) -> str:
    """A chart as inline SVG, with its description for those who do not see it."""
    text = chart.spec.get("description") if isinstance(chart, Chart) else getattr(chart, "description", None)
    label = html.escape(text if isinstance(text, str) else "chart", quote=True)
    return f"<figure role='img' aria-label=\"{label}\">{svg(chart)}</figure>"


def settings_html(settings: Mapping[str, Any]) -> str:
    """The controls as they stand, under a heading; nothing where there are none."""
    return f"<h2>Settings of the page</h2>{_list(settings)}" if settings else ""


def _machines(records: Sequence[Measurement]) -> list[str]:
    known = {str(record.machine): record.machine for record in records if record.machine}
    return [f"<h2>Machine</h2><p>{html.escape(machine.describe(facts))}</p>{_list(_flat(facts))}"
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


def _list(facts: Mapping[str, Any]) -> str:
    rows = "".join(f"<dt>{html.escape(str(name))}</dt><dd>{html.escape(str(value))}</dd>"
                   for name, value in facts.items())
    return f"<dl>{rows}</dl>"

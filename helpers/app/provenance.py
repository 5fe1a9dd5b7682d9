"""Where the numbers on a page come from, folded at its end."""

import html
from typing import Any

from IPython.display import HTML

from helpers.lab.costs import DEFAULT_OFFER, cost, offer
from helpers.lab.machine import describe

from .records import listed
from .words import shown


def measured_how(measurements: Any) -> HTML:
    """Machines, dates, library versions, the energy's method, and the price's source of these records."""
    records = listed(measurements)
    if not records:
        return shown("<p>Nothing has been recorded yet.</p>")
    runs = {record.machine["id"]: record for record in records}
    parts = [_run(record) for record in runs.values()]
    price = offer(DEFAULT_OFFER)
    sources = ", ".join(cost(records[0], price).sources)
    parts.append(f"Price: {price.name}, {price.region}, ${price.on_demand_usd_hour} an hour on demand; the cores "
                 f"used are billed as a share of its {price.vcpus}. Sources: {sources}.")
    items = "".join(f"<li>{html.escape(part)}</li>" for part in parts)
    return shown(f"<details><summary>How was this measured?</summary><ul>{items}</ul></details>")


def _run(record: Any) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in record.machine["libraries"].items())
    return (f"{record.provenance.capitalize()} on {record.measured_at[:10]}: {describe(record.machine)}; {libraries}. "
            f"{record.rows} test rows; speed over {record.settings['rows_timed']} texts in {record.settings['rounds']} "
            f"rounds, models in turns. Energy: {record.energy_method}.")

"""A model's cost statement, to publish beside it: dollars, energy and carbon of its records, with machine and date."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from helpers.app.export.documents import now
from helpers.app.text.figures import significant
from helpers.lab import machine
from helpers.lab.measuring.measurement import Measurement
from helpers.lab.money.costs import DEFAULT_OFFER, cost, grid_of, offer

TITLE = "Statement of cost and energy"
NOT_COUNTED = ("making the hardware", "networks and the users' own devices", "machines that wait for requests",
               "collecting and labelling the data", "training the weights that were downloaded")
_MILLION, _JOULES_PER_WH = 1e6, 3600.0


def statement(record: Measurement) -> dict[str, Any]:
    """The record as a statement: nested names and values; what was not measured is None.

    Energy is the record's own, measured or estimated as `method` says; carbon is that energy with the overhead of the
    provider's buildings, at its grid's yearly average. Dollars are for the seconds in which a rented machine works.

    >>> from helpers.app import recorded
    >>> from helpers.app.export.statement import statement
    >>> statement(recorded("1_model_optimization")[0])["cost"]["machine"]
    'AWS m6i.large'
    """
    rented = offer(DEFAULT_OFFER)
    grid, paid = grid_of(rented), cost(record, rented)
    wh = [None if joules is None else joules * _MILLION / _JOULES_PER_WH
          for joules in (record.joules, record.joules_low, record.joules_high)]
    grams = [None if one is None else one / 1000 * float(grid["pue"]) * float(grid["gco2e_per_kwh"]) for one in wh]
    return {
        "model": {"name": record.model, "strategy": record.strategy, "settings": record.settings,
                  "megabytes": record.artefact_bytes / 1e6, "parameters": record.parameters},
        "quality": {"task": record.task, "test rows": record.rows, "accuracy": record.accuracy,
                    "accuracy, 95% interval": [record.accuracy_low, record.accuracy_high],
                    "always the most frequent label": record.majority, "macro F1": record.macro_f1},
        "speed": {"p50 ms, one at a time": record.p50_ms, "p95 ms, one at a time": record.p95_ms,
                  "predictions a second": record.throughput_per_s, "rows a batch": record.batch_size,
                  "threads": record.threads},
        "cost": {"usd per million predictions": paid.usd, "machine": rented.name,
                 "usd an hour": rented.on_demand_usd_hour, "price of": rented.as_of, "source": rented.source_url},
        "energy": {"Wh per million predictions": wh[0], "low and high": wh[1:], "method": record.energy_method},
        "carbon": {"g CO2e per million predictions": grams[0], "low and high": grams[1:], "grid": grid["region"],
                   "g CO2e per kWh": float(grid["gco2e_per_kwh"]), "year": grid["year"],
                   "overhead of the buildings": float(grid["pue"]), "source": grid["carbon_source_url"]},
        "making it": {"seconds of computing": record.made_in_s},
        "measurement": {"provenance": record.provenance, "date": record.measured_at,
                        "machine": machine.describe(record.machine) if record.machine else None,
                        "libraries": record.machine.get("libraries"), "record": record.id},
        "not counted": list(NOT_COUNTED)}


def statements_markdown(records: Sequence[Measurement]) -> str:
    """The statements for a model card or a wiki, one section a record."""
    return "\n".join(_markdown(records)) + "\n"


def statements_json(records: Sequence[Measurement]) -> str:
    """The same for a program."""
    return json.dumps({"title": TITLE, "written": now(), "statements": [statement(one) for one in records]},
                      ensure_ascii=False, indent=1, allow_nan=False)


def _markdown(records: Sequence[Measurement]) -> Iterator[str]:
    yield from (f"# {TITLE}", "")
    for record in records:
        parts = statement(record)
        yield from (f"## {_plain(parts['model']['name'])}", "", "| | | |", "| --- | --- | --- |")
        for part, facts in parts.items():
            pairs = facts.items() if isinstance(facts, Mapping) else [("", facts)]
            yield from (f"| {part} | {name} | {_plain(value)} |" for name, value in pairs)
        yield ""
    yield f"Written {now()}."


def _plain(value: Any) -> str:
    """A value in a cell of a table: four digits, no markup, no line's end."""
    if value is None:
        return "not measured"
    if isinstance(value, Mapping):
        return ", ".join(f"{_plain(name)} {_plain(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    text = significant(value, 4) if isinstance(value, float) else str(value)
    if isinstance(value, float) and "." in text:
        text = text.rstrip("0").rstrip(".")
    return " ".join(text.replace("|", r"\|").replace("<", "&lt;").split())

"""One change on top of what there is today: what it saves a month, what it takes once, and when that is repaid."""

import dataclasses

from helpers.app.text.billing.stages import STRATEGY_OF
from helpers.app.text.findings import full_name
from helpers.lab.measuring.measurement import Measurement
from helpers.lab.money.bill import Range, repaid_in, serving
from helpers.lab.money.costs import cost
from helpers.lab.money.scenario import Scenario


@dataclasses.dataclass(frozen=True)
class Change:
    """One change alone, on top of what there is today; dollars saved a month (95%), and spent once."""

    name: str
    strategy: str
    saved_usd: Range
    spent_usd: float
    repaid_months: float | None


def change_alone(record: Measurement, reference: Measurement, scenario: Scenario) -> Change:
    """A recorded change in place of the reference, on machines that run day and night, its work and computing paid."""
    return change_of(full_name(record), STRATEGY_OF[record.settings["steps"][0]["step"]],
                     serving(reference, scenario).always_usd.value, serving(record, scenario).always_usd,
                     work_usd(scenario) + computing_usd(record, reference, scenario))


def change_of(name: str, strategy: str, before_usd: float, after: Range, spent_usd: float) -> Change:
    """A change from dollars a month before and after it, and dollars spent once."""
    saved = Range(before_usd - after.value, before_usd - after.high, before_usd - after.low)
    return Change(name, strategy, saved, spent_usd, repaid_in(spent_usd, saved.value))


def work_usd(scenario: Scenario) -> float:
    """Dollars of the hours of people that one change takes."""
    return scenario.hours_of_work * scenario.usd_per_hour_of_work


def computing_usd(record: Measurement, reference: Measurement, scenario: Scenario) -> float:
    """Dollars of the computing that made a model, beyond what made the reference, which was made in any case."""
    hours = max(0.0, record.made_in_s - reference.made_in_s) / 3600
    return hours * cost(record, scenario.machine).share * scenario.machine.on_demand_usd_hour

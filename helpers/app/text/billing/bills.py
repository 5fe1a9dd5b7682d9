"""The bill that a scenario gives: today, after each of the five strategies on top of the others, and what to do first.

Nothing is measured here: the records of one machine, a price list and Erlang's formula. What is not recorded is said.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from helpers.app.text.billing.amounts import months, usd, usd_range
from helpers.app.text.billing.own_models import own_models
from helpers.app.text.billing.single_changes import Change, change_alone, change_of, computing_usd, work_usd
from helpers.app.text.billing.stages import FOLDER, NOT_RECORDED, STORIES, Stage, label_savings, labels_of, stages
from helpers.app.text.figures import count, percent, two
from helpers.app.text.findings import change, keeps_quality, origins
from helpers.lab.measuring.measurement import Measurement
from helpers.lab.money.bill import Range, Serving, hosted_usd, mean_service_s, repaid_in, serving, why_uncached
from helpers.lab.money.costs import cost
from helpers.lab.money.scenario import Scenario

IN_HOURS = "run machines only in the hours of traffic"
CHOOSE, CACHE = "choose which rows to label", "cache what prompts share"


@dataclasses.dataclass(frozen=True)
class Step:
    """One row of the waterfall.

    Attributes:
        usd: the month's bill after it; None where it is not counted, as `note` says.
        saved_usd: what it takes off, where that is known better than both bills are: labels and hours take the same off
            whatever the model's speed. None where only the bills tell.
    """

    strategy: str
    name: str
    usd: Range | None
    note: str
    saved_usd: Range | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """A month's cost today and with all steps, in dollars, and the words for it; 95% intervals.

    Attributes:
        beside: what the hosted model would cost; empty where that is what is paid.
        busy_usd: today's and later busy seconds, if one could rent just those; None where tokens are paid.
        points: of accuracy, gained or lost by all steps; None where none is recorded.
        gco2e: grams of today's and later busy seconds; None where no power figure is sourced.
        spent_usd: once, the work and computing of all steps.
        repaid_months: until all steps have repaid that; None where they never do.
        first: the change that leaves most of a year's savings, if any leaves something.
        alone: all changes that save something on top of what there is today, the best in a year first.
        overlaps: what does not multiply, and steps that make it dearer, a sentence each.
        broken: budgets that the bill with all steps breaks, a sentence each.
    """

    scenario: Scenario
    headline: str
    advice: str
    beside: str
    today: Range
    then: Range
    busy_usd: tuple[Range, Range] | None
    points: Range | None
    gco2e: tuple[Range, Range] | None
    spent_usd: float
    repaid_months: float | None
    steps: tuple[Step, ...]
    first: Change | None
    alone: tuple[Change, ...]
    overlaps: tuple[str, ...]
    broken: tuple[str, ...]
    sources: tuple[str, ...]


def monthly_bill(scenario: Scenario, folder: Path = FOLDER) -> Answer:
    """The answer to a scenario, from the records in a folder.

    Raises:
        InputError: the pipeline of notebook 1 is not recorded there.

    >>> from helpers import app
    >>> from helpers.lab.money.scenario import Scenario
    >>> bill = app.monthly_bill(Scenario(volume=1e9, traffic_hours=12))
    >>> bill.then.value < bill.today.value
    True
    """
    return (_on_machines if scenario.subject in STORIES else _by_the_token)(scenario, folder)


def _asked(record: Measurement) -> str:
    slots = record.settings.get("slots", 1)
    return "when asked alone" if slots == 1 else f"when {slots} are asked together"


def _note(before: Measurement, was: Serving, stage: Stage, now: Serving) -> str:
    """What a step changes in machines and speed; and why, where more answers a second need more machines."""
    told = (f"{_machines(now.machines)}; {_times(stage.gain)} as many answers a second, 95 of 100 within "
            f"{two(now.p95_ms)} ms {_asked(stage.after)}")
    first, then = (1e3 * mean_service_s(one.p50_ms, one.p95_ms) for one in (before, stage.after))
    if now.machines > was.machines and stage.gain[0] > 1 and then > first:
        told += (f"; that is the speed of whole batches: one request takes {two(then)} ms on average, {two(first)} "
                 "without this step, and machines are counted for requests that come one by one")
    return told


def _times(gain: Sequence[float]) -> str:
    return f"{two(gain[0])} times ({two(gain[1])} to {two(gain[2])})"


def _machines(number: int) -> str:
    return "1 whole machine" if number == 1 else f"{number:,} whole machines"


def _exact(value: float) -> Range:
    return Range(value, value, value)


def _on_machines(scenario: Scenario, folder: Path) -> Answer:
    reference, chain, singles = stages(folder, scenario.subject)
    labels_now, (labels, counted, note) = _exact(scenario.labels * scenario.usd_per_label), labels_of(scenario, folder)
    models = [reference, *(stage.after for stage in chain)]
    now, *served = [serving(one, scenario) for one in models]
    last, record = [now, *served][-1], chain[-1].after if chain else reference
    today, then = now.always_usd + labels_now, last.in_hours_usd + labels
    steps = [Step(stage.strategy, stage.name, one.always_usd + labels_now, _note(before, was, stage, one))
             for before, was, stage, one in zip(models, [now, *served], chain, served, strict=False)]
    steps += [Step("4", CHOOSE, last.always_usd + labels if counted else None, note,
                   labels_now - labels if counted else None),
              Step("5", IN_HOURS, then, f"{scenario.traffic_hours:g} of 24 hours, on paper: page 5 simulates starts "
                   "and bursts", last.always_usd.scaled(1 - scenario.traffic_hours / 24))]
    changes = len(chain) + counted + (scenario.traffic_hours < 24)
    spent = changes * work_usd(scenario) + computing_usd(record, reference, scenario)
    ranked = ranked_changes(scenario, reference, singles, labels if counted else None)
    bought = f", and {scenario.labels:,.0f} labels" if labels_now.value else ""
    return Answer(
        scenario, f"Today {reference.model} costs {usd(today.value)} a month for {count(scenario.volume)} requests: "
        f"{_machines(now.machines)}, day and night{bought}. All steps together make that {usd_range(then)}, "
        f"{_beside_today(today, then)}; the model "
        f"{'' if record.accuracy_delta else 'is '}{change(record)}.", _advice(scenario, ranked), _beside(scenario),
        today, then, (now.busy_usd, last.busy_usd),
        Range(record.accuracy_delta, record.accuracy_delta_low, record.accuracy_delta_high).scaled(100),
        None if now.gco2e is None or last.gco2e is None else (now.gco2e, last.gco2e),
        spent, repaid_in(spent, today.value - then.value), tuple(steps),
        next((one for one in ranked if 12 * one.saved_usd.value > one.spent_usd), None), tuple(ranked),
        _overlaps(reference, chain, today, steps), _broken(scenario, then, record),
        _sources(scenario, reference, folder))


def _beside_today(today: Range, then: Range) -> str:
    times = today.value / then.value
    if two(times) == "1.0" or two(1 / times) == "1.0":
        return "about as much"
    return f"{two(times)} times less" if times > 1 else f"{two(1 / times)} times as much"


def ranked_changes(scenario: Scenario, reference: Measurement, singles: Sequence[Measurement],
                   labels: Range | None) -> list[Change]:
    """List what saves alone, significantly, within the budgets and without too much loss, by what a year leaves."""
    now, work = serving(reference, scenario), work_usd(scenario)
    alone = [change_alone(one, reference, scenario) for one in singles
             if one.speedup_low > 1 and one.learned is not False and keeps_quality(one, len(singles))
             and not _missed(scenario, one)]
    changes = [dataclasses.replace(one, name=f"use the model '{one.name}'") for one in alone]
    if labels is not None:
        changes.append(change_of(CHOOSE, "4", scenario.labels * scenario.usd_per_label, labels, work))
    if scenario.traffic_hours < 24:
        changes.append(change_of(IN_HOURS, "5", now.always_usd.value, now.in_hours_usd, work))
    return sorted((one for one in changes if one.saved_usd.value > 0),
                  key=lambda one: one.spent_usd - 12 * one.saved_usd.value)


def _advice(scenario: Scenario, ranked: Sequence[Change]) -> str:
    if not ranked:
        return ("Do this first: nothing. No single change lowers this bill for certain and keeps the budgets; the "
                "least to rent is a machine.")
    first, work = ranked[0], f"its {scenario.hours_of_work:g} hours of work"
    name = f"{first.name} (page {first.strategy})"
    saves = f"saves {usd_range(first.saved_usd)} a month and repays {work}"
    if 12 * first.saved_usd.value <= first.spent_usd:
        return f"Do this first: nothing. The best single change, {name}, {saves} only in {months(first.repaid_months)}."
    return f"Do this first: {name}. It {saves} in {months(first.repaid_months)}."


def _beside(scenario: Scenario) -> str:
    return (f"By the token, {scenario.api} would cost {usd(hosted_usd(scenario))} a month for as many requests of "
            f"{scenario.tokens_in:,.0f} tokens read and {scenario.tokens_out:,.0f} written; how often it is right on "
            "the same messages is not recorded yet.")


def _overlaps(first: Measurement, chain: Sequence[Stage], today: Range, steps: Sequence[Step]) -> tuple[str, ...]:
    """Models that learned nothing; gains that are smaller after others than alone; the whole beside the product."""
    unlearned = [one for one in (first, *(stage.after for stage in chain)) if one.learned is False]
    named = "; ".join(f"{one.model}, {percent(one.accuracy)} ({two(100 * one.accuracy_low)} to "
                      f"{two(100 * one.accuracy_high)})" for one in unlearned)
    sentences = [f"No more accurate than always giving the same answer, which is right in "
                 f"{percent(unlearned[0].majority)} of the messages: {named}."] if unlearned else []
    sentences += [f"{stage.name} makes it {_times(stage.gain)} as fast after the others, {_times(stage.alone)} alone."
            for stage in chain if stage.alone and stage.gain[2] < stage.alone[1]]
    if chain and all(stage.alone for stage in chain):
        last = chain[-1].after
        whole = _times((last.speedup, last.speedup_low, last.speedup_high))
        product = two(math.prod(stage.alone[0] for stage in chain))
        sentences.append(f"What each gives alone would multiply to {product} times as fast; together they are {whole}.")
    counted = [(step.name, step.usd) for step in steps if step.usd is not None]
    for (name, after), before in zip(counted, [today, *(bill for _, bill in counted)], strict=False):
        if after.value > before.value:
            sentences.append(f"The step '{name}' does not lower this bill: {usd_range(before)} before it, "
                             f"{usd_range(after)} after.")
    return (*sentences, f"The bill goes from {usd(today.value)} to {usd(counted[-1][1].value)}, not in step with the "
                        "speed: machines are rented whole, idle hours are paid, and labels are bought apart.")


def _broken(scenario: Scenario, then: Range, record: Measurement | None) -> tuple[str, ...]:
    """Budgets that are broken, by the worse end of each interval."""
    if record is not None:
        sentences = _missed(scenario, record)
    elif scenario.min_accuracy is not None:
        sentences = [f"Accuracy: that of {scenario.api} is not recorded, so it cannot be held to "
                     f"{scenario.min_accuracy:g}%."]
    else:
        sentences = []
    if scenario.max_usd is not None and then.high > scenario.max_usd:
        sentences.append(f"Cost: {usd_range(then)} a month may be above the {usd(scenario.max_usd)} allowed.")
    return tuple(sentences)


def _missed(scenario: Scenario, record: Measurement) -> list[str]:
    """List the targets that a model misses, accuracy and latency, by the worse end."""
    sentences, floor = [], scenario.min_accuracy
    if floor is not None and 100 * record.accuracy_low < floor:
        sentences.append(f"Accuracy: {percent(record.accuracy)} ({two(100 * record.accuracy_low)} to "
                         f"{two(100 * record.accuracy_high)}) may be below the {floor:g}% asked for.")
    if record.p95_ms > scenario.deadline_ms:
        sentences.append(f"Latency: 95 of 100 answers take up to {two(record.p95_ms)} ms {_asked(record)}, above the "
                         f"target of {scenario.deadline_ms:g} ms.")
    return sentences


def _sources(scenario: Scenario, reference: Measurement, folder: Path) -> tuple[str, ...]:
    machine, labels = scenario.machine, label_savings(folder)[1]
    return (*origins([reference]), *([labels] if labels else []),
            f"{machine.name}: ${machine.on_demand_usd_hour:.4g} an hour, 730 hours a month; as many machines as "
            "Erlang's formula asks for, with the latency of one answer alone, lognormal through its median and 95th "
            "percentile as measured, and requests spread evenly over the hours of traffic. The "
            "machine that was measured stands for the rented one, core for core",
            *cost(reference, machine).sources)


def _by_the_token(scenario: Scenario, folder: Path) -> Answer:
    api, reference = scenario.hosted, stages(folder)[0]
    today = then = _exact(hosted_usd(scenario))
    specialist, note = usd(serving(reference, scenario).always_usd.value), why_uncached(scenario)
    if not note:
        then = _exact(hosted_usd(scenario, cached=True))
        note = (f"{scenario.tokens_shared:,.0f} of {scenario.tokens_in:,.0f} tokens at the cache's price; the same "
                "answers")
    saved, (own, origin) = today.value - then.value, own_models(scenario, folder)
    unknown = f"how often {scenario.api} is right on the same messages is not recorded yet"
    steps = (
        Step("1", "use an open model, tuned and in fewer bits", None,
             f"not counted: {own['1']}, but {unknown}" if own else
             f"{NOT_RECORDED}: an open model beside {scenario.api}"),
        Step("2", "use a specialist instead", None, f"not counted: {reference.model} answers as many requests for "
             f"{specialist} a month where the task is to classify{', and ' + own['2'] if own else ''}; but {unknown}"),
        Step("3", CACHE, then if saved > 0 else None, note),
        Step("4", CHOOSE, None, "paid by the token: no labels are bought"),
        Step("5", IN_HOURS, None, "paid by the token: nothing idles"))
    first = change_of(CACHE, "3", today.value, then, work_usd(scenario))
    ranked = [first] if saved > 0 else []
    return Answer(
        scenario, f"Today {scenario.api} costs {usd(today.value)} a month: {count(scenario.volume)} requests of "
        f"{scenario.tokens_in:,.0f} tokens read and {scenario.tokens_out:,.0f} written. " + (
            f"With what is recorded for it, that becomes {usd(then.value)}." if ranked else
            "Nothing that is recorded makes that less."),
        _advice(scenario, ranked) if ranked else "Do this first: measure on your own messages what a specialist of "
        f"page 2 loses beside it; that would cost {specialist} a month.",
        "", today, then, None, None, None, first.spent_usd if ranked else 0.0, first.repaid_months, steps,
        first if 12 * saved > first.spent_usd else None, tuple(ranked), (), _broken(scenario, then, None),
        (f"{scenario.api}: {api.source_url} ({api.as_of})", *([f"Its cache: {api.cache_source}"] if ranked else []),
         *([origin] if origin else []),
         "Neither its latency nor its energy is recorded"))

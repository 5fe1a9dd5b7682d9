"""Extractors on the same messages, in turns, as the records that all notebooks share."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helpers.lab.data.extraction import extractions, field_names
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.extraction.extractor import Extractor
from helpers.lab.extraction.scores import WITH_WISH, ExtractionScore, score_extractions
from helpers.lab.machine import fingerprint, usable_cores
from helpers.lab.measuring.comparison import Comparison
from helpers.lab.measuring.energy import Power, measure_power
from helpers.lab.measuring.intervals import ratio_of_medians, wilson
from helpers.lab.measuring.measurement import Measurement, key_of
from helpers.lab.measuring.timing import next_inputs, seconds_in_turns, timing_turn
from helpers.lab.money import costs
from helpers.lab.progress import Progress, silent

WARM_UPS = 2  # calls before the first timed one of a work that takes long, see seconds_in_turns


@dataclasses.dataclass(frozen=True)
class Served:
    """An extractor as it is served.

    name, strategy, parameters, made_in_s: as of a Measurement; at_once: requests that are answered together; steps: the
    changes that lead to it from the first one, each a mapping with its kind under "step"; none of the first itself.
    """

    name: str
    strategy: str
    extractor: Extractor
    at_once: int = 1
    steps: tuple[Mapping[str, Any], ...] = ()
    parameters: int | None = None
    made_in_s: float = 0.0


def compare_extractors(candidates: Sequence[Served], task: Task, *, rows: int = 96, timed: int = 4, rounds: int = 5,
                       progress: Progress = silent) -> Comparison:
    """Measure extractors side by side on a task's test messages; the first is the reference.

    `accuracy` is the share of the first `rows` messages whose wish and fields are all right, `majority` that of the
    constant answer (see ExtractionScore), and `macro_f1` the mean over the fields. Each call that is timed reads
    messages that its extractor has not read before, one that is served in two ways too: a language model's cache of
    prefixes would spare nearly all the work of messages that it knows. Latencies are those of a request in the company
    of `settings["slots"]`, itself among them, which all wait for the last one.

    Args:
        timed: messages of a round, or as many as are answered together where these are more.

    Raises:
        InputError: two of one name, a task without fields, or too few messages for so many rounds.
        Cancelled: the caller of `progress` wants an end.

    >>> from helpers.lab import load_task
    >>> from helpers.lab.extraction.measuring import Served, compare_extractors
    >>> from helpers.lab.extraction.patterns import learn_patterns
    >>> task = load_task("tickets-fields")
    >>> found = compare_extractors([Served("patterns", "2", learn_patterns(task))], task)  # doctest: +SKIP
    >>> round(found.of("patterns").accuracy, 2)  # doctest: +SKIP
    0.43
    """
    if len({one.name for one in candidates}) < len(candidates):
        raise InputError("Two of the extractors have the same name; records could not be distinguished.")
    unread = task.test["text"][rows:]
    starts, needed = [], 0
    ends: dict[int, int] = {}  # of an extractor -> where the messages end that its ways before have to themselves
    for one in candidates:
        starts.append(ends.get(id(one.extractor), 0))
        ends[id(one.extractor)] = starts[-1] + (_calls(one, timed) + 1) * one.at_once * (rounds + WARM_UPS)
        needed = max(needed, ends[id(one.extractor)])
    if len(unread) < needed:
        raise InputError(f"After {rows:,} messages for quality, {needed:,} more are timed, and the task has "
                         f"{len(unread):,}: ask for fewer rows or rounds.")
    scores = []
    for number, one in enumerate(candidates):
        part = progress.part(0.6 * number / len(candidates), 0.6 * (number + 1) / len(candidates))
        part(0.0, f"quality of {one.name}")
        extracted = one.extractor.extract(task.test["text"][:rows], progress=part)
        scores.append(score_extractions(extracted, extractions(task, "test")[:rows], field_names(task)))
    listening = Progress(cancelled=lambda: bool(progress.check()))  # what is timed reports nothing, and can be ended
    works = {one.name: next_inputs(functools.partial(one.extractor.extract, progress=listening), unread[start:],
                                   one.at_once) for one, start in zip(candidates, starts, strict=True)}
    calls = {one.name: _calls(one, timed) for one in candidates}
    with timing_turn(progress):
        seconds = seconds_in_turns(works, rounds, repeats=calls, progress=progress.part(0.6, 0.95))
        powers = {name: measure_power(work, usable_cores()) for name, work in works.items()}
    each = {one.name: seconds[one.name].reshape(rounds, -1) / one.at_once for one in candidates}
    records = [_record(one, score, scores[0], each[one.name], each[candidates[0].name], powers[one.name], task,
                       candidates[0].name) for one, score in zip(candidates, scores, strict=True)]
    progress(1.0, "done")
    return Comparison(tuple(records))


def _calls(one: Served, timed: int) -> int:
    return max(1, timed // one.at_once)


def _record(one: Served, score: ExtractionScore, reference: ExtractionScore, each: np.ndarray,
            reference_each: np.ndarray, power: Power, task: Task, reference_name: str) -> Measurement:
    """Of (rounds, calls) seconds a message."""
    right, is_reference = score.right[WITH_WISH], score is reference
    low, high = wilson(int(right.sum()), len(right))
    delta = score.difference(reference, WITH_WISH)
    rounds_s, reference_s = each.mean(axis=1), reference_each.mean(axis=1)
    speedup = (1.0,) * 3 if is_reference else ratio_of_medians(reference_s, rounds_s)
    p50, p95, p99 = np.percentile(1000 * one.at_once * each, [50, 95, 99])
    throughput = 1 / float(np.median(rounds_s))
    f1 = [count.f1 for name, count in score.counts.items() if name in one.extractor.fields]
    settings = {**one.extractor.settings, "steps": [dict(step) for step in one.steps], "slots": one.at_once,
                "rounds": len(each), "processes": 1, "rows_timed": int(each.size * one.at_once)}
    machine = fingerprint()
    record = Measurement(
        task=task.name, model=one.name, strategy=one.strategy, settings=settings, accuracy=float(right.mean()),
        accuracy_low=low, accuracy_high=high, accuracy_delta=delta[0], accuracy_delta_low=delta[1],
        accuracy_delta_high=delta[2], macro_f1=float(np.nanmean(f1)),
        calibration_error=None, rows=len(right), speedup=speedup[0], speedup_low=speedup[1], speedup_high=speedup[2],
        p50_ms=float(p50), p95_ms=float(p95), p99_ms=float(p99), throughput_per_s=throughput, batch_size=one.at_once,
        threads=usable_cores(), artefact_bytes=one.extractor.stored, parameters=one.parameters, macs=None,
        peak_bytes=None, joules_low=power.low / throughput, joules=power.mid / throughput,
        joules_high=power.high / throughput, energy_method=power.method, made_in_s=one.made_in_s, usd_per_million=0.0,
        reference=reference_name, machine=machine, key=key_of(task.digest, one.name, settings, machine["id"]),
        majority=score.constant[WITH_WISH])
    return dataclasses.replace(record, usd_per_million=costs.cost(record, costs.offer(costs.DEFAULT_OFFER)).usd)

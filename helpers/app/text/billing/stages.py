"""Savings of cumulative changes, from the shipped records: a pipeline's stages, and labels that a choice saves."""

import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.app.records import recorded
from helpers.app.text.figures import percent
from helpers.app.text.findings import full_name
from helpers.lab.measuring.measurement import Measurement, ratio_of_speedups
from helpers.lab.money.bill import Range
from helpers.lab.money.scenario import Scenario

FOLDER = Path(__file__).parents[3] / "facts" / "recorded"
STRATEGY_OF = {"distill": "1", "prune": "1", "quantize": "1", "round": "1", "cascade": "2", "adapt": "2",
               "specialist": "2", "export": "3", "engine": "3", "batch": "3"}  # kind of step -> number
NOT_RECORDED = "not recorded yet, so not counted"
NOT_REACHED = "not reached by any recorded choice of rows, nor at random, so not counted"
ONE_LABEL = "recorded for one label a message alone; how many messages with their fields are enough is not counted"
CLASSIFIER = "classifier"
STORIES = {CLASSIFIER: "1_model_optimization_together",
           "own language model": "2_efficient_architectures_language_together"}  # subject on machines -> its records


@dataclasses.dataclass(frozen=True)
class Stage:
    """One change of the recorded pipeline: the record after it, and what it multiplies the speed by, here and alone."""

    name: str
    strategy: str
    after: Measurement
    gain: tuple[float, float, float]
    alone: tuple[float, float, float] | None


@functools.cache
def stages(folder: Path = FOLDER, subject: str = CLASSIFIER
           ) -> tuple[Measurement, tuple[Stage, ...], tuple[Measurement, ...]]:
    """The reference, the changes of the longest pipeline of which each beginning is recorded, and each change alone.

    Args:
        subject: of a scenario; if tokens are paid, nothing runs on machines, and the classifier's story is shown.

    Where it is recorded what a runtime gives before the bits become fewer, these are two changes.

    Raises:
        InputError: no such records.
    """
    records = recorded(STORIES.get(subject, STORIES[CLASSIFIER]), folder)
    by_steps = {_key(one.settings.get("steps", ())): one for one in records}
    whole = [steps for one in records if (steps := one.settings.get("steps")) and all(
        _key(steps[:length]) in by_steps for length in range(len(steps)))]
    chain, done = [], []
    for step in max(whole, key=len, default=[]):
        before, after, alone = (by_steps.get(_key(steps)) for steps in (done, [*done, step], [step]))
        export = _export_of(step, done, by_steps)
        if export is not None:
            between, one = by_steps[_key([*done, export])], by_steps.get(_key([export]))
            chain += [Stage(export["name"], "3", between, _gain(before, between), _speedup(one)),
                      Stage(f"{step['scheme'].replace('-', ' ')} in place of fp32", "1", after, _gain(between, after),
                            _gain(one, alone) if one and alone else None)]
        else:
            moved = step["step"] == "quantize" and before.settings["runtime"] != after.settings["runtime"]
            chain.append(Stage(full_name(alone) if moved and alone else step.get("name", step["step"]),
                               "1 and 3" if moved else STRATEGY_OF[step["step"]], after, _gain(before, after),
                               _speedup(alone)))
        done.append(step)
    return records[0], tuple(chain), tuple(one for one in records if len(one.settings.get("steps", ())) == 1)


def _key(steps: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(list(steps), sort_keys=True)


def _export_of(step: Mapping[str, Any], done: Sequence[Mapping[str, Any]],
               by_steps: Mapping[str, Measurement]) -> dict[str, Any] | None:
    """The recorded step that changes only the runtime, rows at a time and streams, as `step` does beside the bits."""
    if step["step"] != "quantize":
        return None
    pipelines = [json.loads(key) for key in by_steps if key != "[]"]
    exports = [steps[-1] for steps in pipelines if steps[:-1] == list(done) and steps[-1]["step"] == "export"]
    same = [one for one in exports if all(step.get(name) == value for name, value in one.items()
                                          if name not in ("step", "name", "runtime"))]
    return max(same, key=len, default=None)


def _speedup(record: Measurement | None) -> tuple[float, float, float] | None:
    return None if record is None else (record.speedup, record.speedup_low, record.speedup_high)


def _gain(before: Measurement, after: Measurement) -> tuple[float, float, float]:
    return ratio_of_speedups(_speedup(before), _speedup(after))


def labels_of(scenario: Scenario, folder: Path) -> tuple[Range, bool, str]:
    """Cost of a month's labels with the recorded choice of rows, whether it is counted, and the note."""
    today = Range(*[scenario.labels * scenario.usd_per_label] * 3)
    if scenario.subject != CLASSIFIER:
        return today, False, ONE_LABEL
    row, origin = label_savings(folder)
    if row is None:
        return today, False, NOT_REACHED if origin else NOT_RECORDED
    note = (f"on the way to {percent(row['share'])} of the full accuracy, {row['strategy']}, the best on validation "
            f"rows, saves {row['saved']:,.0f} ({row['saved_low']:,.0f} to {row['saved_high']:,.0f}) of the "
            f"{'' if row['reached_at_random'] else 'at least '}{row['needed']:,.0f} labels that random selection needs")
    if not row["significant"] or row["saved"] <= 0:
        return today, False, f"{note}: no significant saving among all that were compared, so not counted"
    return Range(*(today.value * (1 - row[name] / row["needed"]) for name in ("saved", "saved_high", "saved_low"))
                 ), True, note


@functools.cache
def label_savings(folder: Path = FOLDER) -> tuple[dict[str, Any] | None, str]:
    """The row of the strategy that validation rows choose, with random's labels as `needed`; and its origin.

    At the highest recorded share of the full accuracy that it or random selection reaches in every run, as on page 4.
    `reached_at_random`: whether random does; where it does not, `needed` is what it was given. No row where neither
    reaches a share, and no origin either where nothing is recorded.
    """
    path = folder / "4_data_efficiency_labels_tickets.json"
    if not path.is_file():
        return None, ""
    content = json.loads(path.read_text(encoding="utf-8"))
    origin = (f"Labels: counted on {content['data']}, {content['measured_at'][:10]}, on {content['machine']['cpu']}, "
              f"{content['machine']['cores']} cores; no timing enters")
    for share in sorted({row["share"] for row in content["rows"]}, reverse=True):
        rows = {row["strategy"]: row for row in content["rows"] if row["share"] == share}
        random = rows.pop("random")
        best = max(rows.values(), key=lambda row: row["saved_on_validation"] if _known(row["saved_on_validation"])
                   else -math.inf)
        if _known(best["saved"]) and _known(best["saved_on_validation"]) and 1 in (best["reached"], random["reached"]):
            at_random = random["reached"] == 1
            needed = random["labels"] if at_random else best["labels"] + best["saved"]
            return {**best, "needed": needed, "reached_at_random": at_random}, origin
    return None, origin


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)

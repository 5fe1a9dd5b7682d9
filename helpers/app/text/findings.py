"""Records in words: how many times cheaper, what was lost, and the finding that they support."""

from collections.abc import Mapping, Sequence
from typing import Any

from helpers.app.text.figures import capital, interval, percent, signed, two
from helpers.lab import machine
from helpers.lab.measuring.measurement import Measurement, Score

TOLERATED = 0.02  # accuracy that a candidate may lose, with 95% confidence
RUNTIMES = {"pytorch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO",
            "compiled": "torch.compile"}


def settings_in_words(settings: Mapping[str, Any]) -> dict[str, str]:
    """How a model is run, one entry a change that can be made alone: runtime, rows at a time, streams, padding."""
    from helpers.lab.models.model import FEW_ROWS, MAX_BATCH  # with NumPy, which a page's first sentence does without

    runtime = settings.get("runtime", "")
    few = FEW_ROWS if runtime in ("onnxruntime", "openvino") else MAX_BATCH
    padding, hint = settings.get("padding"), settings.get("hint")
    return {"padding": f"padded to {padding}" if padding else "padded to the longest", "runtime":
            RUNTIMES.get(runtime, runtime), "rows at a time": f"rows by {settings.get('micro_batch', few)}",
            "streams": f"{hint} hint" if hint else _streams(settings.get("streams", 1))}


def _streams(count: int) -> str:
    return "1 stream" if count == 1 else f"{count} streams"


def full_name(record: Measurement) -> str:
    """The model's name, then how it is run where the name does not say it: 'int8 (ONNX Runtime, 2 streams)'.

    So no name of a step, such as 'int8', stands for other changes that were made with it.
    """
    if record.model == record.reference:
        return record.model
    words = settings_in_words(record.settings)
    usual = {"padded to the longest", "1 stream", "rows by 64"}
    unsaid = [word for word in words.values() if word and word not in usual and word not in record.model]
    return f"{record.model} ({', '.join(unsaid)})" if unsaid else record.model


def on_machine(records: Sequence[Measurement]) -> str:
    """'On AMD EPYC (2 cores), ', before a sentence about these records; each machine where there are several."""
    names = list(dict.fromkeys(machine.brief(record.machine) for record in records))
    if not all(names):
        return ""
    return f"On {' and '.join(name.replace(', ', ' (', 1) + ')' * (', ' in name) for name in names)}, "


def ratio(record: Measurement) -> tuple[float, float, float, str]:
    """(value, low, high, word): how many times cheaper than the reference, or dearer, so that value >= 1."""
    value, low, high = record.speedup, record.speedup_low, record.speedup_high
    return (value, low, high, "cheaper") if value >= 1 else (1 / value, 1 / high, 1 / low, "dearer")


def cheaper(record: Measurement) -> str:
    """'2.1 times (1.9 to 2.3) cheaper', or dearer, against the record's reference; the interval is of 95%."""
    value, low, high, word = ratio(record)
    return f"{two(value)} times ({two(low)} to {two(high)}) {word}"


def verb(record: Measurement) -> str:
    """Whether a record gains or loses accuracy."""
    return "gains" if record.accuracy_delta > 0 else "loses"


def change(record: Measurement) -> str:
    """'loses 0.30 points of accuracy (-1.5 to +0.90; 95% intervals)': the paired difference."""
    low, high = 100 * record.accuracy_delta_low, 100 * record.accuracy_delta_high
    if record.accuracy_delta == 0:
        return f"equally accurate ({signed(low)} to {signed(high)} points; 95% intervals)"
    return (f"{verb(record)} {two(abs(100 * record.accuracy_delta))} points of accuracy "
            f"({signed(low)} to {signed(high)}; 95% intervals)")


def beside_the_constant(scores: Sequence[Measurement | Score]) -> str:
    """Which of these have learned no more than the constant answer, as a sentence; empty where none, or it is unknown.

    It stands in a verdict's place: what was not learned cannot be lost, so neither a saving nor a loss means anything.
    """
    none = [one for one in scores if one.learned is False]
    if not none:
        return ""
    first = none[0]
    names = list(dict.fromkeys(_name(one) for one in none))
    who = (f"{'The model' if names[0] == 'the model' else names[0]} has learned no more than" if len(names) == 1 else
           f"Neither {names[0]} nor {names[1]} has learned more than" if len(names) == 2 else
           f"{names[0]} and {len(names) - 1} others have learned no more than")
    return (f"{who} the constant answer: always giving the most frequent label is right in {percent(first.majority)} "
            f"of the test rows, {names[0]} in {percent(first.accuracy)} "
            f"({interval(100 * first.accuracy_low, 100 * first.accuracy_high)}). Its macro F1 is "
            f"{two(first.macro_f1)}, and of the weakest class, '{first.weakest_class}', it finds "
            f"{percent(first.weakest_recall)} of the rows.")


def _name(score: Measurement | Score) -> str:
    return score.model if isinstance(score, Measurement) else "the model"


def no_verdict(measurements: Sequence[Measurement]) -> str:
    """Why there is none: the reference or every candidate has learned nothing. Empty where there is one."""
    reference, candidates = measurements[0], measurements[1:]
    if reference.learned is False:
        return beside_the_constant(measurements)
    return beside_the_constant(candidates) if all(one.learned is False for one in candidates) else ""


def of_one_run(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Those measured here, once their reference is among them; else all: no sentence compares two machines."""
    here = [record for record in measurements if record.provenance == "measured"]
    return here if len(here) > 1 and here[0].model == here[0].reference else list(measurements)


def best(measurements: Sequence[Measurement]) -> Measurement | None:
    """The cheapest candidate that is significantly cheaper and loses no more than is tolerated, both at 95%.

    What is lost is judged with all candidates in mind: the more there are, the likelier one of them has luck with the
    test rows. Nobody has luck with the speed of most: it is timed again and again. None where the reference, and no
    candidate that, has learned no more than the constant answer.
    """
    if not measurements or measurements[0].learned is False:
        return None
    able = [record for record in measurements[1:] if record.speedup_low > 1 and record.learned is not False
            and keeps_quality(record, len(measurements) - 1)]
    return max(able, key=lambda record: record.speedup, default=None)


def keeps_quality(record: Measurement, candidates: int) -> bool:
    """Whether one of so many candidates loses no more than is tolerated, with 95% confidence in all at once."""
    return record.least_delta(candidates) >= -TOLERATED


def runner_up(measurements: Sequence[Measurement]) -> Measurement:
    """The record to report if there is no best: the cheapest of the significantly cheaper ones, else the cheapest."""
    able = [record for record in measurements[1:] if record.learned is not False] or measurements[1:]
    return max(able, key=lambda record: (record.speedup_low > 1, record.speedup))


def chosen(measurements: Any) -> Measurement:
    """The candidate that the finding is about: the best one, or else the runner-up.

    >>> from helpers import app
    >>> app.chosen(app.recorded("1_model_optimization_together")).model in app.finding(
    ...     app.recorded("1_model_optimization_together"))
    True
    """
    records = of_one_run(measurements)
    return best(records) or runner_up(records)


def finding(measurements: Sequence[Measurement]) -> str:
    """Summarize the records in one sentence, with their machine; losing cases are said as plainly as winning ones."""
    if not measurements:
        return "Nothing has been measured yet."
    measurements = of_one_run(measurements)
    reference, candidates = measurements[0], measurements[1:]
    if not candidates:
        return beside_the_constant(measurements) or (
            f"So far there is only the reference, {reference.model}: accuracy {percent(reference.accuracy)}.")
    if nothing := no_verdict(measurements):
        return nothing
    shown = chosen(measurements)
    start = on_machine([reference, shown])
    if best(measurements):
        return f"{start}{full_name(shown)} is {cheaper(shown)} than {reference.model} and {change(shown)}."
    if shown.speedup_low <= 1:
        none = f"{start}none of these is significantly cheaper than {reference.model} (95%)"
        return f"{capital(none)}: the fastest, {full_name(shown)}, is {cheaper(shown)}."
    level = "95%" if len(candidates) == 1 else f"95%, {len(candidates)} candidates at once"
    if shown.accuracy_delta >= -TOLERATED:
        return (f"{start}{full_name(shown)} is {cheaper(shown)} than {reference.model} and {change(shown)}: these rows "
                f"do not exclude a loss of more than {two(100 * TOLERATED)} points ({level}).")
    return (f"{start}{full_name(shown)} is {cheaper(shown)} than {reference.model} but {change(shown)}: no candidate "
            f"is significantly cheaper and loses at most {two(100 * TOLERATED)} points ({level}).")


def short_finding(measurements: Sequence[Measurement]) -> str:
    """The same as a chart's title; the machine stands under it."""
    measurements = of_one_run(measurements)
    if len(measurements) < 2:
        return finding(measurements)
    if no_verdict(measurements):
        who = "These models have" if measurements[0].learned is False else "The candidates have"
        return f"{who} learned no more than the constant answer"
    shown = chosen(measurements)
    less = f"costs {two(shown.speedup)}x less" if shown.speedup >= 1 else f"costs {two(1 / shown.speedup)}x more"
    if shown.speedup_low <= 1:
        return f"None is significantly cheaper: {full_name(shown)} {less} ({_times(shown)})"
    points = f"loses {two(-100 * shown.accuracy_delta)} points"
    if not best(measurements) and shown.accuracy_delta >= -TOLERATED:
        points = f"may lose up to {two(-100 * shown.least_delta(len(measurements) - 1))} points"
    elif shown.accuracy_delta_low <= 0 <= shown.accuracy_delta_high:
        points = "shows no significant difference in accuracy"
    elif shown.accuracy_delta > 0:
        points = f"gains {two(100 * shown.accuracy_delta)} points"
    return f"{full_name(shown)} {less} {'and' if best(measurements) else 'but'} {points}"


def _times(record: Measurement) -> str:
    _, low, high, _ = ratio(record)
    return f"{two(low)} to {two(high)}"


def origins(measurements: Sequence[Measurement], brief: bool = False) -> list[str]:
    """Which data and which machine the records are of: 'Recorded on the task tickets, 720 test rows, 2026-01-02, on …'.

    One line for each data set, machine and day, with its models where there are several lines. `brief` leaves out
    what a chart has no room for.
    """
    by_place: dict[str, list[str]] = {}
    for record in measurements:
        here = "Measured here" if record.provenance == "measured" else record.provenance.capitalize()
        day, where = record.measured_at[:10], machine.brief(record.machine) or "unknown machine"
        place = (f"{here} on {record.task}: {where}, {day}" if brief else
                 f"{here} on the task {record.task}, {record.rows:,} test rows, {day}, on {_machine(record.machine)}")
        by_place.setdefault(place, []).append(record.model)
    return [place if brief or len(by_place) == 1 else f"{place}: {', '.join(models)}"
            for place, models in by_place.items()]


def _machine(facts: Mapping[str, Any]) -> str:
    try:
        return machine.describe(dict(facts))
    except KeyError:
        return "a machine of which no details were recorded"

"""The result table, with intervals and provenance in each row; and which change of settings gave how much."""

import html
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from IPython.display import HTML

from helpers.app.records import listed
from helpers.app.text.figures import NAMED, NONE, in_percent, interval, signed, two
from helpers.app.text.findings import chosen, full_name, of_one_run, origins, settings_in_words
from helpers.app.text.words import shown
from helpers.lab.errors import InputError
from helpers.lab.machine import brief
from helpers.lab.measuring.measurement import Measurement, coverage_notes, ratio_of_speedups

if TYPE_CHECKING:  # most pages open without it
    import pandas as pd

Cell = tuple[str, str]  # the figure and, smaller, its interval


def table(measurements: Any) -> HTML:
    """Records as a table that scrolls inside itself on a narrow page; the first row is the reference."""
    return shown(table_html(listed(measurements)))


def table_html(records: Sequence[Measurement]) -> str:
    """The table's elements without their style."""
    columns = [column for column in _COLUMNS if any(column[2](record)[0] != NONE for record in records)]
    numbered = "" if len(records) <= NAMED else "numbered as in the chart"
    titles = [("Model", numbered), *((name, unit) for name, unit, _ in columns[1:])]
    head = "".join(f"<th scope='col'>{name}<small>{unit}</small></th>" for name, unit in titles)
    places = [brief(record.machine) for record in records]
    new = [place if place != before else "" for before, place in itertools.pairwise(["", *places])]
    rows = "".join(f"<tr>{_first(record, number, len(records), place)}"
                   + "".join(_cell(of(record)) for _, _, of in columns[1:]) + "</tr>"
                   for number, (record, place) in enumerate(zip(records, new, strict=True), 1))
    return (f"<div class='app-table' tabindex='0' role='region' aria-label='Results'><table><thead><tr>{head}"
            f"</tr></thead><tbody>{rows}</tbody></table></div>{_how(records)}")


def _first(record: Measurement, number: int, of: int, place: str) -> str:
    """The model, with its mark's number where names have no room in the chart; its machine, where that is new."""
    run = full_name(record).removeprefix(record.model).strip(" ()")
    small = ", ".join(filter(None, [record.strategy, run, place and f"on {place}"]))
    return _cell((record.model if of <= NAMED else f"{number}. {record.model}", small))


def _cell(cell: Cell) -> str:
    figure, below = cell
    return f"<td>{html.escape(figure)}{f'<small>{html.escape(below)}</small>' if below else ''}</td>"


def _accuracy(record: Measurement) -> Cell:
    return in_percent(record.accuracy), interval(100 * record.accuracy_low, 100 * record.accuracy_high)


def _difference(record: Measurement) -> Cell:
    if record.model == record.reference:
        return "reference", ""
    return (signed(100 * record.accuracy_delta),
            f"{signed(100 * record.accuracy_delta_low)} to {signed(100 * record.accuracy_delta_high)}")


def _weakest(record: Measurement) -> Cell:
    return in_percent(record.weakest_recall), record.weakest_class or ""


def _cost(record: Measurement) -> Cell:
    ratio = record.usd_per_million * record.speedup
    return two(record.usd_per_million), interval(ratio / record.speedup_high, ratio / record.speedup_low)


def _energy(record: Measurement) -> Cell:
    if record.joules is None:
        return NONE, ""
    wh = 1000 / 3600  # of 1,000 predictions, from joules of one
    return two(wh * record.joules), interval(wh * (record.joules_low or 0), wh * (record.joules_high or 0))


def _size(record: Measurement) -> Cell:
    return two(record.artefact_bytes / 1e6), f"{two(record.parameters / 1e6)} M par." if record.parameters else ""


def _provenance(record: Measurement) -> Cell:
    return record.provenance, record.measured_at[:10]


_COLUMNS: tuple[tuple[str, str, Callable[[Measurement], Cell]], ...] = (
    ("Model", "", lambda r: (r.model, r.strategy)),
    ("Accuracy", "%", _accuracy),
    ("Difference", "points", _difference),
    ("Constant", "accuracy, %", lambda r: (in_percent(r.majority), "")),
    ("Macro F1", "", lambda r: (two(r.macro_f1), "")),
    ("Weakest class", "found, %", _weakest),
    ("Cost", "$ per million", _cost),
    ("Speed-up", "times", lambda r: (two(r.speedup), interval(r.speedup_low, r.speedup_high))),
    ("Throughput", "per second", lambda r: (two(r.throughput_per_s), f"batch {r.batch_size}")),
    ("Latency", "ms, p50", lambda r: (two(r.p50_ms), f"p95 {two(r.p95_ms)}")),
    ("Size", "MB", _size),
    ("Memory", "MB", lambda r: (two(r.peak_bytes / 1e6) if r.peak_bytes else NONE, "")),
    ("Energy", "Wh per 1,000", _energy),
    ("Provenance", "", _provenance),
)


def _repeated(record: Measurement) -> str:
    """Name what was repeated, over which the speed-up's interval is taken."""
    rounds, processes = record.settings.get("rounds"), record.settings.get("processes")
    if not rounds:
        return ""
    return f", {rounds} rounds" + (f" in each of {processes} processes" if processes and processes > 1 else "")


def _how(records: Sequence[Measurement]) -> str:
    if not records:
        return ""
    first = records[0]
    lines = [*origins(records), "No model was trained on the test rows; accuracy with Wilson's 95% interval, "
             "differences paired on the same rows."]
    if any(record.majority is not None for record in records):
        lines.append("Constant: the accuracy of always giving the most frequent label. Macro F1 counts each class the "
                     "same; the weakest class is the one whose rows are least often found.")
    lines += coverage_notes(records)
    lines.append(f"{first.threads} threads, models timed in turns{_repeated(first)}; speed-up is the ratio of "
                 "throughputs at each model's best batch size.")
    if day := next((record.settings["rescaled_to"] for record in records if "rescaled_to" in record.settings), ""):
        lines.append(f"Cost and throughput: the reference's in the run of {day} that the page's first sentence is of, "
                     "and each speed-up. Times differ from run to run, ratios hardly.")
    if any(record.joules is not None for record in records):
        from helpers.lab.measuring.energy import energy_scores  # with NumPy, which many pages do without

        lines.append(f"Energy: {first.energy_method}; from what the work adds to an idle machine to the hungriest "
                     "comparable machine at full load.")
        if any(record.rows_cut is not None for record in records):  # texts
            lines.append(energy_scores())
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<details class='app-how'><summary>How was this measured?</summary><ul>{items}</ul></details>"


def change_factors(compared: Any, of: str | None = None) -> "pd.DataFrame":
    """From the reference to one model by way of the models between them, so that each step changes as little as can be.

    Args:
        compared: records, the result of `compare`, or a frame with the columns name, runtime, precision, speedup,
            speedup_low and speedup_high, as `compare_runtimes` gives it. The first is the reference.
        of: the model; by default the one that the finding is about, or the fastest of a frame.

    Returns:
        Columns change, model (after it), changed (how many settings), factor, low, high, provenance. The first row is
        all changes together; the factors of the others multiply to its factor. Changes that no model stands between
        are one row. `attrs["factors"]` has the factors in words, `attrs["sentence"]` with the whole.

    Raises:
        InputError: no such model, or it is the reference.

    >>> from helpers import app
    >>> factors = app.change_factors(app.recorded_table("3_hardware_codesign_runtimes"))
    >>> factors["change"][1]
    'padding: padded to the longest'
    """
    import pandas as pd

    rows, origin = _runs(compared)
    for row in rows[1:]:  # no setting tells it from the reference, so it is another model
        if row["facets"] == rows[0]["facets"]:
            row["facets"] = {**row["facets"], "model": (row["name"],)}
    if of is None:
        of = _told(compared)
    place = {row["name"]: number for number, row in enumerate(rows)}
    if not place.get(of):
        raise InputError(f"There is nothing to take apart in '{of}'. Choose one of: {', '.join(list(place)[1:])}.")
    chain = _longest_chain([row["facets"] for row in rows], place[of])
    steps = [_step(rows[0], rows[place[of]]) | {"change": "all together"},
             *(_step(rows[one], rows[other]) for one, other in itertools.pairwise(chain))]
    frame = pd.DataFrame(steps)
    parts_said = _TIMES.join(f"{two(step['factor'])} ({step['kinds']})" for step in steps[1:])
    predicate = f"is {parts_said}" if len(chain) > 2 else f"by {steps[1]['kinds']}"
    frame.attrs = {"origin": origin, "factors": parts_said, "sentence": f"{two(steps[0]['factor'])}x {predicate}"}
    return frame.drop(columns="kinds")


def _told(compared: Any) -> str:
    if hasattr(compared, "to_dict"):
        return str(compared.loc[compared["speedup"].idxmax(), "name"])
    return chosen(listed(compared)).model


def _runs(compared: Any) -> tuple[list[dict[str, Any]], str]:
    """Name, facets, speed-up and provenance of each model that ran; where they did."""
    if hasattr(compared, "to_dict"):
        columns = ("name", "runtime", "precision", "speedup", "speedup_low", "speedup_high")
        if missing := [column for column in columns if column not in compared]:
            raise InputError(f"Changes cannot be distinguished without a column '{missing[0]}': give records, or the "
                             "table of compare_runtimes.")
        ran = compared[compared["speedup"].notna()].to_dict("records")
        origin = compared.attrs.get("origin", "")
        return [{"name": row["name"], "facets": _facets(row["name"], {**_named_settings(row["name"]), "runtime":
                                                                      row["runtime"], "precision": row["precision"]}),
                 "speedup": (row["speedup"], row["speedup_low"], row["speedup_high"]),
                 "provenance": "recorded" if origin else "measured"} for row in ran], origin
    records = of_one_run(listed(compared))
    elsewhere = [record for record in records if record.provenance != "measured"]
    return [{"name": record.model, "facets": _facets(record.model, record.settings), "provenance": record.provenance,
             "speedup": (record.speedup, record.speedup_low, record.speedup_high)} for record in records], " · ".join(
                 origins(elsewhere[:1], brief=True))


def _named_settings(name: str) -> dict[str, Any]:
    """The settings that stand in a name of `compare_runtimes`: 'ONNX Runtime int8, 2 streams'."""
    patterns = {"streams": r", (\d+) streams", "micro_batch": r", rows by (\d+)", "padding": r", padded to (\d+)",
                "hint": r", (\w+) hint"}
    matches = {setting: re.search(pattern, name) for setting, pattern in patterns.items()}
    return {setting: int(match[1]) if match[1].isdigit() else match[1] for setting, match in matches.items() if match}


_TIMES = " \N{MULTIPLICATION SIGN} "
_OF_BITS = ("scheme", "precision", "bits", "group_size", "per_channel", "reduce_range", "calibration", "keep_float")
_NO_ENCODERS = ("numpy", "scikit-learn")  # another runtime there is another kind of model
Facets = dict[str, tuple[str, ...]]


def _facets(name: str, settings: Mapping[str, Any]) -> Facets:
    """The settings that can change alone -> their values, in words; several where one thing was done after another."""
    steps = settings["steps"] if isinstance(settings.get("steps"), list) else []  # else how often pruning cut
    smaller = tuple(str(step.get("name", step["step"])) for step in steps if step["step"] in ("distill", "prune"))
    if not smaller and (settings.get("sizes") or settings.get("zeros") or settings.get("runtime") in _NO_ENCODERS):
        smaller = (name,)
    numbers = {name: settings[name] for name in _OF_BITS
               if name in settings and settings[name] not in ("fp32", "f32", None)}
    return {"model": smaller, **{kind: (word,) for kind, word in settings_in_words(settings).items()},
            "bits": (json.dumps(numbers, sort_keys=True),) if {"scheme", "precision"} & set(numbers) else (),
            "first stage": (settings["first"],) if "first" in settings else ()}


def _far(facets: Facets, start: Facets, end: Facets) -> tuple[int, ...] | None:
    """How far each facet has gone from its start to its end; None where one is neither there nor on the way."""
    far = []
    for kind, words in facets.items():
        if words == start[kind]:
            far.append(0)
        elif words == end[kind][:len(words)]:
            far.append(len(words))
        else:
            return None
    return tuple(far)


def _longest_chain(facets: Sequence[Facets], end: int) -> list[int]:
    """Numbers of models from the first to `end`, each with all changes of the one before and some more."""
    far = {number: place for number, one in enumerate(facets)
           if (place := _far(one, facets[0], facets[end])) is not None}
    order = sorted(far, key=lambda number: (sum(far[number]), number))
    longest: dict[int, list[int]] = {}
    for number in order:
        before = [longest[other] for other in longest if far[other] != far[number]
                  and all(a <= b for a, b in zip(far[other], far[number], strict=True))]
        if number == 0 or before:
            longest[number] = [*max(before, key=len, default=[]), number]
    return longest[end]


def _step(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    changed = [kind for kind, words in after["facets"].items() if words != before["facets"][kind]]
    words = [_word(kind, before["facets"][kind], after) for kind in changed]
    factor, low, high = ratio_of_speedups(before["speedup"], after["speedup"])
    label = f"{changed[0]}: {words[0]}" if len(changed) == 1 else _listed(words)
    kinds = _listed([word if kind == "model" else kind for kind, word in zip(changed, words, strict=True)])
    return {"change": label, "kinds": kinds, "model": after["name"], "changed": len(changed), "factor": factor,
            "low": low, "high": high, "provenance": after["provenance"]}


def _word(kind: str, before: tuple[str, ...], after: dict[str, Any]) -> str:
    words = after["facets"][kind]
    if kind == "bits":
        numbers = json.loads(words[0]) if words else {}
        return f"int{numbers['bits']} weights" if "bits" in numbers else str(
            numbers.get("scheme", numbers.get("precision", "fp32")))
    return ", ".join(words[len(before):] if words[:len(before)] == before else words)


def _listed(words: Sequence[str]) -> str:
    """'a, b and c'."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))

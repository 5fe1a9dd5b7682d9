"""Quantization against PyTorch fp32 eager and against each runtime's own documented recipe.

python -m benchmarks.quantization [--task FILE] [--test FILE] [--text COLUMN] [--label COLUMN] [--quick] [--json FILE]
"""

import time

from benchmarks.common import Row, arguments, at_least, at_most, finish, shown, task_of
from benchmarks.peers.recipes import onnxruntime_recipe, openvino_recipe, pytorch_recipe
from helpers.lab import Comparison, Measurement, Task, baseline, compare, export
from helpers.lab.models.model import Model
from helpers.lab.models.torch import TorchTextModel
from helpers.model_optimization import quantize

MAX_LOST = 0.01  # of the reference's accuracy


def candidates(base: TorchTextModel, task: Task, quick: bool) -> list[Model]:
    """Every int8 that is looked at, and the same runtimes in fp32, so that the bits' own share shows."""
    models = [quantize(base, task, "dynamic-int8"), quantize(base, task, "dynamic-int8", streams=2),
              export(base, "onnxruntime", streams=2), quantize(base, task, "static-int8", "openvino", streams=2)]
    if not quick:
        models += [quantize(base, task, "dynamic-int8", per_channel=False), export(base, "onnxruntime"),
                   export(base, "openvino", streams=2), quantize(base, task, "dynamic-int8", micro_batch=64),
                   quantize(base, task, "static-int8", streams=2)]
    return models


def is_as_good(record: Measurement, reference: Measurement) -> bool:
    """At most one percent of the reference's accuracy lost."""
    return -record.accuracy_delta <= MAX_LOST * reference.accuracy


def rows_of(result: Comparison, recipes: list[str], base_s: tuple[float, float]) -> tuple[list[Row], Measurement]:
    """The asked figures, and the best int8 of ours."""
    reference, dynamic = result.measurements[:2]
    lost = -dynamic.accuracy_delta / reference.accuracy
    int8 = [m for m in result.measurements[1:] if "int8" in m.model and m.model not in recipes]
    good = [m for m in int8 if is_as_good(m, reference)]
    best = max(good or int8, key=lambda m: m.throughput_per_s)
    rows = [
        at_least("dynamic int8: throughput over PyTorch fp32 eager", dynamic.speedup, 2.0, "x", dynamic.speedup_low,
                 dynamic.speedup_high),
        at_most("dynamic int8: accuracy lost, relative", lost, MAX_LOST, "",
                -dynamic.accuracy_delta_high / reference.accuracy, -dynamic.accuracy_delta_low / reference.accuracy),
        at_most("dynamic int8: artefact over fp32's", dynamic.artefact_bytes / reference.artefact_bytes, 0.28, ""),
        at_least(f"best int8 at the same quality ({best.model})", best.speedup if good else 0.0, 3.0, "x",
                 best.speedup_low, best.speedup_high),
        at_most("best int8: accuracy lost, relative", -best.accuracy_delta / reference.accuracy, MAX_LOST, "",
                -best.accuracy_delta_high / reference.accuracy, -best.accuracy_delta_low / reference.accuracy),
        shown("baseline: seconds to train (0: it was cached)", base_s[0], "s"),
        at_most("baseline: seconds from the cache", base_s[1], 2.0, "s"),
    ]
    if base_s[0]:
        rows[-2] = at_most("baseline: seconds to train", base_s[0], 180.0, "s")
    return rows, best


def main() -> None:
    """Train or load, quantize, compare, print."""
    options = arguments(__doc__)
    task = task_of(options)
    began = time.perf_counter()
    base = baseline(task)
    trained = time.perf_counter() - began
    began = time.perf_counter()
    base = baseline(task)
    cached = time.perf_counter() - began
    print(f"{task.name}: {len(task.train):,} training and {len(task.test):,} test rows, {len(task.labels)} labels")
    ours = candidates(base, task, options.quick)
    recipes = [onnxruntime_recipe(base), openvino_recipe(base, task), pytorch_recipe(base)]
    names = [recipe.card.name for recipe in recipes]
    effort = {"rows": 96, "rounds": 5} if options.quick else {"rows": 192, "rounds": 9}
    result = compare([base, *ours, *recipes], task, energy=False, memory=False, **effort)
    frame = result.frame().assign(batch=[m.batch_size for m in result.measurements])
    print(frame[["model", "accuracy", "accuracy_delta", "accuracy_delta_low", "accuracy_delta_high", "speedup",
                 "speedup_low", "speedup_high", "batch", "p50_ms", "p95_ms", "artefact_mb",
                 "usd_per_million"]].round(3).to_string(index=False))
    rows, best = rows_of(result, names, (trained if trained > 10 else 0.0, cached))
    fastest = max((m for m in result.measurements if m.model in names), key=lambda m: m.throughput_per_s)
    pair = [next(m for m in [*ours, *recipes] if m.card.name == name) for name in (fastest.model, best.model)]
    duel = compare(pair, task, energy=False, memory=False, rows=effort["rows"], rounds=15).measurements[1]
    rows.append(at_least(f"best int8 over the fastest recipe ({fastest.model})", duel.speedup, 0.95, "x",
                         duel.speedup_low, duel.speedup_high))
    finish(rows, options.json)


if __name__ == "__main__":
    main()

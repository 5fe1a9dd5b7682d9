"""Quantization against PyTorch fp32 eager and against each runtime's own documented recipe.

python -m benchmarks.quantization [--task FILE] [--test FILE] [--text COLUMN] [--label COLUMN] [--quick] [--json FILE]
"""

import time

from benchmarks.common import (
    Budget,
    Row,
    against,
    arguments,
    at_least,
    at_most,
    compared,
    finish,
    front_rows,
    on_validation,
    points,
    shown,
    task_of,
)
from benchmarks.peers.recipes import CALIBRATION_ROWS, onnxruntime_recipe, openvino_recipe, pytorch_recipe
from helpers.lab import Comparison, Measurement, Task, baseline, compare, export
from helpers.lab.models.model import Model
from helpers.lab.models.torch import TorchTextModel
from helpers.model_optimization import quantize

# What was to be shown, set before any test row was looked at.
MAX_LOST = 0.01  # of the reference's accuracy: one answer in a hundred, which few would notice
DYNAMIC_SPEED, BEST_SPEED = 2.0, 3.0  # times PyTorch fp32 eager: without calibration; with all that a runtime offers
ARTEFACT = 0.28  # 8 of 32 bits, and a little for scales, norms and the tokenizer
TRAIN_S, CACHED_S = 180.0, 2.0  # what a workshop waits for once, and each time
TRAINED_S = 10.0  # quicker, and the baseline came from the cache


def candidates(base: TorchTextModel, task: Task, quick: bool) -> list[Model]:
    """Every int8 that is looked at, and the same runtimes in fp32, so that the bits' own share shows."""
    models = [quantize(base, task, "dynamic-int8"), quantize(base, task, "dynamic-int8", streams=2),
              export(base, "onnxruntime", streams=2),
              quantize(base, task, "static-int8", "openvino", streams=2, calibration_rows=CALIBRATION_ROWS)]
    if not quick:
        models += [quantize(base, task, "dynamic-int8", per_channel=False), export(base, "onnxruntime"),
                   export(base, "openvino", streams=2), quantize(base, task, "dynamic-int8", micro_batch=64),
                   quantize(base, task, "static-int8", streams=2, calibration_rows=CALIBRATION_ROWS)]
    return models


def lost(record: Measurement, reference: Measurement) -> tuple[float, float, float]:
    """Accuracy lost, relative to the reference: (loss, low, high)."""
    return tuple(-delta / reference.accuracy for delta in (
        record.accuracy_delta, record.accuracy_delta_high, record.accuracy_delta_low))


def chosen(result: Comparison) -> Measurement:
    """On validation rows: the fastest int8 that loses at most MAX_LOST there; without one, the most accurate."""
    reference, *int8 = [m for m in result.measurements if m is result.measurements[0] or "int8" in m.model]
    good = [m for m in int8 if lost(m, reference)[0] <= MAX_LOST]
    return max(good, key=lambda m: m.throughput_per_s) if good else max(int8, key=lambda m: m.accuracy)


def rows_of(result: Comparison, best: Measurement, base_s: tuple[float, float]) -> list[Row]:
    """The asked figures. `base_s`: seconds of the baseline, trained (or not) and from the cache."""
    reference, dynamic = result.measurements[:2]
    lost_by_dynamic, lost_by_best = lost(dynamic, reference), lost(best, reference)
    trained = "baseline: seconds to train"
    return [
        at_least("dynamic int8: throughput over PyTorch fp32 eager", dynamic.speedup, DYNAMIC_SPEED, "x",
                 dynamic.speedup_low, dynamic.speedup_high, dynamic),
        at_most("dynamic int8: accuracy lost, relative", lost_by_dynamic[0], MAX_LOST, "", *lost_by_dynamic[1:],
                dynamic),
        at_most("dynamic int8: artefact over fp32's", dynamic.artefact_bytes / reference.artefact_bytes, ARTEFACT, ""),
        at_least(f"int8 chosen on validation rows ({best.model}): throughput", best.speedup, BEST_SPEED, "x",
                 best.speedup_low, best.speedup_high, best),
        at_most("int8 chosen on validation rows: accuracy lost, relative", lost_by_best[0], MAX_LOST, "",
                *lost_by_best[1:], best),
        at_most(trained, base_s[0], TRAIN_S, "s") if base_s[0] > TRAINED_S else shown(
            f"{trained} (it was cached)", None, "s"),
        at_most("baseline: seconds from the cache", base_s[1], CACHED_S, "s"),
    ]


def budgets(task: Task) -> list[Budget]:
    """Budgets of ours and of each peer; nothing is trained."""
    rows = min(CALIBRATION_ROWS, len(task.train))
    return [Budget("ours: dynamic int8", "ours", 0), Budget("ours: static int8", "ours, calibrated", rows),
            Budget("ONNX Runtime's recipe", "its documents', dynamic", 0),
            Budget("OpenVINO's recipe", "its documents', calibrated", rows),
            Budget("PyTorch's recipe", "its documents', dynamic", 0)]


def main() -> None:
    """Train or load, quantize, choose, compare, print."""
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
    timing = {"rows": 96, "rounds": 5} if options.quick else {"rows": 192, "rounds": 9, "processes": 3}
    name = chosen(compare([base, *ours], on_validation(task), energy=False, memory=False, **timing)).model
    result = compared([base, *ours, *recipes], task, timing)
    best = next(model for model in ours if model.card.name == name)
    rows = [*rows_of(result, result.of(name), (trained, cached)), *against(best, recipes, task, timing),
            *front_rows(*(points([result.of(model) for model in models]) for models in ([base, *ours], recipes)),
                        "$ per million")]
    finish(rows, options.json, budgets(task))


if __name__ == "__main__":
    main()

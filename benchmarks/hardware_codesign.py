"""Time predicted and measured, the chosen configuration beside documented ones, the batcher under load, conversions.

python -m benchmarks.hardware_codesign [--task FILE] [--test FILE] [--text COLUMN] [--label COLUMN] [--quick]
    [--json FILE]
"""

import dataclasses
import functools

import numpy as np
import pandas as pd
import torch

from benchmarks.common import (
    PAR,
    Budget,
    Row,
    against,
    arguments,
    at_least,
    at_most,
    compared,
    finish,
    front_rows,
    points,
    shown,
    task_of,
)
from benchmarks.peers.recipes import CALIBRATION_ROWS, onnxruntime_recipe, openvino_recipe
from helpers.hardware_codesign import (
    CANDIDATES,
    TOLERANCE,
    agreement,
    batch_times,
    check_shapes,
    compare_with_load,
    encoder_work,
    fit_and_validate,
    make,
    option,
    settings_grid,
    time_grid,
    tune,
)
from helpers.lab import InputError, Task, baseline
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.exporting import int8
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.intervals import bootstrap_interval, mean_interval
from helpers.lab.models.model import Model
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import printed
from helpers.lab.training.weights import find_weights

# What was to be shown, set beforehand.
MEDIAN_ERROR, P90_ERROR = 15.0, 30.0  # % of a predicted time: a runtime that takes half as long stands out
CHOSEN_SPEED = {"fp32": 3.0, "int8": 4.0}  # times PyTorch padded to 128, what many tutorials do
PADDED = option("pytorch", padding=128)
DOCUMENTED = (option("onnxruntime", micro_batch=64), option("openvino", hint="latency", micro_batch=64),
              option("openvino", hint="throughput", micro_batch=64))


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured: all of it, or a look."""

    max_tokens: int
    rounds: int
    rows_together: tuple[int, ...]
    runtimes: tuple[str, ...]
    targets_ms: tuple[float, ...]
    loads: int
    seconds: float
    texts: int
    epochs: float | None
    timing: dict

    @classmethod
    def of(cls, quick: bool) -> "Effort":
        """A look, or what the figures are claimed from."""
        if quick:
            return cls(2048, 2, (4,), ("onnxruntime",), (100,), 2, 4, 128, 1.0, {"rows": 48, "rounds": 3})
        return cls(2**14, 5, (1, 2, 4, 8), ("onnxruntime", "openvino"), (50, 100, 200), 3, 20, 1000, None,
                   {"rows": 192, "rounds": 9, "processes": 3})


def prediction_rows(base: TorchTextModel, effort: Effort) -> list[Row]:
    """Predicted against measured time on points that were not fitted."""
    models = {one.name: make(base, one) for one in (option("pytorch"), option("onnxruntime"),
                                                    option("onnxruntime", "int8"))}
    grid = time_grid({name: model._logits for name, model in models.items()}, (1, 2, 4, 8, 16, 32, 64),
                     (16, 32, 64, 128, 256), rounds=effort.rounds, max_tokens=effort.max_tokens)
    work, validated = encoder_work(base.module, (16, 64, 256)), []
    rows = []
    for name, timed in grid.groupby("name", sort=False):
        fit, all_points = fit_and_validate(timed, work)
        unseen = all_points[~all_points["fitted"]]
        validated.append(unseen)
        median = 100 * unseen["error"].abs().median()
        rows.append(shown(f"{name}: median error of {len(unseen)} predicted times", median, "%"))
        print(f"{name}: {1000 * fit.fixed:.2f} ms a call, layers {fit.linear_rate / 1e9:.0f} GFLOP/s, attention "
              f"{fit.attention_rate / 1e9:.0f} GFLOP/s")
    errors = 100 * pd.concat(validated)["error"].abs().to_numpy()
    rows += [at_most(f"predicted against measured time, points not fitted: {words} of the error", interval[0], target,
                     "%", *interval[1:])
             for words, quantile, target in (("median", 0.5, MEDIAN_ERROR), ("90th percentile", 0.9, P90_ERROR))
             for interval in [bootstrap_interval(functools.partial(np.quantile, q=quantile), errors)]]
    return rows


def chosen_rows(base: TorchTextModel, task: Task, effort: Effort) -> tuple[list[Row], Model]:
    """The configurations chosen on validation rows beside documented settings, one run on test rows."""
    chosen = {}
    for precision in ("fp32", "int8"):
        grid = settings_grid(precision, effort.runtimes, effort.rows_together)
        best, frame = tune(base, task, grid, rows=min(64, len(task.validation)), progress=printed)
        print(frame[["name", "rows_per_s", "speedup", "made_s", "note"]].round(2).to_string(index=False))
        chosen[precision] = make(base, best, task)
    documented = [make(base, one) for one in DOCUMENTED]
    recipes = [onnxruntime_recipe(base), *([openvino_recipe(base, task)] if "openvino" in effort.runtimes else [])]
    models = [make(base, PADDED), base, *chosen.values(), *documented, *recipes]
    models = list({model.card.name: model for model in models}.values())  # what was chosen may be documented
    result, rows = compared(models, task, effort.timing), []
    for precision, others in (("fp32", [base, *documented]), ("int8", recipes)):
        ours = chosen[precision]
        record = result.of(ours)
        rows += [at_least(f"chosen in {precision} ({record.model}) over PyTorch padded to 128", record.speedup,
                          CHOSEN_SPEED[precision], "x", record.speedup_low, record.speedup_high, record),
                 *against(ours, [other for other in others if other.card.name != record.model], task, effort.timing)]
    mine, peers = (points([result.of(model) for model in some])
                   for some in ([base, *chosen.values()], [*documented, *recipes]))
    return [*rows, *front_rows(mine, peers, "$ per million")], chosen["int8"]


def load_rows(model: Model, texts: list[str], effort: Effort) -> list[Row]:
    """The batcher under open-loop load at the highest rate that its simulation calls sustainable."""
    times = batch_times(model, texts, calls=12 if effort.timing["rounds"] < 5 else 40)
    frame = pd.concat([compare_with_load(model, texts, times, effort.targets_ms, seconds=effort.seconds)
                       for _ in range(effort.loads)])
    print(frame.round(1).to_string(index=False))
    rows = []
    for target, loads in frame.groupby("target_ms"):
        said, met = f"target {target:.0f} ms", loads[(loads["rate"] > 0) & (loads["fixed_rate"] > 0)]
        if len(met) < len(loads):
            rows.append(shown(f"{said}: cannot be met in {len(loads) - len(met)} of {len(loads)} loads, says the model",
                              None, ""))
            continue
        p95_ms = mean_interval(met["p95_ms"].to_numpy(float))
        share = mean_interval((met["answered_per_s"] / met["fixed_rate"]).to_numpy(float))
        rows += [at_most(f"{said}: p95 under some {met['rate'].mean():.0f} texts a second, {len(met)} loads", p95_ms[0],
                         target, "ms", *p95_ms[1:]),
                 at_least(f"{said}: throughput over the best fixed batch's on paper", share[0], PAR, "x", *share[1:])]
    return rows


def conversion_rows(base: TorchTextModel, task: Task, effort: Effort) -> list[Row]:
    """Each runtime's outputs beside PyTorch's, on many rows and over dynamic shapes up to 512 tokens."""
    encoder = TextEncoder.load(find_weights() / "tokenizer.json", 512)
    longer = TorchTextModel(base.card, encoder, base.module)
    texts = (task.test["text"][:] + task.train["text"][:])[:effort.texts]
    reference, rows, sentences = longer.predict(texts), [], 0
    for one in CANDIDATES:
        if effort.texts < 1000 and (one.runtime == "compiled" or one.precision == "bf16"):
            continue  # compiling, and products emulated in bf16, take longer than a look
        try:
            model = make(longer, one, task)
        except InputError as error:
            print(f"{one.name}: {error}")
            sentences += 1
            continue
        difference, same = agreement(reference, model.predict(texts))
        shapes = check_shapes(longer, model)
        print(f"{one.name}: {difference:.2g} of the range, {same:.1%} the same; over shapes {shapes:.2g}", flush=True)
        rows.append(at_most(f"{one.name}: largest difference on {len(texts)} rows and over shapes, in tolerances",
                            max(difference, shapes) / TOLERANCE[one.precision], 1.0, ""))
    return [*rows, shown("candidates that this machine lacks: a sentence each", sentences, "")]


def budgets(task: Task) -> list[Budget]:
    """Budgets of ours and of each peer; nothing is trained."""
    ours, rows = (min(count, len(task.train)) for count in (int8.CALIBRATION_ROWS, CALIBRATION_ROWS))
    return [Budget("ours: chosen on validation rows", "a grid, calibrated", ours),
            Budget("runtimes' documented settings", "defaults and hints", 0),
            Budget("ONNX Runtime's recipe", "its documents', dynamic", 0),
            Budget("OpenVINO's recipe", "its documents', calibrated", rows)]


def main() -> None:
    """Predict, choose, load, convert, print."""
    options = arguments(__doc__)
    task, effort = task_of(options), Effort.of(options.quick)
    torch.set_num_threads(usable_cores())
    base = baseline(task, epochs=effort.epochs)
    rows = prediction_rows(base, effort)
    more, quickest = chosen_rows(base, task, effort)
    rows += [*more, *load_rows(quickest, task.test["text"][:], effort), *conversion_rows(base, task, effort)]
    finish(rows, options.json, budgets(task))


if __name__ == "__main__":
    main()

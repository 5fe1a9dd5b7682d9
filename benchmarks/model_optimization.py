"""Pruning, distillation and both with quantization, against PyTorch fp32 eager and against other projects.

python -m benchmarks.model_optimization [--task FILE] [--test FILE] [--text COLUMN] [--label COLUMN] [--quick]
    [--json FILE] [--only PART ...]
"""

import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.special import log_softmax

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
    points,
    shown,
    task_of,
)
from benchmarks.peers.optimization import (
    default_optimizers,
    model2vec_recipes,
    sentence_transformers_recipe,
    torch_pruning_recipes,
)
from benchmarks.peers.recipes import CALIBRATION_ROWS, openvino_recipe
from helpers.lab import Comparison, Measurement, Task, baseline, load
from helpers.lab.measuring.intervals import mean_interval
from helpers.lab.models.model import Model
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import printed
from helpers.lab.training.baselines import mean_tokens
from helpers.model_optimization import (
    anatomy,
    build,
    compressed_bytes,
    cumulative_gains,
    distill_static,
    distill_with_control,
    prune,
    search,
)
from helpers.model_optimization.distillation.word_students import distill_linear
from helpers.model_optimization.pipelines.searching import SearchResult
from helpers.model_optimization.pipelines.steps import Step

# What was to be shown, set before any test row was looked at.
ONE_MODEL, TWO_STAGES = 15, 40  # times cheaper than PyTorch fp32 eager
ONE_MODEL_QUALITY, TWO_STAGES_QUALITY = 0.985, 0.99  # of the baseline's accuracy: at most 1 answer in 67, in 100, lost
PRUNED_MACS = 2.0  # half of the multiplications gone is the least that is worth a training run
PRUNED_SPEED = 1.6  # what is left of that where a fifth of the time is tokenizing and calls
PRUNED_LOSS = -1.0  # points
STUDENT_SIZE = 0.334  # two of six layers
STUDENT_QUALITY = 0.98  # of its teacher's accuracy, as DistilBERT keeps 97% with half of the layers (arXiv 1910.01108)
SEARCH_MINUTES = 30  # a coffee break and a meeting
PRUNING_RATE = 2e-4  # learning rate of recovery, ours and the peers'
PARTS = ("pruning", "distillation", "combined")
INT8 = {"step": "quantize", "scheme": "dynamic-int8", "per_channel": True, "streams": 2, "micro_batch": 8,
        "name": "int8"}

Peers = Callable[[], Sequence[Model]]  # trained when first asked for


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is tried: all of it, or a look."""

    seeds: int
    depths: tuple[int, ...]
    shares: tuple[float, ...]
    epochs: float
    augmented: int
    recovery: float
    timing: dict

    @classmethod
    def of(cls, quick: bool) -> "Effort":
        """A look, or what the figures are claimed from."""
        if quick:
            return cls(2, (2,), (0.5,), 3.0, 3, 2.0, {"rows": 48, "rounds": 3})
        # Many copies and few epochs: for as many steps, students came nearer to the teacher on held-out training rows.
        return cls(5, (3, 2, 1), (0.65, 0.75), 1.0, 9, 1.0, {"rows": 192, "rounds": 9, "processes": 3})


def distil_step(depth: int, effort: Effort) -> Step:
    """A student of the teacher's first layers: with few steps they did better on validation rows than spread ones."""
    return {"step": "distill", "layers": list(range(depth)), "epochs": effort.epochs, "augmented": effort.augmented,
            "name": f"{depth} layers"}


def prune_step(share: float, effort: Effort) -> Step:
    """Heads and neurons pruned under one budget, recovered with the first model as the teacher."""
    return {"step": "prune", "method": "structured", "sparsity": share, "steps": 3, "epochs": effort.recovery,
            "teacher": True, "augmented": effort.augmented, "learning_rate": 3e-4, "name": f"{share:.0%} pruned"}


def first_step(effort: Effort) -> Step:
    """A linear student in front, which answers what it is sure of."""
    return {"step": "cascade", "first": "linear", "augmented": effort.augmented, "max_errors": 1.5,
            "name": "with a linear first stage"}


def pipelines_of(effort: Effort) -> list[list[Step]]:
    """Pipelines that the search tries: depth, then pruning, then int8; and each with a first stage."""
    pipelines = []
    for depth in effort.depths:
        start = [distil_step(depth, effort)]
        pipelines += [[*start, INT8], *([*start, prune_step(share, effort), INT8] for share in effort.shares)]
    return [*pipelines, *([*steps, first_step(effort)] for steps in pipelines)]


def pruning_rows(base: TorchTextModel, task: Task, effort: Effort, pruning_peers: Peers) -> list[Row]:
    """Structured pruning of more than half of the encoder beside Torch-Pruning; zeros, on the clock and on disk."""
    settings = {"steps": 3, "epochs": effort.recovery, "teacher": base, "learning_rate": PRUNING_RATE,
                "augmented": effort.augmented}
    pruned, deeper = (prune(base, task, "structured", share, **settings) for share in (0.52, 0.75))
    peers = pruning_peers()
    zeros, pattern = prune(base, task, "magnitude", 0.5), prune(base, task, "2:4")
    tokens = mean_tokens(task, base.encoder)
    fewer = anatomy(base.module).macs(tokens) / anatomy(pruned.module).macs(tokens)
    with tempfile.TemporaryDirectory() as folder:
        pruned.save(Path(folder))
        texts = task.test["text"][:64]
        same = bool(np.array_equal(load(Path(folder)).predict(texts), pruned.predict(texts)))
    dense = compressed_bytes(base)
    result = compared([base, pruned, deeper, *peers, zeros, pattern], task, effort.timing)
    record = result.of(pruned)
    return [at_least("structured pruning: encoder MACs of the baseline over its own", fewer, PRUNED_MACS, "x"),
            at_least("structured pruning: throughput, PyTorch fp32", record.speedup, PRUNED_SPEED, "x",
                     record.speedup_low, record.speedup_high, record),
            at_least("structured pruning: accuracy against the baseline", 100 * record.accuracy_delta, PRUNED_LOSS,
                     "points", 100 * record.accuracy_delta_low, 100 * record.accuracy_delta_high, record),
            at_least("structured pruning: same logits after save and load (1: yes)", float(same), 1, ""),
            shown("half of the weights zero: artefact, compressed, over the baseline's",
                  compressed_bytes(zeros) / dense, ""),
            *(faster(result, model, "throughput on dense kernels") for model in (zeros, pattern)),
            *against(pruned, peers, task, effort.timing),
            *front_rows(*(points([result.of(model) for model in models])
                          for models in ((base, pruned, deeper), peers)), "$ per million")]


def distillation_rows(base: TorchTextModel, task: Task, effort: Effort) -> list[Row]:
    """The student against its teacher; its gain over a control, both with half of the effort, over seeds."""
    labels = np.asarray(task.test["label"][:])
    gains = []
    for seed in range(effort.seeds):
        pair = distill_with_control(base, task, layers=[0, 1], epochs=effort.epochs / 2,
                                    augmented=effort.augmented // 2, seed=seed)
        right = [float((model.predict(task.test["text"][:]).argmax(axis=1) == labels).mean()) for model in pair]
        gains.append(right[0] - right[1])
        print(f"seed {seed}: student {right[0]:.4f}, control {right[1]:.4f}", flush=True)
    gain, low, high = mean_interval(100 * np.array(gains))  # paired: student and control share the seed
    chosen = build(base, task, [distil_step(2, effort)])
    share = anatomy(chosen.module).parameters() / anatomy(base.module).parameters()
    result = compared([base, chosen], task, effort.timing)
    student, teacher = result.of(chosen), result.measurements[0]
    return [shown(f"student: accuracy over its control's, mean of {effort.seeds} seeds", float(gain), "points",
                  float(low), float(high)),
            at_most("student: its encoder's parameters over the teacher's", share, STUDENT_SIZE, ""),
            at_least("student: share of the teacher's accuracy", share_of(student, teacher), STUDENT_QUALITY, "",
                     share_low(student, teacher), share_high(student, teacher), student),
            faster(result, chosen, "throughput, PyTorch fp32")]


def share_of(record: Measurement, reference: Measurement) -> float:
    """Share of the reference's accuracy."""
    return record.accuracy / reference.accuracy


def chosen_steps(base: TorchTextModel, task: Task, effort: Effort) -> tuple[list[Row], list[list[Step]]]:
    """A pipeline without and one with a first stage: of the cheap enough ones, the nearest to the first model.

    Nearest in its answers to the validation rows: a few hundred labels tell models that are a point
    apart from each other less well.
    """
    began = time.perf_counter()
    searched = search(base, task, pipelines_of(effort), max_accuracy_loss=1.0, give_up_at=4.0, progress=printed,
                   rows=effort.timing["rows"], rounds=5)
    took = time.perf_counter() - began
    print(f"given up: {[(len(abandoned.steps), round(abandoned.accuracy, 3)) for abandoned in searched.given_up]}")
    texts = task.validation["text"][:]
    first = log_softmax(base.predict(texts), axis=1)
    distances = {m.model: divergence(first, log_softmax(build(base, task, m.settings["steps"]).predict(texts), axis=1))
                 for m in searched.measurements}
    for m in searched.measurements:
        print(f"{m.model:<50} {m.accuracy:.3f} ({100 * m.accuracy_delta:+.1f}) {m.speedup:.1f}x on validation rows, "
              f"{distances[m.model]:.3f} nats from the first model")
    chosen = [nearest(searched, distances, staged=False, cheaper=ONE_MODEL),
              nearest(searched, distances, staged=True, cheaper=TWO_STAGES)]
    return [at_most("search over pipelines, finished ones from the ledger", took / 60, SEARCH_MINUTES, "min")], chosen


def nearest(searched: SearchResult, distances: Mapping[str, float], staged: bool, cheaper: float) -> list[Step]:
    """Of the pipelines that are so many times cheaper, the nearest to the first model; without one, the cheapest.

    Where all of a kind were given up on the way, the most accurate of these: its figures show how far short it falls.
    """
    mine = [m for m in searched.measurements if is_staged(m.settings["steps"]) == staged]
    if not mine:
        given_up = [abandoned for abandoned in searched.given_up if is_staged(abandoned.steps) == staged]
        return list(max(given_up, key=lambda abandoned: abandoned.accuracy).steps)
    cheap = [m for m in mine if m.speedup >= cheaper] or [max(mine, key=lambda m: m.speedup)]
    return min(cheap, key=lambda m: distances[m.model]).settings["steps"]


def is_staged(steps: Sequence[Step]) -> bool:
    """Whether the pipeline ends with a first stage put before the model."""
    return steps[-1]["step"] == "cascade"


def divergence(first: np.ndarray, other: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence, in nats, of other answers from the first model's; (n, classes) log-probs."""
    return float((np.exp(first) * (first - other)).sum(axis=1).mean())


def share_low(record: Measurement, reference: Measurement) -> float:
    """Lower end of the share, from the paired interval."""
    return 1 + record.accuracy_delta_low / reference.accuracy


def share_high(record: Measurement, reference: Measurement) -> float:
    """Upper end of the share, from the paired interval."""
    return 1 + record.accuracy_delta_high / reference.accuracy


def combined_rows(base: TorchTextModel, task: Task, effort: Effort, pruning_peers: Peers) -> list[Row]:
    """The search, the two headlines, the peers in the same run, and what each step adds."""
    rows, steps = chosen_steps(base, task, effort)
    single, staged = (build(base, task, chain) for chain in steps)
    peers = [default_optimizers(single), sentence_transformers_recipe(base), openvino_recipe(base, task),
             *model2vec_recipes(base, task, effort.augmented), *pruning_peers()]
    mine = [base, build(base, task, [INT8]), single, staged, distill_linear(base, task, augmented=effort.augmented),
            distill_static(base, task, augmented=effort.augmented)]
    result = compared([*mine, *peers], task, effort.timing)
    gains = cumulative_gains(base, task, steps[1], rows=effort.timing["rows"], rounds=effort.timing["rounds"])
    print(gains.waterfall().round(3).to_string(index=False))
    print(gains.explanation())
    return [*headline_rows(result, single.card.name, staged.card.name), *rows,
            *against(staged, peers, task, effort.timing),
            *front_rows(*(points([result.of(model) for model in models]) for models in (mine, peers)), "$ per million"),
            shown("all steps together: measured", gains.combined, "x"),
            shown("all steps together: product of the single gains", gains.product, "x"),
            shown("all steps together: on paper, tokenizing left as it is", gains.paper, "x")]


def headline_rows(result: Comparison, single: str, staged: str) -> list[Row]:
    """The two headlines, in dollars against PyTorch fp32 eager."""
    reference = result.measurements[0]
    rows = []
    for name, words, cheaper, quality in ((single, "one model", ONE_MODEL, ONE_MODEL_QUALITY),
                                           (staged, "with a first stage", TWO_STAGES, TWO_STAGES_QUALITY)):
        record = result.of(name)
        rows += [at_least(f"{words} ({name}): $ of fp32 eager over its own",
                          reference.usd_per_million / record.usd_per_million, cheaper, "x", record.speedup_low,
                          record.speedup_high, record),
                 at_least(f"{words}: share of the baseline's accuracy", share_of(record, reference), quality, "",
                          share_low(record, reference), share_high(record, reference), record)]
    return rows


def budgets(task: Task, effort: Effort) -> list[Budget]:
    """Budgets of ours and of each peer."""
    rows, copies = len(task.train), len(task.train) * (1 + effort.augmented)
    calibration, recovery, teacher = min(CALIBRATION_ROWS, rows), f"{effort.recovery:g}", "baseline"
    documented = "its documents'"
    return [Budget("ours: structured pruning", "ours", copies, recovery, teacher),
            Budget("Torch-Pruning's BERT example", f"{documented} example", copies, recovery, teacher),
            Budget("Torch-Pruning, as its README advises", f"{documented} README", copies, recovery, teacher),
            Budget("ours: students of fewer layers", "ours", copies, f"{effort.epochs:g}", teacher),
            Budget("ours: linear first stage", "ours", copies, "to the optimum", teacher),
            Budget("ours: static student", "ours", copies, "its default, 8", teacher),
            Budget("model2vec's recipe", f"{documented} defaults", rows, "till it stops", "vectors only"),
            Budget("model2vec's recipe, with the teacher's answers", f"{documented} defaults", copies, "till it stops",
                   teacher),
            Budget("ours: int8 of the chosen pipeline", "dynamic", 0),
            Budget("sentence-transformers' recipe", f"{documented}, dynamic", 0),
            Budget("OpenVINO's recipe", f"{documented}, calibrated", calibration)]


def faster(result: Comparison, model: Model, what: str) -> Row:
    """A model's speed-up, without a target."""
    record = result.of(model)
    return shown(f"{model.card.name}: {what}", record.speedup, "x", record.speedup_low, record.speedup_high)


def main() -> None:
    """Prune, distil, search, combine, compare with the peers, print."""
    options = arguments(__doc__, PARTS)
    task, effort = task_of(options), Effort.of(options.quick)
    base = baseline(task)
    print(f"{task.name}: {len(task.train):,} training and {len(task.test):,} test rows, {len(task.labels)} labels")
    pruning_peers = functools.cache(lambda: torch_pruning_recipes(
        base, task, epochs=effort.recovery, augmented=effort.augmented, learning_rate=PRUNING_RATE))
    work = {"pruning": lambda: pruning_rows(base, task, effort, pruning_peers),
            "distillation": lambda: distillation_rows(base, task, effort),
            "combined": lambda: combined_rows(base, task, effort, pruning_peers)}
    finish([row for part in PARTS if part in options.only for row in work[part]()], options.json,
           budgets(task, effort))


if __name__ == "__main__":
    main()

"""Strategy 2: the ladder, cascades, adapters, convolutions and attention against the figures they were built for.

python -m benchmarks.efficient_architectures [--task FILE --test FILE --text COLUMN --label COLUMN] [--quick]
    [--only PART ...]

The ladder climbs `tickets`, `docstrings` and, where --task names one, a file that nothing was tuned on;
all else is on `tickets`.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common import (
    Learner,
    Row,
    arguments,
    at_least,
    at_most,
    compared,
    distance,
    finish,
    majority_of,
    shown,
    task_of,
)
from helpers.efficient_architectures import (
    ATTENTIONS,
    Shape,
    TenantBank,
    attention_times,
    cache_table,
    calibrate,
    cheapest_within,
    compare_adapters,
    conv_block,
    convolution_times,
    counted_macs,
    explain_separable,
    fit_exponents,
    follow,
    ladder,
    merge,
    mixed_overhead,
    paired_over_seeds,
    peak_working_bytes,
    resident_growth,
    separable_ratio,
    switch_times,
    tenant_tasks,
    train_with_attention,
    tune,
    working_bytes,
)
from helpers.efficient_architectures.adapters.tuning import Tuned
from helpers.lab import Measurement, Task, baseline, compare, load_task
from helpers.lab.measuring.intervals import (
    bootstrap_draws,
    mean_interval,
    percentile_interval,
    ratio_of_medians,
    wilson,
)
from helpers.lab.models.model import Model
from helpers.lab.models.thresholds import threshold_by_cost, threshold_by_loss
from helpers.lab.progress import printed
from helpers.model_optimization import distill, quantize

PARTS = ("ladder", "other ladders", "cascade", "adapters", "tenants", "convolutions", "attention")
STEPS = ("majority", "tfidf", "static", "zero-shot", "frozen")
# What was to be shown, set beforehand.
KEEP = 0.99  # of the large model's accuracy: one answer in a hundred, which few would notice
MAX_LOST = 1.0  # points: what 99% of an accuracy near 100% allow
SPEND = 0.30  # of the large model's cost: less is saved by a smaller model alone
OFTEN = 95  # of 100 resamplings, as a 95% interval holds
ADAPTER_LOSS, ADAPTER_SHARE = -0.5, 0.04  # points, and of the encoder's parameters: a file a tenant, as good as whole
TENANTS_BYTES = 2.0  # times one model, for all tenants
SAME_LOGITS = 1e-4  # rounding in float32
EXPONENT, FORMULA = 0.25, 0.05  # off the exponent in theory: far from the next one, 1 from 2; off a formula's bytes

Rule = Callable[[list[np.ndarray], np.ndarray], float]  # logits of each stage and labels -> threshold


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is tried: all of it, or a look."""

    ladder_epochs: float | None
    adapter_epochs: float
    seeds: int
    tenants: int
    language_steps: int
    lengths: tuple[int, ...]
    timing: dict

    @classmethod
    def of(cls, quick: bool) -> "Effort":
        """A look, or what the figures are claimed from."""
        if quick:
            return cls(2.0, 1.0, 2, 10, 40, (512, 1024, 2048), {"rows": 48, "rounds": 3})
        return cls(None, 2.0, 5, 50, 500, (1024, 2048, 4096, 8192), {"rows": 192, "rounds": 7, "processes": 3})


def ladder_rows(task: Task, effort: Effort) -> tuple[list[Row], list[Model], list[Measurement]]:
    """The cheapest step within 2 points of the best, by name, and its energy."""
    models = [baseline(task, epochs=effort.ladder_epochs), *ladder(task, STEPS)]
    print(f"\n{task.name}: {len(task.train):,} training and {len(task.test):,} test rows, {len(task.labels)} labels")
    result = compared(models, task, effort.timing, energy=True)
    records = list(result.measurements)
    large, cheapest = records[0], cheapest_within(records, points=2.0)
    rows = [shown(f"{task.name}: cheapest within 2 points of the best is {cheapest.model}: accuracy against MiniLM's",
                  100 * cheapest.accuracy_delta, "points", 100 * cheapest.accuracy_delta_low,
                  100 * cheapest.accuracy_delta_high)]
    if large.joules and cheapest.joules:
        rows.append(shown(f"{task.name}: energy of the fine-tuned MiniLM over it (an estimate)",
                          large.joules / cheapest.joules, "x"))
        tfidf = records[2]
        rows.append(shown(f"{task.name}: the same over TF-IDF's, at {100 * tfidf.accuracy_delta:+.1f} points",
                          large.joules / tfidf.joules, "x"))
    return rows, models, records


def cascade_rows(task: Task, models: list[Model], records: list[Measurement], effort: Effort) -> list[Row]:
    """TF-IDF, a two-layer student in int8, or both before MiniLM. Thresholds from validation rows.

    Two rules: the lowest threshold that loses at most a point there, and the highest that the budget allows.
    """
    large, tfidf = models[0], calibrate(models[2], task)
    taught = distill(large, task, layers=[0, 1], epochs=3.0 if effort.seeds > 2 else 1.0)
    student = quantize(calibrate(taught, task), task, "dynamic-int8")
    timed = compare([large, student], task, energy=False, memory=False, **effort.timing).measurements
    seconds = {"tfidf": 1 / records[2].throughput_per_s, "student": 1 / timed[1].throughput_per_s,
               "large": 1 / timed[0].throughput_per_s}
    rows = []
    for names, stages in ((("tfidf", "large"), (tfidf, large)), (("student", "large"), (student, large)),
                          (("tfidf", "student", "large"), (tfidf, student, large))):
        rows += _cascade(", then ".join(names), task, stages, [seconds[name] for name in names])
    return rows


def _cascade(name: str, task: Task, stages: tuple[Model, ...], seconds: list[float]) -> list[Row]:
    held_out, test = ([stage.predict(split["text"][:]) for stage in stages] for split in (task.validation, task.test))
    labels, truth = (np.asarray(split["label"][:]) for split in (task.validation, task.test))
    rules: dict[str, Rule] = {
        f"loses at most {MAX_LOST:g} point": lambda logits, right: threshold_by_loss(logits, right, MAX_LOST, "net"),
        f"spends at most {SPEND:.0%}": lambda logits, _: threshold_by_cost(logits, seconds, SPEND)}
    rows = []
    for rule, choose in rules.items():
        outcome = follow(test, truth, seconds, choose(held_out, labels))
        accuracy, cost = _resampled(held_out, labels, test, truth, seconds, choose)
        low, _ = wilson(round(outcome.accuracy * len(truth)), len(truth))
        learner, label = Learner(low, majority_of(task)), f"cascade {name}, {rule}"
        rows += [at_least(f"{label}: share of the large model's accuracy", outcome.accuracy / outcome.last_accuracy,
                          KEEP, "", *percentile_interval(accuracy), learner),
                 at_most(f"{label}: share of its cost", outcome.cost_share, SPEND, "", *percentile_interval(cost),
                         learner),
                 at_least(f"{label}: accuracy kept on test rows, of {len(accuracy)} resamplings",
                          int((accuracy >= KEEP).sum()), OFTEN, "", of=learner),
                 shown(f"{label}: cost within {SPEND:.0%}, of the same", int((cost <= SPEND).sum()), "")]
    return rows


def _resampled(held_out: list[np.ndarray], labels: np.ndarray, test: list[np.ndarray], truth: np.ndarray,
               seconds: list[float], choose: Rule, times: int = 100) -> np.ndarray:
    """(2, times) shares of the large model's accuracy and of its cost.

    Validation rows are resampled, a threshold is chosen on them, and the cascade answers resampled test rows.
    """
    def outcome(chosen: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
        threshold = choose([stage[chosen] for stage in held_out], labels[chosen])
        result = follow([stage[drawn] for stage in test], truth[drawn], seconds, threshold)
        return result.accuracy / result.last_accuracy, result.cost_share

    def outcomes(chosen: np.ndarray, drawn: np.ndarray, axis: int) -> np.ndarray:
        return np.transpose([outcome(*rows) for rows in zip(chosen.astype(int), drawn.astype(int), strict=True)])

    return bootstrap_draws(outcomes, np.arange(len(labels)), np.arange(len(truth)), paired=False, draws=times)


def adapter_rows(task: Task, effort: Effort) -> list[Row]:
    """Each way against full fine-tuning, paired over seeds, at its share of the parameters."""
    ways = [("full", 8), ("probe", 8), ("bitfit", 8), ("ia3", 8), ("lora", 8), ("bottleneck", 16)]
    runs = compare_adapters(task, ways, seeds=range(effort.seeds), epochs=effort.adapter_epochs, progress=printed)
    means = runs.groupby("way", sort=False).mean(numeric_only=True)
    print(means[["accuracy", "share", "train_s", "gradients", "optimizer", "activations"]].round(4).to_string())
    against = paired_over_seeds(runs).set_index("way")
    rows = []
    for way in against.index.drop("full"):
        points, low, high = against.loc[way, ["points", "low", "high"]]
        learner = Learner(mean_interval(runs.loc[runs["way"] == way, "accuracy"])[1], majority_of(task))
        rows += [at_least(f"{way} against full fine-tuning, {effort.seeds} seeds", points, ADAPTER_LOSS, "points", low,
                          high, learner),
                 at_most(f"{way}: share of the encoder's parameters that is trained", means.share[way], ADAPTER_SHARE,
                         "", of=learner)]
    return rows


def tenant_rows(task: Task, effort: Effort) -> list[Row]:
    """Many LoRA tenants on one base: bytes, and the same logits mixed as alone."""
    customers = tenant_tasks(task, effort.tenants, labels_each=6, train_rows=64)
    tuned = [tune(one, "lora", rank=8, epochs=1.0, seed=number) for number, one in enumerate(customers)]
    bank, one_model = TenantBank(tuned), sum(weight.numel() * 4 for weight in tuned[0].model.module.parameters())
    one_model -= sum(tensor.numel() * 4 for name, tensor in tuned[0].delta.items() if "lora_" in name)
    texts = task.test["text"][:4 * len(bank)]
    owners = [row % len(bank) for row in range(len(texts))]
    mixed, gap, same = bank.predict(texts, owners), 0.0, True
    for tenant, adapted in enumerate(tuned):
        rows = [row for row, owner in enumerate(owners) if owner == tenant]
        alone = adapted.model.predict([texts[row] for row in rows])
        gap = max(gap, float(np.abs(mixed[rows] - alone).max()))
        same &= bool((mixed[rows].argmax(axis=1) == alone.argmax(axis=1)).all())
    return [at_most(f"{len(bank)} tenants in memory over one model", bank.bytes / one_model, TENANTS_BYTES, "x"),
            at_most("mixed tenants or one at a time: largest difference of a logit", gap, SAME_LOGITS, ""),
            at_least("mixed tenants or one at a time: the same answers (1: yes)", float(same), 1, ""),
            *_serving_rows(bank, tuned, customers[0], texts)]


def _serving_rows(bank: TenantBank, tuned: list[Tuned], task: Task, texts: list[str]) -> list[Row]:
    """Rows for adapters served together: memory loaded, time of a switch, and the price of mixing."""
    count = 5
    _, adapters = resident_growth(lambda: TenantBank(tuned), 1)
    _, models = resident_growth(lambda: merge(tuned[0], task), count)
    with tempfile.TemporaryDirectory() as folder:
        switches = switch_times(tuned[0], task, Path(folder)).set_index("way")
    plain, mixed = mixed_overhead(bank, merge(tuned[0], task).predict, texts)
    slower, low, high = ratio_of_medians(mixed, plain)
    return [shown(f"{len(bank)} tenants on one base: the process grew by", adapters / 1e6, "MB"),
            shown(f"one whole model, mean of {count} loaded: the process grew by", models / count / 1e6, "MB"),
            *(shown(f"switch of tenants, {way}", 1e3 * row["seconds"], "ms") for way, row in switches.iterrows()),
            shown("mixed tenants: time over a plain model's", slower, "x", low, high)]


def convolution_rows(effort: Effort) -> list[Row]:
    """Multiplications on paper and counted; and on the clock, with the reason."""
    rows = []
    for channels, kernel in ((64, 3), (128, 3), (64, 5)):
        standard, separable = (counted_macs(conv_block(design, channels, channels, kernel), (channels, 32, 32))
                               for design in ("standard", "separable"))
        gap = abs(separable / standard - separable_ratio(channels, kernel))
        times = convolution_times(channels, channels, kernel, rounds=4 * effort.timing["rounds"])
        seconds = times.set_index("part")["seconds"]
        print(explain_separable(times))
        rows += [at_most(f"separable, {channels} channels, {kernel}x{kernel}: counted ratio from 1/C_out + 1/K^2", gap,
                         1e-12, ""),
                 shown("  times fewer multiplications", standard / separable, "x"),
                 shown("  times faster", seconds["standard"] / seconds["separable"], "x")]
    return rows


def attention_rows(task: Task, effort: Effort) -> list[Row]:
    """Exponents of time, memory beside the formulas, and the loss of a small language model."""
    import torch

    shape, rows = Shape(heads=4, kv_heads=2, head_dim=32, window=128), []
    times = attention_times(effort.lengths, ATTENTIONS[1:], shape, rounds=2 * effort.timing["rounds"])
    longest = effort.lengths[len(effort.lengths) // 2 - 1]
    for fit in fit_exponents(times, min_length=longest).itertuples():
        expected = 1 if fit.kind in ("sliding window", "linear") else 2
        off, least, most = distance(fit.exponent, fit.low, fit.high, expected)
        rows.append(at_most(f"attention, {fit.kind}: exponent of time, from {longest} tokens on, off {expected} by",
                            off, EXPONENT, "", least, most))
        rows.append(shown("  the exponent", fit.exponent, "", fit.low, fit.high))
    cached = cache_table([512], shape).dropna()
    for row in cached.itertuples():
        rows.append(at_most(f"{row.kind}: keys and values cached by transformers, off the formula by",
                            abs(row.measured_bytes / row.paper_bytes - 1), FORMULA, ""))
    for kind in ATTENTIONS[:4]:
        paper = working_bytes(kind, 1024, shape, torch.get_num_threads())
        rows.append(at_most(f"{kind}: memory allocated at 1,024 tokens, off the formula by",
                            abs(peak_working_bytes(kind, 1024, shape) / paper - 1), FORMULA, ""))
    for kind in ATTENTIONS[1:]:
        trained = train_with_attention(kind, task.train["text"][:], steps=effort.language_steps, length=128)
        rows.append(shown(f"{kind}: held-out loss of a small language model", trained.loss, "nats a byte", trained.low,
                          trained.high))
    return rows


def main() -> None:
    """Climb, cascade, adapt, convolve, attend, print."""
    options = arguments(__doc__, PARTS)
    effort, asked = Effort.of(options.quick), task_of(options)
    tickets = load_task("tickets")
    tickets = tickets.take(train=600, test=240) if options.quick else tickets
    docstrings = load_task("docstrings").take(train=1500, test=720)  # of 12,351: as many as tickets has
    others = [*([] if options.quick else [docstrings]), *([asked] if asked.name != "tickets" else [])]
    climbed = functools.cache(lambda: ladder_rows(tickets, effort))  # the cascade needs its models, too
    work = {"ladder": lambda: climbed()[0],
            "other ladders": lambda: [row for task in others for row in ladder_rows(task, effort)[0]],
            "cascade": lambda: cascade_rows(tickets, *climbed()[1:], effort),
            "adapters": lambda: adapter_rows(tickets, effort), "tenants": lambda: tenant_rows(tickets, effort),
            "convolutions": lambda: convolution_rows(effort), "attention": lambda: attention_rows(tickets, effort)}
    finish([row for part in PARTS if part in options.only for row in work[part]()], options.json)


if __name__ == "__main__":
    main()

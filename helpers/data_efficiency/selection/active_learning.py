"""Active learning, played through with labels that are known: does choosing beat drawing at random?"""

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from helpers.data_efficiency.linear import Linear, fit
from helpers.data_efficiency.options import SEEDS, USD_PER_LABEL
from helpers.data_efficiency.runs import Watch, first_at, judged, require_seeds
from helpers.data_efficiency.selection.strategies import STRATEGIES, Pool, strategy_named
from helpers.data_efficiency.vectors import Features
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import paired_mean_interval, paired_mean_p
from helpers.lab.money.costs import compute_usd
from helpers.lab.progress import Progress, silent

_UNKNOWN = (np.nan, np.nan, np.nan)


def choose_next(x: np.ndarray, labelled: np.ndarray, y: np.ndarray, classes: int, strategy: str, count: int,
                seed: int = 0) -> np.ndarray:
    """The next rows to label: what a person who labels is asked.

    Args:
        x: (n, d) float32 rows of length 1, of all rows.
        labelled: numbers of the rows that have a label; may be empty.
        y: their labels, int.
        strategy: a key of STRATEGIES. With no label yet, all but TypiClust begin at random.

    Returns:
        (count,) row numbers, the most wanted first; fewer where fewer are left. Where `x` are a task's training rows,
        `task.lines("train", rows)` tells where they stand in its file.

    >>> import numpy as np
    >>> from helpers.data_efficiency import choose_next
    >>> x = np.array([[1, 0], [0, 1], [0.6, 0.8], [0.8, 0.6]], np.float32)
    >>> sorted(choose_next(x, [0, 1], [0, 1], classes=2, strategy="margin", count=2).tolist())
    [2, 3]
    """
    choose = strategy_named(strategy)
    labelled = np.asarray(labelled, np.int64)
    unlabelled = np.setdiff1d(np.arange(len(x)), labelled)
    rng = np.random.default_rng([seed, len(labelled)])
    count = min(count, len(unlabelled))
    if count < 1:
        return np.empty(0, np.int64)
    if not len(labelled) and strategy != "TypiClust":
        return rng.choice(unlabelled, count, replace=False)
    model = fit(x[labelled], np.asarray(y), classes) if len(labelled) else Linear(np.zeros((x.shape[1] + 1, classes)))
    return choose(Pool(x, np.sort(labelled), unlabelled, model, rng), count)


def label_with(data: Features, strategy: str, budget: int, batch: int = 48, seed: int = 0) -> pd.DataFrame:
    """One run: choose a batch, take its true labels, train, test; until the budget is spent.

    Args:
        budget: labels in all.
        batch: labels between two trainings. The first batch is drawn at random: the same rows for every strategy of a
            seed.

    Returns:
        Columns strategy, seed, labels, accuracy (on test rows), validation (on validation rows), cpu_s (spent by the
        strategy so far: choosing and training).

    Raises:
        InputError: unknown strategy, or a budget that the training rows do not have.
    """
    choose = strategy_named(strategy)
    if not 1 <= batch <= budget <= len(data.train_y):
        raise InputError(f"A budget of {budget} labels in batches of {batch} does not fit {data.task}, which has "
                         f"{len(data.train_y)} training rows: 1 <= batch <= budget <= rows.")
    classes, x, watch = len(data.labels), np.asarray(data.train), Watch()
    rng = np.random.default_rng(seed)
    with watch.running():
        labelled = np.sort(choose_next(x, [], [], classes, "random", batch, seed))
        model = fit(x[labelled], data.train_y[labelled], classes)
    rows = [_point(data, model, strategy, seed, len(labelled), watch)]
    while len(labelled) < budget:
        with watch.running():
            unlabelled = np.setdiff1d(np.arange(len(x)), labelled)
            pool = Pool(x, labelled, unlabelled, model, rng)
            picked = choose(pool, min(batch, budget - len(labelled)))
            labelled = np.sort(np.concatenate([labelled, picked]))
            model = fit(x[labelled], data.train_y[labelled], classes)
        rows.append(_point(data, model, strategy, seed, len(labelled), watch))
    return pd.DataFrame(rows)


def compare_strategies(data: Features, budget: int, batch: int = 48, strategies: Sequence[str] = tuple(STRATEGIES),
                       seeds: int = SEEDS, progress: Progress = silent) -> pd.DataFrame:
    """Every strategy with every seed, random always among them; a seed means the same first batch for all.

    Returns:
        The columns of `label_with`; `paired_gains` compares them.
    """
    runs, arms = [], list(itertools.product(dict.fromkeys(["random", *strategies]), range(seeds)))
    for number, (name, seed) in enumerate(arms):
        progress(number / len(arms), f"{name}, seed {seed + 1} of {seeds}")
        runs.append(label_with(data, name, budget, batch, seed))
    progress(1.0, "done")
    return pd.concat(runs, ignore_index=True)


def labels_to(runs: pd.DataFrame, accuracy: float, usd_per_label: float = USD_PER_LABEL,
              on: Literal["accuracy", "validation"] = "accuracy") -> pd.DataFrame:
    """What it takes to reach an accuracy, each strategy against random with the same seeds.

    Args:
        on: "accuracy", on test rows; or "validation": there the best strategy is picked, whose figure is then read
            from the test rows.

    Returns:
        Columns strategy, labels (mean), saved, saved_low, saved_high (labels fewer than random's, paired), compute_usd,
        usd (labels and compute), saved_usd, saved_usd_low, saved_usd_high, p (of the labels saved, by Holm's method
        over all strategies; NaN for random), significant (p below 0.05), reached (share of seeds). What is not
        reached with any seed's budget is NaN: labels and usd where a run did not get there, what is saved where with
        some seed neither the strategy nor random did. Where one of the two did, the other counts with its whole
        budget, which understates what is saved or lost.

    Raises:
        InputError: one seed only.
    """
    require_seeds(runs)
    need = {(name, seed): _first_or_last(run.sort_values("labels"), accuracy, on)
            for (name, seed), run in runs.groupby(["strategy", "seed"])}
    seeds = sorted(runs["seed"].unique())
    rows = []
    for name in runs["strategy"].unique():
        labels, cpu_s, reached = np.array([need[name, seed] for seed in seeds]).T
        random_labels, random_cpu_s, random_reached = np.array([need["random", seed] for seed in seeds]).T
        usd = labels * usd_per_label + compute_usd(cpu_s)
        saved = paired_mean_interval(labels, random_labels)
        saved_usd = paired_mean_interval(usd, random_labels * usd_per_label + compute_usd(random_cpu_s))
        known = np.maximum(reached, random_reached).all()
        rows.append({"strategy": name, "labels": labels.mean() if reached.all() else np.nan,
                     **dict(zip(("saved", "saved_low", "saved_high"), saved if known else _UNKNOWN, strict=True)),
                     "compute_usd": compute_usd(cpu_s.mean()), "usd": usd.mean() if reached.all() else np.nan,
                     **dict(zip(("saved_usd", "saved_usd_low", "saved_usd_high"), saved_usd if known else _UNKNOWN,
                                strict=True)),
                     "p": np.nan if name == "random" or not known else paired_mean_p(labels, random_labels),
                     "reached": reached.mean()})
    frame = pd.DataFrame(rows)
    return frame.assign(**judged(frame["p"]))


def _first_or_last(run: pd.DataFrame, accuracy: float, on: str) -> tuple[float, float, bool]:
    """(labels, CPU seconds, reached): where a run reaches an accuracy, else of all of it."""
    labels, cpu_s = first_at(run, accuracy, on, ("labels", "cpu_s"))
    if np.isnan(labels):
        return float(run["labels"].iloc[-1]), float(run["cpu_s"].iloc[-1]), False
    return labels, cpu_s, True


def _point(data: Features, model: Linear, strategy: str, seed: int, labels: int, watch: Watch) -> dict:
    return {"strategy": strategy, "seed": seed, "labels": labels,
            "accuracy": model.accuracy(data.test, data.test_y),
            "validation": model.accuracy(data.validation, data.validation_y), "cpu_s": watch.seconds}

"""More training rows from few: altered texts, mixed vectors; and whether that helps."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.data_efficiency.linear import fit, one_hot
from helpers.data_efficiency.options import AUGMENTATIONS, SEEDS
from helpers.data_efficiency.runs import Watch
from helpers.data_efficiency.vectors import Features, embed
from helpers.lab.data.augmentation import augment
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.progress import Progress, silent

MIX = 0.2  # both parameters of mixup's beta distribution


def mixed(x: np.ndarray, targets: np.ndarray, copies: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mixup (Zhang et al., ICLR 2018) of vectors: (n * copies, d) rows and (n * copies, classes) mixed labels."""
    rng = np.random.default_rng(seed)
    one = np.tile(np.arange(len(x)), copies)
    other = rng.integers(0, len(x), len(one))
    share = rng.beta(MIX, MIX, len(one))[:, None]
    return (share * x[one] + (1 - share) * x[other]).astype(np.float32), (
        share * targets[one] + (1 - share) * targets[other])


def augmentation_study(task: Task, data: Features, budgets: Sequence[int] = (48, 120, 360),
                       methods: Sequence[str] = AUGMENTATIONS, seeds: int = SEEDS, copies: int = 2, *,
                       progress: Progress = silent) -> pd.DataFrame:
    """Accuracy with each method at several numbers of labelled rows; a seed means the same labelled rows for all.

    Words are learned from the labelled rows alone: what a method knows, it has from the same budget.

    Args:
        copies: altered or mixed rows for each labelled one.

    Returns:
        Columns method, labels, seed, accuracy (on test rows), validation (on validation rows), cpu_s (of augmenting,
        embedding and training).

    Raises:
        InputError: unknown method, no copies, no budget, or one that the training rows do not have.
        Cancelled: `progress` cancelled the work.

    >>> from helpers.data_efficiency import augmentation_study, features
    >>> from helpers.lab import load_task
    >>> task = load_task("tickets").take(train=60)
    >>> augmentation_study(task, features(task), (24,), ["mixup"], seeds=1)["method"].tolist()  # doctest: +SKIP
    ['none', 'mixup']
    """
    if unknown := [name for name in methods if name not in AUGMENTATIONS]:
        raise InputError(f"Unknown augmentation '{unknown[0]}'. Choose one of: {', '.join(AUGMENTATIONS)}.")
    if not len(budgets) or max(budgets) > len(data.train_y) or min(budgets) < 2:
        raise InputError(f"Budgets must be 2 to {len(data.train_y)} labels: so many training rows has {task.name}.")
    if copies < 1:
        raise InputError(f"Each labelled row gets at least one copy, not {copies}.")
    texts, rows, arms = list(task.train["text"][:]), [], list(dict.fromkeys(["none", *methods]))
    trainings = seeds * len(budgets) * len(arms)
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(texts))
        for budget in budgets:
            part = order[:budget]
            for method in arms:
                progress(len(rows) / trainings, f"{method}, {budget} labels, repetition {seed + 1}")
                watch = Watch()
                with watch.running():
                    x, targets = _enlarged(data, [texts[i] for i in part], part, method, copies, seed)
                    model = fit(x, targets, len(data.labels))
                rows.append({"method": method, "labels": int(budget), "seed": seed,
                             "accuracy": model.accuracy(data.test, data.test_y),
                             "validation": model.accuracy(data.validation, data.validation_y),
                             "cpu_s": watch.seconds})
    return pd.DataFrame(rows)


def _enlarged(data: Features, texts: list[str], part: np.ndarray, method: str, copies: int,
              seed: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(data.train[part]), data.train_y[part]
    targets = one_hot(y, len(data.labels))
    if method == "none":
        return x, targets
    if method == "mixup":
        more, more_targets = mixed(x, targets, copies, seed)
    else:
        if data.kind != "minilm":
            raise InputError("Changed texts are embedded with MiniLM: use features(task, 'minilm').")
        altered = augment(texts, copies, seed, method)
        more, more_targets = np.asarray(embed(altered, use_cache=False)), np.tile(targets, (copies, 1))
    return np.concatenate([x, more]), np.concatenate([targets, more_targets])

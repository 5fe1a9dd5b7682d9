"""What duplicates do to a model, and to what its test says."""

import numpy as np
import pandas as pd

from helpers.data_efficiency.duplicates.finding import deduplicated, find_duplicates
from helpers.data_efficiency.linear import fit
from helpers.data_efficiency.vectors import Features
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError


def duplicate_effect(task: Task, data: Features, method: str = "minhash", threshold: float | None = None,
                     seeds: int = 5) -> pd.DataFrame:
    """Accuracy with the duplicates in the training rows, without them, and with as many fewer rows drawn at random.

    Returns:
        Columns trained_on ("all rows", "without duplicates", "as many at random"), seed, rows, accuracy (on the whole
        test, which stays as it is), seen and unseen (accuracy on the test rows with and without a twin in the training
        rows; NaN where there are none). What `seen` has over `unseen` is partly memory.

    Raises:
        InputError: no text task.
    """
    if task.input != "text":
        raise InputError(f"Duplicates are looked for in texts; the task '{task.name}' has images.")
    texts = list(task.train["text"][:])
    kept = np.flatnonzero(deduplicated(texts, method, threshold))
    twins = find_duplicates(list(task.test["text"][:]), method, threshold, others=texts)
    seen = np.isin(np.arange(len(data.test_y)), twins["row"])
    arms = [("all rows", 0, np.arange(len(texts))), ("without duplicates", 0, kept)]
    arms += [("as many at random", seed, np.sort(np.random.default_rng(seed).permutation(len(texts))[:len(kept)]))
             for seed in range(seeds)]
    rows = []
    for name, seed, part in arms:
        right = fit(data.train[part], data.train_y[part], len(data.labels)).correct(data.test, data.test_y)
        rows.append({"trained_on": name, "seed": seed, "rows": len(part), "accuracy": float(right.mean()),
                     "seen": float(right[seen].mean()) if seen.any() else np.nan,
                     "unseen": float(right[~seen].mean()) if (~seen).any() else np.nan})
    return pd.DataFrame(rows)

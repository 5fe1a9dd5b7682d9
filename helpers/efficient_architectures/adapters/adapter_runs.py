"""All ways to adapt an encoder on one task, over seeds, paired with full fine-tuning."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.efficient_architectures.adapters.tuning import Tuned, train_as, with_fitted_head
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import mean_interval
from helpers.lab.models.torch import count_parameters
from helpers.lab.progress import Progress, silent
from helpers.lab.training.weights import MINILM


def compare_adapters(task: Task, ways: Sequence[tuple[str, int]], *, seeds: Sequence[int] = (0,), epochs: float = 2.0,
                     encoder: str | Path = MINILM, progress: Progress = silent) -> pd.DataFrame:
    """Train the task in each way with each seed, and answer the test rows.

    Args:
        ways: (kind, rank) pairs, see tune; the rank of kinds without one is ignored.

    Returns:
        One row a way and seed: kind, rank (0 where there is none), way (a name), seed, accuracy, trained,
        share (of all the encoder's numbers), head, delta_bytes, model_bytes, train_s, and the bytes of a
        training step: weights, gradients, optimizer, activations.

    Raises:
        InputError: an unknown kind, or no way.
        Cancelled: `progress` was told to end.
    """
    if not ways or not seeds:
        raise InputError("Name at least one way to adapt the encoder and one seed.")
    labels, rows = np.asarray(task.test["label"][:]), []
    start, reader = with_fitted_head(task, encoder, progress)
    jobs = [(kind, rank, seed) for seed in seeds for kind, rank in ways]
    for number, (kind, rank, seed) in enumerate(jobs):
        progress(number / len(jobs), f"{kind}, rank {rank}, seed {seed}: training {number + 1} of {len(jobs)}")
        tuned = train_as(copy.deepcopy(start), reader, task, kind, rank=rank, epochs=epochs, seed=seed,
                         progress=progress)
        right = tuned.model.predict(task.test["text"][:]).argmax(axis=1) == labels
        ranked = kind in ("lora", "bottleneck")
        plain = count_parameters(tuned.model.module) - (0 if kind in ("full", "probe", "bitfit") else _added(tuned))
        rows.append({"kind": kind, "rank": rank if ranked else 0, "way": f"{kind} {rank}" if ranked else kind,
                     "seed": seed, "accuracy": float(right.mean()), "trained": tuned.trainable,
                     "share": tuned.trainable / (plain - tuned.head), "head": tuned.head,
                     "delta_bytes": tuned.delta_bytes, "model_bytes": 4 * plain, "train_s": tuned.train_s,
                     **tuned.memory})
    progress(1.0, "done")
    return pd.DataFrame(rows)


def _added(tuned: Tuned) -> int:
    """Numbers that the adapter put in beside the encoder's own."""
    return sum(tensor.numel() for name, tensor in tuned.delta.items()
               if any(mark in name for mark in ("lora_", "ia3_", ".adapter.")))


def paired_over_seeds(runs: pd.DataFrame, reference: str = "full") -> pd.DataFrame:
    """Points of accuracy against the reference way of the same seed: way, points, low, high (95 %), seeds.

    Student's t over seeds; with one seed there is no interval (NaN).

    Raises:
        InputError: the reference is missing for a seed.
    """
    wide = runs.pivot(index="seed", columns="way", values="accuracy")
    if reference not in wide or wide[reference].isna().any():
        raise InputError(f"The way '{reference}' must have run with every seed to be compared with.")
    rows = []
    for way in dict.fromkeys(runs["way"]):
        points = 100 * (wide[way] - wide[reference]).dropna()
        mean, low, high = mean_interval(points)
        rows.append({"way": way, "points": float(mean), "low": float(low), "high": float(high), "seeds": len(points)})
    return pd.DataFrame(rows)

"""All ways to adapt an encoder on one task, over seeds, paired with full fine-tuning."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.efficient_architectures.adapters.tuning import Tuned, train_as, with_fitted_head
from helpers.efficient_architectures.options import RANKED, require_adapter
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import CONFIDENCE, holm, mean_interval, paired_mean_p
from helpers.lab.models.torch import count_parameters
from helpers.lab.progress import Progress, silent
from helpers.lab.training.weights import MINILM, short_name

SEEDS = range(5)  # fewer say little about a difference of a point


def compare_adapters(task: Task, ways: Sequence[tuple[str, int]], *, seeds: Sequence[int] = SEEDS, epochs: float = 2.0,
                     encoder: str | Path = MINILM, progress: Progress = silent) -> pd.DataFrame:
    """Train the task in each way with each seed, and answer the validation and test rows.

    Args:
        ways: (kind, rank) pairs, see tune; the rank of kinds without one is ignored.

    Returns:
        One row a way and seed: kind, rank (0 where there is none), way (a name), seed, accuracy (on test rows),
        validation (on validation rows, where the best way is picked), trained, share (of all the encoder's
        parameters), head, delta_bytes, model_bytes, train_s, and the bytes of a training step: weights, gradients,
        optimizer, activations.

    Raises:
        InputError: an unknown kind, no way or seed, or one that is named twice: nothing is trained then.
        Cancelled: the caller of `progress` wants an end.

    >>> from helpers.efficient_architectures import compare_adapters
    >>> from helpers.lab import load_task
    >>> few = load_task("tickets").take(train=240, test=300, validation=100)
    >>> compare_adapters(few, [("full", 8), ("lora", 8)], seeds=[0])["way"].tolist()  # doctest: +SKIP
    ['full', 'lora 8']
    """
    names = [_name(kind, rank) for kind, rank in ways]
    if not names or not seeds or len(set(names)) < len(names) or len(set(seeds)) < len(seeds):
        raise InputError("Name at least one way to adapt the encoder and one seed, and each only once; got "
                         f"{', '.join(names) or 'no way'} and the seeds {list(seeds)}.")
    rows: list[dict] = []
    start, tokenizer = with_fitted_head(task, encoder, progress.part(0.0, 0.0))
    jobs = [(kind, rank, seed) for seed in seeds for kind, rank in ways]
    for number, (kind, rank, seed) in enumerate(jobs):
        progress(number / len(jobs), f"{kind}, rank {rank}, seed {seed}: training {number + 1} of {len(jobs)}")
        tuned = train_as(copy.deepcopy(start), tokenizer, task, kind, rank=rank, epochs=epochs, seed=seed,
                         name=short_name(encoder), progress=progress.part(number / len(jobs), (number + 1) / len(jobs)))
        accuracy, validation = (
            float((tuned.model.predict(part["text"][:]).argmax(axis=1) == np.asarray(part["label"][:])).mean())
            for part in (task.test, task.validation))
        published = count_parameters(tuned.model.module) - _added(tuned)
        rows.append({"kind": kind, "rank": rank if kind in RANKED else 0,
                     "way": _name(kind, rank), "seed": seed,
                     "accuracy": accuracy, "validation": validation, "trained": tuned.trainable,
                     "share": tuned.trainable / (published - tuned.head), "head": tuned.head,
                     "delta_bytes": tuned.delta_bytes, "model_bytes": 4 * published, "train_s": tuned.train_s,
                     **tuned.memory})
    progress(1.0, "done")
    return pd.DataFrame(rows)


def _name(kind: str, rank: int) -> str:
    """The way as tables name it; refuses an unknown kind."""
    require_adapter(kind, rank)
    return f"{kind} {rank}" if kind in RANKED else kind


def _added(tuned: Tuned) -> int:
    """Parameters that the adapter added to the encoder: none for the kinds without layers."""
    return sum(tensor.numel() for name, tensor in tuned.delta.items()
               if any(mark in name for mark in ("lora_", "ia3_", ".adapter.")))


def paired_over_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Points of accuracy against full fine-tuning with the same seed.

    Args:
        runs: of compare_adapters.

    Returns:
        Columns way, points, low, high (95%, Student's t over seeds, each way for itself), seeds, p (Holm's, with all
        ways taken into account), significant (p below 0.05). With one seed there is no interval and no p (NaN).

    Raises:
        InputError: full fine-tuning is missing for a seed.
    """
    wide = runs.pivot(index="seed", columns="way", values="accuracy")
    if "full" not in wide or wide["full"].isna().any():
        raise InputError("The way 'full' must have run with every seed to be compared with.")
    rows = []
    for way in dict.fromkeys(runs["way"]):
        points = 100 * (wide[way] - wide["full"]).dropna()
        mean, low, high = map(float, mean_interval(points))
        rows.append({"way": way, "points": mean, "low": low, "high": high, "seeds": len(points),
                     "p": np.nan if way == "full" else paired_mean_p(np.zeros(len(points)), points)})
    frame = pd.DataFrame(rows)
    frame["p"] = holm(frame["p"])
    return frame.assign(significant=frame["p"] < 1 - CONFIDENCE)

"""Real data-parallel training with PyTorch DDP on one or several processes, timed, beside the model on paper."""

import dataclasses
import functools
from typing import Any

import numpy as np

from helpers.cloud_distributed.training.communication import Link, ddp_calls, step_s
from helpers.cloud_distributed.training.workers import run_workers
from helpers.lab.errors import InputError
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.progress import Progress, silent


@dataclasses.dataclass(frozen=True)
class Settings:
    """A perceptron on scikit-learn's digits: `layers` of `width`, and how it is trained.

    A step works on `batch` rows a pass, `accumulate` passes on each worker, before gradients are exchanged: as bf16
    with `compress`, else as fp32.
    """

    width: int = 256
    layers: int = 4
    batch: int = 64
    accumulate: int = 1
    compress: bool = False
    steps: int = 20
    learning_rate: float = 0.05
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """What a run gave.

    `step_s` and `compute_s` (steps,) seconds, the slowest worker's: of a step, and of the same step without
    exchange, measured in turns. `losses` (steps,) over all workers' rows. `weights` (p,) float32 at the end.
    """

    settings: Settings
    workers: int
    backend: str
    gradient_bytes: int
    step_s: np.ndarray
    compute_s: np.ndarray
    losses: np.ndarray
    weights: np.ndarray

    @property
    def rows_per_s(self) -> float:
        """Rows that all workers together learn from in a second, from the median step."""
        return (self.workers * self.settings.batch * self.settings.accumulate) / float(np.median(self.step_s))


@dataclasses.dataclass(frozen=True)
class Scaling:
    """One worker and several, measured, and what the model says of the step of the several."""

    alone: TrainingRun
    together: TrainingRun
    predicted_s: tuple[float, float, float]

    @property
    def measured_s(self) -> float:
        """The median step of the several workers."""
        return float(np.median(self.together.step_s))

    @property
    def speedup(self) -> float:
        """Rows a second, the several over the one."""
        return self.together.rows_per_s / self.alone.rows_per_s

    def sentence(self) -> str:
        """The finding, computed from the figures."""
        count = self.together.workers
        better = "more" if self.speedup > 1 else "less"
        middle, low, high = (1e3 * value for value in self.predicted_s)
        return (f"{count} workers learn {self.speedup:.2f}x as fast as one, so {better} than one alone. Their step "
                f"takes {self.measured_s * 1e3:.1f} ms; on paper {middle:.1f} ms ({low:.1f} to {high:.1f}), an error "
                f"of {abs(middle / 1e3 / self.measured_s - 1):.0%}.")


def train_distributed(workers: int = 2, settings: Settings | None = None, *, threads: int = 1,
                      progress: Progress = silent) -> TrainingRun:
    """Train for real: gloo between processes of this machine, NCCL where each has a GPU.

    The rows of a step do not depend on how many workers share them: 2 workers with a batch of 32 learn the same as
    1 with 64, or as 1 with 32 that accumulates twice.

    Raises:
        InputError: settings that make no sense.
    """
    settings = Settings() if settings is None else settings
    counts = (settings.width, settings.layers, settings.batch, settings.accumulate, settings.steps)
    if min(counts) < 1 or not settings.learning_rate > 0:
        raise InputError(f"A training run's settings are counted from 1, and it learns at some rate; got {settings}.")
    parts = run_workers(functools.partial(_train, settings, *_digits()), workers, threads=threads, progress=progress)
    first = parts[0]
    return TrainingRun(settings, workers, first["backend"], first["gradient_bytes"],
                       np.max([part["step_s"] for part in parts], axis=0),
                       np.max([part["compute_s"] for part in parts], axis=0),
                       np.mean([part["losses"] for part in parts], axis=0), first["weights"])


def measure_scaling(link: Link, settings: Settings | None = None, workers: int = 2, overlap: float = 0.0) -> Scaling:
    """Measure one worker and several, and say what the model expects, from their own computing time and the link."""
    with timing_turn():
        alone, together = train_distributed(1, settings), train_distributed(workers, settings)
    return Scaling(alone, together, predicted_step_s(together, link, overlap))


def predicted_step_s(run: TrainingRun, link: Link, overlap: float = 0.0) -> tuple[float, float, float]:
    """The model's (middle, low, high) seconds for a step of this run, from its measured computing time.

    For a run that sends bf16, take a link that was calibrated with `compress=True`.
    """
    return step_s(float(np.median(run.compute_s)), _sent_bytes(run), run.workers, link, overlap,
                  ddp_calls(run.gradient_bytes))


def measured_overlap(run: TrainingRun, link: Link) -> float:
    """The share of the exchange that this run's steps hide: 1 - (step - computing) / exchange on paper.

    Below 0 where the exchange costs more than its own time, as on a machine whose cores both compute and send.
    Take it from one run and predict others.

    Raises:
        InputError: a run of one worker, which exchanges nothing.
    """
    if run.workers < 2:
        raise InputError("One worker exchanges nothing: overlap needs a run of two or more.")
    visible = float(np.median(run.step_s - run.compute_s))
    exchange = predicted_step_s(run, link, 0.0)[0] - float(np.median(run.compute_s))
    return min(1.0, 1 - visible / exchange)


def _sent_bytes(run: TrainingRun) -> float:
    return run.gradient_bytes / (2 if run.settings.compress else 1)


def _train(settings: Settings, rows: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    from helpers.cloud_distributed.training.ddp_worker import train  # in the worker: here nothing needs torch

    return train(settings, rows, labels)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 64) float32 from 0 to 1, and (1797,) int64."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.data / 16).astype(np.float32), digits.target.astype(np.int64)

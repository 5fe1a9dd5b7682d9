"""Real data-parallel training with PyTorch DDP on one or several processes, timed, beside the model on paper."""

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from helpers.cloud_distributed.training.communication import Link, ddp_calls, step_s
from helpers.cloud_distributed.training.workers import run_workers, worker_device
from helpers.lab.errors import InputError
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.progress import Progress, silent

_WARM_UP_STEPS = 2


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
    """Result of a training run.

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


def train_distributed(workers: int = 2, settings: Settings | None = None, *,
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
    parts = run_workers(functools.partial(_train, settings, *_digits()), workers, progress=progress)
    first = parts[0]
    return TrainingRun(settings, workers, first["backend"], first["gradient_bytes"],
                       np.max([part["step_s"] for part in parts], axis=0),
                       np.max([part["compute_s"] for part in parts], axis=0),
                       np.mean([part["losses"] for part in parts], axis=0), first["weights"])


def measure_scaling(link: Link, settings: Settings | None = None, overlap: float = 0.0) -> Scaling:
    """Measure one worker and two, and say what the model expects, from their own computing time and the link."""
    with timing_turn():
        alone, together = train_distributed(1, settings), train_distributed(2, settings)
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
        InputError: a run of one worker, which exchanges nothing; or steps that were over before their computing is.
    """
    if run.workers < 2:
        raise InputError("One worker exchanges nothing: overlap needs a run of two or more.")
    visible = float(np.median(run.step_s - run.compute_s))
    if visible < 0:
        raise InputError(f"Whole steps took {1e3 * -visible:.2g} ms less than their computing alone, which cannot be: "
                         "something else ran on this machine. Train again, with more steps.")
    exchange = predicted_step_s(run, link, 0.0)[0] - float(np.median(run.compute_s))
    return 1 - visible / exchange


def _sent_bytes(run: TrainingRun) -> float:
    return run.gradient_bytes / (2 if run.settings.compress else 1)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 64) float32 from 0 to 1, and (1797,) int64."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.data / 16).astype(np.float32), digits.target.astype(np.int64)


def _train(settings: Settings, rows: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """In a worker: train on (n, features) float32 rows and (n,) int64 labels: times, losses and final weights."""
    device = worker_device()
    data = torch.from_numpy(rows).to(device), torch.from_numpy(labels).to(device)
    torch.manual_seed(settings.seed)
    module = _perceptron(rows.shape[1], int(labels.max()) + 1, settings).to(device)
    wrapped = module
    if dist.get_world_size() > 1:
        wrapped = DistributedDataParallel(module, gradient_as_bucket_view=True)
        if settings.compress:
            wrapped.register_comm_hook(None, _send_as_bf16)
    optimizer = torch.optim.SGD(module.parameters(), lr=settings.learning_rate, momentum=0.9)
    rounds = [_step(wrapped, optimizer, data, settings, step) for step in range(-_WARM_UP_STEPS, settings.steps)]
    compute_s, exchanged_s, losses = np.array(rounds[_WARM_UP_STEPS:]).T
    weights = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    return {"backend": dist.get_backend(), "gradient_bytes": weights.numel() * 4, "compute_s": compute_s,
            "step_s": exchanged_s, "losses": losses, "weights": weights.cpu().numpy()}


def _perceptron(features: int, classes: int, settings: Settings) -> nn.Module:
    """`layers` hidden layers of `width`."""
    sizes = [features, *[settings.width] * settings.layers]
    hidden = [part for inside, outside in itertools.pairwise(sizes) for part in (nn.Linear(inside, outside), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(settings.width, classes))


def _send_as_bf16(state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """DDP's exchange of a bucket in half of the bytes. PyTorch's own bf16 hook refuses gloo, this one does not."""
    whole = bucket.buffer()
    half = whole.div(dist.get_world_size()).to(torch.bfloat16)
    return dist.all_reduce(half, async_op=True).get_future().then(lambda sent: whole.copy_(sent.value()[0]))


def _rows_of(step: int, turn: int, settings: Settings, rank: int, workers: int, total: int) -> np.ndarray:
    """(batch,) row numbers of one pass: consecutive pieces of a shuffled order, first by pass, then by worker."""
    order = np.random.default_rng(settings.seed).permutation(total)
    first = ((step * settings.accumulate + turn) * workers + rank) * settings.batch
    return order[np.arange(first, first + settings.batch) % total]


def _step(wrapped: nn.Module, optimizer: torch.optim.Optimizer, data: tuple[Tensor, Tensor], settings: Settings,
          step: int) -> tuple[float, float, float]:
    """Seconds without and with exchange, and the loss. Steps below 0 warm up and leave the weights alone."""
    turns = [_rows_of(step, turn, settings, dist.get_rank(), dist.get_world_size(), len(data[0]))
             for turn in range(settings.accumulate)]
    batches = [(data[0][some], data[1][some]) for some in turns]
    dist.barrier()
    quiet_s, _ = _clock(lambda: _passes(wrapped, batches, exchange=False))
    optimizer.zero_grad(set_to_none=False)
    dist.barrier()
    exchanged_s, loss = _clock(lambda: _passes(wrapped, batches, exchange=True))
    optimizer_s = _clock(optimizer.step)[0] if step >= 0 else 0.0
    optimizer.zero_grad(set_to_none=False)
    return quiet_s + optimizer_s, exchanged_s + optimizer_s, float(loss)


def _passes(wrapped: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], exchange: bool) -> Tensor:
    """Forward and backward over all batches; only the last backward pass exchanges. The mean loss."""
    losses = []
    for number, (rows, labels) in enumerate(batches, start=1):
        exchanges = exchange and number == len(batches)
        alone = not isinstance(wrapped, DistributedDataParallel)
        with contextlib.nullcontext() if alone or exchanges else wrapped.no_sync():
            loss = functional.cross_entropy(wrapped(rows), labels) / len(batches)
            loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()


def _clock(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds until the work is done, on a GPU too, and what it gave."""
    started = time.perf_counter()
    result = work()
    if dist.get_backend() == "nccl":
        torch.cuda.synchronize()
    return time.perf_counter() - started, result

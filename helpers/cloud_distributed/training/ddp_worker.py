"""What each process of a data-parallel training run does. Imported by the workers only."""

import contextlib
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

from helpers.cloud_distributed.training.data_parallel import Settings
from helpers.cloud_distributed.training.workers import worker_device

_WARM_UP = 2  # steps


def train(settings: Settings, rows: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Train on (n, features) float32 rows and (n,) int64 labels: times, losses and the weights in the end."""
    device = worker_device()
    data = torch.from_numpy(rows).to(device), torch.from_numpy(labels).to(device)
    torch.manual_seed(settings.seed)
    module = perceptron(rows.shape[1], int(labels.max()) + 1, settings).to(device)
    wrapped = module
    if dist.get_world_size() > 1:
        wrapped = DistributedDataParallel(module, gradient_as_bucket_view=True)
        if settings.compress:
            wrapped.register_comm_hook(None, send_as_bf16)
    optimizer = torch.optim.SGD(module.parameters(), lr=settings.learning_rate, momentum=0.9)
    timed = [_step(wrapped, optimizer, data, settings, step) for step in range(-_WARM_UP, settings.steps)]
    compute_s, step_s, losses = np.array(timed[_WARM_UP:]).T
    weights = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    return {"backend": dist.get_backend(), "gradient_bytes": weights.numel() * 4, "compute_s": compute_s,
            "step_s": step_s, "losses": losses, "weights": weights.cpu().numpy()}


def perceptron(features: int, classes: int, settings: Settings) -> nn.Module:
    """`layers` hidden layers of `width`."""
    sizes = [features, *[settings.width] * settings.layers]
    hidden = [part for inside, outside in itertools.pairwise(sizes) for part in (nn.Linear(inside, outside), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(settings.width, classes))


def send_as_bf16(state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """DDP's exchange of a bucket in half of the bytes. PyTorch's own bf16 hook refuses gloo, this one does not."""
    whole = bucket.buffer()
    half = whole.div(dist.get_world_size()).to(torch.bfloat16)
    return dist.all_reduce(half, async_op=True).get_future().then(lambda sent: whole.copy_(sent.value()[0]))


def rows_of(step: int, turn: int, settings: Settings, rank: int, workers: int, total: int) -> np.ndarray:
    """(batch,) row numbers of one pass: consecutive pieces of a shuffled order, first by pass, then by worker."""
    order = np.random.default_rng(settings.seed).permutation(total)
    first = ((step * settings.accumulate + turn) * workers + rank) * settings.batch
    return order[np.arange(first, first + settings.batch) % total]


def _step(wrapped: nn.Module, optimizer: torch.optim.Optimizer, data: tuple[Tensor, Tensor], settings: Settings,
          step: int) -> tuple[float, float, float]:
    """Seconds without and with exchange, and the loss. Steps below 0 warm up and leave the weights alone."""
    turns = [rows_of(step, turn, settings, dist.get_rank(), dist.get_world_size(), len(data[0]))
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

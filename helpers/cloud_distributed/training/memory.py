"""Where the memory of training goes: data parallel, ZeRO 1 to 3 and FSDP, on paper."""

import dataclasses
import math
from typing import Literal

from helpers.lab.errors import InputError
from helpers.lab.money.costs import read_facts

Precision = Literal["mixed", "fp32"]
STAGES = {0: "data parallel", 1: "ZeRO 1", 2: "ZeRO 2", 3: "ZeRO 3 / FSDP"}
# Bytes a parameter: weights, gradients, and what Adam keeps (two moments in fp32; in mixed precision also the
# fp32 master copy), as in Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter
# Models", SC 2020, section 3.1.
_BYTES = {"mixed": (2, 2, 12), "fp32": (4, 4, 8)}
# Bytes sent a step, in multiples of the weights' bytes, section 7: an all-reduce moves all gradients twice; stage 3
# also gathers the weights once more.
_VOLUME = {0: 2, 1: 2, 2: 2, 3: 3}


@dataclasses.dataclass(frozen=True)
class TrainingMemory:
    """Bytes on each worker; activations, buffers and fragments come on top unless they are given."""

    stage: int
    workers: int
    weights: float
    gradients: float
    optimizer: float
    activations: float
    sent_a_step: float

    @property
    def total(self) -> float:
        """All parts together, in bytes."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def sentence(self) -> str:
        """The finding, computed from the figures."""
        return (f"{STAGES[self.stage]} on {self.workers:,} workers: {_gb(self.total)} on each ({_gb(self.weights)} "
                f"weights, {_gb(self.gradients)} gradients, {_gb(self.optimizer)} optimizer), "
                f"{_gb(self.sent_a_step)} sent by each in a step.")


def training_memory(parameters: float, workers: int = 1, stage: int = 0, precision: Precision = "mixed",
                    activation_bytes: float = 0.0) -> TrainingMemory:
    """Bytes that training with Adam holds on each of `workers`.

    Args:
        parameters: of the model.
        stage: 0, every worker holds everything; 1, the optimizer's state is shared out; 2, the gradients too;
            3, the weights too (what PyTorch calls FSDP with full sharding).
        precision: "mixed" (16-bit weights and gradients, fp32 master copy) or "fp32".
        activation_bytes: on each worker, measured or estimated; no stage shares them out.

    Raises:
        InputError: an unknown stage or precision, or a number that makes no sense.
    """
    if stage not in STAGES or precision not in _BYTES:
        raise InputError(f"Stages are 0, 1, 2 and 3, precisions mixed and fp32; got {stage} and '{precision}'.")
    if not (parameters > 0 and workers >= 1 and activation_bytes >= 0):
        raise InputError(f"A model has parameters and a run has workers; got {parameters:g} and {workers}.")
    weights, gradients, optimizer = (parameters * each for each in _BYTES[precision])
    sent = _VOLUME[stage] * weights * (workers - 1) / workers
    return TrainingMemory(stage, workers, weights / (workers if stage >= 3 else 1),
                          gradients / (workers if stage >= 2 else 1), optimizer / (workers if stage >= 1 else 1),
                          activation_bytes, sent)


def workers_needed(parameters: float, device: str, stage: int, precision: Precision = "mixed",
                   activation_bytes: float = 0.0) -> int | None:
    """The fewest workers whose memory holds the training; None where no number does.

    Args:
        device: a name in helpers/facts/hardware.csv, such as "NVIDIA A100 80GB SXM".

    Raises:
        InputError: no such device, or no sourced memory size.
    """
    room = device_memory(device)
    alone = training_memory(parameters, 1, stage, precision, activation_bytes)
    shared = (alone.optimizer * (stage >= 1) + alone.gradients * (stage >= 2) + alone.weights * (stage >= 3))
    kept = alone.total - shared
    if alone.total <= room:
        return 1
    return math.ceil(shared / (room - kept)) if shared and kept < room else None


def device_memory(device: str) -> float:
    """Bytes of memory of a device of helpers/facts/hardware.csv."""
    sizes = {row["device"]: row["memory_gib"] for row in read_facts("hardware")}
    if device not in sizes:
        raise InputError(f"There is no device '{device}'. Known: {', '.join(name for name in sizes if sizes[name])}.")
    if not sizes[device]:
        raise InputError(f"{device} has no sourced memory size: choose another device, or add it with its source to "
                         "helpers/facts/hardware.csv.")
    return float(sizes[device]) * 2**30


def _gb(count: float) -> str:
    return f"{count / 1e9:,.3g} GB" if count < 1e12 else f"{count / 1e9:,.0f} GB"

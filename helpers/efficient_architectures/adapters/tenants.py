"""Many tenants on one encoder: each has an adapter and a head, and a batch may mix them."""

import gc
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from safetensors.torch import load_file
from torch import Tensor

from helpers.efficient_architectures.adapters.layers import RowOwners, add_tenants
from helpers.efficient_architectures.adapters.tuning import Tuned, merge
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.machine import return_free_memory
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.models.model import load
from helpers.lab.models.modules.classifiers import MeanPoolClassifier
from helpers.lab.models.packing import save_weights
from helpers.lab.training.heads import pretrained
from helpers.lab.training.weights import MINILM

BATCH = 32
ROUNDS = 7  # of timing


class TenantBank:
    """One base in memory, N adapters stacked beside it.

    Args:
        tuned: the tenants, all of one kind ("lora" or "bottleneck") and rank, tuned from `encoder`.

    Raises:
        InputError: no tenant, or tenants of different or other kinds, or with heads of another form.
    """

    def __init__(self, tuned: Sequence[Tuned], encoder: str | Path = MINILM) -> None:
        if not all(isinstance(one.model.module, MeanPoolClassifier) for one in tuned):
            raise InputError("Tenants share a batch where each head is one linear layer on the mean of the token "
                             "vectors: tune them from an encoder, not from a classifier.")
        if {one.kind for one in tuned} not in ({"lora"}, {"bottleneck"}) or len({one.rank for one in tuned}) != 1:
            raise InputError("Tenants that share a batch must all have LoRA, or all bottlenecks, of one rank.")
        module, self.tokenizer = pretrained(encoder, 1)
        self._owners = RowOwners()
        self._classes = [one.model.card.classes for one in tuned]
        self._encoder = add_tenants(module, [one.delta for one in tuned], self._owners)
        self._target = next(module.parameters()).device
        self._weight, self._bias = (stacked.to(self._target) for stacked in _heads(tuned))

    def __len__(self) -> int:
        return len(self._classes)

    @property
    def bytes(self) -> int:
        """Of the base and all tenants together, as they lie in memory."""
        parts = [*self._encoder.parameters(), *self._encoder.buffers(), self._weight, self._bias]
        return sum(part.numel() * part.element_size() for part in parts)

    @torch.inference_mode()
    def predict(self, texts: Sequence[str], tenants: Sequence[int]) -> np.ndarray:
        """(n, most classes) float32 logits; -inf for classes that a row's tenant does not have.

        Args:
            tenants: (n,) whose text each is, numbered as they were given.

        Raises:
            InputError: a number for each text is missing, or is no tenant's.
        """
        owners = np.asarray(tenants, np.int64)
        if len(owners) != len(texts) or (len(owners) and not 0 <= owners.min() <= owners.max() < len(self)):
            raise InputError(f"Each text needs the number of its tenant, from 0 to {len(self) - 1}.")
        logits = np.empty((len(texts), self._weight.shape[1]), np.float32)
        rows = self.tokenizer.encode(texts)
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        for start in range(0, len(order), BATCH):
            part = order[start:start + BATCH]
            padded = self.tokenizer.pad([rows[row] for row in part])
            ids, mask = (torch.from_numpy(array).to(self._target) for array in padded)
            self._owners.rows = torch.from_numpy(owners[part]).to(self._target)
            means = self._encoder.embed(ids, mask)
            scores = torch.einsum("nd,ncd->nc", means, self._weight[self._owners.rows]) + self._bias[self._owners.rows]
            logits[part] = scores.cpu().numpy()
        return logits


def _heads(tuned: Sequence[Tuned]) -> tuple[Tensor, Tensor]:
    """Weights (N, most classes, width) and biases (N, most classes); a class that a tenant has not never wins."""
    most = max(one.model.card.classes for one in tuned)
    width = tuned[0].delta["classifier.weight"].shape[1]
    weight, bias = torch.zeros(len(tuned), most, width), torch.full((len(tuned), most), -math.inf)
    for number, one in enumerate(tuned):
        classes = one.model.card.classes
        weight[number, :classes], bias[number, :classes] = one.delta["classifier.weight"], one.delta["classifier.bias"]
    return weight, bias


def tenant_tasks(task: Task, tenants: int, labels_each: int = 6, seed: int = 0,
                 train_rows: int | None = None) -> list[Task]:
    """The task as several customers would have it: each with some of the labels, and only their rows.

    Raises:
        InputError: no tenant, or fewer than two labels each, or more than there are.
    """
    if tenants < 1 or not 2 <= labels_each <= len(task.labels):
        raise InputError(f"At least one tenant with 2 to {len(task.labels)} labels is needed, not {tenants} with "
                         f"{labels_each}.")
    rng = random.Random(seed)
    labels = [sorted(rng.sample(range(len(task.labels)), labels_each)) for _ in range(tenants)]
    return [_restricted(task, some, f"{task.name} of tenant {number}").take(train=train_rows)
            for number, some in enumerate(labels, start=1)]


def _restricted(task: Task, labels: list[int], name: str) -> Task:
    import datasets

    names = [task.labels[label] for label in labels]
    new = {label: number for number, label in enumerate(labels)}
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})

    def part(split: datasets.Dataset) -> datasets.Dataset:
        rows = [{"text": text, "label": new[label]}
                for text, label in zip(split["text"][:], split["label"][:], strict=True) if label in new]
        return datasets.Dataset.from_list(rows, features=features)

    return Task(name, part(task.train), part(task.validation), part(task.test), tuple(names), task.source)


def switch_times(tuned: Tuned, task: Task, folder: Path, rounds: int = 5) -> pd.DataFrame:
    """Seconds to get ready for another tenant: a whole model from disk, or an adapter into the loaded one.

    Args:
        folder: where the model and the adapter are written, and read from.

    Returns:
        One row a way: way, seconds (median), bytes read. A bank needs no switch at all.

    Raises:
        InputError: bottlenecks, which no plain model can hold; see merge.
    """
    whole = merge(tuned, task)
    whole.save(folder / "whole")
    save_weights(tuned.delta, folder / "adapter.safetensors")
    module = tuned.model.module

    def swap() -> None:
        module.load_state_dict(load_file(folder / "adapter.safetensors"), strict=False)

    ways = {"load a whole model": (lambda: load(folder / "whole"), folder / "whole" / "weights.safetensors"),
            "load an adapter": (swap, folder / "adapter.safetensors")}
    with timing_turn():
        seconds = seconds_in_turns({way: work for way, (work, _) in ways.items()}, rounds)
    return pd.DataFrame([{"way": way, "seconds": float(np.median(seconds[way])), "bytes": file.stat().st_size}
                         for way, (_, file) in ways.items()])


def mixed_overhead(bank: TenantBank, plain: Callable[[Sequence[str]], object],
                   texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of `texts` through one plain model, and through the bank with tenants mixed: (ROUNDS,) each, in turns."""
    owners = [row % len(bank) for row in range(len(texts))]
    with timing_turn():
        seconds = seconds_in_turns({"plain": lambda: plain(texts), "mixed": lambda: bank.predict(texts, owners)},
                                   ROUNDS)
    return seconds["plain"], seconds["mixed"]


def resident_growth(make: Callable[[], object], times: int) -> tuple[object, int]:
    """What `make()` gave the last time, and by how many bytes this process grew while it held `times` of it.

    What earlier work freed goes back to the system first: else it is handed out again, and nothing seems to grow.
    """
    gc.collect()
    return_free_memory()
    before = psutil.Process().memory_info().rss
    objects = [make() for _ in range(times)]
    return objects[-1], psutil.Process().memory_info().rss - before

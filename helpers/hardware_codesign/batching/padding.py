"""Texts have many lengths, a batch has one: what padding costs, and four ways to pay less for it."""

import copy
import time
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch

from helpers.hardware_codesign.roofline.peaks import Ceilings, torch_threads
from helpers.hardware_codesign.roofline.time_model import encoder_work
from helpers.lab.errors import InputError
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.models.torch import MeanPoolClassifier, TorchTextModel
from helpers.lab.training.tokenizer import pad

Pad = Literal["fixed", "longest", "sorted", "packed"]
PADS: tuple[Pad, ...] = ("fixed", "longest", "sorted", "packed")


def batches_of(lengths: Sequence[int], batch: int, how: Pad = "longest",
               fixed: int = 128) -> list[tuple[list[int], int]]:
    """Rows dealt into batches: [(row numbers, width in tokens), ...].

    Args:
        lengths: tokens of each row.
        how: 'fixed' pads all to `fixed`; 'longest' pads to the longest row of a batch as it comes; 'sorted' does
            that after sorting by length; 'packed' lays the rows end to end, so that its width is their sum.

    Raises:
        InputError: no such way, an empty batch, or a row longer than `fixed`.
    """
    if how not in PADS:
        raise InputError(f"There is no padding '{how}'. Known: {', '.join(PADS)}.")
    if batch < 1 or not len(lengths):
        raise InputError("Padding needs a batch size of at least 1 and at least one row.")
    if how == "fixed" and max(lengths) > fixed:
        raise InputError(f"A row has {max(lengths)} tokens, more than the fixed width of {fixed}: raise it.")
    order = sorted(range(len(lengths)), key=lengths.__getitem__) if how == "sorted" else list(range(len(lengths)))
    found = []
    for start in range(0, len(order), batch):
        rows = order[start:start + batch]
        own = [lengths[row] for row in rows]
        found.append((rows, {"fixed": fixed, "packed": sum(own)}.get(how, max(own))))
    return found


def padding_share(lengths: Sequence[int], batch: int, how: Pad = "longest", fixed: int = 128) -> float:
    """Share of the multiplied tokens that are padding."""
    plan = batches_of(lengths, batch, how, fixed)
    total = sum(width if how == "packed" else width * len(rows) for rows, width in plan)
    return 1 - sum(lengths) / total


def compare_padding(model: TorchTextModel, texts: Sequence[str], ceilings: Ceilings, *, batch: int = 16,
                    fixed: int = 128, rounds: int = 5, pads: Sequence[Pad] = PADS) -> pd.DataFrame:
    """Each way to pad in PyTorch, in turns on the same texts, tokenizing included.

    Returns:
        Columns: padding, rows_per_s, padding_share, utilisation (operations on real tokens a second, over the
        ceiling), largest_difference (of a logit from the first way's).
    """
    rows = model.encoder.encode(texts)
    run = {how: _runner(model, how, batch, fixed) for how in pads}
    spent: dict[str, list[float]] = {how: [] for how in pads}
    with timing_turn(), torch_threads(ceilings.threads or usable_cores()):
        logits = {how: run[how](texts) for how in pads}  # warms up as well
        for _ in range(rounds):
            for how in pads:
                began = time.perf_counter()
                run[how](texts)
                spent[how].append(time.perf_counter() - began)
    lengths = [len(row) for row in rows]
    work = encoder_work(model.module, lengths)
    useful = float(work.set_index("length").loc[lengths][["linear", "attention"]].to_numpy().sum())
    first = logits[pads[0]]
    return pd.DataFrame([{"padding": how, "rows_per_s": len(texts) / float(np.median(spent[how])),
                          "padding_share": padding_share(lengths, batch, how, fixed),
                          "utilisation": useful / float(np.median(spent[how])) / ceilings.rate("fp32"),
                          "largest_difference": float(np.abs(logits[how] - first).max())} for how in pads])


def _runner(model: TorchTextModel, how: Pad, batch: int, fixed: int):
    classify = packed_logits if how == "packed" else _padded_logits

    def run(texts: Sequence[str]) -> np.ndarray:
        rows = model.encoder.encode(texts)
        logits = np.empty((len(rows), model.card.classes), np.float32)
        for part, width in batches_of([len(row) for row in rows], batch, how, fixed):
            logits[part] = classify(model, [rows[row] for row in part], width)
        return logits
    return run


@torch.inference_mode()
def _padded_logits(model: TorchTextModel, rows: list[list[int]], width: int) -> np.ndarray:
    ids, mask = pad(rows)
    wider = ((0, 0), (0, width - ids.shape[1]))
    return model.module(torch.from_numpy(np.pad(ids, wider)), torch.from_numpy(np.pad(mask, wider))).float().numpy()


@torch.inference_mode()
def packed_logits(model: TorchTextModel, rows: list[list[int]], _width: int = 0) -> np.ndarray:
    """(n, classes) logits of rows laid end to end in one sequence, each seeing itself only.

    No token is padding; attention still forms all pairs of the sequence, so few rows at a time are best.
    Positions start anew for each row (Krell et al., arXiv 2107.02027).

    Raises:
        InputError: not a mean-pooling encoder.
    """
    if not isinstance(model.module, MeanPoolClassifier):
        raise InputError("Packing is written for encoders with a mean over the tokens; this model has its own head.")
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.tensor([token for row in rows for token in row])[None]
    positions = torch.cat([torch.arange(length) for length in lengths.tolist()])[None]
    owner = torch.repeat_interleave(torch.arange(len(rows)), lengths)
    mine = (owner[:, None] == owner[None, :])[None, None]
    states = model.module.encoder(input_ids=ids, position_ids=positions, attention_mask=mine).last_hidden_state[0]
    sums = torch.zeros(len(rows), states.shape[1]).index_add_(0, owner, states)
    return model.module.classifier(sums / lengths[:, None]).float().numpy()


def with_rows_by(model: TorchTextModel, micro_batch: int) -> TorchTextModel:
    """The same model, its texts sorted by length and run `micro_batch` at a time."""
    other = copy.copy(model)
    other.card = model.card.derive(f"{model.card.name}, rows by {micro_batch}", model.card.strategy, 0.0,
                                   micro_batch=micro_batch)
    return other

"""Texts have many lengths, a batch has one: what padding costs, and four ways to pay less for it."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch

from helpers.hardware_codesign.options import PADDINGS, Padding
from helpers.hardware_codesign.roofline.peaks import torch_threads
from helpers.hardware_codesign.roofline.time_model import encoder_work
from helpers.lab.errors import InputError
from helpers.lab.facts import Peaks
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.models.modules.classifiers import MeanPoolClassifier
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent


def plan_batches(lengths: Sequence[int], batch: int, padding: Padding = "longest",
                 fixed: int = 128) -> list[tuple[list[int], int]]:
    """Rows dealt into batches: [(row numbers, width in tokens), ...].

    Args:
        lengths: tokens of each row.
        padding: 'fixed' pads all to `fixed`, or to a longer row that is among them; 'longest' pads to the longest row
            of a batch as it comes; 'sorted' does that after sorting by length; 'packed' lays the rows end to end, so
            that its width is their sum.

    Raises:
        InputError: an unknown padding, or an empty batch.

    >>> from helpers.hardware_codesign.batching.padding import plan_batches
    >>> plan_batches([5, 3, 9, 2], batch=2, padding="sorted")
    [([3, 1], 3), ([0, 2], 9)]
    """
    if padding not in PADDINGS:
        raise InputError(f"Unknown padding '{padding}'. Choose one of: {', '.join(PADDINGS)}.")
    if batch < 1 or not len(lengths):
        raise InputError("Padding needs a batch size of at least 1 and at least one row.")
    order = list(range(len(lengths)))
    if padding == "sorted":
        order.sort(key=lengths.__getitem__)
    plan = []
    for start in range(0, len(order), batch):
        rows = order[start:start + batch]
        tokens = [lengths[row] for row in rows]
        plan.append((rows, {"fixed": max(fixed, *tokens), "packed": sum(tokens)}.get(padding, max(tokens))))
    return plan


def padding_share(lengths: Sequence[int], batch: int, padding: Padding = "longest", fixed: int = 128) -> float:
    """Share of the multiplied tokens that are padding."""
    plan = plan_batches(lengths, batch, padding, fixed)
    total = sum(width if padding == "packed" else width * len(rows) for rows, width in plan)
    return 1 - sum(lengths) / total


def compare_padding(model: TorchTextModel, texts: Sequence[str], peaks: Peaks, *, batch: int = 16, fixed: int = 128,
                    rounds: int = 5, progress: Progress = silent) -> pd.DataFrame:
    """Each way to pad in PyTorch, in turns on the same texts, tokenizing included.

    Returns:
        Columns: padding, rows_per_s, padding_share, utilisation (operations on real tokens a second, over the
        peak), largest_difference (of a logit from the first way's).

    Raises:
        InputError: no texts, or a model that cannot be packed.
        Cancelled: `progress` cancelled the work.
    """
    run = {padding: _runner(model, padding, batch, fixed) for padding in PADDINGS}
    works = {padding: functools.partial(run[padding], texts) for padding in PADDINGS}
    with timing_turn(progress), torch_threads(peaks.threads or usable_cores()):
        logits = {padding: run[padding](texts) for padding in PADDINGS}
        seconds = seconds_in_turns(works, rounds, progress=progress)
    lengths = [len(row) for row in model.encoder.encode(texts)]
    work = encoder_work(model.module, lengths)
    useful = float(work.set_index("length").loc[lengths][["linear", "attention"]].to_numpy().sum())
    median = {padding: float(np.median(spent)) for padding, spent in seconds.items()}
    return pd.DataFrame([{"padding": padding, "rows_per_s": len(texts) / median[padding],
                          "padding_share": padding_share(lengths, batch, padding, fixed),
                          "utilisation": useful / median[padding] / peaks.rate("fp32"),
                          "largest_difference": float(np.abs(logits[padding] - logits[PADDINGS[0]]).max())}
                         for padding in PADDINGS])


def _runner(model: TorchTextModel, padding: Padding, batch: int, fixed: int) -> Callable[[Sequence[str]], np.ndarray]:
    classify = packed_logits if padding == "packed" else _padded_logits

    def run(texts: Sequence[str]) -> np.ndarray:
        rows = model.encoder.encode(texts)
        logits = np.empty((len(rows), model.card.classes), np.float32)
        for part, width in plan_batches([len(row) for row in rows], batch, padding, fixed):
            logits[part] = classify(model, [rows[row] for row in part], width)
        return logits
    return run


@torch.inference_mode()
def _padded_logits(model: TorchTextModel, rows: list[list[int]], width: int) -> np.ndarray:
    ids, mask = model.encoder.pad(rows)
    wider = ((0, 0), (0, width - ids.shape[1]))
    ids = np.pad(ids, wider, constant_values=model.encoder.pad_id)
    return model.module(torch.from_numpy(ids), torch.from_numpy(np.pad(mask, wider))).float().numpy()


@torch.inference_mode()
def packed_logits(model: TorchTextModel, rows: list[list[int]], _width: int = 0) -> np.ndarray:
    """(n, classes) logits of rows laid end to end in one sequence, each seeing itself only.

    No token is padding; attention still forms all pairs of the sequence, so few rows at a time are best.
    Positions start from zero in each row (Krell et al., arXiv 2107.02027).

    Raises:
        InputError: not a mean-pooling encoder.
    """
    if not isinstance(model.module, MeanPoolClassifier):
        raise InputError("Packing is written for encoders with a mean over the tokens; this model has another head.")
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.tensor([token for row in rows for token in row])[None]
    positions = torch.cat([torch.arange(length) for length in lengths.tolist()])[None]
    row_of = torch.repeat_interleave(torch.arange(len(rows)), lengths)
    same_row = (row_of[:, None] == row_of[None, :])[None, None]
    states = model.module.encoder(input_ids=ids, position_ids=positions, attention_mask=same_row).last_hidden_state[0]
    sums = torch.zeros(len(rows), states.shape[1]).index_add_(0, row_of, states)
    return model.module.classifier(sums / lengths[:, None]).float().numpy()

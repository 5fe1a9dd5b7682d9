"""Importance: by first order it is the finite difference of the loss, by magnitude the squares of what would go."""

import copy

import numpy as np
import pytest
import torch
from tiny_texts import rows_and_labels
from torch.nn import functional

from helpers.lab.data.tokenizer import pad
from helpers.model_optimization import anatomy
from helpers.model_optimization.encoder.importance import magnitude, taylor
from helpers.model_optimization.encoder.structured import keep_heads

HEAD = 16  # numbers in a head of the tiny model: 2 layers, 4 heads, 128 neurons, width 64


def gated_losses(module, model, task, scale_heads: dict, rows) -> np.ndarray:
    """The loss of each row with single heads or neurons scaled by a factor."""
    module, labels = copy.deepcopy(module).double(), torch.tensor(task.train["label"][:rows])
    for (kind, layer, index), factor in scale_heads.items():
        parts = anatomy(module).layers[layer]
        dense = parts.attention.output.dense if kind == "heads" else parts.output.dense
        with torch.no_grad():
            dense.weight[:, index * HEAD:(index + 1) * HEAD] *= factor if kind == "heads" else 1
            dense.weight[:, index] *= factor if kind == "neurons" else 1
    found = []
    for row, label in zip(model.encoder.encode(task.train["text"][:rows]), labels, strict=True):
        ids, mask = (torch.from_numpy(array) for array in pad([row]))
        with torch.inference_mode():
            found.append(float(functional.cross_entropy(module(ids, mask), label[None])))
    return np.array(found)


@pytest.mark.parametrize("part", [("heads", 0, 2), ("heads", 1, 0), ("neurons", 0, 100), ("neurons", 1, 7)])
def test_taylor_importance_is_the_squared_finite_difference_of_each_rows_loss(tiny_model, tiny_task, part):
    rows, step = 12, 1e-4
    up, down = (gated_losses(tiny_model.module, tiny_model, tiny_task, {part: 1 + sign * step}, rows)
                for sign in (1, -1))
    expected = np.square((up - down) / (2 * step)).mean()
    ids, labels = rows_and_labels(tiny_model, tiny_task)
    found = taylor(tiny_model.module, ids[:rows], labels[:rows], batch=5)
    kind, layer, index = part
    assert getattr(found, kind)[layer][index] == pytest.approx(expected, rel=1e-3)


def test_a_part_that_does_nothing_has_no_importance(tiny_model, tiny_task):
    module = copy.deepcopy(tiny_model.module)
    layer = module.encoder.encoder.layer[0]
    with torch.no_grad():
        layer.attention.output.dense.weight[:, :HEAD] = 0
        layer.output.dense.weight[:, 9] = 0
    found = taylor(module, *(part[:20] for part in rows_and_labels(tiny_model, tiny_task)))
    assert found.heads[0][0] == 0
    assert found.neurons[0][9] == 0
    assert sorted(found.neurons[0])[1] > 0


def test_magnitude_is_the_sum_of_squares_of_what_would_go(tiny_model):
    found = magnitude(tiny_model.module)
    total = sum(p.numel() and float(p.detach().square().sum()) for p in tiny_model.module.parameters())
    for index in (0, 1):
        without = keep_heads(tiny_model.module, {index: [0, 1, 3]})
        biases = sum(float(getattr(tiny_model.module.encoder.encoder.layer[index].attention.self, name).bias[
            2 * HEAD:3 * HEAD].square().sum()) for name in ("query", "key", "value"))
        left = sum(float(p.detach().square().sum()) for p in without.parameters())
        assert found.heads[index][2] == pytest.approx(total - left - biases, rel=1e-3)
    assert found.layers.shape == (2,)
    assert found.width.shape == (64,)

"""Importance: by first order it is the finite difference of the loss, by magnitude the squares of what would go."""

import copy

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES, small_classifier
from tiny_texts import rows_and_labels
from torch.nn import functional

from helpers.lab.data.tokenizer import pad
from helpers.lab.training.architectures import CUTTABLE
from helpers.model_optimization import anatomy
from helpers.model_optimization.encoder.importance import magnitude, taylor
from helpers.model_optimization.encoder.structured import keep_heads

CUT = [name for name in ARCHITECTURES if name in CUTTABLE]
HEAD = 16  # numbers in a head of the tiny model: 2 layers, 4 heads, 128 neurons, width 64


def gated_losses(module, rows, labels, scale: dict) -> np.ndarray:
    """The loss of each row with single heads or neurons scaled by a factor."""
    module = copy.deepcopy(module).double()
    parts = anatomy(module)
    for (kind, layer, index), factor in scale.items():
        size = parts.head_size if kind == "heads" else 1
        out = parts.attention_out(parts.layers[layer]) if kind == "heads" else parts.ffn_out(parts.layers[layer])
        with torch.no_grad():
            out.weight[:, index * size:(index + 1) * size] *= factor
    results = []
    for row, label in zip(rows, labels, strict=True):
        ids, mask = (torch.from_numpy(array) for array in pad([row]))
        with torch.inference_mode():
            results.append(float(functional.cross_entropy(module(ids, mask), torch.tensor([label]))))
    return np.array(results)


@pytest.mark.parametrize("part", [("heads", 0, 2), ("heads", 1, 0), ("neurons", 0, 50), ("neurons", 1, 7)])
@pytest.mark.parametrize("name", [None, *CUT])
def test_taylor_importance_is_the_squared_finite_difference_of_each_rows_loss(tiny_model, tiny_task, name, part):
    step = 1e-4
    module, rows, labels = tiny_model.module, *(half[:12] for half in rows_and_labels(tiny_model, tiny_task))
    if name:
        module, rows = small_classifier(name), [[1 + token % 49 for token in row] for row in rows]
    up, down = (gated_losses(module, rows, labels, {part: 1 + sign * step}) for sign in (1, -1))
    expected = np.square((up - down) / (2 * step)).mean()
    result = taylor(module, rows, labels, batch=5)
    kind, layer, index = part
    assert getattr(result, kind)[layer][index] == pytest.approx(expected, rel=1e-3)


def test_a_part_that_does_nothing_has_no_importance(tiny_model, tiny_task):
    module = copy.deepcopy(tiny_model.module)
    layer = module.encoder.encoder.layer[0]
    with torch.no_grad():
        layer.attention.output.dense.weight[:, :HEAD] = 0
        layer.output.dense.weight[:, 9] = 0
    result = taylor(module, *(part[:20] for part in rows_and_labels(tiny_model, tiny_task)))
    assert result.heads[0][0] == 0
    assert result.neurons[0][9] == 0
    assert sorted(result.neurons[0])[1] > 0


def test_magnitude_is_the_sum_of_squares_of_what_would_go(tiny_model):
    result = magnitude(tiny_model.module)
    total = sum(p.numel() and float(p.detach().square().sum()) for p in tiny_model.module.parameters())
    for index in (0, 1):
        without = keep_heads(tiny_model.module, {index: [0, 1, 3]})
        biases = sum(float(getattr(tiny_model.module.encoder.encoder.layer[index].attention.self, name).bias[
            2 * HEAD:3 * HEAD].square().sum()) for name in ("query", "key", "value"))
        left = sum(float(p.detach().square().sum()) for p in without.parameters())
        assert result.heads[index][2] == pytest.approx(total - left - biases, rel=1e-3)
    assert result.layers.shape == (2,)
    assert result.width.shape == (64,)

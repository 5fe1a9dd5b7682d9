"""Zeros among the weights: the smallest ones, as many as asked, and what they pay."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.lab import InputError
from helpers.lab.models.model import folder_bytes
from helpers.model_optimization import compressed_bytes, prune
from helpers.model_optimization.encoder.parts import layer_weights
from helpers.model_optimization.pruning.unstructured import cubic, magnitude_masks, pattern_masks


@given(sparsity=st.floats(0, 0.99), scope=st.sampled_from(["global", "layer"]), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_magnitude_zeros_the_smallest_and_as_many_as_asked(sparsity, scope, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = {"a": torch.randn(4, 6, generator=generator), "b": 3 * torch.randn(5, 5, generator=generator)}
    masks = magnitude_masks(weights, sparsity, scope)
    pools = [["a", "b"]] if scope == "global" else [["a"], ["b"]]
    for pool in pools:
        values, kept = (torch.cat([part[name].flatten() for name in pool]) for part in (weights, masks))
        assert int((~kept).sum()) == round(sparsity * len(values))
        if kept.any() and (~kept).any():
            assert values[~kept].abs().max() <= values[kept].abs().min()


@pytest.mark.parametrize(("kept", "group"), [(2, 4), (1, 4), (4, 8)])
def test_a_pattern_keeps_the_largest_of_each_group(kept, group):
    weight = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    mask = pattern_masks({"a": weight}, kept, group)["a"]
    for row, kept_row in zip(weight.abs().tolist(), mask.tolist(), strict=True):
        for start in range(0, 16, group):
            order = sorted(range(start, start + group), key=lambda place: -row[place])
            assert [place for place in range(start, start + group) if kept_row[place]] == sorted(order[:kept])


def test_the_cubic_schedule_is_zhu_and_guptas():
    assert [cubic(0.8, step, 4) for step in (0, 4)] == [0, pytest.approx(0.8)]
    assert cubic(0.8, 1, 4) == pytest.approx(0.8 + (0 - 0.8) * (1 - 1 / 4) ** 3)
    gains = np.diff([cubic(0.8, step, 10) for step in range(11)])
    assert (np.diff(gains) < 0).all()


def test_zeros_pay_in_a_compressed_artefact_only(tiny_model, tiny_task, tmp_path):
    """A mask costs at least its entropy, and the random digits of what stays cannot be compressed."""
    sizes = {}
    for share in (0.0, 0.5, 0.9):
        model = prune(tiny_model, tiny_task, "magnitude", share)
        model.save(tmp_path / str(share))
        packed = [compressed_bytes(model, codec) for codec in ("zlib", "zstd")]
        sizes[share] = [folder_bytes(tmp_path / str(share)), *packed]
    weights = sum(layer.weight.numel() for layer in layer_weights(tiny_model.module).values())
    assert sizes[0.9][0] == pytest.approx(sizes[0.0][0], rel=1e-3)
    for codec in (1, 2):
        saved = sizes[0.0][codec] - sizes[0.9][codec]
        most = 4 * 0.9 * weights  # every zero's four bytes gone for nothing
        assert 0.6 * most < saved < most
        assert sizes[0.9][codec] < sizes[0.5][codec] < sizes[0.0][codec]


def test_an_unknown_codec_is_named(tiny_model):
    with pytest.raises(InputError, match=r"Unknown codec 'rar'. Choose one of: zlib, zstd\."):
        compressed_bytes(tiny_model, "rar")

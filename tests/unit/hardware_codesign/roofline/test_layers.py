"""A model's layers under the roofline."""

import pytest
import torch

from helpers.hardware_codesign.roofline.layers import (
    group_layers,
    intensities,
    layer_roofline,
    roofline_points,
    why_slow,
)
from helpers.hardware_codesign.roofline.time_model import encoder_work
from helpers.lab.facts import Peaks

ROOF = Peaks("a machine", {"fp32": 100e9, "int8": 200e9}, 10e9, threads=1)


def inputs_of(batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(1, 1000, (batch, length), generator=torch.Generator().manual_seed(0))
    return ids, torch.ones_like(ids)


def test_the_roofline_turns_at_the_ridge():
    points = roofline_points(ROOF)
    at_ridge = points[points["intensity"] == 10.0]
    assert at_ridge["flops_per_s"].item() == pytest.approx(100e9)
    assert points["flops_per_s"].max() == pytest.approx(100e9)
    assert points.iloc[0]["flops_per_s"] == pytest.approx(points.iloc[0]["intensity"] * 10e9)


def test_layers_have_shares_that_add_up_and_bounds_by_their_intensity(tiny_model):
    placed = layer_roofline(tiny_model.module, inputs_of(2, 16), ROOF, rounds=2)
    assert placed["share"].sum() == pytest.approx(1)
    assert set(placed.loc[placed["intensity"] < ROOF.ridge(), "bound"]) <= {"memory"}
    whole = group_layers(placed, ROOF)
    assert whole["flops"].sum() == placed["flops"].sum()
    assert whole["layer"].str.contains(r"layer\.\*\.").any()
    assert whole.iloc[0]["layer"] in why_slow(whole)


def test_layers_in_few_bits_stay_under_the_roofline_of_their_precision():
    peaks = Peaks("a machine", {"fp32": 1e9, "bf16": 4e9}, 1e12, threads=1)
    layers = layer_roofline(torch.nn.Linear(64, 64).bfloat16(), [torch.rand(8, 64).bfloat16()], peaks, rounds=2)
    assert layers["paper_s"].sum() == pytest.approx(2 * 8 * 64 * 64 / 4e9)
    assert group_layers(layers, peaks)["paper_s"].sum() == pytest.approx(layers["paper_s"].sum())


def test_intensity_grows_with_the_batch_towards_that_of_the_activations(tiny_model):
    work = encoder_work(tiny_model.module, (16,))
    grown = intensities(work, ROOF, (1, 8, 10_000))["intensity"].tolist()
    assert grown == sorted(grown)
    one = work.iloc[0]
    assert grown[-1] == pytest.approx((one["linear"] + one["attention"]) / one["activation_bytes"], rel=0.05)

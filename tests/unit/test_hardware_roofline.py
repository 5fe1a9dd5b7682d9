"""The roofline: operations and bytes against counts by hand, the fit against known laws, ceilings against their use."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.hardware_codesign import (
    Ceilings,
    device_ceilings,
    encoder_work,
    fit_times,
    grouped,
    intensities,
    measure_ceilings,
    operators,
    place,
    roof_points,
    time_grid,
    why_slow,
)
from helpers.hardware_codesign.roofline.counting import layer_seconds
from helpers.hardware_codesign.roofline.data_sheets import device_of
from helpers.hardware_codesign.roofline.peaks import _int8_product, recorded_ceilings, torch_threads
from helpers.hardware_codesign.roofline.time_model import judged, tokenize_seconds
from helpers.lab import InputError, offers
from helpers.lab.machine import usable_cores

ROOF = Ceilings("a machine", {"fp32": 100e9, "int8": 200e9}, 10e9, threads=1)


def inputs_of(batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(1, 1000, (batch, length), generator=torch.Generator().manual_seed(0))
    return ids, torch.ones_like(ids)


@pytest.mark.parametrize(("batch", "fan_in", "fan_out"), [(1, 7, 5), (8, 64, 32)])
def test_a_linear_layer_is_counted_as_by_hand(batch, fan_in, fan_out):
    row = operators(nn.Linear(fan_in, fan_out), torch.rand(batch, fan_in)).iloc[0]
    weights = 4 * (fan_in * fan_out + fan_out)
    assert row["flops"] == 2 * batch * fan_in * fan_out
    assert row["weight_bytes"] == weights
    assert row["bytes"] == weights + 4 * batch * (fan_in + fan_out)


def test_a_convolution_is_counted_as_by_hand():
    row = operators(nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.rand(2, 3, 16, 16)).iloc[0]
    assert row["flops"] == 2 * 2 * 8 * 16 * 16 * 3 * 9
    assert row["bytes"] == 4 * (2 * 3 * 16 * 16 + 8 * 3 * 9 + 2 * 8 * 16 * 16)


def test_an_activation_moves_what_it_reads_and_writes_and_multiplies_nothing():
    row = operators(nn.GELU(), torch.rand(4, 10)).iloc[0]
    assert (row["kind"], row["flops"], row["bytes"]) == ("elementwise", 0, 2 * 4 * 40)


def test_an_embedding_moves_the_rows_asked_for_and_not_the_table():
    row = operators(nn.Embedding(10_000, 16), torch.tensor([[1, 2, 3]])).iloc[0]
    assert row["bytes"] == 2 * 3 * 16 * 4 + 3 * 8


def test_the_parts_add_up_to_what_pytorch_counts(tiny_model):
    found = operators(tiny_model.module, *inputs_of(2, 12))
    heads, size, layers = 4, 16, 2
    attention = found.loc[found["kind"] == "attention", "flops"].sum()
    assert attention == layers * 4 * 2 * heads * 12 * 12 * size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tiny_model.module(*inputs_of(2, 12))
    assert found["flops"].sum() == counter.get_total_flops() + attention  # on CPUs the counter leaves attention out


def test_counting_and_timing_leave_the_answers_as_they_are(tiny_model):
    texts = ["a cat and a dog", "rain"]
    before = tiny_model.predict(texts)
    operators(tiny_model.module, *inputs_of(1, 4))
    seconds = layer_seconds(tiny_model.module, *inputs_of(1, 4), rounds=2)
    np.testing.assert_array_equal(tiny_model.predict(texts), before)
    assert all(value >= 0 for value in seconds.values())
    assert "encoder.encoder.layer.1.intermediate.dense" in seconds


def test_wrong_inputs_are_a_sentence(tiny_model):
    with pytest.raises(InputError, match="does not run on these inputs"):
        operators(tiny_model.module, torch.rand(2, 3))


def test_the_least_time_is_the_slower_of_the_two():
    assert ROOF.ridge() == 10
    assert ROOF.seconds(100e9, 1e9) == 1.0
    assert ROOF.seconds(1e9, 20e9) == 2.0
    assert ROOF.seconds(100e9, 1e9, "int8") == 0.5
    with pytest.raises(InputError, match="bf16"):
        ROOF.rate("bf16")


def test_the_roof_turns_at_the_ridge():
    points = roof_points(ROOF)
    at_ridge = points[points["intensity"] == 10.0]
    assert at_ridge["flops_per_s"].item() == pytest.approx(100e9)
    assert points["flops_per_s"].max() == pytest.approx(100e9)
    assert points.iloc[0]["flops_per_s"] == pytest.approx(points.iloc[0]["intensity"] * 10e9)


def test_placed_layers_have_shares_that_add_up_and_bounds_by_their_intensity(tiny_model):
    placed = place(tiny_model.module, inputs_of(2, 16), ROOF, rounds=2)
    assert placed["share"].sum() == pytest.approx(1)
    assert set(placed.loc[placed["intensity"] < ROOF.ridge(), "bound"]) <= {"memory"}
    whole = grouped(placed, ROOF)
    assert whole["flops"].sum() == placed["flops"].sum()
    assert whole["layer"].str.contains(r"layer\.\*\.").any()
    assert whole.iloc[0]["layer"] in why_slow(whole)


def test_intensity_grows_with_the_batch_towards_that_of_the_activations(tiny_model):
    work = encoder_work(tiny_model.module, (16,))
    grown = intensities(work, ROOF, (1, 8, 10_000))["intensity"].tolist()
    assert grown == sorted(grown)
    one = work.iloc[0]
    assert grown[-1] == pytest.approx((one["linear"] + one["attention"]) / one["activation_bytes"], rel=0.05)


def test_work_grows_linearly_in_layers_and_with_the_square_in_attention(tiny_model):
    work = encoder_work(tiny_model.module, (16, 64)).set_index("length")
    assert work.loc[64, "attention"] == 16 * work.loc[16, "attention"]
    assert work.loc[64, "linear"] == pytest.approx(4 * work.loc[16, "linear"], rel=0.01)


def known_points(work: pd.DataFrame, batches=(1, 4, 16, 64), lengths=(16, 64)) -> pd.DataFrame:
    by_length = work.set_index("length")
    return pd.DataFrame([
        {"batch": b, "length": n, "seconds": 0.002 + b * (by_length.loc[n, "linear"] / 80e9
                                                          + by_length.loc[n, "attention"] / 20e9)}
        for b in batches for n in lengths])


def test_a_fit_finds_the_law_that_made_the_points():
    work = pd.DataFrame({"length": [16, 64], "linear": [16e6, 64e6], "attention": [1e6, 16e6]})
    points = known_points(work)
    model, told = judged(points, work, fitted_on=[(1, 16), (64, 16), (64, 64), (4, 64)])
    assert model.fixed == pytest.approx(0.002, rel=1e-6)
    assert model.linear_rate == pytest.approx(80e9, rel=1e-6)
    assert model.attention_rate == pytest.approx(20e9, rel=1e-6)
    assert told.loc[~told["fitted"], "error"].abs().max() < 1e-6
    assert told["fitted"].sum() == 4


def test_a_fit_needs_points(tiny_model):
    work = encoder_work(tiny_model.module, (16,))
    with pytest.raises(InputError, match="three"):
        fit_times(pd.DataFrame({"batch": [1], "length": [16], "seconds": [1.0]}), work)
    with pytest.raises(InputError, match="at most 4 tokens"):
        time_grid({}, (8,), (16,), largest=4)


def test_a_grid_times_every_call_at_every_point():
    seen = []
    frame = time_grid({"a": lambda ids, mask: seen.append(ids.shape), "b": lambda ids, mask: None}, (1, 3), (4, 8),
                      rounds=2, largest=16)
    assert len(frame) == 2 * 3  # 3 rows of 8 tokens are too many
    assert set(seen) == {(1, 4), (1, 8), (3, 4)}
    assert (frame["seconds"] >= 0).all()


def test_measured_ceilings_are_positive_and_caches_are_not_slower_than_memory():
    found = measure_ceilings(1, seconds=0.03)
    assert found.flops["fp32"] > 1e9
    assert found.bandwidth > 1e8
    assert found.cached > 0.5 * found.bandwidth
    row = pd.DataFrame([{"threads": 1, **found.flops, "bandwidth": found.bandwidth, "cached": found.cached}])
    assert recorded_ceilings(row).flops == found.flops


def test_the_int8_product_is_the_product():
    out = _int8_product(8, 1)()[0]
    rng = np.random.default_rng(0)
    right = rng.integers(-63, 64, (8, 8))
    left = rng.integers(0, 256, (8, 8))
    np.testing.assert_array_equal(out, left @ right)


@pytest.mark.parametrize("threads", [0, usable_cores() + 1])
def test_more_threads_than_cores_have_no_ceiling(threads):
    with pytest.raises(InputError, match="threads must be"):
        measure_ceilings(threads)


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


SHEETS = {**{name: name for name in ("NVIDIA T4", "NVIDIA L4", "NVIDIA A10G", "NVIDIA L40S")},
          "NVIDIA A100 40GB": "NVIDIA A100 40GB SXM", "NVIDIA A100 80GB": "NVIDIA A100 80GB SXM",
          "NVIDIA H100 SXM 80GB": "NVIDIA H100 SXM", "NVIDIA H100 80GB": "NVIDIA H100 SXM",
          "NVIDIA B200": "NVIDIA B200 SXM", "AWS Inferentia2": "AWS Inferentia2", "TPU v5e": "Google TPU v5e",
          "AWS Trainium1": None, "NVIDIA H100 NVL": None}


def test_each_offers_accelerator_has_its_own_sheet_or_none():
    for accelerator in {one.accelerator for one in offers().values() if one.accelerator}:
        assert device_of(accelerator) == SHEETS[accelerator], accelerator


def test_an_unknown_device_is_a_sentence():
    assert device_ceilings("NVIDIA H100 SXM").ridge("bf16") == pytest.approx(989e12 / 3350e9)
    with pytest.raises(InputError, match="Known: NVIDIA T4"):
        device_ceilings("NVIDIA Z1")


def test_tokenizing_takes_time(tiny_model):
    assert 0 < tokenize_seconds(tiny_model, [f"a cat and {number} dogs" for number in range(500)]) < 0.1
    with pytest.raises(InputError, match="at least ten texts"):
        tokenize_seconds(tiny_model, ["a cat"])

"""The fit of times against known laws."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import helpers
from helpers.hardware_codesign.roofline.time_model import (
    encoder_work,
    fit_and_validate,
    fit_device,
    fit_times,
    least_s,
    time_grid,
    tokenize_seconds,
)
from helpers.lab import InputError
from helpers.lab.facts import Peaks, device_peaks
from helpers.lab.measuring.recorded import read_table

RECORDED = Path(helpers.__file__).parent / "facts" / "recorded"


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
    model, result = fit_and_validate(points, work, fitted_on=[(1, 16), (64, 16), (64, 64), (4, 64)])
    assert model.fixed == pytest.approx(0.002, rel=1e-6)
    assert model.linear_rate == pytest.approx(80e9, rel=1e-6)
    assert model.attention_rate == pytest.approx(20e9, rel=1e-6)
    assert result.loc[~result["fitted"], "error"].abs().max() < 1e-6
    assert result["fitted"].sum() == 4


def test_an_accelerator_s_fit_finds_the_law_that_made_the_points():
    work = pd.DataFrame({"length": [16, 64], "linear": [16e6, 64e6], "attention": [1e6, 16e6],
                         "activation_bytes": [1e6, 4e6], "weight_bytes": [1e7, 1e7]})
    peaks = Peaks("a GPU", {"fp32": 1e12, "bf16": 8e12}, 1e11)
    rows = []
    for precision, bits in (("fp32", 1.0), ("bf16", 0.5)):
        for batch in (1, 64, 1024):
            for length, flops in ((16, 17e6), (64, 80e6)):
                roof = max(batch * flops / peaks.rate(precision), bits * (batch * length / 16 * 1e6 + 1e7) / 1e11)
                rows += [{"precision": precision, "batch": batch, "length": length, "launched": launched,
                          "seconds": slower * (0.0004 + roof / 0.6)} for launched, slower in (("a", 1), ("b", 3))]
    result = fit_device(pd.DataFrame(rows), work, peaks)
    assert (result.launch_s, result.efficiency) == pytest.approx((0.0004, 0.6), rel=1e-6)
    assert result.error < 1e-6
    with pytest.raises(InputError, match="two lengths"):
        fit_device(pd.DataFrame(rows[:1]), work, peaks)


def test_the_recorded_accelerator_is_below_its_roofline():
    points, work = (read_table(RECORDED / f"3_hardware_codesign_{name}.json") for name in ("gpu_encoder", "work"))
    peaks = device_peaks("NVIDIA H100 SXM")
    roof = np.array([max(least_s(work, peaks, row.precision, row.batch, row.length)) for row in points.itertuples()])
    assert (roof < points["seconds"]).all()
    result = fit_device(points, work, peaks)
    assert 0.3 < result.efficiency < 0.8
    assert result.error < 0.5


def test_a_fit_needs_points(tiny_model):
    work = encoder_work(tiny_model.module, (16,))
    with pytest.raises(InputError, match="three"):
        fit_times(pd.DataFrame({"batch": [1], "length": [16], "seconds": [1.0]}), work)
    with pytest.raises(InputError, match="at most 4 tokens"):
        time_grid({}, (8,), (16,), max_tokens=4)


def test_a_grid_times_every_call_at_every_point():
    seen = []
    frame = time_grid({"a": lambda ids, mask: seen.append(ids.shape), "b": lambda ids, mask: None}, (1, 3), (4, 8),
                      rounds=2, max_tokens=16)
    assert len(frame) == 2 * 3  # 3 rows of 8 tokens are too many
    assert set(seen) == {(1, 4), (1, 8), (3, 4)}
    assert (frame["seconds"] >= 0).all()


def test_tokenizing_takes_time(tiny_model):
    assert 0 < tokenize_seconds(tiny_model, [f"a cat and {number} dogs" for number in range(500)]) < 0.1
    with pytest.raises(InputError, match="at least ten texts"):
        tokenize_seconds(tiny_model, ["a cat"])

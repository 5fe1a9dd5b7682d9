"""Prefill and decode: counts by hand, a fit that finds the figures behind made times, a record that is read again."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from helpers.hardware_codesign.language_serving.phase_model import (
    DECODE,
    FITTED_ON,
    PREFILL,
    PhaseModel,
    StepCounts,
    fit_phases,
    on_paper,
    phase_figures,
    recorded_phases,
)
from helpers.lab import InputError
from helpers.lab.facts import Peaks

# SmolLM2-135M in fp32, by its config.json: 30 layers, 576 wide, 9 heads of 64, 3 of them for keys and values.
BODY = 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536)
COUNTS = StepCounts(body=BODY, head=49152 * 576, stored=4.0 * (BODY + 49152 * 576), kv_bytes=2 * 30 * 192 * 4,
                    attention=4 * 30 * 576)
POINTS = [(PREFILL, 1, prompt) for prompt in (16, 32, 64, 128, 256, 512, 1024)] + [
    (DECODE, batch, prompt) for batch in (1, 2, 4, 8, 16, 32) for prompt in (16, 64, 128, 256, 1024)
    if batch * prompt <= 2048]


def made(model, noise=0.0):
    """Points with the times that a model gives."""
    points = pd.DataFrame([(phase, batch, prompt, prompt + 4.5 * (phase == DECODE)) for phase, batch, prompt in POINTS],
                          columns=["phase", "batch", "prompt", "context"])
    rng = np.random.default_rng(0)
    return points.assign(seconds=[model.seconds(row.phase, row.batch, row.context) * math.exp(rng.normal(0, noise))
                                  for row in points.itertuples()])


def test_a_prompt_is_arithmetic_and_one_token_is_memory():
    peaks = Peaks("made up", {"fp32": 1e11}, 1e10)
    at = on_paper(made(PhaseModel(COUNTS, 0.0, 0.0, 5e10, 1e10, True)), COUNTS, peaks).set_index(
        ["phase", "batch", "prompt"])
    assert at.loc[(PREFILL, 1, 1024), "bound"] == "arithmetic"
    assert at.loc[(PREFILL, 1, 1024), "reached"] == pytest.approx(0.5)
    assert at.loc[(DECODE, 1, 64), "bound"] == "memory"
    assert at.loc[(DECODE, 1, 64), "reached"] == pytest.approx(1.0)
    by_hand = 2 * BODY * 1024 + 2 * 49152 * 576 + 4 * 30 * 576 * sum(range(1, 1025))
    assert at.loc[(PREFILL, 1, 1024), "flops"] == by_hand


@pytest.mark.parametrize("overlap", [True, False])
def test_the_fit_finds_the_figures_behind_the_times(overlap):
    model = PhaseModel(COUNTS, 0.002, 0.0005, 8e10, 1.2e10, overlap)
    result, checked = fit_phases(made(model), COUNTS)
    assert result.overlap == overlap
    for name in ("fixed_s", "sequence_s", "rate", "bandwidth"):
        assert getattr(result, name) == pytest.approx(getattr(model, name), rel=1e-3)
    assert checked["fitted"].sum() == len(FITTED_ON)
    assert checked["error"].abs().max() < 1e-3


def test_noise_of_five_percent_leaves_errors_of_that_size():
    _, checked = fit_phases(made(PhaseModel(COUNTS, 0.002, 0.0005, 8e10, 1.2e10, True), noise=0.05), COUNTS)
    unseen = checked.loc[~checked["fitted"], "error"].abs()
    assert unseen.median() < 0.1
    assert unseen.quantile(0.9) < 0.2


def test_decode_turns_where_both_times_are_the_same():
    model = PhaseModel(COUNTS, 0.002, 0.0005, 8e10, 1.2e10, True)
    batch = model.turning_batch(context=64)
    flops, moved = COUNTS.work(DECODE, batch, 64)
    assert flops / model.rate == pytest.approx(moved / model.bandwidth)
    assert dataclasses.replace(model, rate=1e13).turning_batch(context=1024) == math.inf


def test_too_few_points_are_refused():
    points = made(PhaseModel(COUNTS, 0.002, 0.0005, 8e10, 1.2e10, True))
    for some, fitted_on in ((points[:3], FITTED_ON), (points, FITTED_ON[:4]), (points, POINTS),
                            (points.assign(seconds=0.0), FITTED_ON)):
        with pytest.raises(InputError, match="at least five of the points"):
            fit_phases(some, COUNTS, fitted_on)


def test_a_recorded_model_predicts_the_same():
    """Infinite figures are empty in a table."""
    for rate, overlap in ((8e10, True), (math.inf, False)):
        model = PhaseModel(COUNTS, 0.002, 0.0005, rate, 1.2e10, overlap)
        row = pd.DataFrame([phase_figures(model)]).replace(math.inf, math.nan).iloc[0]
        assert recorded_phases(row) == model

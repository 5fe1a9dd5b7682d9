"""Real training on two processes learns what one learns, and is timed with and without exchange."""

import dataclasses

import numpy as np
import pytest

from helpers.cloud_distributed.training import communication
from helpers.cloud_distributed.training.data_parallel import (
    Settings,
    measured_overlap,
    predicted_step_s,
    train_distributed,
)
from helpers.lab import InputError

SMALL = {"width": 48, "layers": 2, "steps": 12}


@pytest.fixture(scope="module")
def runs():
    """The same 64 rows a step: by one worker, by two that accumulate twice, by two that send bf16."""
    return {"one": train_distributed(1, Settings(batch=64, **SMALL)),
            "two": train_distributed(2, Settings(batch=16, accumulate=2, **SMALL)),
            "bf16": train_distributed(2, Settings(batch=32, compress=True, **SMALL))}


def test_two_workers_that_accumulate_learn_what_one_learns(runs):
    np.testing.assert_allclose(runs["two"].weights, runs["one"].weights, atol=2e-5)
    np.testing.assert_allclose(runs["two"].losses, runs["one"].losses, rtol=1e-4)
    assert runs["one"].losses[-1] < runs["one"].losses[0]
    assert runs["one"].gradient_bytes == 4 * (64 * 48 + 48 + 48 * 48 + 48 + 48 * 10 + 10)


def test_gradients_sent_as_bf16_teach_nearly_the_same(runs):
    moved = np.linalg.norm(runs["one"].weights - runs["bf16"].weights)
    assert 0 < moved < 0.02 * np.linalg.norm(runs["one"].weights)  # bf16 keeps 8 bits, so it cannot be the same


def test_each_step_is_timed_with_and_without_exchange(runs):
    for run in runs.values():
        assert run.step_s.shape == run.compute_s.shape == (12,)
        assert min(run.step_s.min(), run.compute_s.min()) > 0
        assert run.rows_per_s == pytest.approx(64 / np.median(run.step_s))


def test_the_overlap_is_what_the_model_needs_to_match_a_run(runs):
    link = communication.Link.given(1e-3, 1e9, "a test")
    exchange = 2e-3 + runs["two"].gradient_bytes / 1e9
    for visible in (0.25 * exchange, exchange, 3 * exchange):
        run = dataclasses.replace(runs["two"], compute_s=np.full(12, 0.1), step_s=np.full(12, 0.1 + visible))
        assert measured_overlap(run, link) == pytest.approx(1 - visible / exchange)
        assert predicted_step_s(run, link, measured_overlap(run, link))[0] == pytest.approx(0.1 + visible)
    half = dataclasses.replace(run, settings=runs["bf16"].settings)
    assert predicted_step_s(half, link)[0] == pytest.approx(0.1 + 2e-3 + run.gradient_bytes / 2e9)
    with pytest.raises(InputError, match="One worker exchanges nothing"):
        measured_overlap(runs["one"], link)
    too_quick = dataclasses.replace(runs["two"], compute_s=np.full(12, 0.1), step_s=np.full(12, 0.09))
    with pytest.raises(InputError, match="10 ms less than their computing alone, which cannot be"):
        measured_overlap(too_quick, link)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="counted from 1"):
        train_distributed(1, Settings(batch=0))

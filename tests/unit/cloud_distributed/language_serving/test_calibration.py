"""Calibration on engines whose constants are known, and on the recorded steps of an H100 that it has not seen."""

import numpy as np
import pandas as pd
import pytest
from small_llama import smollm2

from helpers.app import recorded_table
from helpers.cloud_distributed import fit_engine, judge_engine, measure_steps, paper_engine, step_points
from helpers.cloud_distributed.language_serving.calibration import _prompt
from helpers.lab import DECODERS, DecoderSheet, InputError
from helpers.lab.language.engines.model import Answer, LanguageModel
from helpers.lab.measuring import timing

GRID = pd.DataFrame([(p, 0, p) for p in (16, 64, 256, 1024)] + [(0, b, b * c) for b in (1, 4, 16) for c in (64, 512)],
                    columns=["prompt", "batch", "read"])
UNSEEN = pd.DataFrame([(700, 0, 700), (0, 8, 8 * 300), (0, 2, 2 * 1000), (2048, 0, 2048)],
                      columns=["prompt", "batch", "read"])


def sum_of(points):
    return 0.004 + 2e-4 * points["prompt"] + 3e-4 * points["batch"] + 1e-7 * points["read"]


def roofline_of(points):
    tokens = points["prompt"] + points["batch"]
    return np.maximum(1e-3 + 2e-4 * tokens, 0.02 + 1e-4 * points["batch"] + 1e-7 * points["read"])


@pytest.mark.parametrize("law", [sum_of, roofline_of])
def test_the_constants_of_a_known_engine_are_found_and_hold_elsewhere(law):
    engine = fit_engine(GRID.assign(seconds=law(GRID)), kv_tokens=1000)
    assert judge_engine(engine, UNSEEN.assign(seconds=law(UNSEEN)))["error"].abs().max() < 1e-6
    assert engine.kv_tokens == 1000


def test_noise_of_three_percent_is_not_blown_up():
    noisy = GRID.assign(seconds=sum_of(GRID) * np.exp(0.03 * np.random.default_rng(0).standard_normal(len(GRID))))
    errors = judge_engine(fit_engine(noisy, 1000), UNSEEN.assign(seconds=sum_of(UNSEEN)))["error"].abs()
    assert errors.median() < 0.05
    assert errors.max() < 0.15


def test_an_h100_calibrated_on_six_steps_is_known_at_the_others():
    """Median error at most 15%, 90th percentile 30%, at steps that were not fitted."""
    points = step_points(recorded_table("3_hardware_codesign_gpu_decoder").query("model == 'Llama 3.1 8B'"))
    fitted = points["prompt"].isin([16, 512, 4096]) | (points["batch"] == 64)
    fitted |= (points["batch"] == 1) & points["read"].isin([128, 4096])
    errors = judge_engine(fit_engine(points[fitted], 400_000), points[~fitted])["error"].abs()
    assert (fitted.sum(), len(errors)) == (6, 5)
    assert errors.median() <= 0.15
    assert errors.quantile(0.9) <= 0.30


class ByConstants(LanguageModel):
    """Takes as long as its constants say, by a clock of its own, and writes as many tokens as it may.

    `cached` tokens of a template stand before each prompt, and are read once for all.
    """

    engine = "synthetic"
    start_s, prompt_s, batch_s, read_s = 0.004, 3e-5, 5e-4, 1e-6
    passed_s, cached = 0.0, None

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def generate(self, prompts, *, max_tokens=64, stop=(), form=None, progress=None):
        new = self.count_tokens(prompts)
        lengths = [(self.cached or 0) + one for one in new]
        seconds = self.start_s + self.prompt_s * sum(new) + self.read_s * sum(lengths)
        for k in range(max_tokens - 1):
            seconds += self.start_s + self.batch_s * len(lengths) + self.read_s * (sum(lengths) + k * len(lengths))
        self.passed_s += seconds
        return [Answer("one", (), length, "length", max_tokens, self.cached) for length in lengths]

    def score(self, prompt, answers, *, progress=None):
        raise NotImplementedError

    def _save(self, folder):
        raise NotImplementedError


@pytest.mark.parametrize("cached", [None, 25])
def test_measured_steps_give_the_constants_back(tmp_path, monkeypatch, cached):
    """A template in the server's cache takes no time to read: counted, it makes short prompts cheap and others dear."""
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path))
    model = ByConstants("by constants", 4096, 0)
    model.cached = cached

    def seconds_of(work):
        began = model.passed_s
        work()
        return model.passed_s - began

    monkeypatch.setattr(timing, "seconds_of", seconds_of)
    points = measure_steps(model, max_tokens=8, rounds=3)
    engine = fit_engine(points, kv_tokens=1000)
    truth = ByConstants.start_s + ByConstants.batch_s * 6 + ByConstants.read_s * 6 * 100
    assert float(engine.step_s(0, 6, 600, 600)) == pytest.approx(truth, rel=0.01)
    assert float(engine.step_s(600, 0, 600, 600)) == pytest.approx(
        ByConstants.start_s + (ByConstants.prompt_s + ByConstants.read_s) * 600, rel=0.01)


def test_a_model_that_writes_nothing_cannot_be_timed(monkeypatch, tmp_path):
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path))
    with pytest.raises(InputError, match="wrote too little"):
        measure_steps(ByConstants("by constants", 4096, 0), prompts=(16,), batches=(1,), max_tokens=1, rounds=1)


def test_a_recorded_table_becomes_points_by_hand():
    table = pd.DataFrame({"phase": ["prefill", "decode", "decode"], "batch": [1, 8, 8], "context": [512, 100, 100],
                          "seconds": [0.2, 0.03, 0.05]})
    points = step_points(table).sort_values("prompt").reset_index(drop=True)
    assert points[["prompt", "batch", "read"]].to_numpy().tolist() == [[0, 8, 800], [512, 0, 512]]
    np.testing.assert_allclose(points["seconds"], [0.04, 0.2])


def test_an_engine_on_paper_is_judged_by_its_own_steps():
    sheet = DecoderSheet(DECODERS["Llama 3.1 8B"], "NVIDIA H100 SXM")
    points = pd.DataFrame({"prompt": [2000, 0], "batch": [0, 8], "read": [2000, 8 * 500],
                           "seconds": [sheet.prefill_s(2000), sheet.decode_s(8, 500)]})
    np.testing.assert_allclose(judge_engine(paper_engine(sheet), points)["error"], 0.0, atol=1e-9)


@pytest.mark.parametrize(("points", "message"), [
    (GRID, "there is no seconds"), (GRID.head(4).assign(seconds=1.0), "5 points or more"),
    (GRID.assign(seconds=0.0), "more than 0 seconds")])
def test_points_that_cannot_be_are_refused(points, message):
    with pytest.raises(InputError, match=message):
        fit_engine(points, 1000)


@pytest.mark.parametrize("tokens", [64, 320])
def test_the_shipped_model_answers_the_prompts_of_a_calibration_at_length(tokens):
    """Behind filler words alone it ended at once from some 300 tokens on, and no token could be timed."""
    llm = smollm2("llama.cpp")
    [answer] = llm.generate([_prompt(llm, tokens)], max_tokens=6)
    assert answer.answer_tokens == 6
    assert answer.prompt_tokens == pytest.approx(tokens, rel=0.1, abs=45)  # the chat's template comes on top

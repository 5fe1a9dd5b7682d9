"""The benchmark of a served language model runs whole on a tiny one, and each row says whether it holds."""

import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
from faulty_server import paris, refusal
from tiny_gguf import tiny_gguf

from benchmarks import language_serving
from helpers.hardware_codesign import PacedServer
from helpers.lab import InputError, endpoint
from helpers.lab.language.gguf import in_weight_type


@pytest.mark.slow
def test_a_quick_look_at_a_tiny_model_has_each_figure_with_its_target(tmp_path, monkeypatch):
    parts = ["tester", "phases", "switches", "steps"]
    file = in_weight_type(tiny_gguf(), "F16")  # OpenVINO reads no fp32 from GGUF
    monkeypatch.setattr(sys, "argv", ["", "--quick", "--task", str(file), "--json", str(tmp_path / "rows.json"),
                                      "--only", *parts])
    language_serving.main()
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    judged = {row["name"]: row for row in rows if row["target"]}
    assert len(judged) == len([row for row in rows if row["holds"] is not None]) == 10
    assert all(math.isfinite(row["value"]) for row in judged.values())
    # What does not depend on how busy this machine is:
    assert judged["load tester: requests or tokens that are not the log's"]["holds"]
    assert judged["the same answers as one by one"]["holds"]
    named = {row["name"] for row in rows if not row["target"]}
    assert {"static batches, over one by one", "continuous batching, over static batches",
            "with prefix caching, over continuous batching"} == named


@pytest.mark.parametrize(("factor", "holds"), [(1.1, True), (1.3, False)])
def test_simulated_times_are_judged_by_how_far_they_are_off(factor, holds):
    real = pd.DataFrame({"ttft_s": [1.0, 2.0, 4.0], "per_token_s": [0.1, 0.2, 0.3]})
    rows = language_serving._simulated_rows("at load 1", real, factor * real, 0.15)
    assert [row.value for row in rows] == pytest.approx([factor - 1] * 4)
    assert [row.holds for row in rows] == [holds] * 4


def test_a_load_on_a_real_server_has_its_lengths_and_times():
    words, limits = np.array([20, 3, 7]), np.array([4, 1, 6])
    with PacedServer(first_s=0.3, token_s=0.1, slots=3) as paced:
        real = language_serving.fleet_load(endpoint(paced.url, model="paced"), np.array([0.0, 0.0, 0.1]), words, limits)
    assert real["prompt"].tolist() == words.tolist()
    assert real["output"].tolist() == limits.tolist()
    assert real["ttft_s"].tolist() == pytest.approx([0.3] * 3, abs=0.2)
    assert real["per_token_s"].tolist() == pytest.approx([0.1, math.nan, 0.1], abs=0.08, nan_ok=True)


def test_a_load_with_a_request_that_fails_is_not_compared(faulty):
    faulty.script = [paris(), paris(), refusal(500, "no disk")]
    with pytest.raises(InputError, match=r"did not answer each request .*no disk"):
        language_serving.fleet_load(endpoint(faulty.url, model="small"), np.array([0.0, 0.4]), np.array([2, 2]),
                                    np.array([4, 4]))

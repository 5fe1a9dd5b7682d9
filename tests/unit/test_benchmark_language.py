"""The benchmarks of language models run on a tiny one, and each row says whether it holds."""

import gc
import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
from faulty_server import paris, refusal
from tiny_gguf import tiny_gguf

from benchmarks import language_model, language_serving
from benchmarks.peers import guidellm
from helpers.cloud_distributed import LlmFleet, fit_engine, serve_llm
from helpers.hardware_codesign.language_serving.paced_server import PacedServer
from helpers.lab import InputError, endpoint
from helpers.lab.extraction.scores import MESSAGE, ExtractionScore
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


@pytest.mark.parametrize(("cached", "off"), [(0, False), (200, False), (200, True)])
def test_a_fleet_is_simulated_with_what_the_server_read_and_not_with_what_it_had(cached, off, monkeypatch):
    """The server stands for one that takes exactly what is simulated, and has the beginning of each prompt."""
    steps = pd.DataFrame({"prompt": [16, 128, 512, 0, 0, 0, 0], "batch": [0, 0, 0, 1, 4, 4, 1],
                          "read": [16, 128, 512, 64, 256, 1280, 320]})
    steps["seconds"] = 0.004 + 4e-4 * steps["prompt"] + 1e-3 * steps["batch"] + 1e-7 * steps["read"]
    engine = fit_engine(steps, language_serving.KV_TOKENS)

    def real(llm, arrivals, words, limits):
        run = serve_llm(arrivals, words, limits, LlmFleet(engine, max_batch=4))
        hidden = 0 if off else cached  # a benchmark that does not know of the cache takes all tokens as read
        return pd.DataFrame({"prompt": words + cached, "cached": hidden, "output": limits, "ttft_s": run.ttft_s,
                             "per_token_s": run.per_token_s})

    monkeypatch.setattr(language_serving, "measure_steps", lambda llm, batches: steps)
    monkeypatch.setattr(language_serving, "fleet_load", real)
    model = type("Model", (), {"name": "one of a kind"})
    rows = [row for row in language_serving.fleet_engine_rows(model, 4, 60.0) if "simulated against" in row.name]
    judged = [row for row in rows if row.target]
    assert len(judged) == 16
    assert all(row.value == pytest.approx(0, abs=1e-9) for row in judged) is not off


@pytest.mark.slow
def test_a_quick_race_of_engines_asks_each_for_the_same_and_judges_it(tmp_path, monkeypatch):
    file = in_weight_type(tiny_gguf(), "F16")
    monkeypatch.setattr(sys, "argv", ["", "--quick", "--task", str(file), "--json", str(tmp_path / "rows.json"),
                                      "--only", "tokens"])
    language_model.main()
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())["rows"]}
    assert [row["target"] for row in rows.values() if row["target"]] == [">= 8", ">= 0.95", ">= 0.95"]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows.values() if row["target"])
    assert all(0 <= row["value"] <= 1 for row in rows.values() if not row["target"])
    assert rows["greedy answers of ours that are transformers'"]["value"] == 1


def scored(right: int) -> ExtractionScore:
    """The first `right` of a hundred messages."""
    return ExtractionScore({MESSAGE: np.arange(100) < right}, {}, {MESSAGE: 0.3})


@pytest.mark.parametrize(("tagger", "asked", "tuned", "usd", "holds"), [
    (90, 40, 85, 100.0, [True, True, False]),    # at the interval's worse end the cost is below a hundred times
    (80, 70, 90, 200.0, [False, False, True])])
def test_the_ladder_is_judged_at_the_worse_end_of_paired_intervals(tagger, asked, tuned, usd, holds):
    ladder = pd.DataFrame({"rung": ["tagger", "tuned"], "usd_per_million": [1.0, usd], "energy": [1.0, 50.0],
                           "energy_low": [1.0, 45.0], "energy_high": [1.0, 60.0]})
    rows = language_model.ladder_rows(ladder, {"tagger": scored(tagger), "instruction": scored(asked),
                                               "tuned": scored(tuned)})
    assert [row.holds for row in rows if row.target] == holds
    assert [row.value for row in rows] == pytest.approx([tuned - asked, tuned, 30, tagger - tuned, usd, 50.0])
    assert (rows[4].low, rows[4].high) == pytest.approx((0.9 * usd, 1.2 * usd))


@pytest.mark.parametrize(("delta", "low", "share", "holds"), [
    (0.05, 0.01, 0.15, [True, True]), (0.05, -0.01, 0.25, [False, False])])
def test_a_router_must_not_be_worse_and_cost_a_fifth(delta, low, share, holds):
    rows = language_model.router_rows({"best": "specialist", "delta": delta, "low": low, "high": 0.1,
                                       "best_cost_share": share}, "tuned")
    assert [row.holds for row in rows] == holds


def test_on_paper_a_further_token_takes_as_long_as_the_weights_are_large():
    speed = pd.DataFrame({"name": ["F16", "Q8_0", "Q4_0"], "megabytes": [400.0, 200.0, 100.0],
                          "per_token_s": [0.04, 0.02, 0.02]})
    order, *result = language_model.paper_rows(speed)
    assert not order.holds  # four bits are no quicker than eight here
    assert [row.value for row in result] == pytest.approx([2.0, 0.0, 2.0, -0.5])


@pytest.mark.parametrize(("faster", "holds"), [(250.0, True), (90.0, False)])
def test_a_specialist_is_judged_by_its_joules_and_its_paired_accuracy(new_measurement, faster, holds):
    general = new_measurement(model="general", joules_low=5.0, joules=10.0, joules_high=15.0)
    special = new_measurement(model="special", speedup=faster, speedup_low=0.9 * faster,
                              speedup_high=1.1 * faster, joules_low=0.02, joules=10 / faster, joules_high=1.0,
                              accuracy_delta=0.3, accuracy_delta_low=0.2, accuracy_delta_high=0.4, majority=0.1)
    quality, joules = language_model.specialist_rows(general, special)
    assert quality.holds
    assert joules.holds is holds
    assert joules.value == pytest.approx(faster)


def test_a_load_on_a_real_server_has_its_lengths_and_times():
    words, limits = np.array([20, 3, 7]), np.array([4, 1, 6])
    with PacedServer(first_s=0.3, token_s=0.1, slots=3) as paced:
        real = language_serving.fleet_load(endpoint(paced.url, model="paced"), np.array([0.0, 0.0, 0.1]), words, limits)
    assert real["prompt"].tolist() == words.tolist()
    assert real["output"].tolist() == limits.tolist()
    assert real["ttft_s"].tolist() == pytest.approx([0.3] * 3, abs=0.2)
    assert real["per_token_s"].tolist() == pytest.approx([0.1, math.nan, 0.1], abs=0.08, nan_ok=True)


def test_no_load_sends_what_an_earlier_one_sent(faulty):
    """The server would have it in its cache: at half the load it answered ten times as soon as simulated."""
    llm = endpoint(faulty.url, model="small")
    frames = [language_serving.fleet_load(llm, np.array([0.0, 0.0]), np.array([9, 9]), np.array([4, 4]))
              for _ in range(2)]
    sent = [body["messages"][-1]["content"] for _, _, body in faulty.seen if body["messages"][-1]["content"] != "Hello"]
    assert len(set(sent)) == 4
    assert frames[0]["cached"].tolist() == [5, 5]


def test_figures_beside_the_peer_are_judged_by_how_far_off_they_are(monkeypatch):
    """In the peer's place, what a paced server takes: 0.1 s to the first token and 0.02 s for each further one."""
    exact = {f"{share} {name}": value for share in ("p50", "p95")
             for name, value in (("first", 0.1), ("further", 0.02), ("last", 0.4))}
    monkeypatch.setenv(guidellm.PROGRAM, "guidellm")
    monkeypatch.setattr(guidellm, "load", lambda *settings: {**exact, "p95 last": 0.8})
    rows = language_serving.peer_rows(quick=True)
    assert len(rows) == 2 * len(exact)
    below = {row.name.partition(" token")[0]: row.value for row in rows if "80%" in row.name}
    assert below["p50 of the first"] < 0.3
    assert below["p95 of the last"] == pytest.approx(0.5, abs=0.2)
    assert not next(row for row in rows if row.name.startswith("p95 of the last")).holds


def test_without_the_peer_there_is_a_sentence_and_no_row(monkeypatch, capsys):
    monkeypatch.delenv(guidellm.PROGRAM, raising=False)
    monkeypatch.setenv("PATH", "")
    assert language_serving.peer_rows(quick=True) == []
    assert "not installed" in capsys.readouterr().out


def test_the_peers_figures_are_read_in_seconds():
    report = {name: {"successful": {"percentiles": {"p50": 20.0, "p95": 30.0}}}
              for name in ("time_to_first_token_ms", "inter_token_latency_ms", "request_latency")}
    assert guidellm.figures(report) == {"p50 first": 0.02, "p95 first": 0.03, "p50 further": 0.02, "p95 further": 0.03,
                                        "p50 last": 20.0, "p95 last": 30.0}


def test_the_local_server_answers_while_it_is_used():
    """It ends with its model, which nothing else holds."""
    with language_serving.served("tickets", str(in_weight_type(tiny_gguf(), "F16"))) as (llm, slots):
        gc.collect()
        assert len(llm.generate(["a"] * (slots + 1), max_tokens=2)) == slots + 1


def test_a_load_with_a_request_that_fails_is_not_compared(faulty):
    faulty.script = [paris(), paris(), refusal(500, "no disk")]
    with pytest.raises(InputError, match=r"did not answer each request .*no disk"):
        language_serving.fleet_load(endpoint(faulty.url, model="small"), np.array([0.0, 0.4]), np.array([2, 2]),
                                    np.array([4, 4]))

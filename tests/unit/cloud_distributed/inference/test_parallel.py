"""One model over several accelerators: bytes counted by hand, a pipeline stepped through, and what a slow link does."""

import dataclasses
import heapq

import numpy as np
import pytest

from helpers.cloud_distributed import Link, parallel_costs
from helpers.lab import DECODERS, DecoderSheet, InputError
from helpers.lab.language.sheet import Efficiency

SMALL = DecoderSheet(DECODERS["Llama 3.1 8B"], "NVIDIA H100 SXM")
LARGE = DecoderSheet(DECODERS["Llama 3.1 70B"], "NVIDIA H100 SXM")
AT_ONCE = Link.given(0.0, 1e18, "by hand")
SLOW = Link.given(1e-4, 1e8, "by hand")


def row_of(sheet, way, count, link=AT_ONCE, **settings):
    frame = parallel_costs(sheet, {"link": link}, accelerators=[count], **settings)
    return frame[frame["way"] == way].iloc[0]


@pytest.mark.parametrize("count", [2, 4, 8])
def test_what_is_sent_is_counted_by_hand(count):
    """32 layers, two rings each of 2 (n - 1) messages; 4,096 values of two bytes for each of 10 sequences."""
    tensor, pipeline = (row_of(SMALL, way, count, batch=10) for way in ("tensor", "pipeline"))
    assert tensor["messages"] == 32 * 2 * 2 * (count - 1)
    assert tensor["kilobytes"] == pytest.approx(32 * 2 * 2 * (count - 1) / count * 10 * 4096 * 2 / 1e3)
    assert pipeline["messages"] == count
    assert pipeline["kilobytes"] == pytest.approx(10 * 4096 * 2 / 1e3)


def test_one_accelerator_sends_nothing_and_both_ways_are_the_same():
    tensor, pipeline = (row_of(SMALL, way, 1, SLOW, batch=10) for way in ("tensor", "pipeline"))
    for column in ("first_ms", "token_ms", "tokens_per_s"):
        assert tensor[column] == pytest.approx(pipeline[column])
    assert tensor["messages"] == pipeline["messages"] == 0
    assert tensor["token_ms"] == pytest.approx(1e3 * SMALL.decode_s(10, 1000))


def test_one_sequence_gains_nothing_from_a_pipeline_and_much_from_tensors():
    sheet = dataclasses.replace(SMALL, efficiency=Efficiency(overhead_s=0.0))
    alone = row_of(sheet, "pipeline", 1, batch=1)
    assert row_of(sheet, "pipeline", 4, batch=1)["token_ms"] == pytest.approx(alone["token_ms"])
    assert row_of(sheet, "tensor", 4, batch=1)["token_ms"] == pytest.approx(alone["token_ms"] / 4)


@pytest.mark.parametrize(("count", "batch"), [(2, 1), (4, 8), (8, 64)])
def test_a_pipeline_takes_as_long_as_one_that_is_stepped_through(count, batch):
    groups, each = min(count, batch), batch / min(count, batch)
    stage_s = SMALL.step_s(each, each * 1000, each * 1000) / count
    hop_s = SLOW.latency_s + each * 4096 * 2 / SLOW.bytes_per_s
    free, events, tokens, rounds = [0.0] * count, [(0.0, group, 0) for group in range(groups)], 0, 200
    heapq.heapify(events)
    while tokens < rounds * groups:
        at, group, stage = heapq.heappop(events)
        done = max(at, free[stage]) + stage_s
        free[stage] = done
        tokens += stage == count - 1
        heapq.heappush(events, (done + hop_s, group, (stage + 1) % count))
    row = row_of(SMALL, "pipeline", count, SLOW, batch=batch)
    assert row["tokens_per_s"] == pytest.approx(tokens * each / max(free), rel=0.02)


def test_over_a_slow_link_tensors_lose_to_one_accelerator_and_to_a_pipeline():
    alone, tensor, pipeline = (row_of(SMALL, way, count, SLOW, batch=1)["token_ms"]
                               for way, count in (("tensor", 1), ("tensor", 4), ("pipeline", 4)))
    assert tensor > pipeline > alone


def test_a_model_that_does_not_fit_has_no_times():
    """70 billion weights of two bytes need two accelerators of 80 GiB, of which nine tenths may be filled."""
    frame = parallel_costs(LARGE, {"link": AT_ONCE}, accelerators=[1, 2])
    assert frame["fits"].tolist() == [False, False, True, True]
    assert frame["token_ms"].isna().tolist() == [True, True, False, False]
    assert np.isfinite(frame[frame["fits"]][["first_ms", "tokens_per_s"]].to_numpy()).all()


@pytest.mark.parametrize(("settings", "message"), [
    ({"batch": 0}, "counted from 1"), ({"accelerators": [3]}, "32 heads cannot be divided over 3")])
def test_counts_that_cannot_be_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        parallel_costs(SMALL, {"link": AT_ONCE}, **settings)

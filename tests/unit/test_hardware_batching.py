"""Padding against brute force, the batcher on paper against queueing theory, and the real one against its promises."""

import threading
import time

import numpy as np
import pandas as pd
import pytest

from helpers.hardware_codesign import (
    Ceilings,
    DynamicBatcher,
    batch_times,
    batches_of,
    best_delay,
    compare_layouts,
    compare_padding,
    highest_rate,
    knee,
    load_frame,
    make,
    open_loop,
    option,
    padding_share,
    simulate_batcher,
)
from helpers.hardware_codesign.batching.batch_sizes import batch_frame
from helpers.hardware_codesign.batching.batcher_model import p95_of, service_table, slowed
from helpers.hardware_codesign.batching.layouts import Layout, usual_layouts
from helpers.hardware_codesign.batching.load_test import times_of
from helpers.hardware_codesign.batching.padding import PADS, packed_logits
from helpers.lab import InputError
from helpers.lab.machine import usable_cores

LENGTHS = [5, 3, 9, 2, 7, 7]


@pytest.mark.parametrize(("how", "tokens"), [
    ("fixed", 6 * 16), ("longest", 2 * 5 + 2 * 9 + 2 * 7), ("sorted", 2 * 3 + 2 * 7 + 2 * 9), ("packed", sum(LENGTHS))])
def test_padding_is_what_counting_by_hand_gives(how, tokens):
    assert padding_share(LENGTHS, 2, how, fixed=16) == pytest.approx(1 - sum(LENGTHS) / tokens)


@pytest.mark.parametrize("how", PADS)
def test_every_row_is_in_one_batch_and_none_is_cut(how):
    plan = batches_of(LENGTHS, 4, how, fixed=16)
    assert sorted(row for rows, _ in plan for row in rows) == list(range(len(LENGTHS)))
    assert all(width >= max(LENGTHS[row] for row in rows) for rows, width in plan)
    assert all(len(rows) <= 4 for rows, _ in plan)


@pytest.mark.parametrize(("arguments", "said"), [
    (([3], 1, "shortest"), "Known: fixed"), (([3], 0), "at least 1"), (([], 2), "at least one row"),
    (([30], 1, "fixed", 16), "raise it")])
def test_padding_that_cannot_be_is_a_sentence(arguments, said):
    with pytest.raises(InputError, match=said):
        batches_of(*arguments)


def test_packed_rows_answer_as_rows_alone_do(tiny_model, tiny_task):
    rows = tiny_model.encoder.encode(tiny_task.test["text"][:7])
    alone = np.concatenate([packed_logits(tiny_model, [row]) for row in rows])
    np.testing.assert_allclose(packed_logits(tiny_model, rows), alone, atol=1e-4)
    np.testing.assert_allclose(alone, tiny_model.predict(tiny_task.test["text"][:7]), atol=1e-4)


def test_all_ways_to_pad_give_the_same_answers(tiny_model, tiny_task):
    frame = compare_padding(tiny_model, tiny_task.test["text"][:12], Ceilings("m", {"fp32": 1e12}, 1e10, threads=1),
                            batch=4, fixed=32, rounds=2).set_index("padding")
    assert list(frame.index) == list(PADS)
    assert (frame["largest_difference"] < 1e-3).all()
    assert frame.loc["packed", "padding_share"] == 0
    assert frame.loc["fixed", "padding_share"] > frame.loc["longest", "padding_share"]
    assert frame["utilisation"].between(0, 1, inclusive="neither").all()


def test_batch_times_have_each_size(tiny_model):
    times = batch_times(tiny_model, ["a cat", "rain and fog"], (1, 4), calls=3)
    assert {size: len(seconds) for size, seconds in times.items()} == {1: 3, 4: 3}
    assert list(batch_frame(times)["batch"]) == [1, 4]
    with pytest.raises(InputError, match="at least one text"):
        batch_times(tiny_model, [])


def test_the_knee_is_the_highest_throughput_within_the_target():
    frame = pd.DataFrame({"batch": [1, 8, 64], "p95_ms": [5.0, 30.0, 200.0], "rows_per_s": [200.0, 260.0, 300.0]})
    assert knee(frame, 100)["batch"] == 8
    assert knee(frame, 4) is None


FIXED = {1: np.full(9, 0.01), 64: np.full(9, 0.01)}  # any batch takes 10 ms


def test_single_requests_wait_as_pollaczek_and_khinchin_say():
    """M/D/1: the mean wait is rho s / (2 (1 - rho))."""
    latencies = simulate_batcher(FIXED, rate=60.0, delay_s=0.0, largest=1, requests=200_000)
    assert latencies.mean() == pytest.approx(0.01 + 0.6 * 0.01 / (2 * 0.4), rel=0.02)


def test_an_idle_batcher_adds_its_delay_and_no_more():
    latencies = simulate_batcher(FIXED, rate=0.1, delay_s=0.03, largest=8, requests=500)
    assert np.quantile(latencies, 0.5) == pytest.approx(0.04)


def test_a_fixed_batch_waits_until_it_is_full():
    """The first of 8 waits for 7 more: 3.5 gaps on average."""
    latencies = simulate_batcher(FIXED, rate=100.0, delay_s=0.0, largest=8, requests=80_000, wait_for_full=True)
    assert latencies.mean() == pytest.approx(0.01 + 3.5 / 100, rel=0.03)


def test_service_times_lie_between_those_measured():
    table = service_table({1: np.array([0.01]), 5: np.array([0.03])}, 10)
    assert table[1:6, 0] == pytest.approx([0.01, 0.015, 0.02, 0.025, 0.03])
    assert table[10, 0] == pytest.approx(0.06)


def test_the_highest_rate_holds_the_target_and_half_more_does_not():
    times = {size: np.full(9, 0.002 + 0.004 * size) for size in (1, 8, 32)}
    rate, delay, _ = highest_rate(times, 32, 0.1)
    assert p95_of(simulate_batcher(times, rate, delay, 32, seed=5)) <= 0.1
    assert p95_of(simulate_batcher(times, 1.5 * rate, delay, 32, seed=5)) > 0.1
    assert highest_rate(times, 32, 0.005)[0] == 0


def test_waiting_pays_only_where_calls_have_a_price_of_their_own():
    no_price = {size: np.full(9, 0.004 * size) for size in (1, 8, 32)}
    assert best_delay(no_price, 100.0, 32, 0.2)[0] == 0


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"delay_s": -1.0}, {"largest": 0}])
def test_a_simulation_of_nothing_is_a_sentence(wrong):
    with pytest.raises(InputError, match="positive rate"):
        simulate_batcher(FIXED, **{"rate": 1.0, "delay_s": 0.0, "largest": 1} | wrong)


def test_the_batcher_gathers_waiting_requests_and_answers_each_with_its_own():
    go = threading.Event()

    def double(batch: list[int]) -> list[int]:
        go.wait(5)
        return [2 * one for one in batch]

    with DynamicBatcher(double, largest=4, delay_s=0.01) as batcher:
        answers = [batcher.submit(number) for number in range(10)]
        go.set()
        assert [answer.result(5) for answer in answers] == [2 * number for number in range(10)]
    sizes = [rows for rows, _ in batcher.calls]
    assert max(sizes) == 4
    assert sum(sizes) == 10


def test_a_lone_request_waits_no_longer_than_the_delay():
    with DynamicBatcher(lambda batch: batch, largest=100, delay_s=0.05) as batcher:
        began = time.perf_counter()
        batcher.submit("one").result(5)
        assert 0.05 <= time.perf_counter() - began < 1.0


def test_an_error_goes_to_those_who_asked_and_the_batcher_lives_on():
    def picky(batch: list[int]) -> list[float]:
        return [1 / one for one in batch]

    with DynamicBatcher(picky, largest=1, delay_s=0.0) as batcher:
        with pytest.raises(ZeroDivisionError):
            batcher.submit(0).result(5)
        assert batcher.submit(2).result(5) == 0.5
    with pytest.raises(InputError, match="closed"):
        batcher.submit(1)


def test_an_open_loop_hides_no_wait():
    """20 requests at once for a server of 20 ms each: the last one waits for all, whatever the sender sees."""
    with DynamicBatcher(lambda batch: time.sleep(0.02) or batch, largest=1, delay_s=0.0) as batcher:
        load = open_loop(batcher, ["x"], rate=2000.0, seconds=0.01)
    assert len(load.latencies) == 20
    assert load.latencies.max() >= 20 * 0.02 - 0.02
    assert load.answered_per_s <= 51


def test_times_under_load_are_those_alone_times_what_the_load_took_longer():
    alone = {1: np.array([0.01, 0.03]), 4: np.array([0.05, 0.05])}
    longer = slowed(alone, [(1, 0.03), (4, 0.075)])  # 105 ms where 20 and 50 were expected
    assert longer[1] == pytest.approx(np.array([0.015, 0.045]))
    assert longer[4] == pytest.approx(np.array([0.075, 0.075]))
    with pytest.raises(InputError, match="at least one call"):
        slowed(alone, [])


def test_a_server_that_is_slower_under_load_gets_a_lower_rate():
    """Half of its calls take what was measured, the others four times as long: the load must see it."""
    class Server:
        calls = 0

        def predict(self, texts):
            self.calls += 1
            time.sleep(0.01 if self.calls % 2 else 0.04)
            return texts

    times = {1: np.full(5, 0.01)}
    told = load_frame(Server(), ["x"], times, targets_ms=(100,), seconds=2.0).loc[0]
    assert told["rate"] < 0.6 * highest_rate(times, 1, 0.1)[0]
    assert told["predicted_p95_ms"] <= 100


def test_a_real_load_is_told_beside_its_prediction(tiny_model):
    texts = ["a cat", "rain and fog and wind"]
    frame = load_frame(tiny_model, texts, batch_times(tiny_model, texts, (1, 4), calls=4), targets_ms=(200, 0.001),
                       seconds=0.3)
    assert frame.loc[0, "answered_per_s"] > 0
    assert frame.loc[0, "predicted_p95_ms"] <= 200
    assert "no rate" in frame.loc[1, "note"]
    with pytest.raises(InputError, match="positive target"):
        load_frame(tiny_model, texts, FIXED, targets_ms=())


def test_times_survive_a_table():
    frame = pd.DataFrame({"batch": [1, 1, 4], "seconds": [0.1, 0.2, 0.3]})
    assert {size: list(own) for size, own in times_of(frame).items()} == {1: [0.1, 0.2], 4: [0.3]}


def test_layouts_answer_and_each_process_holds_its_own_model(tiny_model):
    model = make(tiny_model, option("onnxruntime"))
    frame = compare_layouts(model, ["a cat", "rain"], [Layout(2, 1)], batch=2, seconds=0.2, rounds=1)
    assert frame.loc[0, "rows_per_s"] > 0
    assert frame.loc[0, "peak_mb"] > 2 * 4 * tiny_model.card.parameters / 1e6


def test_layouts_for_one_core_are_few_and_too_many_pinned_are_a_sentence(tiny_model):
    assert len(usual_layouts(1)) == 2
    with pytest.raises(InputError, match="cores"):
        compare_layouts(tiny_model, ["a"], [Layout(usable_cores() + 1, 1, pinned=True)])

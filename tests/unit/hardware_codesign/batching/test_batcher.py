"""The batcher that runs."""

import threading
import time

import pytest

from helpers.hardware_codesign.batching.batcher import DynamicBatcher, open_loop
from helpers.lab import InputError


def test_the_batcher_gathers_waiting_requests_and_answers_each_with_its_own():
    go = threading.Event()

    def double(batch: list[int]) -> list[int]:
        go.wait(5)
        return [2 * one for one in batch]

    with DynamicBatcher(double, max_batch=4, delay_s=0.01) as batcher:
        answers = [batcher.submit(number) for number in range(10)]
        go.set()
        assert [answer.result(5) for answer in answers] == [2 * number for number in range(10)]
    sizes = [rows for rows, _ in batcher.calls]
    assert max(sizes) == 4
    assert sum(sizes) == 10


def test_a_lone_request_waits_no_longer_than_the_delay():
    with DynamicBatcher(lambda batch: batch, max_batch=100, delay_s=0.05) as batcher:
        began = time.perf_counter()
        batcher.submit("one").result(5)
        assert 0.05 <= time.perf_counter() - began < 1.0


def test_an_error_goes_to_those_who_asked_and_the_batcher_lives_on():
    def picky(batch: list[int]) -> list[float]:
        return [1 / one for one in batch]

    with DynamicBatcher(picky, max_batch=1, delay_s=0.0) as batcher:
        with pytest.raises(ZeroDivisionError):
            batcher.submit(0).result(5)
        assert batcher.submit(2).result(5) == 0.5
    with pytest.raises(InputError, match="closed"):
        batcher.submit(1)


def test_an_open_loop_hides_no_wait():
    """20 requests at once for a server of 20 ms each: the last one waits for all, whatever the sender sees."""
    with DynamicBatcher(lambda batch: time.sleep(0.02) or batch, max_batch=1, delay_s=0.0) as batcher:
        load = open_loop(batcher, ["x"], rate=2000.0, seconds=0.01)
    assert len(load.latencies) == 20
    assert load.latencies.max() >= 20 * 0.02 - 0.02
    assert load.answered_per_s <= 51

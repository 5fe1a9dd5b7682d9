"""A dynamic batcher that runs: requests from many threads, one model, and a clock that does not wait for answers."""

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Self

import numpy as np

from helpers.lab.errors import InputError


class DynamicBatcher:
    """Gathers single requests into batches: `max_batch` rows, or what came within `delay_s` of the oldest one.

    Args:
        predict: list of inputs -> as many results, called in the batcher's own thread.

    Raises:
        InputError: a largest batch below 1, or a negative delay.

    Use it in a `with`: leaving it answers what is still queued and ends the thread.

    >>> from helpers.hardware_codesign.batching.batcher import DynamicBatcher
    >>> with DynamicBatcher(lambda batch: [2 * one for one in batch], max_batch=8, delay_s=0.01) as batcher:
    ...     [answer.result() for answer in map(batcher.submit, range(3))]
    [0, 2, 4]
    """

    def __init__(self, predict: Callable[[list[Any]], Sequence[Any]], max_batch: int, delay_s: float) -> None:
        if max_batch < 1 or delay_s < 0:
            raise InputError(f"max_batch must be 1 or more and delay_s 0 or more, not {max_batch} and {delay_s}.")
        self._predict, self._max_batch, self._delay_s = predict, max_batch, delay_s
        self._waiting: deque[tuple[float, Any, Future]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.calls: list[tuple[int, float]] = []  # rows and seconds of each
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, one: Any) -> Future:
        """A future with this input's result.

        Raises:
            InputError: the batcher is closed.
        """
        answer: Future = Future()
        with self._changed:
            if self._closed:
                raise InputError("This batcher is closed: make a new one.")
            self._waiting.append((time.perf_counter(), one, answer))
            self._changed.notify()
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            began = time.perf_counter()
            try:
                results = self._predict([one for _, one, _ in batch])
            except Exception as error:  # belongs to the callers; the batcher lives on
                for _, _, answer in batch:
                    answer.set_exception(error)
                continue
            self.calls.append((len(batch), time.perf_counter() - began))
            for (_, _, answer), result in zip(batch, results, strict=True):
                answer.set_result(result)

    def _next(self) -> list[tuple[float, Any, Future]]:
        """The next batch; empty once the batcher is closed and nothing waits."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            while self._waiting and len(self._waiting) < self._max_batch and not self._closed:
                left = self._waiting[0][0] + self._delay_s - time.perf_counter()
                if left <= 0:
                    break
                self._changed.wait(left)
            return [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]


@dataclasses.dataclass(frozen=True)
class LoadResult:
    """Results of an open-loop load: (n,) latencies in seconds, answers a second, rows and seconds of each call."""

    rate: float
    latencies: np.ndarray
    answered_per_s: float
    calls: tuple[tuple[int, float], ...]

    def p95_s(self) -> float:
        """The 95th percentile of latency."""
        return float(np.quantile(self.latencies, 0.95))

    def mean_batch(self) -> float:
        """Rows in a mean call."""
        return float(np.mean([rows for rows, _ in self.calls]))


def open_loop(batcher: DynamicBatcher, inputs: Sequence[Any], rate: float, seconds: float) -> LoadResult:
    """Send requests at random times, whether or not earlier ones are answered, and wait for all.

    A latency counts from the time at which the request was due, so that a late sender hides nothing
    (Tene, 'coordinated omission').

    Raises:
        InputError: a rate or a time that is not positive, or no inputs.
    """
    if rate <= 0 or seconds <= 0 or not len(inputs):
        raise InputError("An open-loop load needs inputs, a positive rate and a positive time.")
    rng = np.random.default_rng(0)
    gaps = rng.exponential(1 / rate, max(1, round(rate * seconds)))
    due = np.cumsum(gaps)
    done = np.zeros(len(due))
    began, answers, before = time.perf_counter(), [], len(batcher.calls)
    for number, at in enumerate(due):
        while (left := began + at - time.perf_counter()) > 0:
            time.sleep(left)
        answer = batcher.submit(inputs[int(rng.integers(len(inputs)))])
        answer.add_done_callback(lambda _, number=number: done.__setitem__(number, time.perf_counter() - began))
        answers.append(answer)
    for answer in answers:
        answer.result()
    while not done.all():  # a result is there a moment before its callback has run
        time.sleep(0.001)
    return LoadResult(rate, done - due, len(due) / float(done.max()), tuple(batcher.calls[before:]))

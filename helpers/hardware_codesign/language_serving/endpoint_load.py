"""A load test of any OpenAI-compatible server: open loop, times by request, and the highest rate within a target."""

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from helpers.hardware_codesign.language_serving.paced_server import PacedProcess
from helpers.lab.errors import InputError
from helpers.lab.language.engines.completions import Again, Reply, in_own_loop
from helpers.lab.language.engines.endpoints import EndpointModel, endpoint
from helpers.lab.language.engines.model import Prompt, messages_of
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.progress import Progress, silent

_AWAKE_S = 0.002  # before a request is due: a sleep may end a millisecond late, so the last moments are waited awake
_LEAD_S = 0.05  # until the first request may be due: the client is ready by then
_MORE = 5  # loads that a search still needs, about
_AHEAD = "Hello"
_STREAM = {"stream": True, "stream_options": {"include_usage": True}}
# Short words, most of them one token each in the tokenizers of today.
_WORDS = ("the", "and", "for", "you", "not", "with", "this", "but", "from", "they", "have", "one", "what", "all",
          "when", "your", "can", "there", "use", "each", "which", "how", "their", "will", "other", "about", "out")


@dataclasses.dataclass(frozen=True)
class Target:
    """A latency target: seconds to the first token, and for each further one; met by a share of all requests."""

    first_s: float = 1.0
    per_token_s: float = 0.1
    share: float = 0.95


@dataclasses.dataclass(frozen=True, eq=False)
class LoadTest:
    """Results of a load test; arrays are (n,), in the order in which requests were due.

    Attributes:
        due_s: when a request was due, after the start.
        late_s: how much later it was sent: the tester's own share of what follows.
        first_s, last_s: from due to the first and the last token, so that a late sender hides nothing (Tene,
            'coordinated omission'); NaN where there was no answer.
        prompt_tokens, answer_tokens: as the server counts them; 0 where there was no answer.
        cached_tokens: those of the prompt that it had in its cache, and did not read; 0 where it does not say.
        errors: what was said where there was no answer, "" elsewhere. Nothing is sent twice.
    """

    due_s: np.ndarray
    late_s: np.ndarray
    first_s: np.ndarray
    last_s: np.ndarray
    prompt_tokens: np.ndarray
    answer_tokens: np.ndarray
    cached_tokens: np.ndarray
    errors: tuple[str, ...]

    @property
    def per_token_s(self) -> np.ndarray:
        """(n,) mean seconds of each token after the first; 0 where there is none, NaN where there was no answer."""
        return np.where(self.answer_tokens > 1, (self.last_s - self.first_s) / np.maximum(self.answer_tokens - 1, 1),
                        0.0 * self.last_s)

    def meets(self, target: Target) -> np.ndarray:
        """(n,) bool: answered, and both of its times within the target."""
        return (self.first_s <= target.first_s) & (self.per_token_s <= target.per_token_s)

    def row(self, target: Target) -> dict[str, float]:
        """Counts, quantiles in milliseconds, tokens a second, and goodput: answers a second that meet the target.

        `cached_share` is of the prompts' tokens: such a load is easier than one of prompts that the server never met.

        Rates are over the time from the first request that was due to the last token, or the last one due.
        """
        answered = np.isfinite(self.last_s)
        ends = np.where(answered, self.due_s + self.last_s, self.due_s)
        seconds = float(ends.max() - self.due_s[0])
        good = self.meets(target)
        row = {"requests": len(self.due_s), "errors": int((~answered).sum()), "good": float(good.mean()),
               "goodput_per_s": float(good.sum()) / seconds, "tokens_per_s": float(self.answer_tokens.sum()) / seconds,
               "cached_share": float(self.cached_tokens.sum() / max(1, self.prompt_tokens.sum())),
               "late_p95_ms": 1000 * float(np.quantile(self.late_s, 0.95))}
        for name, values in (("first", self.first_s), ("per_token", self.per_token_s), ("answer", self.last_s)):
            for at in (50, 95, 99):
                row[f"{name}_p{at}_ms"] = 1000 * float(np.quantile(values[answered], at / 100)) if answered.any() else (
                    float("nan"))
        return row


def poisson_times(rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    """(n,) seconds at which requests are due: as many as the rate gives on average, at random.

    >>> from helpers.hardware_codesign import poisson_times
    >>> len(poisson_times(rate=5.0, seconds=10.0))
    50
    """
    if rate <= 0 or seconds <= 0:
        raise InputError(f"A load needs a rate and a time above 0, not {rate} and {seconds}.")
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, max(1, round(rate * seconds))))


def prompts_of_lengths(tokens: Sequence[int], seed: int = 0) -> list[str]:
    """A prompt of some so many tokens for each number, as a trace has them; no two begin alike for long.

    >>> from helpers.hardware_codesign import prompts_of_lengths
    >>> [len(prompt.split()) for prompt in prompts_of_lengths([3, 40])]
    [3, 40]
    """
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(_WORDS, count)) for count in tokens]


def load_endpoint(llm: EndpointModel, prompts: Sequence[Prompt] | Iterator[Prompt], due_s: Sequence[float], *,
                  max_tokens: int | Sequence[int] = 64, progress: Progress = silent) -> LoadTest:
    """Send requests when they are due, whether or not earlier ones are answered, and wait for all.

    Args:
        prompts: taken in turn, as often as needed; of an iterator, the next ones, and the next load goes on with those
            after them. Servers keep what they have read: one that meets a prompt again answers sooner.
        due_s: seconds after the start, ascending: `poisson_times`, or a trace's.
        max_tokens: of each answer; one number for all, or one for each request.

    Raises:
        InputError: no prompts, times out of order, numbers that do not fit, a server that refuses the first request or
            answers none, or does not count its tokens.
        Cancelled: `progress` cancelled the work.

    >>> from helpers.hardware_codesign import PacedProcess, load_endpoint
    >>> from helpers.lab import endpoint
    >>> with PacedProcess(first_s=0.01, token_s=0.001) as server:
    ...     load = load_endpoint(endpoint(server.url, model="paced"), ["Hello"], [0.0, 0.05], max_tokens=4)
    >>> load.answer_tokens.tolist()
    [4, 4]
    """
    due = np.asarray(due_s, float)
    limits = np.broadcast_to(np.asarray(max_tokens), due.shape) if np.ndim(max_tokens) == 0 else np.asarray(max_tokens)
    asked = list(itertools.islice(prompts if isinstance(prompts, Iterator) else itertools.cycle(prompts), len(due)))
    if not asked or not len(due) or (np.diff(due) < 0).any() or due[0] < 0:
        raise InputError("A load test needs prompts, and times of 0 or more in ascending order.")
    if limits.shape != due.shape or limits.min() < 1:
        raise InputError(f"max_tokens is a number of at least 1, or one for each of the {len(due)} requests.")
    if len(asked) < len(due):
        raise InputError(f"The prompts ended after {len(asked)} of {len(due)} requests: give more.")
    # One goes ahead: it opens what a first request opens, and says what is wrong with the address or the key. A prompt
    # of the load would be in the server's cache then.
    llm.generate([_AHEAD], max_tokens=1, progress=Progress(None, lambda: progress.check() or False))
    bodies = [llm.body(messages_of(prompt), int(limit), _STREAM) for prompt, limit in zip(asked, limits, strict=True)]
    ended = 0

    def hear(_whole: bool) -> None:
        nonlocal ended
        ended += 1
        progress(ended / len(due), f"{ended} of {len(due)} answers")

    with timing_turn(progress):
        sent = in_own_loop(lambda said: _send(llm, bodies, due, said), hear, progress.check)
    if all(one.error for one in sent):
        raise InputError(f"{llm.server.where} answered none of {len(due)} requests ({sent[0].error}).")
    used = [(0, 0, 0) if one.error else (*llm.server.used(one), llm.server.cached(one) or 0) for one in sent]
    came = np.array([(one.sent, *((np.nan, np.nan) if one.error else (one.stamps[0], one.stamps[-1]))) for one in sent])
    read, written, cached = np.array(used).T
    return LoadTest(due, came[:, 0] - due, came[:, 1] - due, came[:, 2] - due, read, written, cached,
                    tuple(one.error for one in sent))


def own_overhead(rate: float = 50.0, seconds: float = 10.0, progress: Progress = silent) -> np.ndarray:
    """(n,) seconds that the tester adds to the time of a first token: what it says, less what a `PacedProcess` logged.

    Sender, connection and reader together, the server being in a process of its own.

    Raises:
        InputError: a rate or a time that is not above 0.
        Cancelled: `progress` cancelled the work.
    """
    due = poisson_times(rate, seconds)
    with PacedProcess(first_s=0.02, token_s=0.0, slots=len(due)) as server:
        load = load_endpoint(endpoint(server.url, model="paced"), ["Hello"], due, max_tokens=1, progress=progress)
    return load.first_s - np.array([one.first - one.came for one in server.log[1:]])  # one went ahead


def find_rate(load: Callable[[float], LoadTest], target: Target, *, start: float = 1.0, precision: float = 0.1,
              highest: float = 1000.0, progress: Progress = silent) -> pd.DataFrame:
    """The highest rate of which the target's share of requests meets the target, by bisection: a row a load.

    Args:
        load: what a rate gives, such as `lambda rate: load_endpoint(llm, prompts, poisson_times(rate, 20))`, with an
            iterator of prompts, so that no load sends what another one sent.
        start: the first rate; it is doubled until a load fails, or halved until one holds, down to a hundredth of it.
        precision: where it ends: the rate that fails is at most so much more than the one that holds, as a share.
        highest: no rate above it is tried.

    Returns:
        Columns rate, holds, and those of `LoadTest.row`, in the order of the rates; `attrs["rate"]` is the highest one
        that holds and has none below it that fails, 0 where none holds.

    Raises:
        InputError: rates or a precision that are not above 0.
        Cancelled: `progress` cancelled the work.
    """
    if min(start, precision) <= 0 or start > highest:
        raise InputError("A search needs a precision above 0, and a first rate above 0 and up to the highest.")
    rows: list[dict[str, Any]] = []

    def holds(rate: float) -> bool:
        progress(len(rows) / (len(rows) + _MORE), f"{rate:.3g} requests a second")
        row = load(rate).row(target)
        rows.append({"rate": rate, "holds": row["good"] >= target.share, **row})
        return rows[-1]["holds"]

    low = high = start
    if holds(start):
        while high < highest and holds(high := min(2 * low, highest)):
            low = high
    else:
        while (low := low / 2) >= start / 100 and not holds(low):
            high = low
    while low >= start / 100 and high / low > 1 + precision:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    frame = pd.DataFrame(rows).sort_values("rate", ignore_index=True)
    before = frame[~frame["holds"]]["rate"].min()
    within = frame[frame["holds"] & ~(frame["rate"] > before)]
    frame.attrs["rate"] = float(within["rate"].max()) if len(within) else 0.0
    return frame


@dataclasses.dataclass
class _Sent(Reply):
    """A reply with seconds after the start: when its request was sent, and when each piece of text came."""

    began: float = 0.0
    sent: float = float("nan")
    error: str = ""
    stamps: list[float] = dataclasses.field(default_factory=list)

    def take(self, event):
        before = len(self.text)
        super().take(event)
        if len(self.text) > before:  # a first event often names the role and holds no token
            self.stamps.append(time.perf_counter() - self.began)


async def _send(llm: EndpointModel, bodies: Sequence[dict[str, Any]], due: np.ndarray,
                said: Callable[[bool], None]) -> list[_Sent]:
    async with llm.server.client() as client:
        began = time.perf_counter() + _LEAD_S

        async def one(body: dict[str, Any]) -> _Sent:
            reply = _Sent(began=began, sent=time.perf_counter() - began)
            try:
                await llm.server.attempt(client, body, lambda whole: None, reply)
                reply.error = "" if reply.stamps else "its answer had no text"
            except (Again, InputError) as trouble:  # what users would meet: counted, not mended
                reply.error = str(trouble) or type(trouble).__name__
            said(True)
            return reply

        tasks: list[asyncio.Task] = []
        try:
            for body, at in zip(bodies, due, strict=True):
                while (left := began + at - time.perf_counter()) > 0:
                    await asyncio.sleep(max(0.0, left - _AWAKE_S))
                tasks.append(asyncio.ensure_future(one(body)))
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

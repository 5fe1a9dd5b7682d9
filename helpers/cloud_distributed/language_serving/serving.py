"""Serving a language model with a fleet: each request's first and last token, what is held, and what is paid."""

import dataclasses
import math
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from helpers.cloud_distributed.language_serving.engine import ServingEngine
from helpers.cloud_distributed.language_serving.prefix_cache import Prefixes
from helpers.cloud_distributed.simulator.compiled import SIGNALS, Outcome
from helpers.cloud_distributed.simulator.policies import Policy, compile_policy, unchanged
from helpers.cloud_distributed.simulator.runs import Run, quantiles
from helpers.lab.errors import InputError

ROUTERS = ("least loaded", "round robin", "prefix-aware")  # their places are the compiled loop's numbers
_DRAIN_S, _SAMPLES = 3600.0, 720
_MAX_CACHE_ENTRIES = 400_000_000  # 4.8 GB


@dataclasses.dataclass(frozen=True)
class LlmFleet:
    """Replicas of one engine behind a router.

    Args:
        replicas: how many are ready at the start; without a policy, always.
        max_batch: sequences at a time. token_budget: tokens in one step; longer prompts take several.
        router: by what each replica has at the moment of arrival. "least loaded": the fewest requests. "prefix-aware":
            the fewest tokens: the ones its batch holds and the ones it has yet to read, this prompt's own among
            them, without what its cache has of it (as NVIDIA Dynamo's router weighs them).
        policy: decides how many there should be, between min_replicas and max_replicas; see `serving_target`.
        min_replicas: with 0 the policy may stop all; the next request then waits for a decision and for startup_s.
        startup_s: from launch to ready, loading the weights among it. A replica is paid from its launch on.

    Raises:
        InputError: figures that cannot be, or an unknown router.
    """

    engine: ServingEngine
    replicas: int = 1
    max_batch: int = 256
    token_budget: int = 2048
    router: Literal["least loaded", "round robin", "prefix-aware"] = "least loaded"
    policy: Policy | None = None
    startup_s: float = 0.0
    min_replicas: int = 1
    max_replicas: int = 16

    def __post_init__(self) -> None:
        for name, least in (("replicas", 1), ("max_batch", 1), ("token_budget", 1), ("min_replicas", 0),
                            ("max_replicas", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be {least} or more, not {getattr(self, name)}.")
        if self.router not in ROUTERS:
            raise InputError(f"Unknown router '{self.router}'. Choose one of: {', '.join(ROUTERS)}.")
        if not 0 <= self.startup_s < math.inf:
            raise InputError(f"startup_s must be 0 or more, not {self.startup_s}.")
        if self.policy and not self.min_replicas <= self.replicas <= self.max_replicas:
            raise InputError(f"replicas must be from min_replicas to max_replicas, {self.min_replicas} to "
                             f"{self.max_replicas}, not {self.replicas}.")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LlmRun(Run):
    """Answers of a language model; as a Run it has latencies to the last token, outcomes, and hours for a `bill`.

    Attributes:
        ttft_s: (n,) float64, time to the first token; NaN where none came.
        per_token_s: (n,) float64, mean time of each further token; NaN where there is none.
        prompt_tokens, output_tokens: (n,) int64. cached_tokens: how many of the prompt's were found in the cache.
        replica: (n,) int64, where each request was sent; -1 where it was sent nowhere.
        preemptions: how often a sequence had to leave its batch because the memory was full.
        peak_kv: largest share of a replica's memory for keys and values that sequences held.
    """

    ttft_s: np.ndarray
    per_token_s: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    cached_tokens: np.ndarray
    replica: np.ndarray
    preemptions: int
    peak_kv: float

    def summary(self) -> dict[str, float]:
        """One row: counts, quantiles, tokens a second, hours."""
        row = {"requests": len(self.arrivals), "answered": self.counts["answered"], "dropped": self.counts["dropped"]}
        for name in ("ttft_s", "per_token_s", "latency_s"):
            values = quantiles(getattr(self, name), (0.5, 0.95, 0.99))
            row |= {f"p{at}_{name}": float(value) for at, value in zip((50, 95, 99), values, strict=True)}
        return row | {"tokens_per_s": self.written / self.end_s if self.end_s else 0.0, "peak_kv": self.peak_kv,
                      "cached_share": float(self.cached_tokens.sum() / max(1, self.prompt_tokens.sum())),
                      "preemptions": self.preemptions, "launches": self.launches,
                      "replica_hours": sum(self.replica_hours.values())}

    @property
    def written(self) -> int:
        """Tokens of all answers."""
        return int(self.output_tokens[self.outcome == Outcome.ANSWERED].sum())

    def slow(self, ttft_s: float) -> float:
        """Fraction of all requests whose first token did not come within so many seconds."""
        return 1.0 - float(np.count_nonzero(self.ttft_s <= ttft_s)) / max(1, len(self.arrivals))


def serve_llm(arrivals: ArrayLike, prompt_tokens: ArrayLike, output_tokens: ArrayLike, fleet: LlmFleet,
              prefixes: Prefixes | None = None, *, priority: ArrayLike | None = None) -> LlmRun:
    """Send prompts through a fleet; all of them are waited for.

    Args:
        arrivals: (n,) seconds, ascending. prompt_tokens, output_tokens: (n,) whole numbers of 1 or more.
        prefixes: which prompts begin alike; replicas then keep what they have read as long as there is room for it.
        priority: (n,) whole numbers; at each replica who waits with a higher one enters first. None is interrupted.

    Left out: networks, tokenizers, and memory that is lost to blocks which are not full.

    Raises:
        InputError: lengths that do not agree, arrivals out of order, tokens below 1.

    >>> from helpers.cloud_distributed import LlmFleet, paper_engine, serve_llm
    >>> from helpers.lab import DECODERS, DecoderSheet
    >>> fleet = LlmFleet(paper_engine(DecoderSheet(DECODERS["Llama 3.1 8B"], "NVIDIA H100 SXM")))
    >>> run = serve_llm([0.0, 0.1], prompt_tokens=[1000, 200], output_tokens=[50, 80], fleet=fleet)
    >>> run.summary()["answered"]
    2
    """
    from helpers.cloud_distributed.simulator.simulating import checked_arrivals

    arrivals = checked_arrivals(arrivals)
    prompt, output = (_checked_tokens(tokens, name, len(arrivals)) for tokens, name in
                      ((prompt_tokens, "prompt_tokens"), (output_tokens, "output_tokens")))
    ranks = np.zeros(len(arrivals)) if priority is None else np.asarray(priority, float)
    if ranks.shape != arrivals.shape or not (ranks == np.round(ranks)).all():
        raise InputError(f"priority has the shape {ranks.shape} for {len(arrivals)} arrivals: give one whole number "
                         "for each.")
    return run_requests(Requests(arrivals, prompt, output, ranks.astype(np.int64)), fleet, prefixes)


def serve_users(users: int, think_s: float, prompt_tokens: ArrayLike, output_tokens: ArrayLike, fleet: LlmFleet,
                prefixes: Prefixes | None = None, *, seed: int = 0) -> LlmRun:
    """So many users, each of whom reads an answer and thinks before the next request: a closed loop.

    Args:
        think_s: mean seconds between an answer's last token and its user's next request, drawn from an exponential
            law. prompt_tokens, output_tokens: (n,) in the order in which requests are sent.

    Slow answers bring fewer requests, so such a load test flatters a slow fleet: it waits instead of queueing (open
    and closed systems: Schroeder et al., NSDI 2006).

    Raises:
        InputError: no user, more users than requests, or figures that cannot be.

    >>> from helpers.cloud_distributed import LlmFleet, ServingEngine, serve_users
    >>> engine = ServingEngine((0.0,) * 4, (1.0, 0.0, 0.0, 0.0), 0.0, 10_000)
    >>> serve_users(1, 0.0, [5, 5], [3, 3], LlmFleet(engine)).latency_s.tolist()
    [3.0, 3.0]
    """
    count = np.size(prompt_tokens)
    prompt, output = (_checked_tokens(tokens, name, count) for tokens, name in
                      ((prompt_tokens, "prompt_tokens"), (output_tokens, "output_tokens")))
    if not 1 <= users <= count or not 0 <= think_s < math.inf:
        raise InputError(f"There are 1 to {count} users, at most one a request, who think for 0 s or more; got {users} "
                         f"and {think_s}.")
    think = np.random.default_rng([seed, 7]).exponential(think_s, count) if think_s else np.zeros(count)
    arrivals = np.concatenate([np.sort(think[:users]), np.full(count - users, np.inf)])
    return run_requests(Requests(arrivals, prompt, output, np.zeros(count, np.int64), think, users), fleet, prefixes)


class Requests(NamedTuple):
    """The requests, checked: all (n,). In a closed loop the arrivals after the first `users` are not known yet.

    loaded: keys and values of a prompt come with it from where it was read, but for its last token.
    """

    arrivals: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    rank: np.ndarray
    think_s: np.ndarray | None = None
    users: int | None = None
    loaded: bool = False


def run_requests(sent: Requests, fleet: LlmFleet, prefixes: Prefixes | None = None) -> LlmRun:
    """Run checked requests through a fleet."""
    from helpers.cloud_distributed.language_serving.batching import run_fleet

    prompt, output = sent.prompt, sent.output
    world, rules, state = _beginning(sent, fleet, _fitting(prefixes, prompt))
    policy = fleet.policy or Policy("fixed", unchanged)
    run_fleet(compile_policy(policy.decide), np.zeros(max(1, policy.memory)), np.array(policy.parameters, float),
              np.zeros(1, SIGNALS)[0], world, rules, state)
    arrivals = world.arrivals
    with np.errstate(divide="ignore", invalid="ignore"):
        per_token_s = np.where(output > 1, (world.done_s - world.first_s) / (output - 1), np.nan)
    each = (world.first_s - arrivals, world.done_s - arrivals, world.outcome)
    return LlmRun(
        arrivals, {"reserved": 0.0, "on_demand": float(state.paid_s) / 3600, "spot": 0.0}, float(state.now_s),
        float(state.queue_s), float(state.busy_s), float(state.ready_s), int(state.cold), int(state.launches),
        lambda: _series(world, rules, state), lambda: each, ttft_s=each[0], per_token_s=per_token_s,
        prompt_tokens=prompt, output_tokens=output, cached_tokens=world.cached, replica=world.replica,
        preemptions=int(state.preempted), peak_kv=int(world.replicas["peak"].max()) / fleet.engine.kv_tokens)


def _beginning(sent: Requests, fleet: LlmFleet, prefixes: Prefixes) -> tuple:
    """World, rules and state of a run before its first event."""
    from helpers.cloud_distributed.language_serving.replicas import REPLICA, RULES, SAMPLES, STATE, World

    count = len(sent.arrivals)
    last = _last_arrival_s(sent, fleet)
    rows = 2 * fleet.max_replicas + 2 if fleet.policy else fleet.replicas  # draining replicas need rows too
    blocks = int(prefixes.ids.max(initial=0)) + 1
    if rows * blocks > _MAX_CACHE_ENTRIES:
        raise InputError(f"{blocks:,} different blocks in the caches of {rows} replicas do not fit in memory: take "
                         "larger blocks, fewer requests or a lower max_replicas.")
    rules, state = (np.zeros(1, kind).view(np.recarray) for kind in (RULES, STATE))
    rules.max_batch, rules.token_budget, rules.kv_tokens = fleet.max_batch, fleet.token_budget, fleet.engine.kv_tokens
    rules.block, rules.router, rules.loaded = prefixes.block, ROUTERS.index(fleet.router), sent.loaded
    rules.smallest, rules.largest, rules.startup_s = fleet.min_replicas, fleet.max_replicas, fleet.startup_s
    rules.wakes = bool(fleet.policy and fleet.policy.wakes)
    rules.period_s = fleet.policy.period_s if fleet.policy else np.inf
    rules.sample_s, rules.closes_s = max(last / _SAMPLES, 1e-3), np.inf if sent.users else last + _DRAIN_S
    state.target, state.next_timer_s = fleet.replicas, np.inf
    state.tick_s, state.issued = rules.period_s, sent.users or count
    whole = [np.zeros(count, np.int64) for _ in range(6)]
    batches = (rows, fleet.max_batch)
    think_s = np.zeros(count) if sent.think_s is None else sent.think_s
    world = World(
        sent.arrivals.copy(), think_s, sent.rank, sent.prompt, sent.output, prefixes.first, prefixes.ids,
        fleet.engine.figures, np.full(count, np.nan), np.full(count, np.nan),
        np.full(count, Outcome.WAITING, np.int8), np.full(count, -1, np.int64), *whole, np.zeros(rows, REPLICA),
        np.full(rows, np.inf), np.full(batches, np.inf), np.zeros(batches, np.int64), np.zeros(batches, np.int64),
        *(np.zeros((rows, blocks), np.int32) for _ in range(3)), np.zeros((2 * _SAMPLES + 2, len(SAMPLES))))
    return world, rules[0], state[0]


def _last_arrival_s(sent: Requests, fleet: LlmFleet) -> float:
    """When the last request comes; of a closed loop, where nobody knows, when it would if nobody had to wait."""
    if not sent.users:
        return float(sent.arrivals[-1]) if len(sent.arrivals) else 0.0
    alone_s = fleet.engine.step_s(0, 1, sent.prompt, sent.prompt) * sent.output
    return float((sent.think_s + alone_s).sum()) / sent.users


def _series(world: tuple, rules: np.record, state: np.record) -> pd.DataFrame:
    from helpers.cloud_distributed.language_serving.replicas import SAMPLES

    count = int(state.samples)
    return pd.DataFrame({"t_s": rules.sample_s * np.arange(count)}
                        | dict(zip(SAMPLES, world.samples[:count].T, strict=True)))


def _fitting(prefixes: Prefixes | None, prompt: np.ndarray) -> Prefixes:
    """Only whole blocks within each prompt; none without prefixes."""
    count = len(prompt)
    if prefixes is None:
        return Prefixes(1, np.zeros(count + 1, np.int64), np.empty(0, np.int64))
    if len(prefixes.first) != count + 1:
        raise InputError(f"prefixes are of {len(prefixes.first) - 1} prompts, and there are {count}.")
    lengths = np.diff(prefixes.first)
    shared_blocks = np.minimum(lengths, prompt // prefixes.block)
    place = np.arange(len(prefixes.ids)) - np.repeat(prefixes.first[:-1], lengths)
    return Prefixes(prefixes.block, np.concatenate([[0], np.cumsum(shared_blocks)]),
                    np.ascontiguousarray(prefixes.ids[place < np.repeat(shared_blocks, lengths)], np.int64))


def _checked_tokens(tokens: ArrayLike, name: str, count: int) -> np.ndarray:
    given = np.asarray(tokens, float)
    if given.shape != (count,):
        raise InputError(f"{name} has the shape {given.shape} for {count} arrivals: give one number for each.")
    if count and not (given.min() >= 1 and (given == np.round(given)).all() and np.isfinite(given.max())):
        raise InputError(f"{name} must be whole numbers of 1 or more.")
    return given.astype(np.int64)

"""The compiled loop's tables; its replicas, launched, chosen for a request and drained; the signals of its policy."""

import math
from typing import NamedTuple

import numpy as np

from helpers.cloud_distributed.language_serving.prefix_cache import forget, leading
from helpers.cloud_distributed.simulator.compiled import DRAINING, FREE, READY, STARTING, hot, part

LEAST_LOADED, ROUND_ROBIN, PREFIX_AWARE = range(3)
# Of a replica: `waiting` requests (a linked list from head to tail), `inside` its batch; of those, `filling` read their
# prompts (a ring of places from `ring` on, `finishing` of them done in this step) and `decoding` write. Tokens:
# `unread` of prompts, `context` of decoding ones, `held` in memory, `cached` blocks that nobody uses, `peak` held.
REPLICA = np.dtype([(name, "i8") for name in (
    "status", "busy", "waiting", "head", "tail", "inside", "ring", "filling", "finishing", "decoding", "steps",
    "unread", "context", "held", "cached", "peak")] + [("launched_s", "f8"), ("ready_s", "f8")], align=True)
RULES = np.dtype([(name, "i8") for name in (
    "max_batch", "token_budget", "kv_tokens", "block", "router", "smallest", "largest", "wakes", "loaded")]
    + [(name, "f8") for name in ("startup_s", "period_s", "sample_s", "closes_s")], align=True)
STATE = np.dtype([(name, "i8") for name in (
    "next", "front", "head", "tail", "turn", "waiting", "in_service", "tokens", "busy", "ready", "starting", "target",
    "cold", "launches", "samples", "admitted", "preempted", "firsts", "tick_arrived",
    "issued")]
    + [(name, "f8") for name in (
        "now_s", "ttft_s", "queue_s", "ongoing_s", "busy_s", "ready_s", "paid_s", "next_timer_s", "next_sample_s",
        "tick_s", "last_tick_s", "tick_ongoing_s", "tick_busy_s", "tick_ready_s")], align=True)
SAMPLES = ("ready", "starting", "target", "waiting", "in_service", "tokens", "kv_use")


class World(NamedTuple):
    """All arrays of one run: n requests, r rows for replicas, batches of m, b kinds of blocks."""

    arrivals: np.ndarray     # (n,) float64 seconds, ascending; those of a closed loop infinite until they are known
    think_s: np.ndarray      # (n,) float64: before a request of a closed loop is sent
    rank: np.ndarray         # (n,) int64: who waits with a higher one goes first
    prompt: np.ndarray       # (n,) int64 tokens
    output: np.ndarray       # (n,) int64 tokens
    first: np.ndarray        # (n + 1,) int64: where each prompt's blocks begin in ids
    ids: np.ndarray          # int64, see Prefixes
    figures: np.ndarray      # (9,) float64, see ServingEngine
    first_s: np.ndarray      # (n,) float64: moments of the first tokens
    done_s: np.ndarray       # (n,) float64: and of the last ones
    outcome: np.ndarray      # (n,) int8
    replica: np.ndarray      # (n,) int64: the row that it was sent to
    cached: np.ndarray       # (n,) int64: tokens of the prompt that were found in the cache
    made: np.ndarray         # (n,) int64: tokens written when it last entered or left a batch
    filled: np.ndarray       # (n,) int64: tokens in memory of one that reads its prompt
    uses: np.ndarray         # (n,) int64: leading blocks that it uses
    stamp: np.ndarray        # (n,) int64: in which order they entered their batches
    following: np.ndarray    # (n,) int64: who waits behind a request
    replicas: np.ndarray     # (r,) REPLICA
    step_ends: np.ndarray    # (r,) float64: infinite while a replica rests
    ends: np.ndarray         # (r, m) float64: a heap of the steps that write last tokens
    who: np.ndarray          # (r, m) int64
    ring: np.ndarray         # (r, m) int64: who reads its prompt, in order of entering
    refs: np.ndarray         # (r, b + 1) int32, see prefix_cache
    before: np.ndarray       # (r, b + 1) int32
    after: np.ndarray        # (r, b + 1) int32
    samples: np.ndarray      # (samples, len(SAMPLES)) float64


@hot
def choose(w, rules, s, i):
    """The replica that request i goes to, by what each holds now; -1 where none is ready."""
    best, least, count = -1, np.inf, len(w.replicas)
    for k in range(count):
        at = (s.turn + k) % count  # among equals, each in turn: the caches of all fill up
        row = w.replicas[at]
        if row.status != READY:
            continue
        load = 0.0 if rules.router == ROUND_ROBIN else float(row.waiting + row.inside)
        if rules.router == PREFIX_AWARE:  # tokens yet to be read, this prompt's own among them, and held tokens
            load = float(row.unread + w.prompt[i] - leading(w, at, i) * rules.block + row.context)
        if load < least:
            best, least = at, load
    s.turn = best + 1
    return best


@part
def match_target(w, rules, s, startup_s):
    """Launch and retire replicas until there are as many as the target asks for."""
    missing = s.target - s.ready - s.starting
    for at in range(len(w.replicas)):
        if missing > 0 and w.replicas[at].status == FREE:
            row = w.replicas[at]
            row.status, row.launched_s, row.ready_s = STARTING, s.now_s, s.now_s + startup_s
            row.steps = row.ring = row.filling = 0
            s.starting += 1
            s.launches += 1
            missing -= 1
    while missing < 0:
        _retire_one(w, s)
        missing += 1
    open_started(w, s)


@part
def open_started(w, s):
    """Those whose start-up time has passed take requests from now on."""
    s.next_timer_s = np.inf
    for row in w.replicas:
        if row.status == STARTING:
            if row.ready_s <= s.now_s:
                row.status = READY
                s.starting -= 1
                s.ready += 1
            else:
                s.next_timer_s = min(s.next_timer_s, row.ready_s)


@part
def _retire_one(w, s):
    """Give up the replica that is missed least: one that still starts, else the one with the fewest requests."""
    best, least = 0, np.inf
    for at in range(len(w.replicas)):
        row = w.replicas[at]
        if row.status == STARTING or row.status == READY:
            missed = float(row.waiting + row.inside) if row.status == READY else -1.0
            if missed <= least:
                best, least = at, missed
    row = w.replicas[best]
    if row.status == STARTING:
        s.starting -= 1
        release(w, s, row, best)
        return
    s.ready -= 1
    s.busy -= row.busy
    row.status = DRAINING
    if row.waiting + row.inside == 0:
        release(w, s, row, best)


@part
def release(w, s, row, at):
    """Stop paying for a replica; its row is free for another."""
    s.paid_s += s.now_s - row.launched_s
    row.status = FREE
    forget(w, row, at)


@part
def rare(decide, memory, parameters, signals, w, rules, s):
    """Handle what happens a few times a minute: a time series sample, a replica that becomes ready, the policy."""
    if s.next_sample_s <= s.now_s:
        sample = w.samples[s.samples]
        sample[0], sample[1], sample[2] = s.ready, s.starting, s.target
        sample[3], sample[4], sample[5], sample[6] = s.waiting, s.in_service, s.tokens, _kv_use(w, rules, s)
        s.samples += 1
        s.next_sample_s = s.samples * rules.sample_s if s.samples < len(w.samples) else np.inf
    if s.next_timer_s <= s.now_s:
        open_started(w, s)
    if s.tick_s <= s.now_s:
        _ask_policy(decide, memory, parameters, signals, w, rules, s)


@part
def _kv_use(w, rules, s):
    """Share of the ready replicas' memory for keys and values that sequences hold; what is only cached counts not."""
    held = 0
    for row in w.replicas:
        if row.status == READY:
            held += row.held
    return held / (s.ready * rules.kv_tokens) if s.ready > 0 else 0.0


@part
def _ask_policy(decide, memory, parameters, signals, w, rules, s):
    passed = s.now_s - s.last_tick_s
    ready_s = s.ready_s - s.tick_ready_s
    signals.now_s, signals.elapsed_s = s.now_s, passed
    signals.ready, signals.starting, signals.target = s.ready, s.starting, s.target
    signals.waiting, signals.in_service = s.waiting, s.in_service
    signals.arrived = s.next - s.tick_arrived
    signals.ongoing = (s.ongoing_s - s.tick_ongoing_s) / passed if passed > 0 else s.waiting + s.in_service
    signals.utilisation = (s.busy_s - s.tick_busy_s) / ready_s if ready_s > 0 else 0.0
    signals.tokens, signals.kv_use = s.tokens, _kv_use(w, rules, s)
    signals.ttft_s = s.ttft_s / s.firsts if s.firsts > 0 else 0.0
    s.ttft_s, s.firsts = 0.0, 0
    s.last_tick_s, s.tick_arrived, s.tick_ongoing_s = s.now_s, s.next, s.ongoing_s
    s.tick_busy_s, s.tick_ready_s = s.busy_s, s.ready_s
    s.tick_s = s.now_s + rules.period_s
    desired = decide(signals, memory, parameters)
    if math.isnan(desired):
        return
    target = int(min(max(math.ceil(desired - 1e-9), rules.smallest), rules.largest))
    if target != s.target:
        s.target = target
        match_target(w, rules, s, rules.startup_s)

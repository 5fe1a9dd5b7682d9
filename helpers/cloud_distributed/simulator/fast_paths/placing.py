"""Where a request goes, and what becomes of it: known when it is placed."""

import math

import numpy as np

from helpers.cloud_distributed.simulator.compiled import (
    ANSWERED,
    BLOCK_BEGIN,
    BLOCK_PLACED,
    END_S,
    LAST_RECENT,
    LEAST_BIN,
    LEAST_LOADED,
    QUEUED_S,
    ROUND_ROBIN,
    SHIFT,
    TIMED_OUT,
    WAITED_S,
    WAITING,
    WORKED_S,
    bits,
    hot,
    part,
    uniform,
)
from helpers.cloud_distributed.simulator.fast_paths.waiting_lists import held_in_list, let_wait_in_list, spare_for
from helpers.cloud_distributed.simulator.replica_pool import choose, two_of
from helpers.cloud_distributed.simulator.service_times import draw_service


@part
def place_drawn(w, rules, s, t, begin, first, last, until, balanced, slots, timeout_s, closes_s, arrivals, free_s,
                seconds, starts_s, picks, others, recent, turns, work_s):
    """Let requests `first` to `last` of those drawn from `begin` on start, as they arrive before `until`.

    Returns how many were placed: fewer where there is no spare entry for one who waits.

    Everything that the loop reads for each request is a separate argument, so that it stays in a register.
    """
    waited, worked, end = 0.0, 0.0, t.sums_s[END_S]
    count = last - first
    for k in range(first, last):
        at, now = picks[k], arrivals[begin + k]
        if now >= until:
            count = k - first
            break
        if balanced:  # by arithmetic: a branch would be mispredicted every other time
            other = others[k]
            at += (other - at) * (_held(w, s, t, slots, free_s, recent, other, now)
                                  < _held(w, s, t, slots, free_s, recent, at, now))
        place = turns[at] & LAST_RECENT
        crowded = recent[at, place] > now
        if crowded and not spare_for(s, t, at):
            count = k - first
            break
        slot = _first_free(free_s, slots, at)
        start = max(now, free_s[slot])
        if start <= now + timeout_s and start <= closes_s:
            free_s[slot] = start + seconds[k]
            work_s[at] += seconds[k]
            worked += seconds[k]
            waited += start - now
            end = max(end, start + seconds[k])
            starts_s[k] = start
        else:
            start = leave_unanswered(w, rules, t, begin + k)
            end = max(end, t.sums_s[END_S])
            starts_s[k] = np.nan
        if crowded:
            let_wait_in_list(w, s, t, at, start, now)
        else:
            recent[at, place] = start
            turns[at] += 1
    t.sums_s[WAITED_S] += waited
    t.sums_s[QUEUED_S] += waited
    t.sums_s[WORKED_S] += worked
    t.sums_s[END_S] = end
    return count


@hot
def count_drawn(w, t, arrivals, seconds, starts_s, latencies):
    """Latencies of those that were drawn and placed, into the histogram and where they are asked for."""
    begin, count, answered = t.block[BLOCK_BEGIN], t.block[BLOCK_PLACED] - t.block[BLOCK_BEGIN], 0
    for k in range(count):
        latency = (starts_s[k] - arrivals[begin + k]) + seconds[k]
        if latency == latency:  # not NaN: answered
            latencies[leading_bits(latency)] += 1
            answered += 1
    t.outcomes[ANSWERED] += answered
    for i in range(-(-begin // t.stride) * t.stride, begin + count, t.stride):
        t.sampled[i // t.stride] = (starts_s[i - begin] - arrivals[i]) + seconds[i - begin]
    for k in range(count if t.each else 0):
        if starts_s[k] == starts_s[k]:
            i, wait = begin + k, starts_s[k] - arrivals[begin + k]
            w.wait_s[i], w.latency_s[i], w.outcome[i] = wait, wait + seconds[k], ANSWERED


@hot
def draw(w, rules, s, t, begin, last):
    """Draw for requests `begin` to `last`: the replicas to choose from, and the seconds of work."""
    seed, chance, ready = w.seeds[0], w.seeds[2], s.ready  # not read again after each store
    first_pick, second_pick, count = t.picks[0], t.picks[1], last - begin
    if rules.balancer == ROUND_ROBIN:
        turn = s.turn
        for k in range(count):
            turn = turn if turn < ready else turn % ready
            first_pick[k] = w.open[turn]
            turn += 1
    else:
        for k in range(count):
            first_pick[k], second_pick[k] = two_of(bits(chance, begin + k), ready)
        for k in range(count):
            first_pick[k], second_pick[k] = w.open[first_pick[k]], w.open[second_pick[k]]
    if len(w.rows):
        first, measured = w.rows[1, 0], w.rows[1, 1]
        for k in range(count):
            t.places[k] = first + int(uniform(seed, begin + k) * measured)
        for k in range(count):
            t.seconds[k] = w.values[t.places[k]]
    else:
        for k in range(count):
            t.seconds[k] = w.values[begin + k]


@hot
def _first_free(free_s, slots, at):
    """The slot of a replica that has first done all that it was given."""
    if slots == 1:
        return at
    slot = at * slots
    for k in range(slot + 1, slot + slots):
        if free_s[k] < free_s[slot]:
            slot = k
    return slot


@part
def place(w, rules, s, t, i, now):
    """The same as in `_serve_until` for one who has waited already."""
    if rules.balancer == LEAST_LOADED:  # how much a replica holds has to be worked out
        first, second = two_of(bits(w.seeds[2], i), s.ready)
        at, other = w.open[first], w.open[second]
        less = (_held(w, s, t, rules.slots, w.free_s, t.recent, other, now)
                < _held(w, s, t, rules.slots, w.free_s, t.recent, at, now))
        at = other if less else at
    else:
        at = choose(w, rules, s, i)
    if not spare_for(s, t, at):
        return False
    slot = _first_free(w.free_s, rules.slots, at)
    arrival, start = w.arrivals[i], max(now, w.free_s[slot])
    leave = start
    if start <= arrival + rules.timeout_s and start <= rules.closes_s:
        seconds = draw_service(w.values, w.rows, w.weights, 1, uniform(w.seeds[0], i)) if len(w.rows) else w.values[i]
        w.free_s[slot] = start + seconds
        t.work_s[at] += seconds
        latency = (start - arrival) + seconds
        _note_latency(w, t, i, start - arrival, latency)
        if i % t.stride == 0:
            t.sampled[i // t.stride] = latency
        t.outcomes[ANSWERED] += 1
        t.sums_s[WAITED_S] += start - arrival
        t.sums_s[QUEUED_S] += start - arrival
        t.sums_s[WORKED_S] += seconds
        t.sums_s[END_S] = max(t.sums_s[END_S], start + seconds)
    else:
        leave = leave_unanswered(w, rules, t, i)
    place = t.turns[at] & LAST_RECENT
    if t.recent[at, place] > now:
        let_wait_in_list(w, s, t, at, leave, now)
    else:
        t.recent[at, place] = leave
        t.turns[at] += 1
    return True


@hot
def _note_latency(w, t, i, wait, latency):
    t.latencies[leading_bits(latency)] += 1
    if t.each:
        w.wait_s[i], w.latency_s[i], w.outcome[i] = wait, latency, ANSWERED


@part
def leave_unanswered(w, rules, t, i):
    """Somebody waits to the time-out or to the end of the clock: when that is."""
    arrival, limit = w.arrivals[i], w.arrivals[i] + rules.timeout_s
    leave, outcome = min(limit, rules.closes_s), TIMED_OUT if limit < rules.closes_s else WAITING
    t.outcomes[outcome] += 1
    t.sums_s[QUEUED_S] += leave - arrival
    t.sums_s[END_S] = max(t.sums_s[END_S], leave)
    t.unanswered[min(len(t.unanswered) - 1, np.int64(math.ceil(arrival / rules.sample_s)))] += 1
    if t.each:
        w.wait_s[i], w.latency_s[i], w.outcome[i] = np.nan, np.nan, outcome
    return leave


@hot
def _held(w, s, t, slots, free_s, recent, at, now):
    """Requests that are at a replica."""
    waiting = 0
    for k in range(LAST_RECENT + 1):
        waiting += recent[at, k] > now
    if waiting > LAST_RECENT:
        waiting = held_in_list(w, s, t, at, now)
    if slots == 1:
        return waiting + (free_s[at] > now)
    busy = 0
    for slot in range(at * slots, (at + 1) * slots):
        busy += free_s[slot] > now
    return waiting + busy


@hot
def leading_bits(latency):
    """The bin of a positive number, 0.1% wide; its least number has these bits and zeros behind."""
    return max(0, (np.float64(latency).view(np.int64) >> SHIFT) - LEAST_BIN)

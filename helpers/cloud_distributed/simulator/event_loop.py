"""The compiled simulation of a fleet that scales, batches, drops, times out and fails.

Events at the same time: a finished batch, then replicas and policy, then the arrival, then the batch that
has waited long enough. A request may start in the very moment of its time-out.
"""

import math

import numpy as np

from helpers.cloud_distributed.simulator.compiled import (
    ANSWERED,
    DROPPED,
    FREE,
    READY,
    TIMED_OUT,
    compiled_loop,
    heap_push,
    hot,
    part,
    uniform,
)
from helpers.cloud_distributed.simulator.replica_pool import change_replicas, match_target, release, take_from_heap
from helpers.cloud_distributed.simulator.service_times import draw_service


@compiled_loop
def run_events(decide, memory, parameters, signals, w, rules, s):
    """Run until all requests have left, or until the clock closes on those who wait.

    Args:
        decide: a policy as compiled by `policies.compile_policy`.
        memory, parameters: (m,), (p,) float64, its own. signals: SIGNALS record, to be filled for it.
        w: World. rules: RULES record. s: STATE record, all zero but `target` and `next_*_s`.
    """
    match_target(w, rules, s, 0.0)
    s.next_rare_s = min(s.next_timer_s, s.next_sample_s, s.tick_s)
    while s.next < len(w.arrivals) or s.waiting > 0 or s.heap > 0:
        arrival = w.arrivals[s.next] if s.next < len(w.arrivals) else np.inf
        done = w.heap_s[0] if s.heap > 0 else np.inf
        due = w.arrivals[s.head] + rules.batch_delay_s if s.waiting > 0 and s.free > 0 else np.inf
        when = min(arrival, done, due, s.next_rare_s)
        if s.waiting > 0:
            if _expire(w, rules, s, min(when, rules.closes_s)):
                continue
            if when > rules.closes_s:
                _advance(s, rules.closes_s)
                s.waiting = 0  # their outcome stays WAITING
                continue
        _advance(s, when)
        if when == done:
            _complete(w, rules, s)
        elif when == s.next_rare_s:
            _rare(decide, memory, parameters, signals, w, rules, s)
        elif when == arrival:
            _arrive(w, rules, s)
        _dispatch(w, rules, s)
    for row in w.replicas:
        if row.status != FREE:
            w.paid_s[row.kind] += s.now_s - row.launched_s


@hot
def _advance(s, until):
    passed = until - s.now_s
    s.queue_s += s.waiting * passed
    s.service_s += s.in_service * passed
    s.busy_s += s.busy * passed
    s.ready_s += s.ready * passed
    s.now_s = until


@hot
def _arrive(w, rules, s):
    i = s.next
    s.next += 1
    if s.ready == 0:
        s.cold += 1
        if rules.wakes and s.starting == 0:
            s.tick_s = s.next_rare_s = s.now_s
    if s.waiting >= rules.queue_limit and s.free == 0:
        w.outcome[i] = DROPPED
        return
    if s.waiting == 0:
        s.head = i
    s.waiting += 1


@hot
def _leave_queue(w, s):
    """Move the head to the next request that waits; those dropped in between never did."""
    s.waiting -= 1
    s.head += 1
    if s.waiting > 0:
        while w.outcome[s.head] == DROPPED:
            s.head += 1


@hot
def _expire(w, rules, s, until):
    """Time out whoever has waited too long before `until`: the oldest is always at the head."""
    any_left = False
    while s.waiting > 0 and w.arrivals[s.head] + rules.timeout_s < until:
        _advance(s, w.arrivals[s.head] + rules.timeout_s)
        w.outcome[s.head] = TIMED_OUT
        _leave_queue(w, s)
        any_left = True
    return any_left


@hot
def _dispatch(w, rules, s):
    """Give waiting requests to free slots: full batches at once, others when their oldest has waited enough."""
    while s.waiting > 0 and s.free > 0 and (s.waiting >= rules.batch_size
                                            or w.arrivals[s.head] + rules.batch_delay_s <= s.now_s):
        s.free -= 1
        slot = w.free_slots[s.free]
        size = min(s.waiting, rules.batch_size)
        first = last = s.head
        seconds = 0.0
        if len(w.rows):
            seconds = draw_service(w.values, w.rows, w.weights, size, uniform(w.seeds[0], first))
        for _ in range(size):
            last = s.head
            w.outcome[last] = ANSWERED
            w.wait_s[last] = s.now_s - w.arrivals[last]
            if len(w.rows) == 0:
                seconds = max(seconds, w.values[last])  # a batch is as slow as its slowest
            _leave_queue(w, s)
        for i in range(first, last + 1):
            if w.outcome[i] == ANSWERED:
                w.latency_s[i] = w.wait_s[i] + seconds
        heap_push(w.heap_s, w.heap_slot, s.heap, s.now_s + seconds, slot)
        s.heap += 1
        s.busy += 1
        s.in_service += size
        taken = w.slots[slot]
        taken.first, taken.last, taken.size = first, last, size
        w.replicas[slot // rules.slots].busy += 1


@hot
def _complete(w, rules, s):
    slot = take_from_heap(w, rules, s, 0)
    row = w.replicas[slot // rules.slots]
    if row.status == READY:
        w.free_slots[s.free] = slot
        s.free += 1
    elif row.busy == 0:
        release(w, s, row)


@part
def _rare(decide, memory, parameters, signals, w, rules, s):
    """What happens some times a minute: a sample of the time series, a change of a replica, the policy."""
    if s.next_sample_s <= s.now_s:
        sample = w.samples[s.samples]
        sample[0], sample[1], sample[2] = s.ready, s.starting, s.target
        sample[3], sample[4] = s.waiting, s.in_service
        s.samples += 1
        s.next_sample_s = s.samples * rules.sample_s if s.samples < len(w.samples) else np.inf
    if s.next_timer_s <= s.now_s:
        change_replicas(w, rules, s)
    if s.tick_s <= s.now_s:
        _ask_policy(decide, memory, parameters, signals, w, rules, s)
    s.next_rare_s = min(s.next_timer_s, s.next_sample_s, s.tick_s)


@part
def _ask_policy(decide, memory, parameters, signals, w, rules, s):
    passed = s.now_s - s.last_tick_s
    ongoing = (s.queue_s - s.tick_queue_s) + (s.service_s - s.tick_service_s)
    capacity = (s.ready_s - s.tick_ready_s) * rules.slots
    signals.now_s, signals.elapsed_s = s.now_s, passed
    signals.ready, signals.starting, signals.target = s.ready, s.starting, s.target
    signals.waiting, signals.in_service = s.waiting, s.in_service
    signals.arrived = s.next - s.tick_arrived
    signals.ongoing = ongoing / passed if passed > 0 else s.waiting + s.in_service
    signals.utilisation = min(1.0, (s.busy_s - s.tick_busy_s) / capacity) if capacity > 0 else 0.0
    s.last_tick_s, s.tick_arrived = s.now_s, s.next
    s.tick_queue_s, s.tick_service_s, s.tick_busy_s, s.tick_ready_s = s.queue_s, s.service_s, s.busy_s, s.ready_s
    s.tick_s = s.now_s + rules.period_s
    desired = decide(signals, memory, parameters)
    if math.isnan(desired):
        return
    target = int(min(max(math.ceil(desired - 1e-9), rules.smallest), rules.largest))
    if target != s.target:
        s.target = target
        match_target(w, rules, s, rules.startup_s)

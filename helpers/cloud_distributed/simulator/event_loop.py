"""The compiled simulation of a fleet that scales, balances, batches, drops, times out and fails.

Events at the same time: a finished batch, then replicas and policy, then the arrival, then the batch that
has waited long enough. A request may start in the very moment of its time-out.
"""

import math

import numpy as np

from helpers.cloud_distributed.simulator.compiled import (
    ANSWERED,
    CENTRAL,
    DRAINING,
    DROPPED,
    FREE,
    READY,
    TIMED_OUT,
    WAITING,
    compiled_loop,
    heap_push,
    hot,
    part,
    uniform,
)
from helpers.cloud_distributed.simulator.replica_pool import (
    change_replicas,
    choose,
    match_target,
    release,
    take_from_heap,
)
from helpers.cloud_distributed.simulator.service_times import draw_service


@compiled_loop
def run_events(decide, memory, parameters, signals, w, rules, s):
    """Run until all requests have left, or until the clock ends with requests still waiting.

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
        due = _next_due(w, rules, s) if rules.batch_delay_s > 0 and s.waiting > 0 else np.inf
        when = min(arrival, done, due, s.next_rare_s)
        if s.waiting > 0:
            if _expire(w, rules, s, min(when, rules.closes_s)):
                continue
            if when > rules.closes_s:
                _advance(s, rules.closes_s)
                _send_away(w, s)
                continue
        _advance(s, when)
        if when == done:
            _complete(w, rules, s)
        elif when == s.next_rare_s:
            rare(decide, memory, parameters, signals, w, rules, s)
            _start_everywhere(w, rules, s)
        elif when == arrival:
            _arrive(w, rules, s)
        else:
            _start_everywhere(w, rules, s)
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
def _next_due(w, rules, s):
    """When the next batch that is not full has waited long enough, at a replica that could take it."""
    if rules.balancer == CENTRAL:
        return w.arrivals[s.head] + rules.batch_delay_s if s.free > 0 else np.inf
    due = np.inf
    for row in w.replicas:
        if row.waiting > 0 and row.busy < rules.slots:
            due = min(due, w.arrivals[row.head] + rules.batch_delay_s)
    return due


@hot
def _arrive(w, rules, s):
    i = s.next
    s.next += 1
    if s.ready == 0:
        s.cold += 1
        if rules.wakes and s.starting == 0:
            s.tick_s = s.next_rare_s = s.now_s
    at = choose(w, rules, s, i) if rules.balancer != CENTRAL and s.front == 0 else -1
    free = s.free > 0 if rules.balancer == CENTRAL else at >= 0 and w.replicas[at].busy < rules.slots
    if s.waiting >= rules.queue_limit and not free:
        w.outcome[i] = DROPPED
        return
    s.waiting += 1
    if at < 0:
        if s.front > 0:
            w.following[s.tail] = i
        else:
            s.head = i
        s.tail = i
        s.front += 1
        w.place[i] = -1
        if rules.balancer == CENTRAL:
            _start_central(w, rules, s)
    else:
        _queue_at(w, i, at)
        _start_at(w, rules, s, at)


@hot
def _queue_at(w, i, at):
    row = w.replicas[at]
    if row.waiting > 0:
        w.following[row.tail] = i
    else:
        row.head = i
    row.tail = i
    row.waiting += 1
    row.held += 1
    w.place[i] = at


@part
def _from_front(w, rules, s):
    """Send requests from the central queue to replicas, as far as there is room."""
    while s.front > 0:
        at = choose(w, rules, s, s.head)
        if at < 0:
            break
        i = s.head
        s.head = w.following[i]
        s.front -= 1
        _queue_at(w, i, at)
        _start_at(w, rules, s, at)


@part
def _start_everywhere(w, rules, s):
    if rules.balancer == CENTRAL:
        _start_central(w, rules, s)
        return
    for at in range(len(w.replicas)):
        if w.replicas[at].waiting > 0:
            _start_at(w, rules, s, at)
    _from_front(w, rules, s)


@hot
def _start_central(w, rules, s):
    """Give waiting requests to free slots: full batches at once, others when their oldest has waited enough."""
    while s.front > 0 and s.free > 0 and (s.front >= rules.batch_size
                                          or w.arrivals[s.head] + rules.batch_delay_s <= s.now_s):
        s.free -= 1
        slot, first = w.free_slots[s.free], s.head
        size = min(s.front, rules.batch_size)
        s.head = _start(w, rules, s, slot, first, size)
        s.front -= size
        w.replicas[slot // rules.slots].held += size


@hot
def _start_at(w, rules, s, at):
    """The same for one replica with its own queue."""
    row = w.replicas[at]
    while row.waiting > 0 and row.busy < rules.slots and (row.waiting >= rules.batch_size
                                                          or w.arrivals[row.head] + rules.batch_delay_s <= s.now_s):
        slot = at * rules.slots
        while w.slots[slot].size > 0:
            slot += 1
        size = min(row.waiting, rules.batch_size)
        row.head = _start(w, rules, s, slot, row.head, size)
        row.waiting -= size


@hot
def _start(w, rules, s, slot, first, size):
    """Let a slot work on `size` requests from `first` on; returns who waits behind them."""
    seconds = 0.0
    if len(w.rows):
        seconds = draw_service(w.values, w.rows, w.weights, size, uniform(w.seeds[0], first))
    else:
        i = first
        for _ in range(size):
            seconds = max(seconds, w.values[i])  # a batch is as slow as its slowest
            i = w.following[i]
    i = first
    for _ in range(size):
        w.outcome[i] = ANSWERED
        w.wait_s[i] = s.now_s - w.arrivals[i]
        w.latency_s[i] = w.wait_s[i] + seconds
        i = w.following[i]
    heap_push(w.heap_s, w.heap_slot, s.heap, s.now_s + seconds, slot)
    s.heap += 1
    s.in_service += size
    s.waiting -= size
    w.slots[slot].first, w.slots[slot].size = first, size
    row = w.replicas[slot // rules.slots]
    row.busy += 1
    s.busy += row.status == READY
    return i


@hot
def _expire(w, rules, s, until):
    """Time out whoever has waited too long before `until`: the oldest of all is at the head of its queue."""
    any_left = False
    while rules.timeout_s < np.inf and s.waiting > 0:
        while w.outcome[s.oldest] != WAITING:
            s.oldest += 1
        i = s.oldest
        if w.arrivals[i] + rules.timeout_s >= until:
            break
        _advance(s, w.arrivals[i] + rules.timeout_s)
        w.outcome[i] = TIMED_OUT
        s.waiting -= 1
        if w.place[i] < 0:
            s.head = w.following[i]
            s.front -= 1
        else:
            row = w.replicas[w.place[i]]
            row.head = w.following[i]
            row.waiting -= 1
            row.held -= 1
            if row.status == DRAINING and row.held == 0:
                release(w, s, row)
            if s.front > 0:  # there is room now
                _from_front(w, rules, s)
        any_left = True
    return any_left


@part
def _send_away(w, s):
    """The clock ends: the queues are emptied, and the outcome of requests in them stays WAITING."""
    s.waiting = s.front = 0
    for row in w.replicas:
        row.held -= row.waiting
        row.waiting = 0
        if row.status == DRAINING and row.held == 0:
            release(w, s, row)


@hot
def _complete(w, rules, s):
    slot = take_from_heap(w, rules, s, 0)
    at = slot // rules.slots
    row = w.replicas[at]
    if rules.balancer == CENTRAL:
        if row.status == READY:
            w.free_slots[s.free] = slot
            s.free += 1
        _start_central(w, rules, s)
    else:
        _start_at(w, rules, s, at)
        if s.front > 0:
            _from_front(w, rules, s)
    if row.status == DRAINING and row.held == 0:
        release(w, s, row)


@hot
def rare(decide, memory, parameters, signals, w, rules, s):
    """Handle what happens a few times a minute: a time series sample, a replica's change, the policy."""
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


@hot
def _ask_policy(decide, memory, parameters, signals, w, rules, s):
    passed = s.now_s - s.last_tick_s
    ongoing = (s.queue_s - s.tick_queue_s) + (s.service_s - s.tick_service_s)
    capacity = (s.ready_s - s.tick_ready_s) * rules.slots
    signals.now_s, signals.elapsed_s = s.now_s, passed
    signals.ready, signals.starting, signals.target = s.ready, s.starting, s.target
    signals.waiting, signals.in_service = s.waiting, s.in_service
    signals.arrived = s.next - s.tick_arrived
    signals.ongoing = ongoing / passed if passed > 0 else s.waiting + s.in_service
    signals.utilisation = (s.busy_s - s.tick_busy_s) / capacity if capacity > 0 else 0.0
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

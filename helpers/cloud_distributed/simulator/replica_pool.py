"""The compiled loops' replicas: launched, opened, chosen for a request, drained, lost and replaced."""

import math

import numpy as np

from helpers.cloud_distributed.simulator.compiled import (
    CENTRAL,
    DRAINING,
    FAILED,
    FREE,
    RANDOM,
    READY,
    RESERVED,
    ROUND_ROBIN,
    SPOT,
    STARTING,
    bits,
    heap_remove,
    hot,
    part,
    uniform,
)

_NO_LIMIT = np.iinfo(np.int64).max


@hot
def two_of(chance, count):
    """Two different places below `count`, each pair alike likely, from 64 random bits; the same twice where it is 1."""
    low = np.uint64(0xFFFFFFFF)
    first = np.int64(((chance >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32))
    second = np.int64(((chance & low) * np.uint64(max(1, count - 1))) >> np.uint64(32))
    return first, second + (second >= first and count > 1)


@hot
def choose(w, rules, s, i):
    """The replica that request i goes to; -1 where none is ready, or all are full."""
    places, count = w.open, s.ready
    if rules.replica_queue < _NO_LIMIT:
        places, count = w.roomy, 0
        for k in range(s.ready):  # from the next one in turn on
            at = w.open[(s.turn + k) % s.ready] if rules.balancer == ROUND_ROBIN else w.open[k]
            if w.replicas[at].busy < rules.slots or w.replicas[at].waiting < rules.replica_queue:
                places[count] = at
                count += 1
                if rules.balancer == ROUND_ROBIN:
                    s.turn = (s.turn + k) % s.ready + 1
                    return at
    if count == 0:
        return -1
    if rules.balancer == ROUND_ROBIN:
        at = s.turn if s.turn < count else s.turn % count
        s.turn = at + 1
        return places[at]
    first, second = two_of(bits(w.seeds[2], i), count)
    if rules.balancer == RANDOM:
        return places[first]
    fewer = w.replicas[places[second]].held < w.replicas[places[first]].held
    return places[second] if fewer else places[first]


@part
def match_target(w, rules, s, startup_s):
    """Launch and retire replicas until each kind has as many as the target asks for."""
    reserved = min(rules.reserved, s.target)
    spot = int(rules.spot_share * (s.target - reserved) + 0.5)
    for kind in range(3):
        wanted = reserved if kind == RESERVED else spot if kind == SPOT else s.target - reserved - spot
        for row in w.replicas:
            wanted -= row.kind == kind and (row.status == STARTING or row.status == READY)
        for at in range(len(w.replicas)):
            if wanted > 0 and w.replicas[at].status == FREE:
                _launch(w, rules, s, at, kind, startup_s)
                wanted -= 1
        while wanted < 0:
            _retire_one(w, rules, s, kind)
            wanted += 1
    _find_next_timer(w, s)


@part
def _launch(w, rules, s, at, kind, startup_s):
    row = w.replicas[at]
    row.status, row.kind, row.busy, row.held, row.waiting, row.notice = STARTING, kind, 0, 0, 0, 0
    row.launched_s, row.ready_s, row.ends_s = s.now_s, s.now_s + startup_s, np.inf
    row.leave_sum_s = row.work_s = row.busy_s = 0.0
    s.starting += 1
    s.launches += 1
    if startup_s == 0:
        _make_ready(w, rules, s, at)


@part
def _make_ready(w, rules, s, at):
    """Open its slots and draw when it will fail or be taken back, whichever comes first."""
    row = w.replicas[at]
    row.status = READY
    w.open[s.ready] = at
    s.starting -= 1
    s.ready += 1
    s.changes += 1
    for slot in range(at * rules.slots, (at + 1) * rules.slots):
        w.free_s[slot] = s.now_s
        if rules.balancer == CENTRAL:
            w.free_slots[s.free] = slot
            s.free += 1
    taken_back = rules.interruption_rate if row.kind == SPOT else 0.0
    rate = rules.failure_rate + taken_back
    if rate > 0:
        row.ends_s = s.now_s - math.log(1.0 - uniform(w.seeds[1], 2 * s.draws)) / rate
        row.notice = uniform(w.seeds[1], 2 * s.draws + 1) * rate < taken_back
        s.draws += 1


@part
def _retire_one(w, rules, s, kind):
    """Give up the replica that is missed least: one that still starts, else the idlest; the youngest."""
    best, least = 0, np.inf
    for at in range(len(w.replicas)):
        row = w.replicas[at]
        if row.kind == kind and (row.status == STARTING or row.status == READY):
            missed = row.held if row.status == READY else -1.0
            if missed < least or (missed == least and row.launched_s >= w.replicas[best].launched_s):
                best, least = at, missed
    row = w.replicas[best]
    if row.status == STARTING:
        s.starting -= 1
        release(w, s, row)
    else:
        _drain(w, rules, s, best)


@part
def _drain(w, rules, s, at):
    """Give it no more requests; it leaves at once when idle, else with the last that it has."""
    row = w.replicas[at]
    staying = 0
    for k in range(s.ready):
        if w.open[k] != at:
            w.open[staying] = w.open[k]
            staying += 1
    s.ready = staying
    s.changes += 1
    staying = 0
    for k in range(s.free):
        if w.free_slots[k] // rules.slots != at:
            w.free_slots[staying] = w.free_slots[k]
            staying += 1
    s.free = staying
    row.status = DRAINING
    s.busy -= row.busy
    s.left_s += row.busy_s
    if row.held == 0:
        release(w, s, row)


@part
def release(w, s, row):
    """Stop paying for a replica; its row is free for another."""
    w.paid_s[row.kind] += s.now_s - row.launched_s
    row.status, row.ends_s = FREE, np.inf


@part
def change_replicas(w, rules, s):
    """Open replicas that are ready, warn or end those that are due, then replace the lost ones."""
    for at in range(len(w.replicas)):
        row = w.replicas[at]
        if row.status == STARTING and row.ready_s <= s.now_s:
            _make_ready(w, rules, s, at)
        elif (row.status == READY or row.status == DRAINING) and row.ends_s <= s.now_s:
            if row.notice:
                row.notice, row.ends_s = 0, s.now_s + rules.notice_s
            else:
                _fail(w, rules, s, at)
            if row.status == READY:
                _drain(w, rules, s, at)
    match_target(w, rules, s, rules.startup_s)


@part
def _fail(w, rules, s, at):
    """End what the replica was working on, and what waits at it."""
    row = w.replicas[at]
    k = 0
    while k < s.heap:
        if w.heap_slot[k] // rules.slots != at:
            k += 1
            continue
        slot = w.heap_slot[k]
        i, size = w.slots[slot].first, w.slots[slot].size
        take_from_heap(w, rules, s, k)
        for _ in range(size):
            w.outcome[i] = FAILED
            w.wait_s[i] = w.latency_s[i] = np.nan
            i = w.following[i]
        k = 0  # the heap has moved
    s.waiting -= row.waiting
    for _ in range(row.waiting):
        w.outcome[row.head] = FAILED
        row.head = w.following[row.head]
    row.waiting = row.held = 0
    if row.status == DRAINING:
        release(w, s, row)


@hot
def take_from_heap(w, rules, s, at):
    """A batch is done, or its replica is gone: its slot leaves the heap."""
    slot = w.heap_slot[at]
    heap_remove(w.heap_s, w.heap_slot, s.heap, at)
    s.heap -= 1
    size = w.slots[slot].size
    s.in_service -= size
    row = w.replicas[slot // rules.slots]
    row.busy -= 1
    s.busy -= row.status == READY
    row.held -= size
    w.slots[slot].size = 0
    return slot


@part
def _find_next_timer(w, s):
    s.next_timer_s = np.inf
    for row in w.replicas:
        if row.status == STARTING:
            s.next_timer_s = min(s.next_timer_s, row.ready_s)
        elif row.status != FREE:
            s.next_timer_s = min(s.next_timer_s, row.ends_s)

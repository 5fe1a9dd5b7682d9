"""The compiled loop's replicas: launched, opened, drained, lost and replaced, each kind on its own."""

import math

import numpy as np

from helpers.cloud_distributed.simulator.compiled import (
    ANSWERED,
    DRAINING,
    FAILED,
    FREE,
    READY,
    RESERVED,
    SPOT,
    STARTING,
    heap_remove,
    hot,
    part,
    uniform,
)


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
    row.status, row.kind, row.busy, row.notice = STARTING, kind, 0, 0
    row.launched_s, row.ready_s, row.ends_s = s.now_s, s.now_s + startup_s, np.inf
    s.starting += 1
    s.launches += 1
    if startup_s == 0:
        _make_ready(w, rules, s, at)


@part
def _make_ready(w, rules, s, at):
    """Open its slots and draw when it will fail or be taken back, whichever comes first."""
    row = w.replicas[at]
    row.status = READY
    s.starting -= 1
    s.ready += 1
    for slot in range(at * rules.slots, (at + 1) * rules.slots):
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
            missed = row.busy if row.status == READY else -1.0
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
    """Close its free slots; it leaves at once when idle, else with its last batch."""
    row = w.replicas[at]
    s.ready -= 1
    staying = 0
    for k in range(s.free):
        if w.free_slots[k] // rules.slots != at:
            w.free_slots[staying] = w.free_slots[k]
            staying += 1
    s.free = staying
    row.status = DRAINING
    if row.busy == 0:
        release(w, s, row)


@part
def release(w, s, row):
    """Stop paying for a replica; its row is free for another."""
    w.paid_s[row.kind] += s.now_s - row.launched_s
    row.status, row.ends_s = FREE, np.inf


@part
def change_replicas(w, rules, s):
    """Those that are ready open; those whose end has come are warned or die; then the lost ones are replaced."""
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
    """End what the replica was working on."""
    k = 0
    while k < s.heap:
        if w.heap_slot[k] // rules.slots != at:
            k += 1
            continue
        batch = w.slots[take_from_heap(w, rules, s, k)]
        for i in range(batch.first, batch.last + 1):
            if w.outcome[i] == ANSWERED:
                w.outcome[i] = FAILED
                w.wait_s[i] = w.latency_s[i] = np.nan
        k = 0  # the heap has moved
    if w.replicas[at].status == DRAINING:
        release(w, s, w.replicas[at])


@hot
def take_from_heap(w, rules, s, at):
    """A batch is done, or its replica is gone: its slot leaves the heap."""
    slot = w.heap_slot[at]
    heap_remove(w.heap_s, w.heap_slot, s.heap, at)
    s.heap -= 1
    s.busy -= 1
    s.in_service -= w.slots[slot].size
    w.replicas[slot // rules.slots].busy -= 1
    return slot


@part
def _find_next_timer(w, s):
    s.next_timer_s = np.inf
    for row in w.replicas:
        if row.status == STARTING:
            s.next_timer_s = min(s.next_timer_s, row.ready_s)
        elif row.status != FREE:
            s.next_timer_s = min(s.next_timer_s, row.ends_s)

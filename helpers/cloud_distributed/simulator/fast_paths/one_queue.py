"""One queue before a fixed number of slots."""

import numpy as np

from helpers.cloud_distributed.simulator.compiled import compiled, part, uniform
from helpers.cloud_distributed.simulator.service_times import draw_service


@compiled
def serve_in_order(arrivals, values, rows, weights, seed, slots, closes_s, wait_s, latency_s):
    """Give each request to the slot that is free first (Kiefer and Wolfowitz, 1955).

    Args:
        arrivals: (n,) float64, ascending. values, rows, weights: see ServiceTimes.packed.
        wait_s, latency_s: (n,) float64, filled as far as requests are served.

    Returns:
        How many were served, the seconds of their services, and when the last one left.
    """
    losers_s, losers = _new_tree(slots)
    free_s, slot = 0.0, 0
    busy_s = 0.0
    end_s = arrivals[-1] if len(arrivals) else 0.0
    for i in range(len(arrivals)):
        arrival = arrivals[i]
        start = max(arrival, free_s)
        if start > closes_s:  # starts never go back, so nobody after is served either
            return i, busy_s, max(end_s, closes_s)
        seconds = draw_service(values, rows, weights, 1, uniform(seed, i)) if len(rows) else values[i]
        wait_s[i] = start - arrival
        latency_s[i] = start - arrival + seconds
        busy_s += seconds
        end_s = max(end_s, start + seconds)
        free_s, slot = _replay(losers_s, losers, slot, start + seconds)
    return len(arrivals), busy_s, end_s


@compiled
def _new_tree(slots):
    """All slots free at 0 and slot 0 the winner; leaves without a slot are never free.

    Returns:
        losers_s, losers: by node, when and which: the later of the two that met there.
    """
    leaves = 1
    while leaves < slots:
        leaves *= 2
    losers_s, losers = np.zeros(leaves), np.zeros(leaves, np.int64)
    for node in range(1, leaves):
        leaf = 2 * node + 1  # the first one below its right branch; the left branch's first has won
        while leaf < leaves:
            leaf *= 2
        losers[node] = leaf - leaves
        losers_s[node] = 0.0 if leaf - leaves < slots else np.inf
    return losers_s, losers


@part
def _replay(losers_s, losers, slot, free_s):
    """Let the last winner's slot, now free at `free_s`, climb a tree of losers; returns when and which is free first.

    Knuth, The Art of Computer Programming 3, 5.4.1. Each level is a minimum and a maximum, with nothing to
    mispredict: twice as fast as a binary heap.
    """
    node = (slot + len(losers)) >> 1
    while node > 0:
        other_s, other = losers_s[node], losers[node]
        wins = other_s < free_s
        losers_s[node] = free_s if wins else other_s
        losers[node] = slot if wins else other
        free_s = other_s if wins else free_s
        slot = other if wins else slot
        node >>= 1
    return free_s, slot


@compiled
def first_out_of_order(seconds):
    """Where a time is not finite, or earlier than the one before or than 0; -1 where none is."""
    before = 0.0
    for i in range(len(seconds)):
        if not before <= seconds[i] < np.inf:
            return i
        before = seconds[i]
    return -1


@compiled
def count_by_interval(arrivals, wait_s, latency_s, served, width_s, started, finished):
    """Count starts and ends in (k - 1, k] * width_s for each k; those after the last are left out."""
    for i in range(served):
        k = int(np.ceil((arrivals[i] + wait_s[i]) / width_s))
        if k < len(started):
            started[k] += 1
        k = int(np.ceil((arrivals[i] + latency_s[i]) / width_s))
        if k < len(finished):
            finished[k] += 1

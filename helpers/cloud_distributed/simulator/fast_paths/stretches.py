"""Replicas with their own queues, from one change of the fleet to the next."""

import numpy as np

from helpers.cloud_distributed.simulator.compiled import (
    BLOCK_BEGIN,
    BLOCK_CHANGES,
    BLOCK_END,
    BLOCK_PLACED,
    DRAINING,
    END_S,
    FREE,
    FRONT_S,
    LAST_RECENT,
    LEAST_LOADED,
    QUEUED_S,
    READY,
    ROUND_ROBIN,
    STARTING,
    WORKED_S,
    compiled_loop,
    hot,
    part,
)
from helpers.cloud_distributed.simulator.event_loop import rare
from helpers.cloud_distributed.simulator.fast_paths.placing import (
    count_drawn,
    draw,
    leave_unanswered,
    place,
    place_drawn,
)
from helpers.cloud_distributed.simulator.fast_paths.waiting_lists import forget_left
from helpers.cloud_distributed.simulator.replica_pool import match_target


@compiled_loop
def run_stretches(decide, memory, parameters, signals, w, rules, s, t):
    """Serve single requests at replicas with their own queues, from one change of the fleet to the next.

    The same as `event_loop.run_events` for fleets without batches, limits, failures and spot machines. Within a
    stretch a replica is its slots' times of becoming free (Lindley, 1952), and a list of when waiting requests give up.

    Args:
        t: Tally; the others as there.

    Returns:
        Whether it came to the end. Else there is no spare entry for another who waits: add some and call again.
    """
    if s.next_rare_s < 0:
        match_target(w, rules, s, 0.0)
        s.next_rare_s = min(s.next_timer_s, s.next_sample_s, s.tick_s)
    while True:
        if s.ready > 0 and s.front > 0 and not _place_front(w, rules, s, t):
            return False
        if not _serve_until(w, rules, s, t):
            return False
        _dismiss_front(w, rules, s, t, s.next_rare_s)
        if s.next == len(w.arrivals) and s.front == 0 and t.sums_s[END_S] <= s.next_rare_s:
            break
        _settle(w, rules, s, t, s.next_rare_s)
        rare(decide, memory, parameters, signals, w, rules, s)
    _settle(w, rules, s, t, t.sums_s[END_S])
    count_drawn(w, t, w.arrivals, t.seconds, t.starts_s, t.latencies)
    for row in w.replicas:
        if row.status != FREE:
            w.paid_s[row.kind] += s.now_s - row.launched_s
    return True


@hot
def _serve_until(w, rules, s, t):
    """Place all who arrive before the next rare moment; False where there is no spare entry.

    Some requests at a time: what chance decides about them is drawn in loops that the compiler vectorizes, then they
    are placed one by one, and counted afterwards. What is drawn holds over rare moments that change no replica, since
    a policy that looks ten times a second leaves a few requests between two of them.
    """
    until, block = s.next_rare_s, t.block
    while s.ready > 0 and s.next < len(w.arrivals) and w.arrivals[s.next] < until:
        if s.next == block[BLOCK_END] or s.changes != block[BLOCK_CHANGES]:
            count_drawn(w, t, w.arrivals, t.seconds, t.starts_s, t.latencies)
            block[BLOCK_BEGIN] = block[BLOCK_PLACED] = s.next
            block[BLOCK_END] = min(len(w.arrivals), s.next + len(t.seconds))
            block[BLOCK_CHANGES] = s.changes
            draw(w, rules, s, t, s.next, block[BLOCK_END])
        placed = place_drawn(w, rules, s, t, block[BLOCK_BEGIN], s.next - block[BLOCK_BEGIN],
                             block[BLOCK_END] - block[BLOCK_BEGIN], until, rules.balancer == LEAST_LOADED, rules.slots,
                             rules.timeout_s, rules.closes_s, w.arrivals, w.free_s, t.seconds, t.starts_s, t.picks[0],
                             t.picks[1], t.recent, t.turns, t.work_s)
        if rules.balancer == ROUND_ROBIN:
            s.turn = (s.turn + placed - 1) % s.ready + 1
        s.next += placed
        block[BLOCK_PLACED] = s.next
        if s.next < block[BLOCK_END] and w.arrivals[s.next] < until:
            return False
    while s.next < len(w.arrivals) and w.arrivals[s.next] < until:
        if s.front == 0:
            s.head = s.next
        s.front += 1
        t.sums_s[FRONT_S] += w.arrivals[s.next]
        s.cold += 1
        s.next += 1
        if rules.wakes and s.starting == 0:
            s.tick_s = s.next_rare_s = w.arrivals[s.next - 1]
            break
    return True


@part
def _place_front(w, rules, s, t):
    """Place the requests that waited for a replica to become ready; False if there is no spare entry."""
    while s.front > 0:
        i, turn = s.head, s.turn
        if not place(w, rules, s, t, i, s.now_s):
            s.turn = turn
            return False
        s.head += 1
        s.front -= 1
        t.sums_s[FRONT_S] -= w.arrivals[i]
    return True


@hot
def _dismiss_front(w, rules, s, t, until):
    """Those in front of all replicas whose time-out, or the closing of the clock, comes before `until`."""
    while s.front > 0 and min(w.arrivals[s.head] + rules.timeout_s, rules.closes_s) < until:
        i = s.head
        s.head += 1
        s.front -= 1
        t.sums_s[FRONT_S] -= w.arrivals[i]
        leave_unanswered(w, rules, t, i)


@hot
def _settle(w, rules, s, t, now):
    """Everything as it is at a moment, from what was said beforehand: the parts that lie beyond it taken off."""
    s.ready_s += s.ready * (now - s.now_s)
    s.now_s = now
    s.waiting, s.in_service = s.front, 0
    s.queue_s = t.sums_s[QUEUED_S] + s.front * now - t.sums_s[FRONT_S]
    s.service_s, s.busy_s = t.sums_s[WORKED_S], s.left_s
    for at in range(len(w.replicas)):
        row = w.replicas[at]
        if row.status == FREE or row.status == STARTING:
            continue
        if row.waiting > 0:
            forget_left(s, t, at, row, now)
        waiting, leave_sum_s = row.waiting, row.leave_sum_s
        for k in range(LAST_RECENT + 1 if waiting == 0 else 0):
            if t.recent[at, k] > now:
                waiting += 1
                leave_sum_s += t.recent[at, k]
        row.busy, rest, last = 0, 0.0, row.launched_s
        for slot in range(at * rules.slots, (at + 1) * rules.slots):
            row.busy += w.free_s[slot] > now
            rest += max(0.0, w.free_s[slot] - now)
            last = max(last, w.free_s[slot])
        row.held = row.busy + waiting
        row.work_s += t.work_s[at]
        t.work_s[at] = 0.0
        row.busy_s = row.work_s - rest
        s.waiting += waiting
        s.in_service += row.busy
        s.queue_s -= leave_sum_s - waiting * now
        s.service_s -= rest
        s.busy_s += row.busy_s if row.status == READY else 0.0
        if row.status == DRAINING and row.held == 0:
            w.paid_s[row.kind] += last - row.launched_s
            row.status, row.ends_s = FREE, np.inf

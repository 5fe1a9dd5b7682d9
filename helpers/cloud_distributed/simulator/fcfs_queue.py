"""The fast paths where requests come one by one: what becomes of one is known when it is placed.

One queue before a fixed number of slots; or a queue for each replica, between two moments at which the fleet changes.
Where what is served matters and when, these know it at once, and need no event for each end.
"""

import math

import numpy as np

from helpers.cloud_distributed.simulator.compiled import (
    ANSWERED,
    DRAINING,
    END_S,
    FREE,
    FRONT_S,
    LAST_RECENT,
    LEAST_BIN,
    LEAST_LOADED,
    QUEUED_S,
    READY,
    ROUND_ROBIN,
    SHIFT,
    STARTING,
    TIMED_OUT,
    WAITED_S,
    WAITING,
    WORKED_S,
    bits,
    compiled,
    compiled_loop,
    hot,
    part,
    uniform,
)
from helpers.cloud_distributed.simulator.event_loop import rare
from helpers.cloud_distributed.simulator.replica_pool import choose, match_target, two_of
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


@compiled_loop
def run_stretches(decide, memory, parameters, signals, w, rules, s, t):
    """Serve single requests at replicas with queues of their own, from one change of the fleet to the next.

    The same as `event_loop.run_events` for fleets without batches, limits, failures and spot machines. Within a
    stretch a replica is its slots' times of becoming free (Lindley, 1952), and a list of when those who wait stop.

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
    for row in w.replicas:
        if row.status != FREE:
            w.paid_s[row.kind] += s.now_s - row.launched_s
    return True


@part
def _serve_until(w, rules, s, t):
    """Place all who arrive before the next rare moment; False where there is no spare entry.

    Some requests at a time: what chance decides about them is drawn in loops that the compiler vectorizes, then they
    are placed one by one, and counted afterwards.
    """
    until = s.next_rare_s
    while s.ready > 0:
        begin = s.next
        last = _first_from(w.arrivals, begin, min(len(w.arrivals), begin + len(t.seconds)), until)
        if last == begin:
            return True
        _draw(w, rules, s, t, begin, last)
        placed = _place_drawn(w, rules, s, t, begin, last - begin, rules.balancer == LEAST_LOADED, rules.slots,
                              rules.timeout_s, rules.closes_s, w.arrivals, w.free_s, t.seconds, t.starts_s, t.picks[0],
                              t.picks[1], t.recent, t.turns, t.work_s)
        _count_drawn(w, t, begin, placed, w.arrivals, t.seconds, t.starts_s, t.latencies)
        s.next = begin + placed
        if rules.balancer == ROUND_ROBIN:
            s.turn = (s.turn + placed - 1) % s.ready + 1
        if s.next < last:
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
def _place_drawn(w, rules, s, t, begin, count, balanced, slots, timeout_s, closes_s, arrivals, free_s, seconds,
                 starts_s, picks, others, recent, turns, work_s):
    """Let `count` requests start; returns how many were placed.

    Everything that the loop reads for each request is an argument of its own, so that it stays in a register.
    """
    waited, worked, end = 0.0, 0.0, t.sums_s[END_S]
    for k in range(count):
        at, now = picks[k], arrivals[begin + k]
        if balanced:  # by arithmetic: a branch would be mispredicted every other time
            other = others[k]
            at += (other - at) * (_held(w, s, t, slots, free_s, recent, other, now)
                                  < _held(w, s, t, slots, free_s, recent, at, now))
        place = turns[at] & LAST_RECENT
        crowded = recent[at, place] > now
        if crowded and not _spare_for(s, t, at):
            count = k
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
            start = _leave_unanswered(w, rules, t, begin + k)
            end = max(end, t.sums_s[END_S])
            starts_s[k] = np.nan
        if crowded:
            _let_wait_in_list(w, s, t, at, start, now)
        else:
            recent[at, place] = start
            turns[at] += 1
    t.sums_s[WAITED_S] += waited
    t.sums_s[QUEUED_S] += waited
    t.sums_s[WORKED_S] += worked
    t.sums_s[END_S] = end
    return count


@part
def _count_drawn(w, t, begin, count, arrivals, seconds, starts_s, latencies):
    """The same requests' latencies, into the histogram and where they are asked for."""
    answered = 0
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
def _first_from(arrivals, begin, last, until):
    """The first of the ascending arrivals from `begin` to `last` that is not before `until`; `last` where none is."""
    if last == begin or arrivals[last - 1] < until:
        return last
    while begin < last:
        middle = (begin + last) // 2
        if arrivals[middle] < until:
            begin = middle + 1
        else:
            last = middle
    return last


@hot
def _draw(w, rules, s, t, begin, last):
    """What chance says about requests `begin` to `last`: the replicas to choose from, and the seconds of work."""
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


@part
def _place_front(w, rules, s, t):
    """Deal out those who waited for a replica to become ready; False where there is no spare entry."""
    while s.front > 0:
        i, turn = s.head, s.turn
        if not _place(w, rules, s, t, i, s.now_s):
            s.turn = turn
            return False
        s.head += 1
        s.front -= 1
        t.sums_s[FRONT_S] -= w.arrivals[i]
    return True


@part
def _dismiss_front(w, rules, s, t, until):
    """Those in front of all replicas whose time-out, or the closing of the clock, comes before `until`."""
    while s.front > 0 and min(w.arrivals[s.head] + rules.timeout_s, rules.closes_s) < until:
        i = s.head
        s.head += 1
        s.front -= 1
        t.sums_s[FRONT_S] -= w.arrivals[i]
        _leave_unanswered(w, rules, t, i)


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
def _place(w, rules, s, t, i, now):
    """The same as in `_serve_until` for one who has waited already."""
    if rules.balancer == LEAST_LOADED:  # how much a replica holds has to be worked out
        first, second = two_of(bits(w.seeds[2], i), s.ready)
        at, other = w.open[first], w.open[second]
        less = (_held(w, s, t, rules.slots, w.free_s, t.recent, other, now)
                < _held(w, s, t, rules.slots, w.free_s, t.recent, at, now))
        at = other if less else at
    else:
        at = choose(w, rules, s, i)
    if not _spare_for(s, t, at):
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
        leave = _leave_unanswered(w, rules, t, i)
    place = t.turns[at] & LAST_RECENT
    if t.recent[at, place] > now:
        _let_wait_in_list(w, s, t, at, leave, now)
    else:
        t.recent[at, place] = leave
        t.turns[at] += 1
    return True


@part
def _let_wait_in_list(w, s, t, at, leave, now):
    """Somebody waits until `leave` at a replica where as many wait as `Tally.recent` has places for one.

    There the last few are written over in turn, since only those still waiting count. Where more wait, all of them
    are in a list, and infinities stand in for the last few.
    """
    row = w.replicas[at]
    if row.waiting == 0:
        for k in range(LAST_RECENT + 1):
            _append(s, t, row, t.recent[at, (t.turns[at] + k) & LAST_RECENT])
        t.recent[at, :] = np.inf
    _append(s, t, row, leave)
    _forget_left(s, t, at, row, now)


@hot
def _append(s, t, row, leave):
    entry = s.spare
    s.spare = t.link[entry]
    t.leave_s[entry], t.link[entry] = leave, 0
    if row.waiting > 0:
        t.link[row.tail] = entry
    else:
        row.head = entry
    row.tail = entry
    row.waiting += 1
    row.leave_sum_s += leave


@part
def _spare_for(s, t, at):
    """Whether there are spare entries for another one who waits there."""
    entry = s.spare
    for _ in range(LAST_RECENT + 1 if t.recent[at, 0] < np.inf else 0):
        entry = t.link[entry] if entry > 0 else 0
    return entry > 0


@hot
def _note_latency(w, t, i, wait, latency):
    t.latencies[leading_bits(latency)] += 1
    if t.each:
        w.wait_s[i], w.latency_s[i], w.outcome[i] = wait, latency, ANSWERED


@part
def _leave_unanswered(w, rules, t, i):
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
        waiting = _held_in_list(w, s, t, at, now)
    if slots == 1:
        return waiting + (free_s[at] > now)
    busy = 0
    for slot in range(at * slots, (at + 1) * slots):
        busy += free_s[slot] > now
    return waiting + busy


@part
def _held_in_list(w, s, t, at, now):
    if t.recent[at, 0] < np.inf:
        return LAST_RECENT + 1
    _forget_left(s, t, at, w.replicas[at], now)
    return w.replicas[at].waiting


@part
def _forget_left(s, t, at, row, now):
    """Take those from a replica's list who no longer wait; they are in order of leaving."""
    while row.waiting > 0 and t.leave_s[row.head] <= now:
        entry = row.head
        row.head = t.link[entry]
        t.link[entry] = s.spare
        s.spare = entry
        row.waiting -= 1
        row.leave_sum_s -= t.leave_s[entry]
    if row.waiting == 0:
        row.leave_sum_s = 0.0  # nothing is left of rounding errors
        t.recent[at, :] = 0.0


@part
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
            _forget_left(s, t, at, row, now)
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


@hot
def leading_bits(latency):
    """The bin of a positive number, 0.1 % wide; its least number has these bits and zeros behind."""
    return max(0, (np.float64(latency).view(np.int64) >> SHIFT) - LEAST_BIN)

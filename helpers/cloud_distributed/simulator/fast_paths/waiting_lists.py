"""Who waits at a replica, and until when: the last few in an array, more of them in a list."""

import numpy as np

from helpers.cloud_distributed.simulator.compiled import LAST_RECENT, hot, part


@part
def let_wait_in_list(w, s, t, at, leave, now):
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
    forget_left(s, t, at, row, now)


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
def spare_for(s, t, at):
    """Whether there are spare entries for another one who waits there."""
    entry = s.spare
    for _ in range(LAST_RECENT + 1 if t.recent[at, 0] < np.inf else 0):
        entry = t.link[entry] if entry > 0 else 0
    return entry > 0


@part
def held_in_list(w, s, t, at, now):
    """How many wait at a replica where all of the last few still do: as many as those, or as its list says."""
    if t.recent[at, 0] < np.inf:
        return LAST_RECENT + 1
    forget_left(s, t, at, w.replicas[at], now)
    return w.replicas[at].waiting


@part
def forget_left(s, t, at, row, now):
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

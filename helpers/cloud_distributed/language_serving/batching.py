"""The compiled loop of a fleet of language-model servers: continuous batching, chunked prefill, preemption.

Events at the same time: arrivals, then replicas, samples and policy, then the end of a step.
"""

import numpy as np

from helpers.cloud_distributed.language_serving.prefix_cache import evict, leading, leave, use
from helpers.cloud_distributed.language_serving.replicas import choose, match_target, rare, release
from helpers.cloud_distributed.simulator.compiled import (
    ANSWERED,
    DRAINING,
    DROPPED,
    FREE,
    READY,
    compiled_loop,
    heap_push,
    heap_remove,
    hot,
    part,
)


@compiled_loop
def run_fleet(decide, memory, parameters, signals, w, rules, s):
    """Run until all requests have left, or until the clock closes on those for whom no replica is there.

    Args:
        decide: a policy as compiled by `policies.compile_policy`.
        memory, parameters: (m,), (p,) float64, its own. signals: SIGNALS record, to be filled for it.
        w: World. rules: RULES record. s: STATE record, all zero but `target`, `tick_s` and `next_*_s`.

    A sequence enters when its prompt fits in memory, and takes one token more in each step. Where they outgrow it, the
    one that entered last leaves, and reads prompt and answer again later (vLLM: Kwon et al., SOSP 2023; continuous
    batching: Yu et al., OSDI 2022; prompts in chunks beside decoding sequences: Agrawal et al., OSDI 2024).
    """
    match_target(w, rules, s, 0.0)
    while s.next < len(w.arrivals) or s.waiting > 0 or s.in_service > 0:
        at = _earliest(w.step_ends)
        arrival = w.arrivals[s.next] if s.next < len(w.arrivals) else np.inf
        rare_s = min(s.next_timer_s, s.next_sample_s, s.tick_s)
        when = min(arrival, rare_s, w.step_ends[at])
        if s.front > 0 and when > rules.closes_s:
            s.waiting -= s.front
            s.front = 0
            continue
        passed = when - s.now_s
        s.queue_s += s.waiting * passed
        s.ongoing_s += (s.waiting + s.in_service) * passed
        s.busy_s += s.busy * passed
        s.ready_s += s.ready * passed
        s.now_s = when
        if when == arrival:
            _arrive(w, rules, s)
            if s.next == len(w.arrivals) or w.arrivals[s.next] > when:
                _begin_where_idle(w, rules, s)
        elif when == rare_s:
            rare(decide, memory, parameters, signals, w, rules, s)
            _from_front(w, rules, s)
            _begin_where_idle(w, rules, s)
        else:
            _end_step(w, rules, s, at)
            _begin_step(w, rules, s, at)
    for row in w.replicas:
        if row.status != FREE:
            s.paid_s += s.now_s - row.launched_s


@hot
def _earliest(times):
    best = 0
    for at in range(1, len(times)):
        if times[at] < times[best]:
            best = at
    return best


@part
def _arrive(w, rules, s):
    i = s.next
    s.next += 1
    if w.prompt[i] + w.output[i] > rules.kv_tokens:
        w.outcome[i] = DROPPED  # does not fit even alone
        _ask_again(w, s)
        return
    s.waiting += 1
    s.tokens += w.prompt[i]
    if s.ready == 0:
        s.cold += 1
        if rules.wakes and s.starting == 0:
            s.tick_s = s.now_s
    at = choose(w, rules, s, i) if s.front == 0 else -1
    if at >= 0:
        _queue_at(w, i, at)
        return
    if s.front > 0:
        w.following[s.tail] = i
    else:
        s.head = i
    s.tail = i
    s.front += 1


@part
def _ask_again(w, s):
    """In a closed loop, whoever has an answer thinks, and then sends the next request that is left."""
    if s.issued < len(w.arrivals):
        k, at = s.issued, s.now_s + w.think_s[s.issued]
        while k > s.next and w.arrivals[k - 1] > at:
            w.arrivals[k] = w.arrivals[k - 1]
            k -= 1
        w.arrivals[k] = at
        s.issued += 1


@part
def _queue_at(w, i, at):
    """Behind all that wait with the same rank or a higher one."""
    row = w.replicas[at]
    if row.waiting == 0:
        row.head = row.tail = i
    elif w.rank[row.tail] >= w.rank[i]:
        w.following[row.tail] = i
        row.tail = i
    else:
        before, k = -1, row.head
        while w.rank[k] >= w.rank[i]:
            before, k = k, w.following[k]
        w.following[i] = k
        if before < 0:
            row.head = i
        else:
            w.following[before] = i
    row.waiting += 1
    row.unread += w.prompt[i]
    w.replica[i] = at


@part
def _from_front(w, rules, s):
    """Distribute the requests that came while no replica was ready."""
    while s.front > 0 and s.ready > 0:
        i = s.head
        s.head = w.following[i]
        s.front -= 1
        _queue_at(w, i, choose(w, rules, s, i))


@part
def _begin_where_idle(w, rules, s):
    for at in range(len(w.replicas)):
        if w.replicas[at].waiting > 0 and w.step_ends[at] == np.inf:
            _begin_step(w, rules, s, at)


@part
def _begin_step(w, rules, s, at):
    """Make room for decoding sequences, admit others, and compute how long the step takes."""
    row = w.replicas[at]
    before = s.preempted
    while row.held + row.cached + row.decoding > rules.kv_tokens:
        if row.cached > 0:
            evict(w, rules, row, at)
        else:
            _preempt(w, rules, s, row, at)
    if s.preempted == before:
        _enter(w, rules, s, row, at)
    busy = 1 if row.inside > 0 else 0
    if row.status == READY:
        s.busy += busy - row.busy
    row.busy = busy
    if row.inside == 0:
        w.step_ends[at] = np.inf
        if row.status == DRAINING:
            release(w, s, row, at)
        return
    row.held += row.decoding
    row.peak = max(row.peak, row.held)
    tokens, attended, read = _read_prompts(w, row, at, max(0, rules.token_budget - row.decoding))
    f = w.figures
    arithmetic_s = f[0] + f[1] * tokens + f[2] * row.decoding + f[3] * (row.context + attended)
    traffic_s = f[4] + f[5] * tokens + f[6] * row.decoding + f[7] * (row.context + read)
    w.step_ends[at] = s.now_s + max(arithmetic_s, traffic_s) + f[8]


@part
def _enter(w, rules, s, row, at):
    """Let in who waits, in order, while there is memory and a place; what the cache has of a prompt is not read."""
    while row.waiting > 0 and row.inside < rules.max_batch:
        i = row.head
        length, blocks = w.prompt[i] + w.made[i], leading(w, at, i)
        use(w, rules, row, at, i, 0, blocks, False)
        need = length - blocks * rules.block
        if row.held + need + row.decoding > rules.kv_tokens:
            leave(w, rules, row, at, i, blocks)
            break
        while row.held + row.cached + need + row.decoding > rules.kv_tokens:
            evict(w, rules, row, at)
        row.held += need
        w.uses[i], w.filled[i] = blocks, min(blocks * rules.block, length - 1)  # the last token has to be read
        if w.made[i] == 0:
            w.cached[i] = w.filled[i]
            w.filled[i] = length - 1 if rules.loaded else w.filled[i]  # its keys and values came with it
        row.unread -= w.filled[i]
        row.head = w.following[i]
        row.waiting -= 1
        row.inside += 1
        s.waiting -= 1
        s.in_service += 1
        s.admitted += 1
        w.stamp[i] = s.admitted
        w.ring[at, (row.ring + row.filling) % rules.max_batch] = i
        row.filling += 1


@part
def _read_prompts(w, row, at, room):
    """Read up to `room` tokens of prompts: tokens, attended pairs, and tokens whose keys and values are fetched."""
    tokens, read, attended, k = 0, 0, 0.0, 0
    row.finishing = 0
    while room > 0 and k < row.filling:
        i = w.ring[at, (row.ring + k) % w.ring.shape[1]]
        length = w.prompt[i] + w.made[i]
        chunk = min(room, length - w.filled[i])
        attended += chunk * (w.filled[i] + 0.5 * (chunk + 1))
        w.filled[i] += chunk
        row.unread -= chunk
        tokens, read, room = tokens + chunk, read + w.filled[i], room - chunk
        row.finishing += w.filled[i] == length
        k += 1
    return tokens, attended, read


@part
def _end_step(w, rules, s, at):
    """Each that decodes has one token more, and each whose prompt is read its next one."""
    row = w.replicas[at]
    row.steps += 1
    row.context += row.decoding
    s.tokens += row.decoding + row.finishing
    before = row.decoding
    while row.decoding > 0 and w.ends[at, 0] <= row.steps:
        i = w.who[at, 0]
        heap_remove(w.ends[at], w.who[at], row.decoding, 0)
        row.decoding -= 1
        row.context -= w.prompt[i] + w.output[i] - 1
        k = row.decoding  # a free place now; they leave in the order in which they entered
        while k + 1 < before and w.stamp[w.who[at, k + 1]] < w.stamp[i]:
            w.who[at, k] = w.who[at, k + 1]
            k += 1
        w.who[at, k] = i
    for k in range(row.decoding, before):
        _answered(w, rules, s, row, at, w.who[at, k])
    for _ in range(row.finishing):
        i = w.ring[at, row.ring]
        row.ring = (row.ring + 1) % rules.max_batch
        row.filling -= 1
        use(w, rules, row, at, i, w.uses[i], w.first[i + 1] - w.first[i], True)
        w.uses[i] = w.first[i + 1] - w.first[i]
        w.made[i] += 1
        if w.made[i] == 1:
            w.first_s[i] = s.now_s
            s.ttft_s += s.now_s - w.arrivals[i]
            s.firsts += 1
        if w.made[i] == w.output[i]:
            _answered(w, rules, s, row, at, i)
        else:
            heap_push(w.ends[at], w.who[at], row.decoding, float(row.steps + w.output[i] - w.made[i]), i)
            row.decoding += 1
            row.context += w.prompt[i] + w.made[i] - 1
    row.finishing = 0


@part
def _answered(w, rules, s, row, at, i):
    w.done_s[i], w.outcome[i] = s.now_s, ANSWERED
    _ask_again(w, s)
    s.tokens -= w.prompt[i] + w.output[i]
    _out(w, rules, s, row, at, i, w.prompt[i] + w.output[i] - 1)


@part
def _out(w, rules, s, row, at, i, tokens):
    """A sequence leaves the batch, and its tokens the memory."""
    row.held -= tokens - w.uses[i] * rules.block
    leave(w, rules, row, at, i, w.uses[i])
    w.uses[i] = 0
    row.inside -= 1
    s.in_service -= 1


@part
def _preempt(w, rules, s, row, at):
    """Put the request that entered last at the head of the queue: it will read all its tokens again."""
    if row.filling > 0:  # sequences that read their prompts came after all that decode
        row.filling -= 1
        i = w.ring[at, (row.ring + row.filling) % rules.max_batch]
        row.unread += w.filled[i]
        tokens = w.prompt[i] + w.made[i]
    else:
        last = 0
        for k in range(1, row.decoding):
            if w.stamp[w.who[at, k]] > w.stamp[w.who[at, last]]:
                last = k
        i = w.who[at, last]
        w.made[i] = w.output[i] - (int(w.ends[at, last]) - row.steps)
        heap_remove(w.ends[at], w.who[at], row.decoding, last)
        row.decoding -= 1
        tokens = w.prompt[i] + w.made[i] - 1
        row.context -= tokens
        row.unread += tokens + 1
    _out(w, rules, s, row, at, i, tokens)
    w.following[i] = row.head
    if row.waiting == 0:
        row.tail = i
    row.head = i
    row.waiting += 1
    s.waiting += 1
    s.preempted += 1

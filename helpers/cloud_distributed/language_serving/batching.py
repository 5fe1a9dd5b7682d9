"""The compiled loop of a language-model server with continuous batching."""

import numpy as np

from helpers.cloud_distributed.simulator.compiled import ANSWERED, DROPPED, compiled, heap_push, heap_remove, part


@compiled
def serve_batches(arrivals, prompt, output, costs, limits, first_s, done_s, outcome):
    """Step after step: one token for each sequence that decodes, and prompt tokens up to the step's budget.

    Args:
        arrivals: (n,) float64 seconds, ascending. prompt, output: (n,) int64 tokens, 1 or more.
        costs: five figures, see LlmServer.costs.
        limits: three whole numbers: tokens of key-value memory, sequences at a time, tokens in a step.
        first_s, done_s: (n,) float64, filled with the moments of the first and the last token.
        outcome: (n,) int8, filled.

    Returns:
        Seconds of all steps, their number, and the most tokens of memory in use.

    A sequence reserves memory for all its tokens when it enters, so none is ever evicted; they enter in order of
    arrival (Yu et al., Orca, OSDI 2022; chunked prefill as in Agrawal et al., Sarathi-Serve, OSDI 2024).
    """
    weights_s, overhead_s, token_s, attention_s, context_s = costs
    ends, who = np.full(limits[1] + 1, np.inf), np.zeros(limits[1] + 1, np.int64)  # a heap: steps of last tokens
    clock = busy_s = 0.0
    entered = filling = filled = inside = decoding = context = used = peak = steps = 0
    while True:
        entered, inside, used = _enter(arrivals, prompt, output, limits, clock, entered, inside, used, outcome)
        peak = max(peak, used)
        if inside == 0:
            if entered == len(arrivals):
                return busy_s, steps, peak
            clock = max(clock, arrivals[entered])
            continue
        steps += 1
        begun = filling  # those whose prompt is done in this step are begun .. filling - 1
        filling, filled, tokens, attended, read = _prefill(prompt, outcome, entered, filling, filled,
                                                           max(0, limits[2] - decoding))
        step_s = max((decoding + tokens) * token_s + (context + attended) * attention_s,
                     weights_s + (context + read) * context_s) + overhead_s
        clock += step_s
        busy_s += step_s
        context += decoding
        while decoding > 0 and ends[0] <= steps:
            i = who[0]
            heap_remove(ends, who, decoding, 0)
            decoding -= 1
            context -= prompt[i] + output[i] - 1
            inside, used = inside - 1, used - prompt[i] - output[i]
            done_s[i], outcome[i] = clock, ANSWERED
        for i in range(begun, filling):
            if outcome[i] == DROPPED:
                continue
            first_s[i] = clock
            if output[i] == 1:
                inside, used = inside - 1, used - prompt[i] - 1
                done_s[i], outcome[i] = clock, ANSWERED
            else:
                heap_push(ends, who, decoding, float(steps + output[i] - 1), i)
                decoding += 1
                context += prompt[i]


@part
def _enter(arrivals, prompt, output, limits, clock, entered, inside, used, outcome):
    """Let in who has arrived, in order, while there is memory and a place: (entered, inside, used) after that."""
    while entered < len(arrivals) and arrivals[entered] <= clock and inside < limits[1]:
        need = prompt[entered] + output[entered]
        if need > limits[0]:
            outcome[entered] = DROPPED  # does not fit even alone
        elif used + need > limits[0]:
            break
        else:
            used += need
            inside += 1
        entered += 1
    return entered, inside, used


@part
def _prefill(prompt, outcome, entered, filling, filled, room):
    """Work on up to `room` prompt tokens: what is being filled and how far, and tokens, attended pairs and context."""
    tokens, read = 0, 0
    attended = 0.0
    while room > 0 and filling < entered:
        if outcome[filling] == DROPPED:
            filling += 1
            continue
        chunk = min(room, prompt[filling] - filled)
        attended += chunk * (filled + 0.5 * (chunk + 1))
        tokens += chunk
        filled += chunk
        read += filled
        room -= chunk
        if filled == prompt[filling]:
            filling += 1
            filled = 0
    return filling, filled, tokens, attended, read

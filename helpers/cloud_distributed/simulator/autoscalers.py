"""The autoscalers that people run, as policies: Kubernetes, KEDA, Knative and Ray Serve.

Each function follows its original's published algorithm; what is left out is said. They are called in
plain Python by the tests, and compiled for the simulator.
"""

import math

from helpers.cloud_distributed.simulator.compiled import part
from helpers.cloud_distributed.simulator.policies import Policy
from helpers.lab.errors import InputError

_ALMOST = 1e-9  # a mean of exactly 3 requests must not become 4 replicas by rounding
_TOLERANCE = 0.1  # Kubernetes' default: a ratio that is off by less changes nothing
# Knative's defaults: panic when the short window asks for so many times what is ready; at most 1,000 times as many
# replicas at once, at least half of them.
_PANIC_AT, _MAX_UP, _MAX_DOWN = 2.0, 1000.0, 2.0


def target_utilisation(target: float = 0.7, stabilisation_s: float = 300.0, period_s: float = 15.0) -> Policy:
    """Kubernetes' HorizontalPodAutoscaler on CPU utilisation, with its default behaviour.

    ceil(ready * utilisation / target) unless within the tolerance; replicas that start count as idle when scaling
    up; the highest proposal of the stabilisation window when scaling down; at most twice as many or four more in
    15 s; never below one (kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale, 'Algorithm
    details' and 'Default behavior').

    Raises:
        InputError: a target that is not between 0 and 1, or a negative time.
    """
    if not 0 < target <= 1 or stabilisation_s < 0:
        raise InputError("target_utilisation needs a target between 0 and 1, and a window of 0 s or more.")
    return Policy("target utilisation", _utilisation, (target, stabilisation_s), period_s,
                  memory=1 + 2 * _steps(stabilisation_s, period_s))


def _utilisation(signals, memory, parameters):
    target, window_s = parameters[0], parameters[1]
    present, pods = signals.target, signals.ready + signals.starting
    proposal = present
    ratio = signals.utilisation / target
    if signals.ready > 0 and abs(ratio - 1.0) > _TOLERANCE:
        proposal = math.ceil(signals.ready * ratio - _ALMOST)
        if ratio > 1 and signals.starting > 0:
            damped = ratio * signals.ready / pods
            proposal = max(present, math.ceil(pods * damped - _ALMOST)) if damped > 1.0 + _TOLERANCE else present
    proposal = min(proposal, max(2.0 * pods, pods + 4.0))
    return max(1.0, _stabilised(memory, 0, signals.now_s, proposal, present, window_s))


@part
def _stabilised(memory, base, now_s, proposal, present, window_s):
    """Scale up at once, down only to the highest proposal of the window.

    memory[base]: how many proposals there were; then a ring of (time, proposal).
    """
    size = (len(memory) - base - 1) // 2
    at = base + 1 + 2 * (int(memory[base]) % size)
    memory[at], memory[at + 1] = now_s, proposal
    memory[base] += 1
    highest = proposal
    for k in range(min(size, int(memory[base]))):
        if memory[base + 1 + 2 * k] >= now_s - window_s:
            highest = max(highest, memory[base + 2 + 2 * k])
    return min(highest, present) if proposal < present else proposal


def queue_length(target: float = 5.0, cooldown_s: float = 300.0, stabilisation_s: float = 300.0,
                 period_s: float = 15.0, polling_s: float = 30.0) -> Policy:
    """KEDA on the length of a queue: between 0 and 1 by its own polling, above by the HorizontalPodAutoscaler.

    ceil(length / target) replicas, where those in service count as in the queue (as KEDA's SQS scaler counts them);
    none after `cooldown_s` without a message, where the fleet's min_replicas is 0
    (keda.sh/docs/latest/reference/scaledobject-spec: pollingInterval, cooldownPeriod).

    Raises:
        InputError: a target that is not positive, or a negative time.
    """
    if target <= 0 or min(cooldown_s, stabilisation_s, polling_s) < 0:
        raise InputError("queue_length needs a target of more than 0 requests a replica, and no negative time.")
    parameters = (target, stabilisation_s, cooldown_s, polling_s)
    return Policy("queue length", _queue_length, parameters, period_s,
                  memory=3 + 2 * _steps(stabilisation_s, period_s))


def _queue_length(signals, memory, parameters):
    target, window_s, cooldown_s, polling_s = parameters[0], parameters[1], parameters[2], parameters[3]
    length = signals.waiting + signals.in_service
    pods = signals.ready + signals.starting
    if length > 0:
        memory[1] = signals.now_s  # last seen active
    if pods == 0:
        if signals.now_s < memory[0]:
            return 0.0
        memory[0] = signals.now_s + polling_s
        return 1.0 if length > 0 else 0.0
    if signals.now_s - memory[1] >= cooldown_s:
        return 0.0
    proposal = signals.target
    if abs(length / (target * pods) - 1.0) > _TOLERANCE:
        proposal = math.ceil(length / target - _ALMOST)
    proposal = min(proposal, max(2.0 * pods, pods + 4.0))
    return max(1.0, _stabilised(memory, 2, signals.now_s, proposal, signals.target, window_s))


def concurrency_target(target: float = 0.7, stable_s: float = 60.0, panic_s: float = 6.0,
                       period_s: float = 2.0) -> Policy:
    """Knative's pod autoscaler: mean concurrency over a stable window, and a panic window for bursts.

    Args:
        target: requests that one replica should have at a time (Knative: 70 % of containerConcurrency).
        panic_s: length of the short window. When it asks for twice what is ready, nothing is given up until a stable
            window has passed without that.

    Scales to zero after a stable window without requests where the fleet's min_replicas is 0, and an arrival wakes
    it (knative.dev/docs/serving/autoscaling; knative/serving, pkg/autoscaler/scaling/autoscaler.go). Requests that
    wait count as running, as those held by Knative's activator do. Its grace period is left out.

    Raises:
        InputError: a figure that is not positive, or a panic window longer than the stable one.
    """
    if min(target, panic_s, period_s) <= 0 or panic_s > stable_s:
        raise InputError("concurrency_target needs positive figures, and a panic window within the stable one.")
    parameters = (target, max(1, round(stable_s / period_s)), max(1, round(panic_s / period_s)), stable_s)
    return Policy("concurrency target", _concurrency, parameters, period_s, memory=3 + int(parameters[1]), wakes=True)


def _concurrency(signals, memory, parameters):
    target, stable, panic, stable_s = parameters[0], int(parameters[1]), int(parameters[2]), parameters[3]
    ticks = int(memory[0])
    memory[3 + ticks % stable] = signals.ongoing
    memory[0] = ticks + 1
    ready = max(1.0, signals.ready)
    most, least = math.ceil(_MAX_UP * ready), math.floor(signals.ready / _MAX_DOWN)
    wanted = math.ceil(_mean_of_last(memory, ticks, stable, stable) / target - _ALMOST)
    urgent = math.ceil(_mean_of_last(memory, ticks, stable, panic) / target - _ALMOST)
    desired = min(max(wanted, least), most)
    if urgent / ready >= _PANIC_AT:
        memory[1] = signals.now_s + stable_s  # panic until then
    elif memory[1] <= signals.now_s:
        memory[2] = 0.0
    if memory[1] > signals.now_s:
        memory[2] = max(memory[2], desired, min(max(urgent, least), most))  # up only
        desired = memory[2]
    if signals.ready == 0 and signals.waiting > 0:
        desired = max(desired, 1.0)  # the activator holds a request
    return desired


@part
def _mean_of_last(memory, ticks, size, last):
    """Mean of the ring's last values; memory[3:3 + size] is the ring, `ticks` the latest entry's number."""
    count = min(last, ticks + 1)
    total = 0.0
    for k in range(count):
        total += memory[3 + (ticks - k) % size]
    return total / count


def ray_serve(target_ongoing_requests: float = 2.0, upscale_delay_s: float = 30.0, downscale_delay_s: float = 600.0,
              look_back_period_s: float = 30.0, upscaling_factor: float = 1.0, downscaling_factor: float = 1.0,
              period_s: float = 0.1) -> Policy:
    """Ray Serve's own policy, with its names and defaults (ray.serve.autoscaling_policy of Ray 2.60).

    Mean ongoing requests of the look-back period over the target; a change must be wanted without a break for its
    delay; no delay from zero. Metrics are seen at once, where Ray's arrive some seconds late.

    Raises:
        InputError: a figure that is not positive, or a negative delay.
    """
    if min(target_ongoing_requests, look_back_period_s, upscaling_factor, downscaling_factor, period_s) <= 0 \
            or min(upscale_delay_s, downscale_delay_s) < 0:
        raise InputError("ray_serve needs positive figures, and delays of 0 or more.")
    steps = max(1, round(look_back_period_s / period_s))
    parameters = (target_ongoing_requests, upscale_delay_s, downscale_delay_s, upscaling_factor, downscaling_factor,
                  steps)
    return Policy("Ray Serve", _ray_serve, parameters, period_s, memory=4 + steps)


def _ray_serve(signals, memory, parameters):
    steps = int(parameters[5])
    at = 4 + int(memory[0]) % steps
    memory[0] += 1
    memory[1] += signals.ongoing - memory[at]  # their sum
    memory[at] = signals.ongoing
    ongoing = max(0.0, memory[1] / min(memory[0], steps))
    present, running = signals.target, signals.ready
    if running == 0:
        asked = math.ceil(parameters[3] - _ALMOST) if ongoing > _ALMOST or signals.waiting > 0 else 0.0
        return max(asked, present)
    change = ongoing / parameters[0] - running
    desired = math.ceil(running + change * (parameters[3] if change > 0 else parameters[4]) - _ALMOST)
    if desired == running and math.ceil(running + change - _ALMOST) < running:
        desired -= 1  # a small factor must not stop it for good
    desired = max(0.0, desired)
    direction = 1.0 if desired > present else -1.0 if desired < present else 0.0
    if direction != memory[2]:
        memory[2], memory[3] = direction, signals.now_s  # wanted since now
    delay = parameters[1] if direction > 0 else parameters[2]
    if direction == 0 or signals.now_s - memory[3] + 1e-6 < delay:
        return present
    memory[2] = 0.0
    return max(1.0, desired) if direction < 0 and present > 1 else desired


def _steps(window_s: float, period_s: float) -> int:
    return int(window_s / period_s) + 2

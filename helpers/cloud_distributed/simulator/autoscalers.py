"""The autoscalers that people run, as policies: Kubernetes, KEDA, Knative, AWS and Ray Serve.

Each function follows its original's published algorithm, its first minutes included; what is left out is said. They
are called in plain Python by the tests, and compiled for the simulator.
"""

import math
from collections.abc import Mapping
from typing import Any

from helpers.cloud_distributed.simulator.compiled import part
from helpers.cloud_distributed.simulator.policies import Policy
from helpers.lab.errors import InputError
from helpers.lab.facts import read_facts

_ALMOST = 1e-9  # a mean of exactly 3 requests must not become 4 replicas by rounding
_TOLERANCE = 0.1  # Kubernetes' default: a ratio that is off by less changes nothing
# Knative's defaults: panic when the short window asks for so many times what is ready; at most 1,000 times as many
# replicas at once, at least half of them.
_PANIC_AT, _MAX_UP, _MAX_DOWN = 2.0, 1000.0, 2.0

# What a manifest without `behavior` gets, and what its rules are called there.
_DEFAULT_BEHAVIOR = {
    "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15},
                             {"type": "Pods", "value": 4, "periodSeconds": 15}]},
    "scaleDown": {"stabilizationWindowSeconds": 300, "selectPolicy": "Max",
                  "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}}
_SELECT = {"Max": 0.0, "Min": 1.0, "Disabled": 2.0}
_MAX_WINDOW_S, _MAX_PERIOD_S = 3600, 1800  # as Kubernetes validates them
_JUST_BEFORE_S = 1e-6  # a controller notes what there is before it looks at the metric
_RULES_AT = 4  # in an HPA's parameters: what stands before belongs to the metric


def target_utilisation(target: float = 0.7, stabilisation_s: float = 300.0, period_s: float = 15.0, *,
                       request: float = 1.0, behavior: Mapping[str, Any] | None = None) -> Policy:
    """Kubernetes' HorizontalPodAutoscaler on CPU utilisation.

    Args:
        target: mean utilisation of what the pods request; above 1 where they request less than they may use.
        stabilisation_s: the window for scaling down, unless `behavior` has one.
        request: share of its replica's capacity that a pod requests: 0.25 for a request of 500m with 2 cores to use.
        behavior: scaleUp and scaleDown as in a manifest's spec.behavior; what is left out has Kubernetes' defaults.

    ceil(ready * utilisation / target) unless within the tolerance; replicas that start count as idle when scaling
    up; then the highest proposal of the window when scaling down (the lowest of the other window when scaling up); then
    the rules' limits on a change; never below one. The number of replicas at the first look counts as a proposal, so
    nothing is scaled down in the first window (kubernetes.io/docs/concepts/workloads/autoscaling/
    horizontal-pod-autoscale; kubernetes/kubernetes, pkg/controller/podautoscaler/horizontal.go).

    >>> from helpers.cloud_distributed import target_utilisation
    >>> slow = {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
    >>> target_utilisation(1.5, request=0.25, behavior=slow).name
    'target utilisation'

    Raises:
        InputError: a target or request that is not positive, a negative time, or a behavior that Kubernetes refuses.
    """
    if not 0 < target < math.inf or not 0 < request <= 1 or not 0 <= stabilisation_s < math.inf:
        raise InputError("target_utilisation needs a target above 0, a request above 0 and at most 1, and a window of "
                         f"0 s or more; got {target}, {request} and {stabilisation_s}.")
    rules, size = _packed_behavior(behavior, stabilisation_s, period_s)
    return Policy("target utilisation", _utilisation, (target * request, 0.0, 0.0, 0.0, *rules), period_s, memory=size)


def _utilisation(signals, memory, parameters):
    target = parameters[0]
    present, pods = signals.target, signals.ready + signals.starting
    proposal = present
    ratio = signals.utilisation / target
    if signals.ready > 0 and abs(ratio - 1.0) > _TOLERANCE:
        proposal = math.ceil(signals.ready * ratio - _ALMOST)
        if ratio > 1 and signals.starting > 0:
            damped = ratio * signals.ready / pods
            proposal = max(present, math.ceil(pods * damped - _ALMOST)) if damped > 1.0 + _TOLERANCE else present
    return max(1.0, _behaved(memory, 0, parameters, signals.now_s, max(1.0, proposal), present))


def _packed_behavior(behavior: Mapping[str, Any] | None, down_window_s: float,
                     period_s: float) -> tuple[list[float], int]:
    """A manifest's rules as numbers, and how many numbers an HPA with them remembers.

    The numbers: entries of each memory ring; then for up and down: window, select, how many policies, and type (0
    Pods, 1 Percent), value and period of each.
    """
    behavior = behavior or {}
    if not period_s > 0:
        raise InputError(f"An autoscaler decides every so many seconds, more than 0, not {period_s}.")
    if unknown := set(behavior) - {"scaleUp", "scaleDown"}:
        raise InputError(f"Unknown rule '{sorted(unknown)[0]}' in behavior. Choose one of: scaleUp, scaleDown.")
    numbers: list[float] = []
    longest = 0.0
    for side in ("scaleUp", "scaleDown"):
        given = dict(behavior.get(side) or {})
        if unknown := set(given) - set(_DEFAULT_BEHAVIOR[side]):
            raise InputError(f"Unknown entry '{sorted(unknown)[0]}' in {side}. Choose one of: "
                             f"{', '.join(_DEFAULT_BEHAVIOR[side])}.")
        rule = _DEFAULT_BEHAVIOR[side] | ({"stabilizationWindowSeconds": down_window_s} if side == "scaleDown" else {})
        rule |= {name: value for name, value in given.items() if value is not None}
        window_s, policies = float(rule["stabilizationWindowSeconds"]), list(rule["policies"])
        if rule["selectPolicy"] not in _SELECT:
            raise InputError(f"Unknown selectPolicy '{rule['selectPolicy']}'. Choose one of: {', '.join(_SELECT)}.")
        if not 0 <= window_s <= _MAX_WINDOW_S or not policies:
            raise InputError(f"{side} needs one policy or more, and a window from 0 to {_MAX_WINDOW_S} s; got "
                             f"{len(policies)} policies and {window_s:g} s.")
        numbers += [window_s, _SELECT[rule["selectPolicy"]], float(len(policies))]
        for one in policies:
            if (set(one) != {"type", "value", "periodSeconds"} or one["type"] not in ("Pods", "Percent")
                    or not one["value"] > 0 or not 0 < one["periodSeconds"] <= _MAX_PERIOD_S):
                raise InputError("A policy of behavior is such as {'type': 'Pods' or 'Percent', 'value': 4, "
                                 f"'periodSeconds': 1 to {_MAX_PERIOD_S}}}; got {dict(one)}.")
            numbers += [float(one["type"] == "Percent"), float(one["value"]), float(one["periodSeconds"])]
            longest = max(longest, one["periodSeconds"])
        longest = max(longest, window_s)
    size = int(longest / period_s) + 2
    return [float(size), *numbers], 4 + 4 * size


@part
def _behaved(memory, base, parameters, now_s, proposal, present):
    """An HPA's stabilisation and its limits on a change.

    memory[base]: how many proposals there were; [base + 1]: how many changes; [base + 2], [base + 3]: replicas and
    moment of the last look; then a ring of (moment, proposal), and one of (moment, change).
    """
    size = int(parameters[_RULES_AT])
    proposals, changes = base + 4, base + 4 + 2 * size
    if memory[base] == 0:  # the first look: what there is counts as a proposal
        memory[proposals], memory[proposals + 1] = now_s - _JUST_BEFORE_S, present
        memory[base] = 1
    elif present != memory[base + 2]:  # applied at the last look, within the fleet's own bounds
        at = changes + 2 * (int(memory[base + 1]) % size)
        memory[at], memory[at + 1] = memory[base + 3], present - memory[base + 2]
        memory[base + 1] += 1
    memory[base + 2], memory[base + 3] = present, now_s
    up = _RULES_AT + 1
    down = up + 3 + 3 * int(parameters[up + 2])
    side = up if proposal >= present else down
    stable = proposal
    for k in range(min(size, int(memory[base]))):
        if memory[proposals + 2 * k] >= now_s - parameters[side]:
            earlier = memory[proposals + 2 * k + 1]
            stable = min(stable, earlier) if side == up else max(stable, earlier)
    at = proposals + 2 * (int(memory[base]) % size)
    memory[at], memory[at + 1] = now_s, proposal
    memory[base] += 1
    if stable > present:
        return min(stable, max(present, _limit(memory, base, parameters, up, changes, size, now_s, present)))
    if stable < present:
        return max(stable, min(present, _limit(memory, base, parameters, down, changes, size, now_s, present)))
    return present


@part
def _limit(memory, base, parameters, side, changes, size, now_s, present):
    """How far the rules of one side let the number of replicas go now."""
    upward = side == _RULES_AT + 1
    select = parameters[side + 1]
    if select == 2.0:  # Disabled
        return present
    limit = 0.0
    for k in range(int(parameters[side + 2])):
        at = side + 3 + 3 * k
        before = present  # at the start of the policy's period: without what was added, with what was removed
        for j in range(min(size, int(memory[base + 1]))):
            if memory[changes + 2 * j] > now_s - parameters[at + 2]:
                before -= memory[changes + 2 * j + 1]
        if parameters[at] == 0.0:
            bound = before + parameters[at + 1] if upward else before - parameters[at + 1]
        elif upward:
            bound = math.ceil(before * (1.0 + parameters[at + 1] / 100.0) - _ALMOST)
        else:
            bound = math.floor(max(0.0, before * (1.0 - parameters[at + 1] / 100.0)) + _ALMOST)
        # Max takes the rule that lets it change most, Min the one that lets it change least.
        highest = upward == (select == 0.0)
        limit = bound if k == 0 else max(limit, bound) if highest else min(limit, bound)
    return max(0.0, limit)


def target_tracking(target: float = 0.7, scale_out_cooldown_s: float = 300.0, scale_in_cooldown_s: float = 300.0,
                    disable_scale_in: bool = False) -> Policy:
    """AWS's target tracking of mean CPU utilisation, as Application Auto Scaling does it for an ECS service.

    Three minutes above the target scale out in proportion to the last one; fifteen below nine tenths of it scale in
    (the lengths of its alarms are in helpers/facts/autoscalers.csv, with their sources; AWS's guide has none).
    A scale-out cooldown lets only what goes beyond the last scale-out through; a scale-in cooldown blocks scaling in,
    not out. Nothing is decided before the alarms have their minutes
    (docs.aws.amazon.com/autoscaling/application/userguide, 'How target tracking scaling works').

    Raises:
        InputError: a target that is not between 0 and 1, or a negative time.
    """
    if not 0 < target <= 1 or not 0 <= min(scale_out_cooldown_s, scale_in_cooldown_s) < math.inf:
        raise InputError("target_tracking needs a target between 0 and 1, and cooldowns of 0 s or more; got "
                         f"{target}, {scale_out_cooldown_s} and {scale_in_cooldown_s}.")
    alarms = {row["figure"]: float(row["value"]) for row in read_facts("autoscalers")
              if row["policy"] == "AWS target tracking"}
    parameters = (target, scale_out_cooldown_s, scale_in_cooldown_s, float(disable_scale_in), alarms["minutes_above"],
                  alarms["minutes_below"], alarms["low_share"])
    return Policy("target tracking", _tracking, parameters, alarms["alarm_period_s"], memory=5)


def _tracking(signals, memory, parameters):
    # memory: minutes above and below without a break, end of each cooldown, replicas that the last scale-out wanted
    target, present = parameters[0], signals.target
    seen = signals.ready > 0
    memory[0] = memory[0] + 1 if seen and signals.utilisation > target else 0.0
    memory[1] = memory[1] + 1 if seen and signals.utilisation < parameters[6] * target else 0.0
    wanted = math.ceil(signals.ready * signals.utilisation / target - _ALMOST)
    if memory[0] >= parameters[4]:
        if wanted <= present or (signals.now_s < memory[2] and wanted <= memory[4]):
            return present
        memory[2], memory[3], memory[4] = signals.now_s + parameters[1], 0.0, wanted
        return wanted
    if memory[1] >= parameters[5] and parameters[3] == 0.0 and signals.now_s >= max(memory[2], memory[3]):
        wanted = max(1.0, wanted)
        if wanted < present:
            memory[3] = signals.now_s + parameters[2]
            return wanted
    return present


def queue_length(target: float = 5.0, cooldown_s: float = 300.0, stabilisation_s: float = 300.0,
                 period_s: float = 15.0, polling_s: float = 30.0, *,
                 behavior: Mapping[str, Any] | None = None) -> Policy:
    """KEDA on the length of a queue: between 0 and 1 by its own polling, above by the HorizontalPodAutoscaler.

    ceil(length / target) replicas, where those in service count as in the queue (as KEDA's SQS scaler counts them);
    none after `cooldown_s` without a message, where the fleet's min_replicas is 0
    (keda.sh/docs/latest/reference/scaledobject-spec: pollingInterval, cooldownPeriod). `behavior` as for
    `target_utilisation` (KEDA: advanced.horizontalPodAutoscalerConfig.behavior).

    Raises:
        InputError: a target that is not positive, a negative time, or a behavior that Kubernetes refuses.
    """
    if target <= 0 or min(cooldown_s, stabilisation_s, polling_s) < 0:
        raise InputError("queue_length needs a target of more than 0 requests a replica, and no negative time.")
    rules, size = _packed_behavior(behavior, stabilisation_s, period_s)
    parameters = (target, cooldown_s, polling_s, 0.0, *rules)
    return Policy("queue length", _queue_length, parameters, period_s, memory=2 + size)


def _queue_length(signals, memory, parameters):
    target, cooldown_s, polling_s = parameters[0], parameters[1], parameters[2]
    length = signals.waiting + signals.in_service
    pods = signals.ready + signals.starting
    if length > 0:
        memory[1] = signals.now_s  # last seen active
    if pods == 0:
        if signals.now_s < memory[0]:
            return 0.0
        memory[0] = signals.now_s + polling_s
        memory[2] = 0.0  # an HPA does not act at zero; from one on it begins with what there is
        return 1.0 if length > 0 else 0.0
    if signals.now_s - memory[1] >= cooldown_s:
        return 0.0
    proposal = signals.target
    if abs(length / (target * pods) - 1.0) > _TOLERANCE:
        proposal = math.ceil(length / target - _ALMOST)
    return max(1.0, _behaved(memory, 2, parameters, signals.now_s, max(1.0, proposal), signals.target))


def concurrency_target(target: float = 0.7, stable_s: float = 60.0, panic_s: float = 6.0,
                       period_s: float = 2.0) -> Policy:
    """Knative's pod autoscaler: mean concurrency over a stable window, and a panic window for bursts.

    Args:
        target: requests that one replica should have at a time (Knative: 70% of containerConcurrency).
        panic_s: length of the short window. When it asks for twice what is ready, nothing is given up until a stable
            window has passed without that.

    Scales to zero after a stable window without requests where the fleet's min_replicas is 0, and an arrival wakes
    it. With more than one replica it starts in panic, so that it gives none up in its first stable window
    (knative.dev/docs/serving/autoscaling; knative/serving, pkg/autoscaler/scaling/autoscaler.go). Requests that
    wait count as running, as those held by Knative's activator do. Its grace period is left out.

    Raises:
        InputError: a figure that is not positive, or a panic window longer than the stable one.
    """
    if min(target, panic_s, period_s) <= 0 or panic_s > stable_s:
        raise InputError("concurrency_target needs positive figures, and a panic window within the stable one.")
    parameters = (target, max(1, round(stable_s / period_s)), max(1, round(panic_s / period_s)), stable_s)
    return Policy("concurrency target", _concurrency, parameters, period_s, memory=4 + int(parameters[1]), wakes=True)


def _concurrency(signals, memory, parameters):
    target, stable, panic, stable_s = parameters[0], int(parameters[1]), int(parameters[2]), parameters[3]
    ticks = int(memory[0])
    memory[4 + ticks % stable] = signals.ongoing
    memory[0] = ticks + 1
    if signals.ready == 0:
        memory[3] = signals.now_s  # inactive so far
    if ticks == 0 and signals.ready > 1:  # what there is stays until there is history enough to judge it by
        memory[1], memory[2] = signals.now_s - signals.elapsed_s + stable_s, signals.ready
    ready = max(1.0, signals.ready)
    most, least = math.ceil(_MAX_UP * ready), math.floor(signals.ready / _MAX_DOWN)
    wanted = math.ceil(_mean_of_last(memory, ticks, stable, stable) / target - _ALMOST)
    urgent = math.ceil(_mean_of_last(memory, ticks, stable, panic) / target - _ALMOST)
    desired = min(max(wanted, least), most)
    if urgent / ready >= _PANIC_AT:
        memory[1] = signals.now_s + stable_s  # panic until then
    elif memory[1] < signals.now_s:
        memory[2] = 0.0
    if memory[1] >= signals.now_s:
        memory[2] = max(memory[2], desired, min(max(urgent, least), most))  # up only
        desired = memory[2]
    if signals.ready == 0 and signals.waiting > 0:
        desired = max(desired, 1.0)  # the activator holds a request
    if signals.ready > 0 and signals.now_s - memory[3] < stable_s:
        desired = max(desired, 1.0)  # zero only after a stable window of being active
    return desired


@part
def _mean_of_last(memory, ticks, size, last):
    """Mean of the ring's last values; memory[4:4 + size] is the ring, `ticks` the latest entry's number."""
    count = min(last, ticks + 1)
    total = 0.0
    for k in range(count):
        total += memory[4 + (ticks - k) % size]
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

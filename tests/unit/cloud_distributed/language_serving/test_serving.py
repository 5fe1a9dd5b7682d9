"""The fleet against sums done by hand, queueing theory, and a fleet in plain lists that is stepped through."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.cloud_distributed import LlmFleet, Policy, Prefixes, ServingEngine, bill, poisson, serve_llm, serve_users
from helpers.cloud_distributed.simulator.compiled import Outcome
from helpers.lab import InputError, offer

ENGINE = ServingEngine((0.0, 2e-5, 2e-5, 1e-9), (5e-3, 0.0, 1e-4, 3e-8), 0.001, 100_000)
ONE_SLOT = ServingEngine((0.0,) * 4, (0.0, 1e-3, 0.0, 0.0), 0.0, 100_000)  # a millisecond a prompt token, nothing else


class Replica:
    """One server in plain lists: what has entered, in order, and its cache of blocks, oldest use first."""

    def __init__(self, fleet, work):
        self.fleet, self.work, self.queue, self.batch, self.cache, self.ends = fleet, work, [], [], [], None

    def held(self):
        shared = {block for i in self.batch for block in self.work.used[i]}
        own = sum(self.work.in_memory(i) - len(self.work.used[i]) * self.work.block for i in self.batch)
        return own + len(shared) * self.work.block

    def has(self, block):
        return block in self.cache or any(block in self.work.used[i] for i in self.batch)

    def found(self, i):
        blocks = self.work.blocks[i]
        return next((k for k, block in enumerate(blocks) if not self.has(block)), len(blocks))

    def make_room(self, need):
        """Forget cached blocks until so many tokens more fit; whether they do."""
        while self.held() + len(self.cache) * self.work.block + need > self.fleet.engine.kv_tokens:
            if not self.cache:
                return False
            self.cache.pop(0)
        return True

    def leave(self, i):
        self.batch.remove(i)
        for block in reversed(self.work.used[i]):
            if not any(block in self.work.used[other] for other in self.batch):
                self.cache.append(block)
        self.work.used[i], self.work.reading[i] = [], False

    def begin(self, now):
        work, fleet = self.work, self.fleet
        decoding = [i for i in self.batch if not work.reading[i]]
        preempted = False
        while not self.make_room(len(decoding)):
            last = self.batch[-1]
            self.leave(last)
            self.queue.insert(0, last)
            work.preempted += 1
            decoding, preempted = [i for i in self.batch if not work.reading[i]], True
        while not preempted and self.queue and len(self.batch) < fleet.max_batch:
            i, taken = self.queue[0], self.found(self.queue[0])
            cached = [block for block in self.cache if block in work.blocks[i][:taken]]
            self.cache = [block for block in self.cache if block not in cached]
            self.batch.append(i)
            work.used[i], work.reading[i] = list(work.blocks[i][:taken]), True
            if self.held() + len(decoding) > fleet.engine.kv_tokens:
                self.leave(i)
                break
            self.make_room(len(decoding))
            work.filled[i] = min(taken * work.block, work.prompt[i] + work.made[i] - 1)
            self.queue.pop(0)
        if not self.batch:
            self.ends = None
            return
        room, prompt, attended = max(0, fleet.token_budget - len(decoding)), 0, 0
        read = sum(work.prompt[i] + work.made[i] - 1 for i in decoding)
        attended += read
        for i in [i for i in self.batch if work.reading[i]]:
            chunk = min(room, work.prompt[i] + work.made[i] - work.filled[i])
            attended += sum(work.filled[i] + k + 1 for k in range(chunk))
            work.filled[i] += chunk
            read += work.filled[i] if chunk else 0
            prompt, room = prompt + chunk, room - chunk
        self.decoding = decoding
        self.ends = now + float(fleet.engine.step_s(prompt, len(decoding), attended, read))

    def end(self):
        work = self.work
        for i in list(self.batch):
            if i in self.decoding:
                work.made[i] += 1
            elif work.filled[i] == work.prompt[i] + work.made[i]:
                work.reading[i] = False
                work.used[i] = list(work.blocks[i])
                self.cache = [block for block in self.cache if block not in work.used[i]]
                work.made[i] += 1
                work.first[i] = self.ends if work.made[i] == 1 else work.first[i]
        # The compiled loop lets those that wrote their last token go first, then those whose prompt was read.
        for i in sorted(self.batch, key=lambda i: i not in self.decoding):
            if work.made[i] == work.output[i]:
                work.done[i] = self.ends
                self.leave(i)


class Work:
    def __init__(self, arrivals, prompt, output, blocks, block):
        self.prompt, self.output, self.blocks, self.block = prompt, output, blocks, block
        count = len(arrivals)
        self.made, self.filled, self.preempted = [0] * count, [0] * count, 0
        self.used, self.reading = [[] for _ in range(count)], [False] * count
        self.first, self.done = np.full(count, np.nan), np.full(count, np.nan)

    def in_memory(self, i):
        return self.prompt[i] + self.made[i] - (not self.reading[i])


def stepwise(arrivals, prompt, output, fleet, blocks=None, block=1):
    """The same fleet, one event at a time: first and last tokens' moments, and how many were preempted."""
    prompt, output = [int(n) for n in prompt], [int(n) for n in output]
    work = Work(arrivals, prompt, output, blocks or [[] for _ in arrivals], block)
    replicas, turn = [Replica(fleet, work) for _ in range(fleet.replicas)], 0
    coming = list(range(len(arrivals)))
    while coming or any(one.ends is not None for one in replicas):
        ends = min((one.ends for one in replicas if one.ends is not None), default=np.inf)
        if coming and arrivals[coming[0]] <= ends:
            now = arrivals[coming[0]]
            while coming and arrivals[coming[0]] == now:
                i = coming.pop(0)
                if prompt[i] + output[i] > fleet.engine.kv_tokens:
                    continue
                order = [replicas[(turn + k) % len(replicas)] for k in range(len(replicas))]
                best = min(order, key=lambda one, i=i: load_of(one, work, i))
                turn = replicas.index(best) + 1
                best.queue.append(i)
            for one in replicas:
                if one.ends is None and one.queue:
                    one.begin(now)
            continue
        one = next(one for one in replicas if one.ends == ends)
        one.end()
        one.begin(ends)
    return work.first, work.done, work.preempted


def load_of(replica, work, i):
    if replica.fleet.router != "prefix-aware":
        return (replica.fleet.router == "least loaded") * (len(replica.queue) + len(replica.batch))
    unread = sum(work.prompt[j] + work.made[j] for j in replica.queue)
    unread += sum(work.prompt[j] + work.made[j] - work.filled[j] for j in replica.batch if work.reading[j])
    writing = sum(work.prompt[j] + work.made[j] - 1 for j in replica.batch if not work.reading[j])
    return unread + writing + work.prompt[i] - replica.found(i) * work.block


CASES = st.fixed_dictionaries({
    "seed": st.integers(0, 10_000), "count": st.integers(1, 30), "span": st.sampled_from([0.05, 0.5, 5.0]),
    "longest": st.sampled_from([5, 60, 300]), "kv": st.sampled_from([330, 700, 5000]),
    "max_batch": st.sampled_from([1, 3, 64]), "budget": st.sampled_from([16, 64, 512]),
    "replicas": st.integers(1, 3), "router": st.sampled_from(["least loaded", "round robin", "prefix-aware"]),
    "kinds": st.integers(0, 4)})


@settings(max_examples=60, deadline=None, derandomize=True)
@given(CASES)
def test_the_fleet_does_what_a_stepwise_fleet_does(case):
    rng = np.random.default_rng(case["seed"])
    count = case["count"]
    arrivals = np.sort(rng.random(count)) * case["span"]
    prompt, output = rng.integers(1, case["longest"] + 1, count), rng.integers(1, 41, count)
    fleet = LlmFleet(dataclasses.replace(ENGINE, kv_tokens=case["kv"]), case["replicas"], case["max_batch"],
                     case["budget"], case["router"])
    kind = rng.integers(case["kinds"] + 1, size=count)  # 0: shares nothing; else blocks of 8 in common with its kind
    hashes = [[] if not case["kinds"] else [(one or 1000 + i) * 1000 + k for k in range(p // 8)]
              for i, (one, p) in enumerate(zip(kind.tolist(), prompt.tolist(), strict=True))]
    run = serve_llm(arrivals, prompt, output, fleet, Prefixes.of_hashes(hashes, 8))
    first, last, preempted = stepwise(arrivals, prompt, output, fleet, hashes, 8)
    np.testing.assert_allclose(run.ttft_s, first - arrivals, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(run.latency_s, last - arrivals, rtol=1e-9, atol=1e-11)
    assert run.preemptions == preempted
    assert run.peak_kv <= 1
    np.testing.assert_array_equal(run.outcome == Outcome.DROPPED, prompt + output > case["kv"])


def shrink_and_grow(signals, memory, parameters):
    memory[0] += 1
    return parameters[1] + (memory[0] * parameters[0]) % 5


@settings(max_examples=40, deadline=None, derandomize=True)
@given(CASES, st.sampled_from([1.0, 2.0, 3.0]), st.sampled_from([0.0, 0.03]), st.sampled_from([0, 1]))
def test_a_fleet_that_grows_and_shrinks_loses_and_doubles_no_request(case, stride, startup_s, least):
    rng = np.random.default_rng(case["seed"])
    count = 10 * case["count"]
    arrivals = np.sort(rng.random(count)) * case["span"]
    prompt, output = rng.integers(1, case["longest"] + 1, count), rng.integers(1, 41, count)
    policy = Policy("wild", shrink_and_grow, (stride, least), period_s=0.02)
    fleet = LlmFleet(dataclasses.replace(ENGINE, kv_tokens=case["kv"]), max_batch=case["max_batch"],
                     token_budget=case["budget"], router=case["router"], policy=policy, startup_s=startup_s,
                     min_replicas=least, max_replicas=5)
    run = serve_llm(arrivals, prompt, output, fleet, Prefixes.shared(prompt, 0.5, groups=3, block=8))
    fits = prompt + output <= case["kv"]
    np.testing.assert_array_equal(run.outcome, np.where(fits, Outcome.ANSWERED, Outcome.DROPPED))
    assert sum(run.counts.values()) == count
    assert (run.ttft_s[fits] > 0).all()
    assert (run.latency_s[fits] >= run.ttft_s[fits] - 1e-12).all()
    assert run.written == output[fits].sum()
    assert 0 <= run.busy_s <= run.ready_s * (1 + 1e-9)
    assert run.ready_s / 3600 <= run.replica_hours["on_demand"] * (1 + 1e-9)
    rows = run.frame()
    assert (rows[["ready", "starting", "waiting", "in_service", "tokens"]].to_numpy() >= 0).all()
    assert rows["kv_use"].between(0, 1).all()


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_replicas_of_one_slot_wait_as_an_m_d_1_queue(load):
    """One sequence at a time that writes one token: a queue with constant service (Pollaczek and Khinchine)."""
    service = 0.1
    arrivals = poisson(load / service, 40_000.0, seed=3)
    count = len(arrivals)
    run = serve_llm(arrivals, np.full(count, 100), np.ones(count), LlmFleet(ONE_SLOT, max_batch=1))
    assert np.mean(run.ttft_s) - service == pytest.approx(service * load / (2 * (1 - load)), rel=0.05)


def test_priorities_wait_as_cobham_says():
    """One slot, constant service: W1 = R / (1 - r1), W2 = R / ((1 - r1)(1 - r)), R = r S / 2 (Cobham, 1954)."""
    service, load, urgent = 0.1, 0.8, 0.25
    arrivals = poisson(load / service, 100_000.0, seed=5)
    count = len(arrivals)
    first = np.random.default_rng(5).random(count) < urgent
    run = serve_llm(arrivals, np.full(count, 100), np.ones(count), LlmFleet(ONE_SLOT, max_batch=1), priority=first)
    waits, rest = run.ttft_s - service, load * service / 2
    assert waits[first].mean() == pytest.approx(rest / (1 - urgent * load), rel=0.05)
    assert waits[~first].mean() == pytest.approx(rest / (1 - urgent * load) / (1 - load), rel=0.08)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(CASES)
def test_priorities_lose_and_double_no_request(case):
    rng = np.random.default_rng(case["seed"])
    count = 10 * case["count"]
    arrivals = np.sort(rng.random(count)) * case["span"]
    prompt, output = rng.integers(1, case["longest"] + 1, count), rng.integers(1, 41, count)
    fleet = LlmFleet(dataclasses.replace(ENGINE, kv_tokens=case["kv"]), case["replicas"], case["max_batch"],
                     case["budget"], case["router"])
    run = serve_llm(arrivals, prompt, output, fleet, priority=rng.integers(0, 4, count))
    np.testing.assert_array_equal(run.outcome == Outcome.ANSWERED, prompt + output <= case["kv"])
    assert run.written == output[run.outcome == Outcome.ANSWERED].sum()
    assert (run.ttft_s[run.outcome == Outcome.ANSWERED] > 0).all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(CASES, st.integers(1, 20), st.sampled_from([0.0, 0.05, 1.0]))
def test_a_closed_loop_has_never_more_requests_than_users(case, users, think_s):
    rng = np.random.default_rng(case["seed"])
    count = max(users, 10 * case["count"])
    prompt, output = rng.integers(1, case["longest"] + 1, count), rng.integers(1, 41, count)
    fleet = LlmFleet(dataclasses.replace(ENGINE, kv_tokens=case["kv"]), case["replicas"], case["max_batch"],
                     case["budget"], case["router"])
    run = serve_users(users, think_s, prompt, output, fleet)
    answered = prompt + output <= case["kv"]
    np.testing.assert_array_equal(run.outcome, np.where(answered, Outcome.ANSWERED, Outcome.DROPPED))
    assert (np.diff(run.arrivals) >= 0).all()
    come, gone = run.arrivals[answered], np.sort((run.arrivals + run.latency_s)[answered])
    inside = np.arange(1, len(come) + 1) - np.searchsorted(gone, come, side="right")  # at each arrival, itself as well
    assert inside.max(initial=0) <= users


def test_a_closed_loop_obeys_the_interactive_response_time_law():
    """Users = requests a second times (response + thinking), whatever the server does (Little, 1961)."""
    users, think_s, count = 12, 0.5, 4000
    rng = np.random.default_rng(1)
    run = serve_users(users, think_s, rng.integers(50, 400, count), rng.integers(5, 60, count), LlmFleet(ENGINE))
    assert count / run.end_s * (run.latency_s.mean() + think_s) == pytest.approx(users, rel=0.03)


def test_nobody_waits_where_hardly_anybody_comes():
    run = serve_llm(np.arange(50) * 10.0, np.full(50, 400), np.full(50, 20), LlmFleet(ENGINE))
    alone = float(ENGINE.step_s(400, 0, 400 * 401 / 2, 400))
    further = [float(ENGINE.step_s(0, 1, 400 + k, 400 + k)) for k in range(19)]
    np.testing.assert_allclose(run.ttft_s, alone)
    np.testing.assert_allclose(run.latency_s, alone + sum(further))
    np.testing.assert_allclose(run.per_token_s, np.mean(further))


def test_decoding_together_costs_little_more_than_alone():
    """Sixteen sequences share one reading of the weights: the batch's lesson."""
    engine = dataclasses.replace(ENGINE, traffic=(5e-3, 0.0, 0.0, 3e-8))
    alone = serve_llm([0.0], [1], [100], LlmFleet(engine))
    together = serve_llm(np.zeros(16), np.ones(16), np.full(16, 100), LlmFleet(engine))
    assert together.busy_s < 1.1 * alone.busy_s
    assert together.summary()["tokens_per_s"] > 14 * alone.summary()["tokens_per_s"]


def test_what_the_cache_has_of_a_prompt_is_not_read_again():
    """The same 1,600 tokens twice: the second time only the last is read, which gives the first answer's token."""
    run = serve_llm([0.0, 5.0], [1600, 1600], [1, 1], LlmFleet(ENGINE), Prefixes.shared([1600, 1600], 1.0))
    assert run.cached_tokens.tolist() == [0, 1599]
    assert run.ttft_s[1] == pytest.approx(float(ENGINE.step_s(1, 0, 1600, 1600)))


def test_a_prefix_aware_router_sends_each_kind_of_prompt_to_the_replica_that_knows_it():
    rng = np.random.default_rng(0)
    arrivals, prompt = np.arange(200) * 0.4, np.full(200, 1600)
    prefixes = Prefixes.shared(prompt, 0.9, groups=12)
    engine = dataclasses.replace(ENGINE, kv_tokens=8_000)  # the templates of three, not of twelve
    spread, sent = (serve_llm(arrivals, prompt, rng.integers(1, 9, 200), LlmFleet(engine, 4, router=router), prefixes)
                    for router in ("round robin", "prefix-aware"))
    assert sent.cached_tokens.sum() > 1.5 * spread.cached_tokens.sum()
    assert np.mean(sent.ttft_s) < np.mean(spread.ttft_s)


def test_a_replica_is_paid_from_its_launch_on():
    """One from the beginning and one from second 10 on, 30 s before it is ready: 100 s and 90 s."""
    policy = Policy("second", lambda signals, memory, parameters: 2.0, period_s=10.0)
    fleet = LlmFleet(ServingEngine((0.0,) * 4, (1.0, 0.0, 0.0, 0.0), 0.0, 10_000), policy=policy, startup_s=30.0)
    run = serve_llm([0.0], [10], [100], fleet)
    assert run.end_s == pytest.approx(100.0)
    assert run.replica_hours["on_demand"] == pytest.approx(190 / 3600)
    machine = offer("AWS p5.4xlarge")
    assert bill(run, machine).usd == pytest.approx(190 / 3600 * machine.on_demand_usd_hour)
    assert run.ready_s == pytest.approx(100 + 60)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: LlmFleet(ENGINE, replicas=0), "replicas must be 1 or more"),
    (lambda: LlmFleet(ENGINE, min_replicas=-1), "min_replicas must be 0 or more"),
    (lambda: LlmFleet(ENGINE, router="best"), "Unknown router 'best'"),
    (lambda: serve_llm([0.0], [0], [1], LlmFleet(ENGINE)), "prompt_tokens must be whole numbers of 1 or more"),
    (lambda: serve_llm([0.0, 1.0], [1], [1, 1], LlmFleet(ENGINE)), r"shape \(1,\) for 2 arrivals"),
    (lambda: serve_llm([1.0, 0.0], [1, 1], [1, 1], LlmFleet(ENGINE)), "ascending"),
    (lambda: serve_llm([0.0], [1], [1], LlmFleet(ENGINE), priority=[0.5]), "one whole number for each"),
    (lambda: serve_users(3, 1.0, [1, 1], [1, 1], LlmFleet(ENGINE)), "1 to 2 users"),
    (lambda: serve_llm([0.0], [9], [1], LlmFleet(ENGINE), Prefixes.of_hashes([[1], [1]])), "of 2 prompts"),
])
def test_fleets_and_requests_that_cannot_be_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()

"""A language model served: its steps on paper, its engine's switches, the load tester, and the simulated fleet.

python -m benchmarks.language_serving [--quick] [--json FILE] [--only PART ...]
    [--task TRACE.csv | --task URL | --task MODEL.gguf]

The part `peer` needs GuideLLM, see benchmarks/peers/guidellm.py. The part `trace` replays the requests of the file that
--task names, and without one says nothing. `engine` loads the OpenAI-compatible server whose address it is, else
llama.cpp's own on this machine. `phases`, `switches` and `engine` run SmolLM2, or the model in the file that it names.
"""

import contextlib
import dataclasses
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common import Row, arguments, at_least, at_most, distance, finish, shown
from benchmarks.peers import guidellm
from helpers.app import recorded_table
from helpers.cloud_distributed import (
    Link,
    LlmFleet,
    Policy,
    Prefixes,
    ServingEngine,
    Targets,
    cheapest_fleet,
    fewest_replicas,
    fit_engine,
    judge_engine,
    measure_steps,
    paper_engine,
    poisson,
    read_trace,
    serve_llm,
    serving_bill,
    serving_target,
    step_points,
)
from helpers.hardware_codesign import (
    ENGINES,
    PacedProcess,
    compare_engines,
    count_steps,
    fit_phases,
    load_endpoint,
    measure_phases,
    own_overhead,
    poisson_times,
    prompts_of_lengths,
    shared_requests,
)
from helpers.lab import DECODERS, DecoderSheet, InputError, endpoint, load_language_model, load_task, offer
from helpers.lab.language.engines.endpoints import EndpointModel
from helpers.lab.language.engines.llama_cpp import SLOTS
from helpers.lab.language.engines.model import LocalModel
from helpers.lab.language.gguf import in_weight_type
from helpers.lab.language.loading import SMOLLM2, find_language_model
from helpers.lab.measuring.intervals import mean_interval
from helpers.lab.progress import printed

PARTS = ("tester", "peer", "phases", "switches", "speed", "conserved", "theory", "steps", "trace", "engine")
BITS = {"F16": 16, "Q8_0": 8, "Q4_0": 4}  # GGUF's weight types
SHEET = DecoderSheet(DECODERS["Llama 3.1 8B"], "NVIDIA H100 SXM")
TTFT_S = 1.0
KV_TOKENS = 100_000  # more than these loads need
LOADS = (0.3, 0.5, 0.7)  # of the prompts and answers that the engine could just work off
MEDIAN_OFF, P90_OFF, BURST_OFF = 0.15, 0.30, 0.25  # of a predicted time
OFF_PEER = 0.05  # of a figure of GuideLLM's
TIMES_FASTER = 3.0  # prefix caching and batches over one by one


def tester_rows(quick: bool) -> list[Row]:
    """Measure the load tester's overhead, and compare its figures with a server's own log: none may differ."""
    added = own_overhead(seconds=2.0 if quick else 20.0)
    due = poisson_times(20.0, 2.0 if quick else 10.0)
    with PacedProcess(first_s=0.02, token_s=0.005, slots=4) as server:
        load = load_endpoint(endpoint(server.url, model="paced"), ["How are you?"], due, max_tokens=4)
    log = server.log[1:]  # one went ahead
    logged = np.array([one.last - one.came for one in log])
    lost = abs(len(log) - len(due)) + int((load.answer_tokens != 4).sum()) + sum(map(bool, load.errors))
    off = load.last_s - load.late_s - logged
    return [at_most("load tester: p95 of what it adds at 50 requests/s", 1e3 * float(np.quantile(added, 0.95)), 1.0,
                    "ms"),
            at_most("load tester: requests or tokens that are not the log's", lost, 0, "requests"),
            at_most("load tester: p95 of an answer's time off the log's", 1e3 * float(np.quantile(np.abs(off), 0.95)),
                    1.0, "ms")]


def peer_rows(quick: bool) -> list[Row]:
    """Our figures beside GuideLLM's of the same server, below what it can take and above; none where it is missing."""
    found = guidellm.program()
    if not found:
        print(f"GuideLLM is not installed: see benchmarks/peers/guidellm.py, or set {guidellm.PROGRAM}.", flush=True)
        return []
    rows, first_s, token_s, tokens, slots = [], 0.1, 0.02, 16, 4
    most = slots / (first_s + (tokens - 1) * token_s)
    for share in (0.8, 1.2):
        rate, count = share * most, 20 if quick else 150
        with PacedProcess(first_s, token_s, slots) as server:
            theirs = guidellm.load(found, server.url, rate, count, tokens)
        with PacedProcess(first_s, token_s, slots) as server:
            load = load_endpoint(endpoint(server.url, model="paced"), ["How are you?"], np.arange(count) / rate,
                                 max_tokens=tokens)
        ours = {"first": load.first_s - load.late_s, "further": load.per_token_s, "last": load.last_s - load.late_s}
        for figure, value in theirs.items():
            at, name = figure.split()
            off = abs(float(np.quantile(ours[name], int(at[1:]) / 100)) / value - 1)
            rows.append(at_most(f"{at} of the {name} token's time at {share:.0%} of capacity, off GuideLLM's", off,
                                OFF_PEER, "off"))
    return rows


def phase_rows(path: Path, quick: bool) -> list[Row]:
    """Steps predicted and measured, fitted on few points and judged on the others; by bits."""
    rows = []
    few = {"prompts": (16, 64, 128), "batches": (1, 2, 4), "rounds": 1} if quick else {"rounds": 2}
    fitted_on = [("prefill", 1, 16), ("prefill", 1, 128), ("decode", 1, 16), ("decode", 1, 128), ("decode", 4, 16)]
    for kind, bits in ({"Q8_0": BITS["Q8_0"]} if quick else BITS).items():
        file = in_weight_type(path, kind)
        points = measure_phases(file, progress=printed, **few)
        _, judged = fit_phases(points, count_steps(file), *([fitted_on] if quick else []))
        off = judged.loc[~judged["fitted"], "error"].abs()
        name = f"step time in {bits} bits, {len(off)} points not fitted"
        rows += [at_most(f"{name}: median", float(off.median()), MEDIAN_OFF, "off"),
                 at_most(f"{name}: 90th percentile", float(off.quantile(0.9)), P90_OFF, "off")]
    return rows


def switch_rows(llm: LocalModel, quick: bool) -> list[Row]:
    """Each switch of the engine over what it is added to; batches with prefix caching over one by one."""
    texts = load_task("tickets").train["text"][:200 if quick else 400]
    ask = shared_requests(llm, texts, common=0.8, **({"count": 4, "prompt_tokens": 64, "answer_tokens": (2, 6)} if quick
                                                     else {"prompt_tokens": 128, "answer_tokens": (8, 24)}))
    names = ("one by one", "static batches", "continuous batching", "with prefix caching") if quick else ENGINES
    engines = compare_engines(llm.path, ask, {name: ENGINES[name] for name in names}, rounds=2 if quick else 3,
                            progress=printed).set_index("engine")
    best = engines.loc["with prefix caching"]
    rows = [at_least("prefix caching and batches over one by one", best["speedup"], TIMES_FASTER, "x", best["low"],
                     best["high"]),
            at_least("the same answers as one by one", best["same_answers"], 1.0, "of requests")]
    gains = engines[engines["gain"].notna()]
    rows += [shown(f"{name}, over {row['off']}", row["gain"], "x", row["gain_low"], row["gain_high"])
             for name, row in gains.iterrows()]
    fixed = engines.reindex(["one by one", "static batches"])["tokens_per_s"].max()
    return [*rows, at_least("tokens a second of continuous batching over the best fixed batch",
                            engines.loc["continuous batching", "tokens_per_s"] / fixed, 0.9, "x")]


def fleet_traffic(rate: float, seconds: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poisson arrivals with some 1,200 tokens read and 200 written, lognormal."""
    arrivals, rng = poisson(rate, seconds, seed), np.random.default_rng(seed)
    return arrivals, *(np.ceil(rng.lognormal(np.log(tokens), 0.8, len(arrivals))) for tokens in (1200, 200))


def fleet_speed_rows(quick: bool) -> list[Row]:
    """Eight replicas at their usual load, with and without caches of prefixes: generated tokens a second."""
    rows, fleet = [], LlmFleet(paper_engine(SHEET), replicas=8)
    sent = fleet_traffic(60.0, 60.0 if quick else 600.0, seed=1)
    for name, prefixes, router in (("no cache", None, "least loaded"),
                                   ("half of each prompt shared", Prefixes.shared(sent[1], 0.5, 8), "prefix-aware")):
        routed, speeds, real = dataclasses.replace(fleet, router=router), [], []
        serve_llm(*sent, routed, prefixes)  # compiled
        for _ in range(5):
            began = time.perf_counter()
            run = serve_llm(*sent, routed, prefixes)
            took = time.perf_counter() - began
            speeds.append(run.written / took)
            real.append(run.end_s / took)
        rows += [at_least(f"simulated tokens a second, {name}", float(np.median(speeds)), 1e6, "tokens/s", min(speeds),
                          max(speeds)),
                 at_least(f"times real time, 8 replicas, {name}", float(np.median(real)), 100, "x", min(real),
                          max(real))]
    return rows


def fleet_conservation_rows(quick: bool) -> list[Row]:
    """Fleets that grow and shrink at random under too much load: requests that were lost, doubled or out of order."""
    def wild(signals, memory, parameters):
        memory[0] += 1
        return 1 + (memory[0] * parameters[0]) % 7

    wrong, count, preempted = 0, 0, 0
    for seed in range(10 if quick else 100):
        sent = fleet_traffic(40.0, 60.0, seed)
        engine = dataclasses.replace(paper_engine(SHEET), kv_tokens=12_000)
        fleet = LlmFleet(engine, policy=Policy("wild", wild, (1.0 + seed % 6,), period_s=1.0), startup_s=seed % 3)
        run = serve_llm(*sent, fleet, Prefixes.shared(sent[1], 0.5, 4, seed))
        fits = sent[1] + sent[2] <= engine.kv_tokens
        right = np.where(fits, (run.ttft_s > 0) & (run.latency_s >= run.ttft_s), np.isnan(run.latency_s))
        wrong += int((~right).sum()) + abs(sum(run.counts.values()) - len(fits))
        count, preempted = count + len(fits), preempted + run.preemptions
    return [at_most(f"requests lost or doubled of {count:,} ({preempted:,} preemptions)", wrong, 0, "requests")]


def fleet_theory_rows(quick: bool) -> list[Row]:
    """Replicas of one slot with constant service: the mean wait of an M/D/1 queue (Pollaczek and Khinchine)."""
    rows, service = [], 0.1
    engine = ServingEngine((0.0,) * 4, (0.0, 1e-3, 0.0, 0.0), 0.0, 100_000)
    for load in (0.5, 0.8):
        expected, waits = service * load / (2 * (1 - load)), []
        for seed in range(5 if quick else 20):
            arrivals = poisson(load / service, 40_000.0, seed)
            count = len(arrivals)
            run = serve_llm(arrivals, np.full(count, 100), np.ones(count), LlmFleet(engine, max_batch=1))
            waits.append(float(np.mean(run.ttft_s[count // 10:])) - service)
        value, low, high = (figure / expected for figure in distance(*map(float, mean_interval(waits)), expected))
        rows.append(at_most(f"mean wait at load {load:g} off M/D/1", value, 0.02, "of it", low, high))
    return rows


def fleet_step_rows() -> list[Row]:
    """The recorded steps of an H100: fitted on the shortest and the longest, judged on those between."""
    points = recorded_steps()
    fitted = points["prompt"].isin([16, 512, 4096]) | (points["batch"] == 64)
    fitted |= (points["batch"] == 1) & points["read"].isin([128, 4096])
    off = judge_engine(fit_engine(points[fitted], 400_000), points[~fitted])["error"].abs()
    return [at_most(f"step time, median of {len(off)} steps not fitted", float(off.median()), 0.15, "off"),
            at_most("step time, 90th percentile of them", float(off.quantile(0.9)), 0.30, "off")]


def recorded_steps() -> pd.DataFrame:
    """Those of Llama 3.1 8B on an H100."""
    return step_points(recorded_table("3_hardware_codesign_gpu_decoder").query("model == 'Llama 3.1 8B'"))


def fleet_trace_rows(path: str) -> list[Row]:
    """A trace's own arrivals and token lengths, over policies: both times and dollars."""
    trace, machine, rows = read_trace(path), offer("AWS p5.4xlarge"), []
    sent = (trace.arrivals, *(np.maximum(tokens, 1) for tokens in (trace.prompt_tokens, trace.output_tokens)))
    fixed = LlmFleet(fit_engine(recorded_steps(), paper_engine(SHEET).kv_tokens), max_replicas=64)
    least = fewest_replicas((*sent, None), fixed, TTFT_S).launches
    for name, policy in (("fixed", None), ("tokens", serving_target("tokens", 60_000)),
                         ("KV use", serving_target("kv use", 0.5)), ("TTFT", serving_target("ttft", 0.5)),
                         ("requests", serving_target("requests", 40))):
        run = serve_llm(*sent, dataclasses.replace(fixed, replicas=least, policy=policy, startup_s=60.0))
        figures = run.summary()
        for column, what in (("ttft_s", "time to the first token"), ("per_token_s", "time of a further token")):
            rows += [shown(f"{name}: p{at} of the {what}", 1e3 * figures[f"p{at}_{column}"], "ms")
                     for at in (50, 95, 99)]
        rows += [shown(f"{name}: later than {TTFT_S:g} s", run.slow(TTFT_S), "of requests")]
        rows += [shown(f"{name}: {key}", value, "kg" if key == "kg_month" else "$")
                 for key, value in serving_bill(run, machine).items()]
    return [*rows, *cheapest_rows(sent)]


def cheapest_rows(sent: tuple[np.ndarray, ...]) -> list[Row]:
    """The cheapest setting of each kind that holds the target on the trace, engines by their data sheets."""
    machines = {name: (LlmFleet(paper_engine(dataclasses.replace(SHEET, device=device)), max_replicas=64,
                                startup_s=60.0), offer(rented))
                for name, device, rented in (("H100", "NVIDIA H100 SXM", "AWS p5.4xlarge"),
                                             ("L40S", "NVIDIA L40S", "AWS g6e.xlarge"))}
    policies = {"tokens": serving_target("tokens", 60_000), "KV use": serving_target("kv use", 0.5)}
    choice = cheapest_fleet(sent, machines, policies, Targets(TTFT_S, 0.1), kv_bytes=SHEET.model.kv_bytes,
                            link=Link.given(1e-4, 12.5e9, "100 Gbit/s, assumed"))
    held = choice.frame[choice.frame["holds"]].groupby("kind", sort=False).first()
    return [shown("no fleet can cost less than", choice.bound_usd_month, "$ a month"),
            *(shown(f"cheapest, {kind}: {row['fleet']}", row["usd_month"], "$ a month")
              for kind, row in held.iterrows())]


def engine_rows(task: str, name: str, seconds: float) -> list[Row]:
    """See `fleet_engine_rows`."""
    with served(task, name) as (llm, slots):
        return fleet_engine_rows(llm, slots, seconds)


def fleet_engine_rows(llm: EndpointModel, slots: int, seconds: float) -> list[Row]:
    """Simulated against real: calibrated on steps measured alone, judged at loads that it has not seen."""
    together = [count for count in (1, 2, 4, 8) if count <= slots]  # more would wait, and not write at once
    steps = measure_steps(llm, batches=together)
    print(steps.round(5).to_string(index=False), flush=True)
    fleet, rows = LlmFleet(fit_engine(steps, KV_TOKENS, f"calibrated on {llm.name}"), max_batch=slots), []
    rng, said, held = np.random.default_rng(0), 0, 0
    words, limits = rng.integers(20, 300, 400), rng.integers(8, 64, 400)
    full_s = serve_llm(np.zeros(400), words, limits, fleet).end_s
    loads = {f"at load {load:g}": (poisson(load * 400 / full_s, seconds, seed=2)[:400], MEDIAN_OFF) for load in LOADS}
    calm = poisson(LOADS[0] * 400 / full_s, seconds, seed=3)[:360]
    loads["in a burst"] = np.sort(np.append(calm, np.full(40, calm[len(calm) // 2]))), BURST_OFF
    for name, (arrivals, target) in loads.items():
        real = fleet_load(llm, arrivals, words[:len(arrivals)], limits[:len(arrivals)])
        run = serve_llm(arrivals, np.maximum(real["prompt"] - real["cached"], 1), real["output"], fleet)
        blind = serve_llm(arrivals, words[:len(arrivals)], limits[:len(arrivals)], fleet)
        rows += _simulated_rows(name, real, run, target)
        rows += [dataclasses.replace(row, name=f"{row.name}, lengths not known", target="", holds=None)
                 for row in _simulated_rows(name, real, blind, target)]
        if np.nanquantile(run.ttft_s, 0.95) <= TTFT_S:
            said, held = said + 1, held + (real["ttft_s"].quantile(0.95) <= TTFT_S)
    return [*rows, at_most(f"loads with p95 over {TTFT_S:g} s to the first token, of {said} simulated below it",
                           said - held, 0, "loads")]


def _simulated_rows(load: str, real: pd.DataFrame, times: object, target: float) -> list[Row]:
    """p50 and p95 of both times: how far those of a simulated run are off the real ones."""
    rows = []
    for name in ("ttft_s", "per_token_s"):
        for at in (0.5, 0.95):
            off = float(np.nanquantile(getattr(times, name), at) / np.nanquantile(real[name], at)) - 1
            rows.append(at_most(f"{name} p{100 * at:.0f} {load}, simulated against real", abs(off), target, "off"))
    return rows


@contextlib.contextmanager
def served(task: str, name: str) -> Iterator[tuple[EndpointModel, int]]:
    """The server that --task names, else llama.cpp's own here, which ends with the model; how many it answers at once.

    Of a server elsewhere that is not known: as many as a `LlmFleet` has by default.
    """
    if task.startswith("http"):
        yield endpoint(task, model="default", at_once=64), LlmFleet.max_batch
        return
    local = load_language_model(name, "llama.cpp")
    os.environ["LLAMA_CPP_KEY"] = local._key
    yield endpoint(f"{local.address}/v1", model=local.name, key_from="LLAMA_CPP_KEY", at_once=64), SLOTS


def fleet_load(llm: EndpointModel, arrivals: np.ndarray, words: np.ndarray, limits: np.ndarray) -> pd.DataFrame:
    """Send prompts at their times, whether or not earlier ones are answered: prompt, cached, output and both times.

    The prompts are new ones each time: the server would have those of an earlier load in its cache.

    Raises:
        InputError: a request without an answer; its times would be missing in what is compared.
    """
    load = load_endpoint(llm, prompts_of_lengths(words, secrets.randbits(32)), arrivals, max_tokens=limits)
    if why := next(filter(None, load.errors), ""):
        raise InputError(f"The server did not answer each request ({why}): let it take more, or ask for less.")
    further_s = np.where(load.answer_tokens > 1, load.per_token_s, np.nan)
    return pd.DataFrame({"prompt": load.prompt_tokens, "cached": load.cached_tokens, "output": load.answer_tokens,
                         "ttft_s": load.first_s, "per_token_s": further_s})


def main() -> None:
    """Run the parts that are asked for."""
    options = arguments(__doc__.splitlines()[0], PARTS)
    name = options.task if options.task.endswith(".gguf") else SMOLLM2
    parts = {
        "tester": lambda: tester_rows(options.quick),
        "peer": lambda: peer_rows(options.quick),
        "phases": lambda: phase_rows(find_language_model(name), options.quick),
        "switches": lambda: switch_rows(load_language_model(name), options.quick),
        "speed": lambda: fleet_speed_rows(options.quick),
        "conserved": lambda: fleet_conservation_rows(options.quick),
        "theory": lambda: fleet_theory_rows(options.quick),
        "steps": fleet_step_rows,
        "trace": lambda: fleet_trace_rows(options.task) if options.task.endswith(".csv") else [],
        "engine": lambda: engine_rows(options.task, name, 20.0 if options.quick else 120.0)}
    finish([row for part in options.only for row in parts[part]()], options.json)


if __name__ == "__main__":
    main()

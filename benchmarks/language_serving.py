"""A language model served: the simulated fleet against queueing theory, recorded steps, a trace and a real engine.

python -m benchmarks.language_serving [--quick] [--json FILE] [--only PART ...] [--task TRACE.csv | --task URL]

The part `trace` replays the requests of the file that --task names, `engine` loads the OpenAI-compatible server whose
address it is; without it neither says anything.
"""

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from benchmarks.common import Row, arguments, at_least, at_most, distance, finish, shown
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
from helpers.lab import DECODERS, DecoderSheet, endpoint, offer
from helpers.lab.language.engines.model import LanguageModel
from helpers.lab.measuring.intervals import mean_interval
from helpers.lab.progress import Progress

PARTS = ("speed", "conserved", "theory", "steps", "trace", "engine")
SHEET = DecoderSheet(DECODERS["Llama 3.1 8B"], "NVIDIA H100 SXM")
TTFT_S = 1.0
LOADS = (0.3, 0.5, 0.7)  # of the prompts and answers that the engine could just work off


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
        serve_llm(*(part[:9] for part in sent), fleet)  # compiled
        speeds, real = [], []
        for _ in range(5):
            began = time.perf_counter()
            run = serve_llm(*sent, dataclasses.replace(fleet, router=router), prefixes)
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


def fleet_engine_rows(llm: LanguageModel, kv_tokens: int, seconds: float) -> list[Row]:
    """Simulated against real: calibrated on steps measured alone, judged at loads that it has not seen."""
    steps = measure_steps(llm)
    print(steps.round(5).to_string(index=False), flush=True)
    fleet, rows = LlmFleet(fit_engine(steps, kv_tokens, f"calibrated on {llm.name}")), []
    rng = np.random.default_rng(0)
    words, limits = rng.integers(20, 300, 400), rng.integers(8, 64, 400)
    full = serve_llm(np.zeros(400), words, limits, fleet)
    for load in LOADS:
        arrivals = poisson(load * 400 / full.end_s, seconds, seed=2)[:400]
        real = fleet_load(llm, arrivals, words[:len(arrivals)], limits[:len(arrivals)])
        run = serve_llm(arrivals, real["prompt"], real["output"], fleet)
        for name, mine in (("ttft_s", run.ttft_s), ("per_token_s", run.per_token_s)):
            for at in (0.5, 0.95):
                off = float(np.nanquantile(mine, at) / np.nanquantile(real[name], at)) - 1
                rows.append(at_most(f"{name} p{100 * at:.0f} at load {load:g}, simulated against real", abs(off), 0.15,
                                    "off"))
    return rows


def fleet_load(llm: LanguageModel, arrivals: np.ndarray, words: np.ndarray, limits: np.ndarray) -> pd.DataFrame:
    """Send prompts at their times, whether or not earlier ones are answered: prompt, output, ttft_s, per_token_s."""
    def one(i: int) -> tuple[int, int, float, float]:
        time.sleep(max(0.0, began + arrivals[i] - time.perf_counter()))
        came: list[float] = []
        [answer] = llm.generate([f"{i} " + "one " * words[i]], max_tokens=int(limits[i]),
                                progress=Progress(lambda *_: came.append(time.perf_counter())))
        first, last, more = came[0], time.perf_counter(), answer.answer_tokens - 1
        return (answer.prompt_tokens, max(1, answer.answer_tokens), first - began - arrivals[i],
                (last - first) / more if more > 0 else np.nan)

    with ThreadPoolExecutor(len(arrivals)) as pool:
        began = time.perf_counter() + 0.5
        return pd.DataFrame(pool.map(one, range(len(arrivals))), columns=["prompt", "output", "ttft_s", "per_token_s"])


def main() -> None:
    """Run the parts that are asked for."""
    options = arguments(__doc__.splitlines()[0], PARTS)
    rows: list[Row] = []
    rows += fleet_speed_rows(options.quick) if "speed" in options.only else []
    rows += fleet_conservation_rows(options.quick) if "conserved" in options.only else []
    rows += fleet_theory_rows(options.quick) if "theory" in options.only else []
    rows += fleet_step_rows() if "steps" in options.only else []
    rows += fleet_trace_rows(options.task) if "trace" in options.only and options.task.endswith(".csv") else []
    if "engine" in options.only and options.task.startswith("http"):
        rows += fleet_engine_rows(endpoint(options.task, model="default", at_once=64), 100_000,
                                  20.0 if options.quick else 120.0)
    finish(rows, options.json)


if __name__ == "__main__":
    main()

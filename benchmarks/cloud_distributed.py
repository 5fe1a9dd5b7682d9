"""The fleet simulator against queueing theory, SimPy, Ciw and the clock; training on paper against training.

python -m benchmarks.cloud_distributed [--quick] [--json FILE] [--only PART ...]
"""

import contextlib
import io
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np

from benchmarks.common import Row, arguments, at_least, at_most, finish, p95, shown
from benchmarks.peers.queues import SimpyFleet, ciw_fcfs, simpy_fcfs
from helpers.app import latency_spec, replicas_spec
from helpers.cloud_distributed import (
    Fleet,
    ServiceTimes,
    Settings,
    calibrate,
    diurnal,
    exponential_service,
    measured_overlap,
    poisson,
    predicted_step_s,
    simulate,
    target_utilisation,
    train_distributed,
)
from helpers.lab.measuring.intervals import mean_interval

LOADS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
SERVERS = 8
NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "5_cloud_distributed.ipynb"
PARTS = ("theory", "fcfs", "full", "page", "panel", "training")
CALIBRATED_ON, JUDGED_ON = 1024, (256, 384, 512, 768, 1280)  # widths of the layers


def rate_of(count: int, run: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Requests a second: median, least and most of `rounds`."""
    speeds = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        speeds.append(count / (time.perf_counter() - began))
    return float(np.median(speeds)), min(speeds), max(speeds)


def closed_forms(servers: int, load: float) -> dict[str, tuple[float, Callable[[int, int], np.ndarray], Fleet]]:
    """Name -> expected mean wait, service times of (count, seed), fleet; mean service 1 s."""
    offered = servers * load
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers)
    wait_c = last / (1 - load) / (sum(terms) + last / (1 - load)) / (servers * (1 - load))
    room = 2 * servers
    weights = [*terms, *(last * load**k for k in range(room + 1))]
    queue = sum(k * last * load**k for k in range(room + 1))
    wait_k = queue / sum(weights) / (offered * (1 - weights[-1] / sum(weights)))
    exponential = lambda count, seed: exponential_service(1.0, count, seed)  # noqa: E731
    return {
        "M/M/1": (load / (1 - load), exponential, Fleet(1)),
        f"M/M/{servers}": (wait_c, exponential, Fleet(servers, balancer="central")),
        f"M/M/{servers}/{servers + room}": (wait_k, exponential, Fleet(servers, balancer="central", queue_limit=room)),
        "M/D/1": (load / (1 - load) / 2, lambda count, seed: np.ones(count), Fleet(1)),
        "M/G/1": (load / (1 - load) * 1.5, lambda count, seed: np.random.default_rng(seed).gamma(0.5, 2.0, count),
                  Fleet(1)),
    }


def theory_rows(quick: bool) -> list[Row]:
    """How far each queue is from its closed form, and how many leave both 1% and the joint 95% interval."""
    runs, count = (10, 100_000) if quick else (20, 1_000_000)
    worst, outside, cases = {}, 0, 0
    for load in LOADS:
        for name, (expected, service, fleet) in closed_forms(SERVERS, load).items():
            waits = []
            for seed in range(runs):
                arrivals = poisson(fleet.replicas * load, count / (fleet.replicas * load), seed)
                run = simulate(arrivals, service(len(arrivals), seed), fleet)
                waits.append(float(np.nanmean(run.wait_s[len(arrivals) // 10:])))
            mean, low, high = mean_interval(waits, 1 - 0.05 / 5 / len(LOADS))
            off = abs(float(mean) - expected)
            worst[name] = max(worst.get(name, 0.0), off / expected)
            outside += off > 0.01 * expected and not low <= expected <= high
            cases += 1
    rows = [shown(f"{name}: largest distance from the closed form, loads {LOADS[0]} to {LOADS[-1]}", far, "of it")
            for name, far in worst.items()]
    return [*rows, at_most(f"closed forms missed by 1% and by the interval, of {cases}", float(outside), 0, "")]


def fcfs_rows(quick: bool) -> list[Row]:
    """M/M/8 at 0.8, traffic and service times drawn in the timed part, as the peers draw theirs."""
    count, few = (2_000_000, 20_000) if quick else (10_000_000, 100_000)
    rate, mean_s = 0.8 * SERVERS, 1.0

    def ours() -> None:
        arrivals = poisson(rate, count / rate, 1)
        simulate(arrivals, exponential_service(mean_s, len(arrivals), 1), Fleet(SERVERS, balancer="central"))

    ours()
    speed, low, high = rate_of(count, ours, 5)
    arrivals = poisson(rate, count / rate, 1)
    service = exponential_service(mean_s, len(arrivals), 1)
    alone = rate_of(len(arrivals), lambda: simulate(arrivals, service, Fleet(SERVERS, balancer="central")), 5)
    rows = [at_least("M/M/8: requests per second on one core, drawing included", speed, 10e6, "1/s", low, high),
            shown("M/M/8: the same, given arrivals and service times", alone[0], "1/s", *alone[1:])]
    for name, peer in (("SimPy", simpy_fcfs), ("Ciw", ciw_fcfs)):
        theirs = rate_of(few, lambda peer=peer: peer(rate, mean_s, SERVERS, few, 1), 5)
        rows += [shown(f"M/M/8: {name}", theirs[0], "1/s", *theirs[1:]),
                 at_least(f"M/M/8: times {name}", speed / theirs[0], 300, "x", low / theirs[2], high / theirs[1])]
    return rows


def full_rows(quick: bool) -> list[Row]:
    """Scaling, cold starts, batches, queue limit and time-outs on a daily wave, here and in SimPy."""
    fleet = Fleet(4, policy=target_utilisation(), balancer="central", startup_s=30, queue_limit=2000, timeout_s=5,
                  batch_size=8, batch_delay_s=0.02, max_replicas=60)
    hours = 0.5 if quick else 4.0
    arrivals = diurnal(350, hours * 3600, 1, swing=0.8, peak_hour=hours / 2)
    service = np.random.default_rng(1).gamma(4.0, 0.01, len(arrivals))
    simulate(arrivals, service, fleet)  # compiled, and once whole, as the queue above
    speed, low, high = rate_of(len(arrivals), lambda: simulate(arrivals, service, fleet), 5)
    fewer = diurnal(350, 600, 1, swing=0.8, peak_hour=0.1)
    work = np.random.default_rng(2).gamma(4.0, 0.01, len(fewer))
    peers: list[list[float]] = []
    theirs = rate_of(len(fewer), lambda: peers.append(SimpyFleet(fewer, work, fleet).run()), 5)
    ours_s, theirs_s = (float(np.nanmean(values)) for values in (simulate(fewer, work, fleet).latency_s, peers[0]))
    return [at_least("full model: requests per second on one core", speed, 3e6, "1/s", low, high),
            shown("full model: SimPy", theirs[0], "1/s", *theirs[1:]),
            at_least("full model: times SimPy", speed / theirs[0], 100, "x", low / theirs[2], high / theirs[1]),
            at_most("full model: mean latency, distance from SimPy's", abs(ours_s / theirs_s - 1), 0.02, "of it")]


def page_rows(quick: bool) -> list[Row]:
    """Time the simulations behind a slider: a day and an hour of traffic, drawn before."""
    fixed, scaled = Fleet(40), Fleet(40, policy=target_utilisation(), startup_s=30)
    rows = [] if quick else answer_rows("a day of 1,000 requests/s, fixed fleet", 1000, 86_400, fixed, 1.0)
    for rate in (100, 1000):
        rows += answer_rows(f"an hour of {rate:,} requests/s, fixed fleet", rate, 3600, fixed, 0.15)
        rows += answer_rows(f"an hour of {rate:,} requests/s, autoscaled", rate, 3600, scaled, 0.15)
    return rows


def panel_rows(quick: bool) -> list[Row]:
    """Compute and describe each setting of notebook 5's Explore as the page does, without the browser."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    page = [cell.source for cell in cells if cell.cell_type == "code" and "lesson" not in cell.metadata.get("tags", [])]
    names: dict[str, Any] = {"__name__": "__main__", "display": lambda *shown: None}  # IPython's, which a kernel has
    with contextlib.redirect_stdout(io.StringIO()):
        for source in page[:next(i for i, source in enumerate(page) if "app.Explore(" in source)]:
            exec(source, names)
    traffics = {"steady": "an hour", "bursts": "an hour", "flash crowd": "an hour", "day and night": "a day"}
    policies = ("fixed", "Kubernetes HPA", "Knative", "Ray Serve", "predictive")
    seconds: dict[str, list[float]] = {}
    law = names["laws"][names["reference"]]
    for policy in policies:  # compiled, or loaded from numba's cache, before the first answer is timed
        names["scenario"]("steady", 5, policy, names["OFFER"], law, 60.0)
    for traffic, policy, rate in itertools.product(traffics, policies[:2] if quick else policies, (30, 100)):
        began = time.perf_counter()
        frame = names["scenario"](traffic, rate, policy, names["OFFER"], law, 60.0)
        replicas_spec(frame)
        latency_spec(frame, deadline_s=names["DEADLINE_S"])
        seconds.setdefault(traffics[traffic], []).append(time.perf_counter() - began)
    return [at_most(f"notebook 5's panel, {length}: p95 of {len(waits)} settings", value, 0.15, "s", low, high)
            for length, waits in seconds.items() for value, low, high in [p95(waits)]]


def answer_rows(name: str, rate: float, seconds: float, fleet: Fleet, most: float) -> list[Row]:
    """Seconds of the simulation alone, and with its quantiles and its time series, each target for both."""
    times = ServiceTimes({1: np.random.default_rng(0).gamma(4.0, 0.005, 2000)})
    arrivals = poisson(rate, seconds, 1)

    def answer() -> None:
        run = simulate(arrivals, times, fleet)
        run.summary()
        run.frame()

    simulate(arrivals[:1000], times, fleet)
    alone, low, high = rate_of(1, lambda: simulate(arrivals, times, fleet), 3)
    whole, slow, quick = rate_of(1, answer, 3)
    return [at_most(f"{name}: simulation", 1 / alone, most, "s", 1 / high, 1 / low),
            at_most(f"{name}: with quantiles and time series", 1 / whole, most, "s", 1 / quick, 1 / slow)]


def training_rows(quick: bool) -> list[Row]:
    """Steps of two real workers of sizes that the model was not calibrated on: bare all-reduces and one run were."""
    steps = 40 if quick else 200
    link = calibrate(rounds=15).link
    overlap = measured_overlap(train_distributed(2, Settings(width=CALIBRATED_ON, steps=steps)), link)
    rows = []
    for width in JUDGED_ON:
        run = train_distributed(2, Settings(width=width, steps=steps))
        predicted, measured = predicted_step_s(run, link, overlap)[0], float(np.median(run.step_s))
        computing = float(np.median(run.compute_s))
        text = (f"DDP step, layers of {width}: {1e3 * measured:.1f} ms ({1e3 * computing:.1f} computing), "
                f"{1e3 * predicted:.1f} on paper, off by")
        rows.append(at_most(text, 100 * abs(predicted / measured - 1), 10, "%"))
    return rows


def main() -> None:
    """Compare, time, print."""
    options = arguments(__doc__, PARTS)
    work = {"theory": theory_rows, "fcfs": fcfs_rows, "full": full_rows, "page": page_rows, "panel": panel_rows,
            "training": training_rows}
    finish([row for part in PARTS if part in options.only for row in work[part](options.quick)], options.json)


if __name__ == "__main__":
    main()

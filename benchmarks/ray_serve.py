"""The fleet simulator against a real deployment: a quantized model behind Ray Serve, under open-loop load.

python -m benchmarks.ray_serve [--quick] [--json FILE]

Three loads on one replica, and one that rises and falls on an autoscaled deployment. The simulator is calibrated on
the middle load alone: the service times that the replica measured there for each group of messages, and the median
that routing adds. Beside each judged figure stands the same with the work that the requests really took: what is left
then is the simulator's own error, the rest is a machine that works at another speed.
"""

import asyncio
import dataclasses
import math
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Row, arguments, at_most, finish, shown
from helpers.cloud_distributed import Fleet, poisson, ray_serve, simulate
from helpers.lab import InputError, baseline, load_task
from helpers.model_optimization import quantize

LOADS = (0.6, 0.4, 0.75)  # of one replica's capacity; the first one calibrates
TEXTS = 12  # a request's messages, so that computing and not routing takes the time
AUTOSCALING = {"target_ongoing_requests": 1.5, "upscale_delay_s": 5.0, "downscale_delay_s": 15.0,
               "look_back_period_s": 5.0}
POLLED_S = 0.5  # between two looks at the number of replicas


def first_text(number: int, texts: int) -> int:
    """Where a request's messages begin, of so many texts: requests with the same beginning do the same work."""
    return number * TEXTS % (texts - TEXTS)


class Classifier:
    """Work of a replica: one request after the other on one core, as a queue with one server."""

    def __init__(self, folder: str, texts: list[str]) -> None:
        import onnxruntime

        from helpers.lab.data.tokenizer import TextEncoder

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # one core for each of two replicas
        self._session = onnxruntime.InferenceSession(f"{folder}/model.onnx", options)
        self._encoder, self._texts = TextEncoder.load(Path(folder) / "tokenizer.json"), texts
        self._server = ThreadPoolExecutor(1)
        for number in range(5):
            self._work(number)

    async def __call__(self, number: int) -> float:
        """Seconds of one request's work.

        In a separate thread: work in the event loop would hold back the answers that are finished until
        all requests that were waiting are done.
        """
        return await asyncio.get_running_loop().run_in_executor(self._server, self._work, number)

    def _work(self, number: int) -> float:
        from helpers.lab.data.tokenizer import pad

        began = time.perf_counter()
        start = first_text(number, len(self._texts))
        ids, mask = pad(self._encoder.encode(self._texts[start:start + TEXTS]))
        self._session.run(None, {"input_ids": ids, "attention_mask": mask})
        return time.perf_counter() - began


@dataclasses.dataclass
class Served:
    """Open-loop requests: when they were due, seconds until their answers and of their work, replicas over time."""

    arrivals: np.ndarray
    latency_s: np.ndarray
    work_s: np.ndarray
    replicas: np.ndarray  # (m, 2): seconds, ready replicas


async def _serve(handle: Any, arrivals: np.ndarray) -> Served:
    latency, work, replicas = np.full(len(arrivals), np.nan), np.full(len(arrivals), np.nan), []
    began = time.perf_counter()

    async def ask(number: int) -> None:
        work[number] = await handle.remote(number)
        latency[number] = time.perf_counter() - began - arrivals[number]  # from when it was due: open loop

    async def look() -> None:
        while True:
            replicas.append((time.perf_counter() - began, await asyncio.to_thread(_ready)))
            await asyncio.sleep(POLLED_S)

    looking, asked = asyncio.create_task(look()), []
    for number, due in enumerate(arrivals):
        await asyncio.sleep(max(0.0, due - (time.perf_counter() - began)))
        asked.append(asyncio.create_task(ask(number)))
    await asyncio.gather(*asked)
    looking.cancel()
    return Served(arrivals, latency, work, np.array(replicas))


def _ready() -> int:
    from ray import serve

    states = serve.status().applications["default"].deployments["Classifier"].replica_states
    return int(states.get("RUNNING", 0))


def deployed(folder: Path, texts: list[str], **options: Any) -> Any:
    """A handle to the deployment, ready."""
    from ray import serve

    deployment = serve.deployment(Classifier).options(
        max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.5}, **options)
    return serve.run(deployment.bind(str(folder), texts))


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """Results of a load test: seconds of work by the messages' beginning, of so many texts, and of routing."""

    work: dict[int, np.ndarray]
    texts: int
    routing_s: float

    @classmethod
    def of(cls, served: Served, texts: int) -> "Calibrated":
        """From a load on one replica."""
        starts = np.array([first_text(number, texts) for number in range(len(served.work_s))])
        alone = simulate(served.arrivals, served.work_s, Fleet(1))
        return cls({int(start): served.work_s[starts == start] for start in np.unique(starts)}, texts,
                   float(np.median(served.latency_s - alone.latency_s)))

    def drawn(self, count: int) -> np.ndarray:
        """(count,) seconds for requests 0, 1, ...: each one of the times that its messages took."""
        rng, every = np.random.default_rng(0), np.concatenate(list(self.work.values()))
        return np.array([rng.choice(self.work.get(first_text(number, self.texts), every)) for number in range(count)])

    @property
    def mean_s(self) -> float:
        """Of all requests."""
        return float(np.mean(np.concatenate(list(self.work.values()))))


def fixed_rows(handle: Any, texts: int, seconds: float) -> tuple[list[Row], Calibrated]:
    """Three loads on one replica, measured and simulated; the calibration from the first one."""
    mean_s = float(np.mean(asyncio.run(_serve(handle, poisson(2.0, 15.0, seed=9))).work_s))
    rows, calibration = [], None
    for load in LOADS:
        served = asyncio.run(_serve(handle, poisson(load / mean_s, seconds, seed=int(100 * load))))
        judged, calibration = calibration is not None, calibration or Calibrated.of(served, texts)
        rows += _compared(f"one replica, {load:.0%} busy{'' if judged else ' (calibrates)'}", served, Fleet(1),
                          calibration, judged=judged)
    return rows, calibration


def scaled_rows(handle: Any, calibration: Calibrated, seconds: float) -> list[Row]:
    """A quiet time, a rush for two replicas, and a quiet time, autoscaled by Ray Serve's own policy."""
    parts = [poisson(load / calibration.mean_s, seconds, seed=seed) + seed * seconds
             for seed, load in enumerate((0.4, 1.2, 0.4))]
    served = asyncio.run(_serve(handle, np.concatenate(parts)))
    fleet = Fleet(1, ray_serve(**AUTOSCALING), startup_s=_startup_s(served, seconds), max_replicas=2,
                  sample_s=POLLED_S)
    path = simulate(served.arrivals, calibration.drawn(len(served.arrivals)), fleet).frame()
    simulated = np.interp(served.replicas[:, 0], path["t_s"], path["ready"])
    for at in np.linspace(0, len(served.replicas) - 1, 13).astype(int):
        second, ready = served.replicas[at]
        print(f"  {second:5.0f} s: {ready:.0f} replicas, simulated {simulated[at]:.0f}")
    same = float(np.mean(np.round(simulated) == served.replicas[:, 1]))
    return [*_compared("autoscaled, a rush", served, fleet, calibration, judged=True),
            shown("autoscaled: share of the time with as many replicas as simulated", same, "")]


def _startup_s(served: Served, seconds: float) -> float:
    """From the policy's decision (the rush plus its delay) to the second replica, as measured.

    Raises:
        InputError: no second replica came, or it came before the policy could have asked for it.
    """
    up = served.replicas[served.replicas[:, 1] > 1, 0]
    startup_s = float(up[0]) - seconds - AUTOSCALING["upscale_delay_s"] if len(up) else math.nan
    if not startup_s >= 0:
        raise InputError(f"A second replica was to start after the rush at {seconds:g} s; {startup_s:.2g} s later is "
                         "what was seen. Something else ran here, or the rush was too weak: run it again.")
    return startup_s


def _compared(name: str, served: Served, fleet: Fleet, calibration: Calibrated, *, judged: bool) -> list[Row]:
    """p50 and p95 with the calibrated work, and with the work that the requests of this load took."""
    drawn = calibration.drawn(len(served.arrivals))
    rows = [shown(f"{name}: work of its requests over the calibrated", float(served.work_s.sum() / drawn.sum()), "x")]
    for work, whose in ((drawn, ""), (served.work_s, ", with the work they took")):
        latency_s = simulate(served.arrivals, work, fleet).latency_s + calibration.routing_s
        for level in (0.5, 0.95):
            real, simulated = np.quantile(served.latency_s, level), np.nanquantile(latency_s, level)
            text = (f"{name}: p{100 * level:.0f} {1e3 * real:.0f} ms measured, {1e3 * simulated:.0f} simulated{whose}, "
                    "off by")
            off = 100 * abs(simulated / real - 1)
            rows.append(at_most(text, off, 15, "%") if judged and not whose else shown(text, off, "%"))
    return rows


def main() -> None:
    """Deploy, load, simulate, print."""
    import ray
    from ray import serve

    options = arguments(__doc__)
    task = load_task("tickets").take(train=600, test=240) if options.quick else load_task("tickets")
    model = quantize(baseline(task), task, "dynamic-int8")
    texts, seconds = task.test["text"][:], 40.0 if options.quick else 120.0
    ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        rows, calibration = fixed_rows(deployed(Path(folder) / "model", texts, num_replicas=1), len(texts), seconds)
        serve.delete("default")
        handle = deployed(Path(folder) / "model", texts, autoscaling_config={
            **AUTOSCALING, "min_replicas": 1, "max_replicas": 2, "metrics_interval_s": 1.0})
        rows += scaled_rows(handle, calibration, seconds / 2)
    serve.shutdown()
    ray.shutdown()
    finish([*rows, shown("work of a request, mean", 1e3 * calibration.mean_s, "ms"),
            shown("what routing adds", 1e3 * calibration.routing_s, "ms")], options.json)


if __name__ == "__main__":
    main()

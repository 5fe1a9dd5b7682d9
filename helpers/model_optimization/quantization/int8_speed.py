"""Why is my int8 slower? Instructions, operators, a model on paper, and where it turns."""

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.machine import instruction_sets
from helpers.lab.measuring.comparison import compare
from helpers.lab.measuring.intervals import ratio_of_medians
from helpers.lab.measuring.measurement import Measurement
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.models.model import TextModel
from helpers.lab.models.onnx import OnnxTextModel, session
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent

# 8-bit multiply-accumulates an instruction slot over fp32 ones, from the instructions' definitions:
# VNNI and dot product do four where FMA does one; without them AVX2 needs VPMADDUBSW, VPMADDWD and
# VPADDD for 32 products, FMA does 8 in one; an AMX tile does 16 times AVX-512's fp32 work.
INT8_GAIN = {"AMX int8": 16.0, "AVX-512 VNNI": 4.0, "AVX VNNI": 4.0, "NEON i8mm": 8.0, "NEON dotprod": 4.0,
             "AVX-512": 4 / 3, "AVX2": 4 / 3}
_PRODUCTS = ("matmul", "gemm", "addmm", "linear", "fullyconnected", "attention", "baddbmm", "bmm", "mm")
_CONVERSIONS = ("quantize", "cast", "fakequantize", "convert")


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Predicted beside measured, with what each rests on."""

    instruction_sets: tuple[str, ...]
    int8_gain: float
    operators: pd.DataFrame
    predicted: float
    measured: Measurement

    def sentence(self) -> str:
        """The finding, computed from the figures."""
        error = abs(self.predicted - self.measured.speedup) / self.measured.speedup
        sets = ", ".join(self.instruction_sets) or "no vector instructions"
        measured = self.measured
        return (f"This CPU has {sets}: an 8-bit product is worth {self.int8_gain:.1f} fp32 products. With the "
                f"reference's operators that gives {self.predicted:.2f}x on paper; measured {measured.speedup:.2f}x "
                f"({measured.speedup_low:.2f} to {measured.speedup_high:.2f}), an error of {error:.0%}.")


def int8_gain() -> float:
    """The largest factor of INT8_GAIN that this CPU's instruction sets allow; 1 for an unknown CPU."""
    return max((INT8_GAIN[name] for name in instruction_sets() if name in INT8_GAIN), default=1.0)


def paper_speedup(share_of_products: float, conversions: float = 0.0, gain: float | None = None) -> float:
    """Amdahl's law: products get `gain` times faster, the rest stays, conversions come on top.

    Args:
        share_of_products: of the fp32 model's time, 0 to 1.
        conversions: time for quantizing and casting, as a share of the fp32 model's time.
    """
    if not 0 <= share_of_products <= 1 or conversions < 0:
        raise InputError("Shares of time lie between 0 and 1.")
    gain = int8_gain() if gain is None else gain
    return 1 / (1 - share_of_products + share_of_products / gain + conversions)


def operator_times(model: TextModel, texts: Sequence[str], repeats: int = 5) -> pd.DataFrame:
    """Where the time goes: columns operator, kind (product, conversion, other), ms (of one pass), share.

    Each runtime's own profiler is read; profiling itself costs time, so shares count, not sums.
    """
    batch = model.encoder.pad(model.encoder.encode(texts))
    if isinstance(model, OnnxTextModel):
        times = _onnx_times(model, batch, repeats)
    elif isinstance(model, TorchTextModel):
        times = _torch_times(model, batch, repeats)
    else:
        times = _openvino_times(model, batch, repeats)
    frame = pd.DataFrame(sorted(times.items(), key=lambda item: -item[1]), columns=["operator", "ms"])
    frame.insert(1, "kind", frame["operator"].map(_kind))
    frame["share"] = frame["ms"] / frame["ms"].sum()
    return frame


def _kind(operator: str) -> str:
    name = operator.lower().replace("_", "").replace("quantizelinear", "quantize").replace("qlinear", "q")
    if any(word in name for word in _PRODUCTS):
        return "product"
    return "conversion" if any(word in name for word in _CONVERSIONS) else "other"


def _onnx_times(model: OnnxTextModel, batch: tuple, repeats: int) -> dict[str, float]:
    feed = dict(zip(("input_ids", "attention_mask"), batch, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        profiled = session(model.graph, model.threads_per_stream, Path(folder) / "profile")
        for _ in range(repeats + 1):
            profiled.run(["logits"], feed)
        events = json.loads(Path(profiled.end_profiling()).read_text())
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    times: dict[str, float] = {}
    for event in nodes[len(nodes) // (repeats + 1):]:  # the first pass warms up
        operator = event["args"]["op_name"]
        times[operator] = times.get(operator, 0.0) + event["dur"] / 1000 / repeats
    return times


def _torch_times(model: TorchTextModel, batch: tuple, repeats: int) -> dict[str, float]:
    model._logits(*batch)
    with torch.profiler.profile() as profile:
        for _ in range(repeats):
            model._logits(*batch)
    return {event.key.removeprefix("aten::"): event.self_cpu_time_total / 1000 / repeats
            for event in profile.key_averages() if event.self_cpu_time_total > 0}


def _openvino_times(model: TextModel, batch: tuple, repeats: int) -> dict[str, float]:
    import openvino

    compiled = openvino.Core().compile_model(model.graph, "CPU", {"PERF_COUNT": True, "NUM_STREAMS": 1})
    request = compiled.create_infer_request()
    times: dict[str, float] = {}
    for number in range(repeats + 1):
        request.infer(dict(zip(("input_ids", "attention_mask"), batch, strict=True)))
        for node in request.get_profiling_info() if number else ():
            seconds = node.real_time.total_seconds()
            if seconds:
                times[node.node_type] = times.get(node.node_type, 0.0) + seconds * 1000 / repeats
    return times


def explain_speed(reference: TextModel, candidate: TextModel, task: Task, *,
                  progress: Progress = silent) -> Explanation:
    """Predict the candidate's speed-up over the reference from the reference's operators, and measure it.

    Best used with the fp32 and the int8 model of one runtime: another runtime changes more than the bits.
    """
    texts = task.test["text"][:16]
    with timing_turn(progress):
        before, after = operator_times(reference, texts), operator_times(candidate, texts)
    by_kind = {name: frame.groupby("kind")["ms"].sum() for name, frame in (("before", before), ("after", after))}
    total = by_kind["before"].sum()
    predicted = paper_speedup(by_kind["before"].get("product", 0.0) / total,
                              by_kind["after"].get("conversion", 0.0) / total)
    measured = compare([reference, candidate], task, energy=False, memory=False, progress=progress).measurements[1]
    operators = before.merge(after, on=["operator", "kind"], how="outer", suffixes=("_reference", "_candidate"))
    return Explanation(instruction_sets(), int8_gain(), operators.fillna(0.0), predicted, measured)


def crossover(reference: TextModel, candidate: TextModel, *, batches: Sequence[int] = (1, 8, 32),
              tokens: Sequence[int] = (8, 32, 96), rounds: int = 5, progress: Progress = silent) -> pd.DataFrame:
    """Speed-up of the candidate over batch size and text length, interleaved.

    Returns:
        Columns batch, tokens, speedup, low, high. Below 1 the candidate loses.

    Raises:
        Cancelled: `progress` cancelled the work; asked between cells.
    """
    cells = [(batch, length) for batch in batches for length in tokens]
    rows = []
    with timing_turn(progress):
        for number, (batch, length) in enumerate(cells):
            progress(number / len(cells), f"batch {batch}, {length} tokens")
            texts = ["the " * max(1, length - 2)] * batch  # one token a word, and the two at the ends
            works = {"reference": partial(_once, reference, texts), "candidate": partial(_once, candidate, texts)}
            seconds = seconds_in_turns(works, rounds)
            rows.append((batch, length, *ratio_of_medians(seconds["reference"], seconds["candidate"])))
    return pd.DataFrame(rows, columns=["batch", "tokens", "speedup", "low", "high"])


def _once(model: TextModel, texts: list[str]) -> None:
    """One pass; `predict` would cut the batch into pieces."""
    model._logits(*model.encoder.pad(model.encoder.encode(texts)))

"""What ONNX Runtime makes of a graph: operators fused at each level, by name, and what that gives."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.exporting.graph import write_onnx
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.intervals import ratio_of_medians
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.training.tokenizer import pad

_LEVELS = {"none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
           "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
           "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
           "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL}


def graph_levels(model: TorchTextModel, texts: list[str], *, rounds: int = 9) -> pd.DataFrame:
    """Each graph level of ONNX Runtime, its transformer optimizer, and I/O binding, in turns on one batch.

    Returns:
        Columns: level, nodes, fused (the operators that the plain graph has not, with their number), speedup, low,
        high (over the level 'none'), median_ms.

    Raises:
        InputError: no texts.
    """
    if not texts:
        raise InputError("Graph levels are timed on texts: give at least one.")
    ids, mask = pad(model.encoder.encode(texts))
    feed = {"input_ids": ids, "attention_mask": mask}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = write_onnx(model, folder / "plain.onnx")
        calls, graphs = {}, {}
        for level, value in _LEVELS.items():
            session = _session(plain, value, folder / f"{level}.onnx")
            calls[level], graphs[level] = _run(session, feed), folder / f"{level}.onnx"
        calls["all, I/O binding"], graphs["all, I/O binding"] = _bound(session, feed), graphs["all"]
        fused = _transformer_optimizer(plain, folder / "optimizer.onnx", model)
        calls["optimizer for BERT"], graphs["optimizer for BERT"] = _run(_session(fused, _LEVELS["all"]), feed), fused
        before = Counter(node.op_type for node in onnx.load(plain, load_external_data=False).graph.node)
        seconds = _in_turns(calls, rounds)
        return pd.DataFrame([_row(level, graphs[level], before, seconds) for level in calls])


def _row(level: str, graph: Path, before: Counter, seconds: dict[str, list[float]]) -> dict:
    now = Counter(node.op_type for node in onnx.load(graph, load_external_data=False).graph.node)
    new = [f"{name} {count}" for name, count in sorted(now.items()) if name not in before and name != "Constant"]
    ratio, low, high = ratio_of_medians(seconds["none"], seconds[level])
    return {"level": level, "nodes": sum(now.values()), "fused": ", ".join(new) or "nothing", "speedup": ratio,
            "low": low, "high": high, "median_ms": 1000 * float(np.median(seconds[level]))}


def _session(graph: Path, level: onnxruntime.GraphOptimizationLevel,
             written: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    if written:
        options.optimized_model_filepath = str(written)
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray]) -> Callable[[], object]:
    return lambda: session.run(["logits"], feed)


def _bound(session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray]) -> Callable[[], object]:
    """Inputs and outputs stay where they are between calls."""
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_cpu_input(name, array)
    binding.bind_output("logits")
    return lambda: session.run_with_iobinding(binding)


def _transformer_optimizer(plain: Path, target: Path, model: TorchTextModel) -> Path:
    """onnxruntime.transformers.optimizer: fuses whole attention blocks where it knows their pattern."""
    from onnxruntime.transformers import optimizer

    config = model.module.config
    made = optimizer.optimize_model(str(plain), "bert", num_heads=config.num_attention_heads,
                                    hidden_size=config.hidden_size)
    made.save_model_to_file(str(target))
    return target


def _in_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    spent: dict[str, list[float]] = {name: [] for name in calls}
    with timing_turn():
        for number in range(rounds + 1):  # the first round warms up
            for name, call in calls.items():
                began = time.perf_counter()
                call()
                if number:
                    spent[name].append(time.perf_counter() - began)
    return spent

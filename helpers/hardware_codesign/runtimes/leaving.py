"""Lock-in, tried: the same model saved from each runtime, and opened in each other one."""

import contextlib
import copy
import dataclasses
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import torch

from helpers.hardware_codesign.runtimes.comparing import TOLERANCE, agreement
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError, reason
from helpers.lab.exporting.graph import export_seconds, onnx_graph, openvino_graph, trial_rows
from helpers.lab.exporting.int8 import calibration_inputs, onnx_int8, openvino_int8
from helpers.lab.machine import usable_cores
from helpers.lab.models.onnx import session
from helpers.lab.models.openvino import write_graph
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.paths import write_atomically
from helpers.lab.progress import Progress, silent

Run = Callable[[np.ndarray, np.ndarray], np.ndarray]  # ids and mask (n, length) int64 -> logits (n, classes)
_CALIBRATION_ROWS = 32
_PRODUCTS = {"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "FullyConnected"}  # in floats


@dataclasses.dataclass(frozen=True)
class Form:
    """A form that a model is saved in.

    Args:
        home: the runtime that writes it. precision: a key of TOLERANCE.
        write: (model, task, path) -> None. suffix: of its file.
    """

    home: str
    precision: str
    suffix: str
    write: Callable[[TorchTextModel, Task, Path], None]


def compare_leaving(base: TorchTextModel, task: Task, texts: list[str], *, progress: Progress = silent) -> pd.DataFrame:
    """Each form of the model in each runtime: whether its file opens there, answers alike, and what leaving takes.

    Returns:
        A row a form and a runtime: form, home, precision, runtime, opens, note (why not), difference (largest one of a
        logit from the form's own runtime, as a share of their range), same_answers (share of the texts, as in its own
        runtime), agrees (opens, and differs by no more than TOLERANCE of fp32), integer (share of its products that
        this runtime does in 8 bits; missing where it does not say), own_operators (names of operators that no standard
        knows), megabytes, made_s (seconds from PyTorch to this file), leave_s (seconds from PyTorch to the file of that
        runtime's own in this precision: what leaving takes; missing where it has none).

    Raises:
        InputError: a model that cannot be exported, or no text.
        Cancelled: `progress` cancelled the work; asked at each file.

    >>> from helpers.hardware_codesign import compare_leaving
    >>> from helpers.lab import baseline, load_task
    >>> task = load_task("tickets")
    >>> compare_leaving(baseline(task), task, ["Where is my parcel?"])["opens"].any()  # doctest: +SKIP
    True
    """
    if not texts:
        raise InputError("Answers are compared on at least one text: give some.")
    ids, mask = base.encoder.pad(base.encoder.encode(texts))
    rows, made_s = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, form) in enumerate(FORMS.items()):
            progress(number / len(FORMS), f"{name}: writing it, and opening it in each runtime")
            path = Path(folder) / f"{number}{form.suffix}"
            export_s = 0.0 if form.home == PYTORCH else export_seconds(base)
            began = time.perf_counter()
            form.write(base, task, path)
            made_s[name] = export_s + time.perf_counter() - began
            rows += _opened(base, name, form, path, ids, mask)
    frame = pd.DataFrame(rows)
    leave_s = {(form.home, form.precision): made_s[name] for name, form in reversed(FORMS.items())}
    progress(1.0, "done")
    return frame.assign(made_s=frame["form"].map(made_s), leave_s=[
        leave_s.get((row.runtime, row.precision), np.nan) for row in frame.itertuples()])


@contextlib.contextmanager
def _mute() -> Iterator[None]:
    """Drop what compiled readers write to the process's stderr, past `sys.stderr`: what they refuse is in the error."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _opened(base: TorchTextModel, name: str, form: Form, path: Path, ids: np.ndarray, mask: np.ndarray) -> list[dict]:
    stored = sum(file.stat().st_size for file in path.parent.glob(f"{path.stem}.*")) / 1e6
    common = {"form": name, "home": form.home, "precision": form.precision, "own_operators": _own_operators(path),
              "megabytes": stored}
    rows, logits = [], {}
    for runtime, opener in OPENERS.items():
        row = {**common, "runtime": runtime, "opens": True, "note": ""}
        try:
            with _mute():
                run, operators = opener(base, path)
                logits[runtime] = run(ids, mask)
            row["integer"] = _integer_share(operators)
        except Exception as error:  # each runtime refuses what it cannot read in its own way
            row |= {"opens": False, "note": reason(error)}
        rows.append(row)
    for row in rows:
        if row["opens"]:
            row["difference"], row["same_answers"] = agreement(logits[form.home], logits[row["runtime"]])
        row["agrees"] = row["opens"] and row["difference"] <= TOLERANCE["fp32"]
    return rows


def leaving_verdict(frame: pd.DataFrame) -> str:
    """Describe what opens elsewhere, what answers otherwise there, what stays behind, and the longest way out.

    Args:
        frame: what `compare_leaving` returned.
    """
    away = frame[frame["home"] != frame["runtime"]]
    opened = away[away["opens"]]
    other = opened[~opened["agrees"].astype(bool)]
    at_home = frame[frame["home"] == frame["runtime"]].set_index("form")["integer"]
    slower = opened[(opened["form"].map(at_home) > 0) & (opened["integer"] == 0)]
    stuck = [form for form, rows in away.groupby("form", sort=False) if not rows["opens"].any()]
    sentences = [f"{len(opened)} of {len(away)} attempts to open a file in another runtime succeed"
                 f"{': ' * bool(len(opened))}{_pairs(opened)}.",
                 f"Of these, other answers than at home (largest difference above {TOLERANCE['fp32']:g} of the range): "
                 f"{_pairs(other) or 'none'}.",
                 f"Open, but no longer in 8 bits: {_pairs(slower) or 'none'}.",
                 f"Opened by no other runtime: {', '.join(stuck) or 'none'}."]
    if away["leave_s"].notna().any():
        sentences.append(f"With PyTorch's weights at hand, each file is made again in {away['leave_s'].max():.0f} s at "
                         "most.")
    return " ".join(sentences)


def _pairs(rows: pd.DataFrame) -> str:
    return ", ".join(f"{row.form} in {row.runtime}" for row in rows.itertuples())


PYTORCH, ONNXRUNTIME, OPENVINO = "PyTorch", "ONNX Runtime", "OpenVINO"


def _write_weights(base: TorchTextModel, _task: Task, path: Path) -> None:
    from safetensors.torch import save_model

    save_model(base.module, str(path))


def _write_program(base: TorchTextModel, _task: Task, path: Path) -> None:
    inputs = tuple(map(torch.from_numpy, trial_rows(base)))
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=base.encoder.max_tokens)}
    with torch.no_grad():
        torch.export.save(torch.export.export(base.module, inputs, dynamic_shapes=[free, free]), path)


def _write_onnx(base: TorchTextModel, _task: Task, path: Path) -> None:
    write_atomically(path, onnx_graph(base))


def _write_fused(base: TorchTextModel, _task: Task, path: Path) -> None:
    """As ONNX Runtime itself saves what it made of a graph."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath, options.log_severity_level = str(path), 3
    onnxruntime.InferenceSession(onnx_graph(base), options, providers=["CPUExecutionProvider"])


def _write_dynamic(base: TorchTextModel, _task: Task, path: Path) -> None:
    write_atomically(path, onnx_int8(base))


def _write_static(base: TorchTextModel, task: Task, path: Path) -> None:
    write_atomically(path, onnx_int8(base, calibration_inputs(base, task, _CALIBRATION_ROWS)))


def _write_ir(base: TorchTextModel, _task: Task, path: Path) -> None:
    write_graph(openvino_graph(base), path)


def _write_int8_ir(base: TorchTextModel, task: Task, path: Path) -> None:
    write_graph(openvino_int8(base, calibration_inputs(base, task, _CALIBRATION_ROWS)), path)


FORMS = {
    "safetensors": Form(PYTORCH, "fp32", ".safetensors", _write_weights),
    "torch.export": Form(PYTORCH, "fp32", ".pt2", _write_program),
    "ONNX": Form(ONNXRUNTIME, "fp32", ".onnx", _write_onnx),
    "ONNX, fused": Form(ONNXRUNTIME, "fp32", ".onnx", _write_fused),
    "ONNX, dynamic int8": Form(ONNXRUNTIME, "int8", ".onnx", _write_dynamic),
    "ONNX, static int8": Form(ONNXRUNTIME, "int8", ".onnx", _write_static),
    "OpenVINO IR": Form(OPENVINO, "fp32", ".xml", _write_ir),
    "OpenVINO IR, int8": Form(OPENVINO, "int8", ".xml", _write_int8_ir),
}


def _open_in_pytorch(base: TorchTextModel, path: Path) -> tuple[Run, list[str]]:
    """A program by itself; weights alone need the code of the architecture, which PyTorch's users have."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_model

        module = copy.deepcopy(base.module)
        for parameter in module.parameters():
            parameter.data.zero_()  # what is not in the file shows
        load_model(module, str(path))
    elif path.suffix == ".pt2":
        module = torch.export.load(path).module()
    else:  # PyTorch's own format, of which only weights are read: code in it could do anything
        module = torch.load(path, weights_only=True)

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    return run, []


def _open_in_onnxruntime(_base: TorchTextModel, path: Path) -> tuple[Run, list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath, options.log_severity_level = str(Path(folder) / "runs.onnx"), 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        operators = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    opened = session(path, usable_cores())
    return lambda ids, mask: opened.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0], operators


def _open_in_openvino(_base: TorchTextModel, path: Path) -> tuple[Run, list[str]]:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    operators = []
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        kind, precision = (str(facts[key].astype(str)) if key in facts else "" for key in (
            "layerType", "runtimePrecision"))
        operators.append(f"{kind}Integer" if precision in ("i8", "u8") else kind)
    return lambda ids, mask: compiled({"input_ids": ids, "attention_mask": mask})[0], operators


OPENERS = {PYTORCH: _open_in_pytorch, ONNXRUNTIME: _open_in_onnxruntime, OPENVINO: _open_in_openvino}


def _integer_share(operators: Iterable[str]) -> float:
    """Share of the products that are done in 8 bits; NaN where a runtime names no product."""
    counts = Counter(_kind_of(name) for name in operators)
    products = counts["float"] + counts["integer"]
    return counts["integer"] / products if products else float("nan")


def _kind_of(operator: str) -> str:
    """'float' or 'integer' of a product, '' of all else.

    >>> [_kind_of(name) for name in ("MatMul", "MatMulIntegerToFloat", "QLinearMatMul", "FullyConnectedInteger", "Add")]
    ['float', 'integer', 'integer', 'integer', '']
    """
    if operator in _PRODUCTS:
        return "float"
    marked = "Integer" in operator or operator.startswith(("QLinear", "QGemm", "DynamicQuantizeMatMul"))
    return "integer" if marked and any(name in operator for name in ("MatMul", "Gemm", "FullyConnected")) else ""


def _own_operators(path: Path) -> str:
    """Operators of an ONNX file from outside of the standard, with their domain."""
    if path.suffix != ".onnx":
        return ""
    return ", ".join(sorted({f"{node.domain}.{node.op_type}" for node in onnx.load(path).graph.node
                             if node.domain not in ("", "ai.onnx")}))

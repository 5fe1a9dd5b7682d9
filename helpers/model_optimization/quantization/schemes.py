"""Quantization: the same model in fewer bits. `quantize` is the door to every scheme."""

import contextlib
import copy
import io
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.exporting.graph import openvino_from_onnx, openvino_graph, streams_name, write_onnx
from helpers.lab.models.model import Card, Model
from helpers.lab.models.openvino import OpenVinoTextModel
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.training.tokenizer import pad
from helpers.model_optimization.options import SCHEMES

STRATEGY = "model optimization"
_FORMATS = {"fp16": "f16", "bf16": "bf16"}  # scheme -> OpenVINO's name of the arithmetic

RUNTIME_NAMES = {"pytorch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def quantize(model: TorchTextModel, task: Task, scheme: str, runtime: str | None = None, *, bits: int = 8,
             group_size: int = 32, per_channel: bool = True, reduce_range: bool = False,
             calibration: str = "minmax", calibration_rows: int = 128, keep_float: Sequence[str] = (),
             **streams: int) -> Model:
    """A copy of `model` in fewer bits; the original stays as it is.

    Args:
        task: its training rows calibrate static schemes. Test rows are never looked at.
        scheme: a key of SCHEMES. "fp16" and "bf16" cast weights and arithmetic (OpenVINO uses the
            format where the CPU has it, and keeps fp32 arithmetic where not). "dynamic-int8" finds
            the activations' range in each call; "static-int8" fixes it beforehand; "weight-only"
            stores weights in `bits` bits and computes in fp32.
        runtime: one that has the scheme; by default its first.
        bits, group_size: weight-only: 2 to 8 bits, one scale for so many neighbours in a row.
        per_channel: int8 in ONNX Runtime: one scale an output column, instead of one a matrix.
        reduce_range: int8 in ONNX Runtime: 7-bit weights, which cannot saturate on CPUs without VNNI.
        calibration, calibration_rows: static: "minmax", "percentile" or "entropy" (ONNX Runtime;
            OpenVINO has its own), over so many training rows.
        keep_float: names of linear layers to leave in float: mixed precision; `sensitivity` ranks them.
        streams: `streams=` and `micro_batch=`, see TextModel.

    Raises:
        InputError: a scheme, runtime, layer or number that there is not.
    """
    runtime = _require_known(scheme, runtime)
    _require_layers(model, keep_float)
    if unknown := set(streams) - {"streams", "micro_batch"}:
        raise InputError(f"quantize does not take '{sorted(unknown)[0]}'.")
    if keep_float and scheme in _FORMATS:
        raise InputError(f"'{scheme}' casts the whole model; keep_float= goes with the int8 and weight-only schemes.")
    began = time.perf_counter()
    settings: dict[str, Any] = {"scheme": scheme, "runtime": runtime, **streams}
    if keep_float:
        settings["keep_float"] = list(keep_float)
    if scheme in _FORMATS:
        made = cast(model, scheme) if runtime == "pytorch" else _openvino_cast(model)
        settings |= {"precision": _FORMATS[scheme]} if runtime == "openvino" else {}
        name = f"{scheme}, {RUNTIME_NAMES[runtime]}"
    elif scheme == "weight-only":
        from helpers.model_optimization.quantization.weight_only import quantize_weights

        made = quantize_weights(model, bits, group_size, keep_float)
        settings |= {"bits": bits, "group_size": group_size}
        name = f"int{bits} weights (groups of {group_size}), PyTorch"
    elif runtime == "openvino":
        made = _openvino_int8(model, task, calibration_rows, keep_float)
        settings |= {"calibration_rows": calibration_rows}
        name = "int8 static, OpenVINO"
    else:
        made = _onnx_int8(model, task, scheme, per_channel, reduce_range, calibration, calibration_rows, keep_float)
        settings |= {"per_channel": per_channel, "reduce_range": reduce_range}
        if scheme == "static-int8":
            settings |= {"calibration": calibration, "calibration_rows": calibration_rows}
        name = _onnx_name(scheme, per_channel, reduce_range, calibration)
    name += f", {len(keep_float)} layers in float" if keep_float else ""
    card = model.card.derive(name + streams_name(streams), STRATEGY, time.perf_counter() - began, **settings)
    return _with_card(made, model, card)


def _require_known(scheme: str, runtime: str | None) -> str:
    if scheme not in SCHEMES:
        raise InputError(f"There is no quantization scheme '{scheme}'. Known: {', '.join(SCHEMES)}.")
    if runtime is not None and runtime not in SCHEMES[scheme]:
        raise InputError(f"'{scheme}' is not made for '{runtime}' here, but for {' and '.join(SCHEMES[scheme])}.")
    return runtime or SCHEMES[scheme][0]


def _require_layers(model: TorchTextModel, names: Sequence[str]) -> None:
    if not isinstance(model, TorchTextModel):
        raise InputError(f"Only a PyTorch model can be quantized; '{model.card.name}' runs in {model.runtime}.")
    known = linear_layers(model)
    for name in names:
        if name not in known:
            raise InputError(f"The model has no linear layer '{name}'. The first of its {len(known)}: {known[0]}.")


def linear_layers(model: TorchTextModel) -> list[str]:
    """Names of the model's linear layers, from input to output."""
    return [name for name, module in model.module.named_modules() if isinstance(module, torch.nn.Linear)]


def _with_card(made: Any, source: TorchTextModel, card: Card) -> Model:
    """The made thing (a PyTorch module with its packed weights, an ONNX file, an OpenVINO graph) as a Model."""
    if isinstance(made, tuple):
        module, packed = made
        return TorchTextModel(card, source.encoder, module, packed)
    if isinstance(made, bytes):
        from helpers.lab.models.onnx import OnnxTextModel

        with tempfile.TemporaryDirectory() as folder:
            graph = Path(folder) / "model.onnx"
            graph.write_bytes(made)
            return OnnxTextModel(card, source.encoder, graph)
    return OpenVinoTextModel(card, source.encoder, made)


def cast(model: TorchTextModel, scheme: str) -> tuple[torch.nn.Module, dict]:
    """A copy of the module with weights and arithmetic in "fp16" or "bf16"."""
    return copy.deepcopy(model.module).to({"fp16": torch.float16, "bf16": torch.bfloat16}[scheme]), {}


def _openvino_cast(model: TorchTextModel) -> Any:
    import openvino

    with tempfile.TemporaryDirectory() as folder:  # stored in 16 bits, computed in what the CPU has
        openvino.save_model(openvino_graph(model), Path(folder) / "model.xml", compress_to_fp16=True)
        stored = Path(folder) / "model.bin", Path(folder) / "model.xml"
        weights, graph = (path.read_bytes() for path in stored)
        return openvino.Core().read_model(graph, weights)


def _calibration_inputs(model: TorchTextModel, task: Task, rows: int) -> list[dict[str, Any]]:
    if rows < 1:
        raise InputError(f"Calibration needs at least one row, not {rows}.")
    texts = task.train.shuffle(seed=0).select(range(min(rows, len(task.train))))["text"][:]
    return [dict(zip(("input_ids", "attention_mask"), pad([ids]), strict=True)) for ids in model.encoder.encode(texts)]


def _openvino_int8(model: TorchTextModel, task: Task, rows: int, keep_float: Sequence[str]) -> Any:
    import nncf

    from helpers.lab.exporting.int8 import nodes_of

    nncf.set_log_level(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        plain = write_onnx(model, Path(folder) / "model.onnx")
        graph, kept = openvino_from_onnx(plain), nodes_of(plain, keep_float)
    # The nodes keep their names; a Gemm's product is called NAME/WithoutBiases.
    products = [op.friendly_name for op in graph.get_ops() if op.get_type_name() == "MatMul"]
    kept = [name for name in products if name.split("/")[0] in kept]
    inputs = _calibration_inputs(model, task, rows)
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        return nncf.quantize(graph, nncf.Dataset(inputs), subset_size=len(inputs),
                             ignored_scope=nncf.IgnoredScope(names=kept), model_type=nncf.ModelType.TRANSFORMER)


def _onnx_int8(model: TorchTextModel, task: Task, scheme: str, per_channel: bool, reduce_range: bool,
               calibration: str, rows: int, keep_float: Sequence[str]) -> bytes:
    from helpers.lab.exporting import int8 as onnx_int8

    inputs = _calibration_inputs(model, task, rows) if scheme == "static-int8" else []
    return onnx_int8.quantized(model, inputs, per_channel, reduce_range, calibration, keep_float)


def _onnx_name(scheme: str, per_channel: bool, reduce_range: bool, calibration: str) -> str:
    parts = ["int8", scheme.removesuffix("-int8")]
    parts += [calibration] if scheme == "static-int8" and calibration != "minmax" else []
    parts += [] if per_channel else ["per tensor"]
    parts += ["7-bit weights"] if reduce_range else []
    return f"{' '.join(parts)}, ONNX Runtime"

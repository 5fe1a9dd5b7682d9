"""Quantization: the same model in fewer bits. `quantize` is the door to every scheme."""

import time
from collections.abc import Sequence
from typing import Any

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.exporting.graph import (
    RUNTIME_NAMES,
    assembled,
    cast,
    export_seconds,
    naming,
    openvino_graph,
    streams_name,
)
from helpers.lab.exporting.int8 import CALIBRATION_ROWS, calibration_inputs, onnx_int8, openvino_int8
from helpers.lab.models.model import Model
from helpers.lab.models.onnx import OnnxTextModel
from helpers.lab.models.openvino import OpenVinoTextModel
from helpers.lab.models.torch import TorchTextModel, linear_layers
from helpers.model_optimization.encoder.parts import require_torch
from helpers.model_optimization.options import SCHEMES, STRATEGY

_FORMATS = {"fp16": "f16", "bf16": "bf16"}  # scheme -> OpenVINO's name of the arithmetic


def quantize(model: TorchTextModel, task: Task, scheme: str, runtime: str | None = None, *, bits: int = 8,
             group_size: int = 32, per_channel: bool = True, reduce_range: bool = False,
             calibration: str = "minmax", calibration_rows: int = CALIBRATION_ROWS, keep_float: Sequence[str] = (),
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
        InputError: a scheme, runtime, layer or number that there is not; an architecture that the library behind
            the scheme cannot do, or whose numbers its format cannot hold.

    >>> from helpers.lab import baseline, load_task
    >>> from helpers.model_optimization import quantize
    >>> task = load_task("tickets")
    >>> quantize(baseline(task), task, "dynamic-int8", streams=2).card.name  # doctest: +SKIP
    'int8 dynamic, ONNX Runtime, 2 streams'
    """
    runtime = _require_known(scheme, runtime)
    if runtime == "pytorch":
        require_torch(model, "quantized")
    _require_layers(model, keep_float)
    if unknown := set(streams) - {"streams", "micro_batch"}:
        raise InputError(f"quantize does not take '{sorted(unknown)[0]}'.")
    if keep_float and scheme in _FORMATS:
        raise InputError(f"'{scheme}' casts the whole model; keep_float= goes with the int8 and weight-only schemes.")
    export_s = 0.0 if runtime == "pytorch" else export_seconds(model)  # counts for each that starts from the graph
    began = time.perf_counter()

    def finish(kind: type[Model], name: str, *artefact: Any, **details: Any) -> Model:
        name += f", {len(keep_float)} layers in float" if keep_float else ""
        settings = {"scheme": scheme, "runtime": runtime, **streams,
                    **({"keep_float": list(keep_float)} if keep_float else {}), **details}
        card = model.card.derive(name + streams_name(streams), STRATEGY, export_s + time.perf_counter() - began,
                                 **settings)
        return assembled(model, kind, card, *artefact)

    if scheme == "weight-only":
        from helpers.model_optimization.quantization.weight_only import quantize_weights  # torchao takes seconds

        with naming(model, f"quantized to weights of {bits} bits"):
            artefact = quantize_weights(model, bits, group_size, keep_float)
        return finish(TorchTextModel, f"int{bits} weights (groups of {group_size}), PyTorch", *artefact, bits=bits,
                      group_size=group_size)
    if scheme in _FORMATS:
        name = f"{scheme}, {RUNTIME_NAMES[runtime]}"
        if runtime == "pytorch":
            return finish(TorchTextModel, name, cast(model, scheme))
        # Stored in 16 bits, computed in what the CPU has.
        return finish(OpenVinoTextModel, name, openvino_graph(model, half=True), precision=_FORMATS[scheme])
    static = scheme == "static-int8"
    inputs = calibration_inputs(model, task, calibration_rows) if static else ()
    rows = {"calibration_rows": calibration_rows} if static else {}
    if runtime == "openvino":
        return finish(OpenVinoTextModel, "int8 static, OpenVINO", openvino_int8(model, inputs, keep_float=keep_float),
                      **rows)
    graph = onnx_int8(model, inputs, per_channel=per_channel, reduce_range=reduce_range, calibration=calibration,
                      keep_float=keep_float)
    return finish(OnnxTextModel, _onnx_name(scheme, per_channel, reduce_range, calibration), graph,
                  per_channel=per_channel, reduce_range=reduce_range,
                  **({"calibration": calibration} if static else {}), **rows)


def _require_known(scheme: str, runtime: str | None) -> str:
    if scheme not in SCHEMES:
        raise InputError(f"Unknown quantization scheme '{scheme}'. Choose one of: {', '.join(SCHEMES)}.")
    if runtime is not None and runtime not in SCHEMES[scheme]:
        raise InputError(f"'{scheme}' is not made for '{runtime}' here, but for {' and '.join(SCHEMES[scheme])}.")
    return runtime or SCHEMES[scheme][0]


def _require_layers(model: TorchTextModel, names: Sequence[str]) -> None:
    if not isinstance(model, TorchTextModel):
        raise InputError(f"Only a PyTorch model can be quantized; '{model.card.name}' runs in {model.runtime}.")
    known = linear_layers(model.module)
    for name in names:
        if name not in known:
            raise InputError(f"The model has no linear layer '{name}'. The first of its {len(known)}: {known[0]}.")


def _onnx_name(scheme: str, per_channel: bool, reduce_range: bool, calibration: str) -> str:
    parts = ["int8", scheme.removesuffix("-int8")]
    parts += [calibration] if scheme == "static-int8" and calibration != "minmax" else []
    parts += [] if per_channel else ["per tensor"]
    parts += ["7-bit weights"] if reduce_range else []
    return f"{' '.join(parts)}, ONNX Runtime"

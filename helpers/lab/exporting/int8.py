"""8-bit graphs by the runtimes' own quantizers: ONNX Runtime's, dynamic and static, and NNCF for OpenVINO.

Attention's weights stay out of 8-bit activations: over a long text they are all small. Of 512 alike, each is half of
the smallest step of 8 bits, and rounds to nothing or to twice as much.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.exporting.graph import naming, onnx_graph, openvino_graph
from helpers.lab.models.torch import TorchTextModel

CALIBRATIONS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}  # as ONNX Runtime calls them
CALIBRATION_ROWS = 128
_SCOPES = "pkg.torch.onnx.name_scopes"  # where the exporter notes each node's modules
# Products and the embedding table: nearly all bytes and nearly all of the time.
_OPERATORS = ["MatMul", "Gemm", "Gather"]
_LAYOUT = {"Cast", "Dropout", "Expand", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}  # same numbers


def calibration_inputs(model: TorchTextModel, task: Task, rows: int = CALIBRATION_ROWS) -> list[dict[str, np.ndarray]]:
    """input_ids and attention_mask, (1, length) int64 each, of so many training rows; test rows are never looked at."""
    if rows < 1:
        raise InputError(f"Calibration needs at least one row, not {rows}.")
    texts = task.train.shuffle(seed=0).select(range(min(rows, len(task.train))))["text"][:]
    rows = model.encoder.encode(texts)
    return [dict(zip(("input_ids", "attention_mask"), model.encoder.pad([ids]), strict=True)) for ids in rows]


def onnx_int8(model: TorchTextModel, inputs: Sequence[dict[str, np.ndarray]] = (), *, per_channel: bool = True,
              reduce_range: bool = False, calibration: str = "minmax", keep_float: Sequence[str] = ()) -> bytes:
    """The ONNX file of the model with 8-bit products: static with calibration inputs, dynamic without.

    The plain export is quantized, not the fused graph: fused nodes are opaque to the quantizer.

    Args:
        inputs: from `calibration_inputs`; calibration: a key of CALIBRATIONS, how their ranges are taken.
        per_channel: one scale an output column, instead of one a matrix.
        reduce_range: 7-bit weights, which cannot saturate on CPUs without VNNI.
        keep_float: names of linear layers to leave in float.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if calibration not in CALIBRATIONS:
        raise InputError(f"Unknown calibration '{calibration}'. Choose one of: {', '.join(CALIBRATIONS)}.")
    logging.getLogger().addFilter(_no_preprocessing_hint)
    plain = onnx.load_from_string(onnx_graph(model))
    floats = float_products(plain, keep_float)
    common = {"per_channel": per_channel, "reduce_range": reduce_range, "weight_type": QuantType.QInt8,
              "nodes_to_exclude": [*floats, *(f"{name}_MatMul" for name in floats)],  # what a Gemm is turned into
              "op_types_to_quantize": _OPERATORS}
    with tempfile.TemporaryDirectory() as folder:  # the quantizer writes files only
        target = Path(folder) / "int8.onnx"
        with naming(model, "quantized to int8 by ONNX Runtime"):
            if inputs:
                _quantize_static(plain, target, inputs, calibration, common)
            else:
                quantize_dynamic(plain, target, **common)
        return target.read_bytes()


def _quantize_static(plain: onnx.ModelProto, target: Path, inputs: Sequence[dict[str, np.ndarray]], calibration: str,
                     common: dict[str, Any]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Rows(CalibrationDataReader):
        def __init__(self, rows: Sequence[dict[str, np.ndarray]]) -> None:
            self._rows = iter(rows)

        def get_next(self) -> dict[str, np.ndarray] | None:
            """The next row's inputs, or None after the last."""
            return next(self._rows, None)

    prepared = target.with_name("prepared.onnx")
    quant_pre_process(plain, prepared, skip_symbolic_shape=True, skip_optimization=True)
    rows = inputs if calibration == "minmax" else _same_length(inputs)
    with contextlib.redirect_stdout(io.StringIO()):  # the calibrator prints its settings
        quantize_static(prepared, target, Rows(rows), activation_type=QuantType.QUInt8,
                        calibrate_method=CalibrationMethod[CALIBRATIONS[calibration]], **common)


def openvino_int8(model: TorchTextModel, inputs: Sequence[dict[str, np.ndarray]], *,
                  keep_float: Sequence[str] = ()) -> Any:
    """The model as an `openvino.Model` with static 8-bit products; docs.openvino.ai, 'Basic quantization flow'."""
    floats = float_products(onnx.load_from_string(onnx_graph(model)), keep_float)
    graph = openvino_graph(model)
    # The nodes keep their names; a Gemm's product is called NAME/WithoutBiases.
    products = [op.friendly_name for op in graph.get_ops() if op.get_type_name() == "MatMul"]
    with naming(model, "quantized to int8 for OpenVINO"), quiet_nncf() as nncf:
        ignored = nncf.IgnoredScope(names=[name for name in products if name.split("/")[0] in floats])
        return nncf.quantize(graph, nncf.Dataset(inputs), subset_size=len(inputs), ignored_scope=ignored,
                             model_type=nncf.ModelType.TRANSFORMER)


@contextlib.contextmanager
def quiet_nncf() -> Iterator[ModuleType]:
    """NNCF without its bars, which a terminal fills lines with, and a notebook leaves blank spaces of.

    >>> with quiet_nncf() as nncf:
    ...     mode = nncf.CompressWeightsMode.INT4_SYM
    >>> mode.value
    'int4_sym'
    """
    import nncf
    import rich  # NNCF's bars are its

    nncf.set_log_level(logging.ERROR)
    console = rich.get_console()
    was, console.is_jupyter = console.is_jupyter, False  # else a widget each, whatever stdout is
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield nncf
    finally:
        console.is_jupyter = was


def float_products(graph: onnx.ModelProto, keep_float: Sequence[str] = ()) -> list[str]:
    """Names of the graph's products that stay in float: those of the given modules, and attention's weighted sums."""
    asked, attention = [], []
    makers = {name: node for node in graph.graph.node for name in node.output}
    for node in graph.graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == _SCOPES), "")
        if node.op_type not in _OPERATORS:
            continue
        if node.op_type == "MatMul" and _is_of_softmax(node.input[0], makers):
            attention.append(node.name)
        elif any(f"'{layer}'" in scopes for layer in keep_float):
            asked.append(node.name)
    if len(asked) < len(keep_float):
        raise InputError(f"The graph has only {len(asked)} of the {len(keep_float)} layers that should stay in float.")
    return asked + attention


def _is_of_softmax(name: str, makers: dict[str, onnx.NodeProto]) -> bool:
    """Whether a value is a softmax's, in whatever layout: attention's weights."""
    node = makers.get(name)
    if node is None or node.op_type == "Softmax":
        return node is not None
    if node.op_type == "Where":  # zeros for rows of padding alone
        return any(_is_of_softmax(one, makers) for one in node.input[1:])
    return node.op_type in _LAYOUT and _is_of_softmax(node.input[0], makers)


def _same_length(inputs: Sequence[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """The quantizer's histograms want arrays of one shape: rows are padded to the longest."""
    longest = max(one["input_ids"].shape[1] for one in inputs)
    return [{name: np.pad(array, ((0, 0), (0, longest - array.shape[1]))) for name, array in one.items()}
            for one in inputs]


def _no_preprocessing_hint(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()

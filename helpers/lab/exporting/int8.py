"""8-bit ONNX graphs by ONNX Runtime's own quantizer."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from helpers.lab.errors import InputError
from helpers.lab.exporting.graph import write_onnx
from helpers.lab.models.torch import TorchTextModel

CALIBRATIONS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile,
                "entropy": CalibrationMethod.Entropy}
_SCOPES = "pkg.torch.onnx.name_scopes"  # where the exporter notes each node's modules
# Products and the embedding table: nearly all bytes and nearly all of the time.
_OPERATORS = ["MatMul", "Gemm", "Gather"]


class _Rows(CalibrationDataReader):
    def __init__(self, inputs: list[dict[str, np.ndarray]]) -> None:
        self._inputs = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next row's inputs, or None after the last."""
        return next(self._inputs, None)


def quantized(model: TorchTextModel, calibration_inputs: list[dict[str, np.ndarray]], per_channel: bool,
              reduce_range: bool, calibration: str, keep_float: Sequence[str]) -> bytes:
    """The ONNX file of the model with 8-bit products; dynamic where there are no calibration inputs.

    The plain export is quantized, not the fused graph: fused nodes are opaque to the quantizer.
    """
    if calibration not in CALIBRATIONS:
        raise InputError(f"There is no calibration '{calibration}'. Known: {', '.join(CALIBRATIONS)}.")
    logging.getLogger().addFilter(_no_preprocessing_hint)
    with tempfile.TemporaryDirectory() as folder:
        plain, target = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        write_onnx(model, plain)
        kept = nodes_of(plain, keep_float)
        common = {"per_channel": per_channel, "reduce_range": reduce_range, "weight_type": QuantType.QInt8,
                  "nodes_to_exclude": [*kept, *(f"{name}_MatMul" for name in kept)],  # so is a Gemm called anew
                  "op_types_to_quantize": _OPERATORS}
        if not calibration_inputs:
            quantize_dynamic(plain, target, **common)
        else:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(plain, prepared, skip_symbolic_shape=True, skip_optimization=True)
            if calibration != "minmax":
                calibration_inputs = _same_length(calibration_inputs)
            with contextlib.redirect_stdout(io.StringIO()):  # the calibrator prints its settings
                quantize_static(prepared, target, _Rows(calibration_inputs), quant_format=QuantFormat.QDQ,
                                activation_type=QuantType.QUInt8, calibrate_method=CALIBRATIONS[calibration], **common)
        return target.read_bytes()


def nodes_of(graph: Path, layers: Sequence[str]) -> list[str]:
    """Names of the graph's matrix products that belong to the given modules."""
    found = []
    for node in onnx.load(graph, load_external_data=False).graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == _SCOPES), "")
        if node.op_type in _OPERATORS and any(f"'{layer}'" in scopes for layer in layers):
            found.append(node.name)
    if len(found) < len(layers):
        raise InputError(f"Only {len(found)} of the {len(layers)} layers to keep in float were found in the graph.")
    return found


def _same_length(inputs: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """The quantizer's histograms want arrays of one shape: rows are padded to the longest."""
    longest = max(one["input_ids"].shape[1] for one in inputs)
    return [{name: np.pad(array, ((0, 0), (0, longest - array.shape[1]))) for name, array in one.items()}
            for one in inputs]


def _no_preprocessing_hint(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()

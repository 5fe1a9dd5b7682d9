"""Each runtime's own documented way to an int8 model, as a peer: no setting of ours."""

import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from helpers.lab.data.task import Task
from helpers.lab.exporting.graph import onnx_graph, openvino_graph
from helpers.lab.exporting.int8 import calibration_inputs
from helpers.lab.models.model import TextModel
from helpers.lab.models.torch import TorchTextModel

CALIBRATION_ROWS = 300  # what nncf.quantize takes of a data set unless told otherwise


class Recipe(TextModel):
    """A peer: `run(ids, mask)` with whatever defaults its runtime has."""

    runtime = "recipe"

    def __init__(self, name: str, source: TorchTextModel, run: Callable[[np.ndarray, np.ndarray], np.ndarray],
                 artefact: bytes) -> None:
        super().__init__(source.card.derive(name, "peer", 0.0), source.encoder)
        self._run, self._artefact = run, artefact

    def _logits(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self._run(ids, mask)

    def _save_artefact(self, path: Path) -> None:
        (path / "artefact").write_bytes(self._artefact)


def onnxruntime_recipe(model: TorchTextModel) -> Recipe:
    """onnxruntime.ai, 'Quantize ONNX models': shape inference, then quantize_dynamic, a default session."""
    import onnxruntime
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, target = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "int8"))
        plain.write_bytes(onnx_graph(model))
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_dynamic(prepared, target)
        artefact = target.read_bytes()
    session = onnxruntime.InferenceSession(artefact, providers=["CPUExecutionProvider"])
    return Recipe("ONNX Runtime's recipe", model,
                  lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0], artefact)


def openvino_recipe(model: TorchTextModel, task: Task) -> Recipe:
    """docs.openvino.ai, 'Basic quantization flow': nncf.quantize with its defaults, a default compile_model."""
    import logging

    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    rows = nncf.Dataset(calibration_inputs(model, task, CALIBRATION_ROWS))
    graph = nncf.quantize(openvino_graph(model), rows, model_type=nncf.ModelType.TRANSFORMER)
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(graph, Path(folder) / "model.xml")
        artefact = b"".join(path.read_bytes() for path in sorted(Path(folder).iterdir()))
    compiled = openvino.Core().compile_model(graph, "CPU")
    return Recipe("OpenVINO's recipe", model,
                  lambda ids, mask: compiled({"input_ids": ids, "attention_mask": mask})[0], artefact)


def pytorch_recipe(model: TorchTextModel) -> Recipe:
    """pytorch.org, 'Dynamic quantization on BERT': quantize_dynamic over the linear layers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still the documented CPU recipe
        module = torch.ao.quantization.quantize_dynamic(model.module, {torch.nn.Linear}, dtype=torch.qint8)

    @torch.inference_mode()
    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()

    artefact = io.BytesIO()
    torch.save(module.state_dict(), artefact)
    return Recipe("PyTorch's recipe", model, run, artefact.getvalue())

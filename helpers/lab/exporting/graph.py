"""The same weights in another runtime: PyTorch to ONNX Runtime or OpenVINO, still in fp32."""

import contextlib
import copy
import io
import logging
import tempfile
import time
import warnings
import weakref
from pathlib import Path
from typing import Any

import torch
from optimum.utils import DummyTextInputGenerator, NormalizedConfigManager

from helpers.lab.errors import InputError
from helpers.lab.models.model import Card, Model
from helpers.lab.models.onnx import OnnxTextModel
from helpers.lab.models.torch import TorchTextModel

RUNTIMES = ("pytorch", "onnxruntime", "openvino")


def export(model: TorchTextModel, runtime: str, **settings: Any) -> Model:
    """The model, unchanged in its weights, in another runtime.

    Args:
        runtime: "onnxruntime" or "openvino".
        settings: `streams` and `micro_batch`, see TextModel.

    Raises:
        InputError: no such runtime, or a model that is not a PyTorch one.
    """
    if runtime not in RUNTIMES[1:]:
        raise InputError(f"There is no runtime '{runtime}' to export to. Known: {', '.join(RUNTIMES[1:])}.")
    began = time.perf_counter()
    name = f"fp32, {'ONNX Runtime' if runtime == 'onnxruntime' else 'OpenVINO'}{streams_name(settings)}"
    if runtime == "onnxruntime":
        with tempfile.TemporaryDirectory() as folder:
            graph = write_onnx(model, Path(folder) / "model.onnx")
            card = _exported(model, name, began, runtime, settings)
            return OnnxTextModel(card, model.encoder, graph)
    from helpers.lab.models.openvino import OpenVinoTextModel

    graph = openvino_graph(model)
    card = _exported(model, name, began, runtime, settings)
    return OpenVinoTextModel(card, model.encoder, graph)


def _exported(model: TorchTextModel, name: str, began: float, runtime: str, settings: dict[str, Any]) -> Card:
    return model.card.derive(name, "hardware co-design", time.perf_counter() - began, runtime=runtime, **settings)


def streams_name(settings: dict[str, Any]) -> str:
    """', 2 streams of 4' for a model's name, or nothing."""
    parts = [f"{settings['streams']} streams" if settings.get("streams", 1) > 1 else "",
             f"rows by {settings['micro_batch']}" if "micro_batch" in settings else ""]
    return "".join(f", {part}" for part in parts if part)


def write_onnx(model: TorchTextModel, path: Path) -> Path:
    """Write an ONNX graph with free batch and length: input_ids, attention_mask -> logits.

    The export takes some ten seconds, so a model that was exported before is copied.
    """
    if not isinstance(model, TorchTextModel):
        raise InputError(f"Only a PyTorch model can be exported; '{model.card.name}' runs in {model.runtime}.")
    if model not in _exported_before:
        _write_fresh(model, path)
        _exported_before[model] = path.read_bytes()
    path.write_bytes(_exported_before[model])
    return path


# Models are not changed after they are made, and take their export with them when they go.
_exported_before: weakref.WeakKeyDictionary[TorchTextModel, bytes] = weakref.WeakKeyDictionary()


def _write_fresh(model: TorchTextModel, path: Path) -> None:
    module = copy.deepcopy(model.module).cpu().float()
    config = NormalizedConfigManager.get_normalized_config_class(module.config.model_type)(module.config)
    dummy = DummyTextInputGenerator("text-classification", config, batch_size=2, sequence_length=16)
    inputs = tuple(dummy.generate(name, framework="pt") for name in ("input_ids", "attention_mask"))
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.encoder.max_tokens)}
    with _quiet():
        torch.onnx.export(module, inputs, str(path), dynamo=True, external_data=False, verbose=False,
                          input_names=["input_ids", "attention_mask"], output_names=["logits"],
                          dynamic_shapes={"input_ids": free, "attention_mask": free})


def openvino_graph(model: TorchTextModel) -> Any:
    """The model as an `openvino.Model`, by way of ONNX."""
    with tempfile.TemporaryDirectory() as folder:
        return openvino_from_onnx(write_onnx(model, Path(folder) / "model.onnx"))


def openvino_from_onnx(graph: Path) -> Any:
    """An `openvino.Model` from a file of `write_onnx`; its products keep their names."""
    import openvino

    converted = openvino.convert_model(graph)
    for port, name in zip(converted.inputs, ("input_ids", "attention_mask"), strict=True):
        port.get_tensor().set_names({name})
    return converted


@contextlib.contextmanager
def _quiet():
    """The exporter reports each of its steps and missing optional packages; none concerns the reader."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

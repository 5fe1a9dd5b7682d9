"""The same weights in another runtime, still in fp32 or cast to 16 bits: PyTorch to ONNX Runtime or OpenVINO."""

import contextlib
import copy
import dataclasses
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
from helpers.lab.models.model import Model
from helpers.lab.models.torch import TorchTextModel

RUNTIME_NAMES = {"pytorch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def export(model: TorchTextModel, runtime: str, **settings: Any) -> Model:
    """The model, unchanged in its weights, in another runtime.

    Args:
        runtime: "onnxruntime" or "openvino".
        settings: `streams` and `micro_batch`, see TextModel.

    Raises:
        InputError: no such runtime, or a model that is not a PyTorch one.

    >>> from helpers.lab import baseline, export, load_task
    >>> base = baseline(load_task("tickets"))  # doctest: +SKIP
    >>> export(base, "onnxruntime", streams=2).card.name  # doctest: +SKIP
    'fp32, ONNX Runtime, 2 streams'
    """
    if runtime not in ("onnxruntime", "openvino"):
        raise InputError(f"Unknown runtime '{runtime}' to export to. Choose one of: onnxruntime, openvino.")
    export_s = export_seconds(model)
    began = time.perf_counter()
    graph = onnx_graph(model) if runtime == "onnxruntime" else openvino_graph(model)
    card = model.card.derive(f"fp32, {RUNTIME_NAMES[runtime]}{streams_name(settings)}", "hardware co-design",
                             export_s + time.perf_counter() - began, runtime=runtime, **settings)
    if runtime == "onnxruntime":
        from helpers.lab.models.onnx import OnnxTextModel

        return OnnxTextModel(card, model.encoder, graph)
    from helpers.lab.models.openvino import OpenVinoTextModel

    return OpenVinoTextModel(card, model.encoder, graph)


def streams_name(settings: dict[str, Any]) -> str:
    """', 2 streams, rows by 4' for a model's name, or nothing."""
    parts = [f"{settings['streams']} streams" if settings.get("streams", 1) > 1 else "",
             f"rows by {settings['micro_batch']}" if "micro_batch" in settings else ""]
    return "".join(f", {part}" for part in parts if part)


def cast(model: TorchTextModel, scheme: str) -> torch.nn.Module:
    """A copy of the module with weights and arithmetic in "fp16" or "bf16"."""
    return copy.deepcopy(model.module).to({"fp16": torch.float16, "bf16": torch.bfloat16}[scheme])


@dataclasses.dataclass(frozen=True)
class _Export:
    graph: bytes
    seconds: float


# Models are not changed after they are made, and take their export with them when they go.
_exports: weakref.WeakKeyDictionary[TorchTextModel, _Export] = weakref.WeakKeyDictionary()


def onnx_graph(model: TorchTextModel) -> bytes:
    """An ONNX file with free batch and length: input_ids, attention_mask (n, length) int64 -> logits (n, classes).

    The export takes some ten seconds, so a model is exported once.

    Raises:
        InputError: not a PyTorch model.
    """
    return _export(model).graph


def export_seconds(model: TorchTextModel) -> float:
    """Seconds that the model's one export to ONNX took: they count for each model that starts from its graph."""
    return _export(model).seconds


def _export(model: TorchTextModel) -> _Export:
    if not isinstance(model, TorchTextModel):
        raise InputError(f"Only a PyTorch model can be exported; '{model.card.name}' runs in {model.runtime}.")
    if model not in _exports:
        began = time.perf_counter()
        graph = _export_module(model)
        _exports[model] = _Export(graph, time.perf_counter() - began)
    return _exports[model]


def _export_module(model: TorchTextModel) -> bytes:
    module = copy.deepcopy(model.module).cpu().float()
    config = NormalizedConfigManager.get_normalized_config_class(module.config.model_type)(module.config)
    dummy = DummyTextInputGenerator("text-classification", config, batch_size=2, sequence_length=16)
    inputs = tuple(dummy.generate(name, framework="pt") for name in ("input_ids", "attention_mask"))
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.encoder.max_tokens)}
    with _quiet():
        program = torch.onnx.export(module, inputs, dynamo=True, external_data=False, verbose=False,
                                    input_names=["input_ids", "attention_mask"], output_names=["logits"],
                                    dynamic_shapes={"input_ids": free, "attention_mask": free})
    return program.model_proto.SerializeToString()


def openvino_graph(model: TorchTextModel, half: bool = False) -> Any:
    """The model as an `openvino.Model`, by way of ONNX; its products keep their names.

    Args:
        half: store the weights in 16 bits.
    """
    import openvino

    converted = openvino.convert_model(io.BytesIO(onnx_graph(model)))
    for port, name in zip(converted.inputs, ("input_ids", "attention_mask"), strict=True):
        port.get_tensor().set_names({name})
    if not half:
        return converted
    with tempfile.TemporaryDirectory() as folder:  # only writing a file compresses
        path = Path(folder) / "model.xml"
        openvino.save_model(converted, path, compress_to_fp16=True)
        return openvino.Core().read_model(path.read_bytes(), path.with_suffix(".bin").read_bytes())


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

"""How the PyTorch model gets into each runtime and precision, or the sentence why it does not."""

import contextlib
import copy
import logging
import shutil
import tempfile
import time
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.exporting.graph import export, openvino_graph, write_onnx
from helpers.lab.models.model import Card, Model
from helpers.lab.models.torch import TorchTextModel

TITLES = {"pytorch": "PyTorch", "compiled": "torch.compile", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO",
          "cuda": "ONNX Runtime CUDA", "tensorrt": "TensorRT"}
_CALIBRATION_ROWS = 128
_WEIGHTED_SUM = ".*scaled_dot_product_attention.*"  # the product of attention's weights with the values


def convert(base: TorchTextModel, runtime: str, precision: str, settings: dict[str, Any], name: str,
            task: Task | None) -> Model:
    """See `runtimes.make`, which adds the warm-up and turns any failure into a sentence."""
    if (runtime, precision) == ("pytorch", "fp32") and not settings:
        return base
    make = _MAKERS.get((runtime, precision))
    if make is None:
        raise InputError(_MISSING.get((runtime, precision), f"{TITLES[runtime]} has no {precision} here."))
    # The graph is exported once, and counts for each that starts from it.
    export_s = export_seconds(base) if needs_export(runtime) else 0.0
    began = time.perf_counter()
    card = base.card.derive(name, "hardware co-design", 0.0, runtime=runtime, precision=precision, **settings)
    model = make(base, card, settings, task)
    made_s = export_s + time.perf_counter() - began
    model.card = base.card.derive(name, "hardware co-design", made_s, **model.card.settings)
    return model


def needs_export(runtime: str) -> bool:
    """Whether a runtime starts from an ONNX graph."""
    return runtime in ("onnxruntime", "openvino", "cuda", "tensorrt")


def export_seconds(model: TorchTextModel) -> float:
    """Seconds that the first export to ONNX took; its graph is kept for all that start from it.

    NaN where it cannot be written: each candidate that needs it then says why.
    """
    if model not in _export_s:
        began = time.perf_counter()
        try:
            with tempfile.TemporaryDirectory() as folder:
                write_onnx(model, Path(folder) / "model.onnx")
            _export_s[model] = time.perf_counter() - began
        except Exception:  # exporters raise dozens of kinds
            _export_s[model] = float("nan")
    return _export_s[model]


_export_s: weakref.WeakKeyDictionary[TorchTextModel, float] = weakref.WeakKeyDictionary()


def is_saved_as_it_runs(runtime: str, precision: str) -> bool:
    """Whether the saved artefact is what runs, or has to be made again from fp32 when it is loaded."""
    return runtime in ("onnxruntime", "openvino") or (runtime, precision) in (("pytorch", "fp32"), ("pytorch", "bf16"))


class RemadeModel(TorchTextModel):
    """A PyTorch model whose running form cannot be stored: its fp32 source is saved in its place."""

    def __init__(self, card: Card, source: TorchTextModel, module: Any) -> None:
        self._source = source
        super().__init__(card, source.encoder, module)

    def _save_artefact(self, path: Path) -> None:
        self._source._save_artefact(path)


class PaddedModel(RemadeModel):
    """Each row as wide as the widest that may come, whatever it holds."""

    def _logits(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        wider = ((0, 0), (0, max(0, self.card.settings["padding"] - ids.shape[1])))
        return super()._logits(np.pad(ids, wider), np.pad(mask, wider))


def _padded(base: TorchTextModel, card: Card, settings: dict, _task: Task | None) -> Model:
    if settings.get("padding", 0) < 1:
        raise InputError("Rows are padded to at least one token: padding=128, for one.")
    return PaddedModel(card, base, base.module)


def _torch_bf16(base: TorchTextModel, card: Card, _settings: dict, _task: Task | None) -> Model:
    return TorchTextModel(card, base.encoder, copy.deepcopy(base.module).bfloat16())


def _torch_int8(base: TorchTextModel, card: Card, _settings: dict, _task: Task | None) -> Model:
    if base.module.training or next(base.module.parameters()).is_cuda:
        raise InputError("PyTorch's dynamic int8 runs on CPUs only.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still the documented CPU recipe
        module = torch.ao.quantization.quantize_dynamic(base.module, {torch.nn.Linear}, dtype=torch.qint8)
    return RemadeModel(card, base, module)


def _compiled(base: TorchTextModel, card: Card, _settings: dict, _task: Task | None) -> Model:
    """Inductor with dynamic shapes: one compilation for all batches and lengths but those of 1."""
    if not any(shutil.which(name) for name in ("g++", "c++", "clang++")):
        raise InputError("torch.compile needs a C++ compiler, and there is none here: install g++.")
    logging.getLogger("torch._inductor").setLevel(logging.ERROR)
    model = RemadeModel(card, base, torch.compile(base.module, dynamic=True))
    for texts in (["one"], ["one short text", "two of them, one longer"], ["many words " * 20] * 5):
        model.predict(texts)
    return model


def _onnx_fp32(base: TorchTextModel, card: Card, settings: dict, _task: Task | None) -> Model:
    return export(base, "onnxruntime", **settings)


def _onnx_int8(base: TorchTextModel, card: Card, _settings: dict, _task: Task | None) -> Model:
    """onnxruntime.ai, 'Quantize ONNX models': dynamic, here with a scale for each output column."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from helpers.lab.models.onnx import OnnxTextModel

    with tempfile.TemporaryDirectory() as folder, _without_hints():
        plain, target = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        quantize_dynamic(write_onnx(base, plain), target, per_channel=True, weight_type=QuantType.QInt8)
        return OnnxTextModel(card, base.encoder, target)


@contextlib.contextmanager
def _without_hints() -> Iterator[None]:
    """The quantizer hints, on the root logger, at a preparation that changes nothing for these graphs."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def _openvino_fp32(base: TorchTextModel, card: Card, settings: dict, _task: Task | None) -> Model:
    if "hint" in settings:
        from helpers.hardware_codesign.runtimes.openvino_hints import HintedOpenVinoModel, require_hint

        require_hint(settings["hint"])
        card.settings["precision"] = "f32"
        return HintedOpenVinoModel(card, base.encoder, openvino_graph(base))
    return export(base, "openvino", **settings)


def _openvino_bf16(base: TorchTextModel, card: Card, settings: dict, _task: Task | None) -> Model:
    import openvino

    from helpers.lab.models.openvino import OpenVinoTextModel

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise InputError("OpenVINO has no bf16 on this CPU: it would compute in fp32.")
    card.settings["precision"] = "bf16"
    return OpenVinoTextModel(card, base.encoder, openvino_graph(base))


def _openvino_int8(base: TorchTextModel, card: Card, _settings: dict, task: Task | None) -> Model:
    """docs.openvino.ai, 'Basic quantization flow', with training rows for the ranges, but for the attention's weights.

    Over a long text they are all small: of 512 alike, each is half of the smallest step of 8 bits, and rounds to
    nothing or to twice as much.
    """
    import nncf

    from helpers.lab.models.openvino import OpenVinoTextModel
    from helpers.lab.training.tokenizer import pad

    if task is None:
        raise InputError("OpenVINO's int8 needs a task, whose training rows fix the activations' ranges.")
    nncf.set_log_level(logging.ERROR)
    texts = task.train.shuffle(seed=0).select(range(min(_CALIBRATION_ROWS, len(task.train))))["text"][:]
    rows = [dict(zip(("input_ids", "attention_mask"), pad([ids]), strict=True)) for ids in base.encoder.encode(texts)]
    graph = nncf.quantize(openvino_graph(base), nncf.Dataset(rows), model_type=nncf.ModelType.TRANSFORMER,
                          subset_size=len(rows),
                          ignored_scope=nncf.IgnoredScope(patterns=[_WEIGHTED_SUM], validate=False))
    card.settings["precision"] = "f32"  # of what is not quantized
    return OpenVinoTextModel(card, base.encoder, graph)


def _gpu_provider(provider: str) -> Any:
    def make(base: TorchTextModel, card: Card, _settings: dict, _task: Task | None) -> Model:
        import onnxruntime

        from helpers.lab.models.onnx import OnnxTextModel

        if provider not in onnxruntime.get_available_providers():
            raise InputError(f"No {provider} here: it needs an NVIDIA GPU and the package onnxruntime-gpu.")
        with tempfile.TemporaryDirectory() as folder:
            model = OnnxTextModel(card, base.encoder, write_onnx(base, Path(folder) / "model.onnx"))
        model.session.set_providers([provider, "CPUExecutionProvider"])
        return model
    return make


_MAKERS = {("pytorch", "fp32"): _padded, ("pytorch", "bf16"): _torch_bf16, ("pytorch", "int8"): _torch_int8,
           ("compiled", "fp32"): _compiled,
           ("onnxruntime", "fp32"): _onnx_fp32, ("onnxruntime", "int8"): _onnx_int8,
           ("openvino", "fp32"): _openvino_fp32, ("openvino", "bf16"): _openvino_bf16,
           ("openvino", "int8"): _openvino_int8, ("cuda", "fp32"): _gpu_provider("CUDAExecutionProvider"),
           ("tensorrt", "fp32"): _gpu_provider("TensorrtExecutionProvider")}
_MISSING = {("onnxruntime", "bf16"): "ONNX Runtime's CPU kernels have no bf16 products.",
            ("compiled", "int8"): "torch.compile runs the 8-bit layers of torchao, which are not part of this table."}

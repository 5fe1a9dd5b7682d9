"""The same weights in every runtime and precision of this machine: which there are, and how each is made."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError, reason
from helpers.lab.exporting.graph import RUNTIME_NAMES, cast, export_seconds, onnx_graph, openvino_graph
from helpers.lab.models.model import Card, Model
from helpers.lab.models.onnx import OnnxTextModel
from helpers.lab.models.openvino import OpenVinoTextModel
from helpers.lab.models.torch import CompiledModel, DynamicInt8Model, PaddedModel, TorchTextModel

TITLES = {**RUNTIME_NAMES, "compiled": "torch.compile", "cuda": "ONNX Runtime CUDA", "tensorrt": "TensorRT"}
_SETTING_NAMES = {"streams": "{} streams", "micro_batch": "rows by {}", "hint": "{} hint", "padding": "padded to {}"}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A runtime, a precision and its settings, by the names that `make` knows.

    Settings: `padding`, the tokens that PyTorch's rows are all padded to, as many tutorials do; `streams` and
    `micro_batch` (see TextModel) for ONNX Runtime and OpenVINO; `hint` (latency or throughput) for OpenVINO.
    """

    runtime: str
    precision: str = "fp32"
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """As it stands in tables."""
        parts = [_SETTING_NAMES[key].format(value) for key, value in self.settings]
        return ", ".join([f"{TITLES[self.runtime]} {self.precision}", *parts])


def option(runtime: str, precision: str = "fp32", **settings: Any) -> Candidate:
    """A candidate from keyword settings."""
    return Candidate(runtime, precision, tuple(sorted(settings.items())))


CANDIDATES = (
    option("pytorch", padding=128), option("pytorch"), option("pytorch", "bf16"), option("pytorch", "int8"),
    option("compiled"),
    option("onnxruntime", micro_batch=64), option("onnxruntime"), option("onnxruntime", streams=2),
    option("onnxruntime", "bf16"), option("onnxruntime", "int8"), option("onnxruntime", "int8", streams=2),
    option("openvino", hint="latency"), option("openvino", hint="throughput"), option("openvino", streams=2),
    option("openvino", "bf16"), option("openvino", "int8", streams=2), option("cuda"), option("tensorrt"),
)


def make(base: TorchTextModel, candidate: Candidate, task: Task | None = None) -> Model:
    """The model in that runtime and precision, warm.

    Args:
        task: whose training rows fix the ranges of OpenVINO's 8-bit activations; nothing else needs it.

    Raises:
        InputError: this machine or this runtime cannot; the message is a sentence for the table.

    >>> from helpers.hardware_codesign import make, option
    >>> from helpers.lab import baseline, load_task
    >>> base = baseline(load_task("tickets"))  # doctest: +SKIP
    >>> make(base, option("onnxruntime", "int8", streams=2)).card.name  # doctest: +SKIP
    'ONNX Runtime int8, 2 streams'
    """
    if candidate.runtime not in TITLES:
        raise InputError(f"Unknown runtime '{candidate.runtime}'. Choose one of: {', '.join(TITLES)}.")
    if candidate == option("pytorch"):
        return base
    try:
        model = _convert(base, candidate, task)
        model.predict(["a few words to warm up", "and some more of them, so that lengths differ"])
    except InputError:
        raise
    except Exception as error:  # exporters and runtimes raise dozens of kinds; one must not end the whole table
        raise InputError(f"{candidate.name} failed with {reason(error)}") from error
    return model


def _convert(base: TorchTextModel, candidate: Candidate, task: Task | None) -> Model:
    runtime, precision = candidate.runtime, candidate.precision
    convert = _CONVERTERS.get((runtime, precision))
    if convert is None:
        raise InputError(_MISSING.get((runtime, precision), f"{TITLES[runtime]} has no {precision} here."))
    # The graph is exported once, and counts for each that starts from it.
    export_s = 0.0 if convert in (_pytorch, _compiled) else export_seconds(base)
    began = time.perf_counter()
    card = base.card.derive(candidate.name, "hardware co-design", export_s, runtime=runtime,
                            **{"precision": precision, **dict(candidate.settings)})
    model = convert(base, card, task)
    model.card = dataclasses.replace(model.card, made_in_s=card.made_in_s + time.perf_counter() - began)
    return model


def _pytorch(base: TorchTextModel, card: Card, _task: Task | None) -> Model:
    if card.settings["precision"] == "int8":
        return DynamicInt8Model(card, base)
    if card.settings["precision"] == "bf16":
        return TorchTextModel(card, base.encoder, cast(base, "bf16"))
    return PaddedModel(card, base)


def _compiled(base: TorchTextModel, card: Card, _task: Task | None) -> Model:
    model = CompiledModel(card, base)
    for texts in (["one"], ["one short text", "two of them, one longer"], ["many words " * 20] * 5):
        model.predict(texts)  # each kind of shape is compiled when it first comes
    return model


def _onnxruntime(base: TorchTextModel, card: Card, _task: Task | None) -> Model:
    if card.settings["precision"] == "int8":
        from helpers.lab.exporting.int8 import onnx_int8

        return OnnxTextModel(card, base.encoder, onnx_int8(base))
    return OnnxTextModel(card, base.encoder, onnx_graph(base))


def _openvino(base: TorchTextModel, card: Card, task: Task | None) -> Model:
    import openvino

    precision = card.settings["precision"]
    if precision == "bf16" and "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise InputError("OpenVINO has no bf16 on this CPU: it would compute in fp32.")
    card.settings["precision"] = "bf16" if precision == "bf16" else "f32"  # of what is not quantized
    if precision != "int8":
        return OpenVinoTextModel(card, base.encoder, openvino_graph(base))
    from helpers.lab.exporting.int8 import calibration_inputs, openvino_int8

    if task is None:
        raise InputError("OpenVINO's int8 needs a task, whose training rows fix the activations' ranges.")
    return OpenVinoTextModel(card, base.encoder, openvino_int8(base, calibration_inputs(base, task)))


_CONVERTERS: dict[tuple[str, str], Callable[[TorchTextModel, Card, Task | None], Model]] = {
    ("compiled", "fp32"): _compiled, ("cuda", "fp32"): _onnxruntime, ("tensorrt", "fp32"): _onnxruntime,
    **dict.fromkeys([("pytorch", precision) for precision in ("fp32", "bf16", "int8")], _pytorch),
    **dict.fromkeys([("onnxruntime", precision) for precision in ("fp32", "int8")], _onnxruntime),
    **dict.fromkeys([("openvino", precision) for precision in ("fp32", "bf16", "int8")], _openvino)}
_MISSING = {("onnxruntime", "bf16"): "ONNX Runtime's CPU kernels have no bf16 products.",
            ("compiled", "int8"): "torch.compile runs the 8-bit layers of torchao, which are not part of this table."}

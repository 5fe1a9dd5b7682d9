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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from optimum.utils import DummyTextInputGenerator, NormalizedConfigManager, NormalizedTextConfig

from helpers.lab.errors import Cancelled, InputError, reason
from helpers.lab.models.model import Card, Model, TextModel
from helpers.lab.models.torch import TorchTextModel

TOLERANCE = 1e-2  # an export in fp32 is nearer by far; what traces wrongly is further away
RUNTIME_NAMES = {"pytorch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def export(model: TorchTextModel, runtime: str, **settings: Any) -> Model:
    """The model, unchanged in its weights, in another runtime.

    Args:
        runtime: "onnxruntime" or "openvino".
        settings: `streams` and `micro_batch`, see TextModel.

    Raises:
        InputError: no such runtime, a model that is not a PyTorch one, or an architecture that the runtime cannot do.

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
        from helpers.lab.models.onnx import OnnxTextModel as Kind
    else:
        from helpers.lab.models.openvino import OpenVinoTextModel as Kind
    return assembled(model, Kind, card, graph)


def assembled(source: TorchTextModel, kind: type[TextModel], card: Card, *artefact: Any) -> TextModel:
    """The model of an artefact made from `source`, after it has answered `trial_rows`.

    Raises:
        InputError: it cannot be run, or its answers are no numbers.
    """
    with naming(source, f"made into '{card.name}'"):
        model = kind(card, source.encoder, *artefact)
        logits = model._logits(*trial_rows(source))
    if not np.isfinite(logits).all() and np.isfinite(source._logits(*trial_rows(source))).all():
        raise InputError(f"'{source.module.config.model_type}' cannot be made into '{card.name}': its answers are no "
                         "numbers there. Choose a format with a wider range, such as bf16.")
    return model


def _require_same_answers(model: TorchTextModel, kind: type[TextModel], graph: Any, expected: np.ndarray) -> None:
    """Refuse a graph in which tracing or a runtime made something else of the model: it would say nothing itself."""
    runtime = RUNTIME_NAMES[kind.runtime]
    with naming(model, f"run in {runtime}"):
        logits = kind(Card(model.card.name, model.card.classes), model.encoder, graph)._logits(*trial_rows(model))
    difference = np.abs(logits - expected).max() / max(1.0, np.abs(expected).max())
    if np.isfinite(expected).all() and not difference <= TOLERANCE:  # so written, it holds of numbers that are none
        raise InputError(f"'{model.module.config.model_type}' cannot be run in {runtime}: its graph answers otherwise "
                         f"there, by {difference:.2g} of the largest logit. Choose another runtime for it.")


def trial_rows(model: TorchTextModel) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and attention mask, (3, length) int64, of rows of three lengths, padded as the model's are."""
    longest = min(11, model.encoder.max_tokens)
    words = np.random.default_rng(0).integers(0, _config(model).vocab_size, (3, longest)).tolist()
    return model.encoder.pad([words[0], words[1][:max(1, longest - 4)], words[2][:2]])


def _config(model: TorchTextModel) -> NormalizedTextConfig:
    """The configuration with the same names for all: optimum's where it knows the architecture."""
    config, known = model.module.config, NormalizedConfigManager
    try:
        return known.get_normalized_config_class(config.model_type)(config)
    except KeyError:
        return NormalizedTextConfig(config)


@contextlib.contextmanager
def naming(model: TorchTextModel, step: str) -> Iterator[None]:
    """Whatever a library raises meanwhile becomes a sentence with the architecture and the step.

    Args:
        step: such as "exported to ONNX".
    """
    try:
        yield
    except (InputError, Cancelled, OSError, MemoryError):  # of the disk and the machine, not of the architecture
        raise
    except Exception as error:  # each library raises its own errors
        raise InputError(f"'{model.module.config.model_type}' cannot be {step} ({reason(error)}). "
                         "Choose another scheme or runtime for this architecture.") from error


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
    logits: np.ndarray  # of the module in fp32, for `trial_rows`
    runs_in: set[str]  # runtimes in which the graph was seen to give these


# Models are not changed after they are made, and take their export with them when they go.
_exports: weakref.WeakKeyDictionary[TorchTextModel, _Export] = weakref.WeakKeyDictionary()


def onnx_graph(model: TorchTextModel) -> bytes:
    """An ONNX file with free batch and length: input_ids, attention_mask (n, length) int64 -> logits (n, classes).

    The export takes some ten seconds, so a model is exported once.

    Raises:
        InputError: not a PyTorch model; an architecture that cannot be exported, or whose graph answers otherwise.
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
        module = copy.deepcopy(model.module).cpu().float()
        graph = _export_module(model, module)
        seconds = time.perf_counter() - began
        with torch.inference_mode():
            logits = module(*map(torch.from_numpy, trial_rows(model))).numpy()
        from helpers.lab.models.onnx import OnnxTextModel

        _require_same_answers(model, OnnxTextModel, graph, logits)
        _exports[model] = _Export(graph, seconds, logits, {OnnxTextModel.runtime})
    return _exports[model]


def _export_module(model: TorchTextModel, module: torch.nn.Module) -> bytes:
    dummy = DummyTextInputGenerator("text-classification", _config(model), batch_size=2,
                                    sequence_length=min(16, model.encoder.max_tokens))
    inputs = tuple(dummy.generate(name, framework="pt") for name in ("input_ids", "attention_mask"))
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.encoder.max_tokens)}
    with naming(model, "exported to ONNX"), _quiet():
        program = torch.onnx.export(module, inputs, dynamo=True, external_data=False, verbose=False,
                                    input_names=["input_ids", "attention_mask"], output_names=["logits"],
                                    dynamic_shapes={"input_ids": free, "attention_mask": free})
        return program.model_proto.SerializeToString()


def openvino_graph(model: TorchTextModel, half: bool = False) -> Any:
    """The model as an `openvino.Model`, by way of ONNX; its products keep their names.

    Args:
        half: store the weights in 16 bits.

    Raises:
        InputError: as of `onnx_graph`, and an architecture of which OpenVINO makes something else.
    """
    import openvino

    from helpers.lab.models.openvino import OpenVinoTextModel, write_graph

    export = _export(model)
    with naming(model, "converted for OpenVINO"):
        converted = openvino.convert_model(io.BytesIO(export.graph))
    for port, name in zip(converted.inputs, ("input_ids", "attention_mask"), strict=True):
        port.get_tensor().set_names({name})
    if OpenVinoTextModel.runtime not in export.runs_in:
        _require_same_answers(model, OpenVinoTextModel, converted, export.logits)
        export.runs_in.add(OpenVinoTextModel.runtime)
    if not half:
        return converted
    with tempfile.TemporaryDirectory() as folder:  # only writing a file compresses
        path = Path(folder) / "model.xml"
        write_graph(converted, path, half=True)
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

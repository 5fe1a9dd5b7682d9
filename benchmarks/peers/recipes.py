"""Each runtime's own documented way to an int8 model, as a peer: no setting of ours."""

import contextlib
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.exporting.graph import onnx_graph, openvino_graph
from helpers.lab.exporting.int8 import calibration_inputs
from helpers.lab.models.model import ENTRY_POINTS, Card, TextModel
from helpers.lab.models.torch import TorchTextModel, device

CALIBRATION_ROWS = 300  # what nncf.quantize takes of a data set by default
READERS = {"peer": "benchmarks.peers.recipes:Recipe", "model2vec": "benchmarks.peers.optimization:Model2VecPeer"}

Files = Mapping[str, bytes]  # name -> content, as the peer's project writes them
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (n, length) int64 ids and mask -> (n, classes) logits


class Recipe(TextModel):
    """A peer: the files that its project writes, run as its documents run them, in this process or in a fresh one."""

    runtime = "peer"

    def __init__(self, card: Card, encoder: TextEncoder, files: Files) -> None:
        super().__init__(card, encoder)
        self.files = files
        self._run = RUNNERS[card.settings["peer"]](files, self)

    @classmethod
    def of(cls, name: str, source: TextModel, runner: str, files: Files, **settings: Any) -> Self:
        """A peer made from a model of ours, with its tokenizer. `runner`: a key of RUNNERS."""
        return cls(source.card.derive(name, "peer", 0.0, peer=runner, **settings), source.encoder, files)

    def _logits(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self._run(ids, mask)

    def _save_artefact(self, path: Path) -> None:
        (path / "artefact").mkdir()
        for name, content in self.files.items():
            (path / "artefact" / name).write_bytes(content)

    @classmethod
    def _load_artefact(cls, path: Path, card: Card, encoder: TextEncoder) -> Self:
        return cls(card, encoder, {file.name: file.read_bytes() for file in sorted((path / "artefact").iterdir())})


def _run_onnx(files: Files, _: TextModel) -> Run:
    """A default session."""
    import onnxruntime

    session = onnxruntime.InferenceSession(files["model.onnx"], providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def _run_onnx_in_streams(files: Files, model: TextModel) -> Run:
    """A default session but for the threads, of which each stream has its share."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = model.threads_per_stream
    session = onnxruntime.InferenceSession(files["model.onnx"], options, providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def _run_openvino(files: Files, _: TextModel) -> Run:
    """A default compile_model of the saved files."""
    import openvino

    core = openvino.Core()
    weights = openvino.Tensor(np.frombuffer(files["model.bin"], np.uint8))
    compiled = core.compile_model(core.read_model(files["model.xml"].decode(), weights), "CPU")
    return lambda ids, mask: compiled({"input_ids": ids, "attention_mask": mask})[0]


def _run_pytorch(files: Files, _: TextModel) -> Run:
    """The whole module, as Torch-Pruning's and PyTorch's examples save it: on the GPU, but for PyTorch's int8."""
    with _deprecated():
        module = torch.load(io.BytesIO(files["model.pt"]), weights_only=False).eval()
    parameter = next(module.parameters())
    target = device() if not any(isinstance(part, torch.ao.nn.quantized.dynamic.Linear)
                                 for part in module.modules()) else parameter.device
    module.to(target)

    @torch.inference_mode()
    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return module(torch.from_numpy(ids).to(target), torch.from_numpy(mask).to(target)).float().cpu().numpy()

    return run


RUNNERS: dict[str, Callable[[Files, TextModel], Run]] = {
    "onnxruntime": _run_onnx, "onnxruntime in streams": _run_onnx_in_streams, "openvino": _run_openvino,
    "pytorch": _run_pytorch}


def module_files(module: nn.Module) -> Files:
    """A module as torch.save writes it."""
    content = io.BytesIO()
    torch.save(module, content)
    return {"model.pt": content.getvalue()}


def onnxruntime_recipe(model: TorchTextModel) -> Recipe:
    """onnxruntime.ai, 'Quantize ONNX models': shape inference, then quantize_dynamic, a default session."""
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, target = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "int8"))
        plain.write_bytes(onnx_graph(model))
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_dynamic(prepared, target)
        return Recipe.of("ONNX Runtime's recipe", model, "onnxruntime", {"model.onnx": target.read_bytes()})


def openvino_recipe(model: TorchTextModel, task: Task) -> Recipe:
    """docs.openvino.ai, 'Basic quantization flow': nncf.quantize with its defaults, a default compile_model."""
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    rows = nncf.Dataset(calibration_inputs(model, task, CALIBRATION_ROWS))
    graph = nncf.quantize(openvino_graph(model), rows, model_type=nncf.ModelType.TRANSFORMER)
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(graph, Path(folder) / "model.xml")
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return Recipe.of("OpenVINO's recipe", model, "openvino", files)


def pytorch_recipe(model: TorchTextModel) -> Recipe:
    """pytorch.org, 'Dynamic quantization on BERT': quantize_dynamic over the linear layers."""
    with _deprecated():
        module = torch.ao.quantization.quantize_dynamic(model.module.cpu(), {nn.Linear}, dtype=torch.qint8)
        model.module.to(device())
        return Recipe.of("PyTorch's recipe", model, "pytorch", module_files(module))


@contextlib.contextmanager
def _deprecated() -> Iterator[None]:
    """PyTorch's dynamic int8 is deprecated, and still the documented recipe for CPUs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def loadable_peers() -> Iterator[None]:
    """Meanwhile `load` reads peers that were saved, here and in processes that are started.

    They are declared as any other package declares its models: by the metadata of a distribution on `sys.path`, which
    fresh processes inherit.
    """
    with tempfile.TemporaryDirectory() as folder:
        facts = Path(folder) / "benchmark_peers-0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: benchmark-peers\nVersion: 0\n")
        (facts / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINTS}]", *(
            f"{name} = {reader}" for name, reader in READERS.items())]))
        sys.path.append(folder)
        try:
            yield
        finally:
            sys.path.remove(folder)

"""Text classifiers in ONNX Runtime. No torch is imported here."""

import shutil
import tempfile
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime

from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.errors import InputError
from helpers.lab.models.model import FEW_ROWS, Card, TextModel

# Left out: the fused sum and layer norm goes through a row number by number on the CPU (1.32), some eight times slower
# than the two operators that it replaces; in a small int8 model that was two fifths of the time.
_SLOWER_ON_CPU = ["SkipLayerNormFusion"]
# Setting `runtime` -> what it asks for by name; any other takes the GPU where there is one.
_PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


class OnnxTextModel(TextModel):
    """An ONNX graph with inputs input_ids and attention_mask and output logits.

    Args:
        graph: a file, which is copied, or its content.

    Raises:
        InputError: the settings ask for a GPU's provider, and there is none.
    """

    runtime = "onnxruntime"
    micro_batch = FEW_ROWS

    def __init__(self, card: Card, encoder: TextEncoder, graph: Path | bytes) -> None:
        super().__init__(card, encoder)
        # The session may read weights from the file while it lives: keep a copy of our own.
        self._folder = tempfile.TemporaryDirectory(prefix="onnx-")
        self.graph = Path(self._folder.name) / "model.onnx"
        if isinstance(graph, bytes):
            self.graph.write_bytes(graph)
        else:
            shutil.copyfile(graph, self.graph)
        self.session = session(self.graph, self.threads_per_stream, provider=_PROVIDERS.get(
            card.settings.get("runtime")))

    def _logits(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self.session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]

    def rest(self) -> None:
        """Also shrink the session's arena, which doubles as it grows and is kept: a gigabyte after 64 long texts."""
        if self.session.get_providers() == ["CPUExecutionProvider"]:  # another shape has TensorRT build an engine
            options = onnxruntime.RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            one = np.ones((1, 1), np.int64)
            self.session.run(["logits"], {"input_ids": one, "attention_mask": one}, options)
        super().rest()

    def _save_artefact(self, path: Path) -> None:
        shutil.copyfile(self.graph, path / "model.onnx")

    @classmethod
    def _load_artefact(cls, path: Path, card: Card, encoder: TextEncoder) -> Self:
        return cls(card, encoder, path / "model.onnx")


def session(graph: Path, threads: int, profile: Path | None = None,
            provider: str | None = None) -> onnxruntime.InferenceSession:
    """An inference session on the GPU where onnxruntime-gpu is installed and finds one, else on the CPU.

    Args:
        provider: one that is insisted on, before the CPU's.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    available = onnxruntime.get_available_providers()
    if provider and provider not in available:
        raise InputError(f"No {provider} here: it needs an NVIDIA GPU and the package onnxruntime-gpu.")
    wanted = (provider or "CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in wanted if name in available]
    return onnxruntime.InferenceSession(str(graph), options, providers=providers,
                                        disabled_optimizers=_SLOWER_ON_CPU if len(providers) == 1 else None)

"""Text classifiers in OpenVINO. No torch is imported here."""

import threading
from pathlib import Path
from typing import Self

import numpy as np
import openvino

from helpers.lab.models.model import FEW_ROWS, Card, TextModel
from helpers.lab.training.tokenizer import TextEncoder


class OpenVinoTextModel(TextModel):
    """An OpenVINO graph with inputs input_ids and attention_mask and output logits."""

    runtime = "openvino"
    micro_batch = FEW_ROWS

    def __init__(self, card: Card, encoder: TextEncoder, graph: openvino.Model) -> None:
        super().__init__(card, encoder)
        self.graph = graph
        precision = _computable(card.settings.get("precision", "f32"))
        options = {"NUM_STREAMS": self.streams, "INFERENCE_NUM_THREADS": self.streams * self.threads_per_stream,
                   "INFERENCE_PRECISION_HINT": precision}
        self._compiled = openvino.Core().compile_model(graph, "CPU", options)
        self._requests = threading.local()

    def _logits(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        if not hasattr(self._requests, "mine"):
            self._requests.mine = self._compiled.create_infer_request()
        return self._requests.mine.infer({"input_ids": ids, "attention_mask": mask})[0]

    def _save_artefact(self, path: Path) -> None:
        openvino.save_model(self.graph, path / "model.xml", compress_to_fp16=False)

    @classmethod
    def _load_artefact(cls, path: Path, card: Card, encoder: TextEncoder) -> Self:
        return cls(card, encoder, openvino.Core().read_model(path / "model.xml"))


def _computable(precision: str) -> str:
    """The arithmetic that was asked for where the CPU has it, else f32.

    OpenVINO itself would put bf16 in the place of an f16 that the CPU lacks: other rounding under the same name.
    """
    needs = {"f16": "FP16", "bf16": "BF16"}.get(precision)
    can = needs is None or needs in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return precision if can else "f32"

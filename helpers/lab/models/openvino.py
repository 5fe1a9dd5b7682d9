"""Text classifiers in OpenVINO. No torch is imported here."""

import concurrent.futures
import errno
import threading
from pathlib import Path
from typing import Any, Self

import numpy as np
import openvino

from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.errors import InputError
from helpers.lab.models.model import FEW_ROWS, Card, TextModel
from helpers.lab.paths import unwritable

HINTS = ("latency", "throughput")


class OpenVinoTextModel(TextModel):
    """An OpenVINO graph with inputs input_ids and attention_mask and output logits.

    Settings: `precision` of what is not quantized (f32, f16, bf16). `hint` (latency or throughput) in place of
    `streams` lets OpenVINO choose: it says how many requests it wants under way at once.

    Raises:
        InputError: a hint that OpenVINO does not have.
    """

    runtime = "openvino"
    micro_batch = FEW_ROWS

    def __init__(self, card: Card, encoder: TextEncoder, graph: openvino.Model) -> None:
        super().__init__(card, encoder)
        self.graph = graph
        self._compiled = openvino.Core().compile_model(graph, "CPU", self._options())
        self._requests = threading.local()
        self.requests = self.streams
        if "hint" in card.settings:
            self.requests = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
            self._pool = concurrent.futures.ThreadPoolExecutor(self.requests) if self.requests > 1 else None

    def _options(self) -> dict[str, Any]:
        options = {"INFERENCE_PRECISION_HINT": _computable(self.card.settings.get("precision", "f32"))}
        if "hint" not in self.card.settings:
            return options | {"NUM_STREAMS": self.streams,
                              "INFERENCE_NUM_THREADS": self.streams * self.threads_per_stream}
        hint = self.card.settings["hint"]
        if hint not in HINTS:
            raise InputError(f"Unknown hint '{hint}'. Choose one of: {', '.join(HINTS)}.")
        return options | {"PERFORMANCE_HINT": hint.upper()}

    def _logits(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        if not hasattr(self._requests, "mine"):
            self._requests.mine = self._compiled.create_infer_request()
        return self._requests.mine.infer({"input_ids": ids, "attention_mask": mask})[0]

    def _save_artefact(self, path: Path) -> None:
        write_graph(self.graph, path / "model.xml")

    @classmethod
    def _load_artefact(cls, path: Path, card: Card, encoder: TextEncoder) -> Self:
        return cls(card, encoder, openvino.Core().read_model(path / "model.xml"))


def write_graph(graph: openvino.Model, path: Path, half: bool = False) -> None:
    """Write the graph to `path` and its numbers beside it, as .bin.

    Args:
        half: store the numbers in 16 bits.

    Raises:
        InputError: not all of it could be written, as on a full disk.
    """
    try:
        openvino.save_model(graph, path, compress_to_fp16=half)
    except RuntimeError as error:  # of a full disk it says: iostream error
        raise unwritable(path, OSError(errno.EIO, "OpenVINO could not write all of it")) from error


def _computable(precision: str) -> str:
    """The arithmetic that was asked for where the CPU has it, else f32.

    OpenVINO itself would put bf16 in the place of an f16 that the CPU lacks: other rounding under the same name.
    """
    needs = {"f16": "FP16", "bf16": "BF16"}.get(precision)
    can = needs is None or needs in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return precision if can else "f32"

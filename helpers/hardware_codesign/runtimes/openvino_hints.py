"""OpenVINO with its own performance hints in place of a number of streams."""

import concurrent.futures

import openvino

from helpers.lab.errors import InputError
from helpers.lab.models.model import Card
from helpers.lab.models.openvino import OpenVinoTextModel
from helpers.lab.training.tokenizer import TextEncoder

HINTS = ("latency", "throughput")


def require_hint(hint: object) -> None:
    """Raise InputError unless OpenVINO knows this hint."""
    if hint not in HINTS:
        raise InputError(f"There is no hint '{hint}'. Known: {', '.join(HINTS)}.")


class HintedOpenVinoModel(OpenVinoTextModel):
    """The setting `hint` chooses the streams: the runtime says how many requests it wants under way at once."""

    def __init__(self, card: Card, encoder: TextEncoder, graph: openvino.Model) -> None:
        hint = card.settings.get("hint")
        require_hint(hint)
        super().__init__(card, encoder, graph)
        self._compiled = openvino.Core().compile_model(graph, "CPU", {"PERFORMANCE_HINT": hint.upper(),
                                                                      "INFERENCE_PRECISION_HINT": "f32"})
        self.requests = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._pool = concurrent.futures.ThreadPoolExecutor(self.requests) if self.requests > 1 else None

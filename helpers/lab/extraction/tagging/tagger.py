"""A small tagger as an extractor: which tokens are of which field, which wish by the first token."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.special import log_softmax

from helpers.lab.data.extraction import Extraction
from helpers.lab.data.labels import WISH
from helpers.lab.errors import InputError
from helpers.lab.extraction.extractor import Extractor
from helpers.lab.models.model import TextModel, load
from helpers.lab.progress import Progress, silent

OUTSIDE = 0  # the tag of a token of no field; 1 + 2 * field begins one, 2 + 2 * field goes on
SCHEMES = ("fp32", "int8")

Span = tuple[int, int]


class Tagger(Extractor):
    """Reads fields off the tags of tokens: begin, inside, outside (Ramshaw and Marcus, 1995).

    Args:
        model: answers with (n, length, tags + wishes) logits: of each token those of the tags; the wish's are read at
            the first token, [CLS].
        fields, wishes: in the order of the logits.
    """

    kind = "tagger"

    def __init__(self, name: str, model: TextModel, fields: Sequence[str], wishes: Sequence[str],
                 settings: Mapping[str, Any]) -> None:
        super().__init__(name, fields, settings)
        self.model, self.wishes = model, tuple(wishes)

    def extract(self, texts: Sequence[str], *, progress: Progress = silent) -> list[Extraction | None]:
        """See Extractor."""
        return self.extract_with_confidence(texts, progress=progress)[0]

    def extract_with_confidence(self, texts: Sequence[str], *,
                                progress: Progress = silent) -> tuple[list[Extraction | None], np.ndarray]:
        """The extractions, and the tagger's confidence in each: (n,) float64, from 0 to 1.

        That is the probability that it gives to its whole answer for a text: the likeliest tag of each token and the
        likeliest wish, multiplied as if they were independent. It orders messages; it is no share of right ones.
        """
        encoder, step = self.model.encoder, self.model.micro_batch
        rows = encoder.encode_with_spans(texts)
        order = sorted(range(len(rows)), key=lambda row: len(rows[row][0]))
        extracted: list[Extraction | None] = [None] * len(rows)
        confidence = np.ones(len(rows))
        for start in range(0, len(order), step):
            progress(start / len(order), "reading")
            part = order[start:start + step]
            logits = self.model._logits(*encoder.pad([rows[row][0] for row in part]))
            for row, one in zip(part, logits, strict=True):
                spans = rows[row][1]
                extracted[row] = read_tags(texts[row], spans, one, self.fields, self.wishes)
                confidence[row] = certainty(spans, one, 1 + 2 * len(self.fields))
        return extracted, confidence

    def exported(self, scheme: str = "int8") -> "Tagger":
        """The same tagger in ONNX Runtime, in "fp32" or dynamic "int8".

        Raises:
            InputError: an unknown scheme, or a tagger that runs there already.
        """
        from helpers.lab.exporting.graph import assembled, export_seconds, onnx_graph
        from helpers.lab.exporting.int8 import onnx_int8
        from helpers.lab.models.onnx import OnnxTextModel

        if scheme not in SCHEMES:
            raise InputError(f"Unknown scheme '{scheme}'. Choose one of: {', '.join(SCHEMES)}.")
        export_s = export_seconds(self.model)
        began = time.perf_counter()
        graph = onnx_graph(self.model) if scheme == "fp32" else onnx_int8(self.model)
        card = self.model.card.derive(f"{self.name}, {scheme}, ONNX Runtime", "model optimization",
                                      export_s + time.perf_counter() - began, runtime="onnxruntime", scheme=scheme)
        settings = {**self.settings, "runtime": "onnxruntime", "scheme": scheme}
        return Tagger(card.name, assembled(self.model, OnnxTextModel, card, graph), self.fields, self.wishes, settings)

    def _save(self, path: Path) -> dict[str, Any]:
        self.model.save(path / "model")
        return {"wishes": self.wishes}

    @classmethod
    def read(cls, path: Path, facts: Mapping[str, Any]) -> Self:
        """Load what `save` wrote."""
        if facts["settings"]["runtime"] == "onnxruntime":
            model = load(path / "model")
        else:
            from helpers.lab.extraction.tagging.token_model import TokenModel

            model = TokenModel.read(path / "model")
        return cls(facts["name"], model, facts["fields"], facts["wishes"], facts["settings"])


def certainty(spans: Sequence[Span], logits: np.ndarray, tags: int) -> float:
    """The product of the largest probabilities: of a tag at each token but the marks, and of a wish at the first."""
    words = [token for token, (start, end) in enumerate(spans) if start < end]
    of_tags = log_softmax(logits[words, :tags].astype(float), axis=-1).max(axis=-1)
    of_wish = log_softmax(logits[0, tags:].astype(float)).max()
    return float(np.exp(of_tags.sum() + of_wish))


def read_tags(text: str, spans: Sequence[Span], logits: np.ndarray, fields: Sequence[str],
              wishes: Sequence[str]) -> Extraction:
    """The extraction that the logits of a text's tokens say; of several values of a field the likeliest one.

    Args:
        spans: where each token stands in the text; (0, 0) of marks.
        logits: (at least as many, tags + wishes), see Tagger.

    A value begins and ends with whole words, whatever the tokens.
    """
    tags = log_softmax(logits[:len(spans), :1 + 2 * len(fields)].astype(float), axis=-1)
    runs: list[tuple[int, list[int]]] = []  # (field, its tokens)
    current = None
    for token, tag in enumerate(tags.argmax(axis=-1)):
        if tag == OUTSIDE or spans[token][0] == spans[token][1]:
            current = None
            continue
        field, begins = (tag - 1) // 2, (tag - 1) % 2 == 0
        if begins or current != field:
            runs.append((field, []))
        runs[-1][1].append(token)
        current = field
    fields_read = {WISH: wishes[int(logits[0, 1 + 2 * len(fields):].argmax())]}
    for number, name in enumerate(fields):
        mine = [tokens for field, tokens in runs if field == number]
        if mine:
            best = max(mine, key=lambda tokens: np.mean([tags[token].max() for token in tokens]))
            fields_read[name] = _whole_words(text, spans[best[0]][0], spans[best[-1]][1])
    return fields_read


def _whole_words(text: str, start: int, end: int) -> str:
    while start > 0 and text[start - 1].isalnum() and text[start].isalnum():
        start -= 1
    while end < len(text) and text[end].isalnum() and text[end - 1].isalnum():
        end += 1
    return text[start:end]

"""A model for the reader's own device: graph and tokenizer as a browser reads them, and the server's answers."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.lab.errors import InputError
from helpers.lab.machine import fingerprint
from helpers.lab.progress import Progress, silent

if TYPE_CHECKING:  # a page opens without runtimes, and its kernel reads what another process made
    from helpers.lab.models.onnx import OnnxTextModel

MAX_GRAPH_BYTES = 64_000_000  # to be sent to a browser, and held there twice while it is read
MAX_TEXTS = 256
_MARK = "0"  # stands between signs; the library keeps it, and no sign's decomposition has it
# Of tokenizer.json: what the tokenizer in helpers/app/static/wordpiece.js does.
_READABLE = {
    "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {"type": "WordPiece", "continuing_subword_prefix": "##"},
}


@dataclasses.dataclass(frozen=True)
class BrowserModel:
    """All that a browser needs to answer, and the server's answers to the same texts.

    Attributes:
        graph: the ONNX file; inputs input_ids and attention_mask (1, length) int64, output logits (1, classes) float32.
        pieces: the vocabulary, in the order of its numbers.
        rules: the rest of the tokenizer: numbers of the marks, limits, and ranges of signs (first, last).
        labels: the classes' names.
        texts: what both answer.
        logits: (n, classes) float32, the server's.
        alone_s: (calls,) seconds of the server for one text, tokenizing included.
        texts_per_s: the server's, many at a time.
        machine: the server's, see `fingerprint`.
    """

    graph: bytes
    pieces: tuple[str, ...]
    rules: dict[str, Any]
    labels: tuple[str, ...]
    texts: tuple[str, ...]
    logits: np.ndarray
    alone_s: np.ndarray
    texts_per_s: float
    machine: dict[str, Any]


def for_the_browser(model: "OnnxTextModel", texts: Sequence[str], *, rounds: int = 5,
                    progress: Progress = silent) -> BrowserModel:
    """A model of ONNX Runtime as a browser runs it, and what this machine answers and needs for `texts`.

    Args:
        texts: at most MAX_TEXTS; they are sent along.
        rounds: of timing here.

    Raises:
        InputError: another runtime's model, one of too many bytes, a tokenizer that the browser's does not replace, or
            too many texts.

    >>> from helpers.hardware_codesign import for_the_browser, make, option
    >>> from helpers.lab import baseline, load_task
    >>> task = load_task("tickets")
    >>> int8 = make(baseline(task), option("onnxruntime", "int8"))  # doctest: +SKIP
    >>> len(for_the_browser(int8, task.test["text"][:8]).graph) / 1e6  # doctest: +SKIP
    23.0
    """
    from helpers.lab.measuring.comparison import best_batch_size, time_models
    from helpers.lab.measuring.timing import timing_turn
    from helpers.lab.models.onnx import OnnxTextModel

    if not isinstance(model, OnnxTextModel):
        raise InputError("A browser runs ONNX graphs: give a model of ONNX Runtime, such as "
                         "make(base, option('onnxruntime', 'int8')).")
    if not 0 < len(texts) <= MAX_TEXTS:
        raise InputError(f"A device is measured with 1 to {MAX_TEXTS} texts, not {len(texts)}: take a sample.")
    graph, texts = model.graph.read_bytes(), list(texts)
    if len(graph) > MAX_GRAPH_BYTES:
        raise InputError(f"This model has {len(graph) / 1e6:,.0f} MB; a browser is sent {MAX_GRAPH_BYTES / 1e6:.0f} MB "
                         "at most. Take int8, or a smaller model.")
    progress(0.0, "reading the tokenizer")
    pieces, rules = tokenizer_parts(model)
    name = model.card.name
    with timing_turn(progress):
        size = best_batch_size(model, texts, progress)
        together, alone = time_models({name: model}, texts, {name: size}, rounds, progress=progress.part(0.2, 1.0))
    return BrowserModel(graph, pieces, rules, model.card.labels, tuple(texts), model.predict(texts), alone[name],
                        len(texts) / float(np.median(together[name])), fingerprint())


def tokenizer_parts(model: "OnnxTextModel") -> tuple[tuple[str, ...], dict[str, Any]]:
    """The vocabulary and the rules of a model's tokenizer: BERT's for lower case, as MiniLM has it.

    Raises:
        InputError: it is another one.
    """
    from tokenizers import Tokenizer

    settings = json.loads(model.encoder.to_json())
    template = (settings.get("post_processor") or {}).get("single", [])
    frame = [piece.get("SpecialToken", {}).get("id") for piece in template]
    marks = {token["content"]: token["id"] for token in settings.get("added_tokens", [])}
    strange = [part for part, wanted in _READABLE.items()
               if {key: (settings.get(part) or {}).get(key) for key in wanted} != wanted]
    odd = any(token["normalized"] or token["lstrip"] or token["rstrip"] or token["single_word"]
              for token in settings.get("added_tokens", []))
    if strange or odd or (settings["normalizer"] or {}).get("strip_accents") is False or len(frame) != 3 or frame[1]:
        raise InputError("The browser has BERT's tokenizer for lower case alone, and this model has another one: "
                         "choose an encoder such as MiniLM.")
    vocabulary = settings["model"]["vocab"]
    dropped, alone = _kinds_of_signs(Tokenizer.from_str(model.encoder.to_json()))
    rules = {"before": marks[frame[0]], "after": marks[frame[2]], "marks": marks, "dropped": dropped, "alone": alone,
             "unknown": vocabulary[settings["model"]["unk_token"]],
             "longest_word": settings["model"]["max_input_chars_per_word"], "max_tokens": model.encoder.max_tokens,
             "max_characters": model.encoder.max_characters}
    return tuple(sorted(vocabulary, key=vocabulary.__getitem__)), rules


def _kinds_of_signs(tokenizer: Any) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Ranges of characters that the library drops, and of those that are whole words: all 1.1 million are tried."""
    codes = [code for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF and chr(code) != _MARK]
    text = _MARK.join(map(chr, codes))
    became = tokenizer.normalizer.normalize_str(text).split(_MARK)
    words = {word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)}
    return (_ranges(code for code, left in zip(codes, became, strict=True) if not left),
            _ranges(code for code in codes if chr(code) in words))


def _ranges(codes: Iterable[int]) -> list[tuple[int, int]]:
    """(first, last) of each run of ascending numbers."""
    runs = itertools.groupby(enumerate(codes), key=lambda pair: pair[1] - pair[0])
    return [((run := [code for _, code in group])[0], run[-1]) for _, group in runs]

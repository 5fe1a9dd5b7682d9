"""Loss from rounding full-precision weights: a language model tuned for a task, in fewer and fewer bits."""

import copy
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from helpers.lab.data.extraction import Extraction, extractions, field_names
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.extraction.prompting import PromptedExtractor, prompted_extractor
from helpers.lab.extraction.scores import MESSAGE, VALID, ExtractionScore, score_extractions
from helpers.lab.language.engines.openvino import OpenVinoModel
from helpers.lab.language.engines.transformers import TransformersModel
from helpers.lab.language.tuning import write_gguf
from helpers.lab.measuring.intervals import mcnemar_p, significant_of_many, wilson
from helpers.lab.progress import Progress, silent
from helpers.model_optimization.language_model.weight_types import WEIGHTS, module_of, storage, weights_in


def bits_against_extraction(tuned: TransformersModel, source: Path, task: Task, *, messages: int = 200,
                            kinds: Sequence[str | int] = WEIGHTS, progress: Progress = silent) -> pd.DataFrame:
    """Messages whose fields are all found, with weights in fewer and fewer bits.

    Args:
        tuned: see `tuned_for`.
        source: the GGUF file of the model before, see `find_language_model`: its tokenizer goes along.
        messages: test messages at most, the same ones for each type.
        kinds: see `weights_in`; the first is the reference.

    All types answer in OpenVINO from 16-bit files that hold the rounded numbers, so that only the rounding differs:
    nothing is said of speed.

    Returns:
        A row for each kind: columns name, bits (of a weight of a matrix, its share of the scale with it), megabytes (in
        this type), accuracy (all fields right), low, high (Wilson, 95%), rows, gain, gain_low, gain_high (over the
        first row, paired, 95%), constant (right for who finds nothing in any), valid (answers that are JSON), same
        (extractions equal to the first row's), significant (the gain, all rows read together).

    Raises:
        InputError: a model of an engine that shows no weights, an unknown type, no message, or a task without fields.
        Cancelled: the caller of `progress` wants an end.

    >>> from helpers.lab.language.loading import find_language_model
    >>> from helpers.model_optimization import bits_against_extraction
    >>> bits_against_extraction(tuned, find_language_model(), task)[["name", "accuracy", "gain"]]  # doctest: +SKIP
    """
    module, count = module_of(tuned), min(messages, len(task.test))
    if count < 1:
        raise InputError(f"Bits are compared on at least one message, not on {messages}.")
    texts, fields = task.test["text"][:count], field_names(task)
    expected = extractions(task, "test")[:count]
    rows: list[dict[str, Any]] = []
    first: tuple[ExtractionScore, list] | None = None
    for number, kind in enumerate(kinds):
        part = progress.part(number / len(kinds), (number + 1) / len(kinds))
        few, size = weights_in(module, kind)
        with tempfile.TemporaryDirectory() as folder:
            llm = _in_openvino(tuned, few, source, Path(folder), part.part(0.0, 0.3))
            extracted = asking(llm, task).extract(texts, progress=part.part(0.3, 1.0))
        score = score_extractions(extracted, expected, fields)
        first = first or (score, extracted)
        rows.append(storage(kind, few, size) | score_row(score, first[0], extracted, first[1]))
    progress(1.0, "done")
    frame = pd.DataFrame(rows)
    frame["significant"] = significant_of_many(frame.pop("p"))
    return frame


def asking(llm: Any, task: Task) -> PromptedExtractor:
    """Free answers: whether they are JSON is a part of what rounding may lose."""
    return prompted_extractor(llm, task, select="none", form=False)


def _in_openvino(llm: TransformersModel, module: nn.Module, source: Path, folder: Path,
                 progress: Progress) -> OpenVinoModel:
    rounded = copy.copy(llm)
    rounded.module = module
    file = folder / "rounded.gguf"
    write_gguf(rounded, source, file, "F16", progress=progress)
    return OpenVinoModel(llm.name, llm.tokenizer, llm.context, llm.ends, file.stat().st_size, file)


def score_row(score: ExtractionScore, reference: ExtractionScore, extractions: Sequence[Extraction | None],
              by_reference: Sequence[Extraction | None]) -> dict[str, Any]:
    """The columns of `bits_against_extraction` from accuracy on, of what a model and the reference found."""
    right = score.right[MESSAGE]
    low, high = wilson(int(right.sum()), len(right))
    same = [one == other for one, other in zip(extractions, by_reference, strict=True)]
    return {"accuracy": float(right.mean()), "low": low, "high": high, "rows": len(right),
            **dict(zip(("gain", "gain_low", "gain_high"), score.difference(reference), strict=True)),
            "p": math.nan if score is reference else mcnemar_p(reference.right[MESSAGE], right),
            "constant": score.constant[MESSAGE], "valid": score[VALID], "same": float(np.mean(same))}

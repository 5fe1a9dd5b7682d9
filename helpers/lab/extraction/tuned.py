"""A language model that was tuned with LoRA to extract the fields of a task."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.lab.cache import cached
from helpers.lab.data.extraction import extractions
from helpers.lab.data.task import Task
from helpers.lab.extraction.prompting import PromptedExtractor, prompted_extractor
from helpers.lab.paths import cache
from helpers.lab.progress import Progress, silent

if TYPE_CHECKING:
    from helpers.lab.language.engines.model import LanguageModel
    from helpers.lab.language.engines.transformers import TransformersModel

TUNING_RECIPE = 1  # of tuned_extractor: raised when what it makes of the same settings changes


def tuned_for(llm: "TransformersModel", task: Task, *, rows: int = 200, epochs: float = 1.0, seed: int = 0,
              progress: Progress = silent) -> "TransformersModel":
    """The model tuned with LoRA to extract the fields of a task from the instruction alone, and merged.

    Its merged weights are originals in floating point: what a rounding of them loses, it loses itself.

    Args:
        llm: in the engine "transformers", from a GGUF file.
        rows: training rows at most, drawn at random.

    Raises:
        InputError: a task without fields, no row, or a model that cannot be tuned.
        Cancelled: the caller of `progress` wants an end; it is asked at each step.

    >>> from helpers.lab import load_language_model, load_task, tuned_for
    >>> tuned = tuned_for(load_language_model("smollm2", "transformers"), load_task("tickets-fields"))  # doctest: +SKIP
    >>> tuned.name  # doctest: +SKIP
    'SmolLM2-135M-Instruct, LoRA rank 8'
    """
    from helpers.lab.language.tuning import tune

    chosen = np.random.default_rng(seed).permutation(len(task.train))[:rows]
    texts, extracted = task.train["text"][:], extractions(task, "train")
    asked = prompted_extractor(llm, task, select="none").tuning_rows([(texts[row], extracted[row]) for row in chosen])
    return tune(llm, asked, epochs=epochs, seed=seed, progress=progress)


def tuned_extractor(name: str | Path, task: Task, *, rows: int = 400, epochs: float = 1.0, seed: int = 0,
                    progress: Progress = silent) -> PromptedExtractor:
    """A language model tuned with LoRA on training rows and merged, asked by the instruction alone, in OpenVINO.

    Its weights are cached in 8 bits: minutes of training are spent once.

    Args:
        name: of the language model, see load_language_model; a GGUF file.
        rows: training rows at most, drawn at random.
        epochs: over these rows.

    Raises:
        InputError: a task without fields, no row, or a model that cannot be tuned or written, see `tune`.
        Cancelled: the caller of `progress` wants an end.

    >>> from helpers.lab import load_task
    >>> from helpers.lab.extraction.tuned import tuned_extractor
    >>> tuned_extractor("smollm2", load_task("tickets-fields")).name  # doctest: +SKIP
    'SmolLM2-135M-Instruct, tuned with LoRA, instruction alone'
    """
    from helpers.lab.language.gguf import gguf_digest
    from helpers.lab.language.loading import find_language_model, load_language_model
    from helpers.lab.language.tuning import write_gguf

    source = find_language_model(name)
    parts = [task.digest, gguf_digest(source), rows, epochs, seed, TUNING_RECIPE]
    file = cache("language", f"tuned-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]}.gguf")

    def make() -> "LanguageModel":
        return tuned_for(load_language_model(name, "transformers"), task, rows=rows, epochs=epochs, seed=seed,
                         progress=progress)

    llm = cached(file, make, read=load_language_model,
                 write=lambda tuned, path: write_gguf(tuned, source, path, "Q8_0"))
    if llm.engine != "openvino":  # just made: it answers from its file, as it will the next time
        llm = load_language_model(file)
    llm.name = f"{source.stem.split('.')[0]}, tuned with LoRA"
    return prompted_extractor(llm, task, select="none")

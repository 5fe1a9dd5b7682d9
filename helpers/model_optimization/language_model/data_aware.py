"""Rounding a language model's weights to 4 bits with a look at data, beside plain rounding: NNCF in OpenVINO."""

import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.lab.data.extraction import extractions, field_names
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.exporting.int8 import quiet_nncf
from helpers.lab.extraction.scores import MESSAGE, ExtractionScore, score_extractions
from helpers.lab.language.engines.openvino import OpenVinoModel
from helpers.lab.language.engines.transformers import TransformersModel
from helpers.lab.language.tuning import write_gguf
from helpers.lab.measuring.intervals import mcnemar_p, significant_of_many
from helpers.lab.progress import Progress, silent
from helpers.model_optimization.language_model.tuned_weights import asking, score_row
from helpers.model_optimization.language_model.weight_types import GROUP, module_of

# way -> arguments of NNCF's compress_weights beside the type; with none, each weight is rounded as it stands.
# NNCF's GPTQ is not among them: on a graph with a cache as its state it ends in an error of shapes (3.4.0).
WAYS = {"rounded": {}, "AWQ": {"awq": True}, "AWQ, scales estimated": {"awq": True, "scale_estimation": True}}
MAX_CALIBRATED = 256  # tokens of a text that is looked at
_GRAPH = "openvino_model.xml"


def data_aware_rounding(tuned: TransformersModel, source: Path, task: Task, *, messages: int = 200,
                        calibration: int = 32, progress: Progress = silent) -> pd.DataFrame:
    """Messages whose fields are all found, with weights in 4 bits: rounded alone, and with a look at training messages.

    AWQ scales channels up whose activations are large before their weights are rounded (Lin et al., arXiv 2306.00978);
    estimated scales change a layer's outputs least. All are NNCF's, symmetric, in groups of 32, and run
    in OpenVINO; the embedding keeps 8 bits. They are not GGUF's 4 bits, so they are compared among themselves.

    Args:
        tuned, source, task, messages: as of `bits_against_extraction`.
        calibration: training messages that are looked at, with their answers.

    Returns:
        A row for 16 bits, and one for each of WAYS: the columns of `bits_against_extraction`, where bits and megabytes
        are of the graph's file; and over_rounded, over_rounded_low, over_rounded_high (over plain rounding, paired),
        over_rounded_significant (all ways read together).

    Raises:
        InputError: as `bits_against_extraction`, or no message to look at.
        Cancelled: the caller of `progress` wants an end; it is asked between the ways.

    >>> from helpers.model_optimization import data_aware_rounding
    >>> data_aware_rounding(tuned, find_language_model(), task)[["name", "accuracy", "gain"]]  # doctest: +SKIP
    """
    count = min(messages, len(task.test))
    if count < 1 or calibration < 1:
        raise InputError(f"Ways to round are compared on at least one message, and look at one: not {messages} and "
                         f"{calibration}.")
    texts, expected = task.test["text"][:count], extractions(task, "test")[:count]
    parameters = sum(weight.numel() for weight in module_of(tuned).parameters())
    rows: list[dict[str, Any]] = []
    scores, first, ways = {}, None, {"16 bits": None} | WAYS
    with tempfile.TemporaryDirectory() as name:
        graph = _graph(tuned, source, Path(name) / "whole", progress)
        data = _inputs(tuned, task, calibration)
        for number, (way, how) in enumerate(ways.items()):
            part = progress.part(number / len(ways), (number + 1) / len(ways))
            part(0.0, way)
            folder = graph if how is None else _compressed(graph, data, how, Path(name) / str(number))
            size = (folder / _GRAPH).with_suffix(".bin").stat().st_size
            llm = OpenVinoModel(tuned.name, tuned.tokenizer, tuned.context, tuned.ends, size, folder)
            extracted = asking(llm, task).extract(texts, progress=part.part(0.5, 1.0))
            scores[way] = score_extractions(extracted, expected, field_names(task))
            first = first or (scores[way], extracted)
            rows.append({"name": way, "bits": 8 * size / parameters, "megabytes": size / 1e6}
                        | score_row(scores[way], first[0], extracted, first[1]) | _over(scores, way))
    progress(1.0, "done")
    frame = pd.DataFrame(rows)
    frame["significant"] = significant_of_many(frame.pop("p"))
    frame["over_rounded_significant"] = significant_of_many(frame.pop("over_rounded_p"))
    return frame


def _over(scores: dict[str, ExtractionScore], way: str) -> dict[str, float]:
    """The gain over plain rounding, paired, 95%, and its p-value; NaN for what is no other way to round."""
    plain = next(iter(WAYS))
    if way not in WAYS or way == plain:
        difference, p = (math.nan,) * 3, math.nan
    else:
        difference = scores[way].difference(scores[plain])
        p = mcnemar_p(scores[plain].right[MESSAGE], scores[way].right[MESSAGE])
    return dict(zip(("over_rounded", "over_rounded_low", "over_rounded_high", "over_rounded_p"), (*difference, p),
                    strict=True))


def _graph(llm: TransformersModel, source: Path, folder: Path, progress: Progress) -> Path:
    """A folder with the model's graph in 16 bits, as OpenVINO GenAI builds it from a GGUF file."""
    import openvino_genai

    folder.mkdir()
    write_gguf(llm, source, folder / "whole.gguf", "F16", progress=progress.part(0.0, 0.05))
    openvino_genai.LLMPipeline(str(folder / "whole.gguf"), "CPU", enable_save_ov_model=True)
    (folder / "whole.gguf").unlink()
    return folder


def _compressed(graph: Path, data: Sequence[dict[str, np.ndarray]], how: dict[str, bool], folder: Path) -> Path:
    """A folder with the graph of another, its weights in 4 bits."""
    import openvino

    shutil.copytree(graph, folder, ignore=shutil.ignore_patterns("openvino_model.*"))
    model = openvino.Core().read_model(graph / _GRAPH)
    known = {port.get_any_name() for port in model.inputs}
    looked_at = [{name: array for name, array in one.items() if name in known} for one in data]
    with quiet_nncf() as nncf:
        few = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_SYM, group_size=GROUP, ratio=1.0,
                                    **({"dataset": nncf.Dataset(looked_at)} | how if how else {}))
    openvino.save_model(few, folder / _GRAPH, compress_to_fp16=False)
    return folder


def _inputs(llm: TransformersModel, task: Task, rows: int) -> list[dict[str, np.ndarray]]:
    """The graph's inputs for the first training messages, each followed by its right answer."""
    some = list(zip(task.train["text"][:rows], extractions(task, "train")[:rows], strict=True))
    records = []
    for prompt, answer in asking(llm, task).tuning_rows(some):
        ids = [*llm.read(prompt), *llm.encode([answer])[0]][-MAX_CALIBRATED:]
        records.append({"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64),
                      "position_ids": np.arange(len(ids))[None], "beam_idx": np.zeros(1, np.int32)})
    return records

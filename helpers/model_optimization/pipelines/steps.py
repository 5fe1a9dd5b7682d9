"""Several steps after one another: each built once and cached on disk.

A pipeline is a list of settings, one dictionary a step: {"step": "prune", "sparsity": 0.5, ...}.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.exporting.graph import export
from helpers.lab.measuring.measurement import code_version
from helpers.lab.models.cascade import build_cascade
from helpers.lab.models.model import Model, cached_model
from helpers.lab.models.sklearn import tfidf_baseline
from helpers.lab.models.torch import TorchTextModel, model_digest
from helpers.lab.paths import cache
from helpers.lab.progress import Progress, silent
from helpers.model_optimization.distillation.distilling import control_of, distill
from helpers.model_optimization.distillation.word_students import distill_linear, distill_static
from helpers.model_optimization.encoder.parts import anatomy, require_torch
from helpers.model_optimization.options import STRATEGY
from helpers.model_optimization.pruning.methods import prune, removes_parts
from helpers.model_optimization.quantization.schemes import quantize

Step = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Context:
    """Context shared by the steps of one pipeline."""

    base: TorchTextModel
    task: Task
    progress: Progress = silent


def _prune(model: Model, context: Context, teacher: bool = False, **settings: Any) -> Model:
    return prune(model, context.task, **settings, teacher=context.base if teacher else None, progress=context.progress)


def _cascade(model: Model, context: Context, first: str = "tfidf", max_errors: float = 0.0, **settings: Any) -> Model:
    if first == "tfidf":
        stage = tfidf_baseline(context.task, **settings)
    elif first in _STUDENTS:
        stage = _STUDENTS[first](context.base, context.task, **settings, progress=context.progress)
    else:
        raise InputError(f"Unknown first stage '{first}'. Choose one of: tfidf, {', '.join(_STUDENTS)}.")
    return build_cascade([stage, model], context.task, strategy=STRATEGY, max_errors=max_errors)


_STUDENTS = {"linear": distill_linear, "static": distill_static}  # first stages that learn from the first model

# step -> (model so far, context, settings) -> model. `control` comes behind `distill`: the same student, on the labels
# alone. `prune` takes teacher=True for the pipeline's first model; `cascade` takes first="tfidf", "linear" or "static",
# max_errors, and the settings of that first stage.
STEPS: dict[str, Callable[..., Model]] = {
    "distill": lambda model, context, **settings: distill(model, context.task, **settings, progress=context.progress),
    "control": lambda model, context: control_of(model, context.base, context.task, progress=context.progress),
    "prune": _prune,
    "quantize": lambda model, context, **settings: quantize(model, context.task, **settings),
    "export": lambda model, context, **settings: export(model, **settings),
    "cascade": _cascade,
}


def label(step: Step) -> str:
    """A step in a few words: its `name` where given, else its kind and settings."""
    if "name" in step:
        return str(step["name"])
    return " ".join([step["step"], *(f"{name}={value}" for name, value in step.items() if name != "step")])


def name_of(steps: Sequence[Step]) -> str:
    """A pipeline's name: its steps in their order."""
    return ", ".join(label(step) for step in steps)


def build(base: TorchTextModel, task: Task, steps: Sequence[Step], *, progress: Progress = silent) -> Model:
    """The model after all steps. Each step's result is cached on disk: what two pipelines share is built once.

    Raises:
        InputError: an unknown step or setting; a step that cannot follow the one before it.
        Cancelled: the caller of `progress` wants an end; finished steps stay.

    >>> from helpers.lab import baseline, load_task
    >>> from helpers.model_optimization import build
    >>> task = load_task("tickets")  # doctest: +SKIP
    >>> steps = [{"step": "prune", "sparsity": 0.5}, {"step": "quantize", "scheme": "dynamic-int8"}]
    >>> model = build(baseline(task), task, steps)  # doctest: +SKIP
    """
    require_torch(base, "the start of a pipeline")
    require_steps(steps, base)
    return build_from(start_of(base, task), Context(base, task, progress), steps)


def build_from(start: str, context: Context, steps: Sequence[Step]) -> Model:
    """`build` where `start_of` is known."""
    model: Model = context.base
    for count in range(1, len(steps) + 1):
        folder = folder_of(start, steps[:count])
        model = cached_model(folder, functools.partial(_do_last, model, context, steps[:count], folder.name))
    return model


def require_steps(steps: Sequence[Step], base: TorchTextModel) -> None:
    """Refuse a pipeline with an unknown step, or one that removes parts from an architecture where that cannot be."""
    for step in steps:
        if step.get("step") not in STEPS:
            raise InputError(f"Unknown step '{step.get('step')}'. Choose one of: {', '.join(STEPS)}.")
        if step["step"] == "distill" or (step["step"] == "prune" and removes_parts(step.get("method", "structured"))):
            anatomy(base.module)


def start_of(base: TorchTextModel, task: Task) -> str:
    """16 hex digits over the first model, the task and this package's code."""
    inputs = f"{task.digest} {code_version()} {model_digest(base)}"
    return hashlib.sha256(inputs.encode()).hexdigest()[:16]


def folder_of(start: str, steps: Sequence[Step]) -> Path:
    """Where the model after these steps is cached."""
    settings = json.dumps([dict(step) for step in steps], sort_keys=True)
    return cache("pipelines", hashlib.sha256(f"{start} {settings}".encode()).hexdigest()[:24])


def _do_last(model: Model, context: Context, steps: Sequence[Step], key: str) -> Model:
    settings = {name: value for name, value in steps[-1].items() if name not in ("step", "name")}
    try:
        model = STEPS[steps[-1]["step"]](model, context, **settings)
    except TypeError as error:
        if "unexpected keyword" not in str(error) and "required positional" not in str(error):
            raise
        raise InputError(f"The step '{label(steps[-1])}' cannot be done: {error}.") from error
    model.card = dataclasses.replace(model.card, name=name_of(steps), strategy=STRATEGY, settings={
        **model.card.settings, "pipeline": key, "steps": [dict(step) for step in steps]})
    return model

"""Pruning: the same model without its least important parts. `prune` is the door to every method."""

import copy
import time

from torch import nn

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.model import Model
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent
from helpers.lab.training.baselines import mean_tokens
from helpers.model_optimization.distillation.distilling import calibration, card_of, lesson_of
from helpers.model_optimization.distillation.teaching import answers_of, teach
from helpers.model_optimization.options import METHODS
from helpers.model_optimization.pruning.budget import best, keep_within, parts_of
from helpers.model_optimization.pruning.encoder_parts import anatomy, require_torch
from helpers.model_optimization.pruning.importance import IMPORTANCES, Importance, importance_of
from helpers.model_optimization.pruning.structured import keep_columns, keep_heads, keep_layers, keep_width
from helpers.model_optimization.pruning.unstructured import (
    SCOPES,
    cubic,
    magnitude_masks,
    make_zeros_plain,
    mask_weights,
    pattern_masks,
    pattern_of,
    prunable,
    zeros_in,
)

_KINDS = {"structured": ("heads", "columns"), "heads": ("heads",), "columns": ("columns",)}
_NAMES = {"structured": "{share} of heads and columns cut", "heads": "{share} of heads cut",
          "columns": "{share} of columns cut", "layers": "{share} of layers cut", "width": "{share} of the width cut",
          "magnitude": "{share} of weights zeroed"}


def prune(base: TorchTextModel, task: Task, method: str = "structured", sparsity: float | None = None, *,
          importance: str = "taylor", scope: str = "global", steps: int = 1, epochs: float = 0.0,
          teacher: Model | None = None, augmented: int = 0, learning_rate: float = 1e-4, calibration_rows: int = 256,
          seed: int = 0, progress: Progress = silent) -> TorchTextModel:
    """A copy of `base` without its least important parts; the original stays as it is.

    "magnitude" and N:M patterns write zeros into matrices that keep their size. All others remove the
    parts for good: the saved model is smaller, and each runtime has less to do.

    Args:
        task: its training rows rank the parts and train what is left. Test rows are never looked at
            (their mean length alone, for the record's MACs).
        method: a key of METHODS, or another N:M pattern; METHODS says what `sparsity` is a share of.
        sparsity: 0 to below 1; by default 0.5, and of a pattern what follows from it.
        importance: "taylor" (first order, on `calibration_rows` training rows) or "magnitude"; zeros
            are always chosen by magnitude.
        scope: of "magnitude": "global", or "layer" for the same share of each matrix.
        steps: 1 for one shot; more to get there gradually on the cubic schedule of Zhu and Gupta
            (arXiv 1710.01878), with parts ranked anew and trained after each step.
        epochs: passes over the training rows (and copies) to recover, in all; spread over the steps.
        teacher: learn from its answers while recovering (`base` is a good one); labels alone without.
        augmented: altered copies of each training text for the teacher to answer, see `augment`.

    Raises:
        InputError: a method, share or number that there is not; a model that is not a PyTorch one.
        Cancelled: `progress` was told to end.
    """
    require_torch(base, "pruned")
    sparsity = _require_known(method, sparsity, importance, scope, steps, epochs)
    began = time.perf_counter()
    module = copy.deepcopy(base.module).requires_grad_(True)
    cut = _Cut(method, importance, scope, module, mean_tokens(task, base.encoder))
    lesson = lesson_of(task, (), augmented, seed)
    answers = answers_of(teacher, lesson.texts, progress) if teacher and epochs else None
    rows, labels = calibration(base, task, calibration_rows, seed)
    for step in range(1, steps + 1):
        progress((step - 1) / steps, f"ranking and cutting, step {step} of {steps}")
        ranks = importance_of(module, importance, rows, labels, progress) if cut.needs_ranks else None
        module = cut.to(module, cubic(sparsity, step, steps), ranks)
        if epochs:
            teach(module, base.encoder.encode, lesson, answers, epochs=epochs / steps, learning_rate=learning_rate,
                  seed=seed + step - 1, progress=progress.part((step - 1) / steps, step / steps), say="recovering")
    make_zeros_plain(module)
    settings = {"method": method, "sparsity": sparsity, "steps": steps, "epochs": epochs, "seed": seed,
                "teacher": teacher.card.name if teacher and epochs else None, "zeros": round(zeros_in(module), 4)}
    settings |= {"importance": importance, "calibration_rows": calibration_rows} if cut.needs_ranks else {}
    settings |= {"scope": scope} if method == "magnitude" else {}
    settings |= {"learning_rate": learning_rate, "augmented": augmented} if epochs else {}
    return TorchTextModel(card_of(module.eval(), base, task, _name(settings), began, **settings), base.encoder, module)


class _Cut:
    """Brings a module to a share of what it was when this was made."""

    def __init__(self, method: str, importance: str, scope: str, module: nn.Module, tokens: int) -> None:
        self.method, self.scope, self.tokens = method, scope, tokens
        self.pattern = pattern_of(method)
        self.needs_ranks = method != "magnitude" and not self.pattern
        self.start = anatomy(module)
        self._layers, self._width = len(self.start.layers), self.start.width
        heads, columns = sum(self.start.heads), sum(self.start.columns)
        macs = {"heads": heads * self.start.head_macs(tokens), "columns": columns * self.start.column_macs(tokens)}
        self._macs = sum(macs[kind] for kind in _KINDS.get(method, ()))

    def to(self, module: nn.Module, sparsity: float, ranks: Importance | None) -> nn.Module:
        """The module with `1 - sparsity` of the original left."""
        if self.pattern:
            mask_weights(module, pattern_masks(prunable(module), *self.pattern))
            return module
        if self.method == "magnitude":
            mask_weights(module, magnitude_masks(prunable(module), sparsity, self.scope))
            return module
        if self.method == "layers":
            return keep_layers(module, best(ranks.layers, max(1, round((1 - sparsity) * self._layers))))
        if self.method == "width":
            size = self.start.head_size
            return keep_width(module, best(ranks.width, max(1, round((1 - sparsity) * self._width / size)) * size))
        kinds = _KINDS[self.method]
        kept = keep_within(parts_of(anatomy(module), ranks, self.tokens, kinds), (1 - sparsity) * self._macs)
        if "heads" in kinds:
            module = keep_heads(module, kept["heads"])
        return keep_columns(module, kept["columns"]) if "columns" in kinds else module


def _require_known(method: str, sparsity: float | None, importance: str, scope: str, steps: int,
                   epochs: float) -> float:
    """The share to remove; refuses what cannot be done before anything is."""
    pattern = pattern_of(method)
    if method not in METHODS and not pattern:
        raise InputError(f"There is no pruning method '{method}'. Known: {', '.join(METHODS)}, and other N:M patterns.")
    for given, known, what in ((importance, IMPORTANCES, "importance"), (scope, SCOPES, "scope")):
        if given not in known:
            raise InputError(f"There is no {what} '{given}'. Known: {', '.join(known)}.")
    if steps < 1 or epochs < 0:
        raise InputError("Pruning takes at least one step and no fewer than zero epochs.")
    if pattern:
        follows = 1 - pattern[0] / pattern[1]
        if sparsity not in (None, follows) or steps > 1:
            raise InputError(f"The pattern {method} makes {follows:g} of the weights zero, at once: leave sparsity= "
                             "and steps= out.")
        return follows
    if sparsity is not None and not 0 <= sparsity < 1:
        raise InputError(f"The share to prune lies between 0 and 1, 1 left out; it was {sparsity}.")
    return 0.5 if sparsity is None else sparsity


def _name(settings: dict) -> str:
    """Short, and different for different settings that a reader would compare."""
    method = settings["method"]
    named = _NAMES.get(method, f"{method} of weights kept").format(share=f"{settings['sparsity']:.0%}")
    parts = [f"by {settings['importance']}"] if "importance" in settings else []
    parts += ["layer by layer"] if settings.get("scope") == "layer" else []
    parts += [f"in {settings['steps']} steps"] if settings["steps"] > 1 else []
    parts += ["recovered" + (" with its teacher" if settings["teacher"] else "")] if settings["epochs"] else []
    return ", ".join([named, *parts, "PyTorch"])

"""Pruning: the same model without its least important parts. `prune` is the door to every method."""

import copy
import time

import numpy as np
from torch import nn

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.model import Model
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent
from helpers.lab.training.baselines import mean_tokens
from helpers.model_optimization.distillation.training import make_transfer_set, teacher_logits, train_student
from helpers.model_optimization.encoder.importance import (
    CALIBRATION_ROWS,
    IMPORTANCES,
    Importance,
    best,
    calibration_rows,
    importance_of,
)
from helpers.model_optimization.encoder.parts import anatomy, card_of, layer_weights, require_torch
from helpers.model_optimization.encoder.structured import (
    fixed_layers,
    keep_heads,
    keep_layers,
    keep_neurons,
    keep_width,
    keep_within,
    parts_of,
    require_mean_pooling,
)
from helpers.model_optimization.options import METHODS
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

_KINDS = {"structured": ("heads", "neurons"), "heads": ("heads",), "neurons": ("neurons",)}
_NAMES = {"structured": "{share} of heads and neurons pruned", "heads": "{share} of heads pruned",
          "neurons": "{share} of neurons pruned", "layers": "{share} of layers pruned",
          "width": "{share} of the width pruned", "magnitude": "{share} of weights zeroed"}


def prune(base: TorchTextModel, task: Task, method: str = "structured", sparsity: float | None = None, *,
          importance: str = "taylor", scope: str = "global", steps: int = 1, epochs: float = 0.0,
          teacher: Model | None = None, augmented: int = 0, learning_rate: float = 1e-4, seed: int = 0,
          progress: Progress = silent) -> TorchTextModel:
    """A copy of `base` without its least important parts; the original stays as it is.

    "magnitude" and N:M patterns write zeros into matrices that keep their size. All others remove the
    parts for good: the saved model is smaller, and each runtime has less to do.

    Args:
        task: its training rows give the parts' importance and train what is left. Test rows are never looked at
            (their mean length alone, for the record's MACs).
        method: a key of METHODS, or another N:M pattern; METHODS says what `sparsity` is a share of.
        sparsity: 0 to below 1; by default 0.5, and of a pattern what follows from it.
        importance: "taylor" (first order, on 256 training rows) or "magnitude"; zeros are always chosen by
            magnitude.
        scope: of the sparsity of "magnitude": "global", or "layer" for the same sparsity of each matrix.
        steps: 1 for one shot; more to get there gradually on the cubic schedule of Zhu and Gupta
            (arXiv 1710.01878), with importance computed again and training after each step.
        epochs: over the training rows (and copies) to recover, in all; spread over the steps.
        teacher: learn from its logits while recovering (`base` is a good one); from labels alone without.
        augmented: altered copies of each training text for the teacher to answer, see `augment`.

    Raises:
        InputError: a method, share or number that there is not; a model that is not a PyTorch one; an architecture
            whose parts cannot be removed (zeros can be written into all).
        Cancelled: the caller of `progress` wants an end.

    >>> from helpers.lab import baseline, load_task
    >>> from helpers.model_optimization import prune
    >>> task = load_task("tickets")  # doctest: +SKIP
    >>> prune(baseline(task), task, "structured", 0.5).card.name  # doctest: +SKIP
    '50% of heads and neurons pruned, by taylor, PyTorch'
    """
    require_torch(base, "pruned")
    sparsity = _require_known(method, sparsity, importance, scope, steps, epochs)
    _require_able(base.module, method)
    began = time.perf_counter()
    cut = _Cut(method, scope, base.module, mean_tokens(task, base.encoder))
    module = copy.deepcopy(base.module).requires_grad_(True)
    transfer_set = make_transfer_set(task, (), augmented, seed)
    logits = teacher_logits(teacher, transfer_set.texts, progress) if teacher and epochs else None
    rows, labels = calibration_rows(base.encoder, task, seed)
    for step in range(1, steps + 1):
        progress((step - 1) / steps, f"pruning, step {step} of {steps}")
        scores = importance_of(module, importance, rows, labels, progress) if cut.needs_importance else None
        module = cut.to(module, cubic(sparsity, step, steps), scores)
        if epochs:
            train_student(module, base.encoder.encode, transfer_set, logits, epochs=epochs / steps,
                          learning_rate=learning_rate, seed=seed + step - 1,
                          progress=progress.part((step - 1) / steps, step / steps), say="recovering")
    make_zeros_plain(module)
    settings = {"method": method, "sparsity": sparsity, "steps": steps, "epochs": epochs, "seed": seed,
                "teacher": teacher.card.name if teacher and epochs else None, "zeros": round(zeros_in(module), 4)}
    settings |= {"importance": importance, "calibration_rows": CALIBRATION_ROWS} if cut.needs_importance else {}
    settings |= {"scope": scope} if method == "magnitude" else {}
    settings |= {"learning_rate": learning_rate, "augmented": augmented} if epochs else {}
    return TorchTextModel(card_of(module.eval(), base, task, _name(settings), began, **settings), base.encoder, module)


def removes_parts(method: str) -> bool:
    """Whether a pruning method makes matrices smaller, for which it must know the architecture."""
    return method in METHODS and method != "magnitude" and not pattern_of(method)


class _Cut:
    """Brings a module to a share of what it was when this was made."""

    def __init__(self, method: str, scope: str, module: nn.Module, tokens: int) -> None:
        self.method, self.scope, self.tokens = method, scope, tokens
        self.pattern = pattern_of(method)
        self.needs_importance = removes_parts(method)
        if not self.needs_importance:
            return
        self.start = anatomy(module)
        self._layers, self._width = len(self.start.layers), self.start.width
        heads, neurons = sum(self.start.heads), sum(self.start.neurons)
        macs = {"heads": heads * self.start.head_macs(tokens), "neurons": neurons * self.start.neuron_macs(tokens)}
        self._macs = sum(macs[kind] for kind in _KINDS.get(method, ()))

    def to(self, module: nn.Module, sparsity: float, scores: Importance | None) -> nn.Module:
        """The module with `1 - sparsity` of the original left."""
        if self.pattern:
            mask_weights(module, pattern_masks(prunable(module), *self.pattern))
            return module
        if self.method == "magnitude":
            mask_weights(module, magnitude_masks(prunable(module), sparsity, self.scope))
            return module
        if self.method == "layers":
            layers = scores.layers.copy()
            layers[fixed_layers(anatomy(module))] = np.inf
            return keep_layers(module, best(layers, max(1, round((1 - sparsity) * self._layers))))
        if self.method == "width":
            size = self.start.head_size
            return keep_width(module, best(scores.width, max(1, round((1 - sparsity) * self._width / size)) * size))
        kinds = _KINDS[self.method]
        staying = keep_within(parts_of(anatomy(module), scores, self.tokens, kinds), (1 - sparsity) * self._macs)
        if "heads" in kinds:
            module = keep_heads(module, staying["heads"])
        return keep_neurons(module, staying["neurons"]) if "neurons" in kinds else module


def _require_known(method: str, sparsity: float | None, importance: str, scope: str, steps: int,
                   epochs: float) -> float:
    """The sparsity; refuses what cannot be done before anything is."""
    pattern = pattern_of(method)
    if method not in METHODS and not pattern:
        raise InputError(f"Unknown pruning method '{method}'. Choose one of: {', '.join(METHODS)}, or another N:M "
                         "pattern.")
    for given, known, what in ((importance, IMPORTANCES, "importance"), (scope, SCOPES, "sparsity scope")):
        if given not in known:
            raise InputError(f"Unknown {what} '{given}'. Choose one of: {', '.join(known)}.")
    if steps < 1 or epochs < 0:
        raise InputError("Pruning takes at least one step and no fewer than zero epochs.")
    if pattern:
        follows = 1 - pattern[0] / pattern[1]
        if sparsity not in (None, follows) or steps > 1:
            raise InputError(f"The pattern {method} makes {follows:g} of the weights zero, at once: leave sparsity= "
                             "and steps= out.")
        return follows
    if sparsity is not None and not 0 <= sparsity < 1:
        raise InputError(f"The sparsity lies between 0 and 1, 1 left out; it was {sparsity}.")
    return 0.5 if sparsity is None else sparsity


def _require_able(module: nn.Module, method: str) -> None:
    """Refuse an architecture that the method can do nothing with."""
    if not removes_parts(method):
        layer_weights(module)
    elif anatomy(module) and method == "width":
        require_mean_pooling(module)


def _name(settings: dict) -> str:
    """Short, and different for different settings that a reader would compare."""
    method = settings["method"]
    what = _NAMES.get(method, f"{method} of weights kept").format(share=f"{settings['sparsity']:.0%}")
    parts = [f"by {settings['importance']}"] if "importance" in settings else []
    parts += ["layer by layer"] if settings.get("scope") == "layer" else []
    parts += [f"in {settings['steps']} steps"] if settings["steps"] > 1 else []
    parts += ["recovered" + (" with its teacher" if settings["teacher"] else "")] if settings["epochs"] else []
    return ", ".join([what, *parts, "PyTorch"])

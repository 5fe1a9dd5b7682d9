"""Confidence that can be believed: one temperature for a model's logits, folded into its last layer."""

import copy
import dataclasses

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card, Model
from helpers.lab.models.modules.classifiers import MeanPoolClassifier
from helpers.lab.models.sklearn import SklearnModel
from helpers.lab.models.static import StaticModel
from helpers.lab.models.torch import TorchTextModel

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T for which softmax(logits / T) gives the labels the largest likelihood (Guo et al., arXiv 1706.04599).

    Args:
        logits: (n, classes); labels: (n,) class numbers, of rows that the model was not trained on.

    Raises:
        InputError: no rows, or not one label for each.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or not len(labels) or len(logits) != len(labels):
        raise InputError(f"A temperature is fitted on (n, classes) logits with n labels, not on {logits.shape} "
                         f"with {len(labels)}.")
    rows = np.arange(len(labels))

    def negative_log_likelihood(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean())

    best = minimize_scalar(negative_log_likelihood, bounds=np.log([MIN_TEMPERATURE, MAX_TEMPERATURE]), method="bounded",
                           options={"xatol": 1e-6})
    return float(np.exp(best.x))


def calibrate(model: Model, task: Task) -> Model:
    """The same model with its temperature, fitted on the validation rows, in its last layer.

    It answers as before; only its probabilities change. Its `settings` have the temperature.

    Raises:
        InputError: a model whose last layer is not known here.
    """
    labels = np.asarray(task.validation["label"][:])
    temperature = fit_temperature(model.predict(task.validation[task.input][:]), labels)
    card = dataclasses.replace(model.card, settings={**model.card.settings, "temperature": temperature})
    return _with_cooler_head(model, card, temperature)


def _with_cooler_head(model: Model, card: Card, temperature: float) -> Model:
    """A copy whose last layer's weights and biases are divided by the temperature."""
    if isinstance(model, SklearnModel) and hasattr(model.pipeline[-1], "coef_"):
        pipeline = copy.deepcopy(model.pipeline)
        pipeline[-1].coef_ = pipeline[-1].coef_ / temperature
        pipeline[-1].intercept_ = pipeline[-1].intercept_ / temperature
        return SklearnModel(card, pipeline)
    if isinstance(model, StaticModel):
        cooler = {name: model.arrays[name] / temperature for name in ("out_weight", "out_bias")}
        return StaticModel(card, model.encoder, model.arrays | cooler)
    if isinstance(model, TorchTextModel) and isinstance(model.module, MeanPoolClassifier):
        module = copy.deepcopy(model.module)
        with torch.no_grad():
            module.classifier.weight.div_(temperature)
            module.classifier.bias.div_(temperature)
        packed = {name: weight for name, weight in model.packed.items() if name != "classifier"}  # is float now
        return TorchTextModel(card, model.encoder, module, packed)
    raise InputError(f"No temperature can be put into '{model.card.name}': its last layer is not known here. "
                     "Calibrate it before it is exported to another runtime.")

"""The tiny task's texts, and a tiny model that has learned them."""

import copy
import dataclasses


def texts_of(task) -> list[str]:
    """The test rows' texts."""
    return task.test["text"][:]


def rows_and_labels(model, task) -> tuple[list[list[int]], list[int]]:
    """Token ids and labels of the training rows."""
    return model.encoder.encode(task.train["text"][:]), task.train["label"][:]


def trained(model, task, name: str, epochs: float):
    """A copy of the tiny model, fine-tuned on the tiny task."""
    from helpers.lab.models.torch import TorchTextModel
    from helpers.lab.training.fine_tuning import fine_tune

    module = copy.deepcopy(model.module)
    fine_tune(module, *rows_and_labels(model, task), epochs=epochs, learning_rate=3e-3)
    return TorchTextModel(dataclasses.replace(model.card, name=name), model.encoder, module)

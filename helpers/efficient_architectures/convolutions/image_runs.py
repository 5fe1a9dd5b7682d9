"""Convolutional designs side by side on digits: accuracy, multiplications and measured latency."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from helpers.efficient_architectures.convolutions.image_models import ImageModel, train_images
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import bootstrap_interval, wilson
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.progress import Progress, silent


def compare_designs(task: Task, nets: Sequence[tuple[str, float, int]], *, epochs: int = 15, rounds: int = 31,
                    seed: int = 0, progress: Progress = silent) -> pd.DataFrame:
    """Train each network and time one image at a time, in turns.

    Args:
        nets: (design, width, resolution), see build_net.

    Returns:
        One row a network: name, design, width, resolution, accuracy, low, high (Wilson), macs, parameters,
        ms, ms_low, ms_high (median of one image; bootstrap).

    Raises:
        InputError: no network, an unknown design, or a task of texts.
        Cancelled: `progress` was told to end.
    """
    if not nets:
        raise InputError("Name at least one network: (design, width, resolution).")
    models = []
    for number, (design, width, resolution) in enumerate(nets):
        progress(number / len(nets), f"training {design}, width {width:g}, {resolution} pixels")
        models.append(train_images(task, design, width=width, resolution=resolution, epochs=epochs, seed=seed,
                                   progress=progress))
    images, labels = task.test["image"][:], np.asarray(task.test["label"][:])
    with timing_turn(progress):
        times = seconds_in_turns({model.card.name: _one(model, images[0]) for model in models}, rounds)
    rows = []
    for model in models:
        right = int((model.predict(images).argmax(axis=1) == labels).sum())
        low, high = wilson(right, len(labels))
        median, least, most = bootstrap_interval(np.median, times[model.card.name])
        settings = model.card.settings
        rows.append({"name": model.card.name, "design": settings["design"], "width": settings["width"],
                     "resolution": settings["resolution"], "accuracy": right / len(labels), "low": low, "high": high,
                     "macs": model.card.macs, "parameters": model.card.parameters, "ms": 1e3 * median,
                     "ms_low": 1e3 * least, "ms_high": 1e3 * most})
    progress(1.0, "done")
    return pd.DataFrame(rows)


def _one(model: ImageModel, image: list) -> Callable[[], object]:
    return lambda: model.predict([image])

"""Small image classifiers on the handwritten digits: built, trained, saved, compared."""

import math
import random
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from helpers.efficient_architectures.convolutions.layers import conv_block, counted_macs
from helpers.efficient_architectures.options import CONFIGURED, DESIGNS, STRATEGY
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import bootstrap_interval, wilson
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.models.model import Card, saving
from helpers.lab.models.packing import save_weights
from helpers.lab.models.torch import count_parameters
from helpers.lab.progress import Progress, silent
from helpers.lab.training.fine_tuning import train

CHANNELS = (16, 32, 64)  # of the three blocks at width 1
BATCH = 64


class DigitNet(nn.Module):
    """A first convolution, three blocks of one design, the image halved between them, the mean, one linear layer."""

    def __init__(self, design: str, width: float, resolution: int, classes: int) -> None:
        super().__init__()
        sizes = [max(4, round(width * channels)) for channels in CHANNELS]
        self.resolution = resolution
        self.stem = nn.Sequential(nn.Conv2d(1, sizes[0], 3, padding=1, bias=False), nn.BatchNorm2d(sizes[0]),
                                  nn.ReLU())
        self.blocks = nn.Sequential(
            conv_block(design, sizes[0], sizes[0]), nn.MaxPool2d(2),
            conv_block(design, sizes[0], sizes[1]), nn.MaxPool2d(2), conv_block(design, sizes[1], sizes[2]))
        self.classifier = nn.Linear(sizes[2], classes)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 1, side, side), resized to `resolution` first, to (n, classes) logits."""
        return self.classifier(self.blocks(self.stem(_resized(images, self.resolution))).mean((2, 3)))


class ConfiguredNet(nn.Module):
    """transformers' MobileNetV2 or ResNet with a configuration for images of some pixels."""

    def __init__(self, design: str, width: float, resolution: int, classes: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.body = _mobilenet(width, classes) if design == "MobileNetV2" else _resnet(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 1, side, side), resized to `resolution` first, to (n, classes) logits."""
        return self.body(pixel_values=_resized(images, self.resolution)).logits


def _mobilenet(width: float, classes: int) -> nn.Module:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    return MobileNetV2ForImageClassification(MobileNetV2Config(
        num_channels=1, depth_multiplier=0.35 * width, min_depth=8, output_stride=8, first_layer_is_expansion=True,
        finegrained_output=False, classifier_dropout_prob=0.0, num_labels=classes))


def _resnet(width: float, classes: int) -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = [max(4, round(width * channels)) for channels in CHANNELS]
    return ResNetForImageClassification(ResNetConfig(
        num_channels=1, embedding_size=sizes[0], hidden_sizes=sizes, depths=[1, 1, 1], layer_type="basic",
        downsample_in_first_stage=False, num_labels=classes))


def _resized(images: Tensor, resolution: int) -> Tensor:
    if images.shape[-1] == resolution:
        return images
    return nn.functional.interpolate(images, (resolution, resolution), mode="bilinear", align_corners=False)


class ImageModel:
    """A network on (n, side, side) images as a Model. Its card's settings name the design, width and resolution."""

    runtime = "images"

    def __init__(self, card: Card, module: nn.Module) -> None:
        self.card, self.module = card, module.eval()

    @torch.inference_mode()
    def predict(self, inputs: Sequence[Any]) -> np.ndarray:
        """(n, classes) float32 logits of n images."""
        if not len(inputs):
            return np.empty((0, self.card.classes), np.float32)
        return self.module(as_tensor(inputs)).numpy()

    def save(self, path: Path) -> None:
        """Write card and weights into the folder `path`."""
        with saving(path, self.runtime, self.card) as folder:
            save_weights({name: tensor.contiguous() for name, tensor in self.module.state_dict().items()},
                         folder / "weights.safetensors")

    @classmethod
    def load(cls, path: Path, card: Card, max_tokens: int | None = None) -> Self:
        """Read what `save` wrote; images have no tokens."""
        module = build_net(**{name: card.settings[name] for name in ("design", "width", "resolution")},
                           classes=card.classes)
        module.load_state_dict(load_file(path / "weights.safetensors"))
        return cls(card, module)


def as_tensor(images: Sequence[Any]) -> Tensor:
    """(n, 1, side, side) float32."""
    return torch.from_numpy(np.asarray(images, np.float32))[:, None]


def build_net(design: str, width: float = 1.0, resolution: int = 8, classes: int = 10) -> nn.Module:
    """An untrained network.

    Args:
        design: one of DESIGNS, or of CONFIGURED ("MobileNetV2", "ResNet" of transformers).
        width: multiplies all channels; resolution: side in pixels that images are resized to, 8 or more.

    Raises:
        InputError: an unknown design, or a width or resolution that is too small.
    """
    if design not in (*DESIGNS, *CONFIGURED):
        raise InputError(f"Unknown design '{design}'. Choose one of: {', '.join((*DESIGNS, *CONFIGURED))}.")
    if width <= 0 or resolution < 8:
        raise InputError(f"A network needs a width above 0 and 8 pixels or more, not {width} and {resolution}.")
    kind = ConfiguredNet if design in CONFIGURED else DigitNet
    return kind(design, width, resolution, classes)


def train_images(task: Task, design: str, *, width: float = 1.0, resolution: int = 8, epochs: int = 15, seed: int = 0,
                 progress: Progress = silent) -> ImageModel:
    """A network trained on an image task with Adam and one cycle of the learning rate.

    Raises:
        InputError: not a task of images; see build_net.
        Cancelled: the caller of `progress` wants an end; it is asked at each step.

    >>> from helpers.efficient_architectures.convolutions.image_models import train_images
    >>> from helpers.lab import load_task
    >>> model = train_images(load_task("digits"), "separable", width=0.5, epochs=1)
    >>> model.predict(load_task("digits").test["image"][:5]).shape
    (5, 10)
    """
    if task.input != "image":
        raise InputError(f"Convolutions read images; the task '{task.name}' has texts.")
    began = time.perf_counter()
    torch.manual_seed(seed)
    module = build_net(design, width, resolution, len(task.labels))
    images, labels = as_tensor(task.train["image"][:]), torch.tensor(task.train["label"][:])
    steps = epochs * math.ceil(len(images) / BATCH)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=max(2, steps))
    train(module, _batches(len(images), epochs, seed),
          lambda part: nn.functional.cross_entropy(module(images[part]), labels[part]), optimizer, steps=steps,
          schedule=schedule, clip=None, progress=progress, say=f"training {design}")
    card = Card(f"{design}, width {width:g}, {resolution} pixels", len(task.labels), STRATEGY,
                {"runtime": "pytorch", "design": design, "width": width, "resolution": resolution,
                 "epochs": epochs, "seed": seed}, count_parameters(module),
                counted_macs(module, images.shape[1:]), time.perf_counter() - began, labels=task.labels)
    return ImageModel(card, module)


def _batches(rows: int, epochs: int, seed: int) -> Iterator[list[int]]:
    """Numbers of rows, all of them in another order in each epoch."""
    rng = random.Random(seed)
    for _ in range(epochs):
        order = rng.sample(range(rows), rows)
        yield from (order[start:start + BATCH] for start in range(0, rows, BATCH))


def compare_designs(task: Task, nets: Sequence[tuple[str, float, int]], *, epochs: int = 15, rounds: int = 31,
                    progress: Progress = silent) -> pd.DataFrame:
    """Train each network and time one image at a time, in turns.

    Args:
        nets: (design, width, resolution), see build_net.

    Returns:
        One row a network: name, design, width, resolution, accuracy, low, high (Wilson), macs, parameters,
        ms, ms_low, ms_high (median of one image; bootstrap).

    Raises:
        InputError: no network, an unknown design, or a task of texts.
        Cancelled: the caller of `progress` wants an end.
    """
    if not nets:
        raise InputError("Name at least one network: (design, width, resolution).")
    models = []
    for number, (design, width, resolution) in enumerate(nets):
        models.append(train_images(task, design, width=width, resolution=resolution, epochs=epochs,
                                   progress=progress.part(number / len(nets), (number + 1) / len(nets))))
    images, labels = task.test["image"][:], np.asarray(task.test["label"][:])
    with timing_turn(progress):
        times = seconds_in_turns({model.card.name: partial(model.predict, images[:1]) for model in models}, rounds)
    rows = []
    for model in models:
        right = int((model.predict(images).argmax(axis=1) == labels).sum())
        low, high = wilson(right, len(labels))
        median_s, low_s, high_s = bootstrap_interval(np.median, times[model.card.name])
        settings = model.card.settings
        rows.append({"name": model.card.name, "design": settings["design"], "width": settings["width"],
                     "resolution": settings["resolution"], "accuracy": right / len(labels), "low": low, "high": high,
                     "macs": model.card.macs, "parameters": model.card.parameters, "ms": 1e3 * median_s,
                     "ms_low": 1e3 * low_s, "ms_high": 1e3 * high_s})
    progress(1.0, "done")
    return pd.DataFrame(rows)

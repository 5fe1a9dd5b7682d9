"""Libraries under the model, each switched on and off and measured: what oneDNN, attention kernels and layouts give."""

import contextlib
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.hardware_codesign.roofline.peaks import torch_threads
from helpers.lab.errors import InputError
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.intervals import ratio_of_medians
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.models.torch import TorchTextModel

Switch = tuple[str, Callable[[], object], Callable[[], object]]


def compare_switches(model: TorchTextModel, *, batch: int = 8, length: int = 64, rounds: int = 9) -> pd.DataFrame:
    """Each switch on and off, in turns: columns switch, on, off (words), gain, low, high, on_ms, off_ms, note.

    `gain` is the time without over the time with; its interval is 95 %. A switch that this machine lacks keeps its
    row, with a sentence.

    Raises:
        InputError: a batch or length below 1.
    """
    if batch < 1 or length < 1:
        raise InputError("Switches are measured on a batch of at least one row of at least one token.")
    encoder = _encoder(model, batch, length)
    with timing_turn():
        rows = [_measured(*switch, rounds) for switch in (*_encoder_switches(encoder), *_convolution_switches())]
    rows.append(_cudnn())
    return pd.DataFrame(rows)


def _encoder(model: TorchTextModel, batch: int, length: int) -> Callable[[], object]:
    ids = torch.randint(1, 1000, (batch, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    return lambda: model.module(ids, mask)


def _encoder_switches(encoder: Callable[[], object]) -> Iterator[tuple]:
    from torch.nn.attention import SDPBackend

    def plain() -> object:
        with torch.inference_mode():
            return encoder()

    def under(context: Callable[[], contextlib.AbstractContextManager]) -> Callable[[], object]:
        def run() -> object:
            with context(), torch.inference_mode():
                return encoder()
        return run

    kernel = torch.nn.attention.sdpa_kernel
    yield ("fused attention", "flash attention for CPUs", "products and softmax one by one",
           under(lambda: kernel(SDPBackend.FLASH_ATTENTION)), under(lambda: kernel(SDPBackend.MATH)))
    yield ("inference mode", "no record for gradients", "gradients recorded", plain, encoder)
    yield ("oneDNN", "oneDNN where PyTorch uses it", "PyTorch's own kernels and BLAS", plain,
           under(lambda: torch.backends.mkldnn.flags(enabled=False)))
    if usable_cores() > 1:
        yield ("threads", f"{usable_cores()} threads", "1 thread", under(lambda: torch_threads(usable_cores())),
               under(lambda: torch_threads(1)))
        yield ("more threads than cores", f"{2 * usable_cores()} threads", f"{usable_cores()} threads",
               under(lambda: torch_threads(2 * usable_cores())), under(lambda: torch_threads(usable_cores())))


def _convolution_switches() -> Iterator[tuple]:
    """A small residual-style stack, since an encoder has no convolution."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(16, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
                        nn.Conv2d(64, 64, 3, padding=1)).eval()
    last = nn.Sequential(*(nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)
                           if isinstance(layer, nn.Conv2d) else nn.ReLU() for layer in net)).eval()
    last.load_state_dict(net.state_dict())
    last = last.to(memory_format=torch.channels_last)
    image = torch.rand(4, 16, 56, 56)
    turned = image.contiguous(memory_format=torch.channels_last)

    def run(module: nn.Module, images: torch.Tensor, onednn: bool = True) -> Callable[[], object]:
        def call() -> object:
            with torch.backends.mkldnn.flags(enabled=onednn), torch.inference_mode():
                return module(images)
        return call

    yield "channels last", "channels last", "channels first", run(last, turned), run(net, image)
    yield "oneDNN for convolutions", "oneDNN", "PyTorch's own", run(net, image), run(net, image, onednn=False)


def _measured(switch: str, on: str, off: str, with_it: Callable, without: Callable, rounds: int) -> dict:
    spent: tuple[list[float], list[float]] = ([], [])
    try:
        for number in range(rounds + 1):  # the first round warms up
            for call, own in zip((with_it, without), spent, strict=True):
                began = time.perf_counter()
                call()
                if number:
                    own.append(time.perf_counter() - began)
    except RuntimeError as error:
        return {"switch": switch, "on": on, "off": off, "note": f"Not here: {str(error).splitlines()[0]}"}
    gain, low, high = ratio_of_medians(spent[1], spent[0])
    return {"switch": switch, "on": on, "off": off, "gain": gain, "low": low, "high": high,
            "on_ms": 1000 * float(np.median(spent[0])), "off_ms": 1000 * float(np.median(spent[1])), "note": ""}


def _cudnn() -> dict:
    note = ("" if torch.backends.cudnn.is_available() else
            "Not here: cuDNN needs an NVIDIA GPU and a build of PyTorch for it.")
    return {"switch": "cuDNN", "on": "cuDNN", "off": "PyTorch's own", "note": note}

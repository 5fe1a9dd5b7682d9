"""A model's parts under this machine's roof: what limits each, the least time it can take, and the time it takes."""

from collections.abc import Sequence

import pandas as pd
from torch import Tensor, nn

from helpers.hardware_codesign.roofline.counting import layer_seconds, operators
from helpers.hardware_codesign.roofline.peaks import Ceilings, torch_threads
from helpers.hardware_codesign.roofline.placed_layers import with_roof
from helpers.lab.errors import InputError
from helpers.lab.measuring.timing import timing_turn


def place(module: nn.Module, inputs: Sequence[Tensor], ceilings: Ceilings, *, rounds: int = 9) -> pd.DataFrame:
    """Each part's operations, bytes, least time under the ceilings, and measured time in PyTorch eager.

    Returns:
        The columns of `operators`, and intensity (operations a byte), bound ('arithmetic' or 'memory'),
        paper_s, measured_s, share (of the measured time), reached (paper over measured: the share of the
        roof; above 1 where data stayed in a cache).
    """
    precision = _precision(module)
    with timing_turn(), torch_threads(ceilings.threads or 1):
        seconds = layer_seconds(module, *inputs, rounds=rounds)
    frame = operators(module, *inputs)
    frame["measured_s"] = [seconds.get(name, 0.0) for name in frame["layer"]]
    return with_roof(frame, ceilings, precision)


def _precision(module: nn.Module) -> str:
    name = str(next(module.parameters()).dtype).removeprefix("torch.")
    known = {"float32": "fp32", "bfloat16": "bf16", "float16": "bf16"}
    if name not in known:
        raise InputError(f"The model's weights are {name}; float32, bfloat16 and float16 can be placed.")
    return known[name]

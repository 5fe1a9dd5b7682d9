"""The peaks of this machine, measured in seconds: products a second, and bytes a second.

The two numbers of the roofline (Williams, Waterman and Patterson, CACM 2009).
"""

import contextlib
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from helpers.hardware_codesign.options import PRECISIONS
from helpers.lab.errors import InputError
from helpers.lab.facts import Peaks
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.timing import seconds_of, timing_turn
from helpers.lab.progress import Progress, silent

_SIDE = {"fp32": 1024, "bf16": 512, "int8": 1024}  # of the square matrices; bf16 is emulated on many CPUs, and slow
_MAIN_MEMORY, _CACHED = 64 * 2**20, 2**20  # bytes of each of the two arrays that are copied


def measure_peaks(threads: int | None = None, seconds: float = 0.3, *, progress: Progress = silent) -> Peaks:
    """Measure this machine with so many threads (default: all usable cores); `seconds` for each of five figures.

    The best repetition counts: a peak is what was reached once. fp32 and bf16 are PyTorch's products
    of square matrices, int8 is ONNX Runtime's, copies are STREAM's `copy` (McCalpin, 1995; read and
    written bytes both count).

    Raises:
        InputError: fewer than one thread, or more than the usable cores.
        Cancelled: `progress` was told to end.
    """
    threads = usable_cores() if threads is None else threads
    if not 1 <= threads <= usable_cores():
        raise InputError(f"threads must be 1 to {usable_cores()}, the cores that this process may use, not {threads}.")
    flops, copies = {}, []
    with timing_turn(progress), torch_threads(threads):
        for number, precision in enumerate(PRECISIONS):
            progress(number / 5, f"products in {precision}")
            flops[precision] = 2 * _SIDE[precision]**3 / _best_s(_product(precision, threads), seconds)
        for number, size in enumerate((_MAIN_MEMORY, _CACHED)):
            progress((3 + number) / 5, f"copies of {size / 2**20:.0f} MiB")
            copies.append(2 * size / _best_s(_copy(size), seconds))
    progress(1.0, "done")
    return Peaks("this machine", flops, *copies, threads)


def peaks_by_threads() -> pd.DataFrame:
    """One row a thread count: threads, fp32, bf16, int8 (operations a second), bandwidth, cached (bytes a second)."""
    measured = [measure_peaks(count) for count in range(1, usable_cores() + 1)]
    return pd.DataFrame([{"threads": one.threads, **one.flops, "bandwidth": one.bandwidth, "cached": one.cached}
                         for one in measured])


def recorded_peaks(frame: pd.DataFrame) -> Peaks:
    """The peaks in the last row of `peaks_by_threads`."""
    row = frame.iloc[-1]
    return Peaks("the recorded machine", {precision: float(row[precision]) for precision in PRECISIONS},
                 float(row["bandwidth"]), float(row["cached"]), int(row["threads"]), "recorded")


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """PyTorch computes with so many threads inside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _best_s(work: Callable[[], object], seconds: float) -> float:
    work()  # allocates, and wakes the threads
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        best = min(best, seconds_of(work))
    return best


def _product(precision: str, threads: int) -> Callable[[], object]:
    import torch

    side = _SIDE[precision]
    if precision == "int8":
        return _int8_product(side, threads)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    left, right = (torch.rand(side, side).to(dtype) for _ in range(2))
    out = torch.empty(side, side, dtype=dtype)
    return lambda: torch.mm(left, right, out=out)


def _int8_product(side: int, threads: int) -> Callable[[], object]:
    """ONNX Runtime's product of unsigned by signed 8-bit matrices, as in its quantized models.

    The weights have 7 bits here: with 8, a CPU without dot products of 8 bits may clip sums at 16 bits.
    """
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    rng = np.random.default_rng(0)
    right = onnx.numpy_helper.from_array(rng.integers(-63, 64, (side, side)).astype(np.int8), "right")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["left", "right"], ["out"])], "product",
        [helper.make_tensor_value_info("left", TensorProto.UINT8, [side, side])],
        [helper.make_tensor_value_info("out", TensorProto.INT32, [side, side])], [right])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    left = rng.integers(0, 256, (side, side)).astype(np.uint8)
    return lambda: session.run(None, {"left": left})


def _copy(size: int) -> Callable[[], object]:
    import torch

    source, target = (torch.ones(size // 4) for _ in range(2))
    return lambda: target.copy_(source)

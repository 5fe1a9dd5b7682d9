"""The peaks of this machine, measured in seconds: products a second, and bytes a second.

The two numbers of the roofline (Williams, Waterman and Patterson, CACM 2009).
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from helpers.hardware_codesign.options import PRECISIONS
from helpers.lab.errors import InputError
from helpers.lab.facts import Peaks
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.timing import seconds_of, settle, timing_turn
from helpers.lab.progress import Progress, silent

# Rows, inputs and outputs of the products: a square one, and a layer's for a small and a large batch. Which of them is
# fastest, and in which library, differs from CPU to CPU.
_SHAPES = ((1024, 1024, 1024), (512, 384, 1536), (4096, 1536, 384))
_MAIN_MEMORY, _CACHED = 64 * 2**20, 2**20  # bytes of each of the two arrays that are copied


def measure_peaks(threads: int | None = None, seconds: float = 0.3, *, progress: Progress = silent) -> Peaks:
    """Measure this machine with so many threads (default: all usable cores); `seconds` for each product and copy.

    The best repetition of the best product counts: a peak is what was reached once. fp32 is PyTorch's or ONNX
    Runtime's, bf16 PyTorch's, int8 ONNX Runtime's; copies are STREAM's `copy` (McCalpin, 1995; read and written bytes
    both count).

    Raises:
        InputError: fewer than one thread, or more than the usable cores.
        Cancelled: `progress` cancelled the work.
    """
    threads = usable_cores() if threads is None else threads
    if not 1 <= threads <= usable_cores():
        raise InputError(f"threads must be 1 to {usable_cores()}, the cores that this process may use, not {threads}.")
    flops, copies = {}, []
    with timing_turn(progress), torch_threads(threads):
        for number, precision in enumerate(PRECISIONS):
            progress(number / 5, f"products in {precision}")
            flops[precision] = max(2 * math.prod(shape) / _best_s(product, seconds)
                                   for shape in _SHAPES for product in _products(precision, shape, threads))
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


def best_peaks(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The best of several `peaks_by_threads`, measured at different times: what disturbed one spared another."""
    return pd.concat(frames).groupby("threads", as_index=False).max()


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
    settle()
    work()  # allocates, and wakes the threads
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        best = min(best, seconds_of(work))
    return best


def _products(precision: str, shape: tuple[int, int, int], threads: int) -> Iterator[Callable[[], object]]:
    """The libraries' products of this precision."""
    if precision != "int8":
        yield from _torch_products(precision, shape)
    if precision != "bf16":
        yield _onnx_product(precision, shape, threads)


def _torch_products(precision: str, shape: tuple[int, int, int]) -> Iterator[Callable[[], object]]:
    """Of two matrices, and as a model's layers have it: by rows of weights, with a bias, in a new tensor."""
    import torch

    rows, inputs, outputs = shape
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    left, right = (torch.rand(size).to(dtype) for size in ((rows, inputs), (inputs, outputs)))
    out = torch.empty(rows, outputs, dtype=dtype)
    yield lambda: torch.mm(left, right, out=out)
    weight, bias = right.T.contiguous(), torch.zeros(outputs, dtype=dtype)

    def layer() -> object:
        with torch.inference_mode():
            return torch.nn.functional.linear(left, weight, bias)
    yield layer


def _onnx_product(precision: str, shape: tuple[int, int, int], threads: int) -> Callable[[], object]:
    """ONNX Runtime's product; in int8 of unsigned by signed matrices, as in its quantized models.

    The weights have 7 bits there: with 8, a CPU without dot products of 8 bits may clip sums at 16 bits.
    """
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    rows, inputs, outputs = shape
    rng = np.random.default_rng(0)
    if precision == "int8":
        operator, kind, sum_kind = "MatMulInteger", TensorProto.UINT8, TensorProto.INT32
        left = rng.integers(0, 256, (rows, inputs)).astype(np.uint8)
        weights = rng.integers(-63, 64, (inputs, outputs)).astype(np.int8)
    else:
        operator, kind, sum_kind = "MatMul", TensorProto.FLOAT, TensorProto.FLOAT
        left, weights = (rng.random(size, dtype=np.float32) for size in ((rows, inputs), (inputs, outputs)))
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["out"])], "product",
        [helper.make_tensor_value_info("left", kind, [rows, inputs])],
        [helper.make_tensor_value_info("out", sum_kind, [rows, outputs])],
        [onnx.numpy_helper.from_array(weights, "right")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its sleeping threads, which would go on spinning, would slow the library that is measured next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"left": left})


def _copy(size: int) -> Callable[[], object]:
    import torch

    source, target = (torch.ones(size // 4) for _ in range(2))
    return lambda: target.copy_(source)

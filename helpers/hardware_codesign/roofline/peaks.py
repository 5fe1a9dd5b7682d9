"""What this machine can do at most, measured in seconds: products a second, and bytes a second.

The two numbers of the roofline (Williams, Waterman and Patterson, CACM 2009).
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.timing import timing_turn

PRECISIONS = ("fp32", "bf16", "int8")
_SIDE = {"fp32": 1024, "bf16": 512, "int8": 1024}  # of the square matrices; bf16 is emulated on many CPUs, and slow
_MAIN_MEMORY, _CACHED = 64 * 2**20, 2**20  # bytes of each of the two arrays that are copied


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """Upper limits of one machine with so many threads.

    Args:
        flops: precision -> operations a second; a multiply-add is two.
        bandwidth: bytes a second to and from main memory; `cached`, while everything fits into the caches.
    """

    name: str
    flops: Mapping[str, float]
    bandwidth: float
    cached: float | None = None
    threads: int | None = None
    provenance: str = "measured"

    def rate(self, precision: str = "fp32") -> float:
        """Operations a second.

        Raises:
            InputError: no figure for this precision.
        """
        if precision not in self.flops:
            raise InputError(f"For {self.name} there is no figure in {precision}. Known: {', '.join(self.flops)}.")
        return self.flops[precision]

    def ridge(self, precision: str = "fp32") -> float:
        """Operations a byte above which arithmetic is the limit, and below which memory is."""
        return self.rate(precision) / self.bandwidth

    def seconds(self, flops: float, moved: float, precision: str = "fp32") -> float:
        """The least time for so many operations and so many bytes to and from main memory."""
        return max(flops / self.rate(precision), moved / self.bandwidth)


def measure_ceilings(threads: int | None = None, seconds: float = 0.3) -> Ceilings:
    """Measure this machine with so many threads (default: all usable cores); under a second for each figure.

    The best repetition counts: a ceiling is what was reached once. fp32 and bf16 are PyTorch's products
    of square matrices, int8 is ONNX Runtime's, copies are STREAM's `copy` (McCalpin, 1995; read and
    written bytes both count).

    Raises:
        InputError: fewer than one thread, or more than the usable cores.
    """
    threads = usable_cores() if threads is None else threads
    if not 1 <= threads <= usable_cores():
        raise InputError(f"threads must be 1 to {usable_cores()}, the cores that this process may use, not {threads}.")
    with timing_turn(), torch_threads(threads):
        flops = {precision: 2 * _SIDE[precision]**3 / _best_s(_product(precision, threads), seconds)
                 for precision in PRECISIONS}
        main, cached = (2 * size / _best_s(_copy(size), seconds) for size in (_MAIN_MEMORY, _CACHED))
    return Ceilings("this machine", flops, main, cached, threads)


def ceilings_by_threads(threads: Sequence[int] | None = None, seconds: float = 0.3) -> pd.DataFrame:
    """One row a thread count: threads, fp32, bf16, int8 (operations a second), bandwidth, cached (bytes a second)."""
    found = [measure_ceilings(count, seconds) for count in threads or range(1, usable_cores() + 1)]
    return pd.DataFrame([{"threads": one.threads, **one.flops, "bandwidth": one.bandwidth, "cached": one.cached}
                         for one in found])


def recorded_ceilings(frame: pd.DataFrame, name: str = "the recorded machine") -> Ceilings:
    """The ceilings in the last row of `ceilings_by_threads`."""
    row = frame.iloc[-1]
    return Ceilings(name, {precision: float(row[precision]) for precision in PRECISIONS}, float(row["bandwidth"]),
                    float(row["cached"]), int(row["threads"]), "recorded")


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
    while (began := time.perf_counter()) < until:
        work()
        best = min(best, time.perf_counter() - began)
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

"""Operations and bytes of a model's parts: counted by PyTorch, and by the tensors that operators touch."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from helpers.lab.errors import InputError
from helpers.lab.models.torch import ATTENTION_FLOPS
from helpers.lab.progress import Progress, silent

COLUMNS = ["layer", "kind", "flops", "bytes", "weight_bytes", "calls"]


class _Counting(TorchDispatchMode):
    """Adds up operations and bytes for the module at the top of `stack`."""

    def __init__(self, stack: list[str], weights: set[int]) -> None:
        super().__init__()
        self._stack, self._weights = stack, weights
        self._registry = FlopCounterMode(display=False, custom_mapping=ATTENTION_FLOPS).flop_registry
        self.rows: dict[str, dict[str, Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.is_view or func.overloadpacket is torch.ops.aten.detach:
            return out
        row = self.rows.setdefault(self._stack[-1], {"kind": "elementwise", "flops": 0, "bytes": 0,
                                                     "weight_bytes": 0, "calls": 0})
        if count := self._registry.get(func.overloadpacket):
            row["flops"] += int(count(*args, **kwargs, out_val=out))
            row["kind"] = "attention" if "attention" in func.overloadpacket.__name__ else "product"
        read, weights = self._read(func, args, kwargs, out)
        row["bytes"] += read + _bytes_of(out)
        row["weight_bytes"] += weights
        row["calls"] += 1
        return out

    def _read(self, func: Any, args: Any, kwargs: Any, out: Any) -> tuple[int, int]:
        """Bytes read, and those of them that are weights."""
        if func.overloadpacket is torch.ops.aten.embedding:  # reads the rows that are asked for, not the table
            return _bytes_of(out) + _bytes_of(args[1]), 0
        if func.overloadpacket in (torch.ops.aten.empty, torch.ops.aten.empty_like):
            return -_bytes_of(out), 0  # nothing is written yet
        tensors = {id(leaf): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}.values()
        weights = [leaf for leaf in tensors if leaf.untyped_storage().data_ptr() in self._weights]
        return sum(map(_bytes_of, tensors)), sum(map(_bytes_of, weights))


def _bytes_of(value: Any) -> int:
    return sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


@torch.no_grad()
def operators(module: nn.Module, *inputs: Tensor) -> pd.DataFrame:
    """One row for each part of the model that computes something itself, in the order of first use.

    Args:
        inputs: what the module is called with.

    Returns:
        Columns: layer (its name in the model), kind (product, attention or elementwise), flops, bytes read
        and written, weight_bytes (those of them that are parameters), calls (operators run).
        Bytes count each operator's tensors once, as if nothing stayed in a cache between operators.

    Raises:
        InputError: the module cannot be run with these inputs.

    >>> import torch
    >>> from helpers.hardware_codesign import operators
    >>> operators(torch.nn.Linear(3, 2, bias=False), torch.rand(5, 3))[["flops", "bytes"]].to_dict("records")
    [{'flops': 60, 'bytes': 124}]
    """
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    stack: list[str] = [""]
    counting = _Counting(stack, weights)
    with watching(module, stack.append, lambda _: stack.pop()):
        try:
            with torch.inference_mode(False), counting:  # inference mode hands linear layers over in one piece
                module(*inputs)
        except (TypeError, RuntimeError, IndexError) as error:
            raise InputError(f"The model does not run on these inputs: {str(error).splitlines()[0]}") from error
    rows = [{"layer": name or "(the model itself)", **row} for name, row in counting.rows.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


@torch.inference_mode()
def layer_seconds(module: nn.Module, *inputs: Tensor, rounds: int = 9,
                  progress: Progress = silent) -> dict[str, float]:
    """Median seconds that each part spends itself, without the parts inside of it.

    Raises:
        Cancelled: `progress` cancelled the work; asked before each round.
    """
    spent: dict[str, list[float]] = {}
    stack: list[list[Any]] = []  # name, when it began, seconds of its parts

    def enter(name: str) -> None:
        stack.append([name, _now(inputs), 0.0])

    def leave(_name: str) -> None:
        name, began, inside = stack.pop()
        took = _now(inputs) - began
        now.setdefault(name or "(the model itself)", []).append(took - inside)
        if stack:
            stack[-1][2] += took

    with watching(module, enter, leave):
        for number in range(rounds + 2):  # the first two warm up
            progress(number / (rounds + 2), f"round {number + 1} of {rounds + 2}")
            now: dict[str, list[float]] = {}
            module(*inputs)
            if number >= 2:
                for name, parts in now.items():
                    spent.setdefault(name, []).append(sum(parts))
    return {name: float(np.median(seconds)) for name, seconds in spent.items()}


def _now(inputs: tuple[Tensor, ...]) -> float:
    if any(one.is_cuda for one in inputs):
        torch.cuda.synchronize()
    return time.perf_counter()


@contextlib.contextmanager
def watching(module: nn.Module, enter: Callable[[str], None], leave: Callable[[str], object]) -> Iterator[None]:
    """Call `enter(name)` and `leave(name)` around each part of the model."""
    def calling(tell: Callable[[str], object], name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:  # what a hook returned would take the place of the output
            tell(name)
        return hook

    handles = []
    for name, part in module.named_modules():
        handles.append(part.register_forward_pre_hook(calling(enter, name)))
        handles.append(part.register_forward_hook(calling(leave, name), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

"""Settings beneath the model, each switched on and off and measured: libraries, and passes over ONNX graphs."""

import contextlib
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import torch
from torch import nn

from helpers.hardware_codesign.roofline.peaks import torch_threads
from helpers.lab.errors import InputError, reason
from helpers.lab.exporting.graph import onnx_graph
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.intervals import ratio_of_medians
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent

_LEVELS = {"none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
           "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
           "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
           "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL}


def compare_switches(model: TorchTextModel, *, batch: int = 8, length: int = 64, rounds: int = 9,
                     progress: Progress = silent) -> pd.DataFrame:
    """Each switch on and off, in turns: columns switch, on, off (words), gain, low, high, on_ms, off_ms, note.

    `gain` is the time without over the time with; its interval is 95%. A switch that this machine lacks keeps its
    row, with a sentence.

    Raises:
        InputError: a batch or length below 1.
    """
    if batch < 1 or length < 1:
        raise InputError("Switches are measured on a batch of at least one row of at least one token.")
    encoder = _encoder(model, batch, length)
    switches, rows = [*_encoder_switches(encoder), *_convolution_switches()], []
    with timing_turn(progress), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TF32 acceleration")  # said of Intel's GPUs whenever oneDNN is switched
        for number, switch in enumerate(switches):
            progress(number / len(switches), switch[0])
            rows.append(_measured(*switch, rounds))
    rows.append(_cudnn())
    progress(1.0, "done")
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
    try:
        seconds = seconds_in_turns({"on": with_it, "off": without}, rounds)
    except RuntimeError as error:
        return {"switch": switch, "on": on, "off": off, "note": f"Not here: {reason(error)}"}
    gain, low, high = ratio_of_medians(seconds["off"], seconds["on"])
    return {"switch": switch, "on": on, "off": off, "gain": gain, "low": low, "high": high,
            "on_ms": 1000 * float(np.median(seconds["on"])), "off_ms": 1000 * float(np.median(seconds["off"])),
            "note": ""}


def _cudnn() -> dict:
    note = ("" if torch.backends.cudnn.is_available() else
            "Not here: cuDNN needs an NVIDIA GPU and a build of PyTorch for it.")
    return {"switch": "cuDNN", "on": "cuDNN", "off": "PyTorch's own", "note": note}


def graph_levels(model: TorchTextModel, texts: list[str], *, rounds: int = 9,
                 progress: Progress = silent) -> pd.DataFrame:
    """Each graph level of ONNX Runtime, its transformer optimizer, and I/O binding, in turns on one batch.

    Returns:
        Columns: level, nodes, fused (the operators that the plain graph has not, with their number), speedup, low,
        high (over the level 'none'), median_ms.

    Raises:
        InputError: no texts.
    """
    if not texts:
        raise InputError("Graph levels are timed on texts: give at least one.")
    ids, mask = model.encoder.pad(model.encoder.encode(texts))
    feed = {"input_ids": ids, "attention_mask": mask}
    with tempfile.TemporaryDirectory() as name:
        progress(0.0, "exporting and optimizing")
        folder = Path(name)
        plain = folder / "plain.onnx"
        plain.write_bytes(onnx_graph(model))
        calls, graphs = {}, {}
        for level, value in _LEVELS.items():
            session = _session(plain, value, folder / f"{level}.onnx")
            calls[level], graphs[level] = _run(session, feed), folder / f"{level}.onnx"
        calls["all, I/O binding"], graphs["all, I/O binding"] = _bound(session, feed), graphs["all"]
        fused = _transformer_optimizer(plain, folder / "optimizer.onnx", model)
        calls["optimizer for BERT"], graphs["optimizer for BERT"] = _run(_session(fused, _LEVELS["all"]), feed), fused
        before = Counter(node.op_type for node in onnx.load(plain, load_external_data=False).graph.node)
        with timing_turn(progress):
            seconds = seconds_in_turns(calls, rounds, progress=progress.part(0.5, 1.0))
        progress(1.0, "done")
        return pd.DataFrame([_row(level, graphs[level], before, seconds) for level in calls])


def _row(level: str, graph: Path, before: Counter, seconds: dict[str, np.ndarray]) -> dict:
    now = Counter(node.op_type for node in onnx.load(graph, load_external_data=False).graph.node)
    new = [f"{name} {count}" for name, count in sorted(now.items()) if name not in before and name != "Constant"]
    ratio, low, high = ratio_of_medians(seconds["none"], seconds[level])
    return {"level": level, "nodes": sum(now.values()), "fused": ", ".join(new) or "nothing", "speedup": ratio,
            "low": low, "high": high, "median_ms": 1000 * float(np.median(seconds[level]))}


def _session(graph: Path, level: onnxruntime.GraphOptimizationLevel,
             written: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    if written:
        options.optimized_model_filepath = str(written)
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray]) -> Callable[[], object]:
    return lambda: session.run(["logits"], feed)


def _bound(session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray]) -> Callable[[], object]:
    """Inputs and outputs stay where they are between calls."""
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_cpu_input(name, array)
    binding.bind_output("logits")
    return lambda: session.run_with_iobinding(binding)


def _transformer_optimizer(plain: Path, target: Path, model: TorchTextModel) -> Path:
    """onnxruntime.transformers.optimizer: fuses whole attention blocks where it knows their pattern."""
    from onnxruntime.transformers import optimizer

    config = model.module.config
    fused = optimizer.optimize_model(str(plain), "bert", num_heads=config.num_attention_heads,
                                     hidden_size=config.hidden_size)
    fused.save_model_to_file(str(target))
    return target

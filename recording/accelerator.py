"""Write how much of an NVIDIA GPU's data sheet is reached, from a real run on one: an encoder, and a decoder.

python -m recording.accelerator [FOLDER]

Weights are random: speed depends on shapes alone. Each process measures everything once, so that the spread over
processes is that of a second run.
"""

import concurrent.futures
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

import helpers
from helpers.lab.language.sheet import DECODERS, Decoder
from helpers.lab.measuring.recorded import write_table

FOLDER = Path(helpers.__file__).parent / "facts" / "recorded"
PROCESSES = 3
BATCHES, LENGTHS = (1, 8, 64, 256, 1024), (16, 64, 256)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
LLAMA = {"name": "Llama 3.1 8B", "width": 4096, "hidden": 14336, "vocabulary": 128256}
PROMPTS, STEPS = (16, 128, 512, 1024, 4096), ((1, 128), (1, 1024), (1, 4096), (8, 1024), (32, 1024), (64, 1024))


class Layer(nn.Module):
    """A decoder's layer as Llama has it, without the rotation of positions (a millionth of the work)."""

    def __init__(self, shape: Decoder, width: int, hidden: int) -> None:
        super().__init__()
        self.sizes = [shape.heads * shape.head_size, *[shape.kv_heads * shape.head_size] * 2]
        self.head_size = shape.head_size
        self.before, self.between = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, sum(self.sizes), bias=False)
        self.out = nn.Linear(self.sizes[0], width, bias=False)
        self.gate_up, self.down = nn.Linear(width, 2 * hidden, bias=False), nn.Linear(hidden, width, bias=False)

    def forward(self, states: Tensor, keys: Tensor | None, values: Tensor | None) -> Tensor:
        """(batch, length, width) -> the same; `keys` and `values` (batch, kv heads, context, head size) of earlier
        tokens, or None where a prompt is read."""
        batch, length, _ = states.shape
        query, key, value = (part.view(batch, length, -1, self.head_size).transpose(1, 2)
                             for part in self.qkv(self.before(states)).split(self.sizes, dim=-1))
        if keys is not None:
            keys[:, :, -1:], values[:, :, -1:] = key, value  # the new token takes the last place
            key, value = keys, values
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=keys is None, enable_gqa=True)
        states = states + self.out(mixed.transpose(1, 2).reshape(batch, length, -1))
        gate, up = self.gate_up(self.between(states)).chunk(2, dim=-1)
        return states + self.down(functional.silu(gate) * up)


class RandomDecoder(nn.Module):
    """A decoder with random weights, of any shape."""

    def __init__(self, shape: Decoder, width: int, hidden: int, vocabulary: int) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Layer(shape, width, hidden) for _ in range(shape.layers))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids: Tensor, cache: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """The most likely token after the last one: (batch, length) -> (batch,)."""
        states = self.embedding(ids)
        for number, layer in enumerate(self.layers):
            states = layer(states, *(cache[number] if cache else (None, None)))
        return self.head(self.norm(states[:, -1])).argmax(-1)

    def cache(self, batch: int, context: int) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of `context` tokens for each layer, random."""
        like, size = self.head.weight, (batch, self.shape.kv_heads, context, self.shape.head_size)
        return [tuple(torch.randn(size, dtype=like.dtype, device=like.device) for _ in range(2)) for _ in self.layers]


def seconds_of_call(work: Callable[[], object], calls: int = 20) -> float:
    """Median seconds by the GPU's own clock, after three calls to warm up."""
    for _ in range(3):
        work()
    spent = []
    for _ in range(calls):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        work()
        ended.record()
        ended.synchronize()
        spent.append(began.elapsed_time(ended) / 1000)
    return float(np.median(spent))


def captured(work: Callable[[], object]) -> Callable[[], object]:
    """The same kernels, launched as one: a CUDA graph, as inference servers do."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


@torch.inference_mode()
def encoder_rows() -> list[dict]:
    """MiniLM-L6's shape over precision, batch and length, each kernel launched by itself and all as one."""
    from transformers import AutoModel, BertConfig

    module = AutoModel.from_config(BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
                                              intermediate_size=1536)).eval()
    rows = []
    for precision, dtype in PRECISIONS.items():
        module = module.to("cuda", dtype)
        for batch in BATCHES:
            for length in LENGTHS:
                ids = torch.randint(0, 1000, (batch, length), device="cuda")
                for launched, call in (("one by one", lambda: module(ids)), ("as one", captured(lambda: module(ids)))):  # noqa: B023 - called at once
                    rows.append({"precision": precision, "batch": batch, "length": length, "launched": launched,
                                 "seconds": seconds_of_call(call)})
    return rows


@torch.inference_mode()
def decoder_rows() -> list[dict]:
    """Reading a prompt, and one more token for each of a batch, in bf16."""
    sizes = {key: value for key, value in LLAMA.items() if key != "name"}
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = RandomDecoder(DECODERS[LLAMA["name"]], **sizes).eval()
        torch.set_default_dtype(torch.float32)
    rows = []
    for prompt in PROMPTS:
        ids = torch.randint(0, 1000, (1, prompt), device="cuda")
        rows.append({"model": LLAMA["name"], "phase": "prefill", "batch": 1, "context": prompt,
                     "seconds": seconds_of_call(lambda: model(ids))})  # noqa: B023 - called at once
    for batch, context in STEPS:
        ids, cache = torch.randint(0, 1000, (batch, 1), device="cuda"), model.cache(batch, context)
        rows.append({"model": LLAMA["name"], "phase": "decode", "batch": batch, "context": context,
                     "seconds": seconds_of_call(captured(lambda: model(ids, cache)))})  # noqa: B023 - called at once
    return rows


def measured() -> tuple[list[dict], list[dict]]:
    """Both tables of one process."""
    return encoder_rows(), decoder_rows()


def record(folder: Path = FOLDER) -> None:
    """Both tables, from several processes."""
    tables: tuple[list, list] = ([], [])
    spawn = multiprocessing.get_context("spawn")
    for process in range(PROCESSES):
        with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
            for table, rows in zip(tables, pool.submit(measured).result(), strict=True):
                table += [{"process": process, **row} for row in rows]
    for name, rows in zip(("encoder", "decoder"), tables, strict=True):
        frame = pd.DataFrame(rows)
        write_table(folder / f"3_hardware_codesign_gpu_{name}.json", frame)
        print(frame.to_string(index=False), flush=True)


if __name__ == "__main__":
    record(*map(Path, sys.argv[1:]))

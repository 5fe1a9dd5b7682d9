"""A language model cut by layers over real processes of this machine, which send hidden values on by gloo."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from torch import Tensor, nn

from helpers.cloud_distributed.training.communication import Link
from helpers.cloud_distributed.training.workers import run_workers
from helpers.lab.errors import InputError
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.progress import Progress, silent


@dataclasses.dataclass(frozen=True)
class ShardedRuns:
    """One process and several, on the same prompts.

    Attributes:
        frame: a row a setting, the whole model in one process first: setting, token_ms (median), low_ms, high_ms
            (2.5 and 97.5% of all tokens), tokens_per_s, predicted_ms (of a slower link; else NaN), same_answers.
        answers: setting -> token ids of each prompt's answer.
        layers, weight_bytes: of each process. sent_bytes: of all processes together, for each further token.
    """

    frame: pd.DataFrame
    answers: dict[str, list[list[int]]]
    layers: tuple[int, ...]
    weight_bytes: tuple[int, ...]
    sent_bytes: int

    def sentence(self) -> str:
        """The finding, computed from the figures."""
        alone, cut = self.frame.iloc[0], self.frame.iloc[1]
        same = "the same answers as" if self.frame["same_answers"].all() else "other answers than"
        slower = "; ".join(f"{row.setting} {row.tokens_per_s:.1f}" for row in self.frame[2:].itertuples())
        return (f"{len(self.layers)} processes with {' and '.join(map(str, self.layers))} layers give {same} one with "
                f"all. Tokens a second of one sequence: {alone['tokens_per_s']:.1f} in one process, "
                f"{cut['tokens_per_s']:.1f} cut{f'; {slower}' if slower else ''}. Each further token sends "
                f"{self.sent_bytes:,} bytes. The largest part holds {max(self.weight_bytes) / 1e6:,.0f} MB of weights.")


def run_sharded(load: Callable[[], nn.Module], prompts: Sequence[Sequence[int]], tokens: int = 16, *,
                links: Mapping[str, Link] | None = None, workers: int = 2,
                progress: Progress = silent) -> ShardedRuns:
    """Write answers with the whole model in one process, then with its layers cut over several.

    Args:
        load: gives a causal language model of transformers in each process, such as
            `lambda: load_language_model("smollm2", "transformers").module`. Its body must be a list `model.layers`.
        prompts: (texts,) lists of token ids. Of each, `tokens` are written greedily, an end token among them or not.
        links: name -> a slower link: each message waits its latency and its bytes' time before it is sent, in the same
            processes. What that should cost is predicted from the run without it.

    Each process has one thread, also the one that works alone. Every process loads all weights and then gives up what
    is not its part.

    Raises:
        InputError: no prompt, an empty one, no token, more processes than layers, or a model of another make.
        Cancelled: by `progress`.
    """
    if not prompts or not all(len(ids) for ids in prompts) or tokens < 2 or workers < 2:
        raise InputError("Give one prompt or more, none of them empty, two tokens or more and two workers or more.")
    links = links or {}
    with timing_turn():
        reports = run_workers(functools.partial(_work, load, [list(ids) for ids in prompts], tokens, links), workers,
                           progress=progress)
    runs, sent = reports[0]["runs"], [size for one in reports for size in one["sent"]]
    return ShardedRuns(_frame(runs, links, sent), {name: answers for name, (answers, _) in runs.items()},
                       tuple(one["layers"] for one in reports), tuple(one["weight_bytes"] for one in reports),
                       sum(sent))


def _frame(runs: Mapping[str, tuple[list, np.ndarray]], links: Mapping[str, Link], sent: list[int]) -> pd.DataFrame:
    (whole, _), (_, cut_s), *_ = runs.values()
    rows = []
    for name, (answers, seconds) in runs.items():
        low, middle, high = 1e3 * np.quantile(seconds, [0.025, 0.5, 0.975])
        link = links.get(name)
        waits = sum(link.latency_s + size / link.bytes_per_s for size in sent) if link else np.nan
        rows.append({"setting": name, "token_ms": middle, "low_ms": low, "high_ms": high, "tokens_per_s": 1e3 / middle,
                     "predicted_ms": 1e3 * (float(np.median(cut_s)) + waits), "same_answers": answers == whole})
    return pd.DataFrame(rows)


def _work(load: Callable[[], nn.Module], prompts: list[list[int]], tokens: int, links: Mapping[str, Link]) -> dict:
    """In a worker: the whole model in the first one, while the others wait; then its part, over each link."""
    module, rank, workers = load().eval(), dist.get_rank(), dist.get_world_size()
    _require_layers(module, workers)
    runs = {}
    with torch.inference_mode():
        if rank == 0:
            runs["one process"] = _Stage(module, 0, 1).answers(prompts, tokens, None)
        dist.barrier()
        stage = _Stage(module, rank, workers)
        stage.answers(prompts[:1], 2, None)  # connections are made at the first message
        for name, link in {f"{workers} processes": None, **links}.items():
            dist.barrier()
            runs[name] = stage.answers(prompts, tokens, link)
    held = sum(parameter.numel() * parameter.element_size() for parameter in stage.parts())
    return {"runs": runs, "layers": len(module.model.layers), "weight_bytes": held, "sent": stage.messages()}


def _require_layers(module: nn.Module, workers: int) -> None:
    layers = getattr(getattr(module, "model", None), "layers", None)
    if layers is None or not hasattr(module, "lm_head"):
        raise InputError(f"{type(module).__name__} has no model.layers and lm_head: choose a model built as Llama is.")
    if len(layers) < workers:
        raise InputError(f"{len(layers)} layers cannot be cut over {workers} processes: start fewer.")


class _Stage:
    """Layers rank * n / workers up to (rank + 1) * n / workers of a model, which is cut to them."""

    def __init__(self, module: nn.Module, rank: int, workers: int) -> None:
        self.module, self.body, self.rank, self.workers = module, module.model, rank, workers
        count = len(self.body.layers)
        self.body.layers = self.body.layers[rank * count // workers:(rank + 1) * count // workers]
        for place, layer in enumerate(self.body.layers):  # its place in the cache of keys and values
            layer.self_attn.layer_idx = place
        self.body.config.num_hidden_layers = len(self.body.layers)
        if not self.last:
            self.body.norm = nn.Identity()

    @property
    def last(self) -> bool:
        """Whether it gives the token."""
        return self.rank == self.workers - 1

    def parts(self) -> list[nn.Parameter]:
        """The weights that it needs: embedding at the first, norm and head at the last."""
        needed = [self.body.layers, *([self.body.embed_tokens] if self.rank == 0 else []),
                  *([self.body.norm, self.module.lm_head] if self.last else [])]
        return list({id(one): one for part in needed for one in part.parameters()}.values())

    def messages(self) -> list[int]:
        """Bytes of each message on a further token's way round; all processes know them, each counts its own."""
        width = self.body.config.hidden_size * self.module.dtype.itemsize
        return [8] if self.last else [width]

    def answers(self, prompts: list[list[int]], tokens: int, link: Link | None) -> tuple[list[list[int]], np.ndarray]:
        """Token ids of each answer (from the first process), and (texts * (tokens - 1),) seconds of further tokens."""
        from transformers.cache_utils import DynamicCache

        written, seconds = [], []
        for ids in prompts:
            cache, step, answer = DynamicCache(config=self.body.config), torch.tensor([ids]), []
            for _ in range(tokens):
                began = time.perf_counter()
                token = self._token(step, cache, link)
                seconds.append(time.perf_counter() - began)
                answer.append(token)
                step = torch.tensor([[token]])
            written.append(answer)
            del seconds[-tokens]  # that of the first token reads the prompt
        return written, np.array(seconds)

    def _token(self, ids: Tensor, cache: Any, link: Link | None) -> int:
        """The next token; processes between the first and the last only learn its shape, not what it is."""
        if self.rank == 0:
            inside = {"input_ids": ids}
        else:
            hidden = torch.empty(1, ids.shape[1], self.body.config.hidden_size, dtype=self.module.dtype)
            dist.recv(hidden, self.rank - 1)
            inside = {"inputs_embeds": hidden}
        hidden = self.body(**inside, past_key_values=cache, use_cache=True).last_hidden_state  # (1, tokens, hidden)
        token = torch.zeros(1, dtype=torch.int64)
        if self.last:
            token = self.module.lm_head(hidden[:, -1]).argmax(-1)
            if self.workers > 1:
                _send(token, 0, link)
        else:
            _send(hidden, self.rank + 1, link)
            if self.rank == 0:
                dist.recv(token, self.workers - 1)
        return int(token)


def _send(values: Tensor, to: int, link: Link | None) -> None:
    if link is not None:
        time.sleep(link.latency_s + values.nbytes / link.bytes_per_s)
    dist.send(values.contiguous(), to)

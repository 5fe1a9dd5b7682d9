"""transformers, the reference: fp32 weights in PyTorch, one request at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from helpers.lab.errors import InputError
from helpers.lab.language.engines.model import WEIGHTS, LocalModel

_CHUNK = 128  # prompt tokens that are read in one go: a fraction of a second for a small model


class TransformersModel(LocalModel):
    """The reference: fp32 weights in PyTorch, one request at a time."""

    engine = "transformers"

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, context: int, ends: Sequence[int],
                 stored: int, module: Any, path: Path | None = None) -> None:
        super().__init__(name, tokenizer, context, ends, stored, path)
        self.module = module.eval()

    def _stream(self, rows, limit, form, ended):
        if form is not None:
            raise InputError("transformers cannot hold answers to a form: use engine='openvino' or 'llama.cpp'.")
        for row, ids in enumerate(rows):
            cache = self._cache()
            for part in _chunks(ids):
                logits = self._forward([part], cache)
                yield None, []
            for _ in range(limit):
                token = int(logits.argmax(-1))
                yield row, [token]
                if row in ended:
                    break
                logits = self._forward([[token]], cache)

    def _score(self, prefix, rows, progress):
        import torch
        from torch.nn import functional

        cache = self._cache()
        for part in _chunks(prefix):
            logits = self._forward([part], cache)
            progress.check()
        first = functional.log_softmax(logits.double(), -1)[0]                      # (vocabulary,)
        # Padded on the right: in a causal model, what comes later changes nothing before it.
        longest, padding = max(map(len, rows)), rows[0][-1]
        padded = [row + [padding] * (longest - len(row)) for row in rows]
        ids = torch.tensor(padded, device=logits.device)                            # (answers, longest)
        cache.batch_repeat_interleave(len(rows))
        after = functional.log_softmax(self._forward([row[:-1] for row in padded], cache, keep=0).double(), -1)
        written = after.gather(2, ids[:, 1:, None])[..., 0]                         # (answers, longest - 1)
        return np.array([float(first[row[0]]) + float(written[index, :len(row) - 1].sum())
                         for index, row in enumerate(rows)])

    def _save(self, folder):
        if self.path is not None:
            return super()._save(folder)
        for part in (self.module, self.tokenizer):
            part.save_pretrained(folder / WEIGHTS)
        return {}

    def _cache(self) -> Any:
        from transformers.cache_utils import DynamicCache

        return DynamicCache(config=self.module.config)

    def _forward(self, ids: list[list[int]], cache: Any, keep: int = 1) -> Any:
        """(rows, vocabulary) logits of the last token; of all tokens with keep=0."""
        import torch

        with torch.inference_mode():
            held = torch.tensor(ids, device=self.module.device)
            logits = self.module(held, past_key_values=cache, use_cache=True, logits_to_keep=keep).logits
        return logits[:, -1] if keep else logits


def _chunks(ids: list[int]) -> list[list[int]]:
    """A prompt in parts, so that Cancel is heard between them."""
    return [ids[start:start + _CHUNK] for start in range(0, len(ids), _CHUNK)]

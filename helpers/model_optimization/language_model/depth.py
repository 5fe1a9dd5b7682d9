"""Depth pruning of a language model: whole blocks taken out, the least missed ones first, and a short recovery."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from torch import nn

from helpers.lab.errors import InputError
from helpers.lab.language.engines.transformers import TransformersModel
from helpers.lab.language.perplexity import NegativeLogLikelihood, negative_log_likelihood
from helpers.lab.language.tuning import tuned_on
from helpers.lab.measuring.intervals import significant_of_many
from helpers.lab.progress import Progress, silent
from helpers.model_optimization.language_model.weight_types import module_of, rows_of

DROPS = (2, 4, 8)
RANKED_ON = 16  # texts


def without_blocks(module: nn.Module, blocks: Sequence[int]) -> nn.Module:
    """A copy of a causal model without some of its blocks; its residual stream passes them by.

    Args:
        module: one of transformers' causal models whose blocks stand in `base_model.layers`.
        blocks: their numbers, from 0.

    Raises:
        InputError: no such blocks in the module, a number that there is not, or no block left.

    >>> from helpers.model_optimization.language_model.depth import without_blocks
    >>> len(without_blocks(llm.module, [3, 4]).base_model.layers)  # doctest: +SKIP
    28
    """
    layers = getattr(module.base_model, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise InputError(f"A {module.config.model_type} does not keep its blocks in a list 'layers': choose a model of "
                         "the Llama or Qwen kind.")
    removed = set(blocks)
    if not removed <= set(range(len(layers))) or len(removed) == len(layers):
        raise InputError(f"The model has blocks 0 to {len(layers) - 1}, of which at least one stays: not without "
                         f"{', '.join(map(str, sorted(removed)))}.")
    fewer = copy.deepcopy(module)
    fewer.base_model.layers = nn.ModuleList(layer for number, layer in enumerate(fewer.base_model.layers)
                                            if number not in removed)
    for number, layer in enumerate(fewer.base_model.layers):
        layer.self_attn.layer_idx = number  # its place in the cache of keys and values
    if kinds := getattr(fewer.config, "layer_types", None):
        fewer.config.layer_types = [kind for number, kind in enumerate(kinds) if number not in removed]
    fewer.config.num_hidden_layers = len(fewer.base_model.layers)
    return fewer


def rank_blocks(llm: TransformersModel, texts: Sequence[str], *, progress: Progress = silent) -> pd.DataFrame:
    """Each block taken out alone: what perplexity does.

    Returns:
        A row a block, the least missed first: columns block, perplexity, ratio (over that of the whole model).

    Raises:
        InputError: a model of an engine that shows no weights or of another kind, or no text of two tokens.
        Cancelled: the caller of `progress` wants an end.
    """
    module, rows = module_of(llm), rows_of(llm, texts)
    count, ratios = module.config.num_hidden_layers, []
    whole = negative_log_likelihood(module, rows, progress=progress.part(0.0, 1 / (count + 1)))
    for block in range(count):
        progress((block + 1) / (count + 1), f"without block {block} of {count}")
        likelihood = negative_log_likelihood(without_blocks(module, [block]), rows)
        ratios.append({"block": block, "perplexity": likelihood.perplexity, "ratio": likelihood.ratio(whole)[0]})
    progress(1.0, "done")
    return pd.DataFrame(ratios).sort_values("perplexity", ignore_index=True)


def depth_against_perplexity(llm: TransformersModel, texts: Sequence[str], train: Sequence[str], *,
                             drops: Sequence[int] = DROPS, epochs: float = 1.0, seed: int = 0,
                             progress: Progress = silent) -> pd.DataFrame:
    """The model without its least missed blocks, as it is then, and after a short tuning of all weights.

    Blocks are ranked on `train`, one at a time, and taken out together (Kim et al., Shortened LLaMA, arXiv
    2402.02834). The whole model is tuned as long, too: what tuning alone gives is no merit of the pruning.

    Args:
        texts: unseen ones, on which perplexity is measured.
        train: the first RANKED_ON rank the blocks, and all of them tune the models.
        drops: how many blocks are removed, one model for each number.
        epochs: of the recovery, over `train`.

    Returns:
        The whole model, the whole model tuned, then two rows for each drop: columns name, blocks, recovered, megabytes
        (of 16-bit weights), perplexity, low, high, ratio, ratio_low, ratio_high (95%, over the whole model's, which
        is tuned where this one is), significant (the ratio, all rows read together), dropped (the blocks' numbers).

    Raises:
        InputError: as `rank_blocks`; or a number of blocks that cannot go.
        Cancelled: the caller of `progress` wants an end.

    >>> from helpers.model_optimization import depth_against_perplexity
    >>> depth_against_perplexity(llm, unseen, seen)[["name", "ratio"]]  # doctest: +SKIP
    """
    module, rows = module_of(llm), rows_of(llm, texts)
    if not all(1 <= drop < module.config.num_hidden_layers for drop in drops):
        raise InputError(f"Of {module.config.num_hidden_layers} blocks 1 to {module.config.num_hidden_layers - 1} can "
                         f"go, not {', '.join(map(str, drops))}.")
    ranked = rank_blocks(llm, train[:RANKED_ON], progress=progress.part(0.0, 0.3))["block"].tolist()
    records, references, learned = [], {}, llm.encode(train)
    for number, drop in enumerate((0, *drops)):
        part = progress.part(0.3 + 0.7 * number / (len(drops) + 1), 0.3 + 0.7 * (number + 1) / (len(drops) + 1))
        fewer = copy.copy(llm)
        fewer.module = without_blocks(module, ranked[:drop]).eval()
        for recovered in (False, True):
            one = (tuned_on(fewer, learned, epochs=epochs, seed=seed, progress=part.part(0.2, 0.8)) if recovered
                   else fewer.module)
            likelihood = negative_log_likelihood(one, rows, progress=part.part(0.8, 1.0) if recovered
                                                 else part.part(0.0, 0.2))
            references.setdefault(recovered, likelihood)
            records.append(_row(fewer.module, recovered, likelihood, references[recovered], sorted(ranked[:drop])))
    progress(1.0, "done")
    frame = pd.DataFrame(records)
    frame["significant"] = significant_of_many(frame.pop("p"))
    return frame


def _row(module: nn.Module, recovered: bool, likelihood: NegativeLogLikelihood, reference: NegativeLogLikelihood,
         dropped: Sequence[int]) -> dict[str, Any]:
    blocks, (low, high) = module.config.num_hidden_layers, likelihood.interval()
    after = "" if not recovered else ", recovered" if dropped else ", tuned as long"
    ratio = dict(zip(("ratio", "ratio_low", "ratio_high"), likelihood.ratio(reference), strict=True))
    return {"name": f"{blocks} blocks{after}", "blocks": blocks, "recovered": recovered,
            "megabytes": 2 * sum(weight.numel() for weight in module.parameters()) / 1e6,
            "perplexity": likelihood.perplexity, "low": low, "high": high, **ratio,
            "p": math.nan if likelihood is reference else likelihood.p_value(reference),
            "dropped": ", ".join(map(str, dropped))}

"""One model over several accelerators on paper: cut across each matrix, or by layers; what either sends, counted."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from helpers.cloud_distributed.language_serving.engine import REDUCTIONS, hidden_bytes, paper_engine
from helpers.cloud_distributed.training.communication import Link
from helpers.lab.errors import InputError
from helpers.lab.facts import device_memory
from helpers.lab.language.sheet import DecoderSheet


def parallel_costs(sheet: DecoderSheet, links: Mapping[str, Link], *, accelerators: Sequence[int] = (1, 2, 4, 8),
                   batch: int = 32, context: int = 1000, prompt: int = 1000) -> pd.DataFrame:
    """Seconds and bytes of one model on several accelerators, joined by each of the links.

    Args:
        links: name -> between neighbours. batch: sequences that are written together, of `context` tokens each.
        prompt: tokens that are read before a first token.

    Returns:
        A row a way, link and number: way, link, accelerators, fits, first_ms (a prompt alone), token_ms (of each
        sequence), tokens_per_s (of all), messages and kilobytes that an accelerator sends for a token of all
        sequences. NaN where the weights do not fit.

    Tensor parallel (Shoeybi et al., Megatron-LM, 2019): all work on each layer and sum up twice in it, in a ring.
    Pipeline parallel (Huang et al., GPipe, 2019): each has some of the layers, and as many groups of sequences are on
    their way as there are stages; one sequence alone is not faster, it only fits.

    Raises:
        InputError: counts below 1, or heads that cannot be divided so.

    >>> from helpers.cloud_distributed import Link, parallel_costs
    >>> from helpers.lab import DECODERS, DecoderSheet
    >>> sheet = DecoderSheet(DECODERS["Llama 3.1 8B"], "NVIDIA H100 SXM")
    >>> frame = parallel_costs(sheet, {"Ethernet": Link.given(5e-5, 1.25e9, "10 Gbit/s")}, accelerators=[2])
    >>> frame["messages"].tolist()
    [128, 2]
    """
    if min(batch, context, prompt, *accelerators) < 1:
        raise InputError("Accelerators, sequences and tokens are counted from 1.")
    rows = []
    for name, link in links.items():
        for count in accelerators:
            fits = count * device_memory(sheet.device) * sheet.efficiency.memory >= sheet.weight_bytes
            for way, times in (("tensor", _tensor), ("pipeline", _pipeline)):
                first_s, token_s, messages, sent = (times(sheet, link, count, batch, context, prompt) if fits
                                                    else (np.nan,) * 4)
                rows.append({"way": way, "link": name, "accelerators": count, "fits": fits, "first_ms": 1e3 * first_s,
                             "token_ms": 1e3 * token_s, "tokens_per_s": batch / token_s, "messages": messages,
                             "kilobytes": sent / 1e3})
    return pd.DataFrame(rows)


def _tensor(sheet: DecoderSheet, link: Link, count: int, batch: int, context: int,
            prompt: int) -> tuple[float, float, int, float]:
    engine = paper_engine(sheet, count, link)
    rounds = 2 * (count - 1)  # of a ring all-reduce
    calls = REDUCTIONS * sheet.model.layers
    return (float(engine.step_s(prompt, 0, prompt * (prompt + 1) / 2, prompt)),
            float(engine.step_s(0, batch, batch * context, batch * context)), calls * rounds,
            calls * rounds / count * batch * hidden_bytes(sheet))


def _pipeline(sheet: DecoderSheet, link: Link, count: int, batch: int, context: int,
              prompt: int) -> tuple[float, float, int, float]:
    """A token's way through all stages; beside it others' tokens are at the other stages."""
    groups = min(count, batch)
    each = batch / groups
    stage_s = sheet.step_s(each, each * context, each * context) / count
    hops = count - 1
    hop_s = (link.latency_s + each * hidden_bytes(sheet) / link.bytes_per_s) if hops else 0.0
    first_s = sheet.prefill_s(prompt) + hops * (link.latency_s + prompt * hidden_bytes(sheet) / link.bytes_per_s)
    return first_s, count * stage_s + count * hop_s, min(hops, 1) * groups, min(hops, 1) * batch * hidden_bytes(sheet)

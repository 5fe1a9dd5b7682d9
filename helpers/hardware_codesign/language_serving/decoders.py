"""Large language models on paper: prefill and decode under the roofline, and dollars per million tokens by bits.

Prefill is mostly arithmetic, decode mostly memory traffic (Pope et al., MLSys 2023).
"""

import dataclasses
from collections.abc import Sequence

import pandas as pd

from helpers.hardware_codesign.roofline.data_sheets import device_bytes, device_ceilings, device_of
from helpers.lab.errors import InputError
from helpers.lab.money.costs import offers, read_facts

BITS = (16, 8, 4)
_COMPUTE_REACHED, _BANDWIDTH_REACHED, _MEMORY_SHARE = 0.6, 0.8, 0.9  # assumptions; measure yours
_LARGEST_BATCH = 512


@dataclasses.dataclass(frozen=True)
class Decoder:
    """The figures of a model's config.json that its cost depends on; keys and values take 2 bytes a number."""

    parameters: float
    layers: int
    heads: int
    kv_heads: int
    head_size: int

    @property
    def kv_bytes(self) -> float:
        """Bytes of keys and values that each token leaves in memory."""
        return 2 * self.layers * self.kv_heads * self.head_size * 2

    def weight_bytes(self, bits: int) -> float:
        """Bytes of the weights; the scales of 4 and 8 bits add some 3 % that are left out."""
        return self.parameters * bits / 8


DECODERS = {  # huggingface.co: the config.json of each
    "Llama 3.1 8B": Decoder(8.03e9, 32, 32, 8, 128),
    "Llama 3.1 70B": Decoder(70.6e9, 80, 64, 8, 128),
    "Qwen2.5 1.5B": Decoder(1.54e9, 28, 12, 2, 128),
    "Mistral 7B v0.3": Decoder(7.25e9, 32, 32, 8, 128),
}


def prefill_s(model: Decoder, device: str, tokens: int, bits: int = 16) -> float:
    """Seconds to read a prompt: 2 operations a weight and token, and attention to half of the others on average.

    Weights of fewer than 16 bits are computed in bf16 here: weight-only quantization saves bytes, not operations.
    """
    roof = device_ceilings(device)
    flops = 2 * model.parameters * tokens + 2 * model.layers * model.heads * model.head_size * tokens**2
    return max(flops / (_compute(device) * _COMPUTE_REACHED),
               model.weight_bytes(bits) / (roof.bandwidth * _BANDWIDTH_REACHED))


def decode_step_s(model: Decoder, device: str, batch: int, context: int, bits: int = 16) -> float:
    """Seconds until each of `batch` sequences has one token more: weights are read once, keys and values each."""
    roof = device_ceilings(device)
    moved = model.weight_bytes(bits) + batch * context * model.kv_bytes
    flops = batch * (2 * model.parameters + 4 * model.layers * model.heads * model.head_size * context)
    return max(moved / (roof.bandwidth * _BANDWIDTH_REACHED), flops / (_compute(device) * _COMPUTE_REACHED))


def largest_batch(model: Decoder, device: str, context: int, bits: int = 16) -> int:
    """Sequences whose keys and values fit beside the weights; 0 where not even one does."""
    room = _MEMORY_SHARE * device_bytes(device) - model.weight_bytes(bits)
    return max(0, min(_LARGEST_BATCH, int(room // (context * model.kv_bytes))))


def token_costs(model: Decoder, *, prompt: int = 1000, output: int = 250, bits: Sequence[int] = BITS,
                token_ms: float = 50.0) -> pd.DataFrame:
    """Each single-accelerator offer and number of bits: tokens a second, dollars per million, at most `token_ms` each.

    Returns:
        Columns: offer, device, bits, batch, first_token_s, token_ms, tokens_per_s (written), usd_per_million
        (tokens read and written, in the given mix), as_of. An offer where the weights do not fit, or one sequence
        alone is slower than `token_ms`, is left out.

    Raises:
        InputError: a length or time that is not positive.
    """
    if min(prompt, output, token_ms) <= 0:
        raise InputError("Prompt, output and milliseconds a token must be positive.")
    single = {f"{row['provider']} {row['instance']}" for row in read_facts("instances")
              if row["accelerator_count"] == "1"}
    rows = []
    for one in (offers()[name] for name in offers() if name in single):
        device = device_of(one.accelerator)
        if device is None or "bf16" not in device_ceilings(device).flops:
            continue
        for width in bits:
            batch = _batch_in_time(model, device, prompt + output // 2, width, token_ms / 1000)
            if batch:
                rows.append({"offer": one.name, "device": device, "bits": width, "as_of": one.as_of,
                             **_served(model, device, prompt, output, width, batch, one.on_demand_usd_hour)})
    columns = ["offer", "device", "bits", "batch", "first_token_s", "token_ms", "tokens_per_s", "usd_per_million",
               "as_of"]
    return pd.DataFrame(rows, columns=columns).sort_values("usd_per_million", ignore_index=True)


def hosted_prices(prompt: int = 1000, output: int = 250) -> pd.DataFrame:
    """The APIs of helpers/facts for the same mix of read and written tokens: vendor, model, usd_per_million, as_of."""
    rows = [{"vendor": row["vendor"], "model": row["model"], "as_of": row["as_of"],
             "usd_per_million": (prompt * float(row["input_usd_per_million_tokens"])
                                 + output * float(row["output_usd_per_million_tokens"])) / (prompt + output)}
            for row in read_facts("apis") if row["input_usd_per_million_tokens"]]
    return pd.DataFrame(rows).sort_values("usd_per_million", ignore_index=True)


def _compute(device: str) -> float:
    return device_ceilings(device).rate("bf16")


def _batch_in_time(model: Decoder, device: str, context: int, bits: int, token_s: float) -> int:
    most = largest_batch(model, device, context, bits)
    return max((batch for batch in range(1, most + 1)
                if decode_step_s(model, device, batch, context, bits) <= token_s), default=0)


def _served(model: Decoder, device: str, prompt: int, output: int, bits: int, batch: int, usd_hour: float) -> dict:
    """A device that alternates between reading `batch` prompts and writing their answers."""
    step = decode_step_s(model, device, batch, prompt + output // 2, bits)
    reading, writing = batch * prefill_s(model, device, prompt, bits), output * step
    per_s = batch / (reading + writing)  # answers
    return {"batch": batch, "first_token_s": prefill_s(model, device, prompt, bits), "token_ms": 1000 * step,
            "tokens_per_s": per_s * output, "usd_per_million": usd_hour / 3600 / (per_s * (prompt + output)) * 1e6}

"""A language model's cost on paper: the time of prefill and decode on an accelerator, by its data sheet.

A step takes as long as its arithmetic or its memory traffic, whichever is longer (the roofline), and a fixed
overhead. Prefill is mostly arithmetic, decode mostly memory traffic (Pope et al., MLSys 2023).
"""

import dataclasses
import math

from helpers.lab.errors import InputError
from helpers.lab.facts import device_memory, device_peaks

BITS = (16, 8, 4)
_BYTES_PER_VALUE = 2  # of keys, values and activations, whatever the bits of the weights


@dataclasses.dataclass(frozen=True)
class Decoder:
    """The figures of a model's config.json that its cost depends on."""

    parameters: float
    layers: int
    heads: int
    kv_heads: int
    head_size: int

    @property
    def kv_bytes(self) -> float:
        """Bytes of keys and values that each token leaves in memory."""
        return 2 * self.layers * self.kv_heads * self.head_size * _BYTES_PER_VALUE

    def weight_bytes(self, bits: int) -> float:
        """Bytes of the weights; the scales of 4 and 8 bits add some 3% that are left out."""
        return self.parameters * bits / 8


DECODERS = {  # huggingface.co: the config.json of each
    "Llama 3.1 8B": Decoder(8.03e9, layers=32, heads=32, kv_heads=8, head_size=128),
    "Llama 3.1 70B": Decoder(70.6e9, layers=80, heads=64, kv_heads=8, head_size=128),
    "Qwen2.5 1.5B": Decoder(1.54e9, layers=28, heads=12, kv_heads=2, head_size=128),
    "Mistral 7B v0.3": Decoder(7.25e9, layers=32, heads=32, kv_heads=8, head_size=128),
}


@dataclasses.dataclass(frozen=True)
class Efficiency:
    """How much of a data sheet a server reaches. These are assumptions: measure yours.

    Args:
        compute, bandwidth: reached shares of the peaks.
        memory: share of the device's memory that weights, keys and values may fill.
        overhead_s: of each step beside its arithmetic and traffic: scheduling, launching kernels, sampling. Without
            it a small model on a large device would be several times too fast.

    Raises:
        InputError: a share outside of 0 to 1, or a negative overhead.
    """

    compute: float = 0.6
    bandwidth: float = 0.8
    memory: float = 0.9
    overhead_s: float = 0.002

    def __post_init__(self) -> None:
        for name in ("compute", "bandwidth", "memory"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} is a fraction above 0, up to 1, not {getattr(self, name)}.")
        if self.overhead_s < 0:
            raise InputError(f"overhead_s is 0 or more, not {self.overhead_s}.")


@dataclasses.dataclass(frozen=True)
class DecoderSheet:
    """A decoder on one accelerator.

    Args:
        device: a name of helpers/facts/hardware.csv with a bf16 figure.
        bits: of each weight. Arithmetic is bf16 at all of them: weight-only quantization saves bytes, not operations.

    Raises:
        InputError: no such device, no figure for it, or bits outside of 1 to 16.

    >>> from helpers.lab.language.sheet import DECODERS, DecoderSheet
    >>> sheet = DecoderSheet(DECODERS["Llama 3.1 8B"], "NVIDIA H100 SXM")
    >>> f"{1000 * sheet.decode_s(batch=1, context=1000):.1f} ms a token"
    '8.0 ms a token'
    """

    model: Decoder
    device: str = "NVIDIA H100 SXM"
    bits: int = 16
    efficiency: Efficiency = Efficiency()

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16:
            raise InputError(f"bits must be 1 to 16, not {self.bits}.")
        device_peaks(self.device).rate("bf16")

    @property
    def weight_bytes(self) -> float:
        """Bytes of the weights."""
        return self.model.weight_bytes(self.bits)

    @property
    def kv_tokens(self) -> int:
        """Tokens whose keys and values fit beside the weights; 0 where the weights alone do not fit."""
        room = device_memory(self.device) * self.efficiency.memory - self.weight_bytes
        return max(0, math.floor(room / self.model.kv_bytes))

    @property
    def weights_s(self) -> float:
        """Seconds of reading all weights."""
        return self.weight_bytes / self._bandwidth

    @property
    def context_s(self) -> float:
        """Seconds of reading the keys and values of one token."""
        return self.model.kv_bytes / self._bandwidth

    @property
    def token_s(self) -> float:
        """Seconds of one token's arithmetic without attention: two operations a weight."""
        return 2 * self.model.parameters / self._flops

    @property
    def attention_s(self) -> float:
        """Seconds of one token's attention to one token of context: two products in each head of each layer."""
        return 4 * self.model.layers * self.model.heads * self.model.head_size / self._flops

    def step_s(self, tokens: float, attended: float, read: float) -> float:
        """Seconds of a step.

        Args:
            tokens: that go through the model, of prompts and answers.
            attended: pairs of a token and one that it attends to.
            read: tokens whose keys and values are read.
        """
        return max(tokens * self.token_s + attended * self.attention_s,
                   self.weights_s + read * self.context_s) + self.efficiency.overhead_s

    def prefill_s(self, prompt: int) -> float:
        """Seconds of reading a prompt in one step: each token attends to itself and those before it."""
        return self.step_s(prompt, prompt * (prompt + 1) / 2, prompt)

    def decode_s(self, batch: int, context: int) -> float:
        """Seconds until each of `batch` sequences has one more token: weights are read once, keys and values each."""
        return self.step_s(batch, batch * context, batch * context)

    @property
    def _flops(self) -> float:
        return device_peaks(self.device).rate("bf16") * self.efficiency.compute

    @property
    def _bandwidth(self) -> float:
        return device_peaks(self.device).bandwidth * self.efficiency.bandwidth

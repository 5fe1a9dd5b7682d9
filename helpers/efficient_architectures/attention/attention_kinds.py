"""The kinds of attention, and what each costs on paper; for controls that must not import torch."""

import dataclasses

from helpers.lab.errors import InputError

KINDS = ("full, matrix kept", "full", "grouped-query", "multi-query", "sliding window", "linear")
ATTENTIONS = KINDS
CHUNK = 64  # tokens that linear attention handles together


@dataclasses.dataclass(frozen=True)
class Shape:
    """The sizes of one attention layer. `kv_heads` is the grouped-query kind's own; `window` the sliding one's."""

    heads: int = 8
    kv_heads: int = 2
    head_dim: int = 32
    window: int = 128

    def __post_init__(self) -> None:
        if min(self.heads, self.kv_heads, self.head_dim, self.window) < 1 or self.heads % self.kv_heads:
            raise InputError("Heads, key-value heads, their width and the window are 1 or more, and the key-value "
                             f"heads divide the heads; not {self.heads}, {self.kv_heads}, {self.head_dim} and "
                             f"{self.window}.")

    def keys_of(self, kind: str) -> int:
        """Heads that keys and values have."""
        return {"grouped-query": self.kv_heads, "multi-query": 1}.get(kind, self.heads)


def require_kind(kind: str) -> None:
    """Raise InputError for an unknown kind."""
    if kind not in KINDS:
        raise InputError(f"There is no attention '{kind}'. Known: {', '.join(KINDS)}.")


def attention_macs(kind: str, length: int, shape: Shape) -> int:
    """Multiply-accumulates of causal attention over one text, projections left out: what cannot be skipped.

    Each kind is charged for the pairs it looks at; linear attention for its states (d x d a head and
    token, written and read) and for the pairs inside a chunk.
    """
    require_kind(kind)
    per_pair = 2 * shape.heads * shape.head_dim  # one product with the key, one with the value
    if kind == "linear":
        return length * per_pair * (shape.head_dim + (min(CHUNK, length) + 1) // 2)
    reach = min(shape.window, length) if kind == "sliding window" else length
    pairs = reach * (reach + 1) // 2 + (length - reach) * reach
    return per_pair * pairs


def working_bytes(kind: str, length: int, shape: Shape, threads: int = 1) -> int:
    """The most that one call of full attention allocates in float32 beyond its inputs, on paper.

    With the matrix kept: the weights before and after the softmax, and the result. Fused: the result,
    one normaliser a query, and for each thread the block of weights that torch's CPU kernel works on
    (up to 256 queries by 512 keys, their maxima and sums, and the block's result).

    Raises:
        InputError: a kind whose memory is the kernel's own affair: sliding window, linear.
    """
    require_kind(kind)
    if kind in ("sliding window", "linear"):
        raise InputError(f"There is no formula here for the memory of '{kind}'; measure it (peak_working_bytes).")
    result = 4 * shape.heads * length * shape.head_dim
    if kind == "full, matrix kept":
        return 2 * 4 * shape.heads * length**2 + result
    queries = min(length, 256 if length >= 768 else 64 if length >= 192 else 32)
    block = queries * min(length, 512) + 2 * queries + queries * shape.head_dim
    return result + 4 * shape.heads * length + 4 * threads * block


def cache_bytes(kind: str, length: int, shape: Shape, layers: int = 1, bytes_a_number: int = 4) -> int:
    """What a text of so many tokens leaves in memory while the next one is made.

    Keys and values of all tokens; of the window's only; or, for linear attention, one d x d state and
    one sum of keys a head, whatever the length.
    """
    require_kind(kind)
    if kind == "linear":
        return layers * bytes_a_number * shape.heads * shape.head_dim * (shape.head_dim + 1)
    kept = min(length, shape.window) if kind == "sliding window" else length
    return 2 * layers * shape.keys_of(kind) * shape.head_dim * kept * bytes_a_number

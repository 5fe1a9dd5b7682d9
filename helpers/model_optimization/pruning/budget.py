"""One budget over all layers: which heads and which blocks of feed-forward columns go."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from helpers.lab.errors import InputError
from helpers.model_optimization.pruning.encoder_parts import Anatomy
from helpers.model_optimization.pruning.importance import Importance

BLOCK = 8  # columns that go together: a multiple that vector instructions and int8 kernels like


@dataclasses.dataclass(frozen=True)
class Part:
    """What can go as a whole: `members` of one layer's heads or columns."""

    kind: str
    layer: int
    members: tuple[int, ...]
    importance: float
    macs: int

    @property
    def price(self) -> float:
        """Importance lost for each multiply-accumulate saved."""
        return self.importance / self.macs


def parts_of(structure: Anatomy, importance: Importance, tokens: int, kinds: Sequence[str],
             block: int = BLOCK) -> list[Part]:
    """All heads and all blocks of like-important columns, with what each costs over a text of `tokens`."""
    found = []
    for layer in range(len(structure.layers)):
        if "heads" in kinds:
            found += [Part("heads", layer, (head,), float(score), structure.head_macs(tokens))
                      for head, score in enumerate(importance.heads[layer])]
        if "columns" in kinds:
            scores = importance.columns[layer]
            order = np.argsort(-scores, kind="stable")  # the best first: only the last block may be short
            blocks = [order[start:start + block] for start in range(0, len(order), block)]
            found += [Part("columns", layer, tuple(members.tolist()), float(scores[members].sum()),
                           len(members) * structure.column_macs(tokens)) for members in blocks]
    return found


def keep_within(parts: Sequence[Part], macs: float) -> dict[str, dict[int, list[int]]]:
    """What stays: kind -> layer -> members, with at most `macs` multiply-accumulates in all.

    The part with the least importance for each multiply-accumulate goes first, whatever its layer;
    the last head and the last block of a layer never go. Greedy by price is what the relaxed
    knapsack problem has for its best answer.

    Raises:
        InputError: even with one of each a layer the budget is exceeded.
    """
    groups: dict[tuple[str, int], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.kind, part.layer), []).append(part)
    last = [max(group, key=lambda part: part.price) for group in groups.values()]
    total, least = sum(part.macs for part in parts), sum(part.macs for part in last)
    if least > macs:
        raise InputError(f"At most {1 - least / total:.0%} can be cut: one head and {BLOCK} columns a layer stay. "
                         "Ask for less, or cut whole layers.")
    kept = set(parts)
    for part in sorted(parts, key=lambda part: part.price):
        if total <= macs:
            break
        if part not in last:
            kept.discard(part)
            total -= part.macs
    found: dict[str, dict[int, list[int]]] = {kind: {} for kind, _ in groups}
    for kind, layer in groups:
        found[kind][layer] = sorted(member for part in kept if (part.kind, part.layer) == (kind, layer)
                                    for member in part.members)
    return found


def best(scores: np.ndarray, count: int) -> list[int]:
    """The `count` highest scores' indices, ascending; of equal ones the first."""
    return sorted(np.argsort(-scores, kind="stable")[:count].tolist())

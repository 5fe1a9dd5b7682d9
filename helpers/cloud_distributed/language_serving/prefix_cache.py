"""Which prompts begin alike, and the replicas' caches of what they have read: blocks, least recently used out first.

A block has a number from 1 on; 0 is the head of each replica's ring of unused blocks. `refs` is 0 for a block
that is not there, else 1 and one more for each sequence that uses it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from helpers.cloud_distributed.simulator.compiled import part
from helpers.lab.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Prefixes:
    """The beginnings of n prompts as blocks: two prompts with the same block share all tokens up to its end.

    Attributes:
        block: tokens in a block.
        first: (n + 1,) int64, where each prompt's blocks begin in `ids`; the last is their number.
        ids: (m,) int64 from 1 on.
    """

    block: int
    first: np.ndarray
    ids: np.ndarray

    @classmethod
    def of_hashes(cls, hashes: Sequence[Sequence[int]], block: int = 512) -> "Prefixes":
        """A trace's own hashes, a list a prompt: each stands for a block and all before it, as in Mooncake's traces
        (Qin et al., FAST 2025: 512 tokens a block).

        Raises:
            InputError: blocks of no token.

        >>> from helpers.cloud_distributed import Prefixes
        >>> Prefixes.of_hashes([[7, 8], [7, 9]]).ids.tolist()
        [1, 2, 1, 3]
        """
        if block < 1:
            raise InputError(f"A block has 1 token or more, not {block}.")
        lengths = np.array([len(one) for one in hashes], np.int64)
        flat = np.concatenate([np.empty(0, np.int64), *(np.asarray(one, np.int64) for one in hashes)])
        return cls(block, np.concatenate([[0], np.cumsum(lengths)]), np.unique(flat, return_inverse=True)[1] + 1)

    @classmethod
    def shared(cls, prompt_tokens: ArrayLike, share: float, groups: int = 1, seed: int = 0,
               block: int = 16) -> "Prefixes":
        """The first `share` of each prompt is its group's, as a template is; the groups are drawn.

        Raises:
            InputError: a share outside of 0 to 1, or no group.
        """
        if not 0 <= share <= 1 or groups < 1:
            raise InputError(f"share is from 0 to 1, and there is 1 group or more; got {share} and {groups}.")
        tokens = np.asarray(prompt_tokens, np.int64)
        lengths = (share * tokens).astype(np.int64) // block
        group = np.random.default_rng([seed, 6]).integers(groups, size=len(tokens))
        first, longest = np.concatenate([[0], np.cumsum(lengths)]), int(lengths.max(initial=0))
        place = np.arange(first[-1]) - np.repeat(first[:-1], lengths)
        return cls(block, first, 1 + np.repeat(group, lengths) * longest + place)


@part
def leading(w, at, i):
    """How many of a prompt's blocks, from the first on, the replica has."""
    k = w.first[i]
    while k < w.first[i + 1] and w.refs[at, w.ids[k]] > 0:
        k += 1
    return k - w.first[i]


@part
def use(w, rules, row, at, i, begin, end, filled):
    """Hold blocks begin .. end - 1 of a prompt for one more sequence.

    filled: the sequence has read them itself, and its own copy counts as held: others use that one from now on, or it
    is given up for the one that is there.
    """
    for k in range(w.first[i] + begin, w.first[i] + end):
        b = w.ids[k]
        if w.refs[at, b] == 0:
            w.refs[at, b] = 1
        elif w.refs[at, b] == 1:
            _unlink(w, at, b)
            row.cached -= rules.block
            if not filled:
                row.held += rules.block
        elif filled:
            row.held -= rules.block
        w.refs[at, b] += 1


@part
def leave(w, rules, row, at, i, count):
    """One sequence less uses the first blocks of its prompt; those without any stay as cached, the last first out."""
    for k in range(count):
        b = w.ids[w.first[i] + count - 1 - k]
        w.refs[at, b] -= 1
        if w.refs[at, b] == 1:
            row.held -= rules.block
            row.cached += rules.block
            last = w.before[at, 0]
            w.after[at, last], w.before[at, b], w.after[at, b], w.before[at, 0] = b, last, 0, b


@part
def evict(w, rules, row, at):
    """Forget the block that was used least recently."""
    b = w.after[at, 0]
    _unlink(w, at, b)
    w.refs[at, b] = 0
    row.cached -= rules.block


@part
def forget(w, row, at):
    """The replica goes, and its cache with it."""
    w.refs[at, :] = 0
    w.after[at, :] = 0
    w.before[at, :] = 0
    row.cached = 0


@part
def _unlink(w, at, b):
    before, after = w.before[at, b], w.after[at, b]
    w.after[at, before], w.before[at, after] = after, before

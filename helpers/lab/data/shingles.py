"""Texts as sets of letter triples, in compiled loops: MinHash signatures, near pairs, similarities, hashed vectors.

Words are padded with a space on both sides before they are cut, so that the order of the words does not matter.
A triple is three bytes of UTF-8, and its number is those bytes: nothing collides.
"""

import concurrent.futures
import functools
from collections.abc import Callable, Sequence

import numba
import numpy as np

from helpers.lab.machine import usable_cores

SIZE = 3  # bytes in a shingle
CHUNK = 4096  # texts that a thread takes at a time
PERMUTATIONS = 128
NEIGHBOURS = 8  # rows of a bucket that a row is compared with: a thousand copies would give half a million pairs
_compiled = numba.njit(nogil=True, cache=True, error_model="numpy")


class Packed:
    """Texts in lower case as one row of bytes: `content` (bytes,) uint8, text i from `starts[i]` to `starts[i + 1]`."""

    def __init__(self, texts: Sequence[str]) -> None:
        encoded = [text.lower().encode("utf-8", "replace") for text in texts]
        self.content = np.frombuffer(b"".join([*encoded, b" "]), np.uint8)
        self.starts = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(text) for text in encoded], out=self.starts[1:])

    def __len__(self) -> int:
        return len(self.starts) - 1

    @functools.cached_property
    def longest(self) -> int:
        """Shingles that the longest text can have at most: padding makes two bytes of one."""
        return int(np.diff(self.starts).max(initial=0)) * 2 + SIZE


def signatures(packed: Packed, permutations: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(n, k) uint32 MinHash signatures: for each permutation a * mixed(shingle) + b mod 2^32 the smallest value.

    Args:
        permutations: a and b, (k,) uint32 each. With those of datasketch 2's "affine32" these are its signatures.

    A text without a letter or digit has 2^32 - 1 everywhere.
    """
    a, b = (np.ascontiguousarray(part, np.uint32) for part in permutations)
    out = np.full((len(packed), len(a)), 0xFFFFFFFF, np.uint32)
    _in_threads(len(packed), lambda low, high: _sign(packed.content, packed.starts, packed.longest, a, b, low, high,
                                                     out))
    return out


def likely(signed: np.ndarray, left: np.ndarray, right: np.ndarray, threshold: float) -> np.ndarray:
    """(m,) bool, the pairs whose signatures leave it open whether they are as similar as `threshold`.

    The share of equal values estimates Jaccard's index with a standard error of sqrt(t (1 - t) / k); a pair is given
    up where it lies 4 of them below the threshold: 3 in 100,000 of the pairs at the threshold are lost.
    """
    out = np.empty(len(left), bool)
    count = signed.shape[1]
    least = count * threshold - 4 * np.sqrt(count * threshold * (1 - threshold))
    left, right = (np.ascontiguousarray(part, np.int64) for part in (left, right))
    _in_threads(len(left), lambda low, high: _agree(signed, left, right, least, low, high, out))
    return out


def jaccard(packed: Packed, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(m,) float32 similarity of m pairs of texts: shared shingles over all shingles of the two; 0 for empty ones."""
    out = np.empty(len(left), np.float32)
    left, right = (np.ascontiguousarray(part, np.int64) for part in (left, right))
    _in_threads(len(left), lambda low, high: _compare(packed.content, packed.starts, packed.longest, left, right, low,
                                                      high, out))
    return out


def near_pairs(texts: Sequence[str], threshold: float,
               first: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(left, right, similarity) of pairs at least as similar as `threshold`: found by MinHash, computed exactly.

    Args:
        first: where it is not 0, texts from that number on are compared with those below it only.

    Returns:
        Row numbers, left < right. A text is compared with NEIGHBOURS of a bucket: of many copies not every pair is
        listed, but each copy is in one.

    >>> from helpers.lab.data.shingles import near_pairs
    >>> left, right, _ = near_pairs(["where is my order", "a refund", "my order where is?"], 0.7)
    >>> left.tolist(), right.tolist()
    ([0], [2])
    """
    packed = Packed(texts)
    permutations, bands, width = banding(threshold)
    signed = signatures(packed, permutations)
    spoken = np.flatnonzero(signed[:, 0] != 0xFFFFFFFF)  # texts without letters are compared by `exact` only
    codes = np.empty(0, np.int64)
    for band in range(bands):
        keys = band_keys(signed[spoken, band * width:(band + 1) * width])
        left, right = bucket_pairs(keys, spoken, first)
        codes = np.union1d(codes, left * len(texts) + right)
    left, right = codes // max(1, len(texts)), codes % max(1, len(texts))
    worth = likely(signed, left, right, threshold)  # before the exact comparison, which reads the texts again
    left, right = left[worth], right[worth]
    similarity = jaccard(packed, left, right)
    near = similarity >= np.float32(threshold)
    return left[near], right[near], similarity[near]


@functools.cache
def banding(threshold: float) -> tuple[tuple[np.ndarray, np.ndarray], int, int]:
    """datasketch's permutations, and its number of bands and rows a band for a threshold.

    Missing a pair weighs more than a false candidate, which the exact comparison throws out.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, weights=(0.1, 0.9))
    return tuple(MinHash(PERMUTATIONS).permutations), index.b, index.r


def band_keys(band: np.ndarray) -> np.ndarray:
    """(n,) uint64, equal for equal rows of (n, width) uint32; others are equal once in 2^64."""
    keys = np.zeros(len(band), np.uint64)
    for column in band.T:
        keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def bucket_pairs(keys: np.ndarray, rows: np.ndarray, first: int = 0,
                 neighbours: int = NEIGHBOURS) -> tuple[np.ndarray, np.ndarray]:
    """Rows with equal keys: (left, right), each row with at most `neighbours` before it in its bucket.

    With `first`, rows from that number on are paired with rows below it only.
    """
    order = np.argsort(keys, kind="stable")
    keys, rows = keys[order], rows[order]
    starts = np.searchsorted(keys, keys)
    at = np.arange(len(keys))
    if first:
        side = np.concatenate([[0], np.cumsum(rows < first)])  # a bucket's rows ascend: those below `first` lead
        ends = np.searchsorted(keys, keys, side="right")
        at = np.where(rows >= first, starts + side[ends] - side[starts], starts)
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for step in range(1, neighbours + 1):
        inside = at - step >= starts
        if not inside.any():
            break
        left.append(rows[(at - step)[inside]])
        right.append(rows[inside])
    return np.concatenate(left), np.concatenate(right)


def hashed(packed: Packed, width: int) -> np.ndarray:
    """(n, width) float32 rows of length 1: each shingle adds +1 or -1 at a place that its hash names.

    Feature hashing (Weinberger et al., 2009): products of rows are products of shingle counts on average.
    """
    out = np.zeros((len(packed), width), np.float32)
    _in_threads(len(packed), lambda low, high: _hash_rows(packed.content, packed.starts, packed.longest, low, high,
                                                          out))
    return out


def _in_threads(count: int, work: Callable[[int, int], object]) -> None:
    with concurrent.futures.ThreadPoolExecutor(usable_cores()) as pool:
        parts = [pool.submit(work, low, min(count, low + CHUNK)) for low in range(0, count, CHUNK)]
        for part in parts:
            part.result()


@_compiled
def _shingles(content, start, end, room):
    """Write the shingles of content[start:end] into room, repeats included; how many there are."""
    count, held, code = 0, 0, np.uint32(0)
    for at in range(start, end + 1):
        byte = content[at] if at < end else np.uint8(32)
        letter = byte >= 128 or 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122
        if letter or held > 0:
            if held == 0:
                code, held = np.uint32(32), 1
            code = np.uint32(((code << np.uint32(8)) | (np.uint32(byte) if letter else np.uint32(32)))
                             & np.uint32(0xFFFFFF))
            held = held + 1 if letter else 0
            if held >= 3 or not letter:  # a word's end always completes one: it has a space before it
                room[count] = code
                count += 1
    return count


@_compiled
def _mixed(code):
    """MurmurHash3's finalizer, which spreads neighbouring numbers over all 32 bits."""
    code = np.uint32(code)
    code = np.uint32(np.uint32(code ^ (code >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    code = np.uint32(np.uint32(code ^ (code >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(code ^ (code >> np.uint32(16)))


@_compiled
def _sign(content, starts, longest, a, b, low, high, out):
    room = np.empty(longest, np.uint32)
    for row in range(low, high):
        count = _shingles(content, starts[row], starts[row + 1], room)
        signature = out[row]
        for index in range(count):
            code = _mixed(room[index])
            for k in range(len(a)):
                value = np.uint32(a[k] * code + b[k])
                signature[k] = min(signature[k], value)


@_compiled
def _agree(signed, left, right, least, low, high, out):
    for pair in range(low, high):
        one, other, equal = signed[left[pair]], signed[right[pair]], 0
        for k in range(len(one)):
            equal += one[k] == other[k]
        out[pair] = equal >= least


@_compiled
def _distinct(room, count):
    """Sort the first `count` numbers and push repeats out; how many are left."""
    room[:count].sort()
    distinct = 0
    for index in range(count):
        if distinct == 0 or room[index] != room[distinct - 1]:
            room[distinct] = room[index]
            distinct += 1
    return distinct


@_compiled
def _compare(content, starts, longest, left, right, low, high, out):
    one, other = np.empty(longest, np.uint32), np.empty(longest, np.uint32)
    last, of_one = -1, 0
    for pair in range(low, high):
        if left[pair] != last:
            last = left[pair]
            of_one = _distinct(one, _shingles(content, starts[last], starts[last + 1], one))
        row = right[pair]
        of_other = _distinct(other, _shingles(content, starts[row], starts[row + 1], other))
        shared, i, j = 0, 0, 0
        while i < of_one and j < of_other:
            if one[i] == other[j]:
                shared, i, j = shared + 1, i + 1, j + 1
            elif one[i] < other[j]:
                i += 1
            else:
                j += 1
        total = of_one + of_other - shared
        out[pair] = shared / total if total else 0.0


@_compiled
def _hash_rows(content, starts, longest, low, high, out):
    room = np.empty(longest, np.uint32)
    width = np.uint32(out.shape[1])
    for row in range(low, high):
        count = _shingles(content, starts[row], starts[row + 1], room)
        for index in range(count):
            code = _mixed(room[index])
            out[row, (code >> np.uint32(1)) % width] += np.float32(1.0) if code & np.uint32(1) else np.float32(-1.0)
        total = np.float32(0.0)
        for place in range(out.shape[1]):
            total += out[row, place] * out[row, place]
        if total > 0:
            out[row] /= np.sqrt(total)

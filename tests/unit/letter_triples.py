"""The shingles of a text and the similarity of two, written out."""

import functools


@functools.cache
def triples(text: str) -> set[int]:
    """The shingles written out: words of letters and digits, padded, cut into three bytes."""
    words, word = [], b""
    for byte in text.lower().encode() + b" ":
        letter = bytes([byte])
        if letter.isalnum() or byte >= 128:
            word += letter
        elif word:
            words.append(b" " + word + b" ")
            word = b""
    return {int.from_bytes(word[i:i + 3], "big") for word in words for i in range(len(word) - 2)}


def similarity(one: str, other: str) -> float:
    a, b = triples(one), triples(other)
    return len(a & b) / len(a | b) if a | b else 0.0

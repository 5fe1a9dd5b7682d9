"""Files that something went wrong with: bytes changed, cut, doubled or moved."""

import os
import random

FUZZED = int(os.environ.get("FUZZED", "1000"))  # damaged files; 100,000 take some minutes


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A file with some of its bytes changed, cut, doubled or put elsewhere."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        start, length = rng.randrange(len(content) or 1), rng.choice((1, 1, 4, 50))
        part = content[start:start + length]
        content[start:start + length] = rng.choice((
            bytes(rng.randrange(256) for _ in part), b"", part * rng.choice((2, 200)), bytes(part[::-1]),
            rng.choice((b'"', b"\n", b"\0", b"\xff" * 8, b"{", b"[", b"\\ud83d", b"1e999", b",,,", b"\r", b"NaN"))))
    return bytes(content)

"""Near-duplicates made on purpose, so that what finds them can be scored."""

import random
import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from helpers.lab.errors import InputError

LETTERS_A_TYPO = 25
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_OTHER_WORDS = {
    "can't": "cannot", "don't": "do not", "i'm": "i am", "it's": "it is", "won't": "will not", "isn't": "is not",
    "didn't": "did not", "doesn't": "does not", "haven't": "have not", "i've": "i have", "buy": "purchase",
    "bought": "purchased", "parcel": "package", "package": "parcel", "order": "purchase", "money": "funds",
    "refund": "repayment", "broken": "defective", "wrong": "incorrect", "send": "ship", "sent": "shipped",
    "get": "receive", "got": "received", "want": "would like", "need": "require", "help": "assist",
    "check": "verify", "change": "modify", "fix": "repair", "stop": "end", "start": "begin", "show": "display",
    "shows": "displays", "use": "employ", "used": "employed", "using": "by means of", "return": "give back",
    "returns": "gives back", "create": "make", "creates": "makes", "given": "provided", "each": "every",
    "compute": "calculate", "computes": "calculates", "list": "sequence", "function": "routine", "whether": "if",
    "please": "kindly", "still": "even now", "now": "at present", "two": "2", "three": "3", "big": "large",
    "small": "little", "quick": "fast", "again": "once more", "because": "since", "also": "as well", "but": "yet",
}
_LEADS = ("hello, ", "hi there, ", "one question: ", "just so you know, ", "to be clear, ", "in short: ")
_TAILS = (" thanks", " thank you", ", that is all", ", as said", " if possible", ", to sum up")


def typos(text: str, rng: random.Random) -> str:
    """One slip of the fingers for every 25 letters, at least one: a swap, an omission, a repeat, or the next key."""
    letters = list(text)
    for _ in range(max(1, len(text) // LETTERS_A_TYPO)):
        places = [i for i, letter in enumerate(letters) if letter.isalpha()]
        if len(places) < 2:
            break
        at, kind = rng.choice(places), rng.randrange(4)
        if kind == 0 and at + 1 < len(letters):
            letters[at], letters[at + 1] = letters[at + 1], letters[at]
        elif kind == 1:
            del letters[at]
        elif kind == 2:
            letters.insert(at, letters[at])
        else:
            letters[at] = _next_key(letters[at], rng)
    return "".join(letters)


def reordered(text: str, rng: random.Random) -> str:
    """The same words in another order: sentences or clauses shuffled, a single one cut in two and swapped."""
    clauses = [part for part in re.split(r"(?<=[.!?,;:])\s+", text) if part]
    if len(clauses) > 1:
        order = clauses[:]
        while order == clauses and len(set(clauses)) > 1:
            rng.shuffle(order)
        return " ".join(order)
    words = text.split()
    at = rng.randrange(1, len(words)) if len(words) > 1 else 0
    return " ".join(words[at:] + words[:at])


def paraphrased(text: str, rng: random.Random) -> str:
    """Other words for the same: synonyms from a small list wherever they fit, a lead and a tail.

    Milder than what a person would write; what is missed here would be missed there.
    """
    words = [_OTHER_WORDS.get(word.lower(), word) for word in text.split()]
    return rng.choice(_LEADS) + " ".join(words).lower() + rng.choice(_TAILS)


COPIES: dict[str, Callable[[str, random.Random], str]] = {
    "typos": typos, "reorder": reordered, "paraphrase": paraphrased}


def inject_duplicates(texts: Sequence[str], kind: str, share: float = 0.1,
                      seed: int = 0) -> tuple[list[str], np.ndarray]:
    """The texts followed by altered copies of some of them.

    Returns:
        (texts and copies, (copies,) int: of which text each is a copy).

    Raises:
        InputError: unknown kind, or a share outside 0 to 1.
    """
    if kind not in COPIES:
        raise InputError(f"Unknown kind of copy '{kind}'. Choose one of: {', '.join(COPIES)}.")
    if not 0 < share <= 1:
        raise InputError(f"The share of rows to copy is above 0 and up to 1, not {share}.")
    rng = random.Random(seed)
    sources = np.array(sorted(rng.sample(range(len(texts)), max(1, round(share * len(texts))))), np.int64)
    return [*texts, *(COPIES[kind](texts[source], rng) for source in sources)], sources


def duplicate_quality(pairs: pd.DataFrame, originals: int, sources: np.ndarray) -> dict[str, float]:
    """Precision, recall and F1 of found pairs, given the copies that were put in.

    Only pairs with a copy count. A copy is found when it is paired with its source. A pair with another text is
    false, unless that text itself was found to be a twin of the source: copies of real duplicates are no errors.
    """
    twins = set(map(tuple, pairs[["row", "twin"]].to_numpy().tolist()))
    hits, false = set(), 0
    for row, twin in twins:
        if row < originals:
            continue
        source = int(sources[row - originals])
        other = int(sources[twin - originals]) if twin >= originals else twin
        if twin == source:
            hits.add(row)
        elif other != source and (max(source, other), min(source, other)) not in twins:
            false += 1
    recall = len(hits) / len(sources)
    precision = len(hits) / (len(hits) + false) if hits or false else 0.0
    return {"precision": precision, "recall": recall,
            "f1": 2 * precision * recall / (precision + recall) if hits else 0.0}


def _next_key(letter: str, rng: random.Random) -> str:
    for row in _KEYS:
        if (at := row.find(letter.lower())) >= 0:
            return row[max(0, min(len(row) - 1, at + rng.choice((-1, 1))))]
    return letter

"""What a data set looks like before anything is trained on it."""

import re
import unicodedata

import numpy as np
import pandas as pd

from helpers.data_efficiency.duplicates.finding import find_duplicates
from helpers.lab.data.task import Task

SPLITS = ("train", "validation", "test")
SHORT, LONG = 3, 2_000  # characters: below or above these a text is looked at
# UTF-8 that was read as Latin-1 or Windows-1252 shows these pairs; U+FFFD stands where a byte could not be read.
DAMAGE = re.compile("\N{REPLACEMENT CHARACTER}|\u00c3[\u0080-\u00bf\u0192-\u2122]|\u00e2\u20ac|\u00c2[\u00a0-\u00bf]")
_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "DEVANAGARI",
            "THAI")
_COMMON = {  # small words that tell a language from its neighbours
    "English": "the and is to of it my for you not in with",
    "German": "der die das und ist nicht ich mit ein auf",
    "French": "le la les et est pas je une dans pour",
    "Spanish": "el los y es no una por con para que",
    "Italian": "il gli e non sono una per con che di",
    "Dutch": "het een en niet ik van dat voor met op",
}


def data_report(task: Task) -> pd.DataFrame:
    """One finding a row: check, split, value, and rows (a tuple of at most 20 row numbers to look at).

    Checks: rows, classes, smallest and largest share of a class, lengths in characters, languages, odd rows
    (very short or long, no letters, control characters), damaged encoding, repeated texts, texts of the training
    rows that also stand in the test, and near ones; the same text with two labels.
    """
    findings: list[dict] = []

    def note(check: str, split: str, value: float, rows: np.ndarray | list[int] = ()) -> None:
        findings.append({"check": check, "split": split, "value": float(value),
                         "rows": tuple(int(row) for row in rows[:20])})

    for split in SPLITS:
        rows = getattr(task, split)
        y = np.asarray(rows["label"][:], np.int64)
        note("rows", split, len(rows))
        shares = np.bincount(y, minlength=len(task.labels)) / max(1, len(y))
        note("classes", split, int((shares > 0).sum()))
        note("smallest class's share", split, shares.min())
        note("largest class's share", split, shares.max())
        if task.input == "text":
            _report_texts(list(rows["text"][:]), y, split, note)
    if task.input == "text":
        _report_crossing(task, note)
    return pd.DataFrame(findings)


def language_of(text: str) -> str:
    """A guess from script and small words; "unclear" where both say nothing. Good enough to find strays."""
    letters = [unicodedata.name(letter, "").split(" ")[0] for letter in text[:500] if letter.isalpha()]
    if not letters:
        return "unclear"
    script = max(set(letters), key=letters.count)
    if script != "LATIN":
        return script.capitalize() if script in _SCRIPTS else "unclear"
    words = re.findall(r"[^\W\d_]+", text.lower())
    hits = {name: sum(word in common.split() for word in words) for name, common in _COMMON.items()}
    best = max(hits, key=hits.__getitem__)
    return best if hits[best] > (best != "English") else "unclear"  # one foreign word is often a name, or "no"


def is_damaged(text: str) -> bool:
    """Whether the text looks like bytes that were decoded with the wrong encoding."""
    return DAMAGE.search(text) is not None


def repaired(text: str) -> str:
    """The text decoded again where it was UTF-8 read as Windows-1252; else as it is."""
    if not is_damaged(text):
        return text
    try:
        again = text.encode("cp1252").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text
    return again if not is_damaged(again) else text


def _report_texts(texts: list[str], y: np.ndarray, split: str, note) -> None:
    lengths = np.array([len(text) for text in texts])
    for share, name in ((0.05, "5 % are shorter (characters)"), (0.5, "median length (characters)"),
                        (0.95, "5 % are longer (characters)")):
        note(name, split, np.quantile(lengths, share) if len(lengths) else 0)
    languages = np.array([language_of(text) for text in texts], dtype=object)
    names, counts = np.unique(languages.astype(str), return_counts=True)
    for name, count in sorted(zip(names, counts, strict=True), key=lambda pair: -pair[1]):
        note(f"language: {name}", split, count, np.flatnonzero(languages == name))
    odd = {
        "very short or very long": (lengths < SHORT) | (lengths > LONG),
        "no letters": np.array([not any(map(str.isalpha, text)) for text in texts], bool),
        "control characters": np.array([any(unicodedata.category(c) == "Cc" and c not in "\n\r\t" for c in text)
                                        for text in texts], bool),
        "damaged encoding": np.array([is_damaged(text) for text in texts], bool),
    }
    for name, where in odd.items():
        note(name, split, where.sum(), np.flatnonzero(where))
    frame = pd.DataFrame({"text": [text.strip().lower() for text in texts], "label": y})
    repeated = frame["text"].duplicated().to_numpy()
    note("repeated texts", split, repeated.sum(), np.flatnonzero(repeated))
    labels = frame.groupby("text")["label"].transform("nunique").to_numpy()
    note("one text, several labels", split, (labels > 1).sum(), np.flatnonzero(labels > 1))


def _report_crossing(task: Task, note) -> None:
    train = list(task.train["text"][:])
    for split in ("validation", "test"):
        for method, name in (("exact", "texts that are in the training rows"),
                             ("minhash", "texts that are nearly in the training rows")):
            crossing = find_duplicates(list(getattr(task, split)["text"][:]), method, others=train)
            rows = crossing["row"].unique() if len(crossing) else []
            note(name, split, len(rows), list(rows))

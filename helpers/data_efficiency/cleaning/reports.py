"""What a data set looks like before anything is trained on it."""

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from helpers.data_efficiency.duplicates.finding import find_duplicates
from helpers.data_efficiency.vectors import readable
from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.training.weights import find_weights

SPLITS = ("train", "validation", "test")
MAX_SHOWN = 20  # rows of a finding
SHORT, LONG = 3, 2_000  # characters: below or above these a text is looked at
# A text of fewer words tells its language too seldom; Chinese, Japanese and Thai words are two letters or so.
WORDS_TO_TELL, SIGNS_TO_TELL = 4, 8
CONFIDENT = 0.25  # below it, a language is called unclear: most texts in a language that is not listed are
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
_LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi",
    "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch",
    "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sv": "Swedish",
    "ta": "Tamil", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}
_ADVICE = {  # check -> what to do where its value is above 0
    "very short or very long": "Look at them: what is no message can go.",
    "no letters": "Look at them: numbers and signs alone tell a model little.",
    "control characters": "Look at how the file was exported.",
    "damaged encoding": "clean_file repairs what can be read again; where \ufffd stands, export the file as UTF-8.",
    "repeated texts": "clean_file keeps one of each.",
    "one text, several labels": "Decide which label is right: a model cannot learn both.",
    "near-duplicate pairs": 'Look at them with duplicate_pairs; clean_file(remove="near") drops them on request.',
    "share of these pairs with two labels": "One of the two labels is wrong, or they are no duplicates.",
    "unknown tokens (share)": "This encoder does not know these words or signs: take one that was trained on your "
                              "language, for example a multilingual one.",
    "texts cut at the token limit (share)": "Look at whether the beginning tells the label; else split them, or take "
                                            "an encoder with a higher limit.",
    "texts that are in the training rows": "Accuracy on them is partly memory: take them out of the training rows.",
    "texts that are nearly in the training rows": "Look at them: accuracy on copies is partly memory.",
}
Note = Callable[..., None]


def data_report(task: Task, encoder: TextEncoder | None = None) -> pd.DataFrame:
    """One finding a row: check, split, value, rows (at most 20 row numbers to look at), lines of the file, and advice.

    Checks: what reading the file changed (split "all"; `advice` says what); rows, classes, smallest and largest share
    of a class, lengths in characters, languages, odd rows (very short or long, no letters, control characters), damaged
    encoding, repeated texts and pairs of near-duplicates, the same text with two labels; unknown tokens and what lies
    beyond the token limit; texts of the training rows that also stand in the test, and near ones.

    Args:
        encoder: whose vocabulary and limit count, such as `model.encoder`; by default MiniLM's.

    Returns:
        `lines` (where the rows stand in the file) is empty for a task of no file; `advice` where nothing is wrong.

    py3langid recognizes 33 languages, for texts of 4 words or more (8 signs of Chinese, Japanese or Thai). On
    sentences of 4 to 12 words from Debian's fortune cookies it was right for 98.1 to 100% of German, English, Spanish,
    Italian, Polish, Portuguese and Chinese; on messages of programs for 96.2 to 99.8% of these and of French, Dutch,
    Swedish, Russian, Vietnamese and Japanese (1,000 texts each, 804 English cookies).

    >>> from helpers.data_efficiency import data_report
    >>> from helpers.lab import load_task
    >>> report = data_report(load_task("tickets").take(train=100, test=50))
    >>> float(report.loc[report["check"] == "damaged encoding", "value"].sum())
    0.0
    """
    findings: list[dict[str, Any]] = []

    def note(check: str, split: str, value: float, rows: Sequence[int] = ()) -> None:
        shown = [int(row) for row in rows[:MAX_SHOWN]]
        findings.append({"check": check, "split": split, "value": float(value), "rows": tuple(shown),
                         "lines": tuple(task.lines(split, shown) or ()),
                         "advice": _ADVICE.get(check, "") if value else ""})

    findings += [{"check": "changed when it was read", "split": "all", "value": np.nan, "rows": (), "lines": (),
                  "advice": said} for said in task.notes]
    for split in SPLITS:
        rows = getattr(task, split)
        y = np.asarray(rows["label"][:], np.int64)
        note("rows", split, len(rows))
        shares = np.bincount(y, minlength=len(task.labels)) / max(1, len(y))
        note("classes", split, int((shares > 0).sum()))
        note("smallest class's share", split, shares.min())
        note("largest class's share", split, shares.max())
        if task.input == "text":
            texts = list(rows["text"][:])
            _report_texts(texts, split, note)
            _report_duplicates(texts, y, split, note)
            _report_reading(texts, encoder or _minilm_encoder(), split, note)
    if task.input == "text":
        _report_crossing(task, note)
    return pd.DataFrame(findings)


def language_of(text: str) -> str | None:
    """The language of a text, in English, "unclear", or None for a text that is too short to tell.

    >>> from helpers.data_efficiency.cleaning.reports import language_of
    >>> language_of("die Lieferung ist nicht da")
    'German'
    """
    if not (sum(any(map(str.isalpha, word)) for word in text.split()) >= WORDS_TO_TELL
            or len(_UNSPACED.findall(text)) >= SIGNS_TO_TELL):
        return None
    return _LANGUAGES.get(_identifier().classify(text)[0], "unclear")


def is_damaged(text: str) -> bool:
    """Whether the text looks like bytes that were decoded with the wrong encoding, or holds HTML's marks for signs.

    >>> from helpers.data_efficiency.cleaning.reports import is_damaged
    >>> [is_damaged(text) for text in ("f\u00c3\u00bcr 5 \u00e2\u201a\u00ac", "5 &lt; 6", "f\u00fcr 5 \u20ac")]
    [True, True, False]
    """
    return "\N{REPLACEMENT CHARACTER}" in text or repaired(text) != text


def repaired(text: str) -> str:
    """The text decoded again where it was UTF-8 read as another encoding, its HTML marks as signs; else as it is.

    ftfy decides: on 1,500 messages each in ten languages it took none for damaged but the one that was, and saw 97 to
    100% of the same when UTF-8 was read as Windows-1252 or Latin-1.
    """
    if text.isascii() and text.isprintable() and "&" not in text:
        return text  # nothing to look for; most texts
    import ftfy

    return ftfy.fix_text(text, _only_damage())


@functools.cache
def _only_damage() -> Any:
    """ftfy's settings without what is taste: quotes, widths, ligatures, line ends and Unicode forms stay."""
    from ftfy import TextFixerConfig

    return TextFixerConfig(uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False,
                           fix_line_breaks=False, fix_surrogates=False, remove_control_chars=False,
                           remove_terminal_escapes=False, normalization=None)


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=CONFIDENT)
    identifier.set_languages(list(_LANGUAGES))  # of 139: few files hold Aragonese, and Spanish is taken for it
    return identifier


@functools.cache
def _minilm_encoder() -> TextEncoder:
    return TextEncoder.of_checkpoint(find_weights())


def _report_texts(texts: list[str], split: str, note: Note) -> None:
    lengths = np.array([len(text) for text in texts])
    for share, name in ((0.05, "5% are shorter (characters)"), (0.5, "median length (characters)"),
                        (0.95, "5% are longer (characters)")):
        note(name, split, np.quantile(lengths, share) if len(lengths) else 0)
    languages = pd.Series([language_of(text) for text in texts], dtype=object)
    for name, count in languages.value_counts().items():
        note(f"language: {name}", split, count, np.flatnonzero(languages == name))
    note("too short to tell the language", split, languages.isna().sum(), np.flatnonzero(languages.isna()))
    odd = {
        "very short or very long": (lengths < SHORT) | (lengths > LONG),
        "no letters": np.array([not any(map(str.isalpha, text)) for text in texts], bool),
        "control characters": np.array([any(unicodedata.category(c) == "Cc" and c not in "\n\r\t" for c in text)
                                        for text in texts], bool),
        "damaged encoding": np.array([is_damaged(text) for text in texts], bool),
    }
    for name, where in odd.items():
        note(name, split, where.sum(), np.flatnonzero(where))


def _report_duplicates(texts: list[str], y: np.ndarray, split: str, note: Note) -> None:
    frame = pd.DataFrame({"text": [" ".join(text.lower().split()) for text in texts], "label": y})
    copies = frame["text"].duplicated().to_numpy()
    note("repeated texts", split, copies.sum(), np.flatnonzero(copies))
    labels = frame.groupby("text")["label"].transform("nunique").to_numpy()
    note("one text, several labels", split, (labels > 1).sum(), np.flatnonzero(labels > 1))
    firsts = np.flatnonzero(~copies)
    pairs = find_duplicates([texts[row] for row in firsts], "minhash")
    row, twin = firsts[pairs["row"]], firsts[pairs["twin"]]
    differ = y[row] != y[twin]
    note("near-duplicate pairs", split, len(pairs), pd.unique(row))
    note("share of these pairs with two labels", split, differ.mean() if len(pairs) else 0, pd.unique(row[differ]))


def _report_reading(texts: list[str], encoder: TextEncoder, split: str, note: Note) -> None:
    """What the encoder cannot read, and what it is not shown."""
    whole = encoder.coverage(texts)
    note("unknown tokens (share)", split, whole.unknown, np.flatnonzero(~readable(texts, encoder)))
    cut = [row for row, text in enumerate(texts) if encoder.coverage([text]).rows_cut] if whole.rows_cut else []
    note("texts cut at the token limit (share)", split, whole.rows_cut, cut)
    note("tokens cut at the token limit (share)", split, whole.tokens_cut, cut)


def _report_crossing(task: Task, note: Note) -> None:
    train = list(task.train["text"][:])
    for split in ("validation", "test"):
        for method, name in (("exact", "texts that are in the training rows"),
                             ("minhash", "texts that are nearly in the training rows")):
            crossing = find_duplicates(list(getattr(task, split)["text"][:]), method, others=train)
            note(name, split, crossing["row"].nunique(), pd.unique(crossing["row"]))

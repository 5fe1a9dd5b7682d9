"""Labels as people write them: numbers and truth values as text, and one spelling for each class."""

import re
from collections.abc import Iterable

import pandas as pd


def label_texts(values: pd.Series, notes: list[str]) -> pd.Series:
    """Each value as text: whole numbers without a fraction, and True as 1 where the other labels are numbers."""
    kinds = {type(value) for value in values}
    if kinds <= {str}:
        return values.astype(str)
    plain = {str(value).strip() for value in values if not isinstance(value, bool)}
    numbers = bool(plain) and all(is_number(text) for text in plain)

    def text(value: object) -> str:
        if isinstance(value, bool):
            return str(int(value)) if numbers else str(value).lower()
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        return str(value)

    texts = values.map(text)
    if numbers and len(kinds) > 1:
        texts = texts.map(lambda one: str(int(float(one))) if float(one).is_integer() else one)
    if len(kinds) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        notes.append(f"The labels are of {len(kinds)} kinds ({names}); they were read as text.")
    return texts.astype(str)


def is_number(text: str) -> bool:
    """Whether a text is a plain number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def folded(labels: pd.Series, notes: list[str]) -> pd.Series:
    """One spelling for labels that differ only in case and blanks, or are the same number: the most frequent one."""
    keys = labels.map(_keys(labels.unique()))
    if keys.nunique() == labels.nunique():
        return labels
    chosen = labels.groupby(keys).agg(lambda same: same.value_counts().index[0].strip())
    written = labels.groupby(keys).agg(lambda same: sorted(set(same)))
    for key, spellings in written[written.str.len() > 1].items():
        others = ", ".join(f"'{one}'" for one in spellings if one != chosen[key])
        notes.append(f"The labels {others} were taken as '{chosen[key]}'.")
    return keys.map(chosen)


def aligned(labels: pd.Series, known: pd.Series) -> pd.Series:
    """The labels in the spelling of those that are known already, where `folded` would take them for the same."""
    key = _keys([*known.unique(), *labels.unique()])
    spelling = {key[label]: label for label in known.unique()}
    return labels.map(lambda label: spelling.get(key[label], label))


def _keys(labels: Iterable[str]) -> dict[str, str]:
    """Label -> what is equal for those of one class: 1.0 is 1, and where all others are numbers true is 1."""
    keys = {label: " ".join(label.split()).casefold() for label in labels}
    words = {"true": "1", "false": "0"}
    numbers = [key for key in keys.values() if is_number(key)]
    if numbers and all(is_number(key) or key in words for key in keys.values()):
        keys = {label: re.sub(r"^([+-]?\d+)\.0+$", r"\1", words.get(key, key)) for label, key in keys.items()}
    return keys

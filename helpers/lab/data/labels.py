"""Labels as people write them: numbers and truth values as text, one spelling for each class; what is no class.

And the fields that a message is labelled with.
"""

import json
import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from helpers.lab.errors import InputError

MAX_CLASSES = 1_000
WISH = "wish"  # among the fields of a message: what the customer wants, the task's label
MAX_SCORES = 20  # classes that are numbers with fractions


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
    """The labels in the spelling of known ones, where `folded` makes them equal."""
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


def require_classes(labels: pd.Series, name: str) -> None:
    """Refuse labels that no classifier can be trained and tested on."""
    counts = labels.value_counts()
    if len(counts) < 2:
        raise InputError(f"{name} has one label only ('{counts.index[0]}'); two or more are needed to classify.")
    if len(counts) > MAX_CLASSES:
        raise InputError(f"{name} has {len(counts):,} different labels for {len(labels):,} rows; "
                         f"at most {MAX_CLASSES:,} are supported. Is the label column an id?")
    if counts.min() < 3:
        times = {1: "once", 2: "twice"}[int(counts.min())]
        raise InputError(f"{name} has the label '{counts.index[-1]}' only {times}; each label needs 3 rows "
                         "(training, validation, test). Add rows, or merge or drop the label.")


def require_one_label(values: pd.Series, name: str, column: str) -> None:
    """Refuse lists of labels, also if written as text."""
    def several(value: object) -> bool:
        return is_nested(value) or (
            isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"))

    if (wrong := values.map(several)).any():
        row, shown = int(wrong.to_numpy().argmax()) + 1, values[wrong].iloc[0]
        if isinstance(shown, dict):
            raise InputError(f"{name} has no plain label in column '{column}' (row {row}: {str(shown)[:60]}). Write "
                             "the field that is meant as a separate column (one label a text).")
        _refuse_several(name, column, row, shown)


def is_nested(value: object) -> bool:
    """Whether a value is a list or a record."""
    return isinstance(value, list | tuple | set | dict | np.ndarray)


def require_no_lists(labels: pd.Series, name: str, column: str) -> None:
    """Refuse labels such as 'a, b' or 'a|b' where a and b are labels, too."""
    known = set(labels.unique())
    for one in sorted(known):
        parts = [{part.strip() for part in one.split(mark)} for mark in ",;|" if mark in one]
        if any(known >= some for some in parts):
            _refuse_several(name, column, int((labels == one).to_numpy().argmax()) + 1, one)


def _refuse_several(name: str, column: str, row: int, shown: object) -> None:
    raise InputError(f"{name} has several labels a text in column '{column}' (row {row}: {str(shown)[:60]}); one is "
                     "needed. Keep the main one, or make a yes-or-no column, and so a task, of each label.")


def require_no_scores(labels: pd.Series, name: str, column: str) -> None:
    """Refuse numbers with fractions, of which there are many: they are to be predicted as numbers."""
    known = labels.unique()
    if len(known) > MAX_SCORES and all(map(is_number, known)) and not all(float(one).is_integer() for one in known):
        raise InputError(f"{name} has {len(known)} different numbers in column '{column}', such as {known[0]}: scores, "
                         "not classes. Cut them into classes, such as low and high, or name another column.")


def read_fields(values: pd.Series, name: str) -> pd.Series:
    """Each row's fields as a JSON object of texts; empty where the row has no value, as nobody looked.

    Args:
        values: JSON objects, as text or read already.
        name: of the file, for an error.

    Raises:
        InputError: a value that is no JSON object, one of a field that is no text or number, or no value at all.

    >>> import pandas as pd
    >>> from helpers.lab.data.labels import read_fields
    >>> read_fields(pd.Series(['{"order": "HB-1", "date": ""}', {"amount": 5}, ""]), "own.csv").tolist()
    ['{"order": "HB-1"}', '{"amount": "5"}', '']
    """
    texts = [_one_row(value, f"{name} row {row}") for row, value in enumerate(values, start=1)]
    if not any(texts):
        raise InputError(f"{name} has no row with fields: write a JSON object into each, and {{}} where there is none.")
    return pd.Series(texts, index=values.index, dtype=object)


def _one_row(value: object, where: str) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value) or value == "":
        return ""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InputError(f"{where}: the fields are no JSON ({value[:40]}). Write an object, such as "
                             '{"order": "A-100"}, and {} where there is none.') from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: the fields are no JSON object ({str(value)[:40]}). Write one, such as "
                         '{"order": "A-100"}.')
    fields = {}
    for name, one in value.items():
        if isinstance(one, bool) or not isinstance(one, str | int | float | None):
            raise InputError(f"{where}: the field '{name}' is no text but {str(one)[:40]}. Write one text a field.")
        if name == WISH:
            raise InputError(f"{where}: the field 'wish' is the label's: give it another name.")
        if one is not None and str(one).strip():
            fields[str(name)] = str(one)
    return json.dumps(fields, ensure_ascii=False)

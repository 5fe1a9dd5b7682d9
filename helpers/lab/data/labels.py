"""Labels as people write them: numbers and truth values as text, and one spelling for each class."""

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
    """One spelling for labels that differ only in case and blanks: the most frequent one."""
    keys = labels.str.split().str.join(" ").str.casefold()
    if keys.nunique() == labels.nunique():
        return labels
    chosen = labels.groupby(keys).agg(lambda same: same.value_counts().index[0].strip())
    written = labels.groupby(keys).agg(lambda same: sorted(set(same)))
    for key, spellings in written[written.str.len() > 1].items():
        others = ", ".join(f"'{one}'" for one in spellings if one != chosen[key])
        notes.append(f"The labels {others} were taken as '{chosen[key]}'.")
    return keys.map(chosen)


def aligned(labels: pd.Series, known: pd.Series) -> pd.Series:
    """The labels in the spelling of those that are known already, where they differ in case and blanks only."""
    spelling = {" ".join(label.split()).casefold(): label for label in known.unique()}
    return labels.map(lambda label: spelling.get(" ".join(label.split()).casefold(), label))

"""A user's file through all of it: repaired, deduplicated, doubtful labels marked, and a log of every change."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data_efficiency.cleaning.label_errors import flags
from helpers.data_efficiency.cleaning.reports import repaired
from helpers.data_efficiency.cleaning.reviews import append, apply_changes, digest_of
from helpers.data_efficiency.duplicates.finding import find_duplicates, groups_of
from helpers.data_efficiency.duplicates.shingles import Packed, hashed
from helpers.data_efficiency.vectors import embed
from helpers.lab.data.files import read_rows, require_classes
from helpers.lab.errors import InputError

KINDS = ("minilm", "hashed")
WIDTH = 1024  # of hashed features


def clean_file(source: str | Path, target: str | Path, log: str | Path, *, text: str = "text", label: str = "label",
               duplicates: str = "minhash", kind: str = "minilm", relabel_above: float | None = None) -> pd.DataFrame:
    """Clean a file, and write what is left and a change log that `replay` can apply to the original again.

    Args:
        target: the cleaned file, CSV.
        log: JSONL, one line a change: texts repaired (damaged encoding), duplicates dropped, labels changed.
        duplicates: a method of `find_duplicates`. Of duplicates the first row stays; where they disagree on the
            label all of them stay, for a person to decide.
        kind: of the vectors for the label check: "minilm", or "hashed" letter triples, which need no model.
        relabel_above: give rows whose doubt is above this the suggested label. By default none: doubtful
            labels are listed, and a person decides.

    Returns:
        Doubtful labels as of `find_label_errors`, for the rows that are left (`row` is a row of the source).

    Raises:
        InputError: the file cannot be used, as `load_task` says, or the target is the source.
    """
    if kind not in KINDS:
        raise InputError(f"There are no vectors '{kind}'. Known: {', '.join(KINDS)}.")
    source, target, log = Path(source), Path(target), Path(log)
    if source.resolve() in (target.resolve(), log.resolve()):
        raise InputError("The cleaned file and the log need names of their own: the source is never overwritten.")
    rows = read_rows(source, text, label)
    require_classes(rows["label"], source.name)
    rows = rows.assign(row=range(len(rows)))[["row", "text", "label"]]
    entries = [_entry(row, "repair", text=better) for row in rows.itertuples()
               if (better := repaired(row.text)) != row.text]
    left = apply_changes(rows, entries)
    entries += [_entry(rows.iloc[number], "drop") for number in _repeated(left, duplicates)]
    left = apply_changes(rows, entries)
    found = _doubtful(left, kind)
    if relabel_above is not None:
        sure = found[found["doubt"] > relabel_above]
        entries += [_entry(rows.iloc[one.row], "relabel", label=one.suggested) for one in sure.itertuples()]
        left = apply_changes(rows, entries)
    left[["text", "label"]].rename(columns={"text": text, "label": label}).to_csv(target, index=False)
    log.write_text("", encoding="utf-8")
    append(log, *entries)
    return found


def doubtful_rows(source: str | Path, *, text: str = "text", label: str = "label", kind: str = "minilm") -> dict:
    """What a review of a file begins with: {"texts", "labels", "flags"}; nothing is changed.

    Raises:
        InputError: as `clean_file`.
    """
    source = Path(source)
    rows = read_rows(source, text, label)
    require_classes(rows["label"], source.name)
    found = _doubtful(rows.assign(row=range(len(rows))), kind)
    return {"texts": rows["text"].tolist(), "labels": rows["label"].tolist(), "flags": found}


def _entry(row, action: str, label: str | None = None, **more: str) -> dict:
    return {"row": int(row.row), "action": action, "label": label, "was": row.label, "digest": digest_of(row.text),
            **more}


def _repeated(left: pd.DataFrame, method: str) -> Sequence[int]:
    """Rows to drop: all but the first of each group of duplicates that agree on the label."""
    texts = left["text"].tolist()
    pairs = find_duplicates(texts, "exact") if method == "exact" else pd.concat(
        [find_duplicates(texts, "exact"), find_duplicates(texts, method)])
    group = groups_of(pairs, len(left))
    labels = left["label"].groupby(group).transform("nunique").to_numpy()
    return left["row"].to_numpy()[(group != np.arange(len(left))) & (labels == 1)].tolist()


def _doubtful(left: pd.DataFrame, kind: str) -> pd.DataFrame:
    labels = sorted(left["label"].unique())
    texts = left["text"].tolist()
    x = embed(texts) if kind == "minilm" else hashed(Packed(texts), WIDTH)
    y = np.searchsorted(np.array(labels, dtype=object), left["label"].to_numpy(object))
    found = flags(np.asarray(x), y.astype(np.int64), labels, folds=min(5, len(left)))
    return found.assign(row=left["row"].to_numpy()[found["row"].to_numpy(int)])

"""A user's file through all of it, in memory, with a log of every change."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from helpers.data_efficiency.cleaning.label_errors import flags_from
from helpers.data_efficiency.cleaning.reports import repaired
from helpers.data_efficiency.cleaning.reviews import apply_changes, as_line, changed_frame, digest_of, numbered
from helpers.data_efficiency.duplicates.finding import find_duplicates, keepers, repeated
from helpers.data_efficiency.linear import out_of_fold
from helpers.data_efficiency.vectors import embed
from helpers.lab.data.files import MAX_TEXT_LENGTH, read_frame, read_rows, would_run, write_like
from helpers.lab.data.labels import require_classes
from helpers.lab.data.shingles import Packed, hashed
from helpers.lab.errors import InputError
from helpers.lab.paths import is_upload, replacing

KINDS = ("minilm", "hashed")
REMOVE = ("exact", "near")
WIDTH = 1024  # of hashed vectors
FOLDS = 5


def clean_file(source: str | Path, target: str | Path, log: str | Path, *, text: str = "text", label: str = "label",
               encoding: str | None = None, columns: list[str] | None = None,
               remove: Literal["exact", "near"] = "exact", threshold: float | None = None, kind: str = "minilm",
               relabel_above: float | None = None) -> pd.DataFrame:
    """Clean a file, and write what is left and a change log that `replay` can apply to the original again.

    Args:
        target: the cleaned file, CSV: all columns of the source, its separator; where neither the text was repaired
            nor the label changed they stand as in the source. Labels get one spelling, formulas are made safe for
            spreadsheets.
        log: JSONL, one entry a change, with the row's number and its line in the source: "repair" (damaged encoding),
            "drop" (a duplicate; `twin` is the row that stays), "relabel", "fold" (another spelling of a label),
            "escape" (a formula), "cut" (a text longer than what is read; all of it stays in the file).
        encoding, columns: as of `load_task`.
        remove: "exact" drops texts that are the same but for case and white space, "near" those with shared letter
            triples, too (`find_duplicates`, "minhash"). The first row stays; each row that goes is near to one that
            stays. Where duplicates disagree on the label all of them stay, for a person to decide.
        threshold: of "near".
        kind: of the vectors for the label check: "minilm", or "hashed" letter triples, which need no model.
        relabel_above: give rows whose doubt is above this the suggested label. By default none: doubtful
            labels are listed, and a person decides.

    Returns:
        Doubtful labels as of `find_label_errors`, for the rows that are left (`row` is a row of the source, from 0,
        `line` its line).

    Raises:
        InputError: the file cannot be used, as `load_task` says, the target is the source, or target or log cannot be
            written; then both stay what they were.
    """
    source, target, log = Path(source), Path(target), Path(log)
    _require_known(kind, remove, threshold)
    if source.resolve() in (target.resolve(), log.resolve()):
        raise InputError("The cleaned file and the log need their own names: the source is never overwritten.")
    rows = numbered(read_rows(source, text, label, encoding=encoding, columns=columns))
    require_classes(rows["label"], source.name)
    frame = read_frame(source, text, label, encoding=encoding, columns=columns)
    entries = [*_on_reading(rows, frame, text, label), *repairs(rows)]
    left = apply_changes(rows, entries)
    rest = [str(frame[text].iloc[row])[MAX_TEXT_LENGTH:] for row in left["row"]]
    entries += drops(_twins(left, rest, remove, threshold), rows)
    left = apply_changes(rows, entries)
    flags = _doubtful(left.assign(line=rows["line"].to_numpy()[left["row"]]), kind)
    if relabel_above is not None:
        certain = flags[flags["doubt"] > relabel_above]
        entries += [entry(rows.iloc[one.row], "relabel", label=one.suggested) for one in certain.itertuples()]
        left = apply_changes(rows, entries)
    cleaned = changed_frame(frame, rows, left, text, label)
    entries += _escapes(rows, left, cleaned)
    with replacing(log) as changes:  # its place it takes once the file is written
        changes.write_text("".join(map(as_line, entries)), encoding="utf-8")
        write_like(cleaned, target, source, encoding)
    return flags


def doubtful_rows(source: str | Path, *, text: str = "text", label: str = "label", kind: str = "minilm",
                  encoding: str | None = None, columns: list[str] | None = None) -> dict:
    """What a review of a file begins with: {"texts", "labels", "flags", "lines"}; nothing is changed.

    Of an upload (`is_upload`) nothing is kept: its vectors are not cached.

    Raises:
        InputError: as `clean_file`.
    """
    source = Path(source)
    rows = numbered(read_rows(source, text, label, encoding=encoding, columns=columns))
    require_classes(rows["label"], source.name)
    flags = _doubtful(rows, kind, use_cache=not is_upload(source))
    return {"texts": rows["text"].tolist(), "labels": rows["label"].tolist(), "flags": flags,
            "lines": rows["line"].tolist()}


def entry(row, action: str, label: str | None = None, **more: object) -> dict:
    """A change log's entry about a row (with row, line, text, label)."""
    return {"row": int(row.row), "line": int(row.line), "action": action, "label": label, "was": row.label,
            "digest": digest_of(row.text), **more}


def repairs(rows: pd.DataFrame) -> Iterator[dict]:
    """The entries for texts whose encoding can be repaired."""
    for row in rows.itertuples():
        if (better := repaired(row.text)) != row.text:
            yield entry(row, "repair", text=better)


def drops(twins: pd.DataFrame, rows: pd.DataFrame) -> Iterator[dict]:
    """The entries for duplicates: `twins` has columns row, twin (numbers in `rows`) and similarity."""
    for row, twin, similarity in twins.itertuples(index=False):
        yield entry(rows.iloc[row], "drop", twin=int(twin), twin_line=int(rows["line"].iloc[twin]),
                    similarity=round(float(similarity), 3))


def _require_known(kind: str, remove: str, threshold: float | None) -> None:
    if kind not in KINDS:
        raise InputError(f"Unknown vectors '{kind}'. Choose one of: {', '.join(KINDS)}.")
    require_removal(remove, threshold)


def require_removal(remove: str, threshold: float | None) -> None:
    """Refuse an unknown way of removing duplicates, and a threshold where nothing is compared with it."""
    if remove not in REMOVE:
        raise InputError(f"Unknown duplicates '{remove}'. Choose one of: {', '.join(REMOVE)}.")
    if threshold is not None and remove == "exact":
        raise InputError('A threshold is of near-duplicates: pass remove="near" with it.')


def _on_reading(rows: pd.DataFrame, frame: pd.DataFrame, text: str, label: str) -> Iterator[dict]:
    """What reading did to a row: labels in another spelling, texts that are longer than what is read."""
    for row, whole, name in zip(rows.itertuples(), frame[text], frame[label], strict=True):
        if isinstance(name, str) and name != row.label:
            yield entry(row, "fold", label=row.label) | {"was": name}
        if len(str(whole)) > MAX_TEXT_LENGTH:
            yield entry(row, "cut", characters=len(str(whole)), read=MAX_TEXT_LENGTH)


def _escapes(rows: pd.DataFrame, left: pd.DataFrame, cleaned: pd.DataFrame) -> Iterator[dict]:
    """Which rows of the cleaned file get a ' before a value that a spreadsheet would run."""
    unsafe = cleaned.map(would_run)
    for place in np.flatnonzero(unsafe.any(axis=1)):
        names = [str(name) for name in unsafe.columns[unsafe.iloc[place]]]
        yield entry(rows.iloc[left["row"].iloc[place]], "escape", columns=names)


def _twins(left: pd.DataFrame, rest: list[str], remove: str, threshold: float | None) -> pd.DataFrame:
    """Columns row, twin (both of the source), similarity: the duplicates to drop, and the row that stays for each.

    rest: what of each text is not read, being beyond the limit; a copy has it, too.
    """
    texts, labels = left["text"].tolist(), left["label"]
    keeper, similarity = repeated([one + more for one, more in zip(texts, rest, strict=True)]), np.ones(len(left))
    agreed = (labels.groupby(keeper).transform("nunique") == 1).to_numpy()
    if remove == "near":
        firsts = np.flatnonzero(keeper == np.arange(len(left)))
        pairs = find_duplicates([texts[row] for row in firsts], "minhash", threshold)
        row, twin, names = firsts[pairs["row"]], firsts[pairs["twin"]], labels.to_numpy(object)
        differ = (names[row] != names[twin]) | ~agreed[row] | ~agreed[twin]
        stays = np.isin(row, np.concatenate([row[differ], twin[differ]]))
        near = keepers(pairs[~stays], len(firsts))
        known = {(one, other): alike for one, other, alike in zip(row, twin, pairs["similarity"], strict=True)}
        whole = np.arange(len(left))
        whole[firsts] = firsts[near]
        similarity = np.array([known.get((one, whole[one]), 1.0) for one in keeper])
        keeper = whole[keeper]
    gone = np.flatnonzero((keeper != np.arange(len(left))) & agreed)
    number = left["row"].to_numpy()
    return pd.DataFrame({"row": number[gone], "twin": number[keeper[gone]], "similarity": similarity[gone]})


def _doubtful(left: pd.DataFrame, kind: str, use_cache: bool = True) -> pd.DataFrame:
    labels = sorted(left["label"].unique())
    texts = left["text"].tolist()
    x = np.asarray(embed(texts, use_cache) if kind == "minilm" else hashed(Packed(texts), WIDTH))
    y = np.searchsorted(np.array(labels, dtype=object), left["label"].to_numpy(object)).astype(np.int64)
    flags = flags_from(out_of_fold(x, y, len(labels), folds=min(FOLDS, len(left))), y, labels)
    place = flags["row"].to_numpy(int)
    flags["row"] = left["row"].to_numpy()[place]
    flags.insert(1, "line", left["line"].to_numpy()[place])
    return flags

"""Named data with frozen splits: what every experiment is run on."""

import dataclasses
import functools
import hashlib
import importlib.resources
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pandas as pd

from helpers.lab.data.files import read_rows
from helpers.lab.data.labels import aligned, require_classes
from helpers.lab.data.tables import PACKED, READABLE, SPREADSHEETS, kind_of
from helpers.lab.errors import InputError

datasets.disable_progress_bars()

TEST_SHARE, VALIDATION_SHARE = 0.25, 0.10


@dataclasses.dataclass(frozen=True)
class Task:
    """Train, validation and test rows with an input column (`text`, or `image`) and an int `label`.

    The test rows are frozen: cleaning, pruning and selection never touch them. A task from a file also has `line`,
    the line of the file in which a row begins, and `notes`: what was changed or chosen when it was read. One of
    extraction has `fields`, what is to be found in the text, as JSON: see `helpers.lab.data.extraction`.
    """

    name: str
    train: datasets.Dataset
    validation: datasets.Dataset
    test: datasets.Dataset
    labels: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()

    @property
    def input(self) -> str:
        """Name of the input column."""
        return "image" if "image" in self.train.column_names else "text"

    @functools.cached_property
    def digest(self) -> str:
        """16 hex digits over names, rows and splits: equal data, equal digest."""
        digest = hashlib.sha256("\0".join(self.labels).encode())
        for split in (self.train, self.validation, self.test):
            digest.update(len(split).to_bytes(8, "big"))
            digest.update(pd.util.hash_pandas_object(split.to_pandas().astype(str), index=False).to_numpy().tobytes())
        return digest.hexdigest()[:16]

    def lines(self, split: str, rows: Sequence[int]) -> list[int] | None:
        """Where rows of a split stand in the user's file: the line in which each begins; None for a task of no file.

        In a Parquet or JSON file, a folder or a DataFrame it is the row's number, from 1. Rows of a second file with
        the test rows are counted there.
        """
        data = getattr(self, split)
        return [data[int(row)]["line"] for row in rows] if "line" in data.column_names else None

    def take(self, train: int | None = None, test: int | None = None, seed: int = 0,
             validation: int | None = None) -> "Task":
        """The same task with fewer rows, drawn at random with each class's share: for a quick look, never for a claim.

        A class of which no row is left is named in `notes`.
        """
        notes = list(self.notes)

        def some(split: datasets.Dataset, rows: int | None, name: str) -> datasets.Dataset:
            if rows is None or rows >= len(split):
                return split
            labels = np.asarray(split["label"])
            chosen = _shares(labels, rows, seed)
            lost = sorted(set(labels) - set(labels[chosen]))
            if lost:
                notes.append(f"Of {rows} {name} rows none is of {', '.join(self.labels[label] for label in lost[:5])}.")
            return split.select(chosen)

        return dataclasses.replace(self, train=some(self.train, train, "training"), test=some(self.test, test, "test"),
                                   validation=some(self.validation, validation, "validation"), notes=tuple(notes))


def _shares(labels: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """(rows,) indices in random order, of each class its share to the next whole row (largest remainder)."""
    order = np.random.default_rng(seed).permutation(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    exact = rows * counts / len(labels)
    quota = np.floor(exact).astype(int)
    # A class that would get no row comes first, as long as there are rows to give.
    first = np.lexsort((-(exact - quota), quota > 0))
    quota[first[:rows - quota.sum()]] += 1
    rank = np.empty(len(labels), int)
    for index, label in enumerate(classes):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members)) < quota[index]
    return order[rank[order].astype(bool)]


def load_task(name: str | Path | pd.DataFrame, *, test: str | Path | pd.DataFrame | None = None, text: str = "text",
              label: str = "label", fields: str | None = None, encoding: str | None = None,
              columns: list[str] | None = None, seed: int = 0) -> Task:
    """A task by name, by file, or from the Hugging Face Hub.

    Args:
        name: "tickets", "tickets-balanced", "tickets-fields", "docstrings", "digits"; a .csv, .tsv, .jsonl, .json or
            .parquet file, also packed with gzip (.csv.gz); a folder with a folder of .txt files for each label; a
            DataFrame; or "hub:owner/name" for a data set of the Hub (or of its local cache).
        test: a second file with the test rows. Without it: the rows that a column `split` calls so, else a quarter.
        text, label: the columns to use (files and Hub).
        fields: a column of JSON objects with what is to be found in a text (files): the rows keep it as `fields`, see
            `extractions`; rows in which it is empty are left out.
        encoding: of a text file that is not UTF-8, such as "cp1252".
        columns: the names of a table's columns, where it has no header line.
        seed: of the split, where the data has no split.

    Raises:
        InputError: one sentence on what is wrong and what to do.
    """
    if isinstance(name, pd.DataFrame):
        return _from_files(name, test, text, label, fields, encoding, columns, seed)
    if str(name) in _BUILT_IN:
        return _BUILT_IN[str(name)]()
    if str(name).startswith("hub:"):
        return _from_hub(str(name)[4:], text, label, seed)
    path = Path(name)
    if not path.is_dir() and Path(path.name.lower().removesuffix(PACKED)).suffix not in READABLE:
        if path.suffix.lower() in SPREADSHEETS:
            kind_of(path)  # names the way out
        raise InputError(f"'{name}' is no built-in task ({', '.join(_BUILT_IN)}), no {', '.join(READABLE)} file "
                         "and no 'hub:owner/name'.")
    return _from_files(path, test, text, label, fields, encoding, columns, seed)


def _from_files(source: Path | pd.DataFrame, test: str | Path | pd.DataFrame | None, text: str, label: str,
                fields: str | None, encoding: str | None, columns: list[str] | None, seed: int) -> Task:
    name = _name_of(source)
    rows = read_rows(source, text, label, fields=fields, encoding=encoding, columns=columns)
    notes = list(rows.attrs["notes"])
    require_classes(rows["label"], name)
    where = "a table" if isinstance(source, pd.DataFrame) else f"the file {name}"
    stem = Path(name.removesuffix(PACKED)).stem
    if test is not None:
        test = test if isinstance(test, pd.DataFrame) else Path(test)
        test_rows = read_rows(test, text, label, fields=fields, encoding=encoding, columns=columns)
        test_rows["label"] = aligned(test_rows["label"], rows["label"])
        _require_known_labels(test_rows, _name_of(test), rows, name)
        task = _with_validation(stem, rows, test_rows, f"{where} (test: {_name_of(test)})", seed)
        notes += [f"{_name_of(test)}: {note}" for note in test_rows.attrs["notes"]]
    elif "split" in rows:
        task = _by_column(stem, rows, name, where, seed)
        notes.append(f"The column 'split' was used: {len(task.train):,} training, {len(task.validation):,} validation "
                     f"and {len(task.test):,} test rows.")
    else:
        task = _split(stem, rows, where, seed)
    return dataclasses.replace(task, notes=tuple(notes))


def _name_of(source: Path | pd.DataFrame) -> str:
    return "table" if isinstance(source, pd.DataFrame) else source.name


def _by_column(stem: str, rows: pd.DataFrame, name: str, where: str, seed: int) -> Task:
    """The splits that the file's own column names; validation rows are set apart where it has none."""
    part = dict(list(rows.groupby("split")))
    require_classes(part["train"]["label"], f"{name} (training rows)")
    for split in {"validation", "test"} & set(part):
        _require_known_labels(part[split], f"{name} ({split})", part["train"], f"{name} (train)")
    if "validation" in part:
        return _task(stem, part["train"], part["validation"], part["test"], where)
    return _with_validation(stem, part["train"], part["test"], where, seed)


def _require_known_labels(test: pd.DataFrame, test_name: str, train: pd.DataFrame, train_name: str) -> None:
    if unknown := sorted(set(test["label"]) - set(train["label"])):
        raise InputError(f"{test_name} has {len(unknown)} labels that {train_name} has not, such as '{unknown[0]}'.")


def _from_hub(name: str, text: str, label: str, seed: int) -> Task:
    try:
        parts = datasets.load_dataset(name)
    except Exception as error:  # the Hub client raises many kinds, from several libraries
        raise InputError(f"The data set '{name}' could not be loaded from the Hugging Face Hub or its cache "
                         f"({type(error).__name__}). Check the name and the network, or give a local file.") from error
    splits = {key: _hub_rows(split, name, text, label) for key, split in parts.items()}
    if "train" not in splits:
        raise InputError(f"{name} has no split 'train'. Its splits: {', '.join(splits)}.")
    require_classes(splits["train"]["label"], name)
    if "test" in splits:
        _require_known_labels(splits["test"], f"{name} (test)", splits["train"], f"{name} (train)")
        return _with_validation(name, splits["train"], splits["test"], f"Hugging Face Hub: {name}", seed)
    return _split(name, splits["train"], f"Hugging Face Hub: {name}", seed)


def _hub_rows(split: datasets.Dataset, name: str, text: str, label: str) -> pd.DataFrame:
    for column in (text, label):
        if column not in split.column_names:
            raise InputError(f"{name} has no column '{column}'. Its columns: {', '.join(split.column_names)}.")
    feature, values = split.features[label], split[label]
    names = feature.int2str(list(values)) if isinstance(feature, datasets.ClassLabel) else [str(v) for v in values]
    return pd.DataFrame({"text": [str(t) for t in split[text]], "label": names})


def _split(name: str, rows: pd.DataFrame, source: str, seed: int) -> Task:
    from sklearn.model_selection import train_test_split

    share = max(TEST_SHARE, rows["label"].nunique() / len(rows))  # at least one test row a class
    train, test = train_test_split(rows, test_size=share, stratify=rows["label"], random_state=seed)
    return _with_validation(name, train, test, source, seed)


def _with_validation(name: str, train: pd.DataFrame, test: pd.DataFrame, source: str, seed: int) -> Task:
    from sklearn.model_selection import train_test_split

    share = max(VALIDATION_SHARE, train["label"].nunique() / len(train))
    train, validation = train_test_split(train, test_size=share, stratify=train["label"], random_state=seed)
    return _task(name, train, validation, test, source)


def _task(name: str, train: pd.DataFrame, validation: pd.DataFrame, test: pd.DataFrame, source: str) -> Task:
    labels = tuple(sorted(set(train["label"])))
    number = {label: index for index, label in enumerate(labels)}
    features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(labels))}

    def dataset(rows: pd.DataFrame) -> datasets.Dataset:
        columns = {"text": rows["text"].tolist(), "label": [number[label] for label in rows["label"]]}
        more = {name: datasets.Value(kind) for name, kind in (("line", "int64"), ("fields", "string")) if name in rows}
        columns |= {name: rows[name].tolist() for name in more}
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features | more))

    return Task(name, dataset(train), dataset(validation), dataset(test), labels, source)


def _tickets() -> Task:
    return _task("tickets", *_ticket_parts("split"),
                 "customer messages invented for this project: 24 intents of unequal size, and out of scope; "
                 "no real customers")


def _ticket_fields() -> Task:
    rows = [part[part["fields"] != ""] for part in _ticket_parts("split", "fields")]
    return _task("tickets-fields", *rows, "customer messages invented for this project, with their order numbers, "
                 "products, amounts and dates; no real customers")


def _balanced_tickets() -> Task:
    return _task("tickets-balanced", *_ticket_parts("balanced"),
                 "customer messages invented for this project: 24 intents of 100 each, no real customers")


def _ticket_parts(column: str, *more: str) -> list[pd.DataFrame]:
    """Training, validation and test rows by a column of the messages' file; a row without its word is left out."""
    with (importlib.resources.files("helpers") / "data" / "tickets.csv").open(encoding="utf-8") as file:
        rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    return [rows.loc[rows[column] == split, ["text", "label", *more]] for split in ("train", "validation", "test")]


def _docstrings() -> Task:
    from helpers.lab.data.docstrings import harvest

    parts = dict(list(harvest().groupby("split")))
    return _task("docstrings", parts["train"], parts["validation"], parts["test"],
                 "docstrings of the installed Python packages, labelled by the package's domain")


def _digits() -> Task:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    rows = np.arange(len(images))
    train, test = train_test_split(rows, test_size=TEST_SHARE, stratify=digits.target, random_state=0)
    train, validation = train_test_split(train, test_size=VALIDATION_SHARE, stratify=digits.target[train],
                                         random_state=0)
    names = [str(n) for n in digits.target_names]
    features = datasets.Features({"image": datasets.Array2D((8, 8), "float32"),
                                  "label": datasets.ClassLabel(names=names)})
    parts = [datasets.Dataset.from_dict({"image": images[part], "label": digits.target[part]}, features=features)
             for part in (train, validation, test)]
    return Task("digits", *parts, tuple(names), "scikit-learn's 1,797 handwritten digits (UCI, Alpaydin and Kaynak)")


_BUILT_IN = {"tickets": _tickets, "tickets-balanced": _balanced_tickets, "tickets-fields": _ticket_fields,
             "docstrings": _docstrings, "digits": _digits}

"""Real technical English: the docstrings of the installed packages, labelled by domain, and held against a pin."""

import ast
import collections
import contextlib
import gc
import hashlib
import importlib.metadata
import importlib.util
import itertools
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.lab.cache import cached
from helpers.lab.data.shingles import near_pairs
from helpers.lab.errors import InputError
from helpers.lab.paths import cache

DOMAINS = {
    "arrays": ("numpy", "scipy"),
    "tables": ("pandas", "pyarrow", "narwhals"),
    "classical learning": ("sklearn", "joblib"),
    "deep learning": ("torch", "accelerate", "torchao"),
    "language models": ("transformers", "tokenizers", "datasets", "evaluate", "huggingface_hub"),
    "model deployment": ("onnx", "onnxruntime", "onnxscript", "openvino", "nncf", "optimum"),
    "networking": ("aiohttp", "tornado", "httpx", "requests", "urllib3", "anyio", "websocket", "httpcore"),
    "notebooks": ("IPython", "jupyter_server", "jupyterlab", "nbconvert", "nbclient", "nbformat", "ipywidgets",
                  "traitlets", "ipykernel", "voila", "jupyter_client", "papermill"),
    "charts": ("altair", "vl_convert"),
    "symbolic mathematics": ("sympy", "mpmath", "networkx"),
}
MAX_ROWS_PER_DOMAIN = 2_000  # else PyTorch and SymPy would be most of the rows, and minutes of parsing
MAX_ROWS_PER_FILE = 20
MIN_ROWS_PER_DOMAIN = 100
MIN_CHARACTERS, MAX_WORDS = 60, 60
NEAR = 0.7  # Jaccard's index of letter triples from which on two rows are copies, as where duplicates are looked for
PIN = Path(__file__).parents[2] / "data" / "docstrings.json"
_VERSION = 2


def harvest() -> pd.DataFrame:
    """Columns text, label, split, file: the first sentences of docstrings, cached as Parquet.

    The sources are parsed with `ast` and never imported; names of packages are masked, else they
    would be the answer; layout and punctuation are taken out, else they would be (see `prose`); rows are split by
    source file, so that neighbours do not straddle, and what nearly copies a row of another split is left out: of
    training and validation rows the ones like a test row, of training rows the ones like a validation row.

    Warns:
        UserWarning: the rows differ from the ones behind the recorded figures; it names the packages that differ.

    Raises:
        InputError: fewer than two domains have installed sources.
    """
    path = cache(f"docstrings-{_VERSION}-{_installed_digest()}.parquet")
    rows = cached(path, _harvest, read=pd.read_parquet, write=pd.DataFrame.to_parquet)
    if PIN.is_file() and (said := difference(pin_of(rows), json.loads(PIN.read_text(encoding="utf-8")))):
        warnings.warn(said, stacklevel=2)
    return rows


def pin_of(rows: pd.DataFrame) -> dict[str, Any]:
    """Identity of a harvest: digest and number of its rows, and the versions of the packages."""
    whole = "\0".join(f"{row.split}\1{row.label}\1{row.text}" for row in rows.sort_values("text").itertuples())
    return {"digest": hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest(), "rows": len(rows),
            "packages": _versions()}


def difference(harvest: dict[str, Any], pinned: dict[str, Any]) -> str:
    """How a harvest differs from the pinned one, in a sentence; empty where they are the same.

    >>> from helpers.lab.data.docstrings import difference
    >>> pinned = {"digest": "1", "rows": 9, "packages": {"numpy": "2.4.1"}}
    >>> difference({"digest": "2", "rows": 8, "packages": {"numpy": "2.5.0"}}, pinned).split(": ")[1]
    'numpy 2.5.0 instead of 2.4.1 (8 rows instead of 9). What was recorded on it need not hold for these rows.'
    """
    if harvest["digest"] == pinned["digest"]:
        return ""
    here, there = harvest["packages"], pinned["packages"]
    changed = [f"{name} {here.get(name, 'missing')} instead of {there.get(name, 'missing')}"
               for name in sorted(here.keys() | there.keys()) if here.get(name) != there.get(name)]
    why = ", ".join(changed) or "the same versions, with other files"
    return (f"'docstrings' is harvested from the installed packages, and they differ from the pinned ones: {why} "
            f"({harvest['rows']:,} rows instead of {pinned['rows']:,}). What was recorded on it need not hold for "
            "these rows.")


def _versions() -> dict[str, str]:
    distributions = importlib.metadata.packages_distributions()
    return {name: importlib.metadata.version(distributions[name][0])
            for packages in DOMAINS.values() for name in packages if name in distributions}


def _harvest() -> pd.DataFrame:
    with _uncollected():
        parts = [rows for domain, packages in DOMAINS.items()
                 if len(rows := _domain_rows(domain, packages)) >= MIN_ROWS_PER_DOMAIN]
    if len(parts) < 2:
        raise InputError("Too few of the packages that 'docstrings' is harvested from are installed with sources.")
    return _without_crossing(pd.concat(parts, ignore_index=True).drop_duplicates("text"))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles: trees of syntax have none, and looking through thousands of them took half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _without_crossing(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows without near-copies of rows in another split; test rows stay, then validation rows."""
    parts = {split: rows[rows["split"] == split] for split in ("test", "validation", "train")}
    distinct = parts["test"]
    for split in ("validation", "train"):
        others, part = distinct["text"].tolist(), parts[split]
        _, near, _ = near_pairs([*others, *part["text"]], NEAR, first=len(others))
        distinct = pd.concat([distinct, part[~np.isin(np.arange(len(others), len(others) + len(part)), near)]])
    return distinct.reset_index(drop=True)


def _installed_digest() -> str:
    folders = sorted(folder.name + str(folder.stat().st_mtime_ns)
                   for packages in DOMAINS.values() for name in packages if (folder := _folder(name)))
    return hashlib.sha256("".join(folders).encode()).hexdigest()[:12]


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _domain_rows(domain: str, packages: tuple[str, ...]) -> pd.DataFrame:
    """Rows of one domain, its files taken in an order drawn by their names until there are enough."""
    files = {f"{package}/{path.relative_to(folder).as_posix()}": path
             for package in packages if (folder := _folder(package)) for path in folder.rglob("*.py")}
    rows: list[tuple[str, str, str]] = []
    for name in sorted(files, key=_hash):
        rows += [(text, domain, name) for text in itertools.islice(_docstrings(files[name]), MAX_ROWS_PER_FILE)]
        if len(rows) >= MAX_ROWS_PER_DOMAIN:
            break
    frame = pd.DataFrame(rows, columns=["text", "label", "file"]).drop_duplicates("text")
    return frame.assign(split=frame["file"].map(_split_of))


def _hash(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)


def _split_of(file: str) -> str:
    """By the file's name alone, so that a row never changes sides when others come or go."""
    share = _hash(f"split {file}") / 2**32
    return "test" if share < 0.2 else "validation" if share < 0.28 else "train"


def _docstrings(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's sources
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return  # a template or a file for another Python: it has no docstrings for us
    for node in _statements(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = prose(ast.get_docstring(node) or "")
            if len(text) >= MIN_CHARACTERS:
                yield text


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Walk a tree in the order of `ast.walk`, without expressions: nearly all nodes, and no docstring among them."""
    waiting = collections.deque([tree])
    while waiting:
        node = waiting.popleft()
        yield node
        for field in ("body", "handlers", "orelse", "finalbody", "cases"):
            waiting.extend(getattr(node, field, ()))


_NAMES = re.compile(r"\b(" + "|".join(sorted({name for names in DOMAINS.values() for name in names} | {
    "pytorch", "scikit-learn", "scikit", "ipython", "jupyter", "hugging ?face", "vega-lite", "vega", "np", "pd", "plt",
    "symengine", "cuda", "lib\\w+"}, key=len, reverse=True)) + r")\b", re.IGNORECASE)
_UNDERLINE = re.compile(r"\s*([-=~^\"'`*#+_.])\1{2,}\s*")
_HEADING = r"args?|arguments?|param(?:eter)?s?|returns?|yields?|raises|examples?|attributes"
_SECTION = re.compile(  # the heading of a section, alone in its line or before its first words
    rf"\s*\W*(?:(?:{_HEADING}|notes?|see also|references?|methods|usage|warns|warnings?|(?:other|optional|keyword) \w+|"
    rf"inputs?|outputs?|shapes?|explanation|todo)\W*|(?:{_HEADING}): .*)", re.IGNORECASE)
_CODE = re.compile(  # a prompt, a directive, a field, a fence, a table, a call, or an argument with its type
    r"\s*(?:>>>|\.\. |:\w[^:]*:\s|@\w|In \[\d|\$ |```|\||%\w|\w+\(.*\)\s*(?:->.*)?$|\w[\w.]* ?(?:\([^)]*\))? ?: \S|"
    r"\w+ \(.*\) ?:?\s*$)")
_ROLE_OR_ADDRESS = re.compile(r":\w+(?::\w+)*:(?=`)|https?://\S+")


def prose(docstring: str) -> str:
    """The words before the first section, as sentences of letters: what a docstring says without how it is laid out.

    Each project has its own headings, underlines, prompts, quotes and line lengths, and by these alone a
    classifier knew the domain of one docstring in two; of this it knows little more than by chance.

    >>> from helpers.lab.data.docstrings import prose
    >>> prose("Fit the `KMeans` model\\nin 2 steps.  See :func:`np.sum`!\\n\\nParameters\\n---------\\nX : array")
    'Fit the kmeans model in steps. See package sum.'
    """
    lines: list[str] = []
    for line in docstring.splitlines():
        if _UNDERLINE.fullmatch(line):
            continue
        if _SECTION.fullmatch(line) or _CODE.match(line):
            if lines:
                break
            continue
        lines.append(line)
    text = _NAMES.sub("package", _ROLE_OR_ADDRESS.sub(" ", " ".join(lines))).lower()
    text = re.sub(r"(?<=\w)['\u2019](?=\w)", "", text)
    text = re.sub(r"[.!?:]+(?=\s|$)", " . ", text)
    sentences, left = [], MAX_WORDS
    for sentence in text.split(" . "):
        words = re.findall(r"[^\W\d_]+", sentence)[:left]
        left -= len(words)
        if words:
            sentences.append(" ".join(words))
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)

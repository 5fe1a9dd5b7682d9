"""Real technical English: the docstrings of the installed packages, labelled by domain."""

import ast
import collections
import hashlib
import importlib.util
import itertools
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from helpers.lab.cache import cached
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
MIN_CHARACTERS, MAX_CHARACTERS = 80, 500
_VERSION = 1


def harvest() -> pd.DataFrame:
    """Columns text, label, split, file: beginnings of docstrings, cached as Parquet.

    The sources are parsed with `ast` and never imported; names of packages are masked, else they
    would be the answer; rows are split by source file, so that neighbours do not straddle.

    Raises:
        InputError: fewer than two domains have installed sources.
    """
    path = cache(f"docstrings-{_VERSION}-{_installed_digest()}.parquet")
    return cached(path, _harvest, read=pd.read_parquet, write=pd.DataFrame.to_parquet)


def _harvest() -> pd.DataFrame:
    parts = [rows for domain, packages in DOMAINS.items() if len(rows := _domain_rows(domain, packages)) >= 200]
    if len(parts) < 2:
        raise InputError("Too few of the packages that 'docstrings' is harvested from are installed with sources.")
    return pd.concat(parts, ignore_index=True).drop_duplicates("text")


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
            text = _clean(ast.get_docstring(node) or "")
            if len(text) >= MIN_CHARACTERS:
                yield text


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """What `ast.walk` gives, in its order, without the expressions: nearly all nodes, and no docstring among them."""
    waiting = collections.deque([tree])
    while waiting:
        node = waiting.popleft()
        yield node
        for field in ("body", "handlers", "orelse", "finalbody", "cases"):
            waiting.extend(getattr(node, field, ()))


_NAMES = re.compile(r"\b(" + "|".join(sorted({name for names in DOMAINS.values() for name in names} | {
    "pytorch", "scikit-learn", "scikit", "ipython", "jupyter", "hugging ?face", "vega-lite", "vega", "np", "pd", "plt",
    "symengine", "cuda", "lib\\w+"}, key=len, reverse=True)) + r")\b", re.IGNORECASE)


def _clean(docstring: str) -> str:
    text = " ".join(docstring.split())[:MAX_CHARACTERS]
    return _NAMES.sub("PACKAGE", text)

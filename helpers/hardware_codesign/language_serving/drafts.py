"""A draft for speculative decoding: the same model in 4 bits, or cut to its first layers, as OpenVINO wants it."""

import hashlib
import shutil
from pathlib import Path

from helpers.hardware_codesign.language_serving.switches import FEWER_BITS, FEWER_LAYERS
from helpers.lab.errors import InputError, reason
from helpers.lab.language.gguf import in_weight_type, layer_count
from helpers.lab.language.loading import read_tokenizer
from helpers.lab.paths import cache, replacing
from helpers.lab.progress import Progress, silent


def draft_folder(path: Path, kind: str, progress: Progress = silent) -> Path:
    """A folder with a draft of a model, made once and kept in the cache.

    OpenVINO GenAI reads a model itself from GGUF, but a draft only from a folder with its graph and its tokenizer.

    Args:
        path: a GGUF file.
        kind: "4 bits", or "half of the layers": the first half, in 8 bits, without further training (the early exit of
            Elhoushi et al., LayerSkip, 2024, whose model was trained for it).

    Raises:
        InputError: another kind, no GGUF file, a tokenizer that cannot be converted, or no room on the disk.
        Cancelled: `progress` cancelled the work.
    """
    if kind not in (FEWER_BITS, FEWER_LAYERS) or not path.is_file():
        raise InputError(f"A draft is made of a GGUF file, in '{FEWER_BITS}' or of '{FEWER_LAYERS}', and not of "
                         f"'{path.name}' in '{kind}'.")
    cut = kind == FEWER_LAYERS
    source = in_weight_type(path, "Q8_0" if cut else "Q4_0", progress.part(0.0, 0.6),
                            layers=max(1, layer_count(path) // 2) if cut else None)
    target = cache("language", f"draft-{hashlib.sha256(source.name.encode()).hexdigest()[:16]}")
    if not target.is_dir():
        progress(0.6, f"making a draft: {kind}")
        try:
            with replacing(target) as folder:
                _write(source, read_tokenizer(path), folder)
        except RuntimeError as error:
            raise InputError(f"A draft of '{path.name}' cannot be made ({reason(error)}): leave out what needs "
                             "it.") from error
    progress(1.0, "done")
    return target


def _write(source: Path, tokenizer: object, folder: Path) -> None:
    import openvino
    import openvino_genai
    import openvino_tokenizers

    folder.mkdir()
    copy = folder / "weights.gguf"
    shutil.copyfile(source, copy)
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 1
    openvino_genai.ContinuousBatchingPipeline(str(copy), scheduler, "CPU", {"enable_save_ov_model": True})
    copy.unlink()
    for model, name in zip(openvino_tokenizers.convert_tokenizer(tokenizer, with_detokenizer=True),
                           ("openvino_tokenizer", "openvino_detokenizer"), strict=True):
        openvino.save_model(model, folder / f"{name}.xml")

"""A draft for speculative decoding: the same model in 4 bits, or cut to its first layers and tuned or not."""

import hashlib
import json
import shutil
from pathlib import Path

from helpers.hardware_codesign.language_serving.switches import FEWER_BITS, FEWER_LAYERS, TUNED_LAYERS
from helpers.lab.cache import cached
from helpers.lab.data.task import load_task
from helpers.lab.errors import InputError, reason
from helpers.lab.language.engines.model import LanguageModel
from helpers.lab.language.gguf import gguf_digest, in_weight_type, layer_count
from helpers.lab.language.loading import load_language_model, read_tokenizer
from helpers.lab.paths import cache, replacing
from helpers.lab.progress import Progress, silent

DRAFTS = (FEWER_BITS, FEWER_LAYERS, TUNED_LAYERS)
PROMPTS, PROMPT_TOKENS, ANSWER_TOKENS, EPOCHS = 256, 24, 40, 4.0  # of a tuned draft
RECIPE = 1  # of a tuned draft: raised when what it makes of these figures changes
TOGETHER = 16  # prompts that are continued at once


def draft_folder(path: Path, kind: str, progress: Progress = silent) -> Path:
    """A folder with a draft of a model, made once and kept in the cache.

    OpenVINO GenAI reads a model itself from GGUF, but a draft only from a folder with its graph and its tokenizer.

    Args:
        path: a GGUF file.
        kind: "4 bits"; "half of the layers": the first half, in 8 bits, without further training (the early exit of
            Elhoushi et al., LayerSkip, 2024, whose model was trained for it); or "half of the layers, tuned": all
            weights of that half, on what the whole model writes after beginnings of the last training messages of
            `tickets` (distillation by sequences: Kim and Rush, 2016). That takes some minutes.

    Raises:
        InputError: another kind, no GGUF file, a tokenizer that cannot be converted, or no room on the disk.
        Cancelled: `progress` cancelled the work.
    """
    if kind not in DRAFTS or not path.is_file():
        raise InputError(f"A draft is made of a GGUF file, as one of: {', '.join(DRAFTS)}; and not of '{path.name}' as "
                         f"'{kind}'.")
    begin = progress.part(0.0, 0.6)
    if kind == TUNED_LAYERS:
        source = _tuned_half(path, begin)
    else:
        source = in_weight_type(path, "Q4_0", begin) if kind == FEWER_BITS else _half(path, "Q8_0", begin)
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


def _half(path: Path, kind: str, progress: Progress) -> Path:
    return in_weight_type(path, kind, progress, layers=max(1, layer_count(path) // 2))


def _tuned_half(path: Path, progress: Progress) -> Path:
    """The first half of the layers in 8 bits, tuned to write what the whole model writes; made once."""
    from helpers.lab.language.tuning import require_trainable, tuned_on, write_gguf  # with torch and peft

    half = _half(path, "F16", progress.part(0.0, 0.1))
    parts = [gguf_digest(path), PROMPTS, PROMPT_TOKENS, ANSWER_TOKENS, EPOCHS, RECIPE]
    target = cache("language", f"half-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]}.gguf")

    def make() -> LanguageModel:
        student = load_language_model(half, "transformers")
        require_trainable(student)
        rows = _continued(load_language_model(path, "transformers"), progress.part(0.1, 0.4))
        student.module = tuned_on(student, rows, epochs=EPOCHS, progress=progress.part(0.4, 1.0))
        return student

    cached(target, make, read=Path, write=lambda student, file: write_gguf(student, half, file, "Q8_0"))
    return target


def _continued(llm: LanguageModel, progress: Progress) -> list[list[int]]:
    """Beginnings of PROMPT_TOKENS tokens, and what the model writes after them, greedily and without an end."""
    import torch

    ids = [token for row in llm.encode(load_task("tickets").train["text"][-PROMPTS:]) for token in row]
    count, rows = len(ids) // PROMPT_TOKENS, []
    prompts = torch.tensor(ids[:count * PROMPT_TOKENS]).view(count, PROMPT_TOKENS)[:PROMPTS].to(llm.module.device)
    for batch in prompts.split(TOGETHER):
        progress(len(rows) / len(prompts), "writing what a draft learns")
        with torch.inference_mode():
            rows += llm.module.generate(batch, attention_mask=torch.ones_like(batch), do_sample=False,
                                        min_new_tokens=ANSWER_TOKENS, max_new_tokens=ANSWER_TOKENS).tolist()
    return rows


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

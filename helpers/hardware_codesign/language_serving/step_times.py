"""The steps of a real engine, timed one by one: a prompt that is read, and a token for each of so many answers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.hardware_codesign.language_serving.engine import Engine
from helpers.hardware_codesign.language_serving.phase_model import DECODE, PREFILL, StepCounts
from helpers.hardware_codesign.language_serving.switches import KV_BYTES, Switches
from helpers.lab.errors import InputError
from helpers.lab.language.gguf import read_gguf
from helpers.lab.measuring.timing import settle, timing_turn
from helpers.lab.progress import Progress, silent

PROMPTS, SEQUENCES = (16, 64, 128, 256, 1024), (1, 2, 4, 8, 16, 32)
_WRITTEN = 9  # tokens of each answer: the first is prefill's
_VOCABULARY = 1000  # token ids are drawn below it


def count_steps(path: Path) -> StepCounts:
    """The counts of a model in a GGUF file. Embeddings are looked up, not multiplied, unless they are the head as well.

    Raises:
        InputError: no GGUF file, or none of a decoder of the Llama form.
    """
    reader = read_gguf(path)
    name = reader.fields["general.architecture"].contents()

    def field(key: str) -> int:
        if f"{name}.{key}" not in reader.fields:
            raise InputError(f"'{path.name}' does not say its {key}: name a GGUF file of a decoder of the Llama form.")
        return int(reader.fields[f"{name}.{key}"].contents())

    matrices = {tensor.name: tensor for tensor in reader.tensors if len(tensor.shape) == 2}
    head = matrices.get("output.weight") or matrices.get("token_embd.weight")
    body = [tensor for key, tensor in matrices.items() if key.startswith("blk.")]
    if head is None or not body:
        raise InputError(f"'{path.name}' has no layers or no head: name a GGUF file of a decoder of the Llama form.")
    layers, heads, size = (field(key) for key in ("block_count", "attention.head_count", "embedding_length"))
    kv_width = field("attention.head_count_kv") * size // heads
    kv_bytes = 2.0 * layers * kv_width * KV_BYTES[Switches().kv_precision]
    return StepCounts(float(sum(int(tensor.n_elements) for tensor in body)), float(head.n_elements),
                      float(sum(int(tensor.n_bytes) for tensor in [*body, head])), kv_bytes,
                      4.0 * layers * size)


def measure_phases(path: Path, *, prompts: Sequence[int] = PROMPTS, batches: Sequence[int] = SEQUENCES, rounds: int = 3,
                   max_tokens: int = 2048, progress: Progress = silent) -> pd.DataFrame:
    """Time each step of OpenVINO GenAI's continuous batching over prompts and batches.

    Args:
        path: a GGUF file.
        max_tokens: of all prompts of a batch; a point above it is left out.

    Returns:
        A row a point, medians over rounds: phase, batch, prompt (tokens of each), context (tokens that are attended
        to, on average), seconds (of reading one prompt, or of one step in which each sequence gets a token).

    Raises:
        InputError: no point within `max_tokens`, or what `Engine` refuses.
        Cancelled: `progress` cancelled the work.
    """
    points = [(batch, prompt) for batch in batches for prompt in prompts if batch * prompt <= max_tokens]
    if not points or rounds < 1:
        raise InputError(f"No point has at most {max_tokens} tokens, or there is no round: give shorter prompts, "
                         "smaller batches or more rounds.")
    rng, rows = np.random.default_rng(0), []
    with timing_turn(progress):
        engine = Engine(path, Switches(sequences=max(batches), step_tokens=max_tokens))
        for number in range(-1, rounds):  # the first round warms up; the order differs, as a busy moment does
            for place, index in enumerate(rng.permutation(len(points))):
                batch, prompt = points[index]
                progress((number + 1 + place / len(points)) / (rounds + 1), f"{batch} x {prompt} tokens")
                ids = rng.integers(1, _VOCABULARY, (batch, prompt)).tolist()
                settle()
                run = engine.run(ids, [_WRITTEN] * batch, progress)
                if number >= 0:
                    rows += _points(run.steps, run.first_s, batch, prompt)
    progress(1.0, "done")
    frame = pd.DataFrame(rows, columns=["phase", "batch", "prompt", "context", "seconds"])
    return frame.groupby(["phase", "batch", "prompt", "context"], sort=False)["seconds"].median().reset_index(
        ).sort_values(["phase", "batch", "prompt"], ascending=[False, True, True], ignore_index=True)


def _points(steps: np.ndarray, first_s: np.ndarray, batch: int, prompt: int) -> list[tuple]:
    """(phase, batch, prompt, context, seconds) of one run: its decode steps as their median, its prefill if alone."""
    lasted = np.diff(steps[:, 0], prepend=0.0)
    decoding = (steps[:, 0] > first_s.max()) & (steps[:, 1] == batch)
    context = prompt + _WRITTEN / 2  # of the second to the last token, on average
    decode = (DECODE, batch, prompt, context, float(np.median(lasted[decoding])))
    return [decode, (PREFILL, 1, prompt, float(prompt), float(first_s[0]))] if batch == 1 else [decode]

"""Write what changes give on top of each other where a language model finds the fields of messages.

python -m recording.language_together
"""

import tempfile
import time
from pathlib import Path

from helpers.lab import (
    Served,
    compare_extractors,
    load_language_model,
    load_task,
    prompted_extractor,
    tuned_for,
    write_recorded,
)
from helpers.lab.extraction.tagging.tag_training import train_tagger
from helpers.lab.language.gguf import in_weight_type
from helpers.lab.language.loading import find_language_model
from helpers.lab.language.tuning import write_gguf
from helpers.lab.progress import printed
from recording.efficient_architectures import FOLDER, NAME

TUNED_ROWS, ROWS, TIMED, ROUNDS = 200, 96, 4, 5  # to tune on; for quality; messages of a round; rounds
SLOTS = 16  # requests that are answered together
ENGINE = {"step": "engine", "name": "OpenVINO in place of PyTorch"}
ADAPTED = {"step": "adapt", "name": "tuned with LoRA in place of 8 examples in each prompt"}
ROUNDED = {"step": "round", "name": "weights in 8 bits"}
TOGETHER = {"step": "batch", "name": f"{SLOTS} requests answered together"}
SPECIALIST = {"step": "specialist", "name": "a tagger of MiniLM in its place"}


def record() -> None:
    """Each change on top of those before it, then each alone.

    All models answer freely: PyTorch holds nothing to a form. The shipped weights were rounded before, so that of the
    8 bits only those of the tuned weights tell what rounding loses.
    """
    task, source = load_task("tickets-fields"), find_language_model()
    plain = load_language_model("smollm2", "transformers")
    began = time.perf_counter()
    tuned = tuned_for(plain, task, rows=TUNED_ROWS, progress=printed)
    of_plain = {"parameters": plain.parameters}
    of_tuned = {**of_plain, "made_in_s": time.perf_counter() - began}
    tagger = train_tagger(task, progress=printed).exported("int8")
    of_tagger = {"parameters": tagger.model.card.parameters, "made_in_s": tagger.model.card.made_in_s}

    def shown(llm):
        return prompted_extractor(llm, task, form=False)

    def instructed(llm):
        return prompted_extractor(llm, task, select="none", form=False)

    with tempfile.TemporaryDirectory() as folder:
        halves, eighths = (Path(folder) / f"{kind}.gguf" for kind in ("F16", "Q8_0"))
        write_gguf(tuned, source, halves, "F16")
        write_gguf(tuned, source, eighths, "Q8_0")
        in_pytorch, in_8_bits = shown(plain), instructed(load_language_model(eighths))
        chain = [
            Served("SmolLM2 with 8 examples, PyTorch fp32", "efficient architectures", in_pytorch, **of_plain),
            Served("SmolLM2 with 8 examples, OpenVINO", "hardware co-design",
                   shown(load_language_model(in_weight_type(source, "F16"))), steps=(ENGINE,), **of_plain),
            Served("SmolLM2 tuned, OpenVINO", "efficient architectures", instructed(load_language_model(halves)),
                   steps=(ENGINE, ADAPTED), **of_tuned),
            Served("SmolLM2 tuned, in 8 bits, OpenVINO", "model optimization", in_8_bits,
                   steps=(ENGINE, ADAPTED, ROUNDED), **of_tuned),
            Served(f"SmolLM2 tuned, in 8 bits, OpenVINO, {SLOTS} together", "hardware co-design", in_8_bits, SLOTS,
                   (ENGINE, ADAPTED, ROUNDED, TOGETHER), **of_tuned),
            Served(f"MiniLM tagger in int8, {SLOTS} together", "efficient architectures", tagger, SLOTS,
                   (ENGINE, ADAPTED, ROUNDED, TOGETHER, SPECIALIST), **of_tagger)]
        alone = [
            Served("SmolLM2 tuned, PyTorch fp32", "efficient architectures", instructed(tuned), steps=(ADAPTED,),
                   **of_tuned),
            Served("SmolLM2 with 8 examples, in 8 bits, PyTorch", "model optimization", shown(load_language_model(
                in_weight_type(source, "Q8_0"), "transformers")), steps=(ROUNDED,), **of_plain),
            Served(f"SmolLM2 with 8 examples, PyTorch fp32, {SLOTS} together", "hardware co-design", in_pytorch, SLOTS,
                   (TOGETHER,), **of_plain),
            Served("MiniLM tagger in int8", "efficient architectures", tagger, steps=(SPECIALIST,), **of_tagger)]
        comparison = compare_extractors([*chain, *alone], task, rows=ROWS, timed=TIMED, rounds=ROUNDS, progress=printed)
    write_recorded(FOLDER / f"{NAME}_language_together.jsonl", list(comparison.measurements))
    print(comparison.frame()[["model", "accuracy", "accuracy_delta", "speedup", "speedup_low", "speedup_high", "p50_ms",
                         "usd_per_million"]].round(3).to_string(index=False), flush=True)


if __name__ == "__main__":
    record()

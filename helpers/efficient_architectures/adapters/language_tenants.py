"""Many tenants on one language model: its weights in memory once, and a LoRA adapter for each tenant beside them."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.language.engines.model import Prompt
from helpers.lab.language.engines.openvino import FAITHFUL, OpenVinoModel
from helpers.lab.language.gguf import gguf_digest, in_weight_type
from helpers.lab.language.loading import load_language_model
from helpers.lab.language.tuning import SCALE, tune_adapter
from helpers.lab.measuring.intervals import ratio_of_medians
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.models.packing import save_weights
from helpers.lab.paths import cache, replacing
from helpers.lab.progress import Progress, silent

# OpenVINO GenAI finds an adapter's matrices by the names of the graph's products; of a GGUF file they have none.
_WEIGHT = re.compile(r"(.*layers)\[(\d+)\]\.(.*?)\.weight.*")
_GRAPH = "openvino_model.xml"
_THROUGH = ("Convert", "Multiply", "Subtract", "Reshape")  # between a product and the weights that it reads


class LanguageTenants:
    """One base, and an adapter for each tenant; a request is answered with its tenant's.

    The engine has one adapter in place at a time: requests of a tenant are written together, those of another after
    them. No cache of prefixes, since keys and values of one tenant are wrong for another. The base is held in 16 bits
    (`base_bytes`): of fewer bits OpenVINO GenAI's graph does not say which product reads which matrix.

    Args:
        base: a language model from a GGUF file, in the engine "openvino".
        adapters: tenant -> what tune_adapter gave.

    Raises:
        InputError: no tenant, a model in another engine, or one that is in no GGUF file.

    >>> bank = LanguageTenants(load_language_model("smollm2"), {"shop": adapter})  # doctest: +SKIP
    >>> bank.generate(["Where is my parcel?"], ["shop"])  # doctest: +SKIP
    ['{"wish": "delivery_late"}']
    """

    def __init__(self, base: OpenVinoModel, adapters: Mapping[str, Mapping[str, Tensor]]) -> None:
        import openvino_genai

        if not adapters:
            raise InputError("A bank of tenants needs at least one adapter.")
        if base.engine != OpenVinoModel.engine or not base.path.is_file():
            raise InputError(f"'{base.name}' cannot have tenants: load it from a GGUF file, with engine='openvino'.")
        self.plain, half = base, in_weight_type(base.path, "F16")
        self.base_bytes = half.stat().st_size
        self.bytes = {name: sum(part.numel() * part.element_size() for part in adapter.values())
                      for name, adapter in adapters.items()}
        with TemporaryDirectory() as folder:
            for number, adapter in enumerate(adapters.values()):
                save_weights(adapter, Path(folder) / f"{number}.safetensors")
            self._adapters = {name: openvino_genai.Adapter(str(Path(folder) / f"{number}.safetensors"))
                              for number, name in enumerate(adapters)}
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size, scheduler.enable_prefix_caching = 1, False
        every = openvino_genai.AdapterConfig([(adapter, float(SCALE)) for adapter in self._adapters.values()])
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            str(named_graph(half)), scheduler, "CPU", {**FAITHFUL, "adapters": every})

    def generate(self, prompts: Sequence[Prompt], tenants: Sequence[str | None], *, max_tokens: int = 64,
                 together: bool = True, progress: Progress = silent) -> list[str]:
        """An answer to each prompt, with its tenant's adapter; None is the base alone.

        Args:
            together: requests of one tenant are gathered; False switches at each request where the tenant changes.

        Raises:
            InputError: an unknown tenant, or not as many as prompts.
            Cancelled: the caller of `progress` wants an end; it is asked between groups of requests.
        """
        if len(prompts) != len(tenants):
            raise InputError(f"Each prompt needs its tenant; there are {len(prompts)} prompts and {len(tenants)} "
                             "tenants.")
        if strange := set(tenants) - {None, *self._adapters}:
            raise InputError(f"Unknown tenant '{min(strange)}'. Choose one of: {', '.join(self._adapters)}.")
        answers = [""] * len(prompts)
        for tenant, rows in _groups(tenants, together):
            progress(rows[0] / len(prompts), f"{len(rows)} requests of {tenant or 'the base'}")
            for row, text in zip(rows, self._answers([prompts[row] for row in rows], tenant, max_tokens), strict=True):
                answers[row] = text
        return answers

    def _answers(self, prompts: Sequence[Prompt], tenant: str | None, max_tokens: int) -> list[str]:
        import openvino
        import openvino_genai

        config = openvino_genai.GenerationConfig()
        config.max_new_tokens, config.do_sample, config.apply_chat_template = max_tokens, False, False
        config.stop_token_ids = set(self.plain.ends)
        config.adapters = (openvino_genai.AdapterConfig() if tenant is None else
                           openvino_genai.AdapterConfig(self._adapters[tenant], float(SCALE)))
        ids = [openvino.Tensor(np.array([self.plain.read(prompt)], np.int64)) for prompt in prompts]
        written = [list(one.m_generation_ids[0]) for one in self._pipeline.generate(ids, [config] * len(ids))]
        return self.plain.tokenizer.batch_decode(written, skip_special_tokens=True)


def tenant_adapters(tasks: Sequence[Task], name: str | Path = "smollm2", *, epochs: float = 1.0,
                    progress: Progress = silent) -> dict[str, dict[str, Tensor]]:
    """An adapter for each tenant, tuned on the tenant's own training rows to answer with the tenant's own labels.

    Args:
        tasks: the tenants', such as tenant_tasks gives; an adapter bears its task's name.
        name: of the language model, see load_language_model.

    Raises:
        InputError: no task, or what tune_adapter raises.
        Cancelled: the caller of `progress` wants an end.

    >>> shops = tenant_tasks(load_task("tickets"), 2, labels_each=4, train_rows=32)  # doctest: +SKIP
    >>> bank = LanguageTenants(load_language_model("smollm2"), tenant_adapters(shops))  # doctest: +SKIP
    """
    if not tasks:
        raise InputError("Adapters are tuned for at least one tenant; there is none.")
    llm, adapters = load_language_model(name, "transformers"), {}
    for number, task in enumerate(tasks):
        rows = [(tenant_prompt(task, text), task.labels[label])
                for text, label in zip(task.train["text"][:], task.train["label"][:], strict=True)]
        part = progress.part(number / len(tasks), (number + 1) / len(tasks))
        adapters[task.name] = tune_adapter(llm, rows, epochs=epochs, progress=part)
    return adapters


def tenant_prompt(task: Task, text: str) -> str:
    """What a tenant's model is asked: no labels are named, the adapter knows them."""
    return f"Which of {task.name}'s labels has this message?\n\n{text}"


def tenant_times(bank: LanguageTenants, prompts: Sequence[Prompt], *, max_tokens: int = 8, rounds: int = 3,
                 progress: Progress = silent) -> pd.DataFrame:
    """Seconds of a request with tenants mixed, with one tenant alone, and in the plain model in its own bits, in turns.

    No way has a cache of prefixes: the same prompts are read in each round.

    Returns:
        One row a way: way, seconds (median, of a request; of "load a whole model", of loading), speedup with low and
        high (against "one tenant, all at once"; interval over rounds).

    Raises:
        InputError: no prompt.
        Cancelled: the caller of `progress` wants an end.
    """
    if not prompts:
        raise InputError("Tenants are timed on at least one prompt; there is none.")
    names = list(bank.bytes)
    mixed, one = [names[row % len(names)] for row in range(len(prompts))], names[:1] * len(prompts)
    options: dict[str, Any] = {"max_tokens": max_tokens, "progress": Progress(cancelled=lambda: bool(progress.check()))}

    plain = bank.plain.uncached()

    def one_by_one() -> None:
        for prompt in prompts:
            bank.generate([prompt], names[:1], **options)

    works = {"one tenant, all at once": lambda: bank.generate(prompts, one, **options),
             "tenants mixed, gathered": lambda: bank.generate(prompts, mixed, **options),
             "one tenant, one by one": one_by_one,
             "tenants mixed, as they come": lambda: bank.generate(prompts, mixed, together=False, **options),
             "base alone, all at once": lambda: bank.generate(prompts, [None] * len(prompts), **options),
             "plain model, all at once": lambda: plain.generate(prompts, **options),
             "load a whole model": bank.plain.uncached}
    with timing_turn(progress):
        seconds = seconds_in_turns(works, rounds, progress=progress)
    first = next(iter(seconds.values()))
    rows = []
    for way, taken in seconds.items():
        loading = way.startswith("load")
        ratio = (np.nan,) * 3 if loading else ratio_of_medians(first, taken)
        rows.append({"way": way, "seconds": float(np.median(taken)) / (1 if loading else len(prompts)),
                     "speedup": ratio[0], "low": ratio[1], "high": ratio[2]})
    return pd.DataFrame(rows)


def _groups(tenants: Sequence[str | None], together: bool) -> list[tuple[str | None, list[int]]]:
    """(tenant, its rows): all of a tenant's, or only consecutive ones."""
    groups: list[tuple[str | None, list[int]]] = []
    for row, tenant in enumerate(tenants):
        same = next((one for one in groups if one[0] == tenant), None) if together else (groups or [None])[-1]
        if same is not None and same[0] == tenant:
            same[1].append(row)
        else:
            groups.append((tenant, [row]))
    return groups


def named_graph(base: Path) -> Path:
    """The folder with a GGUF file's graph as OpenVINO builds it, its products named as an adapter's matrices; cached.

    Raises:
        InputError: no such file, a graph without matrices of layers, or no room for it on the disk.
    """
    folder = cache("language", f"{base.stem}-{gguf_digest(base)[:16]}.named")
    if not (folder / _GRAPH).is_file():
        with replacing(folder) as unfinished:
            _write_named(base, unfinished)
    return folder


def _write_named(base: Path, folder: Path) -> None:
    import openvino
    import openvino_genai

    folder.mkdir()
    with TemporaryDirectory() as place:
        shutil.copyfile(base, Path(place) / "weights.gguf")
        openvino_genai.LLMPipeline(str(Path(place) / "weights.gguf"), "CPU", {"enable_save_ov_model": True})
        graph = openvino.Core().read_model(Path(place) / _GRAPH)
        if not sum(_named(node) for node in graph.get_ordered_ops() if node.get_type_name() == "MatMul"):
            raise InputError(f"The graph of '{base.name}' has no matrices of layers that an adapter could change.")
        openvino.save_model(graph, folder / _GRAPH, compress_to_fp16=False)
        for file in Path(place).glob("openvino_*tokenizer.*"):
            shutil.copyfile(file, folder / file.name)


def _named(product: Any) -> bool:
    """Give a product the name of the matrix that it reads, if that is a layer's."""
    node = product.input(1).get_source_output().get_node()
    while node.get_type_name() in _THROUGH:
        node = node.input(0).get_source_output().get_node()
    match = _WEIGHT.fullmatch(node.get_friendly_name())
    if match:
        product.set_friendly_name(f"__module.{match[1]}.{match[2]}.{match[3]}/MatMul")
    return bool(match)

"""Something that predicts: the one protocol, and what all text models share."""

import concurrent.futures
import contextlib
import dataclasses
import importlib.metadata
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from safetensors import SafetensorError

from helpers.lab.cache import cached
from helpers.lab.data.tokenizer import Coverage, TextEncoder
from helpers.lab.errors import InputError
from helpers.lab.machine import return_free_memory, usable_cores
from helpers.lab.paths import unwritable, write_atomically

MAX_BATCH = 64
# Rows of like length, so that little padding is multiplied: in runtimes whose calls cost little, MiniLM
# in int8 answered 1.3 times as many texts a second as with whole batches, at the same latency.
FEW_ROWS = 4

# Where the class of a saved model is found: entry points of this group, runtime -> class, as installed packages
# declare them. A name in a model's file is looked up there and never imported.
ENTRY_POINTS = "helpers.models"


@dataclasses.dataclass(frozen=True)
class Card:
    """Facts about a model besides its weights.

    `macs` is for one input of the task's mean length. `labels` are the names of the classes, in the order of the
    logits; `coverage` is what the encoder reads of the task's test texts. `checkpoint` is what the names of models made
    from this one begin with, so that those of two checkpoints can be distinguished.
    """

    name: str
    classes: int
    strategy: str = "reference"
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    parameters: int | None = None
    macs: int | None = None
    made_in_s: float = 0.0
    labels: tuple[str, ...] = ()
    coverage: Coverage | None = None
    checkpoint: str = ""

    @classmethod
    def of_json(cls, facts: dict[str, Any]) -> "Card":
        """The card that was written as JSON.

        Raises:
            ValueError, TypeError: it is none.
        """
        coverage = facts.get("coverage")
        card = cls(**facts | {"labels": tuple(facts.get("labels", ())),
                              "coverage": None if coverage is None else Coverage(**coverage)})
        sizes = [card.classes, card.settings.get("streams", 1), card.settings.get("micro_batch", 1)]
        if not (isinstance(card.name, str) and all(isinstance(size, int) and size > 0 for size in sizes)):
            raise ValueError("not the card of a model")
        return card

    def derive(self, name: str, strategy: str, made_in_s: float, **settings: Any) -> "Card":
        """The card of a model made from this one: settings and making times add up."""
        name = name if name.startswith(self.checkpoint) else f"{self.checkpoint} {name}"
        return dataclasses.replace(self, name=name, strategy=strategy, settings={**self.settings, **settings},
                                   made_in_s=self.made_in_s + made_in_s)


@runtime_checkable
class Model(Protocol):
    """Protocol of the models that experiments take and return."""

    card: Card

    def predict(self, inputs: Sequence[Any]) -> np.ndarray:
        """(n, classes) float32 logits of n raw inputs."""

    def save(self, path: Path) -> None:
        """Write everything that `load(path)` needs for the same predictions.

        Raises:
            InputError: a model that could not be loaded again; the sentence says what stands in the way.
        """


@runtime_checkable
class Resting(Protocol):
    """Protocol of the models that can give back memory."""

    def rest(self) -> None:
        """Give back the memory that only another batch as large as the largest so far would need."""


class TextModel:
    """Tokenizes, sorts by length, cuts into micro-batches and runs them on one or more streams.

    Settings: `micro_batch`, rows run together at most, padded to the longest of them (64: all that are
    given at once); `streams`, micro-batches under way at once, each with its share of the cores: several
    share the rows out evenly, so that a small batch leaves none of them idle.
    """

    runtime: str
    micro_batch = MAX_BATCH  # unless the settings say otherwise

    def __init__(self, card: Card, encoder: TextEncoder) -> None:
        self.card = card
        self.encoder = encoder
        streams = self.streams
        self._pool = concurrent.futures.ThreadPoolExecutor(streams) if streams > 1 else None

    @property
    def streams(self) -> int:
        """Micro-batches under way at once."""
        return min(int(self.card.settings.get("streams", 1)), usable_cores())

    @property
    def threads_per_stream(self) -> int:
        """Cores for each stream."""
        return max(1, usable_cores() // self.streams)

    def predict(self, inputs: Sequence[str]) -> np.ndarray:
        """(n, classes) float32 logits of n texts."""
        if not len(inputs):
            return np.empty((0, self.card.classes), np.float32)
        rows = self.encoder.encode(inputs)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        step = int(self.card.settings.get("micro_batch", self.micro_batch))
        if self._pool is not None:
            rounds = math.ceil(len(order) / step / self.streams)
            step = math.ceil(len(order) / rounds / self.streams)
        parts = [order[start:start + step] for start in range(0, len(order), step)]
        logits = np.empty((len(rows), self.card.classes), np.float32)

        def run(part: list[int]) -> None:
            logits[part] = self._logits(*self.encoder.pad([rows[index] for index in part]))

        if self._pool is None:
            for part in parts:
                run(part)
        else:  # longest first, so that no stream is left alone with the longest at the end
            list(self._pool.map(run, reversed(parts)))
        return logits

    def rest(self) -> None:
        """Give back the memory that only another batch as large as the largest so far would need."""
        return_free_memory()

    def save(self, path: Path) -> None:
        """Write card, tokenizer and artefact into the folder `path`."""
        with saving(path, self.runtime, self.card, max_tokens=self.encoder.max_tokens) as folder:
            self.encoder.save(folder / "tokenizer.json")
            self._save_artefact(folder)

    @classmethod
    def load(cls, path: Path, card: Card, max_tokens: int) -> Self:
        """Read what `save` wrote."""
        return cls._load_artefact(path, card, TextEncoder.load(path / "tokenizer.json", max_tokens))

    def _logits(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _save_artefact(self, path: Path) -> None:
        raise NotImplementedError

    @classmethod
    def _load_artefact(cls, path: Path, card: Card, encoder: TextEncoder) -> Self:
        raise NotImplementedError


def rest(model: Model) -> None:
    """Have a model give back memory after a large batch, where it keeps any; its answers stay the same.

    Runtimes keep what their largest batch took: nine models that had answered thousands of texts held 4 GB.
    """
    if isinstance(model, Resting):
        model.rest()


@contextlib.contextmanager
def saving(path: Path, runtime: str, card: Card, **facts: Any) -> Iterator[Path]:
    """The folder `path`, made, for a model's parts; at its end the block writes the file that `load` reads first.

    So a save that is stopped half-way leaves no model, also where an older one stood: its weights may be gone already.

    Raises:
        InputError: a full disk, or a folder that cannot be written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / "model.json").unlink(missing_ok=True)
        yield path
    except (OSError, SafetensorError) as error:
        raise unwritable(path, error) from error
    content = {"runtime": runtime, **facts, **dataclasses.asdict(card)}
    write_atomically(path / "model.json", json.dumps(content, indent=1))


def load(path: Path) -> Model:
    """The model that `save(path)` wrote, with the same predictions.

    Raises:
        InputError: the folder holds no model of this package, or a damaged one.
    """
    path = Path(path)
    try:
        facts = json.loads((path / "model.json").read_text(encoding="utf-8"))
        runtime = facts.pop("runtime")
        max_tokens = facts.pop("max_tokens", None)
        card = Card.of_json(facts)
    except Exception as error:  # JSON of any form, nested as deep as one likes
        raise InputError(f"The folder '{path.name}' holds no readable model ({type(error).__name__}).") from None
    try:
        if len(card.labels) not in (0, card.classes):
            raise ValueError("there are not as many labels as classes")
        return _class_of(runtime).load(path, card, max_tokens)
    except InputError:
        raise
    except Exception as error:  # damage shows in many ways: safetensors, JSON, shapes, each runtime's own errors
        raise InputError(f"The model in '{path.name}' is damaged or incomplete ({type(error).__name__}). "
                         "Save it again, or remove the folder.") from error


def cached_model(folder: Path, make: Callable[[], Model]) -> Model:
    """The model of a cache folder; where there is none, `make()` gives it and it is saved there: see `cached`."""
    return cached(folder, make, read=load, write=lambda model, path: model.save(path))


def _class_of(runtime: str) -> type[Model]:
    """The class that saved a model under this runtime's name."""
    declared = {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if runtime not in declared:
        raise InputError(f"No installed package reads models of the runtime '{runtime}'. Choose one of: "
                         f"{', '.join(sorted(declared)) or 'none: install this project with pip'}.")
    return declared[runtime].load()


def folder_bytes(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())

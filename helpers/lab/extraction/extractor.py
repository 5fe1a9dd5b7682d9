"""The protocol of extractors, which find the fields of messages."""

import abc
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from helpers.lab.data.extraction import Extraction
from helpers.lab.models.model import folder_bytes
from helpers.lab.paths import write_atomically
from helpers.lab.progress import Progress, silent

FACTS = "extractor.json"


class Extractor(abc.ABC):
    """Finds the wish and the fields in texts.

    Args:
        name: what it is called in tables.
        fields: what it looks for, beside the wish.
        settings: what tells it from others of its kind.
    """

    kind: ClassVar[str]

    def __init__(self, name: str, fields: Sequence[str], settings: Mapping[str, Any]) -> None:
        self.name, self.fields, self.settings = name, tuple(fields), dict(settings)

    @abc.abstractmethod
    def extract(self, texts: Sequence[str], *, progress: Progress = silent) -> list[Extraction | None]:
        """The wish and the fields of each text, as far as there are; None for an answer that is no valid JSON.

        Raises:
            Cancelled: the caller of `progress` wants an end.
        """

    @property
    def stored(self) -> int:
        """Bytes of what it is made of on disk."""
        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder))
            return folder_bytes(Path(folder))

    def save(self, path: Path) -> None:
        """Write what `load_extractor` needs for the same extractions into the folder `path`."""
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        facts = {"kind": self.kind, "name": self.name, "fields": self.fields, "settings": self.settings}
        write_atomically(path / FACTS, json.dumps(facts | self._save(path), ensure_ascii=False))

    @abc.abstractmethod
    def _save(self, path: Path) -> dict[str, Any]:
        """Write further files, and return further facts as JSON has them."""

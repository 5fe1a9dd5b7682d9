"""Extractors as they were saved."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.lab.errors import InputError, reason
from helpers.lab.extraction.extractor import FACTS, Extractor
from helpers.lab.extraction.patterns import PatternExtractor
from helpers.lab.extraction.prompting import PromptedExtractor
from helpers.lab.extraction.tagging.tagger import Tagger

if TYPE_CHECKING:
    from helpers.lab.language.engines.model import LanguageModel

_KINDS = {kind.kind: kind for kind in (PatternExtractor, Tagger)}


def load_extractor(path: Path, llm: "LanguageModel | None" = None) -> Extractor:
    """The extractor that `save(path)` wrote, with the same extractions.

    Args:
        llm: the language model of a prompted one, which is not saved with it.

    Raises:
        InputError: the folder holds no extractor, or a damaged one, or one that needs its language model.
    """
    path = Path(path)
    try:
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        if facts["kind"] == PromptedExtractor.kind:
            return PromptedExtractor.read(path, facts, llm)
        return _KINDS[facts["kind"]].read(path, facts)
    except InputError:
        raise
    except Exception as error:  # damage shows in many ways: JSON, missing files, each runtime's own errors
        raise InputError(f"The folder '{path.name}' holds no whole extractor ({reason(error)}). Save it "
                         "again.") from error

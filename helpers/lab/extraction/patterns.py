"""The yardstick of extraction: regular expressions, a list of products, and counted words for the wish."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from helpers.lab.data.extraction import Extraction, extractions, field_names, places_of
from helpers.lab.data.labels import WISH
from helpers.lab.data.task import Task
from helpers.lab.extraction.extractor import Extractor
from helpers.lab.models.model import Model, load
from helpers.lab.models.sklearn import tfidf_baseline
from helpers.lab.progress import Progress, silent

_NUMBER = r"\d+(?:[.,'\u2019]\d{3})*(?:[.,]\d{1,2})?(?![\d])"
_SIGN = r"(?:US|A|C|NZ)?[$€£₹¥]|(?:EUR|USD|GBP|AUD|CHF|INR|Rs\.?|kr\.?)(?![a-z])"
_UNIT = (r"[$€£₹]|(?:EUR|USD|GBP|AUD|NZD|CHF|SEK|NOK|DKK|PLN|INR|euros?|dollars?|bucks|pounds?|quid|rupees?|"
         r"kroner|kronor|kr|pesos?|francs?|zł|TL|lei)(?!\w)")
_MONTH = (r"jan(?:uary|vier|uar|uari)?|feb(?:ruary|ruar|ruari)?|mar(?:ch|zo)|märz|mars|apr(?:il|ile)?|avril|may|mai|"
          r"maggio|june?|juin|juni|july?|juillet|juli|aug(?:ust)?|août|agosto|sept?(?:ember|embre|iembre)?|"
          r"o[ck]t(?:ober|obre|ubre)?|nov(?:ember|embre|iembre)?|d[eé][cz](?:ember|embre|iembre)?")
_WEEKDAY = r"(?:mon|wednes|fri|satur|sun)days?|(?:tues|thurs)(?:days?)?"
_NTH = r"\d{1,2}(?:st|nd|rd|th)"
PATTERNS = {
    # Letters with three digits or more, numbers in two parts, six digits or more; a phone number (555-0138) is none.
    "order": r"(?i)(?<![\w.@+/-])(?:PO )?(?:[A-Z]{1,4}-?\d{3,8}(?:-[A-Z0-9]{1,4})?|\d{1,2}-\d{4,6}|\d{4}-[A-Z]|\d{6,8}|"
             r"(?:[A-Z]\d){3})(?![\w@-])",
    "amount": rf"(?:{_SIGN}) ?{_NUMBER}|(?<![\w.,]){_NUMBER} ?(?:{_UNIT})|(?<![\w.,/-])\d+[.,]\d\d(?![\d./])",
    "date": rf"(?i)\b(?:the )?{_NTH}(?: (?:of )?(?:{_MONTH})\b)?|\b\d{{1,2}}\.? (?:de )?(?:{_MONTH})\b(?: \d{{4}})?|"
            rf"\b(?:{_MONTH})\.? \d{{1,2}}(?!\d)(?:, \d{{4}})?|"
            rf"(?<![\d/.-])(?!24/7)\d{{1,2}}(?:/\d{{1,2}}(?:/\d{{2,4}})?|\.(?:0?[1-9]|1[012])\.(?:\d{{2,4}})?)(?!\d)|"
            rf"\b(?:last )?(?:{_WEEKDAY})\b|\b(?!may\b)(?:{_MONTH})\b|\b(?-i:May)\b",
}
_MIN_TRUE = 0.5  # of the training messages that hold a listed value, the share in which it is the field's


class PatternExtractor(Extractor):
    """The first match of a pattern of PATTERNS, or of a value that training rows had; the wish by a classifier.

    Args:
        lists: field -> its known values, of fields without a pattern.
        classifier: of the wish.
    """

    kind = "patterns"

    def __init__(self, fields: Sequence[str], lists: Mapping[str, Sequence[str]], classifier: Model,
                 name: str = "regular expressions") -> None:
        super().__init__(name, fields, {"listed": sum(map(len, lists.values()))})
        self.lists, self.classifier = {field: list(values) for field, values in lists.items()}, classifier
        self._patterns = {field: re.compile(PATTERNS.get(field) or _any_of(self.lists[field])) for field in self.fields}

    def extract(self, texts: Sequence[str], *, progress: Progress = silent) -> list[Extraction | None]:
        """See Extractor."""
        progress.check()
        wishes = self.classifier.predict(texts).argmax(axis=1)
        rows: list[Extraction | None] = []
        for text, wish in zip(texts, wishes, strict=True):
            matches = {field: pattern.search(text) for field, pattern in self._patterns.items()}
            rows.append({WISH: self.classifier.card.labels[wish],
                          **{field: match[0] for field, match in matches.items() if match}})
        return rows

    def _save(self, path: Path) -> dict[str, Any]:
        self.classifier.save(path / "wish")
        return {"lists": self.lists}

    @classmethod
    def read(cls, path: Path, facts: Mapping[str, Any]) -> Self:
        """Load what `save` wrote."""
        return cls(facts["fields"], facts["lists"], load(path / "wish"), facts["name"])


def _any_of(values: Sequence[str]) -> str:
    """One pattern of all values as whole words, in any case; the longest is tried first. No value matches nothing."""
    parts = [r"\s+".join(map(re.escape, value.split())) for value in sorted(values, key=len, reverse=True)]
    return rf"(?i)(?<!\w)(?:{'|'.join(parts)})(?!\w)" if parts else r"(?!)"


def learn_patterns(task: Task) -> PatternExtractor:
    """A PatternExtractor with what the training rows of a task have: values of fields without a pattern, and wishes.

    A value is listed if it is the field's in at least half of the training messages that hold it.

    Raises:
        InputError: the task has no fields.

    >>> from helpers.lab import load_task
    >>> from helpers.lab.extraction.patterns import learn_patterns
    >>> learn_patterns(load_task("tickets-fields")).extract(["Where is my doorbell, order HB-52347?"])  # doctest: +SKIP
    [{'wish': 'delivery_late', 'order': 'HB-52347', 'product': 'doorbell'}]
    """
    fields, texts, extracted = field_names(task), task.train["text"][:], extractions(task, "train")
    lists = {field: _trustworthy(field, texts, extracted) for field in fields if field not in PATTERNS}
    return PatternExtractor(fields, lists, tfidf_baseline(task))


def _trustworthy(field: str, texts: Sequence[str], extracted: Sequence[Extraction]) -> list[str]:
    counts = Counter(one[field].casefold() for one in extracted if field in one)
    lowered = [text.casefold() for text in texts]
    kept = []
    for value, count in counts.items():
        held = sum(bool(places_of(text, value)) for text in lowered if value in text)
        if count >= _MIN_TRUE * held:
            kept.append(value)
    return sorted(kept)

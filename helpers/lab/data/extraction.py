"""Fields to be found in a message: how a task holds them, when two values are the same, and where one stands.

What counts in `tickets-fields`. A value is a piece of the message, as it stands there; a field that the message does
not have is absent, and none has two values. `order` is the number by which the shop finds the case: of an order, a
contract, a return, an invoice or a claim, but no serial number, phone number or tracking number. `product` is the thing
or the named plan that the wish is about (what is missing, broken, to be sent back, not there yet), in the words that
name it best, without article, number of pieces or praise; of several the one that comes first. `amount` is the sum of
money that the wish is about, with its currency where one stands there: what was charged, is owed or wanted back, not a
fee beside it. `date` is the day, weekday, month, season or year that the wish hangs on (when it was ordered, charged,
sent, promised or shall end), not the head of a quoted mail; 'yesterday', 'next week' and times of day are none.
Whoever reads a long message may choose otherwise: where several values can be meant, the score has a ceiling.
"""

import json
import re
import unicodedata
from typing import TYPE_CHECKING

from helpers.lab.data.labels import WISH
from helpers.lab.errors import InputError

if TYPE_CHECKING:
    from helpers.lab.data.task import Task

Extraction = dict[str, str]  # field -> value; a field that is absent in the message is absent here
_ARTICLE = re.compile(r"(the|an?|les?|la|el|los|las|il|der|die|das|de|het) ")
_YEAR = re.compile(r"(?<=[\w.])[ ,./-]+(?:19|20)\d\d$")  # behind a day or a month
_AROUND = " .,;:!?'\"()[]«»“”\u2018\u2019"


def extractions(task: "Task", split: str) -> list[Extraction]:
    """The fields to find in each row of a split, and its label as the wish.

    Raises:
        InputError: the task has no fields.

    >>> from helpers.lab import load_task
    >>> from helpers.lab.data.extraction import extractions
    >>> extractions(load_task("tickets-fields"), "train")[1]["wish"]  # doctest: +SKIP
    'out_of_scope'
    """
    rows = getattr(task, split)
    if "fields" not in rows.column_names:
        raise InputError(f"The task '{task.name}' has no fields to be found. "
                         'Take load_task("tickets-fields"), or name the column: load_task("own.csv", fields="fields").')
    return [{WISH: task.labels[label], **json.loads(fields)}
            for label, fields in zip(rows["label"][:], rows["fields"][:], strict=True)]


def field_names(task: "Task") -> tuple[str, ...]:
    """The fields that the training rows have, the most frequent first; the wish is none of them."""
    names = [name for one in extractions(task, "train") for name in one if name != WISH]
    return tuple(sorted(set(names), key=lambda name: (-names.count(name), name)))


def normalised(field: str, value: str) -> str:
    """Normal form of a value, equal for two spellings of it.

    Case, kinds of blanks, quotes and marks around it and an article before it do not count. An `order` is compared
    without blanks and '#'. An `amount` is compared by its number alone, so that 189, 189.00 €, $189 and 189 bucks are
    one: signs and words of currency, blanks and separators of thousands are left out. A `date` is compared without the
    year behind its day or month.

    >>> from helpers.lab.data.extraction import normalised
    >>> normalised("date", "The 15th,"), normalised("order", "#po 2318-C"), normalised("amount", "1.249,50 kr")
    ('15th', 'po2318-c', '1249.5')
    """
    text = " ".join(unicodedata.normalize("NFKC", value).casefold().split()).strip(_AROUND)
    if field == "order":
        return re.sub(r"[\s#]", "", text)
    if field == "amount":
        return _number(text) or text
    if field == "date":
        text = _YEAR.sub("", text)
    return text[match.end():] if (match := _ARTICLE.match(text)) else text


def _number(text: str) -> str:
    """The first number: a separator with one or two digits behind it begins the fraction, others part thousands."""
    match = re.search(r"\d(?:[\d.,'\u2019 ]*\d)?", text)
    if match is None:
        return ""
    whole, _, fraction = re.fullmatch(r"(.*?)(?:([.,])(\d{1,2}))?", match[0]).group(1, 2, 3)
    whole = re.sub(r"\D", "", whole).lstrip("0") or "0"
    fraction = (fraction or "").rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def places_of(text: str, value: str) -> list[tuple[int, int]]:
    """Where a value stands in a text, (start, end) each, as whole words where it does so anywhere.

    Case is heeded if that finds it; any blanks stand for blanks.

    >>> from helpers.lab.data.extraction import places_of
    >>> places_of("Hub, not hubcap", "hub")
    [(0, 3)]
    """
    words = value.split()
    if not words:
        return []
    pattern = r"\s+".join(map(re.escape, words))
    before, after = (r"(?<!\w)" if words[0][0].isalnum() else ""), (r"(?!\w)" if words[-1][-1].isalnum() else "")
    for whole in (f"{before}{pattern}{after}", pattern):
        for flags in (re.NOFLAG, re.IGNORECASE):
            if places := [match.span() for match in re.finditer(whole, text, flags)]:
                return places
    return []


"""Where the names beside the marks go, so that they do not cover each other."""

import dataclasses
import math
from collections.abc import Sequence

NAMED = 4  # marks that have room for their names; more of them are numbered as in the table
WIDTH, HEIGHT = 520, 300  # pixels of the plot that the places are tried for
_LETTER, _LINE = 6.6, 15
_PLACES = (("left", 7, -8), ("right", -7, -8), ("left", 7, 18), ("right", -7, 18), ("left", 7, -24),
           ("right", -7, -24), ("left", 7, 34), ("right", -7, 34))
Box = tuple[float, float, float, float]  # left, top, right, bottom


def short_names(names: Sequence[str]) -> list[str]:
    """What stands beside the marks: their names, or the numbers of their rows in the table."""
    return list(names) if len(names) <= NAMED else [str(number) for number in range(1, len(names) + 1)]


@dataclasses.dataclass(frozen=True)
class Mark:
    """A point with its name and its two intervals."""

    name: str
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float


def places(marks: Sequence[Mark], x_domain: tuple[float, float],
           y_domain: tuple[float, float]) -> list[tuple[str, int, int]]:
    """(align, dx, dy) for each name; x is on a log axis.

    Greedy: the first place whose box is free of marks, intervals and the names already put. A wide
    or a narrow page shifts the marks, so this is a good guess, not a proof.
    """
    taken: list[Box] = []
    for mark in marks:
        (left, top), (right, bottom) = (_pixel(x, y, x_domain, y_domain) for x, y in
                                        ((mark.x_low, mark.y_high), (mark.x_high, mark.y_low)))
        x, y = _pixel(mark.x, mark.y, x_domain, y_domain)
        taken += [(x - 7, y - 7, x + 7, y + 7), (left, y - 1, right, y + 1), (x - 1, top, x + 1, bottom)]
    found = []
    for mark in marks:
        x, y = _pixel(mark.x, mark.y, x_domain, y_domain)
        boxes = [(place, _box(x, y, mark.name, place)) for place in _PLACES]
        place, box = min(boxes, key=lambda pair: sum(_overlap(pair[1], other) for other in taken) + _outside(pair[1]))
        taken.append(box)
        found.append(place)
    return found


def _pixel(x: float, y: float, x_domain: tuple[float, float], y_domain: tuple[float, float]) -> tuple[float, float]:
    low, high = map(math.log, x_domain)
    return WIDTH * (math.log(x) - low) / (high - low), HEIGHT * (y_domain[1] - y) / (y_domain[1] - y_domain[0])


def _box(x: float, y: float, name: str, place: tuple[str, int, int]) -> Box:
    align, dx, dy = place
    left = x + dx if align == "left" else x + dx - _LETTER * len(name)
    return left, y + dy - _LINE + 3, left + _LETTER * len(name), y + dy + 3


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _outside(box: Box) -> float:
    return _LINE * (max(0.0, -box[0]) + max(0.0, box[2] - WIDTH))

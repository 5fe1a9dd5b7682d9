"""Where the names beside the marks go, so that they do not cover each other."""

import math
from collections.abc import Sequence

WIDTH, HEIGHT = 520, 300  # pixels of the plot that the places are tried for
_LETTER, _LINE = 6.6, 15
_PLACES = (("left", 10, 4), ("right", -10, 4), ("left", 6, -12), ("left", 6, 19), ("right", -6, -12),
           ("right", -6, 19), ("left", 8, -26), ("left", 8, 33))


def places(marks: Sequence[tuple[float, float]], names: Sequence[str], x_domain: tuple[float, float],
           y_domain: tuple[float, float]) -> list[tuple[str, int, int]]:
    """(align, dx, dy) for each name; x is on a log axis.

    Greedy: the first place whose box is free of marks and of the names already put. A wide or a
    narrow page shifts the marks, so this is a good guess, not a proof.
    """
    pixels = [_pixel(mark, x_domain, y_domain) for mark in marks]
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in pixels]
    found = []
    for (x, y), name in zip(pixels, names, strict=True):
        boxes = [(place, _box(x, y, name, place)) for place in _PLACES]
        place, box = min(boxes, key=lambda pair: sum(_overlap(pair[1], other) for other in taken) + _outside(pair[1]))
        taken.append(box)
        found.append(place)
    return found


def _pixel(mark: tuple[float, float], x_domain: tuple[float, float],
           y_domain: tuple[float, float]) -> tuple[float, float]:
    low, high = map(math.log, x_domain)
    x = WIDTH * (math.log(mark[0]) - low) / (high - low)
    return x, HEIGHT * (y_domain[1] - mark[1]) / (y_domain[1] - y_domain[0])


def _box(x: float, y: float, name: str, place: tuple[str, int, int]) -> tuple[float, float, float, float]:
    align, dx, dy = place
    left = x + dx if align == "left" else x + dx - _LETTER * len(name)
    return left, y + dy - _LINE + 3, left + _LETTER * len(name), y + dy + 3


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _outside(box: tuple[float, ...]) -> float:
    return _LINE * (max(0.0, -box[0]) + max(0.0, box[2] - WIDTH))

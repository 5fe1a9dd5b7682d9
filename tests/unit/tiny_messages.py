"""A small task of extraction: short messages in two wishes, each with a thing and an order number, or with neither."""

import functools

import pandas as pd

from helpers.lab import Task, load_task

THINGS = ("hub", "camera", "siren", "garden lamp", "plug", "door lock")


@functools.cache
def things() -> Task:
    """249 messages; nine of them have no field. Tests leave it as it is."""
    rows = [(f"{start} {thing} {middle} {number}", label, {"order": number, "product": thing})
            for n, thing in enumerate(THINGS) for start, middle, label in
            [("where is my", "of order", "late"), ("broken is the", "bought as", "broken")]
            for number in [f"HB-{n}{copy:02d}{7 * copy % 10}" for copy in range(20)]]
    rows += [("thanks a lot " * copy, "late", {}) for copy in range(1, 10)]
    return load_task(pd.DataFrame(rows, columns=["text", "label", "fields"]), fields="fields")

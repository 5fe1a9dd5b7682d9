"""A small task of extraction, and a tagger that has learned it."""

import pandas as pd
import pytest

from helpers.lab import load_task

THINGS = ("hub", "camera", "siren", "garden lamp", "plug", "door lock")


@pytest.fixture(scope="session")
def things_task():
    """Short messages in two wishes, each with a thing and an order number, but for some that have neither."""
    rows = [(f"{start} {thing} {middle} {number}", label, {"order": number, "product": thing})
            for n, thing in enumerate(THINGS) for start, middle, label in
            [("where is my", "of order", "late"), ("broken is the", "bought as", "broken")]
            for number in [f"HB-{n}{copy:02d}{7 * copy % 10}" for copy in range(20)]]
    rows += [("thanks a lot " * copy, "late", {}) for copy in range(1, 10)]
    return load_task(pd.DataFrame(rows, columns=["text", "label", "fields"]), fields="fields")


@pytest.fixture(scope="session")
def things_tagger(things_task, narrow_encoder):
    """See train_tagger. Shared: tests leave it as it is."""
    from helpers.lab.extraction.tag_training import train_tagger

    return train_tagger(things_task, encoder=narrow_encoder, epochs=120)

"""A small task of extraction, and a tagger that has learned it."""

import pytest
from tiny_messages import things


@pytest.fixture(scope="session")
def things_task():
    """See things."""
    return things()


@pytest.fixture(scope="session")
def things_tagger(things_task, narrow_encoder):
    """See train_tagger. Shared: tests leave it as it is."""
    from helpers.lab.extraction.tagging.tag_training import train_tagger

    return train_tagger(things_task, encoder=narrow_encoder, epochs=120)

"""What the tests of tuned weights share: a message, and a tiny model tuned on it."""

import dataclasses

import pytest
from tiny_gguf import tiny_llm
from tiny_messages import things

from helpers.lab import tuned_for
from helpers.lab.data.extraction import extractions


@pytest.fixture(scope="session")
def task():
    """A task of one message, which is trained on and tested with."""
    row = next(row for row, result in enumerate(extractions(things(), "train")) if "product" in result)
    one = things().train.select([row])
    return dataclasses.replace(things(), train=one, test=one)


@pytest.fixture(scope="session")
def tuned(task):
    """See tuned_for. Shared: tests leave it as it is."""
    return tuned_for(tiny_llm(), task, epochs=20)

"""What the tests of distillation share: a teacher, and a small task of extraction."""

import pytest
from tiny_messages import things
from tiny_texts import trained


@pytest.fixture(scope="session")
def teacher(tiny_model, tiny_task):
    """The tiny model after it has learned the tiny task."""
    return trained(tiny_model, tiny_task, "teacher", epochs=8)


@pytest.fixture(scope="session")
def things_task():
    """See things."""
    return things()

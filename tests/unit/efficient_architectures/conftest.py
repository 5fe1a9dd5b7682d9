"""A small task of extraction."""

import pytest
from tiny_messages import things


@pytest.fixture(scope="session")
def things_task():
    """See things."""
    return things()

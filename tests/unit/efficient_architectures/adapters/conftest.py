"""What the tests of adapters share."""

import pytest

from helpers.efficient_architectures import tune
from helpers.efficient_architectures.options import ADAPTERS


@pytest.fixture(scope="session")
def tuned(tiny_task, narrow_encoder):
    """Each kind, trained for two epochs."""
    return {kind: tune(tiny_task, kind, rank=4, encoder=narrow_encoder, epochs=2) for kind in ADAPTERS}

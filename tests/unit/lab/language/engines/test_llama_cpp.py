"""llama.cpp: what its server cannot do is said."""

import pytest
from small_llama import PROMPTS, smollm2

from helpers.lab import InputError

pytestmark = pytest.mark.slow


def test_a_regular_expression_is_refused():
    with pytest.raises(InputError, match="JSON schema, not to a regular expression"):
        smollm2("llama.cpp").generate([PROMPTS[0]], form="(a|b)")

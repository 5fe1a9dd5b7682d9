"""llama.cpp: what its server cannot do is said."""

import subprocess
import sys

import pytest
from small_llama import PROMPTS, smollm2
from tiny_gguf import tiny_gguf

from helpers.lab import InputError

pytestmark = pytest.mark.slow


def test_a_regular_expression_is_refused():
    with pytest.raises(InputError, match="JSON schema, not to a regular expression"):
        smollm2("llama.cpp").generate([PROMPTS[0]], form="(a|b)")


OPENED_AND_LEFT = """
import sys
from pathlib import Path

from helpers.lab.language.engines.llama_cpp import LlamaCppModel

path = Path(sys.argv[1])
for _ in range(20):
    LlamaCppModel("tiny", None, 256, [0], path.stat().st_size, path)
print("over")
"""


def test_one_that_is_closed_as_soon_as_it_is_open_ends():
    """Without a wait for its loop, one of some ten hung for ever, and with it all threads of the process."""
    done = subprocess.run([sys.executable, "-c", OPENED_AND_LEFT, str(tiny_gguf())], capture_output=True, text=True,
                          timeout=120)
    assert done.stdout.endswith("over\n"), done.stderr[-2000:]
